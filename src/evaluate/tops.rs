//! How sure the most probable classes were, and how often they were right: what the calibration error is read from.

use super::reliability::equal_mass_error;
use super::sketch::{BINS, bin};
use crate::state::{Error, State};

/// Bins of equal width in which older states hold the same counts, more coarsely.
const COARSE_BINS: usize = 15;

/// [`BINS`] bins of the probability of the most probable class. Empty before the first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tops {
    /// All predictions.
    all: Vec<u64>,
    /// Those that were right.
    right: Vec<u64>,
    /// Sum of the probabilities.
    confidence: Vec<f64>,
}

impl Tops {
    /// Adds one prediction.
    pub(super) fn add(&mut self, confidence: f32, right: bool) {
        self.count(
            bin(confidence),
            (1, u64::from(right), f64::from(confidence)),
        );
    }

    fn count(&mut self, bin: usize, (all, right, confidence): (u64, u64, f64)) {
        if self.all.is_empty() {
            self.all.resize(BINS, 0);
            self.right.resize(BINS, 0);
            self.confidence.resize(BINS, 0.0);
        }
        self.all[bin] += all;
        self.right[bin] += right;
        self.confidence[bin] += confidence;
    }

    /// Expected calibration error of the most probable class over bins of equal mass: [`equal_mass_error`] of the grid's
    /// bins. `None` without predictions.
    pub(super) fn calibration_error(&self) -> Option<f64> {
        let bins = self.all.iter().zip(&self.right).zip(&self.confidence);
        let groups = bins.map(|((count, right), sure)| (*count, *right, *sure));
        equal_mass_error(groups, self.all.iter().sum())
    }

    /// Writes everything under `evaluation.tops`.
    pub(super) fn save(&self, state: &mut State) {
        state.put_u64("evaluation.tops", self.all.clone());
        state.put_u64("evaluation.tops.right", self.right.clone());
        state.put_f64("evaluation.tops.confidence", self.confidence.clone());
    }

    /// Reads what [`Tops::save`] wrote, or the coarser bins of an older state.
    ///
    /// # Errors
    /// When an entry is missing or its length does not fit the others.
    pub(super) fn load(state: &State) -> Result<Self, Error> {
        if state.blobs.contains_key("evaluation.calibration.counts") {
            return Self::load_coarse(state);
        }
        let all = state.u64("evaluation.tops")?;
        let bins = if all.is_empty() { 0 } else { BINS };
        Ok(Self {
            all: state.u64_exact("evaluation.tops", bins)?.to_vec(),
            right: state.u64_exact("evaluation.tops.right", bins)?.to_vec(),
            confidence: state
                .f64_exact("evaluation.tops.confidence", bins)?
                .to_vec(),
        })
    }

    /// All predictions of a coarse bin go to where their mean lies: their sums, and so the error over bins at least as
    /// wide, stay the same.
    fn load_coarse(state: &State) -> Result<Self, Error> {
        let counts = state.u64_exact("evaluation.calibration.counts", 2 * COARSE_BINS)?;
        let confidence = state.f64_exact("evaluation.calibration.confidence", COARSE_BINS)?;
        let mut tops = Self::default();
        for (pair, confidence) in counts.chunks_exact(2).zip(confidence) {
            if pair[0] > 0 {
                let mean = confidence / pair[0] as f64;
                tops.count(bin(mean as f32), (pair[0], pair[1], *confidence));
            }
        }
        Ok(tops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_bins_of_older_states_keep_their_sums() {
        let mut counts = vec![0; 2 * COARSE_BINS];
        let mut confidence = vec![0.0; COARSE_BINS];
        (counts[2 * 9], counts[2 * 9 + 1], confidence[9]) = (100, 80, 62.5);
        (counts[2 * 14], counts[2 * 14 + 1], confidence[14]) = (300, 300, 294.0);
        let mut state = State::default();
        state.put_u64("evaluation.calibration.counts", counts);
        state.put_f64("evaluation.calibration.confidence", confidence);
        let tops = Tops::load(&state).unwrap();
        assert_eq!(tops.all.iter().sum::<u64>(), 400);
        assert_eq!(tops.right.iter().sum::<u64>(), 380);
        // (|80 - 62.5| + |300 - 294|) / 400
        let error = tops.calibration_error().unwrap();
        assert!((error - 0.05875).abs() < 1e-9, "{error}");
        let mut again = State::default();
        tops.save(&mut again);
        assert_eq!(Tops::load(&again).unwrap(), tops);
    }

    #[test]
    fn a_state_without_any_of_it_is_refused() {
        assert!(Tops::load(&State::default()).is_err());
    }
}
