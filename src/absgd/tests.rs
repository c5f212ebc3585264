use super::*;

fn settings(lambda: f64, start: NormalizerStart) -> Settings {
    Settings {
        lambda: Lambda(lambda),
        gamma: 0.1,
        normalizer_start: start,
        weight_cap: Limit::Off,
    }
}

/// Accepts every proposal and gives back the weights of each step.
fn run(settings: &Settings, batches: &[Vec<f64>]) -> (Normalizer, Vec<Vec<f64>>) {
    let (mut normalizer, mut weights, mut all) = (Normalizer::new(), Vec::new(), Vec::new());
    for losses in batches {
        normalizer = normalizer.propose(settings, losses, &mut weights).next;
        all.push(weights.clone());
    }
    (normalizer, all)
}

#[test]
fn an_infinite_lambda_weighs_everything_exactly_one() {
    let batches: Vec<Vec<f64>> = (1..200)
        .map(|step| (0..=step % 7).map(|i| 0.37 * f64::from(i * step)).collect())
        .collect();
    for start in [NormalizerStart::Debias, NormalizerStart::FirstBatch] {
        for gamma in [0.001, 0.1, 0.3, 0.7, 0.9, 1.0] {
            let mut plain = settings(f64::INFINITY, start);
            plain.gamma = gamma;
            let (normalizer, weights) = run(&plain, &batches);
            assert!(
                weights
                    .iter()
                    .flatten()
                    .all(|p| p.to_bits() == 1f64.to_bits()),
                "{gamma}"
            );
            assert_eq!(normalizer.log_s().to_bits(), 0f64.to_bits());
        }
    }
}

#[test]
fn the_cap_does_not_touch_an_infinite_lambda_with_a_zero_start() {
    let mut literal = settings(f64::INFINITY, NormalizerStart::Zero);
    literal.gamma = 0.01;
    literal.weight_cap = Limit::At(2.0);
    let (_, weights) = run(&literal, &vec![vec![1.0, 2.0]; 3]);
    let expected = 1.0 / (1.0 - 0.99f64.powi(3));
    assert!(
        (weights[2][0] - expected).abs() < 1e-9 * expected,
        "{weights:?}"
    );
}

#[test]
fn the_first_debiased_share_is_one_for_every_gamma() {
    for thousandth in 1..=1000 {
        let mut settings = settings(1.0, NormalizerStart::Debias);
        settings.gamma = f64::from(thousandth) / 1000.0;
        assert_eq!(gamma_at(&settings, 1), 1.0);
        let gamma_2 = gamma_at(&settings, 2);
        assert!(
            gamma_2 <= 1.0 && (gamma_2 - 1.0 / (2.0 - settings.gamma)).abs() < 1e-12,
            "{gamma_2}"
        );
        let proposal = Normalizer::new().propose(&settings, &[2.0], &mut Vec::new());
        assert!((proposal.log_s - 2.0).abs() < 1e-12);
    }
}

#[test]
fn a_new_lambda_restarts_the_normaliser() {
    let first = settings(1.0, NormalizerStart::Debias);
    let (normalizer, _) = run(&first, &vec![vec![1.0, 3.0]; 5]);
    assert_eq!(normalizer.steps(), 5);
    let second = settings(0.5, NormalizerStart::Debias);
    let mut weights = Vec::new();
    let proposal = normalizer.propose(&second, &[1.0, 3.0], &mut weights);
    assert_eq!(proposal.next.steps(), 1);
    assert_eq!(
        proposal,
        Normalizer::new().propose(&second, &[1.0, 3.0], &mut Vec::new())
    );
}

#[test]
fn a_rejected_proposal_leaves_no_trace() {
    let settings = settings(0.5, NormalizerStart::Debias);
    let (normalizer, _) = run(&settings, &[vec![1.0, 2.0]]);
    let before = normalizer.clone();
    let _ = normalizer.propose(&settings, &[900.0], &mut Vec::new());
    assert_eq!(normalizer, before);
}

