//! What must hold for every stream of losses, not only for recorded ones.

use proptest::prelude::*;
use skewd::absgd::{MomentumForm, Normalizer, NormalizerStart, Settings, UpdateRule};
use skewd::example::{Lambda, Limit};
use skewd::loss::{seed_gradient, softmax_cross_entropy};
use skewd::model::{self, DeviceChoice, Engine, Kind};

const STARTS: [NormalizerStart; 3] = [
    NormalizerStart::Debias,
    NormalizerStart::Zero,
    NormalizerStart::FirstBatch,
];

/// The exact paper, without a cap.
fn settings(lambda: f64, gamma: f64, normalizer_start: NormalizerStart) -> Settings {
    Settings {
        lambda: Lambda(lambda),
        gamma,
        normalizer_start,
        weight_cap: Limit::Off,
    }
}

/// What the weighing of a stream gave.
struct Weighed {
    weights: Vec<Vec<f64>>,
    gamma_t: Vec<f64>,
    log_g: Vec<f64>,
    log_s: Vec<f64>,
}

fn weigh(settings: &Settings, batches: &[Vec<f64>]) -> Weighed {
    let (mut normalizer, mut weights) = (Normalizer::new(), Vec::new());
    let mut all = Weighed {
        weights: Vec::new(),
        gamma_t: Vec::new(),
        log_g: Vec::new(),
        log_s: Vec::new(),
    };
    for losses in batches {
        let proposal = normalizer.propose(settings, losses, &mut weights);
        all.weights.push(weights.clone());
        all.gamma_t.push(proposal.gamma_t);
        all.log_g.push(proposal.log_g);
        all.log_s.push(proposal.log_s);
        normalizer = proposal.next;
    }
    all
}

/// Equal up to the rounding of exponents of size `scale`.
fn same(a: &[Vec<f64>], b: &[Vec<f64>], scale: f64) -> bool {
    let tolerance = 1e-14 * scale.max(100.0);
    a.iter()
        .flatten()
        .zip(b.iter().flatten())
        .all(|(a, b)| (a - b).abs() <= tolerance * a.abs().max(f64::MIN_POSITIVE / f64::EPSILON))
}

fn start() -> impl Strategy<Value = NormalizerStart> {
    prop::sample::select(STARTS.to_vec())
}

fn lambda() -> impl Strategy<Value = f64> {
    prop_oneof![0.1..20.0f64, -20.0..-0.1f64]
}

/// Up to eight batches of one to twelve losses.
fn batches() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(0.0..20.0f64, 1..12), 1..8)
}

/// Logits on a grid that f32 holds exactly, for three rows of three classes.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-512i32..512).prop_map(|n| n as f32 / 128.0), 9)
}

/// λ ln mean exp(L/λ) of the cross-entropies of three rows.
fn robust_objective(logits: &[f32], lambda: f64) -> f64 {
    let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
    softmax_cross_entropy(logits, 3, &[0, 1, 2], &mut probabilities, &mut losses);
    let mean = losses.iter().map(|loss| (loss / lambda).exp()).sum::<f64>() / 3.0;
    lambda * mean.ln()
}

