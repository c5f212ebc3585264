//! `replay` from outside: one digest for the same rows, however they come, and the algorithm to the letter.

use std::path::Path;

use crate::support::{self, as_csv, as_json, file, rows};

const EXACT: [&str; 12] = [
    "model.kind=linear",
    "schema.encoding=raw",
    "schema.recent_shares=false",
    "learner.weight_cap=off",
    "learner.clip_norm=off",
    "learner.rehearsal_rows=0",
    "decision.calibration=off",
    "learner.lambda=2",
    "learner.gamma=0.1",
    "learner.learning_rate=0.05",
    "learner.weight_decay=1e-4",
    "learner.batch_size=16",
];

fn digest(dir: &Path, name: &str, text: &str, settings: &[&str]) -> String {
    let path = file(dir, name, text);
    let report = support::replay(dir, &[&path], settings);
    assert_eq!(report["input"]["rejected"], serde_json::json!({}));
    report["digest"].as_str().unwrap().to_owned()
}

#[test]
fn csv_and_json_of_the_same_rows_have_one_digest_with_and_without_a_schema() {
    let dir = tempfile::tempdir().unwrap();
    // More rows than discovery waits for, and a number that batches do not divide.
    let rows = rows(1511, 7);
    let csv = as_csv(&rows);
    let json = as_json(&rows).join("\n");
    let envelope: Vec<String> = rows
        .iter()
        .map(|(row, label)| format!(r#"{{"features":{row:?},"label":"{label}"}}"#))
        .collect();
    let settings = ["schema.features=a,b,c,d"];
    let digests = [
        digest(dir.path(), "x.csv", &csv, &[]),
        digest(dir.path(), "x.jsonl", &json, &[]),
        digest(dir.path(), "x.csv", &csv, &settings),
        digest(dir.path(), "x.jsonl", &json, &settings),
        digest(dir.path(), "y.jsonl", &envelope.join("\n"), &settings),
    ];
    assert!(!digests[0].is_empty());
    for other in &digests[1..] {
        assert_eq!(other, &digests[0]);
    }
    let changed = as_json(&rows).join("\n").replacen("0.1", "0.2", 1);
    assert_ne!(digest(dir.path(), "z.jsonl", &changed, &[]), digests[0]);
}

#[test]
fn the_digest_does_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "x.csv", &as_csv(&rows(3000, 3)));
    let run = |threads: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_skewd"))
            .env("RAYON_NUM_THREADS", threads)
            .args([
                "replay",
                path.to_str().unwrap(),
                "--set",
                "learner.batch_size=128",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, digest) = text.split_once("digest ").unwrap();
        digest.trim().to_owned()
    };
    let digests: Vec<String> = ["1", "1", "2", "8"].into_iter().map(run).collect();
    assert_eq!(digests[0].len(), 64);
    assert!(
        digests.iter().all(|digest| digest == &digests[0]),
        "{digests:?}"
    );
}

#[test]
fn several_files_are_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let rows = rows(700, 11);
    let whole = file(dir.path(), "whole.csv", &as_csv(&rows));
    let first = file(dir.path(), "first.csv", &as_csv(&rows[..333]));
    let second = file(dir.path(), "second.csv", &as_csv(&rows[333..]));
    let once = support::replay(dir.path(), &[&whole], &[]);
    let twice = support::replay(dir.path(), &[&first, &second], &[]);
    assert_eq!(once["digest"], twice["digest"]);
    assert_eq!(once["input"], twice["input"]);
}

#[test]
fn only_full_batches_are_learned_and_the_tail_is_scored() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "x.csv", &as_csv(&rows(1000, 5)));
    let report = support::replay(dir.path(), &[&path], &["learner.batch_size=300"]);
    assert_eq!(report["examples"], 900);
    assert_eq!(report["input"]["rows"], 1000);
    let learner = &report["learners"][0];
    assert!(learner["metrics"]["pr_auc_rare"].as_f64().unwrap() > 0.2);
    let longer = file(dir.path(), "y.csv", &as_csv(&rows(1100, 5)));
    let same = support::replay(dir.path(), &[&longer], &["learner.batch_size=300"]);
    assert_eq!(same["digest"], report["digest"], "the tail was learned");
}

