//! The writer thread, its queue, and what it shares with readers.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::crash;

use super::block::{self, Stored};
use super::disk::{self, Opener};
use super::name::{Mark, Name};
use super::store::{Extent, Retention, Store};
use super::{LogError, LogSize, QUEUE_BYTES, QUEUE_ENTRIES, offset};

/// A wait for records ends at the latest after this, so that any `Duration` may be asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// One append.
pub(super) struct Request {
    pub records: Vec<Stored>,
    /// Payload bytes of the records.
    pub bytes: u64,
    pub answer: oneshot::Sender<Result<Range<i64>, LogError>>,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    bytes: u64,
    closed: bool,
}

/// What the handles, the readers and the writer thread share.
pub(super) struct Shared {
    path: PathBuf,
    name: Name,
    retention_bytes: u64,
    opener: Opener,
    /// Records from here on must stay.
    floor: AtomicU64,
    /// An append was refused because the log is full, and the floor has not moved since.
    refused: AtomicBool,
    dead: AtomicBool,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// What is durable; readers see nothing beyond it.
    durable: Mutex<Extent>,
    grown: Condvar,
    /// `None` while a failed file could not be opened again.
    store: RwLock<Option<Store>>,
}

impl Shared {
    pub(super) fn open(
        path: &Path,
        retention_bytes: u64,
        opener: Opener,
    ) -> Result<Self, LogError> {
        let mut store = Store::open(path, &opener)?;
        let extent = store.extent()?;
        if store.is_bloated(&extent)? {
            // Only space is at stake: without room for a copy the log works as it is.
            if let Ok(fresh) = store.rewrite() {
                store = fresh;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            name: store.name().clone(),
            retention_bytes,
            opener,
            floor: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            durable: Mutex::new(extent),
            grown: Condvar::new(),
            store: RwLock::new(Some(store)),
        })
    }

    /// Which log it is.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// What can be told of the record at `offset`; `None` where the log does not hold it, or it cannot be read.
    pub(super) fn mark(&self, offset: u64) -> Option<Mark> {
        let extent = self.extent();
        if !(extent.first..extent.next).contains(&offset) {
            return None;
        }
        let (first, value) = self.block(offset).ok()??;
        let records = block::decode(&value).ok()?;
        let record = records.get(usize::try_from(offset - first).ok()?)?;
        Some(Mark::of(offset, record))
    }

