//! AdamW under the same weights: the gradient of a batch is weighed before it comes here, so ABSGD is unchanged.

use pulp::{Simd, WithSimd};

use crate::wide::{LANES, wide};

/// Adam with decoupled weight decay (Kingma and Ba 2015, Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamRule {
    /// Step size η.
    pub learning_rate: f64,
    /// Memory β₁ of the mean gradient, in [0, 1).
    pub beta1: f64,
    /// Memory β₂ of the mean squared gradient, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Takes `learning_rate * weight_decay * w` from every parameter, biases too.
    pub weight_decay: f64,
}

/// Step number `time` (1-based) of `rule` on one parameter array with its two moments, all of the gradient's length.
///
/// `scale` multiplies the gradient (see [`super::clip_scale`]). The first step moves every parameter with a gradient by
/// about the learning rate:
///
/// ```
/// use skewd::absgd::{AdamRule, adam};
/// let rule = AdamRule { learning_rate: 0.5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
/// let (mut w, mut first, mut second) = ([1.0_f32], [0.0], [0.0]);
/// adam(&rule, 1, &mut w, &mut first, &mut second, &[3.0], 1.0);
/// assert!((w[0] - 0.5).abs() < 1e-4);
/// ```
///
/// # Panics
/// When the lengths differ.
pub fn adam(
    rule: &AdamRule,
    time: u64,
    parameters: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    scale: f32,
) {
    let length = gradient.len();
    assert!(
        parameters.len() == length && first.len() == length && second.len() == length,
        "a gradient and two moments for every parameter"
    );
    let factors = Factors {
        numbers: Biased::at(rule, time),
        beta1: rule.beta1 as f32,
        beta2: rule.beta2 as f32,
        scale,
    };
    wide(Step(factors, parameters, first, second, gradient));
}

/// A step of parameters and both moments by a gradient.
struct Step<'a>(
    Factors,
    &'a mut [f32],
    &'a mut [f32],
    &'a mut [f32],
    &'a [f32],
);

struct Factors {
    numbers: Biased,
    beta1: f32,
    beta2: f32,
    scale: f32,
}

/// A mean gradient and a mean square below these are taken as 0, as they are about to be in f32 anyway. A parameter that
/// no gradient reaches, such as the weights of a ReLU that never passes anything, would else end up among the numbers too
/// small for the usual form, which many processors handle a hundred times more slowly.
const FIRST_AT_REST: f32 = 1e-30;
const SECOND_AT_REST: f32 = 1e-36;

impl Factors {
    #[inline(always)]
    fn step(&self, w: &mut f32, m: &mut f32, v: &mut f32, g: f32) {
        let g = self.scale * g;
        let first = self.beta1 * *m + (1.0 - self.beta1) * g;
        let second = self.beta2 * *v + (1.0 - self.beta2) * (g * g);
        *m = if first.abs() < FIRST_AT_REST {
            0.0
        } else {
            first
        };
        *v = if second < SECOND_AT_REST { 0.0 } else { second };
        let Biased {
            rate,
            epsilon,
            keep,
        } = self.numbers;
        *w = keep * *w - rate * *m / (v.sqrt() + epsilon);
    }
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(factors, w, m, v, g) = self;
        let (w, w_rest) = w.as_chunks_mut::<LANES>();
        let (m, m_rest) = m.as_chunks_mut::<LANES>();
        let (v, v_rest) = v.as_chunks_mut::<LANES>();
        let (g, g_rest) = g.as_chunks::<LANES>();
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            // On copies, so that the compiler need not ask what overlaps.
            let (mut w_now, mut m_now, mut v_now) = (*w, *m, *v);
            for lane in 0..LANES {
                factors.step(
                    &mut w_now[lane],
                    &mut m_now[lane],
                    &mut v_now[lane],
                    g[lane],
                );
            }
            (*w, *m, *v) = (w_now, m_now, v_now);
        }
        for (((w, m), v), g) in w_rest.iter_mut().zip(m_rest).zip(v_rest).zip(g_rest) {
            factors.step(w, m, v, *g);
        }
    }
}

/// The numbers of one step, with the corrections for moments that began at zero folded in.
#[derive(Clone, Copy)]
pub(crate) struct Biased {
    /// Multiplies `m / (sqrt(v) + epsilon)`.
    pub rate: f32,
    /// ε as it stands beside the uncorrected root.
    pub epsilon: f32,
    /// What the decay leaves of a parameter.
    pub keep: f32,
}

