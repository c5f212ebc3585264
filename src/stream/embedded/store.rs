//! The blocks in their table: opening, appending with retention, reading, and writing the file anew.

use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::LogError;
use super::block::{self, RECORD_OVERHEAD, Stored};
use super::disk::{self, Closing, Opener};
use super::name::{self, Name};
use super::trouble::{damaged, io_error, refused};
use crate::crash;
use crate::stream::files;

/// Key: offset of the first record of the block.
const BLOCKS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("blocks.v1");
/// A file is written anew at open only when it takes at least this much more than it should.
const SLACK_BYTES: u64 = 32 << 20;
/// Bytes of blocks in one transaction while the file is written anew.
const COPY_BYTES: usize = 8 << 20;

type Result<T, E = LogError> = std::result::Result<T, E>;

/// Which records the log holds, and how many payload bytes it ever took before each end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Offset of the oldest record.
    pub first: u64,
    /// One past the offset of the newest.
    pub next: u64,
    /// Payload bytes before `first`.
    pub bytes_before: u64,
    /// Payload bytes before `next`.
    pub bytes_through: u64,
}

impl Extent {
    /// Payload bytes that the log holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_through - self.bytes_before
    }

    /// Payload bytes and what is stored beside each record.
    fn stored_bytes(&self) -> u64 {
        self.bytes() + (self.next - self.first) * RECORD_OVERHEAD as u64
    }
}

/// How much may be kept and how much must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// Payload bytes above which the oldest blocks go.
    pub bytes: u64,
    /// Records from this offset on must stay.
    pub floor: u64,
}

/// The open database.
pub(super) struct Store {
    path: PathBuf,
    /// Device and number of the file.
    identity: (u64, u64),
    /// Which log this is, wherever its file lies.
    name: Name,
    /// The beginning of the file as the last commit left it.
    head: Mutex<Vec<u8>>,
    database: Closing,
    sync_failed: Arc<AtomicBool>,
    opener: Opener,
}

impl Store {
    /// Opens the log at `path`, made if it is not there.
    pub(super) fn open(path: &Path, opener: &Opener) -> Result<Self> {
        remove(&beside(path))?;
        let store = Self::open_at(path, opener, Some(Name::fresh()))?;
        files::sync_folder_of(path)
            .map_err(|error| io_error("sync the folder of", path, &error))?;
        Ok(store)
    }

    /// Opens a log that was there before: where it is gone, an empty one in its place would hide the loss.
    pub(super) fn reopen(path: &Path, opener: &Opener) -> Result<Self> {
        Self::open_at(path, opener, None)
    }

    /// With a name for a new log the file is made if it is not there.
    fn open_at(path: &Path, opener: &Opener, fresh: Option<Name>) -> Result<Self> {
        let sync_failed = Arc::new(AtomicBool::new(false));
        let file =
            disk::file(path, fresh.is_some()).map_err(|error| io_error("open", path, &error))?;
        let metadata = file
            .metadata()
            .map_err(|error| io_error("look at", path, &error))?;
        // The library checks little of a file that was closed in order, and panics on a damaged one.
        let database = catch_unwind(AssertUnwindSafe(|| opener(file, sync_failed.clone())))
            .map_err(|_| LogError::Io(damaged(path, "its structure is broken")))?
            .map_err(|error| refused("open", path, error.into()))?;
        let mut store = Self {
            path: path.to_owned(),
            identity: files::identity(&metadata),
            name: Name::fresh(),
            head: Mutex::default(),
            database: Closing(Some(database)),
            sync_failed,
            opener: opener.clone(),
        };
        store.name = store.guarded(|| store.make_tables(fresh))?;
        store.note_head();
        Ok(store)
    }

    /// Another name: positions that are known of the log so far are none any more.
    pub(super) fn rename(&self) -> Result<()> {
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        name::write(&transaction, &Name::fresh()).map_err(|e| self.failed(e))?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// The library checks little of what it reads, and panics on damage.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(self.corrupt("its structure is broken")))
    }

