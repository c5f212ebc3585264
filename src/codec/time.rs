//! Log time: what a record says about when it happened.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::value::{Value, looks_like_number};

/// From these sizes on a number counts milliseconds, microseconds, nanoseconds since the epoch; below the first, seconds.
/// As seconds, 10^11 is the year 5138; as milliseconds, 1973.
const UNITS: [(f64, f64); 3] = [(1e17, 1e9), (1e14, 1e6), (1e11, 1e3)];

/// Seconds since the epoch. A number is seconds, milliseconds, microseconds or nanoseconds, told apart by its size; a text
/// is such a number or an RFC 3339 time; a time without an offset counts as UTC. Anything else is no time: a record is
/// not bad for it, because nothing but the pace of alerts goes by it.
pub(super) fn seconds(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Number(literal) => of_number(literal),
        Value::Text(text) if looks_like_number(text) => of_number(text),
        Value::Text(text) => of_text(text),
        Value::Null | Value::Bool(_) | Value::Nested => None,
    }
}

fn of_number(literal: &str) -> Option<f64> {
    let number: f64 = literal.parse().ok()?;
    let unit = UNITS.iter().find(|(from, _)| number.abs() >= *from);
    let seconds = number / unit.map_or(1.0, |(_, divisor)| *divisor);
    seconds.is_finite().then_some(seconds)
}

fn of_text(text: &str) -> Option<f64> {
    let timestamp = text.parse::<Timestamp>().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()
    })?;
    Some(timestamp.as_second() as f64 + f64::from(timestamp.subsec_nanosecond()) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<f64> {
        seconds(&Value::of_json(text).unwrap())
    }

    #[test]
    fn a_number_tells_its_unit_by_its_size() {
        for text in [
            "1700000000.5",
            "1700000000500",
            "1700000000500000",
            "\"1700000000500\"",
        ] {
            assert_eq!(of(text), Some(1_700_000_000.5), "{text}");
        }
        assert_eq!(of("1700000000500000000"), Some(1_700_000_000.5));
        assert_eq!(of("0"), Some(0.0));
        assert_eq!(of("-3600"), Some(-3600.0));
        assert_eq!(of("1e400"), None);
    }

    #[test]
    fn a_text_is_a_time_with_or_without_an_offset() {
        for text in [
            "2023-11-14T22:13:20.5Z",
            "2023-11-14T23:13:20.5+01:00",
            "2023-11-14T22:13:20.5",
            "2023-11-14 22:13:20.5",
        ] {
            assert_eq!(of(&format!("\"{text}\"")), Some(1_700_000_000.5), "{text}");
        }
        assert_eq!(of("\"2023-11-14\""), Some(1_699_920_000.0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "null",
            "true",
            "[1]",
            "\"\"",
            "\"yesterday\"",
            "\"2023-13-01\"",
            "\"NaN\"",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
