use std::sync::Arc;

use super::*;
use crate::evaluate::settings::Calibration;
use crate::state::State;

fn settings(rule: Rule) -> DecisionSettings {
    DecisionSettings {
        rule,
        ..DecisionSettings::default()
    }
}

fn decider(settings: &DecisionSettings, names: &[&str]) -> Decider {
    let mut decider = Decider::new(settings);
    names.iter().for_each(|name| decider.add_class(name));
    decider
}

fn names(decider: &Decider) -> Vec<Arc<str>> {
    (0..decider.seen.len())
        .map(|class| format!("class {class}").into())
        .collect()
}

/// Rare examples with a score near 1, others near 0, and some of each in between: label, probability, of `every` one rare.
fn stream(rows: u64, every: u64) -> impl Iterator<Item = (usize, [f32; 2])> {
    let mut seed = 9u64;
    (0..rows).map(move |row| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let u = (seed >> 40) as f32 / (1u64 << 24) as f32;
        let label = usize::from(row % every == every - 1);
        let p = if label == 1 { u.sqrt() } else { u * u };
        let p = 0.001 + 0.998 * p;
        (label, [1.0 - p, p])
    })
}

#[test]
fn argmax_is_the_most_probable_class_whatever_was_seen() {
    let mut argmax = decider(&settings(Rule::Argmax), &["a", "b"]);
    for (label, row) in stream(2000, 10) {
        assert_eq!(argmax.decide(&row), most_probable(&row));
        argmax.observe(label, &row, None);
    }
    assert_eq!(argmax.decide(&[]), None);
    assert_eq!(argmax.threshold(), Some(0.5));
}

