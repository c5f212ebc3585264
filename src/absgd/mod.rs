//! Losses -> weights: single-pass ABSGD with the normaliser in the log domain.
//!
//! Algorithm 1 of "Attentional-Biased Stochastic Gradient Descent" (Qi, Xu, Yin, Jin, Yang, TMLR 2023) weighs an
//! example by `exp(loss / lambda) / s`, where `s` is a moving average of the batch means of `exp(loss / lambda)`.
//! The weights are constants to the gradient, which is that of `(1/B) sum p_i L_i`.
//!
//! # The paper's symbols and ours
//!
//! | paper | here | meaning |
//! |---|---|---|
//! | λ | [`Settings::lambda`] | temperature: the smaller, the more the hard examples count; `inf` = plain SGD |
//! | γ | [`Settings::gamma`] | share of the new batch in the moving average |
//! | γ_t | [`Proposal::gamma_t`] | that share at step t; differs from γ only at a debiased or first-batch start |
//! | L_i | `losses[i]` | loss of example i, in nats |
//! | L_i/λ | `x` in the code | what the exponential sees; capped, see [`Settings::weight_cap`] |
//! | g_t | [`Proposal::log_g`] = ln g_t | mean of `exp(L/λ)` over the batch |
//! | s_t | [`Normalizer::log_s`] = ln s_t | moving average of g; λ ln s is the running robust objective |
//! | p̃_i | `weights[i]` | weight of example i; 1 on average over time, not normalised in a batch |
//! | η, β | [`UpdateRule::learning_rate`], [`UpdateRule::momentum`] | step size and momentum of the update |
//! | V_t | velocity | momentum buffer of a parameter |
//!
//! # Why logarithms
//!
//! `exp(L/λ)` overflows for an ordinary loss and a small λ, and one infinity would stay in `s` for ever. So only
//! `ln s` is kept, in f64, and `p = exp(L/λ - ln s)` is bounded by `B/γ_t`: the last exponential cannot overflow.

pub mod adam;
pub mod momentum;
pub mod schedule;
pub mod stats;
pub mod temperature;

use serde::{Deserialize, Serialize};

pub use adam::{AdamRule, adam};
pub use momentum::{MomentumForm, UpdateRule, clip_scale, norm_squared, update};
pub use schedule::{Schedule, ScheduleSettings};
pub use stats::{ClassWeights, WeightReport, WeightStatistics};
pub use temperature::Temperature;

use crate::example::{Lambda, Limit};
use crate::state::{self, State};

/// How the moving average starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalizerStart {
    /// `γ_t = γ / (1 - (1-γ)^t)`: every batch so far counts as it should, constant losses give weights of exactly 1.
    #[default]
    Debias,
    /// `s_0 = 0` and a constant γ: the paper's literal form. The first weights are `1/γ` times too large.
    Zero,
    /// `s_1 = g_1`, then a constant γ: the first batch keeps a weight of `(1-γ)^(t-1)`.
    FirstBatch,
}

/// Settings of the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Temperature λ; not 0. Negative values favour easy examples (label noise).
    pub lambda: Lambda,
    /// Share γ of the new batch in the moving average, in (0, 1].
    pub gamma: f64,
    /// How the moving average starts.
    pub normalizer_start: NormalizerStart,
    /// Bounds `L/λ` by `ln s + ln cap`, where s is the average before this batch: no example can weigh much more than
    /// `cap`, and one wild loss cannot make the learner deaf. Off = the exact paper.
    pub weight_cap: Limit,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lambda: Lambda(5.0),
            gamma: 0.1,
            normalizer_start: NormalizerStart::Debias,
            weight_cap: Limit::At(10.0),
        }
    }
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The key and what to put there.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.lambda.0.is_nan() || self.lambda.0 == 0.0 || self.lambda.0 == f64::NEG_INFINITY {
            return wrong(
                "lambda",
                format!(
                    "{} is not a temperature: give a number other than 0, or \"inf\"",
                    self.lambda.0
                ),
            );
        }
        if !(self.gamma > 0.0 && self.gamma <= 1.0) {
            return wrong(
                "gamma",
                format!(
                    "{} is outside (0, 1]: it is the share of a new batch, 0.1 is usual",
                    self.gamma
                ),
            );
        }
        match self.weight_cap {
            Limit::At(cap) if !(cap > 1.0 && cap.is_finite()) => wrong(
                "weight_cap",
                format!("{cap} would cap an average example: give a number above 1, or \"off\""),
            ),
            _ => Ok(()),
        }
    }
}

