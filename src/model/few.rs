//! Products of a few rows, in loops of our own.
//!
//! A general product packs its operands first, which costs more than the product itself where there are only a few rows.
//! These loops read the matrices as they lie. A row gives the same bits alone and among others, and on every processor
//! (see [`crate::wide`]): the lanes of a sum are fixed, and so is the order in which they are added up.
//!
//! All matrices are row-major: `x` is `rows x inputs`, `weight` is `outputs x inputs`, `delta` is `rows x outputs`. There
//! are at least [`LANES`] inputs and one output. The last values of a row are taken by a vector that overlaps the one before it.

// Indexes that are constants after unrolling: rows, outputs and vectors of a tile.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd, WithSimd};

use crate::wide::{LANES, dot, squares, wide};

/// Up to so many rows, these loops are no slower than a general product.
const ROWS: usize = 20;

/// Whether these loops are for so many rows of so many inputs.
pub(super) fn few(rows: usize, inputs: usize) -> bool {
    rows <= ROWS && inputs >= LANES
}

/// Outputs, rows or vectors that are worked on together, so that what is loaded once serves several times.
const TILE: usize = 4;
const PAIR: usize = 2;

/// Squared norm of the gradients by a weight and its bias, from what they are made of: the gradient is a sum of products
/// of vectors, whose inner products are sums over rows, not over weights. `None` where going over the gradient is cheaper,
/// or where a value of it may not be finite.
pub(super) fn norm_of_few(delta: &[f32], outputs: usize, x: &[f32], inputs: usize) -> Option<f64> {
    let rows = x.len() / inputs;
    let pairs = rows * (rows + 1) / 2;
    if 2 * pairs * (inputs + outputs) > inputs * outputs {
        return None;
    }
    let (mut norm, mut terms) = (0.0, 0.0);
    let pair = |a: usize, b: usize| {
        let deltas = dot(row(delta, outputs, a), row(delta, outputs, b));
        deltas * (dot(row(x, inputs, a), row(x, inputs, b)) + 1.0)
    };
    for a in 0..rows {
        let own = squares(row(delta, outputs, a)) * (squares(row(x, inputs, a)) + 1.0);
        terms += own;
        norm += own;
        for b in 0..a {
            norm += 2.0 * pair(a, b);
        }
    }
    // Far below the squares of the largest f32: no product overflows there, even where they cancel out here.
    (terms < 1e60).then_some(norm.max(0.0))
}

fn row(values: &[f32], width: usize, row: usize) -> &[f32] {
    &values[row * width..][..width]
}

/// `out = x W^T + b`, then a ReLU that keeps NaN if `relu`.
pub(super) struct Forward<'a> {
    pub x: &'a [f32],
    pub inputs: usize,
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub relu: bool,
    pub out: &'a mut [f32],
}

/// `out = delta W` where `gate` is positive, and 0 elsewhere: the gradient by what a ReLU was given, where `gate` is what
/// it gave.
pub(super) struct Below<'a> {
    pub delta: &'a [f32],
    pub outputs: usize,
    pub weight: &'a [f32],
    pub inputs: usize,
    pub gate: &'a [f32],
    pub out: &'a mut [f32],
}

/// `out = delta^T x`: the gradient by a weight.
pub(super) struct Outer<'a> {
    pub delta: &'a [f32],
    pub outputs: usize,
    pub x: &'a [f32],
    pub inputs: usize,
    pub out: &'a mut [f32],
}

