//! When a checkpoint is written, and by whom: a thread of its own, so that a slow disk never holds up training.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Failure;
use crate::checkpoint::journal::Waiter;
use crate::checkpoint::{self, Checkpoint, DirLock};
use crate::cli::checkpoints;
use crate::config::Config;
use crate::crash;
use crate::example::Positions;
use crate::learner::Learner;
use crate::stream::{Kind, Source};
use crate::telemetry;

/// How long a checkpoint waits for the journal.
const JOURNAL_WITHIN: Duration = Duration::from_secs(20);
/// A write that failed is tried again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The time between two checkpoints for the sake of a stream that runs out of room.
const PRESSED_EVERY: Duration = Duration::from_millis(200);

/// The last checkpoint that is durable.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub name: String,
    pub digest: String,
    pub examples: u64,
    /// Examples taken: the place in the journal.
    pub taken: u64,
    /// The learner's own positions.
    pub boundary: Positions,
    /// Those in the file: the source may know more of where to go on.
    pub positions: Positions,
}

/// Why a checkpoint was not written.
struct Unwritten {
    reason: String,
    /// Where it stands if its file is there all the same.
    stands: Option<(u64, Positions)>,
}

impl From<&str> for Unwritten {
    fn from(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            stands: None,
        }
    }
}

/// The checkpoint, and how many stand now.
type Write = JoinHandle<Result<(Saved, usize), Unwritten>>;

/// Writes checkpoints one at a time.
pub(super) struct Saver {
    dir: PathBuf,
    kind: Kind,
    settings: checkpoint::Settings,
    in_flight: Option<Write>,
    kept: VecDeque<(u64, Positions)>,
    last: Option<Saved>,
    last_try: Instant,
    /// Examples taken and time when a checkpoint was last begun, or left out because another was being written.
    mark: (u64, Instant),
    failed: bool,
    fresh: bool,
    /// The state has changed without a batch.
    outdated: bool,
}

impl Saver {
    /// `kept` are the positions of the checkpoints that exist, oldest first; `last` the newest of them.
    pub fn new(
        config: &Config,
        kept: VecDeque<(u64, Positions)>,
        last: Option<Saved>,
        now: Instant,
    ) -> Self {
        let mark = (last.as_ref().map_or(0, |last| last.taken), now);
        Self {
            mark,
            dir: config.in_data_dir(checkpoints::FOLDER),
            kind: config.source.kind,
            settings: config.checkpoint.clone(),
            in_flight: None,
            kept,
            last,
            last_try: now,
            failed: false,
            fresh: false,
            outdated: false,
        }
    }

    /// True when the learner knows something that the last checkpoint does not.
    pub fn stale(&self, learner: &Learner) -> bool {
        learner.examples() > 0
            && (self.outdated
                || self.last.as_ref().is_none_or(|last| {
                    last.taken != learner.taken() || &last.boundary != learner.positions()
                }))
    }

    /// True when the oldest checkpoint that is kept stands behind the learner, so that one more lets the stream forget.
    fn relieves(&self, learner: &Learner) -> bool {
        let oldest = self
            .kept
            .front()
            .filter(|_| self.kept.len() >= self.settings.keep);
        learner.examples() > 0
            && oldest.is_none_or(|(_, positions)| !positions.covers(learner.positions()))
    }

    /// The state has changed without a batch: the last checkpoint does not hold it.
    pub fn outdated(&mut self) {
        self.outdated = true;
    }

    /// True when a checkpoint should be written now. A stream that is `pressed` for room wants all that are kept to stand
    /// as far on as they can, so that it may forget what lies before: the same state is then written more than once.
    pub fn due(&mut self, now: Instant, learner: &Learner, pressed: bool) -> bool {
        if self.in_flight.is_some() {
            self.count_skipped(now, learner.taken());
            return false;
        }
        let relieves = pressed && self.relieves(learner);
        if !self.stale(learner) && !relieves {
            return false;
        }
        let waited = now.duration_since(self.last_try);
        if self.failed {
            return waited >= RETRY_AFTER;
        }
        if relieves && waited >= PRESSED_EVERY {
            return true;
        }
        let learned = learner.taken() - self.last.as_ref().map_or(0, |last| last.taken);
        self.outdated
            || learned >= self.settings.every_examples
            || waited >= Duration::from_secs(self.settings.every_seconds)
    }

