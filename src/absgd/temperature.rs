//! λ in force: the base that was set, moved by a schedule or steered by a budget of divergence.
//!
//! The budget is the constraint of SCDRO (Qi, Lyu, Chan, Bai, Yang, "Stochastic constrained DRO with a complexity
//! independent of sample size", TMLR 2023): minimise `F(λ) + λ ρ` over λ, where `F = λ ln E exp(L/λ)`. Its slope is
//! `ρ - KL(weights || uniform)`: while the weights are more even than the budget ρ allows, λ falls, and it rises
//! where they are less so. Unlike λ, ρ has no unit of loss: it means the same for every loss and at every age of the
//! model.

use crate::example::Lambda;
use crate::state::{self, State};

use super::Normalizer;
use super::schedule::{ScheduleSettings, lambda};

/// λ where the budget begins to steer if the base is larger, and the largest it reaches: weights are all but even.
pub const LARGEST_STEERED: f64 = 1000.0;
/// Largest relative change of a steered λ in one step. Relative, because λ spans orders of magnitude; bounded, because
/// one wild batch moves the slope by tens.
pub const STEERING_RATE: f64 = 0.05;
/// A λ that changes by more than this factor at once has jumped: s is another quantity then, and starts afresh.
pub const JUMP: f64 = 4.0;

/// Slope of `F(λ) + λ ρ` by λ, in nats: `ρ - KL`, where KL is that of `weights` (with their `log_s`) from uniform.
///
/// The divergence is estimated as `mean(p x) - ln s`, x = ln p + ln s being what the exponential saw: without bias
/// while s is true, and defined for capped losses too. 0 weights count as nothing; an empty batch has no slope.
///
/// ```
/// use skewd::absgd::temperature::slope;
/// assert_eq!(slope(0.7, &[1.0, 1.0], 0.25), 0.25); // even weights: all of the budget is left
/// assert!(slope(0.7, &[0.1, 1.9], 0.25) < 0.0);
/// ```
#[must_use]
pub fn slope(log_s: f64, weights: &[f64], budget: f64) -> f64 {
    if weights.is_empty() {
        return 0.0;
    }
    let tilted = |p: f64| if p > 0.0 { p * (p.ln() + log_s) } else { 0.0 };
    let mean = weights.iter().map(|p| tilted(*p)).sum::<f64>() / weights.len() as f64;
    budget + log_s - mean
}

/// The state of a steered λ; nothing while there is no budget.
///
/// ```
/// use skewd::absgd::schedule::ScheduleSettings;
/// use skewd::absgd::{Normalizer, Settings, Temperature};
/// use skewd::example::{Lambda, Limit};
///
/// let schedule = ScheduleSettings { kl_budget: Limit::At(0.1), ..ScheduleSettings::default() };
/// let (mut temperature, mut normalizer, mut weights) = (Temperature::default(), Normalizer::new(), Vec::new());
/// for examples in [0, 2, 4] {
///     let (lambda, ready) = temperature.ready(&schedule, Lambda(5.0), examples, &normalizer);
///     let settings = Settings { lambda, ..Settings::default() };
///     let proposal = ready.propose(&settings, &[0.5, 0.5], &mut weights);
///     temperature.follow(&schedule, Lambda(5.0), examples, proposal.log_s, &weights);
///     normalizer = proposal.next;
/// }
/// assert!(temperature.in_force(&schedule, Lambda(5.0), 6).0 < 5.0, "even weights leave room for a sharper tilt");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Temperature {
    steered: Option<Steered>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Steered {
    /// The base λ that steering began from.
    base: f64,
    /// Where it is now.
    lambda: f64,
}

impl Temperature {
    /// λ of the batch that follows `examples` learned examples, where `base` is set. A new base makes the budget
    /// begin again from there.
    #[must_use]
    pub fn in_force(&self, schedule: &ScheduleSettings, base: Lambda, examples: u64) -> Lambda {
        if schedule.kl_budget.get().is_none() || schedule.damped(examples) {
            return Lambda(lambda(schedule, base.0, examples));
        }
        let lambda = match self.steered {
            Some(steered) if steered.base == base.0 => steered.lambda,
            _ => base.0,
        };
        Lambda(lambda.min(LARGEST_STEERED).max(schedule.kl_lambda_floor))
    }

