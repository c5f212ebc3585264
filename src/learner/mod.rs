//! The heart: `handle(event) -> what happened`. No clock, no files, no network.
//!
//! Records become arrivals in [`crate::codec::Intake`]; arrivals enter here in order. A batch is cut when it is
//! full, or when the daemon says that it has waited long enough. Each batch is predicted and scored with the
//! state before it, then learned ([`step`]), so everything that a learner knows is a function of the
//! accepted examples and the settings alone.

use std::sync::Arc;

mod average;
pub mod batcher;
pub mod board;
mod early;
mod gate;
mod growth;
pub mod guard;
pub mod hardest;
pub mod history;
pub mod inputs;
mod member;
mod mixture;
pub mod portfolio;
mod reaction;
pub mod recorded;
mod rehearsal;
pub mod repeat;
mod rescue;
mod saved;
mod scorecard;
pub mod senders;
pub mod settings;
pub mod snapshot;
mod step;
mod update;
mod views;
pub mod waiting;
mod watch;

pub use crate::absgd::Schedule;
pub use board::{Board, Counts, Discovering, HardExample, HistoryPoint, MemberView, Trace};
pub use portfolio::{MemberSettings, MemberTask};
pub use settings::{Mode, Optimizer, Settings, Task};
pub use snapshot::Snapshot;
pub use step::{LastBatch, StepReport, Verdict};
pub use watch::Warning;

pub use batcher::Batch;
use batcher::Frontier;
use hardest::Hardest;
use history::History;
use saved::Tally;
use senders::Senders;
use step::Core;
use watch::Watch;

use crate::codec::Schema;
use crate::example::{Arrival, Example, Outcome, Positions};
use crate::model;
use crate::state;

/// What can happen to a learner.
#[derive(Debug)]
pub enum Event<'a> {
    /// The features are known now; comes before the first example.
    Schema(Arc<Schema>),
    /// A record was decoded.
    Arrival(&'a Arrival),
    /// The waiting examples have waited long enough: learn them as a short batch.
    Cut,
}

