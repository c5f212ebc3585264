//! Loops over vectors of sixteen lanes, compiled once for each instruction set from the same source.
//!
//! The program is built for any x86-64 processor, so that a plain loop uses vectors of four; what runs through [`wide`]
//! is compiled for AVX-512 and for AVX2 as well, and the processor at hand decides at run time. All of them see sixteen
//! lanes, and no product is fused with a sum: results are the same to the bit whatever the processor has.

use pulp::{Arch, Scalar512b, Simd, WithSimd};

/// Values of f32 that a loop takes at once.
pub const LANES: usize = 16;

/// Values of f64 in as many bytes.
const HALF: usize = LANES / 2;

/// Does the work with the widest instructions of this processor.
///
/// `work.with_simd` and what it calls must be `#[inline(always)]` and use no closures: whatever is not inlined is compiled
/// for the narrowest.
#[inline(always)]
pub fn wide<W: WithSimd>(work: W) -> W::Output {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => Simd::vectorize(simd, work),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => Simd::vectorize(simd, Sixteen(simd, work)),
        _ => Scalar512b.vectorize(work),
    }
}

/// Work for AVX2, which sees its vectors of eight lanes as pairs.
#[cfg(target_arch = "x86_64")]
struct Sixteen<W>(pulp::x86::V3, W);

#[cfg(target_arch = "x86_64")]
impl<W: WithSimd> WithSimd for Sixteen<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Output {
        self.1.with_simd(pulp::x86::V3_512b(self.0))
    }
}

/// Sum of the products of two slices, in f64, where the product of two f32 is exact.
///
/// The lanes and the order in which they are added up are fixed.
///
/// ```
/// assert_eq!(skewd::wide::dot(&[3.0, 1.0], &[4.0, 5.0]), 17.0);
/// ```
///
/// # Panics
/// When the lengths differ.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "two slices of one length");
    wide(Products::<false>(a, b))
}

/// Sum of squares: `dot(values, values)` to the bit, faster.
///
/// ```
/// assert_eq!(skewd::wide::squares(&[3.0, 4.0]), 25.0);
/// ```
#[must_use]
pub fn squares(values: &[f32]) -> f64 {
    wide(Products::<true>(values, values))
}

/// Two slices to multiply; `SAME` if they are one.
struct Products<'a, const SAME: bool>(&'a [f32], &'a [f32]);

impl<const SAME: bool> WithSimd for Products<'_, SAME> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (a, a_rest) = self.0.as_chunks::<HALF>();
        let (b, b_rest) = self.1.as_chunks::<HALF>();
        let (a_fours, a_ones) = a.as_chunks::<4>();
        let (b_fours, b_ones) = b.as_chunks::<4>();
        let mut sums = [simd.splat_f64s(0.0); 4];
        for (a, b) in a_fours.iter().zip(b_fours) {
            for place in 0..4 {
                sums[place] = add_product::<S, SAME>(simd, sums[place], &a[place], &b[place]);
            }
        }
        for (a, b) in a_ones.iter().zip(b_ones) {
            sums[0] = add_product::<S, SAME>(simd, sums[0], a, b);
        }
        let mut rest = [[0.0; HALF]; 2];
        rest[0][..a_rest.len()].copy_from_slice(a_rest);
        rest[1][..b_rest.len()].copy_from_slice(b_rest);
        sums[1] = add_product::<S, SAME>(simd, sums[1], &rest[0], &rest[1]);
        let left = simd.add_f64s(sums[0], sums[1]);
        let right = simd.add_f64s(sums[2], sums[3]);
        // Halves are added to halves, down to one.
        simd.reduce_sum_f64s(simd.add_f64s(left, right))
    }
}

#[inline(always)]
fn add_product<S: Simd, const SAME: bool>(
    simd: S,
    sum: S::f64s,
    a: &[f32; HALF],
    b: &[f32; HALF],
) -> S::f64s {
    let a = doubles::<S>(a);
    let b = if SAME { a } else { doubles::<S>(b) };
    simd.add_f64s(sum, simd.mul_f64s(a, b))
}

#[inline(always)]
fn doubles<S: Simd>(values: &[f32; HALF]) -> S::f64s {
    let mut doubles = [0.0; HALF];
    for lane in 0..HALF {
        doubles[lane] = f64::from(values[lane]);
    }
    S::as_simd_f64s(&doubles).0[0]
}

/// Does the work with every set of instructions that this processor has.
#[cfg(test)]
pub fn on_every_set<W: WithSimd>(mut work: impl FnMut() -> W) -> Vec<W::Output> {
    let mut outputs = vec![Scalar512b.vectorize(work())];
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V3::try_new() {
            outputs.push(Simd::vectorize(simd, Sixteen(simd, work())));
        }
        if let Some(simd) = pulp::x86::V4::try_new() {
            outputs.push(Simd::vectorize(simd, work()));
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_to_the_bit_on_every_instruction_set() {
        for length in [0, 1, 7, 8, 30, 65, 1000] {
            let a: Vec<f32> = (0..length).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32 * 0.71).cos()).collect();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
            let sums = on_every_set(|| Products::<false>(&a, &b));
            assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
            assert!((sums[0] - exact).abs() < 1e-4, "{length}: {sums:?} {exact}");
            let squares = on_every_set(|| Products::<true>(&a, &a));
            assert!(squares.iter().all(|sum| *sum == dot(&a, &a)), "{squares:?}");
        }
    }
}
