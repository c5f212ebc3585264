//! Bad records to a Kafka topic, as they came, with the reason in headers.
//!
//! Every letter is kept until a broker has reported it written: a position may go into a checkpoint only
//! once every bad record before it is delivered ([`KafkaDeadLetters::flush`]). A crash may send some twice;
//! topic, partition and offset in the headers tell which.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use super::Settings;
use super::client::{Context, Role, client_config, explain};
use super::handover::RECORD_OVERHEAD;
use crate::example::Record;
use crate::stream::connect_errors;

/// Bytes of letters that may wait in memory for brokers.
const WAITING_BYTES: usize = 32 << 20;

/// What is kept of a value that the dead-letter topic does not take whole.
const CUT_BYTES: usize = 64 << 10;

/// Between two looks at what was delivered.
const LOOK: Duration = Duration::from_millis(20);

/// Between two attempts to send again what librdkafka gave up on.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a dead letter was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// Too much waits for brokers: stop reading until [`KafkaDeadLetters::flush`] succeeds.
    #[error(
        "{pending} dead letters wait for topic {topic:?} ({reason}); reading stops until they are written"
    )]
    Full {
        /// The dead-letter topic.
        topic: String,
        /// Letters that wait.
        pending: usize,
        /// The last complaint of librdkafka's.
        reason: String,
    },
    /// Not everything was written in time.
    #[error("{pending} dead letters are not written to topic {topic:?} yet ({reason})")]
    Pending {
        /// The dead-letter topic.
        topic: String,
        /// Letters that wait.
        pending: usize,
        /// The last complaint of librdkafka's.
        reason: String,
    },
    /// The client could not be made.
    #[error("dead letters: {0}")]
    Client(String),
    /// They could not be kept on disk; the message names the file.
    #[error("dead letters: {0}")]
    Disk(String),
}

/// A bad record on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub record: Record,
    pub reason: String,
    pub detail: String,
    /// The topic does not take its value whole.
    pub is_cut: bool,
    /// Letters of a run are numbered as they come.
    pub number: u64,
}

impl Letter {
    pub(super) fn new(record: &Record, reason: &str, detail: &str) -> Self {
        Self {
            record: record.clone(),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            is_cut: false,
            number: 0,
        }
    }

    fn cost(&self) -> usize {
        let bytes = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        bytes(&self.record.payload) + bytes(&self.record.key) + self.detail.len() + RECORD_OVERHEAD
    }
}

/// What the delivery reports say.
#[derive(Default)]
struct Waiting {
    pending: usize,
    bytes: usize,
    /// Letters that librdkafka gave up on: to be sent again.
    failed: VecDeque<Box<Letter>>,
    reason: String,
}

/// Receives delivery reports.
#[derive(Clone)]
struct Reports {
    waiting: Arc<Mutex<Waiting>>,
    context: Arc<Context>,
}

impl Reports {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        reason.clone_into(&mut self.waiting().reason);
        self.context.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Letter>;