/// The moving average of `exp(L/λ)`, as its logarithm.
///
/// ```
/// use skewd::absgd::{Normalizer, Settings};
/// use skewd::example::Lambda;
///
/// let settings = Settings { lambda: Lambda(0.5), ..Settings::default() };
/// let (mut normalizer, mut weights) = (Normalizer::new(), Vec::new());
/// let proposal = normalizer.propose(&settings, &[0.1, 0.1, 2.3], &mut weights);
/// assert!(weights[2] > 1.0 && weights[0] < 1.0, "the hard example counts more");
/// normalizer = proposal.next; // only now the step counts
/// assert_eq!(normalizer.steps(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Normalizer {
    /// ln s; -inf before the first batch.
    log_s: f64,
    /// Batches since the start or the last restart.
    steps: u64,
    /// The λ these batches were weighed with.
    lambda: Option<f64>,
}

/// What moves the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Momentum SGD, as in the paper.
    Momentum(UpdateRule),
    /// AdamW.
    Adam(AdamRule),
}

impl From<UpdateRule> for Rule {
    fn from(rule: UpdateRule) -> Self {
        Self::Momentum(rule)
    }
}

impl Rule {
    /// The step size.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Momentum(rule) => rule.learning_rate,
            Self::Adam(rule) => rule.learning_rate,
        }
    }

    /// Sets the step size.
    pub fn set_learning_rate(&mut self, rate: f64) {
        match self {
            Self::Momentum(rule) => rule.learning_rate = rate,
            Self::Adam(rule) => rule.learning_rate = rate,
        }
    }
}

/// What a batch would do to the normaliser, for the caller to accept or drop.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The normaliser after this batch.
    pub next: Normalizer,
    /// Share of this batch in the moving average.
    pub gamma_t: f64,
    /// ln of the batch mean of `exp(L/λ)` (after the cap); -inf for an empty batch.
    pub log_g: f64,
    /// ln s after this batch, the same as `next.log_s()`.
    pub log_s: f64,
    /// How many examples the cap held back.
    pub clipped: usize,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Normalizer {
    /// Before the first batch: s = 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            log_s: f64::NEG_INFINITY,
            steps: 0,
            lambda: None,
        }
    }

    /// ln s, -inf before the first batch.
    #[must_use]
    pub fn log_s(&self) -> f64 {
        self.log_s
    }

    /// Batches since the start, or since λ changed last.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The λ of the batches so far; none before the first.
    #[must_use]
    pub fn lambda(&self) -> Option<Lambda> {
        self.lambda.map(Lambda)
    }

    /// This normaliser for a λ a little away from that of its batches: it keeps the running objective
    /// `F = λ ln s`, which hardly changes with λ, instead of s, which does.
    ///
    /// Where there is no objective to carry (before the first batch, or after batches with λ = inf) it is given back
    /// as it is, and [`Normalizer::propose`] restarts it.
    ///
    /// ```
    /// use skewd::absgd::{Normalizer, Settings};
    /// use skewd::example::Lambda;
    ///
    /// let settings = Settings { lambda: Lambda(2.0), ..Settings::default() };
    /// let before = Normalizer::new().propose(&settings, &[1.0, 3.0], &mut Vec::new()).next;
    /// let after = before.carried_to(Lambda(1.5));
    /// assert!((1.5 * after.log_s() - 2.0 * before.log_s()).abs() < 1e-15);
    /// assert_eq!(after.steps(), before.steps());
    /// ```
    #[must_use]
    pub fn carried_to(&self, lambda: Lambda) -> Self {
        match self.lambda {
            Some(before) if before != lambda.0 && before.is_finite() && self.log_s.is_finite() => {
                Self {
                    log_s: before * self.log_s / lambda.0,
                    steps: self.steps,
                    lambda: Some(lambda.0),
                }
            }
            _ => self.clone(),
        }
    }

    /// Weighs a batch: fills `weights` with one `p_i` a loss and says what the normaliser would become.
    ///
    /// `losses` must be finite (one NaN would stay in s for ever). Nothing changes here; the caller stores
    /// [`Proposal::next`] once the whole step is accepted. Where λ differs from that of the batches so far, s is
    /// another quantity and starts afresh (unless [`Normalizer::carried_to`] moved it there). An empty batch changes nothing.
    pub fn propose(&self, settings: &Settings, losses: &[f64], weights: &mut Vec<f64>) -> Proposal {
        let lambda = settings.lambda.0;
        let before = self.for_lambda(lambda);
        weights.clear();
        if losses.is_empty() {
            return before.unchanged();
        }
        let cap = before.log_cap(settings);
        weights.extend(losses.iter().map(|loss| {
            let tilt = loss / lambda;
            if tilt > cap { cap } else { tilt }
        }));
        let log_g = log_mean_exp(weights);
        let steps = before.steps + 1;
        let gamma_t = gamma_at(settings, steps);
        let log_s = log_mix(before.log_s, log_g, gamma_t);
        for weight in weights.iter_mut() {
            *weight = (*weight - log_s).exp();
        }
        Proposal {
            next: Self {
                log_s,
                steps,
                lambda: Some(lambda),
            },
            gamma_t,
            log_g,
            log_s,
            clipped: self.clipped(settings, losses),
        }
    }

    /// How many of these losses the cap would hold back: [`Proposal::clipped`] of some rows of a batch.
    #[must_use]
    pub fn clipped(&self, settings: &Settings, losses: &[f64]) -> usize {
        let lambda = settings.lambda.0;
        let cap = self.for_lambda(lambda).log_cap(settings);
        losses.iter().filter(|loss| *loss / lambda > cap).count()
    }

    /// Writes the normaliser under `absgd.`.
    pub fn save(&self, state: &mut State) {
        state.put_f64("absgd.log_s", vec![self.log_s]);
        state.put_u64("absgd.steps", vec![self.steps]);
        state.put_f64("absgd.lambda", self.lambda.into_iter().collect());
    }

    /// Reads what [`Normalizer::save`] wrote.
    ///
    /// # Errors
    /// When an entry is missing or of another shape.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        let lambda = state.f64("absgd.lambda")?;
        if lambda.len() > 1 {
            state.f64_exact("absgd.lambda", 1)?;
        }
        Ok(Self {
            log_s: state.f64_exact("absgd.log_s", 1)?[0],
            steps: state.u64_exact("absgd.steps", 1)?[0],
            lambda: lambda.first().copied(),
        })
    }

    /// This normaliser, or a new one when its batches were weighed with another λ.
    fn for_lambda(&self, lambda: f64) -> Self {
        if self.lambda == Some(lambda) {
            self.clone()
        } else {
            Self {
                lambda: Some(lambda),
                ..Self::new()
            }
        }
    }

    fn unchanged(self) -> Proposal {
        Proposal {
            gamma_t: 0.0,
            log_g: f64::NEG_INFINITY,
            log_s: self.log_s,
            clipped: 0,
            next: self,
        }
    }

    /// The largest `L/λ` let through. None at a start, where nothing is known yet, and none for λ = inf, where
    /// nothing is tilted: a literal zero start must keep its uniform weights there.
    fn log_cap(&self, settings: &Settings) -> f64 {
        match settings.weight_cap {
            Limit::At(cap) if self.steps > 0 && settings.lambda.0.is_finite() => {
                self.log_s + cap.ln()
            }
            _ => f64::INFINITY,
        }
    }
}

