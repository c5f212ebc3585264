//! Records in, arrivals out: discovery, decoding, and the numbers of the classes.

use std::sync::Arc;

use super::census::Census;
use super::classes::Classes;
use super::csv_record::Columns;
use super::decoder::Decoder;
use super::discovery::{Discovery, Held, HeldCounts, Room, Waiting, nothing_found};
use super::notice::Notice;
use super::plan::Plan;
use super::reading::{Decoded, Read, Terms, read};
use super::reject::{Fault, Reason, printable};
use super::schema::Schema;
use super::sender::Sender;
use super::settings::{Format, Settings};
use crate::example::{Arrival, Outcome, Record};

/// Turns the records of a stream into arrivals, one each, in their order.
///
/// ```
/// use skewd::codec::{Intake, Settings};
/// use skewd::example::{Outcome, Record};
/// let mut intake = Intake::new(&Settings::default(), None);
/// let mut arrivals = Vec::new();
/// for (offset, text) in [r#"{"x": 1, "label": "a"}"#, r#"{"x": "#, r#"{"x": 2}"#].into_iter().enumerate() {
///     intake.push(Record::new(0, offset as i64, text), &mut arrivals);
/// }
/// assert_eq!((intake.buffered(), arrivals.len()), (3, 0)); // the features are not known yet
/// intake.finish_discovery(&mut arrivals).unwrap();
/// assert!(matches!(&arrivals[0].outcome, Outcome::Example { new_class: Some(name), .. } if &**name == "a"));
/// assert!(matches!(&arrivals[1].outcome, Outcome::Rejected { reject, .. } if reject.reason.as_str() == "syntax"));
/// assert_eq!(arrivals[2].outcome, Outcome::Unlabelled);
/// ```
pub struct Intake {
    settings: Settings,
    decoder: Decoder,
    schema: Option<Arc<Schema>>,
    discovery: Option<Discovery>,
    classes: Classes,
    sender: Arc<Sender>,
    /// Records are CSV with these columns.
    columns: Option<Arc<Columns>>,
    /// While the first examples are looked at.
    census: Option<Census>,
    notices: Vec<Notice>,
}

impl Intake {
    /// An intake for `settings`, which have passed [`Settings::check`]. A `restored` schema and its classes come
    /// before what the settings say.
    ///
    /// With `classes` in the settings all are known from the start, in that order, and none is ever announced
    /// as new.
    #[must_use]
    pub fn new(settings: &Settings, restored: Option<(Schema, Vec<Arc<str>>)>) -> Self {
        let (schema, classes) = match restored {
            Some((schema, classes)) => (Some(schema), classes),
            None => {
                let names = settings.classes.iter().map(|class| class.as_str().into());
                (Schema::given(settings), names.collect())
            }
        };
        Self {
            decoder: Decoder::new(Arc::new(Plan::for_records(settings, schema.as_ref()))),
            discovery: schema.is_none().then(|| Discovery::new(settings)),
            census: schema.as_ref().map(|schema| Census::new(settings, schema)),
            notices: Vec::new(),
            schema: schema.map(Arc::new),
            classes: Classes::new(settings, classes),
            sender: Arc::new(Sender::parse(&settings.sender).unwrap_or_default()),
            columns: (settings.format == Format::Csv)
                .then(|| Arc::new(Columns(settings.columns.clone()))),
            settings: settings.clone(),
        }
    }

    /// Takes a record. Its arrival is appended to `out`, at once or, while the features are being discovered,
    /// when they are known.
    pub fn push(&mut self, record: Record, out: &mut Vec<Arrival>) {
        let columns = self.columns.clone();
        if self.discovery.is_none() {
            out.push(self.arrive(record, columns.as_ref()));
        } else {
            self.hold(record, columns, out);
        }
    }

