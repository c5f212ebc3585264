//! The learning state and the positions it stands at, in one file: written whole or not at all, checked when read.
//!
//! A save goes to a temporary file in the same folder, is synced, read back, renamed, and the folder is synced; a crash
//! at any moment leaves the files before it and at most a temporary one, which the next save removes. The newest
//! valid file is loaded; damaged ones are reported and passed over. [`DirLock`] keeps a second process out of a data
//! folder.

pub mod disk;
mod export;
mod format;
pub mod journal;
mod lock;
mod save;
mod scrub;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use export::export_safetensors;
pub use lock::{DirLock, LockError};
pub use save::{Written, save, save_on};
pub use scrub::{Scrubbed, scrub, scrub_on};

use disk::{Disk, Os};

use crate::example::Positions;
use crate::state::State;

/// Ending of the files.
const ENDING: &str = "skewd";
/// Beginning of their names.
const NAME: &str = "checkpoint-";

/// The `[checkpoint]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Examples between two checkpoints.
    pub every_examples: u64,
    /// Seconds between two checkpoints, if anything was learned.
    pub every_seconds: u64,
    /// Files that are kept.
    pub keep: usize,
    /// Bytes of the journal that are kept, beyond what the kept checkpoints need.
    pub journal_bytes: u64,
    /// Seconds between two readings of the kept files; 0 = never.
    pub scrub_every_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every_examples: 100_000,
            every_seconds: 60,
            keep: 3,
            journal_bytes: 256 << 20,
            scrub_every_seconds: 6 * 3600,
        }
    }
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// The key inside the table, and what to change.
    pub fn check(&self) -> Result<(), (String, String)> {
        let refuse = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        if self.every_examples == 0 {
            return refuse("every_examples", "must be at least 1");
        }
        if self.every_seconds == 0 {
            return refuse("every_seconds", "must be at least 1");
        }
        if self.keep == 0 || self.keep > 1000 {
            return refuse(
                "keep",
                "must be between 1 and 1000 files; 2 or more survive a damaged one",
            );
        }
        Ok(())
    }
}

/// Everything about a checkpoint but the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Examples learned.
    pub examples: u64,
    /// Examples learned, those included that rollbacks took back; 0 in files from before there was a difference.
    #[serde(default)]
    pub taken: u64,
    /// Steps committed.
    pub step: u64,
    /// Digest of the state.
    pub digest: String,
    /// Next offset to read, per partition.
    pub positions: Positions,
    /// Which stream the positions belong to.
    pub source: String,
    /// Learning settings, by dotted key.
    pub settings: serde_json::Value,
    /// The instruction set that learned; another one may round differently.
    pub instruction_set: String,
}

/// A learning state with what is needed to go on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The learning state.
    pub state: State,
    /// Next offset to read, per partition.
    pub positions: Positions,
    /// Examples learned.
    pub examples: u64,
    /// Examples learned, those included that rollbacks took back: the place in the journal.
    pub taken: u64,
    /// Steps committed.
    pub step: u64,
    /// Digest of the state.
    pub digest: String,
    /// Learning settings, by dotted key.
    pub settings: serde_json::Value,
    /// The instruction set that learned; another one may round differently.
    pub instruction_set: String,
    /// Which stream the positions belong to.
    pub source: String,
}

impl Checkpoint {
    /// Everything but the state.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            examples: self.examples,
            taken: self.taken,
            step: self.step,
            digest: self.digest.clone(),
            positions: self.positions.clone(),
            source: self.source.clone(),
            settings: self.settings.clone(),
            instruction_set: self.instruction_set.clone(),
        }
    }

    fn new(header: Header, state: State) -> Self {
        Self {
            state,
            positions: header.positions,
            examples: header.examples,
            taken: header.taken.max(header.examples),
            step: header.step,
            digest: header.digest,
            settings: header.settings,
            instruction_set: header.instruction_set,
            source: header.source,
        }
    }
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint stands, but a crash may still take it away, or bring back an older one that was removed.
    #[error("{}: written, but {reason}", path.display())]
    Unsettled {
        /// The file.
        path: PathBuf,
        /// What could not be done then.
        reason: String,
    },
    /// A newer skewd wrote it.
    #[error(
        "{}: written in format {version}, this skewd reads {}: use the newer one", path.display(), format::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// There are checkpoints, and none can be used: starting from nothing would throw away what was learned.
    #[error(
        "none of the {count} checkpoints in {} is valid ({first}); restore one, or start anew with an empty data_dir",
        dir.display()
    )]
    NoneValid {
        /// The folder.
        dir: PathBuf,
        /// Files that were looked at.
        count: usize,
        /// What is wrong with the newest.
        first: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::Io {
        path: path.to_owned(),
        error,
    }
}

/// The checkpoint files by their numbers, oldest first; none where there is no folder.
fn files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found: Vec<(u64, PathBuf)> = disk
        .list(dir)
        .map_err(at(dir))?
        .into_iter()
        .filter_map(|path| Some((number_of(&path)?, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// The name of a file, as listings and answers show it.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name
        .strip_prefix(NAME)?
        .strip_suffix(ENDING)?
        .strip_suffix('.')?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read, is damaged, or was written by a newer skewd.
pub fn load(path: &Path) -> Result<Checkpoint, Error> {
    load_on(&Os, path)
}

/// [`load`] from any file system.
///
/// # Errors
/// As [`load`].
pub fn load_on(disk: &dyn Disk, path: &Path) -> Result<Checkpoint, Error> {
    let bytes = disk.read(path).map_err(at(path))?;
    format::decode(&bytes).map_err(|fault| match fault {
        format::Fault::Damaged(reason) => Error::Damaged {
            path: path.to_owned(),
            reason,
        },
        format::Fault::Newer(version) => Error::Newer {
            path: path.to_owned(),
            version,
        },
    })
}

/// What [`load_newest`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The newest valid checkpoint.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// Newer files that are damaged.
    pub skipped: Vec<Skipped>,
}

/// A file that was passed over.
#[derive(Debug)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The newest valid checkpoint; `None` where there are no files at all.
///
/// # Errors
/// When a file cannot be read or was written by a newer skewd, or when there are files and all are damaged.
pub fn load_newest(dir: &Path) -> Result<Option<Loaded>, Error> {
    load_newest_on(&Os, dir)
}

/// [`load_newest`] from any file system.
///
/// # Errors
/// As [`load_newest`].
pub fn load_newest_on(disk: &dyn Disk, dir: &Path) -> Result<Option<Loaded>, Error> {
    let files = files(disk, dir)?;
    let mut skipped = Vec::new();
    for (_, path) in files.iter().rev() {
        match load_on(disk, path) {
            Ok(checkpoint) => {
                return Ok(Some(Loaded {
                    checkpoint,
                    path: path.clone(),
                    skipped,
                }));
            }
            Err(Error::Damaged { path, reason }) => skipped.push(Skipped { path, reason }),
            Err(error) => return Err(error),
        }
    }
    match skipped.first() {
        None => Ok(None),
        Some(first) => Err(Error::NoneValid {
            dir: dir.to_owned(),
            count: skipped.len(),
            first: first.reason.clone(),
        }),
    }
}

/// One file of a listing.
#[derive(Debug)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// What it says, or what is wrong with it.
    pub checkpoint: Result<Header, Error>,
}

/// Every checkpoint file, oldest first, each read and checked.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Entry>, Error> {
    Ok(files(&Os, dir)?
        .into_iter()
        .map(|(_, path)| Entry {
            checkpoint: load(&path).map(|checkpoint| checkpoint.header()),
            path,
        })
        .collect())
}
