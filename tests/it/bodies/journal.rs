//! Journal files. Hashes keep changed bytes from the parser behind them, so one of the two ways in makes the files of the
//! entries' texts, with right hashes: the first byte chooses.

use std::path::Path;

use skewd::checkpoint::journal::read_all_on;
use skewd::learner::recorded::Entry;

use super::memory::Memory;

const DIR: &str = "data/journal";
const HEAD: &[u8] = b"SKEWDJNL\x02\0\0\0";
const HASH_BYTES: usize = 16;

/// Bits of the first byte.
const FROM_TEXTS: u8 = 1;
const TWO: u8 = 2;
const TORN: u8 = 4;
const MARKED: u8 = 8;
/// Between two files.
const BETWEEN: &[u8] = b"\n\n";

/// The first byte says what follows, the second after how many examples the journal is read, the third where the second
/// file begins; the first begins at 0.
pub fn run(data: &[u8]) {
    let Some(([what, taken, second], rest)) = data.split_first_chunk() else {
        return;
    };
    let (taken, second) = (u64::from(*taken), u64::from(*second));
    let between = rest.windows(2).position(|pair| pair == BETWEEN);
    let parts = match between.filter(|_| what & TWO != 0) {
        Some(at) => vec![(0, &rest[..at]), (second, &rest[at + BETWEEN.len()..])],
        None => vec![(0, rest)],
    };
    let disk = Memory::default();
    let mut hash = [0; HASH_BYTES];
    for (first, part) in &parts {
        let mut bytes = if what & FROM_TEXTS == 0 {
            part.to_vec()
        } else {
            file_of(part, *first, &mut hash, what & MARKED != 0)
        };
        if what & TORN != 0 {
            bytes.pop();
        }
        disk.put(format!("{DIR}/journal-{first:020}.skewd"), bytes);
    }
    let Ok(entries) = read_all_on(&disk, Path::new(DIR), taken) else {
        return;
    };
    for entry in &entries {
        let after = if entry.is_batch() { taken + 1 } else { taken };
        assert!(
            entry.taken >= after,
            "{entry:?} was asked for after {taken}"
        );
        check_text(entry);
    }
    if what & !MARKED == FROM_TEXTS {
        compare(rest, taken, &entries);
    }
}

/// A journal file with an entry a line, and perhaps a mark behind each.
fn file_of(texts: &[u8], examples: u64, hash: &mut [u8; HASH_BYTES], is_marked: bool) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    bytes.extend_from_slice(&examples.to_le_bytes());
    bytes.extend_from_slice(hash);
    for text in lines(texts) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(hash).update(text);
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..HASH_BYTES]);
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(hash);
        if is_marked {
            let reach = serde_json::from_slice::<Entry>(text).map_or(0, |entry| entry.taken);
            let place = [(bytes.len() as u64).to_le_bytes(), reach.to_le_bytes()].concat();
            let mut hasher = blake3::Hasher::new();
            hasher.update(&[0; HASH_BYTES]).update(&place);
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&reach.to_le_bytes());
            bytes.extend_from_slice(&hasher.finalize().as_bytes()[..HASH_BYTES]);
        }
    }
    bytes
}

fn lines(texts: &[u8]) -> impl Iterator<Item = &[u8]> {
    texts.split(|byte| *byte == b'\n')
}

/// What was read can be written, and is read as the same.
fn check_text(entry: &Entry) {
    let text = serde_json::to_vec(entry).expect("an entry is JSON");
    let back: Entry = serde_json::from_slice(&text).expect("an entry was just written");
    assert_eq!(&back, entry);
}

/// Of one whole file every entry comes back, up to the first text that is none.
fn compare(texts: &[u8], taken: u64, entries: &[Entry]) {
    let expected = lines(texts)
        .map_while(|text| serde_json::from_slice::<Entry>(text).ok())
        .filter(|entry| entry.taken > taken || entry.taken == taken && !entry.is_batch());
    assert_eq!(entries, expected.collect::<Vec<_>>());
}
