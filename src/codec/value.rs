//! One value of a record, whatever the format: JSON and CSV mean the same by it.

use std::borrow::Cow;

/// A value as written. Numbers keep their literal, so that labels and categories lose nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// JSON `null`, an empty CSV field.
    Null,
    /// The literal of a JSON number.
    Number(&'a str),
    /// A text.
    Text(Cow<'a, str>),
    /// JSON `true` or `false`.
    Bool(bool),
    /// An array or an object.
    Nested,
}

impl<'a> Value<'a> {
    /// The value of valid JSON without white space around it.
    ///
    /// # Errors
    /// When a text holds an escape that is no character (a lone surrogate).
    pub fn of_json(raw: &'a str) -> Result<Self, serde_json::Error> {
        Ok(match raw.as_bytes().first() {
            Some(b'"') => Self::Text(text_of_json(raw)?),
            Some(b'n') | None => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'[' | b'{') => Self::Nested,
            Some(_) => Self::Number(raw),
        })
    }

    /// The value of an unquoted CSV field: what `produce` would write as JSON.
    pub fn of_csv(field: &'a str) -> Self {
        if field.is_empty() {
            Self::Null
        } else if looks_like_number(field) {
            Self::Number(field)
        } else {
            Self::Text(Cow::Borrowed(field))
        }
    }
}

fn text_of_json(raw: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    if raw.contains('\\') {
        return serde_json::from_str(raw).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(&raw[1..raw.len() - 1]))
}

/// True for exactly the number literals of JSON (RFC 8259 section 6): what a CSV field must look like to be a
/// number, in a file and when it is produced as JSON.
///
/// ```
/// use skewd::codec::looks_like_number;
/// assert!(["0", "-1", "12.50", "1e9", "-0.0E-7"].iter().all(|t| looks_like_number(t)));
/// assert!(!["", "+1", ".5", "1.", "007", "0x1", "1 ", "NaN", "inf"].iter().any(|t| looks_like_number(t)));
/// ```
#[must_use]
pub fn looks_like_number(text: &str) -> bool {
    fn digits(bytes: &[u8]) -> usize {
        bytes.iter().take_while(|b| b.is_ascii_digit()).count()
    }
    let mut rest = text.as_bytes();
    rest = rest.strip_prefix(b"-").unwrap_or(rest);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent
            .strip_prefix(b"+")
            .or_else(|| exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        let length = digits(exponent);
        return length > 0 && length == exponent.len();
    }
    rest.is_empty()
}

/// The texts that mean "no value".
pub(super) fn is_missing(text: &str) -> bool {
    text.is_empty() || text == "NA"
}

/// Texts with which programs write what is no finite number.
pub(super) fn spells_non_finite(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|word| bare.eq_ignore_ascii_case(word))
}

/// A number literal as a feature: rounded to f64, then to f32; `None` when that is not finite.
pub(super) fn finite(literal: &str) -> Option<f32> {
    let value = literal.parse::<f64>().ok()? as f32;
    value.is_finite().then_some(value)
}
