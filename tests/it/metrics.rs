//! `/metrics` as Prometheus reads it.

use std::collections::BTreeSet;

use skewd::telemetry::{Kind, TABLE};

use crate::support::{Daemon, as_json, rows};

fn base_name(name: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| {
            let base = name.strip_suffix(suffix)?;
            TABLE.iter().any(|entry| entry.name == base).then_some(base)
        })
        .unwrap_or(name)
}

#[test]
fn every_series_is_in_the_table_and_every_label_too() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &["schema.features=a,b,c,d"]);
    let mut lines = as_json(&rows(2000, 1));
    // More classes than have a label of their own.
    lines.extend(
        (0..60)
            .map(|class| format!(r#"{{"a":0,"b":{class},"c":1,"d":2,"label":"class-{class}"}}"#)),
    );
    lines.push("not json".to_owned());
    lines.push(r#"{"a":1}"#.to_owned());
    daemon.feed(&lines);
    daemon.wait_for_examples(2060);
    daemon.post("/v1/predict", "application/json", r#"{"rows":[[1,2,3,4]]}"#);
    daemon.get("/no/such/path");
    daemon.get("/no/such/path/either");
    daemon.admin("POST", "/v1/checkpoint", "");
    std::thread::sleep(std::time::Duration::from_millis(600));
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    let text = text.as_str().unwrap();
    let parsed =
        prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut seen = BTreeSet::new();
    let mut classes = BTreeSet::new();
    for sample in &parsed.samples {
        let name = base_name(&sample.metric);
        let entry = TABLE
            .iter()
            .find(|entry| entry.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        seen.insert(entry.name);
        for (label, value) in sample.labels.iter() {
            let known = entry.labels.contains(&label.as_str())
                || (label == "le" && matches!(entry.kind, Kind::Histogram(_)));
            assert!(known, "{name} has the label {label}");
            if label == "class" {
                classes.insert(value.to_owned());
            }
            if label == "route" {
                assert!(
                    !value.contains("no/such"),
                    "a path of a client became a label: {value}"
                );
            }
        }
    }
    assert!(classes.contains("other"));
    assert!(
        classes.len() <= skewd::telemetry::CLASS_LABELS + 1,
        "{classes:?}"
    );
    let missing: Vec<&str> = TABLE
        .iter()
        .map(|entry| entry.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "never published");
    for entry in TABLE {
        let kind = match entry.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert!(
            text.contains(&format!("# TYPE {} {kind}\n", entry.name)),
            "{} is no {kind}",
            entry.name
        );
        assert!(
            text.contains(&format!("# HELP {} ", entry.name)),
            "{}",
            entry.name
        );
    }
}

#[test]
fn names_follow_the_guide() {
    for entry in TABLE {
        let total = entry.name.ends_with("_total");
        assert_eq!(total, entry.kind == Kind::Counter, "{}", entry.name);
        assert!(entry.name.starts_with("skewd_"));
        if let Kind::Histogram(buckets) = entry.kind {
            assert!(
                buckets.windows(2).all(|pair| pair[0] < pair[1]),
                "{}",
                entry.name
            );
        }
    }
}
