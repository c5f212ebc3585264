//! Files -> learners: one thread reads and, where no processor is left for others that do, decodes; the learners run on the rest
//! and see every record in the same order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

use super::lane::Lane;
use super::replay::{Counted, data_error, nothing_found};
use super::{Failure, ReplayArgs};
use crate::codec::{Intake, Schema};
use crate::daemon::ahead::Ahead;
use crate::example::{Arrival, Record};
use crate::learner::{Error, Event, StepReport};
use crate::stream::file::FileSource;
use crate::stream::{Polled, Source};

/// Records that travel together from the decoder to the learners, few enough to arrive in a cache.
const CHUNK_RECORDS: usize = 512;
/// Chunks that may wait for a learner: enough to keep it busy, little memory.
const CHUNKS_WAITING: usize = 8;

/// Decoded records, shared by every learner.
struct Chunk {
    schema: Option<Arc<Schema>>,
    last_pass_begins: bool,
    arrivals: Vec<Arrival>,
}

/// The way to the learners and back: what they are done with is freed by the thread that reads, which has the time.
struct Lines {
    chunks: Vec<SyncSender<Arc<Chunk>>>,
    done: Receiver<Arc<Chunk>>,
}

type Numbered = (usize, Lane);
type Worker<'scope> = ScopedJoinHandle<'scope, Result<Vec<Numbered>, Error>>;

/// Gives every record of the source to every learner; the learners, and what was counted.
///
/// # Errors
/// 65 for data that give no schema, 70 for a thread that died, 74 for files.
pub(super) fn run(
    source: &mut FileSource,
    intake: &mut Intake,
    args: &ReplayArgs,
    lanes: Vec<Lane>,
    bar: &ProgressBar,
) -> Result<(Vec<Lane>, Counted), Failure> {
    std::thread::scope(|scope| {
        let (learners, workers) = start_workers(scope, lanes);
        // The reading thread decodes itself unless there is a processor to spare: handing over costs a tenth.
        let ahead = Ahead::beside(workers.len() + 1).map_err(Failure::io)?;
        let mut feed = Feed {
            source,
            intake,
            ahead,
            args,
            learners: &learners,
            bar,
            counted: Counted::default(),
            told: false,
        };
        let fed = feed.all_passes();
        let counted = std::mem::take(&mut feed.counted);
        drop(feed);
        drop(learners);
        let mut lanes = Vec::new();
        for worker in workers {
            let done = worker
                .join()
                .map_err(|_| Failure::internal("a learner's thread died"))?;
            lanes.extend(done.map_err(Failure::internal)?);
        }
        lanes.sort_by_key(|(place, _)| *place);
        fed?;
        Ok((lanes.into_iter().map(|(_, lane)| lane).collect(), counted))
    })
}

/// Spreads the learners over the cores that the reading thread leaves.
fn start_workers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    lanes: Vec<Lane>,
) -> (Lines, Vec<Worker<'scope>>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.saturating_sub(1).clamp(1, lanes.len());
    let mut shares: Vec<Vec<Numbered>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, lane) in lanes.into_iter().enumerate() {
        shares[place % threads].push((place, lane));
    }
    let (back, done) = channel();
    let start = |share| {
        let ((sender, receiver), back) = (sync_channel(CHUNKS_WAITING), back.clone());
        (sender, scope.spawn(move || learn(share, &receiver, &back)))
    };
    let (chunks, workers) = shares.into_iter().map(start).unzip();
    (Lines { chunks, done }, workers)
}

fn learn(
    mut lanes: Vec<Numbered>,
    chunks: &Receiver<Arc<Chunk>>,
    back: &Sender<Arc<Chunk>>,
) -> Result<Vec<Numbered>, Error> {
    while let Ok(chunk) = chunks.recv() {
        for (_, lane) in &mut lanes {
            if let Some(schema) = &chunk.schema {
                let _: Option<StepReport> =
                    lane.learner.handle(Event::Schema(Arc::clone(schema)))?;
            }
            if chunk.last_pass_begins {
                lane.begin_last_pass();
            }
            lane.take(&chunk.arrivals)?;
        }
        let _ = back.send(chunk);
    }
    for (_, lane) in &mut lanes {
        lane.finish()?;
    }
    Ok(lanes)
}

