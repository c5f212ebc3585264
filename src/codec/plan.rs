//! What to do with which field: the schema and the settings, compiled for the decoder.

use std::collections::{HashMap, HashSet};

use super::schema::{Kind, Schema, category_seed};
use super::settings::{Format, Settings};
use super::value::is_missing;

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// A numeric feature, by its index.
    Numeric(u32),
    /// A categorical feature, by its index.
    Categorical(u32),
    /// The label.
    Label,
    /// The record's own id.
    Id,
    /// The weight.
    Weight,
    /// The log time.
    Time,
    /// Known, and not read.
    Skip,
}

/// A name that means something.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The full dotted name.
    pub name: Box<str>,
    /// What its value is for; `None` when only names below it are wanted.
    pub leaf: Option<Leaf>,
    /// Names below it are wanted: an object is looked into.
    pub branch: bool,
    /// The top-level `features`, where an array or object makes the record an envelope.
    pub envelope: bool,
}

/// How a name stands in the usual record: in quotes, a colon right behind.
#[derive(Debug, Clone)]
pub(super) struct Spelling {
    /// The first sixteen bytes, zeros behind its end, and ones where it has bytes.
    start: u128,
    mask: u128,
    text: Box<[u8]>,
    /// The index of the feature, where this is the name of a number and nothing else; else [`Spelling::OTHER`].
    pub number: u32,
}

impl Spelling {
    /// Bytes that are compared at once.
    const START: usize = 16;
    /// The name of something else than a number.
    pub const OTHER: u32 = u32::MAX;

    fn new(name: &str) -> Self {
        let special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        // A name that needs an escape matches nothing: no text begins with a zero byte.
        let text = if name.bytes().any(special) {
            vec![0; Self::START]
        } else {
            format!("\"{name}\":").into_bytes()
        };
        let (mut start, mut mask) = ([0; Self::START], [0; Self::START]);
        for (place, byte) in text.iter().take(Self::START).enumerate() {
            start[place] = *byte;
            mask[place] = 0xff;
        }
        Self {
            text: text.into(),
            start: u128::from_le_bytes(start),
            mask: u128::from_le_bytes(mask),
            number: Self::OTHER,
        }
    }

    /// Its length, if the text begins with it and goes on for some bytes.
    #[inline(always)]
    pub fn begins(&self, text: &[u8]) -> Option<usize> {
        let start = u128::from_le_bytes(*text.first_chunk::<{ Self::START }>()?);
        if (start ^ self.start) & self.mask != 0 {
            return None;
        }
        let length = self.text.len();
        if length > Self::START && text.get(Self::START..length)? != &self.text[Self::START..] {
            return None;
        }
        Some(length)
    }
}

/// The names that mean something in one kind of object.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// In the order in which a record is first expected to hold them.
    pub entries: Vec<Entry>,
    /// One for each entry.
    pub spellings: Vec<Spelling>,
    by_name: HashMap<Box<str>, u32>,
}

impl Table {
    /// The entry with this full name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).map(|index| *index as usize)
    }

    /// What the field with this full name is for.
    pub fn leaf(&self, name: &str) -> Option<Leaf> {
        self.find(name).and_then(|index| self.entries[index].leaf)
    }

    /// Adds a path, and every prefix of it as a branch. The first purpose of a path stays.
    fn add(&mut self, path: &str, leaf: Leaf) {
        for (dot, _) in path.match_indices('.') {
            let index = self.entry(&path[..dot]);
            self.entries[index].branch = true;
        }
        let index = self.entry(path);
        self.entries[index].leaf.get_or_insert(leaf);
    }

    /// Tells the names of numbers from the others, once all are there.
    fn spell(mut self) -> Self {
        for (entry, spelling) in self.entries.iter().zip(&mut self.spellings) {
            if let (Some(Leaf::Numeric(feature)), false) = (entry.leaf, entry.envelope) {
                spelling.number = feature;
            }
        }
        self
    }

    fn entry(&mut self, name: &str) -> usize {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = self.entries.len();
        self.by_name.insert(name.into(), index as u32);
        self.spellings.push(Spelling::new(name));
        self.entries.push(Entry {
            name: name.into(),
            leaf: None,
            branch: false,
            envelope: false,
        });
        index
    }

    fn mark_envelope(&mut self) {
        let index = self.entry("features");
        self.entries[index].envelope = true;
    }

    fn add_roles(&mut self, settings: &Settings) {
        self.add(&settings.label, Leaf::Label);
        for (path, leaf) in [
            (&settings.id, Leaf::Id),
            (&settings.weight, Leaf::Weight),
            (&settings.timestamp, Leaf::Time),
        ] {
            if !path.is_empty() {
                self.add(path, leaf);
            }
        }
    }

    fn add_features(&mut self, features: &[Target]) {
        for target in features {
            self.add(&target.name, target.leaf);
        }
    }

    fn add_ignored(&mut self, settings: &Settings) {
        for path in &settings.ignore {
            self.add(path, Leaf::Skip);
        }
    }
}

