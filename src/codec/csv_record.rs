//! One CSV record (RFC 4180 quoting, comma), by the names of its columns.

use std::borrow::Cow;
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader};

use super::found::Found;
use super::number::number;
use super::plan::{Leaf, Plan};
use super::reject::{Fault, Place, Reason};
use super::scratch::Scratch;
use super::value::Value;

/// The names of the fields of a CSV record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns(pub Vec<String>);

/// Splits CSV records into their fields, with memory that is kept from record to record.
///
/// ```
/// use skewd::codec::CsvFields;
/// let mut fields = CsvFields::default();
/// let row: Vec<&str> = fields.of_record("12.5,\"a \"\"b\"\", c\",", 3).unwrap().collect();
/// assert_eq!(row, ["12.5", "a \"b\", c", ""]);
/// assert!(fields.of_record("1,2", 3).is_err());
/// ```
pub struct CsvFields {
    reader: Reader,
    /// The fields of the record without their quotes, one after the other.
    text: Vec<u8>,
    /// Where each field ends in `text`.
    ends: Vec<usize>,
}

impl Default for CsvFields {
    fn default() -> Self {
        Self {
            // The reader's own default has no rules.
            reader: Reader::new(),
            text: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl CsvFields {
    /// The fields of the one record in `text`, without their quotes.
    ///
    /// # Errors
    /// When it has another number of fields than `columns`, or is more than one record.
    pub fn of_record(
        &mut self,
        text: &str,
        columns: usize,
    ) -> Result<impl Iterator<Item = &str>, String> {
        self.split(text, columns).map_err(|fault| fault.message)?;
        Ok(self.iter())
    }

    /// Splits the one record in `text` into `wanted` fields.
    fn split(&mut self, text: &str, wanted: usize) -> Result<(), Fault> {
        let fields = self.parse(text, wanted)?;
        if fields != wanted {
            return Err(dimension(&fields.to_string(), wanted));
        }
        self.ends.truncate(fields);
        Ok(())
    }

    /// The fields of the last record without their quotes.
    fn iter(&self) -> impl Iterator<Item = &str> {
        // Quotes and commas are ASCII: what is left of valid UTF-8 is valid.
        let unquoted = std::str::from_utf8(&self.text).unwrap_or_default();
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(move |(start, end)| unquoted.get(start..*end).unwrap_or_default())
    }

    /// Fills `text` and `ends`; the number of fields.
    fn parse(&mut self, text: &str, wanted: usize) -> Result<usize, Fault> {
        let mut input = text.as_bytes();
        self.reader.reset();
        self.text.clear();
        self.text.resize(input.len(), 0);
        self.ends.clear();
        self.ends.resize(wanted + 1, 0);
        let (mut written, mut fields) = (0, 0);
        loop {
            let (result, read, bytes, ends) =
                self.reader
                    .read_record(input, &mut self.text[written..], &mut self.ends[fields..]);
            input = &input[read..];
            written += bytes;
            fields += ends;
            match result {
                // The next call, without input, tells the parser that this is the end.
                ReadRecordResult::InputEmpty => {}
                // Unquoting never makes a text longer; room for one more byte at a time all the same.
                ReadRecordResult::OutputFull => self.text.push(0),
                ReadRecordResult::OutputEndsFull => return Err(dimension("more", wanted)),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        self.text.truncate(written);
        if input.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            let message =
                "more than one CSV record; send one a message, fields with line breaks in quotes";
            return Err(Fault::whole(Reason::Syntax, message));
        }
        Ok(fields)
    }
}

/// The parser and what the columns are for.
pub(super) struct CsvRecords {
    fields: CsvFields,
    columns: Arc<Columns>,
    leaves: Vec<Option<Leaf>>,
    unknown: u32,
}

impl CsvRecords {
    pub fn new() -> Self {
        Self {
            fields: CsvFields::default(),
            columns: Arc::new(Columns(Vec::new())),
            leaves: Vec::new(),
            unknown: 0,
        }
    }

    /// Decodes one record into `scratch.row`.
    pub fn record<'a>(
        &'a mut self,
        plan: &Plan,
        scratch: &mut Scratch,
        text: &str,
        columns: &Arc<Columns>,
    ) -> Result<Found<'a>, Fault> {
        self.learn_columns(plan, columns);
        self.fields.split(text, self.columns.0.len())?;
        let this: &'a Self = self;
        let mut found = Found::new();
        found.unknown = this.unknown;
        scratch.begin(plan);
        for (field, (leaf, name)) in this
            .fields
            .iter()
            .zip(this.leaves.iter().zip(&this.columns.0))
        {
            let place = || Place::Field(name.clone());
            put(plan, &mut found, &mut scratch.row, *leaf, field, place);
        }
        Ok(found)
    }

    /// The same for a record without quotes and line breaks inside, if it has the right number of fields; nothing is copied.
    /// Whatever is out of the ordinary gives `None`: [`CsvRecords::record`] is the reference.
    pub fn quick<'a>(
        &mut self,
        plan: &Plan,
        scratch: &mut Scratch,
        payload: &'a [u8],
        columns: &Arc<Columns>,
    ) -> Option<Found<'a>> {
        self.learn_columns(plan, columns);
        let ends = payload.iter().rev();
        let line_end = ends.take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let bytes = &payload[..payload.len() - line_end.count()];
        if bytes.is_empty() || bytes.starts_with(b"\xef\xbb\xbf") {
            return None;
        }
        let mut found = Found::new();
        found.unknown = self.unknown;
        scratch.begin(plan);
        let mut at = 0;
        for (index, leaf) in self.leaves.iter().enumerate() {
            if index > 0 {
                at = after_comma(bytes, at)?;
            }
            let number = match *leaf {
                Some(Leaf::Numeric(feature)) => number_field(bytes, at, feature, &mut scratch.row),
                _ => None,
            };
            at = match number {
                Some(end) => end,
                None => {
                    let field = plain_field(bytes, at)?;
                    let place = || Place::Field(self.columns.0[index].clone());
                    put(plan, &mut found, &mut scratch.row, *leaf, field, place);
                    at + field.len()
                }
            };
        }
        (at == bytes.len() && found.fault.is_none()).then_some(found)
    }

