//! Files of records. The first byte chooses the name and whether there are two files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skewd::codec::{Intake, Settings};
use skewd::example::{Arrival, Outcome};
use skewd::stream::file::FileSource;
use skewd::stream::{Error, Polled, Source};

use super::arrivals;

/// By the low bits of the first byte.
const NAMES: [&str; 4] = ["x.csv", "x.jsonl", "x.txt", "x.csv.zst"];
/// This bit of the first byte: two files.
const TWO: u8 = 4;
/// Between two files: ASCII's record separator.
const BETWEEN: u8 = 0x1e;
const LABEL: &str = "label";

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let name = NAMES[usize::from(first % 4)];
    let parts = if first & TWO == 0 { 1 } else { 2 };
    let dir = tempfile::tempdir().expect("a folder for the files");
    let texts = rest.splitn(parts, |byte| *byte == BETWEEN);
    let paths: Vec<PathBuf> = texts
        .enumerate()
        .map(|(number, text)| {
            let path = dir.path().join(format!("{number}{name}"));
            std::fs::write(&path, text).expect("room for a file");
            path
        })
        .collect();
    let mut source = match FileSource::open(&paths, LABEL) {
        Ok(source) => source,
        Err(error) => return check_error(&error, dir.path()),
    };
    let (records, ended) = all(&mut source, dir.path());
    if ended {
        assert_eq!(source.bytes_read(), source.bytes_total());
    }
    source.rewind().expect("nothing to fail");
    assert_eq!(all(&mut source, dir.path()), (records.clone(), ended));
    check_records(&source, &records);
    if name == NAMES[0] && paths.len() == 1 {
        compare(rest, &records, ended);
    }
    if let Some(rejected) = take_in(&source, &records) {
        let _ = source.nothing_parsed(&rejected, records.len() as u64);
    }
}

/// Bytes that make no sense are bad data, with their file, and no trouble of reading.
fn check_error(error: &Error, dir: &Path) {
    let is_data = matches!(error, Error::Data(_));
    let text = error.to_string();
    assert!(
        is_data && text.contains(dir.to_str().unwrap_or_default()),
        "{text}"
    );
}

/// Every record, and whether the reading came to the end of all files.
fn all(source: &mut FileSource, dir: &Path) -> (Vec<Vec<u8>>, bool) {
    let mut records = Vec::new();
    let ended = loop {
        match source.poll(Duration::ZERO, 3, &mut records) {
            Ok(Polled::Records) => {}
            Ok(Polled::Idle) => panic!("a file is never idle"),
            Ok(Polled::End) => break true,
            Err(error) => {
                check_error(&error, dir);
                break false;
            }
        }
    };
    let payloads = (0..).zip(records).map(|(offset, record)| {
        assert_eq!((record.partition, record.offset), (0, offset));
        record.payload.expect("a file has no tombstones").to_vec()
    });
    (payloads.collect(), ended)
}

fn check_records(source: &FileSource, records: &[Vec<u8>]) {
    let is_csv = source.columns().is_some();
    for record in records {
        assert!(
            !record.iter().all(u8::is_ascii_whitespace),
            "a blank record"
        );
        assert!(is_csv || !record.contains(&b'\n'), "two lines in a record");
    }
}

/// The `csv` crate finds the same records, where both go by the same rules: it ends records at a carriage return, takes
/// blanks in a line for a field, and closes a quote at the end of the file. It drops a byte order mark at the start of a
/// text, which a record alone then is.
fn compare(text: &[u8], records: &[Vec<u8>], ended: bool) {
    let blank = |line: &[u8]| !line.is_empty() && line.iter().all(u8::is_ascii_whitespace);
    let begins_blank = text.first().is_none_or(u8::is_ascii_whitespace);
    let marked = |record: &Vec<u8>| record.starts_with("\u{feff}".as_bytes());
    if records.iter().any(marked) {
        return;
    }
    if !ended || begins_blank || text.contains(&b'\r') || text.split(|b| *b == b'\n').any(blank) {
        return;
    }
    let mut expected = csv_records(text);
    assert_eq!(expected.len(), records.len() + 1);
    expected.remove(0);
    assert_eq!(csv_records(&records.join(&b'\n')), expected);
}

fn csv_records(text: &[u8]) -> Vec<csv::ByteRecord> {
    let reader = csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .from_reader(text);
    reader.into_byte_records().map_while(Result::ok).collect()
}

/// Takes the records in as a replay does; counts by reason, unless the header is none.
fn take_in(source: &FileSource, records: &[Vec<u8>]) -> Option<BTreeMap<&'static str, u64>> {
    let columns = source.columns().unwrap_or_default();
    let settings = Settings::default();
    let intake = |restored| {
        let mut intake = Intake::new(&settings, restored);
        intake.set_columns(columns.to_vec()).ok().map(|()| intake)
    };
    intake(None)?;
    let payloads: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let arrivals = arrivals::of_payloads(
        |restored| intake(restored).expect("the header was taken before"),
        &payloads,
    );
    Some(reasons(&arrivals))
}

fn reasons(arrivals: &[Arrival]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for arrival in arrivals {
        if let Outcome::Rejected { reject, .. } = &arrival.outcome {
            *counts.entry(reject.reason.as_str()).or_default() += 1;
        }
    }
    counts
}
