//! The embedded stream: a durable local log with the contract of a Kafka partition.
//!
//! Offsets are dense from 0, one a record, across restarts. An append answers only once its records are on the
//! disk; one writer thread makes one transaction of everything that arrived while the last one was synced
//! (group commit). The log is one file; a value in it is a block of consecutive records (`embedded/block.rs`).
//!
//! The log has a name, made with it and kept beside every checkpoint's positions: a log that was put in the place of
//! another one is noticed, however long it is ([`EmbeddedLog::answers_to`]).
//!
//! # Size
//!
//! Retention counts payload bytes and removes whole blocks, the oldest first, but none that a kept checkpoint
//! may still need ([`EmbeddedLog::retain_from`]): training that stands still makes the log grow to twice its
//! retention, and then appends answer [`LogError::Full`]. The file itself takes about the payload, 12 bytes a
//! record and a tenth more; after many one-record commits up to three times that. Space of removed blocks is
//! used again, and a file that takes more than twice what it should is written anew when the log is opened, so
//! up to that point the file keeps the size of its largest time.
//!
//! # Faults
//!
//! When a commit fails, its callers get the error, and the records of no other caller are touched: the file is
//! opened again as the disk has it. Records of a failed commit may or may not turn out to be in the log, as with
//! any write whose answer was lost. When a *sync* fails, nothing that is read back proves what the disk holds,
//! so the blocks are copied into a new file before anything is appended again.

mod block;
mod disk;
mod name;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::oneshot;

use name::Mark;
pub use source::EmbeddedSource;
use writer::{Request, Shared};

/// Payload bytes that may wait for the writer.
const QUEUE_BYTES: u64 = 32 << 20;
/// Appends that may wait for the writer.
const QUEUE_ENTRIES: usize = 1024;

/// Why an append was not taken. Nothing of it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No room: the disk, its quota, or twice the retention (HTTP 507).
    #[error("{0}")]
    Full(String),
    /// Too much is waiting to be written (HTTP 429): try again shortly.
    #[error(
        "the log's queue is full ({QUEUE_ENTRIES} appends or {QUEUE_BYTES} bytes are waiting); try again shortly"
    )]
    Busy,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
}

/// How large the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSize {
    /// Payload bytes that it holds.
    pub payload_bytes: u64,
    /// Bytes that its file takes of the disk.
    pub file_bytes: u64,
}

/// A durable log; clones are handles of the same one. When the last handle and the last reader are gone,
/// everything queued is written and the file is closed.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

/// The log and its writer thread.
struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens the log in the file `path`, made if it is not there, and starts its writer thread.
    ///
    /// Nothing is removed before [`EmbeddedLog::retain_from`] (or the source's
    /// [`checkpointed`](super::Source::checkpointed)) was called.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is open in another process.
    pub fn open(path: &Path, retention_bytes: u64) -> Result<Self, LogError> {
        Self::open_with(path, retention_bytes, disk::opener())
    }

    fn open_with(
        path: &Path,
        retention_bytes: u64,
        opener: disk::Opener,
    ) -> Result<Self, LogError> {
        let shared = Arc::new(Shared::open(path, retention_bytes, opener)?);
        let of_writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer::run(&of_writer))
            .map_err(|error| {
                LogError::Io(format!("cannot start the log's writer thread: {error}"))
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Appends `records` as one unit, in their order and without others between them. They are queued by the call;
    /// the future answers their offsets once they are durable, and may be dropped: the records are kept.
    ///
    /// # Errors
    /// The future answers [`LogError`]; then no record was acknowledged.
    pub fn append(
        &self,
        records: Vec<Bytes>,
    ) -> impl Future<Output = Result<Range<i64>, LogError>> + Send + 'static {
        let queued = self.queue(records);
        async move {
            match queued?.await {
                Ok(answer) => answer,
                Err(_) => Err(writer_stopped()),
            }
        }
    }

    /// [`EmbeddedLog::append`] for a thread that can wait. Not for use inside an async runtime.
    ///
    /// # Errors
    /// As [`EmbeddedLog::append`].
    pub fn append_blocking(&self, records: Vec<Bytes>) -> Result<Range<i64>, LogError> {
        match self.queue(records)?.blocking_recv() {
            Ok(answer) => answer,
            Err(_) => Err(writer_stopped()),
        }
    }

    fn queue(
        &self,
        records: Vec<Bytes>,
    ) -> Result<oneshot::Receiver<Result<Range<i64>, LogError>>, LogError> {
        let timestamp_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            });
        let (answer, receiver) = oneshot::channel();
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let records = records
            .into_iter()
            .map(|payload| (timestamp_ms, payload))
            .collect();
        self.inner.shared.push(Request {
            records,
            bytes,
            answer,
        })?;
        Ok(receiver)
    }

    /// Offset of the oldest record, and one past the newest durable one.
    #[must_use]
    pub fn bounds(&self) -> (i64, i64) {
        let extent = self.inner.shared.extent();
        (offset(extent.first), offset(extent.next))
    }

    /// What is kept beside positions of this log.
    #[must_use]
    pub fn identity(&self) -> String {
        self.inner.shared.name().identity()
    }

    /// True when positions that were kept beside `identity` ([`Source::identity`](super::Source::identity)) are positions
    /// of this log.
    #[must_use]
    pub fn answers_to(&self, identity: &str) -> bool {
        let shared = &self.inner.shared;
        // A record that retention took, or that is not there yet, tells nothing: that is looked at elsewhere.
        let holds = |mark: Mark| shared.mark(mark.offset).is_none_or(|found| found == mark);
        shared.name().answers_to(identity) && Mark::in_identity(identity).is_none_or(holds)
    }

    /// True when two identities may be those of one log.
    #[must_use]
    pub fn may_be_one(one: &str, other: &str) -> bool {
        name::may_be_one(one, other)
    }

    /// Gives the log in the file `path`, if there is one, another name: no position that is known of it counts any more.
    ///
    /// # Errors
    /// As [`EmbeddedLog::open`].
    pub fn rename(path: &Path) -> Result<(), LogError> {
        if !path.exists() {
            return Ok(());
        }
        store::Store::open(path, &disk::opener())?.rename()
    }

    /// True when an identity is that of an embedded log, this one or another.
    #[must_use]
    pub fn is_of_a_log(identity: &str) -> bool {
        name::is_of_a_log(identity)
    }

    /// How large the log is.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn size(&self) -> Result<LogSize, LogError> {
        self.inner.shared.size()
    }

    /// From now on records before `offset` may be removed by retention, later ones must stay: the position of the
    /// oldest checkpoint that is kept.
    pub fn retain_from(&self, offset: i64) {
        self.inner
            .shared
            .set_floor(u64::try_from(offset).unwrap_or(0));
    }

    /// A source of the records from offset `from` on.
    ///
    /// # Errors
    /// [`Halt::Gap`](super::Halt::Gap) when retention removed that record,
    /// [`Halt::Truncated`](super::Halt::Truncated) when the log ends before it.
    pub fn reader(&self, from: i64) -> Result<EmbeddedSource, super::Halt> {
        EmbeddedSource::new(self.inner.clone(), from)
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EmbeddedLog")
            .field("bounds", &self.bounds())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic of the writer was reported by the panic hook; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Offsets are counted up one by one from 0: they stay far below the sign bit.
fn offset(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn writer_stopped() -> LogError {
    LogError::Io("the log's writer thread has stopped; restart the daemon".to_owned())
}
