//! Prequential metrics that rare classes cannot break.
//!
//! Every example is predicted before it is learned, and the prediction is scored here. Two scorers share the
//! same definitions:
//!
//! - [`Exact`] keeps every prediction and computes exact figures once, for a finished `replay`.
//! - [`Live`] keeps bounded sketches that are part of the learning state, for a daemon that never ends.
//!
//! What both promise: a class without examples is *undefined*, never 0 or NaN; classes that were only ever
//! predicted do not pull down balanced accuracy; a class that was not known when a row was predicted has
//! score 0 for that row; equal scores share one threshold, so the order of rows never matters.

mod calibrate;
mod classes;
mod confusion;
mod decide;
mod decided;
mod drift;
mod exact;
mod judge;
mod live;
mod metrics;
mod ranking;
mod reliability;
mod report;
mod settings;
mod sketch;
mod tops;

#[cfg(test)]
mod tests;

pub use calibrate::{CalibrationReport, Calibrator};
pub use classes::{PerClass, rare_classes};
pub use confusion::{Confusion, wilson_interval};
pub use decide::{Decider, DecisionReport, ThresholdPoint};
pub use decided::{Decided, WindowedDecided};
pub use drift::{Drift, DriftReport};
pub use exact::{ClassShare, Exact, Scored, WINDOW_MINIMUM, WINDOWS};
pub use judge::{Judge, JudgeReport, Served};
pub use live::Live;
pub use metrics::Metrics;
pub use ranking::{CurvePoint, Ranking, rank};
pub use report::{EvaluationReport, Scores};
pub use settings::{Calibration, DecisionSettings, Objective, Rule, Settings};

/// What a class that was not known at prediction time counts as having been given, for the log-loss.
pub const UNKNOWN_CLASS_PROBABILITY: f64 = 1e-6;

/// Probabilities below this count as this much in the log-loss: one absurd prediction cannot make it infinite.
pub const SMALLEST_PROBABILITY: f64 = 1e-15;

/// Index of the largest probability, the first of several equal ones; `None` for an empty row.
///
/// ```
/// use skewd::evaluate::most_probable;
/// assert_eq!(most_probable(&[0.2, 0.4, 0.4]), Some(1));
/// assert_eq!(most_probable(&[]), None);
/// ```
#[must_use]
pub fn most_probable(probabilities: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (class, &probability) in probabilities.iter().enumerate() {
        let better = match best {
            Some((_, highest)) => probability > highest,
            None => !probability.is_nan(),
        };
        if better {
            best = Some((class, probability));
        }
    }
    best.map(|(class, _)| class)
}

/// Natural-log loss of one prediction: `-ln p` of the label's probability.
///
/// A label that was not known then counts as [`UNKNOWN_CLASS_PROBABILITY`]; smaller probabilities than
/// [`SMALLEST_PROBABILITY`] (and NaN) count as that.
///
/// ```
/// use skewd::evaluate::log_loss;
/// assert!((log_loss(1, &[0.5, 0.5]) - 2f64.ln()).abs() < 1e-12);
/// assert!((log_loss(2, &[0.5, 0.5]) - 13.815510557964274).abs() < 1e-12);
/// ```
#[must_use]
pub fn log_loss(label: u32, probabilities: &[f32]) -> f64 {
    match probabilities.get(label as usize) {
        Some(&probability) => -f64::from(probability).max(SMALLEST_PROBABILITY).ln(),
        None => -UNKNOWN_CLASS_PROBABILITY.ln(),
    }
}

/// Mean of the defined values; `None` when there is none.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values
        .flatten()
        .fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
