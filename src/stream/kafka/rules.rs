//! Which librdkafka properties skewd sets itself, which would run foreign code, which are secrets.

use super::properties::Properties;

/// Properties that skewd must own: a name, a `prefix.*` or a `*suffix`, and the reason.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers instead"),
    ("metadata.broker.list", "set kafka.brokers instead"),
    ("group.id", "set kafka.group instead"),
    ("isolation.level", "set kafka.isolation instead"),
    ("enable.auto.commit", POSITIONS),
    ("enable.auto.offset.store", POSITIONS),
    ("auto.commit.*", POSITIONS),
    ("offset.store.*", POSITIONS),
    (
        "auto.offset.reset",
        "a lost position has to halt training, never jump; see kafka.start and kafka.on_gap",
    ),
    (
        "enable.partition.eof",
        "it is always on: positions pass control records by it",
    ),
    ("check.crcs", "it is always on"),
    (
        "allow.auto.create.topics",
        "skewd never creates a topic by reading it",
    ),
    ("group.instance.id", MEMBERSHIP),
    ("group.protocol*", MEMBERSHIP),
    ("group.remote.assignor", MEMBERSHIP),
    ("partition.assignment.strategy", MEMBERSHIP),
    ("session.timeout.ms", MEMBERSHIP),
    ("heartbeat.interval.ms", MEMBERSHIP),
    ("max.poll.interval.ms", MEMBERSHIP),
    ("queued.*", "it follows from kafka.memory_bytes"),
    (
        "fetch.queue.backoff.ms",
        "it follows from kafka.memory_bytes",
    ),
    ("statistics.interval.ms", "the lag metric depends on it"),
    ("log.queue", "skewd reads librdkafka's log itself"),
    ("enabled_events", "skewd reads librdkafka's events itself"),
    (
        "enable.idempotence",
        "it is always on: no record may be written twice",
    ),
    (
        "acks",
        "it is always all: a record counts once every replica has it",
    ),
    (
        "request.required.acks",
        "it is always all: a record counts once every replica has it",
    ),
    (
        "transactional.id",
        "skewd writes no transactions: its truth is the checkpoint",
    ),
    (
        "delivery.report.only.error",
        "every delivery report is counted",
    ),
    ("*_cb", CALLBACK),
    ("opaque", CALLBACK),
    ("default_topic_conf", CALLBACK),
    ("interceptors", CALLBACK),
    ("test.mock.*", "it replaces the brokers by simulated ones"),
    ("plugin.library.paths", CODE),
    ("sasl.kerberos.kinit.cmd", CODE),
    ("ssl.engine.*", CODE),
    ("ssl_engine_callback_data", CODE),
    ("ssl.providers", CODE),
];

const POSITIONS: &str =
    "positions live in the checkpoint; group offsets are committed after it, for lag tools only";
const MEMBERSHIP: &str = "one daemon reads every partition; it never joins a consumer group";
const CALLBACK: &str = "it is a pointer inside the program, not a value";
const CODE: &str = "it would run foreign code inside the daemon";

/// Properties whose values are never shown.
const SECRET: &[&str] = &[
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.*",
];

/// Read by consumers only: a producer would log a warning for each.
const CONSUMER_ONLY: &[&str] = &[
    "fetch.*",
    "max.partition.fetch.bytes",
    "consume.callback.max.messages",
];

/// Read by producers only.
const PRODUCER_ONLY: &[&str] = &[
    "linger.ms",
    "queue.buffering.*",
    "batch.*",
    "compression.*",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.timeout.ms",
    "message.send.max.retries",
    "retries",
    "partitioner",
    "sticky.partitioning.linger.ms",
    "queuing.strategy",
    "enable.gapless.guarantee",
    "transaction.timeout.ms",
];

fn matches(pattern: &str, key: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        key.starts_with(prefix)
    } else if let Some(suffix) = pattern.strip_prefix('*') {
        key.ends_with(suffix)
    } else {
        pattern == key
    }
}

/// Why a property is not the user's to set.
pub(super) fn refusal(key: &str) -> Option<&'static str> {
    OWNED
        .iter()
        .find(|(pattern, _)| matches(pattern, key))
        .map(|(_, reason)| *reason)
}

/// True for a property whose value is never shown.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET.iter().any(|pattern| matches(pattern, key))
}

pub(super) fn is_consumer_only(key: &str) -> bool {
    CONSUMER_ONLY.iter().any(|pattern| matches(pattern, key))
}

pub(super) fn is_producer_only(key: &str) -> bool {
    PRODUCER_ONLY.iter().any(|pattern| matches(pattern, key))
}

/// True when the connection is encrypted.
pub(super) fn uses_tls(properties: &Properties) -> bool {
    protocol(properties).ends_with("ssl")
}

/// The security protocol in lower case; `plaintext` is librdkafka's default.
pub(super) fn protocol(properties: &Properties) -> String {
    properties
        .text("security.protocol")
        .unwrap_or("plaintext")
        .to_ascii_lowercase()
}

/// Why a setup needs the `tls` feature, if it does.
pub(super) fn needs_tls_feature(properties: &Properties) -> Option<&'static str> {
    if uses_tls(properties) {
        return Some("security.protocol");
    }
    ["sasl.mechanisms", "sasl.mechanism"]
        .into_iter()
        .find(|key| {
            properties.text(key).is_some_and(|mechanism| {
                let mechanism = mechanism.to_ascii_uppercase();
                mechanism.starts_with("SCRAM") || mechanism == "OAUTHBEARER"
            })
        })
}

/// The property that weakens TLS, if one does.
pub(super) fn weakens_tls(properties: &Properties) -> Option<&'static str> {
    let is = |key: &str, value: &str| {
        properties
            .text(key)
            .is_some_and(|text| text.eq_ignore_ascii_case(value))
    };
    let verification = "enable.ssl.certificate.verification";
    let host_name = "ssl.endpoint.identification.algorithm";
    if ["false", "f", "0"].iter().any(|off| is(verification, off)) {
        Some(verification)
    } else if is(host_name, "none") {
        Some(host_name)
    } else {
        None
    }
}

/// The first broker of a `host:port,host:port` list that is not on this machine.
pub(super) fn remote_broker(brokers: &str) -> Option<&str> {
    brokers
        .split(',')
        .map(str::trim)
        .find(|broker| !is_loopback(broker))
}

fn is_loopback(broker: &str) -> bool {
    let address = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    let host = match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => address.rsplit_once(':').map_or(address, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
