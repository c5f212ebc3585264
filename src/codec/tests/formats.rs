//! The ways to write a record, and what its values mean.

use super::{arrivals, examples, judge, records, row, strings, told, verdict};
use crate::codec::{Format, Intake, Reason, RowReader, Schema, Settings, row_of_json};
use crate::example::Outcome;

pub(super) fn settings(format: Format) -> Settings {
    Settings {
        format,
        features: strings(&["amount", "merchant", "geo.lat"]),
        categorical: strings(&["merchant"]),
        id: "id".into(),
        weight: "weight".into(),
        timestamp: "ts".into(),
        columns: strings(&[
            "id", "amount", "merchant", "geo.lat", "label", "weight", "ts",
        ]),
        ..Settings::default()
    }
}

/// One numeric feature, and one category.
pub(super) fn small() -> Settings {
    Settings {
        features: strings(&["x", "c"]),
        categorical: strings(&["c"]),
        ..Settings::default()
    }
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_format_gives_the_same_example() {
    let flat = [
        r#"{"id":"7","amount":0.1,"merchant":"m, \"n\"","geo":{"lat":-1e-3},"label":"a","weight":2.5,"ts":9}"#,
        r#"{"id":"8","amount":null,"merchant":"","label":"b"}"#,
    ];
    let array = [
        r#"{"id":"7","features":[0.1,"m, \"n\"",-1e-3],"label":"a","weight":2.5,"ts":9}"#,
        r#"{"label":"b","features":[null,"NA",""],"id":"8"}"#,
    ];
    let object = [
        r#"{"features":{"geo":{"lat":-1e-3},"merchant":"m, \"n\"","amount":0.1},"weight":2.5,"label":"a","id":"7"}"#,
        r#"{"features":{},"id":"8","label":"b"}"#,
    ];
    let csv = ["7,0.1,\"m, \"\"n\"\"\",-1e-3,a,2.5,9", "8,,NA,,b,,"];
    let read = |format, payloads: [&str; 2]| {
        let (_, out) = arrivals(Intake::new(&settings(format), None), records(payloads));
        examples(&out)
    };
    let expected = read(Format::Flat, flat);
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0].0[0], 0.1_f32.to_bits());
    assert_eq!(expected[0].2, 2.5_f32.to_bits());
    for format in [Format::Envelope, Format::Auto] {
        assert_eq!(read(format, array), expected, "{format:?}, by position");
        assert_eq!(read(format, object), expected, "{format:?}, by name");
    }
    assert_eq!(read(Format::Auto, flat), expected);
    assert_eq!(read(Format::Auto, [flat[0], array[1]]), expected);
    assert_eq!(read(Format::Auto, [array[0], flat[1]]), expected);
    assert_eq!(read(Format::Csv, csv), expected);
}

