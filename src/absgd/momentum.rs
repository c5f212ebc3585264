//! The parameter update: momentum SGD with weight decay, and the gradient norm that clips it.

use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};

use crate::example::Limit;
use crate::wide::{LANES, squares, wide};

/// Where the learning rate enters the momentum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentumForm {
    /// `V = β V + G; w -= η V`, as PyTorch's SGD: a new learning rate applies to the whole buffer at once.
    #[default]
    Torch,
    /// `V = β V - η G; w += V`, the paper's equation 2: the buffer keeps the learning rates of its past.
    /// The same as `torch` while the learning rate is constant.
    HeavyBall,
}

/// How a gradient changes the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateRule {
    /// Step size η.
    pub learning_rate: f64,
    /// Momentum β, in [0, 1).
    pub momentum: f64,
    /// Where the learning rate enters.
    pub form: MomentumForm,
    /// Adds `weight_decay * w` to the gradient of every parameter, biases too.
    pub weight_decay: f64,
}

/// A velocity below this, in absolute value, is taken as 0. A parameter without a gradient would else end up among the
/// numbers too small for the usual form, which many processors handle a hundred times more slowly.
const AT_REST: f32 = 1e-30;

/// One step of `rule` on one parameter array and its velocity, both of the length of `gradient`.
///
/// `scale` multiplies the gradient (see [`clip_scale`]); the decay is not scaled.
///
/// ```
/// use skewd::absgd::{MomentumForm, UpdateRule, update};
/// let rule = UpdateRule { learning_rate: 0.5, momentum: 0.5, form: MomentumForm::Torch, weight_decay: 0.0 };
/// let (mut parameters, mut velocity) = ([1.0], [2.0]);
/// update(&rule, &mut parameters, &mut velocity, &[1.0], 1.0);
/// assert_eq!((parameters, velocity), ([0.0], [2.0]));
/// ```
///
/// # Panics
/// When the lengths differ.
pub fn update(
    rule: &UpdateRule,
    parameters: &mut [f32],
    velocity: &mut [f32],
    gradient: &[f32],
    scale: f32,
) {
    assert_eq!(
        parameters.len(),
        velocity.len(),
        "a velocity for every parameter"
    );
    assert_eq!(
        parameters.len(),
        gradient.len(),
        "a gradient for every parameter"
    );
    let factors = Factors {
        rate: rule.learning_rate as f32,
        momentum: rule.momentum as f32,
        decay: rule.weight_decay as f32,
        scale,
    };
    match rule.form {
        MomentumForm::Torch => wide(Update::<false>(factors, parameters, velocity, gradient)),
        MomentumForm::HeavyBall => wide(Update::<true>(factors, parameters, velocity, gradient)),
    }
}

/// A step of parameters and velocities by a gradient; `HEAVY` if it is that of the heavy ball.
struct Update<'a, const HEAVY: bool>(Factors, &'a mut [f32], &'a mut [f32], &'a [f32]);

struct Factors {
    rate: f32,
    momentum: f32,
    decay: f32,
    scale: f32,
}

impl Factors {
    #[inline(always)]
    fn step<const HEAVY: bool>(&self, w: &mut f32, v: &mut f32, g: f32) {
        let gradient = self.scale * g + self.decay * *w;
        let next = if HEAVY {
            self.momentum * *v - self.rate * gradient
        } else {
            self.momentum * *v + gradient
        };
        *v = if next.abs() < AT_REST { 0.0 } else { next };
        *w = if HEAVY { *w + *v } else { *w - self.rate * *v };
    }
}

impl<const HEAVY: bool> WithSimd for Update<'_, HEAVY> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(factors, w, v, g) = self;
        let (w, w_rest) = w.as_chunks_mut::<LANES>();
        let (v, v_rest) = v.as_chunks_mut::<LANES>();
        let (g, g_rest) = g.as_chunks::<LANES>();
        for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
            // On copies, so that the compiler need not ask what overlaps.
            let (mut w_now, mut v_now) = (*w, *v);
            for lane in 0..LANES {
                factors.step::<HEAVY>(&mut w_now[lane], &mut v_now[lane], g[lane]);
            }
            (*w, *v) = (w_now, v_now);
        }
        for ((w, v), g) in w_rest.iter_mut().zip(v_rest).zip(g_rest) {
            factors.step::<HEAVY>(w, v, *g);
        }
    }
}

