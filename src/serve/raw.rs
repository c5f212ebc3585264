//! Rows and probabilities as little-endian f32, for callers that want to write and read no text.
//!
//! A body holds rows one after the other, each a number a feature in the order of the schema; NaN is a missing value. An
//! answer holds, row after row, a probability a class in the order of `classes` in `/v1/model`.

use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, request};
use axum::response::{IntoResponse, Response};

use super::Model;
use super::media::{BYTES, brings_bytes, wants_bytes};
use super::problem::{Code, Problem};
use super::v2_tensors::Input;
use crate::codec::Reason;
use crate::example::Prediction;

const NUMBER: usize = size_of::<f32>();
const VERSION: HeaderName = HeaderName::from_static("skewd-model-version");
const EPOCH: HeaderName = HeaderName::from_static("skewd-model-epoch");

/// In which form the body of a predict request comes, and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    pub brings_bytes: bool,
    pub wants_bytes: bool,
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Forms {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self {
            brings_bytes: brings_bytes(&parts.headers),
            wants_bytes: wants_bytes(&parts.headers),
        })
    }
}

/// How many rows a body holds, before any of it is looked at.
pub fn count(model: &dyn Model, body: &[u8]) -> Result<usize, Problem> {
    let features = model.features();
    if let Some((name, _)) = features.iter().find(|(_, numeric)| !numeric) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "the feature {name} is a category, and rows of f32 hold numbers only: send JSON"
            ),
        ));
    }
    let width = features.len() * NUMBER;
    if width == 0 || !body.len().is_multiple_of(width) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "{} bytes are no whole number of rows: a row is {} features of {NUMBER} bytes, {width} in all",
                body.len(),
                features.len()
            ),
        )
        .with("features", serde_json::json!(features.len())));
    }
    Ok(body.len() / width)
}

/// The rows of a body that holds so many.
pub fn rows(body: &[u8], count: usize) -> Result<Vec<Box<[f32]>>, Problem> {
    let width = body.len() / count.max(1);
    let rows = body.chunks_exact(width.max(1)).enumerate();
    rows.map(|(index, bytes)| {
        let row = numbers(bytes);
        match row.iter().position(|value| value.is_infinite()) {
            None => Ok(row),
            Some(place) => {
                let at = format!("rows[{index}][{place}]");
                Err(Problem::new(
                    Code::InvalidRow,
                    format!(
                        "{at}: {} is not a finite number; a missing value is NaN",
                        row[place]
                    ),
                )
                .at(at)
                .with("reason", serde_json::json!(Reason::NonFinite.as_str())))
            }
        }
    })
    .collect()
}

/// The rows of a V2 request that is one FP32 tensor behind the JSON, over all features, all of them numbers and finite.
/// `None` for any other, which goes the long way and has its faults named there.
pub fn rows_of_tensor(
    inputs: &[Input<'_>],
    tail: &[u8],
    features: &[(&str, bool)],
    check_rows: impl Fn(usize) -> Result<(), Problem>,
) -> Result<Option<Vec<Box<[f32]>>>, Problem> {
    let [input] = inputs else { return Ok(None) };
    let [rows, columns] = *input.shape else {
        return Ok(None);
    };
    let size = rows
        .checked_mul(columns)
        .and_then(|all| all.checked_mul(NUMBER as u64));
    let usual = input.datatype == "FP32"
        && input.parameters.binary_data_size == Some(tail.len())
        && size == Some(tail.len() as u64)
        && columns == features.len() as u64
        && columns > 0
        && features.iter().all(|(_, numeric)| *numeric);
    if !usual {
        return Ok(None);
    }
    check_rows(tail.len() / NUMBER / features.len())?;
    let rows: Vec<Box<[f32]>> = tail
        .chunks_exact(features.len() * NUMBER)
        .map(numbers)
        .collect();
    let finite = rows.iter().flatten().all(|value| value.is_finite());
    Ok(finite.then_some(rows))
}

fn numbers(bytes: &[u8]) -> Box<[f32]> {
    let (numbers, _) = bytes.as_chunks::<NUMBER>();
    numbers.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
}

/// Probabilities, and which model gave them.
pub fn answer(model: &dyn Model, predictions: &[Prediction]) -> Response {
    let bytes: Vec<u8> = predictions
        .iter()
        .flat_map(|one| &one.probabilities)
        .flat_map(|p| p.to_le_bytes())
        .collect();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(BYTES)),
        (VERSION, HeaderValue::from(model.version())),
        (EPOCH, HeaderValue::from(model.epoch())),
    ];
    (headers, bytes).into_response()
}
