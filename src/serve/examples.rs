//! `POST /v1/examples`: records into the embedded log, answered once they are durable. `GET`: its bounds.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::guard::Gate;
use super::media::brings_lines;
use super::problem::{Code, Problem};
use super::{App, Ingest, IngestError};

/// What an ingest request did.
#[derive(Serialize)]
pub struct Accepted {
    accepted: usize,
    first_offset: i64,
    next_offset: i64,
}

/// What the log holds.
#[derive(Serialize)]
pub struct Bounds {
    first_offset: i64,
    next_offset: i64,
}

pub async fn append(
    State(gate): State<Arc<Gate>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, Problem> {
    let app = &gate.app;
    let ingest = log(app)?;
    refuse_while_halted(app)?;
    let limit = app.settings.max_ingest_records;
    let records = if brings_lines(&headers) {
        lines(&body, limit)?
    } else {
        elements(&body, limit)?
    };
    if records.is_empty() {
        return Err(Problem::new(Code::EmptyRequest, "send at least one record"));
    }
    let accepted = records.len();
    let (first_offset, next_offset) = ingest.append(records).await.map_err(refused)?;
    Ok(Json(Accepted {
        accepted,
        first_offset,
        next_offset,
    }))
}

pub async fn bounds(State(gate): State<Arc<Gate>>) -> Result<Json<Bounds>, Problem> {
    let (first_offset, next_offset) = log(&gate.app)?.bounds().map_err(refused)?;
    Ok(Json(Bounds {
        first_offset,
        next_offset,
    }))
}

fn log(app: &App) -> Result<&Arc<dyn Ingest>, Problem> {
    app.ingest.as_ref().ok_or_else(|| {
        Problem::new(
            Code::WrongSource,
            "the source of this daemon is not its embedded stream: produce to the topic instead",
        )
    })
}

/// What cannot be learned is not taken: the sender still has it, and may send it where it can.
fn refuse_while_halted(app: &App) -> Result<(), Problem> {
    if app.status.load().source.state != "halted" {
        return Ok(());
    }
    Err(Problem::new(
        Code::SourceHalted,
        "no record was stored: training has halted until an operator acts (GET /v1/model: source.detail says why), so keep \
         the records and send them again later",
    ))
}

fn refused(error: IngestError) -> Problem {
    match error {
        IngestError::Full => Problem::new(
            Code::StorageFull,
            "no record was stored: make room on the daemon's disk, or raise its quota",
        ),
        IngestError::Busy => Problem::new(
            Code::Busy,
            "no record was stored: the log writes as fast as it can, send them again later",
        ),
        IngestError::Io(error) => {
            tracing::error!(%error, "the embedded log failed");
            Problem::new(
                Code::StorageFailed,
                "the embedded log failed: the daemon's log says more",
            )
        }
    }
}

/// One record a line; empty lines are skipped. The bytes of a record are stored as they came.
fn lines(body: &Bytes, limit: usize) -> Result<Vec<Bytes>, Problem> {
    let mut records = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let rest = &body[start..];
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |at| at);
        let line = rest[..end].trim_ascii();
        if !line.is_empty() {
            room(records.len(), limit)?;
            records.push(body.slice_ref(line));
        }
        start += end + 1;
    }
    Ok(records)
}

/// One record an element of the array.
fn elements(body: &Bytes, limit: usize) -> Result<Vec<Bytes>, Problem> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!(
                "{error}: expected an array of records; for a record a line send application/x-ndjson"
            ),
        )
    })?;
    room(elements.len().saturating_sub(1), limit)?;
    Ok(elements
        .into_iter()
        .map(|element| body.slice_ref(element.get().as_bytes()))
        .collect())
}

/// Room for one more record beside `have`.
fn room(have: usize, limit: usize) -> Result<(), Problem> {
    if have < limit {
        return Ok(());
    }
    Err(Problem::new(
        Code::TooManyRecords,
        format!("more than {limit} records: send them in several requests"),
    )
    .with("limit_records", serde_json::json!(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(records: &[Bytes]) -> Vec<&str> {
        records
            .iter()
            .map(|record| std::str::from_utf8(record).unwrap())
            .collect()
    }

    #[test]
    fn lines_keep_their_bytes_and_empty_ones_are_skipped() {
        let body = Bytes::from_static(b"{\"a\": 1}\r\n\n  \n{\"a\":  2}\nnot json");
        let records = lines(&body, 10).unwrap();
        assert_eq!(texts(&records), ["{\"a\": 1}", "{\"a\":  2}", "not json"]);
    }

    #[test]
    fn elements_keep_their_bytes() {
        let body = Bytes::from_static(b" [ {\"a\": 1e2 , \"a\":1}, 7 ,null] ");
        let records = elements(&body, 10).unwrap();
        assert_eq!(texts(&records), ["{\"a\": 1e2 , \"a\":1}", "7", "null"]);
    }

    #[test]
    fn what_is_not_an_array_is_refused_with_the_alternative() {
        for body in ["{}", "3", "[1,", "{\"a\":1}\n{\"a\":2}", ""] {
            let problem = elements(&Bytes::from_static(body.as_bytes()), 10).unwrap_err();
            assert_eq!(problem.code, Code::InvalidJson, "{body}");
            assert!(problem.detail.contains("x-ndjson"));
        }
    }

    #[test]
    fn the_limit_of_records_is_the_most_that_pass() {
        let body = Bytes::from_static(b"[1,2,3]");
        assert_eq!(elements(&body, 3).unwrap().len(), 3);
        assert_eq!(elements(&body, 2).unwrap_err().code, Code::TooManyRecords);
        let body = Bytes::from_static(b"1\n2\n3\n");
        assert_eq!(lines(&body, 3).unwrap().len(), 3);
        assert_eq!(lines(&body, 2).unwrap_err().code, Code::TooManyRecords);
    }
}