    /// One checkpoint at a time: where the disk is slower than the interval, those between are left out, and counted.
    fn count_skipped(&mut self, now: Instant, taken: u64) {
        let (mark, at) = self.mark;
        let late = now.duration_since(at) >= Duration::from_secs(self.settings.every_seconds);
        // A rollback takes nothing back of what was taken.
        let learned = taken.saturating_sub(mark);
        if learned >= self.settings.every_examples || (late && learned > 0) {
            self.mark = (taken, now);
            telemetry::record_checkpoint_skipped();
        }
    }

    /// Begins to write what the learner knows.
    pub fn save(
        &mut self,
        now: Instant,
        config: &Config,
        learner: &Learner,
        source: &dyn Source,
        journal: Waiter,
        lock: Arc<DirLock>,
    ) {
        self.last_try = now;
        self.mark = (learner.taken(), now);
        self.outdated = false;
        let boundary = learner.positions().clone();
        let mut positions = boundary.clone();
        if crash::is_broken("positions_before_weights") {
            positions.clone_from(learner.seen());
        }
        source.settle(&mut positions);
        let identity = source.identity_at(&positions);
        let checkpoint = match checkpoints::of_learner(config, learner, positions, &identity) {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the learning state could not be copied for a checkpoint");
                self.failed = true;
                return;
            }
        };
        let (dir, keep) = (self.dir.clone(), self.settings.keep);
        let write = std::thread::Builder::new()
            .name("skewd-checkpoint".to_owned())
            .spawn(move || {
                // A checkpoint never stands after what the journal can tell.
                if !journal.wait_for(checkpoint.taken, JOURNAL_WITHIN) {
                    return Err("the journal up to it is not durable".into());
                }
                if !lock.is_in_place() {
                    return Err("the lock of the data folder is lost".into());
                }
                write(&dir, checkpoint, boundary, keep)
            });
        match write {
            Ok(write) => self.in_flight = Some(write),
            Err(error) => {
                tracing::error!(%error, "no thread for a checkpoint");
                self.failed = true;
            }
        }
    }

    /// Positions to tell the source, once after a checkpoint became durable.
    ///
    /// # Errors
    /// When the writing thread died.
    pub fn finished(&mut self) -> Result<Option<Positions>, Failure> {
        if self.in_flight.as_ref().is_some_and(JoinHandle::is_finished) {
            self.wait()?;
        }
        if !std::mem::take(&mut self.fresh) {
            return Ok(None);
        }
        // Lag tools want the newest positions; the embedded log must keep what the oldest checkpoint needs.
        Ok(match self.kind {
            Kind::Kafka => self.last.as_ref().map(|last| last.positions.clone()),
            Kind::Embedded => self.kept.front().map(|(_, positions)| positions.clone()),
        })
    }

    /// Waits for the checkpoint that is being written, if one is.
    ///
    /// # Errors
    /// When the writing thread died.
    pub fn wait(&mut self) -> Result<(), Failure> {
        let Some(write) = self.in_flight.take() else {
            return Ok(());
        };
        match write.join() {
            Ok(Ok((saved, standing))) => {
                tracing::info!(name = %saved.name, examples = saved.examples, "checkpoint written");
                telemetry::record_checkpoint(true);
                self.kept.push_back((saved.taken, saved.positions.clone()));
                while self.kept.len() > standing {
                    self.kept.pop_front();
                }
                self.last = Some(saved);
                self.failed = false;
                self.fresh = true;
                Ok(())
            }
            Ok(Err(Unwritten { reason, stands })) => {
                // A file that stands counts until those beyond `keep` are surely gone: nothing that it needs is forgotten.
                self.kept.extend(stands);
                tracing::error!(%reason, "a checkpoint could not be written; the older ones stay, trying again");
                telemetry::record_checkpoint(false);
                (self.failed, self.outdated) = (true, true);
                Ok(())
            }
            Err(_) => Err(Failure::internal("the checkpoint's thread died")),
        }
    }

    /// True when the last try failed; it is tried again by itself.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// What a person should know; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.failed.then(|| {
            "the last checkpoint could not be written; it is tried again every few seconds, and nothing is lost meanwhile: see \
             the log"
                .to_owned()
        })
    }

    /// Examples taken by the oldest checkpoint that is kept: the journal must begin there.
    pub fn oldest_taken(&self) -> u64 {
        self.kept.front().map_or(0, |(taken, _)| *taken)
    }

    /// The newest durable checkpoint.
    pub fn last(&self) -> Option<&Saved> {
        self.last.as_ref()
    }
}

