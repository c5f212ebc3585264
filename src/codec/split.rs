//! A request body -> its records, as byte ranges: every record is kept exactly as it was sent.

use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The byte ranges of the elements of a JSON array. Each is valid JSON; whether it is a record is not asked.
///
/// # Errors
/// When the body is not one JSON array, with the place.
///
/// ```
/// use skewd::codec::split_json_array;
/// let body = br#"[ {"a": 1.0} , [2],3 ]"#;
/// let parts: Vec<&[u8]> = split_json_array(body).unwrap().into_iter().map(|r| &body[r]).collect();
/// assert_eq!(parts, [&br#"{"a": 1.0}"#[..], b"[2]", b"3"]);
/// assert!(split_json_array(b"{}").is_err());
/// ```
pub fn split_json_array(body: &[u8]) -> Result<Vec<Range<usize>>, String> {
    struct Elements(usize);
    impl<'a> Visitor<'a> for Elements {
        type Value = Vec<Range<usize>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON array of records")
        }

        fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut ranges = Vec::new();
            while let Some(raw) = seq.next_element::<&'a RawValue>()? {
                let start = raw.get().as_ptr().addr() - self.0;
                ranges.push(start..start + raw.get().len());
            }
            Ok(ranges)
        }
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("not UTF-8 from byte {}; send UTF-8", error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let ranges = deserializer
        .deserialize_seq(Elements(text.as_ptr().addr()))
        .and_then(|ranges| deserializer.end().map(|()| ranges));
    ranges.map_err(|error| format!("not a JSON array of records: {error}"))
}

/// The byte ranges of the lines that hold anything, without their line ends (`\n` or `\r\n`).
///
/// ```
/// use skewd::codec::split_lines;
/// let body = b"{\"a\":1}\r\n\n  \nnot json";
/// let lines: Vec<&[u8]> = split_lines(body).into_iter().map(|r| &body[r]).collect();
/// assert_eq!(lines, [&b"{\"a\":1}"[..], b"not json"]);
/// ```
#[must_use]
pub fn split_lines(body: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut ranges = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let content = line.strip_suffix(b"\r").unwrap_or(line);
        if !content.iter().all(|byte| b" \t\r".contains(byte)) {
            ranges.push(start..start + content.len());
        }
        start += line.len() + 1;
    }
    ranges
}
