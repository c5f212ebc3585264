//! Ten-step runs of a logistic model and an MLP in every form of the algorithm.

use serde_json::Value;
use skewd::absgd::{MomentumForm, Normalizer, Settings, UpdateRule};
use skewd::example::{Lambda, Limit};
use skewd::loss::{self, ClassBalanced, Lesson, Objective, seed_gradient, softmax_cross_entropy};
use skewd::model::{self, DeviceChoice, Engine, Kind};
use skewd::state::State;

use super::{F32, F64, all_close, close, flat, golden, number, numbers, start, wide};

/// Where a golden file keeps the parameters, in the order of the engine.
fn parameter_names(value: &Value) -> &'static [&'static str] {
    if value.get("W1").is_some() {
        &["W1", "b1", "W2", "b2"]
    } else {
        &["W", "b"]
    }
}

fn parameters_of(value: &Value) -> Vec<f32> {
    parameter_names(value)
        .iter()
        .flat_map(|name| flat(&value[name]))
        .collect()
}

/// An engine with the initial parameters of the file, at rest.
fn engine(init: &Value) -> Engine {
    let mut state = State::default();
    let names = parameter_names(init);
    for (index, name) in names.iter().enumerate() {
        let values = flat(&init[name]);
        let rows = init[name].as_array().unwrap().len();
        let shape = if index % 2 == 0 {
            vec![rows, values.len() / rows]
        } else {
            vec![rows]
        };
        let entry = format!(
            "{:03}.{}",
            index / 2,
            if index % 2 == 0 { "weight" } else { "bias" }
        );
        state.put_f32(
            format!("model.momentum.{entry}"),
            shape.clone(),
            vec![0.0; values.len()],
        );
        state.put_f32(format!("model.param.{entry}"), shape, values);
    }
    let hidden: Vec<usize> = init
        .get("b1")
        .map(|b| b.as_array().unwrap().len())
        .into_iter()
        .collect();
    let kind = if hidden.is_empty() {
        Kind::Linear
    } else {
        Kind::Mlp
    };
    Engine::load(
        &model::Settings {
            kind,
            hidden,
            pieces: false,
        },
        5,
        3,
        0,
        &DeviceChoice::Cpu,
        &state,
    )
    .unwrap()
}

/// What one step did, in f64.
struct Step {
    losses: Vec<f64>,
    gamma_t: f64,
    log_g: f64,
    log_s: f64,
    weights: Vec<f64>,
    /// Without weight decay.
    gradient: Vec<f32>,
    before: Vec<f32>,
    after: Vec<f32>,
}

/// A run under way.
struct Learner {
    engine: Engine,
    normalizer: Normalizer,
    hyper: Value,
}

impl Learner {
    fn settings(&self, lambda: f64) -> Settings {
        Settings {
            lambda: Lambda(lambda),
            gamma: number(&self.hyper["gamma"]),
            normalizer_start: start(&self.hyper["init"]),
            weight_cap: Limit::Off,
        }
    }

    /// The loss of the run; class weights inside the exponent are those of these recorded counts.
    fn loss(&self) -> (loss::Settings, [f64; 3]) {
        let mut settings = loss::Settings::default();
        if !self.hyper["class_weights"].is_null() {
            settings.class_balanced = ClassBalanced::Inside;
        }
        (settings, [500.0, 50.0, 5.0])
    }

    /// One step of the recorded hyperparameters. One of them is no setting of the product and is arithmetic around
    /// it here: alpha, which multiplies g and thereby s, divides the weights (exact for a zero start).
    fn step(&mut self, batch: &Value, recorded: &Value) -> Step {
        let rows = recorded["B"].as_u64().unwrap() as usize;
        let (x, labels) = (flat(&batch["X"]), flat(&batch["y"]));
        let x = &x[..rows * 5];
        let labels: Vec<u32> = labels[..rows].iter().map(|y| *y as u32).collect();
        let (settings, counts) = self.loss();
        let objective = Objective {
            settings: &settings,
            counts: &counts,
        };
        let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
        let mut lesson = Lesson::default();
        let logits = self.engine.forward(x, rows).unwrap();
        if settings.is_plain() {
            softmax_cross_entropy(logits, 3, &labels, &mut probabilities, &mut losses);
        } else {
            objective.learn(logits, 3, &labels, &mut lesson);
            losses.clone_from(&lesson.losses);
        }

        let (mut gamma_t, mut log_g, mut log_s) = (f64::NAN, f64::NAN, f64::NAN);
        let mut weights = vec![1.0; rows];
        // The official code leaves s alone in its uniform first stage: no normaliser is recorded there.
        if !recorded["log_s"].is_null() {
            let settings = self.settings(number(&recorded["lam"]));
            let proposal = self.normalizer.propose(&settings, &losses, &mut weights);
            let alpha = number(&self.hyper["alpha"]);
            (gamma_t, log_g, log_s) = (
                proposal.gamma_t,
                proposal.log_g + alpha.ln(),
                proposal.log_s + alpha.ln(),
            );
            weights.iter_mut().for_each(|weight| *weight /= alpha);
            self.normalizer = proposal.next;
        }

        let coefficients: Vec<f32> = weights.iter().map(|p| (p / rows as f64) as f32).collect();
        let mut dz = Vec::new();
        if settings.is_plain() {
            seed_gradient(&probabilities, 3, &labels, &coefficients, &mut dz);
        } else {
            lesson.seed(3, &coefficients, &mut dz);
        }
        self.engine.backward(x, rows, &dz).unwrap();
        let gradient = self.engine.gradients().unwrap().concat();
        let before = self.parameters();
        let rule = UpdateRule {
            learning_rate: number(&recorded["lr"]),
            momentum: number(&self.hyper["beta"]),
            form: serde_json::from_value::<MomentumForm>(self.hyper["momentum_form"].clone())
                .unwrap(),
            weight_decay: number(&self.hyper["weight_decay"]),
        };
        self.engine.apply(rule, 1.0).unwrap();
        let after = self.parameters();
        Step {
            losses,
            gamma_t,
            log_g,
            log_s,
            weights,
            gradient,
            before,
            after,
        }
    }

