//! Files as a source: JSON lines or CSV, plain or zstd; several files are one stream, in order.
//!
//! The name says what a file is (`.json`, `.jsonl`, `.ndjson`, `.csv`, each with or without `.zst`), else its first
//! byte: `{` begins JSON lines. Every CSV file begins with the same header. A record is a line without its end, or
//! the bytes of a CSV record, quotes and line ends inside them included; blank lines are no records.

mod content;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Error, Polled, Source, SourceStatus};
use crate::example::{Positions, Record};
use content::plain;
use lines::{Lines, Trouble};

/// What a gzip file begins with, and no text.
const GZIP: u8 = 0x1f;
/// Reasons for which a record is not even of the right kind.
const NO_RECORD: [&str; 4] = ["syntax", "not_an_object", "empty", "too_large"];

/// The records of one or more files. Offsets count from 0 over all of them, blank lines left out.
pub struct FileSource {
    paths: Vec<PathBuf>,
    label: String,
    columns: Option<Vec<String>>,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
    open: Option<Lines>,
    upcoming: usize,
    offset: i64,
    /// What ended the reading; it is told at every later poll.
    failed: Option<Error>,
}

/// What is wrong with a file, and where.
fn data(path: &Path, line: u64, column: usize, what: impl std::fmt::Display) -> Error {
    Error::Data(format!(
        "{}, line {line}, column {column}: {what}",
        path.display()
    ))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| match error.kind() {
        io::ErrorKind::InvalidData => Error::Data(format!("{}: {error}", path.display())),
        _ => Error::Io(format!("{}: {error}", path.display())),
    }
}

fn troubled(path: &Path) -> impl FnOnce(Trouble) -> Error + '_ {
    move |trouble| match trouble {
        Trouble::Io(error) => unreadable(path)(error),
        Trouble::OpenQuote { line, column } => data(
            path,
            line,
            column,
            "a quoted CSV field begins here and never ends; close it, or write \"\" for a quote inside quotes",
        ),
    }
}

/// Where a carriage return stands that no line feed follows.
fn lone_carriage_return(record: &[u8]) -> Option<usize> {
    let mut places = record.iter().enumerate();
    places
        .find(|(at, byte)| **byte == b'\r' && record.get(at + 1) != Some(&b'\n'))
        .map(|(at, _)| at)
}

/// True when the name says JSON, false when it says CSV.
fn says_json(path: &Path) -> Option<bool> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "json" | "jsonl" | "ndjson" => Some(true),
        "csv" => Some(false),
        _ => None,
    }
}

impl FileSource {
    /// Opens the files and looks at how each begins. `label` is the column that a CSV file must have.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::Data`], with line and column, for one that is neither
    /// JSON lines nor CSV with that column, and for files that do not go together.
    pub fn open(paths: &[PathBuf], label: &str) -> Result<Self, Error> {
        let mut source = Self {
            paths: paths.to_vec(),
            label: label.to_owned(),
            columns: None,
            bytes_total: 0,
            bytes_read: Arc::default(),
            open: None,
            upcoming: 0,
            offset: 0,
            failed: None,
        };
        let mut headers: Vec<Option<Vec<String>>> = Vec::new();
        for path in paths {
            let length = std::fs::metadata(path).map_err(unreadable(path))?.len();
            source.bytes_total += length;
            let (_, columns) = source.begin(path, &Arc::default())?;
            if let Some(first) = headers.first()
                && first != &columns
            {
                return Err(data(
                    path,
                    1,
                    1,
                    format!(
                        "does not go with {}: every file must be JSON lines, or CSV with the same header",
                        paths[0].display()
                    ),
                ));
            }
            headers.push(columns);
        }
        source.columns = headers.into_iter().next().flatten();
        Ok(source)
    }

