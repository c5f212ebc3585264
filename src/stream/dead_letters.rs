//! Dead letters in a file: one JSON object a line, with all that the record had and why it was refused.
//!
//! ```text
//! {"topic": "embedded", "partition": 0, "offset": 17, "timestamp_ms": 1700000000000, "key": null, "value": "{\"a\":",
//!  "headers": [{"key": "__connect.errors.exception.class.name", "value": "syntax"}, ...]}
//! ```
//! Bytes that are no UTF-8 text stand in base64 under `key_base64` or `value_base64` instead. The headers are those
//! of the record in their order, then `__connect.errors.*` as Kafka Connect names them.
//!
//! # Size
//! A file that would grow past its limit becomes `<name>.1`, in place of the one before it: together they take at
//! most twice the limit (a single larger letter is written all the same, alone in its file).
//!
//! # Faults
//! A letter is durable after the next [`FileDeadLetters::flush`] and kept in memory until then, 1 MiB of them at most.
//! What a failed write or sync left behind is cut off and written again, and so is a half line that a crash left:
//! the file holds whole lines only. A record whose position was not in a checkpoint when the process died is read
//! again and may stand here twice; topic, partition and offset tell.

mod letter;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::files::{identity, is_in_place, sync_folder_of};
use crate::codec::Reject;
use crate::example::Record;

/// Bytes of letters that wait for a sync.
const BATCH_BYTES: u64 = 1 << 20;

/// A file of dead letters, appended to.
pub struct FileDeadLetters {
    path: PathBuf,
    max_bytes: u64,
    /// `None` after a fault, until the file could be opened and cut again.
    file: Option<File>,
    /// Device and number of the file.
    identity: (u64, u64),
    /// Length of what is durable.
    bytes: u64,
    /// Whole lines that are not durable yet.
    waiting: Vec<u8>,
}

impl FileDeadLetters {
    /// Opens the file, made if it is not there, to append to it. `max_bytes` is the limit of one file.
    ///
    /// # Errors
    /// When it cannot be opened for writing; the message names it.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let (mut file, is_new) = open(path).map_err(naming(path))?;
        let bytes = whole_lines(&mut file).map_err(naming(path))?;
        cut(&mut file, bytes).map_err(naming(path))?;
        if is_new {
            sync_folder_of(path).map_err(naming(path))?;
        }
        Ok(Self {
            path: path.to_owned(),
            max_bytes,
            identity: identity(&file.metadata().map_err(naming(path))?),
            file: Some(file),
            bytes,
            waiting: Vec::new(),
        })
    }

    /// Takes a refused record of the stream `topic`. It is durable after the next [`Self::flush`].
    ///
    /// # Errors
    /// When those before it cannot be written: this one was not taken, give it again later.
    pub fn write(&mut self, topic: &str, record: &Record, reject: &Reject) -> io::Result<()> {
        let line = letter::line(topic, record, reject);
        let with_it = self.waiting.len() as u64 + line.len() as u64;
        let is_over = self.bytes + with_it > self.max_bytes;
        if !self.waiting.is_empty() && (is_over || with_it > BATCH_BYTES) {
            self.flush()?;
        }
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.turn_over()?;
        }
        self.waiting.extend_from_slice(&line);
        Ok(())
    }

    /// Makes every letter that was taken durable.
    ///
    /// # Errors
    /// When it is not; nothing is lost, the next call tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) if is_in_place(&self.path, self.identity) => file,
            // What is written to a file without a name is lost. Not at once: whoever owns the folder may have gone with it.
            Some(_) => return Err(self.was_taken()),
            None => self.reopen()?,
        };
        // The file stays out of `self` on failure: only what is written anew can be trusted after that.
        file.write_all(&self.waiting)
            .and_then(|()| file.sync_data())
            .map_err(naming(&self.path))?;
        self.bytes += self.waiting.len() as u64;
        self.waiting.clear();
        self.file = Some(file);
        Ok(())
    }

    fn was_taken(&self) -> io::Error {
        let what = io::Error::new(
            io::ErrorKind::NotFound,
            "it was removed or replaced; a new one is begun",
        );
        naming(&self.path)(what)
    }

    /// The file again, without what a fault left behind what is durable.
    fn reopen(&mut self) -> io::Result<File> {
        let name = naming(&self.path);
        let again = open(&self.path).and_then(|(mut file, is_new)| {
            let metadata = file.metadata()?;
            let durable = if identity(&metadata) == self.identity {
                self.bytes.min(metadata.len())
            } else {
                // Another file: its lines are somebody's.
                whole_lines(&mut file)?
            };
            cut(&mut file, durable)?;
            if is_new {
                sync_folder_of(&self.path)?;
            }
            Ok((file, durable, identity(&metadata)))
        });
        let (file, durable, identity) = again.map_err(name)?;
        (self.bytes, self.identity) = (durable, identity);
        Ok(file)
    }

    /// Begins a new file; the one so far, which is durable, becomes `<name>.1`.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file = None;
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        match fs::rename(&self.path, older) {
            Ok(()) => {}
            // Somebody has taken the file away: there is nothing to keep.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(naming(&self.path)(error)),
        }
        self.bytes = 0;
        self.file = Some(self.reopen()?);
        Ok(())
    }
}

fn naming(path: &Path) -> impl Fn(io::Error) -> io::Error + use<> {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The file, and whether it was made. Records may hold what not everybody should read.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok((options.open(path)?, is_new))
}

/// Cuts the file after `bytes` and goes there.
fn cut(file: &mut File, bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() > bytes {
        file.set_len(bytes)?;
    }
    file.seek(SeekFrom::Start(bytes)).map(|_| ())
}

/// Length of the file up to its last line end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}
