//! One process a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Name of the locked file.
const FILE: &str = "lock";

/// Holds a data folder until it is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct DirLock {
    /// The lock belongs to the open file.
    _file: File,
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
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(fail)?;
        Ok(Self { _file: file })
    }
}
