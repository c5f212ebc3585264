//! Live, ready, metrics. Live never depends on a broker or a queue: it says that the process answers and that
//! its learner has not died. Ready says that a model is served and that the daemon is not going away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::guard::Gate;
use super::predict::served;
use super::problem::{Code, Problem};

pub async fn live(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    if gate.app.alive.load(Ordering::Acquire) {
        Ok(Json(json!({"live": true})))
    } else {
        Err(Problem::new(
            Code::Unavailable,
            "the learner has ended: restart the daemon",
        )
        .with("live", json!(false)))
    }
}

pub async fn ready(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    let version = check_ready(&gate)?;
    // A model that is served is ready, whether or not it goes on learning: who asks can see which.
    let source = &gate.app.status.load().source;
    Ok(Json(
        json!({"live": true, "ready": true, "model_version": version, "source": source.state}),
    ))
}

/// Version of the served model.
pub fn check_ready(gate: &Gate) -> Result<u64, Problem> {
    let problem = if *gate.app.draining.borrow() {
        Problem::new(Code::Draining, "the daemon is shutting down")
    } else {
        match served(&gate.app) {
            Ok(model) => return Ok(model.version()),
            Err(problem) => problem,
        }
    };
    Err(problem.with("ready", json!(false)))
}

pub async fn metrics(State(gate): State<Arc<Gate>>) -> Result<Response, Problem> {
    let write = Arc::clone(&gate.app.metrics);
    let text = gate.scrapes.get(move || write()).await;
    let text =
        text.map_err(|_| Problem::new(Code::Internal, "the metrics could not be written"))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
