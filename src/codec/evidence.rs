//! What was seen of one field, and what it is: a number, a category, or no feature.
//!
//! - It is categorical when texts or bools were seen in it. A name whose value is always missing counts as a number, but
//!   refuses no text: what it holds is not known yet, and a guess that is wrong would refuse every record to come.
//! - One bad record must not change what a field is. What fewer than one in twenty values are (of at least
//!   twenty) does not count: a text among numbers (with a warning), an object among plain values, a plain value
//!   among objects. Such records are bad ones then.
//! - Nor must a few senders. Numbers that measure, because most of them differ or have a fraction, stay numbers while texts are
//!   fewer; the texts are missing then, and refuse no record. Codes, whole numbers that come again and again beside texts,
//!   are categories.
//! - Texts that differ in more than nine of ten records (of at least fifty) are ids, not features: they are left
//!   out, with a warning.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::notice::Notice;
use super::reject::printable;
use super::schema::Kind;
use super::value::{Value, is_missing, spells_non_finite};

/// Values without which some are no exception to the others.
const ENOUGH: usize = 20;

/// What was seen of one name.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    name: String,
    numbers: usize,
    /// Numbers that are not written as whole ones.
    fractions: usize,
    /// Texts and bools.
    texts: usize,
    /// Texts that spell NaN or infinity.
    odd: usize,
    missing: usize,
    arrays: usize,
    objects: usize,
    different_numbers: HashSet<u64>,
    different_texts: HashSet<u64>,
}

impl Evidence {
    /// None yet.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The name of the field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value was there.
    pub fn add(&mut self, value: &Value<'_>) {
        let mut text = |text: &str| {
            self.texts += 1;
            self.different_texts.insert(xxh3_64(text.as_bytes()));
        };
        match value {
            Value::Null => self.missing += 1,
            Value::Text(text) if is_missing(text) => self.missing += 1,
            Value::Text(text) if spells_non_finite(text) => self.odd += 1,
            Value::Text(found) => text(found),
            Value::Bool(found) => text(if *found { "true" } else { "false" }),
            Value::Number(literal) => {
                self.numbers += 1;
                self.fractions += usize::from(literal.contains(['.', 'e', 'E']));
                self.different_numbers.insert(xxh3_64(literal.as_bytes()));
            }
            Value::Nested => self.arrays += 1,
        }
    }

    /// An object was there.
    pub fn add_object(&mut self) {
        self.objects += 1;
    }

    /// Objects.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Plain values that are not missing.
    pub fn values(&self) -> usize {
        self.numbers + self.texts + self.odd
    }

    /// Whether a number of this name should take what is none as missing.
    pub fn leaves_open(&self) -> bool {
        self.values() == 0 || self.texts > 0 && !few(self.texts, self.numbers)
    }

    /// Numbers that are amounts of something, not names, and more than there are texts; of fewer than twenty values nobody can tell.
    fn measures(&self) -> bool {
        let most_differ = self.different_numbers.len() * 2 > self.numbers;
        let most_have_fractions = self.fractions * 2 > self.numbers;
        let enough = self.values() >= ENOUGH;
        enough && self.texts < self.numbers && (most_differ || most_have_fractions)
    }

    /// The kind of the feature, or `None` when it is none.
    pub fn kind(&self, forced: bool, drop_ids: bool, notices: &mut Vec<Notice>) -> Option<Kind> {
        let (name, values) = (printable(&self.name), self.values());
        let mut tell = |message| notices.push(Notice::of_schema(&name, message));
        if values == 0 && self.arrays > 0 {
            tell(format!("field {name} holds arrays and is no feature"));
            return None;
        }
        let only_objects = values == 0 && (self.objects > 0 || self.missing == 0);
        if only_objects || few(values, self.objects) {
            return None;
        }
        if forced {
            return Some(Kind::Categorical);
        }
        if values == 0 {
            tell(format!(
                "feature {name} is always missing so far: it counts as a number, and texts in it as missing; list it in \
                 schema.categorical from the start if it is a text"
            ));
            return Some(Kind::Numeric);
        }
        if self.texts == 0 {
            let words_only = self.odd > 0 && self.numbers == 0;
            return Some(if words_only {
                Kind::Categorical
            } else {
                Kind::Numeric
            });
        }
        let texts = self.texts;
        if few(texts, self.numbers) {
            tell(format!(
                "feature {name}: {texts} of {values} values are texts; taken as numeric, such records are bad ones; list it in \
                 schema.categorical if they are meant"
            ));
            return Some(Kind::Numeric);
        }
        if self.measures() {
            tell(format!(
                "feature {name}: {texts} of {values} values are texts; taken as numeric, since most of the numbers differ or \
                 have fractions, and texts as missing; list it in schema.categorical if they are meant"
            ));
            return Some(Kind::Numeric);
        }
        let different = self.different_texts.len() + self.different_numbers.len();
        if drop_ids && values >= 50 && different * 10 > values * 9 {
            tell(format!(
                "field {name}: {different} different values in {values} records look like ids; left out; list it in \
                 schema.categorical to keep it"
            ));
            return None;
        }
        if self.numbers > texts {
            tell(format!(
                "feature {name}: {texts} of {values} values are texts, and the numbers among them come again and again; taken \
                 as categories; list schema.features to choose"
            ));
        }
        Some(Kind::Categorical)
    }
}

/// True when there are `some`, but fewer than one in twenty of at least twenty.
pub(super) fn few(some: usize, others: usize) -> bool {
    let all = some + others;
    some > 0 && all >= ENOUGH && some * 20 < all
}
