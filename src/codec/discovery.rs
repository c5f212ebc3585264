//! The schema of a stream that names none: the first records are held back until it is known.

use std::sync::Arc;

use super::csv_record::{Columns, CsvRecords};
use super::decoder::{Decoder, text_of};
use super::fields::ambiguous;
use super::plan::Plan;
use super::schema::Schema;
use super::settings::Settings;
use super::survey::Survey;
use crate::example::Record;

/// So many bytes are held at most; then the schema follows from what is there.
const MOST_BYTES: usize = 64 << 20;
/// What a held record costs besides its payload: it bounds a flood of empty records.
const RECORD_BYTES: usize = 256;

/// A record that waits for the schema.
pub(super) struct Held {
    pub record: Record,
    /// Of a CSV record.
    pub columns: Option<Arc<Columns>>,
    /// It parses and carries a label: the schema follows from it.
    counts: bool,
}

/// The records before the schema is known.
pub(super) struct Discovery {
    plan: Plan,
    probe: Decoder,
    held: Vec<Held>,
    counted: usize,
    bytes: usize,
    most_bytes: usize,
}

impl Discovery {
    pub fn new(settings: &Settings) -> Self {
        let plan = Plan::for_records(settings, None);
        Self {
            probe: Decoder::new(plan.clone()),
            plan,
            held: Vec::new(),
            counted: 0,
            bytes: 0,
            most_bytes: MOST_BYTES,
        }
    }

    /// Ends after fewer bytes.
    #[cfg(test)]
    pub fn limit_bytes(&mut self, most: usize) {
        self.most_bytes = most;
    }

    /// Holds a record back; true when no more are needed or possible.
    pub fn hold(
        &mut self,
        record: Record,
        columns: Option<Arc<Columns>>,
        settings: &Settings,
    ) -> bool {
        let verdict = self
            .probe
            .decode(record.payload.as_deref(), columns.as_ref());
        let counts = match verdict {
            Ok((found, _)) => found.label.is_some_and(|label| {
                settings.classes.is_empty() || settings.classes.iter().any(|class| *class == label)
            }),
            Err(_) => false,
        };
        let mut held = Held {
            record,
            columns,
            counts,
        };
        if counts && held.columns.is_none() {
            held.counts = held.text().is_some_and(|text| !ambiguous(&self.plan, text));
        }
        self.counted += usize::from(held.counts);
        self.bytes += RECORD_BYTES + size(&held.record);
        self.held.push(held);
        self.counted >= settings.discover_records || self.bytes >= self.most_bytes
    }

    /// Records held back.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Labelled records among them.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// The schema that the held records have, if they have any feature, and warnings.
    pub fn schema(&self, settings: &Settings) -> (Option<Schema>, Vec<String>) {
        let mut survey = Survey::new(&self.plan, settings);
        for held in self.held.iter().filter(|held| held.counts) {
            match held.text() {
                Some(text) if held.columns.is_none() => survey.measure(text),
                _ => survey.measure_csv(),
            }
        }
        survey.measured();
        self.look(&mut survey);
        survey.counted();
        self.look(&mut survey);
        let (features, warnings) = survey.features(settings);
        let schema = (!features.is_empty()).then_some(Schema {
            features,
            category_buckets: settings.category_buckets,
        });
        (schema, warnings)
    }

    /// Shows the survey what the fields hold.
    fn look(&self, survey: &mut Survey<'_>) {
        let mut csv = CsvRecords::new();
        for held in self.held.iter().filter(|held| held.counts) {
            let Some(text) = held.text() else { continue };
            match &held.columns {
                None => survey.json(text),
                Some(columns) => {
                    if let Ok(fields) = csv.named(text, columns) {
                        survey.csv(fields);
                    }
                }
            }
        }
    }

    /// The held records in their order, which are held no more.
    pub fn release(&mut self) -> Vec<Held> {
        self.counted = 0;
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }
}

impl Held {
    fn text(&self) -> Option<&str> {
        text_of(
            self.record.payload.as_deref(),
            usize::MAX,
            self.columns.is_some(),
        )
        .ok()
    }
}

fn size(record: &Record) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.len() + length(value))
        .sum();
    length(&record.payload) + length(&record.key) + headers
}
