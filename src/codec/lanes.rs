//! The encoder's loops over numbers that stand side by side, for the widest vectors of the processor.
//!
//! Each number is worked out on its own, by the operations of a plain loop in their order: the bits are the same whatever
//! the processor, and no library's logarithm has a say in them. To be called from within [`crate::wide::wide`].

/// Standardised numbers are cut here: one outlier must not move the model alone.
const CUT: f64 = 8.0;

/// Mean and 1 / deviation of each of some numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Scales {
    pub means: Vec<f64>,
    pub scales: Vec<f64>,
}

/// Standardises each value and cuts it; 0 where it is missing.
#[inline(always)]
pub(super) fn standardise(values: &[f32], means: &[f64], scales: &[f64], out: &mut [f32]) {
    for (((value, mean), scale), out) in values.iter().zip(means).zip(scales).zip(out) {
        *out = scaled(f64::from(*value), *mean, *scale);
    }
}

/// The same of values that went through [`signed_logs`].
#[inline(always)]
pub(super) fn standardise_wide(values: &[f64], means: &[f64], scales: &[f64], out: &mut [f32]) {
    for (((value, mean), scale), out) in values.iter().zip(means).zip(scales).zip(out) {
        *out = scaled(*value, *mean, *scale);
    }
}

#[inline(always)]
fn scaled(value: f64, mean: f64, scale: f64) -> f32 {
    let scaled = ((value - mean) * scale).clamp(-CUT, CUT) as f32;
    if value.is_nan() { 0.0 } else { scaled }
}

/// Counts, means and sums of squared deviations take in a value each, by Welford's recurrence; none where it is missing.
#[inline(always)]
pub(super) fn welford(values: &[f64], counts: &mut [u64], means: &mut [f64], squares: &mut [f64]) {
    let state = counts.iter_mut().zip(means).zip(squares);
    for (value, ((count, mean), square)) in values.iter().zip(state) {
        let known = !value.is_nan();
        let next = *count + u64::from(known);
        let before = *value - *mean;
        let after = *mean + before / next as f64;
        let sum = *square + before * (*value - after);
        *count = next;
        *mean = if known { after } else { *mean };
        *square = if known { sum } else { *square };
    }
}

/// True when a value lies further from its mean than the root of its bound; never for a missing one.
#[inline(always)]
pub(super) fn any_beyond(values: &[f64], means: &[f64], bounds: &[f64]) -> bool {
    // A number, not a bool: it is as wide as what is compared, so that several are compared at once.
    let mut beyond = 0_u64;
    for ((value, mean), bound) in values.iter().zip(means).zip(bounds) {
        let apart = value - mean;
        beyond |= u64::from(apart * apart > *bound);
    }
    beyond != 0
}

/// The values in twice the precision.
#[inline(always)]
pub(super) fn widen(values: &[f32], out: &mut [f64]) {
    for (value, out) in values.iter().zip(out) {
        *out = f64::from(*value);
    }
}

/// Tames wide ranges on both sides of zero: `sign(x) ln(1 + |x|)`.
#[inline(always)]
pub(super) fn signed_logs(values: &[f32], out: &mut [f64]) {
    for (value, out) in values.iter().zip(out) {
        let value = f64::from(*value);
        *out = ln_1p(value.abs()).copysign(value);
    }
}

/// How many of ascending knots are below a value, and how many are equal to it.
#[inline(always)]
pub(super) fn rank(knots: &[f32], value: f32) -> (usize, usize) {
    let (mut below, mut equal) = (0_u32, 0_u32);
    for knot in knots {
        below += u32::from(*knot < value);
        equal += u32::from(*knot == value);
    }
    (below as usize, equal as usize)
}

