//! The file under the log: remembers whether a sync failed, because nothing read back after that proves
//! that the bytes are on the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend};

/// Memory for pages; the library's own default is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;

/// Opens or makes the database in a file, and notes failed syncs in the flag.
pub(super) type Opener =
    Arc<dyn Fn(File, Arc<AtomicBool>) -> Result<Database, DatabaseError> + Send + Sync>;

/// An open database that is closed without a panic, however damaged it is: closing writes, too.
pub(super) struct Closing(pub(super) Option<Database>);

impl std::ops::Deref for Closing {
    type Target = Database;

    fn deref(&self) -> &Database {
        match &self.0 {
            Some(database) => database,
            None => unreachable!("it is taken when this is dropped, and not before"),
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        // What the panic was about is said where the damage is met; nothing that was acknowledged waits for the closing.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// The opener that the daemon uses.
pub(super) fn opener() -> Opener {
    Arc::new(|file, sync_failed| open(FileBackend::new(file)?, sync_failed))
}

/// A database on any backend, watched.
pub(super) fn open(
    backend: impl StorageBackend,
    sync_failed: Arc<AtomicBool>,
) -> Result<Database, DatabaseError> {
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(Watched {
            backend,
            sync_failed,
        })
}

/// Opens a file for the database; with `create`, made if it is not there.
pub(super) fn file(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(create)
        .truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Bytes that the file takes on the disk; a file with holes takes less than its length.
pub(super) fn occupied(path: &Path) -> io::Result<u64> {
    let metadata = std::fs::metadata(path)?;
    #[cfg(unix)]
    let bytes = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let bytes = metadata.len();
    Ok(bytes)
}

#[derive(Debug)]
struct Watched<B> {
    backend: B,
    sync_failed: Arc<AtomicBool>,
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.backend.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::SeqCst);
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
