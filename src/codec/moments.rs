//! Running mean and deviation of numbers.

use super::lanes::{Scales, welford};
use crate::state::{Error, State};

/// Count, mean and sum of squared deviations of each of a row of numbers, by Welford's recurrence (1962) in f64, one value
/// after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Moments {
    counts: Vec<u64>,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(numbers: usize) -> Self {
        Self {
            counts: vec![0; numbers],
            means: vec![0.0; numbers],
            squares: vec![0.0; numbers],
        }
    }

    /// Takes the values of a row for the numbers from `first` on; NaN = missing.
    #[inline(always)]
    pub(super) fn add(&mut self, first: usize, values: &[f64]) {
        let numbers = first..first + values.len();
        welford(
            values,
            &mut self.counts[numbers.clone()],
            &mut self.means[numbers.clone()],
            &mut self.squares[numbers],
        );
    }

    /// Takes over what `other` knows of a number.
    pub(super) fn copy(&mut self, index: usize, other: &Self, from: usize) {
        self.counts[index] = other.counts[from];
        self.means[index] = other.means[from];
        self.squares[index] = other.squares[from];
    }

    /// Mean and 1 / standard deviation (of the population) of each number; 0 for the latter where there is none.
    pub(super) fn scales(&self) -> Scales {
        let moments = self.counts.iter().zip(&self.squares);
        let scale = |(count, squares): (&u64, &f64)| {
            let deviation = (squares / *count as f64).sqrt();
            if *count < 2 || deviation <= 0.0 {
                return 0.0;
            }
            1.0 / deviation
        };
        Scales {
            means: self.means.clone(),
            scales: moments.map(scale).collect(),
        }
    }

    /// Writes everything under a prefix.
    pub(super) fn save(&self, prefix: &str, state: &mut State) {
        state.put_u64(format!("{prefix}count"), self.counts.clone());
        state.put_f64(format!("{prefix}mean"), self.means.clone());
        state.put_f64(format!("{prefix}squares"), self.squares.clone());
    }

    pub(super) fn load(prefix: &str, numbers: usize, state: &State) -> Result<Self, Error> {
        Ok(Self {
            counts: state
                .u64_exact(&format!("{prefix}count"), numbers)?
                .to_vec(),
            means: state.f64_exact(&format!("{prefix}mean"), numbers)?.to_vec(),
            squares: state
                .f64_exact(&format!("{prefix}squares"), numbers)?
                .to_vec(),
        })
    }
}