#[test]
fn costs_move_the_decision_to_the_class_that_is_dear_to_miss() {
    let mut costs = settings(Rule::Cost);
    costs.costs = [("b".to_owned(), 9.0), ("nobody".to_owned(), 50.0)].into();
    let mut decider = decider(&costs, &["a", "b"]);
    assert_eq!(decider.decide(&[0.89, 0.11]), Some(1));
    assert_eq!(decider.decide(&[0.91, 0.09]), Some(0));
    for (label, row) in stream(100, 4) {
        decider.observe(label, &row, None);
    }
    assert!((decider.threshold().unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn the_shift_follows_a_prior_that_drifts() {
    let mut decider = decider(&settings(Rule::PriorShift), &["a", "b"]);
    let mut feed = |every, rows| {
        for row in 0..rows {
            let p = 1.0 / every as f32;
            decider.observe(usize::from(row % every == 0), &[1.0 - p, p], None);
        }
        decider.threshold().unwrap()
    };
    assert!((feed(100, 20_000) - 0.01).abs() < 0.003);
    assert!((feed(4, 60_000) - 0.25).abs() < 0.03);
    assert_eq!(decider.decide(&[0.7, 0.3]), Some(1));
    assert_eq!(decider.decide(&[0.8, 0.2]), Some(0));
    // A class without examples has no prior: it cannot win by being improbable.
    decider.add_class("c");
    assert_eq!(decider.decide(&[0.7, 0.0, 0.3]), Some(0));
}

#[test]
fn a_threshold_asks_the_rare_classes_together() {
    let mut fixed = settings(Rule::Threshold);
    fixed.threshold = 0.3;
    let mut decider = decider(&fixed, &["a", "b", "c", "d"]);
    for row in 0..1000 {
        let label = match row % 50 {
            0 => 2,
            1 => 3,
            even if even % 2 == 0 => 0,
            _ => 1,
        };
        decider.observe(label, &[0.5, 0.4, 0.05, 0.05], None);
    }
    assert!(decider.is_rare(2) && decider.is_rare(3) && !decider.is_rare(0));
    assert_eq!(decider.decide(&[0.6, 0.1, 0.1, 0.2]), Some(3));
    assert_eq!(decider.decide(&[0.6, 0.11, 0.1, 0.19]), Some(0));
    assert_eq!(decider.decide(&[0.75, 0.0, 0.05, 0.2]), Some(0));
    assert_eq!(&*decider.report(&names(&decider)).rare[0], "class 2");
}

/// Alerts in the busiest window of an hour.
fn busiest(alerts: &[f64]) -> usize {
    let within = |from: f64| {
        let until = from + 3600.0;
        alerts
            .iter()
            .filter(|at| **at >= from && **at < until)
            .count()
    };
    alerts.iter().map(|from| within(*from)).max().unwrap_or(0)
}

#[test]
fn no_hour_of_log_time_has_more_alerts_than_its_budget() {
    for (per_hour, seconds) in [(20.0, 7.0), (3.0, 40.0), (500.0, 1.0)] {
        let mut budget = settings(Rule::AlertBudget);
        budget.alerts_per_hour = per_hour;
        let mut decider = decider(&budget, &["ok", "fraud"]);
        let (mut alerts, mut hits, mut now) = (Vec::new(), 0, 1.7e9);
        let mut newest = 0.0f64;
        for (row, (label, scores)) in stream(40_000, 20).enumerate() {
            // Nights are quiet, so that their budget cannot be spent, and one in ten examples comes late.
            now += if row % 4000 < 1000 {
                10.0 * seconds
            } else {
                seconds
            };
            let time = if row % 10 == 0 { now - 900.0 } else { now };
            newest = newest.max(time);
            if decider.decide(&scores) == Some(1) {
                alerts.push(newest);
                hits += label;
            }
            decider.observe(label, &scores, Some(time));
        }
        assert!(
            busiest(&alerts) <= per_hour as usize,
            "{per_hour}: {}",
            busiest(&alerts)
        );
        let hours = (now - 1.7e9) / 3600.0;
        let spent = alerts.len() as f64 / hours / per_hour;
        assert!(
            spent > 0.3,
            "{per_hour}: only {spent} of the budget was spent"
        );
        let precision = hits as f64 / alerts.len() as f64;
        assert!(
            precision > 0.07,
            "{per_hour}: precision {precision}, by chance .05"
        );
    }
}

#[test]
fn without_timestamps_an_example_is_a_second() {
    let mut budget = settings(Rule::AlertBudget);
    budget.alerts_per_hour = 36.0;
    let mut decider = decider(&budget, &["ok", "fraud"]);
    let mut alerts = Vec::new();
    for (row, (label, scores)) in stream(36_000, 20).enumerate() {
        if decider.decide(&scores) == Some(1) {
            alerts.push(row as f64);
        }
        decider.observe(label, &scores, None);
    }
    assert!(busiest(&alerts) <= 36);
    assert!(alerts.len() > 180, "{} alerts", alerts.len());
    // Less than one an hour: one in the time that it takes.
    let mut rare = settings(Rule::AlertBudget);
    rare.alerts_per_hour = 0.1;
    let mut decider = self::decider(&rare, &["ok", "fraud"]);
    let mut alerts = 0;
    for (label, scores) in stream(36_000 * 5, 20) {
        alerts += usize::from(decider.decide(&scores) == Some(1));
        decider.observe(label, &scores, None);
    }
    assert!((1..=6).contains(&alerts), "{alerts} alerts in fifty hours");
}

#[test]
fn a_precision_floor_is_kept_with_all_the_recall_that_it_allows() {
    for floor in [0.2, 0.25] {
        let mut kept = settings(Rule::PrecisionFloor);
        kept.precision = floor;
        let mut decider = decider(&kept, &["ok", "fraud"]);
        let (mut alerts, mut hits) = (0.0, 0.0);
        for (label, scores) in stream(60_000, 10) {
            if decider.decide(&scores) == Some(1) {
                alerts += 1.0;
                hits += label as f64;
            }
            decider.observe(label, &scores, None);
        }
        assert!(hits / alerts >= floor - 0.02, "{floor}: {}", hits / alerts);
        assert!(hits / alerts <= floor + 0.15, "{floor}: {}", hits / alerts);
    }
    let mut kept = settings(Rule::PrecisionFloor);
    kept.precision = 0.99;
    let mut decider = decider(&kept, &["ok", "fraud"]);
    for row in 0..5000 {
        decider.observe(usize::from(row % 10 == 0), &[0.5, 0.5], None);
    }
    assert_eq!(decider.decide(&[0.1, 0.9]), Some(0), "nothing keeps it");
    let report = decider.report(&names(&decider));
    assert_eq!(report.undefined, Some("no threshold keeps the precision"));
}

#[test]
fn a_threshold_stays_until_another_one_is_clearly_better() {
    let mut budget = settings(Rule::AlertBudget);
    budget.alerts_per_hour = 180.0;
    let mut decider = decider(&budget, &["ok", "fraud"]);
    for (label, scores) in stream(100_000, 20) {
        decider.observe(label, &scores, None);
    }
    let report = decider.report(&names(&decider));
    assert!(report.history.len() < 60, "{} moves", report.history.len());
    assert_eq!(report.history.last().unwrap().threshold, report.threshold);
    assert!(report.recall_at_budget.unwrap() > 0.05);
    let precision = report.pr_auc_rare_decayed.unwrap();
    assert!((0.1..0.5).contains(&precision), "{precision}");
    let mut history = History::default();
    (0..5000u64).for_each(|at| history.note(at, None, Some(at as f64)));
    assert!(history.points.len() <= 256);
    assert_eq!(history.points.last().unwrap().examples, 4999);
}

#[test]
fn the_smaller_class_takes_over_and_a_new_class_is_rare_at_once() {
    let mut decider = decider(&settings(Rule::Argmax), &["a", "b", "c"]);
    (0..300).for_each(|row| decider.observe(usize::from(row % 4 != 0), &[0.3, 0.7], None));
    assert!(decider.is_rare(0) && !decider.is_rare(1));
    (0..3000).for_each(|row| decider.observe(usize::from(row % 4 == 0), &[0.3, 0.7], None));
    assert!(decider.is_rare(1) && !decider.is_rare(0));
    decider.observe(2, &[0.3, 0.7], None);
    assert!(decider.is_rare(2));
    decider.observe(9, &[0.3, 0.7], None);
    assert_eq!(decider.examples, 3301);
}

#[test]
fn a_saved_decider_goes_on_as_if_never_stopped() {
    for rule in [Rule::PriorShift, Rule::AlertBudget, Rule::PrecisionFloor] {
        for timed in [false, true] {
            let mut settings = settings(rule);
            settings.calibration = Calibration::On;
            settings.precision = 0.4;
            let mut whole = decider(&settings, &["ok", "fraud"]);
            let time = |row: usize| timed.then_some(row as f64 * 3.0);
            let rows: Vec<_> = stream(5000, 20).collect();
            for (row, (label, scores)) in rows[..2500].iter().enumerate() {
                whole.observe(*label, scores, time(row));
            }
            let mut state = State::default();
            whole.save(&mut state);
            let mut resumed = Decider::load(&settings, &["ok", "fraud"], &state).unwrap();
            assert_eq!(whole, resumed);
            for (row, (label, scores)) in rows.iter().enumerate().skip(2500) {
                assert_eq!(whole.decide(scores), resumed.decide(scores));
                whole.observe(*label, scores, time(row));
                resumed.observe(*label, scores, time(row));
            }
            assert_eq!(whole, resumed);
        }
    }
}

#[test]
fn another_rule_goes_on_from_what_was_seen_and_damage_is_refused() {
    let mut argmax = decider(&settings(Rule::Argmax), &["ok", "fraud"]);
    for (label, scores) in stream(5000, 20) {
        argmax.observe(label, &scores, None);
    }
    let mut state = State::default();
    argmax.save(&mut state);
    let budget = Decider::load(&settings(Rule::AlertBudget), &["ok", "fraud"], &state).unwrap();
    assert!(budget.threshold().is_some_and(|threshold| threshold > 0.9));
    let blobs: Vec<String> = state.blobs.keys().cloned().collect();
    assert_eq!(blobs.len(), 15);
    let later = ["decision.clock", "decision.given", "decision.divisors"];
    for name in blobs {
        let mut damaged = state.clone();
        damaged.blobs.remove(&name);
        let loaded = Decider::load(&settings(Rule::Argmax), &["ok", "fraud"], &damaged);
        match loaded {
            // Earlier builds had none.
            Ok(_) => assert!(later.contains(&name.as_str()), "{name}"),
            Err(error) => assert!(error.to_string().contains(&name), "{error}"),
        }
        damaged.put_u64(name.clone(), vec![7; 5]);
        assert!(
            Decider::load(&settings(Rule::Argmax), &["ok", "fraud"], &damaged).is_err(),
            "{name} was not checked"
        );
    }
}

#[test]
fn figures_of_the_histogram_are_those_of_counting() {
    let mut scores = Scores::new();
    // Scores .9+ .9- .5+ .1- and 96 at .01.
    for (score, rare) in [(0.9, true), (0.9, false), (0.5, true), (0.1, false)] {
        scores.add(score, rare, 1.0);
    }
    (0..96).for_each(|_| scores.add(0.01, false, 0.0));
    assert_eq!(scores.recall(0.03), Some(1.0));
    assert_eq!(scores.recall(0.01), Some(0.25));
    assert_eq!(scores.expected(3600.0), Some(3600.0 * 100.0 / 4.0));
    let at = |share| match scores.flagging(Some(share)) {
        Choice::From(threshold) => threshold,
        other => panic!("{other:?}"),
    };
    assert!((0.85..=0.9).contains(&at(0.02)) && (0.45..=0.5).contains(&at(0.03)));
    assert!(
        (0.85..=0.9).contains(&at(0.001)),
        "the highest bin cannot be split"
    );
    // Weights are spread evenly inside a bin: half are right at .9, and the share climbs to two of three at .5.
    let precision = scores.average_precision().unwrap();
    assert!((precision - 0.55).abs() < 0.01, "{precision}");
    assert_eq!(Scores::new().recall(0.5), None);
    assert_eq!(Scores::new().flagging(None), Choice::TooEarly);
}

/// A decider that has seen 6,000 examples of two classes, then one of a class of its own, and 2,000 more of the two.
fn after_a_label_of_its_own(settings: &DecisionSettings) -> Decider {
    let mut decider = decider(settings, &["ok", "fraud"]);
    for (row, (label, scores)) in stream(8000, 12).enumerate() {
        if row == 6000 {
            decider.add_class("junk");
            decider.observe(2, &scores, None);
        }
        let scores = match row {
            ..6000 => scores.to_vec(),
            _ => vec![scores[0] - 0.002, scores[1], 0.002],
        };
        decider.observe(label, &scores, None);
    }
    decider
}

#[test]
fn one_label_of_its_own_takes_no_decision() {
    let mut fixed = settings(Rule::Threshold);
    fixed.threshold = 0.95;
    let decider = after_a_label_of_its_own(&fixed);
    assert!(decider.is_rare(1) && decider.is_rare(2) && !decider.is_rare(0));
    assert_eq!(
        decider.decide(&[0.1, 0.898, 0.002]),
        Some(0),
        "the threshold is that of fraud"
    );
    assert_eq!(decider.decide(&[0.04, 0.958, 0.002]), Some(1));
    let mut shifted = after_a_label_of_its_own(&settings(Rule::PriorShift));
    let rows = [[0.98, 0.018, 0.002], [0.498, 0.5, 0.002], [0.05, 0.05, 0.9]];
    let decisions = |decider: &Decider| rows.map(|row| decider.decide(&row).unwrap());
    assert_eq!(
        decisions(&shifted),
        [0, 1, 2],
        "nothing goes to it but what is most probably its own"
    );
    // With a few more it is a class like others.
    for _ in 1..LIFTED + ENOUGH {
        shifted.observe(2, &[0.9, 0.05, 0.05], None);
    }
    assert_eq!(decisions(&shifted), [0, 1, 2]);
    assert_eq!(shifted.decide(&[0.9, 0.05, 0.05]), Some(2));
}

#[test]
fn one_timestamp_of_the_future_does_not_use_up_the_alerts_of_all_days_to_come() {
    let mut budget = settings(Rule::AlertBudget);
    budget.alerts_per_hour = 60.0;
    let alerts = |wrong: &[usize]| {
        let mut decider = decider(&budget, &["ok", "fraud"]);
        let rows = stream(40_000, 20).enumerate();
        rows.filter(|(row, (label, scores))| {
            let is_alert = decider.decide(scores) == Some(1);
            let time = match wrong.contains(row) {
                true => 4e9,
                false => 1.7e9 + *row as f64,
            };
            decider.observe(*label, scores, Some(time));
            is_alert && *row > 10_002
        })
        .count()
    };
    let usual = alerts(&[]);
    assert!(usual > 100, "{usual}");
    assert_eq!(alerts(&[10_000, 10_002]), usual);
    // As many as are believed: for a while, and not for good.
    let later = alerts(&[10_000, 10_001, 10_002]);
    assert!(later * 10 > usual * 9, "{later} of {usual}");
}

#[test]
fn the_shift_lifts_a_class_that_stays_away_no_further_than_its_share_since_the_start_says() {
    let mut decider = decider(&settings(Rule::PriorShift), &["ok", "fraud"]);
    for row in 0..2_000 {
        decider.observe(usize::from(row % 10 == 0), &[0.9, 0.1], None);
    }
    for _ in 0..98_000 {
        decider.observe(0, &[0.999, 0.001], None);
    }
    // 200 of 100,000 so far, none of them lately: half of that, and not one in tens of thousands.
    let threshold = decider.threshold().unwrap();
    assert!((0.0009..0.0012).contains(&threshold), "{threshold}");
    assert_eq!(decider.decide(&[0.9995, 0.0005]), Some(0));
    assert_eq!(decider.decide(&[0.99, 0.01]), Some(1));
}
