//! How the learning rate and λ move, as pure functions of how much was learned: no clock, nothing to save.
//!
//! | `schedule` | learning rate at step t (from 0), as a share of the base | λ |
//! |---|---|---|
//! | `constant` | 1 | base |
//! | `warmup` | `w(t)`: (t+1)/`warmup_steps`, then 1 | base |
//! | `cosine` | `w(t)`, then half a cosine over `schedule_steps` down to `schedule_floor` (Loshchilov and Hutter, "SGDR", 2017, eq. 5) | base |
//! | `step` | `w(t) step_factor^(t / step_every)`, the factor no lower than `schedule_floor` | base |
//! | `damped_lambda` | 1 | inf for `damped_examples`, then base: the two stages of ABSGD's experiments |
//!
//! Whatever the schedule, `lambda_anneal_examples` lets λ glide from `lambda_start` to its base (after the damped
//! stage, if there is one), and `kl_budget` lets the weights find it: see [`super::temperature`]. A jump of λ
//! restarts s, a glide carries it: see [`super::Normalizer::carried_to`].

use serde::{Deserialize, Serialize};

use crate::example::{Lambda, Limit};

/// How the learning rate, or λ, moves with what was learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Both stay as set.
    #[default]
    Constant,
    /// The learning rate rises in a straight line, then stays.
    Warmup,
    /// The learning rate rises, then falls along half a cosine, then stays.
    Cosine,
    /// The learning rate rises, and is multiplied by a factor every so many steps.
    Step,
    /// Two stages: plain SGD (λ = inf), then the base λ.
    DampedLambda,
}

/// The keys of `[learner]` that move the learning rate and λ.
///
/// ```
/// use skewd::absgd::schedule::{learning_rate, Schedule, ScheduleSettings};
///
/// let settings = ScheduleSettings { schedule: Schedule::Warmup, warmup_steps: 4, ..ScheduleSettings::default() };
/// let rates: Vec<f64> = (0..5).map(|step| learning_rate(&settings, 0.5, step)).collect();
/// assert_eq!(rates, [0.125, 0.25, 0.375, 0.5, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleSettings {
    /// Which schedule.
    pub schedule: Schedule,
    /// Steps of the rise at the start of `warmup`, `cosine` and `step`; 0 = none.
    pub warmup_steps: u64,
    /// Steps from the end of the rise to the floor of `cosine`.
    pub schedule_steps: u64,
    /// Steps between two drops of `step`.
    pub step_every: u64,
    /// Factor of each drop of `step`, in (0, 1].
    pub step_factor: f64,
    /// Lowest share of the learning rate that `cosine` and `step` reach, in [0, 1]. Above 0, because a daemon runs
    /// on after the last step of any schedule, and should not stop learning there.
    pub schedule_floor: f64,
    /// Examples of the first stage of `damped_lambda`.
    pub damped_examples: u64,
    /// Examples over which λ glides from `lambda_start` to its base; 0 = off.
    pub lambda_anneal_examples: u64,
    /// λ at the start of the glide.
    pub lambda_start: Lambda,
    /// Divergence of the weights from uniform that λ is steered to, in nats; off = λ is not steered.
    pub kl_budget: Limit,
    /// Smallest λ that the budget reaches, above 0.
    pub kl_lambda_floor: f64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            schedule: Schedule::Constant,
            warmup_steps: 100,
            schedule_steps: 10_000,
            step_every: 10_000,
            step_factor: 0.1,
            schedule_floor: 0.01,
            damped_examples: 10_000,
            lambda_anneal_examples: 0,
            lambda_start: Lambda(f64::INFINITY),
            kl_budget: Limit::Off,
            kl_lambda_floor: 1.0,
        }
    }
}

