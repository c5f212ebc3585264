//! What holds for every stream of predictions.

use proptest::prelude::*;

use super::{Row, exact_of, live_of, names};
use crate::evaluate::{Live, Settings, sketch};
use crate::state::State;

/// The largest error that the documentation of the grid allows, for average precision and ROC-AUC.
fn bounds(sketch: &sketch::Sketch, class: usize) -> (f64, f64) {
    let groups: Vec<(u64, u64)> = sketch.groups(class).collect();
    let positives = groups.iter().map(|group| group.0).sum::<u64>() as f64;
    let negatives = groups.iter().map(|group| group.1).sum::<u64>() as f64;
    let (mut above, mut others_above) = (0.0, 0.0);
    let (mut precision, mut roc) = (0.0, 0.0);
    for (inside, others) in groups {
        let (inside, others) = (inside as f64, others as f64);
        if inside > 0.0 {
            let best = (above + inside) / (above + inside + others_above);
            let worst = (above + 1.0) / (above + 1.0 + others_above + others);
            precision += inside / positives * (best - worst);
        }
        roc += inside * others / (2.0 * positives * negatives);
        above += inside;
        others_above += others;
    }
    (precision, roc)
}

/// Streams of 1 to 5 classes: logits from tame to saturating, a growing number of known classes.
fn streams() -> impl Strategy<Value = (usize, Vec<Row>)> {
    (1usize..=5, 0.1f32..40.0).prop_flat_map(|(classes, spread)| {
        let row = (
            0..classes as u32,
            prop::collection::vec(-1.0f32..1.0, classes),
            0..=classes,
        );
        prop::collection::vec(row, 1..250).prop_map(move |rows| {
            let mut known = 0;
            let rows = rows
                .into_iter()
                .enumerate()
                .map(|(index, (label, logits, more))| {
                    known = if index > 20 { classes } else { known.max(more) };
                    let exponentials: Vec<f32> = logits[..known]
                        .iter()
                        .map(|logit| (logit * spread).exp())
                        .collect();
                    let sum: f32 = exponentials.iter().sum();
                    (label, exponentials.into_iter().map(|e| e / sum).collect())
                });
            (classes, rows.collect())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn live_figures_are_within_the_stated_bounds_of_the_exact_ones((classes, rows) in streams()) {
        let exact = exact_of(&rows).metrics(&names(classes));
        let live = live_of(&rows, classes, 10_000);
        let scores = live.report(&names(classes)).since_start;
        let mut sketch = sketch::Sketch::new(classes);
        for (label, probabilities) in &rows {
            sketch.add(*label as usize, probabilities, 0.0);
        }
        for class in 0..classes {
            let (precision, roc) = bounds(&sketch, class);
            for (found, expected, bound) in [
                (scores.pr_auc.0[class].1, exact.pr_auc.0[class].1, precision),
                (scores.roc_auc.0[class].1, exact.roc_auc.0[class].1, roc),
            ] {
                prop_assert_eq!(found.is_some(), expected.is_some());
                if let (Some(found), Some(expected)) = (found, expected) {
                    let distance = (found - expected).abs();
                    prop_assert!(distance <= bound + 1e-12, "{} over {}", distance, bound);
                }
            }
        }
        prop_assert_eq!(&scores.recall, &exact.recall);
        prop_assert_eq!(scores.accuracy, exact.accuracy);
        prop_assert_eq!(scores.balanced_accuracy, exact.balanced_accuracy);
        prop_assert_eq!(scores.g_mean, exact.g_mean);
        prop_assert!((scores.log_loss.unwrap() - exact.log_loss.unwrap()).abs() < 1e-9);
    }

    #[test]
    fn areas_stay_in_the_unit_interval_and_ignore_the_order_of_rows((classes, mut rows) in streams()) {
        let before = exact_of(&rows).metrics(&names(classes));
        rows.reverse();
        let third = rows.len() / 3;
        rows.rotate_left(third);
        let after = exact_of(&rows).metrics(&names(classes));
        prop_assert_eq!(&before.pr_auc, &after.pr_auc);
        prop_assert_eq!(&before.roc_auc, &after.roc_auc);
        for area in before.pr_auc.values().chain(before.roc_auc.values()).flatten() {
            prop_assert!((0.0..=1.0).contains(area));
        }
    }

    #[test]
    fn reversed_scores_mirror_the_roc_auc(
        scores in prop::collection::vec((any::<bool>(), 0u8..=20), 2..200)
    ) {
        let roc_auc = |up: bool| {
            let rows: Vec<Row> = scores
                .iter()
                .map(|&(positive, score)| {
                    let score = f32::from(if up { score } else { 20 - score }) / 20.0;
                    (u32::from(positive), vec![1.0 - score, score])
                })
                .collect();
            exact_of(&rows).metrics(&names(2)).roc_auc.0[1].1
        };
        match (roc_auc(true), roc_auc(false)) {
            (Some(up), Some(down)) => prop_assert!((up + down - 1.0).abs() < 1e-12),
            (up, down) => prop_assert_eq!(up, down),
        }
    }

    #[test]
    fn the_window_forgets_what_left_it((classes, rows) in streams(), window in 1usize..300) {
        let kept = &rows[rows.len().saturating_sub(window)..];
        let whole = live_of(&rows, classes, window).report(&names(classes));
        let mut fresh = live_of(kept, classes, window).report(&names(classes)).window;
        prop_assert_eq!(whole.window_examples, kept.len() as u64);
        // Which classes are rare is settled since start, which differs here.
        fresh.pr_auc_rare = whole.window.pr_auc_rare;
        fresh.undefined = whole.window.undefined.clone();
        prop_assert_eq!(whole.window, fresh);
    }

    #[test]
    fn a_saved_scorer_goes_on_as_if_never_stopped((classes, rows) in streams(), window in 1usize..100) {
        let settings = Settings { window, ..Settings::default() };
        let (first, second) = rows.split_at(rows.len() / 2);
        let mut whole = live_of(first, classes, window);
        let mut state = State::default();
        whole.save(&mut state);
        let mut resumed = Live::load(&settings, &state).unwrap();
        for (label, probabilities) in second {
            whole.observe(*label, probabilities, 0.25);
            resumed.observe(*label, probabilities, 0.25);
        }
        let digest = |live: &Live| {
            let mut state = State::default();
            live.save(&mut state);
            state.digest()
        };
        prop_assert_eq!(digest(&whole), digest(&resumed));
        prop_assert_eq!(whole.report(&names(classes)), resumed.report(&names(classes)));
    }
}

#[test]
fn on_smooth_scores_the_sketch_is_a_few_thousandths_off() {
    for (rare, separation) in [(0.5, 1.0), (0.05, 2.0), (0.01, 3.0), (0.005, 5.0)] {
        let mut seed = 0x9E37_79B9_7F4A_7C15u64;
        let mut uniform = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1u64 << 24) as f32
        };
        let rows: Vec<Row> = (0..20_000)
            .map(|_| {
                let label = u32::from(uniform() < rare);
                // Four uniforms are near enough to a normal.
                let noise: f32 = (0..4).map(|_| 2.0 * uniform() - 1.0).sum();
                let logit = noise * 1.5 + (label as f32 - 0.5) * separation - 2.0;
                let probability = 1.0 / (1.0 + (-logit).exp());
                (label, vec![1.0 - probability, probability])
            })
            .collect();
        let exact = exact_of(&rows).metrics(&names(2));
        let live = live_of(&rows, 2, 10).report(&names(2)).since_start;
        for (found, expected) in [
            (live.pr_auc_rare, exact.pr_auc_rare),
            (live.roc_auc_macro, exact.roc_auc_macro),
        ] {
            let distance = (found.unwrap() - expected.unwrap()).abs();
            assert!(
                distance < 0.005,
                "{rare} {separation}: {found:?}, exactly {expected:?}"
            );
        }
    }
}
