//! The librdkafka client: its configuration, what it logs, and what it complains about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Settings, rules, statistics};
use crate::example::Record;

/// At most one line of librdkafka's in this time: a broker that is away must not fill the log.
const QUIET: Duration = Duration::from_secs(10);

/// Complaints kept until they are looked at.
const COMPLAINTS_KEPT: usize = 64;

pub(super) type Consumer = BaseConsumer<Context>;

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Role {
    /// Asks for metadata and watermarks.
    Probe,
    /// Reads records, keeping at most this many KiB a partition.
    Consumer { queued_kbytes: u64 },
    /// Writes records.
    Producer,
}

/// The configuration of a client: what the user passed through, then what skewd owns.
///
/// # Errors
/// The name of the property at fault and the reason, without its value.
pub(in crate::stream) fn client_config(
    settings: &Settings,
    role: Role,
) -> Result<ClientConfig, (String, String)> {
    let mut config = ClientConfig::new();
    config.set_log_level(if settings.properties.contains("debug") {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Warning
    });
    config.set("client.id", "skewd");
    config.set("socket.keepalive.enable", "true");
    config.set("enable.metrics.push", "false");
    config.set("reconnect.backoff.max.ms", "2000");
    if rules::uses_tls(&settings.properties)
        && !settings
            .properties
            .keys()
            .any(|key| key.starts_with("ssl.ca."))
    {
        // The vendored OpenSSL would look for authorities in a folder that no system has.
        config.set("ssl.ca.location", "probe");
    }
    set_role_defaults(&mut config, role);
    for (key, value) in settings.properties.resolve()? {
        let foreign = match role {
            Role::Producer => rules::is_consumer_only(key),
            _ => rules::is_producer_only(key),
        };
        if !foreign {
            config.set(key, value);
        }
    }
    config.set("bootstrap.servers", settings.brokers.trim());
    set_owned(&mut config, settings, role);
    match config.create_native_config() {
        Ok(_) => Ok(config),
        Err(KafkaError::ClientConfig(result, _, key, _)) => Err((key, refused_value(result))),
        Err(error) => Err(("properties".to_owned(), explain(&error))),
    }
}

fn refused_value(result: rdkafka::types::RDKafkaConfRes) -> String {
    match result {
        rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
            "librdkafka knows no such property (its CONFIGURATION.md lists them all)".to_owned()
        }
        _ => {
            "librdkafka does not accept the value (its CONFIGURATION.md lists the range)".to_owned()
        }
    }
}

fn set_role_defaults(config: &mut ClientConfig, role: Role) {
    match role {
        Role::Probe => {}
        Role::Consumer { .. } => {
            config.set("fetch.max.bytes", (8 << 20).to_string());
            config.set("fetch.wait.max.ms", "100");
        }
        Role::Producer => {
            config.set("linger.ms", "5");
            config.set("compression.codec", "lz4");
            config.set("message.timeout.ms", "30000");
            // Java clients hash keys this way: the same key lands in the same partition.
            config.set("partitioner", "murmur2_random");
        }
    }
}

fn set_owned(config: &mut ClientConfig, settings: &Settings, role: Role) {
    match role {
        Role::Probe => {
            config.set("allow.auto.create.topics", "false");
        }
        Role::Consumer { queued_kbytes } => {
            config.set("allow.auto.create.topics", "false");
            config.set("group.id", settings.group.as_str());
            config.set("enable.auto.commit", "false");
            config.set("enable.auto.offset.store", "false");
            config.set("auto.offset.reset", "error");
            config.set("check.crcs", "true");
            config.set("enable.partition.eof", "true");
            config.set("isolation.level", settings.isolation.as_str());
            config.set("queued.max.messages.kbytes", queued_kbytes.to_string());
            // With full queues the default of 1 s would cost three quarters of the rate.
            config.set("fetch.queue.backoff.ms", "10");
            config.set("statistics.interval.ms", "5000");
        }
        Role::Producer => {
            config.set("enable.idempotence", "true");
        }
    }
}

/// A librdkafka error in words, without the values of settings.
pub(in crate::stream) fn explain(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => {
            format!("kafka.properties.{key}: librdkafka does not accept the value")
        }
        KafkaError::ClientCreation(reason) => reason.clone(),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

/// Something that a client complained about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::stream) struct Complaint {
    pub code: RDKafkaErrorCode,
    pub reason: String,
}

