//! The `[learner]` table, and the bundle of everything that decides what is learned.

use serde::{Deserialize, Serialize};

use super::portfolio::MemberSettings;
use super::reaction::DriftReaction;
use crate::absgd::{
    self, AdamRule, MomentumForm, NormalizerStart, Rule, Schedule, ScheduleSettings, UpdateRule,
};
use crate::example::{Lambda, Limit};
use crate::{codec, evaluate, loss, model};

/// One learner, or several side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One learner with the settings of the tables.
    Single,
    /// Several that differ, with a mixture of them served: see [`super::portfolio`].
    Portfolio,
}

/// What moves the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Momentum SGD, as in the paper.
    Momentum,
    /// AdamW, under the same weights; `momentum` is its first memory.
    Adam,
}

/// The `[learner]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// One learner.
    pub mode: Mode,
    /// Temperature λ of the weights.
    pub lambda: Lambda,
    /// Rate γ of the moving normaliser, in (0, 1].
    pub gamma: f64,
    /// How the normaliser starts.
    pub normalizer_start: NormalizerStart,
    /// Relative cap of a weight; off = the exact paper.
    pub weight_cap: Limit,
    /// Examples a step.
    pub batch_size: usize,
    /// Milliseconds after which a batch that is not full is learned anyway; off = never.
    pub batch_linger_ms: Limit,
    /// Step size.
    pub learning_rate: f64,
    /// What moves the parameters.
    pub optimizer: Optimizer,
    /// Momentum β in [0, 1).
    pub momentum: f64,
    /// Memory of the mean squared gradient of Adam, in [0, 1).
    pub adam_beta2: f64,
    /// Where the learning rate enters the velocity.
    pub momentum_form: MomentumForm,
    /// L2 decay, on every parameter.
    pub weight_decay: f64,
    /// Bound of the gradient's norm.
    pub clip_norm: Limit,
    /// Stored rows learned again a step; 0 = off.
    pub rehearsal_rows: usize,
    /// Rows kept a class for rehearsal.
    pub rehearsal_memory: usize,
    /// Horizon of a running average of the parameters, in examples: the average predicts too, in single mode instead; 0 = off.
    pub averaging_examples: u64,
    /// How the learning rate and λ move.
    pub schedule: Schedule,
    /// Steps of the rise at the start of `warmup`, `cosine` and `step`.
    pub warmup_steps: u64,
    /// Steps from the end of the rise to the floor of `cosine`.
    pub schedule_steps: u64,
    /// Steps between two drops of `step`.
    pub step_every: u64,
    /// Factor of each drop.
    pub step_factor: f64,
    /// Lowest share of the learning rate that a schedule reaches.
    pub schedule_floor: f64,
    /// Examples of the first stage of `damped_lambda`, learned with λ = inf.
    pub damped_examples: u64,
    /// Examples over which λ glides from `lambda_start` to its value; 0 = off.
    pub lambda_anneal_examples: u64,
    /// λ at the start of the glide.
    pub lambda_start: Lambda,
    /// Divergence of the weights from uniform that λ is steered to, nats; off = λ stays as set.
    pub kl_budget: Limit,
    /// Smallest λ that the budget reaches.
    pub kl_lambda_floor: f64,
    /// What happens when a class that was predicted well is not any more.
    pub drift_reaction: DriftReaction,
    /// Factor of the step sizes just after that, under `rate`.
    pub drift_rate: f64,
    /// Examples over which it glides back.
    pub drift_examples: u64,
    /// Largest share of the weight in the last 10,000 examples that one sender may have; 1 = any. See [`super::senders`].
    pub sender_share: f64,
    /// The members of a portfolio; the built-in ones where none is given.
    pub portfolio: Vec<MemberSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        let weights = absgd::Settings::default();
        let pace = ScheduleSettings::default();
        Self {
            mode: Mode::Portfolio,
            lambda: weights.lambda,
            gamma: weights.gamma,
            normalizer_start: weights.normalizer_start,
            weight_cap: weights.weight_cap,
            batch_size: 64,
            batch_linger_ms: Limit::At(1000.0),
            learning_rate: 0.05,
            optimizer: Optimizer::Momentum,
            momentum: 0.9,
            adam_beta2: 0.999,
            momentum_form: MomentumForm::Torch,
            weight_decay: 0.0,
            clip_norm: Limit::At(1.0),
            rehearsal_rows: 0,
            rehearsal_memory: 200,
            averaging_examples: 0,
            schedule: pace.schedule,
            warmup_steps: pace.warmup_steps,
            schedule_steps: pace.schedule_steps,
            step_every: pace.step_every,
            step_factor: pace.step_factor,
            schedule_floor: pace.schedule_floor,
            damped_examples: pace.damped_examples,
            lambda_anneal_examples: pace.lambda_anneal_examples,
            lambda_start: pace.lambda_start,
            kl_budget: pace.kl_budget,
            kl_lambda_floor: pace.kl_lambda_floor,
            drift_reaction: DriftReaction::default(),
            drift_rate: 2.0,
            drift_examples: 2_000,
            sender_share: 1.0,
            portfolio: Vec::new(),
        }
    }
}

