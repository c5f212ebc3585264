//! A member's step: losses -> weights -> weighted gradient -> clip -> update.

use super::member::Member;
use super::step::Verdict;
use crate::absgd::{self, clip_scale, schedule};
use crate::example::Lambda;
use crate::loss;
use crate::model;

impl Member {
    /// Learns the rows at hand, or nothing. Equation 7 of the paper is in `absgd`.
    pub(super) fn learn(&mut self) -> Result<Verdict, model::Error> {
        self.teach();
        if !self.batch.losses.iter().all(|loss| loss.is_finite()) {
            return Ok(Verdict::SkippedNonFinite);
        }
        let (pace, base) = (self.task.learner.pace(), self.task.learner.lambda);
        let (lambda, ready) = self
            .temperature
            .ready(&pace, base, self.examples, &self.normalizer);
        let settings = absgd::Settings {
            lambda,
            ..self.task.learner.weights()
        };
        let losses = &self.batch.losses;
        let proposal = ready.propose(&settings, losses, &mut self.weights);
        // Rehearsed rows count for the step, and in no statistic.
        let clipped = if self.batch.fresh == losses.len() {
            proposal.clipped
        } else {
            ready.clipped(&settings, &losses[..self.batch.fresh])
        };
        let norm_squared = self.backward()?;
        if !norm_squared.is_finite() {
            return Ok(Verdict::SkippedNonFinite);
        }
        let gradient_norm = norm_squared.sqrt();
        let scale = clip_scale(gradient_norm, self.task.learner.clip_norm);
        let mut rule = self.task.learner.rule();
        let rate = schedule::learning_rate(&pace, rule.learning_rate(), self.steps);
        rule.set_learning_rate(rate * self.guard.rate() * self.haste);
        self.engine.apply(rule, scale)?;
        self.temperature
            .follow(&pace, base, self.examples, proposal.log_s, &self.weights);
        self.normalizer = proposal.next;
        Ok(Verdict::Applied {
            gradient_norm,
            clipped,
        })
    }

    /// The losses to learn from, and their gradients where they are not those of plain cross-entropy.
    fn teach(&mut self) {
        if self.task.loss.is_plain() {
            return;
        }
        // A prior drifts; margins and effective numbers are about how much was seen at all.
        let decayed = self.task.loss.prior_adjustment != 0.0;
        self.statistics.counts(decayed, &mut self.counts);
        let objective = loss::Objective {
            settings: &self.task.loss,
            counts: &self.counts,
        };
        let (rows, classes) = (&mut self.batch, self.engine.classes());
        objective.learn(&rows.logits, classes, &rows.classes, &mut self.lesson);
        rows.losses.clone_from(&self.lesson.losses);
    }

    /// The squared norm of the mean weighted gradient.
    fn backward(&mut self) -> Result<f64, model::Error> {
        let rows = &self.batch;
        let (classes, share) = (self.engine.classes(), 1.0 / rows.classes.len() as f64);
        let plain = self.task.loss.is_plain();
        self.coefficients.clear();
        let weighed = self.weights.iter().zip(&rows.importance).enumerate();
        self.coefficients
            .extend(weighed.map(|(row, (weight, importance))| {
                let outside = if plain { 1.0 } else { self.lesson.outside[row] };
                (weight * f64::from(*importance) * outside * share) as f32
            }));
        if plain {
            loss::seed_gradient(
                &rows.probabilities,
                classes,
                &rows.classes,
                &self.coefficients,
                &mut self.seed_gradient,
            );
        } else {
            self.lesson
                .seed(classes, &self.coefficients, &mut self.seed_gradient);
        }
        self.engine
            .backward(&rows.inputs, rows.classes.len(), &self.seed_gradient)
    }

    /// λ that the next step is weighed with.
    pub(super) fn lambda(&self) -> Lambda {
        let learner = &self.task.learner;
        self.temperature
            .in_force(&learner.pace(), learner.lambda, self.examples)
    }
}