    fn parameters(&self) -> Vec<f32> {
        self.engine
            .parameters()
            .unwrap()
            .into_iter()
            .flat_map(|p| p.values)
            .collect()
    }
}

/// Replays one run. `tilt` is the rounding of L/lambda by f32 logits, beyond [`F32`], that a run with huge losses has.
fn replay(init: &Value, batches: &Value, run: &Value, tilt: f64) {
    let name = run["name"].as_str().unwrap();
    let hyper = run["hyper"].clone();
    let decay = number(&hyper["weight_decay"]);
    let mut learner = Learner {
        engine: engine(init),
        normalizer: Normalizer::new(),
        hyper,
    };
    let steps = run["steps"].as_array().unwrap();
    for (batch, recorded) in batches.as_array().unwrap().iter().zip(steps) {
        let at = |what: &str| format!("{name}, step {}, {what}", recorded["t"]);
        let step = learner.step(batch, recorded);
        all_close(
            &at("losses"),
            &step.losses,
            &numbers(&recorded["losses"]),
            F32,
            F32,
        );
        all_close(
            &at("p"),
            &step.weights,
            &numbers(&recorded["p"]),
            0.0,
            F32 + tilt,
        );
        if !recorded["log_s"].is_null() {
            close(
                &at("gamma_t"),
                step.gamma_t,
                number(&recorded["gamma_t"]),
                F64,
                F64,
            );
            close(
                &at("log_g"),
                step.log_g,
                number(&recorded["log_g"]),
                F32 + tilt,
                0.0,
            );
            close(
                &at("log_s"),
                step.log_s,
                number(&recorded["log_s"]),
                F32 + tilt,
                0.0,
            );
        }
        if let Some(gradient) = recorded.get("grad") {
            let decayed: Vec<f64> = step
                .gradient
                .iter()
                .zip(&step.before)
                .map(|(g, w)| f64::from(*g) + decay * f64::from(*w))
                .collect();
            all_close(
                &at("gradient"),
                &decayed,
                &wide(&parameters_of(gradient)),
                F32,
                F32,
            );
        }
        if let Some(parameters) = recorded.get("params") {
            all_close(
                &at("parameters"),
                &wide(&step.after),
                &wide(&parameters_of(parameters)),
                F32,
                0.0,
            );
        }
    }
}

fn replay_all(file: &str, expected: &[&str]) {
    let golden = golden(file);
    let runs = golden["runs"].as_array().unwrap();
    let names: Vec<&str> = runs
        .iter()
        .map(|run| run["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, expected);
    for run in runs {
        assert_eq!(run["steps"].as_array().unwrap().len(), 10);
        replay(&golden["init"], &golden["batches"], run, 0.0);
    }
}

#[test]
fn the_logistic_runs_are_reproduced() {
    replay_all(
        "logistic.json",
        &[
            "paper_lam0.5",
            "paper_lam1",
            "paper_lam5",
            "paper_laminf",
            "paper_lam-1",
            "debias_lam0.5",
            "debias_laminf",
            "firstbatch_lam0.5",
            "heavyball_lrdrop_lam1",
            "torch_lrdrop_lam1",
            "reference_two_stage_alpha0.5",
            "debias_two_stage",
            "cb_inside_exp_lam1",
            "ragged_lam1",
            "gamma1_lam1",
        ],
    );
}

#[test]
fn the_mlp_runs_are_reproduced() {
    replay_all(
        "mlp.json",
        &[
            "debias_lam0.5",
            "debias_lam1",
            "debias_lam5",
            "debias_laminf",
            "debias_lam-1",
        ],
    );
}

#[test]
fn losses_of_several_hundred_are_learned_without_overflow() {
    let stress = golden("stress.json");
    let case = &stress["model_case"];
    // L/lambda reaches 1778, and an f32 logit of 1000 is off by up to 6e-5
    replay(&case["init"], &case["batches"], &case["run"], 2e-4);
}
