//! Killed at any moment, the daemon ends where an undisturbed replay ends: nothing lost, nothing learned twice.

use std::path::Path;
use std::process::Command;

use crate::support::{self, Daemon, agent, as_json, file, rows};

const EXACT: [&str; 4] = [
    "learner.batch_linger_ms=off",
    "learner.batch_size=48",
    "checkpoint.every_examples=480",
    "checkpoint.every_seconds=3600",
];

/// What `replay` says of the same records.
fn expected(dir: &Path, lines: &[String]) -> (serde_json::Value, u64) {
    let path = file(dir, "all.jsonl", &lines.join("\n"));
    let report = support::replay(dir, &[&path], &EXACT);
    (
        report["digest"].clone(),
        report["examples"].as_u64().unwrap(),
    )
}

#[test]
fn killed_between_and_during_posts_the_digest_is_that_of_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(5011, 17));
    let (digest, examples) = expected(dir.path(), &lines);
    let mut sent = 0;
    let mut daemon = Daemon::start(&data, &EXACT);
    let mut kills = 0;
    while sent < lines.len() {
        let end = (sent + 400).min(lines.len());
        let body = lines[sent..end].join("\n");
        if kills < 4 && sent > 0 && sent % 1200 == 0 {
            // A POST is on its way when the process dies; what the log has of it decides where to go on.
            let url = format!("http://{}/v1/examples", daemon.address);
            let post = std::thread::spawn(move || {
                let _ = agent()
                    .post(&url)
                    .header("content-type", "application/x-ndjson")
                    .send(&body);
            });
            std::thread::sleep(std::time::Duration::from_millis(kills * 2));
            daemon.kill();
            post.join().unwrap();
            kills += 1;
            daemon = Daemon::start(&data, &EXACT);
            let (status, bounds) = daemon.get("/v1/examples");
            assert_eq!(status, 200);
            let next = bounds["next_offset"].as_u64().unwrap() as usize;
            assert!(
                next >= sent && next <= end,
                "acknowledged {sent}, the log has {next}"
            );
            sent = next;
        } else {
            let answer = daemon.feed(&lines[sent..end]);
            assert_eq!(answer["first_offset"], sent);
            assert_eq!(answer["next_offset"], end);
            sent = end;
        }
    }
    assert!(kills >= 3);
    daemon.wait_for_examples(examples);
    let (status, saved) = daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(status, 200, "{saved}");
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["digest"], digest);
    assert_eq!(model["digest_examples"], examples);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_graceful_stop_keeps_the_tail_for_later() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(1100, 23));
    let (digest, examples) = expected(dir.path(), &lines);
    let daemon = Daemon::start(&data, &EXACT);
    daemon.feed(&lines[..1030]);
    daemon.wait_for_examples(1030 / 48 * 48);
    assert_eq!(daemon.stop(), Some(0));
    let daemon = Daemon::start(&data, &EXACT);
    daemon.feed(&lines[1030..]);
    daemon.wait_for_examples(examples);
    daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(daemon.get("/v1/model").1["digest"], digest);
    assert_eq!(daemon.stop(), Some(0));
    let shown = support::skewd_ok(&[
        "checkpoint",
        "show",
        "--json",
        "--set",
        &format!("data_dir={}", data.display()),
    ]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["digest"], digest);
    assert_eq!(shown["positions"]["0"], examples);
}

#[test]
fn a_replay_is_a_warm_start() {
    let dir = tempfile::tempdir().unwrap();
    let lines = as_json(&rows(1200, 29));
    let path = file(dir.path(), "history.jsonl", &lines.join("\n"));
    let data = dir.path().join("data");
    support::skewd_ok(&[
        "replay",
        path.to_str().unwrap(),
        "--save",
        data.to_str().unwrap(),
    ]);
    let daemon = Daemon::start(&data, &[]);
    let (status, answer) = daemon.post(
        "/v1/predict",
        "application/json",
        r#"{"rows":[[0.1,0.2,0.3,0.4]]}"#,
    );
    assert_eq!(status, 200, "{answer}");
    daemon.feed(&lines[..100]);
    daemon.wait_for_examples(1152 + 64);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_skewd"))
        .args([
            "serve",
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            "admin.listen=127.0.0.1:0",
        ])
        .args(["--set", &format!("data_dir={}", dir.path().display())])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(1500, 31));
    let (digest, examples) = expected(dir.path(), &lines);
    let daemon = Daemon::start(&data, &EXACT);
    daemon.feed(&lines[..1100]);
    daemon.wait_for_examples(1056);
    daemon.admin("POST", "/v1/checkpoint", "");
    daemon.feed(&lines[1100..]);
    daemon.wait_for_examples(examples);
    assert_eq!(daemon.stop(), Some(0));
    let folder = data.join("checkpoints");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 2, "{files:?}");
    let newest = files.last().unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(newest, bytes).unwrap();
    let daemon = Daemon::start(&data, &EXACT);
    daemon.wait_for_examples(examples);
    daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(daemon.get("/v1/model").1["digest"], digest);
    assert_eq!(daemon.stop(), Some(0));
}
