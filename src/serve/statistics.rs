//! What the learner knows about itself: weights, hardest examples, evaluation, learners, model.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guard::Gate;
use super::problem::{Code, Problem};
use super::{App, Model, SourceFacts};
use crate::absgd::stats::WeightReport;
use crate::evaluate::{EvaluationReport, JudgeReport, log_loss};
use crate::example::{Lambda, Positions};
use crate::learner::{Board, Discovering, HardExample, HistoryPoint, Warning};

/// Name of the one learner.
const ONLY_LEARNER: &str = "single";

/// Most points of a history in one answer.
const POINTS_MAX: usize = 10_000;

/// Query parameters of the statistics.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Points of the history wanted.
    points: Option<usize>,
    /// Only points after this step.
    since: Option<u64>,
    /// Whose statistics.
    learner: Option<String>,
}

/// Query parameters of the hardest examples.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Top {
    /// Examples wanted.
    limit: Option<usize>,
}

/// `/v1/weights`.
#[derive(Serialize)]
pub struct Weights {
    learner: String,
    step: u64,
    examples: u64,
    #[serde(flatten)]
    report: WeightReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_order: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<Point>>,
}

/// One point of the history, its λ written as in the settings.
#[derive(Serialize)]
pub struct Point {
    step: u64,
    examples: u64,
    lambda: Lambda,
    log_s: f64,
    objective: f64,
    effective_sample_size: f64,
    kl_to_uniform: f64,
    max_weight: f64,
    clipped_share: f64,
    loss: f64,
    pr_auc: Option<f64>,
    weight_share: Vec<f64>,
    example_share: Vec<f64>,
}

impl From<&HistoryPoint> for Point {
    fn from(point: &HistoryPoint) -> Self {
        Self {
            step: point.step,
            examples: point.examples,
            lambda: Lambda(point.lambda),
            log_s: point.log_s,
            objective: point.objective,
            effective_sample_size: point.effective_sample_size,
            kl_to_uniform: point.kl_to_uniform,
            max_weight: point.max_weight,
            clipped_share: point.clipped_share,
            loss: point.loss,
            pr_auc: point.pr_auc,
            weight_share: point.weight_share.clone(),
            example_share: point.example_share.clone(),
        }
    }
}

fn unknown_learner() -> Problem {
    let message = "no learner has this name: /v1/learners lists them";
    Problem::new(Code::UnknownLearner, message).at("learner")
}

pub async fn weights(
    State(gate): State<Arc<Gate>>,
    query: Result<Query<Window>, QueryRejection>,
) -> Result<Json<Weights>, Problem> {
    let window = parsed(query)?;
    let board = board(&gate.app);
    let members = board.as_ref().map_or(&[][..], |board| &board.members);
    let lead = board.as_ref().map_or(0, |board| board.lead);
    let member = match window.learner.as_deref() {
        None => members.get(lead),
        Some(ONLY_LEARNER) if members.is_empty() => None,
        Some(name) => Some(
            members
                .iter()
                .find(|member| member.name == name)
                .ok_or_else(unknown_learner)?,
        ),
    };
    let learner = member.map_or(ONLY_LEARNER.to_owned(), |member| member.name.clone());
    let report = member.map(|member| member.weights.clone());
    let board = board?;
    let history = (window.points.is_some() || window.since.is_some()).then(|| {
        let since = window.since.unwrap_or(0);
        let wanted = window.points.unwrap_or(POINTS_MAX).min(POINTS_MAX);
        thinned(&board.history, since, wanted)
    });
    Ok(Json(Weights {
        learner,
        step: board.step,
        examples: board.examples,
        report: report.unwrap_or_else(|| board.weights.clone()),
        class_order: history.is_some().then(|| names(&board.classes)),
        history,
    }))
}

/// At most `wanted` points after step `since`, evenly spread, the newest among them.
fn thinned(history: &[HistoryPoint], since: u64, wanted: usize) -> Vec<Point> {
    let from = history.partition_point(|point| point.step <= since);
    let points = &history[from..];
    if points.len() <= wanted {
        return points.iter().map(Point::from).collect();
    }
    (1..=wanted)
        .map(|index| Point::from(&points[index * points.len() / wanted - 1]))
        .collect()
}

