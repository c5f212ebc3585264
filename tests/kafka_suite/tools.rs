//! Filling topics and draining sources, with bounds on every wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use skewd::example::{Positions, Record};
use skewd::stream::kafka::{KafkaSource, Settings};
use skewd::stream::{Error, Polled, Source};

use super::Cluster;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn settings(cluster: &dyn Cluster, topic: &str) -> Settings {
    Settings {
        brokers: cluster.brokers(),
        topic: topic.to_owned(),
        refresh_seconds: 1,
        ..Settings::default()
    }
}

pub fn open(settings: &Settings, saved: &Positions) -> KafkaSource {
    KafkaSource::open(settings, saved, None).expect("the settings are good")
}

/// A producer that tells nothing and waits at the end.
pub struct Filler {
    producer: BaseProducer,
    topic: String,
}

impl Filler {
    pub fn new(cluster: &dyn Cluster, topic: &str) -> Self {
        Self::with(cluster, topic, &[])
    }

    pub fn with(cluster: &dyn Cluster, topic: &str, properties: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.brokers());
        config.set("linger.ms", "5");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        Self {
            producer: config.create().expect("a producer"),
            topic: topic.to_owned(),
        }
    }

    pub fn producer(&self) -> &BaseProducer {
        &self.producer
    }

    /// Writes the text of `partition:number` for each number.
    pub fn fill(&self, partition: i32, numbers: std::ops::Range<i64>) {
        for number in numbers {
            self.send(
                partition,
                None,
                Some(format!("{partition}:{number}").as_bytes()),
                None,
            );
        }
        self.flush();
    }

    pub fn send(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(&self.topic).partition(partition);
            record.key = key;
            record.payload = payload;
            record.headers = headers.clone();
            match self.producer.send(record) {
                Ok(()) => return,
                Err((error, _))
                    if error.rdkafka_error_code()
                        == Some(rdkafka::types::RDKafkaErrorCode::QueueFull) =>
                {
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => panic!("cannot write: {error}"),
            }
        }
    }

    pub fn flush(&self) {
        self.producer
            .flush(PATIENCE)
            .expect("everything is written");
    }
}

/// Fills every partition with `count` records.
pub fn fill(cluster: &dyn Cluster, topic: &str, partitions: i32, count: i64) {
    let filler = Filler::new(cluster, topic);
    for partition in 0..partitions {
        filler.fill(partition, 0..count);
    }
}

/// Reads until there are `count` records.
pub fn read(source: &mut KafkaSource, count: usize) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records; the source says {:?}",
            records.len(),
            source.status()
        );
        let left = count - records.len();
        source
            .poll(Duration::from_millis(100), left, &mut records)
            .expect("the source goes on");
    }
    records
}

/// Polls until the source fails, and returns why.
pub fn read_until_error(source: &mut KafkaSource) -> (Vec<Record>, Error) {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    loop {
        match source.poll(Duration::from_millis(100), 1000, &mut records) {
            Err(error) => return (records, error),
            Ok(_) => assert!(
                Instant::now() < deadline,
                "no error after {} records; {:?}; {:?}",
                records.len(),
                source.status(),
                source.counts()
            ),
        }
    }
}

/// Polls until `condition`; records that arrive meanwhile are returned.
pub fn poll_until(
    source: &mut KafkaSource,
    what: &str,
    condition: impl Fn(&mut KafkaSource) -> bool,
) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while !condition(source) {
        assert!(
            Instant::now() < deadline,
            "never {what}; {:?}",
            source.status()
        );
        source
            .poll(Duration::from_millis(50), 1000, &mut records)
            .expect("the source goes on");
    }
    records
}

/// Asserts that nothing more comes in a while.
pub fn expect_nothing(source: &mut KafkaSource) {
    let mut records = Vec::new();
    for _ in 0..10 {
        let polled = source.poll(Duration::from_millis(50), 10, &mut records);
        assert_eq!(
            polled.expect("the source goes on"),
            Polled::Idle,
            "{records:?}"
        );
    }
}

/// Advances positions over records and asserts that each partition is gapless and in order.
pub fn learn(positions: &mut Positions, records: &[Record]) {
    for record in records {
        let next = positions.next(record.partition).unwrap_or(0);
        assert_eq!(record.offset, next, "partition {}", record.partition);
        positions.advance(record.partition, record.offset);
    }
}

pub fn text(record: &Record) -> &str {
    let payload = record.payload.as_deref().expect("a value");
    std::str::from_utf8(payload).expect("text")
}

pub fn positions(pairs: &[(i32, i64)]) -> Positions {
    Positions(pairs.iter().copied().collect())
}

pub fn numbers_by_partition(records: &[Record]) -> BTreeMap<i32, Vec<i64>> {
    let mut by_partition: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for record in records {
        let (partition, number) = text(record).split_once(':').expect("partition:number");
        assert_eq!(partition, record.partition.to_string());
        by_partition
            .entry(record.partition)
            .or_default()
            .push(number.parse().expect("a number"));
    }
    by_partition
}