impl ScheduleSettings {
    /// Checks the ranges, and that λ has one master. `base` is the λ that the schedule ends at.
    ///
    /// # Errors
    /// The key and what to put there.
    pub fn check(&self, base: Lambda) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        if self.schedule_steps == 0 {
            return wrong("schedule_steps", "must be at least 1 step");
        }
        if self.step_every == 0 {
            return wrong("step_every", "must be at least 1 step");
        }
        if !(self.step_factor > 0.0 && self.step_factor <= 1.0) {
            return wrong("step_factor", "must be above 0 and at most 1, such as 0.1");
        }
        if !(0.0..=1.0).contains(&self.schedule_floor) {
            return wrong("schedule_floor", "must be between 0 and 1, such as 0.01");
        }
        if self.lambda_start.0.is_nan() || self.lambda_start.0 == 0.0 {
            return wrong("lambda_start", "must be a number other than 0, or \"inf\"");
        }
        if !(self.kl_lambda_floor > 0.0 && self.kl_lambda_floor.is_finite()) {
            return wrong("kl_lambda_floor", "must be a positive number, such as 1");
        }
        let Some(budget) = self.kl_budget.get() else {
            return Ok(());
        };
        if !(budget > 0.0 && budget.is_finite()) {
            return wrong(
                "kl_budget",
                "must be a positive number of nats, such as 0.1, or \"off\"",
            );
        }
        if base.0 < 0.0 {
            return wrong(
                "kl_budget",
                "steers a positive lambda only: leave it \"off\"",
            );
        }
        if self.lambda_anneal_examples > 0 {
            return wrong(
                "kl_budget",
                "and lambda_anneal_examples both move lambda: leave one of them off",
            );
        }
        Ok(())
    }

    /// Whether λ is in the first of the two stages of `damped_lambda` after `examples` examples.
    #[must_use]
    pub fn damped(&self, examples: u64) -> bool {
        self.schedule == Schedule::DampedLambda && examples < self.damped_examples
    }
}

/// Learning rate of the step that follows `step` learned ones, from the rate `base`.
///
/// ```
/// use skewd::absgd::schedule::{learning_rate, Schedule, ScheduleSettings};
///
/// let settings = ScheduleSettings {
///     schedule: Schedule::Cosine, warmup_steps: 0, schedule_steps: 100, schedule_floor: 0.0,
///     ..ScheduleSettings::default()
/// };
/// assert_eq!(learning_rate(&settings, 0.5, 0), 0.5);
/// assert!((learning_rate(&settings, 0.5, 50) - 0.25).abs() < 1e-15);
/// assert_eq!(learning_rate(&settings, 0.5, 100), 0.0);
/// ```
#[must_use]
pub fn learning_rate(settings: &ScheduleSettings, base: f64, step: u64) -> f64 {
    let floor = settings.schedule_floor;
    match settings.schedule {
        Schedule::Constant | Schedule::DampedLambda => base,
        Schedule::Warmup => base * rise(settings, step),
        Schedule::Cosine => {
            let fallen = step.saturating_sub(settings.warmup_steps);
            let way = share(fallen, settings.schedule_steps);
            let fall = floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * way).cos());
            base * rise(settings, step) * fall
        }
        Schedule::Step => {
            let drops = step / settings.step_every.max(1);
            let factor = settings.step_factor.powf(drops as f64).max(floor);
            base * rise(settings, step) * factor
        }
    }
}

/// λ of the batch that follows `examples` learned examples, towards `base`; a KL budget is not heeded here.
///
/// A glide is a straight line in 1/λ, the strength of the tilt: it may begin at inf, which is plain SGD.
///
/// ```
/// use skewd::absgd::schedule::{lambda, ScheduleSettings};
///
/// let settings = ScheduleSettings { lambda_anneal_examples: 1000, ..ScheduleSettings::default() };
/// assert_eq!(lambda(&settings, 5.0, 0), f64::INFINITY);
/// assert_eq!(lambda(&settings, 5.0, 500), 10.0);
/// assert_eq!(lambda(&settings, 5.0, 1000), 5.0);
/// ```
#[must_use]
pub fn lambda(settings: &ScheduleSettings, base: f64, examples: u64) -> f64 {
    if settings.damped(examples) {
        return f64::INFINITY;
    }
    let stage = match settings.schedule {
        Schedule::DampedLambda => settings.damped_examples,
        _ => 0,
    };
    let (learned, whole) = (examples - stage, settings.lambda_anneal_examples);
    if learned >= whole {
        return base;
    }
    let way = share(learned, whole);
    let tilt = (1.0 - way) / settings.lambda_start.0 + way / base;
    if tilt == 0.0 {
        f64::INFINITY // of either sign of zero
    } else {
        1.0 / tilt
    }
}

/// Share of the learning rate while it rises; 1 afterwards.
fn rise(settings: &ScheduleSettings, step: u64) -> f64 {
    share(step.saturating_add(1), settings.warmup_steps)
}

