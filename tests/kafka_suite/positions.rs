//! Positions: exact resume, and the cases in which training must stop.

use skewd::example::Positions;
use skewd::stream::kafka::KafkaSource;
use skewd::stream::{Error, Halt, Source};

use super::Cluster;
use super::tools::*;

/// A small generator with a fixed seed: stops differ from each other, runs do not.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub fn stops_at_any_record_lose_nothing_and_repeat_nothing(cluster: &dyn Cluster) {
    cluster.create_topic("stops", 4);
    fill(cluster, "stops", 4, 3000);
    let settings = settings(cluster, "stops");
    let mut held = Positions::default();
    let mut identity = None;
    let (mut dice, mut left) = (Dice(20), 12_000);
    while left > 0 {
        let count = usize::try_from(dice.roll(1500))
            .expect("small")
            .clamp(1, left);
        let mut source =
            KafkaSource::open(&settings, &held, identity.take()).expect("the settings are good");
        // `learn` asserts that each partition goes on exactly where it stopped.
        learn(&mut held, &read(&mut source, count));
        source.settle(&mut held);
        identity = source.identity();
        left -= count;
    }
    assert_eq!(
        held,
        positions(&[(0, 3000), (1, 3000), (2, 3000), (3, 3000)])
    );
    let mut source = open(&settings, &held);
    expect_nothing(&mut source);
    assert_eq!(source.status().state, "running");
}

pub fn offset_zero_is_a_position_like_any_other(cluster: &dyn Cluster) {
    cluster.create_topic("zero", 2);
    fill(cluster, "zero", 2, 3);
    let mut source = open(&settings(cluster, "zero"), &positions(&[(0, 0), (1, 3)]));
    assert_eq!(numbers_by_partition(&read(&mut source, 3))[&0], [0, 1, 2]);
    expect_nothing(&mut source);
}

pub fn a_log_that_ends_before_the_position_halts(cluster: &dyn Cluster) {
    cluster.create_topic("shorter", 2);
    fill(cluster, "shorter", 2, 10);
    let mut source = open(
        &settings(cluster, "shorter"),
        &positions(&[(0, 10), (1, 500)]),
    );
    let (records, error) = read_until_error(&mut source);
    assert!(records.is_empty());
    let expected = Halt::Truncated {
        partition: 1,
        have: 500,
        high: 10,
    };
    assert!(
        matches!(&error, Error::Halt(halt) if *halt == expected),
        "{error}"
    );
    assert_eq!(source.status().state, "halted");
    assert!(
        matches!(read_until_error(&mut source).1, Error::Halt(halt) if halt == expected),
        "it answers the same"
    );
}

pub fn a_partition_that_has_disappeared_halts(cluster: &dyn Cluster) {
    cluster.create_topic("fewer", 2);
    let mut source = open(&settings(cluster, "fewer"), &positions(&[(0, 0), (4, 7)]));
    let error = read_until_error(&mut source).1;
    assert!(
        matches!(&error, Error::Halt(Halt::PartitionLost { partition: 4, topic }) if topic == "fewer"),
        "{error}"
    );
}

pub fn another_cluster_or_topic_halts(cluster: &dyn Cluster) {
    cluster.create_topic("named", 1);
    fill(cluster, "named", 1, 5);
    let settings = settings(cluster, "named");
    let mut source = open(&settings, &Positions::default());
    read(&mut source, 5);
    let identity = source.identity().expect("brokers answered");
    assert!(identity.contains("/named"), "{identity}");
    let held = positions(&[(0, 5)]);
    for other in [
        "kafka:another-cluster/named",
        "kafka:/other-topic",
        "embedded",
    ] {
        let mut source = KafkaSource::open(&settings, &held, Some(other.to_owned()))
            .expect("the settings are good");
        let error = read_until_error(&mut source).1;
        let Error::Halt(Halt::IdentityChanged { expected, found }) = &error else {
            panic!("{error}");
        };
        assert_eq!((expected.as_str(), found), (other, &identity));
    }
}

pub fn a_missing_topic_is_awaited_and_read_once_it_is_there(cluster: &dyn Cluster) {
    let mut source = open(&settings(cluster, "later"), &Positions::default());
    poll_until(&mut source, "missing", |source| {
        source.status().detail.contains("does not exist")
    });
    assert_eq!(source.status().state, "degraded");
    cluster.create_topic("later", 1);
    fill(cluster, "later", 1, 5);
    assert_eq!(
        numbers_by_partition(&read(&mut source, 5))[&0],
        [0, 1, 2, 3, 4]
    );
    assert_eq!(source.status().state, "running");
}

pub fn group_offsets_follow_the_checkpoint(cluster: &dyn Cluster) {
    cluster.create_topic("commits", 2);
    fill(cluster, "commits", 2, 20);
    let mut settings = settings(cluster, "commits");
    settings.group = "lag-tools".to_owned();
    let mut source = open(&settings, &Positions::default());
    read(&mut source, 40);
    assert_eq!(
        committed(cluster, "lag-tools", "commits"),
        [None, None],
        "reading alone commits nothing"
    );
    source
        .checkpointed(&positions(&[(0, 13), (1, 20)]))
        .expect("noted");
    poll_until(&mut source, "committed", |_| {
        committed(cluster, "lag-tools", "commits") == [Some(13), Some(20)]
    });
    // They are for lag tools: reading begins where the checkpoint says.
    drop(source);
    let records = read(&mut open(&settings, &positions(&[(0, 2), (1, 20)])), 18);
    assert_eq!(records[0].offset, 2);
}

/// What a lag tool sees.
fn committed(cluster: &dyn Cluster, group: &str, topic: &str) -> [Option<i64>; 2] {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_range(topic, 0, 1);
    let offsets = consumer
        .committed_offsets(list, PATIENCE)
        .expect("an answer");
    [0, 1].map(|partition| {
        let element = offsets.find_partition(topic, partition)?;
        match element.offset() {
            rdkafka::Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    })
}
