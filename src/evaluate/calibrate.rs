//! Probabilities that mean what they say: maps learned from the stream's own predictions.
//!
//! Learned probabilities are tilted: the exponential weights, rehearsal and a drifting prior all move them, and often
//! differently from one day to the next. The calibrator sees every prediction as it was made before its example was
//! learned, unweighted, and learns what to make of it. Three parts, each for one kind of error:
//!
//! - a slope and an offset in the logit for what is wrong everywhere (Platt 1999, kept up to date as a Kalman filter does
//!   it: evidence shrinks the steps);
//! - with two classes, a correction on knots of the logit that drives the sum of the residuals around each knot to zero,
//!   however the stream drifts;
//! - a mixture of the result and the raw probabilities by tempered evidence, so that over a whole stream the log-loss is at most
//!   some 23 nats in all above that of the better of the two: where there is nothing to correct, nothing is corrected.
//!
//! With two classes the map is strictly increasing, so the ranking of the rows of one model stays as it is. With more, one
//! slope and an offset a class are learned (vector scaling, Guo et al. 2017), and the mixture guards them.
//!
//! Memory: a few hundred bytes with two classes, sixteen bytes a class with more.

mod binary;
mod vector;

use serde::Serialize;

use super::log_loss;
use crate::state::{Error, State};
use binary::Binary;
use vector::Vector;

/// Predictions over which the compared losses fade to half.
const HALF_LIFE: f64 = 5_000.0;

/// Learns how to correct probabilities.
///
/// ```
/// use skewd::evaluate::Calibrator;
/// let mut calibrator = Calibrator::new();
/// calibrator.add_class();
/// calibrator.add_class();
/// // A model that always says 30 % where it should say 10 %.
/// for index in 0..5000 {
///     calibrator.observe(usize::from(index % 10 == 0), &[0.7, 0.3]);
/// }
/// let mut row = [0.7, 0.3];
/// calibrator.apply(&mut row);
/// assert!((row[1] - 0.1).abs() < 0.02, "{row:?}");
/// assert!((row[0] + row[1] - 1.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Calibrator {
    classes: usize,
    map: Map,
    losses: Losses,
}

/// What is learned depends on the number of classes.
#[derive(Debug, Clone, PartialEq)]
enum Map {
    /// With fewer than two classes there is nothing to correct; the examples so far say how rare the second one will be.
    Nothing(u64),
    Binary(Box<Binary>),
    Vector(Vector),
}

impl Default for Map {
    fn default() -> Self {
        Self::Nothing(0)
    }
}

/// Fading sums of the losses before and after the correction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Losses {
    count: f64,
    raw: f64,
    calibrated: f64,
}

/// What the calibrator does at present.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// True when served probabilities are calibrated; it learns in either case.
    pub on: bool,
    /// Factor of the logits.
    pub slope: f64,
    /// Share of the uncorrected probabilities in the result: 1 where correcting does not pay.
    pub raw_share: f64,
    /// Recent mean log-loss before the correction, in nats; `None` before the first prediction.
    pub log_loss_raw: Option<f64>,
    /// Recent mean log-loss after it.
    pub log_loss_calibrated: Option<f64>,
}

impl Calibrator {
    /// Knows no class and corrects nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A class joined. From two classes to three the map starts anew: another kind of map is needed.
    pub fn add_class(&mut self) {
        self.classes += 1;
        match &mut self.map {
            Map::Vector(vector) => vector.add_class(),
            map => {
                *map = match (&*map, self.classes) {
                    (_, 0 | 1) => Map::default(),
                    (Map::Nothing(alone), 2) => Map::Binary(Box::new(Binary::new(*alone))),
                    (_, classes) => Map::Vector(Vector::new(classes)),
                }
            }
        }
    }

    /// Corrects one row in place. A row that does not hold every class is left as it is: it was predicted before one
    /// of them joined.
    pub fn apply(&self, probabilities: &mut [f32]) {
        if probabilities.len() != self.classes {
            return;
        }
        match &self.map {
            Map::Nothing(_) => {}
            Map::Binary(binary) => binary.apply(probabilities),
            Map::Vector(vector) => vector.apply(probabilities),
        }
    }

