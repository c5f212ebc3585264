//! Features that teach nothing are named once.

use super::*;
use crate::codec::Concern;

/// What is said of a stream of so many records.
fn said(
    settings: &Settings,
    records: usize,
    line: impl Fn(usize) -> String,
) -> Vec<(Concern, String)> {
    let mut intake = Intake::new(settings, None);
    let mut said = Vec::new();
    for number in 0..records {
        let record = Record::new(0, number as i64, line(number));
        intake.push(record, &mut Vec::new());
        said.extend(intake.take_notices());
    }
    said.into_iter()
        .filter(|notice| notice.concern != Concern::Schema)
        .map(|notice| (notice.concern, notice.subject))
        .collect()
}

/// A number without order, the same every time.
fn mixed(number: usize) -> usize {
    number.wrapping_mul(0x9e37_79b9) % 1_000_003
}

fn everything(number: usize) -> String {
    let (any, name) = (
        mixed(number),
        if number.is_multiple_of(2) { "a" } else { "b" },
    );
    format!(
        r#"{{"same":7,"clock":{clock}.5,"key":{any},"measured":{any}.25,"few":{few},"nothing":null,"text":"{name}","word":"x","label":"{name}"}}"#,
        clock = 1_700_000_000 + number,
        few = any % 50,
    )
}

fn expected() -> Vec<(Concern, String)> {
    [
        (Concern::ConstantFeature, "same"),
        (Concern::IdentifierFeature, "clock"),
        (Concern::IdentifierFeature, "key"),
        (Concern::ConstantFeature, "nothing"),
        (Concern::ConstantFeature, "word"),
    ]
    .map(|(concern, name)| (concern, name.to_owned()))
    .to_vec()
}

#[test]
fn constant_features_and_identifiers_are_named_once_after_a_few_thousand_examples() {
    assert_eq!(said(&Settings::default(), 4095, everything), []);
    assert_eq!(said(&Settings::default(), 12_000, everything), expected());
}

#[test]
fn texts_that_differ_in_nearly_every_record_are_named_where_a_person_made_them_a_feature() {
    let settings = Settings {
        features: strings(&["mail", "x"]),
        categorical: strings(&["mail"]),
        ..Settings::default()
    };
    let line = |number: usize| {
        format!(
            r#"{{"mail":"m{number}@example.org","x":{}.5,"label":"a"}}"#,
            mixed(number)
        )
    };
    let expected = [(Concern::IdentifierFeature, "mail".to_owned())];
    assert_eq!(said(&settings, 5000, line), expected);
    // The same by position, and below another field.
    let array = |number: usize| {
        format!(
            r#"{{"features":["m{number}@example.org",{}.5],"label":"a"}}"#,
            mixed(number)
        )
    };
    assert_eq!(said(&settings, 5000, array), expected);
    let nested = Settings {
        features: strings(&["who.mail"]),
        categorical: strings(&["who.mail"]),
        ..Settings::default()
    };
    let line = |number: usize| format!(r#"{{"who":{{"mail":"m{number}"}},"label":"a"}}"#);
    let expected = (Concern::IdentifierFeature, "who.mail".to_owned());
    assert_eq!(said(&nested, 5000, line), [expected]);
}

#[test]
fn an_input_that_ends_early_is_judged_by_what_there_is() {
    let of = |records: usize| {
        let mut intake = Intake::new(&Settings::default(), None);
        let mut out = Vec::new();
        for number in 0..records {
            intake.push(Record::new(0, number as i64, everything(number)), &mut out);
        }
        intake.finish_discovery(&mut out).unwrap();
        assert_eq!(intake.take_notices().len(), 1, "a field was always missing");
        intake.end();
        intake.take_notices().len()
    };
    assert_eq!(of(999), 0);
    assert_eq!(of(1500), expected().len());
}

#[test]
fn a_csv_stream_is_looked_at_too() {
    let mut intake = Intake::new(&Settings::default(), None);
    intake.set_columns(strings(&["row", "x", "label"])).unwrap();
    for number in 0..4096 {
        let line = format!("{number},{}.5,a", mixed(number));
        intake.push(Record::new(0, number as i64, line), &mut Vec::new());
    }
    let notices = intake.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].subject, "row");
    assert!(
        notices[0].message.contains("schema.ignore"),
        "{}",
        notices[0].message
    );
}

#[test]
fn a_value_that_is_often_missing_and_one_that_changes_late_are_no_reason() {
    let line = |number: usize| {
        let flag = if number.is_multiple_of(3) {
            "1"
        } else {
            "null"
        };
        let late = usize::from(number > 4000);
        format!(
            r#"{{"flag":{flag},"late":{late},"day":{},"label":"a"}}"#,
            number / 48
        )
    };
    assert_eq!(said(&Settings::default(), 5000, line), []);
}
