//! Bodies of prediction requests, through the router that clients meet. The first byte chooses the way in.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::Request;
use axum::http::response::Parts;
use http_body_util::BodyExt;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use skewd::codec::{Reject, RowReader, Schema, Settings, row_of_json};
use skewd::example::{Positions, Prediction};
use skewd::serve::{self, Access, App, Model, Tokens};
use tower::ServiceExt;

use super::sound::{check_reject, check_row};

const PREDICT: &str = "/v1/predict";
const INFER: &str = "/v2/models/skewd/infer";
const OCTET_STREAM: &str = "application/octet-stream";
/// First bytes from here on choose rows of f32.
const OCTETS: u8 = 252;
const HEADER_LENGTH: &str = "inference-header-content-length";

/// Sure of one class by the first feature. Rows are read by the real codec.
struct Threshold {
    settings: Settings,
    schema: Schema,
    reader: RowReader,
    positions: Positions,
    classes: [Arc<str>; 2],
}

static MODEL: LazyLock<Arc<Threshold>> = LazyLock::new(|| Threshold::with(&["merchant"]));
/// One that takes rows of f32: all its features are numbers.
static OF_NUMBERS: LazyLock<Arc<Threshold>> = LazyLock::new(|| Threshold::with(&[]));

impl Threshold {
    fn with(categorical: &[&str]) -> Arc<Self> {
        let settings = Settings {
            features: ["amount", "merchant", "geo.lat"].map(str::to_owned).into(),
            categorical: categorical.iter().map(|name| (*name).to_owned()).collect(),
            ..Settings::default()
        };
        let schema = Schema::given(&settings).expect("features are given");
        Arc::new(Self {
            reader: RowReader::new(&schema),
            schema,
            settings,
            positions: Positions([(0, 42)].into()),
            classes: ["ok".into(), "fraud".into()],
        })
    }
}

impl Model for Threshold {
    fn version(&self) -> u64 {
        7
    }

    fn epoch(&self) -> u64 {
        0
    }

    fn examples(&self) -> u64 {
        42
    }

    fn trained_through(&self) -> &Positions {
        &self.positions
    }

    fn classes(&self) -> &[Arc<str>] {
        &self.classes
    }

    fn features(&self) -> Vec<(&str, bool)> {
        let features = self.schema.features.iter();
        features
            .map(|feature| (feature.name.as_str(), feature.is_numeric()))
            .collect()
    }

    fn row(&self, json: &str) -> Result<Box<[f32]>, Reject> {
        self.reader.read(json)
    }

    fn predict(&self, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, String> {
        let one = |row: &[f32]| {
            check_row(row, &self.schema);
            let class = usize::from(row[0] > 0.5);
            let mut probabilities = vec![0.25; 2];
            probabilities[class] = 0.75;
            Prediction {
                class,
                decision: class,
                probabilities,
            }
        };
        Ok(rows.iter().map(|row| one(row)).collect())
    }
}

/// Nothing here waits: who could wake a waiting request is gone.
fn app(model: &Arc<Threshold>) -> App {
    let model = Arc::clone(model);
    let settings = serve::Settings {
        max_rows: 64,
        ..serve::Settings::default()
    };
    let admin = Tokens::parse("admin-token").expect("a token");
    App {
        access: Access::new(None, admin, &settings.hosts),
        settings,
        model: Arc::new(move || Some(Arc::clone(&model) as Arc<dyn Model>)),
        board: Arc::default(),
        status: Arc::default(),
        ingest: None,
        commands: tokio::sync::mpsc::channel(1).0,
        updates: tokio::sync::watch::channel(0).1,
        draining: tokio::sync::watch::channel(false).1,
        alive: Arc::default(),
        metrics: Arc::new(String::new),
        observe: Arc::new(|_| {}),
    }
}

/// One thread, as each of the daemon's HTTP threads is.
static HOUSE: LazyLock<(tokio::runtime::Runtime, [axum::Router; 2])> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let routers = [&*MODEL, &*OF_NUMBERS].map(|model| serve::public(Arc::new(app(model))));
    (runtime, routers)
});

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    match first % 4 {
        // What no text begins with: rows of f32, and the answer as JSON or as such.
        _ if *first >= OCTETS => floats(rest, first % 2 == 1),
        0 => row(rest),
        1 => {
            let answer = post(PREDICT, rest, None);
            if let Some(predictions) = check_answer(&answer) {
                check_predictions(&predictions, rest);
            }
        }
        2 => drop(check_answer(&post(INFER, rest, None))),
        // Tensors as bytes behind the JSON, whose length comes first.
        _ => {
            if let Some((length, rest)) = rest.split_first_chunk() {
                let length = u16::from_le_bytes(*length).to_string();
                drop(check_answer(&post(INFER, rest, Some(&length))));
            }
        }
    }
}

