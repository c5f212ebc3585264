//! Records with very many names of their own.

use super::{arrivals, records, schema_of};
use crate::codec::encoder::Encoder;
use crate::codec::{Intake, Settings};

fn wide(names: usize, prefix: &str) -> String {
    let fields: Vec<String> = (0..names)
        .map(|i| format!(r#""{prefix}{i}":{i}"#))
        .collect();
    format!(r#"{{{},"x":1,"label":"a"}}"#, fields.join(","))
}

fn plain(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!(r#"{{"x":{i},"y":{},"label":"a"}}"#, i % 7))
}

/// Features and warnings.
fn found(settings: &Settings, payloads: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut intake, _) = arrivals(Intake::new(settings, None), records(payloads));
    let features = schema_of(&intake).features;
    let names = features.into_iter().map(|feature| feature.name).collect();
    (names, intake.take_warnings())
}

#[test]
fn one_record_of_thousands_of_names_adds_none_of_them_wherever_it_stands() {
    for at in [0, 300, 999] {
        let mut payloads: Vec<String> = plain(999).collect();
        // More names than a schema may have: they must not take the place of those of the others.
        payloads.insert(at, wide(40_000, "k"));
        let (names, warnings) = found(&Settings::default(), &payloads);
        assert_eq!(
            names
                .iter()
                .map(String::as_str)
                .collect::<std::collections::BTreeSet<_>>(),
            ["x", "y"].into()
        );
        let told = "40000 fields stand in fewer than one record in a hundred (k0, k1, k2, ...)";
        assert!(
            warnings.iter().any(|warning| warning.contains(told)),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_few_rare_fields_and_those_that_are_asked_for_stay() {
    let mut payloads: Vec<String> = plain(999).collect();
    payloads.push(wide(20, "k"));
    assert_eq!(found(&Settings::default(), &payloads).0.len(), 22);
    payloads.push(wide(2000, "more"));
    let settings = Settings {
        categorical: vec!["k3".to_owned()],
        discover_records: 1001,
        ..Settings::default()
    };
    assert_eq!(found(&settings, &payloads).0, ["x", "y", "k3"]);
}

#[test]
fn wide_records_that_are_meant_keep_their_names_up_to_a_bound_of_inputs() {
    let (names, _) = found(&Settings::default(), &vec![wide(3000, "k"); 20]);
    assert_eq!(names.len(), 3001);
    let texts: Vec<String> = (0..3000).map(|i| format!(r#""k{i}":"t""#)).collect();
    let texts = format!(r#"{{{},"label":"a"}}"#, texts.join(","));
    let (mut intake, _) = arrivals(
        Intake::new(&Settings::default(), None),
        records([texts.as_str(); 20]),
    );
    let schema = schema_of(&intake);
    let encoder = Encoder::new(&schema, Settings::default().encoding, 1);
    assert_eq!((schema.features.len(), encoder.width()), (1024, 32_768));
    let warnings = intake.take_warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("the last 1976 were left out")),
        "{warnings:?}"
    );
}
