//! A record -> an example, as far as its bytes tell: which number its class has is asked of the caller.

use std::sync::Arc;

use super::classes::Names;
use super::csv_record::Columns;
use super::decoder::Decoder;
use super::plan::Plan;
use super::reject::Fault;
use super::sender::Sender;
use crate::example::{Example, Record};

/// What records are decoded by. Equal ones give equal examples.
#[derive(Clone)]
pub struct Terms {
    pub(super) plan: Arc<Plan>,
    /// Records are CSV with these columns.
    pub(super) columns: Option<Arc<Columns>>,
    pub(super) sender: Arc<Sender>,
}

impl Terms {
    pub(super) fn is(&self, other: &Self) -> bool {
        let columns = match (&self.columns, &other.columns) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        columns && Arc::ptr_eq(&self.plan, &other.plan) && Arc::ptr_eq(&self.sender, &other.sender)
    }
}

/// An example and its unknown fields; `None` without a label.
pub(super) type Read = Result<Option<(Example, u32)>, Fault>;

/// The example of a record. `class` numbers its label.
pub(super) fn read(
    decoder: &mut Decoder,
    sender: &Sender,
    columns: Option<&Arc<Columns>>,
    record: &Record,
    class: impl FnOnce(&str) -> Result<u32, Fault>,
) -> Read {
    let (found, row) = decoder.decode(record.payload.as_deref(), columns)?;
    let Some(label) = found.label else {
        return Ok(None);
    };
    let class = class(&label)?;
    let example = Example {
        row: row.into(),
        class,
        weight: found.weight,
        sender: sender.number(record, found.id.as_deref()),
        id: found.id.map(Into::into),
        time: found.time,
    };
    Ok(Some((example, found.unknown)))
}

/// Records that were decoded before their turn. The class of an example is a place in `labels`.
pub struct Decoded {
    pub(super) terms: Terms,
    pub(super) records: Vec<Record>,
    pub(super) found: Vec<Read>,
    pub(super) labels: Names,
}

/// Decodes records apart from the intake whose turn they wait for: before it, elsewhere, in any order.
///
/// ```
/// use skewd::codec::{Intake, Reader, Settings};
/// use skewd::example::Record;
/// let settings = Settings { features: vec!["x".into()], ..Settings::default() };
/// let mut intake = Intake::new(&settings, None);
/// let lot = |texts: [&str; 2]| texts.map(|text| Record::new(0, 0, text.to_owned())).to_vec();
/// let (first, second) = ([r#"{"x": 1, "label": "a"}"#, r#"{"x": "#], [r#"{"x": 2, "label": "b"}"#, r#"{"x": 3}"#]);
/// let terms = intake.terms().unwrap();
/// let second = Reader::default().decode(lot(second), terms.clone());
/// let first = Reader::default().decode(lot(first), terms);
/// let mut arrivals = Vec::new();
/// intake.push_decoded(first, &mut arrivals);
/// intake.push_decoded(second, &mut arrivals);
/// assert_eq!(arrivals.len(), 4);
/// assert_eq!((&*intake.classes()[0], &*intake.classes()[1]), ("a", "b"));
/// ```
#[derive(Default)]
pub struct Reader(Option<(Terms, Decoder)>);

impl Reader {
    /// What the records hold by these terms.
    #[must_use]
    pub fn decode(&mut self, records: Vec<Record>, terms: Terms) -> Decoded {
        self.0.take_if(|(of, _)| !of.is(&terms));
        let (_, decoder) = self
            .0
            .get_or_insert_with(|| (terms.clone(), Decoder::new(Arc::clone(&terms.plan))));
        let mut labels = Names::default();
        let mut number =
            |label: &str| Ok(labels.find(label).unwrap_or_else(|| labels.add(label).0));
        let (sender, columns) = (&terms.sender, terms.columns.as_ref());
        let found = records
            .iter()
            .map(|record| read(decoder, sender, columns, record, &mut number))
            .collect();
        Decoded {
            terms,
            records,
            found,
            labels,
        }
    }
}
