//! What was found in one record so far, and where each value goes.

use std::borrow::Cow;

use super::plan::{Leaf, Plan, Target};
use super::reject::{Fault, Place, Reason, printable};
use super::schema::bucket;
use super::time::seconds;
use super::value::{Value, finite, is_missing, spells_non_finite};

/// Longest label, in bytes: it becomes a class name in every report and metric.
pub const MAX_LABEL_BYTES: usize = 256;
/// Ids are cut to so many bytes: they are kept to be looked up by a person.
const MAX_ID_BYTES: usize = 256;

/// Everything of a record but its row. The first fault wins; syntax errors end the decoding elsewhere.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The label; `None` = unlabelled.
    pub label: Option<Cow<'a, str>>,
    /// The record's own id.
    pub id: Option<Cow<'a, str>>,
    /// 1 when the record has none.
    pub weight: f32,
    /// Log time in seconds since the epoch, where it has one that can be read.
    pub time: Option<f64>,
    /// Fields that mean nothing to the plan.
    pub unknown: u32,
    /// The first fault.
    pub fault: Option<Fault>,
}

impl<'a> Found<'a> {
    pub fn new() -> Self {
        Self {
            label: None,
            id: None,
            weight: 1.0,
            time: None,
            unknown: 0,
            fault: None,
        }
    }

    /// Notes a fault, unless there is one already.
    #[cold]
    pub fn fail(&mut self, reason: Reason, place: Place, message: String) {
        self.fault.get_or_insert(Fault {
            reason,
            place,
            message,
        });
    }

    /// Puts a value where `leaf` says. `place` names the field in a fault.
    pub fn put(
        &mut self,
        plan: &Plan,
        row: &mut [f32],
        leaf: Leaf,
        value: Value<'a>,
        place: impl FnOnce() -> Place,
    ) {
        match leaf {
            Leaf::Skip => {}
            Leaf::Numeric(index) => match number(&value) {
                Ok(number) => row[index as usize] = number,
                Err(complaint) => self.no_number(plan, index, complaint, place),
            },
            Leaf::Categorical(index) => {
                let target = &plan.targets[index as usize];
                match category(&value, target, plan.category_buckets) {
                    Ok(bucket) => row[index as usize] = bucket,
                    Err((reason, message)) => self.fail(reason, place(), message),
                }
            }
            Leaf::Label => match label(value, &plan.odd_labels) {
                Ok(label) => self.label = label,
                Err((reason, message)) => self.fail(reason, place(), message),
            },
            Leaf::Id => self.id = id(value),
            Leaf::Time => self.time = seconds(&value),
            Leaf::Weight => match weight(&value, plan.max_weight) {
                Ok(weight) => self.weight = weight,
                Err((reason, message)) => self.fail(reason, place(), message),
            },
        }
    }

    /// What stands in a numeric feature is no number: a fault, unless the feature was never seen with any value.
    #[cold]
    pub fn no_number(
        &mut self,
        plan: &Plan,
        index: u32,
        (reason, message): Complaint,
        place: impl FnOnce() -> Place,
    ) {
        // The row says "missing" where nothing is written.
        if !plan.targets[index as usize].is_open {
            self.fail(reason, place(), message);
        }
    }
}

pub(super) type Complaint = (Reason, String);

/// The value of a numeric feature; NaN = missing.
fn number(value: &Value<'_>) -> Result<f32, Complaint> {
    match value {
        Value::Null => Ok(f32::NAN),
        Value::Number(literal) => finite(literal).ok_or_else(|| too_big(literal)),
        Value::Text(text) if is_missing(text) => Ok(f32::NAN),
        Value::Text(text) => Err(not_a_number(text)),
        Value::Bool(value) => Err(bool_as_number(*value)),
        Value::Nested => Err(nested_as_feature()),
    }
}

#[cold]
pub(super) fn too_big(literal: &str) -> Complaint {
    let literal = printable(literal);
    (
        Reason::NonFinite,
        format!("{literal} does not fit a 32-bit float; send a smaller number or null"),
    )
}

