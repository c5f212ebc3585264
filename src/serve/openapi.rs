//! `GET /openapi.json`: what the daemon answers, for generators and for people.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::openapi_operations::{OPERATIONS, Operation};
use super::problem::Code;
use super::routes::{Load, On, ROUTES, Route};

/// The bodies, by name.
const SCHEMAS: &str = include_str!("openapi_schemas.json");

static DOCUMENT: LazyLock<String> = LazyLock::new(|| build().to_string());

pub async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The whole document.
pub fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let route = ROUTES
            .iter()
            .find(|route| route.method == operation.method && route.path == operation.path);
        let Some(route) = route else { continue };
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method.to_ascii_lowercase()] = describe(operation, route);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "skewd",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Learns from a skewed stream while it runs",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "the public listener"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn describe(operation: &Operation, route: &Route) -> Value {
    let mut value = json!({
        "summary": operation.summary,
        "operationId": identifier(route),
        "responses": responses(operation, route),
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        value["parameters"] = json!(parameters);
    }
    if let Some(body) = body(route) {
        value["requestBody"] = body;
    }
    if route.on == On::Admin {
        value["servers"] = json!([{
            "url": "http://127.0.0.1:8081",
            "description": "the admin listener, at the address of admin.listen",
        }]);
    }
    value["security"] = match route.caller {
        Caller::Admin => json!([{"token": []}]),
        // The public token is asked for where one is set.
        Caller::Reader => json!([{"token": []}, {}]),
        Caller::Anyone => json!([]),
    };
    value
}

/// `POST /v1/predict` -> `post_v1_predict`.
fn identifier(route: &Route) -> String {
    let mut name = route.method.to_ascii_lowercase();
    for part in route.path.split('/') {
        name.push('_');
        name.extend(part.chars().filter(char::is_ascii_alphanumeric));
    }
    name
}

fn responses(operation: &Operation, route: &Route) -> Value {
    let mut responses = Map::new();
    let (media, schema) = if operation.answer.contains('/') {
        (operation.answer, json!({"type": "string"}))
    } else {
        ("application/json", reference(operation.answer))
    };
    let mut ok = json!({"description": "done", "content": {media: {"schema": schema}}});
    let as_bytes = match route.load {
        Load::Rows => "by Accept: rows of little-endian f32, a probability a class",
        Load::Tensors => "the JSON, and behind it the outputs with a binary_data_size",
        _ => "",
    };
    if !as_bytes.is_empty() {
        ok["content"]["application/octet-stream"] = json!({"schema": bytes(as_bytes)});
    }
    responses.insert("200".to_owned(), ok);
    let mut codes = operation.errors.to_vec();
    if route.caller != Caller::Anyone {
        codes.extend([Code::Unauthorized, Code::TooManyFailures]);
    }
    if route.caller == Caller::Admin {
        codes.push(Code::Forbidden);
    }
    codes.extend([Code::HostMissing, Code::HostNotAllowed]);
    codes.extend([Code::BodyTooLarge, Code::RequestTimeout, Code::Internal]);
    if route.load != Load::Probe {
        codes.extend([Code::Busy, Code::Draining, Code::DeadlineExceeded]);
    }
    if matches!(
        route.load,
        Load::Json | Load::Rows | Load::Tensors | Load::Records
    ) {
        codes.push(Code::UnsupportedMediaType);
    }
    for code in codes {
        let (status, name, title) = code.parts();
        let entry = responses.entry(status.to_string()).or_insert_with(|| {
            json!({
                "description": "",
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            })
        });
        let before = entry["description"].as_str().unwrap_or_default();
        let join = if before.is_empty() { "" } else { "; " };
        entry["description"] = json!(format!("{before}{join}`{name}`: {title}"));
    }
    Value::Object(responses)
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters: Vec<Value> = ["model", "version", "name"]
        .into_iter()
        .filter(|name| route.path.contains(&format!("{{{name}}}")))
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    let count = json!({"type": "integer", "minimum": 0});
    let query = match (route.method, route.path) {
        ("GET", "/v1/weights") => vec![
            ("points", "points of the history wanted", count.clone()),
            ("since", "only points after this step", count),
            ("learner", "whose statistics", json!({"type": "string"})),
        ],
        ("GET", "/v1/hardest") => vec![("limit", "examples wanted", count)],
        _ => Vec::new(),
    };
    for (name, description, schema) in query {
        parameters.push(
            json!({"name": name, "in": "query", "description": description, "schema": schema}),
        );
    }
    parameters
}

fn body(route: &Route) -> Option<Value> {
    let content = match route.load {
        Load::Probe | Load::Read | Load::Stream => return None,
        Load::Records => json!({
            "application/json": {"schema": reference("Records")},
            "application/x-ndjson": {"schema": {"type": "string", "description": "a record a line"}},
        }),
        Load::Tensors => json!({
            "application/json": {"schema": reference("V2InferRequest")},
            "application/octet-stream": {"schema": bytes(
                "the JSON, Inference-Header-Content-Length bytes of it, and behind it the inputs with a binary_data_size"
            )},
        }),
        Load::Rows => json!({
            "application/json": {"schema": reference("PredictRequest")},
            "application/octet-stream": {"schema": bytes(
                "rows of little-endian f32, a number a feature in the order of the schema; NaN = missing"
            )},
        }),
        Load::Json => json!({"application/json": {"schema": reference("Changes")}}),
    };
    Some(json!({"required": true, "content": content}))
}

fn bytes(description: &str) -> Value {
    json!({"type": "string", "format": "binary", "description": description})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_and_the_route_table_name_the_same_operations() {
        let document = build();
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.push((method.to_ascii_uppercase(), path.clone()));
            }
        }
        let mut routed: Vec<(String, String)> = ROUTES
            .iter()
            .map(|route| (route.method.to_owned(), route.path.to_owned()))
            .collect();
        described.sort();
        routed.sort();
        assert_eq!(described, routed);
        assert_eq!(OPERATIONS.len(), ROUTES.len());
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = build();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(!schemas.is_empty());
        let text = document.to_string();
        for name in schemas.keys() {
            assert!(
                text.contains(&format!("\"#/components/schemas/{name}\"")),
                "{name} is not used"
            );
        }
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is missing");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut names: Vec<String> = ROUTES.iter().map(identifier).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
