//! What must hold for every loss, whatever its settings.

use proptest::prelude::*;

use super::super::*;

const LABELS: [u32; 3] = [0, 1, 2];

fn learn(settings: &Settings, counts: &[f64], logits: &[f32], labels: &[u32]) -> Lesson {
    let (objective, mut lesson) = (Objective { settings, counts }, Lesson::default());
    objective.learn(logits, logits.len() / labels.len(), labels, &mut lesson);
    lesson
}

fn kind(kind: Kind) -> Settings {
    Settings {
        kind,
        ..Settings::default()
    }
}

/// Every combination of a loss, an adjustment and a place of the class weights.
fn all_settings() -> Vec<Settings> {
    let losses = [
        kind(Kind::CrossEntropy),
        kind(Kind::Focal),
        Settings {
            focal_gamma: 0.5,
            ..kind(Kind::Focal)
        },
        kind(Kind::Ldam),
        Settings {
            ldam_scale: 3.0,
            ..kind(Kind::Ldam)
        },
    ];
    let mut all = Vec::new();
    for loss in losses {
        for prior_adjustment in [0.0, 0.75] {
            for class_balanced in [
                ClassBalanced::Off,
                ClassBalanced::Inside,
                ClassBalanced::Outside,
            ] {
                all.push(Settings {
                    prior_adjustment,
                    class_balanced,
                    ..loss.clone()
                });
            }
        }
    }
    all
}

#[test]
fn every_gradient_is_the_central_difference_of_its_loss() {
    let logits = [0.5f32, -1.25, 2.0, 0.0, 0.75, -3.0, 1.5, 1.25, -0.5];
    let counts = [800.0, 40.0, 0.0];
    let h = 1.0 / 1024.0; // exact in f32, as are the sums: the losses are f64 all the way
    for settings in all_settings() {
        let found = learn(&settings, &counts, &logits, &LABELS);
        for at in 0..logits.len() {
            let (mut up, mut down) = (logits, logits);
            up[at] += h;
            down[at] -= h;
            let total = |logits: &[f32]| -> f64 {
                learn(&settings, &counts, logits, &LABELS)
                    .losses
                    .iter()
                    .sum()
            };
            let slope = (total(&up) - total(&down)) / (2.0 * f64::from(h));
            let gradient = f64::from(found.gradients[at]);
            assert!(
                (slope - gradient).abs() < 2e-5 * (1.0 + gradient.abs()),
                "{settings:?}, logit {at}: {slope} {gradient}"
            );
        }
    }
}

#[test]
fn only_cross_entropy_without_classes_is_plain_and_it_gives_the_plain_losses_to_the_bit() {
    let plain: Vec<Settings> = all_settings()
        .into_iter()
        .filter(Settings::is_plain)
        .collect();
    assert_eq!(plain, [Settings::default()]);
    let logits = [1e5, -1e5, 0.25, 3.0, -7.5, 0.1];
    let lesson = learn(&plain[0], &[], &logits, &[0, 2]);
    assert_eq!(lesson.losses, super::losses(&logits, 3, &[0, 2]));
    assert_eq!(lesson.outside, [1.0, 1.0]);
}

#[test]
fn a_focal_loss_without_an_exponent_and_ldam_without_a_margin_are_cross_entropy() {
    let logits = [0.5f32, -1.25, 2.0, 0.0, 0.75, -3.0];
    let plain = learn(&Settings::default(), &[], &logits, &[1, 0]);
    let focal = Settings {
        focal_gamma: 0.0,
        ..kind(Kind::Focal)
    };
    let ldam = Settings {
        ldam_max_margin: 0.0,
        ..kind(Kind::Ldam)
    };
    for settings in [focal, ldam] {
        let same = learn(&settings, &[9.0, 1.0, 1.0], &logits, &[1, 0]);
        assert_eq!(same.losses, plain.losses);
        assert_eq!(same.gradients, plain.gradients);
    }
}

#[test]
fn class_weights_move_between_the_loss_and_the_outer_factor() {
    let (counts, logits) = ([50_000.0, 20.0, 0.0], [0.5f32, -1.25, 2.0].repeat(3));
    let with = |class_balanced| {
        let settings = Settings {
            class_balanced,
            ..Settings::default()
        };
        learn(&settings, &counts, &logits, &LABELS)
    };
    let (off, inside) = (with(ClassBalanced::Off), with(ClassBalanced::Inside));
    let outside = with(ClassBalanced::Outside);
    assert_eq!(outside.losses, off.losses);
    assert_eq!(outside.gradients, off.gradients);
    assert_eq!(inside.outside, [1.0; 3]);
    assert!((outside.outside.iter().sum::<f64>() - 3.0).abs() < 1e-12);
    for row in 0..3 {
        let weight = outside.outside[row];
        assert_eq!(inside.losses[row], weight * off.losses[row]);
        let expected = weight * f64::from(off.gradients[3 * row]);
        assert!((f64::from(inside.gradients[3 * row]) - expected).abs() < 1e-6 * weight);
    }
}

