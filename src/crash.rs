//! Named places in the write path where a crash can be asked for, so that the crash test reaches the instants that chance
//! would rarely meet.
//!
//! A process that was started with `SKEWD_TEST_CRASH=name:n` ends without any goodbye the n-th time it passes the place of
//! that name; with `name:n:panic` the thread that passes it panics instead. Without the variable a place costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// The variable that breaks a promise, so that a test can show that the crash test notices.
pub const BREAK: &str = "SKEWD_TEST_BREAK";

/// True in a process that was started with `SKEWD_TEST_BREAK` set to this name.
#[must_use]
pub fn is_broken(name: &str) -> bool {
    static BROKEN: OnceLock<Option<String>> = OnceLock::new();
    BROKEN
        .get_or_init(|| std::env::var(BREAK).ok())
        .as_deref()
        .is_some_and(|broken| broken == name)
}

/// The variable that makes a place slow: `name=MS`.
pub const SLOW: &str = "SKEWD_TEST_SLOW";

/// How long whoever passes the place of this name has to wait there, so that a test can stand in for a slow disk.
#[must_use]
pub fn delay(name: &str) -> Option<Duration> {
    static ASKED: OnceLock<Option<(String, Duration)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var(SLOW).ok()?;
        let (name, ms) = text.split_once('=')?;
        Some((name.to_owned(), Duration::from_millis(ms.parse().ok()?)))
    });
    asked
        .as_ref()
        .filter(|(asked, _)| asked == name)
        .map(|(_, wait)| *wait)
}

struct Asked {
    name: String,
    left: AtomicU64,
    panics: bool,
}

fn asked() -> Option<&'static Asked> {
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    ASKED
        .get_or_init(|| {
            let text = std::env::var(VARIABLE).ok()?;
            let (name, times) = text.split_once(':')?;
            let (times, panics) = match times.strip_suffix(":panic") {
                Some(times) => (times, true),
                None => (times, false),
            };
            Some(Asked {
                name: name.to_owned(),
                left: AtomicU64::new(times.parse().ok()?),
                panics,
            })
        })
        .as_ref()
}

/// A place where the process, or its thread, may end.
pub fn point(name: &str) {
    if let Some(asked) = asked()
        && asked.name == name
        && asked.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        assert!(!asked.panics, "a test asked for this panic, at {name}");
        std::process::abort();
    }
}

/// Numbers that follow from a seed alone: what a crash test does can be done again.
pub struct Dice(u64);

impl Dice {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // xorshift64* (Vigna 2016)
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end.max(1)
    }
}
