//! Writing a checkpoint so that a crash at any moment leaves the old files or the new one, whole.

use std::path::{Path, PathBuf};

use crate::crash;

use super::disk::{Disk, Os};
use super::{Checkpoint, ENDING, Error, NAME, at, files, format};

/// The file that is being written: only the holder of the folder's lock writes.
const TEMPORARY: &str = ".writing-checkpoint";
/// How such names began in earlier versions, too.
const TEMPORARY_PREFIX: &str = ".writing-";

/// A checkpoint that was written.
#[derive(Debug)]
pub struct Written {
    /// Its file.
    pub path: PathBuf,
    /// Files that stand now, this one included: whoever forgets what older ones need counts so many.
    pub standing: usize,
}

/// Writes a checkpoint into `dir` (made if needed) and removes the oldest ones beyond `keep`. Only the holder of the
/// data folder's lock may call it.
///
/// # Errors
/// When it is not durable; the older checkpoints are then untouched. With [`Error::Unsettled`] the file stands, and
/// whoever forgets what older ones need must count it among them.
pub fn save(dir: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<Written, Error> {
    save_on(&Os, dir, checkpoint, keep)
}

/// [`save`] on any file system.
///
/// # Errors
/// As [`save`].
pub fn save_on(
    disk: &dyn Disk,
    dir: &Path,
    checkpoint: &Checkpoint,
    keep: usize,
) -> Result<Written, Error> {
    disk.make_dir(dir).map_err(at(dir))?;
    sweep(disk, dir)?;
    // Numbers, not steps: after a fall back to an older state the next file is still the newest.
    let number = files(disk, dir)?
        .last()
        .map_or(1, |(number, _)| number.saturating_add(1));
    let path = dir.join(format!("{NAME}{number:010}.{ENDING}"));
    let temporary = dir.join(TEMPORARY);
    let bytes = format::encode(checkpoint);
    let written = write(disk, &temporary, &bytes).and_then(|()| {
        crash::point("checkpoint.before_rename");
        disk.rename(&temporary, &path).map_err(at(&path))
    });
    if let Err(error) = written {
        // A file that is no checkpoint must not take the room of the next attempt; if it stays, that one removes it.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    crash::point("checkpoint.after_rename");
    match settle(disk, dir, keep) {
        Ok(standing) => Ok(Written { path, standing }),
        Err(error) => Err(Error::Unsettled {
            path,
            reason: error.to_string(),
        }),
    }
}

/// Makes the names durable, and removes the files beyond `keep`; the number of those that are left.
fn settle(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<usize, Error> {
    disk.sync_dir(dir).map_err(at(dir))?;
    let (removed, left) = prune(disk, dir, keep)?;
    if removed > 0 {
        // The journal lets go of what only those files needed: they must not come back.
        disk.sync_dir(dir).map_err(at(dir))?;
    }
    Ok(left)
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = disk.open(path).map_err(at(path))?;
    file.write_at(0, bytes).map_err(at(path))?;
    crash::point("checkpoint.before_sync");
    if let Some(wait) = crash::delay("checkpoint.sync") {
        std::thread::sleep(wait);
    }
    file.sync().map_err(at(path))?;
    verify(disk, path, bytes)
}

/// Older files are removed for this one: it must be what was meant, and a checkpoint.
fn verify(disk: &dyn Disk, path: &Path, written: &[u8]) -> Result<(), Error> {
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    if disk.read(path).map_err(at(path))? != written {
        return Err(damaged(
            "reads back other than it was written: look at the disk".to_owned(),
        ));
    }
    match format::decode(written) {
        Ok(_) => Ok(()),
        Err(fault) => Err(damaged(format!("cannot be read back: {fault:?}"))),
    }
}

/// Removes what a crash left behind while it was written.
fn sweep(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for path in disk.list(dir).map_err(at(dir))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(TEMPORARY_PREFIX) {
            disk.remove(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Removes what is older than the newest `keep` whole files, and counts what is removed and what is left. Damaged ones do
/// not count as whole, so that they never push out a file that can be used.
fn prune(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<(usize, usize), Error> {
    let found = files(disk, dir)?;
    let (mut whole, mut removed) = (0, 0);
    for (_, path) in found.iter().rev() {
        if whole >= keep.max(1) {
            disk.remove(path).map_err(at(path))?;
            removed += 1;
        } else if is_whole(disk, path).unwrap_or(false) {
            whole += 1;
        }
    }
    Ok((removed, found.len() - removed))
}

/// Whether the file's length is what its beginning says; its content is looked at when it is loaded.
fn is_whole(disk: &dyn Disk, path: &Path) -> std::io::Result<bool> {
    let (mut file, length) = disk.reader(path)?;
    Ok(format::length(&mut file, length)? == Some(length))
}
