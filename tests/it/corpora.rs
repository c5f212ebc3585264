//! The inputs that fuzzing has found, one kind of behaviour each, as ordinary tests. `SECURITY.md` says how to find more.

use std::fs;
use std::path::Path;

use crate::bodies;

/// Runs a target over its corpus. A packaged crate holds none: the fuzz targets are a package of their own.
fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if root.join("Cargo.toml.orig").exists() {
        return;
    }
    let dir = root.join("fuzz/corpus").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut count = 0;
    for entry in files {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| run(&data));
        assert!(outcome.is_ok(), "{} fails, see above", path.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", dir.display());
}

#[test]
fn record() {
    replay("record", bodies::record::run);
}

#[test]
fn csv() {
    replay("csv", bodies::csv::run);
}

#[test]
fn predict_body() {
    replay("predict_body", bodies::predict_body::run);
}

#[test]
fn checkpoint() {
    replay("checkpoint", bodies::checkpoint::run);
}

#[test]
fn journal() {
    replay("journal", bodies::journal::run);
}

#[test]
fn settings() {
    replay("settings", bodies::settings::run);
}
