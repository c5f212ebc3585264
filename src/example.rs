//! The nouns that every room shares: what a stream hands over, and what a learner makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One message of a stream, as it arrived: nothing is parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Partition of the topic; 0 on the embedded stream and in a file.
    pub partition: i32,
    /// Position of this record inside its partition.
    pub offset: i64,
    /// Milliseconds since the epoch that the broker or the log attached, if any.
    pub timestamp_ms: Option<i64>,
    /// The message key, kept for dead letters.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// Headers in their order, duplicates included, kept for dead letters.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Record {
    /// A record with a payload and nothing else.
    #[must_use]
    pub fn new(partition: i32, offset: i64, payload: impl Into<Bytes>) -> Self {
        Self {
            partition,
            offset,
            timestamp_ms: None,
            key: None,
            payload: Some(payload.into()),
            headers: Vec::new(),
        }
    }
}

/// Per partition the next offset to read (exclusive, Kafka's own convention).
///
/// ```
/// use skewd::example::Positions;
/// let mut positions = Positions::default();
/// positions.advance(0, 41);
/// assert_eq!(positions.next(0), Some(42));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Positions(pub BTreeMap<i32, i64>);

impl Positions {
    /// Notes that the record at `offset` was consumed: the next one to read is `offset + 1`.
    /// A position never moves backwards.
    pub fn advance(&mut self, partition: i32, offset: i64) {
        let next = self.0.entry(partition).or_insert(0);
        *next = (*next).max(offset + 1);
    }

    /// The next offset to read from `partition`, if that partition was ever read.
    #[must_use]
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// True when every position of `wanted` has been reached.
    #[must_use]
    pub fn covers(&self, wanted: &Positions) -> bool {
        wanted
            .0
            .iter()
            .all(|(partition, next)| self.0.get(partition).is_some_and(|have| have >= next))
    }
}

/// A decoded, labelled example. Values are as the record gave them; encoding comes later, because it
/// depends on the state of the learner.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// One value a feature of the schema, in its order: a number; for a categorical feature the bucket
    /// of its hashed value; `NaN` = missing.
    pub row: Box<[f32]>,
    /// Index of the class, in order of first appearance (or of the `classes` setting).
    pub class: u32,
    /// Multiplies the loss outside the exponent; 1 when the record has none.
    pub weight: f32,
    /// The record's own id, if the schema names one.
    pub id: Option<Box<str>>,
    /// Number of its sender: 0 where senders are not told apart, or this one is not named.
    pub sender: u64,
    /// Log time: seconds since the epoch, if the schema names a timestamp and the record has one.
    pub time: Option<f64>,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A labelled example.
    Example {
        /// The example.
        example: Example,
        /// Its label, when this record is the first of its class.
        new_class: Option<Arc<str>>,
        /// Top-level fields that the schema does not know.
        unknown_fields: u32,
    },
    /// No label, or `null`: counted, not learned.
    Unlabelled,
    /// Not an example; goes to the dead letters with its bytes.
    Rejected {
        /// Why.
        reject: crate::codec::Reject,
        /// The record as it arrived.
        record: Record,
    },
}

/// A record after decoding, with the place it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// What it turned out to be.
    pub outcome: Outcome,
}

/// A prediction for one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the most probable class.
    pub class: usize,
    /// Index of the class that the rule of the settings decides for.
    pub decision: usize,
    /// One probability a known class, in class order; they sum to 1.
    pub probabilities: Vec<f32>,
}

/// A bound that can be switched off: `"off"` or a number in a settings file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// No bound.
    Off,
    /// The bound.
    At(f64),
}

impl Limit {
    /// The bound, or `None` when it is off.
    #[must_use]
    pub fn get(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::At(bound) => Some(bound),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::At(bound) if bound.fract() == 0.0 && bound.abs() < 1e15 => {
                serializer.serialize_i64(*bound as i64)
            }
            Self::At(bound) => serializer.serialize_f64(*bound),
        }
    }
}

/// What a settings file may hold where a number or a word is allowed.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Integer(i64),
    Number(f64),
    Word(String),
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrWord::deserialize(deserializer) {
            Ok(NumberOrWord::Integer(bound)) => Ok(Self::At(bound as f64)),
            Ok(NumberOrWord::Number(bound)) if !bound.is_nan() => Ok(Self::At(bound)),
            Ok(NumberOrWord::Word(word)) if word == "off" => Ok(Self::Off),
            _ => Err(serde::de::Error::custom("expected a number or \"off\"")),
        }
    }
}

/// The temperature λ of the weights: a number other than 0, or `"inf"` (plain SGD).
///
/// Negative values favour easy examples (for noisy labels).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lambda(pub f64);

impl Serialize for Lambda {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_infinite() {
            serializer.serialize_str("inf")
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Lambda {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lambda = match NumberOrWord::deserialize(deserializer) {
            Ok(NumberOrWord::Integer(number)) => number as f64,
            Ok(NumberOrWord::Number(number)) => number,
            Ok(NumberOrWord::Word(word)) if word == "inf" => f64::INFINITY,
            _ => f64::NAN,
        };
        if lambda.is_nan() || lambda == 0.0 {
            return Err(serde::de::Error::custom(
                "expected a number other than 0, or \"inf\"",
            ));
        }
        Ok(Self(lambda.abs().copysign(if lambda.is_infinite() {
            1.0
        } else {
            lambda
        })))
    }
}
