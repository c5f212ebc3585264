//! Which features follow from the first records.

use super::{arrivals, examples, records, schema_of, strings, told, verdict};
use crate::codec::{Format, HeldCounts, Intake, Kind, Settings};
use crate::example::{Arrival, Outcome, Record};

pub(super) fn discover(
    settings: &Settings,
    payloads: &[impl AsRef<[u8]>],
) -> (Intake, Vec<Arrival>) {
    arrivals(Intake::new(settings, None), records(payloads))
}

/// Names of the discovered features; a categorical one has a `#` at its end.
pub(super) fn names(intake: &Intake) -> Vec<String> {
    let features = schema_of(intake).features;
    let name = |feature: crate::codec::Feature| match feature.kind {
        Kind::Numeric => feature.name,
        Kind::Categorical => feature.name + "#",
    };
    features.into_iter().map(name).collect()
}

fn found(settings: &Settings, payloads: &[impl AsRef<[u8]>]) -> Vec<String> {
    names(&discover(settings, payloads).0)
}

/// How many records had come out after each push.
fn came_out(settings: &Settings, payloads: &[&str]) -> Vec<usize> {
    let mut intake = Intake::new(settings, None);
    let mut out = Vec::new();
    let after = |record| {
        intake.push(record, &mut out);
        out.len()
    };
    records(payloads).into_iter().map(after).collect()
}

#[test]
fn features_stand_in_the_order_of_first_sight() {
    let payloads = [
        r#"{"b":1,"label":"x","a":2}"#,
        r#"{"meta":{"z":1,"y":{"q":2}},"a":3,"label":"y","b":1}"#,
        r#"{"c":1,"meta":{"x":1},"label":"x"}"#,
    ];
    let expected = ["b", "a", "meta.z", "meta.y.q", "c", "meta.x"];
    assert_eq!(found(&Settings::default(), &payloads), expected);
}

#[test]
fn roles_ignored_fields_and_arrays_are_no_features() {
    let settings = Settings {
        label: "meta.class".into(),
        id: "tx".into(),
        weight: "w".into(),
        timestamp: "at".into(),
        ignore: strings(&["note", "geo.lon"]),
        ..Settings::default()
    };
    let payload = r#"{"tx":1,"w":1,"at":1,"note":1,"x":1,"list":[1],"geo":{"lat":1,"lon":1},"meta":{"class":"a","m":1}}"#;
    assert_eq!(found(&settings, &[payload]), ["x", "geo.lat", "meta.m"]);
}

