//! Records made by hand, bad and odd ones, each with its verdict; and what they may not change.

use super::{Bits, arrivals, examples, judge, records, strings, verdict};
use crate::codec::{Intake, Reason, Settings};
use crate::example::{Outcome, Record};

/// Two numbers, one category, one nested number; every role has a field.
fn settings() -> Settings {
    Settings {
        features: strings(&["amount", "count", "merchant", "geo.lat"]),
        categorical: strings(&["merchant"]),
        ignore: strings(&["note"]),
        id: "tx".into(),
        timestamp: "at".into(),
        weight: "w".into(),
        classes: strings(&["ok", "fraud", "3", "-1", "18446744073709551616"]),
        max_record_bytes: 4096,
        ..Settings::default()
    }
}

/// A flat record with one more field.
fn with(field: &str) -> String {
    format!(r#"{{"amount":1.5,{field},"label":"ok"}}"#)
}

fn label(value: &str) -> String {
    format!(r#"{{"amount":1.5,"label":{value}}}"#)
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

/// Payload and expected verdict.
pub(super) fn corpus() -> Vec<(Vec<u8>, &'static str)> {
    let mut corpus: Vec<(Vec<u8>, &'static str)> = Vec::new();
    let mut add =
        |verdict: &'static str, payload: &str| corpus.push((payload.as_bytes().to_vec(), verdict));
    for payload in [
        "{",
        "}",
        "nul",
        "{\"amount\":1",
        "{\"amount\":}",
        "{\"amount\":1,}",
        "{amount:1}",
        "{'amount':1}",
        "{\"amount\":1}x",
        "{\"amount\":1}{\"amount\":2}",
        "{\"amount\" 1}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\q\"}",
        "{\"merchant\":\"\\ud800\"}",
        "{\"merchant\":\"x}",
        "\u{feff}{\"amount\":1}",
        "[1,2",
        "{\"label\":tru}",
        "// note\n{}",
        "amount,label\n1,ok",
        "\0",
        "{\"amount\":1}\0",
    ] {
        add("syntax", payload);
    }
    for number in [
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        ".5",
        "1.",
        "0x10",
        "1e",
        "--1",
        "1_000",
    ] {
        add("syntax", &with(&format!("\"count\":{number}")));
    }
    for twice in [
        "\"amount\":1",
        "\"\\u0061mount\":1",
        "\"zz\":1,\"zz\":1",
        "\"note\":1,\"note\":2",
        "\"geo\":{\"lat\":1,\"lat\":2}",
        "\"geo\":{\"lat\":1},\"geo.lat\":2",
        "\"geo\":{\"x\":1,\"x\":2}",
        "\"label\":\"ok\"",
        "\"w\":1,\"w\":1",
    ] {
        add("syntax", &with(twice));
    }
    for depth in [129, 1000] {
        for field in ["zz", "amount2", "note", "merchant", "geo", "count", "w"] {
            add("syntax", &with(&format!("\"{field}\":{}", nested(depth))));
        }
        add("syntax", &nested(depth));
        add("syntax", &label(&nested(depth)));
    }
    for payload in ["", " ", "\n", "\r\n\t "] {
        add("empty", payload);
    }
    for payload in [
        "[]", "[1,2]", "1", "-1.5e3", "\"\"", "\"text\"", "null", "true", " false ",
    ] {
        add("not_an_object", payload);
    }
    for features in [
        "[]",
        "[1]",
        "[1,2,\"m\"]",
        "[1,2,\"m\",4,5]",
        "[\"x\"]",
        "[null,null,null,null,null]",
    ] {
        add(
            "dimension",
            &format!(r#"{{"features":{features},"label":"ok"}}"#),
        );
    }
    for field in [
        "\"count\":\"12.5\"",
        "\"count\":\"x\"",
        "\"count\":true",
        "\"count\":[1]",
        "\"count\":{\"a\":1}",
        "\"count\":[]",
        "\"count\":{}",
        "\"merchant\":[\"m\"]",
        "\"merchant\":{\"m\":1}",
        "\"geo\":{\"lat\":\"x\"}",
        "\"geo\":{\"lat\":[]}",
        "\"count\":\" \"",
        "\"count\":\"na\"",
    ] {
        add("feature_type", &with(field));
    }
    for features in [
        "[1,\"x\",\"m\",4]",
        "[1,2,[],4]",
        "[[1],2,\"m\",4]",
        "{\"amount\":\"x\"}",
        "{\"amount\":{}}",
    ] {
        add(
            "feature_type",
            &format!(r#"{{"label":"ok","features":{features}}}"#),
        );
    }
    for number in [
        "1e39",
        "-1e39",
        "1e400",
        "-1e400",
        "3.5e38",
        "\"NaN\"",
        "\"-inf\"",
        "\"Infinity\"",
        "\"nan\"",
    ] {
        add("non_finite", &with(&format!("\"count\":{number}")));
        add(
            "non_finite",
            &with(&format!("\"geo\":{{\"lat\":{number}}}")),
        );
        add(
            "non_finite",
            &format!(r#"{{"features":[1,{number},"m",4],"label":"ok"}}"#),
        );
    }
    add(
        "non_finite",
        &with(&format!("\"count\":{}", "9".repeat(400))),
    );
    for value in [
        "1.0",
        "3.0",
        "1e3",
        "1E400",
        "-0.5",
        "true",
        "false",
        "[]",
        "{}",
        "[\"ok\"]",
        "{\"ok\":1}",
    ] {
        add("label_type", &label(value));
    }
    add("label_type", &label(&format!("\"{}\"", "x".repeat(257))));
    for value in [
        "\"no\"",
        "4",
        "-3",
        "18446744073709551617",
        "\"OK\"",
        "\" ok\"",
        "\"3.0\"",
        "\"null\"",
        "-0",
    ] {
        add("label_unknown", &label(value));
    }
    for value in [
        "-1", "-1e-30", "1e39", "1e400", "\"2\"", "\"x\"", "true", "[]", "{}", "\"inf\"",
    ] {
        add("weight", &with(&format!("\"w\":{value}")));
    }
    add(
        "too_large",
        &with(&format!("\"note\":\"{}\"", "x".repeat(4096))),
    );
    add("too_large", &"x".repeat(4097));
    for value in ["null", "\"\"", "\"NA\""] {
        add("unlabelled", &label(value));
    }
    add("unlabelled", "{}");
    add("unlabelled", r#"{"features":{}}"#);
    add("unlabelled", r#"{"meta":{"label":"ok"}}"#);
    corpus.push((b"{\"amount\":1,\"note\":\"\xff\"}".to_vec(), "syntax"));
    corpus.push((b"\xff\xfe{\0}\0".to_vec(), "syntax"));
    corpus.push((b"{\"merchant\":\"\xed\xa0\x80\"}".to_vec(), "syntax"));
    corpus
}

/// Odd, but good.
const GOOD: [&str; 30] = [
    r#"{"label":"ok"}"#,
    r#"{"label":3}"#,
    r#"{"label":"3"}"#,
    r#"{"label":-1}"#,
    r#"{"label":18446744073709551616}"#,
    r#" { "label" : "ok" , "amount" : 1 } "#,
    r#"{"label":"\u006fk"}"#,
    r#"{"amount":-0,"label":"ok"}"#,
    r#"{"amount":1e-400,"label":"ok"}"#,
    r#"{"amount":1e-40,"label":"ok"}"#,
    r#"{"amount":3.4028235e38,"label":"ok"}"#,
    r#"{"amount":9007199254740993,"label":"ok"}"#,
    r#"{"amount":123456789012345678901234567890,"label":"ok"}"#,
    r#"{"amount":0.1000000000000000055511151231257827021181583404541015625,"label":"ok"}"#,
    r#"{"amount":null,"count":"","merchant":"NA","geo":null,"label":"ok"}"#,
    r#"{"amount":"NA","label":"ok"}"#,
    r#"{"merchant":true,"label":"ok"}"#,
    r#"{"merchant":3.50,"label":"ok"}"#,
    r#"{"merchant":1e999,"label":"ok"}"#,
    r#"{"geo":{"lat":1,"lon":[1,{"a":2}]},"label":"ok"}"#,
    r#"{"geo.lat":1,"label":"ok"}"#,
    r#"{"geo":"somewhere","label":"ok"}"#,
    r#"{"zz":[[[1]]],"yy":1e999,"label":"ok"}"#,
    r#"{"features":"none","amount":1,"label":"ok"}"#,
    r#"{"features":[1,2,"m",null],"label":"ok","id":9,"weight":2,"ts":7,"extra":1}"#,
    r#"{"label":"ok","features":{"geo":{"lat":1},"amount":2}}"#,
    r#"{"w":0,"label":"ok"}"#,
    r#"{"w":null,"tx":[1],"at":{},"note":{"a":1},"label":"ok"}"#,
    r#"{"tx":123456789012345678901234567890,"label":"fraud"}"#,
    r#"{"w":-0.0,"label":"ok"}"#,
];

fn good() -> Vec<Vec<u8>> {
    GOOD.iter()
        .map(|payload| payload.as_bytes().to_vec())
        .collect()
}

#[test]
fn every_hand_made_record_gets_its_verdict() {
    let corpus = corpus();
    assert!(corpus.len() >= 64, "{}", corpus.len());
    for (payload, expected) in &corpus {
        let text = String::from_utf8_lossy(payload);
        assert_eq!(judge(&settings(), payload), *expected, "{text}");
    }
    for payload in GOOD {
        assert_eq!(judge(&settings(), payload), "example", "{payload}");
    }
}

#[test]
fn every_reason_has_a_record_that_gives_it() {
    let seen: Vec<&str> = corpus().iter().map(|(_, verdict)| *verdict).collect();
    for reason in Reason::ALL {
        let elsewhere = matches!(reason, Reason::Tombstone | Reason::DecoderPanic);
        assert!(elsewhere || seen.contains(&reason.as_str()), "{reason}");
    }
    let mut tombstone = Record::new(0, 0, "");
    tombstone.payload = None;
    let (_, out) = arrivals(Intake::new(&settings(), None), vec![tombstone]);
    assert_eq!(verdict(&out[0]), "tombstone");
}

#[test]
fn details_are_short_and_printable_and_the_record_is_kept() {
    let mut payloads: Vec<Vec<u8>> = corpus().into_iter().map(|(payload, _)| payload).collect();
    payloads.push(with(&format!("\"count\":\"\\u001b[31m{}\"", "y".repeat(3000))).into_bytes());
    payloads.push(format!("{{\"\\u0007{0}\":1,\"\\u0007{0}\":1}}", "k".repeat(500)).into_bytes());
    let (_, out) = arrivals(Intake::new(&settings(), None), records(&payloads));
    for (arrival, payload) in out.iter().zip(&payloads) {
        if let Outcome::Rejected { reject, record } = &arrival.outcome {
            assert!(!reject.detail.chars().any(char::is_control), "{reject}");
            assert!((10..400).contains(&reject.detail.len()), "{reject}");
            assert_eq!(record.payload.as_deref(), Some(&payload[..]));
        }
    }
}

#[test]
fn details_name_the_field() {
    for (payload, start) in [
        (
            with("\"count\":\"x\""),
            "count: text \"x\" in a numeric feature",
        ),
        (
            with("\"count\":1e400"),
            "count: a number beyond every float",
        ),
        (
            with("\"geo\":{\"lat\":1e400}"),
            "geo.lat: a number beyond every float",
        ),
        (
            with("\"geo\":{\"lat\":true}"),
            "geo.lat: true in a numeric feature",
        ),
        (with("\"w\":-1"), "w: -1 as a weight"),
        (label("1.0"), "label: 1.0 as a label"),
        (
            r#"{"features":[1,"x","m",4],"label":"ok"}"#.into(),
            "features[1] (count): text \"x\"",
        ),
        (
            r#"{"features":[1],"label":"ok"}"#.into(),
            "1 features where the schema has 4",
        ),
        (with("\"zz\":1,\"zz\":1"), "not valid: zz appears twice"),
    ] {
        let (_, out) = arrivals(Intake::new(&settings(), None), records([&payload]));
        let Outcome::Rejected { reject, .. } = &out[0].outcome else {
            panic!("{payload} was accepted")
        };
        assert!(reject.detail.starts_with(start), "{}", reject.detail);
    }
}

#[test]
fn very_deep_nesting_needs_no_deep_stack() {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let values = [deep("[", "]"), deep("{\"a\":", "}")];
    let roomy = Settings {
        max_record_bytes: 1 << 20,
        ..settings()
    };
    let judge_all = move || {
        for value in &values {
            for payload in [
                value.clone(),
                label(value),
                with(&format!("\"count\":{value}")),
            ] {
                assert_eq!(judge(&roomy, &payload), "syntax");
            }
            for field in ["zz", "note", "merchant", "geo", "features"] {
                assert_eq!(
                    judge(&roomy, with(&format!("\"{field}\":{value}"))),
                    "syntax"
                );
                let mut discovering = Settings::default();
                discovering.max_record_bytes = 1 << 20;
                assert_eq!(
                    judge(&discovering, with(&format!("\"{field}\":{value}"))),
                    "syntax"
                );
            }
        }
    };
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small
        .spawn(judge_all)
        .expect("a thread")
        .join()
        .expect("no overflow");
}

fn accepted(settings: &Settings, payloads: &[Vec<u8>]) -> Vec<Bits> {
    let (_, out) = arrivals(Intake::new(settings, None), records(payloads));
    examples(&out)
}

#[test]
fn bad_records_at_every_position_change_no_example() {
    let clean = good();
    let expected = accepted(&settings(), &clean);
    assert_eq!(expected.len(), clean.len());
    for (poison, _) in corpus() {
        for position in 0..8 {
            let mut stream = clean.clone();
            stream.insert(position, poison.clone());
            assert_eq!(
                accepted(&settings(), &stream),
                expected,
                "{}",
                String::from_utf8_lossy(&poison)
            );
        }
    }
}

#[test]
fn a_bad_record_before_another_changes_no_verdict() {
    let corpus = corpus();
    let payloads: Vec<&[u8]> = corpus.iter().map(|(payload, _)| &payload[..]).collect();
    let (_, out) = arrivals(Intake::new(&settings(), None), records(&payloads));
    let verdicts: Vec<_> = out.iter().map(verdict).collect();
    let expected: Vec<_> = corpus.iter().map(|(_, verdict)| *verdict).collect();
    assert_eq!(verdicts, expected);
}

#[test]
fn bad_records_during_discovery_change_neither_schema_nor_examples() {
    let discovering = Settings {
        features: Vec::new(),
        categorical: Vec::new(),
        classes: strings(&["ok", "fraud"]),
        ..settings()
    };
    let merchant = |i: usize| ["x", "y", "z"][i % 3];
    let record = |i: usize| {
        format!(
            r#"{{"amount":{i}.5,"count":{i},"merchant":"{}","geo":{{"lat":{i}}},"note":{i},"label":"{}"}}"#,
            merchant(i),
            ["ok", "fraud"][i % 2]
        )
        .into_bytes()
    };
    let clean: Vec<_> = (0..40).map(record).collect();
    let (intake, out) = arrivals(Intake::new(&discovering, None), records(&clean));
    let (schema, expected) = (super::schema_of(&intake), examples(&out));
    let names: Vec<_> = schema.features.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["amount", "count", "merchant", "geo.lat"]);
    for (poison, verdict) in corpus() {
        // Without a schema these parse, so that their fields count like any other's.
        let text = String::from_utf8_lossy(&poison);
        let unknown_names =
            text.contains("zz") || text.contains("amount2") || text.contains("\"features\":{");
        let parses = [
            "unlabelled",
            "example",
            "feature_type",
            "non_finite",
            "dimension",
        ];
        if parses.contains(&verdict) || unknown_names {
            continue;
        }
        for position in [0, 7] {
            let mut stream = clean.clone();
            stream.insert(position, poison.clone());
            let (intake, out) = arrivals(Intake::new(&discovering, None), records(&stream));
            assert_eq!(super::schema_of(&intake), schema, "{text}");
            assert_eq!(examples(&out), expected, "{text}");
        }
    }
}
