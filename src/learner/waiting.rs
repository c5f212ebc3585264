//! Records as they came, until what became of them is learned: a dead letter wants them unchanged, and a state that takes
//! another's place wants them decoded once more.

use std::collections::VecDeque;

use super::{Error, Event, Learner};
use crate::codec::{Intake, Reject};
use crate::example::{Outcome, Record};

/// The records inside the intake, and the examples of the batch that is being filled.
#[derive(Debug, Default)]
pub struct Waiting {
    inside: VecDeque<Record>,
    batch: Vec<Record>,
}

impl Waiting {
    /// A record goes into the intake.
    pub fn enters(&mut self, record: &Record) {
        self.inside.push_back(record.clone());
    }

    /// Records go into the intake, the newest last.
    pub fn enter(&mut self, records: Vec<Record>) {
        self.inside.extend(records);
    }

    /// The oldest record inside has come out: the intake keeps the order. A `wanted` one joins the batch
    /// ([`Learner::wants`]).
    pub fn comes_out(&mut self, wanted: bool) {
        let record = self.inside.pop_front();
        if wanted {
            self.batch.extend(record);
        }
    }

    /// Examples that were decoded elsewhere join the batch.
    pub fn fills(&mut self, records: impl IntoIterator<Item = Record>) {
        self.batch.extend(records);
    }

    /// The example at a place of the batch.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Record> {
        self.batch.get(place)
    }

    /// The batch was learned.
    pub fn learned(&mut self) {
        self.batch.clear();
    }

    /// Gives the examples of the batch once more, to a learner that has forgotten them: classes and features may have other
    /// numbers now. `lost` hears of those that are bad records by now.
    ///
    /// # Errors
    /// When the learner cannot go on.
    pub fn again(
        &mut self,
        intake: &mut Intake,
        learner: &mut Learner,
        mut lost: impl FnMut(&Record, &Reject),
    ) -> Result<(), Error> {
        let mut arrivals = Vec::new();
        for record in std::mem::take(&mut self.batch) {
            self.enters(&record);
            intake.push(record, &mut arrivals);
        }
        for arrival in &arrivals {
            self.comes_out(learner.wants(arrival));
            if let Outcome::Rejected { reject, record } = &arrival.outcome {
                lost(record, reject);
            }
            // Fewer than a batch: no step follows.
            learner.handle(Event::Arrival(arrival))?;
        }
        Ok(())
    }
}
