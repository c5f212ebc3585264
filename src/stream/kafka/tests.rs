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
