use proptest::prelude::*;

use super::*;

fn noise(seed: &mut u64) -> f64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 11) as f64 / (1u64 << 53) as f64
}

fn of_one(losses: impl Iterator<Item = f64>) -> DriftReport {
    let mut drift = Drift::new();
    drift.add_class();
    losses.for_each(|loss| drift.observe(0, (1.0 - loss) as f32));
    *drift.report(&["only".into()]).get("only").unwrap()
}

#[test]
fn chance_alone_is_hardly_ever_a_change() {
    let mut seed = 11;
    let changes: u64 = (0..20)
        .map(|_| of_one((0..20_000).map(|_| f64::from(u8::from(noise(&mut seed) < 0.2)))).changes)
        .sum();
    assert!(
        changes <= 2,
        "{changes} changes in 400,000 examples without one"
    );
}

#[test]
fn a_harder_class_is_found_soon_and_an_easier_one_is_told_apart() {
    let mut seed = 5;
    let mut losses: Vec<f64> = Vec::new();
    losses.extend((0..5000).map(|_| 0.3 * noise(&mut seed)));
    losses.extend((0..5000).map(|_| 0.2 + 0.8 * noise(&mut seed)));
    let after = |rows: usize| of_one(losses[..rows].iter().copied());
    assert_eq!(after(5000).changes, 0);
    assert_eq!((after(5100).harder, after(5100).easier), (1, 0));
    assert!((after(10_000).loss.unwrap() - 0.6).abs() < 0.05);
    let falling = of_one((0..20_000).map(|row| (-f64::from(row) / 4000.0).exp()));
    assert!(falling.easier > 3 && falling.harder == 0, "{falling:?}");
}

#[test]
fn a_class_that_was_predicted_well_and_is_not_any_more_collapses_and_others_do_not() {
    // Examples, loss before and after; collapses.
    for (examples, before, after, collapses) in [
        (4000, 0.05, 0.9, 1),
        (4000, 0.05, 0.3, 0),
        (4000, 0.4, 0.9, 0),
        (500, 0.05, 0.9, 0),
    ] {
        let losses = (0..examples).map(|_| before);
        let report = of_one(losses.chain((0..200).map(|_| after)));
        assert_eq!(report.harder, 1);
        assert_eq!(report.collapses, collapses, "{examples} {before} {after}");
    }
}

#[test]
fn soon_after_a_collapse_the_next_one_is_believed_sooner() {
    let drift = |wait: u32| {
        let mut drift = Drift::new();
        drift.add_class();
        let mut feed = |examples: u32, p: f32| (0..examples).for_each(|_| drift.observe(0, p));
        feed(4000, 0.95);
        feed(500, 0.1);
        feed(wait, 0.95);
        feed(100, 0.1);
        drift
    };
    assert_eq!(drift(600).collapses(), 2);
    let mut state = State::default();
    drift(600).save(&mut state);
    assert_eq!(Drift::load(&state), Ok(drift(600)));
    // 600 at a time do not count later on.
    let mut late = drift(0);
    assert_eq!(late.collapses(), 1);
    for _ in 0..40 {
        (0..600).for_each(|_| late.observe(0, 0.6));
    }
    (0..600).for_each(|_| late.observe(0, 0.95));
    (0..100).for_each(|_| late.observe(0, 0.1));
    assert_eq!(late.collapses(), 1);
}

#[test]
fn a_rare_class_is_watched_on_its_own() {
    let mut drift = Drift::new();
    drift.add_class();
    drift.add_class();
    for row in 0..60_000u32 {
        let fraud = row % 200 == 0;
        let p = if fraud && row > 40_000 { 0.1 } else { 0.8 };
        drift.observe(usize::from(fraud), p);
    }
    let report = drift.report(&["ok".into(), "fraud".into()]);
    assert_eq!(report.get("ok").unwrap().changes, 0);
    let fraud = report.get("fraud").unwrap();
    assert_eq!(fraud.harder, 1);
    assert!(fraud.last_change.unwrap() < 50_000, "{fraud:?}");
}

#[test]
fn memory_stays_bounded_and_damage_is_refused() {
    let mut drift = Drift::new();
    drift.add_class();
    let mut seed = 1;
    (0..200_000).for_each(|_| drift.observe(0, noise(&mut seed) as f32));
    drift.observe(7, 0.5);
    drift.observe(0, f32::NAN);
    let buckets: usize = drift.classes[0].buckets.iter().map(Vec::len).sum();
    assert!(buckets <= BUCKETS * 18, "{buckets} buckets");
    let mut state = State::default();
    drift.save(&mut state);
    assert_eq!(Drift::load(&state).unwrap(), drift);
    for name in ["drift.classes", "drift.counts", "drift.buckets"] {
        let mut damaged = state.clone();
        damaged.put_u64(name, vec![9; 6]);
        assert!(Drift::load(&damaged).is_err(), "{name} was not checked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_window_holds_the_sums_of_its_examples(losses in prop::collection::vec(0.0f64..=1.0, 1..40)) {
        // Too few for a test: nothing is dropped.
        let losses = &losses[..losses.len().min(31)];
        let report = of_one(losses.iter().map(|loss| f64::from(*loss as f32)));
        prop_assert_eq!(report.window, losses.len() as u64);
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        prop_assert!((report.loss.unwrap() - mean).abs() < 1e-6);
    }

    #[test]
    fn a_saved_detector_goes_on_as_if_never_stopped(
        losses in prop::collection::vec((0usize..3, 0.0f32..=1.0), 0..600),
    ) {
        let mut whole = Drift::new();
        (0..3).for_each(|_| whole.add_class());
        let (first, second) = losses.split_at(losses.len() / 2);
        first.iter().for_each(|(class, p)| whole.observe(*class, *p));
        let mut state = State::default();
        whole.save(&mut state);
        let mut resumed = Drift::load(&state).unwrap();
        second.iter().for_each(|(class, p)| whole.observe(*class, *p));
        second.iter().for_each(|(class, p)| resumed.observe(*class, *p));
        prop_assert_eq!(whole, resumed);
    }
}
