//! Loading records into a Kafka topic: what `skewd produce` does.

mod rows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::kafka::{Context, Role, Settings, client_config, explain, see_topic};

pub use rows::row_to_json;

/// Delivery reports are taken after this many records.
const REPORTS_EVERY: u64 = 256;
/// Longest wait for delivery reports before progress is shown again.
const TICK: Duration = Duration::from_millis(100);

/// One record to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// Decides the partition, if any.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Vec<u8>,
}

/// How far writing has come, by the brokers' own reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records handed to the client.
    pub sent: u64,
    /// Records that every replica has.
    pub delivered: u64,
    /// Bytes of their values.
    pub delivered_bytes: u64,
}

/// Why writing ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// A setting is wrong: exit code 78.
    #[error("{0}")]
    Settings(String),
    /// Brokers or the topic do not answer, or refuse: exit code 74.
    #[error("{0}")]
    Broker(String),
    /// The input is bad: exit code 65.
    #[error("{0}")]
    Input(String),
}

#[derive(Default)]
struct Delivered {
    progress: Progress,
    failure: Option<String>,
}

/// Counts delivery reports.
#[derive(Clone, Default)]
struct Reports {
    delivered: Arc<Mutex<Delivered>>,
    context: Arc<Context>,
}

impl Reports {
    fn delivered(&self) -> MutexGuard<'_, Delivered> {
        self.delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut delivered = self.delivered();
        match result {
            Ok(message) => {
                delivered.progress.delivered += 1;
                delivered.progress.delivered_bytes +=
                    message.payload().map_or(0, |value| value.len() as u64);
            }
            Err((error, _)) => {
                let reason = explain(error);
                delivered.failure.get_or_insert(reason);
            }
        }
    }
}

/// Writes `records` to `settings.topic`, at most `rate` a second, and waits until every one is reported
/// written. `progress` is called about ten times a second and at the end.
///
/// # Errors
/// A wrong setting, a missing topic, brokers that do not answer in time or do not take a
/// record, or the first bad record of the input.
pub fn produce(
    settings: &Settings,
    records: impl Iterator<Item = Result<Outgoing, String>>,
    rate: Option<f64>,
    mut progress: impl FnMut(Progress),
) -> Result<Progress, ProduceError> {
    let reports = Reports::default();
    let producer = connect(settings, &reports)?;
    let (begun, mut shown, mut sent) = (Instant::now(), Instant::now(), 0);
    let mut bad_input = None;
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(reason) => {
                bad_input = Some(ProduceError::Input(reason));
                break;
            }
        };
        pace(&producer, begun, sent, rate);
        send(&producer, &reports, settings, &record)?;
        sent += 1;
        if sent % REPORTS_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
        if shown.elapsed() >= TICK {
            shown = Instant::now();
            progress(look(&reports, sent)?);
        }
    }
    loop {
        let done = look(&reports, sent)?;
        progress(done);
        if done.delivered == sent {
            // What came before a bad record is written, so the rest can be loaded later.
            return bad_input.map_or(Ok(done), Err);
        }
        // Times out as long as reports are missing; a lost record ends in `look`.
        let _ = producer.flush(TICK);
    }
}

/// Makes the client and sees that the topic is there.
fn connect(settings: &Settings, reports: &Reports) -> Result<BaseProducer<Reports>, ProduceError> {
    let wrong =
        |(key, reason): (String, String)| ProduceError::Settings(format!("kafka.{key}: {reason}"));
    settings
        .check()
        .and_then(|()| settings.check_topic())
        .map_err(wrong)?;
    let mut config = client_config(settings, Role::Producer).map_err(wrong)?;
    if !settings
        .properties
        .keys()
        .any(|key| key == "linger.ms" || key == "queue.buffering.max.ms")
    {
        // Nobody waits for a single record here: larger batches are cheaper.
        config.set("linger.ms", "50");
    }
    // A producer that asks for a topic may create it, so something else asks.
    see_topic(settings).map_err(ProduceError::Broker)?;
    config
        .create_with_context(reports.clone())
        .map_err(|error| ProduceError::Settings(explain(&error)))
}

/// Holds back so that `sent` records take their time.
fn pace(producer: &BaseProducer<Reports>, begun: Instant, sent: u64, rate: Option<f64>) {
    let Some(rate) = rate.filter(|rate| *rate > 0.0) else {
        return;
    };
    let due = Duration::try_from_secs_f64(sent as f64 / rate).unwrap_or(Duration::MAX);
    loop {
        let left = due.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return;
        }
        producer.poll(left.min(TICK));
    }
}

fn send(
    producer: &BaseProducer<Reports>,
    reports: &Reports,
    settings: &Settings,
    record: &Outgoing,
) -> Result<(), ProduceError> {
    loop {
        let mut outgoing: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&settings.topic).payload(&record.payload);
        outgoing.key = record.key.as_deref();
        match producer.send(outgoing) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(TICK);
                look(reports, 0)?;
            }
            Err((error, _)) => {
                return Err(ProduceError::Broker(format!(
                    "topic {:?}: {}",
                    settings.topic,
                    explain(&error)
                )));
            }
        }
    }
}

fn look(reports: &Reports, sent: u64) -> Result<Progress, ProduceError> {
    let delivered = reports.delivered();
    match &delivered.failure {
        Some(reason) => Err(ProduceError::Broker(format!(
            "a record was not taken ({reason}); {} were written before the error was seen",
            delivered.progress.delivered
        ))),
        None => Ok(Progress {
            sent,
            ..delivered.progress
        }),
    }
}