/// Share of batch number `step` (1-based).
fn gamma_at(settings: &Settings, step: u64) -> f64 {
    let gamma = settings.gamma;
    match settings.normalizer_start {
        NormalizerStart::Zero => gamma,
        NormalizerStart::FirstBatch | NormalizerStart::Debias if step == 1 => 1.0,
        NormalizerStart::FirstBatch => gamma,
        NormalizerStart::Debias => {
            // 1 - (1-γ)^t without cancellation. Rounding may put the quotient above 1 (at t = 1 it would be 1 + 2^-52
            // for γ = 0.1), and ln(1 - γ_t) would be NaN: hence the clamp.
            let seen = -(step as f64 * (-gamma).ln_1p()).exp_m1();
            (gamma / seen).min(1.0)
        }
    }
}

/// ln of the mean of `exp(x)`; exact when all x are equal.
fn log_mean_exp(x: &[f64]) -> f64 {
    let highest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - highest).exp()).sum();
    highest + (sum / x.len() as f64).ln()
}

/// `ln((1-γ) exp(a) + γ exp(b))` for γ in (0, 1].
///
/// Near a = b the form around a is used: it gives exactly a for b = a, so weights of constant losses are exactly 1
/// at every step, and λ = inf is plain SGD bit for bit.
fn log_mix(a: f64, b: f64, gamma: f64) -> f64 {
    if gamma >= 1.0 {
        return b;
    }
    if a == f64::NEG_INFINITY {
        return gamma.ln() + b;
    }
    let distance = b - a;
    if distance.abs() <= 1.0 {
        return a + (gamma * distance.exp_m1()).ln_1p();
    }
    let (old, new) = ((-gamma).ln_1p() + a, gamma.ln() + b);
    let (low, high) = if old < new { (old, new) } else { (new, old) };
    high + (low - high).exp().ln_1p()
}

#[cfg(test)]
mod tests;
