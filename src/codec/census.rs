//! Which features teach nothing: those that never change, and those that name a record instead of describing it.
//!
//! The texts of the first few thousand examples are read once more for it; after that the census is over and costs nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::csv_record::{Columns, CsvRecords};
use super::decoder::text_of;
use super::fields::{Field, elements, envelope, fields};
use super::notice::{Concern, Notice, in_few_words};
use super::plan::Plan;
use super::reject::printable;
use super::schema::Schema;
use super::settings::{MAX_PATH, Settings};
use super::value::{Value, is_missing};

/// Examples after which it is over.
const WANTED: usize = 4096;
/// About one in so many of them is looked at, by no period that a stream could have too: reading the texts once more costs
/// several times what decoding does.
const STRIDE: usize = 4;
/// The golden ratio's fraction: its multiples spread evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Examples without which nothing is said.
const FEWEST: usize = 1000;
/// Values of a feature after which it is looked at whether their difference is still worth remembering.
const FIRST_LOOK: usize = 64;
/// Longest value whose text decides; of longer ones the start does.
const MOST_BYTES: usize = 1024;

/// What was seen of one feature.
#[derive(Debug, Default)]
struct Seen {
    values: usize,
    texts: usize,
    integers: usize,
    /// Hashes of the values; `None` once they are too few, or of a kind that differs without being a name.
    distinct: Option<HashSet<u64>>,
    last: f64,
    rises: usize,
    falls: usize,
}

/// Looks at examples until there are enough.
pub(super) struct Census {
    plan: Plan,
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    seen: Vec<Seen>,
    csv: CsvRecords,
    came: usize,
    /// Those that were looked at.
    examples: usize,
}

impl Census {
    pub fn new(settings: &Settings, schema: &Schema) -> Self {
        let names: Vec<String> = schema.features.iter().map(|f| f.name.clone()).collect();
        Self {
            plan: Plan::for_records(settings, None),
            by_name: names.iter().cloned().zip(0..).collect(),
            seen: names.iter().map(|_| Seen::new()).collect(),
            names,
            csv: CsvRecords::new(),
            came: 0,
            examples: 0,
        }
    }

    /// Looks at a record that became an example; true when it has seen enough.
    pub fn look(&mut self, payload: Option<&[u8]>, columns: Option<&Arc<Columns>>) -> bool {
        self.came += 1;
        let is_chosen = (self.came as u64).wrapping_mul(SPREAD) < u64::MAX / STRIDE as u64;
        if is_chosen
            && let Ok(text) = text_of(payload, self.plan.max_record_bytes, columns.is_some())
        {
            self.examples += 1;
            match columns {
                Some(columns) => self.csv(text, columns),
                None => self.json(text),
            }
        }
        self.came >= WANTED
    }

    /// What was found, in the order of the features; nothing after too few examples.
    pub fn verdicts(&self) -> Vec<Notice> {
        if self.came < FEWEST {
            return Vec::new();
        }
        let features = self.names.iter().zip(&self.seen);
        let verdicts = features.filter_map(|(name, seen)| seen.verdict(name, self.examples));
        in_few_words(verdicts.collect())
    }

    fn csv(&mut self, text: &str, columns: &Arc<Columns>) {
        let Ok(fields) = self.csv.named(text, columns) else {
            return;
        };
        for (name, field) in fields {
            if let Some(index) = self.by_name.get(name) {
                self.seen[*index].add(&Value::of_csv(field));
            }
        }
    }

    fn json(&mut self, text: &str) {
        let outer = fields(text);
        match envelope(&self.plan, &outer) {
            Some(raw) if raw.starts_with('[') => {
                for (seen, raw) in self.seen.iter_mut().zip(elements(raw)) {
                    seen.add_json(raw.get());
                }
            }
            Some(raw) => self.object("", &fields(raw), 1),
            None => self.object("", &outer, 1),
        }
    }

    fn object(&mut self, path: &str, inner: &[Field<'_>], depth: usize) {
        for (key, raw) in inner {
            let name = format!("{path}{key}");
            if let Some(index) = self.by_name.get(&name) {
                self.seen[*index].add_json(raw.get());
            } else if raw.get().starts_with('{') && depth < MAX_PATH {
                self.object(&format!("{name}."), &fields(raw.get()), depth + 1);
            }
        }
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            distinct: Some(HashSet::new()),
            ..Self::default()
        }
    }

    fn add_json(&mut self, raw: &str) {
        if let Ok(value) = Value::of_json(raw) {
            self.add(&value);
        }
    }

    fn add(&mut self, value: &Value<'_>) {
        let text = match value {
            Value::Null | Value::Nested => return,
            Value::Text(text) if is_missing(text) => return,
            Value::Text(text) => text.as_ref(),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Number(literal) => literal,
        };
        self.values += 1;
        match value {
            Value::Number(literal) => self.number(literal),
            _ => self.texts += 1,
        }
        if let Some(distinct) = &mut self.distinct {
            let bytes = &text.as_bytes()[..text.len().min(MOST_BYTES)];
            distinct.insert(xxh3_64(bytes));
            let different = distinct.len();
            let is_open = different == 1 || self.may_be_name(different);
            if self.values >= FIRST_LOOK && !is_open {
                self.distinct = None;
            }
        }
    }

    fn number(&mut self, literal: &str) {
        self.integers += usize::from(!literal.contains(['.', 'e', 'E']));
        let Ok(number) = literal.parse::<f64>() else {
            return;
        };
        if self.values > 1 {
            self.rises += usize::from(number > self.last);
            self.falls += usize::from(number < self.last);
        }
        self.last = number;
    }

    /// Nearly every value is another, and they are texts, whole numbers or a clock: a measured number differs too.
    fn may_be_name(&self, different: usize) -> bool {
        let mostly = |some: usize, share: usize| some * 100 >= self.values * share;
        let named = mostly(self.texts, 100) && mostly(different, 90);
        let numbered = mostly(self.integers, 100) && mostly(different, 99);
        named || numbered || (self.is_rising() && mostly(different, 90))
    }

    fn is_rising(&self) -> bool {
        self.texts == 0 && self.rises.max(self.falls) * 100 >= (self.values - 1) * 99
    }

    fn verdict(&self, name: &str, examples: usize) -> Option<Notice> {
        let (shown, values) = (printable(name), self.values);
        let notice = |concern, message| {
            Some(Notice {
                concern,
                subject: printable(name),
                message,
            })
        };
        let remedy =
            "name it in schema.ignore, or leave it out of schema.features, before a model is begun";
        if values == 0 {
            return notice(
                Concern::ConstantFeature,
                format!(
                    "feature {shown} had no value in any of {examples} examples at the beginning and has taught nothing so far: see that \
                     the records hold it under this name, or {remedy}"
                ),
            );
        }
        let different = self.distinct.as_ref()?.len();
        if different == 1 {
            // Where it is often missing, that it is there tells something.
            if values * 100 < examples * 95 {
                return None;
            }
            return notice(
                Concern::ConstantFeature,
                format!(
                    "feature {shown} had one and the same value in {values} of {examples} examples at the beginning and has taught \
                     nothing so far: if it is to stay so, {remedy}"
                ),
            );
        }
        if values < FEWEST / STRIDE || !self.may_be_name(different) {
            return None;
        }
        let way = if self.is_rising() {
            ", counting on from one to the next"
        } else {
            ""
        };
        notice(
            Concern::IdentifierFeature,
            format!(
                "feature {shown} looks like an identifier ({different} different values in {values} examples{way}): what is \
                 learned of it holds for no later record; {remedy}, and set schema.id to it if it is the record's id"
            ),
        )
    }
}
