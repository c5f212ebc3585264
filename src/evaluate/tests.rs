//! The figures against scikit-learn, against each other, and under what must not change them.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::state::State;

mod properties;

/// One predicted example.
type Row = (u32, Vec<f32>);

fn names(classes: usize) -> Vec<Arc<str>> {
    (0..classes)
        .map(|class| format!("class {class}").into())
        .collect()
}

fn exact_of(rows: &[Row]) -> Exact {
    let mut exact = Exact::new();
    for (row, (label, probabilities)) in rows.iter().enumerate() {
        exact.push(Scored {
            row: row as u64,
            label: *label,
            weight: None,
            time: None,
            probabilities,
        });
    }
    exact
}

fn live_of(rows: &[Row], classes: usize, window: usize) -> Live {
    let mut live = Live::new(&Settings {
        window,
        ..Settings::default()
    });
    for _ in 0..classes {
        live.add_class();
    }
    for (label, probabilities) in rows {
        live.observe(*label, probabilities, log_loss(*label, probabilities));
    }
    live
}

/// The reference cases: name, number of classes, rows, and the whole entry.
fn reference() -> Vec<(String, usize, Vec<Row>, Value)> {
    let text = include_str!("../../tests/golden/metrics.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    cases
        .into_iter()
        .map(|case| {
            let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).unwrap();
            let rows: Vec<Vec<f32>> =
                serde_json::from_value(case["probabilities"].clone()).unwrap();
            let name = case["name"].as_str().unwrap().to_owned();
            let classes = case["classes"].as_u64().unwrap() as usize;
            (name, classes, labels.into_iter().zip(rows).collect(), case)
        })
        .collect()
}

fn assert_close(found: Option<f64>, expected: Option<f64>, what: &str) {
    match (found, expected) {
        (None, None) => {}
        (Some(found), Some(expected)) if (found - expected).abs() < 1e-9 => {}
        _ => panic!("{what}: {found:?}, the reference says {expected:?}"),
    }
}

fn assert_metrics(metrics: &Metrics, expected: &Value, what: &str) {
    for (figure, found) in [
        ("pr_auc_rare", metrics.pr_auc_rare),
        ("pr_auc_macro", metrics.pr_auc_macro),
        ("roc_auc_macro", metrics.roc_auc_macro),
        ("balanced_accuracy", metrics.balanced_accuracy),
        ("g_mean", metrics.g_mean),
        ("accuracy", metrics.accuracy),
        ("log_loss", metrics.log_loss),
        ("brier", metrics.brier),
        ("calibration_error", metrics.calibration_error),
    ] {
        assert_close(
            found,
            expected[figure].as_f64(),
            &format!("{what} {figure}"),
        );
    }
    for (figure, found) in [
        ("pr_auc", &metrics.pr_auc),
        ("roc_auc", &metrics.roc_auc),
        ("recall", &metrics.recall),
        ("precision", &metrics.precision),
    ] {
        for (class, value) in found.values().enumerate() {
            let reference = expected[figure][class].as_f64();
            assert_close(
                *value,
                reference,
                &format!("{what} {figure} of class {class}"),
            );
        }
    }
}

#[test]
fn exact_figures_are_those_of_scikit_learn() {
    for (name, classes, rows, case) in reference() {
        let exact = exact_of(&rows);
        assert_metrics(&exact.metrics(&names(classes)), &case["metrics"], &name);
        assert_metrics(
            &exact.windowed(&names(classes)),
            &case["windowed"],
            &format!("{name} windowed"),
        );
    }
}

