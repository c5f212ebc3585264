//! Files that hold a secret: only their owner may be able to read them.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The content of such a file; `what` it is stands in the messages.
///
/// # Errors
/// When the file cannot be read, or others can read it. The text names the file.
pub(super) fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let mut file =
        File::open(path).map_err(|e| format!("{what} file {name} cannot be opened: {e}"))?;
    let unreadable = |e: std::io::Error| format!("{what} file {name} cannot be read: {e}");
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "{what} file {name} can be read by others (mode {:o}): chmod 600 it",
            mode & 0o777
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
