//! The learning rates and λ of recorded runs, from the schedules; λ steered by a budget, with its objective carried.

use serde_json::Value;
use skewd::absgd::schedule::{Schedule, ScheduleSettings, lambda, learning_rate};
use skewd::absgd::{Normalizer, NormalizerStart, Settings, temperature};
use skewd::example::{Lambda, Limit};

use super::{F64, all_close, close, golden, number, numbers};

/// The schedule that a run's hyperparameters describe, and the λ it ends at.
fn schedule_of(hyper: &Value) -> (ScheduleSettings, f64) {
    let mut settings = ScheduleSettings {
        warmup_steps: 0,
        ..ScheduleSettings::default()
    };
    if let Some(drop) = hyper["lr_drop"].as_array() {
        settings.schedule = Schedule::Step;
        settings.step_every = drop[0].as_u64().unwrap() - 1;
        settings.step_factor = number(&drop[1]);
    }
    let Some(stages) = hyper["lam"].as_array() else {
        return (settings, number(&hyper["lam"]));
    };
    settings.schedule = Schedule::DampedLambda;
    let damped = stages.iter().filter(|lam| number(lam).is_infinite());
    settings.damped_examples = 8 * damped.count() as u64;
    (settings, number(stages.last().unwrap()))
}

#[test]
fn dropped_rates_and_the_two_stages_of_lambda_are_as_recorded() {
    let mut seen = Vec::new();
    for run in golden("logistic.json")["runs"].as_array().unwrap() {
        let (settings, base) = schedule_of(&run["hyper"]);
        assert_eq!(settings.check(Lambda(base)), Ok(()));
        seen.push(settings.schedule);
        let mut examples = 0;
        for (step, recorded) in run["steps"].as_array().unwrap().iter().enumerate() {
            let rate = learning_rate(&settings, number(&run["hyper"]["lr"]), step as u64);
            close("rate", rate, number(&recorded["lr"]), F64, F64);
            let lambda = lambda(&settings, base, examples);
            assert_eq!(lambda, number(&recorded["lam"]), "{}", run["name"]);
            examples += recorded["B"].as_u64().unwrap();
        }
    }
    for schedule in [Schedule::Step, Schedule::DampedLambda] {
        assert_eq!(seen.iter().filter(|s| **s == schedule).count(), 2);
    }
}

/// The slope is the product's; the plain step along it is that of the recording (the product's is relative and
/// bounded, see `absgd::temperature`).
#[test]
fn a_budgeted_lambda_carries_its_objective_as_recorded() {
    let case = golden("kl_controlled_lambda.json");
    let mut lambda = number(&case["lam0"]);
    let (mut normalizer, mut weights) = (Normalizer::new(), Vec::new());
    let steps = case["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 6);
    for step in steps {
        close("lambda", lambda, number(&step["lam"]), F64, F64);
        let settings = Settings {
            lambda: Lambda(lambda),
            gamma: number(&case["gamma"]),
            normalizer_start: NormalizerStart::Debias,
            weight_cap: Limit::Off,
        };
        let losses = numbers(&step["losses"]);
        let proposal =
            normalizer
                .carried_to(settings.lambda)
                .propose(&settings, &losses, &mut weights);
        close(
            "gamma_t",
            proposal.gamma_t,
            number(&step["gamma_t"]),
            F64,
            F64,
        );
        close("log_s", proposal.log_s, number(&step["log_s"]), F64, F64);
        close("F", lambda * proposal.log_s, number(&step["F"]), F64, F64);
        all_close("p", &weights, &numbers(&step["p"]), F64, F64);
        let slope = temperature::slope(proposal.log_s, &weights, number(&case["rho"]));
        close("slope", slope, number(&step["dF_dlam"]), F64, F64);
        lambda = (lambda - number(&case["lr_lam"]) * slope).max(number(&case["lam_min"]));
        normalizer = proposal.next;
    }
}
