//! What a request says that it brings, and what it wants.

use axum::http::{HeaderMap, header};

use super::problem::{Code, Problem};
use super::routes::Load;

/// The media type of numbers that are no text.
pub const BYTES: &str = "application/octet-stream";

/// Requests that change or ask something must say what they bring: a form that another web page submits
/// cannot.
pub fn content_type(load: Load, headers: &HeaderMap) -> Result<(), Problem> {
    if !matches!(load, Load::Probe | Load::Read | Load::Stream) {
        content_encoding(headers)?;
    }
    let essence = essence(headers);
    let (fits, expected) = match load {
        Load::Probe | Load::Read | Load::Stream => return Ok(()),
        Load::Json => (is_json(essence), "application/json"),
        Load::Rows => (
            is_json(essence) || essence.eq_ignore_ascii_case(BYTES),
            "application/json, or application/octet-stream (rows of little-endian f32)",
        ),
        Load::Tensors => (
            essence.is_empty() || is_json(essence) || essence.eq_ignore_ascii_case(BYTES),
            "application/json",
        ),
        Load::Records => (
            is_json(essence) || is_ndjson(essence),
            "application/json (an array) or application/x-ndjson (a record a line)",
        ),
    };
    if fits {
        Ok(())
    } else {
        Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("set the header Content-Type to {expected}"),
        ))
    }
}

/// A compressed body read as it is would be a few bad records, and the records in it lost to who sent them.
fn content_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let encodings = value.to_str().unwrap_or("?").split(',').map(str::trim);
        let mut others =
            encodings.filter(|one| !one.is_empty() && !one.eq_ignore_ascii_case("identity"));
        if others.next().is_some() {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "send the body as it is, without Content-Encoding: compressed ones are not taken",
            ));
        }
    }
    Ok(())
}

/// The media type without its parameters; empty when there is none.
fn essence(headers: &HeaderMap) -> &str {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim)
}

fn is_json(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn is_ndjson(essence: &str) -> bool {
    [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
    ]
    .iter()
    .any(|known| essence.eq_ignore_ascii_case(known))
}

/// True when the body is NDJSON by its content type.
pub fn brings_lines(headers: &HeaderMap) -> bool {
    is_ndjson(essence(headers))
}

/// True when the body is bytes by its content type.
pub fn brings_bytes(headers: &HeaderMap) -> bool {
    essence(headers).eq_ignore_ascii_case(BYTES)
}

/// True when the answer is wanted as bytes: by name, and no less than as JSON. `*/*` means JSON.
pub fn wants_bytes(headers: &HeaderMap) -> bool {
    let (mut bytes, mut json) = (0.0, 0.0);
    for value in headers.get_all(header::ACCEPT) {
        for wanted in value.to_str().unwrap_or_default().split(',') {
            let mut parts = wanted.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default();
            let quality = parts
                .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
                .map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            if essence.eq_ignore_ascii_case(BYTES) {
                bytes = quality;
            } else if is_json(essence) {
                json = quality;
            }
        }
    }
    bytes > 0.0 && bytes >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_answered_to_who_names_them_and_prefers_nothing_else() {
        for (accept, expected) in [
            ("application/octet-stream", true),
            ("Application/Octet-Stream", true),
            ("application/json, application/octet-stream", true),
            ("application/octet-stream;q=0.5, */*;q=0.1", true),
            ("application/json, application/octet-stream;q=0.5", false),
            ("application/octet-stream;q=0", false),
            ("application/octet-stream; q=x", false),
            ("*/*", false),
            ("application/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_bytes(&headers), expected, "{accept}");
        }
        assert!(!wants_bytes(&HeaderMap::new()));
    }
}