    /// What records are decoded by from here on, for who decodes them ahead; `None` while the schema is unknown.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        self.schema.is_some().then(|| Terms {
            plan: Arc::clone(self.decoder.plan()),
            columns: self.columns.clone(),
            sender: Arc::clone(&self.sender),
        })
    }

    /// As [`Intake::push`] for each of the records, which were decoded ahead; by other terms than those of now they are
    /// decoded once more. Answers the records.
    pub fn push_decoded(&mut self, decoded: Decoded, out: &mut Vec<Arrival>) -> Vec<Record> {
        if !self.terms().is_some_and(|terms| terms.is(&decoded.terms)) {
            for record in &decoded.records {
                self.push(record.clone(), out);
            }
            return decoded.records;
        }
        let columns = self.columns.clone();
        let labels = decoded.labels.all();
        let mut numbers: Vec<Option<u32>> = vec![None; labels.len()];
        for (record, read) in decoded.records.iter().zip(decoded.found) {
            let mut new_class = None;
            let read = read.and_then(|found| {
                let Some((mut example, unknown)) = found else {
                    return Ok(None);
                };
                let label = example.class as usize;
                example.class = match numbers[label] {
                    Some(class) => class,
                    None => {
                        let (class, name) = self.classes.number(&labels[label], &self.settings)?;
                        new_class = name;
                        *numbers[label].insert(class)
                    }
                };
                Ok(Some((example, unknown)))
            });
            out.push(self.come(record, read, new_class, columns.as_ref()));
        }
        decoded.records
    }

    /// Lets a record wait for the schema. Apart from the way of every other record, which must stay short.
    #[cold]
    #[inline(never)]
    fn hold(&mut self, record: Record, columns: Option<Arc<Columns>>, out: &mut Vec<Arrival>) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        let room = discovery.hold(record, columns, &self.settings);
        let labelled = discovery.counts().labelled;
        let told = discovery.look_out(&self.settings);
        let told = told.map(|message| Notice::of_schema("records that wait", message));
        self.notices.extend(told);
        let done = match room {
            Room::More => Ok(()),
            Room::Enough => self.finish_discovery(out),
            Room::Full => {
                let message = format!(
                    "as much as can waits for the schema: it is decided from {labelled} labelled records instead of {}; give \
                     schema.features to decide yourself",
                    self.settings.discover_records
                );
                self.tell("records that wait", message);
                self.finish_discovery(out)
            }
            Room::FullInVain => {
                let (held, _) = discovery.release();
                let (label, records) = (&self.settings.label, held.len());
                let warning = format!(
                    "of {records} records that waited for the schema {labelled} carry the label {label:?}: too few to decide \
                     from, so they are dead letters, and discovery begins anew; give schema.features, or set schema.label"
                );
                out.extend(held.into_iter().map(|held| self.pass_without_schema(held)));
                Err(warning)
            }
        };
        if let Err(message) = done {
            self.tell("no features", message);
        }
    }

    /// Ends the discovery with the records that were pushed so far: at the end of the input, or on demand.
    /// They come out as if the schema had been given. Without discovery nothing happens.
    ///
    /// # Errors
    /// When no record parses and carries a label, or none has a feature: what to look at. The records come out
    /// all the same (none as an example), and discovery goes on with the records to come.
    #[inline(never)]
    pub fn finish_discovery(&mut self, out: &mut Vec<Arrival>) -> Result<(), String> {
        let Some(discovery) = &mut self.discovery else {
            return Ok(());
        };
        let counted = discovery.counts().labelled;
        let (schema, notices) = discovery.schema(&self.settings);
        let (held, labels) = discovery.release();
        self.notices.extend(notices);
        let records = held.len();
        let Some(schema) = schema else {
            out.extend(held.into_iter().map(|held| self.pass_without_schema(held)));
            return Err(nothing_found(&self.settings, records, counted));
        };
        let plan = Plan::for_records(&self.settings, Some(&schema));
        self.decoder = Decoder::new(Arc::new(plan));
        self.census = Some(Census::new(&self.settings, &schema));
        self.schema = Some(Arc::new(schema));
        self.discovery = None;
        let without = self.classes.expect(&labels, &self.settings);
        if without > 0 {
            let message = format!(
                "the first {records} records have {} different labels, more than schema.max_classes = {}: the {without} that come \
                 least often are refused; see that schema.label names the label, or raise schema.max_classes",
                labels.len(),
                self.settings.max_classes
            );
            self.tell("many labels", message);
        }
        for waiting in held {
            out.push(match waiting {
                Waiting::Whole(held) => self.arrive(held.record, held.columns.as_ref()),
                Waiting::Unlabelled { partition, offset } => unlabelled(partition, offset),
            });
        }
        self.classes.expect_any();
        Ok(())
    }

    /// Whether [`Intake::finish_discovery`] would find a schema in the records that wait; nothing comes out.
    ///
    /// # Errors
    /// Why it would not.
    pub fn can_finish_discovery(&mut self) -> Result<(), String> {
        let Some(discovery) = &mut self.discovery else {
            return Ok(());
        };
        let (records, counted) = (discovery.len(), discovery.counts().labelled);
        match discovery.schema(&self.settings) {
            (Some(_), _) => Ok(()),
            (None, _) => Err(nothing_found(&self.settings, records, counted)),
        }
    }

    /// The schema, once it is known.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// True when the schema is known.
    #[must_use]
    pub fn discovered(&self) -> bool {
        self.schema.is_some()
    }

    /// Records that wait for the schema.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.discovery.as_ref().map_or(0, Discovery::len)
    }

    /// What the records are that wait for the schema.
    #[must_use]
    pub fn held(&self) -> HeldCounts {
        self.discovery
            .as_ref()
            .map_or_else(HeldCounts::default, |discovery| discovery.counts().clone())
    }

    /// Labelled records that end the discovery by themselves; 0 once the schema is known.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.discovered() {
            return 0;
        }
        self.settings.discover_records
    }

    /// The classes by their index.
    #[must_use]
    pub fn classes(&self) -> &[Arc<str>] {
        self.classes.names()
    }

    /// What a person should know about schema and features, since the last call. What features teach is said once, after a
    /// few thousand examples.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The input is over: what was seen of the features is all that there is.
    pub fn end(&mut self) {
        if let Some(census) = self.census.take() {
            self.notices.extend(census.verdicts());
        }
    }

    /// From here on records are CSV with these columns (the header of a file); with no columns, as the settings
    /// say.
    ///
    /// # Errors
    /// When a name stands twice.
    pub fn set_columns(&mut self, mut columns: Vec<String>) -> Result<(), String> {
        if columns.is_empty() {
            let csv = self.settings.format == Format::Csv;
            self.columns = csv.then(|| Arc::new(Columns(self.settings.columns.clone())));
            return Ok(());
        }
        if let Some(bare) = columns[0].strip_prefix('\u{feff}') {
            columns[0] = bare.to_owned();
        }
        for (index, name) in columns.iter().enumerate() {
            if columns[..index].contains(name) {
                let name = printable(name);
                return Err(format!(
                    "the header names column {name:?} twice; rename one"
                ));
            }
        }
        self.warn_of_absent(&columns);
        self.columns = Some(Arc::new(Columns(columns)));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn decoder_for_tests(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    #[cfg(test)]
    pub(super) fn limit_held_bytes(&mut self, most: usize) {
        if let Some(discovery) = &mut self.discovery {
            discovery.limit_bytes(most);
        }
    }

    fn tell(&mut self, subject: &str, message: String) {
        self.notices.push(Notice::of_schema(subject, message));
    }

    fn warn_of_absent(&mut self, columns: &[String]) {
        let label = &self.settings.label;
        if !columns.contains(label) {
            let message = format!(
                "no column is named {label:?}: every record is unlabelled; set schema.label to the column of the label"
            );
            self.tell("label", message);
        }
        let features = self.schema.iter().flat_map(|schema| &schema.features);
        let absent: Vec<_> = features
            .map(|feature| &feature.name)
            .filter(|name| !columns.contains(name))
            .collect();
        if let Some(first) = absent.first() {
            let count = absent.len();
            let message = format!(
                "{count} features of the schema have no column and count as missing, {first:?} the first"
            );
            self.tell("columns", message);
        }
    }

    /// Decodes a record by the schema.
    fn arrive(&mut self, record: Record, columns: Option<&Arc<Columns>>) -> Arrival {
        let (classes, settings) = (&mut self.classes, &self.settings);
        let mut new_class = None;
        let read = read(&mut self.decoder, &self.sender, columns, &record, |label| {
            let (class, name) = classes.number(label, settings)?;
            new_class = name;
            Ok(class)
        });
        self.come(&record, read, new_class, columns)
    }

    /// The arrival of a record that was read.
    fn come(
        &mut self,
        record: &Record,
        read: Read,
        new_class: Option<Arc<str>>,
        columns: Option<&Arc<Columns>>,
    ) -> Arrival {
        match read {
            Ok(Some((example, unknown_fields))) => {
                if let Some(census) = &mut self.census
                    && census.look(record.payload.as_deref(), columns)
                {
                    self.end();
                }
                Arrival {
                    partition: record.partition,
                    offset: record.offset,
                    outcome: Outcome::Example {
                        example,
                        new_class,
                        unknown_fields,
                    },
                }
            }
            Ok(None) => unlabelled(record.partition, record.offset),
            Err(fault) => {
                self.notices.extend(self.classes.take_notice());
                arrival(record.clone(), Err(fault))
            }
        }
    }

    fn pass_without_schema(&mut self, waiting: Waiting) -> Arrival {
        match waiting {
            Waiting::Whole(held) => self.without_schema(*held),
            Waiting::Unlabelled { partition, offset } => unlabelled(partition, offset),
        }
    }

    /// The arrival of a record from which no schema followed: bad, unlabelled, or without any feature.
    fn without_schema(&mut self, held: Held) -> Arrival {
        let verdict = self
            .decoder
            .decode(held.record.payload.as_deref(), held.columns.as_ref())
            .and_then(|(found, _)| match found.label {
                None => Ok(Outcome::Unlabelled),
                Some(label) => {
                    self.classes.known(&label, &self.settings)?;
                    let message = "no feature is known, and this record holds none";
                    Err(Fault::whole(Reason::Dimension, message))
                }
            });
        arrival(held.record, verdict)
    }
}

fn unlabelled(partition: i32, offset: i64) -> Arrival {
    Arrival {
        partition,
        offset,
        outcome: Outcome::Unlabelled,
    }
}

fn arrival(record: Record, verdict: Result<Outcome, Fault>) -> Arrival {
    let (partition, offset) = (record.partition, record.offset);
    let outcome = verdict.unwrap_or_else(|fault| Outcome::Rejected {
        reject: fault.into_record_reject(),
        record,
    });
    Arrival {
        partition,
        offset,
        outcome,
    }
}
