//! Which features a row has: names, kinds, order.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Settings;

/// What a feature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A finite number.
    Numeric,
    /// A text, hashed into one of `category_buckets`.
    Categorical,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its dotted path, or `f0`, `f1`, ... when records give features by position.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Feature {
    /// True for a number, false for a category.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        self.kind == Kind::Numeric
    }
}

/// The features of a row, in their order. Its JSON text is part of the learning state.
///
/// ```
/// use skewd::codec::{Kind, Schema, Settings};
/// let settings = Settings {
///     features: vec!["amount".into(), "merchant".into()],
///     categorical: vec!["merchant".into()],
///     ..Settings::default()
/// };
/// let schema = Schema::given(&settings).unwrap();
/// assert_eq!(schema.features[1].kind, Kind::Categorical);
/// assert!(schema.features[0].is_numeric());
/// assert_eq!(Schema::from_text(&schema.to_text()).unwrap(), schema);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The features in the order of the row.
    pub features: Vec<Feature>,
    /// Buckets of each categorical feature.
    pub category_buckets: usize,
    /// Numbers that were always missing while the schema was decided, or came beside a good many texts. Whatever else comes in
    /// them is missing, so that a guess refuses no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

impl Schema {
    /// The schema that the settings spell out, or `None` when features are to be discovered.
    #[must_use]
    pub fn given(settings: &Settings) -> Option<Self> {
        if settings.features.is_empty() {
            return None;
        }
        let features = settings.features.iter().map(|name| Feature {
            name: name.clone(),
            kind: if settings.categorical.contains(name) {
                Kind::Categorical
            } else {
                Kind::Numeric
            },
        });
        Some(Self {
            features: features.collect(),
            category_buckets: settings.category_buckets,
            undecided: Vec::new(),
        })
    }

    /// The schema as one line of JSON: the same text for the same schema.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are always JSON")
    }

    /// A schema from [`Schema::to_text`].
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let schema: Self = serde_json::from_str(text).map_err(|e| format!("not a schema: {e}"))?;
        if schema.category_buckets == 0 {
            return Err("not a schema: category_buckets is 0".to_owned());
        }
        Ok(schema)
    }

    /// What keeps this schema from taking the place of `known` without losing what was learned: each of its features must
    /// be here, of the same kind. `None` when nothing does.
    ///
    /// ```
    /// use skewd::codec::{Schema, Settings};
    /// let schema = |names: &[&str]| {
    ///     let features = names.iter().map(|name| (*name).to_owned()).collect();
    ///     Schema::given(&Settings { features, ..Settings::default() }).unwrap()
    /// };
    /// assert_eq!(schema(&["a", "b", "c"]).cannot_follow(&schema(&["b", "a"])), None);
    /// assert!(schema(&["a", "b"]).cannot_follow(&schema(&["a", "c"])).unwrap().contains("c"));
    /// ```
    #[must_use]
    pub fn cannot_follow(&self, known: &Self) -> Option<String> {
        if self.category_buckets != known.category_buckets {
            return Some("category_buckets differs".to_owned());
        }
        for feature in &known.features {
            let name = &feature.name;
            match self.features.iter().find(|here| here.name == *name) {
                None => return Some(format!("the saved state knows the feature {name:?}")),
                Some(here) if here.kind != feature.kind => {
                    return Some(format!("{name:?} is of another kind in the saved state"));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Number of features.
    #[must_use]
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// True without features.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }
}

/// The seed of a feature's value hashes: equal values of two features fall into unrelated buckets.
pub(super) fn category_seed(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// Bucket of a categorical value: XXH3 of its text, seeded by the feature's name.
pub(super) fn bucket(text: &str, seed: u64, buckets: usize) -> f32 {
    let hash = xxh3_64_with_seed(text.as_bytes(), seed);
    (hash % buckets.max(1) as u64) as f32
}
