//! The Open Inference Protocol, version 2 (KServe, Triton, MLServer clients). One model, `skewd`; its versions
//! are steps, and the one that is served is the only one there is.
//!
//! Inputs: one tensor `[rows, features]`, or one input a feature of shape `[rows]` or `[rows, 1]`. Outputs:
//! `class` (BYTES `[rows]`) and `probabilities` (FP32 `[rows, classes]`, columns named by the parameter `labels`).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guard::{Gate, Permit};
use super::health::check_ready;
use super::predict::{check_rows, checked, rows, served};
use super::problem::{Code, Problem};
use super::raw;
use super::v2_tensors::{Input, json_rows};
use super::{App, Model};

const NAME: &str = "skewd";
const CLASS: &str = "class";
const PROBABILITIES: &str = "probabilities";
/// Bodies above this are answered on a thread of their own.
const SMALL_BYTES: usize = 4 << 10;
const HEADER_LENGTH: &str = "inference-header-content-length";

/// `{model}` and, where the path has it, `{version}`.
#[derive(Deserialize)]
pub struct Which {
    model: String,
    version: Option<String>,
}

pub async fn server() -> Json<Value> {
    Json(json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    }))
}

pub async fn ready(
    State(gate): State<Arc<Gate>>,
    Path(which): Path<Which>,
) -> Result<Json<Value>, Problem> {
    which.check_name()?;
    let version = check_ready(&gate).map_err(|problem| problem.with("name", json!(NAME)))?;
    which.check_version(version)?;
    Ok(Json(json!({"name": NAME, "ready": true})))
}

pub async fn model(
    State(gate): State<Arc<Gate>>,
    Path(which): Path<Which>,
) -> Result<Json<Value>, Problem> {
    which.check_name()?;
    let model = served(&gate.app)?;
    which.check_version(model.version())?;
    let features = model.features();
    let inputs: Vec<Value> = if features.iter().all(|(_, numeric)| *numeric) {
        vec![json!({"name": "features", "datatype": "FP32", "shape": [-1, features.len()]})]
    } else {
        features
            .iter()
            .map(|(name, numeric)| {
                let datatype = if *numeric { "FP32" } else { "BYTES" };
                json!({"name": name, "datatype": datatype, "shape": [-1, 1]})
            })
            .collect()
    };
    let names: Vec<&str> = features.iter().map(|(name, _)| *name).collect();
    Ok(Json(json!({
        "name": NAME,
        "versions": [model.version().to_string()],
        "platform": "skewd_safetensors",
        "inputs": inputs,
        "outputs": [
            {"name": CLASS, "datatype": "BYTES", "shape": [-1]},
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, model.classes().len()]},
        ],
        "properties": {
            "features": json!(names).to_string(),
            "labels": labels(&*model),
        },
    })))
}

/// The class names as one text: a parameter may only be a scalar.
fn labels(model: &dyn Model) -> String {
    let names: Vec<&str> = model.classes().iter().map(|name| &**name).collect();
    json!(names).to_string()
}

impl Which {
    fn check_name(&self) -> Result<(), Problem> {
        if self.model == NAME {
            return Ok(());
        }
        Err(Problem::new(
            Code::UnknownModel,
            format!("there is one model, and its name is {NAME}"),
        ))
    }

    fn check_version(&self, served: u64) -> Result<(), Problem> {
        match &self.version {
            Some(version) if *version != served.to_string() => Err(Problem::new(
                Code::UnknownModel,
                format!("the only version there is is the one that is served now, {served}"),
            )),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Ask<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// The parameters that are understood; others are ignored.
#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    binary_data: bool,
    #[serde(default)]
    binary_data_output: bool,
}

pub async fn infer(
    State(gate): State<Arc<Gate>>,
    Path(which): Path<Which>,
    Extension(permit): Extension<Permit>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    which.check_name()?;
    let model = served(&gate.app)?;
    which.check_version(model.version())?;
    let head = match headers.get(HEADER_LENGTH) {
        None => body.len(),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|length| *length <= body.len())
            .ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    "Inference-Header-Content-Length is not a length within the body",
                )
            })?,
    };
    if body.len() <= SMALL_BYTES {
        return answer(&gate.app, &*model, &body, head);
    }
    let app = Arc::clone(&gate.app);
    let work = move || answer(&app, &*model, &body, head);
    gate.turns.take(permit, work).await?
}