#[cold]
pub(super) fn not_a_number(text: &str) -> Complaint {
    let shown = printable(text);
    if spells_non_finite(text) {
        let message =
            format!("\"{shown}\" is not a finite number; send null when there is no value");
        return (Reason::NonFinite, message);
    }
    (
        Reason::FeatureType,
        format!(
            "text \"{shown}\" in a numeric feature; send a number, or list the feature in schema.ignore (in schema.categorical for a new data_dir)"
        ),
    )
}

#[cold]
pub(super) fn bool_as_number(value: bool) -> Complaint {
    (
        Reason::FeatureType,
        format!(
            "{value} in a numeric feature; send a number, or list the feature in schema.ignore (in schema.categorical for a new data_dir)"
        ),
    )
}

#[cold]
pub(super) fn nested_as_feature() -> Complaint {
    (
        Reason::FeatureType,
        "an array or object as a feature; send a number, text or bool, or name its parts by dotted paths".to_owned(),
    )
}

/// The bucket of a categorical feature; NaN = missing. A number or bool counts as its text.
fn category(value: &Value<'_>, target: &Target, buckets: usize) -> Result<f32, Complaint> {
    let text = match value {
        Value::Null => return Ok(f32::NAN),
        Value::Text(text) if is_missing(text) => return Ok(f32::NAN),
        Value::Text(text) => text.as_ref(),
        Value::Number(literal) => literal,
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Nested => return Err(nested_as_feature()),
    };
    Ok(bucket(text, target.seed, buckets))
}

/// The label; `None` = unlabelled: null, or an empty text or `NA` that is not a listed class.
fn label<'a>(value: Value<'a>, odd: &[Box<str>]) -> Result<Option<Cow<'a, str>>, Complaint> {
    let wrong = |what: &str| {
        (
            Reason::LabelType,
            format!("{what} as a label; send a text or an integer"),
        )
    };
    let text = match value {
        Value::Null => return Ok(None),
        Value::Text(text) => {
            if is_missing(&text) && !odd.iter().any(|class| **class == *text) {
                return Ok(None);
            }
            text
        }
        Value::Number(literal) if literal.contains(['.', 'e', 'E']) => {
            return Err(wrong(&printable(literal)));
        }
        Value::Number(literal) => Cow::Borrowed(literal),
        Value::Bool(value) => return Err(wrong(if value { "true" } else { "false" })),
        Value::Nested => return Err(wrong("an array or object")),
    };
    if text.len() > MAX_LABEL_BYTES {
        let length = text.len();
        let message = format!("a label of {length} bytes; at most {MAX_LABEL_BYTES} are possible");
        return Err((Reason::LabelType, message));
    }
    Ok(Some(text))
}

/// The id as text, cut to a length a person can read; arrays and objects are none.
fn id(value: Value<'_>) -> Option<Cow<'_, str>> {
    let text = match value {
        Value::Null | Value::Nested => return None,
        Value::Text(text) if text.is_empty() => return None,
        Value::Text(text) => text,
        Value::Number(literal) => Cow::Borrowed(literal),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
    };
    if text.len() <= MAX_ID_BYTES {
        return Some(text);
    }
    let end = text.floor_char_boundary(MAX_ID_BYTES);
    Some(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(text) => Cow::Owned(text[..end].to_owned()),
    })
}

fn weight(value: &Value<'_>, most: f32) -> Result<f32, Complaint> {
    let wrong = |what: &str| {
        (
            Reason::Weight,
            format!("{what} as a weight; send a finite number >= 0"),
        )
    };
    match value {
        Value::Null => Ok(1.0),
        Value::Text(text) if is_missing(text) => Ok(1.0),
        Value::Number(literal) => match finite(literal) {
            // `+ 0.0` turns -0 into 0.
            Some(weight) if (0.0..=most).contains(&weight) => Ok(weight + 0.0),
            Some(weight) if weight > most => Err((
                Reason::Weight,
                format!(
                    "{} as a weight; at most {most} is taken (schema.max_weight)",
                    printable(literal)
                ),
            )),
            _ => Err(wrong(&printable(literal))),
        },
        Value::Text(text) => Err(wrong(&format!("text \"{}\"", printable(text)))),
        Value::Bool(value) => Err(wrong(if *value { "true" } else { "false" })),
        Value::Nested => Err(wrong("an array or object")),
    }
}