/// Keeps Adam's first steps finite where a gradient is tiny.
const ADAM_EPSILON: f64 = 1e-8;
/// No model learns at a higher rate.
const MOST_RATE: f64 = 100.0;
/// More rehearsed rows a step, or stored rows a class, are a slip of the keyboard.
const MOST_REHEARSED: usize = 65_536;
const MOST_REMEMBERED: usize = 1_000_000;

/// The key inside the table, and what is wrong with its value.
pub type Complaint = (String, String);

fn complain(key: &str, reason: impl Into<String>) -> Result<(), Complaint> {
    Err((key.to_owned(), reason.into()))
}

impl Settings {
    /// The part of the table that weighs examples.
    #[must_use]
    pub fn weights(&self) -> absgd::Settings {
        absgd::Settings {
            lambda: self.lambda,
            gamma: self.gamma,
            normalizer_start: self.normalizer_start,
            weight_cap: self.weight_cap,
        }
    }

    /// The part of the table by which the learning rate and λ move.
    #[must_use]
    pub fn pace(&self) -> ScheduleSettings {
        ScheduleSettings {
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            schedule_steps: self.schedule_steps,
            step_every: self.step_every,
            step_factor: self.step_factor,
            schedule_floor: self.schedule_floor,
            damped_examples: self.damped_examples,
            lambda_anneal_examples: self.lambda_anneal_examples,
            lambda_start: self.lambda_start,
            kl_budget: self.kl_budget,
            kl_lambda_floor: self.kl_lambda_floor,
        }
    }

    /// The part of the table that moves parameters.
    #[must_use]
    pub fn rule(&self) -> Rule {
        match self.optimizer {
            Optimizer::Momentum => Rule::Momentum(UpdateRule {
                learning_rate: self.learning_rate,
                momentum: self.momentum,
                form: self.momentum_form,
                weight_decay: self.weight_decay,
            }),
            Optimizer::Adam => Rule::Adam(AdamRule {
                learning_rate: self.learning_rate,
                beta1: self.momentum,
                beta2: self.adam_beta2,
                epsilon: ADAM_EPSILON,
                weight_decay: self.weight_decay,
            }),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The first key whose value cannot work, and what would.
    pub fn check(&self) -> Result<(), Complaint> {
        self.weights().check()?;
        self.pace().check(self.lambda)?;
        if self.batch_size == 0 || self.batch_size > 1 << 20 {
            return complain("batch_size", "must be between 1 and 1048576 examples");
        }
        if let Some(linger) = self.batch_linger_ms.get()
            && !(1.0..=3_600_000.0).contains(&linger)
        {
            return complain(
                "batch_linger_ms",
                "must be between 1 and 3600000 milliseconds, or \"off\"",
            );
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= MOST_RATE) {
            return complain(
                "learning_rate",
                format!("must be above 0 and at most {MOST_RATE}, such as 0.05"),
            );
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return complain("momentum", "must be at least 0 and below 1, such as 0.9");
        }
        // A step takes away learning_rate * weight_decay of every parameter: all of it, or more, leaves nothing to learn.
        if !(self.weight_decay >= 0.0 && self.weight_decay * self.learning_rate < 1.0) {
            return complain(
                "weight_decay",
                format!(
                    "must be 0 or a small positive number, and below 1/learning_rate ({})",
                    1.0 / self.learning_rate
                ),
            );
        }
        if let Some(clip) = self.clip_norm.get()
            && !(clip > 0.0 && clip.is_finite())
        {
            return complain("clip_norm", "must be a positive number, or \"off\"");
        }
        if !(0.0..1.0).contains(&self.adam_beta2) {
            return complain(
                "adam_beta2",
                "must be at least 0 and below 1, such as 0.999",
            );
        }
        if !(1.0..=100.0).contains(&self.drift_rate) {
            return complain("drift_rate", "must be between 1 and 100, such as 2");
        }
        if self.drift_examples == 0 {
            return complain("drift_examples", "must be at least 1 example, such as 2000");
        }
        if !(self.sender_share > 0.0 && self.sender_share <= 1.0) {
            return complain(
                "sender_share",
                "must be above 0 and at most 1, such as 0.2; 1 bounds nobody",
            );
        }
        if self.rehearsal_rows > MOST_REHEARSED {
            return complain(
                "rehearsal_rows",
                format!("must be at most {MOST_REHEARSED} rows a step; 0 is off"),
            );
        }
        if !(1..=MOST_REMEMBERED).contains(&self.rehearsal_memory) {
            return complain(
                "rehearsal_memory",
                format!("must be between 1 and {MOST_REMEMBERED} rows a class"),
            );
        }
        Ok(())
    }
}

/// Everything that decides what is learned from a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// `[learner]`.
    pub learner: Settings,
    /// `[model]`.
    pub model: model::Settings,
    /// `[loss]`.
    pub loss: loss::Settings,
    /// `[schema]`.
    pub codec: std::sync::Arc<codec::Settings>,
    /// `[evaluation]`.
    pub evaluation: evaluate::Settings,
    /// `[decision]`.
    pub decision: evaluate::DecisionSettings,
    /// Seed of the initial parameters.
    pub seed: u64,
    /// Where the arithmetic runs.
    pub device: model::DeviceChoice,
}
