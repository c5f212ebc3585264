//! Records that wait for the schema: what they are is told, and they neither fill the memory nor decide alone.

use super::{records, schema_of, told, verdict};
use crate::codec::{Intake, Settings};
use crate::example::Record;

fn names(intake: &Intake) -> Vec<String> {
    let features = schema_of(intake).features;
    features.into_iter().map(|feature| feature.name).collect()
}

#[test]
fn records_that_wait_in_vain_are_told_with_what_they_lack() {
    let settings = Settings {
        label: "target".into(),
        ..Settings::default()
    };
    let mut intake = Intake::new(&settings, None);
    let (mut out, mut warnings) = (Vec::new(), Vec::new());
    let payload = |i: usize| {
        if i % 10 == 3 {
            "{"
        } else {
            r#"{"x":1,"label":"a"}"#
        }
    };
    for record in records((0..1000).map(payload).collect::<Vec<_>>()) {
        intake.push(record, &mut out);
        warnings.extend(told(&mut intake));
    }
    assert_eq!(warnings.len(), 2, "after 100 and after 1,000: {warnings:?}");
    let told = "1000 records wait for the schema and 0 of them can teach: 900 carry no label \"target\", 100 are bad (the first: syntax";
    assert!(warnings[1].starts_with(told), "{warnings:?}");
    let held = intake.held();
    assert_eq!((held.labelled, held.unlabelled, held.bad), (0, 900, 100));
    assert!(
        held.first_bad
            .is_some_and(|first| first.starts_with("syntax"))
    );
}

#[test]
fn records_without_a_label_neither_decide_a_schema_nor_fill_the_memory() {
    let mut intake = Intake::new(&Settings::default(), None);
    intake.limit_held_bytes(400_000);
    let mut out = Vec::new();
    // One record that would make features of its own, then twice as many bytes as may wait, without a label.
    intake.push(Record::new(0, 0, wide(50)), &mut out);
    let pad = format!(r#"{{"pad":"{}"}}"#, "q".repeat(200));
    for offset in 1..2000 {
        intake.push(Record::new(0, offset, pad.clone()), &mut out);
    }
    assert!(!intake.discovered() && out.is_empty());
    for offset in 2000..3000 {
        intake.push(
            Record::new(0, offset, format!(r#"{{"a":{offset},"label":"x"}}"#)),
            &mut out,
        );
    }
    assert_eq!(names(&intake).last().map(String::as_str), Some("a"));
    let offsets: Vec<i64> = out.iter().map(|arrival| arrival.offset).collect();
    assert!(
        offsets == (0..3000).collect::<Vec<_>>(),
        "each once, in order"
    );
    let examples = out
        .iter()
        .filter(|arrival| verdict(arrival) == "example")
        .count();
    assert_eq!(examples, 1001);
}

#[test]
fn too_few_labels_among_all_that_can_wait_decide_nothing() {
    let mut intake = Intake::new(&Settings::default(), None);
    intake.limit_held_bytes(20_000);
    let mut out = Vec::new();
    intake.push(Record::new(0, 0, r#"{"evil":1,"label":"x"}"#), &mut out);
    for offset in 1..1000 {
        intake.push(Record::new(0, offset, r#"{"pad":1}"#), &mut out);
    }
    assert!(!intake.discovered());
    assert_eq!(verdict(&out[0]), "dimension", "kept as a dead letter");
    let warnings = told(&mut intake);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("too few to decide from")),
        "{warnings:?}"
    );
}

fn wide(names: usize) -> String {
    let fields: Vec<String> = (0..names).map(|i| format!(r#""e{i}":1"#)).collect();
    format!(r#"{{{},"label":"x"}}"#, fields.join(","))
}
