//! Reading ahead: one thread puts the records in their recorded order and decodes them, while another learns.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::replay::data_error;
use crate::codec::{Intake, Schema};
use crate::example::{Arrival, Outcome, Record};
use crate::learner::recorded::{Entry, Next, Plan};
use crate::stream::{Polled, Source};

/// Records read from a file at once.
const CHUNK_READ: usize = 512;
/// Records that travel together to the learner, few enough to arrive in a cache.
const CHUNK_RECORDS: usize = 512;
/// Chunks that may wait for the learner.
pub(super) const CHUNKS_WAITING: usize = 8;
/// How long a stream may keep records waiting that it must have.
const WAIT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// Decoded records in their recorded order, and the batches that end among them.
#[derive(Default)]
pub(super) struct Chunk {
    pub schema: Option<Arc<Schema>>,
    pub arrivals: Vec<Arrival>,
    /// Each after so many arrivals of the chunk.
    pub entries: Vec<(usize, Entry)>,
}

/// Where reading ahead ended: at an entry that is no batch.
pub(super) struct Stop {
    pub change: Entry,
    /// Records of the examples behind the last batch before it, as far as they were decoded ahead.
    pub filling: Vec<Record>,
}

/// Where records come from, and what decodes them.
pub(super) struct Reading {
    /// One for each partition, or one that names the partitions itself.
    pub sources: Vec<Box<dyn Source>>,
    pub intake: Intake,
}

/// The way to the learner and back: what it is done with is freed where it was allocated, which is faster.
pub(super) struct Lines {
    pub chunks: SyncSender<Chunk>,
    pub done: Receiver<Chunk>,
}

impl Reading {
    /// Decodes up to the next entry that is no batch; nothing when no entry is left, or when the learner
    /// takes no more.
    ///
    /// # Errors
    /// When records are missing.
    pub fn decode(&mut self, plan: &mut Plan, learner: &Lines) -> Result<Option<Stop>, Failure> {
        let mut chunk = self.chunk(Chunk::default());
        // What fills a batch is decoded once more after a change, and only then.
        let (changes, mut filling) = (plan.has_changes(), Vec::new());
        loop {
            let change = match plan.advance() {
                Next::Record(record) => {
                    let kept = changes.then(|| record.clone());
                    self.intake.push(record, &mut chunk.arrivals);
                    let came = chunk.arrivals.last().map(|arrival| &arrival.outcome);
                    filling.extend(kept.filter(|_| matches!(came, Some(Outcome::Example { .. }))));
                    None
                }
                Next::Entry(entry) if entry.is_batch() => {
                    filling.clear();
                    chunk.entries.push((chunk.arrivals.len(), entry));
                    None
                }
                Next::Entry(change) => Some(change),
                Next::Done => None,
                Next::Starved => {
                    if let Err(missing) = self.read_on(plan) {
                        // What is learned before them may be told to differ, which says more.
                        let _ = learner.chunks.send(chunk);
                        return Err(missing);
                    }
                    continue;
                }
            };
            let over = change.is_some() || plan.left() == 0;
            if over || chunk.arrivals.len() >= CHUNK_RECORDS {
                let next = self.chunk(learner.done.try_recv().unwrap_or_default());
                if learner
                    .chunks
                    .send(std::mem::replace(&mut chunk, next))
                    .is_err()
                    || over
                {
                    return Ok(change.map(|change| Stop { change, filling }));
                }
            }
        }
    }

    /// A chunk without arrivals, from one that the learner is done with.
    fn chunk(&self, mut used: Chunk) -> Chunk {
        used.arrivals.clear();
        used.entries.clear();
        used.schema = self.intake.schema().cloned();
        used
    }

    /// Reads what comes next from every source that has something.
    ///
    /// # Errors
    /// When nothing comes any more.
    pub fn read_on(&mut self, plan: &mut Plan) -> Result<(), Failure> {
        let only = self.sources.len() == 1;
        let begun = Instant::now();
        loop {
            let (mut found, mut over) = (false, true);
            for (number, source) in self.sources.iter_mut().enumerate() {
                let mut records = Vec::new();
                let polled = source
                    .poll(WAIT, CHUNK_READ, &mut records)
                    .map_err(data_error)?;
                found |= polled == Polled::Records;
                over &= polled == Polled::End;
                let number = i32::try_from(number).map_err(Failure::internal)?;
                // A file knows no partition: it is that of its place.
                plan.hold(records.into_iter().map(|record| Record {
                    partition: if only { record.partition } else { number },
                    ..record
                }));
            }
            if found {
                return Ok(());
            }
            if over || begun.elapsed() > PATIENCE {
                return Err(Failure::data(format!(
                    "the records end before the recorded batches do: {} of them are left",
                    plan.left()
                )));
            }
        }
    }
}
