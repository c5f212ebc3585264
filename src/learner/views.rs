//! What a learner shows of itself: the model to be served, the board, the counts.

use std::sync::Arc;

use super::board::{Board, Counts, Discovering};
use super::snapshot::Snapshot;
use super::step::Core;
use super::{Error, Learner, guard};
use crate::absgd::Normalizer;
use crate::absgd::stats::{WeightReport, WeightStatistics};
use crate::codec::Reason;
use crate::evaluate::{DecisionSettings, EvaluationReport, Judge, Live};

impl Learner {
    /// The model as of the last step, to be served; `None` before anything was learned.
    ///
    /// # Errors
    /// When the parameters cannot be read from their device.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let Some(core) = self.core.as_ref().filter(|core| core.step > 0) else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            model_version: core.step,
            epoch: self.epoch,
            examples: core.examples,
            taken: self.taken(),
            trained_through: self.frontier.boundary().clone(),
            schema: Arc::clone(&core.schema),
            codec: Arc::clone(&self.task.codec),
            classes: core.classes.clone(),
            encoder: core.encoder.clone(),
            served: core.judge.served().clone(),
            frozen: core.engine.frozen()?,
        }))
    }

    /// The statistics as of the last step. Before the schema is known they are empty, and `discovering` says
    /// how far that is.
    pub fn board(&mut self, discovering: Option<Discovering>) -> Board {
        let (evaluation, judge) = match &self.core {
            Some(core) => (core.evaluation(), core.judge.report(&core.classes)),
            None => (
                Live::new(&self.task.evaluation).report(&[]),
                Judge::new(&self.task.decision).report(&[]),
            ),
        };
        self.history.score_newest(evaluation.window.pr_auc_rare);
        self.hardest.expire(self.examples());
        Board {
            step: self.steps(),
            examples: self.examples(),
            classes: self.classes().to_vec(),
            weights: self.weight_report(),
            history: self.history.points(),
            hardest: self.hardest.list(),
            evaluation,
            judge,
            counts: self.counts(),
            stalled: self.is_stalled(),
            discovering,
        }
    }

    /// What became of every record seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.core.as_ref().map_or(0, |core| core.examples),
            unlabelled: self.tally.unlabelled,
            rejected: Reason::ALL
                .iter()
                .map(|reason| (reason.as_str(), self.tally.rejected[*reason as usize]))
                .filter(|(_, count)| *count > 0)
                .collect(),
            unknown_fields: self.tally.unknown_fields,
            nonfinite_steps: self.core.as_ref().map_or(0, |core| core.nonfinite_steps),
            quarantined: self.guard(|guard| guard.quarantined),
            guard_rollbacks: self.guard(|guard| guard.rollbacks),
        }
    }

    /// Weight statistics as of the last step.
    #[must_use]
    pub fn weight_report(&self) -> WeightReport {
        match &self.core {
            Some(core) => core.weight_report(),
            None => WeightStatistics::new().report(
                self.task.learner.lambda,
                self.task.learner.gamma,
                Normalizer::new().log_s(),
                &[],
            ),
        }
    }

    /// Norm of the last change of the parameters (learning rate times velocity); 0 before anything was learned.
    #[must_use]
    pub fn update_norm(&self) -> f64 {
        self.core.as_ref().map_or(0.0, |core| {
            core.task.learner.learning_rate * core.engine.velocity_norm()
        })
    }

    /// The `[decision]` settings in force.
    #[must_use]
    pub fn decision(&self) -> &DecisionSettings {
        &self.task.decision
    }

    fn guard(&self, pick: fn(&guard::Guard) -> u64) -> u64 {
        self.core.as_ref().map_or(0, |core| pick(&core.guard))
    }
}

impl Core {
    pub(super) fn weight_report(&self) -> WeightReport {
        self.statistics.report(
            self.task.learner.lambda,
            self.task.learner.gamma,
            self.normalizer.log_s(),
            &self.classes,
        )
    }

    fn evaluation(&self) -> EvaluationReport {
        self.live.report(&self.classes)
    }
}