    /// Queues an append, or refuses it when too much is waiting.
    pub(super) fn push(&self, request: Request) -> Result<(), LogError> {
        if request.bytes > self.retention_bytes.saturating_mul(2)
            || request.bytes > u64::from(u32::MAX)
        {
            return Err(LogError::Full(format!(
                "an append of {} bytes is larger than twice source.retention_bytes ({}); send smaller ones or raise it",
                request.bytes, self.retention_bytes
            )));
        }
        let mut queue = lock(&self.queue);
        let fits = queue.requests.len() < QUEUE_ENTRIES
            && (queue.requests.is_empty() || queue.bytes + request.bytes <= QUEUE_BYTES);
        if !fits {
            return Err(LogError::Busy);
        }
        queue.bytes += request.bytes;
        queue.requests.push(request);
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Everything that is queued, waiting for the first; `None` once the log is closed and the queue is empty.
    fn take(&self) -> Option<Vec<Request>> {
        let mut queue = lock(&self.queue);
        while queue.requests.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.requests))
    }

    /// True once the writer's thread has panicked: a bug, and nothing is acknowledged any more.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Lets the writer end after what is queued.
    pub(super) fn close(&self) {
        lock(&self.queue).closed = true;
        self.arrived.notify_all();
    }

    pub(super) fn set_floor(&self, floor: u64) {
        if self.floor.swap(floor, Ordering::SeqCst) < floor {
            self.refused.store(false, Ordering::SeqCst);
        }
    }

    /// True when an append was refused for want of room, or soon will be: half of what the log may hold beyond its
    /// retention is taken.
    pub(super) fn is_pressed(&self) -> bool {
        let comfortable = self
            .retention_bytes
            .saturating_add(self.retention_bytes / 2);
        self.refused.load(Ordering::SeqCst) || self.extent().bytes() > comfortable
    }

    /// What is durable.
    pub(super) fn extent(&self) -> Extent {
        *lock(&self.durable)
    }

    /// Waits at most `wait` until the log reaches past `next`.
    pub(super) fn wait_past(&self, next: u64, wait: Duration) -> Extent {
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        let mut durable = lock(&self.durable);
        while durable.next <= next {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            durable = self
                .grown
                .wait_timeout(durable, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *durable
    }

    fn publish(&self, extent: Extent) {
        *lock(&self.durable) = extent;
        self.grown.notify_all();
    }

    /// The block that holds `offset`.
    pub(super) fn block(&self, offset: u64) -> Result<Option<(u64, Bytes)>, LogError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match store.as_ref() {
            Some(store) => store.block(offset),
            None => Err(self.closed_after_failure()),
        }
    }

    pub(super) fn size(&self) -> Result<LogSize, LogError> {
        let file_bytes = disk::occupied(&self.path).map_err(|error| {
            LogError::Io(format!("cannot look at {}: {error}", self.path.display()))
        })?;
        Ok(LogSize {
            payload_bytes: self.extent().bytes(),
            file_bytes,
        })
    }

    fn closed_after_failure(&self) -> LogError {
        LogError::Io(format!(
            "the log {} could not be opened again after a failed write; it is tried at the next append",
            self.path.display()
        ))
    }

    fn commit(&self, requests: &mut [Request]) -> Result<Vec<Option<Range<u64>>>, LogError> {
        let groups: Vec<Vec<Stored>> = requests
            .iter_mut()
            .map(|request| std::mem::take(&mut request.records))
            .collect();
        let retention = Retention {
            bytes: self.retention_bytes,
            floor: self.floor.load(Ordering::SeqCst),
        };
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let store = store.as_ref().ok_or_else(|| self.closed_after_failure())?;
        let (extent, places) = store.append(&groups, self.extent(), retention)?;
        self.publish(extent);
        Ok(places)
    }

    /// Opens the file again after a failed commit, as the disk has it. After a failed sync the blocks are first
    /// copied into a new file. Only then is what was found there shown to readers.
    fn recover(&self, suspect: &mut bool) -> Result<(), LogError> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = slot.take() {
            *suspect |= failed.is_suspect();
        }
        let opened = Store::reopen(&self.path, &self.opener)?;
        if opened.name() != &self.name {
            return Err(opened.corrupt("it is another log than the one that was open"));
        }
        let (found, promised) = (opened.extent()?, self.extent());
        if found.next < promised.next {
            return Err(opened.corrupt(&format!(
                "it ends at offset {}, but records up to {} were acknowledged",
                found.next, promised.next
            )));
        }
        let store = slot.insert(opened);
        if *suspect || store.is_suspect() {
            let fresh = store.rewrite()?;
            *suspect = fresh.is_suspect();
            *store = fresh;
        }
        let extent = store.extent()?;
        drop(slot);
        self.publish(extent);
        Ok(())
    }

    fn full(&self) -> LogError {
        self.refused.store(true, Ordering::SeqCst);
        LogError::Full(format!(
            "the log holds {} bytes, about twice source.retention_bytes ({}), and no checkpoint lets go of the oldest \
             (records from offset {} on are still needed); wait until training has caught up, or raise source.retention_bytes",
            self.extent().bytes(),
            self.retention_bytes,
            self.floor.load(Ordering::SeqCst)
        ))
    }
}

/// Tells readers when the thread ends by a panic.
struct Watch<'a>(&'a Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.dead.store(true, Ordering::SeqCst);
            self.0.grown.notify_all();
        }
    }
}

/// Commits what is queued until the log is closed.
pub(super) fn run(shared: &Shared) {
    let _watch = Watch(shared);
    let (mut broken, mut suspect) = (false, false);
    while let Some(mut requests) = shared.take() {
        if broken && let Err(error) = shared.recover(&mut suspect) {
            refuse(requests, &error);
            continue;
        }
        broken = suspect;
        if crash::is_broken("acknowledged_before_commit") {
            acknowledge_unwritten(shared, &mut requests);
            continue;
        }
        match shared.commit(&mut requests) {
            Ok(places) => {
                for (request, place) in requests.into_iter().zip(places) {
                    let answer = match place {
                        Some(place) => Ok(offset(place.start)..offset(place.end)),
                        None => Err(shared.full()),
                    };
                    // A caller that went away does not want to know.
                    let _ = request.answer.send(answer);
                }
            }
            Err(error) => {
                // Opened again at once, so that readers go on; if that fails, before the next append.
                broken = shared.recover(&mut suspect).is_err() || suspect;
                refuse(requests, &error);
            }
        }
    }
}

/// What a log must never do: it says yes, and then writes, if the process lives so long.
fn acknowledge_unwritten(shared: &Shared, requests: &mut [Request]) {
    let mut next = shared.extent().next;
    for request in requests.iter_mut() {
        let end = next + request.records.len() as u64;
        let (unheard, _) = oneshot::channel();
        let answer = std::mem::replace(&mut request.answer, unheard);
        let _ = answer.send(Ok(offset(next)..offset(end)));
        next = end;
    }
    std::thread::sleep(Duration::from_millis(20));
    // A failure here is what the crash test is to notice.
    let _ = shared.commit(requests);
}

fn refuse(requests: Vec<Request>, error: &LogError) {
    for request in requests {
        let _ = request.answer.send(Err(error.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
