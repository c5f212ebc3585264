//! Writing a journal: entries queue up, one thread appends and syncs all that wait.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::appender::{Appender, Order};
use crate::checkpoint::DirLock;
use crate::checkpoint::disk::{Disk, Os, is_no_room};
use crate::learner::recorded::Entry;

/// Entries are synced together, at most this often: nothing that is served is older.
const SYNC_EVERY: Duration = Duration::from_millis(5);
/// After a failed write it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Progress {
    /// Examples up to which everything is durable.
    durable: AtomicU64,
    broken: AtomicBool,
    trouble: Mutex<Option<String>>,
    moved: Condvar,
}

/// The journal that a daemon appends to.
pub struct Journal {
    orders: Option<Sender<Order>>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal in `dir` (made if needed) to go on after `taken` examples. Entries beyond are forgotten: the caller has
    /// repeated what it wanted of them. `max_bytes` bounds all files together, the newest excepted.
    ///
    /// Nothing is written once the `lock` of the data folder is lost. On a disk without room it is opened later, and tried
    /// again and again: a model can be served meanwhile.
    ///
    /// # Errors
    /// When the folder or its files cannot be read or written.
    pub fn open(
        dir: &Path,
        taken: u64,
        max_bytes: u64,
        lock: Option<Arc<DirLock>>,
    ) -> io::Result<Self> {
        Self::open_on(Arc::new(Os), dir, taken, max_bytes, lock)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        taken: u64,
        max_bytes: u64,
        lock: Option<Arc<DirLock>>,
    ) -> io::Result<Self> {
        let mut file = End {
            disk,
            dir: dir.to_owned(),
            taken,
            max_bytes,
            lock,
            appender: None,
        };
        let progress = Arc::new(Progress::default());
        progress.durable.store(taken, Ordering::Release);
        match file.appender() {
            Ok(_) => {}
            Err(error) if is_no_room(&error) => progress.tell(Some(error.to_string())),
            Err(error) => return Err(error),
        }
        let (orders, queue) = channel();
        let shared = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name("skewd-journal".to_owned())
            .spawn(move || {
                let _dead = Dead(Arc::clone(&shared));
                append_all(file, &queue, &shared);
            })?;
        Ok(Self {
            orders: Some(orders),
            progress,
            thread: Some(thread),
        })
    }

    /// Queues an entry.
    pub fn append(&self, entry: Entry) {
        self.order(Order::Entry(entry));
    }

    /// Begins a new file, and removes old ones as far as all of them are too large and nothing after `keep_from` examples
    /// is lost.
    pub fn turn(&self, keep_from: u64) {
        self.order(Order::Turn { keep_from });
    }

    fn order(&self, order: Order) {
        // A thread that is gone has said so: see `is_dead`.
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// Examples up to which every entry is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.progress.durable.load(Ordering::Acquire)
    }

    /// A handle by which another thread can wait.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter(Arc::clone(&self.progress))
    }

    /// Why entries cannot be written just now.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.progress
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// True when the writing thread has ended by itself: a bug.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.progress.broken.load(Ordering::Acquire)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Without a sender the thread writes what is queued, and ends.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for entries to become durable.
pub struct Waiter(Arc<Progress>);

impl Waiter {
    /// Waits until everything up to `taken` examples is durable; false when that took longer than `patience`, and at once
    /// when the journal cannot be written.
    #[must_use]
    pub fn wait_for(&self, taken: u64, patience: Duration) -> bool {
        let trouble = self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (_trouble, timeout) = self
            .0
            .moved
            .wait_timeout_while(trouble, patience, |trouble| {
                self.0.durable.load(Ordering::Acquire) < taken
                    && trouble.is_none()
                    && !self.0.broken.load(Ordering::Acquire)
            })
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out() && self.0.durable.load(Ordering::Acquire) >= taken
    }
}

/// Says that the thread has ended.
struct Dead(Arc<Progress>);

impl Drop for Dead {
    fn drop(&mut self) {
        self.0.broken.store(true, Ordering::Release);
        self.0.moved.notify_all();
    }
}

/// The end of the journal: open, or to be opened as soon as there is room for it.
struct End {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    taken: u64,
    max_bytes: u64,
    lock: Option<Arc<DirLock>>,
    appender: Option<Appender>,
}

impl End {
    fn appender(&mut self) -> io::Result<&mut Appender> {
        if self.lock.as_ref().is_some_and(|lock| !lock.is_in_place()) {
            return Err(io::Error::other(
                "the folder is not this process's any more: its lock was removed or replaced",
            ));
        }
        match &mut self.appender {
            Some(appender) => Ok(appender),
            closed => {
                let disk = Arc::clone(&self.disk);
                let opened = Appender::open(disk, &self.dir, self.taken, self.max_bytes)?;
                Ok(closed.insert(opened))
            }
        }
    }

    fn carry_out(&mut self, orders: &mut Vec<Order>) -> io::Result<u64> {
        let appender = self.appender()?;
        appender.carry_out(orders)?;
        Ok(appender.taken())
    }
}

fn append_all(mut file: End, queue: &Receiver<Order>, progress: &Progress) {
    let mut orders = Vec::new();
    let mut failed = file.appender.is_none();
    loop {
        if orders.is_empty() && !failed {
            match queue.recv() {
                Ok(order) => orders.push(order),
                Err(_) => return,
            }
        }
        // Whatever comes within the pause shares the sync.
        let pause = if failed { RETRY_AFTER } else { SYNC_EVERY };
        let more_may_come = gather(queue, pause, &mut orders);
        let done = file.carry_out(&mut orders);
        failed = done.is_err();
        match done {
            Ok(taken) => {
                progress.durable.store(taken, Ordering::Release);
                progress.tell(None);
            }
            Err(error) => progress.tell(Some(error.to_string())),
        }
        // Who stops does not wait for a disk: what was not written is learned again.
        if !more_may_come {
            return;
        }
    }
}

/// Takes what comes within a while; false when nothing more will come.
fn gather(queue: &Receiver<Order>, within: Duration, orders: &mut Vec<Order>) -> bool {
    let deadline = Instant::now() + within;
    loop {
        match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(order) => orders.push(order),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

impl Progress {
    fn tell(&self, trouble: Option<String>) {
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_some() && told.is_none() {
            tracing::error!(reason = ?trouble, "the journal cannot be written; no newer model is served until it can");
        }
        *told = trouble;
        drop(told);
        self.moved.notify_all();
    }
}
