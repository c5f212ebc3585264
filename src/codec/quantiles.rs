//! Where a number stands among those seen so far: knots at equal shares of a uniform sample.
//!
//! The sample is a reservoir of whole rows. It is read only when the count of rows has grown by half, so a long stream pays
//! nothing for it.

use super::lanes::rank;
use crate::random::reservoir;
use crate::state::{Error, State};

/// Rows of the sample: the standard error of a quantile is at most 1.1 % of the rows.
const SAMPLE: usize = 2048;
/// Knots a number.
const KNOTS: usize = 64;
/// The lowest and highest quantile become -REACH and REACH: about the deviation of a uniform number is then 1.
pub(super) const REACH: f64 = 1.7;
/// Rows before the first knots.
const FIRST: u64 = 16;
/// Purpose of the random numbers.
const SAMPLING: u64 = 4;

/// A sample of the rows and the knots of each number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantiles {
    seed: u64,
    numbers: usize,
    /// Rows of `numbers` values, NaN where one was missing.
    sample: Vec<f32>,
    seen: u64,
    refresh_at: u64,
    /// [`KNOTS`] ascending values a number; NaN where none is known.
    knots: Vec<f32>,
}

impl Quantiles {
    pub(super) fn new(numbers: usize, seed: u64) -> Self {
        Self {
            seed,
            numbers,
            sample: Vec::new(),
            seen: 0,
            refresh_at: FIRST,
            knots: vec![f32::NAN; numbers * KNOTS],
        }
    }

    /// Takes the numbers of one row.
    pub(super) fn add(&mut self, row: impl Iterator<Item = f32>) {
        self.seen += 1;
        let Some(place) = reservoir(self.seed, SAMPLING, self.seen, self.seen, SAMPLE) else {
            return;
        };
        let start = place * self.numbers;
        if start == self.sample.len() {
            self.sample.extend(row);
            return;
        }
        for (slot, value) in self.sample[start..start + self.numbers].iter_mut().zip(row) {
            *slot = value;
        }
    }

    /// Places the knots anew if it is time.
    pub(super) fn refresh(&mut self) {
        if self.seen < self.refresh_at {
            return;
        }
        self.refresh_at = self.seen + self.seen / 2;
        let mut values = Vec::with_capacity(SAMPLE);
        for number in 0..self.numbers {
            values.clear();
            let column = self.sample.iter().skip(number).step_by(self.numbers);
            values.extend(column.copied().filter(|value| !value.is_nan()));
            if values.is_empty() {
                continue;
            }
            values.sort_unstable_by(f32::total_cmp);
            let last = values.len() - 1;
            for knot in 0..KNOTS {
                self.knots[number * KNOTS + knot] = values[knot * last / (KNOTS - 1)];
            }
        }
    }

    /// Where `value` stands, from -1.7 to 1.7; a value that many rows share stands in the middle of them. 0 before knots.
    #[inline(always)]
    pub(super) fn place(&self, number: usize, value: f32) -> f32 {
        let knots = &self.knots[number * KNOTS..(number + 1) * KNOTS];
        if knots[0].is_nan() {
            return 0.0;
        }
        let (below, equal) = rank(knots, value);
        let position = if equal > 0 {
            below as f64 + (equal - 1) as f64 / 2.0
        } else if below == 0 {
            0.0
        } else if below >= KNOTS {
            (KNOTS - 1) as f64
        } else {
            let (low, high) = (f64::from(knots[below - 1]), f64::from(knots[below]));
            (below - 1) as f64 + (f64::from(value) - low) / (high - low)
        };
        ((position / (KNOTS - 1) as f64 * 2.0 - 1.0) * REACH) as f32
    }

    /// What is known of the numbers `from[i]` of `other`, for a row of more numbers.
    pub(super) fn grown(other: &Self, from: &[Option<usize>]) -> Self {
        let pick = |row: &[f32], width: usize| -> Vec<f32> {
            from.iter()
                .flat_map(|old| {
                    let values = old.map(|old| row[old * width..(old + 1) * width].to_vec());
                    values.unwrap_or_else(|| vec![f32::NAN; width])
                })
                .collect()
        };
        Self {
            seed: other.seed,
            numbers: from.len(),
            sample: other
                .sample
                .chunks_exact(other.numbers.max(1))
                .flat_map(|row| pick(row, 1))
                .collect(),
            seen: other.seen,
            refresh_at: other.refresh_at,
            knots: pick(&other.knots, KNOTS),
        }
    }

    pub(super) fn save(&self, state: &mut State) {
        let rows = self.sample.len() / self.numbers.max(1);
        state.put_u64("encoder.quantiles", vec![self.seen, self.refresh_at]);
        state.put_f32(
            "encoder.sample",
            vec![rows, self.numbers],
            self.sample.clone(),
        );
        state.put_f32(
            "encoder.knots",
            vec![self.numbers, KNOTS],
            self.knots.clone(),
        );
    }

    pub(super) fn load(numbers: usize, seed: u64, state: &State) -> Result<Self, Error> {
        let counts = state.u64_exact("encoder.quantiles", 2)?;
        let rows = counts[0].min(SAMPLE as u64) as usize;
        Ok(Self {
            seed,
            numbers,
            seen: counts[0],
            refresh_at: counts[1],
            sample: state.f32_exact("encoder.sample", rows * numbers)?.to_vec(),
            knots: state.f32_exact("encoder.knots", numbers * KNOTS)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = f32>) -> Quantiles {
        let mut quantiles = Quantiles::new(1, 1);
        for value in values {
            quantiles.add(std::iter::once(value));
        }
        quantiles.refresh_at = 0;
        quantiles.refresh();
        quantiles
    }

    #[test]
    fn a_number_stands_where_its_share_of_the_others_says() {
        let even = of((0..=1000).map(|i| i as f32));
        assert_eq!(even.place(0, 0.0), -1.7);
        assert_eq!(even.place(0, 1000.0), 1.7);
        assert_eq!(even.place(0, -5.0), -1.7);
        assert_eq!(even.place(0, 1e30), 1.7);
        assert!(even.place(0, 500.0).abs() < 0.01);
        assert!((even.place(0, 750.0) - 0.85).abs() < 0.01);
    }

    #[test]
    fn a_shared_value_stands_in_the_middle_of_those_that_share_it() {
        let mostly_zero = of((0..1000).map(|i| if i < 800 { 0.0 } else { i as f32 }));
        assert!((mostly_zero.place(0, 0.0) - (0.4 * 2.0 - 1.0) * 1.7).abs() < 0.05);
        assert_eq!(of([3.0; 20].into_iter()).place(0, 3.0), 0.0);
        assert_eq!(Quantiles::new(1, 1).place(0, 3.0), 0.0);
    }

    #[test]
    fn a_long_stream_is_sampled_evenly_and_survives_its_state() {
        let long = of((0..100_000).map(|i| i as f32));
        assert!(long.place(0, 50_000.0).abs() < 0.15);
        let mut state = State::default();
        long.save(&mut state);
        assert_eq!(Quantiles::load(1, 1, &state), Ok(long));
    }
}
