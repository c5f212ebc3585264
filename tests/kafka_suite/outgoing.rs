//! What skewd writes: dead letters and `produce`.

use std::time::Duration;

use bytes::Bytes;
use skewd::example::{Positions, Record};
use skewd::stream::kafka::{DeadLetterError, KafkaDeadLetters, SpooledDeadLetters};
use skewd::stream::producer::{Outgoing, ProduceError, Progress, produce};

use super::tools::*;
use super::{Cluster, Fragile};

fn bad_record() -> Record {
    Record {
        key: Some(Bytes::from_static(b"k\x00")),
        headers: vec![
            ("own".to_owned(), Some(Bytes::from_static(b"1"))),
            ("own".to_owned(), None),
        ],
        ..Record::new(3, 41, Bytes::from_static(b"\xff not json"))
    }
}

pub fn dead_letters_arrive_unchanged_with_their_reason(cluster: &dyn Cluster) {
    cluster.create_topic("letters", 1);
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "letters".to_owned();
    let mut letters = KafkaDeadLetters::open(&settings).expect("the settings are good");
    let tombstone = Record {
        payload: None,
        key: None,
        headers: Vec::new(),
        ..bad_record()
    };
    letters
        .write(&bad_record(), "syntax", "byte 0: not UTF-8")
        .expect("taken");
    letters
        .write(&tombstone, "tombstone", "no value")
        .expect("taken");
    letters.flush(PATIENCE).expect("delivered");
    assert_eq!(letters.pending(), 0);
    settings.topic = "letters".to_owned();
    settings.dead_letter_topic.clear();
    let records = read(&mut open(&settings, &Positions::default()), 2);
    assert_eq!(records[0].key, bad_record().key);
    assert_eq!(records[0].payload, bad_record().payload);
    assert_eq!(records[0].headers[..2], bad_record().headers);
    let told: Vec<(&str, &str)> = records[0].headers[2..]
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                std::str::from_utf8(value.as_deref().expect("a value")).expect("text"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("__connect.errors.topic", "examples"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "41"),
            ("__connect.errors.connector.name", "skewd"),
            ("__connect.errors.task.id", "0"),
            ("__connect.errors.stage", "VALUE_CONVERTER"),
            ("__connect.errors.exception.class.name", "syntax"),
            ("__connect.errors.exception.message", "byte 0: not UTF-8"),
        ]
    );
    assert_eq!((&records[1].payload, &records[1].key), (&None, &None));
}

pub fn a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so(cluster: &dyn Cluster) {
    cluster.create_topic("cut-letters", 1);
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "cut-letters".to_owned();
    let mut letters = KafkaDeadLetters::open(&settings).expect("the settings are good");
    let large = Record::new(0, 7, vec![b'y'; 3_000_000]);
    letters
        .write(&large, "too_large", "3000000 bytes")
        .expect("taken");
    letters.flush(PATIENCE).expect("delivered");
    settings.topic = "cut-letters".to_owned();
    settings.dead_letter_topic.clear();
    let records = read(&mut open(&settings, &Positions::default()), 1);
    assert_eq!(records[0].payload.as_ref().map(Bytes::len), Some(64 << 10));
    let (name, length) = records[0].headers.last().expect("a header");
    assert_eq!(
        (name.as_str(), length.as_deref()),
        ("skewd.value.bytes", Some(b"3000000".as_slice()))
    );
}

pub fn dead_letters_without_a_topic_stay_pending_and_go_out_once_it_is_there(
    cluster: &dyn Cluster,
) {
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "late-letters".to_owned();
    // librdkafka gives a missing topic 30 seconds to appear.
    settings
        .properties
        .set("topic.metadata.propagation.max.ms", "500");
    let mut letters = KafkaDeadLetters::open(&settings).expect("the settings are good");
    letters.write(&bad_record(), "syntax", "x").expect("taken");
    let error = letters.flush(Duration::from_millis(1500)).unwrap_err();
    assert!(
        matches!(error, DeadLetterError::Pending { pending: 1, .. }),
        "{error}"
    );
    cluster.create_topic("late-letters", 1);
    letters.flush(PATIENCE).expect("delivered");
    settings.topic = "late-letters".to_owned();
    settings.dead_letter_topic.clear();
    assert_eq!(
        read(&mut open(&settings, &Positions::default()), 1)[0].payload,
        bad_record().payload
    );
}