fn answer(app: &App, model: &dyn Model, body: &[u8], head: usize) -> Result<Response, Problem> {
    let (head, tail) = body.split_at(head);
    let ask: Ask = serde_json::from_slice(head).map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!(
                "{error}: expected {{\"inputs\": [{{\"name\", \"shape\", \"datatype\", \"data\"}}, ...]}}"
            ),
        )
    })?;
    let features = model.features();
    let limit = |count| check_rows(app, count);
    let rows = match raw::rows_of_tensor(&ask.inputs, tail, &features, limit)? {
        Some(rows) => rows,
        None => {
            let texts = json_rows(&ask.inputs, tail, &features, limit)?;
            rows(model, texts.iter().map(String::as_str), "rows")?
        }
    };
    let predictions = checked(model, &rows)?;
    let classes: Vec<&str> = predictions
        .iter()
        .map(|one| &*model.classes()[one.class])
        .collect();
    let probabilities: Vec<f32> = predictions
        .iter()
        .flat_map(|one| one.probabilities.iter().copied())
        .collect();
    let mut reply = Reply {
        outputs: Vec::new(),
        tail: Vec::new(),
    };
    for wanted in wanted(&ask)? {
        match wanted.name {
            CLASS => reply.classes(&classes, wanted.binary),
            _ => reply.probabilities(&probabilities, rows.len(), model, wanted.binary),
        }
    }
    Ok(reply.into_response(model, ask.id.as_deref()))
}

/// An output that was asked for.
struct Output {
    name: &'static str,
    binary: bool,
}

fn wanted(ask: &Ask<'_>) -> Result<Vec<Output>, Problem> {
    if ask.outputs.is_empty() {
        let binary = ask.parameters.binary_data_output;
        return Ok([CLASS, PROBABILITIES]
            .map(|name| Output { name, binary })
            .into());
    }
    ask.outputs
        .iter()
        .enumerate()
        .map(|(index, output)| {
            let name = [CLASS, PROBABILITIES]
                .into_iter()
                .find(|name| *name == output.name)
                .ok_or_else(|| {
                    Problem::new(
                        Code::InvalidRequest,
                        format!("outputs[{index}]: the outputs are {CLASS} and {PROBABILITIES}"),
                    )
                    .at(format!("outputs[{index}].name"))
                })?;
            Ok(Output {
                name,
                binary: output.parameters.binary_data || ask.parameters.binary_data_output,
            })
        })
        .collect()
}

/// Outputs in their order: JSON, and what goes behind it as bytes.
struct Reply {
    outputs: Vec<Value>,
    tail: Vec<u8>,
}

impl Reply {
    fn classes(&mut self, classes: &[&str], binary: bool) {
        let mut output = json!({"name": CLASS, "datatype": "BYTES", "shape": [classes.len()]});
        if binary {
            let start = self.tail.len();
            for class in classes {
                let length = u32::try_from(class.len()).unwrap_or(u32::MAX);
                self.tail.extend_from_slice(&length.to_le_bytes());
                self.tail.extend_from_slice(class.as_bytes());
            }
            output["parameters"] = json!({"binary_data_size": self.tail.len() - start});
        } else {
            output["data"] = json!(classes);
        }
        self.outputs.push(output);
    }

    fn probabilities(&mut self, values: &[f32], rows: usize, model: &dyn Model, binary: bool) {
        let mut output = json!({
            "name": PROBABILITIES,
            "datatype": "FP32",
            "shape": [rows, model.classes().len()],
            "parameters": {"labels": labels(model)},
        });
        if binary {
            for value in values {
                self.tail.extend_from_slice(&value.to_le_bytes());
            }
            output["parameters"]["binary_data_size"] = json!(values.len() * 4);
        } else {
            output["data"] = json!(values);
        }
        self.outputs.push(output);
    }

    fn into_response(self, model: &dyn Model, id: Option<&str>) -> Response {
        #[derive(Serialize)]
        struct Head<'a> {
            model_name: &'a str,
            model_version: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            outputs: Vec<Value>,
        }
        let head = json!(Head {
            model_name: NAME,
            model_version: model.version().to_string(),
            id,
            outputs: self.outputs,
        })
        .to_string();
        if self.tail.is_empty() {
            return ([(header::CONTENT_TYPE, "application/json")], head).into_response();
        }
        let length = head.len().to_string();
        let mut body = head.into_bytes();
        body.extend_from_slice(&self.tail);
        (
            [
                (header::CONTENT_TYPE.as_str(), "application/octet-stream"),
                (HEADER_LENGTH, &length),
            ],
            body,
        )
            .into_response()
    }
}
