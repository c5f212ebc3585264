//! The routers as a client meets them, over a model and a log that live in these tests only.

mod admin;
mod guard;
mod ingest;
mod listen;
mod page;
mod predict;
mod raw;
mod statistics;
mod v2;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use super::*;
use crate::absgd::stats::{ClassWeights, WeightReport};
use crate::codec::{self, Schema};
use crate::evaluate::{DecisionSettings, EvaluationReport, Judge, Scores};
use crate::example::Lambda;
use crate::learner::{Counts, HardExample, HistoryPoint, Trace};

/// Amounts with a meaning for [`Fake`].
const PANICS: f32 = -777.0;
const FAILS: f32 = -778.0;
const NOT_FINITE: f32 = -779.0;

/// Calls `fraud` whatever has an amount above zero. Rows are read by the real codec.
struct Fake {
    version: u64,
    positions: Positions,
    classes: Vec<Arc<str>>,
    settings: codec::Settings,
    schema: Schema,
}

impl Fake {
    fn new(version: u64, next: i64) -> Self {
        Self::with_categories(version, next, &["merchant"])
    }

    /// One whose two features are numbers.
    fn of_numbers(version: u64, next: i64) -> Self {
        Self::with_categories(version, next, &[])
    }

    fn with_categories(version: u64, next: i64, categorical: &[&str]) -> Self {
        let settings = codec::Settings {
            features: vec!["amount".into(), "merchant".into()],
            categorical: categorical.iter().map(|name| (*name).into()).collect(),
            ..codec::Settings::default()
        };
        Self {
            version,
            positions: Positions([(0, next)].into()),
            classes: vec!["ok".into(), "fraud".into()],
            schema: Schema::given(&settings).unwrap(),
            settings,
        }
    }
}

impl Model for Fake {
    fn version(&self) -> u64 {
        self.version
    }

    fn epoch(&self) -> u64 {
        1
    }

    fn examples(&self) -> u64 {
        self.version * 32
    }

    fn trained_through(&self) -> &Positions {
        &self.positions
    }

    fn classes(&self) -> &[Arc<str>] {
        &self.classes
    }

    fn features(&self) -> Vec<(&str, bool)> {
        let numeric = |feature: &codec::Feature| feature.kind == codec::Kind::Numeric;
        let features = self.schema.features.iter();
        features
            .map(|feature| (feature.name.as_str(), numeric(feature)))
            .collect()
    }

    fn row(&self, json: &str) -> Result<Box<[f32]>, Reject> {
        codec::row_of_json(&self.schema, &self.settings, json)
    }

    fn predict(&self, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, String> {
        assert!(rows.iter().all(|row| row[0] != PANICS), "a row that panics");
        if rows.iter().any(|row| row[0] == FAILS) {
            return Err("secret detail".to_owned());
        }
        let one = |row: &[f32]| {
            let fraud = if row[0] == NOT_FINITE {
                f32::NAN
            } else {
                row[0].clamp(0.25, 0.75)
            };
            Prediction {
                class: usize::from(row[0] > 0.5),
                // A rule that is quicker than argmax to decide for fraud.
                decision: usize::from(row[0] > 0.3),
                probabilities: vec![1.0 - fraud, fraud],
            }
        };
        Ok(rows.iter().map(|row| one(row)).collect())
    }
}

/// A log in memory that can be told to fail.
#[derive(Default)]
struct Log {
    records: Mutex<Vec<Bytes>>,
    fault: Mutex<Option<IngestError>>,
}

impl Ingest for Log {
    fn append(&self, records: Vec<Bytes>) -> Pending<Result<(i64, i64), IngestError>> {
        let answer = match self.fault.lock().unwrap().clone() {
            Some(fault) => Err(fault),
            None => {
                let mut all = self.records.lock().unwrap();
                let first = all.len() as i64;
                all.extend(records);
                Ok((first, all.len() as i64))
            }
        };
        Box::pin(async move {
            tokio::task::yield_now().await;
            answer
        })
    }

    fn bounds(&self) -> Result<(i64, i64), IngestError> {
        Ok((0, self.records.lock().unwrap().len() as i64))
    }
}

/// The daemon's side of an [`App`].
struct House {
    app: Arc<App>,
    model: Arc<Mutex<Option<Arc<dyn Model>>>>,
    board: Arc<ArcSwapOption<Board>>,
    status: Arc<ArcSwap<Status>>,
    log: Arc<Log>,
    commands: mpsc::Receiver<Command>,
    updates: watch::Sender<u64>,
    draining: watch::Sender<bool>,
    alive: Arc<AtomicBool>,
    facts: Arc<Mutex<Vec<HttpFact>>>,
}

/// What may differ from a test to the next.
#[derive(Default)]
struct Plan {
    settings: Settings,
    token: Option<&'static str>,
    kafka: bool,
}

impl House {
    fn new() -> Self {
        Self::with(Plan::default())
    }

    fn limited(settings: Settings) -> Self {
        Self::with(Plan {
            settings,
            ..Plan::default()
        })
    }

