//! The program on librdkafka's in-process cluster: loaded by `produce`, killed, restarted, and never off by one.

use std::path::Path;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::RDKafkaRespErr;

use crate::support::{self, Daemon, as_csv, as_json, file, rows, skewd_ok};

const EXACT: [&str; 4] = [
    "learner.batch_linger_ms=off",
    "learner.batch_size=48",
    "checkpoint.every_examples=480",
    "checkpoint.every_seconds=3600",
];

struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn with_topic(topic: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(topic, partitions, 1).unwrap();
        Self(cluster)
    }

    fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }

    fn load(&self, topic: &str, path: &Path) {
        skewd_ok(&[
            "produce",
            path.to_str().unwrap(),
            "--topic",
            topic,
            "--brokers",
            &self.brokers(),
        ]);
    }

    fn serve(&self, data: &Path, topic: &str, more: &[&str]) -> Daemon {
        let brokers = format!("kafka.brokers={}", self.brokers());
        let topic = format!("kafka.topic={topic}");
        let mut settings = vec!["source.kind=kafka", &brokers, &topic];
        settings.extend(EXACT);
        settings.extend(more);
        Daemon::start(data, &settings)
    }
}

#[test]
fn killed_in_the_middle_a_topic_of_one_partition_gives_the_digest_of_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let rows = rows(5011, 41);
    let whole = file(dir.path(), "whole.jsonl", &as_json(&rows).join("\n"));
    let report = support::replay(dir.path(), &[&whole], &EXACT);
    let examples = report["examples"].as_u64().unwrap();
    assert_eq!(examples, 5011 / 48 * 48);

    let cluster = Cluster::with_topic("examples", 1);
    // The first half as CSV, the second as JSON lines: on the topic they look the same.
    let first = file(dir.path(), "first.csv", &as_csv(&rows[..2500]));
    let second = file(
        dir.path(),
        "second.jsonl",
        &as_json(&rows[2500..]).join("\n"),
    );
    cluster.load("examples", &first);
    let daemon = cluster.serve(&data, "examples", &[]);
    daemon.wait_for_examples(1500);
    daemon.kill();
    let daemon = cluster.serve(&data, "examples", &[]);
    cluster.load("examples", &second);
    daemon.wait_for_examples(3500);
    daemon.kill();
    let daemon = cluster.serve(&data, "examples", &[]);
    daemon.wait_for_examples(examples);
    let (status, saved) = daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(status, 200, "{saved}");
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["digest"], report["digest"]);
    assert_eq!(model["digest_examples"], examples);
    assert_eq!(
        daemon.post("/v1/examples", "application/x-ndjson", "{}").0,
        409
    );
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn lag_falls_to_zero_and_bad_records_go_to_their_topic() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic("mixed", 3);
    cluster.0.create_topic("mixed.dead", 1, 1).unwrap();
    let mut lines = as_json(&rows(2000, 43));
    lines.insert(700, "{broken".to_owned());
    lines.insert(1400, "[1,2]".to_owned());
    let path = file(dir.path(), "mixed.jsonl", &lines.join("\n"));
    cluster.load("mixed", &path);
    let daemon = cluster.serve(
        &dir.path().join("data"),
        "mixed",
        &[
            "kafka.dead_letter_topic=mixed.dead",
            "schema.features=a,b,c,d",
        ],
    );
    daemon.wait_for_examples(2000 / 48 * 48);
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let (_, text) = daemon.get("/metrics");
        let text = text.as_str().unwrap().to_owned();
        let caught_up = (0..3).all(|partition| {
            text.contains(&format!(
                "skewd_consumer_lag_records{{topic=\"mixed\",partition=\"{partition}\"}} 0"
            ))
        });
        if caught_up && text.contains("skewd_dead_letters_total{reason=\"syntax\"} 1") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let consumer = reader_of(&cluster, "mixed.dead");
    let mut letters = 0;
    while letters < 2 {
        let message = consumer
            .poll(support::PATIENCE)
            .expect("a dead letter")
            .unwrap();
        let payload = rdkafka::Message::payload(&message).unwrap().to_vec();
        assert!([b"{broken".to_vec(), b"[1,2]".to_vec()].contains(&payload));
        let headers = rdkafka::Message::headers(&message).unwrap();
        let names: Vec<String> = rdkafka::message::Headers::iter(headers)
            .map(|header| header.key.to_owned())
            .collect();
        assert!(
            names.iter().any(|name| name == "__connect.errors.topic"),
            "{names:?}"
        );
        letters += 1;
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// A consumer of a topic's only partition, from its first record.
fn reader_of(cluster: &Cluster, topic: &str) -> rdkafka::consumer::BaseConsumer {
    let consumer: rdkafka::consumer::BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .set("group.id", "letters")
        .create()
        .unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, rdkafka::Offset::Beginning)
        .unwrap();
    rdkafka::consumer::Consumer::assign(&consumer, &assignment).unwrap();
    consumer
}

