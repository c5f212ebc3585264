//! The embedded log is lost or replaced under a model: nothing is learned in its place by chance, nothing is taken that
//! would not be learned, and the model can be kept.

use std::path::Path;

use crate::support::{self, Daemon, as_json, rows};

const SETTINGS: [&str; 4] = [
    "schema.discover_records=100",
    "learner.batch_linger_ms=off",
    "learner.batch_size=50",
    "checkpoint.every_seconds=3600",
];
const NDJSON: &str = "application/x-ndjson";

/// A data folder whose model has learned so many rows.
fn learned(data: &Path, count: usize, seed: u64) {
    let daemon = Daemon::start(data, &SETTINGS);
    daemon.feed(&as_json(&rows(count, seed)));
    daemon.wait_for_examples(count as u64);
    assert_eq!(daemon.stop(), Some(0));
}

/// Training stands still, nothing is taken, predictions go on.
fn stands_still(data: &Path, because: &str) {
    let daemon = Daemon::start(data, &SETTINGS);
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["source"]["state"], "halted");
    let detail = model["source"]["detail"].as_str().unwrap();
    assert!(detail.contains(because), "{detail}");
    assert!(detail.contains("skewd source reset"), "{detail}");
    let (status, answer) = daemon.post("/v1/examples", NDJSON, r#"{"a":1,"label":"x"}"#);
    assert_eq!(
        (status, answer["code"].as_str()),
        (503, Some("source_halted"))
    );
    let (status, ready) = daemon.get("/readyz");
    assert_eq!((status, ready["source"].as_str()), (200, Some("halted")));
    let row = format!(r#"{{"rows":[{}]}}"#, as_json(&rows(1, 5))[0]);
    let (status, answer) = daemon.post("/v1/predict", "application/json", row);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(daemon.stop(), Some(0));
}

fn reset(data: &Path) -> std::process::Output {
    let place = format!("data_dir={}", data.display());
    support::skewd(&["source", "reset", "--json", "--set", &place])
}

#[test]
fn a_log_in_the_place_of_another_is_never_gone_on_from_and_a_reset_keeps_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    learned(&data, 1500, 3);
    learned(&other, 2500, 4);
    let log = data.join("examples.redb");
    std::fs::rename(&log, dir.path().join("damaged.redb")).unwrap();
    // The new log is shorter than the position first, and then, as if it had grown, longer.
    stands_still(&data, "learned from embedded ");
    std::fs::copy(other.join("examples.redb"), &log).unwrap();
    stands_still(&data, "learned from embedded ");

    let answer = reset(&data);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["examples"], 1500);
    assert_eq!(answer["examples_given_up"], 0);
    assert!(data.join("journal.reset-1").is_dir());
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.wait_for_examples(4000);
    daemon.feed(&as_json(&rows(50, 6)));
    daemon.wait_for_examples(4050);
    assert_eq!(
        reset(&data).status.code(),
        Some(75),
        "not under a running daemon"
    );
    daemon.kill();
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.wait_for_examples(4050);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn the_right_log_put_back_is_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    learned(&data, 500, 7);
    let (log, away) = (data.join("examples.redb"), dir.path().join("away.redb"));
    std::fs::rename(&log, &away).unwrap();
    stands_still(&data, "learned from embedded ");
    std::fs::rename(&away, &log).unwrap();
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.feed(&as_json(&rows(100, 8)));
    daemon.wait_for_examples(600);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_log_that_is_lost_before_the_first_checkpoint_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.feed(&as_json(&rows(500, 9)));
    daemon.wait_for_examples(500);
    daemon.kill();
    let (log, away) = (data.join("examples.redb"), dir.path().join("away.redb"));
    std::fs::rename(&log, &away).unwrap();
    let daemon = Daemon::start(&data, &SETTINGS);
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["source"]["state"], "halted");
    let detail = model["source"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("ends at 0, before position 500"),
        "{detail}"
    );
    let (status, _) = daemon.post("/v1/examples", NDJSON, r#"{"a":1,"label":"x"}"#);
    assert_eq!(status, 503);
    daemon.kill();
    std::fs::rename(&away, &log).unwrap();
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.feed(&as_json(&rows(100, 10)));
    daemon.wait_for_examples(600);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_copy_of_the_log_that_went_another_way_halts() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    learned(&data, 500, 11);
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(data.join("examples.redb"), copy.join("examples.redb")).unwrap();
    let daemon = Daemon::start(&data, &SETTINGS);
    daemon.feed(&as_json(&rows(500, 12)));
    daemon.wait_for_examples(1000);
    assert_eq!(daemon.stop(), Some(0));
    let daemon = Daemon::start(&copy, &SETTINGS);
    daemon.feed(&as_json(&rows(700, 13)));
    daemon.wait_for_examples(1200);
    assert_eq!(daemon.stop(), Some(0));
    std::fs::copy(copy.join("examples.redb"), data.join("examples.redb")).unwrap();
    stands_still(&data, "learned from embedded ");
}

#[test]
fn without_a_model_there_is_nothing_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    let answer = reset(&dir.path().join("data"));
    assert_eq!(answer.status.code(), Some(78));
    let text = String::from_utf8(answer.stderr).unwrap();
    assert!(text.contains("no model to keep"), "{text}");
}
