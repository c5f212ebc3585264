//! A bad record never stops the stream, never changes the model, and is never lost without a trace.

use std::collections::BTreeMap;

use crate::support::{self, Daemon, as_json, file, rows};

/// Bad records as a client may send them, one a line, and the reason each is refused for.
fn corpus() -> Vec<(String, &'static str)> {
    let deep = format!(
        r#"{{"a":{}1{},"label":"rare"}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let long = format!(
        r#"{{"a":1,"b":2,"c":3,"d":"{}","label":"rare"}}"#,
        "x".repeat(1_200_000)
    );
    [
        ("{\"a\":1,", "syntax"),
        ("not json", "syntax"),
        (
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}}",
            "syntax",
        ),
        (
            "{\"a\":1,\"a\":2,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "syntax",
        ),
        (
            "{\"a\":NaN,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "syntax",
        ),
        (
            "{\"a\":1e39,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "non_finite",
        ),
        (
            "{\"a\":1e400,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "non_finite",
        ),
        (
            "{\"a\":\"NaN\",\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "non_finite",
        ),
        (
            "{\"a\":\"hello\",\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "feature_type",
        ),
        (
            "{\"a\":[1],\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "feature_type",
        ),
        (
            "{\"a\":true,\"b\":2,\"c\":3,\"d\":4,\"label\":\"rare\"}",
            "feature_type",
        ),
        (
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"label\":1.0}",
            "label_type",
        ),
        (
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"label\":true}",
            "label_type",
        ),
        (
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"label\":[1]}",
            "label_type",
        ),
        (
            "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"label\":\"unheard-of\"}",
            "label_unknown",
        ),
        ("{\"features\":[1,2,3],\"label\":\"rare\"}", "dimension"),
        ("{\"features\":[1,2,3,4,5],\"label\":\"rare\"}", "dimension"),
        (
            "{\"features\":[1,2,3,4],\"label\":\"rare\",\"weight\":-1}",
            "weight",
        ),
        ("[1,2,3,4]", "not_an_object"),
        ("3", "not_an_object"),
        ("\"text\"", "not_an_object"),
        (deep.as_str(), "syntax"),
        (long.as_str(), "too_large"),
    ]
    .into_iter()
    .map(|(line, reason)| (line.to_owned(), reason))
    .collect()
}

const SETTINGS: [&str; 3] = [
    "schema.classes=common,rare",
    "schema.features=a,b,c,d",
    "learner.batch_size=32",
];