#[test]
fn live_counts_losses_and_intervals_are_those_of_the_reference() {
    for (name, classes, rows, case) in reference() {
        let report = live_of(&rows, classes, 10_000).report(&names(classes));
        for scores in [&report.since_start, &report.window] {
            let close = |found, path: &str, of: &Value| {
                assert_close(found, of[path].as_f64(), &format!("{name} {path}"));
            };
            close(
                scores.balanced_accuracy,
                "balanced_accuracy",
                &case["metrics"],
            );
            close(scores.g_mean, "g_mean", &case["metrics"]);
            close(scores.accuracy, "accuracy", &case["metrics"]);
            close(scores.log_loss, "log_loss", &case["metrics"]);
            close(scores.brier, "brier", &case["metrics"]);
            // The histogram does not keep the order inside its bins.
            let expected = case["metrics"]["calibration_error"].as_f64().unwrap();
            let distance = (scores.calibration_error.unwrap() - expected).abs();
            assert!(
                distance < 0.01,
                "{name}: the calibration error is {distance} off"
            );
            for (figure, intervals) in [
                ("recall_interval", &scores.recall_interval),
                ("precision_interval", &scores.precision_interval),
            ] {
                for (class, interval) in intervals.values().enumerate() {
                    let expected = &case[figure][class];
                    let what = format!("{name} {figure} of class {class}");
                    assert_close(interval.map(|i| i.0), expected[0].as_f64(), &what);
                    assert_close(interval.map(|i| i.1), expected[1].as_f64(), &what);
                }
            }
        }
    }
}

#[test]
fn an_undefined_live_figure_is_null_and_has_a_reason() {
    let report = live_of(&[(0, vec![0.9, 0.1]), (0, vec![0.6, 0.4])], 2, 100).report(&names(3));
    let json = serde_json::to_value(&report.since_start).unwrap();
    for (figure, reason) in json["undefined"].as_object().unwrap() {
        let value = match figure.split_once('.') {
            Some((figure, class)) => &json[figure][class],
            None => &json[figure],
        };
        assert!(
            value.is_null(),
            "{figure} is defined but explained by {reason}"
        );
    }
    let undefined = &report.since_start.undefined;
    assert_eq!(
        undefined["pr_auc.class 0"],
        "no example of another class yet"
    );
    assert_eq!(undefined["recall.class 1"], "no example of this class yet");
    assert_eq!(
        undefined["precision.class 2"],
        "no prediction of this class yet"
    );
    assert!(undefined.contains_key("pr_auc_macro") && !undefined.contains_key("accuracy"));
    assert_eq!(report.since_start.balanced_accuracy, Some(1.0));

    let empty = Live::new(&Settings::default()).report(&names(1));
    let json = serde_json::to_value(&empty.window).unwrap();
    let nulls = json
        .as_object()
        .unwrap()
        .values()
        .filter(|value| value.is_null())
        .count();
    assert_eq!(
        nulls, 9,
        "every whole figure is undefined before the first example: {json}"
    );
    assert_eq!(empty.window.undefined.len(), 9 + 6);
}

#[test]
fn a_class_joins_the_sketch_in_either_order_of_label_and_announcement() {
    let mut before = live_of(&[(0, vec![]), (0, vec![1.0])], 1, 10);
    let mut after = before.clone();
    before.add_class();
    before.observe(1, &[1.0], 13.8);
    after.observe(1, &[1.0], 13.8);
    after.add_class();
    assert_eq!(before, after);
    after.add_class();
    assert_eq!(after.report(&names(3)).since_start.recall.0.len(), 3);
}

#[test]
fn no_bin_of_the_grid_is_wider_than_its_bound_in_the_logit() {
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let mut lowest = vec![f64::NAN; sketch::BINS];
    let mut highest = lowest.clone();
    let mut previous = 0;
    // Every value with eight bits of mantissa, and its neighbours below.
    for bits in (0..=0x3F80u32).flat_map(|top| [(top << 16).saturating_sub(1), top << 16]) {
        let score = f32::from_bits(bits);
        let bin = sketch::bin(score);
        assert!(bin >= previous, "{score} falls below a smaller score");
        previous = bin;
        lowest[bin] = lowest[bin].min(f64::from(score));
        highest[bin] = highest[bin].max(f64::from(score));
    }
    assert_eq!(previous, sketch::BINS - 1);
    for bin in 1..sketch::BINS - 1 {
        // The top octaves of 1 - p hold single floats; not every one of them was tried.
        if !lowest[bin].is_nan() {
            let width = logit(highest[bin]) - logit(lowest[bin]);
            assert!(width < 0.09, "bin {bin} spans {width}");
        }
    }
    assert_eq!(sketch::bin(f32::NAN), 0);
    assert_eq!(sketch::bin(-0.0), 0);
    assert_eq!(sketch::bin(1.000_000_1), sketch::BINS - 1);
}