impl Forward<'_> {
    pub(super) fn run(self) {
        wide(self);
    }

    /// The outputs of `R` rows, from `row` on.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, row: usize) {
        let (inputs, outputs) = (self.inputs, self.bias.len());
        let x = &self.x[row * inputs..][..R * inputs];
        let out = &mut self.out[row * outputs..][..R * outputs];
        let mut tails = [[0.0; LANES]; R];
        for (tail, x) in tails.iter_mut().zip(x.chunks_exact(inputs)) {
            *tail = tail_of(x);
        }
        let mut output = 0;
        while output + TILE <= outputs {
            let weight = &self.weight[output * inputs..][..TILE * inputs];
            let sums = dots::<S, R, TILE>(simd, x, &tails, inputs, weight);
            for r in 0..R {
                out[r * outputs + output..][..TILE].copy_from_slice(&sums[r]);
            }
            output += TILE;
        }
        while output < outputs {
            let weight = &self.weight[output * inputs..][..inputs];
            let sums = dots::<S, R, 1>(simd, x, &tails, inputs, weight);
            for r in 0..R {
                out[r * outputs + output] = sums[r][0];
            }
            output += 1;
        }
    }

    #[inline(always)]
    fn finish(&mut self) {
        for out in self.out.chunks_exact_mut(self.bias.len()) {
            for (out, bias) in out.iter_mut().zip(self.bias) {
                let sum = *out + bias;
                *out = if self.relu && sum < 0.0 { 0.0 } else { sum };
            }
        }
    }
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.x.len() / self.inputs;
        for row in (0..rows / PAIR * PAIR).step_by(PAIR) {
            self.rows::<S, PAIR>(simd, row);
        }
        if !rows.is_multiple_of(PAIR) {
            self.rows::<S, 1>(simd, rows - 1);
        }
        self.finish();
    }
}

/// The last vector of a row, with zeros for those values that belong to whole vectors before it.
#[inline(always)]
fn tail_of(row: &[f32]) -> [f32; LANES] {
    let mut tail = [0.0; LANES];
    if let Some(last) = row.last_chunk::<LANES>() {
        let earlier = LANES - row.len() % LANES;
        for lane in 0..LANES {
            tail[lane] = if lane < earlier { 0.0 } else { last[lane] };
        }
    }
    tail
}

/// Dot products of `R` rows with `O` rows of a weight.
#[inline(always)]
fn dots<S: Simd, const R: usize, const O: usize>(
    simd: S,
    x: &[f32],
    tails: &[[f32; LANES]; R],
    inputs: usize,
    weight: &[f32],
) -> [[f32; O]; R] {
    let whole = inputs / LANES;
    let mut weights: [&[S::f32s]; O] = [&[]; O];
    for o in 0..O {
        weights[o] = &S::as_simd_f32s(&weight[o * inputs..][..inputs]).0[..whole];
    }
    let mut rows: [&[S::f32s]; R] = [&[]; R];
    for r in 0..R {
        rows[r] = &S::as_simd_f32s(&x[r * inputs..][..inputs]).0[..whole];
    }
    let mut sums = [[simd.splat_f32s(0.0); O]; R];
    for place in 0..whole {
        for r in 0..R {
            let x = rows[r][place];
            for o in 0..O {
                sums[r][o] = add_product(simd, sums[r][o], x, weights[o][place]);
            }
        }
    }
    if !inputs.is_multiple_of(LANES) {
        for r in 0..R {
            let x = vector::<S>(&tails[r], 0);
            for o in 0..O {
                let weight = vector::<S>(weight, (o + 1) * inputs - LANES);
                sums[r][o] = add_product(simd, sums[r][o], x, weight);
            }
        }
    }
    let mut out = [[0.0; O]; R];
    for r in 0..R {
        for o in 0..O {
            // Halves are added to halves, down to one.
            out[r][o] = simd.reduce_sum_f32s(sums[r][o]);
        }
    }
    out
}

/// `sum + a b`, rounded twice: a fused one would differ from machine to machine.
#[inline(always)]
fn add_product<S: Simd>(simd: S, sum: S::f32s, a: S::f32s, b: S::f32s) -> S::f32s {
    simd.add_f32s(sum, simd.mul_f32s(a, b))
}

/// The vector that starts at `start`.
#[inline(always)]
fn vector<S: Simd>(values: &[f32], start: usize) -> S::f32s {
    S::as_simd_f32s(&values[start..][..LANES]).0[0]
}

