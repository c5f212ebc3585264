//! The file at the end of the journal: appended to, synced, turned over. No thread and no clock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{Tail, contents};
use super::{HEAD_BYTES, Hash, MAGIC, VERSION, chain, files, mark, path_of, reach_of};
use crate::checkpoint::disk::{Disk, Handle};
use crate::crash;
use crate::learner::recorded::Entry;

/// What an appender is told to do.
pub(crate) enum Order {
    /// Append an entry.
    Entry(Entry),
    /// Begin a new file, and remove the files that hold nothing after so many examples.
    Turn {
        /// Examples of the oldest checkpoint that is kept.
        keep_from: u64,
    },
}

/// Appends to the newest file.
pub(crate) struct Appender {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_bytes: u64,
    file: Box<dyn Handle>,
    /// Examples taken before its first entry.
    first: u64,
    /// Length of the whole entries; what lies beyond is cut off before the next write.
    length: u64,
    hash: Hash,
    /// Examples taken after the last entry.
    taken: u64,
    /// A state after so many examples needs nothing of this file.
    reach: u64,
}

impl Appender {
    /// Opens the journal to go on after `taken` examples; entries beyond are cut off.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, taken: u64, max_bytes: u64) -> io::Result<Self> {
        disk.make_dir(dir)?;
        let mut hash = Hash::default();
        let mut last = None;
        for (first, path) in files(&*disk, dir)? {
            if first > taken {
                // A future that nobody has seen: its batches were not served.
                disk.remove(&path)?;
                continue;
            }
            let found = contents(&*disk, &path)?;
            if found.tail == Tail::Torn(0) {
                // Its head was not written whole.
                disk.remove(&path)?;
                continue;
            }
            found.tail.check(&path, taken)?;
            let known = found.entries.partition_point(|entry| entry.taken <= taken);
            let is_cut = known < found.entries.len() || matches!(found.tail, Tail::Torn(_));
            if is_cut {
                disk.open(&path)?.set_length(found.end_of(known))?;
            }
            hash = found.hash_after(known);
            last = Some(path);
        }
        // A process that was killed may have left entries that no disk has yet: from here on they count as durable.
        if let Some(path) = last {
            disk.open(&path)?.sync()?;
        }
        let (file, length) = begin(&*disk, dir, taken, &hash)?;
        Ok(Self {
            dir: dir.to_owned(),
            max_bytes,
            file,
            first: taken,
            length,
            hash,
            taken,
            reach: taken + u64::from(length > HEAD_BYTES as u64),
            disk,
        })
    }

    /// Examples taken after the last entry that is durable.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Carries out all orders, or as many as possible: those that were are removed.
    pub fn carry_out(&mut self, orders: &mut Vec<Order>) -> io::Result<()> {
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
        let (mut hash, mut taken, mut reach) = (self.hash, self.taken, self.reach);
        let mut bytes = mark(self.length, reach).to_vec();
        for order in orders {
            if let Order::Entry(entry) = order {
                let json = serde_json::to_vec(entry).map_err(io::Error::other)?;
                hash = chain(&hash, &json);
                bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&json);
                bytes.extend_from_slice(&hash);
                (taken, reach) = (entry.taken, reach_of(entry));
            }
        }
        // After a sync that failed all of it is written again: what the first attempt left is worth nothing.
        self.file.set_length(self.length)?;
        self.file.write_at(self.length, &bytes)?;
        crash::point("journal.before_sync");
        self.file.sync()?;
        crash::point("journal.after_sync");
        (self.hash, self.taken, self.reach) = (hash, taken, reach);
        self.length += bytes.len() as u64;
        // The next append writes it again. Until then it need not be there: it only tells damage from a crash.
        let _ = self.file.write_at(self.length, &mark(self.length, reach));
        Ok(())
    }

    fn turn(&mut self, keep_from: u64) -> io::Result<()> {
        // A file that holds changes alone would get the name that it has.
        if self.taken > self.first {
            (self.file, self.length) = begin(&*self.disk, &self.dir, self.taken, &self.hash)?;
            self.first = self.taken;
        }
        let files = files(&*self.disk, &self.dir)?;
        let mut bytes = 0;
        let mut surplus = 0;
        for (index, (_, path)) in files.iter().enumerate().rev() {
            bytes += self.disk.reader(path)?.1;
            if bytes > self.max_bytes {
                surplus = index + 1;
                break;
            }
        }
        for index in 0..surplus.min(files.len() - 1) {
            // A file may go when the next one begins at or before what must stay.
            if files[index + 1].0 <= keep_from {
                self.disk.remove(&files[index].1)?;
            }
        }
        Ok(())
    }
}

/// A file at the end, and its length: a new one, or one of the same beginning that holds changes alone.
fn begin(
    disk: &dyn Disk,
    dir: &Path,
    taken: u64,
    hash: &Hash,
) -> io::Result<(Box<dyn Handle>, u64)> {
    let path = path_of(dir, taken);
    let mut file = disk.open(&path)?;
    let mut length = file.length()?;
    if length <= HEAD_BYTES as u64 {
        file.set_length(0)?;
        file.write_at(0, &head(taken, hash))?;
        length = HEAD_BYTES as u64;
    } else {
        // Marks may follow what an older skewd wrote.
        file.write_at(MAGIC.len() as u64, &VERSION.to_le_bytes())?;
    }
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok((file, length))
}

fn head(taken: u64, hash: &Hash) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&taken.to_le_bytes());
    bytes.extend_from_slice(hash);
    bytes
}
