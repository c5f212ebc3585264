//! Bytes -> a row and what belongs to it, or a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::csv_record::{Columns, CsvRecords};
use super::found::Found;
use super::json;
use super::plan::Plan;
use super::quick;
use super::reject::{Fault, Reason};
use super::scratch::Scratch;

/// Decodes one record after the other by one plan.
pub(super) struct Decoder {
    plan: Arc<Plan>,
    scratch: Scratch,
    csv: CsvRecords,
    /// The last record was an envelope: a guess for the next.
    envelope: bool,
    pace: Pace,
    /// A payload on which the decoder panics.
    #[cfg(test)]
    pub panic_on: Option<Vec<u8>>,
}

impl Decoder {
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            scratch: Scratch::new(&plan),
            plan,
            csv: CsvRecords::new(),
            envelope: false,
            pace: Pace::default(),
            #[cfg(test)]
            panic_on: None,
        }
    }

    /// What it decodes by.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What was found in a record, and its row. With `columns` it is a CSV record.
    ///
    /// The verdict is a function of the bytes, the columns and the plan alone.
    pub fn decode<'a>(
        &'a mut self,
        payload: Option<&'a [u8]>,
        columns: Option<&Arc<Columns>>,
    ) -> Result<(Found<'a>, &'a [f32]), Fault> {
        // The decoder's memory is wiped at the start of each record, so a panic leaves nothing behind.
        let attempt = AssertUnwindSafe(move || {
            let this = self;
            this.try_decode(payload, columns)
        });
        catch_unwind(attempt).unwrap_or_else(|_| {
            let message = "the decoder failed on this record; please report it with its bytes";
            Err(Fault::whole(Reason::DecoderPanic, message))
        })
    }

    fn try_decode<'a>(
        &'a mut self,
        payload: Option<&'a [u8]>,
        columns: Option<&Arc<Columns>>,
    ) -> Result<(Found<'a>, &'a [f32]), Fault> {
        #[cfg(test)]
        assert!(
            payload.is_none() || self.panic_on.as_deref() != payload,
            "told to panic"
        );
        let mut found = match payload.and_then(|payload| self.quick(payload, columns)) {
            Some(found) => found,
            None => {
                let text = text_of(payload, self.plan.max_record_bytes, columns.is_some())?;
                let (plan, scratch) = (&self.plan, &mut self.scratch);
                match columns {
                    Some(columns) => self.csv.record(plan, scratch, text, columns)?,
                    None => json::record(plan, scratch, text, &mut self.envelope)?,
                }
            }
        };
        match found.fault.take() {
            Some(fault) => Err(fault),
            None => Ok((found, &self.scratch.row)),
        }
    }
}

impl Decoder {
    /// The record, if it is a usual one and the records before gave reason to try.
    fn quick<'a>(
        &mut self,
        payload: &'a [u8],
        columns: Option<&Arc<Columns>>,
    ) -> Option<Found<'a>> {
        if payload.len() > self.plan.max_record_bytes || !self.pace.tries() {
            return None;
        }
        let (plan, scratch) = (&self.plan, &mut self.scratch);
        let found = match columns {
            Some(columns) => self.csv.quick(plan, scratch, payload, columns),
            None => quick::record(plan, scratch, payload, self.envelope),
        };
        self.pace.note(found.is_some());
        found
    }
}

/// When to try the quick way: less and less often while it fails, so that a stream of unusual records pays next to nothing.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    pause: u32,
}

impl Pace {
    /// Failures in a row beyond which the pauses grow no longer.
    const MOST: u32 = 6;

    fn tries(&mut self) -> bool {
        let now = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        now
    }

    fn note(&mut self, success: bool) {
        if success {
            self.failures = 0;
        } else {
            self.failures = (self.failures + 1).min(Self::MOST);
            self.pause = (1 << self.failures) - 1;
        }
    }
}

/// The payload as text, if it has the size and the bytes of one.
pub(super) fn text_of(payload: Option<&[u8]>, most: usize, csv: bool) -> Result<&str, Fault> {
    let Some(payload) = payload else {
        return Err(Fault::whole(
            Reason::Tombstone,
            "a record without a payload",
        ));
    };
    if payload.len() > most {
        let length = payload.len();
        let message = format!("{length} bytes; at most {most} are read (schema.max_record_bytes)");
        return Err(Fault::whole(Reason::TooLarge, message));
    }
    let blank: &[u8] = if csv { b"\r\n" } else { b" \t\r\n" };
    if payload.iter().all(|byte| blank.contains(byte)) {
        return Err(Fault::whole(Reason::Empty, "a payload without content"));
    }
    if payload.starts_with(b"\xef\xbb\xbf") {
        let message = "starts with a byte order mark; send plain UTF-8";
        return Err(Fault::whole(Reason::Syntax, message));
    }
    std::str::from_utf8(payload).map_err(|error| {
        let message = format!("not UTF-8 from byte {}; send UTF-8", error.valid_up_to());
        Fault::whole(Reason::Syntax, message)
    })
}
