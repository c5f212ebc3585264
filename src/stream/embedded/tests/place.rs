//! A folder for a log, a disk that fails when told to, and what every test asks of a log.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, atomic::Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::*;
use crate::example::Record;
use crate::stream::{Polled, Source};

pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const MIB: u64 = 1 << 20;

/// Switches of a backend that fails, or stops, when told to.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Writes and resizes that still succeed; negative = no limit.
    pub(super) writes: AtomicI64,
    /// Syncs that still succeed; negative = no limit.
    pub(super) syncs: AtomicI64,
    /// Syncs so far.
    pub(super) synced: AtomicU64,
    /// Where syncs wait while it is closed.
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    /// A sync waits.
    holds: bool,
}

impl Faults {
    pub(super) fn none() -> Arc<Self> {
        let faults = Self::default();
        faults.heal();
        Arc::new(faults)
    }

    pub(super) fn heal(&self) {
        self.writes.store(-1, SeqCst);
        self.syncs.store(-1, SeqCst);
    }

    pub(super) fn close_gate(&self) {
        self.gate.lock().unwrap().closed = true;
    }

    /// Waits until a sync waits at the closed gate: the writer has taken what was queued.
    pub(super) fn wait_for_a_sync(&self) {
        let gate = self.gate.lock().unwrap();
        let (_gate, timeout) = self
            .moved
            .wait_timeout_while(gate, LONG, |gate| !gate.holds)
            .unwrap();
        assert!(!timeout.timed_out(), "no sync came to the gate");
    }

    pub(super) fn open_gate(&self) {
        self.gate.lock().unwrap().closed = false;
        self.moved.notify_all();
    }

    pub(super) fn spend(counter: &AtomicI64, kind: io::ErrorKind) -> io::Result<()> {
        match counter.load(SeqCst) {
            0 => Err(kind.into()),
            left => {
                counter.store(left - i64::from(left > 0), SeqCst);
                Ok(())
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Faulty {
    pub(super) file: FileBackend,
    pub(super) faults: Arc<Faults>,
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Faults::spend(&self.faults.writes, io::ErrorKind::StorageFull)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut gate = self.faults.gate.lock().unwrap();
        while gate.closed {
            gate.holds = true;
            self.faults.moved.notify_all();
            gate = self.faults.moved.wait(gate).unwrap();
        }
        gate.holds = false;
        self.faults.synced.fetch_add(1, SeqCst);
        Faults::spend(&self.faults.syncs, io::ErrorKind::Other)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Faults::spend(&self.faults.writes, io::ErrorKind::StorageFull)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.query_lock_range(start, end)
    }
}

pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("log.redb")
    }

    pub(super) fn open(&self) -> EmbeddedLog {
        EmbeddedLog::open(&self.path(), 64 * MIB).unwrap()
    }

    pub(super) fn open_faulty(&self, faults: &Arc<Faults>) -> EmbeddedLog {
        let faults = faults.clone();
        let opener: disk::Opener = Arc::new(move |file: File, sync_failed| {
            let file = FileBackend::new(file)?;
            let faults = faults.clone();
            disk::open(Faulty { file, faults }, sync_failed)
        });
        EmbeddedLog::open_with(&self.path(), 64 * MIB, opener).unwrap()
    }
}

pub(super) fn texts(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|i| Bytes::from(format!("record {i}"))).collect()
}

/// Everything from `from` to the durable end.
pub(super) fn read_all(log: &EmbeddedLog, from: i64) -> Vec<Record> {
    let mut source = log.reader(from).unwrap();
    let mut out = Vec::new();
    while source.poll(Duration::ZERO, 7, &mut out).unwrap() == Polled::Records {}
    out
}

pub(super) fn assert_holds(log: &EmbeddedLog, expected: &[Bytes]) {
    let records = read_all(log, 0);
    for (index, record) in records.iter().enumerate() {
        assert_eq!((record.partition, record.offset), (0, index as i64));
        assert!(record.timestamp_ms.is_some_and(|ms| ms > 1_600_000_000_000));
    }
    let payloads: Vec<Bytes> = records.into_iter().filter_map(|r| r.payload).collect();
    assert!(
        payloads == expected,
        "{} != {}",
        payloads.len(),
        expected.len()
    );
}
