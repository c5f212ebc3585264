//! What the fields of the first records hold, and which features follow from it.
//!
//! - Features come in the order in which their names are first seen. Objects are looked into and give dotted
//!   names; arrays are no features.
//! - Features come by name or by position (`f0`, `f1`, ... of an envelope's array), as in most of the records;
//!   by position there are as many as most of the arrays have.
//! - Whether a feature is a number, a category or none is in [`Evidence::kind`].
//! - A name in fewer than one record in a hundred is a feature only where there are few such names, and all features
//!   together have at most [`MAX_INPUTS`] inputs, the commonest first: a record full of names of its own must not fill the
//!   memory. Records with many more names than most have ([`MANY`], [`TIMES`]) name no feature, where fewer
//!   than one in five are such.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::encoder::inputs_of;
use super::evidence::{Evidence, few};
use super::fields::{Field, elements, envelope, fields};
use super::notice::{Notice, in_few_words};
use super::plan::{Plan, Table};
use super::presence::{MOST_RARE, Presence};
use super::reject::printable;
use super::schema::{Feature, Kind};
use super::settings::{MAX_FEATURES, MAX_PATH, Settings};
use super::value::Value;

/// Longest name of a discovered feature, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Most inputs of the discovered features together.
const MAX_INPUTS: usize = 32_768;
/// A record may have so many names ...
const MANY: usize = 256;
/// ... or so many times as many as half of the records have at most.
const TIMES: usize = 8;
/// Rare names that a warning shows.
const SHOWN: usize = 3;

/// Collects evidence record by record.
pub(super) struct Survey<'p> {
    plan: &'p Plan,
    /// In order of first sight.
    seen: Vec<Evidence>,
    by_name: HashMap<String, usize>,
    /// How many envelopes give how many features by position.
    lengths: BTreeMap<usize, usize>,
    /// Records that give features by name.
    named: usize,
    /// Features by position, if that is how most records give them; known after the first pass.
    length: Option<usize>,
    /// How many names each record has; then, how many one may have to have a say.
    sizes: Vec<usize>,
    widest: usize,
    too_wide: usize,
    /// In how many records each name stands; complete after the second pass.
    presence: Presence,
    counting: bool,
    /// Names that the settings ask for.
    wanted: HashSet<&'p str>,
    left_over: usize,
    /// The first names that were left out because they are rare.
    rare: Vec<String>,
}

impl<'p> Survey<'p> {
    /// `plan` is one without a schema: it knows the roles and what to ignore.
    pub fn new(plan: &'p Plan, settings: &'p Settings) -> Self {
        Self {
            plan,
            wanted: settings.categorical.iter().map(String::as_str).collect(),
            seen: Vec::new(),
            by_name: HashMap::new(),
            lengths: BTreeMap::new(),
            named: 0,
            sizes: Vec::new(),
            widest: usize::MAX,
            too_wide: 0,
            length: None,
            presence: Presence::default(),
            counting: true,
            left_over: 0,
            rare: Vec::new(),
        }
    }

    /// First pass: whether a JSON record gives features by name, or how many by position.
    pub fn measure(&mut self, text: &str) {
        let fields = fields(text);
        self.sizes.push(names_in(&fields, 1));
        match envelope(self.plan, &fields).filter(|raw| raw.starts_with('[')) {
            None => self.named += 1,
            Some(raw) => {
                let length = elements(raw).len();
                if length <= MAX_FEATURES {
                    *self.lengths.entry(length).or_default() += 1;
                }
            }
        }
    }

    /// First pass: a CSV record.
    pub fn measure_csv(&mut self) {
        self.named += 1;
    }

    /// Ends the first pass: features come by position when more records have the commonest number of them (the
    /// smaller one of two) than give features by name.
    pub fn measured(&mut self) {
        let most = self.lengths.values().max().copied().unwrap_or(0);
        if most > self.named {
            let commonest = self.lengths.iter().find(|(_, count)| **count == most);
            self.length = commonest.map(|(length, _)| *length);
        }
        self.sizes.sort_unstable();
        if let Some(median) = self.sizes.get(self.sizes.len() / 2) {
            self.widest = MANY.max(median.saturating_mul(TIMES));
            let usual = self.sizes.partition_point(|size| *size <= self.widest);
            let wide = self.sizes.len() - usual;
            // More than that are a kind of records.
            self.too_wide = if wide * 5 < self.sizes.len() { wide } else { 0 };
        }
    }

