//! Offsets that hold no record, and logs that are not what they were.

use skewd::example::Positions;
use skewd::stream::kafka::{KafkaSource, OnGap};
use skewd::stream::{Error, Halt, Source};

use crate::cluster::Broker;
use crate::kafka_suite::tools::*;

pub fn records_deleted_before_the_position_halt_with_the_exact_range(broker: &Broker) {
    broker.create("deleted", 1, &[]);
    fill(broker, "deleted", 1, 100);
    broker.delete_before("deleted", 0, 60);
    let mut source = open(&settings(broker, "deleted"), &positions(&[(0, 25)]));
    let (records, error) = read_until_error(&mut source);
    assert!(records.is_empty());
    let expected = Halt::Gap {
        partition: 0,
        have: 25,
        low: 60,
    };
    assert!(
        matches!(&error, Error::Halt(halt) if *halt == expected),
        "{error}"
    );
    assert!(error.to_string().contains("35 lost"), "{error}");
}

pub fn a_gap_that_is_allowed_is_counted(broker: &Broker) {
    broker.create("allowed", 1, &[]);
    fill(broker, "allowed", 1, 100);
    broker.delete_before("allowed", 0, 60);
    let mut settings = settings(broker, "allowed");
    settings.on_gap = OnGap::Continue;
    let mut source = open(&settings, &positions(&[(0, 25)]));
    assert_eq!(read(&mut source, 40)[0].offset, 60);
    assert_eq!(source.counts().lost_to_gaps, 35);
}

