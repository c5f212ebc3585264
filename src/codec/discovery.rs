//! The schema of a stream that names none: the first records are held back until it is known.

use std::mem::take;
use std::sync::Arc;

use super::classes::Labels;
use super::csv_record::{Columns, CsvRecords};
use super::decoder::{Decoder, text_of};
use super::fields::ambiguous;
use super::notice::Notice;
use super::plan::Plan;
use super::reject::printable;
use super::schema::Schema;
use super::settings::Settings;
use super::survey::Survey;
use crate::example::Record;

/// So many bytes are held at most; then the schema follows from what is there.
const MOST_BYTES: usize = 64 << 20;
/// What a held record costs besides its payload: it bounds a flood of empty records.
const RECORD_BYTES: usize = 256;

/// What a record without a label costs once only its place is held.
const PLACE_BYTES: usize = 64;
/// So many labelled records at least decide a schema when no more can be held.
const LEAST_LABELLED: usize = 20;

/// A record that waits for the schema.
pub(super) struct Held {
    pub record: Record,
    /// Of a CSV record.
    pub columns: Option<Arc<Columns>>,
    /// `Ok(true)`: it parses and carries a label, and the schema follows from it. `Ok(false)`: no label. Else it is bad.
    kind: Result<bool, ()>,
}

/// One place in the order of records.
pub(super) enum Waiting {
    /// A whole record.
    Whole(Box<Held>),
    /// A record without a label of which only this is left.
    Unlabelled {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
}

/// Whether more can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// More may come.
    More,
    /// There are as many labelled records as wanted.
    Enough,
    /// No more can be held, and there are enough to decide on all the same.
    Full,
    /// No more can be held, and hardly any of it carries a label.
    FullInVain,
}

/// What the records are that wait for the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldCounts {
    /// They parse and carry a label: the schema follows from them.
    pub labelled: usize,
    /// They parse and carry none.
    pub unlabelled: usize,
    /// They cannot be examples.
    pub bad: usize,
    /// Why the first of those cannot.
    pub first_bad: Option<String>,
}

/// While so many records wait, and then ten times as many, it is looked at whether most of them are of any use.
const FIRST_LOOK: usize = 100;

/// The records before the schema is known.
pub(super) struct Discovery {
    plan: Arc<Plan>,
    probe: Decoder,
    held: Vec<Waiting>,
    counts: HeldCounts,
    labels: Labels,
    next_look: usize,
    /// The last look through all that waits made room.
    shrunk: bool,
    bytes: usize,
    most_bytes: usize,
}

impl Discovery {
    pub fn new(settings: &Settings) -> Self {
        let plan = Arc::new(Plan::for_records(settings, None));
        Self {
            probe: Decoder::new(Arc::clone(&plan)),
            plan,
            held: Vec::new(),
            counts: HeldCounts::default(),
            labels: Labels::default(),
            next_look: FIRST_LOOK,
            shrunk: false,
            bytes: 0,
            most_bytes: MOST_BYTES,
        }
    }

    /// Ends after fewer bytes.
    #[cfg(test)]
    pub fn limit_bytes(&mut self, most: usize) {
        self.most_bytes = most;
    }

    /// Holds a record back.
    pub fn hold(
        &mut self,
        record: Record,
        columns: Option<Arc<Columns>>,
        settings: &Settings,
    ) -> Room {
        let verdict = self
            .probe
            .decode(record.payload.as_deref(), columns.as_ref());
        let label = match verdict {
            Ok((found, _)) => Ok(found.label.map(std::borrow::Cow::into_owned)),
            Err(fault) => Err(fault.into_record_reject().to_string()),
        };
        let mut held = Held {
            record,
            columns,
            kind: Ok(false),
        };
        let told = label.and_then(|label| {
            let Some(label) = label else { return Ok(false) };
            if !settings.classes.is_empty() && !settings.classes.contains(&label) {
                let shown = printable(&label);
                return Err(format!("label_unknown: {shown:?} is not in schema.classes"));
            }
            let clear = held.columns.is_some()
                || held.text().is_some_and(|text| !ambiguous(&self.plan, text));
            if !clear {
                return Err("syntax: a name stands twice".to_owned());
            }
            self.labels.add(&label);
            Ok(true)
        });
        held.kind = told.as_ref().copied().map_err(|_| ());
        self.counts.add(told);
        self.bytes += RECORD_BYTES + size(&held.record);
        self.held.push(Waiting::Whole(Box::new(held)));
        if self.counts.labelled >= settings.discover_records {
            return Room::Enough;
        }
        if self.bytes >= self.most_bytes {
            self.forget_unlabelled();
        }
        // Half: else the next record would be the next reason to look through all of them.
        let full = std::mem::take(&mut self.shrunk) && self.bytes >= self.most_bytes / 2;
        if !full {
            return Room::More;
        }
        match self.counts.labelled >= LEAST_LABELLED.min(settings.discover_records) {
            true => Room::Full,
            false => Room::FullInVain,
        }
    }