#[test]
fn the_edge_of_a_bin_is_its_smallest_score() {
    for bin in 1..sketch::BINS {
        let edge = sketch::edge(bin);
        assert!(sketch::bin(edge) >= bin, "bin {bin} begins above {edge}");
        let below = f32::from_bits(edge.to_bits() - 1);
        assert!(sketch::bin(below) < bin, "bin {bin} begins below {edge}");
    }
    assert_eq!(sketch::edge(0), 0.0);
}

#[test]
fn settings_refuse_what_cannot_work() {
    assert_eq!(Settings::default().check(), Ok(()));
    assert_eq!(DecisionSettings::default().check(), Ok(()));
    let key = |settings: DecisionSettings| settings.check().unwrap_err().0;
    let default = DecisionSettings::default;
    assert_eq!(
        Settings {
            window: 0,
            ..Settings::default()
        }
        .check()
        .unwrap_err()
        .0,
        "window"
    );
    assert_eq!(
        key(DecisionSettings {
            threshold: f64::NAN,
            ..default()
        }),
        "threshold"
    );
    assert_eq!(
        key(DecisionSettings {
            precision: 1.0,
            ..default()
        }),
        "precision"
    );
    assert_eq!(
        key(DecisionSettings {
            alerts_per_hour: -1.0,
            ..default()
        }),
        "alerts_per_hour"
    );
    let costs = [("fraud".to_owned(), f64::INFINITY)].into();
    assert_eq!(key(DecisionSettings { costs, ..default() }), "costs");
    let parsed: Result<Settings, _> = toml::from_str("windows = 5");
    assert!(parsed.is_err());
    let parsed: Settings = toml::from_str("objective = \"log_loss\"").unwrap();
    assert_eq!(
        parsed,
        Settings {
            objective: Objective::LogLoss,
            window: 10_000
        }
    );
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    let mut state = State::default();
    live_of(&[(0, vec![0.5, 0.5])], 2, 10).save(&mut state);
    let names: Vec<String> = state.blobs.keys().cloned().collect();
    assert_eq!(names.len(), 14);
    for name in names {
        let mut damaged = state.clone();
        damaged.blobs.remove(&name);
        let error = Live::load(&Settings::default(), &damaged).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        damaged.put_u64(name.clone(), vec![7; 5]);
        assert!(
            Live::load(&Settings::default(), &damaged).is_err(),
            "{name} was not checked"
        );
    }
}

#[test]
fn the_curve_starts_low_ends_at_full_recall_and_keeps_to_its_points() {
    let rows: Vec<Row> = (0..2000u32)
        .map(|index| {
            let score = (index * 7919 % 2000) as f32 / 2000.0;
            (
                u32::from(score > 0.6 && index % 3 > 0),
                vec![1.0 - score, score],
            )
        })
        .collect();
    let curve = exact_of(&rows).curve(1, 50);
    assert!(curve.len() <= 50, "{} points", curve.len());
    assert!(
        curve
            .windows(2)
            .all(|pair| pair[0].recall <= pair[1].recall)
    );
    assert!(curve[0].recall < 0.05);
    assert_eq!(curve.last().unwrap().recall, 1.0);
    assert!(exact_of(&rows).curve(7, 50).is_empty());
}

#[test]
fn shares_count_only_what_was_learned() {
    let mut exact = Exact::new();
    let mut push = |label, weight| {
        exact.push(Scored {
            row: 0,
            label,
            weight,
            time: None,
            probabilities: &[],
        });
    };
    push(0, Some(1.0));
    push(0, Some(1.0));
    push(0, Some(2.0));
    push(1, Some(4.0));
    push(1, None);
    let shares = exact.shares(2);
    assert_eq!(
        shares[1],
        ClassShare {
            examples: 0.25,
            weight: 0.5
        }
    );
    assert_eq!(exact.class_counts(2), [3, 2]);
    exact.clear();
    assert!(exact.is_empty() && exact.shares(2).is_empty() && exact.windows(&names(2)).is_empty());
}
