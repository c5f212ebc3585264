//! Records with very many names of their own.

use super::{arrivals, records, schema_of, told};
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
    (names, told(&mut intake))
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
        let told = "1 records hold more than 256 fields, many times as many as most";
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
    for record in 0..10 {
        payloads.push(wide(200, &format!("more{record} ")));
    }
    let settings = Settings {
        categorical: vec!["k3".to_owned()],
        discover_records: 1010,
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
    let warnings = told(&mut intake);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("the rarest 1976 were left out")),
        "{warnings:?}"
    );
}

#[test]
fn a_few_wide_records_name_no_feature_however_often_they_come() {
    // One in fifty, all with the same names, before and among those of the stream.
    for at in [0, 500] {
        let mut payloads: Vec<String> = plain(980).collect();
        for _ in 0..20 {
            payloads.insert(at, wide(20_000, "k"));
        }
        let (mut names, warnings) = found(&Settings::default(), &payloads);
        names.sort_unstable();
        assert_eq!(names, ["x", "y"], "{warnings:?}");
        assert!(warnings[0].contains("20 records hold more than 256 fields"));
    }
    // A quarter of the stream is a kind of records.
    let mut payloads: Vec<String> = plain(750).collect();
    payloads.extend(vec![wide(300, "k"); 250]);
    assert_eq!(found(&Settings::default(), &payloads).0.len(), 302);
}

#[test]
fn names_below_others_count_and_the_commonest_features_stay() {
    let nested = |names| format!(r#"{{"x":1,"a":{{"b":{}}},"label":"a"}}"#, wide(names, "k"));
    let mut payloads: Vec<String> = plain(990).collect();
    payloads.extend(vec![nested(3000); 10]);
    assert_eq!(found(&Settings::default(), &payloads).0, ["x", "y"]);
    // So many that not all fit: those of every record stay, although they are seen last.
    let texts: Vec<String> = (0..250).map(|i| format!(r#""k{i}":"t""#)).collect();
    let text = |kind: usize| texts.join(",").replace('k', &format!("k{kind} "));
    let mut payloads: Vec<String> = (0..60)
        .map(|i| format!(r#"{{{},"y":{i},"x":{i},"label":"a"}}"#, text(i % 6)))
        .collect();
    payloads.push(r#"{"y":1,"x":2,"label":"a"}"#.to_owned());
    let (names, warnings) = found(&Settings::default(), &payloads);
    assert!(names.contains(&"x".to_owned()) && names.contains(&"y".to_owned()));
    assert!(warnings[0].contains("the rarest"), "{warnings:?}");
}
