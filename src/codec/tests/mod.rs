//! What the codec promises, fact by fact.

mod ahead;
mod census;
mod corpus;
mod discovery;
mod encoding;
mod formats;
mod guesses;
mod nesting;
mod properties;
mod quick;
mod settings;
mod values;
mod verdicts;
mod waiting;
mod wide;

use std::sync::Arc;

use super::{Intake, Schema, Settings};
use crate::example::{Arrival, Outcome, Record};

/// Records at offsets 0, 1, ...
fn records<T: AsRef<[u8]>>(payloads: impl IntoIterator<Item = T>) -> Vec<Record> {
    let record = |(offset, payload): (i64, T)| Record::new(0, offset, payload.as_ref().to_vec());
    (0..).zip(payloads).map(record).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Every record's arrival, discovery ended.
fn arrivals(mut intake: Intake, records: Vec<Record>) -> (Intake, Vec<Arrival>) {
    let mut out = Vec::new();
    let pushed: Vec<i64> = records.iter().map(|record| record.offset).collect();
    for record in records {
        intake.push(record, &mut out);
    }
    let _ = intake.finish_discovery(&mut out);
    let came: Vec<i64> = out.iter().map(|arrival| arrival.offset).collect();
    assert_eq!(came, pushed, "every record arrives once, in order");
    (intake, out)
}

/// What was said since the last call.
fn told(intake: &mut Intake) -> Vec<String> {
    let notices = intake.take_notices().into_iter();
    notices.map(|notice| notice.message).collect()
}

/// A verdict in short: the reason, `unlabelled`, or `example`.
fn verdict(arrival: &Arrival) -> &'static str {
    match &arrival.outcome {
        Outcome::Example { .. } => "example",
        Outcome::Unlabelled => "unlabelled",
        Outcome::Rejected { reject, .. } => reject.reason.as_str(),
    }
}

/// The verdict on one record.
fn judge(settings: &Settings, payload: impl AsRef<[u8]>) -> &'static str {
    let (_, out) = arrivals(Intake::new(settings, None), records([payload]));
    verdict(&out[0])
}

/// An example by its bits: row, class, weight, id, new class.
type Bits = (Vec<u32>, u32, u32, Option<String>, Option<String>);

/// The examples by their bits (NaN is equal to itself then).
fn examples(arrivals: &[Arrival]) -> Vec<Bits> {
    let bits = |arrival: &Arrival| match &arrival.outcome {
        Outcome::Example {
            example, new_class, ..
        } => Some((
            example.row.iter().map(|value| value.to_bits()).collect(),
            example.class,
            example.weight.to_bits(),
            example.id.as_deref().map(str::to_owned),
            new_class.as_deref().map(str::to_owned),
        )),
        _ => None,
    };
    arrivals.iter().filter_map(bits).collect()
}

fn schema_of(intake: &Intake) -> Schema {
    Schema::clone(intake.schema().expect("discovered"))
}

/// One value a feature of the only example.
fn row(settings: &Settings, payload: &str) -> Vec<f32> {
    let (_, out) = arrivals(Intake::new(settings, None), records([payload]));
    match &out[0].outcome {
        Outcome::Example { example, .. } => example.row.to_vec(),
        other => panic!("{payload} is no example: {other:?}"),
    }
}

#[test]
fn classes_are_numbered_in_order_of_their_first_accepted_example() {
    let settings = Settings {
        features: strings(&["x"]),
        ..Settings::default()
    };
    let payloads = [
        r#"{"x":"bad","label":"never"}"#,
        r#"{"x":1,"label":"b"}"#,
        r#"{"x":1,"label":"a"}"#,
        r#"{"x":1,"label":"b"}"#,
    ];
    let (intake, out) = arrivals(Intake::new(&settings, None), records(payloads));
    let classes: Vec<_> = examples(&out).iter().map(|e| (e.1, e.4.clone())).collect();
    assert_eq!(
        classes,
        [(0, Some("b".into())), (1, Some("a".into())), (0, None)]
    );
    assert_eq!(intake.classes(), [Arc::from("b"), Arc::from("a")]);
}

#[test]
fn given_classes_keep_their_order_and_are_never_new() {
    let settings = Settings {
        features: strings(&["x"]),
        classes: strings(&["ok", "fraud", "NA"]),
        ..Settings::default()
    };
    let payloads = [
        r#"{"x":1,"label":"fraud"}"#,
        r#"{"x":1,"label":"odd"}"#,
        r#"{"x":1,"label":"NA"}"#,
        r#"{"x":1,"label":""}"#,
    ];
    let (_, out) = arrivals(Intake::new(&settings, None), records(payloads));
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(
        verdicts,
        ["example", "label_unknown", "example", "unlabelled"]
    );
    let classes: Vec<_> = examples(&out).iter().map(|e| (e.1, e.4.clone())).collect();
    assert_eq!(classes, [(1, None), (2, None)]);
}

#[test]
fn a_restored_intake_goes_on_where_the_other_stopped() {
    let payloads =
        ["a", "b", "a", "c"].map(|label| format!(r#"{{"x":1,"y":"t","label":"{label}"}}"#));
    let (whole, all) = arrivals(Intake::new(&Settings::default(), None), records(&payloads));
    let (first, _) = arrivals(
        Intake::new(&Settings::default(), None),
        records(&payloads[..2]),
    );
    let state = (schema_of(&first), first.classes().to_vec());
    let (second, rest) = arrivals(
        Intake::new(&Settings::default(), Some(state)),
        records(&payloads[2..]),
    );
    assert_eq!(examples(&all)[2..], examples(&rest));
    assert_eq!(whole.classes(), second.classes());
}

#[test]
fn a_panic_of_the_decoder_costs_one_record() {
    let settings = Settings {
        features: strings(&["x"]),
        ..Settings::default()
    };
    let payloads = [1, 2, 3].map(|x| format!(r#"{{"x":{x},"label":"a"}}"#));
    let mut intake = Intake::new(&settings, None);
    intake.decoder_for_tests().panic_on = Some(payloads[1].clone().into_bytes());
    let (_, out) = arrivals(intake, records(&payloads));
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(verdicts, ["example", "decoder_panic", "example"]);
    assert_eq!(examples(&out)[1].0, [3.0_f32.to_bits()]);
}
