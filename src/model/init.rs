//! First values of parameters: a small generator whose output depends on (seed, layer, row) alone.
//!
//! A row is one output unit of a layer. Because a row knows nothing of its neighbours, a class that joins later gets
//! the values it would have had from the start, and the values never depend on a library's generator.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one addition and a 64-bit mix a number.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1), on a grid of 2^-23: exact in f32.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// The generator of one row: seed, layer and row pass through the mix one after the other.
fn row_generator(seed: u64, layer: usize, row: usize) -> SplitMix64 {
    [layer as u64, row as u64]
        .into_iter()
        .fold(SplitMix64(seed), |mut generator, number| {
            SplitMix64(generator.next().wrapping_add(number))
        })
}

/// Appends the first weights of one row of `inputs` values, uniform in `[-bound, bound)`.
fn uniform_row(seed: u64, layer: usize, row: usize, inputs: usize, bound: f64, out: &mut Vec<f32>) {
    let mut generator = row_generator(seed, layer, row);
    let bound = bound as f32;
    out.extend((0..inputs).map(|_| generator.uniform() * bound));
}

/// A row of a hidden layer before a ReLU: uniform with bound `sqrt(6 / inputs)` (He et al. 2015).
pub(super) fn hidden_row(seed: u64, layer: usize, row: usize, inputs: usize, out: &mut Vec<f32>) {
    uniform_row(seed, layer, row, inputs, (6.0 / inputs as f64).sqrt(), out);
}

/// Widens the first weights by inputs that are numbers to what they would be if each of these categories were one input, which
/// is what a row has of it: the more buckets, the smaller were the numbers' weights otherwise. Those by categories stay: where
/// a few values make a row, larger ones are learned by heart.
pub(super) fn widen_numbers(inputs: usize, one_hot: &[Range<usize>], weight: &mut [f32]) {
    let buckets: usize = one_hot.iter().map(Range::len).sum();
    if buckets == one_hot.len() {
        return;
    }
    let factor = (inputs as f64 / (inputs - buckets + one_hot.len()) as f64).sqrt() as f32;
    let mut is_number = vec![true; inputs];
    for category in one_hot {
        is_number[category.clone()].fill(false);
    }
    for row in weight.chunks_exact_mut(inputs) {
        for (value, is_number) in row.iter_mut().zip(&is_number) {
            if *is_number {
                *value *= factor;
            }
        }
    }
}

/// A row of the output layer: uniform with bound `1 / sqrt(inputs)`, so first logits are small.
pub(super) fn output_row(seed: u64, layer: usize, row: usize, inputs: usize, out: &mut Vec<f32>) {
    uniform_row(seed, layer, row, inputs, 1.0 / (inputs as f64).sqrt(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_function_of_seed_layer_and_row() {
        let row = |seed, layer, row| {
            let mut out = Vec::new();
            hidden_row(seed, layer, row, 16, &mut out);
            out
        };
        assert_eq!(row(1, 2, 3), row(1, 2, 3));
        for other in [
            row(2, 2, 3),
            row(1, 3, 3),
            row(1, 2, 4),
            row(1, 3, 2),
            row(3, 2, 1),
        ] {
            assert_ne!(row(1, 2, 3), other);
        }
    }

    #[test]
    fn a_category_counts_as_one_input_for_the_weights_by_numbers_and_not_for_its_own() {
        let first = |one_hot: &[Range<usize>]| {
            let mut weight = Vec::new();
            for row in 0..2 {
                hidden_row(7, 0, row, 70, &mut weight);
            }
            widen_numbers(70, one_hot, &mut weight);
            weight
        };
        let (plain, wide) = (first(&[]), first(&[2..34, 36..68]));
        // Six numbers and two categories are eight inputs of a row.
        let factor = (70.0_f32 / 8.0).sqrt();
        for (place, (plain, wide)) in plain.iter().zip(&wide).enumerate() {
            let is_number = matches!(place % 70, 0 | 1 | 34 | 35 | 68 | 69);
            let expected = if is_number { plain * factor } else { *plain };
            assert!((wide - expected).abs() < 1e-6, "{place}: {wide} {expected}");
        }
        let single = 5..6;
        assert_eq!(first(&[single]), plain, "of one bucket");
    }

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // first outputs of SplitMix64 for seed 1234567, as in its reference implementation
        let mut generator = SplitMix64(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn values_fill_their_range_with_the_right_variance() {
        let mut out = Vec::new();
        for row in 0..200 {
            hidden_row(7, 0, row, 54, &mut out);
        }
        let bound = (6.0f64 / 54.0).sqrt();
        assert!(out.iter().all(|v| f64::from(v.abs()) <= bound * 1.000_001));
        let (n, mean) = (
            out.len() as f64,
            out.iter().map(|v| f64::from(*v)).sum::<f64>(),
        );
        let variance = out.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        assert!((mean / n).abs() < 0.01, "{}", mean / n);
        assert!(
            (variance - 2.0 / 54.0).abs() < 0.03 * 2.0 / 54.0,
            "{variance}"
        );
    }
}