    /// Learns from one example: its class, and the uncorrected probabilities that it was predicted with. Rows that do
    /// not hold every class, or anything that is not a finite number, teach nothing.
    pub fn observe(&mut self, label: usize, raw: &[f32]) {
        if raw.len() != self.classes
            || label >= self.classes
            || !raw.iter().all(|p| p.is_finite() && *p >= 0.0)
        {
            return;
        }
        let calibrated = match &mut self.map {
            Map::Nothing(alone) => {
                *alone += 1;
                return;
            }
            Map::Binary(binary) => binary.observe(label, raw),
            Map::Vector(vector) => vector.observe(label, raw),
        };
        let fade = 0.5f64.powf(1.0 / HALF_LIFE);
        self.losses = Losses {
            count: self.losses.count * fade + 1.0,
            raw: self.losses.raw * fade + log_loss(label as u32, raw),
            calibrated: self.losses.calibrated * fade - calibrated.ln(),
        };
    }

    /// What it does at present; `on` says whether that is served.
    #[must_use]
    pub fn report(&self, on: bool) -> CalibrationReport {
        let (slope, raw_share) = match &self.map {
            Map::Nothing(_) => (1.0, 1.0),
            Map::Binary(binary) => (binary.slope(), binary.raw_share()),
            Map::Vector(vector) => (vector.slope(), vector.raw_share()),
        };
        let mean = |sum: f64| (self.losses.count > 0.0).then(|| sum / self.losses.count);
        CalibrationReport {
            on,
            slope,
            raw_share,
            log_loss_raw: mean(self.losses.raw),
            log_loss_calibrated: mean(self.losses.calibrated),
        }
    }

    /// Writes everything under `calibration.`.
    pub fn save(&self, state: &mut State) {
        state.put_u64("calibration.classes", vec![self.classes as u64]);
        let Losses {
            count,
            raw,
            calibrated,
        } = self.losses;
        state.put_f64("calibration.losses", vec![count, raw, calibrated]);
        state.put_f64(
            "calibration.map",
            match &self.map {
                Map::Nothing(alone) => vec![*alone as f64],
                Map::Binary(binary) => binary.to_values(),
                Map::Vector(vector) => vector.to_values(),
            },
        );
    }

    /// Reads what [`Calibrator::save`] wrote.
    ///
    /// # Errors
    /// When an entry is missing or its length does not fit the others.
    pub fn load(state: &State) -> Result<Self, Error> {
        let classes = state.u64_exact("calibration.classes", 1)?[0] as usize;
        let losses = state.f64_exact("calibration.losses", 3)?;
        let values = |len| state.f64_exact("calibration.map", len);
        let map = match classes {
            // Earlier builds did not count.
            0 | 1 => Map::Nothing(
                values(1)
                    .or_else(|_| values(0))?
                    .first()
                    .map_or(0, |alone| *alone as u64),
            ),
            2 => Map::Binary(Box::new(Binary::of_values(
                values(binary::VALUES).or_else(|_| values(binary::EARLIER_VALUES))?,
            ))),
            _ => Map::Vector(Vector::of_values(classes, values(vector::values(classes))?)),
        };
        Ok(Self {
            classes,
            map,
            losses: Losses {
                count: losses[0],
                raw: losses[1],
                calibrated: losses[2],
            },
        })
    }
}

/// Keeps the share of either forecaster above this, so that one which has lost can come back after a drift: about
/// fourteen nats of better forecasts win everything back.
const LEAST_SHARE: f64 = 1e-6;

/// The share of the raw probabilities to begin with. Small: a correction that came in later would rank the rows from then
/// on against those of before on another scale.
const RAW_SHARE: f64 = 0.01;

/// What one example counts for when the two forecasts are compared. At 1, Bayes' rule, a burst of a few hundred rows of
/// another prior takes the share from one end to the other, and puts the rows of before and after it on two scales.
const TRUST: f64 = 0.2;

/// The share of the raw forecasts by Bayes' rule with tempered evidence (Grünwald 2012), given the probabilities that both
/// gave to what happened, within [`LEAST_SHARE`]. The cumulative log-loss of the mixture is at most the better one's plus
/// `-ln` of its first share divided by [`TRUST`].
fn guarded(raw_share: f64, of_raw: f64, of_corrected: f64) -> f64 {
    let raw = raw_share * of_raw.powf(TRUST);
    let corrected = (1.0 - raw_share) * of_corrected.powf(TRUST);
    (raw / (raw + corrected)).clamp(LEAST_SHARE, 1.0 - LEAST_SHARE)
}

/// Probabilities below this count as this much, before logarithms are taken.
const SMALLEST: f64 = 1e-12;

/// `1 / (1 + exp(-logit))`.
fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests;