#[test]
fn constant_and_empty_fields_stay() {
    let payloads: Vec<String> = (0..60)
        .map(|i| format!(r#"{{"k":7,"x":{i},"word":"w","e":null,"n":"NA","t":"","label":"a"}}"#))
        .collect();
    let expected = ["k", "x", "word#", "e", "n", "t"];
    assert_eq!(found(&Settings::default(), &payloads), expected);
}

#[test]
fn texts_and_bools_are_categories_and_a_setting_makes_numbers_categories() {
    let settings = Settings {
        categorical: strings(&["code", "absent"]),
        ..Settings::default()
    };
    let payloads = [
        r#"{"color":"red","flag":true,"x":1.5,"code":12,"mixed":1,"label":"a"}"#,
        r#"{"color":null,"flag":false,"x":null,"code":13,"mixed":"one","label":"b"}"#,
    ];
    let (mut intake, _) = discover(&settings, &payloads);
    assert_eq!(names(&intake), ["color#", "flag#", "x", "code#", "mixed#"]);
    let warnings = told(&mut intake);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("\"absent\""), "{}", warnings[0]);
    assert!(told(&mut intake).is_empty());
}

#[test]
fn texts_that_differ_in_nearly_every_record_are_left_out_with_a_warning() {
    let record = |i: usize, different: usize| {
        let key = if i < different { i } else { 0 };
        format!(r#"{{"key":"k{key}","x":{i},"label":"a"}}"#)
    };
    let stream =
        |count, different| -> Vec<String> { (0..count).map(|i| record(i, different)).collect() };
    let (mut intake, out) = discover(&Settings::default(), &stream(100, 91));
    assert_eq!(names(&intake), ["x"]);
    let warnings = told(&mut intake);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("field key: 91 different values in 100 records"));
    let unknown = |arrival: &Arrival| {
        matches!(
            &arrival.outcome,
            Outcome::Example {
                unknown_fields: 1,
                ..
            }
        )
    };
    assert!(
        out.iter().all(unknown),
        "a field left out is an unknown one"
    );

    let (mut intake, _) = discover(&Settings::default(), &stream(100, 90));
    assert_eq!(names(&intake), ["key#", "x"]);
    assert!(told(&mut intake).is_empty());
    assert_eq!(found(&Settings::default(), &stream(49, 49)), ["key#", "x"]);
    let kept = Settings {
        categorical: strings(&["key"]),
        ..Settings::default()
    };
    assert_eq!(found(&kept, &stream(100, 100)), ["key#", "x"]);
}

#[test]
fn a_stray_text_among_numbers_is_a_bad_record_and_no_category() {
    let mut payloads: Vec<String> = (0..40)
        .map(|i| format!(r#"{{"x":{i},"y":{i},"label":"a"}}"#))
        .collect();
    payloads[5] = r#"{"x":"oops","y":1,"label":"a"}"#.into();
    let (mut intake, out) = discover(&Settings::default(), &payloads);
    assert_eq!(names(&intake), ["x", "y"]);
    assert!(told(&mut intake)[0].starts_with("feature x: 1 of 40 values are texts"));
    assert_eq!(verdict(&out[5]), "feature_type");
    assert_eq!(examples(&out).len(), 39);
}

#[test]
fn an_envelope_array_gives_features_by_position() {
    let payloads = [
        r#"{"features":[1,"m",null],"label":"a"}"#,
        r#"{"features":[2,"n",3.5],"label":"b"}"#,
        r#"{"features":[2,"n"],"label":"b"}"#,
    ];
    let (intake, out) = discover(&Settings::default(), &payloads);
    assert_eq!(names(&intake), ["f0", "f1#", "f2"]);
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(verdicts, ["example", "example", "dimension"]);
}

/// Records of every kind: good, bad, unlabelled, with other fields later.
fn mixed(count: usize) -> Vec<String> {
    let record = |i: usize| match i % 11 {
        3 => format!(r#"{{"x":{i},"color":"red"}}"#),
        5 => "{".to_owned(),
        7 => format!(r#"{{"x":{i},"color":"red","label":null,"more":1}}"#),
        8 => format!(r#"{{"x":{i},"color":"blue","label":1.5}}"#),
        9 => format!(r#"{{"color":true,"x":-0.{i},"label":{}}}"#, i % 2),
        _ => {
            let color = ["red", "green", "NA"][i % 3];
            format!(
                r#"{{"x":{i}.25,"color":"{color}","geo":{{"lat":{i}}},"label":"{}"}}"#,
                i % 4
            )
        }
    };
    (0..count).map(record).collect()
}

#[test]
fn records_are_learned_as_if_the_discovered_schema_had_been_given() {
    let mut payloads = mixed(200);
    payloads.push(r#"{"x":1,"new":2,"newer":[3],"label":"0"}"#.into());
    for discover_records in [1, 2, 7, 50, 200] {
        let settings = Settings {
            discover_records,
            ..Settings::default()
        };
        let (intake, out) = discover(&settings, &payloads);
        let schema = schema_of(&intake);
        let of_kind = |kind: Option<Kind>| {
            let chosen = schema
                .features
                .iter()
                .filter(|f| kind.is_none_or(|kind| f.kind == kind));
            chosen.map(|f| f.name.clone()).collect::<Vec<_>>()
        };
        let given = Settings {
            features: of_kind(None),
            categorical: of_kind(Some(Kind::Categorical)),
            ..Settings::default()
        };
        assert_eq!(given.check(), Ok(()));
        let (same, expected) = discover(&given, &payloads);
        assert_eq!(schema_of(&same), schema);
        assert_eq!(same.classes(), intake.classes());
        assert_eq!(examples(&out), examples(&expected));
        // Details, unknown fields, kept records: all of it.
        assert_eq!(format!("{out:?}"), format!("{expected:?}"));
    }
}

#[test]
fn discovery_ends_with_the_record_that_completes_the_number() {
    let settings = Settings {
        discover_records: 2,
        ..Settings::default()
    };
    let payloads = [
        r#"{"x":1,"label":"a"}"#,
        r#"{"u":1}"#,
        r#"{"u":1,"label":null}"#,
        r#"{"u":1,"label":"NA"}"#,
        "not json",
        r#"{"u":1,"label":true}"#,
        r#"{"u":{"v":1,"v":2},"label":"a"}"#,
        r#"{"y":1,"label":"b"}"#,
        r#"{"u":1,"label":"b"}"#,
    ];
    let expected = [0, 0, 0, 0, 0, 0, 0, 8, 9];
    assert_eq!(came_out(&settings, &payloads), expected);
    assert_eq!(found(&settings, &payloads), ["x", "y"]);
}

#[test]
fn waiting_records_are_counted() {
    let mut intake = Intake::new(&Settings::default(), None);
    let counts = |i: &Intake| (i.buffered(), i.held().labelled, i.wanted(), i.discovered());
    let mut out = Vec::new();
    for record in records([r#"{"x":1,"label":"a"}"#, r#"{"x":1}"#, "{"]) {
        intake.push(record, &mut out);
    }
    assert_eq!(counts(&intake), (3, 1, 1000, false));
    assert_eq!(intake.finish_discovery(&mut out), Ok(()));
    assert_eq!(counts(&intake), (0, 0, 0, true));
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(verdicts, ["example", "unlabelled", "syntax"]);
    assert_eq!(intake.held(), HeldCounts::default());
    assert_eq!(intake.finish_discovery(&mut out), Ok(()));
    assert_eq!(out.len(), 3, "ending it again changes nothing");
}

#[test]
fn a_label_outside_the_classes_does_not_count() {
    let settings = Settings {
        classes: strings(&["a", "b"]),
        discover_records: 2,
        ..Settings::default()
    };
    let payloads = [
        r#"{"x":1,"label":"a"}"#,
        r#"{"z":1,"label":"c"}"#,
        r#"{"x":2,"label":"b"}"#,
    ];
    assert_eq!(came_out(&settings, &payloads), [0, 0, 3]);
    let (intake, out) = discover(&settings, &payloads);
    assert_eq!(names(&intake), ["x"]);
    assert_eq!(verdict(&out[1]), "label_unknown");
}

#[test]
fn later_unknown_fields_are_ignored_and_counted() {
    let settings = Settings {
        discover_records: 1,
        ..Settings::default()
    };
    let payloads = [
        r#"{"x":1,"label":"a"}"#,
        r#"{"x":2,"y":3,"z":{"q":[1]},"label":"a"}"#,
    ];
    let (intake, out) = discover(&settings, &payloads);
    assert_eq!(names(&intake), ["x"]);
    let unknown: Vec<u32> = out
        .iter()
        .map(|arrival| match &arrival.outcome {
            Outcome::Example { unknown_fields, .. } => *unknown_fields,
            other => panic!("no example: {other:?}"),
        })
        .collect();
    assert_eq!(unknown, [0, 2]);
    assert_eq!(examples(&out)[1].0, [2.0_f32.to_bits()]);
}

#[test]
fn the_bytes_that_wait_are_bounded() {
    let payload = format!(r#"{{"x":1,"pad":"{}","label":"a"}}"#, "p".repeat(1000));
    let mut intake = Intake::new(&Settings::default(), None);
    intake.limit_held_bytes(40_000);
    let mut out = Vec::new();
    for record in records(vec![payload; 100]) {
        intake.push(record, &mut out);
        assert!(intake.buffered() < 35, "{} records wait", intake.buffered());
    }
    assert_eq!(names(&intake), ["x", "pad#"]);
    assert_eq!(out.len(), 100);
    let warnings = told(&mut intake);
    assert!(
        warnings[0].contains("labelled records instead of 1000"),
        "{warnings:?}"
    );
}

#[test]
fn a_flood_of_bad_records_is_bounded_keys_and_headers_included() {
    let mut intake = Intake::new(&Settings::default(), None);
    intake.limit_held_bytes(20_000);
    let mut out = Vec::new();
    let empty = |offset| Record::new(0, offset, "");
    let heavy = |offset| {
        let mut record = Record::new(0, offset, "");
        record.key = Some(vec![0; 500].into());
        record.headers = vec![("h".into(), Some(vec![0; 500].into()))];
        record
    };
    for offset in 0..1000 {
        intake.push(
            if offset < 500 {
                empty(offset)
            } else {
                heavy(offset)
            },
            &mut out,
        );
        let most = if offset < 500 {
            20_000 / 256
        } else {
            20_000 / 1000 + 1
        };
        assert!(offset == 500 || intake.buffered() <= most.max(80));
    }
    let warnings = told(&mut intake);
    assert!(
        warnings.len() > 12,
        "each end without a schema says so: {}",
        warnings.len()
    );
    assert!(
        warnings[0].contains("too few to decide from"),
        "{}",
        warnings[0]
    );
    let payload = r#"{"x":1,"label":"a"}"#;
    intake.push(Record::new(0, 1000, payload), &mut out);
    assert_eq!(intake.finish_discovery(&mut out), Ok(()));
    assert_eq!(names(&intake), ["x"]);
    assert_eq!(out.len(), 1001);
}

#[test]
fn nothing_that_parses_is_an_error_and_discovery_goes_on() {
    let mut intake = Intake::new(&Settings::default(), None);
    let mut out = Vec::new();
    for record in records(["x", "{", r#"{"x":1,"lable":"a"}"#]) {
        intake.push(record, &mut out);
    }
    let error = intake.finish_discovery(&mut out).unwrap_err();
    assert!(error.contains("none of 3 records"), "{error}");
    assert!(error.contains("schema.label"), "{error}");
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    assert_eq!(verdicts, ["syntax", "syntax", "unlabelled"]);
    assert!(!intake.discovered());
    intake.push(Record::new(0, 3, r#"{"y":1,"label":"a"}"#), &mut out);
    assert_eq!(intake.finish_discovery(&mut out), Ok(()));
    assert_eq!(names(&intake), ["y"]);
    assert!(
        Intake::new(&Settings::default(), None)
            .finish_discovery(&mut out)
            .is_err()
    );
}

#[test]
fn labels_alone_are_an_error_of_their_own() {
    let (mut intake, mut out) = (Intake::new(&Settings::default(), None), Vec::new());
    for record in records([r#"{"label":"a"}"#, r#"{"label":"b","list":[1]}"#]) {
        intake.push(record, &mut out);
    }
    let error = intake.finish_discovery(&mut out).unwrap_err();
    assert!(error.contains("2 records carry the label"), "{error}");
    assert!(out.iter().all(|arrival| verdict(arrival) == "dimension"));
    assert!(intake.classes().is_empty());
}

#[test]
fn columns_of_csv_are_discovered_in_their_order() {
    let settings = Settings {
        format: Format::Csv,
        columns: strings(&["color", "label", "x", "empty"]),
        ..Settings::default()
    };
    let payloads = ["red,a,1,", "blue,b,2.5,", "3,,9,9", "red,a,1", "blue,a,NA,"];
    let (intake, out) = discover(&settings, &payloads);
    assert_eq!(names(&intake), ["color#", "x", "empty"]);
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    let expected = ["example", "example", "unlabelled", "dimension", "example"];
    assert_eq!(verdicts, expected);
}