/// `/v1/hardest`.
#[derive(Serialize)]
pub struct HardestAnswer {
    step: u64,
    /// The step of the model that gave the losses of now.
    model_version: Option<u64>,
    hardest: Vec<HardNow>,
    persistent: Vec<HardNow>,
}

/// A hard example, and what the served model makes of it.
#[derive(Serialize)]
struct HardNow {
    #[serde(flatten)]
    then: HardExample,
    prediction_now: Option<String>,
    loss_now: Option<f64>,
}

/// The examples as the served model predicts them; what it cannot predict is left open.
fn predicted_now(examples: &[HardExample], model: Option<&dyn Model>) -> Vec<HardNow> {
    let width = model.map_or(0, |model| model.features().len());
    // Rows of another schema are those of a model that has grown since.
    let model = model.filter(|_| examples.iter().all(|example| example.row.len() == width));
    let rows: Vec<Box<[f32]>> = examples.iter().map(|example| example.row.clone()).collect();
    let predictions = model.and_then(|model| model.predict(&rows).ok());
    let now = |(index, then): (usize, &HardExample)| {
        let prediction = predictions.as_ref().and_then(|all| all.get(index));
        let loss = prediction.map(|of| log_loss(then.class, &of.probabilities));
        let class = prediction.and_then(|of| model?.classes().get(of.class));
        HardNow {
            then: then.clone(),
            prediction_now: class.map(|name| name.to_string()),
            loss_now: loss.filter(|loss| loss.is_finite()),
        }
    };
    examples.iter().enumerate().map(now).collect()
}

pub async fn hardest(
    State(gate): State<Arc<Gate>>,
    query: Result<Query<Top>, QueryRejection>,
) -> Result<Json<HardestAnswer>, Problem> {
    let limit = parsed(query)?.limit.unwrap_or(usize::MAX);
    let board = board(&gate.app)?;
    let model = (gate.app.model)();
    let now = |examples: &[HardExample]| {
        predicted_now(&examples[..examples.len().min(limit)], model.as_deref())
    };
    Ok(Json(HardestAnswer {
        step: board.step,
        model_version: model.as_ref().map(|model| model.version()),
        hardest: now(&board.hardest),
        persistent: now(&board.persistent),
    }))
}

/// `/v1/evaluation`.
#[derive(Serialize)]
pub struct EvaluationAnswer {
    step: u64,
    #[serde(flatten)]
    report: EvaluationReport,
    #[serde(flatten)]
    judge: JudgeReport,
}

pub async fn evaluation(State(gate): State<Arc<Gate>>) -> Result<Json<EvaluationAnswer>, Problem> {
    let board = board(&gate.app)?;
    Ok(Json(EvaluationAnswer {
        step: board.step,
        report: board.evaluation.clone(),
        judge: board.judge.clone(),
    }))
}

pub async fn learners(State(gate): State<Arc<Gate>>) -> Json<Value> {
    let status = gate.app.status.load();
    let board = gate.app.board.load();
    let windowed = board.as_ref().map(|board| &board.evaluation.window);
    let members = board.as_ref().map_or(&[][..], |board| &board.members);
    if members.is_empty() {
        return Json(json!({
            "mode": "single",
            "learners": [{
                "name": ONLY_LEARNER,
                "settings": status.settings,
                "windowed": windowed,
                "share": 1.0,
            }],
        }));
    }
    let learners: Vec<Value> = members
        .iter()
        .map(|member| {
            json!({
                "name": member.name,
                "settings": member.settings,
                "score": member.score,
                "score_interval": member.score_interval,
                "share": member.share,
            })
        })
        .collect();
    Json(json!({
        "mode": "portfolio",
        "objective": status.settings.get("evaluation.objective"),
        "served": { "windowed": windowed },
        "learners": learners,
    }))
}

