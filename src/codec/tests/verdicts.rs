//! What the verdicts on the records made by hand are, and what bad records may not change.

use super::corpus::{GOOD, corpus, good, label, settings, with};
use super::{Bits, arrivals, examples, judge, records, strings, verdict};
use crate::codec::{Intake, Reason, Settings};
use crate::example::{Outcome, Record};

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
        // The learner gives the last one: a record alone cannot.
        let elsewhere = matches!(
            reason,
            Reason::Tombstone | Reason::DecoderPanic | Reason::Exploding
        );
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
                let discovering = Settings {
                    max_record_bytes: 1 << 20,
                    ..Settings::default()
                };
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
        let text = String::from_utf8_lossy(&poison);
        // Fields of their own, which no schema refuses as yet: those records are good ones here.
        if ["zz", "amount2", "\"features\":{", "\"lon\""]
            .iter()
            .any(|own| text.contains(own))
        {
            continue;
        }
        // Without a schema these parse, so that the first sight of a field may be in them; what it is, is not.
        let parses = ["feature_type", "non_finite", "dimension"].contains(&verdict);
        let positions = if parses { &[7][..] } else { &[0, 7] };
        for &position in positions {
            let mut stream = clean.clone();
            stream.insert(position, poison.clone());
            let (intake, out) = arrivals(Intake::new(&discovering, None), records(&stream));
            assert_eq!(super::schema_of(&intake), schema, "{text}");
            assert_eq!(examples(&out), expected, "{text}");
        }
    }
}
