//! The `[schema]` table: how records are read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Most features that a schema may have.
pub const MAX_FEATURES: usize = 16_384;
/// A record that weighs more leaves nothing of the others in its batch, and in f32 soon nothing at all.
const MOST_WEIGHT: f64 = 1e6;
/// Most names in a dotted path, which is also how deep discovery looks into nested objects.
pub(super) const MAX_PATH: usize = 16;

/// How a record is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON; an envelope when the top-level `features` is an array or an object, else flat.
    #[default]
    Auto,
    /// A JSON object whose fields are the features.
    Flat,
    /// A JSON object with `features`, `label` and, if present, `id`, `weight`, `ts`.
    Envelope,
    /// One CSV record; the names come from the header or from `columns`.
    Csv,
}

/// How numbers become inputs of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As they are.
    Raw,
    /// Minus the running mean, divided by the running standard deviation, cut at 8.
    #[default]
    Standard,
    /// That, the same of the signed logarithm, and the place among the quantiles so far, side by side, with a mark for
    /// what is missing.
    Robust,
}

/// The `[schema]` table of the settings.
///
/// A *path* is a name or dotted names that reach into nested objects (`meta.label`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How records are written.
    pub format: Format,
    /// Path of the label.
    pub label: String,
    /// Paths of the features, in their order; empty = discovered.
    pub features: Vec<String>,
    /// Which features are categorical; without `features`, what discovery must take as such.
    pub categorical: Vec<String>,
    /// Paths that are neither features nor counted as unknown.
    pub ignore: Vec<String>,
    /// Path of the record's own id; empty = none (in an envelope: `id`).
    pub id: String,
    /// Where a record names its sender; empty = senders are not told apart: see [`super::Sender`].
    pub sender: String,
    /// Path of the record's own time; empty = none (in an envelope: `ts`). Not a feature.
    pub timestamp: String,
    /// Path of the weight; empty = none (in an envelope: `weight`).
    pub weight: String,
    /// The classes in their order; empty = discovered as they appear.
    pub classes: Vec<String>,
    /// Most classes to discover; a label beyond is a bad record.
    pub max_classes: usize,
    /// Labelled records from which the features are discovered.
    pub discover_records: usize,
    /// How numbers are encoded.
    pub encoding: Encoding,
    /// Decayed class shares as inputs.
    pub recent_shares: bool,
    /// Buckets into which the values of one categorical feature are hashed.
    pub category_buckets: usize,
    /// Names of the fields of CSV records on a stream; a file has a header instead.
    pub columns: Vec<String>,
    /// Records of a larger weight are refused; 1 where senders are not to choose what their records count for.
    pub max_weight: f64,
    /// Longer records are refused before they are parsed; bytes.
    pub max_record_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            label: "label".to_owned(),
            features: Vec::new(),
            categorical: Vec::new(),
            ignore: Vec::new(),
            id: String::new(),
            sender: String::new(),
            timestamp: String::new(),
            weight: String::new(),
            classes: Vec::new(),
            max_classes: 100,
            discover_records: 1000,
            encoding: Encoding::Robust,
            recent_shares: true,
            category_buckets: 32,
            columns: Vec::new(),
            max_weight: MOST_WEIGHT,
            max_record_bytes: 1_048_576,
        }
    }
}

/// A key inside the table, and what is wrong with its value and how to repair it.
type Complaint = (String, String);

impl Settings {
    /// Whether the values are usable and do not contradict one another.
    ///
    /// # Errors
    /// The key inside the table, and the reason with a way out.
    ///
    /// ```
    /// use skewd::codec::Settings;
    /// let mut settings = Settings { features: vec!["amount".into()], ..Settings::default() };
    /// assert!(settings.check().is_ok());
    /// settings.categorical = vec!["merchant".into()];
    /// assert_eq!(settings.check().unwrap_err().0, "categorical");
    /// ```
    pub fn check(&self) -> Result<(), Complaint> {
        self.check_numbers()?;
        self.check_paths()?;
        self.check_classes()?;
        self.check_roles()
    }

