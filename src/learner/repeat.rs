//! Repeating recorded batches: one walk for the daemon that restarts, for a replay, for an audit and for the simulation.

use std::collections::VecDeque;

use super::recorded::{Change, Entry, Next, Plan};
use crate::example::{Positions, Record};

/// A recorded batch that does not come out as it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Other losses, another gradient, or another number of examples.
    #[error(
        "the batch after which {recorded} examples were learned does not repeat itself (now {found} examples): the \
         stream, the settings, skewd or the machine's instruction set are not what they were"
    )]
    Differs {
        /// Examples taken by then, as recorded.
        recorded: u64,
        /// And as found.
        found: u64,
    },
    /// Its records are not there.
    #[error(
        "the recorded batch that ends at {recorded} examples has no examples left: records are missing from the stream, \
         or the schema differs"
    )]
    Missing {
        /// Examples taken by then, as recorded.
        recorded: u64,
    },
}

/// What is done to a learner while recorded batches are repeated.
pub trait Repeat {
    /// Why it cannot go on.
    type Error: From<Mismatch>;

    /// Takes a record: decodes it, learns it.
    ///
    /// # Errors
    /// When nothing sensible can follow.
    fn take(&mut self, record: Record) -> Result<(), Self::Error>;

    /// Learns the waiting examples as a short batch, if there are any.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn cut(&mut self) -> Result<(), Self::Error>;

    /// The batches that were learned since the last call.
    fn learned(&mut self) -> VecDeque<Entry>;

    /// Records that wait for the schema; `None` once it is known.
    fn held(&self) -> Option<u64>;

    /// Decides the schema on the records that are held, and learns them.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn decide(&mut self) -> Result<(), Self::Error>;

    /// Carries out a change that is none of the schema's discovery.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn change(&mut self, change: &Change) -> Result<(), Self::Error>;

    /// A batch has come out as it was recorded.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn repeated(&mut self, _entry: &Entry) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Repeats recorded batches as their records are read.
#[derive(Debug, Default)]
pub struct Repeater {
    /// Which record comes next, and where a batch ends.
    pub plan: Plan,
    /// What came out of the records so far.
    pub course: Course,
}

/// What is expected of the records that were taken, beside what came out of them.
#[derive(Debug, Default)]
pub struct Course {
    /// Entries whose records were taken, and that have not come out yet: while records are held for the schema, batches
    /// come out late.
    expected: VecDeque<Entry>,
    /// Batches that the learner cut, whose record comes next.
    ahead: VecDeque<Entry>,
    repeated: u64,
}

impl Repeater {
    /// Repeats `entries`, from `positions` on: what lies before them is in the state already.
    #[must_use]
    pub fn new(entries: VecDeque<Entry>, positions: &Positions) -> Self {
        Self {
            plan: Plan::new(entries, positions),
            course: Course::default(),
        }
    }

    /// Gives it what was read.
    pub fn hold(&mut self, records: impl IntoIterator<Item = Record>) {
        self.plan.hold(records);
    }

    /// Entries that were not repeated yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.plan.left() + self.course.expected.len()
    }

    /// Batches that were repeated.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.course.repeated
    }

    /// Goes on as far as the records that it holds allow; true when every entry was repeated.
    ///
    /// # Errors
    /// [`Mismatch`], or what `to` says.
    pub fn follow<R: Repeat>(&mut self, to: &mut R) -> Result<bool, R::Error> {
        loop {
            self.course.compare(to)?;
            if self.left() == 0 {
                return Ok(true);
            }
            match self.plan.advance() {
                Next::Record(record) => to.take(record)?,
                Next::Entry(entry) => self.course.expect(entry),
                Next::Starved | Next::Done => return Ok(false),
            }
        }
    }

    /// What is left when every entry was repeated: batches that came out beyond the record (the learner has learned them),
    /// and records that were read beyond it, in no particular order of partitions.
    #[must_use]
    pub fn beyond(mut self) -> (VecDeque<Entry>, Vec<Record>) {
        let mut records = Vec::new();
        while let Next::Record(record) = self.plan.advance() {
            records.push(record);
        }
        (self.course.ahead, records)
    }
}

impl Course {
    /// The records of an entry were taken.
    pub fn expect(&mut self, entry: Entry) {
        self.expected.push_back(entry);
    }

    /// True when everything that was expected has come out.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.expected.is_empty()
    }

    /// Compares what came out with what should have, and carries out the changes whose turn it is.
    ///
    /// # Errors
    /// [`Mismatch`], or what `to` says.
    pub fn compare<R: Repeat>(&mut self, to: &mut R) -> Result<(), R::Error> {
        loop {
            self.ahead.append(&mut to.learned());
            let Some(entry) = self.expected.front() else {
                return Ok(());
            };
            match &entry.change {
                None if self.ahead.is_empty() && to.held().is_none() => {
                    to.cut()?;
                    self.ahead.append(&mut to.learned());
                    if self.ahead.is_empty() {
                        return Err(Mismatch::Missing {
                            recorded: entry.taken,
                        }
                        .into());
                    }
                }
                // The records behind it are still held for the schema.
                None if self.ahead.is_empty() => return Ok(()),
                None => {}
                Some(Change::Discover(held)) => match to.held() {
                    Some(now) if now < *held => return Ok(()),
                    Some(_) => to.decide()?,
                    None => {}
                },
                Some(change) => to.change(change)?,
            }
            self.pass(to)?;
        }
    }

    /// The first expected entry has come out.
    fn pass<R: Repeat>(&mut self, to: &mut R) -> Result<(), R::Error> {
        let Some(entry) = self.expected.pop_front() else {
            return Ok(());
        };
        if !entry.is_batch() {
            return Ok(());
        }
        self.repeated += 1;
        match self.ahead.pop_front() {
            Some(found) if (found.taken, found.mark) == (entry.taken, entry.mark) => {
                to.repeated(&entry)
            }
            found => Err(Mismatch::Differs {
                recorded: entry.taken,
                found: found.map_or(0, |found| found.taken),
            }
            .into()),
        }
    }
}
