//! What ends the daemon, and what does not: dead threads, a data folder that goes away, no file descriptors left.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Daemon, PATIENCE, as_json, rows};

const OFTEN: [&str; 4] = [
    "schema.features=a,b,c,d",
    "learner.batch_size=16",
    "learner.batch_linger_ms=off",
    "checkpoint.every_examples=64",
];

/// A daemon in which the thread that passes the place for the n-th time panics.
fn with_a_panic(dir: &std::path::Path, place: &str) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewd"));
    command.env("SKEWD_TEST_CRASH", format!("{place}:panic"));
    Daemon::start_as(command, dir, &OFTEN)
}

#[test]
fn a_thread_that_dies_ends_the_process_with_code_70() {
    for place in [
        "learner.after_step:3",
        "journal.before_sync:1",
        "checkpoint.before_sync:1",
        "log.before_commit:3",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let daemon = with_a_panic(dir.path(), place);
        for lines in as_json(&rows(400, 3)).chunks(100) {
            // The thread may be gone before the last of them arrive.
            let _ = daemon.try_post("/v1/examples", "application/x-ndjson", &lines.join("\n"));
        }
        assert_eq!(daemon.ended(), Some(70), "{place}");
        // Nothing that was acknowledged is lost, and the next start is a normal one.
        let daemon = Daemon::start(dir.path(), &OFTEN);
        daemon.wait_for_examples(96);
        assert_eq!(daemon.stop(), Some(0), "{place}");
    }
}

#[test]
fn a_lock_that_is_taken_away_ends_the_daemon_before_it_writes_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data, &OFTEN);
    daemon.feed(&as_json(&rows(320, 5)));
    daemon.wait_for_examples(320);
    std::fs::remove_file(data.join("lock")).unwrap();
    assert_eq!(daemon.ended(), Some(74));
    let other = Daemon::start(&data, &OFTEN);
    other.wait_for_examples(320);
    assert_eq!(other.stop(), Some(0));
}

#[test]
fn without_file_descriptors_the_daemon_waits_for_some_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 64; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_skewd"),
    ]);
    let daemon = Daemon::start_as(command, dir.path(), &OFTEN);
    daemon.feed(&as_json(&rows(160, 7)));
    daemon.wait_for_examples(160);
    let held: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&daemon.address).unwrap())
        .collect();
    assert!(
        daemon
            .try_post("/v1/examples", "application/x-ndjson", "{}")
            .is_none(),
        "a connection was answered although none could be accepted"
    );
    drop(held);
    daemon.feed(&as_json(&rows(160, 8)));
    daemon.wait_for_examples(320);
    assert_eq!(daemon.admin("POST", "/v1/checkpoint", "").0, 200);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_soft_limit_of_file_descriptors_is_raised_to_the_hard_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -S -n 64; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_skewd"),
    ]);
    let daemon = Daemon::start_as(command, dir.path(), &OFTEN);
    let held: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&daemon.address).unwrap())
        .collect();
    daemon.feed(&as_json(&rows(160, 7)));
    daemon.wait_for_examples(160);
    drop(held);
    assert_eq!(daemon.stop(), Some(0));
}