fn row(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match row_of_json(&MODEL.schema, &MODEL.settings, text) {
        Ok(row) => check_row(&row, &MODEL.schema),
        Err(reject) => {
            check_reject(&reject);
            let goes_on = reject.detail.starts_with([':', '.', '[']);
            assert!(goes_on, "no continuation of a row's name: {reject}");
        }
    }
}

/// Rows of little-endian f32: a prediction for each, or the client's fault.
fn floats(body: &[u8], as_bytes: bool) {
    let mut headers = vec![("content-type", OCTET_STREAM)];
    headers.extend(as_bytes.then_some(("accept", OCTET_STREAM)));
    let (parts, answer) = send(1, PREDICT, body, &headers);
    let rows = body.len() / (4 * OF_NUMBERS.schema.features.len());
    if parts.status != 200 || !as_bytes {
        if let Some(answer) = check_answer(&(parts, answer)) {
            assert_eq!(answer["predictions"].as_array().map(Vec::len), Some(rows));
        }
        return;
    }
    assert_eq!(answer.len(), rows * 2 * 4, "two classes a row");
    let (chances, rest) = answer.as_chunks::<4>();
    assert!(rest.is_empty());
    for chance in chances {
        assert!((0.0..=1.0).contains(&f32::from_le_bytes(*chance)));
    }
}

fn post(path: &str, body: &[u8], header_length: Option<&str>) -> (Parts, Vec<u8>) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(header_length.map(|length| (HEADER_LENGTH, length)));
    send(0, path, body, &headers)
}

fn send(house: usize, path: &str, body: &[u8], headers: &[(&str, &str)]) -> (Parts, Vec<u8>) {
    let request = headers.iter().fold(
        Request::post(path).header("host", "localhost"),
        |request, (name, value)| request.header(*name, *value),
    );
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    let (runtime, routers) = &*HOUSE;
    runtime.block_on(async {
        let response = routers[house].clone().oneshot(request).await;
        let (parts, body) = response.expect("routers answer").into_parts();
        let body = body.collect().await.expect("a body in memory");
        (parts, body.to_bytes().to_vec())
    })
}

/// A wrong request is the client's fault, told as JSON. The JSON of an answer that is none of binary tensors.
fn check_answer((parts, body): &(Parts, Vec<u8>)) -> Option<Value> {
    let status = parts.status.as_u16();
    if status == 200 && parts.headers.contains_key(HEADER_LENGTH) {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).expect("an answer in JSON");
    if status == 200 {
        return Some(answer);
    }
    assert!(matches!(status, 400 | 412 | 413), "{status}: {answer}");
    assert_eq!(answer["status"], status);
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty(), "{answer}");
    // A parser's message repeats what it stumbled over; the codec's words are printable.
    if answer["code"] == "invalid_row" {
        assert!(!detail.chars().any(char::is_control), "{answer}");
    }
    None
}

/// A prediction for every row that was sent.
fn check_predictions(answer: &Value, body: &[u8]) {
    let asked: BTreeMap<String, &RawValue> = serde_json::from_slice(body).expect("JSON");
    let rows: Vec<IgnoredAny> = serde_json::from_str(asked["rows"].get()).expect("rows");
    assert_eq!(
        answer["predictions"].as_array().map(Vec::len),
        Some(rows.len())
    );
}
