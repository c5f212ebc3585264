//! A text as records: lines, or CSV records, whose quoted fields may hold line ends.

use std::io::{self, BufRead, BufReader, Read};

/// Longest part of a record that is kept: what is longer is a bad record, and its first part is enough to say so.
const LONGEST: usize = 16 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Reading failed.
    Io(io::Error),
    /// A quote that opens a CSV field is never closed: where the next record begins cannot be known.
    OpenQuote {
        /// Line of the quote, from 1.
        line: u64,
        /// Its byte in that line, from 1.
        column: usize,
    },
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The records of one text.
pub(super) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    /// Lines begun so far.
    begun: u64,
    /// Line in which the last record began, from 1.
    line: u64,
    /// The last line was longer than what is kept.
    is_cut: bool,
    usual: usize,
}

impl Lines {
    pub fn new(text: Box<dyn Read + Send>) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, text),
            begun: 0,
            line: 1,
            is_cut: false,
            usual: 128,
        }
    }

    /// Line in which the last record began, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// About how long records are.
    pub fn usual_length(&self) -> usize {
        self.usual
    }

    /// The first byte that is no white space and no byte order mark; nothing of it is consumed.
    pub fn first_byte(&mut self) -> io::Result<Option<u8>> {
        let mark = self.reader.fill_buf()?.starts_with(BYTE_ORDER_MARK);
        if mark {
            self.reader.consume(BYTE_ORDER_MARK.len());
        }
        loop {
            let buffer = self.reader.fill_buf()?;
            let Some(first) = buffer.first().copied() else {
                return Ok(None);
            };
            if !first.is_ascii_whitespace() {
                self.line = self.begun + 1;
                return Ok(Some(first));
            }
            self.begun += u64::from(first == b'\n');
            self.reader.consume(1);
        }
    }

    /// Appends the next record that is not blank, without its line end; false at the end.
    pub fn next_record(&mut self, csv: bool, record: &mut Vec<u8>) -> Result<bool, Trouble> {
        loop {
            self.line = self.begun + 1;
            if !self.append_line(record)? {
                return Ok(false);
            }
            if csv {
                self.close_quotes(record)?;
            }
            trim_end(record);
            if !record.iter().all(u8::is_ascii_whitespace) {
                self.usual = record.len() + 2;
                return Ok(true);
            }
            record.clear();
        }
    }

    /// Appends lines until no quoted field of the CSV record is open.
    fn close_quotes(&mut self, record: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut quotes = Quotes::default();
        let mut seen = 0;
        while let Some(opened) = quotes.open_after(record, seen) {
            seen = record.len();
            if self.is_cut {
                // Too long whatever follows.
                return Ok(());
            }
            if record.len() >= LONGEST || !self.append_line(record)? {
                let before = &record[..opened];
                let line_ends = before.iter().filter(|byte| **byte == b'\n').count();
                let in_line = before.iter().rev().take_while(|byte| **byte != b'\n');
                return Err(Trouble::OpenQuote {
                    line: self.line + line_ends as u64,
                    column: in_line.count() + 1,
                });
            }
        }
        Ok(())
    }

    /// Appends a line with its end; false where there is none.
    fn append_line(&mut self, record: &mut Vec<u8>) -> io::Result<bool> {
        let room = LONGEST.saturating_sub(record.len()).max(1);
        let read = (&mut self.reader)
            .take(room as u64)
            .read_until(b'\n', record)?;
        if read == 0 {
            return Ok(false);
        }
        self.begun += 1;
        self.is_cut = read == room && record.last() != Some(&b'\n');
        if self.is_cut {
            self.skip_line()?;
        }
        Ok(true)
    }

    /// Reads over the rest of a line that is too long to be kept.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                self.reader.consume(end + 1);
                return Ok(());
            }
            let length = buffer.len();
            self.reader.consume(length);
        }
    }
}

fn trim_end(record: &mut Vec<u8>) {
    if record.last() == Some(&b'\n') {
        record.pop();
        if record.last() == Some(&b'\r') {
            record.pop();
        }
    }
}

/// Where in a CSV record the reading stands: only a quote that begins a field opens it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    FieldStart,
    Bare,
    Quoted,
    /// After a quote inside quotes: another one is a quote, anything else ends the quoting.
    MaybeEnd,
}

/// Follows the quotes of a record.
#[derive(Debug, Default)]
struct Quotes {
    place: Place,
    /// Where the last quoted field began.
    opened: usize,
}

impl Quotes {
    /// Reads on in `record` at `from`; where the quoted field began that is still open at the end, if one is.
    fn open_after(&mut self, record: &[u8], from: usize) -> Option<usize> {
        let text = &record[from..];
        // Most records have no quote at all.
        if self.place == Place::FieldStart && !text.contains(&b'"') {
            return None;
        }
        for (at, byte) in text.iter().enumerate() {
            self.place = match (self.place, byte) {
                (Place::FieldStart, b'"') => {
                    self.opened = from + at;
                    Place::Quoted
                }
                (Place::MaybeEnd, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::MaybeEnd,
                (Place::Quoted, _) => Place::Quoted,
                (_, b',') => Place::FieldStart,
                (_, _) => Place::Bare,
            };
        }
        (self.place == Place::Quoted).then_some(self.opened)
    }
}
