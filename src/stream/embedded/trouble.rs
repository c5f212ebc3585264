//! What went wrong with the file of a log, and what a person can do about it.

use std::path::Path;

use super::LogError;

pub(super) fn damaged(path: &Path, what: &str) -> String {
    format!(
        "the log {} is damaged: {what}; restore it from a copy; or move it away and run `skewd source reset`, to keep the \
         model and begin an empty log; or start with an empty data_dir",
        path.display()
    )
}

pub(super) fn io_error(verb: &str, path: &Path, error: &std::io::Error) -> LogError {
    let text = format!("cannot {verb} {}: {error}", path.display());
    if no_space(error) {
        LogError::Full(format!("{text}; free space on that disk"))
    } else {
        LogError::Io(text)
    }
}

pub(super) fn refused(verb: &str, path: &Path, error: redb::Error) -> LogError {
    match error {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            LogError::Io(damaged(path, &format!("it is no log ({error})")))
        }
        redb::Error::Io(error) => io_error(verb, path, &error),
        redb::Error::Corrupted(what) => LogError::Io(damaged(path, &what)),
        redb::Error::DatabaseAlreadyOpen => LogError::Io(format!(
            "cannot {verb} {}: another process has it open",
            path.display()
        )),
        other => LogError::Io(format!("cannot {verb} {}: {other}", path.display())),
    }
}

fn no_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
