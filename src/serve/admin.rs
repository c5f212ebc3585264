//! The operator's requests: each becomes a [`Command`] to the learner's thread and waits for its answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;

use super::guard::Gate;
use super::json::{object, once};
use super::problem::{Code, Problem};
use super::{Command, CommandError, Reply, RollbackTo};

pub async fn settings(State(gate): State<Arc<Gate>>, body: Bytes) -> Result<Json<Value>, Problem> {
    let changes = once(&body).map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!("{error}: expected an object of settings, as in {{\"learner.lambda\": 2.5}}"),
        )
    })?;
    if changes.is_empty() {
        return Err(Problem::new(
            Code::EmptyRequest,
            "name at least one setting to change",
        ));
    }
    order(&gate, "settings", |reply| {
        Command::Settings(Value::Object(changes), reply)
    })
    .await
}

pub async fn pause(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    order(&gate, "pause", Command::Pause).await
}

pub async fn resume(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    order(&gate, "resume", Command::Resume).await
}

pub async fn checkpoint(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    order(&gate, "checkpoint", Command::Checkpoint).await
}

pub async fn rollback(State(gate): State<Arc<Gate>>, body: Bytes) -> Result<Json<Value>, Problem> {
    let to: RollbackTo = if body.trim_ascii().is_empty() {
        RollbackTo::default()
    } else {
        object(&body).map_err(|error| {
            Problem::new(
                Code::InvalidJson,
                format!(
                    "{error}: expected nothing (the checkpoint before), or an object with one of checkpoint, examples and \
                     step, as in {{\"checkpoint\": \"checkpoint-0000000007.skewd\"}}"
                ),
            )
        })?
    };
    let named = [
        to.checkpoint.is_some(),
        to.examples.is_some(),
        to.step.is_some(),
    ];
    if named.iter().filter(|named| **named).count() > 1 {
        return Err(Problem::new(
            Code::InvalidRequest,
            "name one of checkpoint, examples and step: together they may mean different models",
        ));
    }
    order(&gate, "rollback", |reply| Command::Rollback(to, reply)).await
}

pub async fn discover(State(gate): State<Arc<Gate>>) -> Result<Json<Value>, Problem> {
    order(&gate, "discover", Command::Discover).await
}

async fn order(
    gate: &Gate,
    name: &'static str,
    command: impl FnOnce(Reply) -> Command,
) -> Result<Json<Value>, Problem> {
    let (reply, answer) = oneshot::channel();
    gate.app
        .commands
        .try_send(command(reply))
        .map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => Problem::new(
                Code::Busy,
                "earlier commands are still waiting: try again later",
            ),
            tokio::sync::mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
    match answer.await {
        Ok(Ok(value)) => {
            tracing::info!(command = name, "an operator's command was carried out");
            Ok(Json(value))
        }
        Ok(Err(error)) => {
            tracing::warn!(
                command = name,
                status = error.status,
                reason = error.message,
                "an operator's command was refused"
            );
            Err(refused(error))
        }
        Err(_) => Err(gone()),
    }
}

fn gone() -> Problem {
    Problem::new(
        Code::Unavailable,
        "the learner does not take commands any more: the daemon is ending",
    )
}

fn refused(error: CommandError) -> Problem {
    let code = match error.status {
        400 | 422 => Code::InvalidRequest,
        409 => Code::Conflict,
        503 => Code::Unavailable,
        _ => Code::Internal,
    };
    let problem = Problem::new(code, error.message);
    match error.field {
        Some(field) => problem.at(field),
        None => problem,
    }
}