    /// The fields with a role of their own: key of the setting and path, those in use only.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("label", self.label.as_str()),
            ("id", self.id.as_str()),
            ("timestamp", self.timestamp.as_str()),
            ("weight", self.weight.as_str()),
        ]
        .into_iter()
        .filter(|(_, path)| !path.is_empty())
    }

    fn check_numbers(&self) -> Result<(), Complaint> {
        within("max_classes", self.max_classes, 2, 65_536)?;
        within("discover_records", self.discover_records, 1, 1_000_000)?;
        within("category_buckets", self.category_buckets, 1, 65_536)?;
        within("max_record_bytes", self.max_record_bytes, 1, 1 << 30)?;
        if !(self.max_weight > 0.0 && self.max_weight <= MOST_WEIGHT) {
            return complain(
                "max_weight",
                format!(
                    "{} is out of range; use a number above 0, up to {MOST_WEIGHT}",
                    self.max_weight
                ),
            );
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), Complaint> {
        if self.label.is_empty() {
            return complain(
                "label",
                "must not be empty; name the field that holds the label",
            );
        }
        for (key, path) in self.roles() {
            well_formed(key, path)?;
        }
        let lists = [
            ("features", &self.features),
            ("categorical", &self.categorical),
            ("ignore", &self.ignore),
        ];
        for (key, paths) in lists {
            for path in paths {
                well_formed(key, path)?;
            }
            distinct(key, paths)?;
        }
        distinct("columns", &self.columns)?;
        if let Err(reason) = super::Sender::parse(&self.sender) {
            return complain("sender", reason);
        }
        if self.features.len() > MAX_FEATURES {
            let count = self.features.len();
            let reason = format!("{count} features; name at most {MAX_FEATURES}");
            return complain("features", reason);
        }
        Ok(())
    }

    fn check_classes(&self) -> Result<(), Complaint> {
        distinct("classes", &self.classes)?;
        if self.classes.len() == 1 {
            return complain(
                "classes",
                "one class leaves nothing to learn; give two or more, or none",
            );
        }
        match self
            .classes
            .iter()
            .find(|c| c.len() > super::MAX_LABEL_BYTES)
        {
            Some(class) => complain(
                "classes",
                format!(
                    "{:?} is longer than {} bytes; shorten it",
                    super::reject::printable(class),
                    super::MAX_LABEL_BYTES
                ),
            ),
            None => Ok(()),
        }
    }

    fn check_roles(&self) -> Result<(), Complaint> {
        let mut taken = BTreeSet::new();
        for (key, path) in self.roles() {
            if !taken.insert(path) {
                return complain(
                    key,
                    format!("{path:?} already has another role; name another field"),
                );
            }
            if path == "features" && matches!(self.format, Format::Auto | Format::Envelope) {
                return complain(
                    key,
                    "\"features\" is the envelope's own field; set format = \"flat\" or \"csv\"",
                );
            }
        }
        for (key, paths) in [
            ("features", &self.features),
            ("ignore", &self.ignore),
            ("categorical", &self.categorical),
        ] {
            if let Some(path) = paths.iter().find(|path| taken.contains(path.as_str())) {
                return complain(
                    key,
                    format!("{path:?} is the label, id, timestamp or weight; remove it here"),
                );
            }
        }
        if let Some(path) = self
            .ignore
            .iter()
            .find(|p| self.features.contains(p) || self.categorical.contains(p))
        {
            return complain(
                "ignore",
                format!("{path:?} is a feature too; keep it in one list"),
            );
        }
        let stray = self.categorical.iter().find(|p| !self.features.contains(p));
        match stray {
            Some(path) if !self.features.is_empty() => complain(
                "categorical",
                format!("{path:?} is not in schema.features; add it there too"),
            ),
            _ => Ok(()),
        }
    }
}

fn complain(key: &str, reason: impl Into<String>) -> Result<(), Complaint> {
    Err((key.to_owned(), reason.into()))
}

fn within(key: &str, value: usize, least: usize, most: usize) -> Result<(), Complaint> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    complain(
        key,
        format!("{value} is out of range; use {least} to {most}"),
    )
}

fn well_formed(key: &str, path: &str) -> Result<(), Complaint> {
    let names = path.split('.').count();
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return complain(
            key,
            format!("{path:?} is not a path; use names joined by single dots"),
        );
    }
    if names > MAX_PATH {
        return complain(
            key,
            format!("{path:?} has {names} names; at most {MAX_PATH} are possible"),
        );
    }
    Ok(())
}

fn distinct(key: &str, names: &[String]) -> Result<(), Complaint> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => complain(key, format!("{name:?} stands there twice; remove one")),
        None => Ok(()),
    }
}
