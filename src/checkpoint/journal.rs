//! The journal of batches: what went into each, in files that are appended to, chained by hashes and synced together.
//!
//! ```text
//! "SKEWDJNL"  version: u32  examples before the first entry: u64  hash of what came before: 16 bytes
//! entry: length: u32  JSON  hash: 16 bytes of BLAKE3(hash before ‖ JSON)
//! mark:  0: u32  reach: u64  hash: 16 bytes of BLAKE3(zeros ‖ place in the file ‖ reach)
//! ```
//!
//! A mark is no link of the chain: the hash before an entry is that of the entry before. It says that whatever stands before it was durable when it was written; a state after `reach` examples needs none of
//! that. A file that a crash cut short ends at its last whole entry, and nothing that was served came after it. Where a mark
//! follows behind bytes that are no entry it was not a crash that spoiled them, and nobody goes on as if it had been.
//! Files of format 1 have no marks.

mod appender;
mod reader;
mod writer;

#[cfg(test)]
mod full;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) use appender::{Appender, Order};
pub use reader::{Tail, read, read_all, read_all_on};
pub use writer::{Journal, Waiter};

use super::disk::Disk;
use crate::learner::recorded::Entry;

/// The format that is written, and the newest one that is read.
const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"SKEWDJNL";
const HASH_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 8 + HASH_BYTES;
const MARK_BYTES: usize = 4 + 8 + HASH_BYTES;
/// A longer entry is damage, not an entry.
const ENTRY_BYTES_MAX: usize = 64 << 20;

type Hash = [u8; HASH_BYTES];

/// The hash of an entry after the one with the hash `before`.
fn chain(before: &Hash, json: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(json);
    let mut hash = Hash::default();
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..HASH_BYTES]);
    hash
}

/// The examples from which on a state needs nothing up to and with this entry.
fn reach_of(entry: &Entry) -> u64 {
    // A state after so many examples may be older than a change that stands behind them.
    entry.taken + u64::from(!entry.is_batch())
}

fn mark(at: u64, reach: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[4..12].copy_from_slice(&reach.to_le_bytes());
    let place = [at.to_le_bytes(), reach.to_le_bytes()].concat();
    bytes[12..].copy_from_slice(&chain(&Hash::default(), &place));
    bytes
}

/// The reach of the mark at `at`.
fn mark_at(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at + MARK_BYTES)?;
    let reach = u64::from_le_bytes(*found[4..].first_chunk()?);
    (found[..4] == [0; 4] && found == mark(at as u64, reach)).then_some(reach)
}

fn path_of(dir: &Path, examples: u64) -> PathBuf {
    dir.join(format!("journal-{examples:020}.skewd"))
}

/// The files by the examples before their first entry, oldest first; none where there is no folder.
fn files(disk: &dyn Disk, dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let number = |path: &Path| -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("journal-")?
            .strip_suffix(".skewd")?
            .parse()
            .ok()
    };
    let mut found: Vec<(u64, PathBuf)> = disk
        .list(dir)?
        .into_iter()
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    found.sort();
    Ok(found)
}