/// `/v1/model`.
#[derive(Serialize)]
pub struct ModelAnswer {
    ready: bool,
    version: u64,
    epoch: u64,
    examples: u64,
    schema: Option<SchemaAnswer>,
    classes: Vec<String>,
    positions: Positions,
    settings: Value,
    digest: Option<String>,
    digest_examples: Option<u64>,
    device: String,
    instruction_set: String,
    source: SourceFacts,
    lag: i64,
    examples_per_second: f64,
    paused: bool,
    discovering: Option<Discovering>,
    counts: Value,
    stalled: bool,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct SchemaAnswer {
    features: Vec<FeatureAnswer>,
}

#[derive(Serialize)]
struct FeatureAnswer {
    name: String,
    kind: &'static str,
}

pub async fn model(State(gate): State<Arc<Gate>>) -> Json<ModelAnswer> {
    let app = &gate.app;
    let status = app.status.load_full();
    let board = app.board.load_full();
    let model = (app.model)();
    Json(ModelAnswer {
        ready: model.is_some() && !*app.draining.borrow(),
        version: model.as_ref().map_or(0, |model| model.version()),
        epoch: model.as_ref().map_or(0, |model| model.epoch()),
        examples: model.as_ref().map_or(0, |model| model.examples()),
        schema: model.as_ref().map(|model| SchemaAnswer {
            features: model.features().into_iter().map(feature).collect(),
        }),
        classes: model
            .as_ref()
            .map_or_else(Vec::new, |model| names(model.classes())),
        positions: model
            .as_ref()
            .map_or_else(Positions::default, |model| model.trained_through().clone()),
        settings: status.settings.clone(),
        digest: status.digest.clone(),
        digest_examples: status.digest_examples,
        device: status.device.clone(),
        instruction_set: status.instruction_set.clone(),
        lag: total(&status.source.lag),
        source: status.source.clone(),
        examples_per_second: status.examples_per_second,
        paused: status.paused,
        discovering: board.as_ref().and_then(|board| board.discovering.clone()),
        counts: board
            .as_ref()
            .map_or(Value::Null, |board| json!(board.counts)),
        stalled: board.as_ref().is_some_and(|board| board.stalled),
        warnings: board.map_or_else(Vec::new, |board| board.warnings.clone()),
    })
}

fn feature((name, numeric): (&str, bool)) -> FeatureAnswer {
    FeatureAnswer {
        name: name.to_owned(),
        kind: if numeric { "numeric" } else { "categorical" },
    }
}

fn names(classes: &[Arc<str>]) -> Vec<String> {
    classes.iter().map(|name| (**name).to_owned()).collect()
}

/// Records not read yet, over all partitions.
pub fn total(lag: &BTreeMap<i32, i64>) -> i64 {
    lag.values().fold(0, |sum, lag| sum.saturating_add(*lag))
}

fn board(app: &App) -> Result<Arc<Board>, Problem> {
    app.board.load_full().ok_or_else(|| {
        Problem::new(
            Code::ModelNotReady,
            "nothing was learned yet: send labelled examples, and ask again",
        )
    })
}

fn parsed<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::new(Code::InvalidRequest, rejection.body_text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64) -> HistoryPoint {
        HistoryPoint {
            step,
            examples: step * 32,
            lambda: f64::INFINITY,
            log_s: 0.0,
            objective: 0.0,
            effective_sample_size: 1.0,
            kl_to_uniform: 0.0,
            max_weight: 1.0,
            clipped_share: 0.0,
            loss: 0.5,
            pr_auc: None,
            weight_share: vec![1.0],
            example_share: vec![1.0],
        }
    }

    fn steps(history: &[HistoryPoint], since: u64, wanted: usize) -> Vec<u64> {
        thinned(history, since, wanted)
            .iter()
            .map(|point| point.step)
            .collect()
    }

    #[test]
    fn a_history_is_thinned_evenly_and_keeps_its_newest_point() {
        let history: Vec<_> = (1..=10).map(point).collect();
        assert_eq!(steps(&history, 0, 100), (1..=10).collect::<Vec<_>>());
        assert_eq!(steps(&history, 0, 5), [2, 4, 6, 8, 10]);
        assert_eq!(steps(&history, 0, 3), [3, 6, 10]);
        assert_eq!(steps(&history, 7, 100), [8, 9, 10]);
        assert_eq!(steps(&history, 7, 1), [10]);
        assert!(steps(&history, 10, 5).is_empty());
        assert!(steps(&history, 0, 0).is_empty());
    }

    #[test]
    fn an_infinite_temperature_is_the_word_inf() {
        let text = serde_json::to_value(Point::from(&point(1))).unwrap();
        assert_eq!(text["lambda"], "inf");
        assert_eq!(text["pr_auc"], Value::Null);
    }
}
