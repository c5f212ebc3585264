//! What a learner shows of itself: the model to be served, the board, the counts.

use std::sync::Arc;

use super::board::{Board, Counts, Discovering, MemberView};
use super::portfolio::{self, Voice};
use super::snapshot::{Snapshot, Speaker};
use super::step::Core;
use super::{Error, LastBatch, Learner, MemberTask, Warning, guard};
use crate::absgd::Normalizer;
use crate::absgd::stats::{WeightReport, WeightStatistics};
use crate::codec::{Concern, Notice, Reason};
use crate::evaluate::{DecisionSettings, EvaluationReport, Judge, Live};
use crate::example::{Arrival, Outcome};

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
            inputs: Arc::clone(&core.inputs),
            shares: core.shares.clone(),
            served: core.judge.served().clone(),
            speakers: core.frozen()?,
            gate: core.mixture.gate().clone(),
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
        self.review_hardest();
        Board {
            step: self.steps(),
            examples: self.examples(),
            classes: self.classes().to_vec(),
            weights: self.weight_report(),
            history: self.history.points(),
            hardest: self.hardest.list(),
            persistent: self.hardest.persistent(),
            warnings: self.watch.kept(),
            warning_counts: self.watch.counts(),
            evaluation,
            judge,
            counts: self.counts(),
            stalled: self.is_stalled(),
            lead: self.core.as_ref().map_or(0, |core| core.mixture.lead()),
            members: self.member_views(),
            discovering,
        }
    }

    /// What became of every record seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.core.as_ref().map_or(0, |core| core.examples),
            unlabelled: self.tally.unlabelled,
            thinned: self.tally.thinned,
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

    /// What was noticed of the stream since the last call.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        self.watch.take_new()
    }

    /// Something to know that was noticed elsewhere; it is shown with the rest. That a feature is constant is not said where it
    /// has changed since.
    pub fn notice(&mut self, notice: Notice) {
        let is_constant = notice.concern == Concern::ConstantFeature;
        let is_over = is_constant
            && self
                .schema()
                .is_some_and(|schema| self.watch.varies(schema, &notice.subject));
        if !is_over {
            self.watch.say(notice, self.examples());
        }
    }

    pub(super) fn watch_record(&mut self, arrival: &Arrival) {
        let examples = self.examples();
        let (refused, unknown_fields) = match &arrival.outcome {
            Outcome::Example { unknown_fields, .. } => (None, *unknown_fields),
            Outcome::Rejected { reject, .. } if reject.reason.is_dead_letter() => (Some(reject), 0),
            Outcome::Rejected { .. } | Outcome::Unlabelled => (None, 0),
        };
        self.watch.record(refused, unknown_fields, examples);
    }

    /// Looks at the batch that was just learned.
    pub(super) fn watch_batch(&mut self) {
        let Some(core) = &self.core else { return };
        self.watch.learned(
            &self.batch,
            &core.schema,
            &core.classes,
            &self.newcomers,
            core.judge.harder(),
            core.examples,
        );
    }

    /// The voices that are mixed, by their names and the settings of their members; one in single mode.
    #[must_use]
    pub fn voices(&self) -> Vec<MemberTask> {
        let members = self.task.members().unwrap_or_default();
        let voice = |voice: Voice| MemberTask {
            name: voice.name,
            ..members[voice.member].clone()
        };
        portfolio::voices(&members).into_iter().map(voice).collect()
    }

    /// How a voice predicted, and its member weighed, the last batch.
    #[must_use]
    pub fn last_of(&self, voice: usize) -> Option<&LastBatch> {
        let core = self.core.as_ref()?;
        let voice = core.voices.get(voice)?;
        Some(core.members[voice.member].last_of(voice.averaged))
    }

    /// Weight statistics of a voice's member as of the last step.
    #[must_use]
    pub fn weight_report_of(&self, voice: usize) -> Option<WeightReport> {
        let core = self.core.as_ref()?;
        let voice = core.voices.get(voice)?;
        Some(core.weight_report_of(voice.member))
    }

    fn member_views(&self) -> Vec<MemberView> {
        let Some(core) = self.core.as_ref().filter(|core| core.voices.len() > 1) else {
            return Vec::new();
        };
        let view = |(index, voice): (usize, &Voice)| {
            let score = core.mixture.score(index);
            MemberView {
                name: voice.name.clone(),
                settings: core.members[voice.member].task.settings().collect(),
                share: core.mixture.weights()[index],
                score: score.map(|of| of.score),
                score_interval: score.map(|of| of.interval()),
                weights: core.weight_report_of(voice.member),
            }
        };
        core.voices.iter().enumerate().map(view).collect()
    }

    /// What each voice counts for in what is served.
    #[must_use]
    pub fn shares(&self) -> &[f64] {
        self.core
            .as_ref()
            .map_or(&[], |core| core.mixture.weights())
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
            let lead = &core.members[core.lead()];
            lead.task.learner.learning_rate * lead.engine.velocity_norm()
        })
    }

    /// The `[decision]` settings in force.
    #[must_use]
    pub fn decision(&self) -> &DecisionSettings {
        &self.task.decision
    }

    fn guard(&self, pick: fn(&guard::Guard) -> u64) -> u64 {
        self.core.as_ref().map_or(0, |core| {
            core.members.iter().map(|member| pick(&member.guard)).sum()
        })
    }
}

impl Core {
    pub(super) fn weight_report(&self) -> WeightReport {
        self.weight_report_of(self.lead())
    }

    pub(super) fn weight_report_of(&self, member: usize) -> WeightReport {
        let member = &self.members[member];
        member.statistics.report(
            member.lambda(),
            member.task.learner.gamma,
            member.normalizer.log_s(),
            &self.classes,
        )
    }

    /// Copies of the voices, with their shares.
    fn frozen(&self) -> Result<Vec<Speaker>, Error> {
        let mut frozen = Vec::new();
        for (voice, share) in self.voices.iter().zip(self.mixture.weights()) {
            let member = &self.members[voice.member];
            let engine = match &member.average {
                Some(average) if voice.averaged => &average.engine,
                _ => &member.engine,
            };
            frozen.push(Speaker {
                share: *share,
                width: self.inputs.among(member.width),
                model: engine.frozen()?,
            });
        }
        Ok(frozen)
    }

    fn evaluation(&self) -> EvaluationReport {
        self.live.report(&self.classes)
    }
}
