//! Named places in the write path where a crash can be asked for, so that the crash test reaches the instants that chance
//! would rarely meet.
//!
//! A process that was started with `SKEWD_TEST_CRASH=name:n` ends without any goodbye the n-th time it passes the place of
//! that name. Without the variable a place costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that asks for a crash.
pub const VARIABLE: &str = "SKEWD_TEST_CRASH";

/// Every place, in the order in which a record passes them.
pub const POINTS: [&str; 7] = [
    "log.before_commit",
    "log.after_commit",
    "journal.before_sync",
    "journal.after_sync",
    "checkpoint.before_sync",
    "checkpoint.before_rename",
    "checkpoint.after_rename",
];

struct Asked {
    name: String,
    left: AtomicU64,
}

fn asked() -> Option<&'static Asked> {
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    ASKED
        .get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let (name, times) = text.split_once(':')?;
            Some(Asked {
                name: name.to_owned(),
                left: AtomicU64::new(times.parse().ok()?),
            })
        })
        .as_ref()
}

/// A place where the process may end.
pub fn point(name: &str) {
    if let Some(asked) = asked()
        && asked.name == name
        && asked.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
