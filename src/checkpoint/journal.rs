//! The journal of batches: what went into each, in files that are appended to, chained by hashes and synced together.
//!
//! ```text
//! "SKEWDJNL"  version: u32  examples before the first entry: u64  hash of what came before: 16 bytes
//! entry: length: u32  JSON  hash: 16 bytes of BLAKE3(hash before ‖ JSON)
//! ```
//!
//! A file that a crash cut short ends at its last whole entry: nothing that was served came after it.

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

/// The format that is written, and the newest one that is read.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"SKEWDJNL";
const HASH_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 8 + HASH_BYTES;
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