#[test]
fn bad_records_are_counted_by_reason_and_leave_the_digest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let good = as_json(&rows(400, 21));
    let clean = file(dir.path(), "clean.jsonl", &good.join("\n"));
    let expected = support::replay(dir.path(), &[&clean], &SETTINGS)["digest"].clone();

    let mut mixed = Vec::new();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let corpus = corpus();
    for (index, line) in good.iter().enumerate() {
        // Every bad record meets several places of a batch.
        let (bad, reason) = &corpus[index % corpus.len()];
        mixed.push(bad.clone());
        *reasons.entry(reason).or_default() += 1;
        mixed.push(line.clone());
        if index % 50 == 0 {
            mixed.push(r#"{"a":1,"b":2,"c":3,"d":4}"#.to_owned());
            mixed.push(r#"{"a":1,"b":2,"c":3,"d":4,"label":null}"#.to_owned());
        }
    }
    let poisoned = file(dir.path(), "poisoned.jsonl", &mixed.join("\n"));
    let report = support::replay(dir.path(), &[&poisoned], &SETTINGS);
    assert_eq!(report["digest"], expected);
    assert_eq!(report["input"]["rejected"], serde_json::json!(reasons));
    assert_eq!(report["input"]["rows"], mixed.len());
}

#[test]
fn the_embedded_stream_stores_bad_records_and_writes_their_dead_letters() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = SETTINGS.to_vec();
    settings.push("learner.batch_linger_ms=off");
    let daemon = Daemon::start(dir.path(), &settings);
    let good = as_json(&rows(64, 5));
    let mut lines = good.clone();
    let corpus: Vec<_> = corpus()
        .into_iter()
        .filter(|(line, _)| line.len() < 100_000)
        .collect();
    for (bad, _) in &corpus {
        lines.insert(lines.len() / 2, bad.clone());
    }
    let answer = daemon.feed(&lines);
    assert_eq!(answer["accepted"], lines.len());
    assert_eq!(answer["next_offset"], lines.len());
    daemon.wait_for_examples(64);
    let (_, text) = daemon.get("/metrics");
    assert!(
        text.as_str()
            .unwrap()
            .contains("skewd_events_rejected_total{reason=\"syntax\"} 6")
    );
    let digest = daemon.admin("POST", "/v1/checkpoint", "").1["digest"].clone();
    assert_eq!(daemon.stop(), Some(0));

    let clean = file(dir.path(), "clean.jsonl", &good.join("\n"));
    assert_eq!(
        support::replay(dir.path(), &[&clean], &SETTINGS)["digest"],
        digest
    );
    let letters = std::fs::read_to_string(dir.path().join("dead_letters.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), corpus.len());
    for (bad, reason) in &corpus {
        let found = letters.lines().any(|line| {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap();
            letter.to_string().contains(reason) && letter.to_string().contains(&escaped(bad))
        });
        assert!(found, "no dead letter for {bad}");
    }
}

/// The record as it looks inside a JSON string.
fn escaped(text: &str) -> String {
    serde_json::to_string(text)
        .unwrap()
        .trim_matches('"')
        .to_owned()
}

/// The value of a series without labels.
fn gauge(daemon: &Daemon, name: &str) -> String {
    let (_, text) = daemon.get("/metrics");
    let text = text.as_str().unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("no series {name}"))
        .to_owned()
}

#[test]
fn a_stream_that_is_mostly_bad_is_said_from_the_exact_record_on_and_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &SETTINGS);
    daemon.feed(&vec!["bad".to_owned(); 5_000]);
    daemon.feed(&as_json(&rows(64, 1)));
    daemon.wait_for_examples(64);
    assert_eq!(daemon.get("/v1/model").1["source"]["state"], "running");
    assert_eq!(gauge(&daemon, "skewd_source_poisoned"), "0");
    daemon.feed(&["bad".to_owned()]);
    daemon.wait_for("poisoned_source", |model| {
        let source = &model["source"];
        source["state"] == "poisoned_source"
            && source["detail"]
                .as_str()
                .unwrap()
                .contains("partition 0 offset 5064,")
    });
    assert_eq!(gauge(&daemon, "skewd_source_poisoned"), "1");
    daemon.feed(&as_json(&rows(64, 2)));
    daemon.wait_for_examples(128);
    // 7,372 good ones leave 2,500 bad ones of the last 10,000.
    daemon.feed(&as_json(&rows(7_372, 3)));
    daemon.wait_for("the end of it", |model| {
        model["source"]["state"] == "running"
    });
    assert_eq!(gauge(&daemon, "skewd_source_poisoned"), "0");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_stream_that_is_mostly_bad_pauses_where_that_is_wanted_until_somebody_has_looked() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [&SETTINGS[..], &["source.on_poison=pause"]].concat();
    let daemon = Daemon::start(dir.path(), &settings);
    let mut lines = vec!["bad".to_owned(); 7_000];
    lines.extend(as_json(&rows(64, 1)));
    daemon.feed(&lines);
    daemon.wait_for("a pause", |model| {
        model["paused"] == true
            && model["source"]["state"] == "paused"
            && model["source"]["detail"]
                .as_str()
                .unwrap()
                .contains("/v1/resume")
    });
    assert_eq!(daemon.get("/v1/model").1["examples"], 0);
    assert_eq!(daemon.admin("POST", "/v1/resume", "").0, 200);
    daemon.wait_for_examples(64);
    assert_eq!(daemon.stop(), Some(0));
}
