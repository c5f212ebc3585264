//! How the threshold moved, and what the decider tells of itself.

use std::sync::Arc;

use serde::Serialize;

use super::Decider;
use crate::evaluate::PerClass;
use crate::evaluate::settings::Rule;

/// Points that are kept; when there are more, every second one is let go.
const MOST_POINTS: usize = 256;

/// A threshold that came into force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThresholdPoint {
    /// Examples seen by then.
    pub examples: u64,
    /// Log time in seconds, where examples have one.
    pub time: Option<f64>,
    /// Probability of the rare classes from which a decision goes to them; `None`: no threshold does what the rule
    /// asks for, so there are no such decisions.
    pub threshold: Option<f64>,
}

/// The thresholds so far, oldest first, thinned so that they cover the whole run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct History {
    pub points: Vec<ThresholdPoint>,
}

impl History {
    /// Notes the threshold in force, if it is another one than before.
    pub fn note(&mut self, examples: u64, time: Option<f64>, threshold: Option<f64>) {
        let last = self.points.last().and_then(|point| point.threshold);
        if last == threshold {
            return;
        }
        if self.points.len() == MOST_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.points.push(ThresholdPoint {
            examples,
            time,
            threshold,
        });
    }
}

/// What the decision rule does at present.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionReport {
    /// The rule, as in the settings.
    pub rule: &'static str,
    /// Names of the classes that are rare at present.
    pub rare: Vec<Arc<str>>,
    /// Probability of the rare classes together from which the decision is one of them; `None` where the rule does not
    /// come down to that, has seen too little, or nothing does what it asks for.
    pub threshold: Option<f64>,
    /// Why there is no threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<&'static str>,
    /// Class shares in force, fading, and at least half of those since the start.
    pub class_shares: PerClass<f64>,
    /// What `prior_shift` divides by: the shares, or nearer to the mean probability where the model gives a class another.
    pub class_divisors: PerClass<f64>,
    /// Decisions for a rare class within the last hour of log time (longer where less than one an hour is allowed).
    pub alerts_last_hour: u64,
    /// Recent share of the rare examples that `alerts_per_hour` would have caught, taking the highest scores.
    pub recall_at_budget: Option<f64>,
    /// Average precision of the rare classes together, recent examples counting most.
    pub pr_auc_rare_decayed: Option<f64>,
    /// Thresholds as they came into force, oldest first.
    pub history: Vec<ThresholdPoint>,
}

impl Decider {
    /// What the rule does at present; `names` in class order.
    #[must_use]
    pub fn report(&self, names: &[Arc<str>]) -> DecisionReport {
        let threshold = self.threshold();
        let multi = self.rare.len() > 2;
        DecisionReport {
            rule: self.settings.rule.as_str(),
            rare: names
                .iter()
                .zip(&self.rare)
                .filter(|(_, rare)| **rare)
                .map(|(name, _)| Arc::clone(name))
                .collect(),
            threshold,
            undefined: threshold.is_none().then(|| match self.settings.rule {
                _ if !self.rare.contains(&true) => "no two classes with examples yet",
                Rule::Argmax | Rule::PriorShift | Rule::Cost if multi => {
                    "the rule compares more than two classes"
                }
                Rule::PrecisionFloor if self.threshold == super::Choice::Never => {
                    "no threshold keeps the precision"
                }
                _ => "too few examples yet",
            }),
            class_shares: PerClass::new(names, self.prior.shares().to_vec()),
            class_divisors: PerClass::new(names, self.prior.divisors().to_vec()),
            alerts_last_hour: self.alerts.recent(self.allowance(), self.clock.now()),
            recall_at_budget: self.budget().and_then(|share| self.scores.recall(share)),
            pr_auc_rare_decayed: self.scores.average_precision(),
            history: self.history.points.clone(),
        }
    }
}
