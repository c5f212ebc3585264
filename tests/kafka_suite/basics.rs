//! Records arrive: all of them, once, in order, as they were.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use skewd::example::Positions;
use skewd::stream::Source;
use skewd::stream::kafka::{Start, check_brokers};

use super::Cluster;
use super::tools::*;

pub fn every_record_of_every_partition_arrives_once_and_in_order(cluster: &dyn Cluster) {
    cluster.create_topic("all", 4);
    fill(cluster, "all", 4, 2500);
    let mut source = open(&settings(cluster, "all"), &Positions::default());
    let records = read(&mut source, 10_000);
    for (partition, numbers) in numbers_by_partition(&records) {
        assert_eq!(
            numbers,
            (0..2500).collect::<Vec<_>>(),
            "partition {partition}"
        );
    }
    expect_nothing(&mut source);
    assert_eq!(source.status().state, "running");
    assert_eq!(source.counts().repeated, 0);
    assert!(
        source.lag().values().all(|lag| *lag == 0),
        "{:?}",
        source.lag()
    );
    Filler::new(cluster, "all").fill(2, 2500..2510);
    assert_eq!(
        numbers_by_partition(&read(&mut source, 10))[&2],
        (2500..2510).collect::<Vec<_>>()
    );
}

pub fn a_backlog_comes_mixed_over_its_partitions(cluster: &dyn Cluster) {
    cluster.create_topic("mixed", 4);
    fill(cluster, "mixed", 4, 4000);
    let mut source = open(&settings(cluster, "mixed"), &Positions::default());
    let records = read(&mut source, 8000);
    for (partition, numbers) in numbers_by_partition(&records) {
        assert!(
            numbers.len() >= 1000,
            "partition {partition} gave {} of the first 8000",
            numbers.len()
        );
    }
}

pub fn keys_headers_empty_values_and_tombstones_arrive_as_they_were(cluster: &dyn Cluster) {
    cluster.create_topic("shapes", 1);
    let filler = Filler::new(cluster, "shapes");
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "twice",
            value: Some(b"1".as_slice()),
        })
        .insert(Header {
            key: "null",
            value: None::<&[u8]>,
        })
        .insert(Header {
            key: "twice",
            value: Some(b"\x00\xff".as_slice()),
        });
    filler.send(0, Some(b"key"), Some(b"value"), Some(headers));
    filler.send(0, None, Some(b""), None);
    filler.send(0, Some(b""), None, None);
    let large = vec![b'x'; 900_000];
    filler.send(0, None, Some(&large), None);
    filler.flush();
    let mut source = open(&settings(cluster, "shapes"), &Positions::default());
    let records = read(&mut source, 4);
    assert_eq!(records[0].key, Some(Bytes::from_static(b"key")));
    assert_eq!(records[0].payload, Some(Bytes::from_static(b"value")));
    assert!(
        records[0]
            .timestamp_ms
            .is_some_and(|time| time > 1_600_000_000_000)
    );
    assert_eq!(
        records[0].headers,
        [
            ("twice".to_owned(), Some(Bytes::from_static(b"1"))),
            ("null".to_owned(), None),
            ("twice".to_owned(), Some(Bytes::from_static(b"\x00\xff"))),
        ]
    );
    assert_eq!(
        (records[1].key.clone(), records[1].payload.clone()),
        (None, Some(Bytes::new()))
    );
    assert_eq!(
        (records[2].key.clone(), records[2].payload.clone()),
        (Some(Bytes::new()), None)
    );
    assert_eq!(records[3].payload.as_deref(), Some(large.as_slice()));
}

pub fn starting_at_the_end_reads_only_what_comes_later(cluster: &dyn Cluster) {
    cluster.create_topic("latest", 2);
    fill(cluster, "latest", 2, 100);
    let mut settings = settings(cluster, "latest");
    settings.start = Start::Latest;
    let mut source = open(&settings, &Positions::default());
    poll_until(&mut source, "running", |source| {
        source.status().state == "running"
    });
    expect_nothing(&mut source);
    let mut held = Positions::default();
    source.settle(&mut held);
    assert_eq!(
        held,
        positions(&[(0, 100), (1, 100)]),
        "a checkpoint knows where reading began"
    );
    drop(source);
    let filler = Filler::new(cluster, "latest");
    filler.fill(0, 100..105);
    filler.fill(1, 100..105);
    let records = read(&mut open(&settings, &held), 10);
    assert!(
        numbers_by_partition(&records)
            .values()
            .all(|numbers| *numbers == [100, 101, 102, 103, 104])
    );
}

pub fn a_slow_caller_bounds_what_waits_in_memory(cluster: &dyn Cluster) {
    cluster.create_topic("slow", 1);
    let filler = Filler::new(cluster, "slow");
    // Below the 5 MiB that librdkafka's own cluster keeps, above what may wait between the threads.
    for _ in 0..4800 {
        filler.send(0, None, Some(&[b'x'; 1000]), None);
    }
    filler.flush();
    let mut source = open(&settings(cluster, "slow"), &Positions::default());
    let mut records = read(&mut source, 1);
    // The reading thread has all the time to run ahead, and must not.
    std::thread::sleep(Duration::from_secs(1));
    let waiting = source.waiting_bytes();
    assert!((1..6 << 20).contains(&waiting), "{waiting} bytes wait");
    records.extend(read(&mut source, 4799));
    learn(&mut Positions::default(), &records);
    assert_eq!(source.waiting_bytes(), 0);
}

pub fn checking_tells_what_is_there(cluster: &dyn Cluster) {
    cluster.create_topic("checked", 3);
    fill(cluster, "checked", 3, 7);
    let mut settings = settings(cluster, "checked");
    let report = check_brokers(&settings).expect("all is well");
    assert_eq!((report.partitions, report.records), (3, 21));
    assert_eq!(report.topic, "checked");
    assert!(!report.brokers.is_empty());
    assert!(report.cluster.is_some());
    settings.dead_letter_topic = "nowhere".to_owned();
    let error = check_brokers(&settings).unwrap_err();
    assert!(
        error.contains("nowhere") && error.contains("kafka.dead_letter_topic"),
        "{error}"
    );
}
