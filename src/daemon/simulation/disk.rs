//! A disk in memory that forgets what was not synced, tears writes, and fails when it is told to.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::checkpoint::disk::{Disk, Handle};
use crate::crash::Dice;

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops.
    Crash,
    /// EIO; a sync that fails drops what it should have written.
    Error,
    /// ENOSPC after half of the bytes.
    Full,
}

/// Calls that a broken build leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Without {
    pub journal_sync: bool,
    pub checkpoint_sync: bool,
    pub folder_sync: bool,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Default)]
struct File {
    synced: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Gives(PathBuf, usize),
    Takes(PathBuf),
    Moves(PathBuf, PathBuf, usize),
}

impl Naming {
    fn path(&self) -> &Path {
        match self {
            Self::Gives(path, _) | Self::Takes(path) | Self::Moves(path, _, _) => path,
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Gives(path, file) => {
                names.insert(path, file);
            }
            Self::Takes(path) => {
                names.remove(&path);
            }
            // At once or not at all.
            Self::Moves(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    namings: Vec<Naming>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    without: Without,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

fn failed(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length as usize, 0),
        Change::Write(at, new) => {
            let (at, end) = (*at as usize, *at as usize + new.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(new);
        }
    }
}

impl Inner {
    /// Counts a call, and what goes wrong at it.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(failed("the machine has stopped"));
        }
        self.calls += 1;
        match self.faults.remove(&self.calls) {
            Some(Fault::Crash) => {
                self.crashed = true;
                Err(failed("the machine stops"))
            }
            fault => Ok(fault),
        }
    }

    /// A call that a fault simply fails.
    fn plain(&mut self) -> io::Result<()> {
        match self.call()? {
            None => Ok(()),
            Some(_) => Err(failed("EIO")),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.display().to_string()))
    }
}

impl SimDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn leave_out(&self, without: Without) {
        self.inner().without = without;
    }

    /// Lets the call go wrong that comes `after` calls from now.
    pub fn fail(&self, after: u64, fault: Fault) {
        let mut inner = self.inner();
        let at = inner.calls + 1 + after;
        inner.faults.insert(at, fault);
    }

    pub fn has_crashed(&self) -> bool {
        self.inner().crashed
    }

    /// Stops the machine and starts it again: of what was not synced some, all or nothing is there, the last write of a
    /// file perhaps in part.
    pub fn crash(&self, dice: &mut Dice) {
        let mut inner = self.inner();
        inner.crashed = false;
        inner.faults.clear();
        let mood = dice.below(4);
        for naming in std::mem::take(&mut inner.namings) {
            let survives = match mood {
                0 => false,
                1 => true,
                _ => dice.below(2) == 0,
            };
            if survives {
                naming.apply(&mut inner.synced_names);
            }
        }
        inner.names = inner.synced_names.clone();
        for file in &mut inner.files {
            let since = std::mem::take(&mut file.since);
            let kept = match mood {
                0 => 0,
                1 => since.len(),
                _ => dice.below(since.len() as u64 + 1) as usize,
            };
            for (number, change) in since.into_iter().enumerate().take(kept) {
                match change {
                    Change::Write(at, bytes) if number + 1 == kept && mood == 3 => {
                        let torn = dice.below(bytes.len() as u64 + 1) as usize;
                        apply(&mut file.synced, &Change::Write(at, bytes[..torn].to_vec()));
                    }
                    change => apply(&mut file.synced, &change),
                }
            }
            file.now = file.synced.clone();
        }
    }
}

impl Disk for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut inner = self.inner();
        inner.plain()?;
        Ok(inner
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        inner.plain()?;
        let file = inner.find(path)?;
        Ok(inner.files[file].now.clone())
    }

    fn reader(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let bytes = self.read(path)?;
        let length = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), length))
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        self.inner().plain()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.plain()?;
        if inner.without.folder_sync {
            return Ok(());
        }
        let (durable, rest): (Vec<Naming>, Vec<Naming>) = std::mem::take(&mut inner.namings)
            .into_iter()
            .partition(|naming| naming.path().parent() == Some(dir));
        inner.namings = rest;
        for naming in durable {
            naming.apply(&mut inner.synced_names);
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut inner = self.inner();
        inner.plain()?;
        let file = match inner.names.get(path) {
            Some(file) => *file,
            None => {
                inner.files.push(File::default());
                let file = inner.files.len() - 1;
                inner.names.insert(path.to_owned(), file);
                inner.namings.push(Naming::Gives(path.to_owned(), file));
                file
            }
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let skips_sync = if name.starts_with("journal-") {
            inner.without.journal_sync
        } else {
            inner.without.checkpoint_sync
        };
        drop(inner);
        Ok(Box::new(Open {
            disk: self.clone(),
            file,
            skips_sync,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.plain()?;
        let file = inner.find(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), file);
        let moves = Naming::Moves(from.to_owned(), to.to_owned(), file);
        inner.namings.push(moves);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.plain()?;
        inner.find(path)?;
        inner.names.remove(path);
        inner.namings.push(Naming::Takes(path.to_owned()));
        Ok(())
    }
}

struct Open {
    disk: SimDisk,
    file: usize,
    skips_sync: bool,
}

impl Open {
    fn change(&self, inner: &mut Inner, change: Change) {
        let file = &mut inner.files[self.file];
        apply(&mut file.now, &change);
        file.since.push(change);
    }
}

impl Handle for Open {
    fn length(&self) -> io::Result<u64> {
        let mut inner = self.disk.inner();
        inner.plain()?;
        Ok(inner.files[self.file].now.len() as u64)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.plain()?;
        self.change(&mut inner, Change::Length(length));
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        if inner.crashed {
            return Err(failed("the machine has stopped"));
        }
        let written = match inner.call() {
            Ok(None) => bytes.len(),
            // Half of it may have reached the disk before the machine stopped or the disk was full.
            Ok(Some(_)) | Err(_) => bytes.len() / 2,
        };
        self.change(&mut inner, Change::Write(at, bytes[..written].to_vec()));
        if inner.crashed {
            Err(failed("the machine stops"))
        } else if written < bytes.len() {
            Err(io::Error::new(io::ErrorKind::StorageFull, "ENOSPC"))
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let fault = inner.call()?;
        if self.skips_sync {
            return Ok(());
        }
        let file = &mut inner.files[self.file];
        if fault.is_some() {
            // What the sync should have written is gone, and reads show what the disk has.
            file.since.clear();
            file.now = file.synced.clone();
            return Err(failed("EIO"));
        }
        file.since.clear();
        file.synced = file.now.clone();
        Ok(())
    }
}
