//! Depth and names that stand twice: the verdict does not depend on what the schema knows.

use super::{arrivals, examples, judge, records, schema_of, strings};
use crate::codec::{Format, Intake, Reason, Schema, Settings, row_of_json};

/// An array `depth` levels deep.
fn array(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

/// Objects inside one another under `name`, `depth` levels deep.
fn object(name: &str, depth: usize) -> String {
    let open = format!("{{\"{name}\":");
    format!("{}1{}", open.repeat(depth), "}".repeat(depth))
}

fn wide() -> Settings {
    Settings {
        features: strings(&["x", "c", "g.y"]),
        categorical: strings(&["c"]),
        ignore: strings(&["note"]),
        id: "tx".into(),
        timestamp: "at".into(),
        ..Settings::default()
    }
}

#[test]
fn depth_is_judged_alike_wherever_it_stands() {
    // The record is the first of 128 levels; every field but its own value is inside it.
    for (depth, deep) in [(126, false), (127, false), (128, true), (129, true)] {
        let values = [array(depth), object("a", depth), object("y", depth)];
        for value in &values {
            for field in [
                "x", "c", "g", "g.y", "note", "tx", "at", "zz", "label", "weight",
            ] {
                let payload = format!(r#"{{"label2":"ok","{field}":{value}}}"#);
                for settings in [wide(), Settings::default()] {
                    let verdict = judge(&settings, &payload);
                    assert_eq!(verdict == "syntax", deep, "{field} {depth}: {verdict}");
                }
            }
        }
        // One level more around the value, so one less inside.
        let (element, field) = (array(depth - 1), object("y", depth - 1));
        for payload in [
            format!(r#"{{"features":[1,"m",{element}],"label":"ok"}}"#),
            format!(r#"{{"features":[1,{element},2],"label":"ok"}}"#),
            format!(r#"{{"features":{{"zz":{element}}},"label":"ok"}}"#),
            format!(r#"{{"features":{{"g":{field}}},"label":"ok"}}"#),
            format!(r#"{{"g":{{"y":{element}}},"label":"ok"}}"#),
            format!(r#"{{"g":{{"zz":{element}}},"label":"ok"}}"#),
        ] {
            let verdict = judge(&wide(), &payload);
            assert_eq!(verdict == "syntax", deep, "{depth}: {verdict} {payload}");
        }
    }
}

#[test]
fn many_brackets_are_not_depth_and_brackets_in_texts_are_none() {
    let flat = vec!["[{}]"; 500].join(",");
    let text = "[{".repeat(500);
    for value in [format!("[{flat}]"), format!("\"\\\"{text}\\\\\"")] {
        let payload = format!(r#"{{"x":1,"zz":{value},"note":{value},"label":"ok"}}"#);
        assert_eq!(judge(&wide(), &payload), "example");
        assert_eq!(judge(&Settings::default(), &payload), "example");
    }
}

#[test]
fn rows_of_predictions_are_refused_from_the_same_depth_on() {
    let schema = Schema::given(&wide()).expect("features are given");
    let read = |raw: String| row_of_json(&schema, &wide(), &raw).map_err(|reject| reject.reason);
    assert!(read(format!("{{\"zz\":{}}}", array(127))).is_ok());
    let deep = read(format!("{{\"zz\":{}}}", array(128)));
    assert_eq!(deep, Err(Reason::Syntax));
    let deep = read(format!("[{},\"m\",1]", array(128)));
    assert_eq!(deep, Err(Reason::Syntax));
}

#[test]
fn no_schema_follows_from_a_record_that_names_a_feature_twice() {
    let discovering = |format| Settings {
        format,
        ignore: strings(&["note"]),
        ..Settings::default()
    };
    let clean = [
        r#"{"x":1,"g":{"y":2},"label":"a"}"#,
        r#"{"x":2,"g":{"y":3},"label":"b"}"#,
    ];
    let (intake, out) = arrivals(
        Intake::new(&discovering(Format::Flat), None),
        records(clean),
    );
    let (schema, expected) = (schema_of(&intake), examples(&out));
    for twice in [
        r#"{"g":{"y":1,"y":2},"label":"a"}"#,
        r#"{"g":{"y":1},"g.y":2,"label":"a"}"#,
        r#"{"x":1,"x":2,"label":"a"}"#,
    ] {
        let payloads = [twice, clean[0], clean[1]];
        let settings = discovering(Format::Flat);
        let (intake, out) = arrivals(Intake::new(&settings, None), records(payloads));
        assert_eq!(schema_of(&intake), schema, "{twice}");
        assert_eq!(examples(&out), expected, "{twice}");
    }
    // What is ignored is not looked into: such a record is a good one, before and after.
    let odd = r#"{"x":3,"note":{"a":1,"a":2},"label":"a"}"#;
    let (intake, _) = arrivals(
        Intake::new(&discovering(Format::Auto), None),
        records([odd]),
    );
    assert_eq!(intake.schema().map(|schema| schema.len()), Some(1));
    assert_eq!(judge(&wide(), odd), "example");
}
