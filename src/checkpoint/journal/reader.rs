//! Reading a journal back, as far as it is whole.

use std::io;
use std::path::Path;

use super::{
    ENTRY_BYTES_MAX, HASH_BYTES, HEAD_BYTES, Hash, MAGIC, MARK_BYTES, VERSION, chain, files,
    mark_at,
};
use crate::checkpoint::disk::{Disk, Os};
use crate::learner::recorded::Entry;

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// With a whole entry.
    Whole,
    /// With something that is no whole entry, which a crash leaves; the offset where that begins.
    Torn(u64),
    /// With something that is no whole entry although it was durable once: no crash leaves that.
    Damaged {
        /// The offset where that begins.
        at: u64,
        /// A state after so many examples needs nothing of what is spoiled.
        reach: u64,
    },
}

impl Tail {
    /// What to say of damage that a state after `taken` examples cannot do without.
    pub(super) fn check(&self, path: &Path, taken: u64) -> io::Result<()> {
        match self {
            Self::Damaged { at, reach } if *reach > taken => Err(bad(
                path,
                format!(
                    "damaged at byte {at}: the batches that follow there were durable once, so this is not the trace of a crash"
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn bad(path: &Path, what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: {what}", path.display()),
    )
}

/// One file.
pub(super) struct Contents {
    pub entries: Vec<Entry>,
    pub tail: Tail,
    /// The hash before the first entry.
    first: Hash,
    /// Of each entry: its hash, and where it ends.
    ends: Vec<(Hash, usize)>,
}

impl Contents {
    /// The hash after so many entries.
    pub fn hash_after(&self, entries: usize) -> Hash {
        match entries {
            0 => self.first,
            entries => self.ends[entries - 1].0,
        }
    }

    /// Where so many entries end.
    pub fn end_of(&self, entries: usize) -> u64 {
        match entries {
            0 => HEAD_BYTES as u64,
            entries => self.ends[entries - 1].1 as u64,
        }
    }
}

/// Reads one file as far as it is whole.
///
/// # Errors
/// When it cannot be read, is no journal, or was written by a newer skewd.
pub fn read(path: &Path) -> io::Result<(Vec<Entry>, Tail)> {
    contents(&Os, path).map(|contents| (contents.entries, contents.tail))
}

pub(super) fn contents(disk: &dyn Disk, path: &Path) -> io::Result<Contents> {
    let bytes = disk.read(path)?;
    if bytes.len() < HEAD_BYTES {
        // A crash while the head was written: there is no entry yet.
        return Ok(Contents {
            entries: Vec::new(),
            tail: Tail::Torn(0),
            first: Hash::default(),
            ends: Vec::new(),
        });
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(bad(path, "is not a journal".to_owned()));
    }
    let mut version = [0; 4];
    version.copy_from_slice(&bytes[MAGIC.len()..MAGIC.len() + 4]);
    let version = u32::from_le_bytes(version);
    if version > VERSION {
        return Err(bad(
            path,
            format!("written in format {version}, this skewd reads {VERSION}: use the newer one"),
        ));
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(&bytes[HEAD_BYTES - HASH_BYTES..HEAD_BYTES]);
    let (first, mut entries, mut ends) = (hash, Vec::new(), Vec::new());
    let mut at = HEAD_BYTES;
    loop {
        if mark_at(&bytes, at).is_some() {
            at += MARK_BYTES;
        } else if let Some((entry, next, end)) = entry_at(&bytes, at, &hash) {
            entries.push(entry);
            ends.push((next, end));
            hash = next;
            at = end;
        } else {
            break;
        }
    }
    Ok(Contents {
        entries,
        tail: tail(&bytes, at),
        first,
        ends,
    })
}

/// What the bytes from `at` on are, which are no whole entry.
fn tail(bytes: &[u8], at: usize) -> Tail {
    if at == bytes.len() {
        return Tail::Whole;
    }
    match reach_beyond(bytes, at) {
        Some(reach) => Tail::Damaged {
            at: at as u64,
            reach,
        },
        None => Tail::Torn(at as u64),
    }
}

/// The reach of the last mark that stands behind spoiled bytes.
fn reach_beyond(bytes: &[u8], from: usize) -> Option<u64> {
    (from + 1..bytes.len().saturating_sub(MARK_BYTES - 1))
        .rev()
        .find_map(|at| mark_at(bytes, at))
}

/// The whole entry at `at`, its hash, and where it ends.
fn entry_at(bytes: &[u8], at: usize, before: &Hash) -> Option<(Entry, Hash, usize)> {
    let length = bytes.get(at..at + 4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    if length > ENTRY_BYTES_MAX {
        return None;
    }
    let json = bytes.get(at + 4..at + 4 + length)?;
    let end = at + 4 + length + HASH_BYTES;
    let stored = bytes.get(at + 4 + length..end)?;
    let hash = chain(before, json);
    if stored != hash {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, hash, end))
}

/// Every entry after `taken` examples, over all files in their order, up to the first that is not whole.
///
/// # Errors
/// When a file cannot be read, when entries are missing between two files, and when some that were durable once are
/// spoiled.
pub fn read_all(dir: &Path, taken: u64) -> io::Result<Vec<Entry>> {
    read_all_on(&Os, dir, taken)
}

/// [`read_all`] from any file system.
///
/// # Errors
/// As [`read_all`].
pub fn read_all_on(disk: &dyn Disk, dir: &Path, taken: u64) -> io::Result<Vec<Entry>> {
    let files = files(disk, dir)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut connects = false;
    for (index, (first, path)) in files.iter().enumerate() {
        // The next file tells whether anything in this one is wanted.
        if files.get(index + 1).is_some_and(|(next, _)| *next <= taken) {
            continue;
        }
        if let Some(last) = entries.last()
            && last.taken != *first
        {
            let end = last.taken;
            return Err(bad(
                path,
                format!("begins after {first} examples, but the entries before it end at {end}"),
            ));
        }
        let found = contents(disk, path)?;
        found.tail.check(path, taken)?;
        let more = found.entries;
        connects |= *first == taken || more.iter().any(|entry| entry.taken == taken);
        entries
            .extend(more.into_iter().filter(|entry| {
                entry.taken > taken || (!entry.is_batch() && entry.taken >= taken)
            }));
    }
    if !entries.is_empty() && !connects {
        return Err(bad(
            dir,
            format!(
                "the journal does not go on from {taken} examples: the entries in between are missing"
            ),
        ));
    }
    Ok(entries)
}
