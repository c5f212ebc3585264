//! Dead letters on disk while their topic cannot be written: appended, checksummed, bounded, and read in their order.
//!
//! ```text
//! dead-<number>.spool:  "SKEWDDL1"  entry...
//! entry:                length of the letter: u32  first 16 bytes of its BLAKE3 hash  letter
//! ```
//!
//! A file takes about 1 MiB and goes as a whole, once all of its letters are written to the topic: a crash before that sends
//! them again. A letter is durable after the next [`Spool::flush`]; what a crash left behind that is cut off.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::dead_letters::Letter;
use super::letter_bytes::{decode, encode};

const MAGIC: &[u8; 8] = b"SKEWDDL1";
const HASH_BYTES: usize = 16;
const HEAD_BYTES: usize = 4 + HASH_BYTES;

/// A file that is longer takes no more letters; so many bytes wait for a sync at most.
const FILE_BYTES: u64 = 1 << 20;

/// Why a letter was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// As many bytes as are allowed wait already.
    Full,
    /// The disk failed; the message names the file.
    Io(io::Error),
}

/// One file, as far as it is durable.
struct Segment {
    number: u64,
    bytes: u64,
    letters: usize,
}

/// The files of a folder, and what waits to be appended.
pub(super) struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    segments: VecDeque<Segment>,
    /// True while the last segment may take more.
    is_open: bool,
    /// `None` after a fault, until the file could be opened and cut again.
    file: Option<File>,
    /// Whole entries that are not durable yet.
    waiting: Vec<u8>,
    waiting_letters: usize,
}

impl Spool {
    /// Takes up what an earlier run left in `dir`, which need not exist.
    ///
    /// # Errors
    /// When a file cannot be read, or is damaged where no crash can have torn it; the message names it.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut spool = Self {
            dir: dir.to_owned(),
            max_bytes,
            segments: VecDeque::new(),
            is_open: false,
            file: None,
            waiting: Vec::new(),
            waiting_letters: 0,
        };
        let numbers = numbers(dir).map_err(naming(dir))?;
        for number in &numbers {
            let path = spool.path(*number);
            let data = fs::read(&path).map_err(naming(&path))?;
            let (letters, bytes) = parse(&data);
            if bytes < data.len() {
                if Some(number) != numbers.last() {
                    return Err(damaged(&path, bytes));
                }
                tracing::warn!(
                    file = %path.display(),
                    bytes = data.len() - bytes,
                    "the last dead letters on disk were not whole, as after a crash, and are cut off"
                );
                let file = OpenOptions::new().write(true).open(&path);
                file.and_then(|file| file.set_len(bytes as u64))
                    .map_err(naming(&path))?;
            }
            spool.segments.push_back(Segment {
                number: *number,
                bytes: bytes as u64,
                letters: letters.len(),
            });
        }
        spool.drop_empty()?;
        Ok(spool)
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.letters() == 0
    }

    /// Letters that wait.
    pub(super) fn letters(&self) -> usize {
        let durable: usize = self.segments.iter().map(|segment| segment.letters).sum();
        durable + self.waiting_letters
    }

    fn bytes(&self) -> u64 {
        let durable: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        durable + self.waiting.len() as u64
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes a letter within the bound; a single larger one is taken all the same.
    pub(super) fn append(&mut self, letter: &Letter) -> Result<(), Refused> {
        let entry = entry(letter);
        if !self.is_empty() && self.bytes() + entry.len() as u64 > self.max_bytes {
            return Err(Refused::Full);
        }
        if self.waiting.len() as u64 >= FILE_BYTES {
            self.flush().map_err(Refused::Io)?;
        }
        self.waiting.extend_from_slice(&entry);
        self.waiting_letters += 1;
        Ok(())
    }

    /// Takes a letter that has been taken elsewhere before: over the bound, too.
    pub(super) fn take_over(&mut self, letter: &Letter) {
        self.waiting.extend_from_slice(&entry(letter));
        self.waiting_letters += 1;
    }

    /// Makes every letter that was taken durable.
    ///
    /// # Errors
    /// When it is not; nothing is lost, the next call tries again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let has_room = |last: &Segment| last.bytes < FILE_BYTES;
        if !(self.is_open && self.segments.back().is_some_and(has_room)) {
            let number = self.segments.back().map_or(0, |last| last.number + 1);
            self.segments.push_back(Segment {
                number,
                bytes: 0,
                letters: 0,
            });
            self.is_open = true;
            self.file = None;
        }
        let Some((number, durable)) = self
            .segments
            .back()
            .map(|segment| (segment.number, segment.bytes))
        else {
            return Ok(());
        };
        let path = self.path(number);
        // The file stays out of `self` on failure: only what is written anew can be trusted after that.
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => open(&self.dir, &path, durable),
        };
        let written = file.and_then(|mut file| {
            if durable == 0 {
                file.write_all(MAGIC)?;
            }
            file.write_all(&self.waiting)?;
            file.sync_data()?;
            if durable == 0 {
                File::open(&self.dir)?.sync_all()?;
            }
            Ok(file)
        });
        self.file = Some(written.map_err(naming(&path))?);
        if let Some(segment) = self.segments.back_mut() {
            let head = if durable == 0 { MAGIC.len() } else { 0 };
            segment.bytes += (head + self.waiting.len()) as u64;
            segment.letters += self.waiting_letters;
        }
        self.waiting.clear();
        self.waiting_letters = 0;
        Ok(())
    }

    /// The letters of the oldest file, which takes no more from now on.
    ///
    /// # Errors
    /// When it cannot be read or is damaged; the message names it.
    pub(super) fn oldest(&mut self) -> io::Result<Vec<Letter>> {
        self.drop_empty()?;
        if self.segments.is_empty() {
            self.flush()?;
        }
        let Some((number, bytes)) = self
            .segments
            .front()
            .map(|segment| (segment.number, segment.bytes))
        else {
            return Ok(Vec::new());
        };
        if self.segments.len() == 1 {
            self.is_open = false;
            self.file = None;
        }
        let path = self.path(number);
        let data = fs::read(&path).map_err(naming(&path))?;
        let (letters, whole) = parse(&data);
        if (whole as u64) < bytes {
            return Err(damaged(&path, whole));
        }
        Ok(letters)
    }

    /// Removes the oldest file: its letters are where they belong.
    ///
    /// # Errors
    /// When it cannot be removed; it is tried again then, or its letters are sent again.
    pub(super) fn remove_oldest(&mut self) -> io::Result<()> {
        let Some(number) = self.segments.front().map(|segment| segment.number) else {
            return Ok(());
        };
        let path = self.path(number);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(naming(&path)(error)),
        }
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.is_open = false;
            self.file = None;
        }
        Ok(())
    }

    /// Files without a letter, as a crash or a full disk leaves them, go.
    fn drop_empty(&mut self) -> io::Result<()> {
        while self
            .segments
            .front()
            .is_some_and(|segment| segment.letters == 0)
        {
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("dead-{number:020}.spool"))
    }
}