#[test]
fn the_cap_holds_a_wild_loss_and_recovery_takes_a_few_steps() {
    let mut capped = settings(0.5, NormalizerStart::Debias);
    capped.weight_cap = Limit::At(10.0);
    let mut batches = vec![vec![0.2, 0.3, 0.1, 0.4]; 50];
    batches.push(vec![0.2, 600.0, 0.1, 0.4]);
    batches.extend(vec![vec![0.2, 0.3, 0.1, 0.4]; 12]);
    let (_, weights) = run(&capped, &batches);
    assert!(weights[50].iter().all(|p| *p <= 10.0 / 0.9));
    assert!(
        weights.last().unwrap().iter().all(|p| *p > 0.5),
        "{:?}",
        weights.last()
    );
    let (_, deaf) = run(&settings(0.5, NormalizerStart::Debias), &batches);
    assert!(
        deaf.last().unwrap().iter().all(|p| *p < 1e-9),
        "without the cap the learner is deaf"
    );
}

#[test]
fn the_cap_counts_what_it_held_and_spares_the_first_batch() {
    let mut capped = settings(1.0, NormalizerStart::Debias);
    capped.weight_cap = Limit::At(2.0);
    let first = Normalizer::new().propose(&capped, &[0.0, 50.0], &mut Vec::new());
    assert_eq!(first.clipped, 0);
    let (normalizer, _) = run(&capped, &[vec![1.0, 1.0]]);
    assert_eq!(
        normalizer
            .propose(&capped, &[1.0, 1.8, 50.0], &mut Vec::new())
            .clipped,
        2
    );
}

#[test]
fn a_negative_lambda_favours_easy_examples_and_survives_large_losses() {
    let settings = settings(-1.0, NormalizerStart::Debias);
    let mut weights = Vec::new();
    let proposal = Normalizer::new().propose(&settings, &[800.0, 801.0], &mut weights);
    assert!(proposal.log_s.is_finite() && weights[0] > weights[1] && weights[0] <= 2.0);
}

#[test]
fn an_empty_batch_changes_nothing() {
    let settings = settings(0.5, NormalizerStart::Debias);
    let (normalizer, _) = run(&settings, &[vec![1.0, 2.0]]);
    let mut weights = vec![7.0];
    assert_eq!(
        normalizer.propose(&settings, &[], &mut weights).next,
        normalizer
    );
    assert!(weights.is_empty());
}

#[test]
fn a_saved_normaliser_continues_to_the_bit() {
    let settings = settings(0.5, NormalizerStart::Debias);
    for normalizer in [Normalizer::new(), run(&settings, &[vec![1.0, 2.5]]).0] {
        let mut state = State::default();
        normalizer.save(&mut state);
        let restored = Normalizer::load(&state).unwrap();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        assert_eq!(
            restored.propose(&settings, &[0.3, 4.0], &mut a),
            normalizer.propose(&settings, &[0.3, 4.0], &mut b)
        );
        assert_eq!(a, b);
    }
}

#[test]
fn settings_out_of_range_name_their_key() {
    let with = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().map_err(|(key, _)| key)
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|s| s.lambda = Lambda(f64::INFINITY)), Ok(()));
    assert_eq!(with(|s| s.lambda = Lambda(0.0)), Err("lambda".to_owned()));
    assert_eq!(with(|s| s.gamma = 0.0), Err("gamma".to_owned()));
    assert_eq!(with(|s| s.gamma = f64::NAN), Err("gamma".to_owned()));
    assert_eq!(with(|s| s.gamma = 1.0), Ok(()));
    assert_eq!(
        with(|s| s.weight_cap = Limit::At(1.0)),
        Err("weight_cap".to_owned())
    );
    assert_eq!(with(|s| s.weight_cap = Limit::Off), Ok(()));
}