    fn with(plan: Plan) -> Self {
        let model: Arc<Mutex<Option<Arc<dyn Model>>>> = Arc::default();
        let (board, status) = (Arc::default(), Arc::default());
        let (sender, commands) = mpsc::channel(1);
        let (updates, draining) = (watch::channel(0).0, watch::channel(false).0);
        let alive = Arc::new(AtomicBool::new(true));
        let facts: Arc<Mutex<Vec<HttpFact>>> = Arc::default();
        let log: Arc<Log> = Arc::default();
        let public = plan.token.map(|token| Tokens::parse(token).unwrap());
        let admin = Tokens::parse("admin-token").unwrap();
        let (models, told) = (Arc::clone(&model), Arc::clone(&facts));
        let app = App {
            access: Access::new(public, admin, &plan.settings.hosts),
            settings: plan.settings,
            model: Arc::new(move || models.lock().unwrap().clone()),
            board: Arc::clone(&board),
            status: Arc::clone(&status),
            ingest: (!plan.kafka).then(|| Arc::clone(&log) as Arc<dyn Ingest>),
            commands: sender,
            updates: updates.subscribe(),
            draining: draining.subscribe(),
            alive: Arc::clone(&alive),
            metrics: Arc::new(|| "skewd_train_steps_total 7\n".to_owned()),
            observe: Arc::new(move |fact| told.lock().unwrap().push(fact)),
        };
        Self {
            app: Arc::new(app),
            model,
            board,
            status,
            log,
            commands,
            updates,
            draining,
            alive,
            facts,
        }
    }

    /// A house that serves a model with everything before `next` learned.
    fn serving(next: i64) -> Self {
        let house = Self::new();
        house.publish(Fake::new(7, next));
        house
    }

    fn publish(&self, model: Fake) {
        *self.model.lock().unwrap() = Some(Arc::new(model));
        self.updates.send_modify(|version| *version += 1);
    }

    fn public(&self) -> Router {
        public(Arc::clone(&self.app))
    }

    async fn get(&self, path: &str) -> Answer {
        ask(self.public(), request("GET", path)).await
    }

    async fn post(&self, path: &str, media: &str, body: impl Into<Body>) -> Answer {
        ask(self.public(), posted(path, media, body)).await
    }

    async fn predict(&self, body: &str) -> Answer {
        self.post("/v1/predict", "application/json", body.to_owned())
            .await
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8080")
        .body(Body::empty())
        .unwrap()
}

fn posted(path: &str, media: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = request("POST", path);
    *request.body_mut() = body.into();
    if !media.is_empty() {
        request
            .headers_mut()
            .insert("content-type", media.parse().unwrap());
    }
    request
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of an answer that went well.
    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body of an error, whose form is checked.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        assert_eq!(
            (self.status, body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text()
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["error"], body["detail"]);
        assert_eq!(
            self.headers.contains_key("retry-after"),
            matches!(status, 429 | 503)
        );
        body
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

fn point(step: u64) -> HistoryPoint {
    HistoryPoint {
        step,
        examples: step * 32,
        lambda: 5.0,
        log_s: 0.1,
        objective: 0.5,
        effective_sample_size: 0.8,
        kl_to_uniform: 0.05,
        max_weight: 3.0,
        clipped_share: 0.0,
        loss: 1.0 / step as f64,
        pr_auc: (step > 3).then_some(0.75),
        weight_share: vec![0.6, 0.4],
        example_share: vec![0.99, 0.01],
    }
}

/// A board after `steps` steps, one of whose figures is not a number yet.
fn board_of(steps: u64) -> Board {
    let class = |examples, weight_share, example_share| ClassWeights {
        examples,
        mean_weight: 1.0,
        weight_share,
        example_share,
    };
    let hard = |offset, weight| HardExample {
        id: (offset == 3).then(|| "tx-3".to_owned()),
        partition: 0,
        offset,
        step: 1,
        label: "fraud".to_owned(),
        prediction: Some("ok".to_owned()),
        loss: 2.5,
        weight,
        trail: vec![Trace { step: 2, loss: 1.5 }],
        row: [0.25, 1.0].into(),
        class: 1,
        told: false,
    };
    Board {
        step: steps,
        examples: steps * 32,
        classes: vec!["ok".into(), "fraud".into()],
        weights: WeightReport {
            lambda: Lambda(5.0),
            gamma: 0.1,
            log_s: 0.1,
            objective: 0.5,
            effective_sample_size: 0.8,
            kl_to_uniform: f64::NAN,
            max_weight: 3.0,
            clipped_share: 0.0,
            mean_loss: 1.0 / steps as f64,
            classes: BTreeMap::from([
                ("ok".to_owned(), class(31 * steps, 0.6, 0.99)),
                ("fraud".to_owned(), class(steps, 0.4, 0.01)),
            ]),
        },
        history: Arc::new((1..=steps).map(point).collect()),
        hardest: vec![hard(3, 3.0), hard(1, 2.0)],
        persistent: vec![hard(0, 9.0)],
        warnings: Vec::new(),
        warning_counts: BTreeMap::new(),
        evaluation: EvaluationReport {
            examples: steps * 32,
            window_examples: steps * 32,
            since_start: Scores::default(),
            window: Scores {
                pr_auc_rare: Some(0.75),
                balanced_accuracy: Some(0.9),
                ..Scores::default()
            },
        },
        judge: Judge::new(&DecisionSettings::default()).report(&[]),
        counts: Counts {
            accepted: steps * 32,
            ..Counts::default()
        },
        stalled: false,
        lead: 0,
        members: Vec::new(),
        discovering: None,
    }
}
