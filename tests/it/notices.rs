//! What a daemon and a replay say of a stream, and of the examples that stay hard.

use serde_json::Value;

use crate::support::{self, Daemon, file, rows};

/// A stream with a counter and a constant, in which one example in fifty has the wrong label, and `a` is renamed from row 6,000
/// on.
fn lines(count: usize) -> Vec<String> {
    let line = |(number, (row, label)): (usize, (Vec<f64>, &'static str))| {
        let name = if number < 6_000 { "a" } else { "amount" };
        let wrong = number % 50 == 7 && label == "common";
        let label = if wrong { "rare" } else { label };
        format!(
            r#"{{"tx":{number},"still":3,"{name}":{},"b":{},"c":{},"d":{},"label":"{label}"}}"#,
            row[0], row[1], row[2], row[3]
        )
    };
    rows(count, 9).into_iter().enumerate().map(line).collect()
}

fn kinds(warnings: &Value) -> Vec<(String, String)> {
    let text = |warning: &Value, key: &str| warning[key].as_str().unwrap().to_owned();
    let mut kinds: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| (text(warning, "kind"), text(warning, "subject")))
        .collect();
    kinds.retain(|(kind, _)| kind.contains("feature"));
    kinds.sort();
    kinds
}

fn expected() -> Vec<(String, String)> {
    [
        ("constant_feature", "still"),
        ("feature_missing", "a"),
        ("identifier_feature", "tx"),
    ]
    .map(|(kind, name)| (kind.to_owned(), name.to_owned()))
    .to_vec()
}

#[test]
fn a_replay_reports_what_it_noticed_of_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "stream.jsonl", &lines(8_000).join("\n"));
    let report = support::replay(dir.path(), &[&path], &["learner.batch_size=50"]);
    assert_eq!(kinds(&report["warnings"]), expected());
}

#[test]
fn a_daemon_says_what_it_noticed_and_shows_the_losses_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["learner.batch_linger_ms=off", "learner.batch_size=50"];
    let daemon = Daemon::start(dir.path(), &settings);
    for part in lines(16_000).chunks(4_000) {
        daemon.feed(part);
    }
    daemon.wait_for("16000 examples and the warnings", |model| {
        model["examples"] == 16_000 && model["warnings"].as_array().unwrap().len() > 2
    });
    let (_, model) = daemon.get("/v1/model");
    let mut found = kinds(&model["warnings"]);
    found.dedup();
    assert_eq!(found, expected());
    let warning = &model["warnings"][0];
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .contains("schema.ignore"),
        "{warning}"
    );
    let (_, text) = daemon.get("/metrics");
    let series = "skewd_stream_warnings_total{kind=\"identifier_feature\"} 1";
    assert!(text.as_str().unwrap().contains(series), "{text}");

    let answer = hardest_of_step(&daemon, 320);
    assert!(answer["model_version"].is_u64(), "{answer}");
    let hardest = answer["hardest"].as_array().unwrap();
    let persistent = answer["persistent"].as_array().unwrap();
    assert!(!hardest.is_empty() && !persistent.is_empty(), "{answer}");
    for example in hardest.iter().chain(persistent) {
        assert!(
            example["loss"].is_number() && example["loss_now"].is_number(),
            "{example}"
        );
        assert!(
            example["prediction_now"].is_string() && example["trail"].is_array(),
            "{example}"
        );
    }
    let offset = |example: &Value| example["offset"].as_u64().unwrap();
    assert!(
        hardest.iter().all(|example| offset(example) >= 5_900),
        "{answer}"
    );
    assert!(
        persistent.iter().all(|example| offset(example) < 6_100),
        "{answer}"
    );
    // On the whole a wrong label is believed less than a rare case.
    let is_wrong = |example: &&Value| offset(example) % 50 == 7 && example["label"] == "rare";
    let mean = |examples: Vec<&Value>| {
        let losses = examples
            .iter()
            .map(|example| example["loss_now"].as_f64().unwrap());
        losses.sum::<f64>() / examples.len() as f64
    };
    let (wrong, right): (Vec<&Value>, Vec<&Value>) = hardest.iter().partition(is_wrong);
    assert!(!wrong.is_empty(), "{answer}");
    assert!(right.is_empty() || mean(wrong) > mean(right), "{answer}");
}

/// The hardest examples, once the statistics are those of this step.
fn hardest_of_step(daemon: &Daemon, step: u64) -> Value {
    for _ in 0..600 {
        let (_, answer) = daemon.get("/v1/hardest");
        if answer["step"] == step {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no statistics of step {step}");
}

#[test]
fn texts_among_the_first_numbers_are_said_where_a_person_looks_and_refuse_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = lines(1_200);
    for line in lines[..1_000].iter_mut().step_by(20) {
        let (start, end) = (
            line.find("\"b\":").unwrap() + 4,
            line.find(",\"c\"").unwrap(),
        );
        line.replace_range(start..end, "\"junk\"");
    }
    let daemon = Daemon::start(dir.path(), &["learner.batch_linger_ms=5"]);
    daemon.feed(&lines);
    daemon.wait_for("1200 examples and a warning", |model| {
        model["examples"] == 1_200
            && model["warnings"]
                .as_array()
                .is_some_and(|said| !said.is_empty())
    });
    let (_, model) = daemon.get("/v1/model");
    let of_schema = |warning: &&Value| warning["kind"] == "schema";
    let said: Vec<_> = model["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_schema)
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["subject"], "b");
    let message = said[0]["message"].as_str().unwrap();
    assert!(
        message.contains("50 of 1000 values are texts; taken as numeric"),
        "{message}"
    );
    let row = r#"{"rows":[[1,3,0.5,0.5,0.5,0.5]]}"#;
    let (status, answer) = daemon.post("/v1/predict", "application/json", row);
    assert_eq!(status, 200, "a number it is: {answer}");
}