#[test]
fn dead_letters_that_their_topic_refuses_outlive_a_kill_on_disk_and_hold_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cluster = Cluster::with_topic("mixed", 1);
    cluster.0.create_topic("mixed.dead", 1, 1).unwrap();
    let refuse = |error| cluster.0.topic_error("mixed.dead", error).unwrap();
    refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    let mut lines = as_json(&rows(2000, 47));
    lines.insert(700, "{broken".to_owned());
    lines.insert(1400, "[1,2]".to_owned());
    cluster.load("mixed", &file(dir.path(), "mixed.jsonl", &lines.join("\n")));
    let settings = [
        "kafka.dead_letter_topic=mixed.dead",
        "schema.features=a,b,c,d",
    ];
    let daemon = cluster.serve(&data, "mixed", &settings);
    daemon.wait_for_examples(2000 / 48 * 48);
    let (status, saved) = daemon.admin("POST", "/v1/checkpoint", "");
    assert_eq!(status, 200, "{saved}");
    assert_eq!(saved["examples"], 2000 / 48 * 48);
    daemon.wait_for("the letters to be named", |model| {
        model["source"]["state"] == "degraded"
            && model["source"]["detail"]
                .as_str()
                .is_some_and(|detail| detail.starts_with("2 dead letters wait in"))
    });
    daemon.kill();
    refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    let daemon = cluster.serve(&data, "mixed", &settings);
    let consumer = reader_of(&cluster, "mixed.dead");
    for expected in ["{broken", "[1,2]"] {
        let message = consumer
            .poll(support::PATIENCE)
            .expect("a dead letter")
            .unwrap();
        let payload = rdkafka::Message::payload(&message).unwrap();
        assert_eq!(payload, expected.as_bytes());
    }
    daemon.wait_for("the spool to be empty", |model| {
        model["source"]["state"] == "running"
    });
    assert_eq!(daemon.stop(), Some(0));
}