#[test]
fn a_row_of_an_unknown_class_costs_its_price_and_teaches_nothing() {
    for settings in all_settings() {
        let lesson = learn(&settings, &[5.0, 5.0], &[1.0, 0.0, 1.0, 0.0], &[2, 1]);
        assert_eq!(lesson.losses[0], UNKNOWN_CLASS_LOSS);
        assert_eq!(
            (lesson.outside[0], &lesson.gradients[..2]),
            (1.0, &[0.0; 2][..])
        );
        assert!(lesson.gradients[2] > 0.0);
        let mut nothing = Lesson::default();
        let objective = Objective {
            settings: &settings,
            counts: &[],
        };
        objective.learn(&[], 0, &[0, 7], &mut nothing);
        assert_eq!(nothing.losses, [UNKNOWN_CLASS_LOSS; 2]);
        assert_eq!(nothing.outside, [1.0; 2]);
        assert!(nothing.gradients.is_empty());
    }
}

#[test]
fn a_logit_that_is_not_finite_shows_in_the_loss_of_its_row_only() {
    for settings in all_settings() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let lesson = learn(&settings, &[3.0, 1.0], &[0.0, bad, 0.0, 1.0], &[0, 0]);
            assert!(!lesson.losses[0].is_finite() && lesson.losses[1].is_finite());
            assert!(lesson.gradients[2..].iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn a_prior_that_is_adjusted_for_asks_more_of_rare_classes() {
    let settings = Settings {
        prior_adjustment: 1.0,
        ..Settings::default()
    };
    let lesson = learn(&settings, &[99.0, 1.0], &[0.0; 4], &[0, 1]);
    assert!((lesson.losses[0] + 0.99f64.ln()).abs() < 1e-12);
    assert!((lesson.losses[1] + 0.01f64.ln()).abs() < 1e-12);
}

#[test]
fn a_lesson_is_overwritten_by_the_next_and_seeds_the_weighted_gradient() {
    let settings = kind(Kind::Ldam);
    let objective = Objective {
        settings: &settings,
        counts: &[9.0, 1.0],
    };
    let mut reused = learn(&all_settings()[5], &[3.0, 1.0, 2.0], &[0.0; 9], &LABELS);
    objective.learn(&[1.0, 0.0, 0.5, 0.25], 2, &[0, 1], &mut reused);
    let fresh = learn(&settings, &[9.0, 1.0], &[1.0, 0.0, 0.5, 0.25], &[0, 1]);
    assert_eq!(reused.losses, fresh.losses);
    assert_eq!(reused.gradients, fresh.gradients);
    assert_eq!(reused.outside, fresh.outside);
    let mut dz = vec![7.0];
    fresh.seed(2, &[2.0, 0.5], &mut dz);
    let expected: Vec<f32> = [2.0, 2.0, 0.5, 0.5]
        .iter()
        .zip(&fresh.gradients)
        .map(|(c, g)| c * g)
        .collect();
    assert_eq!(dz, expected);
}

#[test]
fn settings_out_of_range_name_their_key() {
    let with = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().map_err(|(key, _)| key)
    };
    let wrong = |key: &str| Err(key.to_owned());
    for settings in all_settings() {
        assert_eq!(settings.check(), Ok(()));
    }
    assert_eq!(with(|s| s.focal_gamma = -1.0), wrong("focal_gamma"));
    assert_eq!(
        with(|s| s.ldam_max_margin = f64::NAN),
        wrong("ldam_max_margin")
    );
    assert_eq!(with(|s| s.ldam_scale = 0.0), wrong("ldam_scale"));
    assert_eq!(
        with(|s| s.prior_adjustment = -0.5),
        wrong("prior_adjustment")
    );
    assert_eq!(
        with(|s| s.class_balanced_beta = 1.0),
        wrong("class_balanced_beta")
    );
    assert_eq!(with(|s| s.class_balanced_beta = 0.0), Ok(()));
}

proptest! {
    #[test]
    fn losses_are_finite_and_gradients_of_a_row_cancel(
        logits in prop::collection::vec(-1e4..1e4f32, 9),
        counts in prop::collection::vec(prop_oneof![Just(0.0), 0.0..1.0f64, 1.0..1e12f64], 0..4),
        which in 0usize..30,
    ) {
        let settings = &all_settings()[which];
        let lesson = learn(settings, &counts, &logits, &LABELS);
        prop_assert!(lesson.losses.iter().all(|loss| loss.is_finite() && *loss >= 0.0), "{:?}", lesson.losses);
        prop_assert!(lesson.outside.iter().all(|factor| *factor > 0.0 && *factor <= 3.0));
        for (row, label) in lesson.gradients.chunks_exact(3).zip(LABELS) {
            let scale = row.iter().fold(0f32, |most, g| most.max(g.abs()));
            prop_assert!(row.iter().all(|g| g.is_finite()));
            prop_assert!(row.iter().sum::<f32>().abs() <= 1e-6 * scale + 1e-12, "{row:?}");
            prop_assert!(row[label as usize] <= 0.0, "the own logit never falls: {row:?}");
        }
    }

    #[test]
    fn a_loss_does_not_depend_on_a_shift_of_its_logits(
        logits in prop::collection::vec((-512i32..512).prop_map(|n| n as f32 / 128.0), 9),
        shift in -64i32..64, which in 0usize..30,
    ) {
        let (settings, counts) = (&all_settings()[which], [1e5, 30.0, 2.0]);
        let moved: Vec<f32> = logits.iter().map(|z| z + shift as f32).collect();
        let (a, b) = (learn(settings, &counts, &logits, &LABELS), learn(settings, &counts, &moved, &LABELS));
        for (a, b) in a.losses.iter().zip(&b.losses) {
            prop_assert!((a - b).abs() <= 1e-11 * a.abs().max(1.0), "{a} {b}");
        }
    }
}
