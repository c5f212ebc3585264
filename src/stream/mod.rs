//! Where records come from: the embedded log, Kafka, files. One trait, [`Source`].
//!
//! A source hands over [`Record`]s in the order of their offsets inside each partition and never skips
//! one silently: where the next record it was asked for is gone, it answers [`Halt`] and training stops.

mod connect_errors;
pub mod dead_letters;
pub mod embedded;
pub mod file;
mod files;
pub mod kafka;
pub mod producer;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::example::{Positions, Record};

/// The `[source]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which stream the daemon reads.
    pub kind: Kind,
    /// Payload bytes that the embedded log keeps; older records go once a checkpoint no longer needs them.
    pub retention_bytes: u64,
    /// What to do when more than half of the last 10,000 records are bad.
    pub on_poison: OnPoison,
}

/// What to do when most records are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// Say so and read on.
    Continue,
    /// Hold learning until an operator resumes it.
    Pause,
}

/// Which stream the daemon reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The durable log inside `data_dir`, filled by `POST /v1/examples`.
    Embedded,
    /// A Kafka topic.
    Kafka,
}

/// The smallest accepted `retention_bytes`: one record of the largest size must fit.
const LEAST_RETENTION_BYTES: u64 = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Embedded,
            retention_bytes: 1 << 30,
            on_poison: OnPoison::Continue,
        }
    }
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// The key inside the table, and what to change.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.retention_bytes < LEAST_RETENTION_BYTES {
            return Err((
                "retention_bytes".to_owned(),
                format!(
                    "{} is too small for a log; give at least {LEAST_RETENTION_BYTES} (1 MiB)",
                    self.retention_bytes
                ),
            ));
        }
        Ok(())
    }
}

/// A stream of records that can be read from given positions.
pub trait Source: Send {
    /// Appends up to `max` records to `out`, waiting at most `wait` for the first.
    ///
    /// # Errors
    /// [`Error::Halt`] when going on would lose or mix up records: every later call answers the same.
    /// Other errors may pass: the caller may try again.
    fn poll(&mut self, wait: Duration, max: usize, out: &mut Vec<Record>) -> Result<Polled, Error>;

    /// Tells the source that a checkpoint which holds `positions` is durable. Kafka commits them for lag
    /// tools. The embedded log may from then on drop what lies before them: give it the positions of the
    /// oldest checkpoint that is kept, so that every kept checkpoint can be gone on from.
    ///
    /// # Errors
    /// When the source could not note it. Training does not depend on it.
    fn checkpointed(&mut self, positions: &Positions) -> Result<(), Error>;

    /// True when the stream runs out of room, and checkpoints that stand further on would give it some.
    fn is_pressed(&self) -> bool {
        false
    }

    /// Records not read yet, per partition. An unknown lag is left out.
    fn lag(&mut self) -> BTreeMap<i32, i64>;

    /// How the source is doing, for `/readyz`, metrics and people.
    fn status(&self) -> SourceStatus;

    /// Adds to `positions` what no record can tell, just before they go into a checkpoint: where a partition
    /// begins that has given no record yet, and offsets without records (control records, compaction) after
    /// the last one. Only positions that stand at the last record handed over are moved.
    fn settle(&self, _positions: &mut Positions) {}

    /// What the positions belong to, to be kept beside them: a later source of another identity must not go on
    /// from them.
    fn identity(&self) -> String;

    /// The same, and what can be told of the last record before these positions.
    fn identity_at(&self, _positions: &Positions) -> String {
        self.identity()
    }
}

/// What a call of [`Source::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// At least one record was appended.
    Records,
    /// Nothing arrived in time.
    Idle,
    /// The input is over and nothing was appended: files only.
    End,
}

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// One of a closed set of words: `running`, `degraded` (it tries again by itself) or `halted`.
    pub state: &'static str,
    /// What is wrong and what to do; empty while running.
    pub detail: String,
}

impl SourceStatus {
    /// All is well.
    #[must_use]
    pub fn running() -> Self {
        Self {
            state: "running",
            detail: String::new(),
        }
    }

    /// Something is wrong that may pass by itself.
    #[must_use]
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self {
            state: "degraded",
            detail: detail.into(),
        }
    }

    /// Training has stopped until a person acts.
    #[must_use]
    pub fn halted(halt: &Halt) -> Self {
        Self {
            state: "halted",
            detail: halt.to_string(),
        }
    }
}

/// Why training must stop while predictions go on: the records that should come next are not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Retention removed records that were not read yet.
    #[error(
        "partition {partition}: records {have}..{low} are gone ({} lost to retention); restore the log; or run `skewd source reset`, to keep \
         the model and go on with what is there; or start with an empty data_dir (on Kafka, kafka.on_gap = \"continue\" goes on without them)",
        low - have
    )]
    Gap {
        /// The partition.
        partition: i32,
        /// The next offset that was wanted.
        have: i64,
        /// The oldest offset that still exists.
        low: i64,
    },
    /// The log ends before the position: it was truncated, replaced or made anew.
    #[error(
        "partition {partition}: the log ends at {high}, before position {have}, up to which it was learned: it was truncated or made anew; \
         restore the log; or run `skewd source reset`, to keep the model and learn what is there from its beginning; or start with \
         an empty data_dir"
    )]
    Truncated {
        /// The partition.
        partition: i32,
        /// The next offset that was wanted.
        have: i64,
        /// One past the newest offset that exists.
        high: i64,
    },
    /// The topic does not exist (any more).
    #[error("topic {topic:?} does not exist; create it, or correct kafka.topic")]
    TopicMissing {
        /// Its name.
        topic: String,
    },
    /// A partition that the checkpoint knows has disappeared.
    #[error(
        "partition {partition} of topic {topic:?} has disappeared: the topic was made anew; run `skewd source reset` to keep the model \
         and learn the new one, or start with an empty data_dir"
    )]
    PartitionLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The stream is another one than the checkpoint was learned from (cluster, topic or topic id differ).
    #[error(
        "the checkpoint was learned from {expected}, this source is {found}; put the right one back; or run `skewd source reset`, \
         to keep the model and learn this source from its beginning; or start with an empty data_dir"
    )]
    IdentityChanged {
        /// What the checkpoint names.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The source refuses us for good: credentials, rights, a corrupt log, a fenced client.
    #[error("{0}")]
    Refused(String),
}

/// Why a source could not deliver.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Training must stop, serving goes on.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// The input file is not what it should be: exit code 65.
    #[error("{0}")]
    Data(String),
    /// Reading failed; may pass.
    #[error("{0}")]
    Io(String),
    /// A thread of the source has died: a bug, exit code 70.
    #[error("{0}")]
    Dead(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_the_exact_range_and_what_to_do() {
        let text = Halt::Gap {
            partition: 3,
            have: 10,
            low: 25,
        }
        .to_string();
        assert!(text.contains("partition 3"), "{text}");
        assert!(text.contains("10..25 are gone (15 lost"), "{text}");
        assert!(text.contains("on_gap"), "{text}");
    }

    #[test]
    fn a_tiny_retention_is_refused_with_its_key() {
        let settings = Settings {
            retention_bytes: 10,
            ..Settings::default()
        };
        assert_eq!(settings.check().unwrap_err().0, "retention_bytes");
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn the_source_table_reads_the_documented_words() {
        let settings: Settings = toml::from_str("kind = \"kafka\"").unwrap();
        assert_eq!(settings.kind, Kind::Kafka);
        assert_eq!(settings.retention_bytes, 1 << 30);
    }
}
