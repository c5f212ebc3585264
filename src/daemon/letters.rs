//! Dead letters: a reject is written down before the record is forgotten, or the source waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::Reject;
use crate::example::Record;
use crate::stream::dead_letters::FileDeadLetters;
use crate::stream::kafka::SpooledDeadLetters;
use crate::telemetry;

/// How long a checkpoint waits for the reports of the dead letters before it.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// A sink that fails is tried again after this long.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// A failing sink is reported this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where rejects go.
pub(super) enum Sink {
    /// A file in the data folder.
    File(FileDeadLetters),
    /// A Kafka topic, over the disk while it cannot be written.
    Kafka(Box<SpooledDeadLetters>),
}

/// The sink, and the rejects that it has not taken yet. While there are any, no further record is read.
pub(super) struct Letters {
    sink: Sink,
    topic: String,
    waiting: VecDeque<(Record, Reject)>,
    tried: Option<Instant>,
    complained: Option<Instant>,
}

impl Letters {
    pub fn new(sink: Sink, topic: String) -> Self {
        Self {
            sink,
            topic,
            waiting: VecDeque::new(),
            tried: None,
            complained: None,
        }
    }

    /// Takes a reject.
    pub fn post(&mut self, record: &Record, reject: &Reject) {
        if !reject.reason.is_dead_letter() {
            return;
        }
        if self.waiting.is_empty() {
            match self.write(record, reject) {
                Ok(()) => return,
                Err(reason) => self.failed(&reason),
            }
        }
        self.waiting.push_back((record.clone(), reject.clone()));
    }

    /// Writes what waits; true when nothing waits any more.
    pub fn deliver(&mut self) -> bool {
        if let Sink::Kafka(topic) = &mut self.sink
            && let Err(error) = topic.tend()
        {
            self.failed(&error.to_string());
        }
        if self.waiting.is_empty() {
            return true;
        }
        if self.tried.is_some_and(|at| at.elapsed() < RETRY_EVERY) {
            return false;
        }
        while let Some((record, reject)) = self.waiting.pop_front() {
            if let Err(reason) = self.write(&record, &reject) {
                self.waiting.push_front((record, reject));
                self.failed(&reason);
                return false;
            }
        }
        true
    }

    /// True when everything taken so far is durable: only then may a checkpoint go past it.
    pub fn settled(&mut self) -> bool {
        if !self.waiting.is_empty() || self.tried.is_some_and(|at| at.elapsed() < RETRY_EVERY) {
            return false;
        }
        let flushed = match &mut self.sink {
            Sink::File(file) => file.flush().map_err(|error| error.to_string()),
            Sink::Kafka(topic) => topic
                .settle(SETTLE_WITHIN)
                .map_err(|error| error.to_string()),
        };
        match flushed {
            Ok(()) => {
                self.tried = None;
                true
            }
            Err(reason) => {
                self.failed(&reason);
                false
            }
        }
    }

    fn write(&mut self, record: &Record, reject: &Reject) -> Result<(), String> {
        let written: Result<(), String> = match &mut self.sink {
            Sink::File(file) => file
                .write(&self.topic, record, reject)
                .map_err(|error| error.to_string()),
            Sink::Kafka(topic) => topic
                .write(record, reject.reason.as_str(), &reject.detail)
                .map_err(|error| error.to_string()),
        };
        if written.is_ok() {
            telemetry::record_dead_letter(reject.reason);
        }
        written
    }

    fn failed(&mut self, reason: &str) {
        self.tried = Some(Instant::now());
        if self
            .complained
            .is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
        {
            self.complained = Some(Instant::now());
            tracing::error!(
                reason,
                "dead letters cannot be written: while they cannot, reading stops; predictions go on"
            );
        }
    }

    /// What a person should know about the sink; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        if !self.waiting.is_empty() {
            return Some(format!(
                "{} dead letters cannot be written, and no further record is read: see the log",
                self.waiting.len()
            ));
        }
        match &self.sink {
            Sink::File(_) => None,
            Sink::Kafka(topic) => topic.trouble(),
        }
    }
}
