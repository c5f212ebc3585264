//! The HTTP contract, against the running program.

use serde_json::{Value, json};

use crate::support::{Daemon, as_json, rows};

fn learned(dir: &std::path::Path) -> Daemon {
    let daemon = Daemon::start(dir, &["schema.features=a,b,c,d"]);
    daemon.feed(&as_json(&rows(1280, 3)));
    daemon.wait_for_examples(1280);
    daemon
}

fn predict(daemon: &Daemon, body: &Value) -> (u16, Value) {
    daemon.post("/v1/predict", "application/json", body.to_string())
}

#[test]
fn predictions_name_the_model_and_what_it_was_trained_through() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    let (status, answer) = predict(
        &daemon,
        &json!({"rows": [[0.1, 0.2, 0.3, 0.4], {"d": 1.9, "a": 1.5, "b": 1.5, "c": 1.5}]}),
    );
    assert_eq!(status, 200, "{answer}");
    assert!(answer["model_version"].as_u64().unwrap() > 0);
    assert_eq!(answer["trained_through"]["0"], 1280);
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for prediction in predictions {
        let total: f64 = prediction["probabilities"]
            .as_object()
            .unwrap()
            .values()
            .map(|p| p.as_f64().unwrap())
            .sum();
        assert!((total - 1.0).abs() < 1e-5);
    }
    assert_eq!(predictions[0]["class"], "common");
    assert_eq!(predictions[1]["class"], "rare");
}

#[test]
fn rows_of_bytes_get_the_predictions_of_the_same_rows_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    let values = [0.125_f32, 0.25, f32::NAN, 0.5, 1.5, 1.5, 1.5, 2.0];
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let (status, binary) = daemon.post("/v1/predict", "application/octet-stream", &bytes);
    assert_eq!(status, 200, "{binary}");
    let rows = json!([[0.125, 0.25, null, 0.5], [1.5, 1.5, 1.5, 2.0]]);
    let (_, json) = predict(&daemon, &json!({"rows": rows}));
    assert_eq!(binary["predictions"], json["predictions"]);
    let (status, refused) = daemon.post("/v1/predict", "application/octet-stream", &bytes[..31]);
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_request")));
}

#[test]
fn read_your_own_label_waits_or_says_where_training_is() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    let rows = json!([[0.1, 0.2, 0.3, 0.4]]);
    let (status, _) = predict(&daemon, &json!({"rows": rows, "min_offset": {"0": 1280}}));
    assert_eq!(status, 200);
    let (status, answer) = predict(
        &daemon,
        &json!({"rows": rows, "min_offset": {"0": 99999}, "wait_ms": 50}),
    );
    assert_eq!(status, 412, "{answer}");
    assert!(answer.to_string().contains("1280"), "{answer}");
    // An answer that waits gets its model.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            predict(
                &daemon,
                &json!({"rows": rows, "min_offset": {"0": 1344}, "wait_ms": 9000}),
            )
        });
        daemon.feed(&as_json(&crate::support::rows(64, 8)));
        let (status, answer) = waiting.join().unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(answer["trained_through"]["0"].as_u64().unwrap() >= 1344);
    });
}

#[test]
fn nothing_is_predicted_before_anything_was_learned() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let (status, answer) = predict(&daemon, &json!({"rows": [[1]]}));
    assert_eq!(status, 503);
    assert!(answer.to_string().contains("model_not_ready"), "{answer}");
    assert_eq!(daemon.get("/healthz").0, 200);
    assert_eq!(daemon.get("/readyz").0, 503);
    // Who asks too early is refused, and nothing that waits is given up for it.
    daemon.feed(&[r#"{"a":1,"b":2,"c":3,"d":4}"#.to_owned()]);
    daemon.wait_for("a record to wait", |model| {
        model["discovering"]["unlabelled"] == 1
    });
    let (status, answer) = daemon.admin("POST", "/v1/discover", "");
    assert_eq!(status, 409, "{answer}");
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["discovering"]["unlabelled"], 1, "{model}");
    assert_eq!(model["counts"]["unlabelled"], 0, "{model}");
    // A slow start: records wait for the schema until an operator says that these are enough.
    daemon.feed(&as_json(&rows(100, 3)));
    let (status, answer) = daemon.admin("POST", "/v1/discover", "");
    assert_eq!(status, 200, "{answer}");
    daemon.wait_for_examples(100);
    assert_eq!(daemon.get("/readyz").0, 200);
}

