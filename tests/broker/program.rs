//! The whole program on a real broker.

use std::path::Path;

use crate::cluster::Broker;
use crate::kafka_suite::{Cluster as _, Fragile as _};
use crate::support::{self, Daemon, as_csv, file, rows, skewd, skewd_ok};

const EXACT: [&str; 4] = [
    "learner.batch_linger_ms=off",
    "learner.batch_size=48",
    "checkpoint.every_examples=960",
    "checkpoint.every_seconds=3600",
];

pub fn load(brokers: &str, topic: &str, path: &Path) {
    skewd_ok(&[
        "produce",
        path.to_str().unwrap(),
        "--topic",
        topic,
        "--brokers",
        brokers,
    ]);
}

fn serve(broker: &Broker, data: &Path, topic: &str) -> Daemon {
    let brokers = format!("kafka.brokers={}", broker.brokers());
    let topic = format!("kafka.topic={topic}");
    let mut settings = vec![
        "source.kind=kafka",
        "kafka.refresh_seconds=1",
        &brokers,
        &topic,
    ];
    settings.extend(EXACT);
    Daemon::start(data, &settings)
}

/// Digest and examples of a replay of the rows.
fn expected(dir: &Path, rows: &[(Vec<f64>, &'static str)]) -> (serde_json::Value, u64) {
    let path = file(dir, "all.csv", &as_csv(rows));
    let report = support::replay(dir, &[&path], &EXACT);
    (
        report["digest"].clone(),
        report["examples"].as_u64().unwrap(),
    )
}

fn ends_with(daemon: Daemon, digest: &serde_json::Value, examples: u64) {
    daemon.wait_for_examples(examples);
    let (status, saved) = daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(status, 200, "{saved}");
    assert_eq!(saved["digest"], *digest);
    assert_eq!(saved["examples"], examples);
    assert_eq!(daemon.stop(), Some(0));
}

pub fn killed_in_the_middle_a_topic_gives_the_digest_of_a_replay(broker: &Broker) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let rows = rows(20_011, 51);
    let (digest, examples) = expected(dir.path(), &rows);
    broker.create("program", 1, &[]);
    let halves = rows.split_at(9000);
    load(
        &broker.brokers(),
        "program",
        &file(dir.path(), "1.csv", &as_csv(halves.0)),
    );
    let daemon = serve(broker, &data, "program");
    daemon.wait_for_examples(4000);
    daemon.kill();
    let daemon = serve(broker, &data, "program");
    load(
        &broker.brokers(),
        "program",
        &file(dir.path(), "2.csv", &as_csv(halves.1)),
    );
    daemon.wait_for_examples(12_000);
    daemon.kill();
    ends_with(serve(broker, &data, "program"), &digest, examples);
}

pub fn a_broker_that_dies_costs_nothing(broker: &Broker) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let rows = rows(6011, 53);
    let (digest, examples) = expected(dir.path(), &rows);
    broker.create("dying", 1, &[]);
    let halves = rows.split_at(3000);
    load(
        &broker.brokers(),
        "dying",
        &file(dir.path(), "1.csv", &as_csv(halves.0)),
    );
    let daemon = serve(broker, &data, "dying");
    daemon.wait_for_examples(2976);
    broker.take_down();
    let row = r#"{"rows":[[0.1,0.2,0.3,0.4]]}"#;
    assert_eq!(daemon.post("/v1/predict", "application/json", row).0, 200);
    assert_eq!(daemon.get("/readyz").0, 200, "a stale model beats none");
    broker.bring_up();
    load(
        &broker.brokers(),
        "dying",
        &file(dir.path(), "2.csv", &as_csv(halves.1)),
    );
    ends_with(daemon, &digest, examples);
}

/// Loads while the broker may be down: where nobody answered nothing was written, and it is tried again.
fn load_in_spite_of_all(brokers: &str, topic: &str, path: &Path) {
    let path = path.to_str().unwrap();
    loop {
        let done = skewd(&["produce", path, "--topic", topic, "--brokers", brokers]);
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        match done.status.code() {
            Some(0) => return,
            Some(74) if errors.contains("no answer from") => {}
            code => panic!("{code:?}: {errors}"),
        }
    }
}

/// `SKEWD_TEST_TURNS` asks for more than the few of every run.
fn turns() -> usize {
    std::env::var("SKEWD_TEST_TURNS")
        .ok()
        .and_then(|turns| turns.parse().ok())
        .unwrap_or(5)
}

pub fn killed_in_turn_with_its_broker_it_loses_nothing_and_learns_nothing_twice(broker: &Broker) {
    const CHUNK: usize = 700;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let rows = rows(turns() * CHUNK + 11, 57);
    let (digest, examples) = expected(dir.path(), &rows);
    broker.create("turns", 1, &[]);
    let mut daemon = serve(broker, &data, "turns");
    for (turn, chunk) in rows.chunks(CHUNK).enumerate() {
        let path = file(dir.path(), &format!("{turn}.csv"), &as_csv(chunk));
        let brokers = broker.brokers();
        // Loading goes on while something dies.
        let loading = std::thread::spawn(move || load_in_spite_of_all(&brokers, "turns", &path));
        std::thread::sleep(std::time::Duration::from_millis(
            60 + 37 * (turn as u64 % 5),
        ));
        if turn % 2 == 0 {
            daemon.kill();
            daemon = serve(broker, &data, "turns");
        } else {
            broker.take_down();
            broker.bring_up();
        }
        loading.join().unwrap();
    }
    ends_with(daemon, &digest, examples);
}

pub fn the_crash_test_finds_nothing_on_a_broker(broker: &Broker) {
    broker.create("tortured", 1, &[]);
    let text = skewd_ok(&[
        "torture",
        "--kills",
        "5",
        "--seed",
        "9",
        "--brokers",
        &broker.brokers(),
        "--topic",
        "tortured",
    ]);
    assert!(text.contains("5 identical digests, 0 differ"), "{text}");
    assert!(text.contains("0 lost, 0 learned twice"), "{text}");
}
