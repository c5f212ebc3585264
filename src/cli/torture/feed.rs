//! The stream of a crash test: its records, the ways in which they come, and the learner that nobody disturbs.

use std::sync::Arc;

use super::victim::Victim;
use crate::cli::Failure;
use crate::codec::Intake;
use crate::config::Config;
use crate::crash::Dice;
use crate::example::Record;
use crate::learner::{Event, Learner};
use crate::stream::kafka::{self, check_brokers};
use crate::stream::producer::{Outgoing, produce};

/// The record at an offset; some are bad.
pub(super) fn record(offset: u64) -> String {
    let mut dice = Dice::new(offset);
    if dice.below(29) == 0 {
        return "{broken".to_owned();
    }
    let rare = dice.below(20) == 0;
    let mut value = || (dice.below(2000) as f64 - 1000.0 + if rare { 900.0 } else { 0.0 }) / 1000.0;
    format!(
        r#"{{"a":{},"b":{},"c":{},"d":{},"label":"{}"}}"#,
        value(),
        value(),
        value(),
        value(),
        if rare { "rare" } else { "common" }
    )
}

/// Where records go.
pub(super) enum Feed {
    /// The victim's own log, by its ingest.
    Embedded,
    /// A topic of one partition that began empty.
    Kafka(Box<kafka::Settings>),
}

impl Feed {
    /// A topic that can be used.
    ///
    /// # Errors
    /// 74 where brokers do not answer, 78 for a topic that is not empty or has several partitions.
    pub fn kafka(config: &Config, brokers: &str, topic: &str) -> Result<Self, Failure> {
        let mut settings = config.kafka.clone();
        brokers.clone_into(&mut settings.brokers);
        topic.clone_into(&mut settings.topic);
        let found = check_brokers(&settings).map_err(Failure::io)?;
        if found.partitions != 1 || found.records != 0 {
            return Err(Failure::config(format!(
                "topic {topic:?} has {} partitions and {} records: a crash test wants one partition and an empty topic",
                found.partitions, found.records
            )));
        }
        Ok(Self::Kafka(Box::new(settings)))
    }

    /// Settings that the victim needs for it.
    pub fn settings(&self) -> Vec<String> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Kafka(kafka) => vec![
                "source.kind=kafka".to_owned(),
                format!("kafka.brokers={}", kafka.brokers),
                format!("kafka.topic={}", kafka.topic),
                format!("kafka.insecure_plaintext={}", kafka.insecure_plaintext),
                "kafka.refresh_seconds=1".to_owned(),
            ],
        }
    }

    /// Sends the records from an offset on; how far they are acknowledged, if they were.
    pub fn send(&self, victim: &Victim, from: u64, count: u64) -> Option<u64> {
        match self {
            Self::Embedded => victim.post(from, count),
            Self::Kafka(kafka) => {
                let records = (from..from + count).map(|offset| {
                    Ok(Outgoing {
                        key: None,
                        payload: record(offset).into_bytes(),
                    })
                });
                let done = produce(kafka, records, None, |_| {}).ok()?;
                Some(from + done.delivered)
            }
        }
    }

    /// The offset after the last record.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn end(&self, victim: &Victim) -> Result<u64, Failure> {
        match self {
            Self::Embedded => victim
                .get("/v1/examples")
                .and_then(|bounds| bounds["next_offset"].as_u64())
                .ok_or_else(|| {
                    Failure::internal(
                        "the daemon does not tell how far its log goes, or has ended; repeat it with the same --seed",
                    )
                }),
            Self::Kafka(kafka) => {
                let found = check_brokers(kafka).map_err(Failure::io)?;
                u64::try_from(found.records).map_err(Failure::internal)
            }
        }
    }

    /// Crash points that it passes.
    pub fn passes(&self, point: &str) -> bool {
        matches!(self, Self::Embedded) || !point.starts_with("log.")
    }
}

/// The learner that nobody disturbs.
pub(super) struct Undisturbed {
    intake: Intake,
    learner: Learner,
    offset: u64,
}

impl Undisturbed {
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let intake = Intake::new(&config.schema, None);
        let mut learner = Learner::new(config.task()?);
        if let Some(schema) = intake.schema() {
            learner
                .handle(Event::Schema(Arc::clone(schema)))
                .map_err(Failure::internal)?;
        }
        Ok(Self {
            intake,
            learner,
            offset: 0,
        })
    }

    /// Digest after exactly so many examples; none when batches do not end there.
    pub fn digest_at(&mut self, examples: u64) -> Result<Option<String>, Failure> {
        let mut arrivals = Vec::new();
        while self.learner.examples() < examples {
            self.intake.push(
                Record::new(0, self.offset as i64, record(self.offset)),
                &mut arrivals,
            );
            self.offset += 1;
            for arrival in arrivals.drain(..) {
                self.learner
                    .handle(Event::Arrival(&arrival))
                    .map_err(Failure::internal)?;
            }
        }
        if self.learner.examples() != examples {
            return Ok(None);
        }
        let state = self.learner.save().map_err(Failure::internal)?;
        Ok(state.map(|state| state.digest()))
    }
}