proptest! {
    #[test]
    fn with_gamma_one_weights_average_one_and_the_step_is_the_gradient_of_the_robust_objective(
        logits in logits(), lambda in 0.3..5.0f64, start in start(), negative: bool,
    ) {
        let lambda = if negative { -lambda } else { lambda };
        let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
        softmax_cross_entropy(&logits, 3, &[0, 1, 2], &mut probabilities, &mut losses);
        let weighed = weigh(&settings(lambda, 1.0, start), &[vec![1.0; 4], losses]);
        let weights = &weighed.weights[1];
        prop_assert!((weights.iter().sum::<f64>() / 3.0 - 1.0).abs() < 1e-12);
        let coefficients: Vec<f32> = weights.iter().map(|p| (p / 3.0) as f32).collect();
        let mut gradient = Vec::new();
        seed_gradient(&probabilities, 3, &[0, 1, 2], &coefficients, &mut gradient);
        let h = 1.0 / 512.0;
        for index in 0..9 {
            let (mut up, mut down) = (logits.clone(), logits.clone());
            up[index] += h;
            down[index] -= h;
            let rise = robust_objective(&up, lambda) - robust_objective(&down, lambda);
            let slope = rise / (2.0 * f64::from(h));
            // the third derivative grows like 1/lambda^2
            let bound = 2e-6 * (1.0 + 1.0 / (lambda * lambda));
            prop_assert!((slope - f64::from(gradient[index])).abs() < bound, "{slope} {}", gradient[index]);
        }
    }

    #[test]
    fn a_constant_added_to_every_loss_leaves_the_weights_alone(
        batches in batches(), lambda in lambda(), gamma in 0.01..1.0f64, start in start(), shift in -100.0..100.0f64,
    ) {
        let settings = settings(lambda, gamma, start);
        let shifted: Vec<Vec<f64>> =
            batches.iter().map(|losses| losses.iter().map(|loss| loss + shift).collect()).collect();
        let (plain, moved) = (weigh(&settings, &batches), weigh(&settings, &shifted));
        prop_assert!(same(&plain.weights, &moved.weights, (120.0 / lambda).abs()));
    }

    #[test]
    fn losses_and_lambda_in_another_unit_leave_the_weights_alone(
        batches in batches(), lambda in lambda(), gamma in 0.01..1.0f64, start in start(), unit in 0.01..100.0f64,
        cap in prop_oneof![Just(Limit::Off), (1.5..30.0f64).prop_map(Limit::At)],
    ) {
        let mut settings = settings(lambda, gamma, start);
        settings.weight_cap = cap;
        let plain = weigh(&settings, &batches);
        let scaled: Vec<Vec<f64>> =
            batches.iter().map(|losses| losses.iter().map(|loss| loss * unit).collect()).collect();
        settings.lambda = Lambda(lambda * unit);
        prop_assert!(same(&plain.weights, &weigh(&settings, &scaled).weights, (20.0 / lambda).abs()));
    }

    #[test]
    fn no_weight_exceeds_the_batch_size_over_gamma(
        batches in batches(), lambda in lambda(), gamma in 0.01..=1.0f64, start in start(),
    ) {
        let weighed = weigh(&settings(lambda, gamma, start), &batches);
        for (weights, gamma_t) in weighed.weights.iter().zip(&weighed.gamma_t) {
            let bound = weights.len() as f64 / gamma_t;
            prop_assert!(weights.iter().all(|p| *p >= 0.0 && *p <= bound * (1.0 + 1e-12)), "{weights:?}");
        }
    }

    #[test]
    fn no_capped_weight_exceeds_the_cap_over_the_share_of_the_past(
        batches in batches(), lambda in lambda(), gamma in 0.01..0.95f64, start in start(), cap in 1.5..30.0f64,
    ) {
        let mut settings = settings(lambda, gamma, start);
        settings.weight_cap = Limit::At(cap);
        let weighed = weigh(&settings, &batches);
        for (weights, gamma_t) in weighed.weights.iter().zip(&weighed.gamma_t).skip(1) {
            let bound = cap / (1.0 - gamma_t);
            prop_assert!(weights.iter().all(|p| *p <= bound * (1.0 + 1e-12)), "{weights:?} {bound}");
        }
    }

    #[test]
    fn a_debiased_normaliser_gives_constant_losses_a_weight_of_exactly_one(
        sizes in prop::collection::vec(1usize..20, 1..30), loss in 0.0..50.0f64, lambda in lambda(),
        gamma in 0.001..=1.0f64,
    ) {
        let batches: Vec<Vec<f64>> = sizes.iter().map(|size| vec![loss; *size]).collect();
        let weighed = weigh(&settings(lambda, gamma, NormalizerStart::Debias), &batches);
        prop_assert!(weighed.weights.iter().flatten().all(|p| *p == 1.0), "{:?}", weighed.weights);
    }

    #[test]
    fn weights_tend_to_one_as_lambda_grows(
        batches in batches(), gamma in 0.01..1.0f64, negative: bool,
    ) {
        let mut last = f64::INFINITY;
        for lambda in [1e2, 1e4, 1e6, f64::INFINITY] {
            let lambda = if negative && lambda.is_finite() { -lambda } else { lambda };
            let weighed = weigh(&settings(lambda, gamma, NormalizerStart::Debias), &batches);
            let farthest = weighed.weights.iter().flatten().map(|p| (p - 1.0).abs()).fold(0.0, f64::max);
            prop_assert!(farthest <= last && farthest <= 25.0 / lambda.abs() + 1e-15, "{farthest} at {lambda}");
            last = farthest;
        }
        prop_assert_eq!(last, 0.0);
    }

    #[test]
    fn a_batch_twice_over_changes_neither_the_mean_nor_the_weights(
        batches in batches(), lambda in lambda(), gamma in 0.01..1.0f64, start in start(),
    ) {
        let settings = settings(lambda, gamma, start);
        let doubled: Vec<Vec<f64>> = batches.iter().map(|losses| [&losses[..], &losses[..]].concat()).collect();
        let (once, twice) = (weigh(&settings, &batches), weigh(&settings, &doubled));
        for (a, b) in once.log_g.iter().zip(&twice.log_g) {
            prop_assert!((a - b).abs() <= 1e-13 * a.abs().max(1.0));
        }
        for (a, b) in once.weights.iter().zip(&twice.weights) {
            let halves = vec![b[..a.len()].to_vec(), b[a.len()..].to_vec()];
            prop_assert!(same(&[a.clone(), a.clone()], &halves, (20.0 / lambda).abs()));
        }
    }

    #[test]
    fn a_weight_is_above_one_exactly_for_losses_above_the_running_objective(
        batches in batches(), lambda in 0.1..20.0f64, gamma in 0.01..1.0f64, start in start(),
    ) {
        let weighed = weigh(&settings(lambda, gamma, start), &batches);
        for ((losses, weights), log_s) in batches.iter().zip(&weighed.weights).zip(&weighed.log_s) {
            for (loss, weight) in losses.iter().zip(weights) {
                let above = loss - lambda * log_s;
                if above.abs() > 1e-9 {
                    prop_assert_eq!(*weight > 1.0, above > 0.0, "{} {}", weight, above);
                }
            }
        }
    }

    #[test]
    fn an_infinite_lambda_is_momentum_sgd_to_the_bit(
        rows in prop::collection::vec((prop::collection::vec(-3.0..3.0f32, 4), 0u32..3), 8..64),
        gamma in 0.01..=1.0f64, batch in 1usize..9, heavy: bool, hidden: bool,
    ) {
        let form = if heavy { MomentumForm::HeavyBall } else { MomentumForm::Torch };
        let weighed = learn(&rows, batch, form, hidden, Some(gamma));
        let plain = learn(&rows, batch, form, hidden, None);
        prop_assert_eq!(weighed, plain);
    }
}