/// Why a learner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed: a lost device or a broken invariant.
    #[error("the model's arithmetic failed: {0}")]
    Model(#[from] model::Error),
    /// A state does not fit the settings.
    #[error("the saved state does not fit: {0}")]
    State(#[from] state::Error),
    /// A saved text cannot be read.
    #[error("the saved state does not fit: {name} cannot be read: {reason}")]
    Text {
        /// Name of the text.
        name: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// The schema leaves something out that the model was made of.
    #[error("the features cannot change like this: {0}")]
    Growth(String),
    /// The settings of a member cannot work.
    #[error("learner.{key} {reason}")]
    Settings {
        /// Key inside `[learner]`.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Examples came before the schema.
    #[error("an example arrived before its schema")]
    NoSchema,
}

impl Error {
    fn of_settings((key, reason): settings::Complaint) -> Self {
        Self::Settings { key, reason }
    }
}

/// One model that learns, with all that it needs to go on after a restart.
pub struct Learner {
    task: Task,
    core: Option<Core>,
    batch: Batch,
    previous: Batch,
    newcomers: Vec<Arc<str>>,
    frontier: Frontier,
    /// Examples that rollbacks took back.
    taken_back: u64,
    epoch: u64,
    tally: Tally,
    settled: Tally,
    history: History,
    hardest: Hardest,
    senders: Senders,
    watch: Watch,
}

impl Learner {
    /// A learner that knows nothing.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self {
            task,
            core: None,
            batch: Batch::default(),
            previous: Batch::default(),
            newcomers: Vec::new(),
            frontier: Frontier::default(),
            taken_back: 0,
            epoch: 0,
            tally: Tally::default(),
            settled: Tally::default(),
            history: History::default(),
            hardest: Hardest::default(),
            senders: Senders::default(),
            watch: Watch::default(),
        }
    }

    /// Takes one event; a report when a batch was learned.
    ///
    /// # Errors
    /// Only when nothing sensible can follow: see [`Error`].
    pub fn handle(&mut self, event: Event<'_>) -> Result<Option<StepReport>, Error> {
        match event {
            Event::Schema(schema) => {
                if self.core.is_none() {
                    self.core = Some(Core::new(self.task.clone(), schema)?);
                }
                Ok(None)
            }
            Event::Arrival(arrival) => self.arrive(arrival),
            Event::Cut if self.batch.is_empty() => Ok(None),
            Event::Cut => self.learn().map(Some),
        }
    }

    fn arrive(&mut self, arrival: &Arrival) -> Result<Option<StepReport>, Error> {
        self.frontier.saw(arrival.partition, arrival.offset);
        self.watch_record(arrival);
        match &arrival.outcome {
            Outcome::Example {
                example,
                new_class,
                unknown_fields,
            } => {
                self.tally.unknown_fields += u64::from(*unknown_fields);
                self.newcomers.extend(new_class.clone());
                if self.admits(example) {
                    self.batch
                        .push(example, (arrival.partition, arrival.offset));
                    if self.batch.len() >= self.task.learner.batch_size {
                        return self.learn().map(Some);
                    }
                } else {
                    self.tally.thinned += 1;
                }
            }
            Outcome::Unlabelled => self.tally.unlabelled += 1,
            Outcome::Rejected { reject, .. } => {
                self.tally.rejected[reject.reason as usize] += 1;
            }
        }
        // A class that is known by an example that was left out is in no state yet.
        if self.batch.is_empty() && self.newcomers.is_empty() {
            self.settle();
        }
        Ok(None)
    }

    fn admits(&self, example: &Example) -> bool {
        let share = self.task.learner.sender_share;
        self.senders
            .admit(example.sender, example.weight, &self.batch.senders, share)
    }

    /// True when the next arrival would be learned if it came now: it is an example, and its sender has not had its share
    /// ([`Settings::sender_share`]).
    #[must_use]
    pub fn wants(&self, arrival: &Arrival) -> bool {
        matches!(&arrival.outcome, Outcome::Example { example, .. } if self.admits(example))
    }

    fn learn(&mut self) -> Result<StepReport, Error> {
        let core = self.core.as_mut().ok_or(Error::NoSchema)?;
        let mut report = core.step(&self.batch, &self.newcomers)?;
        report.taken = self.taken_back + report.examples;
        self.senders.learned(
            &self.batch.senders,
            &core.last.weights,
            &self.batch.importance,
            self.task.learner.sender_share,
        );
        self.watch_batch();
        self.newcomers.clear();
        self.note_hardest();
        self.note_history(&report);
        std::mem::swap(&mut self.batch, &mut self.previous);
        self.batch.clear();
        self.settle();
        Ok(report)
    }

    fn settle(&mut self) {
        self.frontier.settle();
        self.settled = self.tally;
    }

    /// Predicts the examples that wait for a batch which will never be full; nothing is learned.
    /// The predictions are in [`Self::last`].
    ///
    /// # Errors
    /// When the engine fails.
    pub fn predict_waiting(&mut self) -> Result<usize, Error> {
        match &mut self.core {
            Some(core) if !self.batch.is_empty() => {
                let classes = core.classes.len() + self.newcomers.len();
                core.predict(&self.batch, classes)?;
            }
            _ => {}
        }
        Ok(self.batch.len())
    }

    fn note_history(&mut self, report: &StepReport) {
        let Some(core) = &self.core else { return };
        if report.verdict == Verdict::SkippedNonFinite || !self.history.wants(report.step) {
            return;
        }
        let weights = core.weight_report();
        let share = |pick: fn(&crate::absgd::stats::ClassWeights) -> f64| {
            core.classes
                .iter()
                .map(|class| weights.classes.get(&**class).map_or(0.0, pick))
                .collect::<Vec<f64>>()
        };
        self.history.push(HistoryPoint {
            step: report.step,
            examples: report.examples,
            lambda: weights.lambda.0,
            log_s: weights.log_s,
            objective: weights.objective,
            effective_sample_size: weights.effective_sample_size,
            kl_to_uniform: weights.kl_to_uniform,
            max_weight: weights.max_weight,
            clipped_share: weights.clipped_share,
            loss: report.loss,
            pr_auc: None,
            weight_share: share(|class| class.weight_share),
            example_share: share(|class| class.example_share),
        });
    }

    /// The last batch and how it was predicted and weighed.
    #[must_use]
    pub fn last(&self) -> Option<(&Batch, &LastBatch)> {
        self.core.as_ref().map(|core| (&self.previous, &core.last))
    }

    /// The examples that wait, as [`Self::predict_waiting`] predicted them.
    #[must_use]
    pub fn waiting_batch(&self) -> &Batch {
        &self.batch
    }

    /// Class names in class order, those of waiting examples included.
    #[must_use]
    pub fn all_classes(&self) -> Vec<Arc<str>> {
        let mut classes = self.classes().to_vec();
        classes.extend(self.newcomers.iter().cloned());
        classes
    }

    /// Examples that wait for their batch.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.batch.len()
    }

    /// Examples learned so far.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.examples)
    }

    /// Examples learned so far, those included that rollbacks took back: the learner's place in the journal, which only
    /// grows.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken_back + self.examples()
    }

    /// Times that an operator sent the model back to an older one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True when the parameters have not moved for about a thousand batches: see [`guard`].
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.core.as_ref().is_some_and(|core| {
            let mut members = core.members.iter();
            members.all(|member| member.guard.is_stalled())
        })
    }

    /// Steps committed so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.step)
    }

    /// Class names in class order.
    #[must_use]
    pub fn classes(&self) -> &[Arc<str>] {
        self.core.as_ref().map_or(&[], |core| &core.classes)
    }

    /// The schema, once it is known.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.core.as_ref().map(|core| &core.schema)
    }

    /// Next offsets at the last boundary between batches: what a checkpoint of now covers.
    #[must_use]
    pub fn positions(&self) -> &Positions {
        self.frontier.boundary()
    }

    /// Next offsets of everything that was taken, what waits for a batch included: a checkpoint must not say so.
    #[must_use]
    pub fn seen(&self) -> &Positions {
        self.frontier.seen()
    }

    /// Changes settings from the next step on.
    ///
    /// # Errors
    /// When they cannot work for a member; everything is then as it was.
    pub fn set(&mut self, settings: Settings) -> Result<(), Error> {
        let task = Task {
            learner: settings,
            ..self.task.clone()
        };
        if let Some(core) = &mut self.core {
            core.set(task.clone())?;
        }
        self.task = task;
        Ok(())
    }

    /// Changes how records are read from here on; what the model is made of changes by [`Self::grow`].
    pub fn set_codec(&mut self, codec: &Arc<crate::codec::Settings>) {
        if let Some(core) = &mut self.core {
            core.task.codec = Arc::clone(codec);
        }
        self.task.codec = Arc::clone(codec);
    }

    /// Settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.task.learner
    }
}