/// What a few kilobytes of a compressed batch unfold to is held once, learned or refused record by record, and let go.
#[test]
fn a_compression_bomb_costs_its_records_and_no_more_memory_than_one_batch() {
    const BOMBS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic("bombs", 1);
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .set("compression.codec", "gzip")
        .set("compression.level", "9")
        .set("linger.ms", "10000")
        .set("batch.size", "100000000")
        .set("message.max.bytes", "100000000")
        .create()
        .unwrap();
    let lines = as_json(&rows(300, 47));
    // Some are just short enough to be records, some are not.
    let blanks = |count: usize| " ".repeat(count);
    let (near, beyond) = (blanks(1_000_000), blanks(1_048_577));
    let mut good = 0;
    for bomb in 0..BOMBS {
        for (at, line) in lines.iter().enumerate().take(60) {
            let wide = match at % 3 {
                0 => line.clone(),
                1 => format!("{near}{line}"),
                _ => format!("{beyond}{line}"),
            };
            good += u64::from(at % 3 < 2);
            let record = BaseRecord::<(), String>::to("bombs").payload(&wide);
            producer.send(record).unwrap();
        }
        producer.flush(support::PATIENCE).unwrap();
        for line in &lines[60 * (bomb + 1)..60 * (bomb + 1) + 48] {
            let record = BaseRecord::<(), str>::to("bombs").payload(line);
            producer.send(record).unwrap();
            good += 1;
        }
        producer.flush(support::PATIENCE).unwrap();
    }
    let more = ["schema.features=a,b,c,d", "learner.batch_size=1"];
    let daemon = cluster.serve(&dir.path().join("data"), "bombs", &more);
    daemon.wait_for("every record to be learned or refused", |model| {
        let counts = &model["counts"];
        counts["accepted"] == good && counts["rejected"]["too_large"] == BOMBS as u64 * 20
    });
    let peak = daemon.peak_kib();
    assert!(peak <= 256 * 1024, "{peak} KiB");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn examples_that_the_model_does_not_believe_go_to_the_review_topic_once() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic("labelled", 1);
    cluster.0.create_topic("labelled.review", 1, 1).unwrap();
    let lines = labelled();
    let path = file(dir.path(), "labelled.jsonl", &lines.join("\n"));
    cluster.load("labelled", &path);
    let daemon = cluster.serve(
        &dir.path().join("data"),
        "labelled",
        &["kafka.review_topic=labelled.review", "schema.id=id"],
    );
    daemon.wait_for_examples(20_000 / 48 * 48);
    let consumer = reader_of(&cluster, "labelled.review");
    let mut told = Vec::new();
    while !WRONG.iter().all(|row| told.contains(&format!("row-{row}"))) {
        let message = consumer
            .poll(support::PATIENCE)
            .expect("an example")
            .unwrap();
        let value = rdkafka::Message::payload(&message).unwrap();
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        let id = value["id"].as_str().unwrap().to_owned();
        assert_eq!(rdkafka::Message::key(&message), Some(id.as_bytes()));
        assert_eq!(value["topic"], "labelled");
        assert_eq!(id, format!("row-{}", value["offset"]));
        assert!(value["loss_now"].as_f64().unwrap() > 0.69, "{value}");
        assert!(!value["trail"].as_array().unwrap().is_empty());
        assert!(!told.contains(&id), "{id} came twice");
        told.push(id);
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_review_topic_that_cannot_be_written_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "kafka.brokers=127.0.0.1:1",
        "kafka.review_topic=nowhere",
        "learner.batch_size=48",
        "schema.id=id",
    ];
    let daemon = Daemon::start(&dir.path().join("data"), &settings);
    let lines = labelled();
    let post = |lines: &[String]| {
        let lines = lines.join("\n");
        let (status, answer) = daemon.post("/v1/examples", "application/x-ndjson", lines);
        assert_eq!(status, 200, "{answer}");
    };
    post(&lines[..19_000]);
    daemon.wait_for_examples(19_000 / 48 * 48);
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let (_, hardest) = daemon.get("/v1/hardest");
        let listed = hardest["persistent"].as_array().unwrap();
        if listed.iter().any(|example| example["id"] == "row-3001") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{hardest}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What could not be sent waits in memory, and learning goes on.
    post(&lines[19_000..]);
    daemon.wait_for_examples(20_000 / 48 * 48);
    assert_eq!(daemon.stop(), Some(0));
}

/// Places of [`labelled`] rows whose label is wrong.
const WRONG: [usize; 2] = [3001, 3500];

/// Rows that are easily told apart, with their places as ids; two early common ones are called rare. There are so many that
/// the list is reviewed, every 5,000, once both are 10,000 old.
fn labelled() -> Vec<String> {
    let mut rows = rows(20_000, 47);
    for (values, label) in &mut rows {
        let shift = if *label == "rare" { 4.0 } else { 0.0 };
        values.iter_mut().for_each(|value| *value += shift);
    }
    for row in WRONG {
        rows[row] = (vec![0.1, -0.1, 0.2, 0.0], "rare");
    }
    let lines = as_json(&rows).into_iter().enumerate();
    let with_id =
        lines.map(|(row, line)| line.replacen('{', &format!(r#"{{"id":"row-{row}","#), 1));
    with_id.collect()
}
