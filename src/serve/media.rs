//! What a request says that it brings.

use axum::http::{HeaderMap, header};

use super::problem::{Code, Problem};
use super::routes::Load;

/// Requests that change or ask something must say what they bring: a form that another web page submits
/// cannot.
pub fn content_type(load: Load, headers: &HeaderMap) -> Result<(), Problem> {
    let essence = essence(headers);
    let (fits, expected) = match load {
        Load::Probe | Load::Read | Load::Stream => return Ok(()),
        Load::Json => (is_json(essence), "application/json"),
        Load::Tensors => (
            essence.is_empty()
                || is_json(essence)
                || essence.eq_ignore_ascii_case("application/octet-stream"),
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