/// `done / whole`, at most 1; 1 where there is nothing to do.
fn share(done: u64, whole: u64) -> f64 {
    if done >= whole {
        1.0
    } else {
        done as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(schedule: Schedule) -> ScheduleSettings {
        ScheduleSettings {
            schedule,
            warmup_steps: 0,
            ..ScheduleSettings::default()
        }
    }

    #[test]
    fn by_default_nothing_moves() {
        let plain = ScheduleSettings::default();
        for many in [0, 1, 9_999, u64::MAX] {
            assert_eq!(learning_rate(&plain, 0.05, many), 0.05);
            assert_eq!(lambda(&plain, 5.0, many), 5.0);
            assert_eq!(lambda(&plain, f64::INFINITY, many), f64::INFINITY);
        }
    }

    #[test]
    fn every_rate_stays_between_the_floor_and_the_base_and_never_rises_after_the_warm_up() {
        for schedule in [Schedule::Warmup, Schedule::Cosine, Schedule::Step] {
            let rates = ScheduleSettings {
                warmup_steps: 7,
                schedule_steps: 50,
                step_every: 20,
                schedule_floor: 0.05,
                ..settings(schedule)
            };
            let all: Vec<f64> = (0..200)
                .map(|step| learning_rate(&rates, 2.0, step))
                .collect();
            assert!(all[..7].windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
            assert!(
                all[6..].windows(2).all(|pair| pair[0] >= pair[1]),
                "{all:?}"
            );
            assert!(all[6..].iter().all(|rate| (0.1..=2.0).contains(rate)));
            assert_eq!(all[6], 2.0);
            assert_eq!(all[199], learning_rate(&rates, 2.0, u64::MAX));
        }
    }

    #[test]
    fn steps_drop_by_their_factor_down_to_the_floor() {
        let drops = ScheduleSettings {
            step_every: 3,
            step_factor: 0.5,
            schedule_floor: 0.25,
            ..settings(Schedule::Step)
        };
        let rates: Vec<f64> = (0..12)
            .map(|step| learning_rate(&drops, 1.0, step))
            .collect();
        let expected = [
            1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25,
        ];
        assert_eq!(rates, expected);
    }

    #[test]
    fn a_damped_lambda_jumps_once_and_may_glide_afterwards() {
        let mut damped = settings(Schedule::DampedLambda);
        damped.damped_examples = 100;
        assert_eq!(lambda(&damped, 2.0, 99), f64::INFINITY);
        assert_eq!(lambda(&damped, 2.0, 100), 2.0);
        assert_eq!(learning_rate(&damped, 0.5, 3), 0.5);
        damped.lambda_anneal_examples = 100;
        damped.lambda_start = Lambda(4.0);
        assert_eq!(lambda(&damped, 2.0, 100), 4.0);
        assert_eq!(lambda(&damped, 2.0, 150), 1.0 / 0.375);
        assert_eq!(lambda(&damped, 2.0, 200), 2.0);
    }

    #[test]
    fn a_glide_reaches_a_negative_lambda_through_infinity() {
        let glide = ScheduleSettings {
            lambda_anneal_examples: 4,
            lambda_start: Lambda(2.0),
            ..ScheduleSettings::default()
        };
        let all: Vec<f64> = (0..5)
            .map(|examples| lambda(&glide, -2.0, examples))
            .collect();
        assert_eq!(all, [2.0, 4.0, f64::INFINITY, -4.0, -2.0]);
    }

    #[test]
    fn settings_out_of_range_name_their_key() {
        let with = |change: fn(&mut ScheduleSettings), base: f64| {
            let mut settings = ScheduleSettings::default();
            change(&mut settings);
            settings.check(Lambda(base)).map_err(|(key, _)| key)
        };
        let wrong = |key: &str| Err(key.to_owned());
        assert_eq!(with(|_| (), -5.0), Ok(()));
        assert_eq!(with(|s| s.schedule_steps = 0, 5.0), wrong("schedule_steps"));
        assert_eq!(with(|s| s.step_every = 0, 5.0), wrong("step_every"));
        assert_eq!(with(|s| s.step_factor = 0.0, 5.0), wrong("step_factor"));
        assert_eq!(
            with(|s| s.schedule_floor = 1.5, 5.0),
            wrong("schedule_floor")
        );
        assert_eq!(
            with(|s| s.lambda_start = Lambda(0.0), 5.0),
            wrong("lambda_start")
        );
        assert_eq!(
            with(|s| s.kl_lambda_floor = 0.0, 5.0),
            wrong("kl_lambda_floor")
        );
        assert_eq!(
            with(|s| s.kl_budget = Limit::At(0.0), 5.0),
            wrong("kl_budget")
        );
        assert_eq!(with(|s| s.kl_budget = Limit::At(0.1), 5.0), Ok(()));
        assert_eq!(
            with(|s| s.kl_budget = Limit::At(0.1), -5.0),
            wrong("kl_budget")
        );
        let both = |s: &mut ScheduleSettings| {
            s.kl_budget = Limit::At(0.1);
            s.lambda_anneal_examples = 10;
        };
        assert_eq!(with(both, 5.0), wrong("kl_budget"));
    }
}