    /// λ as by [`Temperature::in_force`], and the normaliser to weigh the batch with: one that carries the running
    /// objective where λ glides, the same one (which restarts by itself) where it jumps.
    #[must_use]
    pub fn ready(
        &self,
        schedule: &ScheduleSettings,
        base: Lambda,
        examples: u64,
        normalizer: &Normalizer,
    ) -> (Lambda, Normalizer) {
        let lambda = self.in_force(schedule, base, examples);
        let glides = schedule.lambda_anneal_examples > 0 || schedule.kl_budget.get().is_some();
        let near = normalizer.lambda().is_some_and(|before| {
            let ratio = lambda.0 / before.0;
            (1.0 / JUMP..=JUMP).contains(&ratio)
        });
        let ready = if glides && near {
            normalizer.carried_to(lambda)
        } else {
            normalizer.clone()
        };
        (lambda, ready)
    }

    /// Steers λ after an accepted step, from the `log_s` and `weights` that it had. Call it with the arguments that
    /// [`Temperature::ready`] had; without a budget, and while λ is damped, it only forgets.
    pub fn follow(
        &mut self,
        schedule: &ScheduleSettings,
        base: Lambda,
        examples: u64,
        log_s: f64,
        weights: &[f64],
    ) {
        let Some(budget) = schedule.kl_budget.get() else {
            self.steered = None;
            return;
        };
        if schedule.damped(examples) {
            self.steered = None;
            return;
        }
        let slope = slope(log_s, weights, budget).clamp(-1.0, 1.0);
        let before = self.in_force(schedule, base, examples).0;
        self.steered = Some(Steered {
            base: base.0,
            lambda: before * (-STEERING_RATE * slope).exp(),
        });
    }

    /// Writes a steered λ under `absgd.`; without one there is no entry.
    pub fn save(&self, state: &mut State) {
        if let Some(Steered { base, lambda }) = self.steered {
            state.put_f64(STEERED, vec![base, lambda]);
        }
    }

    /// Reads what [`Temperature::save`] wrote.
    ///
    /// # Errors
    /// When the entry is of another shape.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        if !state.blobs.contains_key(STEERED) {
            return Ok(Self::default());
        }
        let values = state.f64_exact(STEERED, 2)?;
        let (base, lambda) = (values[0], values[1]);
        Ok(Self {
            steered: Some(Steered { base, lambda }),
        })
    }
}

const STEERED: &str = "absgd.steered_lambda";

#[cfg(test)]
mod tests {
    use super::super::{NormalizerStart, Settings};
    use super::*;
    use crate::example::Limit;

    fn budget(nats: f64) -> ScheduleSettings {
        ScheduleSettings {
            kl_budget: Limit::At(nats),
            ..ScheduleSettings::default()
        }
    }

    /// λ before each batch, and what is left at the end.
    fn run(
        schedule: &ScheduleSettings,
        base: f64,
        batches: &[Vec<f64>],
    ) -> (Vec<f64>, Temperature, Normalizer) {
        let (mut temperature, mut normalizer) = (Temperature::default(), Normalizer::new());
        let (mut weights, mut all, mut examples) = (Vec::new(), Vec::new(), 0);
        for losses in batches {
            let (lambda, ready) = temperature.ready(schedule, Lambda(base), examples, &normalizer);
            all.push(lambda.0);
            let settings = Settings {
                lambda,
                normalizer_start: NormalizerStart::Debias,
                ..Settings::default()
            };
            let proposal = ready.propose(&settings, losses, &mut weights);
            temperature.follow(schedule, Lambda(base), examples, proposal.log_s, &weights);
            normalizer = proposal.next;
            examples += losses.len() as u64;
        }
        (all, temperature, normalizer)
    }

    /// One hard example in eight, a little different from batch to batch.
    fn skewed(steps: usize) -> Vec<Vec<f64>> {
        let batch = |step: usize| {
            let easy = (0..7).map(move |i| 0.05 * ((step + i) % 5) as f64);
            easy.chain([3.0 + 0.2 * (step % 3) as f64]).collect()
        };
        (0..steps).map(batch).collect()
    }

