//! Two classes: one strictly increasing map of the logit.

use super::{RAW_SHARE, SMALLEST, guarded, sigmoid};

/// Knots of the correction, at the whole logits from -9 to 9.
const KNOTS: usize = 19;
/// The logit of the first knot.
const FIRST_KNOT: f64 = -9.0;
/// The map climbs at least this fast between knots, as a share of the identity's slope.
const LEAST_SLOPE: f64 = 0.1;
/// Largest correction of a knot, in logits.
const LARGEST: f64 = 4.0;
/// Where the slope begins: networks are surer than they are right (Guo et al. 2017); on the streams of the benchmarks it
/// ends between 0.5 and 0.85. Each later move puts the rows of before and after it in another order, so it begins near there.
const SLOPE: f64 = 0.7;
/// Where the offset begins when the second class is a rare one: against it, since weights and rehearsal speak for it.
const AGAINST_RARE: f64 = -2.0;
/// Logarithm of the examples of the first class alone from which the second class counts as a rare one.
const RARE: f64 = 4.0;
/// Prior deviations of the slope and of the offset.
const DEVIATIONS: (f64, f64) = (0.05, 1.0);
/// Logits beyond this count as this much when the slope is learned: one extreme row must not decide it.
const FAR: f64 = 8.0;
/// A knot begins with steps of one over this ...
const KNOT_PRIOR: f64 = 100.0;
/// ... and never takes smaller ones than this: it follows whatever drifts, and no sum of residuals can grow beyond the
/// distance that the knot has moved divided by this. Larger ones would shuffle rows that lie close together.
const KNOT_STEP: f64 = 0.01;
/// Least curvature of the loss that an example counts with.
const LEAST_CURVATURE: (f64, f64) = (1e-6, 1e-4);

/// Numbers that [`Binary::to_values`] gives.
pub(super) const VALUES: usize = 6 + 2 * KNOTS;
/// What it gave in earlier builds: one more, the sixth, that nothing needs.
pub(super) const EARLIER_VALUES: usize = VALUES + 1;
const EARLIER: usize = 5;

/// The map and what it needs to learn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Binary {
    /// Factor and offset of the logit, and their covariance: (slope, both, offset).
    slope: f64,
    offset: f64,
    covariance: [f64; 3],
    /// Share of the raw probability in the result.
    raw_share: f64,
    corrections: [f64; KNOTS],
    evidence: [f64; KNOTS],
}

/// One row on its way through the map; probabilities are of the second class.
struct Passage {
    raw_logit: f64,
    straight: f64,
    knot: usize,
    /// How far the row lies on the way to the next knot.
    beyond: f64,
    logit: f64,
}

impl Binary {
    /// The map after so many examples of the first class alone.
    pub(super) fn new(alone: u64) -> Self {
        let (slope, offset) = DEVIATIONS;
        let rare = ((alone.max(1) as f64).ln() / RARE).min(1.0);
        Self {
            slope: SLOPE,
            offset: AGAINST_RARE * rare,
            covariance: [slope * slope, 0.0, offset * offset],
            raw_share: RAW_SHARE,
            corrections: [0.0; KNOTS],
            evidence: [0.0; KNOTS],
        }
    }

    pub(super) fn slope(&self) -> f64 {
        self.slope
    }

    pub(super) fn raw_share(&self) -> f64 {
        self.raw_share
    }

    fn pass(&self, row: &[f32]) -> Passage {
        let side = |p: f32| f64::from(p).max(SMALLEST);
        // The smaller of the two has all its digits; the larger one is rounded near 1.
        let raw_logit = side(row[1]).ln() - side(row[0]).ln();
        let logit = self.slope * raw_logit + self.offset;
        let place = (logit - FIRST_KNOT).clamp(0.0, (KNOTS - 1) as f64);
        let knot = (place as usize).min(KNOTS - 2);
        let beyond = place - knot as f64;
        let correction =
            (1.0 - beyond) * self.corrections[knot] + beyond * self.corrections[knot + 1];
        Passage {
            raw_logit,
            straight: sigmoid(logit),
            knot,
            beyond,
            logit: logit + correction,
        }
    }

