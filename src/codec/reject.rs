//! Every way in which a record can be bad, as a closed set with stable names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a record is not an example. The names are part of the metrics, of reports and of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not JSON (or not CSV): bad syntax, bad UTF-8, byte order mark, trailing bytes, duplicate keys, nested too deep.
    Syntax,
    /// A payload without content.
    Empty,
    /// No payload at all (a Kafka tombstone).
    Tombstone,
    /// More bytes than `max_record_bytes`; nothing was parsed.
    TooLarge,
    /// Valid JSON, but not an object (in a prediction: neither an array nor an object).
    NotAnObject,
    /// Another number of features or CSV fields than the schema or the header has.
    Dimension,
    /// A text or bool in a numeric feature, or an array or object as a feature.
    FeatureType,
    /// A number that f32 cannot hold, or a text that spells NaN or infinity in a numeric feature.
    NonFinite,
    /// A label that is neither a text nor an integer.
    LabelType,
    /// A label outside `classes`, or one more than `max_classes`.
    LabelUnknown,
    /// A weight that is not a finite number >= 0.
    Weight,
    /// The decoder panicked on this record: a bug, but one that costs a single record.
    DecoderPanic,
    /// An example that no sound model gives a finite loss and gradient: it was left out of its batch.
    Exploding,
}

impl Reason {
    /// Every reason, in the order of declaration: `reason as usize` is its place here.
    pub const ALL: [Self; 13] = [
        Self::Syntax,
        Self::Empty,
        Self::Tombstone,
        Self::TooLarge,
        Self::NotAnObject,
        Self::Dimension,
        Self::FeatureType,
        Self::NonFinite,
        Self::LabelType,
        Self::LabelUnknown,
        Self::Weight,
        Self::DecoderPanic,
        Self::Exploding,
    ];

    /// The stable name.
    ///
    /// ```
    /// use skewd::codec::Reason;
    /// assert_eq!(Reason::TooLarge.as_str(), "too_large");
    /// assert_eq!(Reason::ALL.len(), 13);
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Empty => "empty",
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::NotAnObject => "not_an_object",
            Self::Dimension => "dimension",
            Self::FeatureType => "feature_type",
            Self::NonFinite => "non_finite",
            Self::LabelType => "label_type",
            Self::LabelUnknown => "label_unknown",
            Self::Weight => "weight",
            Self::DecoderPanic => "decoder_panic",
            Self::Exploding => "exploding",
        }
    }

    /// Whether a record with this fault is worth a dead letter: a tombstone holds nothing that could be repaired,
    /// and is no mistake where topics are compacted.
    ///
    /// ```
    /// use skewd::codec::Reason;
    /// let kept: Vec<_> = Reason::ALL.into_iter().filter(|reason| !reason.is_dead_letter()).collect();
    /// assert_eq!(kept, [Reason::Tombstone]);
    /// ```
    #[must_use]
    pub const fn is_dead_letter(self) -> bool {
        !matches!(self, Self::Tombstone)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A bad record: the reason, and what a person needs to repair it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// One of the closed set.
    pub reason: Reason,
    /// What was wrong and where, in words; printable and short whatever the record held.
    ///
    /// A row of a prediction gets a detail that continues the row's own name: `rows[3]` + `.amount: ...`,
    /// `rows[3]` + `[2]: ...`, `rows[3]` + `: ...`.
    pub detail: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Reject {}

/// Where in a record a fault sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The record as a whole.
    Whole,
    /// A field, by its dotted name.
    Field(String),
    /// An element of an array of features, and the feature's name.
    Element(usize, String),
}

/// A reject before it is known whether it belongs to a record or to a row of a prediction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: Reason,
    pub place: Place,
    pub message: String,
}

impl Fault {
    /// A fault of the record as a whole.
    pub fn whole(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            place: Place::Whole,
            message: message.into(),
        }
    }

    /// The fault as a record's reject.
    pub fn into_record_reject(self) -> Reject {
        let detail = match &self.place {
            Place::Whole => self.message,
            Place::Field(name) => format!("{}: {}", printable(name), self.message),
            Place::Element(index, name) => {
                format!("features[{index}] ({}): {}", printable(name), self.message)
            }
        };
        Reject {
            reason: self.reason,
            detail,
        }
    }

    /// The fault as the reject of one row of a prediction (see [`Reject::detail`]).
    pub fn into_row_reject(self) -> Reject {
        let detail = match &self.place {
            Place::Whole => format!(": {}", self.message),
            Place::Field(name) => format!(".{}: {}", printable(name), self.message),
            Place::Element(index, name) => {
                format!("[{index}]: {} (feature {})", self.message, printable(name))
            }
        };
        Reject {
            reason: self.reason,
            detail,
        }
    }
}

/// Text from a record as it may stand in a message: control characters escaped, at most 60 characters.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
