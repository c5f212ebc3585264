//! Single JSON values inside the stream: a number of the row, or something only to be checked.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::found::{bool_as_number, nested_as_feature, not_a_number, too_big};
use super::reject::{Fault, Reason};
use super::value::is_missing;

/// Arrays and objects may be nested so deep, the record itself included.
const MAX_DEPTH: usize = 128;

/// A numeric feature: NaN = missing, or why it is none.
pub(super) type Cell = Result<f32, (Reason, String)>;

/// Reads a [`Cell`]. A value of the wrong type is no error of the document: the rest is still read.
pub(super) struct Number;

impl<'a> DeserializeSeed<'a> for Number {
    type Value = Cell;

    #[inline]
    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Number {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    #[inline]
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Cell, E> {
        let number = value as f32;
        if number.is_finite() {
            return Ok(Ok(number));
        }
        Ok(Err(too_big(&format!("{value:e}"))))
    }

    // Through f64, as a literal in a CSV field goes.
    #[inline]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Cell, E> {
        Ok(Ok(value as f64 as f32))
    }

    #[inline]
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Cell, E> {
        Ok(Ok(value as f64 as f32))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Cell, E> {
        Ok(Ok(f32::NAN))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cell, E> {
        Ok(if is_missing(text) {
            Ok(f32::NAN)
        } else {
            Err(not_a_number(text))
        })
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Cell, E> {
        Ok(Err(bool_as_number(value)))
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<Cell, S::Error> {
        while seq.next_element_seed(Skip)?.is_some() {}
        Ok(Err(nested_as_feature()))
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Cell, M::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Skip)?;
        }
        Ok(Err(nested_as_feature()))
    }
}

/// Passes over a value that nobody wants: only its syntax is checked, without recursion.
pub(super) struct Skip;

impl<'a> DeserializeSeed<'a> for Skip {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        <&RawValue as serde::Deserialize>::deserialize(deserializer).map(drop)
    }
}

/// Refuses a text whose arrays and objects are nested too deep, wherever in it that is. No stack is at risk
/// (skipped values are read without recursion); the limit is there so that the verdict on a record does not
/// depend on which of its fields the schema knows.
///
/// A text that is no JSON may pass or not: it is refused for its syntax in either case.
pub(super) fn shallow(text: &str) -> Result<(), Fault> {
    // Nearly every record is too short or has too few brackets to be deep, and counting is much faster than
    // reading. Each level needs two bytes; `[` and `{` differ in one bit; u8 sums of at most 128 become vectors.
    let opening = |chunk: &[u8]| -> u8 { chunk.iter().map(|b| u8::from(b | 0x20 == b'{')).sum() };
    let openings = || -> usize {
        let chunks = text.as_bytes().chunks(128);
        chunks.map(|chunk| usize::from(opening(chunk))).sum()
    };
    if text.len() < 2 * (MAX_DEPTH + 1) || openings() <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let message = format!("not valid: nested deeper than {MAX_DEPTH} levels");
            return Err(Fault::whole(Reason::Syntax, message));
        }
    }
    Ok(())
}

/// A name that the object in `text` holds twice, to be named in a message.
pub(super) fn twice(text: &str) -> Option<String> {
    struct Names;
    impl<'a> Visitor<'a> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let (mut names, mut double) = (HashSet::new(), None);
            while let Some(name) = map.next_key::<String>()? {
                map.next_value_seed(Skip)?;
                if double.is_none() && !names.insert(name.clone()) {
                    double = Some(name);
                }
            }
            Ok(double)
        }
    }
    use serde::Deserializer as _;
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Names)
        .ok()?
}