#[test]
fn a_grid_learns_side_by_side_what_single_runs_learn() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "x.csv", &as_csv(&rows(1200, 9)));
    let report = dir.path().join("grid.json");
    let predictions = dir.path().join("grid.csv");
    support::skewd_ok(&[
        "replay",
        path.to_str().unwrap(),
        "--grid",
        "learner.lambda=1,inf",
        "--grid",
        "model.hidden=[8],[16,8]",
        "--report",
        report.to_str().unwrap(),
        "--predictions",
        predictions.to_str().unwrap(),
    ]);
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    let learners = report["learners"].as_array().unwrap();
    assert_eq!(learners.len(), 4);
    let alone = support::replay(
        dir.path(),
        &[&path],
        &["learner.lambda=inf", "model.hidden=[16,8]"],
    );
    let twin = learners
        .iter()
        .find(|learner| {
            learner["settings"]["learner.lambda"] == "inf"
                && learner["settings"]["model.hidden"] == serde_json::json!([16, 8])
        })
        .unwrap();
    assert_eq!(twin["metrics"], alone["learners"][0]["metrics"]);
    let lines = std::fs::read_to_string(predictions)
        .unwrap()
        .lines()
        .count();
    assert_eq!(lines, 1 + 4 * 1200);
}

#[test]
fn a_whole_replay_follows_algorithm_1() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("predictions.csv");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/algorithm1.csv");
    let mut args = vec!["replay", data, "--predictions", out.to_str().unwrap()];
    for setting in &EXACT {
        args.extend(["--set", setting]);
    }
    support::skewd_ok(&args);
    let ours = table(&out);
    let golden = table(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/algorithm1_predictions.csv"
    )));
    assert_eq!(ours.len(), golden.len());
    let mut compared = 0;
    for (row, (ours, golden)) in ours.iter().zip(&golden).enumerate() {
        assert_eq!(ours["row"], golden["row"]);
        assert_eq!(ours["label"], golden["label"]);
        for column in ["p_normal", "p_slow", "p_fraud", "weight"] {
            let (ours, golden) = (&ours[column], &golden[column]);
            assert_eq!(ours.is_empty(), golden.is_empty(), "row {row} {column}");
            if golden.is_empty() {
                continue;
            }
            let (ours, golden): (f64, f64) = (ours.parse().unwrap(), golden.parse().unwrap());
            let tolerance = if column == "weight" {
                1e-4 * golden.max(1.0)
            } else {
                1e-4
            };
            assert!(
                (ours - golden).abs() <= tolerance,
                "row {row} {column}: {ours} {golden}"
            );
            compared += 1;
        }
    }
    assert!(
        compared > 900,
        "only {compared} figures were there to compare"
    );
}

fn table(path: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn decisions_follow_the_rule_and_calibration_touches_what_is_served_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "rows.csv", &as_csv(&rows(3000, 4)));
    let run = |settings: &[&str]| support::replay(dir.path(), &[&path], settings);
    let plain = run(&["decision.calibration=off"]);
    let decided = |report: &serde_json::Value| report["learners"][0]["decided"].clone();
    let metrics = |report: &serde_json::Value| report["learners"][0]["metrics"].clone();
    assert_eq!(decided(&plain)["rule"], "argmax");
    for figure in ["balanced_accuracy", "g_mean", "recall", "precision"] {
        assert_eq!(decided(&plain)[figure], metrics(&plain)[figure]);
    }
    let shifted = run(&["decision.rule=prior_shift", "decision.calibration=off"]);
    assert_eq!(decided(&shifted)["rule"], "prior_shift");
    assert_eq!(
        metrics(&shifted),
        metrics(&plain),
        "a rule changes decisions alone"
    );
    let none = run(&["decision.rule=threshold", "decision.threshold=0.999999"]);
    let all = run(&["decision.rule=threshold", "decision.threshold=1e-9"]);
    assert!(decided(&none)["alerts"].as_u64() < decided(&all)["alerts"].as_u64());

    let calibrated = run(&["decision.calibration=on"]);
    let again = run(&["decision.calibration=on"]);
    assert_eq!(calibrated["digest"], again["digest"]);
    assert_ne!(
        metrics(&calibrated)["log_loss"],
        metrics(&plain)["log_loss"]
    );
    assert_eq!(
        calibrated["learners"][0]["weights"]["log_s"], plain["learners"][0]["weights"]["log_s"],
        "what is learned is the same"
    );
}
