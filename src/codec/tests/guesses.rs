//! What is decided from the first records must not shut out those to come.

use super::discovery::{discover, names};
use super::{examples, records, schema_of, strings, told, verdict};
use crate::codec::{Format, Schema, Settings};

#[test]
fn labels_that_hardly_ever_come_do_not_shut_the_others_out() {
    let settings = Settings {
        max_classes: 4,
        discover_records: 20,
        ..Settings::default()
    };
    let flood = (0..10).map(|i| format!(r#"{{"x":1,"label":"flood {i}"}}"#));
    let stream = (0..10).map(|i| {
        format!(
            r#"{{"x":{i},"label":"{}"}}"#,
            ["ok", "rare"][usize::from(i % 5 == 4)]
        )
    });
    let payloads: Vec<String> = flood.chain(stream).collect();
    let (mut intake, out) = discover(&settings, &payloads);
    let classes: Vec<&str> = intake.classes().iter().map(|name| &**name).collect();
    assert_eq!(classes, ["flood 0", "flood 1", "ok", "rare"]);
    let refused = out
        .iter()
        .filter(|arrival| verdict(arrival) == "label_unknown")
        .count();
    assert_eq!(refused, 8);
    let warnings = told(&mut intake);
    assert!(warnings[0].contains("12 different labels"), "{warnings:?}");
    assert!(warnings[0].contains("the 8 that come"), "{warnings:?}");
    // With room for all of them nothing is refused, and they are numbered as they come.
    let settings = Settings {
        max_classes: 12,
        ..settings
    };
    let (mut intake, out) = discover(&settings, &payloads);
    assert!(out.iter().all(|arrival| verdict(arrival) == "example"));
    assert_eq!(&*intake.classes()[11], "rare");
    assert!(told(&mut intake).is_empty());
}

#[test]
fn a_field_that_was_always_missing_counts_as_a_number_and_refuses_nothing() {
    let payloads: Vec<String> = (0..30)
        .map(|i| {
            format!(
                r#"{{"x":{i},"open":{},"label":"a"}}"#,
                ["null", "\"\""][i % 2]
            )
        })
        .collect();
    for format in [Format::Auto, Format::Csv] {
        let settings = Settings {
            format,
            columns: strings(&["x", "open", "label"]),
            ..Settings::default()
        };
        let csv = |line: &String| {
            let x: &str = &line[5..line.find(",\"open").unwrap()];
            format!("{x},,a")
        };
        let payloads = match format {
            Format::Csv => payloads.iter().map(csv).collect(),
            _ => payloads.clone(),
        };
        let (mut intake, _) = discover(&settings, &payloads);
        assert_eq!(names(&intake), ["x", "open"]);
        let warnings = told(&mut intake);
        assert!(
            warnings[0].contains("open is always missing so far"),
            "{warnings:?}"
        );
        let schema = schema_of(&intake);
        assert_eq!(schema.undecided, ["open"]);
        assert_eq!(Schema::from_text(&schema.to_text()).unwrap(), schema);
        let later: &[&str] = match format {
            Format::Csv => &["1,2.5,a", "1,word,a", "1,inf,a", "word,1,a"],
            _ => &[
                r#"{"x":1,"open":2.5,"label":"a"}"#,
                r#"{"x":1,"open":"word","label":"a"}"#,
                r#"{"x":1,"open":true,"label":"a"}"#,
                r#"{"x":"word","open":1,"label":"a"}"#,
            ],
        };
        let mut out = Vec::new();
        for record in records(later) {
            intake.push(record, &mut out);
        }
        let rows: Vec<_> = examples(&out).iter().map(|example| example.0[1]).collect();
        assert_eq!(rows.len(), 3, "{format:?}");
        assert_eq!(f32::from_bits(rows[0]), 2.5);
        assert!(rows[1..].iter().all(|bits| f32::from_bits(*bits).is_nan()));
        assert_eq!(verdict(&out[3]), "feature_type");
    }
}

#[test]
fn a_few_texts_make_no_category_of_numbers_that_measure_and_refuse_no_record() {
    let records_of = |number: &dyn Fn(usize) -> String, text: &dyn Fn(usize) -> String| {
        let value = |i: usize| match i % 10 {
            3 => text(i),
            _ => number(i),
        };
        let record = |i| format!(r#"{{"x":{},"label":"a"}}"#, value(i));
        (0..200).map(record).collect::<Vec<_>>()
    };
    let amounts = |i: usize| format!("{}.5", i % 7);
    let counts = |i: usize| i.to_string();
    let codes = |i: usize| (i % 30).to_string();
    let junk = |i: usize| format!("\"junk {i}\"");
    let flag = |_: usize| "true".to_owned();
    for (number, text, is_number) in [
        (
            &amounts as &dyn Fn(usize) -> String,
            &junk as &dyn Fn(usize) -> String,
            true,
        ),
        (&counts, &junk, true),
        (&counts, &flag, true),
        (&codes, &junk, false),
    ] {
        let payloads = records_of(number, text);
        let (mut intake, out) = discover(&Settings::default(), &payloads);
        let expected = if is_number { "x" } else { "x#" };
        assert_eq!(names(&intake), [expected], "{payloads:?}");
        assert_eq!(examples(&out).len(), 200);
        let said = told(&mut intake);
        assert!(
            said[0].starts_with("feature x: 20 of 200 values are texts"),
            "{said:?}"
        );
        assert_eq!(schema_of(&intake).undecided.is_empty(), !is_number);
        if is_number {
            let is_missing = |i: usize| f32::from_bits(examples(&out)[i].0[0]).is_nan();
            assert!(is_missing(3) && !is_missing(4));
        }
    }
    // Of a few values nobody can tell.
    let few: Vec<String> = records_of(&counts, &junk).into_iter().take(19).collect();
    let (intake, _) = discover(&Settings::default(), &few);
    assert_eq!(names(&intake), ["x#"]);
    // Where texts are as many as numbers, they are what the field holds.
    let half: Vec<String> = (0..200)
        .map(|i| match i % 2 {
            0 => format!(r#"{{"x":{i},"label":"a"}}"#),
            _ => format!(r#"{{"x":"{}","label":"a"}}"#, i % 5),
        })
        .collect();
    let (intake, _) = discover(&Settings::default(), &half);
    assert_eq!(names(&intake), ["x#"]);
}

#[test]
fn the_first_label_without_a_place_is_said_once() {
    let settings = Settings {
        features: strings(&["x"]),
        max_classes: 3,
        ..Settings::default()
    };
    let payloads: Vec<String> = ["a", "junk 1", "junk 2", "a", "fraud", "fraud", "other"]
        .iter()
        .map(|label| format!(r#"{{"x":1,"label":"{label}"}}"#))
        .collect();
    let (mut intake, out) = discover(&settings, &payloads);
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(verdicts[..4], ["example"; 4]);
    assert_eq!(verdicts[4..], ["label_unknown"; 3]);
    let said = told(&mut intake);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("\"fraud\"") && said[0].contains("raise schema.max_classes"),
        "{said:?}"
    );
}