    fn delivery(&self, result: &DeliveryResult<'_>, mut letter: Box<Letter>) {
        let mut waiting = self.waiting();
        match result {
            Ok(_) => {
                waiting.pending -= 1;
                waiting.bytes -= letter.cost();
            }
            Err((error, _)) => {
                letter.is_cut |= is_too_large(error);
                waiting.reason = explain(error);
                waiting.failed.push_back(letter);
            }
        }
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// The writer of dead letters.
pub struct KafkaDeadLetters {
    settings: Settings,
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    sent_again: Option<Instant>,
    /// Letters that were taken.
    posted: u64,
}

impl KafkaDeadLetters {
    /// Makes the client; brokers may come later.
    ///
    /// # Errors
    /// When the settings do not make a client.
    pub fn open(settings: &Settings) -> Result<Self, DeadLetterError> {
        let reports = Reports {
            waiting: Arc::default(),
            context: Arc::default(),
        };
        Ok(Self {
            producer: make_producer(settings, &reports)?,
            settings: settings.clone(),
            reports,
            sent_again: None,
            posted: 0,
        })
    }

    /// Takes a bad record: `reason` of the closed set, `detail` for people. Key, value and headers go out
    /// unchanged; a value that the topic does not take is cut, and says so in a header.
    ///
    /// # Errors
    /// [`DeadLetterError::Full`] when too much waits already: the record was not taken.
    pub fn write(
        &mut self,
        record: &Record,
        reason: &str,
        detail: &str,
    ) -> Result<(), DeadLetterError> {
        self.send_again()?;
        let letter = Letter::new(record, reason, detail);
        let waiting = self.reports.waiting();
        if waiting.pending > 0 && waiting.bytes + letter.cost() > WAITING_BYTES {
            return Err(DeadLetterError::Full {
                topic: self.settings.dead_letter_topic.clone(),
                pending: waiting.pending,
                reason: waiting.reason.clone(),
            });
        }
        drop(waiting);
        self.post(letter);
        Ok(())
    }

    /// Takes a letter, however much waits.
    pub(super) fn post(&mut self, mut letter: Letter) {
        self.posted += 1;
        letter.number = self.posted;
        let mut waiting = self.reports.waiting();
        waiting.pending += 1;
        waiting.bytes += letter.cost();
        drop(waiting);
        self.send(Box::new(letter));
    }

    /// Sends what failed once more, when its time has come.
    pub(super) fn tend(&mut self) -> Result<(), DeadLetterError> {
        self.send_again()
    }

    /// Gives every letter back that no broker has reported written, in the order in which they came.
    ///
    /// # Errors
    /// When librdkafka does not let go of them all within `wait`: then all stay here.
    pub(super) fn take_back(&mut self, wait: Duration) -> Result<Vec<Letter>, DeadLetterError> {
        let deadline = Instant::now() + wait;
        loop {
            // What was not sent and what was not answered comes back as failed; the latter may be written all the same.
            self.producer
                .purge(PurgeConfig::default().queue().inflight());
            // An error here means that time is up.
            let _ = self.producer.flush(LOOK);
            let mut waiting = self.reports.waiting();
            if waiting.failed.len() == waiting.pending {
                waiting.pending = 0;
                waiting.bytes = 0;
                let failed = std::mem::take(&mut waiting.failed);
                drop(waiting);
                let mut letters: Vec<Letter> = failed.into_iter().map(|letter| *letter).collect();
                letters.sort_by_key(|letter| letter.number);
                return Ok(letters);
            }
            drop(waiting);
            if Instant::now() >= deadline {
                return Err(self.not_written());
            }
        }
    }

    /// The error of a caller that cannot take more for this topic.
    pub(super) fn full(&self, pending: usize) -> DeadLetterError {
        DeadLetterError::Full {
            topic: self.settings.dead_letter_topic.clone(),
            pending,
            reason: self.reports.waiting().reason.clone(),
        }
    }

    /// The topic, and the last complaint about it.
    pub(super) fn told(&self) -> String {
        let topic = &self.settings.dead_letter_topic;
        match self.reports.waiting().reason.as_str() {
            "" => format!("topic {topic:?}"),
            reason => format!("topic {topic:?} ({reason})"),
        }
    }

    fn not_written(&self) -> DeadLetterError {
        let waiting = self.reports.waiting();
        DeadLetterError::Pending {
            topic: self.settings.dead_letter_topic.clone(),
            pending: waiting.pending,
            reason: waiting.reason.clone(),
        }
    }

    /// Waits until every letter is written.
    ///
    /// # Errors
    /// [`DeadLetterError::Pending`] when some are not within `wait`: no checkpoint may be written now.
    pub fn flush(&mut self, wait: Duration) -> Result<(), DeadLetterError> {
        let deadline = Instant::now() + wait;
        loop {
            self.send_again()?;
            if self.pending() == 0 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.not_written());
            }
            // An error here means that time is up; the next round says how many wait.
            let _ = self.producer.flush(left.min(LOOK));
        }
    }

    /// Letters that no broker has reported written.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.reports.waiting().pending
    }

    fn send(&self, letter: Box<Letter>) {
        let headers = headers_of(&letter, &self.settings.topic);
        let record = letter.record.clone();
        let payload = record.payload.as_deref().map(|value| match letter.is_cut {
            true => &value[..value.len().min(CUT_BYTES)],
            false => value,
        });
        let mut outgoing: BaseRecord<'_, [u8], [u8], Box<Letter>> =
            BaseRecord::with_opaque_to(&self.settings.dead_letter_topic, letter).headers(headers);
        outgoing.key = record.key.as_deref();
        outgoing.payload = payload;
        if let Err((error, outgoing)) = self.producer.send(outgoing) {
            let mut letter = outgoing.delivery_opaque;
            letter.is_cut |= is_too_large(&error);
            let mut waiting = self.reports.waiting();
            waiting.reason = explain(&error);
            waiting.failed.push_back(letter);
        }
    }

    /// Sends what failed once more, with a new client when the old one is beyond repair.
    fn send_again(&mut self) -> Result<(), DeadLetterError> {
        let is_early = self.sent_again.is_some_and(|time| time.elapsed() < AGAIN);
        if is_early || self.reports.waiting().failed.is_empty() {
            return Ok(());
        }
        self.sent_again = Some(Instant::now());
        if self.producer.client().fatal_error().is_some() {
            // Dropping the old client reports all that it still holds as failed.
            self.producer = make_producer(&self.settings, &self.reports)?;
        }
        let failed = std::mem::take(&mut self.reports.waiting().failed);
        for letter in failed {
            self.send(letter);
        }
        Ok(())
    }
}

fn make_producer(
    settings: &Settings,
    reports: &Reports,
) -> Result<ThreadedProducer<Reports>, DeadLetterError> {
    client_config(settings, Role::Producer)
        .map_err(|(key, reason)| DeadLetterError::Client(format!("kafka.{key}: {reason}")))?
        .create_with_context(reports.clone())
        .map_err(|error| DeadLetterError::Client(explain(&error)))
}

/// The record's own headers, then where it came from and why it is here.
fn headers_of(letter: &Letter, topic: &str) -> OwnedHeaders {
    let record = &letter.record;
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 9);
    for (key, value) in &record.headers {
        headers = headers.insert(Header {
            key,
            value: value.as_deref(),
        });
    }
    let mut tell = connect_errors::headers(topic, record, &letter.reason, &letter.detail).to_vec();
    if letter.is_cut {
        let length = record.payload.as_ref().map_or(0, bytes::Bytes::len);
        tell.push(("skewd.value.bytes", length.to_string()));
    }
    for (key, value) in &tell {
        headers = headers.insert(Header {
            key,
            value: Some(value.as_bytes()),
        });
    }
    headers
}
