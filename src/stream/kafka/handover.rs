//! Between the reading thread and the caller: a bounded queue one way, commands the other way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::example::{Positions, Record};
use crate::stream::{Halt, SourceStatus};

/// Bytes that may wait for the caller; what librdkafka keeps is limited apart.
pub(super) const WAITING_BYTES: usize = 4 << 20;

/// What a record costs beside its bytes.
pub(super) const RECORD_OVERHEAD: usize = 256;

/// What the reading thread hands over, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// Reading of a partition begins at `next`; the caller came with `saved`.
    Start {
        partition: i32,
        saved: Option<i64>,
        next: i64,
    },
    /// Records, with what they cost in memory.
    Records(Vec<Record>, usize),
    /// No record lies before `next` that was not handed over.
    Reach { partition: i32, next: i64 },
}

/// How the reading thread ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// Training must stop.
    Halted(Halt),
    /// It broke: a bug.
    Broken(String),
}

/// What the caller found.
pub(super) enum Taken {
    Item(Item),
    Ended(Ended),
    Nothing,
}

/// What the caller wants from the reading thread.
pub(super) struct Commands {
    pub stop: bool,
    pub commit: Option<Positions>,
}

/// Figures about a source since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that came twice from the client and were dropped; anything but 0 is a bug of broker or client.
    pub repeated: u64,
    /// Offsets without a record between two records: compaction, control records, aborted transactions.
    pub holes: u64,
    /// Records that retention removed unread and that `on_gap = "continue"` passed over.
    pub lost_to_gaps: u64,
}

/// The queue, the commands, and what both sides may look at.
pub(super) struct Handover {
    inner: Mutex<Inner>,
    reader: Condvar,
    caller: Condvar,
}

struct Inner {
    items: VecDeque<Item>,
    waiting_bytes: usize,
    woken: bool,
    stop: bool,
    commit: Option<Positions>,
    ended: Option<Ended>,
    status: SourceStatus,
    high: BTreeMap<i32, i64>,
    identity: Option<String>,
    counts: Counts,
}

impl Handover {
    pub(super) fn new(status: SourceStatus) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                waiting_bytes: 0,
                woken: false,
                stop: false,
                commit: None,
                ended: None,
                status,
                high: BTreeMap::new(),
                identity: None,
                counts: Counts::default(),
            }),
            reader: Condvar::new(),
            caller: Condvar::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The reading thread's side.

    pub(super) fn put(&self, item: Item) {
        let mut inner = self.inner();
        if let Item::Records(_, bytes) = &item {
            inner.waiting_bytes += bytes;
        }
        inner.items.push_back(item);
        drop(inner);
        self.caller.notify_one();
    }

    /// True while more records may be put.
    pub(super) fn has_room(&self) -> bool {
        self.inner().waiting_bytes < WAITING_BYTES
    }

    /// Ends a [`Handover::wait`] of the reading thread; called from librdkafka's threads too.
    pub(super) fn wake(&self) {
        self.inner().woken = true;
        self.reader.notify_one();
    }

    /// Sleeps until woken, at most for `time`.
    pub(super) fn wait(&self, time: Duration) {
        let inner = self.inner();
        let (mut inner, _) = self
            .reader
            .wait_timeout_while(inner, time, |inner| !inner.woken && !inner.stop)
            .unwrap_or_else(PoisonError::into_inner);
        inner.woken = false;
    }

    pub(super) fn stopping(&self) -> bool {
        self.inner().stop
    }

    pub(super) fn take_commands(&self) -> Commands {
        let mut inner = self.inner();
        Commands {
            stop: inner.stop,
            commit: inner.commit.take(),
        }
    }

    pub(super) fn end(&self, ended: Ended) {
        let mut inner = self.inner();
        if inner.ended.is_none() {
            match &ended {
                Ended::Halted(halt) => inner.status = SourceStatus::halted(halt),
                Ended::Broken(reason) => inner.status = SourceStatus::degraded(reason.clone()),
                Ended::Stopped => {}
            }
            inner.ended = Some(ended);
        }
        drop(inner);
        self.caller.notify_all();
    }

    pub(super) fn set_status(&self, status: SourceStatus) {
        self.inner().status = status;
    }

    pub(super) fn set_identity(&self, identity: String) {
        self.inner().identity = Some(identity);
    }

    pub(super) fn raise_high(&self, high: &BTreeMap<i32, i64>) {
        self.inner().high.extend(high);
    }

    pub(super) fn count(&self, add: &Counts) {
        let counts = &mut self.inner().counts;
        counts.repeated += add.repeated;
        counts.holes += add.holes;
        counts.lost_to_gaps += add.lost_to_gaps;
    }

    // The caller's side.

    pub(super) fn take(&self, wait: Duration) -> Taken {
        let inner = self.inner();
        let (mut inner, _) = self
            .caller
            .wait_timeout_while(inner, wait, |inner| {
                inner.items.is_empty() && inner.ended.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let Some(item) = inner.items.pop_front() else {
            return inner.ended.clone().map_or(Taken::Nothing, Taken::Ended);
        };
        if let Item::Records(_, bytes) = &item {
            inner.waiting_bytes -= bytes;
            inner.woken = true;
            drop(inner);
            self.reader.notify_one();
        }
        Taken::Item(item)
    }

    pub(super) fn commit(&self, positions: &Positions) {
        let mut inner = self.inner();
        inner.commit = Some(positions.clone());
        inner.woken = true;
        drop(inner);
        self.reader.notify_one();
    }

    pub(super) fn stop(&self) {
        self.inner().stop = true;
        self.reader.notify_one();
    }

    /// True when the reading thread ended within `wait`.
    pub(super) fn wait_for_end(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let mut inner = self.inner();
        while inner.ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self
                .caller
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.inner().waiting_bytes
    }

    pub(super) fn status(&self) -> SourceStatus {
        self.inner().status.clone()
    }

    pub(super) fn identity(&self) -> Option<String> {
        self.inner().identity.clone()
    }

    pub(super) fn high(&self) -> BTreeMap<i32, i64> {
        self.inner().high.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.inner().counts.clone()
    }
}
