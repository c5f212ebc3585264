//! The `[evaluation]` and `[decision]` tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What "better" means to the user: which score compares learners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Average precision of the rare classes.
    #[default]
    PrAuc,
    /// Mean recall over the classes.
    BalancedAccuracy,
    /// Mean log-loss.
    LogLoss,
}

/// Largest `evaluation.window`: a report walks over the whole window.
const LARGEST_WINDOW: usize = 100_000;

/// The `[evaluation]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which score compares learners.
    pub objective: Objective,
    /// Examples in the recent window of the live metrics. Memory: window x classes x 4 bytes, kept in the
    /// checkpoint.
    pub window: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            window: 10_000,
        }
    }
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// The key inside the table, and what is wrong with it and how to fix it.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.window == 0 || self.window > LARGEST_WINDOW {
            return Err((
                "window".to_owned(),
                format!(
                    "{} is not a usable window: give a number of examples from 1 to {LARGEST_WINDOW}",
                    self.window
                ),
            ));
        }
        Ok(())
    }
}

/// How a `decision` is made of the probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The most probable class.
    #[default]
    Argmax,
    /// The most probable class after division by the running class shares.
    PriorShift,
    /// The rare class from a fixed probability on.
    Threshold,
    /// The class of least expected cost.
    Cost,
    /// The threshold that spends an alert budget.
    AlertBudget,
    /// The lowest threshold that keeps a precision.
    PrecisionFloor,
}

impl Rule {
    /// The word in a settings file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Argmax => "argmax",
            Self::PriorShift => "prior_shift",
            Self::Threshold => "threshold",
            Self::Cost => "cost",
            Self::AlertBudget => "alert_budget",
            Self::PrecisionFloor => "precision_floor",
        }
    }
}

/// Whether probabilities are calibrated before they are shown and decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// On for a portfolio, off for one learner: who describes a learner sees its output.
    #[default]
    Auto,
    /// As learned.
    Off,
    /// Calibrated on the prequential predictions.
    On,
}

impl Calibration {
    /// What it comes to beside a portfolio, or beside one learner.
    #[must_use]
    pub fn settled(self, is_portfolio: bool) -> Self {
        match self {
            Self::Auto if is_portfolio => Self::On,
            Self::Auto => Self::Off,
            settled => settled,
        }
    }
}

/// The `[decision]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionSettings {
    /// The rule.
    pub rule: Rule,
    /// Probability of the rare class from which the `threshold` rule decides for it, in (0, 1).
    pub threshold: f64,
    /// Per class the cost of missing one example of it, for the `cost` rule; 1 where a class is not named.
    pub costs: BTreeMap<String, f64>,
    /// The budget of the `alert_budget` rule.
    pub alerts_per_hour: f64,
    /// The precision that the `precision_floor` rule keeps, in (0, 1).
    pub precision: f64,
    /// Whether probabilities are calibrated before they are shown and decided on.
    pub calibration: Calibration,
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            threshold: 0.5,
            costs: BTreeMap::new(),
            alerts_per_hour: 60.0,
            precision: 0.9,
            calibration: Calibration::default(),
        }
    }
}

impl DecisionSettings {
    /// The rule with what it goes by, as a text that differs where decisions may.
    pub(super) fn rule_text(&self) -> String {
        let rule = self.rule.as_str();
        match self.rule {
            Rule::Argmax | Rule::PriorShift => rule.to_owned(),
            Rule::Threshold => format!("{rule} {}", self.threshold),
            Rule::Cost => format!("{rule} {:?}", self.costs),
            Rule::AlertBudget => format!("{rule} {}", self.alerts_per_hour),
            Rule::PrecisionFloor => format!("{rule} {}", self.precision),
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The key inside the table, and what is wrong with it and how to fix it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let fail = |key: &str, reason: String| Err((key.to_owned(), reason));
        let inside_unit = |value: f64| value > 0.0 && value < 1.0;
        if !inside_unit(self.threshold) {
            return fail(
                "threshold",
                format!("{} is not a probability between 0 and 1", self.threshold),
            );
        }
        if !inside_unit(self.precision) {
            return fail(
                "precision",
                format!("{} is not a precision between 0 and 1", self.precision),
            );
        }
        if !(self.alerts_per_hour > 0.0 && self.alerts_per_hour.is_finite()) {
            return fail(
                "alerts_per_hour",
                format!(
                    "{} is not a budget: give a number above 0",
                    self.alerts_per_hour
                ),
            );
        }
        for (class, cost) in &self.costs {
            if !(*cost >= 0.0 && cost.is_finite()) {
                return fail(
                    "costs",
                    format!(
                        "the cost {cost} of class {class:?} is not usable: give a number from 0 up"
                    ),
                );
            }
        }
        Ok(())
    }
}