    #[test]
    fn a_budget_is_met_from_above_and_from_below() {
        let mut found = Vec::new();
        for base in [f64::INFINITY, 50.0, 1.0] {
            let (all, ..) = run(&budget(0.3), base, &skewed(4000));
            let (lambda, weights) = (all[3999], &mut Vec::new());
            let settings = Settings {
                lambda: Lambda(lambda),
                gamma: 1.0,
                ..Settings::default()
            };
            let exact = Normalizer::new().propose(&settings, &skewed(1)[0], weights);
            let kl = 0.3 - slope(exact.log_s, weights, 0.3);
            assert!((kl - 0.3).abs() < 0.05, "lambda {lambda} from {base}: {kl}");
            found.push(lambda);
        }
        assert!(
            found
                .iter()
                .all(|lambda| (lambda / found[0] - 1.0).abs() < 0.05),
            "{found:?}"
        );
    }

    #[test]
    fn a_wild_batch_moves_lambda_by_one_bounded_step_and_the_floor_holds() {
        let mut batches = vec![vec![0.2, 0.2]; 3];
        batches.push(vec![0.2, 1e4]);
        batches.extend(vec![vec![0.2, 0.2]; 2000]);
        let (all, ..) = run(&budget(0.5), 5.0, &batches);
        for pair in all.windows(2) {
            assert!((pair[1] / pair[0]).ln().abs() <= STEERING_RATE * (1.0 + 1e-12));
        }
        assert_eq!(*all.last().unwrap(), 1.0, "even weights fall to the floor");
    }

    #[test]
    fn a_glide_carries_the_objective_and_a_jump_restarts() {
        let glide = ScheduleSettings {
            lambda_anneal_examples: 800,
            lambda_start: Lambda(20.0),
            ..ScheduleSettings::default()
        };
        let (all, temperature, normalizer) = run(&glide, 2.0, &skewed(150));
        assert_eq!((all[0], all[149], normalizer.steps()), (20.0, 2.0, 150));
        assert_eq!(temperature, Temperature::default());
        let (lambda, ready) = temperature.ready(&glide, Lambda(0.2), 2000, &normalizer);
        assert_eq!(ready, normalizer, "left for propose to restart");
        let settings = Settings {
            lambda,
            ..Settings::default()
        };
        assert_eq!(
            ready
                .propose(&settings, &[1.0], &mut Vec::new())
                .next
                .steps(),
            1
        );
        let plain = ScheduleSettings::default();
        let (_, ready) = temperature.ready(&plain, Lambda(1.9), 2000, &normalizer);
        assert_eq!(ready, normalizer, "without a glide every change is a jump");
    }

    #[test]
    fn a_new_base_begins_again_and_a_damped_stage_waits() {
        let (_, temperature, _) = run(&budget(0.01), 5.0, &skewed(100));
        let now = temperature.in_force(&budget(0.01), Lambda(5.0), 800).0;
        assert!(now > 5.0);
        assert_eq!(temperature.in_force(&budget(0.01), Lambda(3.0), 800).0, 3.0);
        let damped = ScheduleSettings {
            schedule: super::super::schedule::Schedule::DampedLambda,
            damped_examples: 80,
            ..budget(0.01)
        };
        let (all, ..) = run(&damped, 5.0, &skewed(12));
        assert!(all[..10].iter().all(|lambda| lambda.is_infinite()));
        assert_eq!(all[10], 5.0);
        assert!(all[11] > 5.0);
    }

    #[test]
    fn a_saved_temperature_goes_on_to_the_bit_and_none_leaves_no_entry() {
        let (_, temperature, _) = run(&budget(0.01), 5.0, &skewed(9));
        let mut state = State::default();
        Temperature::default().save(&mut state);
        assert_eq!(state, State::default());
        assert_eq!(Temperature::load(&state).unwrap(), Temperature::default());
        temperature.save(&mut state);
        assert_eq!(Temperature::load(&state).unwrap(), temperature);
        state.put_f64(STEERED, vec![1.0]);
        assert!(Temperature::load(&state).is_err());
    }
}
