//! What holds for any record, good or bad.

use proptest::collection::vec;
use proptest::prelude::*;

use super::corpus::corpus;
use super::{arrivals, examples, judge, records, strings, told};
use crate::codec::plan::Plan;
use crate::codec::scratch::Scratch;
use crate::codec::{Format, Intake, Settings, json, row_of_json};
use crate::codec::{Schema, looks_like_number};
use crate::example::{Arrival, Outcome};

/// Every role has a field, so that odd bytes may fall into any.
fn settings(format: Format) -> Settings {
    Settings {
        format,
        features: strings(&["x", "c", "g.y"]),
        categorical: strings(&["c"]),
        ignore: strings(&["note"]),
        id: "id".into(),
        weight: "w".into(),
        timestamp: "ts".into(),
        columns: strings(&["x", "c", "g.y", "label", "w", "id"]),
        max_record_bytes: 2048,
        ..Settings::default()
    }
}

const FORMATS: [Format; 4] = [Format::Auto, Format::Flat, Format::Envelope, Format::Csv];

/// Pieces of records, mostly sound, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\"x\":",
        "\"c\":",
        "\"g\":{",
        "\"g.y\":",
        "\"y\":",
        "\"label\":",
        "\"features\":",
        "\"w\":",
        "\"id\":",
        "1",
        "-0",
        "1.5",
        "1e39",
        "1e999",
        "null",
        "true",
        "NaN",
        "\"NA\"",
        "\"a\"",
        " ",
        "\n",
        "\u{e9}",
        "\u{0}",
    ]);
    vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A value of JSON as text, odd ones among them.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        4 => any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| v.to_string()),
        2 => any::<i64>().prop_map(|v| v.to_string()),
        2 => any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a text")),
        2 => prop::sample::select(vec![
            "null", "true", "[]", "{}", "\"NA\"", "\"\"", "\"inf\"", "1e999", "-1e39", "3.4028236e38",
        ]).prop_map(str::to_owned),
    ]
}

/// A record whose syntax is sound.
fn object() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "x", "c", "g.y", "g", "label", "w", "id", "features", "zz", "note", "ts",
    ]);
    vec((name, value()), 0..8).prop_map(|fields| {
        let field = |(name, value): (&str, String)| format!("\"{name}\":{value}");
        let fields: Vec<_> = fields.into_iter().map(field).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    })
}

/// An envelope with its features by position.
fn envelope() -> impl Strategy<Value = Vec<u8>> {
    (vec(value(), 2..5), value()).prop_map(|(features, label)| {
        format!(r#"{{"features":[{}],"label":{label}}}"#, features.join(",")).into_bytes()
    })
}

fn csv() -> impl Strategy<Value = Vec<u8>> {
    vec(value(), 5..8).prop_map(|fields| fields.join(",").into_bytes())
}

/// Any payload: noise, nearly records, records.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<_> = corpus().into_iter().map(|(payload, _)| payload).collect();
    prop_oneof![
        2 => vec(any::<u8>(), 0..200),
        3 => pieces(),
        4 => object(),
        2 => envelope(),
        2 => csv(),
        2 => prop::sample::select(known),
    ]
}

/// A row holds numbers and missing values, nothing else; a category is a bucket.
fn sound(arrival: &Arrival, buckets: usize) -> Result<(), TestCaseError> {
    match &arrival.outcome {
        Outcome::Example { example, .. } => {
            prop_assert!(example.row.iter().all(|v| !v.is_infinite()), "{example:?}");
            prop_assert!(example.weight.is_finite() && example.weight >= 0.0);
            let category = example.row[1];
            let bucket = category.fract() == 0.0 && (0.0..buckets as f32).contains(&category);
            prop_assert!(category.is_nan() || bucket, "{category}");
        }
        Outcome::Unlabelled => {}
        Outcome::Rejected { reject, .. } => {
            prop_assert_ne!(reject.reason.as_str(), "decoder_panic", "{}", reject);
            prop_assert!(!reject.detail.chars().any(char::is_control), "{}", reject);
        }
    }
    Ok(())
}

