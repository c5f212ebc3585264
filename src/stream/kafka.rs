//! Kafka as a source: every partition assigned, positions from the checkpoint, nothing skipped silently.
//!
//! One thread owns the consumer ([`KafkaSource`] starts it) and hands over bounded batches. Positions come
//! from the caller and go into `assign()`; the broker's group offsets are written after a checkpoint, for
//! lag tools, and never read. A position that retention has passed, a log that ends before it, a lost
//! partition or another cluster is a [`Halt`](super::Halt). Holes inside a partition (compaction, control
//! records, aborted transactions) are normal.

mod client;
mod dead_letters;
mod fetch;
mod handover;
mod ledger;
mod letter_bytes;
mod opening;
mod proof;
mod properties;
mod reader;
mod review;
mod rules;
mod source;
mod spool;
mod spooled;
mod statistics;
mod topic_id;
mod upkeep;

use serde::{Deserialize, Serialize};

pub use dead_letters::{DeadLetterError, KafkaDeadLetters};
pub use handover::Counts;
pub use opening::{Report, check_brokers};
pub use properties::{Properties, Property};
pub use review::ReviewTopic;
pub use source::KafkaSource;
pub use spooled::SpooledDeadLetters;

#[cfg(test)]
pub(crate) use fetch::Batch;

pub(super) use client::{Context, Role, client_config, explain};
pub(super) use opening::see_topic;

/// The `[kafka]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `host:port` of one or more brokers, separated by commas.
    pub brokers: String,
    /// The topic with the examples.
    pub topic: String,
    /// The group under which positions are committed for lag tools.
    pub group: String,
    /// Where to begin when there is no checkpoint.
    pub start: Start,
    /// What to do when retention has removed records that were not read yet.
    pub on_gap: OnGap,
    /// Topic for bad records; empty = the file in `data_dir`.
    pub dead_letter_topic: String,
    /// Topic for examples whose label the model does not come to believe; empty = none.
    pub review_topic: String,
    /// Bytes of bad records that may wait in `data_dir` while their topic cannot be written.
    pub dead_letter_spool_bytes: u64,
    /// Whether records of open and aborted transactions are read.
    pub isolation: Isolation,
    /// Bytes of records that may wait in memory, over all partitions (at least 256 KiB each).
    pub memory_bytes: u64,
    /// Seconds between two looks at the topic: new partitions, its identity, whether brokers answer.
    pub refresh_seconds: u64,
    /// Allow an unencrypted connection to a broker on another machine.
    pub insecure_plaintext: bool,
    /// Allow properties that switch off the verification of certificates or host names.
    pub insecure_tls: bool,
    /// librdkafka properties, as they are.
    pub properties: Properties,
}

/// Where to begin when there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record that still exists.
    Earliest,
    /// At the end: only records that arrive from now on.
    Latest,
}

/// What to do when retention has removed records that were not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// Stop training and say exactly what is missing; predictions go on.
    Halt,
    /// Go on at the oldest record that still exists, and say so.
    Continue,
}

/// Whether records of open and aborted transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only what was committed.
    ReadCommitted,
    /// Everything, also what is aborted later.
    ReadUncommitted,
}

impl Isolation {
    fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// The smallest accepted `memory_bytes` and `dead_letter_spool_bytes`: a fetch of the usual size, or a large record, must fit.
const LEAST_BYTES: u64 = 1 << 20;

/// The longest topic name that Kafka knows.
const LONGEST_TOPIC: usize = 249;

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic: String::new(),
            group: "skewd".to_owned(),
            start: Start::Earliest,
            on_gap: OnGap::Halt,
            dead_letter_topic: String::new(),
            review_topic: String::new(),
            dead_letter_spool_bytes: 256 << 20,
            isolation: Isolation::ReadCommitted,
            memory_bytes: 64 << 20,
            refresh_seconds: 10,
            insecure_plaintext: false,
            insecure_tls: false,
            properties: Properties::default(),
        }
    }
}

