//! Three classes and more: one slope, and an offset a class.

use super::{RAW_SHARE, SMALLEST, guarded};

/// The slope and every offset begin with steps of one over this ...
const PRIOR: f64 = 100.0;
/// ... and offsets never take smaller ones than this.
const STEP: f64 = 0.02;
/// Examples of a class over which its offset comes in: the first ones say little, and would reorder the rows.
const FEWEST: f64 = 200.0;
/// Bounds of the slope and of the offsets.
const SLOPE: (f64, f64) = (0.1, 4.0);
const LARGEST_OFFSET: f64 = 6.0;

/// Numbers that [`Vector::to_values`] gives.
pub(super) const fn values(classes: usize) -> usize {
    3 + 3 * classes
}

/// The map and what it needs to learn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vector {
    slope: f64,
    slope_evidence: f64,
    raw_share: f64,
    /// Examples of each class.
    seen: Vec<f64>,
    offsets: Vec<f64>,
    evidence: Vec<f64>,
}

impl Vector {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            slope: 1.0,
            slope_evidence: 0.0,
            raw_share: RAW_SHARE,
            seen: vec![0.0; classes],
            offsets: vec![0.0; classes],
            evidence: vec![0.0; classes],
        }
    }

    pub(super) fn add_class(&mut self) {
        self.seen.push(0.0);
        self.offsets.push(0.0);
        self.evidence.push(0.0);
    }

    pub(super) fn slope(&self) -> f64 {
        self.slope
    }

    pub(super) fn raw_share(&self) -> f64 {
        self.raw_share
    }

    /// The corrected probabilities, before the mixture.
    fn corrected(&self, row: &[f32]) -> Vec<f64> {
        let offsets = self.offsets.iter().zip(&self.seen);
        let logits = row.iter().zip(offsets).map(|(&p, (offset, seen))| {
            let trusted = (seen / FEWEST).min(1.0);
            self.slope * f64::from(p).max(SMALLEST).ln() + offset * trusted
        });
        let mut corrected: Vec<f64> = logits.collect();
        let highest = corrected.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for value in &mut corrected {
            *value = (*value - highest).exp();
        }
        let sum: f64 = corrected.iter().sum();
        for value in &mut corrected {
            *value /= sum;
        }
        corrected
    }

    pub(super) fn apply(&self, row: &mut [f32]) {
        let corrected = self.corrected(row);
        for (p, corrected) in row.iter_mut().zip(corrected) {
            *p = (self.raw_share * f64::from(*p) + (1.0 - self.raw_share) * corrected) as f32;
        }
    }

    /// The corrected probability of the label, as it was before this example was learned.
    pub(super) fn observe(&mut self, label: usize, row: &[f32]) -> f64 {
        let corrected = self.corrected(row);
        let of_raw = f64::from(row[label]).max(SMALLEST);
        let of_corrected = corrected[label].max(SMALLEST);
        let served = self.raw_share * of_raw + (1.0 - self.raw_share) * of_corrected;
        self.seen[label] += 1.0;
        self.raw_share = guarded(self.raw_share, of_raw, of_corrected);
        let logarithm = |class: usize| f64::from(row[class]).max(SMALLEST).ln();
        let (mut mean, mut square) = (0.0, 0.0);
        for (class, p) in corrected.iter().enumerate() {
            let x = logarithm(class);
            mean += p * x;
            square += p * x * x;
            let residual = f64::from(u8::from(class == label)) - p;
            self.evidence[class] += p * (1.0 - p);
            let step = (1.0 / (PRIOR + self.evidence[class])).max(STEP);
            self.offsets[class] =
                (self.offsets[class] + step * residual).clamp(-LARGEST_OFFSET, LARGEST_OFFSET);
        }
        // The curvature of the log-loss in the slope is the variance of the logarithms under the map.
        self.slope_evidence += (square - mean * mean).max(0.0);
        let step = 1.0 / (PRIOR + self.slope_evidence);
        self.slope = (self.slope + step * (logarithm(label) - mean)).clamp(SLOPE.0, SLOPE.1);
        served
    }

    pub(super) fn to_values(&self) -> Vec<f64> {
        let mut values = vec![self.slope, self.slope_evidence, self.raw_share];
        values.extend(&self.seen);
        values.extend(&self.offsets);
        values.extend(&self.evidence);
        values
    }

    /// From [`values`] numbers.
    pub(super) fn of_values(classes: usize, values: &[f64]) -> Self {
        Self {
            slope: values[0],
            slope_evidence: values[1],
            raw_share: values[2],
            seen: values[3..3 + classes].to_vec(),
            offsets: values[3 + classes..3 + 2 * classes].to_vec(),
            evidence: values[3 + 2 * classes..].to_vec(),
        }
    }
}