    /// The names of the fields, where the files are CSV.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Length of all files, in bytes as they lie on disk.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// How much of [`Self::bytes_total`] was read since the beginning of this pass.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Goes back to the first record, whose offset is 0 again.
    ///
    /// # Errors
    /// None now; the next poll reports a file that has gone.
    pub fn rewind(&mut self) -> Result<(), Error> {
        self.open = None;
        self.upcoming = 0;
        self.offset = 0;
        self.failed = None;
        self.bytes_read.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Why an input is no data at all, with line and column: it holds no record, or none that parses. `rejected` are
    /// counts by reason, `rows` the records that were read.
    #[must_use]
    pub fn nothing_parsed(
        &self,
        rejected: &BTreeMap<&'static str, u64>,
        rows: u64,
    ) -> Option<String> {
        let path = self.paths.first()?;
        if rows == 0 {
            return Some(format!(
                "{}, line 1, column 1: holds no record",
                path.display()
            ));
        }
        let no_records: u64 = NO_RECORD
            .iter()
            .filter_map(|reason| rejected.get(reason))
            .sum();
        if no_records != rows {
            return None;
        }
        let mut first = Vec::new();
        let (mut lines, _) = self.begin(path, &Arc::default()).ok()?;
        lines.next_record(self.columns.is_some(), &mut first).ok()?;
        let (line, column, what) = match serde_json::from_slice::<serde::de::IgnoredAny>(&first) {
            Err(error) if self.columns.is_none() => {
                (error.line(), error.column(), error.to_string())
            }
            // The first record is one: what is wrong is not the file.
            _ if self.columns.is_none() && first.trim_ascii().starts_with(b"{") => return None,
            _ if self.columns.is_none() => (1, 1, "is not a JSON object with fields".to_owned()),
            _ => (1, 1, "is not a CSV record as the header says".to_owned()),
        };
        // The parser names the place as well; once is enough.
        let what = what
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        let line = lines.line() + line as u64 - 1;
        Some(format!(
            "{}, line {line}, column {column}: {what}; no record of the input is JSON or CSV",
            path.display()
        ))
    }

    /// Opens a file and reads its header, where it is CSV.
    fn begin(
        &self,
        path: &Path,
        count: &Arc<AtomicU64>,
    ) -> Result<(Lines, Option<Vec<String>>), Error> {
        let mut lines = Lines::new(plain(path, count).map_err(unreadable(path))?);
        let is_json = says_json(path);
        match lines.first_byte().map_err(unreadable(path))? {
            None if is_json == Some(true) => Ok((lines, None)),
            None => Err(data(path, 1, 1, "holds no record")),
            Some(GZIP) => Err(data(
                path,
                1,
                1,
                "is neither JSON lines nor CSV; if it is gzip, unpack it or pack it with zstd instead",
            )),
            Some(b'[') if is_json != Some(false) => Err(data(
                path,
                lines.line(),
                1,
                "begins with '[': give one JSON object a line, not one array of all (jq -c '.[]' makes them)",
            )),
            Some(first) if is_json.unwrap_or(first == b'{') => Ok((lines, None)),
            Some(_) => {
                let columns = self.header(path, &mut lines)?;
                Ok((lines, Some(columns)))
            }
        }
    }

    fn header(&self, path: &Path, lines: &mut Lines) -> Result<Vec<String>, Error> {
        let mut record = Vec::new();
        lines
            .next_record(true, &mut record)
            .map_err(troubled(path))?;
        if let Err(error) = std::str::from_utf8(&record) {
            let column = error.valid_up_to() + 1;
            return Err(data(
                path,
                lines.line(),
                column,
                "neither JSON lines nor CSV: not UTF-8 text",
            ));
        }
        let header = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(record.as_slice())
            .into_records()
            .next();
        let Some(Ok(header)) = header else {
            return Err(data(path, lines.line(), 1, "is no CSV header"));
        };
        if let Some(at) = lone_carriage_return(&record) {
            return Err(data(
                path,
                lines.line(),
                at + 1,
                "a line end of old Macs (CR alone); write LF or CRLF",
            ));
        }
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if !columns.contains(&self.label) {
            return Err(data(
                path,
                lines.line(),
                1,
                format!(
                    "neither JSON lines nor CSV with a column {:?}; the label's column can be named with schema.label",
                    self.label
                ),
            ));
        }
        Ok(columns)
    }

    /// The lines of the file in turn; `None` after the last.
    fn current(&mut self) -> Result<Option<(&mut Lines, &Path)>, Error> {
        if self.open.is_none() {
            let Some(path) = self.paths.get(self.upcoming) else {
                return Ok(None);
            };
            let (lines, columns) = self.begin(path, &self.bytes_read)?;
            if columns != self.columns {
                return Err(data(path, 1, 1, "was changed while it was read"));
            }
            self.open = Some(lines);
            self.upcoming += 1;
        }
        let path = &self.paths[self.upcoming - 1];
        Ok(self.open.as_mut().map(|lines| (lines, path.as_path())))
    }
}

impl FileSource {
    /// The next record; `None` after the last one of all files.
    fn next_record(&mut self) -> Result<Option<Record>, Error> {
        let csv = self.columns.is_some();
        while let Some((lines, path)) = self.current()? {
            let mut record = Vec::with_capacity(lines.usual_length());
            if lines
                .next_record(csv, &mut record)
                .map_err(troubled(path))?
            {
                let record = Record::new(0, self.offset, Bytes::from(record));
                self.offset += 1;
                return Ok(Some(record));
            }
            self.open = None;
        }
        Ok(None)
    }
}

impl Source for FileSource {
    fn poll(
        &mut self,
        _wait: Duration,
        max: usize,
        out: &mut Vec<Record>,
    ) -> Result<Polled, Error> {
        let mut taken = 0;
        while taken < max && self.failed.is_none() {
            match self.next_record() {
                Ok(Some(record)) => out.push(record),
                Ok(None) => break,
                Err(error) => self.failed = Some(error),
            }
            taken += usize::from(self.failed.is_none());
        }
        match &self.failed {
            // What was read before the fault is handed over first.
            _ if taken > 0 => Ok(Polled::Records),
            Some(Error::Data(reason)) => Err(Error::Data(reason.clone())),
            Some(other) => Err(Error::Io(other.to_string())),
            None if max == 0 => Ok(Polled::Idle),
            None => Ok(Polled::End),
        }
    }

    fn checkpointed(&mut self, _positions: &Positions) -> Result<(), Error> {
        Ok(())
    }

    fn lag(&mut self) -> BTreeMap<i32, i64> {
        BTreeMap::new()
    }

    fn status(&self) -> SourceStatus {
        match &self.failed {
            None => SourceStatus::running(),
            Some(error) => SourceStatus {
                state: "halted",
                detail: error.to_string(),
            },
        }
    }

    fn identity(&self) -> String {
        "file".to_owned()
    }
}