    /// Keeps only the places of records that carry no label: nothing follows from what they hold. Whether their features
    /// are sound is not looked at then.
    fn forget_unlabelled(&mut self) {
        self.shrunk = true;
        self.bytes = 0;
        for waiting in &mut self.held {
            match waiting {
                Waiting::Whole(held) if held.kind == Ok(false) => {
                    self.bytes += PLACE_BYTES;
                    *waiting = Waiting::Unlabelled {
                        partition: held.record.partition,
                        offset: held.record.offset,
                    };
                }
                Waiting::Whole(held) => self.bytes += RECORD_BYTES + size(&held.record),
                Waiting::Unlabelled { .. } => self.bytes += PLACE_BYTES,
            }
        }
    }

    /// The records from which the schema follows.
    fn teaching(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter_map(|waiting| match waiting {
            Waiting::Whole(held) if held.kind == Ok(true) => Some(&**held),
            _ => None,
        })
    }

    /// Records held back.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// What they are.
    pub fn counts(&self) -> &HeldCounts {
        &self.counts
    }

    /// Says so, now and then, while most of what waits is of no use: a wrong `schema.label` is met with no other sign.
    pub fn look_out(&mut self, settings: &Settings) -> Option<String> {
        let held = self.held.len();
        if held < self.next_look {
            return None;
        }
        self.next_look = held.saturating_mul(10);
        let HeldCounts {
            labelled,
            unlabelled,
            bad,
            first_bad,
        } = &self.counts;
        if labelled * 2 >= held {
            return None;
        }
        let first = first_bad
            .as_ref()
            .map_or_else(String::new, |first| format!(" (the first: {first})"));
        Some(format!(
            "{held} records wait for the schema and {labelled} of them can teach: {unlabelled} carry no label {:?}, {bad} are \
             bad{first}; see that schema.label and schema.format fit what is sent",
            settings.label
        ))
    }

    /// The schema that the held records have, if they have any feature, and what to know of it.
    pub fn schema(&self, settings: &Settings) -> (Option<Schema>, Vec<Notice>) {
        let mut survey = Survey::new(&self.plan, settings);
        for held in self.teaching() {
            match held.text() {
                Some(text) if held.columns.is_none() => survey.measure(text),
                _ => survey.measure_csv(),
            }
        }
        survey.measured();
        self.look(&mut survey);
        survey.counted();
        self.look(&mut survey);
        let (features, notices) = survey.features(settings);
        let schema = (!features.is_empty()).then_some(Schema {
            undecided: survey.undecided(&features),
            features,
            category_buckets: settings.category_buckets,
        });
        (schema, notices)
    }

    /// Shows the survey what the fields hold.
    fn look(&self, survey: &mut Survey<'_>) {
        let mut csv = CsvRecords::new();
        for held in self.teaching() {
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

    /// The held records in their order, and the labels of those from which the schema follows; they are held no more.
    pub fn release(&mut self) -> (Vec<Waiting>, Labels) {
        self.counts = HeldCounts::default();
        self.next_look = FIRST_LOOK;
        self.bytes = 0;
        (take(&mut self.held), take(&mut self.labels))
    }
}

impl HeldCounts {
    /// A record with a label, without one, or bad for a reason.
    fn add(&mut self, told: Result<bool, String>) {
        match told {
            Ok(true) => self.labelled += 1,
            Ok(false) => self.unlabelled += 1,
            Err(reason) => {
                self.bad += 1;
                self.first_bad.get_or_insert(reason);
            }
        }
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

/// Why no schema followed from so many records, of which so many carry a label.
pub(super) fn nothing_found(settings: &Settings, records: usize, labelled: usize) -> String {
    let label = &settings.label;
    if labelled > 0 {
        return format!(
            "no features found: {labelled} records carry the label {label:?} and nothing else that is a number, text or bool; set \
             schema.features or schema.ignore"
        );
    }
    format!(
        "no features found: none of {records} records parses and carries the label {label:?}; set schema.label and schema.format \
         to what the records hold"
    )
}
