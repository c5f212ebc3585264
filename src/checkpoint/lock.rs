//! One process a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::disk::is_no_room;

/// Name of the locked file.
const FILE: &str = "lock";

/// Holds a data folder until it is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct DirLock {
    /// The lock belongs to the open file.
    file: File,
    path: PathBuf,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{} is in use by another process{}: stop it, or choose another data_dir", dir.display(), shown(pid)
    )]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Its process, where the file names one.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

#[cfg(unix)]
fn is_same(held: &std::fs::Metadata, found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

/// Elsewhere a file that is open cannot be removed or replaced.
#[cfg(not(unix))]
fn is_same(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
}

fn shown(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl DirLock {
    /// Takes the lock of `dir`, which must exist, and writes this process's number into the file.
    ///
    /// # Errors
    /// At once when another process, or another part of this one, holds it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE);
        let fail = |error| LockError::Io {
            path: path.clone(),
            error,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whoever holds the lock may be writing its number just now: then it stays unnamed.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        match named {
            // The lock holds all the same: the number is for people.
            Err(error) if is_no_room(&error) => {}
            named => named.map_err(fail)?,
        }
        Ok(Self { file, path })
    }

    /// False once the locked file is no longer the one of that name: the folder was removed, moved or replaced, and another
    /// process can lock what is there now. A system that does not answer takes nothing away.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(held), Ok(found)) => is_same(&held, &found),
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// The locked file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_removed_replaced_or_moved_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        let lock = DirLock::acquire(&folder).unwrap();
        assert!(lock.is_in_place());
        std::fs::remove_file(lock.path()).unwrap();
        assert!(!lock.is_in_place());
        let other = DirLock::acquire(&folder).unwrap();
        assert!(other.is_in_place());
        assert!(!lock.is_in_place());
        std::fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
        assert!(!other.is_in_place());
    }
}
