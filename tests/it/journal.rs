//! With linger and several partitions chance decides what goes into a batch; the journal repeats what it decided.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{Daemon, as_json, file, repeat, rows, skewd, skewd_ok};

/// Batches that are cut by the clock more often than by their size.
const HASTY: [&str; 4] = [
    "learner.batch_linger_ms=3",
    "learner.batch_size=64",
    "checkpoint.every_examples=700",
    "checkpoint.every_seconds=3600",
];

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn killed_again_and_again_with_linger_the_digest_is_that_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(3000, 61));
    let mut daemon = Daemon::start(&data, &HASTY);
    for (round, chunk) in lines.chunks(60).enumerate() {
        daemon.feed(chunk);
        pause(7);
        if round % 9 == 5 {
            daemon.kill();
            daemon = Daemon::start(&data, &HASTY);
        }
        if round == 30 {
            let (status, answer) = loop {
                let answer = daemon.admin(
                    "PATCH",
                    "/v1/settings",
                    r#"{"learner.lambda": 2, "learner.learning_rate": 0.02}"#,
                );
                if answer.0 != 503 {
                    break answer;
                }
                pause(5);
            };
            assert_eq!(status, 200, "{answer}");
        }
    }
    daemon.wait_for_examples(3000);
    let saved = daemon.admin("POST", "/v1/checkpoint", "").1;
    assert_eq!(saved["examples"], 3000);
    assert_eq!(daemon.stop(), Some(0));
    let path = file(dir.path(), "all.jsonl", &lines.join("\n"));
    let report = repeat(dir.path(), &data, std::slice::from_ref(&path), &HASTY);
    assert_eq!(report["digest"], saved["digest"]);
    assert_eq!(report["examples"], 3000);
    // Without the journal the batches are others: it was chance that the journal repeated.
    let other = crate::support::replay(dir.path(), &[&path], &HASTY);
    assert_ne!(other["digest"], saved["digest"]);
}

#[test]
fn partitions_are_mixed_again_as_they_were() {
    const PARTITIONS: i32 = 3;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("mixed", PARTITIONS, 1).unwrap();
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .unwrap();
    let lines = as_json(&rows(4000, 67));
    let mut parts = vec![Vec::new(); PARTITIONS as usize];
    let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
    let mut settings = vec!["source.kind=kafka", "kafka.topic=mixed", &brokers];
    settings.extend(HASTY);
    let mut daemon = Daemon::start(&data, &settings);
    for (round, chunk) in lines.chunks(250).enumerate() {
        for (at, line) in chunk.iter().enumerate() {
            let partition = (at * 7 + round) % PARTITIONS as usize;
            parts[partition].push(line.clone());
            producer
                .send(
                    BaseRecord::<(), str>::to("mixed")
                        .partition(partition as i32)
                        .payload(line),
                )
                .unwrap();
        }
        producer.flush(crate::support::PATIENCE).unwrap();
        pause(40);
        if round % 5 == 3 {
            daemon.kill();
            daemon = Daemon::start(&data, &settings);
        }
    }
    daemon.wait_for_examples(4000);
    let saved = daemon.admin("POST", "/v1/checkpoint", "").1;
    assert_eq!(daemon.stop(), Some(0));
    let files: Vec<PathBuf> = parts
        .iter()
        .enumerate()
        .map(|(number, lines)| file(dir.path(), &format!("{number}.jsonl"), &lines.join("\n")))
        .collect();
    let report = repeat(dir.path(), &data, &files, &HASTY);
    assert_eq!(report["digest"], saved["digest"]);
    assert_eq!(report["examples"], 4000);
}

