//! The journal on a disk without room, and in a folder that somebody else owns by now.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::checkpoint::DirLock;
use crate::checkpoint::disk::{Handle, Os};
use crate::learner::recorded::{Entry, Run};

const PATIENCE: Duration = Duration::from_secs(30);

/// The system's disk while it is not said to be full.
#[derive(Default)]
struct Disks {
    full: AtomicBool,
}

impl Disks {
    fn room(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

struct Held(Arc<Disks>);

impl Disk for Held {
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Os.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Os.read(path)
    }

    fn reader(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        Os.reader(path)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        Os.make_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Os.sync_dir(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let file = Os.open(path)?;
        Ok(Box::new(HeldFile(Arc::clone(&self.0), file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Os.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Os.remove(path)
    }
}

struct HeldFile(Arc<Disks>, Box<dyn Handle>);

impl Handle for HeldFile {
    fn length(&self) -> io::Result<u64> {
        self.1.length()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.1.set_length(length)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.room()?;
        self.1.write_at(at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.sync()
    }
}

fn batch(examples: u64) -> Entry {
    let end = examples as i64;
    Entry {
        taken: examples,
        runs: vec![Run(0, end - 10, end)],
        mark: examples,
        change: None,
    }
}

fn open(disks: &Arc<Disks>, dir: &Path) -> Journal {
    let disk = Arc::new(Held(Arc::clone(disks)));
    Journal::open_on(disk, dir, 0, 1 << 20, None).unwrap()
}

#[test]
fn on_a_full_disk_it_opens_says_so_and_is_whole_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disks = Arc::new(Disks::default());
    disks.full.store(true, Ordering::SeqCst);
    let journal = open(&disks, dir.path());
    assert!(journal.trouble().is_some());
    journal.append(batch(10));
    let asked = Instant::now();
    assert!(!journal.waiter().wait_for(10, PATIENCE));
    assert!(asked.elapsed() < PATIENCE / 2, "it waited in vain");
    disks.full.store(false, Ordering::SeqCst);
    while journal.durable() < 10 {
        assert!(asked.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(journal.trouble(), None);
    drop(journal);
    assert_eq!(read_all(dir.path(), 0).unwrap(), [batch(10)]);
}

#[test]
fn a_full_disk_that_gets_room_is_noticed_without_a_new_batch() {
    let dir = tempfile::tempdir().unwrap();
    let disks = Arc::new(Disks::default());
    disks.full.store(true, Ordering::SeqCst);
    let journal = open(&disks, dir.path());
    disks.full.store(false, Ordering::SeqCst);
    let asked = Instant::now();
    while journal.trouble().is_some() {
        assert!(asked.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_stops_does_not_wait_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let disks = Arc::new(Disks::default());
    let journal = open(&disks, dir.path());
    disks.full.store(true, Ordering::SeqCst);
    journal.append(batch(10));
    while journal.trouble().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stopped = Instant::now();
    drop(journal);
    assert!(stopped.elapsed() < PATIENCE / 2);
}

#[cfg(unix)]
#[test]
fn nothing_is_written_to_a_folder_that_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    std::fs::create_dir(&data).unwrap();
    let lock = Arc::new(DirLock::acquire(&data).unwrap());
    let folder = data.join("journal");
    let journal = Journal::open(&folder, 0, 1 << 20, Some(lock)).unwrap();
    journal.append(batch(10));
    assert!(journal.waiter().wait_for(10, PATIENCE));
    std::fs::rename(&data, &away).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let _successor = DirLock::acquire(&data).unwrap();
    journal.append(batch(20));
    journal.turn(0);
    while journal.trouble().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(journal);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(read_all(&away.join("journal"), 0).unwrap(), [batch(10)]);
}