#[test]
fn bad_requests_name_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    for (body, status, word) in [
        (
            json!({"rows": [[1, 2, 3, 4], [1, 2, "x", 4]]}).to_string(),
            400,
            "rows[1]",
        ),
        (json!({"rows": [{"a": "x"}]}).to_string(), 400, "rows[0]"),
        (json!({"rows": [[1, 2]]}).to_string(), 400, "rows[0]"),
        ("{\"rows\": [[1e39, 1, 1, 1]]}".to_owned(), 400, "rows[0]"),
        (json!({"row": [[1, 2]]}).to_string(), 400, "row"),
        ("{\"rows\": [[1,2,3".to_owned(), 400, "column"),
    ] {
        let (found, answer) = daemon.post("/v1/predict", "application/json", &body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(word),
            "{body}: {answer}"
        );
        assert_eq!(answer["error"], answer["detail"]);
        assert_eq!(answer["status"], status);
    }
    assert_eq!(daemon.post("/v1/examples", "text/plain", "{}").0, 415);
    assert_eq!(daemon.get("/v1/predict").0, 405);
    assert_eq!(daemon.get("/v1/nothing").0, 404);
    let large = "x".repeat(2 << 20);
    assert_eq!(
        daemon.post("/v1/predict", "application/json", &large).0,
        413
    );
}

#[test]
fn the_statistics_are_those_of_the_learner() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    daemon.admin("POST", "/v1/checkpoint", "");
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let weights = loop {
        let (status, weights) = daemon.get("/v1/weights?points=10");
        assert_eq!(status, 200);
        if weights["classes"]["common"]["examples"]
            .as_u64()
            .unwrap_or(0)
            + weights["classes"]["rare"]["examples"].as_u64().unwrap_or(0)
            == 1280
        {
            break weights;
        }
        assert!(std::time::Instant::now() < deadline, "{weights}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    for field in [
        "lambda",
        "gamma",
        "log_s",
        "objective",
        "effective_sample_size",
        "kl_to_uniform",
        "max_weight",
        "clipped_share",
    ] {
        assert!(weights[field].is_number(), "{field}: {weights}");
    }
    let rare = &weights["classes"]["rare"];
    assert!(
        rare["weight_share"].as_f64() > rare["example_share"].as_f64(),
        "{rare}"
    );
    assert!(weights["history"].as_array().unwrap().len() <= 10);
    let (_, hardest) = daemon.get("/v1/hardest");
    let text = hardest.to_string();
    for field in [
        "partition",
        "offset",
        "label",
        "prediction",
        "loss",
        "weight",
    ] {
        assert!(text.contains(&format!("\"{field}\"")), "{text}");
    }
    let (_, evaluation) = daemon.get("/v1/evaluation");
    assert!(evaluation.to_string().contains("pr_auc"), "{evaluation}");
    let (_, model) = daemon.get("/v1/model");
    assert_eq!(model["examples"], 1280);
    assert_eq!(model["digest_examples"], 1280);
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert_eq!(
        daemon.get("/openapi.json").1["openapi"]
            .as_str()
            .unwrap()
            .chars()
            .next(),
        Some('3')
    );
    let (status, v2) = daemon.get("/v2");
    assert_eq!(status, 200);
    assert_eq!(v2["name"], "skewd");
}

#[test]
fn settings_change_while_it_runs_and_only_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = learned(dir.path());
    let unauthorised = crate::support::agent()
        .post(format!("http://{}/v1/pause", daemon.admin))
        .send("")
        .unwrap();
    assert_eq!(unauthorised.status(), 401);
    assert_eq!(daemon.post("/v1/pause", "application/json", "").0, 404);
    let (status, answer) = daemon.admin("PATCH", "/v1/settings", r#"{"learner.lambda": 2.5}"#);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = daemon.admin("PATCH", "/v1/settings", r#"{"learner.lambda": 0}"#);
    assert!(status == 400 || status == 422, "{status} {answer}");
    assert!(
        answer["detail"].as_str().unwrap().contains("lambda"),
        "{answer}"
    );
    assert_eq!(daemon.admin("POST", "/v1/pause", "").0, 200);
    daemon.feed(&as_json(&rows(640, 8)));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(daemon.get("/v1/model").1["examples"], 1280);
    assert_eq!(daemon.admin("POST", "/v1/resume", "").0, 200);
    daemon.wait_for_examples(1920);
    let (_, weights) = daemon.get("/v1/weights");
    assert_eq!(weights["lambda"], 2.5);
    assert_eq!(daemon.stop(), Some(0));
}