    /// Ends the second pass, in which only names are counted.
    pub fn counted(&mut self) {
        self.presence.counted();
        self.counting = false;
    }

    fn begin_record(&mut self) {
        if self.counting {
            self.presence.record();
        }
    }

    /// Second and third pass: what the fields of a JSON record hold.
    pub fn json(&mut self, text: &str) {
        self.begin_record();
        let fields = fields(text);
        if self.too_wide > 0 && names_in(&fields, 1) > self.widest {
            return;
        }
        let (plan, length) = (self.plan, self.length);
        match envelope(self.plan, &fields) {
            Some(raw) if raw.starts_with('[') => {
                let elements = elements(raw);
                if Some(elements.len()) == length {
                    for (index, raw) in elements.iter().enumerate() {
                        self.value(&format!("f{index}"), raw.get());
                    }
                }
            }
            _ if length.is_some() => {}
            Some(raw) => self.object("", &super::fields::fields(raw), &plan.features, 1),
            None => self.object("", &fields, &plan.flat, 1),
        }
    }

    /// Second and third pass: what the fields of a CSV record hold.
    pub fn csv<'t>(&mut self, fields: impl Iterator<Item = (&'t str, &'t str)>) {
        self.begin_record();
        if self.length.is_some() {
            return;
        }
        for (name, field) in fields {
            if self.plan.flat.leaf(name).is_none() {
                self.see(name, &Value::of_csv(field));
            }
        }
    }

    /// The features, and what a person should know about the choice.
    pub fn features(&self, settings: &Settings) -> (Vec<Feature>, Vec<Notice>) {
        let mut notices = Vec::new();
        let mut features = self.choose(settings, true, &mut notices);
        if features.is_empty() {
            // Ids are better than nothing to learn from.
            notices.clear();
            features = self.choose(settings, false, &mut notices);
        }
        for name in &settings.categorical {
            if !features.iter().any(|feature| feature.name == *name) {
                notices.push(Notice::of_schema(
                    name,
                    format!(
                        "schema.categorical names {name:?}, but no record of the discovery holds it"
                    ),
                ));
            }
        }
        // What is said of single fields; what follows is of all of them.
        let mut notices = in_few_words(notices);
        self.bound(settings, &mut features, &mut notices);
        self.tell_what_was_left_out(&mut notices);
        (features, notices)
    }

    fn tell_what_was_left_out(&self, notices: &mut Vec<Notice>) {
        let mut tell = |subject: &str, message| notices.push(Notice::of_schema(subject, message));
        if self.too_wide > 0 {
            tell(
                "wide records",
                format!(
                    "{} records hold more than {} fields, many times as many as most: what only they hold is no feature; list \
                     schema.features to choose",
                    self.too_wide, self.widest
                ),
            );
        }
        if let Some(rare) = self.presence.too_many_rare() {
            tell(
                "rare fields",
                format!(
                    "{rare} fields stand in fewer than one record in a hundred ({}, ...); more than {MOST_RARE} such fields are \
                     no features; list schema.features to choose",
                    self.rare.join(", ")
                ),
            );
        }
        if self.left_over > 0 {
            tell(
                "many fields",
                format!(
                    "more than {MAX_FEATURES} fields, or names longer than {MAX_NAME_BYTES} bytes or {MAX_PATH} levels: the \
                     others were left out; list schema.features to choose"
                ),
            );
        }
    }

    /// Names of the numbers in which whatever else comes is missing: what they hold is not known yet, or they hold texts
    /// as well.
    pub fn undecided(&self, features: &[Feature]) -> Vec<String> {
        let is_open = |feature: &&Feature| {
            let evidence = self
                .by_name
                .get(&feature.name)
                .map(|index| &self.seen[*index]);
            feature.kind == Kind::Numeric && evidence.is_some_and(Evidence::leaves_open)
        };
        let open = features.iter().filter(is_open);
        open.map(|feature| feature.name.clone()).collect()
    }

    /// Leaves out the rarest features while all together have too many inputs.
    fn bound(&self, settings: &Settings, features: &mut Vec<Feature>, notices: &mut Vec<Notice>) {
        let all = features.len();
        let mut commonest: Vec<usize> = (0..all).collect();
        commonest.sort_by_key(|index| std::cmp::Reverse(self.presence.of(&features[*index].name)));
        let mut inputs = 0;
        let fit = commonest.iter().take_while(|index| {
            let kind = features[**index].kind;
            inputs += inputs_of(kind, settings.encoding, settings.category_buckets);
            inputs <= MAX_INPUTS
        });
        let fit: HashSet<usize> = fit.copied().collect();
        if fit.len() < all {
            let mut index = 0..all;
            features.retain(|_| index.next().is_some_and(|index| fit.contains(&index)));
            let message = format!(
                "{all} features would have more than {MAX_INPUTS} inputs: the rarest {} were left out; list schema.features to \
                 choose",
                all - fit.len()
            );
            notices.push(Notice::of_schema("many inputs", message));
        }
    }

    fn choose(
        &self,
        settings: &Settings,
        drop_ids: bool,
        notices: &mut Vec<Notice>,
    ) -> Vec<Feature> {
        let mut features = Vec::new();
        let plain: HashSet<&str> = self
            .seen
            .iter()
            .filter(|evidence| few(evidence.objects(), evidence.values()))
            .map(Evidence::name)
            .collect();
        for evidence in &self.seen {
            let name = evidence.name();
            let forced = settings.categorical.iter().any(|listed| listed == name);
            let mut above = name.match_indices('.');
            if above.any(|(dot, _)| plain.contains(&name[..dot])) {
                continue;
            }
            if let Some(kind) = evidence.kind(forced, drop_ids, notices) {
                features.push(Feature {
                    name: name.to_owned(),
                    kind,
                });
            }
        }
        features
    }

    fn object(&mut self, path: &str, fields: &[Field<'_>], table: &Table, depth: usize) {
        for (key, raw) in fields {
            let name = format!("{path}{key}");
            let entry = table.find(&name).map(|index| &table.entries[index]);
            let (known, branch) = entry.map_or((false, false), |e| (e.leaf.is_some(), e.branch));
            if raw.get().starts_with('{') && (branch || !known) && depth < MAX_PATH {
                if !known {
                    self.object_at(&name);
                }
                self.object(
                    &format!("{name}."),
                    &super::fields::fields(raw.get()),
                    table,
                    depth + 1,
                );
            } else if !known {
                self.value(&name, raw.get());
            }
        }
    }

    fn value(&mut self, name: &str, raw: &str) {
        if self.counting {
            return self.presence.see(name);
        }
        // A record that was decoded holds no text that cannot be read; if it does, it tells nothing.
        if let Ok(value) = Value::of_json(raw) {
            self.see(name, &value);
        }
    }

    fn see(&mut self, name: &str, value: &Value<'_>) {
        if self.counting {
            return self.presence.see(name);
        }
        if let Some(evidence) = self.evidence(name) {
            evidence.add(value);
        }
    }

    fn object_at(&mut self, name: &str) {
        if self.counting {
            self.presence.see(name);
        } else if let Some(evidence) = self.evidence(name) {
            evidence.add_object();
        }
    }

    fn evidence(&mut self, name: &str) -> Option<&mut Evidence> {
        if let Some(index) = self.by_name.get(name) {
            return self.seen.get_mut(*index);
        }
        if self.presence.leaves_out(name) && !self.wanted.contains(name) {
            if self.rare.len() < SHOWN {
                self.rare.push(printable(name));
            }
            return None;
        }
        let deep = name.split('.').count() > MAX_PATH;
        if self.seen.len() >= MAX_FEATURES || name.len() > MAX_NAME_BYTES || deep {
            self.left_over += 1;
            return None;
        }
        self.by_name.insert(name.to_owned(), self.seen.len());
        self.seen.push(Evidence::of(name));
        self.seen.last_mut()
    }
}

/// Names in an object and in the objects that are looked into.
fn names_in(fields: &[Field<'_>], depth: usize) -> usize {
    let below = |raw: &str| match raw.starts_with('{') && depth < MAX_PATH {
        true => names_in(&super::fields::fields(raw), depth + 1),
        false => 0,
    };
    fields.iter().map(|(_, raw)| 1 + below(raw.get())).sum()
}