pub fn compaction_leaves_holes_that_are_no_loss(broker: &Broker) {
    broker.create(
        "compacted",
        1,
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "100"),
            ("max.compaction.lag.ms", "200"),
        ],
    );
    let filler = Filler::new(broker, "compacted");
    for number in 0..50 {
        filler.send(
            0,
            Some(b"same"),
            Some(format!("0:{number}").as_bytes()),
            None,
        );
    }
    filler.flush();
    std::thread::sleep(std::time::Duration::from_millis(300));
    // A record in a later segment lets the cleaner at the first one.
    filler.send(0, Some(b"other"), Some(b"0:50"), None);
    filler.flush();
    std::thread::sleep(std::time::Duration::from_millis(300));
    filler.send(0, Some(b"third"), Some(b"0:51"), None);
    filler.flush();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let mut source = open(&settings(broker, "compacted"), &positions(&[(0, 10)]));
        let mut records = Vec::new();
        while records
            .last()
            .is_none_or(|last: &skewd::example::Record| last.offset < 51)
        {
            source
                .poll(std::time::Duration::from_millis(100), 100, &mut records)
                .expect("holes are no loss");
        }
        if records.len() < 42 {
            // What is left is the last record of each key.
            assert!(records.iter().any(|record| record.offset == 51));
            assert!(source.counts().holes > 0);
            assert_eq!(source.status().state, "running");
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the broker did not compact"
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

pub fn aborted_transactions_are_not_read(broker: &Broker) {
    use rdkafka::producer::Producer as _;
    broker.create("transactions", 1, &[]);
    let filler = Filler::with(broker, "transactions", &[("transactional.id", "test")]);
    filler.producer().init_transactions(PATIENCE).unwrap();
    for (round, commit) in [(0, true), (1, false), (2, true)] {
        filler.producer().begin_transaction().unwrap();
        filler.fill(0, round * 10..(round + 1) * 10);
        if commit {
            filler.producer().commit_transaction(PATIENCE).unwrap();
        } else {
            filler.producer().abort_transaction(PATIENCE).unwrap();
        }
    }
    let mut source = open(&settings(broker, "transactions"), &Positions::default());
    let records = read(&mut source, 20);
    let numbers = numbers_by_partition(&records)[&0].clone();
    let expected: Vec<i64> = (0..10).chain(20..30).collect();
    assert_eq!(numbers, expected);
    expect_nothing(&mut source);
    // The markers after the last record are no records: a settled position stands behind them, and there is no lag.
    let mut held = Positions::default();
    for record in &records {
        held.advance(0, record.offset);
    }
    source.settle(&mut held);
    assert_eq!(held, positions(&[(0, 33)]));
    assert_eq!(source.lag().get(&0), Some(&0));
}

pub fn a_partition_that_is_added_is_read_from_its_beginning(broker: &Broker) {
    broker.create("growing", 1, &[]);
    fill(broker, "growing", 1, 10);
    let mut source = open(&settings(broker, "growing"), &Positions::default());
    let mut held = Positions::default();
    learn(&mut held, &read(&mut source, 10));
    broker.grow("growing", 3);
    let filler = Filler::new(broker, "growing");
    filler.fill(1, 0..20);
    filler.fill(2, 0..5);
    learn(&mut held, &read(&mut source, 25));
    assert_eq!(held, positions(&[(0, 10), (1, 20), (2, 5)]));
}

pub fn a_topic_made_anew_halts(broker: &Broker) {
    broker.create("anew", 1, &[]);
    fill(broker, "anew", 1, 20);
    let settings = settings(broker, "anew");
    let mut source = open(&settings, &Positions::default());
    read(&mut source, 20);
    let identity = source.identity().expect("brokers answered");
    drop(source);
    broker.delete("anew");
    broker.create("anew", 1, &[]);
    fill(broker, "anew", 1, 40);
    let mut source = KafkaSource::open(&settings, &positions(&[(0, 20)]), Some(identity.clone()))
        .expect("the settings are good");
    let (records, error) = read_until_error(&mut source);
    assert!(records.is_empty(), "records of another topic were read");
    assert!(
        matches!(&error, Error::Halt(Halt::IdentityChanged { expected, .. }) if *expected == identity),
        "{error}"
    );
}

/// The client may well learn of the new topic without ever hearing that the old one was gone; and the next regular look
/// at the topic is an hour away.
pub fn a_topic_made_anew_between_two_looks_halts_before_its_first_record(broker: &Broker) {
    for round in 0..4 {
        let topic = format!("instant-{round}");
        broker.create(&topic, 2, &[]);
        fill(broker, &topic, 2, 20);
        let mut settings = settings(broker, &topic);
        settings.refresh_seconds = 3600;
        let mut source = open(&settings, &Positions::default());
        read(&mut source, 40);
        let identity = source.identity().expect("brokers answered");
        broker.make_anew(&topic, 2);
        fill(broker, &topic, 2, 40);
        let (records, error) = read_until_error(&mut source);
        assert!(
            records.is_empty(),
            "{} records of another topic",
            records.len()
        );
        assert!(
            matches!(&error, Error::Halt(Halt::IdentityChanged { expected, .. }) if *expected == identity),
            "{error}"
        );
        assert_eq!(source.status().state, "halted");
    }
}

pub fn a_batch_whose_bytes_were_flipped_halts_and_nothing_of_it_is_learned(broker: &Broker) {
    broker.create("flipped", 1, &[]);
    let filler = Filler::new(broker, "flipped");
    for batch in 0..4 {
        filler.fill(0, batch * 20..(batch + 1) * 20);
    }
    broker.flip("flipped", "0:47");
    let mut source = open(&settings(broker, "flipped"), &Positions::default());
    let (records, error) = read_until_error(&mut source);
    let numbers = numbers_by_partition(&records)[&0].clone();
    assert_eq!(numbers, (0..40).collect::<Vec<i64>>());
    assert!(
        matches!(&error, Error::Halt(Halt::Refused(reason)) if reason.contains("offset 40")),
        "{error}"
    );
    assert_eq!(source.status().state, "halted");
}

pub fn a_broker_that_hangs_is_said_and_costs_nothing(broker: &Broker) {
    broker.create("hung", 2, &[]);
    fill(broker, "hung", 2, 50);
    let mut source = open(&settings(broker, "hung"), &Positions::default());
    let mut held = Positions::default();
    learn(&mut held, &read(&mut source, 100));
    broker.hang();
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        poll_until(&mut source, "degraded", |source| {
            let status = source.status();
            status.state == "degraded" && status.detail.contains("no answer from")
        })
    }));
    broker.wake();
    assert!(waited.unwrap().is_empty());
    let filler = Filler::new(broker, "hung");
    filler.fill(0, 50..60);
    filler.fill(1, 50..70);
    learn(&mut held, &read(&mut source, 30));
    assert_eq!(held, positions(&[(0, 60), (1, 70)]));
    assert_eq!(source.counts().repeated, 0);
}
