//! A file system in memory that never fails.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skewd::checkpoint::disk::{Disk, Handle};

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

/// Files by their paths.
#[derive(Default)]
pub struct Memory(Files);

struct Open {
    files: Files,
    path: PathBuf,
}

fn locked(files: &Files) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Puts a file there.
    pub fn put(&self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        locked(&self.0).insert(path.into(), bytes);
    }
}

impl Disk for Memory {
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = locked(&self.0);
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = locked(&self.0).get(path).cloned();
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn reader(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let bytes = self.read(path)?;
        let length = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), length))
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        locked(&self.0).entry(path.to_owned()).or_default();
        Ok(Box::new(Open {
            files: Arc::clone(&self.0),
            path: path.to_owned(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = locked(&self.0);
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = locked(&self.0).remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Handle for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(locked(&self.files).get(&self.path).map_or(0, Vec::len) as u64)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let mut files = locked(&self.files);
        files
            .entry(self.path.clone())
            .or_default()
            .resize(length as usize, 0);
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = locked(&self.files);
        let file = files.entry(self.path.clone()).or_default();
        let (start, end) = (at as usize, at as usize + bytes.len());
        file.resize(file.len().max(end), 0);
        file[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