impl Biased {
    /// For step `time`, 1-based.
    pub(crate) fn at(rule: &AdamRule, time: u64) -> Self {
        let time = time.max(1) as f64;
        let first = -(time * rule.beta1.ln()).exp_m1();
        let second = -(time * rule.beta2.ln()).exp_m1();
        let root = second.sqrt();
        Self {
            rate: (rule.learning_rate * root / first) as f32,
            epsilon: (rule.epsilon * root) as f32,
            keep: (1.0 - rule.learning_rate * rule.weight_decay) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::on_every_set;

    /// The algorithm as its paper prints it, in f64.
    fn literal(rule: &AdamRule, w: &mut f64, moments: &mut (f64, f64), time: i32, g: f64) {
        moments.0 = rule.beta1 * moments.0 + (1.0 - rule.beta1) * g;
        moments.1 = rule.beta2 * moments.1 + (1.0 - rule.beta2) * g * g;
        let first = moments.0 / (1.0 - rule.beta1.powi(time));
        let second = moments.1 / (1.0 - rule.beta2.powi(time));
        *w -=
            rule.learning_rate * (first / (second.sqrt() + rule.epsilon) + rule.weight_decay * *w);
    }

    #[test]
    fn it_is_the_printed_algorithm() {
        let rule = AdamRule {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-3,
            weight_decay: 0.1,
        };
        let (mut w, mut m, mut v) = ([0.7f32], [0.0f32], [0.0f32]);
        let (mut exact, mut moments) = (f64::from(w[0]), (0.0, 0.0));
        for time in 1..=200u8 {
            let g = (f64::from(time) * 0.37).sin() * 0.2;
            adam(
                &rule,
                u64::from(time),
                &mut w,
                &mut m,
                &mut v,
                &[g as f32],
                1.0,
            );
            literal(
                &rule,
                &mut exact,
                &mut moments,
                i32::from(time),
                f64::from(g as f32),
            );
            assert!(
                (f64::from(w[0]) - exact).abs() < 1e-5,
                "{time}: {} {exact}",
                w[0]
            );
        }
    }

    #[test]
    fn a_memory_of_zero_has_no_bias_to_correct() {
        let rule = AdamRule {
            learning_rate: 0.1,
            beta1: 0.0,
            beta2: 0.0,
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        let (mut w, mut m, mut v) = ([0.0f32; 2], [0.0f32; 2], [0.0f32; 2]);
        adam(&rule, 9, &mut w, &mut m, &mut v, &[2.0, -5.0], 1.0);
        assert_eq!(w, [-0.1, 0.1]);
    }

    #[test]
    fn without_a_gradient_the_moments_come_to_rest_at_zero() {
        let rule = AdamRule {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        // more than a vector, and some over
        let (mut w, mut m, mut v) = ([1f32; 21], [0f32; 21], [0f32; 21]);
        adam(&rule, 1, &mut w, &mut m, &mut v, &[0.5; 21], 1.0);
        for time in 2..10_000 {
            adam(&rule, time, &mut w, &mut m, &mut v, &[0.0; 21], 1.0);
            let usual = |value: &f32| *value == 0.0 || value.is_normal();
            assert!(m.iter().chain(&v).all(usual), "{time}: {m:?} {v:?}");
        }
        assert_eq!((m, v), ([0.0; 21], [0.0; 21]));
        assert!(w.iter().all(|value| value.is_finite() && *value == w[0]));
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let wave = |len: usize, pace: f32| -> Vec<f32> {
            (0..len).map(|i| (i as f32 * pace).sin() * 0.1).collect()
        };
        for length in [1, 15, 16, 100] {
            let numbers = Biased {
                rate: 1e-3,
                epsilon: 1e-8,
                keep: 0.999,
            };
            let results = on_every_set(|| Taken {
                factors: Factors {
                    numbers,
                    beta1: 0.9,
                    beta2: 0.999,
                    scale: 0.7,
                },
                arrays: [wave(length, 0.3), wave(length, 0.7), vec![1e-4; length]],
                gradient: wave(length, 1.1),
            });
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }

    /// A step that gives its arrays back.
    struct Taken {
        factors: Factors,
        arrays: [Vec<f32>; 3],
        gradient: Vec<f32>,
    }

    impl WithSimd for Taken {
        type Output = [Vec<f32>; 3];

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
            let [w, m, v] = &mut self.arrays;
            Step(self.factors, w, m, v, &self.gradient).with_simd(simd);
            self.arrays
        }
    }
}
