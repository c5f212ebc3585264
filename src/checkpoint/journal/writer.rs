//! Writing a journal: entries queue up, one thread appends and syncs all that wait.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::reader::{Tail, contents};
use super::{HEAD_BYTES, Hash, MAGIC, VERSION, chain, files, path_of};
use crate::crash;
use crate::learner::recorded::Entry;

/// Entries are synced together, at most this often: nothing that is served is older.
const SYNC_EVERY: Duration = Duration::from_millis(5);
/// After a failed write it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

enum Order {
    Entry(Entry),
    /// Begin a new file, and remove the files that hold nothing after so many examples.
    Turn {
        keep_from: u64,
    },
}

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
    /// Opens the journal in `dir` (made if needed) to go on after `examples`. Entries beyond are forgotten: the caller has
    /// repeated what it wanted of them. `max_bytes` bounds all files together, the newest excepted.
    ///
    /// # Errors
    /// When the folder or its files cannot be read or written.
    pub fn open(dir: &Path, examples: u64, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let appender = Appender::open(dir, examples, max_bytes)?;
        let progress = Arc::new(Progress::default());
        progress.durable.store(examples, Ordering::Release);
        let (orders, queue) = channel();
        let shared = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name("skewd-journal".to_owned())
            .spawn(move || {
                let _dead = Dead(Arc::clone(&shared));
                append_all(appender, &queue, &shared);
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
    /// Waits until everything up to `examples` is durable; false when that took longer than `patience`.
    #[must_use]
    pub fn wait_for(&self, examples: u64, patience: Duration) -> bool {
        let trouble = self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (_trouble, timeout) = self
            .0
            .moved
            .wait_timeout_while(trouble, patience, |_| {
                self.0.durable.load(Ordering::Acquire) < examples
                    && !self.0.broken.load(Ordering::Acquire)
            })
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out() && self.0.durable.load(Ordering::Acquire) >= examples
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

fn append_all(mut appender: Appender, queue: &Receiver<Order>, progress: &Progress) {
    let mut open = true;
    while open {
        let mut orders = Vec::new();
        match queue.recv() {
            Ok(order) => orders.push(order),
            Err(_) => return,
        }
        // Whatever comes within the pause shares the sync.
        let deadline = std::time::Instant::now() + SYNC_EVERY;
        loop {
            match queue.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
            {
                Ok(order) => orders.push(order),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        while let Err(error) = appender.carry_out(&mut orders) {
            progress.tell(Some(error.to_string()));
            if !open {
                return;
            }
            std::thread::sleep(RETRY_AFTER);
        }
        progress.durable.store(appender.examples, Ordering::Release);
        progress.tell(None);
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

/// The file at the end of the journal.
struct Appender {
    dir: PathBuf,
    max_bytes: u64,
    file: File,
    /// Length of the whole entries; what lies beyond is cut off before the next write.
    length: u64,
    hash: Hash,
    /// Examples after the last entry.
    examples: u64,
}

impl Appender {
    fn open(dir: &Path, examples: u64, max_bytes: u64) -> io::Result<Self> {
        let mut hash = Hash::default();
        for (first, path) in files(dir)? {
            if first > examples {
                // A future that nobody has seen: its batches were not served.
                fs::remove_file(&path)?;
                continue;
            }
            let found = contents(&path)?;
            let known = found
                .entries
                .partition_point(|entry| entry.examples <= examples);
            if known < found.entries.len() || found.tail != Tail::Whole {
                cut(&path, &found.entries[..known])?;
            }
            // A file whose head was not written whole has gone.
            if path.exists() {
                hash = contents(&path)?.hash;
            }
        }
        Self::begin(dir, examples, max_bytes, hash)
    }

    /// A new file at the end.
    fn begin(dir: &Path, examples: u64, max_bytes: u64, hash: Hash) -> io::Result<Self> {
        let path = path_of(dir, examples);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        // A file of the same beginning holds changes of settings at most: they stay.
        let mut length = file.metadata()?.len();
        if length < HEAD_BYTES as u64 {
            file.set_len(0)?;
            file.write_all(&head(examples, &hash))?;
            length = HEAD_BYTES as u64;
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self {
            dir: dir.to_owned(),
            max_bytes,
            file,
            length,
            hash,
            examples,
        })
    }

    /// Carries out all orders, or as many as possible: those that were are removed.
    fn carry_out(&mut self, orders: &mut Vec<Order>) -> io::Result<()> {
        while !orders.is_empty() {
            let entries = orders
                .iter()
                .take_while(|order| matches!(order, Order::Entry(_)))
                .count();
            if entries > 0 {
                self.append(&orders[..entries])?;
                orders.drain(..entries);
            } else if let Some(Order::Turn { keep_from }) = orders.first() {
                let keep_from = *keep_from;
                self.turn(keep_from)?;
                orders.remove(0);
            }
        }
        Ok(())
    }

    fn append(&mut self, orders: &[Order]) -> io::Result<()> {
        use std::io::Seek as _;
        let (mut bytes, mut hash, mut examples) = (Vec::new(), self.hash, self.examples);
        for order in orders {
            if let Order::Entry(entry) = order {
                let json = serde_json::to_vec(entry).map_err(io::Error::other)?;
                hash = chain(&hash, &json);
                bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&json);
                bytes.extend_from_slice(&hash);
                examples = entry.examples;
            }
        }
        self.file.set_len(self.length)?;
        self.file.seek(io::SeekFrom::Start(self.length))?;
        self.file.write_all(&bytes)?;
        crash::point("journal.before_sync");
        self.file.sync_data()?;
        crash::point("journal.after_sync");
        (self.hash, self.examples) = (hash, examples);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn turn(&mut self, keep_from: u64) -> io::Result<()> {
        if self.length > HEAD_BYTES as u64 {
            *self = Self::begin(&self.dir, self.examples, self.max_bytes, self.hash)?;
        }
        let files = files(&self.dir)?;
        let mut bytes = 0;
        let sizes: Vec<u64> = files
            .iter()
            .map(|(_, path)| fs::metadata(path).map(|found| found.len()))
            .collect::<io::Result<_>>()?;
        let mut surplus = 0;
        for (index, size) in sizes.iter().enumerate().rev() {
            bytes += size;
            if bytes > self.max_bytes {
                surplus = index + 1;
                break;
            }
        }
        for index in 0..surplus.min(files.len() - 1) {
            // A file may go when the next one begins at or before what must stay.
            if files[index + 1].0 <= keep_from {
                fs::remove_file(&files[index].1)?;
            }
        }
        Ok(())
    }
}

fn head(examples: u64, hash: &Hash) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&examples.to_le_bytes());
    bytes.extend_from_slice(hash);
    bytes
}

/// Shortens a file to its first entries.
fn cut(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut length = HEAD_BYTES as u64;
    for entry in entries {
        let json = serde_json::to_vec(entry).map_err(io::Error::other)?;
        length += (4 + json.len() + super::HASH_BYTES) as u64;
    }
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() < HEAD_BYTES as u64 {
        return fs::remove_file(path);
    }
    file.set_len(length)?;
    file.sync_all()
}
