//! What the values of a record mean: features, labels, weights, ids.

use std::sync::Arc;

use super::formats::{settings, small};
use super::{arrivals, examples, judge, records, row, strings, verdict};
use crate::codec::{Format, Intake, Reason, Settings};
use crate::example::Outcome;

#[test]
fn missing_is_null_empty_na_or_absent() {
    for fields in [
        r#""x":null,"c":null,"#,
        r#""x":"","c":"","#,
        r#""x":"NA","c":"NA","#,
        "",
    ] {
        let payload = format!(r#"{{{fields}"label":"a"}}"#);
        assert!(
            row(&small(), &payload).iter().all(|v| v.is_nan()),
            "{payload}"
        );
    }
    let csv = Settings {
        format: Format::Csv,
        columns: strings(&["x", "c", "label"]),
        ..small()
    };
    for payload in [",,a", "NA,NA,a", "\"\",\"NA\",a"] {
        assert!(row(&csv, payload).iter().all(|v| v.is_nan()), "{payload}");
    }
    for text in ["na", " ", "null", "N/A"] {
        assert_eq!(
            judge(&small(), format!(r#"{{"x":"{text}","label":"a"}}"#)),
            "feature_type"
        );
        let category = row(&small(), &format!(r#"{{"c":"{text}","label":"a"}}"#));
        assert!(category[1] >= 0.0, "{text:?} is a category");
    }
}

#[test]
fn categories_are_their_text() {
    let bucket = |value: &str| row(&wide(), &format!(r#"{{"c":{value},"label":"a"}}"#))[1];
    fn wide() -> Settings {
        Settings {
            category_buckets: 65_536,
            ..small()
        }
    }
    assert_eq!(bucket("3"), bucket("\"3\""));
    assert_eq!(bucket("true"), bucket("\"true\""));
    assert_eq!(bucket("\"\\u00e9\""), bucket("\"\u{e9}\""));
    assert_ne!(bucket("3"), bucket("3.0"));
    assert_ne!(bucket("\"a\""), bucket("\"A\""));
}

#[test]
fn a_label_is_its_text() {
    let class = |label: &str| {
        let payload = format!(r#"{{"x":1,"label":{label}}}"#);
        let (_, out) = arrivals(Intake::new(&small(), None), records([payload]));
        match &out[0].outcome {
            Outcome::Example { new_class, .. } => new_class.as_deref().unwrap_or("-").to_owned(),
            _ => verdict(&out[0]).to_owned(),
        }
    };
    for (label, expected) in [
        ("3", "3"),
        ("\"3\"", "3"),
        ("-12", "-12"),
        ("99999999999999999999", "99999999999999999999"),
        ("\"a b\"", "a b"),
        ("1.0", "label_type"),
        ("1e0", "label_type"),
        ("true", "label_type"),
        ("false", "label_type"),
        ("[]", "label_type"),
        ("{}", "label_type"),
        ("null", "unlabelled"),
        ("\"\"", "unlabelled"),
        ("\"NA\"", "unlabelled"),
    ] {
        assert_eq!(class(label), expected, "{label}");
    }
    assert_eq!(judge(&small(), r#"{"x":1}"#), "unlabelled");
    let payloads = [r#"{"x":1,"label":3}"#, r#"{"x":1,"label":"3"}"#];
    let (intake, out) = arrivals(Intake::new(&small(), None), records(payloads));
    assert_eq!(examples(&out)[1].1, 0);
    assert_eq!(intake.classes(), [Arc::from("3")]);
}

#[test]
fn an_unlabelled_record_must_be_sound_all_the_same() {
    assert_eq!(
        judge(&small(), r#"{"x":"no","label":null}"#),
        "feature_type"
    );
    assert_eq!(
        judge(&small(), r#"{"features":[1],"label":null}"#),
        "dimension"
    );
}

#[test]
fn labels_and_ids_of_csv_are_their_text() {
    let csv = settings(Format::Csv);
    let payloads = [
        "007,1,m,1,1.0,,",
        ",1,m,1,true,0,",
        "x,1,m,1,,1,",
        "x,1,m,1,NA,1,",
    ];
    let (intake, out) = arrivals(Intake::new(&csv, None), records(payloads));
    assert_eq!(intake.classes(), [Arc::from("1.0"), Arc::from("true")]);
    let found: Vec<_> = examples(&out).into_iter().map(|e| (e.2, e.3)).collect();
    let expected = [
        (1.0_f32.to_bits(), Some("007".to_owned())),
        (0.0_f32.to_bits(), None),
    ];
    assert_eq!(found, expected);
    assert_eq!([verdict(&out[2]), verdict(&out[3])], ["unlabelled"; 2]);
}

#[test]
fn a_weight_is_a_finite_number_and_one_when_absent() {
    let weighted = Settings {
        weight: "w".into(),
        ..small()
    };
    for (field, expected) in [
        ("", Some(1.0_f32)),
        (r#""w":null,"#, Some(1.0)),
        (r#""w":"","#, Some(1.0)),
        (r#""w":0,"#, Some(0.0)),
        (r#""w":-0.0,"#, Some(0.0)),
        (r#""w":0.1,"#, Some(0.1)),
        (r#""w":-0.1,"#, None),
        (r#""w":"2","#, None),
        (r#""w":1e39,"#, None),
    ] {
        let payload = format!(r#"{{"x":1,{field}"label":"a"}}"#);
        let (_, out) = arrivals(Intake::new(&weighted, None), records([&payload]));
        let found = examples(&out).first().map(|example| example.2);
        assert_eq!(found, expected.map(f32::to_bits), "{payload}");
        assert_eq!(
            verdict(&out[0]),
            if expected.is_some() {
                "example"
            } else {
                "weight"
            }
        );
    }
}

#[test]
fn an_id_is_a_short_text() {
    let named = Settings {
        id: "tx".into(),
        ..small()
    };
    let id = |value: &str| {
        let payload = format!(r#"{{"tx":{value},"label":"a"}}"#);
        let (_, out) = arrivals(Intake::new(&named, None), records([payload]));
        examples(&out)[0].3.clone()
    };
    assert_eq!(id("\"a1\"").as_deref(), Some("a1"));
    assert_eq!(
        id("12345678901234567890123").as_deref(),
        Some("12345678901234567890123")
    );
    assert_eq!(id("true").as_deref(), Some("true"));
    assert_eq!([id("null"), id("\"\""), id("[1]")], [None, None, None]);
    // Cut between characters, not inside one: 255 bytes and a character of two.
    let long = format!("\"{}\u{e9}{}\"", "x".repeat(255), "y".repeat(100));
    assert_eq!(id(&long), Some("x".repeat(255)));
}

#[test]
fn classes_are_discovered_up_to_a_number_and_refused_beyond() {
    let two = Settings {
        max_classes: 2,
        ..small()
    };
    let payloads = ["a", "b", "c", "a", "b"].map(|label| format!(r#"{{"x":1,"label":"{label}"}}"#));
    let (intake, out) = arrivals(Intake::new(&two, None), records(&payloads));
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    let expected = ["example", "example", "label_unknown", "example", "example"];
    assert_eq!(verdicts, expected);
    assert_eq!(intake.classes().len(), 2);
    let given = Settings {
        classes: strings(&["b", "a", "never"]),
        ..two
    };
    let (intake, out) = arrivals(Intake::new(&given, None), records(&payloads));
    let classes: Vec<_> = examples(&out).into_iter().map(|e| (e.1, e.4)).collect();
    assert_eq!(classes, [(1, None), (0, None), (1, None), (0, None)]);
    assert_eq!(intake.classes().len(), 3, "all that are given are known");
}

#[test]
fn a_reason_stands_at_its_own_place_under_its_own_name() {
    let names: Vec<_> = Reason::ALL.map(Reason::as_str).into();
    for (place, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place, "{reason}");
        assert_eq!(
            names.iter().position(|n| *n == reason.as_str()),
            Some(place)
        );
        // The name in reports and files is the same as in metrics.
        let text = serde_json::to_string(&reason).expect("a name");
        assert_eq!(text, format!("\"{reason}\""));
    }
}

#[test]
fn all_bad_records_but_tombstones_are_dead_letters() {
    for reason in Reason::ALL {
        assert_eq!(
            reason.is_dead_letter(),
            reason != Reason::Tombstone,
            "{reason}"
        );
    }
}
