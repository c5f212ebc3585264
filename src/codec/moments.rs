//! Running mean and deviation of numbers.

use super::lanes::{Scales, any_beyond, welford};
use crate::state::{Error, State};

/// A value further from the mean than so many deviations counts as one that lies just there: a single wild value must not hide
/// what all the others tell, and a number that really changes its scale gets there in a few steps.
const FARTHEST: f64 = 100.0;
/// So many values must have been seen for that.
const ENOUGH: u64 = 16;
/// The bounds are computed anew before the first row of a batch, before that which comes after [`ENOUGH`], and then after so many.
const BOUND_EVERY: usize = 64;

/// True for the places in a batch before which [`Moments::bound`] is to be called.
#[inline(always)]
pub(super) fn bounds_are_due(row: usize) -> bool {
    row.is_multiple_of(BOUND_EVERY) || row as u64 == ENOUGH
}

/// Count, mean and sum of squared deviations of each of a row of numbers, by Welford's recurrence (1962) in f64, one value
/// after the other. A value a hundred deviations away and more counts as one that lies there.
#[derive(Debug, Clone, Default)]
pub(super) struct Moments {
    counts: Vec<u64>,
    means: Vec<f64>,
    squares: Vec<f64>,
    /// The square of how far from the mean a value may lie; no part of the state.
    bounds: Vec<f64>,
}

impl PartialEq for Moments {
    fn eq(&self, other: &Self) -> bool {
        let state = |of: &Self| (of.counts.clone(), of.means.clone(), of.squares.clone());
        state(self) == state(other)
    }
}

impl Moments {
    pub(super) fn new(numbers: usize) -> Self {
        Self {
            counts: vec![0; numbers],
            means: vec![0.0; numbers],
            squares: vec![0.0; numbers],
            bounds: vec![f64::INFINITY; numbers],
        }
    }

    /// Computes how far from the mean a value may lie, from the values so far ([`bounds_are_due`]).
    #[inline(always)]
    pub(super) fn bound(&mut self) {
        let state = self.counts.iter().zip(&self.squares);
        for (bound, (count, square)) in self.bounds.iter_mut().zip(state) {
            *bound = if *count >= ENOUGH && *square > 0.0 {
                FARTHEST * FARTHEST * (square / *count as f64)
            } else {
                f64::INFINITY
            };
        }
    }

    /// Takes the values of a row for the numbers from `first` on; NaN = missing.
    #[inline(always)]
    pub(super) fn add(&mut self, first: usize, values: &mut [f64]) {
        let numbers = first..first + values.len();
        let bounds = &self.bounds[numbers.clone()];
        let means = &mut self.means[numbers.clone()];
        if any_beyond(values, means, bounds) {
            tame(values, means, bounds);
        }
        let counts = &mut self.counts[numbers.clone()];
        welford(values, counts, means, &mut self.squares[numbers]);
    }

    /// Lets what was seen count as at most so many values: those to come weigh more.
    pub(super) fn hasten(&mut self, most: u64) {
        for (count, squares) in self.counts.iter_mut().zip(&mut self.squares) {
            if *count > most {
                *squares *= most as f64 / *count as f64;
                *count = most;
            }
        }
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
            bounds: vec![f64::INFINITY; numbers],
        })
    }
}

/// Puts the values that lie too far just at their bound.
#[cold]
#[inline(never)]
fn tame(values: &mut [f64], means: &[f64], bounds: &[f64]) {
    for (value, (mean, bound)) in values.iter_mut().zip(means.iter().zip(bounds)) {
        if (*value - mean).powi(2) > *bound {
            *value = mean + bound.sqrt().copysign(*value - mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of a number after these values.
    fn moments(values: &[f64]) -> (f64, f64) {
        let mut moments = Moments::new(1);
        for value in values {
            moments.bound();
            moments.add(0, &mut [*value]);
        }
        let scales = moments.scales();
        (scales.means[0], 1.0 / scales.scales[0])
    }

    #[test]
    fn one_wild_value_does_not_hide_the_others_and_a_new_scale_is_learned_soon() {
        let usual: Vec<f64> = (0..1000).map(|i| f64::from(i % 7) - 3.0).collect();
        let (_, deviation) = moments(&usual);
        for wild in [1e9, -3e38] {
            let mut values = usual.clone();
            values.push(wild);
            let (mean, after) = moments(&values);
            assert!(
                mean.abs() < 1.0 && after < 5.0 * deviation,
                "{mean} {after}"
            );
        }
        // From here on everything is a million times as large.
        let mut values = usual.clone();
        values.extend(usual.iter().map(|value| value * 1e6));
        let (_, after) = moments(&values);
        assert!(after > 0.5e6 * deviation, "{after}");
    }

    #[test]
    fn what_is_rare_and_what_was_constant_are_taken_as_they_are() {
        let mut values = vec![0.0; 500];
        values.push(1.0);
        assert_eq!(moments(&values).0, 1.0 / 501.0);
        let usual: Vec<f64> = (0..15).map(|i| f64::from(i % 2)).chain([1e6]).collect();
        assert!(moments(&usual).1 > 1e5);
    }
}
