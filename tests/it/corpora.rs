//! The inputs that fuzzing has found as ordinary tests: those that once failed or were written by hand, a file each, and
//! the minimised corpora, packed. `SECURITY.md` says how to find more.

use std::fs;
use std::path::Path;

use crate::bodies;

/// A tar archive's blocks.
const BLOCK: usize = 512;

/// Runs a target over its inputs. A packaged crate holds none: the fuzz targets are a package of their own.
fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !root.exists() {
        return;
    }
    let check = |name: &str, data: &[u8]| {
        let outcome = std::panic::catch_unwind(|| run(data));
        assert!(outcome.is_ok(), "{name} of {target} fails, see above");
    };
    let dir = root.join("corpus").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut count = 0;
    for entry in files {
        let path = entry.unwrap().path();
        check(&path.display().to_string(), &fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", dir.display());
    let packed = root.join("packed").join(format!("{target}.tar.zst"));
    let archive = zstd::decode_all(fs::File::open(&packed).unwrap()).unwrap();
    let inputs = unpack(&archive);
    assert!(inputs.len() > 1000, "{} is nearly empty", packed.display());
    for (name, data) in inputs {
        check(name, data);
    }
}

/// The files of a ustar archive: a header block, then the content in whole blocks; a header of zeros ends it.
fn unpack(archive: &[u8]) -> Vec<(&str, &[u8])> {
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .unwrap()
            .trim_end_matches(['\0', ' '])
    };
    let mut files = Vec::new();
    let mut rest = archive;
    while rest[0] != 0 {
        let (header, body) = rest.split_at(BLOCK);
        assert_eq!(&header[257..262], b"ustar");
        let size = usize::from_str_radix(text(&header[124..136]), 8).unwrap();
        files.push((text(&header[..100]), &body[..size]));
        rest = &body[size.next_multiple_of(BLOCK)..];
    }
    files
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
