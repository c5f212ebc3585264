//! What independent f64 implementations recorded, replayed through the real rooms: losses, weights, gradients and
//! parameters. The model is f32, so trajectories agree to 5e-5; what is f64 agrees to 1e-11.

mod algorithm1;
mod losses;
mod runs;
mod schedules;

use std::path::Path;

use serde_json::Value;
use skewd::absgd::{Normalizer, NormalizerStart, Settings};
use skewd::example::{Lambda, Limit};
use skewd::loss::{seed_gradient, softmax, softmax_cross_entropy};

/// Of numbers that only f64 arithmetic touched, absolute or relative.
const F64: f64 = 1e-11;
/// Of losses, log s, gradients and parameters of an f32 model, absolute; of its weights, relative.
const F32: f64 = 5e-5;

fn golden(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A number, or `"inf"` and `"-inf"`.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(word) => word.parse().unwrap(),
        number => number.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// A vector, or the rows of a matrix one after the other.
fn flat(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn start(word: &Value) -> NormalizerStart {
    serde_json::from_value(word.clone()).unwrap()
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64, absolute: f64, relative: f64) {
    let bound = absolute.max(relative * expected.abs());
    let equal = found == expected; // infinities too
    assert!(
        equal || (found - expected).abs() <= bound,
        "{what}: {found} instead of {expected}"
    );
}

#[track_caller]
fn all_close(what: &str, found: &[f64], expected: &[f64], absolute: f64, relative: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        close(
            &format!("{what}[{index}]"),
            *found,
            *expected,
            absolute,
            relative,
        );
    }
}

#[test]
fn weights_survive_spikes_huge_tiny_and_underflowing_losses() {
    let stress = golden("stress.json");
    let cases = stress["weight_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 21);
    for case in cases {
        let settings = Settings {
            lambda: Lambda(number(&case["lam"])),
            gamma: number(&case["gamma"]),
            normalizer_start: start(&case["init"]),
            weight_cap: Limit::Off,
        };
        let (mut normalizer, mut weights) = (Normalizer::new(), Vec::new());
        for step in case["steps"].as_array().unwrap() {
            let at = |what: &str| {
                format!(
                    "{} {}, step {}, {what}",
                    case["name"], case["init"], step["t"]
                )
            };
            let losses = numbers(&step["losses"]);
            let proposal = normalizer.propose(&settings, &losses, &mut weights);
            close(
                &at("gamma_t"),
                proposal.gamma_t,
                number(&step["gamma_t"]),
                F64,
                F64,
            );
            close(
                &at("log_g"),
                proposal.log_g,
                number(&step["log_g"]),
                F64,
                F64,
            );
            close(
                &at("log_s"),
                proposal.log_s,
                number(&step["log_s"]),
                F64,
                F64,
            );
            let log_p: Vec<f64> = losses
                .iter()
                .map(|loss| loss / settings.lambda.0 - proposal.log_s)
                .collect();
            all_close(&at("log_p"), &log_p, &numbers(&step["log_p"]), F64, F64);
            // p = exp(log p) magnifies the rounding of log s by up to |log s|
            let relative = F64.max(4.0 * f64::EPSILON * proposal.log_s.abs().max(log_p[0].abs()));
            all_close(
                &at("p"),
                &weights,
                &numbers(&step["p"]),
                f64::MIN_POSITIVE,
                relative,
            );
            normalizer = proposal.next;
        }
    }
}

#[test]
fn the_relative_cap_bounds_a_spike_as_recorded() {
    let case = golden("relative_cap.json");
    let settings = Settings {
        lambda: Lambda(number(&case["lam"])),
        gamma: number(&case["gamma"]),
        normalizer_start: start(&case["init"]),
        weight_cap: Limit::At(number(&case["p_max"])),
    };
    let (mut normalizer, mut weights, mut clipped) = (Normalizer::new(), Vec::new(), 0);
    let steps = case["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 6);
    for step in steps {
        let proposal = normalizer.propose(&settings, &numbers(&step["losses"]), &mut weights);
        close(
            "gamma_t",
            proposal.gamma_t,
            number(&step["gamma_t"]),
            F64,
            F64,
        );
        close("log_s", proposal.log_s, number(&step["log_s"]), F64, F64);
        all_close("p", &weights, &numbers(&step["p"]), F64, F64);
        clipped += proposal.clipped;
        normalizer = proposal.next;
    }
    assert_eq!(clipped, 1, "the loss of 30");
}

#[test]
fn cross_entropy_and_its_gradient_are_as_recorded() {
    let case = golden("cross_entropy.json");
    let logits = flat(&case["logits"]);
    let labels: Vec<u32> = flat(&case["labels"]).iter().map(|y| *y as u32).collect();
    let (mut probabilities, mut losses, mut dz) = (Vec::new(), Vec::new(), Vec::new());
    softmax_cross_entropy(&logits, 3, &labels, &mut probabilities, &mut losses);
    // the recorded logits are decimals: f32 holds them to 6e-8 of their size
    all_close("losses", &losses, &numbers(&case["ce"]), 1e-6, 0.0);
    seed_gradient(
        &probabilities,
        3,
        &labels,
        &vec![1.0; labels.len()],
        &mut dz,
    );
    all_close(
        "gradient",
        &wide(&dz),
        &wide(&flat(&case["dce_dz"])),
        1e-6,
        0.0,
    );
    let mut again = Vec::new();
    softmax(&logits, 3, &mut again);
    assert_eq!(again, probabilities);
}