/// A feature of the row.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its full name.
    pub name: Box<str>,
    /// Kind and index.
    pub leaf: Leaf,
    /// Seed of its value hashes.
    pub seed: u64,
    /// A number as far as is known: what is none is missing ([`Schema::undecided`]).
    pub is_open: bool,
}

/// Which of the tables of a [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// A flat record.
    Flat,
    /// An envelope.
    Envelope,
    /// The `features` object of an envelope; a row of a prediction.
    Features,
}

/// The schema and the settings, compiled.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub flat: Table,
    pub envelope: Table,
    pub features: Table,
    /// The features in the order of the row.
    pub targets: Vec<Target>,
    /// False before a schema is known: any number of features is right then.
    pub has_schema: bool,
    pub category_buckets: usize,
    pub format: Format,
    pub max_record_bytes: usize,
    pub max_weight: f32,
    /// Labels that would mean "unlabelled", but are listed as classes.
    pub odd_labels: Vec<Box<str>>,
}

impl Plan {
    /// A plan for records; without a schema every feature is skipped.
    pub fn for_records(settings: &Settings, schema: Option<&Schema>) -> Self {
        let targets = targets(schema);
        let mut flat = Table::default();
        flat.add_roles(settings);
        // Before the features: one that a model knows is left out as well, and counts as missing.
        flat.add_ignored(settings);
        flat.add_features(&targets);
        if settings.format == Format::Auto {
            flat.mark_envelope();
        }
        Self {
            flat: flat.spell(),
            envelope: envelope_table(settings),
            features: features_table(&targets, Some(settings)),
            targets,
            has_schema: schema.is_some(),
            category_buckets: schema.map_or(settings.category_buckets, |s| s.category_buckets),
            format: settings.format,
            max_record_bytes: settings.max_record_bytes,
            max_weight: settings.max_weight as f32,
            odd_labels: settings
                .classes
                .iter()
                .filter(|class| is_missing(class))
                .map(|class| class.as_str().into())
                .collect(),
        }
    }

    /// A plan for rows of predictions: features by position or by name, and nothing else.
    pub fn for_rows(schema: &Schema) -> Self {
        let targets = targets(Some(schema));
        Self {
            flat: Table::default(),
            envelope: Table::default(),
            features: features_table(&targets, None),
            targets,
            has_schema: true,
            category_buckets: schema.category_buckets,
            format: Format::Envelope,
            max_record_bytes: usize::MAX,
            max_weight: f32::MAX,
            odd_labels: Vec::new(),
        }
    }

    /// The table that `which` names.
    pub fn table(&self, which: Which) -> &Table {
        match which {
            Which::Flat => &self.flat,
            Which::Envelope => &self.envelope,
            Which::Features => &self.features,
        }
    }
}

fn targets(schema: Option<&Schema>) -> Vec<Target> {
    let features = schema.map_or(&[][..], |schema| &schema.features);
    let open: HashSet<&String> = schema.iter().flat_map(|schema| &schema.undecided).collect();
    let target = |(index, feature): (usize, &super::Feature)| Target {
        name: feature.name.as_str().into(),
        leaf: match feature.kind {
            Kind::Numeric => Leaf::Numeric(index as u32),
            Kind::Categorical => Leaf::Categorical(index as u32),
        },
        seed: category_seed(&feature.name),
        is_open: open.contains(&feature.name),
    };
    features.iter().enumerate().map(target).collect()
}

/// The fields of an envelope: the roles as the settings name them, else by their usual names.
fn envelope_table(settings: &Settings) -> Table {
    let mut table = Table::default();
    table.mark_envelope();
    table.add_roles(settings);
    for (path, usual, leaf) in [
        (&settings.id, "id", Leaf::Id),
        (&settings.weight, "weight", Leaf::Weight),
        (&settings.timestamp, "ts", Leaf::Time),
    ] {
        if path.is_empty() {
            table.add(usual, leaf);
        }
    }
    table.add_ignored(settings);
    table.spell()
}

fn features_table(targets: &[Target], settings: Option<&Settings>) -> Table {
    let mut table = Table::default();
    if let Some(settings) = settings {
        table.add_ignored(settings);
    }
    table.add_features(targets);
    table.spell()
}
