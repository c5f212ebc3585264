use super::*;

const BYTES: &str = "application/octet-stream";

impl House {
    fn of_numbers() -> Self {
        let house = House::new();
        house.publish(Fake::of_numbers(7, 42));
        house
    }

    async fn predict_as(&self, media: &str, accept: &str, body: impl Into<Body>) -> Answer {
        let mut request = posted("/v1/predict", media, body);
        request
            .headers_mut()
            .insert("accept", accept.parse().unwrap());
        ask(self.public(), request).await
    }

    async fn predict_bytes(&self, values: &[f32]) -> Answer {
        self.post("/v1/predict", BYTES, bytes(values)).await
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "{} bytes", bytes.len());
    numbers.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
}

#[tokio::test]
async fn rows_of_bytes_are_answered_as_the_same_rows_of_json() {
    let house = House::of_numbers();
    let json = house
        .predict(r#"{"rows": [[9, 1], [0.4, null], [-1, 0.5]]}"#)
        .await
        .ok();
    let values = [9.0, 1.0, 0.4, f32::NAN, -1.0, 0.5];
    assert_eq!(house.predict_bytes(&values).await.ok(), json);
    assert_eq!(json["predictions"][0]["class"], "fraud");
}

#[tokio::test]
async fn probabilities_are_bytes_for_who_accepts_them() {
    let house = House::of_numbers();
    let json = r#"{"rows": [[9, 1], [0.5, 2]]}"#;
    for (media, body) in [
        (BYTES, bytes(&[9.0, 1.0, 0.5, 2.0])),
        ("application/json", json.into()),
    ] {
        let answer = house.predict_as(media, BYTES, body).await;
        assert_eq!(answer.status, 200, "{media}");
        assert_eq!(answer.header("content-type"), BYTES);
        assert_eq!(answer.header("skewd-model-version"), "7");
        assert_eq!(answer.header("skewd-model-epoch"), "1");
        // Row after row, in the order of the classes: ok, fraud.
        assert_eq!(numbers(&answer.body), [0.25, 0.75, 0.5, 0.5]);
    }
    let refused = house.predict_as("application/json", BYTES, "{").await;
    refused.problem(400, "invalid_json");
    let answer = house
        .predict_as(BYTES, "*/*", bytes(&[9.0, 1.0]))
        .await
        .ok();
    assert_eq!(answer["predictions"][0]["probabilities"]["fraud"], 0.75);
}

#[tokio::test]
async fn bytes_that_are_no_whole_rows_are_refused_with_the_size_of_a_row() {
    let house = House::of_numbers();
    for length in [1, 7, 9, 12] {
        let body = vec![0_u8; length];
        let answer = house.post("/v1/predict", BYTES, body).await;
        let problem = answer.problem(400, "invalid_request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with(&format!("{length} bytes are no whole number of rows")),
            "{detail}"
        );
        assert!(detail.contains("8 in all"), "{detail}");
        assert_eq!(problem["features"], 2);
    }
    let empty = house.predict_bytes(&[]).await;
    empty.problem(400, "empty_request");
}

#[tokio::test]
async fn an_infinite_number_is_named_with_its_row_and_place() {
    let house = House::of_numbers();
    for value in [f32::INFINITY, f32::NEG_INFINITY] {
        let answer = house.predict_bytes(&[1.0, 2.0, 3.0, value]).await;
        let problem = answer.problem(400, "invalid_row");
        assert_eq!(problem["field"], "rows[1][1]");
        assert_eq!(problem["reason"], "non_finite");
    }
}

#[tokio::test]
async fn rows_of_bytes_have_the_limits_of_others() {
    let house = House::limited(Settings {
        max_rows: 2,
        ..Settings::default()
    });
    house
        .predict_bytes(&[1.0, 2.0])
        .await
        .problem(503, "model_not_ready");
    house.publish(Fake::of_numbers(1, 0));
    house.predict_bytes(&[1.0; 4]).await.ok();
    let many = house.predict_bytes(&[1.0; 6]).await;
    assert_eq!(many.problem(413, "too_many_rows")["limit_rows"], 2);
    let house = House::limited(Settings {
        max_body_bytes: 1024,
        ..Settings::default()
    });
    house.publish(Fake::of_numbers(1, 0));
    let large = house.predict_bytes(&[1.0; 512]).await;
    large.problem(413, "body_too_large");
}

#[tokio::test]
async fn bodies_beyond_the_small_ones_are_answered_alike() {
    let house = House::limited(Settings {
        max_rows: 3_000,
        ..Settings::default()
    });
    house.publish(Fake::of_numbers(7, 0));
    let values: Vec<f32> = (0..6_000).map(|value| value as f32 / 6e3).collect();
    let answer = house.predict_as(BYTES, BYTES, bytes(&values)).await;
    let probabilities = numbers(&answer.body);
    assert_eq!(probabilities.len(), values.len());
    for (row, p) in values.chunks(2).zip(probabilities.chunks(2)) {
        assert_eq!(p[1], row[0].clamp(0.25, 0.75));
    }
}

#[tokio::test]
async fn a_category_cannot_be_sent_as_a_number() {
    let house = House::serving(0);
    let problem = house
        .predict_bytes(&[1.0, 2.0])
        .await
        .problem(400, "invalid_request");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("merchant is a category"), "{detail}");
}

#[tokio::test]
async fn a_binary_tensor_is_read_as_the_same_tensor_in_json() {
    let house = House::of_numbers();
    let infer = |tensor: String, tail: Vec<u8>| {
        let head = format!(
            r#"{{"inputs": [{{"name": "x", "shape": [2, 2], "datatype": "FP32", {tensor}}}]}}"#
        );
        let length = head.len().to_string();
        let body = [head.into_bytes(), tail].concat();
        let mut request = posted("/v2/models/skewd/infer", BYTES, body);
        let name = "inference-header-content-length";
        request.headers_mut().insert(name, length.parse().unwrap());
        ask(house.public(), request)
    };
    let sized = |bytes: usize| format!(r#""parameters": {{"binary_data_size": {bytes}}}"#);
    let values = [9.0, 0.1, 0.4, -0.0];
    let json = infer(r#""data": [9.0, 0.1, 0.4, -0.0]"#.into(), Vec::new()).await;
    let binary = infer(sized(16), bytes(&values)).await;
    assert_eq!(binary.ok(), json.ok());
    assert_eq!(
        json.ok()["outputs"][0]["data"],
        serde_json::json!(["fraud", "ok"])
    );
    // Faults are named as they are for any other tensor.
    let short = infer(sized(12), bytes(&values[..3])).await;
    let problem = short.problem(400, "invalid_request");
    assert_eq!(problem["field"], "inputs[0].data");
    let beyond = infer(sized(16), bytes(&values[..3])).await;
    let problem = beyond.problem(400, "invalid_request");
    assert_eq!(problem["field"], "inputs[0].parameters");
    let missing = infer(sized(16), bytes(&[9.0, f32::NAN, 0.0, 0.0])).await;
    let problem = missing.problem(400, "invalid_request");
    assert_eq!(problem["field"], "inputs[0].data");
}
