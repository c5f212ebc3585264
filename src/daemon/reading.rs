//! From the source to the learner: records are read, decoded (ahead, while the learner learns, where there are processors for
//! it), and come to the learner in the order in which the source gave them.

use std::time::{Duration, Instant};

use super::{Failure, Trainer};
use crate::stream::{self, Polled};

/// Records taken from the source at once: few enough that commands and linger are never far away.
const POLL_RECORDS: usize = 1024;
/// Longest wait for records, so that a stop or a command is noticed soon.
pub(super) const POLL_WAIT: Duration = Duration::from_millis(20);
/// The same while a newer model waits to be served.
const PUBLISH_WAIT: Duration = Duration::from_millis(1);
/// Pause before a source that failed is asked again.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// Fewer records than these are decoded at once: another thread would only make them wait.
const WORTH_A_THREAD: usize = 128;

impl Trainer {
    /// Asks the source for records.
    pub(super) fn poll(&mut self) -> Result<(), Failure> {
        match self
            .source
            .poll(self.patience(), POLL_RECORDS, &mut self.records)
        {
            Ok(Polled::Records | Polled::Idle) => self.meters.consumed(&self.records),
            Ok(Polled::End) => self.halt("the source has ended".to_owned())?,
            Err(stream::Error::Halt(halt)) => {
                tracing::error!(reason = %halt, "training stops; predictions go on");
                self.halt(halt.to_string())?;
            }
            Err(error @ stream::Error::Dead(_)) => return Err(Failure::internal(error)),
            Err(error) => {
                if self.control.complain(Instant::now()) {
                    tracing::warn!(%error, "the source failed; trying again");
                }
                std::thread::sleep(RETRY_WAIT);
            }
        }
        Ok(())
    }

    /// Nothing can be read any more; what was read is learned.
    fn halt(&mut self, reason: String) -> Result<(), Failure> {
        while !self.ahead.is_empty() {
            self.take_decoded()?;
            self.learn()?;
        }
        self.control.halt(reason);
        Ok(())
    }

    /// Records -> arrivals. Many records at once go to the threads that decode ahead; what those have decoded before comes out
    /// once they have no room for more, or the source has no more.
    pub(super) fn decode(&mut self) -> Result<(), Failure> {
        if self.records.is_empty() {
            return self.take_decoded();
        }
        let many = self.records.len() >= WORTH_A_THREAD || !self.ahead.is_empty();
        let terms = self
            .intake
            .terms()
            .filter(|_| many && self.ahead.has_room());
        let Some(terms) = terms.filter(|_| !self.recording.is_repeating()) else {
            // What came before comes out before.
            while !self.ahead.is_empty() {
                self.take_decoded()?;
            }
            self.decode_here();
            return Ok(());
        };
        self.ahead.give(std::mem::take(&mut self.records), &terms);
        if !self.ahead.has_room() {
            self.take_decoded()?;
        }
        Ok(())
    }

    /// The oldest records that were decoded ahead -> arrivals.
    fn take_decoded(&mut self) -> Result<(), Failure> {
        let Some(decoded) = self.ahead.take() else {
            return Ok(());
        };
        let decoded = decoded.map_err(Failure::internal)?;
        let records = self.intake.push_decoded(decoded, &mut self.arrivals);
        self.waiting.enter(records);
        self.hear_intake();
        Ok(())
    }

    /// Records -> arrivals, on this thread.
    pub(super) fn decode_here(&mut self) {
        for record in self.records.drain(..) {
            self.waiting.enters(&record);
            self.intake.push(record, &mut self.arrivals);
        }
        self.hear_intake();
    }

    fn hear_intake(&mut self) {
        for notice in self.intake.take_notices() {
            self.learner.notice(notice);
        }
    }

    pub(super) fn linger_time(&self) -> Option<Duration> {
        self.learner
            .settings()
            .batch_linger_ms
            .get()
            .map(|ms| Duration::from_secs_f64(ms / 1000.0))
    }

    /// How long to wait for records: not while others are decoded, hardly while a newer model waits to be served, and never
    /// past the moment when a waiting batch must be learned.
    fn patience(&self) -> Duration {
        if !self.ahead.is_empty() {
            return Duration::ZERO;
        }
        let longest = match self.publisher.holds_a_model() {
            true => PUBLISH_WAIT,
            false => POLL_WAIT,
        };
        match (self.linger_time(), self.waiting_since) {
            (Some(linger), Some(since)) => linger.saturating_sub(since.elapsed()).min(longest),
            _ => longest,
        }
    }
}
