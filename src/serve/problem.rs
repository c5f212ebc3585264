//! Every error that a client sees: RFC 9457 `application/problem+json`, with the member `error` that clients
//! of the Open Inference Protocol read, and a stable `code` that programs can match on.
//!
//! A detail names what was wrong with the request and what to do. It never carries a path of the file
//! system, a setting's value or the text of an internal error: those go to the log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The closed set of error codes; each has one status and one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each code is described by its title in `Code::parts`"
)]
pub enum Code {
    InvalidJson,
    InvalidRequest,
    InvalidRow,
    EmptyRequest,
    HostMissing,
    Unauthorized,
    Forbidden,
    HostNotAllowed,
    NotFound,
    UnknownModel,
    UnknownLearner,
    MethodNotAllowed,
    RequestTimeout,
    WrongSource,
    Conflict,
    MinOffsetNotReached,
    BodyTooLarge,
    TooManyRows,
    TooManyRecords,
    UnsupportedMediaType,
    Busy,
    TooManyFailures,
    Internal,
    NonFiniteOutput,
    PredictionFailed,
    StorageFailed,
    ModelNotReady,
    Draining,
    DeadlineExceeded,
    Unavailable,
    SourceHalted,
    StorageFull,
}

impl Code {
    /// Every code, for the documents that list them.
    pub const ALL: [Code; 32] = [
        Self::InvalidJson,
        Self::InvalidRequest,
        Self::InvalidRow,
        Self::EmptyRequest,
        Self::HostMissing,
        Self::Unauthorized,
        Self::Forbidden,
        Self::HostNotAllowed,
        Self::NotFound,
        Self::UnknownModel,
        Self::UnknownLearner,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::WrongSource,
        Self::Conflict,
        Self::MinOffsetNotReached,
        Self::BodyTooLarge,
        Self::TooManyRows,
        Self::TooManyRecords,
        Self::UnsupportedMediaType,
        Self::Busy,
        Self::TooManyFailures,
        Self::Internal,
        Self::NonFiniteOutput,
        Self::PredictionFailed,
        Self::StorageFailed,
        Self::ModelNotReady,
        Self::Draining,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::SourceHalted,
        Self::StorageFull,
    ];

    /// Status, stable name and title.
    #[must_use]
    pub fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidJson => (400, "invalid_json", "the body is not the JSON expected"),
            Self::InvalidRequest => (400, "invalid_request", "the request is not valid"),
            Self::InvalidRow => (400, "invalid_row", "a row does not fit the schema"),
            Self::EmptyRequest => (400, "empty_request", "the request holds nothing to do"),
            Self::HostMissing => (400, "host_missing", "the Host header is missing"),
            Self::Unauthorized => (401, "unauthorized", "a token is needed"),
            Self::Forbidden => (403, "forbidden", "this token may not do that"),
            Self::HostNotAllowed => (403, "host_not_allowed", "unknown Host"),
            Self::NotFound => (404, "not_found", "nothing is here"),
            Self::UnknownModel => (404, "unknown_model", "there is no such model"),
            Self::UnknownLearner => (404, "unknown_learner", "there is no such learner"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "not with this method"),
            Self::RequestTimeout => (408, "request_timeout", "the request came too slowly"),
            Self::WrongSource => (409, "wrong_source", "the source takes no records here"),
            Self::Conflict => (409, "conflict", "not in this state"),
            Self::MinOffsetNotReached => (
                412,
                "min_offset_not_reached",
                "the model has not learned that far",
            ),
            Self::BodyTooLarge => (413, "body_too_large", "the body is too large"),
            Self::TooManyRows => (413, "too_many_rows", "too many rows in one request"),
            Self::TooManyRecords => (413, "too_many_records", "too many records in one request"),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "not with this content type")
            }
            Self::Busy => (429, "busy", "too much work is queued"),
            Self::TooManyFailures => (429, "too_many_failures", "too many failed tokens"),
            Self::Internal => (500, "internal", "the daemon failed"),
            Self::NonFiniteOutput => (
                500,
                "non_finite_output",
                "the model's output is not a finite number",
            ),
            Self::PredictionFailed => (500, "prediction_failed", "the model failed"),
            Self::StorageFailed => (
                500,
                "storage_failed",
                "the log could not be written or read",
            ),
            Self::ModelNotReady => (503, "model_not_ready", "no model is served yet"),
            Self::Draining => (503, "draining", "the daemon is shutting down"),
            Self::DeadlineExceeded => (503, "deadline_exceeded", "the answer took too long"),
            Self::Unavailable => (503, "unavailable", "not available now"),
            Self::SourceHalted => (503, "source_halted", "training has halted"),
            Self::StorageFull => (507, "storage_full", "the log has no room left"),
        }
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.parts().1
    }
}

/// One error on its way to a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which error.
    pub code: Code,
    /// What was wrong, where, and what to do.
    pub detail: String,
    /// Path of the offending part of the request (`rows[3].amount`), where one is known.
    pub field: Option<String>,
    /// Further members, e.g. the positions of a 412.
    pub members: Map<String, Value>,
    /// More response headers.
    pub headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with its code and detail.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Names the part of the request that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (status, name, title) = self.code.parts();
        let mut body = json!({
            "type": format!("urn:skewd:problem:{name}"),
            "title": title,
            "status": status,
            "detail": self.detail,
            "error": self.detail,
            "code": name,
        });
        if let Value::Object(members) = &mut body {
            if let Some(field) = &self.field {
                members.insert("field".to_owned(), json!(field));
            }
            for (name, value) in &self.members {
                members.insert(name.clone(), value.clone());
            }
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, _, _) = self.code.parts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            self.to_json().to_string(),
        )
            .into_response();
        let headers = response.headers_mut();
        if matches!(status.as_u16(), 429 | 503) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"skewd\""),
            );
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_an_error_status() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let (status, _, title) = code.parts();
            assert!((400..600).contains(&status), "{code:?}");
            assert!(!title.is_empty());
        }
    }

    #[test]
    fn overload_and_unreadiness_say_when_to_come_back() {
        for code in Code::ALL {
            let response = Problem::new(code, "x").into_response();
            let status = response.status().as_u16();
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                status == 429 || status == 503,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_problem_carries_the_members_of_the_standard_and_its_own() {
        let body = Problem::new(Code::InvalidRow, "rows[3].amount: not a number")
            .at("rows[3].amount")
            .with("row", json!(3))
            .to_json();
        assert_eq!(body["type"], "urn:skewd:problem:invalid_row");
        assert_eq!(body["status"], 400);
        assert_eq!(body["detail"], body["error"]);
        assert_eq!(body["field"], "rows[3].amount");
        assert_eq!(body["row"], 3);
    }
}
