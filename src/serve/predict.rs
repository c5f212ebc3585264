//! `POST /v1/predict`: rows in, class and probabilities out, from one published model.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::guard::{Gate, Permit, patience};
use super::json::object;
use super::problem::{Code, Problem};
use super::raw::{self, Forms};
use super::{App, Model};
use crate::example::{Positions, Prediction};

/// Bodies above this are parsed and predicted on a thread of their own.
const SMALL_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask<'a> {
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
    #[serde(default)]
    min_offset: Option<Positions>,
    #[serde(default)]
    wait_ms: Option<u64>,
}

/// The part of the request that decides which model may answer.
struct Wanted {
    min_offset: Positions,
    wait: Duration,
}

pub async fn predict(
    State(gate): State<Arc<Gate>>,
    Extension(permit): Extension<Permit>,
    forms: Forms,
    body: Bytes,
) -> Result<Response, Problem> {
    let app = &gate.app;
    let as_bytes = forms.wants_bytes;
    let is_small = body.len() <= SMALL_BYTES;
    if forms.brings_bytes {
        let model = served(app)?;
        let count = raw::count(&*model, &body)?;
        check_rows(app, count)?;
        let work = move || answer(&*model, &raw::rows(&body, count)?, as_bytes);
        return if is_small {
            work()
        } else {
            gate.turns.take(permit, work).await?
        };
    }
    if is_small {
        let ask = parse(&body)?;
        let model = model_reaching(&gate, &wanted(app, &ask)?).await?;
        return answer(&*model, &ask.rows(&*model)?, as_bytes);
    }
    let wanted = wanted(app, &parse(&body)?)?;
    let model = model_reaching(&gate, &wanted).await?;
    let work = move || answer(&*model, &parse(&body)?.rows(&*model)?, as_bytes);
    gate.turns.take(permit, work).await?
}

impl Ask<'_> {
    fn rows(&self, model: &dyn Model) -> Result<Vec<Box<[f32]>>, Problem> {
        rows(model, self.rows.iter().map(|raw| raw.get()), "rows")
    }
}

fn parse(body: &[u8]) -> Result<Ask<'_>, Problem> {
    object(body).map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!(
                "{error}: expected {{\"rows\": [[1.5, ...] or {{\"name\": 1.5, ...}}, ...], \"min_offset\"?: \
                 {{\"0\": 42}}, \"wait_ms\"?: 500}}"
            ),
        )
    })
}

/// Checks what can be checked before any model is looked at.
fn wanted(app: &App, ask: &Ask<'_>) -> Result<Wanted, Problem> {
    check_rows(app, ask.rows.len())?;
    Ok(Wanted {
        min_offset: ask.min_offset.clone().unwrap_or_default(),
        wait: patience(app, Duration::from_millis(ask.wait_ms.unwrap_or(0))),
    })
}

/// The number of rows of any predict request.
pub fn check_rows(app: &App, rows: usize) -> Result<(), Problem> {
    if rows == 0 {
        return Err(Problem::new(Code::EmptyRequest, "send at least one row").at("rows"));
    }
    let limit = app.settings.max_rows;
    if rows > limit {
        return Err(Problem::new(
            Code::TooManyRows,
            format!("{rows} rows, and at most {limit} are allowed: send them in several requests"),
        )
        .at("rows")
        .with("limit_rows", serde_json::json!(limit)));
    }
    Ok(())
}

/// The model that is served now.
pub fn served(app: &App) -> Result<Arc<dyn Model>, Problem> {
    (app.model)()
        .filter(|model| !model.classes().is_empty())
        .ok_or_else(|| {
            Problem::new(
                Code::ModelNotReady,
                "nothing was learned yet: send labelled examples, and ask again",
            )
        })
}

