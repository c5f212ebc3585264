//! What changes a model beside a batch: going back to an older one, and a schema that grows. All of it survives a crash,
//! and `replay --journal` repeats it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Daemon, as_json, file, refused, repeat, rows, skewd};

const SETTINGS: [&str; 5] = [
    "schema.features=a,b,c,d",
    "learner.batch_size=32",
    "learner.batch_linger_ms=off",
    "checkpoint.every_seconds=3600",
    "checkpoint.keep=20",
];

fn predict(daemon: &Daemon, row: &Value) -> Value {
    let body = json!({ "rows": [row] }).to_string();
    let (status, answer) = daemon.post("/v1/predict", "application/json", &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn checkpoint(daemon: &Daemon) -> Value {
    let (status, answer) = daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(status, 200, "{answer}");
    answer
}

fn journal_digest(dir: &Path, data: &Path, lines: &[String], settings: &[&str]) -> Value {
    let path: PathBuf = file(dir, "all.jsonl", &lines.join("\n"));
    repeat(dir, data, &[path], settings)["digest"].clone()
}

#[test]
fn a_rollback_restores_an_older_model_exactly_and_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(4000, 101));
    let daemon = Daemon::start(&data, &SETTINGS);
    let row = json!([0.1, -0.2, 0.3, 0.9]);
    daemon.feed(&lines[..1000]);
    daemon.wait_for_examples(992);
    let old = checkpoint(&daemon);
    let before = predict(&daemon, &row);
    // Eight of the records wait for a batch; the others are learned by a model that will be thrown away.
    daemon.feed(&lines[1000..2500]);
    daemon.wait_for_examples(2496);
    assert_ne!(checkpoint(&daemon)["digest"], old["digest"]);
    let to = json!({ "checkpoint": old["name"] }).to_string();
    let (status, answer) = daemon.admin("POST", "/v1/rollback", &to);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["digest"], old["digest"]);
    assert_eq!(answer["from"]["examples"], 2496);
    let model = daemon.get("/v1/model").1;
    assert_eq!(
        (&model["digest"], &model["epoch"]),
        (&old["digest"], &json!(1))
    );
    assert_eq!(model["examples"], 992);
    let after = predict(&daemon, &row);
    assert_eq!(after["predictions"], before["predictions"]);
    assert_eq!(after["model_epoch"], 1);
    // The stream goes on where it was: 4 records waited, 1,500 more come.
    daemon.feed(&lines[2500..3300]);
    daemon.wait_for_examples(992 + 800);
    daemon.kill();
    let daemon = Daemon::start(&data, &SETTINGS);
    assert_eq!(daemon.get("/v1/model").1["epoch"], 1);
    daemon.feed(&lines[3300..]);
    daemon.wait_for_examples(992 + 1504);
    let last = checkpoint(&daemon);
    assert_eq!(last["examples"], 992 + 1504);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(
        journal_digest(dir.path(), &data, &lines, &SETTINGS),
        last["digest"]
    );
    let audit = skewd(&[
        "checkpoint",
        "audit",
        "--json",
        "--set",
        &format!("data_dir={}", data.display()),
    ]);
    assert_eq!(audit.status.code(), Some(0), "{audit:?}");
}

