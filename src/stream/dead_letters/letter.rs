//! One dead letter as a line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::codec::Reject;
use crate::example::Record;
use crate::stream::connect_errors;

/// The letter with its line end.
pub(super) fn line(topic: &str, record: &Record, reject: &Reject) -> Vec<u8> {
    let mut letter = Map::new();
    letter.insert("topic".to_owned(), json!(topic));
    letter.insert("partition".to_owned(), json!(record.partition));
    letter.insert("offset".to_owned(), json!(record.offset));
    if let Some(timestamp) = record.timestamp_ms {
        letter.insert("timestamp_ms".to_owned(), json!(timestamp));
    }
    put(&mut letter, "key", record.key.as_deref());
    put(&mut letter, "value", record.payload.as_deref());
    let mut headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| header(name, value.as_deref()))
        .collect();
    let errors = connect_errors::headers(topic, record, reject.reason.as_str(), &reject.detail);
    headers.extend(
        errors
            .iter()
            .map(|(name, value)| header(name, Some(value.as_bytes()))),
    );
    letter.insert("headers".to_owned(), Value::Array(headers));
    let mut line = Value::Object(letter).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn header(name: &str, value: Option<&[u8]>) -> Value {
    let mut header = Map::new();
    header.insert("key".to_owned(), json!(name));
    put(&mut header, "value", value);
    Value::Object(header)
}

/// `name` as text, or `name_base64`; null where there are no bytes.
fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => object.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => {
            object.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes)))
        }
    };
}
