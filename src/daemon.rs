//! The only file that knows every room: build, THE LOOP, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) mod ahead;
pub(crate) mod build;
pub(crate) mod changes;
mod control;
mod http;
mod letters;
mod limits;
pub(crate) mod open;
mod poison;
pub(crate) mod preflight;
mod publish;
mod reading;
pub(crate) mod recording;
mod review;
mod saver;
mod scrub;
mod secrets;
#[cfg(test)]
mod simulation;

use crate::checkpoint::DirLock;
use crate::cli::Failure;
use crate::codec::{Intake, Reason, Reject};
use crate::config::Config;
use crate::crash;
use crate::example::{Arrival, Outcome, Record};
use crate::learner::waiting::Waiting;
use crate::learner::{Event, Learner, StepReport};
use crate::stream::Source;
use crate::telemetry::Meters;

use ahead::Ahead;
use control::{Control, Holding};
use letters::Letters;
use poison::Poison;
use publish::{Moment, Publisher, Shared};
use reading::POLL_WAIT;
use recording::Recording;
use review::Review;
use saver::Saver;
use scrub::Scrubber;

/// How often the lock of the data folder is looked at.
const LOOK_AT_LOCK: Duration = Duration::from_millis(200);

/// The learner's thread: everything that learning needs, in one place, moved by one loop.
struct Trainer {
    config: Config,
    source: Box<dyn Source>,
    /// Decodes records while others are learned. What is inside was read and is not learned: the positions do not know it.
    ahead: Ahead,
    intake: Intake,
    learner: Learner,
    letters: Letters,
    review: Review,
    saver: Saver,
    scrubber: Scrubber,
    poison: Poison,
    publisher: Publisher,
    control: Control,
    meters: Meters,
    recording: Recording,
    shared: Arc<Shared>,
    records: Vec<Record>,
    arrivals: Vec<Arrival>,
    waiting: Waiting,
    waiting_since: Option<Instant>,
    told_of_sender: bool,
    /// Nobody else writes to the data folder while this is held, which is to the end.
    lock: Arc<DirLock>,
    lock_seen: Instant,
}

impl Trainer {
    /// THE LOOP. Ends when a stop was asked for, or when nothing sensible can follow.
    fn run(&mut self) -> Result<(), Failure> {
        while !self.shared.stopping() {
            self.obey()?;
            if self.control.holding() == Holding::Nothing
                && self.letters.deliver()
                && self.recording.keeps_up(self.learner.taken())
            {
                self.poll()?;
                self.repeat()?;
                self.decode()?;
                self.learn()?;
                self.linger()?;
            } else {
                std::thread::sleep(POLL_WAIT);
            }
            self.tell()?;
        }
        self.finish()
    }

    /// Arrivals -> steps.
    fn learn(&mut self) -> Result<(), Failure> {
        if self.arrivals.is_empty() {
            return Ok(());
        }
        self.introduce_schema()?;
        for arrival in std::mem::take(&mut self.arrivals) {
            let wanted = self.learner.wants(&arrival);
            self.waiting.comes_out(wanted);
            match &arrival.outcome {
                Outcome::Rejected { reject, record } => {
                    self.meters.rejected(reject.reason);
                    self.letters.post(record, reject);
                }
                Outcome::Unlabelled => self.meters.unlabelled(),
                Outcome::Example { .. } if !wanted => self.leave_out(),
                Outcome::Example { .. } => {}
            }
            self.watch_poison(&arrival);
            self.recording.recorder.saw(&arrival);
            let started = Instant::now();
            let report = self
                .learner
                .handle(Event::Arrival(&arrival))
                .map_err(Failure::internal)?;
            if let Some(report) = report {
                self.stepped(&report, started.elapsed())?;
            }
        }
        Ok(())
    }

    /// An example is not learned, because its sender has had its share.
    fn leave_out(&mut self) {
        self.meters.thinned();
        if !std::mem::replace(&mut self.told_of_sender, true) {
            tracing::warn!(
                share = self.config.learner.sender_share,
                "one sender sends more than its share: examples of it are left out (skewd_examples_thinned_total counts \
                 them; learner.sender_share is the bound, schema.sender says who a sender is)"
            );
        }
    }