/// `ln(1 + x)` of x >= 0 or NaN, without a branch; its error is below one unit of the last place.
///
/// The method and the constants are those of `log1p` in fdlibm (Copyright (C) 1993 by Sun Microsystems, Inc., which freely
/// grants its use): 1 + x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2); ln(1 + f) by a series in f / (2 + f); `c` is
/// what 1 + x lost to rounding. Products are fused with sums where glibc fuses them on a processor that can, so that the bits
/// are the same as there; a processor that cannot gets the same bits slowly.
#[inline(always)]
fn ln_1p(x: f64) -> f64 {
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const SERIES: [f64; 7] = [
        0.666_666_666_666_673_5,
        0.399_999_999_994_094_2,
        0.285_714_287_436_623_9,
        0.222_221_984_321_497_84,
        0.181_835_721_616_180_5,
        0.153_138_376_992_093_73,
        0.147_981_986_051_165_86,
    ];
    /// The high words of 2^-29, of sqrt(2) - 1, and of 2^53.
    const TINY: u64 = 0x3e20_0000;
    const SMALL: u64 = 0x3fda_827a;
    const HUGE: u64 = 0x4340_0000;
    /// Bits of a mantissa from which on u/2 is nearer to 1 than u.
    const UPPER_HALF: u64 = 0x6_a09e;
    const TWO_THIRDS: f64 = 0.666_666_666_666_666_6;
    const TWO_52: f64 = 4_503_599_627_370_496.0;

    let high = x.to_bits() >> 32;
    let small = high < SMALL;
    let sum = 1.0 + x;
    let u = if high < HUGE { sum } else { x };
    let bits = u.to_bits();
    let exponent = (bits >> 52).wrapping_sub(1023);
    let lost = if exponent > 0 {
        1.0 - (sum - x)
    } else {
        x - (sum - 1.0)
    };
    let c = if high < HUGE { lost / u } else { 0.0 };
    let mantissa = (bits >> 32) & 0x000f_ffff;
    let halved = u64::from(mantissa >= UPPER_HALF);
    // 1 + f, its exponent 0 or -1.
    let one = ((0x3ff - halved) << 52) | (bits & 0x000f_ffff_ffff_ffff);
    let top = if halved == 1 {
        (0x0010_0000 - mantissa) >> 2
    } else {
        mantissa
    };
    let top = if small { 1 } else { top };
    let power = if small { 0 } else { exponent + halved };
    // A whole number below 2^52 becomes an f64.
    let k = f64::from_bits(TWO_52.to_bits() | (power & 0xfff)) - TWO_52;
    let f = if small { x } else { f64::from_bits(one) - 1.0 };
    let c = if small { 0.0 } else { c };

    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let z2 = z * z;
    let z4 = z2 * z2;
    let z6 = z4 * z2;
    let r = z.mul_add(SERIES[0], z2 * z.mul_add(SERIES[2], SERIES[1]));
    let r = z4.mul_add(z.mul_add(SERIES[4], SERIES[3]), r);
    let r = z6.mul_add(z.mul_add(SERIES[6], SERIES[5]), r);
    let product = s * (half_square + r);
    let near_one = f - (half_square - product);
    let carried = k.mul_add(LN2_LOW, c);
    let usual = k.mul_add(LN2_HIGH, -((half_square - (product + carried)) - f));
    // |f| < 2^-20: two terms are enough.
    let short = half_square * f.mul_add(-TWO_THIRDS, 1.0);
    let round = if f == 0.0 {
        k.mul_add(LN2_HIGH, carried)
    } else {
        k.mul_add(LN2_HIGH, -((short - carried) - f))
    };
    let general = if top == 0 { round } else { usual };
    let result = if small { near_one } else { general };
    let tiny = if high < 0x3c90_0000 {
        x
    } else {
        x - x * x * 0.5
    };
    let result = if high < TINY { tiny } else { result };
    if x.is_nan() { x } else { result }
}

#[cfg(test)]
mod tests {
    use pulp::{Simd, WithSimd};

    use super::*;
    use crate::wide::on_every_set;

    struct Logs<'a>(&'a [f32]);

    impl WithSimd for Logs<'_> {
        type Output = Vec<u64>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Vec<u64> {
            let mut out = vec![0.0; self.0.len()];
            signed_logs(self.0, &mut out);
            out.iter().map(|log| log.to_bits()).collect()
        }
    }

    /// Numbers of every size, and where one way to the logarithm meets another.
    fn numbers() -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..2_000_u32)
            .map(|i| f32::from_bits(i.wrapping_mul(0x0010_5a3d) & 0x7f7f_ffff))
            .collect();
        let meetings = [
            0x3100_0000,
            0x3ed4_13d0,
            0x3f80_0000,
            0x3fb5_04f3,
            0x5a00_0000,
        ];
        for bits in meetings
            .into_iter()
            .flat_map(|bits: u32| bits - 3..bits + 4)
        {
            numbers.push(f32::from_bits(bits));
        }
        numbers.extend([
            0.0,
            f32::MIN_POSITIVE,
            1e-45,
            f32::MAX,
            1.0,
            3.0,
            1_048_577.0,
        ]);
        let negative: Vec<f32> = numbers.iter().map(|number| -number).collect();
        numbers.extend(negative);
        numbers
    }

    #[test]
    fn logarithms_are_within_one_unit_of_the_last_place_and_the_same_on_every_instruction_set() {
        let numbers = numbers();
        let logs = on_every_set(|| Logs(&numbers));
        assert!(logs.iter().all(|other| *other == logs[0]));
        for (number, log) in numbers.iter().zip(&logs[0]) {
            let value = f64::from(*number);
            let expected = value.abs().ln_1p().copysign(value);
            let apart = expected.to_bits().abs_diff(*log);
            assert!(apart <= 2, "{number:e}: {expected:e}, {apart} units apart");
        }
    }

    #[test]
    fn a_missing_number_stays_missing() {
        let logs = on_every_set(|| Logs(&[f32::NAN, -f32::NAN]));
        let missing = |log: &u64| f64::from_bits(*log).is_nan();
        assert!(logs.iter().flatten().all(missing));
    }
}
