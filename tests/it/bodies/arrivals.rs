//! What holds for the arrivals of any records, good or bad.

use std::sync::Arc;

use skewd::codec::{Intake, MAX_LABEL_BYTES, Schema};
use skewd::example::{Arrival, Example, Outcome, Record};

use super::sound::{check_reject, check_row};

/// Pushes every payload and ends the discovery. The arrivals are checked, and if the schema was discovered they must be
/// those of an intake that was given it from the start.
pub fn of_payloads(
    intake: impl Fn(Option<(Schema, Vec<Arc<str>>)>) -> Intake,
    payloads: &[&[u8]],
) -> Vec<Arrival> {
    let mut first = intake(None);
    let (is_given, given) = (first.discovered(), first.classes().to_vec());
    let (mut arrivals, mut found_nothing) = (Vec::new(), false);
    for record in records(payloads) {
        first.push(record, &mut arrivals);
        found_nothing |= !first.discovered() && !arrivals.is_empty();
    }
    found_nothing |= first.finish_discovery(&mut arrivals).is_err();
    assert_eq!(first.buffered(), 0, "a record is still held");
    check(&first, &given, &arrivals, payloads.len());
    let _ = first.take_notices();
    if let Some(schema) = first.schema().filter(|_| !is_given && !found_nothing) {
        let mut second = intake(Some((Schema::clone(schema), given)));
        let mut again = Vec::new();
        for record in records(payloads) {
            second.push(record, &mut again);
        }
        // As text, since NaN (a missing value) equals nothing.
        assert_eq!(format!("{arrivals:?}"), format!("{again:?}"));
    }
    arrivals
}

fn records(payloads: &[&[u8]]) -> impl Iterator<Item = Record> {
    (0..)
        .zip(payloads)
        .map(|(offset, payload)| Record::new(0, offset, payload.to_vec()))
}

fn check(intake: &Intake, given: &[Arc<str>], arrivals: &[Arrival], records: usize) {
    let offsets: Vec<i64> = arrivals.iter().map(|arrival| arrival.offset).collect();
    let pushed: Vec<i64> = (0..).take(records).collect();
    assert_eq!(offsets, pushed, "every record arrives once, in order");
    let mut known = given.len();
    for arrival in arrivals {
        match &arrival.outcome {
            Outcome::Example {
                example, new_class, ..
            } => {
                let schema = intake.schema().expect("an example has a schema");
                check_example(example, schema);
                if let Some(name) = new_class {
                    assert_eq!(example.class as usize, known, "a class out of turn");
                    assert!(name.len() <= MAX_LABEL_BYTES, "{name:?}");
                    known += 1;
                }
                assert!((example.class as usize) < known, "a class without a name");
            }
            Outcome::Unlabelled => {}
            Outcome::Rejected { reject, .. } => check_reject(reject),
        }
    }
    assert_eq!(intake.classes().len(), known);
}

fn check_example(example: &Example, schema: &Schema) {
    check_row(&example.row, schema);
    assert!(example.weight.is_finite() && example.weight >= 0.0);
}