/// Learns the rows in batches, weighed with λ = inf under a default cap, or not weighed at all; gives the bits of all
/// parameters and velocities.
fn learn(
    rows: &[(Vec<f32>, u32)],
    batch: usize,
    form: MomentumForm,
    hidden: bool,
    gamma: Option<f64>,
) -> Vec<u32> {
    let kind = if hidden { Kind::Mlp } else { Kind::Linear };
    let model = model::Settings {
        kind,
        hidden: vec![6],
        pieces: false,
    };
    let mut engine = Engine::new(&model, 4, 5, &DeviceChoice::Cpu).unwrap();
    (0..3).for_each(|_| engine.add_class().unwrap());
    let rule = UpdateRule {
        learning_rate: 0.1,
        momentum: 0.9,
        form,
        weight_decay: 1e-3,
    };
    let (mut normalizer, mut weights) = (Normalizer::new(), Vec::new());
    let (mut probabilities, mut losses, mut dz) = (Vec::new(), Vec::new(), Vec::new());
    for rows in rows.chunks(batch) {
        let x: Vec<f32> = rows.iter().flat_map(|(x, _)| x.clone()).collect();
        let labels: Vec<u32> = rows.iter().map(|(_, label)| *label).collect();
        let logits = engine.forward(&x, rows.len()).unwrap();
        softmax_cross_entropy(logits, 3, &labels, &mut probabilities, &mut losses);
        weights.clear();
        weights.resize(rows.len(), 1.0);
        if let Some(gamma) = gamma {
            let settings = Settings {
                lambda: Lambda(f64::INFINITY),
                gamma,
                ..Settings::default()
            };
            normalizer = normalizer.propose(&settings, &losses, &mut weights).next;
        }
        let coefficients: Vec<f32> = weights
            .iter()
            .map(|p| (p / rows.len() as f64) as f32)
            .collect();
        seed_gradient(&probabilities, 3, &labels, &coefficients, &mut dz);
        engine.backward(&x, rows.len(), &dz).unwrap();
        engine.apply(rule, 1.0).unwrap();
    }
    let parameters = engine.parameters().unwrap();
    parameters
        .iter()
        .flat_map(|p| p.values.iter().chain(&p.velocity))
        .map(|v| v.to_bits())
        .collect()
}
