use super::*;

const INFER: &str = "/v2/models/skewd/infer";

impl House {
    async fn infer(&self, body: &str) -> Answer {
        self.post(INFER, "application/json", body.to_owned()).await
    }
}

fn by_feature(amount: f64) -> String {
    format!(
        r#"{{"id": "42", "inputs": [
            {{"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [{amount}, -1]}},
            {{"name": "merchant", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]}}]}}"#
    )
}

#[tokio::test]
async fn the_server_and_the_model_describe_themselves() {
    let house = House::serving(0);
    for path in ["/v2", "/v2/"] {
        let server = house.get(path).await.ok();
        assert_eq!(server["name"], "skewd");
        assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
        assert!(server["extensions"].is_array());
    }
    for path in ["/v2/models/skewd", "/v2/models/skewd/versions/7"] {
        let model = house.get(path).await.ok();
        assert_eq!(model["name"], "skewd");
        assert_eq!(model["versions"], serde_json::json!(["7"]));
        let merchant =
            serde_json::json!({"name": "merchant", "datatype": "BYTES", "shape": [-1, 1]});
        assert_eq!(model["inputs"][1], merchant);
        assert_eq!(model["outputs"][1]["shape"], serde_json::json!([-1, 2]));
        assert_eq!(model["properties"]["labels"], r#"["ok","fraud"]"#);
    }
}

#[tokio::test]
async fn health_follows_the_model() {
    let house = House::new();
    assert_eq!(house.get("/v2/health/live").await.ok()["live"], true);
    for path in [
        "/v2/health/ready",
        "/v2/models/skewd/ready",
        "/v2/models/skewd",
    ] {
        house.get(path).await.problem(503, "model_not_ready");
    }
    house
        .infer(&by_feature(9.0))
        .await
        .problem(503, "model_not_ready");
    house.publish(Fake::new(7, 0));
    assert_eq!(house.get("/v2/health/ready").await.ok()["ready"], true);
    let ready = house.get("/v2/models/skewd/ready").await.ok();
    assert_eq!(ready, serde_json::json!({"name": "skewd", "ready": true}));
}

#[tokio::test]
async fn other_names_and_versions_are_unknown() {
    let house = House::serving(0);
    for path in [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/skewd/versions/6",
    ] {
        house.get(path).await.problem(404, "unknown_model");
    }
    let other = house
        .post("/v2/models/other/infer", "application/json", "{}")
        .await;
    other.problem(404, "unknown_model");
}

#[tokio::test]
async fn an_input_a_feature_is_answered_with_both_outputs() {
    let house = House::serving(0);
    let answer = house.infer(&by_feature(9.0)).await.ok();
    assert_eq!(answer["model_name"], "skewd");
    assert_eq!(answer["model_version"], "7");
    assert_eq!(answer["id"], "42");
    let outputs = &answer["outputs"];
    assert_eq!(outputs[0]["name"], "class");
    assert_eq!(outputs[0]["datatype"], "BYTES");
    assert_eq!(outputs[0]["shape"], serde_json::json!([2]));
    assert_eq!(outputs[0]["data"], serde_json::json!(["fraud", "ok"]));
    assert_eq!(outputs[1]["datatype"], "FP32");
    assert_eq!(outputs[1]["shape"], serde_json::json!([2, 2]));
    assert_eq!(
        outputs[1]["data"],
        serde_json::json!([0.25, 0.75, 0.75, 0.25])
    );
    assert_eq!(outputs[1]["parameters"]["labels"], r#"["ok","fraud"]"#);
}

#[tokio::test]
async fn one_tensor_one_output_and_no_content_type_will_do() {
    let house = House::serving(0);
    let body = r#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": [["9", "a"]]}],
                   "outputs": [{"name": "class"}]}"#;
    // A text is no number: the row is named by the same rules as elsewhere.
    house
        .post(INFER, "", body)
        .await
        .problem(400, "invalid_row");
    let body = body.replace("\"9\"", "9");
    let answer = house.post(INFER, "", body).await.ok();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert!(answer.get("id").is_none());
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let house = House::serving(0);
    house.infer("{}").await.problem(400, "invalid_json");
    let empty = house
        .infer(r#"{"inputs": []}"#)
        .await
        .problem(400, "empty_request");
    assert_eq!(empty["field"], "inputs");
    let shape = by_feature(9.0).replacen("[2, 1]", "[3, 1]", 1);
    assert_eq!(
        house.infer(&shape).await.problem(400, "invalid_request")["field"],
        "inputs[0].data"
    );
    let output = by_feature(9.0).replacen("{", r#"{"outputs": [{"name": "score"}],"#, 1);
    let problem = house.infer(&output).await.problem(400, "invalid_request");
    assert_eq!(problem["field"], "outputs[0].name");
    let row = by_feature(9.0).replace("-1", "\"x\"");
    assert_eq!(
        house.infer(&row).await.problem(400, "invalid_row")["field"],
        "rows[1].amount"
    );
}

#[tokio::test]
async fn tensors_travel_as_bytes_behind_the_json() {
    let house = House::serving(0);
    let head = r#"{"parameters": {"binary_data_output": true}, "inputs": [
        {"name": "amount", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
        {"name": "merchant", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}"#;
    let mut body = head.as_bytes().to_vec();
    body.extend_from_slice(&9.0_f32.to_le_bytes());
    let mut request = posted(INFER, "application/octet-stream", body);
    let length = head.len().to_string().parse().unwrap();
    request
        .headers_mut()
        .insert("inference-header-content-length", length);
    let answer = ask(house.public(), request).await;
    assert_eq!(answer.status, 200, "{answer:?}", answer = answer.body);
    let length: usize = answer
        .header("inference-header-content-length")
        .parse()
        .unwrap();
    let (head, tail) = answer.body.split_at(length);
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 9);
    assert_eq!(head["outputs"][1]["parameters"]["binary_data_size"], 8);
    assert_eq!(&tail[..9], b"\x05\0\0\0fraud");
    assert_eq!(tail[9..13], 0.25_f32.to_le_bytes());
    assert_eq!(tail[13..], 0.75_f32.to_le_bytes());
}

#[tokio::test]
async fn a_length_beyond_the_body_is_refused() {
    let house = House::serving(0);
    let mut request = posted(INFER, "application/octet-stream", by_feature(9.0));
    let length = "100000".parse().unwrap();
    request
        .headers_mut()
        .insert("inference-header-content-length", length);
    ask(house.public(), request)
        .await
        .problem(400, "invalid_request");
}