/// Sum of squares in f64. The lanes and the order of the additions never depend on the machine.
///
/// A value that is not finite makes the result so: this is also the finiteness check of a gradient.
///
/// ```
/// assert_eq!(skewd::absgd::norm_squared(&[3.0, 4.0]), 25.0);
/// assert!(!skewd::absgd::norm_squared(&[3.0, f32::NAN]).is_finite());
/// ```
#[must_use]
pub fn norm_squared(values: &[f32]) -> f64 {
    squares(values)
}

/// What a gradient of this norm is multiplied with so that its norm is at most `clip`: 1 when it is below, or off.
///
/// ```
/// use skewd::{absgd::clip_scale, example::Limit};
/// assert_eq!(clip_scale(4.0, Limit::At(1.0)), 0.25);
/// assert_eq!(clip_scale(0.5, Limit::At(1.0)), 1.0);
/// assert_eq!(clip_scale(4.0, Limit::Off), 1.0);
/// ```
#[must_use]
pub fn clip_scale(norm: f64, clip: Limit) -> f32 {
    match clip {
        Limit::At(bound) if norm > bound => (bound / norm) as f32,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(form: MomentumForm) -> UpdateRule {
        UpdateRule {
            learning_rate: 0.1,
            momentum: 0.9,
            form,
            weight_decay: 0.01,
        }
    }

    #[test]
    fn both_forms_agree_while_the_learning_rate_is_constant() {
        let (mut w, mut v) = (vec![1.0f32, -2.0, 0.5], vec![0.0; 3]);
        let (mut hw, mut hv) = (w.clone(), v.clone());
        for step in 0..20 {
            let gradient = [0.3, -0.1 * step as f32, 0.7];
            update(&rule(MomentumForm::Torch), &mut w, &mut v, &gradient, 1.0);
            update(
                &rule(MomentumForm::HeavyBall),
                &mut hw,
                &mut hv,
                &gradient,
                1.0,
            );
        }
        for (a, b) in w.iter().zip(&hw) {
            assert!((a - b).abs() < 1e-5, "{w:?} {hw:?}");
        }
    }

    #[test]
    fn a_lower_learning_rate_reaches_the_torch_buffer_at_once_and_the_heavy_ball_later() {
        let mut slow = rule(MomentumForm::Torch);
        slow.learning_rate = 0.0;
        let (mut w, mut v) = ([1.0f32], [1.0f32]);
        update(&slow, &mut w, &mut v, &[1.0], 1.0);
        assert_eq!(w, [1.0]);
        slow.form = MomentumForm::HeavyBall;
        update(&slow, &mut w, &mut v, &[1.0], 1.0);
        assert_ne!(w, [1.0]);
    }

    #[test]
    fn the_scale_leaves_the_decay_alone() {
        let mut only_decay = rule(MomentumForm::Torch);
        only_decay.momentum = 0.0;
        let (mut w, mut v) = ([2.0f32], [0.0f32]);
        update(&only_decay, &mut w, &mut v, &[5.0], 0.0);
        assert_eq!(v, [0.01 * 2.0]);
    }

    #[test]
    fn the_norm_counts_every_value_whatever_the_length() {
        for len in 0..40 {
            let values: Vec<f32> = (0..len).map(|i| i as f32 - 7.0).collect();
            let exact: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            assert_eq!(norm_squared(&values), exact, "length {len}");
        }
    }

    #[test]
    fn a_clipped_gradient_has_the_norm_of_the_clip() {
        let values = [30.0f32, 40.0];
        let scale = clip_scale(norm_squared(&values).sqrt(), Limit::At(2.0));
        let clipped: Vec<f32> = values.iter().map(|v| v * scale).collect();
        assert!((norm_squared(&clipped).sqrt() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn without_a_gradient_the_velocity_comes_to_rest_at_zero() {
        for form in [MomentumForm::Torch, MomentumForm::HeavyBall] {
            let rule = UpdateRule {
                weight_decay: 0.0,
                ..rule(form)
            };
            // more than a vector, and some over
            let (mut w, mut v) = ([1f32; 21], [0.5f32; 21]);
            for _ in 0..2000 {
                update(&rule, &mut w, &mut v, &[0.0; 21], 1.0);
                assert!(v.iter().all(|v| *v == 0.0 || v.is_normal()), "{v:?}");
            }
            assert_eq!(v, [0.0; 21]);
            assert!(w.iter().all(|value| *value == w[0]));
        }
    }
}