    fn learn_columns(&mut self, plan: &Plan, columns: &Arc<Columns>) {
        if Arc::ptr_eq(&self.columns, columns) {
            return;
        }
        self.columns = Arc::clone(columns);
        self.leaves = columns.0.iter().map(|name| plan.flat.leaf(name)).collect();
        self.unknown = self.leaves.iter().filter(|leaf| leaf.is_none()).count() as u32;
    }

    /// Name and field of each column of a record, for discovery.
    pub fn named(
        &mut self,
        text: &str,
        columns: &Arc<Columns>,
    ) -> Result<impl Iterator<Item = (&str, &str)>, Fault> {
        self.columns = Arc::clone(columns);
        self.fields.split(text, self.columns.0.len())?;
        let this = &*self;
        Ok(this
            .columns
            .0
            .iter()
            .map(String::as_str)
            .zip(this.fields.iter()))
    }
}

/// Puts a field where its column says.
fn put<'a>(
    plan: &Plan,
    found: &mut Found<'a>,
    row: &mut [f32],
    leaf: Option<Leaf>,
    field: &'a str,
    place: impl FnOnce() -> Place,
) {
    let Some(leaf) = leaf else { return };
    let value = match leaf {
        // As `produce` writes it: the text, whatever it looks like.
        Leaf::Label | Leaf::Id if !field.is_empty() => Value::Text(Cow::Borrowed(field)),
        _ => Value::of_csv(field),
    };
    found.put(plan, row, leaf, value, place);
}

#[inline(always)]
fn after_comma(bytes: &[u8], at: usize) -> Option<usize> {
    (*bytes.get(at)? == b',').then_some(at + 1)
}

/// Puts the number that is the whole field at `at` into the row; the field's end.
#[inline(always)]
fn number_field(bytes: &[u8], at: usize, feature: u32, row: &mut [f32]) -> Option<usize> {
    let number = number(bytes.get(at..)?)?;
    let end = at + number.length;
    if number.next != b',' && end < bytes.len() {
        return None;
    }
    *row.get_mut(feature as usize)? = number.value;
    Some(end)
}

/// The field at `at`, if it has no quote and no line break.
#[inline(never)]
fn plain_field(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    let length = rest.iter().position(special).unwrap_or(rest.len());
    if rest.get(length).is_some_and(|byte| *byte != b',') {
        return None;
    }
    std::str::from_utf8(&rest[..length]).ok()
}

#[cold]
fn dimension(fields: &str, wanted: usize) -> Fault {
    Fault::whole(
        Reason::Dimension,
        format!(
            "{fields} fields where the header has {wanted}; leave a field empty where there is no value"
        ),
    )
}
