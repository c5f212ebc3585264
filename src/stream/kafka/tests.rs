//! What the `[kafka]` table accepts.

use rdkafka::client::ClientContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::*;

fn refused(change: impl FnOnce(&mut Settings)) -> (String, String) {
    let mut settings = Settings {
        topic: "examples".to_owned(),
        ..Settings::default()
    };
    change(&mut settings);
    settings.check().unwrap_err()
}

#[test]
fn the_defaults_are_accepted_and_lack_only_a_topic() {
    assert_eq!(Settings::default().check(), Ok(()));
    assert_eq!(Settings::default().check_topic().unwrap_err().0, "topic");
}

#[test]
fn each_refusal_names_its_key() {
    let long = "x".repeat(LONGEST_TOPIC + 1);
    assert_eq!(refused(|s| s.brokers = " ".to_owned()).0, "brokers");
    assert_eq!(refused(|s| s.group.clear()).0, "group");
    for topic in ["..", "a topic", "t\u{f6}pic", &long] {
        assert_eq!(refused(|s| s.topic = topic.to_owned()).0, "topic");
    }
    assert_eq!(
        refused(|s| s.dead_letter_topic = s.topic.clone()).0,
        "dead_letter_topic"
    );
    assert_eq!(refused(|s| s.memory_bytes = 1000).0, "memory_bytes");
    assert_eq!(refused(|s| s.refresh_seconds = 0).0, "refresh_seconds");
}

#[test]
fn positions_cannot_be_given_away() {
    for key in ["auto.offset.reset", "enable.auto.commit", "group.id"] {
        let (at, reason) = refused(|s| s.properties.set(key, "x"));
        assert_eq!(at, format!("properties.{key}"));
        assert!(reason.contains("not yours to set"), "{reason}");
    }
}

#[test]
fn another_machine_is_not_reached_in_the_clear_unless_allowed() {
    let remote = |settings: &mut Settings| settings.brokers = "kafka.example.com:9092".to_owned();
    let (key, reason) = refused(remote);
    assert_eq!(key, "properties.security.protocol");
    assert!(reason.contains("kafka.example.com:9092"), "{reason}");
    let mut settings = Settings {
        insecure_plaintext: true,
        ..Settings::default()
    };
    remote(&mut settings);
    assert_eq!(settings.check(), Ok(()));
}

#[test]
fn an_unknown_property_and_a_bad_value_are_told_apart() {
    let (key, reason) = refused(|s| s.properties.set("fetch.max.bites", "1"));
    assert_eq!(key, "properties.fetch.max.bites");
    assert!(reason.contains("no such property"), "{reason}");
    let (key, reason) = refused(|s| s.properties.set("socket.timeout.ms", "soon"));
    assert_eq!(key, "properties.socket.timeout.ms");
    assert!(!reason.contains("soon"), "no value is shown: {reason}");
}

#[test]
#[cfg(not(feature = "tls"))]
fn without_tls_a_secure_connection_is_refused_with_what_to_do() {
    for (key, value) in [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
    ] {
        let (at, reason) = refused(|s| s.properties.set(key, value));
        assert_eq!(at, format!("properties.{key}"));
        assert!(reason.contains("--features tls"), "{reason}");
    }
}

#[test]
#[cfg(feature = "tls")]
fn verification_is_not_switched_off_by_accident() {
    let weaken = |settings: &mut Settings| {
        settings.properties.set("security.protocol", "ssl");
        settings
            .properties
            .set("enable.ssl.certificate.verification", "false");
    };
    let (key, reason) = refused(weaken);
    assert_eq!(key, "properties.enable.ssl.certificate.verification");
    assert!(reason.contains("insecure_tls"), "{reason}");
    let mut settings = Settings {
        insecure_tls: true,
        ..Settings::default()
    };
    weaken(&mut settings);
    assert_eq!(settings.check(), Ok(()));
}

#[test]
fn many_lost_connections_do_not_drown_the_refusal_that_caused_them() {
    let context = Context::default();
    context.error(
        KafkaError::Global(RDKafkaErrorCode::SSL),
        "certificate verify failed",
    );
    for _ in 0..1000 {
        context.error(
            KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
        );
    }
    let told = context.main_complaint();
    assert_eq!(told.as_deref(), Some("certificate verify failed"));
    let taken = context.take_complaints();
    assert!(
        taken.iter().any(client::Complaint::is_refusal),
        "telling it does not take it"
    );
    assert_eq!(context.main_complaint(), None);
}

#[test]
fn records_fetched_before_their_queue_is_split_come_first_and_none_is_lost() {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rdkafka::consumer::Consumer as _;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("hasty", 1, 1).unwrap();
    let settings = Settings {
        brokers: cluster.bootstrap_servers(),
        topic: "hasty".to_owned(),
        ..Settings::default()
    };
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .create()
        .unwrap();
    for number in ["0", "1", "2"] {
        let record = BaseRecord::<(), str>::to("hasty").payload(number);
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();

    let role = Role::Consumer { queued_kbytes: 256 };
    let consumer: client::Consumer = client_config(&settings, role)
        .unwrap()
        .create_with_context(Context::of_topic("hasty"))
        .unwrap();
    let consumer = Arc::new(consumer);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset("hasty", 0, rdkafka::Offset::Offset(0))
        .unwrap();
    consumer.assign(&list).unwrap();
    // The queue is not split before all three came on the client's own.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut kept = Vec::new();
    while kept.len() < 3 {
        assert!(Instant::now() < deadline, "kept {kept:?}");
        opening::serve(&consumer);
        let strays = consumer.context().take_strays();
        kept.extend(
            strays
                .into_iter()
                .filter(|one| matches!(one, client::Stray::Record(_))),
        );
    }
    kept.into_iter()
        .for_each(|one| consumer.context().keep(one));
    let begin = opening::Begin {
        partition: 0,
        saved: None,
        next: 0,
        high: 3,
        lost: 0,
    };
    let handover = Arc::new(handover::Handover::new(
        crate::stream::SourceStatus::running(),
    ));
    let queue = upkeep::split(&consumer, &settings, 0).unwrap();
    let mut lanes = [fetch::Lane::new(queue, &begin, &handover)];
    fetch::drain(&consumer, &mut lanes, &handover).hand_over(&handover);
    let taken = handover.take(Duration::from_secs(1));
    let handover::Taken::Item(handover::Item::Records(records, _)) = taken else {
        panic!("nothing was handed over");
    };
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}