/// Names in the folder of the checkpoints, in order.
fn checkpoints(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.join("checkpoints"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Waits until the folder of the checkpoints looks so.
fn wait_for_files(dir: &Path, as_wanted: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !as_wanted(&checkpoints(dir)) {
        assert!(Instant::now() < deadline, "{:?}", checkpoints(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The value of a series without labels.
fn series(daemon: &Daemon, name: &str) -> u64 {
    let (_, text) = daemon.get("/metrics");
    let mut lines = text.as_str().unwrap().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_default().parse().unwrap()
}

#[test]
fn while_a_slow_disk_takes_one_checkpoint_no_other_is_begun_and_all_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skewd"));
    // Longer than the test: what is seen here is seen while the first one is being written.
    command.env("SKEWD_TEST_SLOW", "checkpoint.sync=600000");
    let daemon = Daemon::start_as(command, dir.path(), &OFTEN);
    daemon.feed(&as_json(&rows(64, 3)));
    wait_for_files(dir.path(), |names| names == [".writing-checkpoint"]);
    let mut learned = 64;
    for seed in 0..10 {
        daemon.feed(&as_json(&rows(128, seed)));
        learned += 128;
        daemon.wait_for_examples(learned);
        let (status, answer) =
            daemon.post("/v1/predict", "application/json", r#"{"rows":[[1,2,3,4]]}"#);
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(checkpoints(dir.path()), [".writing-checkpoint"]);
    assert_eq!(series(&daemon, "skewd_snapshots_total"), 0);
    let skipped = series(&daemon, "skewd_snapshots_skipped_total");
    assert!((1..=20).contains(&skipped), "{skipped} of at most 20");
    daemon.kill();
    // The journal has what no checkpoint got.
    let daemon = Daemon::start(dir.path(), &OFTEN);
    daemon.wait_for_examples(learned);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn bits_that_rot_in_a_kept_checkpoint_are_found_named_and_replaced_while_all_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [&OFTEN[..], &["checkpoint.scrub_every_seconds=1"]].concat();
    let daemon = Daemon::start(dir.path(), &settings);
    for seed in 1..=3 {
        daemon.feed(&as_json(&rows(64, seed)));
        daemon.wait_for_examples(64 * seed);
        assert_eq!(daemon.admin("POST", "/v1/checkpoint", "").0, 200);
    }
    let newest = checkpoints(dir.path()).pop().unwrap();
    let path = dir.path().join("checkpoints").join(&newest);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    daemon.wait_for("the damaged file to be named", |model| {
        let source = &model["source"];
        source["state"] == "degraded" && source["detail"].as_str().unwrap().contains(&newest)
    });
    daemon.feed(&as_json(&rows(64, 4)));
    daemon.wait_for_examples(256);
    // Whole ones are written at every look that finds damage, until the damaged one is no longer kept.
    daemon.wait_for("all to be well again", |model| {
        model["source"]["state"] == "running"
    });
    assert!(!checkpoints(dir.path()).contains(&newest));
    assert_eq!(series(&daemon, "skewd_snapshots_damaged"), 0);
    assert!(series(&daemon, "skewd_snapshot_scrubs_total") >= 2);
    assert_eq!(daemon.stop(), Some(0));
}

/// A log of a mebibyte, and checkpoints whose own rhythm would keep four times as much: they are written earlier.
#[test]
fn a_log_that_is_smaller_than_what_checkpoints_keep_never_stays_full() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "schema.features=a,b,c,d",
        "source.retention_bytes=1048576",
        "checkpoint.every_seconds=3600",
        "learner.batch_linger_ms=5",
    ];
    let daemon = Daemon::start(dir.path(), &settings);
    let lines = as_json(&rows(60_000, 23));
    for (number, chunk) in lines.chunks(3_000).enumerate() {
        let body = chunk.join("\n");
        let begun = Instant::now();
        while daemon.post("/v1/examples", "application/x-ndjson", &body).0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "the log stays full");
            std::thread::sleep(Duration::from_millis(20));
        }
        // With all of it learned no new state comes by itself.
        daemon.wait_for_examples(3_000 * (number as u64 + 1));
    }
    let (size, limit) = (lines.iter().map(String::len).sum::<usize>(), 1 << 20);
    assert!(size > 3 * limit, "{size}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_standard_error_that_nobody_reads_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_unheard(dir.path(), &OFTEN);
    let lines = as_json(&rows(3_200, 29));
    for (number, chunk) in lines.chunks(32).enumerate() {
        daemon.feed(chunk);
        daemon.wait_for_examples(32 * (number as u64 + 1));
        // Each says so in a line of more than a hundred bytes.
        assert_eq!(daemon.admin("POST", "/v1/checkpoint", "").0, 200);
    }
    assert_eq!(daemon.stop(), Some(0));
}
