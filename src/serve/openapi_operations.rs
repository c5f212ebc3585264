//! What the OpenAPI document says about each route and the route table does not.

use super::problem::Code;

/// One operation: what the route table does not say about it.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    /// Schema of the answer; a media type with a `/` where it is not JSON.
    pub answer: &'static str,
    /// Errors besides those of every route of its kind.
    pub errors: &'static [Code],
}

const fn operation(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    errors: &'static [Code],
) -> Operation {
    Operation {
        method,
        path,
        summary,
        answer,
        errors,
    }
}

use Code::{
    Conflict, EmptyRequest, InvalidJson, InvalidRequest, InvalidRow, MinOffsetNotReached,
    ModelNotReady, NonFiniteOutput, NotFound, PredictionFailed, SourceHalted, StorageFailed,
    StorageFull, TooManyRecords, TooManyRows, Unavailable, UnknownLearner, UnknownModel,
    WrongSource,
};

const INFER: &[Code] = &[
    InvalidJson,
    InvalidRequest,
    InvalidRow,
    UnknownModel,
    TooManyRows,
    NonFiniteOutput,
    PredictionFailed,
    ModelNotReady,
];
const ORDER: &[Code] = &[Conflict, Unavailable];
const ROLLBACK: &[Code] = &[InvalidJson, InvalidRequest, Conflict, Unavailable];
const CHANGE: &[Code] = &[
    InvalidJson,
    EmptyRequest,
    InvalidRequest,
    Conflict,
    Unavailable,
];

/// Every operation, in the order of the route table.
pub const OPERATIONS: &[Operation] = &[
    operation(
        "POST",
        "/v1/predict",
        "Class and probabilities of rows, from one published model",
        "PredictAnswer",
        &[
            InvalidJson,
            InvalidRequest,
            InvalidRow,
            EmptyRequest,
            TooManyRows,
            MinOffsetNotReached,
            NonFiniteOutput,
            PredictionFailed,
            ModelNotReady,
        ],
    ),
    operation(
        "POST",
        "/v1/examples",
        "Append records to the embedded stream; answers once all are durable",
        "Accepted",
        &[
            InvalidJson,
            EmptyRequest,
            WrongSource,
            TooManyRecords,
            StorageFailed,
            SourceHalted,
            StorageFull,
        ],
    ),
    operation(
        "GET",
        "/v1/examples",
        "First offset kept by the embedded stream, and the next to be written",
        "Bounds",
        &[WrongSource, StorageFailed],
    ),
    operation(
        "GET",
        "/v1/weights",
        "The evolving weight statistics",
        "Weights",
        &[InvalidRequest, UnknownLearner, ModelNotReady],
    ),
    operation(
        "GET",
        "/v1/hardest",
        "The recent examples of largest weight and older ones that stay hard, with their losses then and now",
        "Hardest",
        &[InvalidRequest, ModelNotReady],
    ),
    operation(
        "GET",
        "/v1/evaluation",
        "Prequential metrics, since the start and over a window",
        "Evaluation",
        &[ModelNotReady],
    ),
    operation(
        "GET",
        "/v1/learners",
        "The learners and their shares",
        "Learners",
        &[],
    ),
    operation(
        "GET",
        "/v1/model",
        "Version, schema, classes, positions, settings, digest",
        "Model",
        &[],
    ),
    operation(
        "GET",
        "/v1/events",
        "Server-sent events: `board` whenever there is something new",
        "text/event-stream",
        &[],
    ),
    operation("GET", "/openapi.json", "This document", "Anything", &[]),
    operation("GET", "/", "The page", "text/html", &[]),
    operation(
        "GET",
        "/assets/{name}",
        "Files of the page",
        "text/javascript",
        &[NotFound],
    ),
    operation("GET", "/metrics", "Prometheus metrics", "text/plain", &[]),
    operation(
        "GET",
        "/healthz",
        "The process answers and its learner lives",
        "Live",
        &[Unavailable],
    ),
    operation(
        "GET",
        "/readyz",
        "A model is served",
        "Ready",
        &[ModelNotReady],
    ),
    operation(
        "GET",
        "/v2/health/live",
        "As /healthz",
        "Live",
        &[Unavailable],
    ),
    operation(
        "GET",
        "/v2/health/ready",
        "As /readyz",
        "Ready",
        &[ModelNotReady],
    ),
    operation(
        "GET",
        "/v2",
        "Open Inference Protocol: the server",
        "V2Server",
        &[],
    ),
    operation(
        "GET",
        "/v2/",
        "Open Inference Protocol: the server",
        "V2Server",
        &[],
    ),
    operation(
        "GET",
        "/v2/models/{model}",
        "Open Inference Protocol: the model's inputs and outputs",
        "V2Model",
        &[UnknownModel, ModelNotReady],
    ),
    operation(
        "GET",
        "/v2/models/{model}/ready",
        "Open Inference Protocol: the model is served",
        "V2Ready",
        &[UnknownModel, ModelNotReady],
    ),
    operation(
        "POST",
        "/v2/models/{model}/infer",
        "Open Inference Protocol: class and probabilities of rows",
        "V2InferAnswer",
        INFER,
    ),
    operation(
        "GET",
        "/v2/models/{model}/versions/{version}",
        "As without the version, which must be the served one",
        "V2Model",
        &[UnknownModel, ModelNotReady],
    ),
    operation(
        "GET",
        "/v2/models/{model}/versions/{version}/ready",
        "As without the version, which must be the served one",
        "V2Ready",
        &[UnknownModel, ModelNotReady],
    ),
    operation(
        "POST",
        "/v2/models/{model}/versions/{version}/infer",
        "As without the version, which must be the served one",
        "V2InferAnswer",
        INFER,
    ),
    operation(
        "PATCH",
        "/v1/settings",
        "Change settings of the learner at an exact step",
        "Anything",
        CHANGE,
    ),
    operation(
        "POST",
        "/v1/pause",
        "Hold learning; predictions go on",
        "Anything",
        ORDER,
    ),
    operation("POST", "/v1/resume", "Go on learning", "Anything", ORDER),
    operation(
        "POST",
        "/v1/checkpoint",
        "Write a checkpoint now",
        "Anything",
        ORDER,
    ),
    operation(
        "POST",
        "/v1/discover",
        "End the discovery of the schema with what has been seen",
        "Anything",
        ORDER,
    ),
    operation(
        "POST",
        "/v1/rollback",
        "Go back to the model of an older checkpoint; the stream goes on where it is",
        "Anything",
        ROLLBACK,
    ),
    operation("PATCH", "/settings", "As /v1/settings", "Anything", CHANGE),
    operation("POST", "/pause", "As /v1/pause", "Anything", ORDER),
    operation("POST", "/resume", "As /v1/resume", "Anything", ORDER),
    operation(
        "POST",
        "/checkpoint",
        "As /v1/checkpoint",
        "Anything",
        ORDER,
    ),
    operation("POST", "/rollback", "As /v1/rollback", "Anything", ROLLBACK),
    operation("POST", "/discover", "As /v1/discover", "Anything", ORDER),
];