    pub(super) fn apply(&self, row: &mut [f32]) {
        let passage = self.pass(row);
        let mixed = |raw: f32, sign: f64| {
            let corrected = sigmoid(sign * passage.logit);
            (self.raw_share * f64::from(raw) + (1.0 - self.raw_share) * corrected) as f32
        };
        (row[0], row[1]) = (mixed(row[0], -1.0), mixed(row[1], 1.0));
    }

    /// The corrected probability of the label, as it was before this example was learned.
    pub(super) fn observe(&mut self, label: usize, row: &[f32]) -> f64 {
        let passage = self.pass(row);
        let happened = label as f64;
        let sign = 2.0 * happened - 1.0;
        let corrected = sigmoid(passage.logit);
        let of_raw = sigmoid(sign * passage.raw_logit).max(SMALLEST);
        let of_corrected = sigmoid(sign * passage.logit).max(SMALLEST);
        let served = self.raw_share * of_raw + (1.0 - self.raw_share) * of_corrected;
        self.raw_share = guarded(self.raw_share, of_raw, of_corrected);
        self.move_knots(&passage, happened - corrected, corrected);
        self.straighten(
            passage.raw_logit,
            happened - passage.straight,
            passage.straight,
        );
        served
    }

    /// A gradient step of the log-loss on the two knots around the row, kept increasing.
    fn move_knots(&mut self, passage: &Passage, residual: f64, corrected: f64) {
        let curvature = (corrected * (1.0 - corrected)).max(LEAST_CURVATURE.1);
        let room = 1.0 - LEAST_SLOPE;
        for (knot, weight) in [
            (passage.knot, 1.0 - passage.beyond),
            (passage.knot + 1, passage.beyond),
        ] {
            self.evidence[knot] += weight * curvature;
            let step = (1.0 / (KNOT_PRIOR + self.evidence[knot])).max(KNOT_STEP);
            let mut moved = self.corrections[knot] + step * weight * residual;
            if let Some(before) = knot.checked_sub(1) {
                moved = moved.max(self.corrections[before] - room);
            }
            if let Some(after) = self.corrections.get(knot + 1) {
                moved = moved.min(after + room);
            }
            self.corrections[knot] = moved.clamp(-LARGEST, LARGEST);
        }
    }

    /// One step of an extended Kalman filter that watches the label through the logit.
    fn straighten(&mut self, raw_logit: f64, residual: f64, straight: f64) {
        let curvature = (straight * (1.0 - straight)).max(LEAST_CURVATURE.0);
        let x = raw_logit.clamp(-FAR, FAR);
        let [of_slope, both, of_offset] = self.covariance;
        let (gain_slope, gain_offset) = (of_slope * x + both, both * x + of_offset);
        let innovation = 1.0 / curvature + x * gain_slope + gain_offset;
        let surprise = residual / curvature / innovation;
        self.slope = (self.slope + gain_slope * surprise).clamp(0.1, 4.0);
        self.offset = (self.offset + gain_offset * surprise).clamp(-12.0, 12.0);
        self.covariance = [
            of_slope - gain_slope * gain_slope / innovation,
            both - gain_slope * gain_offset / innovation,
            of_offset - gain_offset * gain_offset / innovation,
        ];
    }

    pub(super) fn to_values(&self) -> Vec<f64> {
        let mut values = vec![self.slope, self.offset];
        values.extend(self.covariance);
        values.push(self.raw_share);
        values.extend(self.corrections);
        values.extend(self.evidence);
        values
    }

    /// From [`VALUES`] numbers, or from [`EARLIER_VALUES`].
    pub(super) fn of_values(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        if values.len() == EARLIER_VALUES {
            values.remove(EARLIER);
        }
        let mut binary = Self::new(0);
        (binary.slope, binary.offset) = (values[0], values[1]);
        binary.covariance.copy_from_slice(&values[2..5]);
        binary.raw_share = values[5];
        binary.corrections.copy_from_slice(&values[6..6 + KNOTS]);
        binary.evidence.copy_from_slice(&values[6 + KNOTS..]);
        binary
    }
}