/// The finite numbers that every format reads alike, as texts.
fn number() -> impl Strategy<Value = String> {
    let finite = any::<f32>().prop_filter("finite", |v| v.is_finite());
    prop_oneof![
        finite.prop_map(|v| v.to_string()),
        any::<f64>()
            .prop_filter("fits", |v| (*v as f32).is_finite())
            .prop_map(|v| format!("{v:e}")),
        (-1e30..1e30_f64).prop_map(|v| v.to_string()),
        any::<i64>().prop_map(|v| v.to_string()),
        any::<u64>().prop_map(|v| v.to_string()),
        // More digits than an f64 holds, and more than its integers do.
        "-?[1-9][0-9]{15,36}(\\.[0-9]{1,40})?",
        "-?0\\.[0-9]{1,60}([eE][+-]?[0-9]{1,2})?".prop_filter("fits", |text| {
            text.parse::<f64>().is_ok_and(|v| (v as f32).is_finite())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_and_no_accepted_value_is_infinite(payload in payload()) {
        for format in FORMATS {
            let given = settings(format);
            let (_, out) = arrivals(Intake::new(&given, None), records([&payload]));
            sound(&out[0], given.category_buckets)?;
        }
    }

    #[test]
    fn no_bytes_panic_while_features_are_discovered(
        payloads in vec(payload(), 1..6),
        most in 1usize..4,
    ) {
        for format in FORMATS {
            let discovering = Settings {
                features: Vec::new(),
                categorical: Vec::new(),
                discover_records: most,
                ..settings(format)
            };
            let (intake, out) = arrivals(Intake::new(&discovering, None), records(&payloads));
            for arrival in &out {
                match &arrival.outcome {
                    Outcome::Example { example, .. } => {
                        let schema = intake.schema().expect("an example has a schema");
                        prop_assert_eq!(example.row.len(), schema.len());
                        prop_assert!(example.row.iter().all(|v| !v.is_infinite()));
                    }
                    Outcome::Unlabelled => {}
                    Outcome::Rejected { reject, .. } => {
                        prop_assert_ne!(reject.reason.as_str(), "decoder_panic");
                    }
                }
            }
        }
    }

    #[test]
    fn a_discovered_schema_gives_the_examples_of_the_same_schema_given(
        payloads in vec(payload(), 1..8),
        most in 1usize..4,
    ) {
        let discovering = Settings {
            features: Vec::new(),
            categorical: Vec::new(),
            discover_records: most,
            ..settings(Format::Auto)
        };
        let (mut intake, out) = arrivals(Intake::new(&discovering, None), records(&payloads));
        // Records that hold no feature at all come out without a schema; discovery starts anew with the next.
        let anew = told(&mut intake).iter().any(|warning| warning.starts_with("no features found"));
        if let Some(schema) = intake.schema().filter(|_| !anew) {
            let restored = Some((Schema::clone(schema), Vec::new()));
            let (same, expected) = arrivals(Intake::new(&discovering, restored), records(&payloads));
            prop_assert_eq!(same.classes(), intake.classes());
            prop_assert_eq!(format!("{out:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn no_text_panics_as_the_row_of_a_prediction(payload in payload()) {
        let given = settings(Format::Auto);
        let schema = Schema::given(&given).expect("features are given");
        if let Ok(text) = std::str::from_utf8(&payload)
            && let Ok(row) = row_of_json(&schema, &given, text)
        {
            prop_assert_eq!(row.len(), 3);
            prop_assert!(row.iter().all(|v| !v.is_infinite()));
        }
    }

    #[test]
    fn a_row_is_read_to_the_bit_as_the_reference_reads_it(
        payload in payload(),
        elements in vec(prop_oneof![number(), Just("null".to_owned()), Just("\"b\"".to_owned()), Just("true".to_owned())], 0..5),
        space in prop_oneof![Just(""), Just(" "), Just("\n")],
    ) {
        let schema = Schema::given(&settings(Format::Auto)).expect("features are given");
        let plan = Plan::for_rows(&schema);
        let array = format!("{space}[{}]{space}", elements.join(&format!("{space},{space}")));
        let names = ["x", "c", "g.y", "x", "other"];
        let members: Vec<String> = names.iter().zip(&elements).map(|(name, value)| format!("\"{name}\":{space}{value}")).collect();
        let object = format!("{{{space}{}}}", members.join(","));
        for text in [&*String::from_utf8_lossy(&payload), &array, &object] {
            let (mut quick, mut slow) = (Scratch::new(&plan), Scratch::new(&plan));
            let bits = |scratch: &Scratch| -> Vec<u32> { scratch.row.iter().map(|value| value.to_bits()).collect() };
            let reference = json::row(&plan, &mut slow, text).map(|()| bits(&slow)).ok();
            if super::super::quick::row(&plan, &mut quick, text).is_some() {
                prop_assert_eq!(Some(bits(&quick)), reference, "{}", text);
            }
        }
    }

    #[test]
    fn the_same_numbers_have_the_same_bits_in_json_and_csv(x in number(), y in number(), w in number()) {
        prop_assert!([&x, &y, &w].into_iter().all(|text| looks_like_number(text)));
        let bits = |format, payload: String| {
            let (_, out) = arrivals(Intake::new(&settings(format), None), records([payload]));
            (super::verdict(&out[0]), examples(&out))
        };
        let most = Settings::default().max_weight as f32;
        let is_weight = w.parse::<f32>().is_ok_and(|w| (0.0..=most).contains(&w));
        let flat = bits(Format::Flat, format!(r#"{{"x":{x},"c":{y},"g":{{"y":{y}}},"label":"a","w":{w}}}"#));
        let auto = bits(Format::Auto, format!(r#"{{"features":[{x},{y},{y}],"label":"a","w":{w}}}"#));
        let named = bits(Format::Envelope, format!(r#"{{"w":{w},"label":"a","features":{{"g.y":{y},"c":{y},"x":{x}}}}}"#));
        let csv = bits(Format::Csv, format!("{x},{y},{y},a,{w},"));
        let quoted = bits(Format::Csv, format!("\"{x}\",\"{y}\",\"{y}\",\"a\",\"{w}\",\"\""));
        if is_weight {
            let expected = x.parse::<f64>().expect("a number") as f32;
            prop_assert_eq!(flat.1[0].0[0], expected.to_bits());
        }
        prop_assert_eq!(&flat, &auto);
        prop_assert_eq!(&flat, &named);
        prop_assert_eq!(&flat, &csv);
        prop_assert_eq!(&flat, &quoted);
    }

    #[test]
    fn a_verdict_does_not_depend_on_the_records_before(payloads in vec(payload(), 1..10)) {
        for format in FORMATS {
            // Given classes: whether a discovered class is new does depend on the records before.
            let given = Settings { classes: strings(&["a", "b", "1"]), ..settings(format) };
            let (_, together) = arrivals(Intake::new(&given, None), records(&payloads));
            for (arrival, payload) in together.iter().zip(&payloads) {
                let (_, alone) = arrivals(Intake::new(&given, None), records([payload]));
                prop_assert_eq!(judge(&given, payload), super::verdict(arrival));
                let (mut alone, mut here) = (alone[0].clone(), arrival.clone());
                for one in [&mut alone, &mut here] {
                    one.offset = 0;
                    if let Outcome::Rejected { record, .. } = &mut one.outcome {
                        record.offset = 0;
                    }
                }
                prop_assert_eq!(format!("{alone:?}"), format!("{here:?}"));
                prop_assert_eq!(examples(&[alone]), examples(&[here]));
            }
        }
    }
}
