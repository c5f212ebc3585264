//! The walls of the house: who may import whom, how long a file may be, and that the documents are complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Layer of a room; a room may use rooms of lower layers, and pure rooms and edges never each other.
fn layer(room: &str) -> u8 {
    match room {
        "crash" | "example" | "random" | "state" | "wide" => 0,
        "absgd" | "loss" | "model" | "codec" | "evaluate" => 1,
        "learner" => 2,
        "stream" | "checkpoint" | "serve" | "telemetry" => 3,
        "config" | "daemon" | "cli" | "main" | "lib" => 4,
        other => panic!("room {other:?} has no layer: add it to the map in lib.rs and here"),
    }
}

fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Rooms named after `crate::` in a line of code, groups such as `crate::{codec, model}` included.
fn imported_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    for (at, _) in code.match_indices("crate::") {
        if at > 0 && code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        rooms.insert(name(item.trim()));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            rooms.insert(name(item.trim()));
        } else {
            rooms.insert(name(rest));
        }
    }
    rooms.remove("");
    rooms
}

fn code_of(path: &Path) -> String {
    read(path)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Tests of a room may use what they compare it with.
fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn may_use(user: &str, used: &str) -> bool {
    // Two exceptions: an outcome carries the reason of a reject, and the model applies the update rule of ABSGD.
    user == used
        || layer(used) < layer(user)
        || layer(user) == 4
        || (user, used) == ("example", "codec")
        || (user, used) == ("model", "absgd")
}

#[test]
fn imports_point_inwards_and_edges_never_meet() {
    for path in files("src", "rs") {
        if is_test(&path) {
            continue;
        }
        let user = room_of(&path);
        for used in imported_rooms(&code_of(&path)) {
            assert!(
                may_use(&user, &used),
                "{}: the room {user} may not use {used}",
                path.display()
            );
        }
    }
}

#[test]
fn the_import_scanner_sees_groups_and_skips_macros() {
    let code = "use crate::{codec::{self, Schema}, model};\nfn f() { crate::stream::x() }\n$crate::serve::y";
    let rooms: Vec<String> = imported_rooms(code).into_iter().collect();
    assert_eq!(rooms, ["codec", "model", "stream"]);
    assert!(!may_use("stream", "serve"));
    assert!(!may_use("codec", "model"));
    assert!(may_use("learner", "codec"));
    assert!(!may_use("codec", "learner"));
}

#[test]
fn pure_rooms_and_the_heart_hold_no_clock_files_or_network() {
    const BANNED: [&str; 9] = [
        "tokio",
        "rdkafka",
        "axum",
        "std::fs",
        "std::net",
        "std::thread",
        "Instant",
        "SystemTime",
        "tracing::",
    ];
    for path in files("src", "rs") {
        if layer(&room_of(&path)) > 2 || is_test(&path) {
            continue;
        }
        let code = code_of(&path);
        let code = code.split("#[cfg(test)]").next().unwrap();
        for banned in BANNED {
            assert!(!code.contains(banned), "{} uses {banned}", path.display());
        }
    }
}

#[test]
fn metrics_are_named_in_one_file() {
    for path in files("src", "rs") {
        let code = code_of(&path);
        let named = ["counter!(", "gauge!(", "histogram!("]
            .iter()
            .any(|name| code.contains(name));
        assert!(
            !named || room_of(&path) == "telemetry",
            "{} names a metric: record a fact in telemetry instead",
            path.display()
        );
    }
}

#[test]
fn files_stay_short() {
    for dir in ["src", "tests", "benches"] {
        for path in files(dir, "rs") {
            let lines = read(&path).lines().count();
            assert!(lines <= 450, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let words =
        [["TO", "DO"], ["FIX", "ME"], ["#[ig", "nore"], ["XX", "X"]].map(|word| word.concat());
    for dir in ["src", "tests", "benches", "docker", "config", "docs"] {
        for extension in ["rs", "toml", "md", "yaml", "py", "js", "html", "css"] {
            for path in files(dir, extension) {
                for (number, line) in read(&path).lines().enumerate() {
                    for word in &words {
                        assert!(
                            !line.contains(word),
                            "{}:{}: {word}",
                            path.display(),
                            number + 1
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_settings_file_names_every_key_with_its_default() {
    let text = read(&root().join("config/skewd.toml"));
    let uncommented: String = text
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                })
            });
            format!("{}\n", bare.unwrap_or(line))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("skewd.toml");
    fs::write(&path, &uncommented).unwrap();
    let stated: toml::Table = uncommented.parse().unwrap();
    let defaults = skewd::config::Config::default();
    for (key, value) in defaults.dotted() {
        let mut at = &toml::Value::Table(stated.clone());
        for part in key.split('.') {
            at = at
                .get(part)
                .unwrap_or_else(|| panic!("config/skewd.toml lacks {key} (default {value})"));
        }
    }
    let loaded = skewd::config::Config::load(&[path], std::iter::empty(), &[]).unwrap();
    assert_eq!(loaded, defaults, "config/skewd.toml states other defaults");
}

#[test]
fn the_readme_lists_every_metric() {
    let docs = read(&root().join("docs/metrics.md"));
    for metric in skewd::telemetry::TABLE {
        assert!(
            docs.contains(&format!("`{}`", metric.name)),
            "docs/metrics.md lacks {}",
            metric.name
        );
    }
}

#[test]
fn decisions_are_numbered_once() {
    let mut numbers = BTreeSet::new();
    for path in files("docs/adr", "md") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = name.split('-').next().unwrap().to_owned();
        assert_eq!(number.len(), 4, "{name}: begin with four digits");
        assert!(numbers.insert(number), "{name}: number used twice");
    }
    assert!(!numbers.is_empty());
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let table = read(&root().join("docs/reliability.md"));
    let mut sources = String::new();
    for path in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        sources.push_str(&read(&path));
    }
    let mut named = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let shown = line.split(" | ").nth(2).unwrap_or_default();
        // Test names have at least three words; other code in the cells has none such.
        let names = shown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.matches('_').count() >= 3);
        for name in names {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "docs/reliability.md names {name}, which is no test"
            );
            named += 1;
        }
    }
    assert!(named > 80, "only {named} tests are named");
}
