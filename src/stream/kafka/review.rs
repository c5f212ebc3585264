//! Examples for a person to look at, to a Kafka topic: rare cases, or wrong labels.
//!
//! They are a convenience, and no part of what is exact: nothing waits for them. One that no broker takes within librdkafka's
//! time, or for which there is no room, is counted as lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::Settings;
use super::client::{Context, Role, client_config, explain};

/// What the delivery reports say.
#[derive(Clone, Default)]
struct Reports {
    sent: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    context: Arc<Context>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counted = if result.is_ok() {
            &self.sent
        } else {
            &self.lost
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

/// The writer of a review topic.
pub struct ReviewTopic {
    topic: String,
    producer: ThreadedProducer<Reports>,
    reports: Reports,
}

impl ReviewTopic {
    /// Makes the client; brokers may come later.
    ///
    /// # Errors
    /// The key of `[kafka]` that does not make a client, and why.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let reports = Reports::default();
        let producer = client_config(settings, Role::Producer)
            .map_err(|(key, reason)| format!("kafka.{key}: {reason}"))?
            .create_with_context(reports.clone())
            .map_err(|error| format!("kafka.review_topic: {}", explain(&error)))?;
        Ok(Self {
            topic: settings.review_topic.clone(),
            producer,
            reports,
        })
    }

    /// Sends an example, under its id where it has one. It never waits.
    pub fn send(&self, id: Option<&str>, value: &[u8]) {
        let record = BaseRecord::to(&self.topic).payload(value);
        let record: BaseRecord<'_, str, [u8]> = match id {
            Some(id) => record.key(id),
            None => record,
        };
        if self.producer.send(record).is_err() {
            self.reports.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Examples that brokers have taken, and that were lost, since the last call.
    pub fn take_counts(&self) -> (u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (take(&self.reports.sent), take(&self.reports.lost))
    }

    /// Waits so long for what is on its way.
    pub fn flush(&self, wait: Duration) {
        // An error means that time is up, and what is left is lost with the process.
        let _ = self.producer.flush(wait);
    }
}