pub fn dead_letters_that_cannot_be_written_are_bounded(cluster: &dyn Fragile) {
    cluster.take_down();
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "never-there".to_owned();
    let mut letters = KafkaDeadLetters::open(&settings).expect("the settings are good");
    let record = Record::new(0, 0, vec![b'z'; 900_000]);
    let taken = (0..100)
        .take_while(|_| letters.write(&record, "syntax", "x").is_ok())
        .count();
    assert!(
        (30..40).contains(&taken),
        "{taken} letters of 900 kB fit into 32 MiB"
    );
    let error = letters.write(&record, "syntax", "x").unwrap_err();
    assert!(
        matches!(error, DeadLetterError::Full { pending, .. } if pending == taken),
        "{error}"
    );
}

/// Letters by their offsets, in the order of the topic.
fn letters_in(cluster: &dyn Cluster, topic: &str, count: usize) -> Vec<i64> {
    let settings = settings(cluster, topic);
    read(&mut open(&settings, &Positions::default()), count)
        .iter()
        .map(|record| text(record).parse().expect("an offset"))
        .collect()
}

fn numbered(offset: i64) -> Record {
    Record::new(0, offset, offset.to_string())
}

/// Tends until nothing waits on disk.
fn send_all(letters: &mut SpooledDeadLetters) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Some(trouble) = letters.trouble() {
        assert!(std::time::Instant::now() < deadline, "{trouble}");
        letters.tend().expect("the disk works");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn dead_letters_wait_on_disk_while_brokers_are_away_and_go_out_in_order(cluster: &dyn Fragile) {
    cluster.create_topic("patient-letters", 1);
    let dir = tempfile::tempdir().expect("a folder");
    let spool = dir.path().join("spool");
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "patient-letters".to_owned();
    let open = || SpooledDeadLetters::open(&settings, &spool).expect("the settings are good");
    let mut letters = open();
    letters.write(&numbered(0), "syntax", "x").expect("taken");
    letters.settle(PATIENCE).expect("delivered");
    assert_eq!(letters.trouble(), None);
    assert!(!spool.exists());
    cluster.take_down();
    for offset in 1..50 {
        letters
            .write(&numbered(offset), "syntax", "x")
            .expect("taken");
    }
    // What a checkpoint waits for; then it may go past these letters.
    letters.settle(Duration::from_millis(300)).expect("on disk");
    let trouble = letters.trouble().expect("letters wait");
    assert!(trouble.starts_with("49 dead letters wait in"), "{trouble}");
    for offset in 50..60 {
        letters
            .write(&numbered(offset), "syntax", "x")
            .expect("taken");
    }
    letters.settle(Duration::ZERO).expect("on disk");
    // As after a kill: nothing but what is on disk remains.
    drop(letters);
    let mut letters = open();
    letters.write(&numbered(60), "syntax", "x").expect("taken");
    letters.settle(Duration::ZERO).expect("on disk");
    cluster.bring_up();
    send_all(&mut letters);
    assert!(
        std::fs::read_dir(&spool)
            .expect("a folder")
            .next()
            .is_none()
    );
    letters.write(&numbered(61), "syntax", "x").expect("taken");
    letters.settle(PATIENCE).expect("delivered");
    let found = letters_in(cluster, "patient-letters", 62);
    assert_eq!(found, (0..62).collect::<Vec<i64>>());
}

pub fn more_dead_letters_than_memory_and_disk_take_are_refused_and_none_is_lost(
    cluster: &dyn Fragile,
) {
    cluster.create_topic("many-letters", 1);
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = settings(cluster, "examples");
    settings.dead_letter_topic = "many-letters".to_owned();
    settings.dead_letter_spool_bytes = 40 << 20;
    let mut letters = SpooledDeadLetters::open(&settings, dir.path()).expect("good settings");
    cluster.take_down();
    let large = |offset: i64| {
        let record = Record::new(0, offset, vec![b'z'; 500_000]);
        Record {
            key: Some(Bytes::from(offset.to_string())),
            ..record
        }
    };
    let taken = (0..200)
        .take_while(|offset| letters.write(&large(*offset), "syntax", "x").is_ok())
        .count();
    assert!((75..90).contains(&taken), "{taken} letters of 500 kB");
    let error = letters.write(&large(200), "syntax", "x").unwrap_err();
    assert!(
        matches!(error, DeadLetterError::Full { pending, .. } if pending == taken),
        "{error}"
    );
    letters.settle(Duration::ZERO).expect("on disk");
    cluster.bring_up();
    send_all(&mut letters);
    settings.topic = "many-letters".to_owned();
    settings.dead_letter_topic.clear();
    // The in-process cluster keeps 5 MiB a partition: the newest are there, in order.
    let mut source = open(&settings, &Positions::default());
    let last = (taken - 1).to_string();
    let mut keys = Vec::new();
    while keys.last() != Some(&last) {
        let record = read(&mut source, 1).remove(0);
        keys.push(text_of_key(&record));
    }
    let first = taken - keys.len();
    let expected: Vec<String> = (first..taken).map(|key| key.to_string()).collect();
    assert_eq!(keys, expected);
}

fn text_of_key(record: &Record) -> String {
    let key = record.key.as_deref().expect("a key");
    String::from_utf8(key.to_vec()).expect("text")
}

pub fn produced_records_arrive_with_java_s_partitions(cluster: &dyn Cluster) {
    cluster.create_topic("produced", 8);
    let mut settings = settings(cluster, "produced");
    settings.properties.set("compression.codec", "zstd");
    // murmur2 as in Kafka's own unit test, positive part, modulo 8.
    let keys = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
    ];
    let keyed = keys.map(|(key, _)| Outgoing {
        key: Some(key.as_bytes().to_vec()),
        payload: key.as_bytes().to_vec(),
    });
    let plain = (0..5000).map(|number| Outgoing {
        key: None,
        payload: format!("{{\"n\":{number}}}").into_bytes(),
    });
    let mut last = Progress::default();
    let done = produce(
        &settings,
        keyed.into_iter().chain(plain).map(Ok),
        None,
        |now| last = now,
    )
    .expect("written");
    assert_eq!((done.sent, done.delivered), (5003, 5003));
    assert_eq!(last, done, "the last progress is the result");
    let records = read(&mut open(&settings, &Positions::default()), 5003);
    assert_eq!(records.len(), 5003);
    for (key, hash) in keys {
        let record = records
            .iter()
            .find(|record| record.key.as_deref() == Some(key.as_bytes()));
        assert_eq!(
            record.map(|record| record.partition),
            Some((hash & i32::MAX) % 8),
            "{key}"
        );
    }
}

pub fn producing_names_what_is_wrong(cluster: &dyn Cluster) {
    let one = || {
        std::iter::once(Ok(Outgoing {
            key: None,
            payload: b"x".to_vec(),
        }))
    };
    let error = produce(&settings(cluster, "not-there"), one(), None, |_| {}).unwrap_err();
    assert!(
        matches!(&error, ProduceError::Broker(text) if text.contains("\"not-there\" does not exist")),
        "{error}"
    );
    cluster.create_topic("broken-input", 1);
    let input = vec![
        Ok(Outgoing {
            key: None,
            payload: b"x".to_vec(),
        }),
        Err("row 2: too short".to_owned()),
    ];
    let error = produce(
        &settings(cluster, "broken-input"),
        input.into_iter(),
        None,
        |_| {},
    )
    .unwrap_err();
    assert!(
        matches!(&error, ProduceError::Input(text) if text == "row 2: too short"),
        "{error}"
    );
    let mut owned = settings(cluster, "broken-input");
    owned.properties.set("acks", "0");
    let error = produce(&owned, one(), None, |_| {}).unwrap_err();
    assert!(
        matches!(&error, ProduceError::Settings(text) if text.contains("kafka.properties.acks")),
        "{error}"
    );
}