impl Complaint {
    /// How much the reason tells: a refusal says more than a lost connection.
    fn weight(&self) -> u8 {
        match self.code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL => 3,
            RDKafkaErrorCode::AllBrokersDown => 1,
            _ => 2,
        }
    }

    /// True when other credentials or certificates are needed.
    pub(super) fn is_refusal(&self) -> bool {
        self.weight() == 3
    }
}

/// Receives what librdkafka tells outside of records: log lines, complaints, statistics, commit results.
#[derive(Default)]
pub(in crate::stream) struct Context {
    heard: Mutex<Heard>,
}

/// What came on the client's own queue although it belongs to a partition's: brokers were faster than the split.
#[derive(Debug)]
pub(super) enum Stray {
    /// A record, before any of the partition's queue.
    Record(Record),
    /// The end of a partition.
    End(i32),
    /// An error, of some partition or of none.
    Error(RDKafkaErrorCode),
}

#[derive(Default)]
struct Heard {
    strays: Vec<Stray>,
    complaints: VecDeque<Complaint>,
    high: BTreeMap<i32, i64>,
    topic: String,
    spoke: Option<Instant>,
    silenced: u64,
}

impl Context {
    /// A context that keeps the statistics of `topic`.
    pub(super) fn of_topic(topic: &str) -> Self {
        let context = Self::default();
        context.heard().topic = topic.to_owned();
        context
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what belongs to a partition's queue.
    pub(super) fn keep(&self, stray: Stray) {
        self.heard().strays.push(stray);
    }

    /// What was kept since the last call, in its order.
    pub(super) fn take_strays(&self) -> Vec<Stray> {
        std::mem::take(&mut self.heard().strays)
    }

    /// Complaints since the last call.
    pub(in crate::stream) fn take_complaints(&self) -> Vec<Complaint> {
        self.heard().complaints.drain(..).collect()
    }

    /// The reason of the complaint that tells most. Complaints stay for who has to act on them.
    pub(super) fn main_complaint(&self) -> Option<String> {
        let heard = self.heard();
        let weightiest = heard.complaints.iter().max_by_key(|one| one.weight());
        weightiest.map(|complaint| complaint.reason.clone())
    }

    /// Keeps a complaint, once: a client that cannot connect repeats itself many times a second, and must not drown the one
    /// that tells why.
    fn complain(&self, code: RDKafkaErrorCode, reason: String) {
        let complaint = Complaint { code, reason };
        let mut heard = self.heard();
        if heard.complaints.contains(&complaint) {
            return;
        }
        if heard.complaints.len() == COMPLAINTS_KEPT {
            heard.complaints.pop_front();
        }
        heard.complaints.push_back(complaint);
    }

    /// The newest high watermarks from the statistics.
    pub(super) fn take_high_watermarks(&self) -> BTreeMap<i32, i64> {
        std::mem::take(&mut self.heard().high)
    }

    /// Says `line` unless something was said in the last ten seconds.
    pub(in crate::stream) fn warn_rarely(&self, line: &str) {
        let mut heard = self.heard();
        if heard.spoke.is_some_and(|spoke| spoke.elapsed() < QUIET) {
            heard.silenced += 1;
            return;
        }
        heard.spoke = Some(Instant::now());
        let silenced = std::mem::take(&mut heard.silenced);
        drop(heard);
        if silenced > 0 {
            tracing::warn!(lines_left_out = silenced, "kafka: {line}");
        } else {
            tracing::warn!("kafka: {line}");
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info => {
                tracing::debug!(facility, "librdkafka: {line}");
            }
            _ => self.warn_rarely(&format!("{facility} {line}")),
        }
        // Of a failed handshake librdkafka only writes a line: the error that follows is a lost connection.
        if facility == "FAIL" && line.contains("SSL handshake failed") {
            let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason);
            self.complain(RDKafkaErrorCode::SSL, reason.to_owned());
        }
    }

    fn stats_raw(&self, text: &[u8]) {
        let mut heard = self.heard();
        let topic = std::mem::take(&mut heard.topic);
        heard.high.extend(statistics::high_watermarks(text, &topic));
        heard.topic = topic;
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error, and the reader hears of it on the partition's own queue.
        let Some(code) = error
            .rdkafka_error_code()
            .filter(|code| *code != RDKafkaErrorCode::PartitionEOF)
        else {
            return;
        };
        let reason = if reason.is_empty() {
            code.to_string()
        } else {
            reason.to_owned()
        };
        self.warn_rarely(&reason);
        self.complain(code, reason);
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.warn_rarely(&format!(
                "positions could not be committed for lag tools ({}); training is not affected",
                explain(&error)
            ));
        }
    }
}