/// Whether anybody learns what comes.
#[derive(PartialEq)]
enum Learning {
    On,
    Over,
}

/// Reads, has decoded, counts and hands over.
struct Feed<'a> {
    source: &'a mut FileSource,
    intake: &'a mut Intake,
    ahead: Ahead,
    args: &'a ReplayArgs,
    learners: &'a Lines,
    bar: &'a ProgressBar,
    counted: Counted,
    /// The learners know the schema.
    told: bool,
}

impl Feed<'_> {
    fn all_passes(&mut self) -> Result<(), Failure> {
        for pass in 1..=self.args.passes {
            if pass > 1 {
                self.source.rewind().map_err(data_error)?;
            }
            if pass == self.args.passes {
                self.counted = Counted::default();
                if self.hand_over(Vec::new(), true) == Learning::Over {
                    return Ok(());
                }
            }
            if self.pass(u64::from(pass - 1))? == Learning::Over {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One pass over the source, up to its end or the limit.
    fn pass(&mut self, before: u64) -> Result<Learning, Failure> {
        let mut left = self.args.limit.unwrap_or(u64::MAX);
        let mut is_over = false;
        while !is_over {
            let wanted = (CHUNK_RECORDS as u64).min(left) as usize;
            let mut records = Vec::with_capacity(wanted);
            is_over = wanted == 0
                || self
                    .source
                    .poll(Duration::ZERO, wanted, &mut records)
                    .map_err(data_error)?
                    == Polled::End;
            left -= records.len() as u64;
            self.counted.rows += records.len() as u64;
            if self.decode(records, is_over)? == Learning::Over {
                return Ok(Learning::Over);
            }
            let (read, total) = (self.source.bytes_read(), self.source.bytes_total());
            self.bar.set_position(read + before * total);
        }
        Ok(Learning::On)
    }

    /// Records -> arrivals, by the threads that decode ahead once the schema is known.
    fn decode(&mut self, records: Vec<Record>, is_over: bool) -> Result<Learning, Failure> {
        if let Some(terms) = self.intake.terms().filter(|_| self.ahead.has_room()) {
            if !records.is_empty() {
                self.ahead.give(records, &terms);
            }
            while is_over && !self.ahead.is_empty() || !self.ahead.has_room() {
                if self.take_decoded()? == Learning::Over {
                    return Ok(Learning::Over);
                }
            }
            return Ok(Learning::On);
        }
        let mut arrivals = Vec::with_capacity(records.len());
        for record in records {
            self.intake.push(record, &mut arrivals);
        }
        if is_over {
            // A short input is discovered from all of it.
            let discovered = self.intake.finish_discovery(&mut arrivals);
            discovered.map_err(|reason| {
                nothing_found(self.source, self.counted.rows, &self.args.files, &reason)
            })?;
        }
        Ok(self.hand_over(arrivals, false))
    }

    fn take_decoded(&mut self) -> Result<Learning, Failure> {
        let mut arrivals = Vec::with_capacity(CHUNK_RECORDS);
        if let Some(decoded) = self.ahead.take() {
            let decoded = decoded.map_err(Failure::internal)?;
            self.intake.push_decoded(decoded, &mut arrivals);
        }
        Ok(self.hand_over(arrivals, false))
    }

    fn hand_over(&mut self, arrivals: Vec<Arrival>, last_pass_begins: bool) -> Learning {
        self.counted.add(&arrivals);
        let chunk = Arc::new(Chunk {
            schema: self.intake.schema().filter(|_| !self.told).cloned(),
            last_pass_begins,
            arrivals,
        });
        self.told |= chunk.schema.is_some();
        self.learners.done.try_iter().for_each(drop);
        let mut learners = self.learners.chunks.iter();
        match learners.all(|learner| learner.send(Arc::clone(&chunk)).is_ok()) {
            true => Learning::On,
            false => Learning::Over,
        }
    }
}