    /// Learns a batch that has waited long enough.
    fn linger(&mut self) -> Result<(), Failure> {
        // While batches are repeated the journal says where they end.
        if self.learner.waiting() == 0 || self.recording.is_repeating() {
            self.waiting_since = None;
            return Ok(());
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if let Some(linger) = self.linger_time()
            && since.elapsed() >= linger
        {
            self.cut_waiting()?;
        }
        Ok(())
    }

    fn cut_waiting(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let report = self.learner.handle(Event::Cut).map_err(Failure::internal)?;
        if let Some(report) = report {
            self.stepped(&report, started.elapsed())?;
        }
        self.waiting_since = None;
        Ok(())
    }

    fn stepped(&mut self, report: &StepReport, took: Duration) -> Result<(), Failure> {
        crash::point("learner.after_step");
        self.waiting_since = None;
        self.meters.stepped(report, took);
        if let Some((batch, last)) = self.learner.last() {
            self.meters
                .batch(self.learner.classes(), &batch.classes, last);
        }
        self.quarantine(report);
        self.waiting.learned();
        self.publisher.stepped();
        self.recording.stepped(report);
        Ok(())
    }

    /// Examples that were left out of their batch go where bad records go.
    fn quarantine(&mut self, report: &StepReport) {
        if report.went_back {
            tracing::error!(
                step = report.step,
                "the model gave no finite step three times: it went back to an older one, and learns more slowly for a while"
            );
        }
        for place in &report.quarantined {
            let reject = Reject {
                reason: Reason::Exploding,
                detail: "no sound model gives this example a finite loss and gradient".to_owned(),
            };
            if let Some(record) = self.waiting.at(*place) {
                self.letters.post(record, &reject);
            }
        }
    }

    /// Publishes what is new, and writes a checkpoint when one is due.
    fn tell(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        self.watch_lock(now)?;
        crate::telemetry::warn(&self.learner.take_warnings());
        self.publish(now);
        if self.recording.journal.is_dead() {
            return Err(Failure::internal("the journal's thread died"));
        }
        if let Some(positions) = self.saver.finished()? {
            self.recording.journal.turn(self.saver.oldest_taken());
            if let Some(last) = self.saver.last() {
                self.publisher.saved(last.digest.clone(), last.examples);
            }
            if let Err(error) = self.source.checkpointed(&positions) {
                tracing::warn!(%error, "the source did not note the checkpoint's positions");
            }
        }
        if self.scrubber.tend(now) {
            self.saver.outdated();
        }
        let pressed = self.source.is_pressed();
        if self.saver.due(now, &self.learner, pressed) && self.letters.settled() {
            self.save(now);
        }
        Ok(())
    }

    /// Ends the daemon before it writes to a folder that is not its own any more.
    fn watch_lock(&mut self, now: Instant) -> Result<(), Failure> {
        if now.duration_since(self.lock_seen) < LOOK_AT_LOCK {
            return Ok(());
        }
        self.lock_seen = now;
        if self.lock.is_in_place() {
            return Ok(());
        }
        Err(Failure::io(format!(
            "{}: the lock was removed, moved or replaced while the daemon ran, so another process may write to data_dir: put \
             the folder back, see that no other skewd runs on it, and start again",
            self.lock.path().display()
        )))
    }

    fn publish(&mut self, now: Instant) {
        let moment = Moment {
            now,
            trouble: self
                .letters
                .trouble()
                .or_else(|| self.recording.trouble())
                .or_else(|| self.saver.trouble())
                .or_else(|| self.scrubber.trouble()),
            poison: self.poison.trouble(),
            durable: self.recording.journal.durable(),
            ahead: self.ahead.inside(),
        };
        self.publisher.publish(
            moment,
            &mut self.learner,
            &self.intake,
            &mut *self.source,
            &self.control,
        );
        let doubted = self.learner.take_doubted();
        self.review.post(&doubted);
    }

    /// A stop was asked for: finish the batch if batches may be short, then write down what was learned.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.linger_time().is_some()
            && self.control.holding() == Holding::Nothing
            && !self.recording.is_repeating()
        {
            self.cut_waiting()?;
        }
        self.review.close();
        let settled = self.letters.deliver() && self.letters.settled();
        self.saver.wait()?;
        if !settled {
            tracing::error!(
                "dead letters could not be delivered: the last checkpoint stays behind them, and the records since \
                 then are read again after a restart"
            );
            return Ok(());
        }
        if self.saver.stale(&self.learner) {
            self.save(Instant::now());
            self.saver.wait()?;
        }
        if let Some(positions) = self.saver.finished()? {
            let _ = self.source.checkpointed(&positions);
        }
        Ok(())
    }

    /// Begins to write down what the learner knows.
    fn save(&mut self, now: Instant) {
        self.saver.save(
            now,
            &self.config,
            &self.learner,
            &*self.source,
            self.recording.journal.waiter(),
            Arc::clone(&self.lock),
        );
    }
}

/// A running daemon.
pub struct Daemon {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin_address: SocketAddr,
    trainer: Option<std::thread::JoinHandle<Result<(), Failure>>>,
    http: http::Servers,
    runtime: tokio::runtime::Runtime,
}

/// `skewd serve`: runs until a signal.
///
/// # Errors
/// An exit code and what to do.
pub fn serve(config: Config) -> Result<(), Failure> {
    limits::raise_open_files(config.http.max_connections);
    Daemon::start(config)?.run_until(None, |daemon| {
        tracing::info!(address = %daemon.address, admin = %daemon.admin_address, "serving");
    })
}

impl Daemon {
    /// The address of the public listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `greet` once everything runs, then serves until a signal, until `limit` is over, or until the
    /// learner's thread ends; then drains: readiness off, last batch, checkpoint, open requests, exit.
    ///
    /// # Errors
    /// What ended the learner's thread, if it was not asked to end.
    pub fn run_until(
        mut self,
        limit: Option<Duration>,
        greet: impl FnOnce(&Self),
    ) -> Result<(), Failure> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let signals = self.runtime.block_on(async { http::Signals::new() })?;
        greet(&self);
        let trainer = self.trainer.take();
        self.runtime
            .block_on(http::until_stop(signals, deadline, trainer.as_ref()));
        self.shared.stop();
        let end = match trainer.map(std::thread::JoinHandle::join) {
            Some(Ok(end)) => end,
            Some(Err(_)) => Err(Failure::internal("the learner's thread died")),
            None => Ok(()),
        };
        self.http.drain();
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        end
    }
}