/// The served model, once it has learned what was asked for; waits for it as long as was asked.
async fn model_reaching(gate: &Gate, wanted: &Wanted) -> Result<Arc<dyn Model>, Problem> {
    let app = &gate.app;
    // As nearly always: it has, and nothing is to be watched.
    if let Ok(model) = served(app)
        && model.trained_through().covers(&wanted.min_offset)
    {
        return Ok(model);
    }
    let _place = match gate.waits.try_acquire() {
        Err(_) if !wanted.wait.is_zero() => {
            return Err(Problem::new(
                Code::Busy,
                "as many requests as allowed wait for the model to learn: try again later, or without wait_ms",
            ));
        }
        place => place,
    };
    let mut updates = app.updates.clone();
    let mut draining = app.draining.clone();
    let reached = async {
        loop {
            // Marked before looking, so that a model published in between wakes this up.
            updates.mark_unchanged();
            if let Ok(model) = served(app)
                && model.trained_through().covers(&wanted.min_offset)
            {
                return Some(model);
            }
            if wanted.wait.is_zero() {
                return None;
            }
            tokio::select! {
                changed = updates.changed() => changed.ok()?,
                stop = draining.wait_for(|draining| *draining) => {
                    stop.ok()?;
                    return None;
                }
            }
        }
    };
    let found = if wanted.wait.is_zero() {
        reached.await
    } else {
        timeout(wanted.wait, reached).await.unwrap_or(None)
    };
    if let Some(model) = found {
        return Ok(model);
    }
    if *app.draining.borrow() {
        return Err(Problem::new(
            Code::Draining,
            "the daemon is shutting down: try another",
        ));
    }
    let model = served(app)?;
    Err(Problem::new(
        Code::MinOffsetNotReached,
        "the model has not learned up to min_offset yet: ask again, or give a longer wait_ms",
    )
    .at("min_offset")
    .with(
        "trained_through",
        serde_json::json!(model.trained_through()),
    )
    .with("min_offset", serde_json::json!(wanted.min_offset)))
}

fn answer(model: &dyn Model, rows: &[Box<[f32]>], as_bytes: bool) -> Result<Response, Problem> {
    let predictions = checked(model, rows)?;
    if as_bytes {
        return Ok(raw::answer(model, &predictions));
    }
    let answer = Answer {
        model_version: model.version(),
        model_epoch: model.epoch(),
        trained_through: model.trained_through(),
        predictions: Named {
            classes: model.classes(),
            predictions: &predictions,
        },
    };
    let json = serde_json::to_string(&answer).map_err(|error| {
        tracing::error!(%error, "a prediction could not be written as JSON");
        Problem::new(Code::Internal, "the answer could not be written")
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

/// Rows from their JSON texts; the first that does not fit is named.
pub fn rows<'a>(
    model: &dyn Model,
    texts: impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<Vec<Box<[f32]>>, Problem> {
    texts
        .enumerate()
        .map(|(index, text)| {
            model.row(text).map_err(|reject| {
                // The detail goes on where the row's name ends: `.amount: not a number`.
                let text = format!("{name}[{index}]{}", reject.detail);
                let field = text.split(": ").next().unwrap_or(&text).to_owned();
                Problem::new(Code::InvalidRow, text)
                    .at(field)
                    .with("reason", serde_json::json!(reject.reason.as_str()))
            })
        })
        .collect()
}

/// Predictions whose every probability is a finite number.
pub fn checked(model: &dyn Model, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, Problem> {
    let predictions = model.predict(rows).map_err(|error| {
        tracing::error!(%error, "the model could not be evaluated");
        Problem::new(
            Code::PredictionFailed,
            "the model could not be evaluated on these rows",
        )
    })?;
    let classes = model.classes().len();
    let sound = predictions.len() == rows.len()
        && predictions
            .iter()
            .all(|one| one.class.max(one.decision) < classes && one.probabilities.len() == classes);
    if !sound {
        tracing::error!("the model answered with a wrong number of rows or classes");
        return Err(Problem::new(
            Code::PredictionFailed,
            "the model could not be evaluated on these rows",
        ));
    }
    let finite = |one: &Prediction| one.probabilities.iter().all(|p| p.is_finite());
    match predictions.iter().position(|one| !finite(one)) {
        None => Ok(predictions),
        Some(row) => Err(Problem::new(
            Code::NonFiniteOutput,
            format!("rows[{row}]: the model's output is not a finite number for this row"),
        )
        .at(format!("rows[{row}]"))),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    model_version: u64,
    model_epoch: u64,
    trained_through: &'a Positions,
    predictions: Named<'a>,
}

/// Predictions with the names of their classes.
struct Named<'a> {
    classes: &'a [Arc<str>],
    predictions: &'a [Prediction],
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.predictions.len()))?;
        for prediction in self.predictions {
            let class = &*self.classes[prediction.class];
            rows.serialize_element(&NamedRow {
                class,
                probabilities: Probabilities {
                    classes: self.classes,
                    values: &prediction.probabilities,
                },
                decision: &self.classes[prediction.decision],
            })?;
        }
        rows.end()
    }
}

#[derive(Serialize)]
struct NamedRow<'a> {
    class: &'a str,
    probabilities: Probabilities<'a>,
    decision: &'a str,
}

struct Probabilities<'a> {
    classes: &'a [Arc<str>],
    values: &'a [f32],
}

impl Serialize for Probabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (class, value) in self.classes.iter().zip(self.values) {
            map.serialize_entry(&**class, value)?;
        }
        map.end()
    }
}
