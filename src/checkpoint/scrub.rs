//! Reading the kept checkpoints again, so that bits that rot at rest are found before a file is needed.

use std::io;
use std::path::Path;

use super::disk::{Disk, Os};
use super::{Error, Skipped, files, load_on};

/// What a look at the kept checkpoints found.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Files that are what was written.
    pub whole: usize,
    /// Files that are not.
    pub damaged: Vec<Skipped>,
}

/// Reads every kept checkpoint and answers how many there are and which are damaged. Files that are removed meanwhile are
/// left out.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub fn scrub(dir: &Path) -> Result<Scrubbed, Error> {
    scrub_on(&Os, dir)
}

/// [`scrub`] on any file system.
///
/// # Errors
/// As [`scrub`].
pub fn scrub_on(disk: &dyn Disk, dir: &Path) -> Result<Scrubbed, Error> {
    let mut found = Scrubbed::default();
    for (_, path) in files(disk, dir)? {
        match load_on(disk, &path) {
            Ok(_) => found.whole += 1,
            Err(Error::Damaged { path, reason }) => found.damaged.push(Skipped { path, reason }),
            // Another skewd's: not this one's to judge.
            Err(Error::Newer { .. }) => {}
            Err(Error::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