#[test]
fn a_crash_before_the_first_checkpoint_goes_on_where_reading_began() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("late", 1, 1).unwrap();
    let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
    let load = |lines: &[String], name: &str| {
        let path = file(dir.path(), name, &lines.join("\n"));
        let brokers = cluster.bootstrap_servers();
        skewd_ok(&[
            "produce",
            path.to_str().unwrap(),
            "--topic",
            "late",
            "--brokers",
            &brokers,
        ]);
    };
    let lines = as_json(&rows(900, 89));
    load(&lines[..300], "1.jsonl");
    let mut settings = vec![
        "source.kind=kafka",
        "kafka.topic=late",
        "kafka.start=latest",
        "schema.features=a,b,c,d",
        "learner.batch_linger_ms=3",
        &brokers,
    ];
    settings.push("checkpoint.every_seconds=3600");
    let daemon = Daemon::start(&data, &settings);
    // Only what comes after the start is read: wait until the daemon knows where that is.
    let known = "skewd_consumer_lag_records{topic=\"late\",partition=\"0\"} 0";
    while !daemon.get("/metrics").1.as_str().unwrap().contains(known) {
        pause(10);
    }
    load(&lines[300..600], "2.jsonl");
    daemon.wait_for_examples(300);
    daemon.kill();
    load(&lines[600..], "3.jsonl");
    let daemon = Daemon::start(&data, &settings);
    daemon.wait_for_examples(600);
    assert_eq!(daemon.get("/v1/model").1["examples"], 600);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_schema_that_was_decided_early_is_decided_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(600, 71));
    let daemon = Daemon::start(&data, &HASTY);
    daemon.feed(&lines[..150]);
    let held = || daemon.get("/v1/model").1["discovering"]["seen"].clone();
    while held() != 150 {
        pause(10);
    }
    assert_eq!(daemon.admin("POST", "/v1/discover", "").0, 200);
    daemon.feed(&lines[150..]);
    daemon.wait_for_examples(600);
    daemon.kill();
    // Without any checkpoint of these batches, everything is repeated from the journal.
    let daemon = Daemon::start(&data, &HASTY);
    daemon.wait_for_examples(600);
    let saved = daemon.admin("POST", "/v1/checkpoint", "").1;
    assert_eq!(daemon.stop(), Some(0));
    let path = file(dir.path(), "all.jsonl", &lines.join("\n"));
    assert_eq!(
        repeat(dir.path(), &data, &[path], &HASTY)["digest"],
        saved["digest"]
    );
}

#[test]
fn records_that_are_not_those_of_the_journal_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(1200, 73));
    let daemon = Daemon::start(&data, &HASTY);
    daemon.feed(&lines);
    daemon.wait_for_examples(1200);
    assert_eq!(daemon.stop(), Some(0));
    let short = file(dir.path(), "short.jsonl", &lines[..900].join("\n"));
    let output = skewd(&[
        "replay",
        short.to_str().unwrap(),
        "--journal",
        data.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&output.stderr).contains("end before the recorded batches do"));
    let output = skewd(&[
        "replay",
        short.to_str().unwrap(),
        "--journal",
        dir.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(65));
}

fn audit(data: &Path) -> (Option<i32>, serde_json::Value, String) {
    let folder = format!("data_dir={}", data.display());
    let output = skewd(&["checkpoint", "audit", "--json", "--set", &folder]);
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Feeds what comes after the first 3,000 lines, which the folder's log holds.
fn go_on(data: &Path, lines: &[String]) {
    let daemon = Daemon::start(data, &HASTY);
    daemon.feed(&lines[3000..]);
    daemon.wait_for_examples(lines.len() as u64);
    assert_eq!(daemon.stop(), Some(0));
}

/// A folder with several checkpoints and the batches between them.
fn learned(data: &Path, lines: &[String]) {
    let daemon = Daemon::start(data, &HASTY);
    for chunk in lines.chunks(500) {
        daemon.feed(chunk);
        pause(30);
    }
    daemon.wait_for_examples(lines.len() as u64);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_audit_repeats_every_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    learned(&data, &as_json(&rows(4000, 79)));
    let (code, answer, errors) = audit(&data);
    assert_eq!(code, Some(0), "{errors}");
    let met = answer["checkpoints"].as_array().unwrap();
    assert!(met.len() >= 2, "{answer}");
    assert!(met.iter().all(|met| met["equal"] == true), "{answer}");
    assert_eq!(met.last().unwrap()["examples"], 4000);
}

#[test]
fn an_audit_names_the_first_batch_that_differs() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    let mut lines = as_json(&rows(4000, 83));
    // One log in two folders: what it holds differs behind the first 3,000 records, not which log it is.
    learned(&data, &lines[..3000]);
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(data.join("examples.redb"), other.join("examples.redb")).unwrap();
    go_on(&data, &lines);
    // The same stream but for one value, far behind the first checkpoint that is kept.
    lines[3500] = lines[3500].replacen("\"a\":", "\"a\":1", 1);
    go_on(&other, &lines);
    std::fs::copy(other.join("examples.redb"), data.join("examples.redb")).unwrap();
    let (code, _, errors) = audit(&data);
    assert_eq!(code, Some(70), "{errors}");
    assert!(errors.contains("the first that differs"), "{errors}");
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    let (code, _, errors) = audit(&data);
    assert_eq!(code, Some(65), "{errors}");
    assert!(errors.contains("journal does not hold"), "{errors}");
}

