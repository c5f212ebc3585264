use proptest::prelude::*;

use super::*;
use crate::evaluate::Exact;
use crate::evaluate::exact::Scored;

/// A repeatable stream of numbers in [0, 1).
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn with_classes(classes: usize) -> Calibrator {
    let mut calibrator = Calibrator::new();
    (0..classes).for_each(|_| calibrator.add_class());
    calibrator
}

/// A stream whose true probability is known, and what a model makes of it: label and predicted row.
fn binary(rows: usize, distort: impl Fn(f64, f64) -> f64) -> Vec<(u32, [f32; 2])> {
    let mut uniform = Uniform(7);
    (0..rows)
        .map(|row| {
            let noise: f64 = (0..4).map(|_| 2.0 * uniform.next() - 1.0).sum();
            let logit = 1.5 * noise - 2.0;
            let label = u32::from(uniform.next() < sigmoid(logit));
            let p = sigmoid(distort(logit, row as f64 / rows as f64));
            (label, [(1.0 - p) as f32, p as f32])
        })
        .collect()
}

/// Calibration error and log-loss, after the first tenth: raw, then corrected, batches of 16.
fn measured(stream: &[(u32, [f32; 2])]) -> [(f64, f64); 2] {
    let mut calibrator = with_classes(2);
    let mut corrected = stream.to_vec();
    for (batch, raw) in corrected.chunks_mut(16).zip(stream.chunks(16)) {
        batch.iter_mut().for_each(|(_, row)| calibrator.apply(row));
        for (label, row) in raw {
            calibrator.observe(*label as usize, row);
        }
    }
    [stream, &corrected].map(|rows| {
        let mut exact = Exact::new();
        for (label, row) in &rows[rows.len() / 10..] {
            exact.push(Scored {
                row: 0,
                label: *label,
                weight: None,
                time: None,
                probabilities: row,
            });
        }
        let metrics = exact.metrics(&["no".into(), "yes".into()]);
        (
            metrics.calibration_error.unwrap(),
            metrics.log_loss.unwrap(),
        )
    })
}

#[test]
fn tilted_and_drifting_probabilities_become_calibrated() {
    type Distortion = fn(f64, f64) -> f64;
    let distortions: [(&str, Distortion); 5] = [
        ("sound", |logit, _| logit),
        ("tilted", |logit, _| logit + 2.0),
        ("overconfident", |logit, _| 3.0 * logit),
        (
            "bent",
            |logit, _| if logit > -2.0 { logit + 1.5 } else { logit },
        ),
        ("drifting", |logit, time| {
            (1.0 + time) * logit + 3.0 * (6.0 * time).sin()
        }),
    ];
    for (name, distort) in distortions {
        let [raw, corrected] = measured(&binary(40_000, distort));
        assert!(corrected.0 <= 0.01, "{name}: {corrected:?}, raw {raw:?}");
        // The mixture may cost a few nats over the whole stream.
        assert!(
            corrected.1 <= raw.1 + 2e-4,
            "{name}: {corrected:?}, raw {raw:?}"
        );
    }
}