#[test]
fn a_record_is_an_envelope_exactly_when_features_is_an_array_or_object() {
    let auto = small();
    assert_eq!(
        row(&auto, r#"{"x":5,"features":[1,"c"],"label":"a"}"#)[0],
        1.0
    );
    assert_eq!(
        row(&auto, r#"{"features":{"x":2},"x":5,"label":"a"}"#)[0],
        2.0
    );
    for scalar in ["1", "null", "true", "\"[1]\""] {
        let payload = format!(r#"{{"features":{scalar},"x":5,"label":"a"}}"#);
        assert_eq!(row(&auto, &payload)[0], 5.0, "{payload}");
    }
    let flat = Settings {
        format: Format::Flat,
        ..small()
    };
    assert_eq!(
        row(&flat, r#"{"features":[1,"c"],"x":5,"label":"a"}"#)[0],
        5.0
    );
    let envelope = Settings {
        format: Format::Envelope,
        ..small()
    };
    assert_eq!(judge(&envelope, r#"{"x":5,"label":"a"}"#), "dimension");
}

#[test]
fn an_envelope_has_its_usual_names_without_any_setting() {
    let payload = r#"{"features":[1,"c"],"label":"a","id":12,"weight":0.5,"ts":"now"}"#;
    let (_, out) = arrivals(Intake::new(&small(), None), records([payload]));
    let Outcome::Example {
        example,
        unknown_fields,
        ..
    } = &out[0].outcome
    else {
        panic!("no example: {out:?}")
    };
    assert_eq!((example.weight, *unknown_fields), (0.5, 0));
    assert_eq!(example.id.as_deref(), Some("12"));
    let flat = r#"{"x":1,"c":"c","label":"a","id":12,"weight":-1,"ts":"now"}"#;
    let (_, out) = arrivals(Intake::new(&small(), None), records([flat]));
    assert_eq!(verdict(&out[0]), "example", "only fields that no one knows");
    assert_eq!(
        (examples(&out)[0].2, &examples(&out)[0].3),
        (1.0_f32.to_bits(), &None)
    );
}

#[test]
fn dotted_paths_reach_into_objects_and_dotted_names_are_the_same() {
    let settings = Settings {
        features: strings(&["a.b.c", "a.d", "a"]),
        label: "meta.label".into(),
        ..Settings::default()
    };
    let nested = r#"{"a":{"d":2,"b":{"c":1}},"meta":{"label":"x"}}"#;
    let dotted = r#"{"a.b.c":1,"a.d":2,"meta.label":"x"}"#;
    let both = r#"{"a":{"b.c":1},"a.d":2,"meta":{"label":"x"}}"#;
    for payload in [nested, dotted, both] {
        let row = row(&settings, payload);
        assert_eq!(row[..2], [1.0, 2.0], "{payload}");
        assert!(row[2].is_nan(), "{payload}");
    }
    assert_eq!(row(&settings, r#"{"a":3,"meta":{"label":"x"}}"#)[2], 3.0);
    assert_eq!(judge(&settings, r#"{"a":3,"meta":"x"}"#), "unlabelled");
    let csv = Settings {
        format: Format::Csv,
        columns: strings(&["meta.label", "a.d", "a.b.c"]),
        ..settings
    };
    assert_eq!(row(&csv, "x,2,1")[..2], [1.0, 2.0]);
}

#[test]
fn rows_of_predictions_are_read_by_name_in_any_order_or_by_position() {
    let settings = settings(Format::Auto);
    let schema = Schema::given(&settings).expect("features are given");
    let read = |raw: &str| row_of_json(&schema, &settings, raw).map(|row| bits(&row));
    let expected = read(r#"[12.5,"m",47]"#).expect("a row");
    let fields = [
        r#""amount":12.5"#,
        r#""merchant":"m""#,
        r#""geo":{"lat":47}"#,
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let text = format!("{{{}}}", order.map(|index| fields[index]).join(","));
        assert_eq!(read(&text).as_ref(), Ok(&expected), "{text}");
    }
    let extra = r#"{"label":1.5,"geo.lat":47,"zz":[1],"weight":-1,"amount":12.5,"merchant":"m"}"#;
    assert_eq!(
        read(extra).as_ref(),
        Ok(&expected),
        "unknown names are ignored"
    );
    let missing = bits(&[f32::NAN; 3]);
    for text in [
        "{}",
        r#"{"amount":null,"merchant":"NA"}"#,
        r#"[null,"",""]"#,
    ] {
        assert_eq!(read(text).as_ref(), Ok(&missing), "{text}");
    }
    let record = r#"{"amount":12.5,"merchant":"m","geo":{"lat":47},"label":"a"}"#;
    assert_eq!(
        bits(&row(&settings, record)),
        expected,
        "as a record is read"
    );
}

#[test]
fn bad_rows_of_predictions_name_their_place() {
    let schema = Schema::given(&settings(Format::Auto)).expect("features are given");
    let reader = RowReader::new(&schema);
    for (text, reason, detail) in [
        (
            "[1]",
            Reason::Dimension,
            ": 1 features where the schema has 3",
        ),
        (
            r#"[1,"m",2,3]"#,
            Reason::Dimension,
            ": 4 features where the schema has 3",
        ),
        (r#"["x","m",2]"#, Reason::FeatureType, "[0]: text \"x\""),
        (r#"{"amount":true}"#, Reason::FeatureType, ".amount: true"),
        (
            r#"{"geo":{"lat":1e39}}"#,
            Reason::NonFinite,
            ".geo.lat: 1e39 does not fit",
        ),
        (
            r#"{"amount":1,"amount":2}"#,
            Reason::Syntax,
            ": not valid JSON",
        ),
        (
            "7",
            Reason::NotAnObject,
            ": a row must be an array or an object, not 7",
        ),
        ("[1,", Reason::Syntax, ": not valid JSON"),
        ("", Reason::Syntax, ": not valid JSON"),
    ] {
        let reject = reader.read(text).expect_err(text);
        assert_eq!(reject.reason, reason, "{text}");
        assert!(
            reject.detail.starts_with(detail),
            "{text}: {}",
            reject.detail
        );
    }
}

#[test]
fn the_header_of_a_file_comes_before_the_columns_of_the_settings() {
    let csv = Settings {
        format: Format::Csv,
        columns: strings(&["x", "c", "label"]),
        ..small()
    };
    let mut intake = Intake::new(&csv, None);
    let header = strings(&["\u{feff}label", "zz", "x"]);
    assert_eq!(intake.set_columns(header), Ok(()));
    let warnings = told(&mut intake);
    assert!(
        warnings[0].contains("no column and count as missing"),
        "{warnings:?}"
    );
    let mut out = Vec::new();
    let stream = records(["a,9,1.5", "1.5,m,a"]);
    intake.push(stream[0].clone(), &mut out);
    assert_eq!(intake.set_columns(Vec::new()), Ok(()));
    intake.push(stream[1].clone(), &mut out);
    let rows: Vec<_> = examples(&out)
        .into_iter()
        .map(|example| example.0[0])
        .collect();
    assert_eq!(rows, [1.5_f32.to_bits(); 2]);
    let twice = intake.set_columns(strings(&["x", "label", "x"]));
    assert!(twice.unwrap_err().contains("\"x\" twice"));
    assert_eq!(intake.set_columns(strings(&["x", "class"])), Ok(()));
    assert!(told(&mut intake)[0].contains("no column is named \"label\""));
}

#[test]
fn a_csv_message_is_one_record_of_as_many_fields_as_columns() {
    let csv = Settings {
        format: Format::Csv,
        columns: strings(&["x", "c", "label"]),
        ..small()
    };
    for (payload, expected) in [
        ("1,m,a", "example"),
        ("1,m,a\r\n", "example"),
        ("1,\"two\nlines\",a", "example"),
        ("1,m", "dimension"),
        ("1,m,a,", "dimension"),
        ("1,m,a\n2,m,a", "syntax"),
        ("x,m,a", "feature_type"),
        ("+1,m,a", "feature_type"),
        ("1e39,m,a", "non_finite"),
        ("inf,m,a", "non_finite"),
        ("\n", "empty"),
    ] {
        assert_eq!(judge(&csv, payload), expected, "{payload:?}");
    }
}
