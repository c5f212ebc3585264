//! Writing a checkpoint so that a crash at any moment leaves the old files or the new one, whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::crash;

use super::{Checkpoint, ENDING, Error, NAME, at, files, format};

/// Beginning of the names of files that are being written.
const TEMPORARY: &str = ".writing-";

/// Writes a checkpoint into `dir` (made if needed) and removes the oldest ones beyond `keep`. Only the holder of the
/// data folder's lock may call it.
///
/// # Errors
/// When it is not durable; the older checkpoints are then untouched.
pub fn save(dir: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf, Error> {
    if !dir.exists() {
        fs::create_dir_all(dir).map_err(at(dir))?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
    }
    sweep(dir)?;
    // Numbers, not steps: after a fall back to an older state the next file is still the newest.
    let number = files(dir)?
        .last()
        .map_or(1, |(number, _)| number.saturating_add(1));
    let path = dir.join(format!("{NAME}{number:010}.{ENDING}"));
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(dir)
        .map_err(at(dir))?;
    let bytes = format::encode(checkpoint);
    temporary
        .write_all(&bytes)
        .and_then(|()| {
            crash::point("checkpoint.before_sync");
            temporary.as_file().sync_all()
        })
        .map_err(at(&path))?;
    verify(temporary.path(), &bytes)?;
    crash::point("checkpoint.before_rename");
    temporary
        .persist(&path)
        .map_err(|refused| at(&path)(refused.error))?;
    crash::point("checkpoint.after_rename");
    sync_dir(dir)?;
    prune(dir, keep)?;
    Ok(path)
}

/// Older files are removed for this one: it must be what was meant, and a checkpoint.
fn verify(path: &Path, written: &[u8]) -> Result<(), Error> {
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    if fs::read(path).map_err(at(path))? != written {
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
fn sweep(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// Removes what is older than the newest `keep` whole files. Damaged ones do not count, so that they never push out a
/// file that can be used.
fn prune(dir: &Path, keep: usize) -> Result<(), Error> {
    let mut whole = 0;
    for (_, path) in files(dir)?.iter().rev() {
        if whole >= keep.max(1) {
            fs::remove_file(path).map_err(at(path))?;
        } else if is_whole(path).unwrap_or(false) {
            whole += 1;
        }
    }
    Ok(())
}

/// Whether the file's length is what its beginning says; its content is looked at when it is loaded.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(format::length(&mut file, length)? == Some(length))
}

/// A folder's own entry must be synced too, or a renamed file may be gone after a crash of the machine.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    // A relative path of one component has the parent "".
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(at(dir))
}
