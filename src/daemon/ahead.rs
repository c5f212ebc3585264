//! Threads that decode records before their turn, in whatever order they can; what comes out is in the order of what went in.
//!
//! What a record holds is a function of its bytes and of the [`Terms`] alone, so it does not matter who decodes, nor when. What
//! does depend on the order (the numbers of the classes, the schema) stays with the [`crate::codec::Intake`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::codec::{Decoded, Reader, Terms};
use crate::example::Record;

/// More threads decode faster than one can read and learn.
const MOST_THREADS: usize = 4;
/// Lots of records that wait for a thread or for their turn, for each thread: one in work, one before, one behind.
const LOTS_A_THREAD: usize = 3;

/// Decodes lots of records on threads of its own.
pub(crate) struct Ahead {
    threads: Vec<Thread>,
    /// The lots inside, oldest first: how many records of which partition.
    inside: VecDeque<Vec<(i32, i64)>>,
    /// Lots given so far: they go to the threads in turn, and are taken in turn.
    given: usize,
    taken: usize,
}

struct Thread {
    /// `None` once no more will come.
    work: Option<SyncSender<(Vec<Record>, Terms)>>,
    done: Receiver<Decoded>,
    handle: Option<JoinHandle<()>>,
}

/// A thread that decodes has died: a bug.
#[derive(Debug, thiserror::Error)]
#[error("a thread that decodes records has died")]
pub(crate) struct Died;

impl Ahead {
    /// With a thread for every processor that so many other busy threads leave, up to [`MOST_THREADS`].
    ///
    /// # Errors
    /// As [`Ahead::new`].
    pub fn beside(busy: usize) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores.saturating_sub(busy).min(MOST_THREADS))
    }

    /// With so many threads; without any nothing is ever decoded ahead ([`Ahead::has_room`] says no).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = (0..threads).map(Thread::start).collect::<Result<_, _>>()?;
        Ok(Self {
            threads,
            inside: VecDeque::new(),
            given: 0,
            taken: 0,
        })
    }

    /// True when another lot may be given.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inside.len() < self.threads.len() * LOTS_A_THREAD
    }

    /// True when nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inside.is_empty()
    }

    /// Records inside, by partition.
    #[must_use]
    pub fn inside(&self) -> BTreeMap<i32, i64> {
        let mut inside = BTreeMap::new();
        for (partition, records) in self.inside.iter().flatten() {
            *inside.entry(*partition).or_insert(0) += records;
        }
        inside
    }

    /// Takes records to decode. There must be room.
    ///
    /// # Panics
    /// Without threads.
    pub fn give(&mut self, records: Vec<Record>, terms: &Terms) {
        let mut runs: Vec<(i32, i64)> = Vec::new();
        for record in &records {
            match runs.last_mut() {
                Some((partition, count)) if *partition == record.partition => *count += 1,
                _ => runs.push((record.partition, 1)),
            }
        }
        self.inside.push_back(runs);
        let thread = &self.threads[self.given % self.threads.len()];
        self.given += 1;
        if let Some(work) = &thread.work {
            // A thread that died is told of by `take`.
            let _ = work.send((records, terms.clone()));
        }
    }

    /// The oldest lot, as soon as it is decoded; `None` when nothing is inside.
    ///
    /// # Errors
    /// [`Died`], for ever.
    pub fn take(&mut self) -> Option<Result<Decoded, Died>> {
        self.inside.front()?;
        let thread = &self.threads[self.taken % self.threads.len()];
        let Ok(decoded) = thread.done.recv() else {
            return Some(Err(Died));
        };
        self.taken += 1;
        self.inside.pop_front();
        Some(Ok(decoded))
    }
}

impl Thread {
    fn start(number: usize) -> std::io::Result<Self> {
        let (work, lots) = sync_channel::<(Vec<Record>, Terms)>(LOTS_A_THREAD);
        let (ready, done) = sync_channel(LOTS_A_THREAD);
        let handle = std::thread::Builder::new()
            .name(format!("decode-{number}"))
            .spawn(move || {
                let mut reader = Reader::default();
                for (records, terms) in lots {
                    if ready.send(reader.decode(records, terms)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            work: Some(work),
            done,
            handle: Some(handle),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.work = None;
        // Whatever it has done is not wanted any more, but it must not wait for somebody who takes it.
        while self.done.recv().is_ok() {}
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Intake, Settings};

    fn intake() -> Intake {
        let settings = Settings {
            features: vec!["x".into()],
            ..Settings::default()
        };
        Intake::new(&settings, None)
    }

    fn terms() -> Terms {
        intake().terms().unwrap()
    }

    /// The records of the oldest lot.
    fn taken(ahead: &mut Ahead) -> Vec<Record> {
        let decoded = ahead.take().unwrap().unwrap();
        intake().push_decoded(decoded, &mut Vec::new())
    }

    /// Records of three partitions in turn.
    fn records(offsets: std::ops::Range<i64>) -> Vec<Record> {
        let record = |offset| Record::new((offset % 3) as i32, offset, r#"{"x": 1, "label": 0}"#);
        offsets.map(record).collect()
    }

    #[test]
    fn lots_come_out_in_the_order_in_which_they_went_in() {
        for threads in [1, 2, 8] {
            let mut ahead = Ahead::new(threads).unwrap();
            let (mut next, mut came) = (0, Vec::new());
            while came.len() < 5_000 {
                while ahead.has_room() {
                    // Long lots and short ones, so that threads are done in another order.
                    let end = next + if next % 2 == 0 { 701 } else { 2 };
                    ahead.give(records(next..end), &terms());
                    next = end;
                }
                came.extend(taken(&mut ahead).iter().map(|record| record.offset));
            }
            assert!(came.iter().copied().eq(0..came.len() as i64));
        }
    }

    #[test]
    fn what_is_inside_is_counted_by_partition() {
        let mut ahead = Ahead::new(1).unwrap();
        ahead.give(records(0..5), &terms());
        ahead.give(records(5..8), &terms());
        let inside: Vec<_> = ahead.inside().into_iter().collect();
        assert_eq!(inside, [(0, 3), (1, 3), (2, 2)]);
        assert_eq!(taken(&mut ahead).len(), 5);
        assert_eq!(ahead.inside().values().sum::<i64>(), 3);
        ahead.take().unwrap().unwrap();
        assert!(ahead.is_empty() && ahead.take().is_none());
        assert!(!Ahead::new(0).unwrap().has_room());
    }

    #[test]
    fn a_thread_that_died_is_told_again_and_again() {
        let mut ahead = Ahead::new(1).unwrap();
        let (work, _) = sync_channel(1);
        let (_, done) = sync_channel(1);
        ahead.threads[0] = Thread {
            work: Some(work),
            done,
            handle: None,
        };
        ahead.give(records(0..1), &terms());
        for _ in 0..2 {
            assert!(ahead.take().unwrap().is_err());
        }
    }
}
