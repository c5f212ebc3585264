//! Records made by hand, bad and odd ones, each with its verdict.

use super::strings;
use crate::codec::Settings;

/// Two numbers, one category, one nested number; every role has a field.
pub(super) fn settings() -> Settings {
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
pub(super) fn with(field: &str) -> String {
    format!(r#"{{"amount":1.5,{field},"label":"ok"}}"#)
}

pub(super) fn label(value: &str) -> String {
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
pub(super) const GOOD: [&str; 30] = [
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

pub(super) fn good() -> Vec<Vec<u8>> {
    GOOD.iter()
        .map(|payload| payload.as_bytes().to_vec())
        .collect()
}
