//! SASL/SCRAM over TLS.

use skewd::example::Positions;
use skewd::stream::Source;
use skewd::stream::kafka::Settings;

use crate::cluster::{Broker, USER, shown};
use crate::kafka_suite::tools::*;
use crate::support::{Daemon, as_csv, file, rows, skewd_ok};

fn properties(broker: &Broker, password: &str, right_authority: bool) -> [String; 5] {
    [
        "security.protocol=sasl_ssl".to_owned(),
        "sasl.mechanisms=SCRAM-SHA-512".to_owned(),
        format!("sasl.username={}", USER.0),
        format!("sasl.password={password}"),
        format!(
            "ssl.ca.location={}",
            shown(&broker.authority(right_authority))
        ),
    ]
}

fn secured(broker: &Broker, topic: &str, password: &str, right_authority: bool) -> Settings {
    let mut settings = settings(broker, topic);
    settings.brokers = broker.secure_address();
    for pair in properties(broker, password, right_authority) {
        settings.properties.add_pair(&pair).unwrap();
    }
    settings
}

pub fn records_come_over_tls_with_scram(broker: &Broker) {
    broker.create("secure", 2, &[]);
    fill(broker, "secure", 2, 50);
    let mut source = open(
        &secured(broker, "secure", USER.1, true),
        &Positions::default(),
    );
    learn(&mut Positions::default(), &read(&mut source, 100));
}

/// Polls a source that can never be let in until it says so.
fn refused(settings: &Settings, password: &str) -> String {
    let mut source = open(settings, &Positions::default());
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut records = Vec::new();
    loop {
        if let Err(error) = source.poll(std::time::Duration::from_millis(100), 10, &mut records) {
            assert!(records.is_empty());
            return error.to_string();
        }
        let status = source.status();
        assert!(!status.detail.contains(password), "a secret in {status:?}");
        let words = ["uthentic", "certificate", "SSL"];
        if status.state == "degraded" && words.iter().any(|word| status.detail.contains(word)) {
            return status.detail;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "never refused: {status:?}"
        );
    }
}

pub fn a_wrong_password_is_said(broker: &Broker) {
    broker.create("locked", 1, &[]);
    let said = refused(
        &secured(broker, "locked", "wrong-horse-9", true),
        "wrong-horse-9",
    );
    assert!(said.contains("uthentic"), "{said}");
}

pub fn an_unknown_authority_is_said(broker: &Broker) {
    broker.create("forged", 1, &[]);
    let said = refused(&secured(broker, "forged", USER.1, false), USER.1);
    assert!(
        said.contains("certificate") || said.contains("SSL"),
        "{said}"
    );
}

pub fn the_program_produces_and_learns_over_tls(broker: &Broker) {
    let dir = tempfile::tempdir().unwrap();
    broker.create("secure-program", 1, &[]);
    let path = file(dir.path(), "x.csv", &as_csv(&rows(2000, 57)));
    let address = broker.secure_address();
    let properties = properties(broker, USER.1, true);
    let mut arguments = vec![
        "produce",
        path.to_str().unwrap(),
        "--topic",
        "secure-program",
        "--brokers",
        &address,
    ];
    for property in &properties {
        arguments.extend(["-X", property]);
    }
    skewd_ok(&arguments);
    let mut settings = vec![
        "source.kind=kafka".to_owned(),
        format!("kafka.brokers={address}"),
        "kafka.topic=secure-program".to_owned(),
    ];
    settings.extend(
        properties
            .iter()
            .map(|property| format!("kafka.properties.{property}")),
    );
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&dir.path().join("data"), &settings);
    daemon.wait_for_examples(2000);
    let (_, model) = daemon.get("/v1/model");
    assert!(!model.to_string().contains(USER.1), "the password is shown");
    assert_eq!(daemon.stop(), Some(0));
}