/// The numbers of the files in a folder, oldest first.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("dead-")?.strip_suffix(".spool"))
            .and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn entry(letter: &Letter) -> Vec<u8> {
    let body = encode(letter);
    let mut entry = Vec::with_capacity(HEAD_BYTES + body.len());
    entry.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    entry.extend_from_slice(&blake3::hash(&body).as_bytes()[..HASH_BYTES]);
    entry.extend_from_slice(&body);
    entry
}

/// The letters up to the first bad entry, and where that begins.
fn parse(data: &[u8]) -> (Vec<Letter>, usize) {
    let mut letters = Vec::new();
    let Some(mut rest) = data.strip_prefix(MAGIC.as_slice()) else {
        return (letters, 0);
    };
    while let Some((letter, after)) = first_letter(rest) {
        letters.push(letter);
        rest = after;
    }
    (letters, data.len() - rest.len())
}

fn first_letter(data: &[u8]) -> Option<(Letter, &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_at_checked(HASH_BYTES)?;
    let (body, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if &blake3::hash(body).as_bytes()[..HASH_BYTES] != hash {
        return None;
    }
    Some((decode(body)?, after))
}

/// The file, cut after what is durable. Records may hold what not everybody should read.
fn open(dir: &Path, path: &Path, durable: u64) -> io::Result<File> {
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
        }
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.set_len(durable)?;
    file.seek(SeekFrom::Start(durable))?;
    Ok(file)
}

fn damaged(path: &Path, at: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} is damaged at byte {at}: move it away to go on without the dead letters in it",
            path.display()
        ),
    )
}

fn naming(path: &Path) -> impl Fn(io::Error) -> io::Error + use<> {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests;
