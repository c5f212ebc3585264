use super::*;
use crate::wide::on_every_set;

/// Numbers in [-1, 1) without a pattern.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// All that the three products read.
#[derive(Clone)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    delta: Vec<f32>,
}

impl Case {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            rows,
            inputs,
            outputs,
            x: noise(rows * inputs, 1),
            weight: noise(outputs * inputs, 2),
            bias: noise(outputs, 3),
            delta: noise(rows * outputs, 4),
        }
    }

    /// The same with one of the rows only.
    fn only(&self, row: usize) -> Self {
        let part = |values: &[f32], width: usize| values[row * width..][..width].to_vec();
        Self {
            rows: 1,
            x: part(&self.x, self.inputs),
            delta: part(&self.delta, self.outputs),
            ..self.clone()
        }
    }
}

/// The three products of a case, with a ReLU or without.
struct All<'a>(&'a Case, bool);

impl WithSimd for All<'_> {
    type Output = [Vec<f32>; 3];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Case {
            rows,
            inputs,
            outputs,
            ref x,
            ref weight,
            ref bias,
            ref delta,
        } = *self.0;
        let (mut forward, mut below) = (vec![9.0; rows * outputs], vec![9.0; rows * inputs]);
        let mut outer = vec![9.0; outputs * inputs];
        let product = Forward {
            x,
            inputs,
            weight,
            bias,
            relu: self.1,
            out: &mut forward,
        };
        product.with_simd(simd);
        let product = Below {
            delta,
            outputs,
            weight,
            inputs,
            gate: x,
            out: &mut below,
        };
        product.with_simd(simd);
        let product = Outer {
            delta,
            outputs,
            x,
            inputs,
            out: &mut outer,
        };
        product.with_simd(simd);
        [forward, below, outer]
    }
}

/// The same by three loops in f64, without a ReLU after the forward product.
fn exact(case: &Case) -> [Vec<f64>; 3] {
    let (inputs, outputs) = (case.inputs, case.outputs);
    let mut forward = vec![0.0; case.rows * outputs];
    let mut below = vec![0.0; case.rows * inputs];
    let mut outer = vec![0.0; outputs * inputs];
    for row in 0..case.rows {
        for o in 0..outputs {
            forward[row * outputs + o] += f64::from(case.bias[o]);
            let delta = f64::from(case.delta[row * outputs + o]);
            for i in 0..inputs {
                let x = f64::from(case.x[row * inputs + i]);
                let weight = f64::from(case.weight[o * inputs + i]);
                forward[row * outputs + o] += x * weight;
                below[row * inputs + i] += if x > 0.0 { delta * weight } else { 0.0 };
                outer[o * inputs + i] += delta * x;
            }
        }
    }
    [forward, below, outer]
}

fn cases() -> impl Iterator<Item = Case> {
    let widths = [16, 17, 30, 31, 32, 57, 64, 65, 80, 127, 200];
    widths.into_iter().flat_map(|inputs| {
        let sizes = [(1, 1), (1, 7), (2, 64), (3, 4), (4, 65), (5, 2), (20, 30)];
        sizes.map(|(rows, outputs)| Case::new(rows, inputs, outputs))
    })
}

#[test]
fn the_products_are_those_of_three_loops() {
    for case in cases() {
        for (ours, exact) in wide(All(&case, false)).iter().zip(&exact(&case)) {
            for (a, b) in ours.iter().zip(exact) {
                let (rows, inputs, outputs) = (case.rows, case.inputs, case.outputs);
                let error = (f64::from(*a) - b).abs();
                assert!(error < 2e-5, "{rows} {inputs} {outputs}: {a} {b}");
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for case in cases() {
        let all = on_every_set(|| All(&case, true));
        assert!(all.iter().all(|products| *products == all[0]));
        assert!(all[0][0].iter().all(|value| *value >= 0.0));
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_among_others() {
    for case in cases() {
        let [forward, below, _] = wide(All(&case, true));
        for row in 0..case.rows {
            let [forward_alone, below_alone, _] = wide(All(&case.only(row), true));
            assert_eq!(forward_alone, forward[row * case.outputs..][..case.outputs]);
            assert_eq!(below_alone, below[row * case.inputs..][..case.inputs]);
        }
    }
}

#[test]
fn a_broken_value_reaches_the_outputs_wherever_it_stands() {
    for inputs in [16, 17, 40] {
        for place in 0..inputs {
            for broken in [f32::NAN, f32::INFINITY] {
                let mut case = Case::new(3, inputs, 5);
                case.x[inputs + place] = broken;
                let [forward, _, outer] = wide(All(&case, false));
                let is_broken = |row: usize| forward[row * 5..][..5].iter().all(|v| !v.is_finite());
                assert_eq!([0, 1, 2].map(is_broken), [false, true, false], "{place}");
                assert!(!squares(&outer).is_finite());
                let mut case = Case::new(3, inputs, 5);
                case.weight[4 * inputs + place] = broken;
                let [forward, ..] = wide(All(&case, false));
                for row in forward.chunks(5) {
                    assert!(!row[4].is_finite() && row[3].is_finite(), "{place}");
                }
            }
            let mut case = Case::new(1, inputs, 5);
            case.x[place] = f32::NAN;
            assert!(wide(All(&case, true))[0].iter().all(|v| v.is_nan()));
        }
    }
}

fn norm(case: &Case) -> Option<f64> {
    norm_of_few(&case.delta, case.outputs, &case.x, case.inputs)
}

#[test]
fn the_norm_of_few_rows_is_that_of_the_gradient() {
    let mut found = 0;
    for case in cases() {
        let [_, _, outer] = wide(All(&case, false));
        let mut bias = vec![0.0; case.outputs];
        for delta in case.delta.chunks(case.outputs) {
            bias.iter_mut().zip(delta).for_each(|(b, d)| *b += d);
        }
        if let Some(norm) = norm(&case) {
            let gradient = squares(&outer) + squares(&bias);
            assert!(
                (norm - gradient).abs() < 1e-6 * gradient,
                "{norm} {gradient}"
            );
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn a_gradient_that_may_not_be_finite_is_looked_at_itself() {
    let case = Case::new(1, 64, 64);
    assert!(norm(&case).is_some());
    for broken in [f32::NAN, f32::INFINITY, 1e30] {
        let (mut wrong_x, mut wrong_delta) = (case.clone(), case.clone());
        wrong_x.x[63] = broken;
        wrong_delta.delta[0] = broken;
        assert!(norm(&wrong_x).is_none() && norm(&wrong_delta).is_none());
    }
    // two rows that cancel out in exact arithmetic, and are infinity less infinity in f32
    let mut opposite = Case::new(2, 64, 64);
    opposite.x = vec![1e25; 128];
    opposite.delta[..64].fill(1e25);
    opposite.delta[64..].fill(-1e25);
    assert!(norm(&opposite).is_none());
    assert!(!squares(&wide(All(&opposite, false))[2]).is_finite());
}