#[test]
fn three_classes_are_straightened_too() {
    let mut uniform = Uniform(3);
    let mut calibrator = with_classes(3);
    let truth = [0.7, 0.25, 0.05];
    // The model believes too much in the rare class, and is too sure of everything.
    let believed = [0.45f32, 0.15, 0.4];
    for _ in 0..20_000 {
        let u = uniform.next();
        let label = usize::from(u > truth[0]) + usize::from(u > truth[0] + truth[1]);
        calibrator.observe(label, &believed);
    }
    let mut row = believed;
    calibrator.apply(&mut row);
    for (found, expected) in row.iter().zip(truth) {
        assert!((f64::from(*found) - expected).abs() < 0.08, "{row:?}");
    }
    let report = calibrator.report(true);
    assert!(report.log_loss_calibrated.unwrap() < report.log_loss_raw.unwrap() - 0.3);
    calibrator.add_class();
    let mut four = [0.4, 0.1, 0.3, 0.2];
    calibrator.apply(&mut four);
    assert!((four.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{four:?}");
}

#[test]
fn what_cannot_be_learned_from_changes_nothing() {
    let mut calibrator = with_classes(2);
    let before = calibrator.clone();
    calibrator.observe(0, &[1.0]);
    calibrator.observe(5, &[0.5, 0.5]);
    calibrator.observe(0, &[f32::NAN, 0.5]);
    assert_eq!(calibrator, before);
    let mut short = [1.0];
    calibrator.apply(&mut short);
    assert_eq!(short, [1.0]);
    with_classes(1).observe(0, &[1.0]);
    assert_eq!(with_classes(1).report(false).log_loss_raw, None);
}

#[test]
fn a_map_of_an_earlier_build_goes_on_without_the_number_that_nothing_needs() {
    let mut calibrator = with_classes(2);
    for (label, row) in binary(500, |logit, _| 2.0 * logit + 1.0) {
        calibrator.observe(label as usize, &row);
    }
    let mut state = State::default();
    calibrator.save(&mut state);
    let mut values = state
        .f64_exact("calibration.map", super::binary::VALUES)
        .unwrap()
        .to_vec();
    values.insert(5, 0.25);
    state.put_f64("calibration.map", values);
    assert_eq!(Calibrator::load(&state).unwrap(), calibrator);
}

#[test]
fn the_map_begins_against_a_second_class_that_came_late() {
    let first_answer = |alone: usize| {
        let mut calibrator = with_classes(1);
        (0..alone).for_each(|_| calibrator.observe(0, &[1.0]));
        calibrator.add_class();
        let mut row = [0.5, 0.5];
        calibrator.apply(&mut row);
        row[1]
    };
    assert!((first_answer(1) - 0.5).abs() < 1e-6);
    let late = first_answer(1000);
    assert!(late < 0.2, "{late}");
    assert!(first_answer(5) > late);
}

#[test]
fn a_state_of_an_earlier_build_does_not_know_how_long_there_was_one_class() {
    let mut calibrator = with_classes(1);
    (0..9).for_each(|_| calibrator.observe(0, &[1.0]));
    let mut state = State::default();
    calibrator.save(&mut state);
    assert_eq!(Calibrator::load(&state).unwrap(), calibrator);
    state.put_f64("calibration.map", Vec::new());
    let earlier = Calibrator::load(&state).unwrap();
    assert_eq!(earlier, with_classes(1));
}

#[test]
fn a_burst_does_not_take_the_share_from_one_end_to_the_other() {
    let mut calibrator = with_classes(2);
    for (label, row) in binary(20_000, |logit, _| 2.0 * logit + 1.0) {
        calibrator.observe(label as usize, &row);
    }
    let before = calibrator.report(true).raw_share;
    // Each of these is likelier by a third of a nat without the correction.
    for _ in 0..60 {
        calibrator.observe(1, &[0.1, 0.9]);
    }
    assert!(before < 1e-3, "{before}");
    let after = calibrator.report(true).raw_share;
    assert!(after < 0.1, "{after}");
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    let mut state = State::default();
    with_classes(2).save(&mut state);
    for name in [
        "calibration.classes",
        "calibration.losses",
        "calibration.map",
    ] {
        let mut damaged = state.clone();
        damaged.blobs.remove(name);
        let error = Calibrator::load(&damaged).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        damaged.put_f64(name, vec![1.0; 5]);
        assert!(
            Calibrator::load(&damaged).is_err(),
            "{name} was not checked"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_a_distribution_and_two_classes_keep_their_order(
        classes in 2usize..=5,
        stream in prop::collection::vec((0usize..5, prop::collection::vec(0.0f32..30.0, 5)), 1..300),
    ) {
        let mut calibrator = with_classes(classes);
        for (label, logits) in &stream {
            let weights: Vec<f32> = logits[..classes].iter().map(|l| (-l).exp()).collect();
            let sum: f32 = weights.iter().sum();
            let row: Vec<f32> = weights.iter().map(|w| w / sum).collect();
            calibrator.observe(label % classes, &row);
            let mut served = row.clone();
            calibrator.apply(&mut served);
            prop_assert!(served.iter().all(|p| (0.0..=1.0).contains(p)), "{:?}", served);
            prop_assert!((served.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{:?}", served);
        }
        if classes == 2 {
            let mut last = -1.0;
            for step in 0..=1000 {
                let p = step as f32 / 1000.0;
                let mut row = [1.0 - p, p];
                calibrator.apply(&mut row);
                // Next to 0 and 1 neighbours may round to the same number, or change places by its last bit.
                let rounds = if (0.001..0.999).contains(&last) { 0.0 } else { 2.0 * f32::EPSILON };
                prop_assert!(row[1] > last - rounds, "{} gives {} after {}", p, row[1], last);
                last = row[1];
            }
        }
    }

    #[test]
    fn a_saved_calibrator_goes_on_as_if_never_stopped(
        classes in 0usize..=4,
        labels in prop::collection::vec(0usize..4, 0..200),
    ) {
        let mut whole = with_classes(classes);
        let row = vec![1.0 / classes.max(1) as f32; classes];
        labels.iter().for_each(|label| whole.observe(*label, &row));
        let mut state = State::default();
        whole.save(&mut state);
        let mut resumed = Calibrator::load(&state).unwrap();
        prop_assert_eq!(&whole, &resumed);
        labels.iter().for_each(|label| whole.observe(*label, &row));
        labels.iter().for_each(|label| resumed.observe(*label, &row));
        prop_assert_eq!(whole, resumed);
    }
}
