//! What the log and the dead letters ask of the file system beside reading and writing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// Room for the header of the log's database.
const HEAD_BYTES: u64 = 512;

/// What tells a file from another one that was put in its place.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let identity = {
        let _ = metadata;
        (0, 0)
    };
    identity
}

/// True while the file of that name is the one with this identity.
pub(super) fn is_in_place(path: &Path, known: (u64, u64)) -> bool {
    fs::metadata(path).is_ok_and(|metadata| identity(&metadata) == known)
}

/// The first bytes of a file, in which a database notes every commit; none of a file that cannot be read.
pub(super) fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES as usize);
    // What cannot be read differs from what was there.
    let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    head
}

/// Makes the entries of a folder durable: a new or renamed file needs it.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