#[test]
fn a_crash_test_finds_nothing_lost_and_nothing_learned_twice() {
    let text = skewd_ok(&["torture", "--kills", "100", "--seed", "11"]);
    assert!(text.contains("100 identical digests, 0 differ"), "{text}");
    assert!(text.contains("0 lost, 0 learned twice"), "{text}");
}

#[test]
fn the_crash_test_notices_a_daemon_that_breaks_its_promises() {
    for (broken, told) in [
        ("positions_before_weights", "repeat it with"),
        ("acknowledged_before_commit", "acknowledged records lost"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_skewd"))
            .args(["torture", "--kills", "60", "--seed", "3"])
            .env("SKEWD_TEST_BREAK", broken)
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(70), "{broken}: {text}");
        assert!(text.contains(told), "{broken}: {text}");
        assert!(
            !text.contains("0 lost, 0 learned twice"),
            "{broken}: {text}"
        );
    }
}

#[test]
fn a_bit_that_flips_in_the_journal_is_named_and_what_it_held_is_learned_again_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut settings = HASTY.to_vec();
    settings.push("schema.discover_records=100");
    let daemon = Daemon::start(&data, &settings);
    for chunk in as_json(&rows(600, 71)).chunks(60) {
        daemon.feed(chunk);
        pause(12);
    }
    daemon.wait_for_examples(600);
    daemon.kill();
    let first = data
        .join("journal")
        .join("journal-00000000000000000000.skewd");
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    std::fs::write(&first, &bytes).unwrap();
    let place = format!("data_dir={}", data.display());
    for command in ["check", "serve"] {
        let answer = skewd(&[command, "--set", &place]);
        let said = String::from_utf8(answer.stderr).unwrap();
        assert_eq!(answer.status.code(), Some(78), "{command}: {said}");
        for words in ["damaged at byte", "restore the file", "move the folder"] {
            assert!(said.contains(words), "{command}: {said}");
        }
    }
    assert!(std::fs::read(&first).unwrap() == bytes, "it was changed");
    std::fs::rename(data.join("journal"), dir.path().join("away")).unwrap();
    let daemon = Daemon::start(&data, &settings);
    daemon.wait_for_examples(600);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn what_the_journal_cannot_take_is_refused_and_changes_nothing() {
    const PATCH: &str = r#"{"learner.lambda": 2}"#;
    let mut settings = HASTY.to_vec();
    settings.push("schema.discover_records=100");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let lines = as_json(&rows(1200, 97));
    let daemon = Daemon::start(&data, &settings);
    daemon.feed(&lines[..600]);
    daemon.wait_for_examples(600);
    assert_eq!(daemon.admin("POST", "/v1/checkpoint", "").0, 200);
    // Something else stands where the journal was: its next file cannot be made.
    let (journal, away) = (data.join("journal"), dir.path().join("away"));
    std::fs::rename(&journal, &away).unwrap();
    std::fs::write(&journal, "").unwrap();
    daemon.feed(&lines[600..900]);
    daemon.wait_for("the journal to fail", |model| {
        model["source"]["state"] == "degraded"
    });
    let (status, answer) = daemon.admin("PATCH", "/v1/settings", PATCH);
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.to_string().contains("nothing was changed"),
        "{answer}"
    );
    let (status, answer) = daemon.admin("POST", "/v1/rollback", "{}");
    assert_eq!(status, 503, "{answer}");
    // Once it is back everything goes on by itself, and what was learned meanwhile is recorded.
    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(&away, &journal).unwrap();
    daemon.wait_for("the journal to go on", |model| {
        model["source"]["state"] == "running"
    });
    let (status, answer) = daemon.admin("PATCH", "/v1/settings", PATCH);
    assert_eq!(status, 200, "{answer}");
    daemon.feed(&lines[900..]);
    daemon.wait_for_examples(1200);
    daemon.kill();
    let daemon = Daemon::start(&data, &settings);
    daemon.wait_for_examples(1200);
    let saved = daemon.admin("POST", "/v1/checkpoint", "").1;
    assert_eq!(daemon.stop(), Some(0));
    let path = file(dir.path(), "all.jsonl", &lines.join("\n"));
    let report = repeat(dir.path(), &data, std::slice::from_ref(&path), &settings);
    assert_eq!(report["digest"], saved["digest"]);
}
