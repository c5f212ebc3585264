//! What ends the daemon, and what does not: dead threads, a data folder that goes away, no file descriptors left.

use std::net::TcpStream;
use std::process::Command;

use crate::support::{Daemon, as_json, rows};

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