impl Settings {
    /// Checks every value that is given; an empty topic is [`Settings::check_topic`]'s concern.
    ///
    /// # Errors
    /// The key inside the table, and what to change. No message holds the value of a property.
    pub fn check(&self) -> Result<(), (String, String)> {
        let refuse = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.brokers.trim().is_empty() {
            return refuse(
                "brokers",
                "is empty; give host:port of at least one broker".to_owned(),
            );
        }
        if self.group.is_empty() {
            return refuse(
                "group",
                "is empty; positions are committed under its name".to_owned(),
            );
        }
        for (key, topic) in [
            ("topic", &self.topic),
            ("dead_letter_topic", &self.dead_letter_topic),
            ("review_topic", &self.review_topic),
        ] {
            if !topic.is_empty() && !is_topic_name(topic) {
                return refuse(
                    key,
                    format!(
                        "{topic:?} is not a topic name: letters, digits, '.', '_' and '-', at most {LONGEST_TOPIC}"
                    ),
                );
            }
        }
        if !self.topic.is_empty() && self.dead_letter_topic == self.topic {
            return refuse(
                "dead_letter_topic",
                "is the topic itself: bad records would come back for ever".to_owned(),
            );
        }
        if !self.topic.is_empty() && self.review_topic == self.topic {
            return refuse(
                "review_topic",
                "is the topic itself: what is to be looked at would be read as bad records"
                    .to_owned(),
            );
        }
        for (key, bytes) in [
            ("memory_bytes", self.memory_bytes),
            ("dead_letter_spool_bytes", self.dead_letter_spool_bytes),
        ] {
            if bytes < LEAST_BYTES {
                return refuse(
                    key,
                    format!("{bytes} is too small; give at least {LEAST_BYTES}"),
                );
            }
        }
        if self.refresh_seconds == 0 {
            return refuse("refresh_seconds", "must be at least 1".to_owned());
        }
        self.check_properties()
    }

    /// Checks that a topic is named: needed as soon as Kafka is the source.
    ///
    /// # Errors
    /// The key inside the table, and what to change.
    pub fn check_topic(&self) -> Result<(), (String, String)> {
        if self.topic.is_empty() {
            return Err((
                "topic".to_owned(),
                "is empty; name the topic to learn from".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_properties(&self) -> Result<(), (String, String)> {
        let refuse = |key: &str, reason: String| Err((format!("properties.{key}"), reason));
        for key in self.properties.keys() {
            if let Some(reason) = rules::refusal(key) {
                return refuse(key, format!("is not yours to set: {reason}"));
            }
        }
        if !cfg!(feature = "tls")
            && let Some(key) = rules::needs_tls_feature(&self.properties)
        {
            return refuse(
                key,
                "needs TLS, and this skewd was built without it; use a release binary or the container image, or build \
                 with `cargo build --release --features tls`"
                    .to_owned(),
            );
        }
        if !self.insecure_tls
            && let Some(key) = rules::weakens_tls(&self.properties)
        {
            return refuse(
                key,
                "lets anyone in between read and change records; if you must, set kafka.insecure_tls = true".to_owned(),
            );
        }
        if !self.insecure_plaintext
            && !rules::uses_tls(&self.properties)
            && let Some(broker) = rules::remote_broker(&self.brokers)
        {
            return refuse(
                "security.protocol",
                format!(
                    "the connection to {broker} would not be encrypted; set it to ssl or sasl_ssl, or allow it with \
                     kafka.insecure_plaintext = true"
                ),
            );
        }
        client_config(self, Role::Producer)
            .and_then(|_| {
                client_config(
                    self,
                    Role::Consumer {
                        queued_kbytes: 1024,
                    },
                )
            })
            .map(|_| ())
            .map_err(|(key, reason)| (format!("properties.{key}"), reason))
    }
}

fn is_topic_name(topic: &str) -> bool {
    topic.len() <= LONGEST_TOPIC
        && topic != "."
        && topic != ".."
        && topic
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
