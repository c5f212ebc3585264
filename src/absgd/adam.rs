//! AdamW under the same weights: the gradient of a batch is weighed before it comes here, so ABSGD is unchanged.

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
    let Biased {
        rate,
        epsilon,
        keep,
    } = Biased::at(rule, time);
    let (beta1, beta2) = (rule.beta1 as f32, rule.beta2 as f32);
    let (rest1, rest2) = (1.0 - beta1, 1.0 - beta2);
    for (((w, m), v), g) in parameters.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = scale * g;
        *m = beta1 * *m + rest1 * g;
        *v = beta2 * *v + rest2 * (g * g);
        *w = keep * *w - rate * *m / (v.sqrt() + epsilon);
    }
}

/// The numbers of one step, with the corrections for moments that began at zero folded in.
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
}