fn write(
    dir: &std::path::Path,
    checkpoint: Checkpoint,
    boundary: Positions,
    keep: usize,
) -> Result<(Saved, usize), Unwritten> {
    match checkpoint::save(dir, &checkpoint, keep) {
        Ok(written) => {
            let saved = Saved {
                name: checkpoint::name_of(&written.path),
                digest: checkpoint.digest,
                examples: checkpoint.examples,
                taken: checkpoint.taken,
                boundary,
                positions: checkpoint.positions,
            };
            Ok((saved, written.standing))
        }
        Err(error) => Err(Unwritten {
            reason: error.to_string(),
            stands: matches!(error, checkpoint::Error::Unsettled { .. })
                .then_some((checkpoint.taken, checkpoint.positions)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::journal::Journal;
    use crate::codec::Intake;
    use crate::example::Record;
    use crate::learner::Event;
    use crate::learner::recorded::Recorder;
    use crate::stream::file::FileSource;

    /// A learner that has learned ten batches, and the journal that holds them.
    fn learned(config: &Config, journal: &Journal) -> Learner {
        let mut intake = Intake::new(&config.schema, None);
        let mut learner = Learner::new(config.task().unwrap());
        let schema = Arc::clone(intake.schema().unwrap());
        learner.handle(Event::Schema(schema)).unwrap();
        let mut recorder = Recorder::default();
        for offset in 0..640 {
            let label = if offset % 9 == 0 { "rare" } else { "common" };
            let text = format!(r#"{{"a":{},"label":"{label}"}}"#, offset % 7);
            let mut arrivals = Vec::new();
            intake.push(Record::new(0, offset, text), &mut arrivals);
            recorder.saw(&arrivals[0]);
            if let Some(report) = learner.handle(Event::Arrival(&arrivals[0])).unwrap() {
                journal.append(recorder.cut(&report));
            }
        }
        learner
    }

    #[test]
    fn in_three_days_without_a_record_one_checkpoint_is_written() {
        const HOURS: u64 = 72;
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            format!("data_dir={}", folder.path().display()),
            "schema.features=a".to_owned(),
        ];
        let config = Config::load(&[], std::iter::empty(), &settings).unwrap();
        let journal = Journal::open(&folder.path().join("journal"), 0, 1 << 20, None).unwrap();
        let lock = Arc::new(DirLock::acquire(folder.path()).unwrap());
        let learner = learned(&config, &journal);
        let stream = folder.path().join("away.jsonl");
        std::fs::write(&stream, "{}\n").unwrap();
        let source = FileSource::open(&[stream], "label").unwrap();
        let begin = Instant::now();
        let mut saver = Saver::new(&config, VecDeque::new(), None, begin);
        let mut written = 0;
        let write_one = |saver: &mut Saver, now| {
            let (waiter, lock) = (journal.waiter(), Arc::clone(&lock));
            saver.save(now, &config, &learner, &source, waiter, lock);
            saver.wait().unwrap();
            u32::from(saver.finished().unwrap().is_some())
        };
        // The daemon asks some fifty times a second.
        for tick in 0..HOURS * 3600 * 50 {
            let now = begin + Duration::from_millis(20 * tick);
            if saver.due(now, &learner, false) {
                written += write_one(&mut saver, now);
            }
        }
        assert_eq!(written, 1);
        assert_eq!(saver.last().unwrap().examples, 640);
        let folder = config.in_data_dir(checkpoints::FOLDER);
        assert_eq!(checkpoint::list(&folder).unwrap().len(), 1);
        assert!(!saver.stale(&learner));
        // A stream without room for more: as many as are kept stand where the learner does, and then it is enough.
        for tick in 0..1_000 {
            let now = begin + Duration::from_secs(HOURS * 3600) + Duration::from_millis(20 * tick);
            if saver.due(now, &learner, true) {
                written += write_one(&mut saver, now);
            }
        }
        assert_eq!(written as usize, config.checkpoint.keep);
        assert_eq!(saver.kept.front().unwrap().1, *learner.positions());
    }
}
