//! Decisions by the rules of the settings, from records to the report.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::support::{self, file, rows};

/// One row a minute, with its time in some form; rare rows are 1 in 20.
fn with_times(count: usize, time: impl Fn(usize) -> String) -> String {
    let mut text = "a,b,c,d,at,label\n".to_owned();
    for (index, (row, label)) in rows(count, 6).into_iter().enumerate() {
        for value in &row {
            write!(text, "{value},").unwrap();
        }
        writeln!(text, "{},{label}", time(index)).unwrap();
    }
    text
}

fn decided(dir: &Path, text: &str, settings: &[&str]) -> Value {
    let path = file(dir, "timed.csv", text);
    let mut all = vec![
        "learner.batch_size=16",
        "decision.rule=alert_budget",
        "decision.alerts_per_hour=1",
        // A map that is still young moves the scores under the threshold.
        "decision.calibration=off",
    ];
    all.extend(settings);
    support::replay(dir, &[&path], &all)["learners"][0]["decided"].clone()
}

#[test]
fn an_alert_budget_is_kept_in_the_hours_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    // 2,400 rows, one a minute: 40 hours. As seconds, 40 minutes.
    let seconds = |index: usize| (1_700_000_000 + index * 60).to_string();
    let text = with_times(2400, seconds);
    let timed = decided(dir.path(), &text, &["schema.timestamp=at"]);
    let alerts = timed["alerts"].as_u64().unwrap();
    assert!((20..=40).contains(&alerts), "{alerts} in 40 hours");
    let untimed = decided(dir.path(), &text, &["schema.ignore=[\"at\"]"]);
    let alerts = untimed["alerts"].as_u64().unwrap();
    assert!(alerts <= 1, "{alerts} in 40 minutes");
}

#[test]
fn every_form_of_a_time_means_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let run = |time: &dyn Fn(usize) -> String| {
        decided(
            dir.path(),
            &with_times(1200, time),
            &["schema.timestamp=at"],
        )
    };
    let seconds = run(&|index| (index * 60).to_string());
    // Twenty hours from the epoch on.
    let text = run(&|index| {
        let (hours, minutes) = (index / 60, index % 60);
        format!("1970-01-01T{hours:02}:{minutes:02}:00Z")
    });
    assert_eq!(seconds, text);
    assert!(seconds["alerts"].as_u64() > Some(5), "{seconds}");
}