impl Below<'_> {
    pub(super) fn run(self) {
        wide(self);
    }

    /// `T` vectors of `R` rows, from `row` and `start` on.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const T: usize>(&mut self, simd: S, row: usize, start: usize) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut deltas: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            deltas[r] = &self.delta[(row + r) * outputs..][..outputs];
        }
        let mut sums = [[simd.splat_f32s(0.0); T]; R];
        for (output, weight) in self.weight.chunks_exact(inputs).take(outputs).enumerate() {
            let weight = S::as_simd_f32s(&weight[start..][..T * LANES]).0;
            for r in 0..R {
                let delta = simd.splat_f32s(deltas[r][output]);
                for t in 0..T {
                    sums[r][t] = add_product(simd, sums[r][t], delta, weight[t]);
                }
            }
        }
        let zero = simd.splat_f32s(0.0);
        for r in 0..R {
            let place = (row + r) * inputs + start;
            let gate = S::as_simd_f32s(&self.gate[place..][..T * LANES]).0;
            let out = S::as_mut_simd_f32s(&mut self.out[place..][..T * LANES]).0;
            for t in 0..T {
                let passes = simd.less_than_f32s(zero, gate[t]);
                out[t] = simd.select_f32s(passes, sums[r][t], zero);
            }
        }
    }

    #[inline(always)]
    fn column<S: Simd, const T: usize>(&mut self, simd: S, rows: usize, start: usize) {
        for row in (0..rows / PAIR * PAIR).step_by(PAIR) {
            self.tile::<S, PAIR, T>(simd, row, start);
        }
        if !rows.is_multiple_of(PAIR) {
            self.tile::<S, 1, T>(simd, rows - 1, start);
        }
    }
}

impl WithSimd for Below<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let inputs = self.inputs;
        let rows = self.out.len() / inputs;
        let mut start = 0;
        while start < inputs {
            let vectors = (inputs - start) / LANES;
            start += match vectors {
                TILE.. => {
                    self.column::<S, TILE>(simd, rows, start);
                    TILE * LANES
                }
                PAIR.. => {
                    self.column::<S, PAIR>(simd, rows, start);
                    PAIR * LANES
                }
                _ => {
                    self.column::<S, 1>(simd, rows, start.min(inputs - LANES));
                    LANES
                }
            };
        }
    }
}

impl Outer<'_> {
    pub(super) fn run(self) {
        wide(self);
    }

    /// From `R` rows, which are all: one pass over the gradient, from its first value to its last.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let whole = inputs / LANES;
        let mut xs: [&[S::f32s]; R] = [&[]; R];
        let mut tails = [simd.splat_f32s(0.0); R];
        let mut factors = [simd.splat_f32s(0.0); R];
        for r in 0..R {
            xs[r] = &S::as_simd_f32s(&self.x[r * inputs..][..inputs]).0[..whole];
            tails[r] = vector::<S>(self.x, (r + 1) * inputs - LANES);
        }
        for (output, out) in self.out.chunks_exact_mut(inputs).enumerate() {
            for r in 0..R {
                factors[r] = simd.splat_f32s(self.delta[r * outputs + output]);
            }
            let vectors = &mut S::as_mut_simd_f32s(out).0[..whole];
            for place in 0..whole {
                let mut sum = simd.mul_f32s(factors[0], xs[0][place]);
                for r in 1..R {
                    sum = add_product(simd, sum, factors[r], xs[r][place]);
                }
                vectors[place] = sum;
            }
            if !inputs.is_multiple_of(LANES) {
                let mut sum = simd.mul_f32s(factors[0], tails[0]);
                for r in 1..R {
                    sum = add_product(simd, sum, factors[r], tails[r]);
                }
                S::as_mut_simd_f32s(&mut out[inputs - LANES..]).0[0] = sum;
            }
        }
    }

    /// `O` rows of the gradient, from `output` on, from any number of rows.
    #[inline(always)]
    fn tile<S: Simd, const O: usize>(&mut self, simd: S, rows: usize, output: usize) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        for start in (0..inputs).step_by(LANES) {
            let start = start.min(inputs - LANES);
            let mut sums = [simd.splat_f32s(0.0); O];
            for row in 0..rows {
                let delta = &self.delta[row * outputs + output..][..O];
                let x = vector::<S>(self.x, row * inputs + start);
                for o in 0..O {
                    sums[o] = add_product(simd, sums[o], simd.splat_f32s(delta[o]), x);
                }
            }
            for o in 0..O {
                let place = (output + o) * inputs + start;
                S::as_mut_simd_f32s(&mut self.out[place..][..LANES]).0[0] = sums[o];
            }
        }
    }
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.x.len() / self.inputs {
            1 => self.rows::<S, 1>(simd),
            2 => self.rows::<S, 2>(simd),
            rows => {
                let outputs = self.outputs;
                for output in (0..outputs / TILE * TILE).step_by(TILE) {
                    self.tile::<S, TILE>(simd, rows, output);
                }
                for output in outputs / TILE * TILE..outputs {
                    self.tile::<S, 1>(simd, rows, output);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