    fn note_head(&self) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = files::head(&self.path);
    }

    /// The tables, and the log's name in one of them, must exist before the first reader comes.
    fn make_tables(&self, fresh: Option<Name>) -> Result<Name> {
        let has_blocks = {
            let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
            if let Some(known) = name::read(&transaction).map_err(|e| self.failed(e))? {
                return Ok(known);
            }
            transaction.open_table(BLOCKS).is_ok()
        };
        let name = match fresh {
            Some(name) if !has_blocks => name,
            _ => Name::adopted(),
        };
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        transaction.open_table(BLOCKS).map_err(|e| self.failed(e))?;
        name::write(&transaction, &name).map_err(|e| self.failed(e))?;
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(name)
    }

    /// Which log this is.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// True when bytes that were written may not be on the disk, whatever a later sync says.
    pub(super) fn is_suspect(&self) -> bool {
        self.sync_failed.load(Ordering::SeqCst)
    }

    /// What the log holds, from its first and its last block.
    pub(super) fn extent(&self) -> Result<Extent> {
        self.guarded(|| self.read_extent())
    }

    fn read_extent(&self) -> Result<Extent> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = transaction.open_table(BLOCKS).map_err(|e| self.failed(e))?;
        let first = table.first().map_err(|e| self.failed(e))?;
        let last = table.last().map_err(|e| self.failed(e))?;
        let (Some((first, first_value)), Some((last, last_value))) = (first, last) else {
            return Ok(Extent::default());
        };
        let head = |value: &[u8]| block::head(value).map_err(|what| self.corrupt(&what));
        let (oldest, newest) = (head(first_value.value())?, head(last_value.value())?);
        Ok(Extent {
            first: first.value(),
            next: last.value() + u64::from(newest.count),
            bytes_before: oldest.before,
            bytes_through: newest.before + newest.payload,
        })
    }

    /// The block that holds `offset`: the offset of its first record, and its value.
    pub(super) fn block(&self, offset: u64) -> Result<Option<(u64, Bytes)>> {
        self.guarded(|| self.read_block(offset))
    }

    fn read_block(&self, offset: u64) -> Result<Option<(u64, Bytes)>> {
        let transaction = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = transaction.open_table(BLOCKS).map_err(|e| self.failed(e))?;
        let mut up_to = table.range(..=offset).map_err(|e| self.failed(e))?;
        match up_to.next_back() {
            None => Ok(None),
            Some(entry) => {
                let (key, value) = entry.map_err(|e| self.failed(e))?;
                Ok(Some((key.value(), Bytes::copy_from_slice(value.value()))))
            }
        }
    }

    /// Appends `groups` in one durable transaction that also drops what retention lets go. A group that would
    /// take the log beyond twice its retention is left out: its place in the answer is `None`.
    pub(super) fn append(
        &self,
        groups: &[Vec<Stored>],
        before: Extent,
        retention: Retention,
    ) -> Result<(Extent, Vec<Option<Range<u64>>>)> {
        self.check_in_place()?;
        let appended = self.write(groups, before, retention);
        self.note_head();
        appended
    }

    fn write(
        &self,
        groups: &[Vec<Stored>],
        before: Extent,
        retention: Retention,
    ) -> Result<(Extent, Vec<Option<Range<u64>>>)> {
        let mut extent = before;
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        let mut places = Vec::with_capacity(groups.len());
        {
            let mut table = transaction.open_table(BLOCKS).map_err(|e| self.failed(e))?;
            let wanted: u64 = groups.iter().map(|group| payload_bytes(group)).sum();
            let room = Retention {
                bytes: retention.bytes.saturating_sub(wanted),
                ..retention
            };
            self.trim(&mut table, &mut extent, room)?;
            let mut records = Vec::new();
            let (mut next, mut held) = (extent.next, extent.bytes());
            for group in groups {
                let bytes = payload_bytes(group);
                if !group.is_empty() && held + bytes > retention.bytes.saturating_mul(2) {
                    places.push(None);
                    continue;
                }
                places.push(Some(next..next + group.len() as u64));
                next += group.len() as u64;
                held += bytes;
                records.extend_from_slice(group);
            }
            self.insert(&mut table, &mut extent, &records)?;
        }
        if extent.next == before.next {
            transaction.abort().map_err(|e| self.failed(e))?;
            return Ok((before, places));
        }
        crash::point("log.before_commit");
        transaction.commit().map_err(|e| self.failed(e))?;
        crash::point("log.after_commit");
        Ok((extent, places))
    }

    /// A removed or replaced file still takes writes, but nobody would ever find them again.
    fn check_in_place(&self) -> Result<()> {
        if !files::is_in_place(&self.path, self.identity) {
            return Err(LogError::Io(format!(
                "the log {} was removed or replaced while it was open; put it back, then restart the daemon",
                self.path.display()
            )));
        }
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if *head != files::head(&self.path) {
            return Err(LogError::Io(format!(
                "the log {} was cut or written to by somebody else while it was open; restore it from a copy, then restart the \
                 daemon",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn insert(
        &self,
        table: &mut redb::Table<'_, u64, &'static [u8]>,
        extent: &mut Extent,
        mut records: &[Stored],
    ) -> Result<()> {
        while !records.is_empty() {
            let (block, rest) = records.split_at(block::take(records));
            let value = block::encode(extent.bytes_through, block);
            table
                .insert(extent.next, value.as_slice())
                .map_err(|e| self.failed(e))?;
            extent.next += block.len() as u64;
            extent.bytes_through += payload_bytes(block);
            records = rest;
        }
        Ok(())
    }

    /// Removes the oldest blocks while the log holds more than it should, none that reaches past the floor. This may
    /// empty the table: the caller then adds a block, or takes all back, because the last one tells where the log ends.
    fn trim(
        &self,
        table: &mut redb::Table<'_, u64, &'static [u8]>,
        extent: &mut Extent,
        retention: Retention,
    ) -> Result<()> {
        while extent.bytes() > retention.bytes {
            let end = {
                let mut blocks = table.iter().map_err(|e| self.failed(e))?;
                blocks.next();
                match blocks.next() {
                    None => (extent.next, extent.bytes_through),
                    Some(entry) => {
                        let (key, value) = entry.map_err(|e| self.failed(e))?;
                        let head =
                            block::head(value.value()).map_err(|what| self.corrupt(&what))?;
                        (key.value(), head.before)
                    }
                }
            };
            if end.0 > retention.floor {
                break;
            }
            table.pop_first().map_err(|e| self.failed(e))?;
            (extent.first, extent.bytes_before) = end;
        }
        Ok(())
    }

    /// True when the file takes much more of the disk than what it holds.
    pub(super) fn is_bloated(&self, extent: &Extent) -> Result<bool> {
        let occupied =
            disk::occupied(&self.path).map_err(|error| io_error("look at", &self.path, &error))?;
        Ok(occupied > 2 * extent.stored_bytes() + SLACK_BYTES)
    }

    /// Copies the blocks into a new file, merging small ones, and puts it in the place of the old one. Gives
    /// space back, and makes bytes durable again whose sync failed. After an error this store still stands.
    pub(super) fn rewrite(&self) -> Result<Self> {
        let fresh = beside(&self.path);
        // A file that was there before would lend its pages, whose sync may be the one that failed.
        remove(&fresh)?;
        let copied =
            Self::open_at(&fresh, &self.opener, Some(self.name.clone())).and_then(|copy| {
                self.copy_into(&copy)?;
                Ok(copy)
            });
        let renamed = copied.and_then(|copy| match fs::rename(&fresh, &self.path) {
            Ok(()) => Ok(copy),
            Err(error) => Err(io_error("rename", &fresh, &error)),
        });
        let mut copy = match renamed {
            Ok(copy) => copy,
            Err(error) => {
                // Best effort: what stays behind is removed at the next open.
                let _ = fs::remove_file(&fresh);
                return Err(error);
            }
        };
        // The new file is in place from here on; what is not certain is that it stays there.
        if files::sync_folder_of(&self.path).is_err() {
            copy.sync_failed.store(true, Ordering::SeqCst);
        }
        copy.path.clone_from(&self.path);
        copy.note_head();
        Ok(copy)
    }

    fn copy_into(&self, copy: &Self) -> Result<()> {
        let extent = self.extent()?;
        let mut done = Extent {
            next: extent.first,
            bytes_through: extent.bytes_before,
            ..extent
        };
        while done.next < extent.next {
            let mut records = Vec::new();
            let (mut bytes, mut from) = (0, done.next);
            while from < extent.next && bytes < COPY_BYTES {
                let Some((first, value)) = self.block(from)? else {
                    return Err(self.corrupt(&format!("no block holds offset {from}")));
                };
                bytes += value.len();
                let block = block::decode(&value).map_err(|what| self.corrupt(&what))?;
                from = first + block.len() as u64;
                records.extend(block);
            }
            copy.append_copied(&mut done, &records)?;
        }
        Ok(())
    }

    fn append_copied(&self, done: &mut Extent, records: &[Stored]) -> Result<()> {
        let transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        {
            let mut table = transaction.open_table(BLOCKS).map_err(|e| self.failed(e))?;
            self.insert(&mut table, done, records)?;
        }
        transaction.commit().map_err(|e| self.failed(e))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> LogError {
        refused("use", &self.path, error.into())
    }

    pub(super) fn corrupt(&self, what: &str) -> LogError {
        LogError::Io(damaged(&self.path, what))
    }
}

fn payload_bytes(records: &[Stored]) -> u64 {
    records
        .iter()
        .map(|(_, payload)| payload.len() as u64)
        .sum()
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Where the file is written anew.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
