//! One learner of a replay, with every prediction that it made.

use super::course::Course;
use crate::evaluate::{Exact, Scored};
use crate::example::Arrival;
use crate::learner::{Batch, Error, Event, LastBatch, Learner, MemberTask, Mode, StepReport, Task};

/// One learner and its exact scores.
pub struct Lane {
    /// What the report calls it.
    pub name: String,
    /// Its learning settings, by dotted key.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The learner.
    pub learner: Learner,
    /// Predictions of the last pass, as served.
    pub exact: Exact,
    /// In portfolio mode, the members and their averages with the predictions of each.
    pub members: Vec<(MemberTask, Exact)>,
    /// The members' shares in what is served, over the last pass.
    pub course: Course,
    arrived: u64,
    scored: u64,
    counted_from: u64,
}

impl Lane {
    /// A lane that has seen nothing.
    #[must_use]
    pub fn new(
        name: String,
        settings: serde_json::Map<String, serde_json::Value>,
        task: Task,
    ) -> Self {
        Self::over(name, settings, Learner::new(task))
    }

    /// A lane that goes on with a learner.
    #[must_use]
    pub fn over(
        name: String,
        settings: serde_json::Map<String, serde_json::Value>,
        learner: Learner,
    ) -> Self {
        let mut members = learner.voices();
        if learner.settings().mode == Mode::Single {
            members.clear();
        }
        Self {
            name,
            settings,
            learner,
            exact: Exact::new(),
            members: members
                .into_iter()
                .map(|task| (task, Exact::new()))
                .collect(),
            course: Course::default(),
            arrived: 0,
            scored: 0,
            counted_from: 0,
        }
    }

    /// What arrives from here on is the last pass, whose metrics are reported.
    pub fn begin_last_pass(&mut self) {
        self.counted_from = self.arrived;
    }

    /// Takes decoded records in their order; the last step that they made.
    ///
    /// # Errors
    /// When the learner cannot go on.
    pub fn take(&mut self, arrivals: &[Arrival]) -> Result<Option<StepReport>, Error> {
        let mut last = None;
        for arrival in arrivals {
            self.arrived += u64::from(self.learner.wants(arrival));
            if let Some(report) = self.learner.handle(Event::Arrival(arrival))? {
                self.note(false);
                last = Some(report);
            }
        }
        Ok(last)
    }

    /// Learns what waits, although it fills no batch.
    ///
    /// # Errors
    /// When the learner cannot go on.
    pub fn cut(&mut self) -> Result<Option<StepReport>, Error> {
        let report = self.learner.handle(Event::Cut)?;
        if report.is_some() {
            self.note(false);
        }
        Ok(report)
    }

    /// The input is over: the tail that fills no batch is predicted and scored, not learned.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn finish(&mut self) -> Result<(), Error> {
        if self.learner.predict_waiting()? > 0 {
            self.note(true);
        }
        Ok(())
    }

    fn note(&mut self, waiting: bool) {
        let Some((previous, last)) = self.learner.last() else {
            return;
        };
        let batch = if waiting {
            self.learner.waiting_batch()
        } else {
            previous
        };
        for row in 0..batch.len() {
            if self.scored + (row as u64) < self.counted_from {
                continue;
            }
            let scored = |last| scored(batch, row, last, waiting);
            self.exact.push(scored(last));
            for (member, (_, exact)) in self.members.iter_mut().enumerate() {
                if let Some(last) = self.learner.last_of(member) {
                    exact.push(scored(last));
                }
            }
        }
        self.scored += batch.len() as u64;
        if !self.members.is_empty() && self.scored > self.counted_from {
            self.course
                .note(self.scored - self.counted_from, self.learner.shares());
        }
    }
}

fn scored<'a>(batch: &Batch, row: usize, last: &'a LastBatch, waiting: bool) -> Scored<'a> {
    let weight = last.weights.get(row).filter(|_| !waiting);
    Scored {
        row: batch.places[row].1.unsigned_abs(),
        label: batch.classes[row],
        weight: weight.map(|weight| *weight as f32),
        time: batch.times[row],
        probabilities: last.row(row),
    }
}
