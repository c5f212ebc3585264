//! What the learner tells the outside about itself: one immutable board a publish, shared by pointer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::watch::Warning;
use crate::absgd::stats::WeightReport;
use crate::evaluate::{EvaluationReport, JudgeReport};

/// Everything that the statistics endpoints and the page show, as of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Board {
    /// Steps committed so far.
    pub step: u64,
    /// Examples learned so far.
    pub examples: u64,
    /// Class names, in class order.
    pub classes: Vec<Arc<str>>,
    /// The weight statistics of the last step and their decayed sums per class.
    pub weights: WeightReport,
    /// The evolution of the weights, oldest first; thinned so that it covers the whole run.
    pub history: Arc<Vec<HistoryPoint>>,
    /// The recent examples of largest weight, heaviest first.
    pub hardest: Vec<HardExample>,
    /// Older ones that the model still does not predict, the largest loss first.
    pub persistent: Vec<HardExample>,
    /// What was noticed of the stream lately, the newest last.
    pub warnings: Vec<Warning>,
    /// How often, by kind.
    pub warning_counts: BTreeMap<&'static str, u64>,
    /// Prequential metrics.
    pub evaluation: EvaluationReport,
    /// Calibration, decisions and drift.
    pub judge: JudgeReport,
    /// What became of every record.
    pub counts: Counts,
    /// True when the parameters have not moved for about a thousand batches.
    pub stalled: bool,
    /// Place in `members` of the one with the largest share, whose weights `weights` are.
    pub lead: usize,
    /// The members of a portfolio and their averages; empty in single mode.
    pub members: Vec<MemberView>,
    /// Progress of the schema's discovery, while it lasts.
    pub discovering: Option<Discovering>,
}

/// One member of a portfolio, or the average of its parameters.
#[derive(Debug, Clone, Serialize)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// Its settings by their dotted names.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What it counts for in what is served.
    pub share: f64,
    /// Its score by the user's objective, segment by segment of the stream, the older ones fading; `None` where that is not
    /// defined yet.
    pub score: Option<f64>,
    /// The 95 % band of that mean.
    pub score_interval: Option<[f64; 2]>,
    /// Its weight statistics.
    pub weights: WeightReport,
}

/// One point of the history.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryPoint {
    /// The step.
    pub step: u64,
    /// Examples learned by then.
    pub examples: u64,
    /// λ of that step.
    pub lambda: f64,
    /// `ln s` after that step.
    pub log_s: f64,
    /// λ·ln s: the running value of the robust objective.
    pub objective: f64,
    /// (Σp)²/Σp² as a share of the batch.
    pub effective_sample_size: f64,
    /// KL divergence of the batch's weights from uniform, in nats.
    pub kl_to_uniform: f64,
    /// Largest weight of the batch.
    pub max_weight: f64,
    /// Share of the batch whose weight met the cap.
    pub clipped_share: f64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Windowed PR-AUC of the rare class(es), where defined.
    pub pr_auc: Option<f64>,
    /// Per class, in class order: share of all weight (decayed).
    pub weight_share: Vec<f64>,
    /// Per class, in class order: share of all examples (decayed).
    pub example_share: Vec<f64>,
}

/// A recent example of large weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HardExample {
    /// The record's own id, if the schema names one.
    pub id: Option<String>,
    /// Where it came from.
    pub partition: i32,
    /// Where it came from.
    pub offset: i64,
    /// The step that learned it.
    pub step: u64,
    /// Its label.
    pub label: String,
    /// What was predicted before it was learned; `None` before any class was known.
    pub prediction: Option<String>,
    /// Its loss, before it was learned.
    pub loss: f64,
    /// Its weight in that step.
    pub weight: f64,
    /// Its loss under later models, the oldest first; thinned.
    pub trail: Vec<Trace>,
    /// Its raw values, by which it is predicted again.
    #[serde(skip)]
    pub row: Box<[f32]>,
    /// The index of its class.
    #[serde(skip)]
    pub class: u32,
    /// It was given out for a person to look at.
    #[serde(skip)]
    pub told: bool,
}

impl HardExample {
    /// The last known loss.
    #[must_use]
    pub fn latest_loss(&self) -> f64 {
        self.trail.last().map_or(self.loss, |trace| trace.loss)
    }
}

/// The loss of an example under a later model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trace {
    /// The step of that model.
    pub step: u64,
    /// The loss.
    pub loss: f64,
}

/// What became of every record since the state began (rejects: since this process began with that state).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Labelled examples that were learned.
    pub accepted: u64,
    /// Records without a label.
    pub unlabelled: u64,
    /// Examples that were left out because their sender had had its share (`learner.sender_share`).
    pub thinned: u64,
    /// Bad records by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Top-level fields that the schema does not know.
    pub unknown_fields: u64,
    /// Batches whose step was dropped because a loss or the gradient was not finite.
    pub nonfinite_steps: u64,
    /// Examples that were left out of their batch, because no sound model gives them a finite loss and gradient.
    pub quarantined: u64,
    /// Times that the guard sent a ruined model back to an older one.
    pub guard_rollbacks: u64,
}

/// How far the discovery of the schema is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discovering {
    /// Labelled records kept so far.
    pub seen: usize,
    /// Labelled records that discovery waits for.
    pub wanted: usize,
    /// Records without a label that wait with them.
    pub unlabelled: usize,
    /// Bad records that wait with them: they are rejected one by one, and counted by reason, once the schema is known.
    pub bad: usize,
    /// What the first bad one suffers from.
    pub first_bad: Option<String>,
}