#[test]
fn a_rollback_without_a_name_goes_to_the_checkpoint_before_and_says_when_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(900, 103));
    let daemon = Daemon::start(&data, &SETTINGS);
    let (status, answer) = daemon.admin("POST", "/v1/rollback", "");
    assert_eq!(status, 409, "{answer}");
    daemon.feed(&lines[..320]);
    daemon.wait_for_examples(320);
    let first = checkpoint(&daemon);
    daemon.feed(&lines[320..640]);
    daemon.wait_for_examples(640);
    let (status, answer) = daemon.admin("POST", "/rollback", "{}");
    assert_eq!((status, &answer["digest"]), (200, &first["digest"]));
    let (status, answer) = daemon.admin("POST", "/v1/rollback", r#"{"step": 3}"#);
    assert_eq!(status, 409, "{answer}");
    let (status, answer) = daemon.admin("POST", "/v1/rollback", r#"{"name": "x"}"#);
    assert_eq!(
        (status, &answer["code"]),
        (400, &json!("invalid_json")),
        "{answer}"
    );
}

#[test]
fn a_feature_that_is_added_changes_no_prediction_before_it_is_learned() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(3000, 107));
    let narrow = ["schema.features=a,b,c"]
        .into_iter()
        .chain(SETTINGS[1..].iter().copied())
        .collect::<Vec<_>>();
    // The new one comes in the middle.
    let wide = ["schema.features=a,d,b,c"]
        .into_iter()
        .chain(SETTINGS[1..].iter().copied())
        .collect::<Vec<_>>();
    let row = json!({ "a": 0.1, "b": -0.4, "c": 0.7 });
    let daemon = Daemon::start(&data, &narrow);
    daemon.feed(&lines[..1000]);
    daemon.wait_for_examples(992);
    let before = predict(&daemon, &row);
    checkpoint(&daemon);
    daemon.feed(&lines[1000..1500]);
    daemon.wait_for_examples(1472);
    // Batches since the checkpoint are repeated under the old features, then the new one joins.
    let at_crash = predict(&daemon, &row);
    daemon.kill();
    let daemon = Daemon::start(&data, &wide);
    daemon.wait_for_examples(1472);
    let rare = |answer: &Value| {
        answer["predictions"][0]["probabilities"]["rare"]
            .as_f64()
            .unwrap()
    };
    assert_ne!(before["predictions"], at_crash["predictions"]);
    // Sums over one input more may round otherwise.
    let (now, then) = (rare(&predict(&daemon, &row)), rare(&at_crash));
    assert!((now / then - 1.0).abs() < 1e-4, "{now} {then}");
    let names: Vec<Value> = daemon.get("/v1/model").1["schema"]["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].clone())
        .collect();
    assert_eq!(names, ["a", "d", "b", "c"]);
    daemon.feed(&lines[1500..2500]);
    daemon.wait_for_examples(2496);
    let with_d = json!({ "a": 0.1, "b": -0.4, "c": 0.7, "d": 2.0 });
    assert_ne!(
        predict(&daemon, &with_d)["predictions"],
        predict(&daemon, &row)["predictions"]
    );
    daemon.kill();
    let daemon = Daemon::start(&data, &wide);
    daemon.feed(&lines[2500..]);
    daemon.wait_for_examples(2976);
    let last = checkpoint(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(
        journal_digest(dir.path(), &data, &lines, &wide),
        last["digest"]
    );
    // What a model knows cannot be taken from it.
    let (code, errors) = refused(&data, &["schema.features=a,b,c"]);
    assert_eq!(code, Some(78), "{errors}");
    assert!(
        errors.contains("schema.features") && errors.contains("\"d\""),
        "{errors}"
    );
}

#[test]
fn more_classes_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut lines = as_json(&rows(600, 109));
    for line in lines.iter_mut().step_by(10) {
        *line = line.replace("common", "new").replace("rare", "new");
    }
    let few: Vec<&str> = SETTINGS
        .into_iter()
        .chain(["schema.classes=common,rare"])
        .collect();
    let more: Vec<&str> = SETTINGS
        .into_iter()
        .chain(["schema.classes=common,rare,new"])
        .collect();
    let daemon = Daemon::start(&data, &few);
    daemon.feed(&lines[..300]);
    // 30 of them are bad records: their label is not one of the classes.
    daemon.wait_for_examples(256);
    daemon.kill();
    let daemon = Daemon::start(&data, &more);
    daemon.feed(&lines[300..]);
    // 14 waited, 300 more are all good now.
    daemon.wait_for_examples(256 + 288);
    let model = daemon.get("/v1/model").1;
    assert_eq!(model["classes"], json!(["common", "rare", "new"]));
    let last = checkpoint(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(
        journal_digest(dir.path(), &data, &lines, &more),
        last["digest"]
    );
}

#[test]
fn a_number_cannot_become_a_category_but_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let settings = [
        "schema.discover_records=100",
        "learner.mode=single",
        "learner.batch_size=32",
        "learner.batch_linger_ms=off",
        "checkpoint.every_seconds=3600",
    ];
    let mut lines = as_json(&rows(640, 107));
    let daemon = Daemon::start(&data, &settings);
    daemon.feed(&lines[..320]);
    daemon.wait_for_examples(320);
    assert_eq!(daemon.stop(), Some(0));
    // From here on a text stands where a number did.
    for line in &mut lines[320..] {
        let end = line.find(',').unwrap();
        line.replace_range(..end, r#"{"a":"text""#);
    }
    let with = |setting| [&settings[..], &[setting]].concat();
    let (code, errors) = refused(&data, &with("schema.categorical=a"));
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains("its kind cannot change"), "{errors}");
    let ignoring = with("schema.ignore=a");
    let daemon = Daemon::start(&data, &ignoring);
    daemon.feed(&lines[320..480]);
    daemon.wait_for_examples(480);
    daemon.kill();
    let daemon = Daemon::start(&data, &ignoring);
    daemon.feed(&lines[480..]);
    daemon.wait_for_examples(640);
    let saved = checkpoint(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(
        journal_digest(dir.path(), &data, &lines, &ignoring),
        saved["digest"]
    );
}
