use super::*;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

#[tokio::test]
async fn an_array_and_lines_are_appended_in_order() {
    let house = House::new();
    let first = house
        .post("/v1/examples", JSON, r#"[{"a":1},{"a":2}]"#)
        .await
        .ok();
    assert_eq!(
        first,
        serde_json::json!({"accepted": 2, "first_offset": 0, "next_offset": 2})
    );
    let lines = "{\"a\":3}\n\n{\"a\":4}\nnot json\n";
    let second = house.post("/v1/examples", LINES, lines).await.ok();
    assert_eq!(
        second,
        serde_json::json!({"accepted": 3, "first_offset": 2, "next_offset": 5})
    );
    let stored = house.log.records.lock().unwrap().clone();
    assert_eq!(stored[0], r#"{"a":1}"#);
    assert_eq!(stored[4], "not json");
    let bounds = house.get("/v1/examples").await.ok();
    assert_eq!(
        bounds,
        serde_json::json!({"first_offset": 0, "next_offset": 5})
    );
}

#[tokio::test]
async fn the_content_type_says_how_records_are_set_apart() {
    let house = House::new();
    for media in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let answer = house.post("/v1/examples", media, "[1]").await;
        answer.problem(415, "unsupported_media_type");
    }
    for media in ["application/json; charset=utf-8", "APPLICATION/JSON"] {
        house.post("/v1/examples", media, "[1]").await.ok();
    }
    for media in ["application/ndjson", "application/jsonl"] {
        house.post("/v1/examples", media, "1").await.ok();
    }
}

#[tokio::test]
async fn a_compressed_body_is_refused_whole() {
    let house = House::new();
    for (encoding, is_plain) in [
        ("gzip", false),
        ("identity, br", false),
        ("", true),
        ("Identity", true),
    ] {
        for (path, body) in [
            ("/v1/examples", "[1]"),
            ("/v1/predict", r#"{"rows":[[1,2]]}"#),
        ] {
            let mut request = posted(path, JSON, body);
            let encoding = encoding.parse().unwrap();
            request.headers_mut().insert("content-encoding", encoding);
            let answer = ask(house.public(), request).await;
            if is_plain {
                assert_ne!(answer.status, 415, "{path}: {}", answer.text());
            } else {
                let problem = answer.problem(415, "unsupported_media_type");
                assert!(
                    problem["detail"]
                        .as_str()
                        .unwrap()
                        .contains("Content-Encoding")
                );
            }
        }
    }
}

#[tokio::test]
async fn nothing_and_too_much_are_refused_before_anything_is_stored() {
    let house = House::limited(Settings {
        max_ingest_records: 2,
        max_ingest_bytes: 1024,
        ..Settings::default()
    });
    house
        .post("/v1/examples", JSON, "[]")
        .await
        .problem(400, "empty_request");
    house
        .post("/v1/examples", LINES, "\n \n")
        .await
        .problem(400, "empty_request");
    house
        .post("/v1/examples", JSON, "{")
        .await
        .problem(400, "invalid_json");
    let many = house.post("/v1/examples", JSON, "[1,2,3]").await;
    assert_eq!(many.problem(413, "too_many_records")["limit_records"], 2);
    let large = house.post("/v1/examples", LINES, "x".repeat(1025)).await;
    assert_eq!(large.problem(413, "body_too_large")["limit_bytes"], 1024);
    assert!(house.log.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_log_that_cannot_take_records_says_which_way_it_cannot() {
    let house = House::new();
    for (fault, status, code) in [
        (IngestError::Full, 507, "storage_full"),
        (IngestError::Busy, 429, "busy"),
        (
            IngestError::Io("/secret/path".into()),
            500,
            "storage_failed",
        ),
    ] {
        *house.log.fault.lock().unwrap() = Some(fault);
        let answer = house.post("/v1/examples", JSON, "[1]").await;
        answer.problem(status, code);
        assert!(!answer.text().contains("secret"));
    }
}

#[tokio::test]
async fn where_records_come_from_kafka_none_are_taken_here() {
    let house = House::with(Plan {
        kafka: true,
        ..Plan::default()
    });
    let answer = house.post("/v1/examples", JSON, "[1]").await;
    answer.problem(409, "wrong_source");
    house.get("/v1/examples").await.problem(409, "wrong_source");
}

#[tokio::test]
async fn while_training_has_halted_nothing_is_taken() {
    let house = House::new();
    let mut status = (**house.status.load()).clone();
    status.source.state = "halted".to_owned();
    house.status.store(Arc::new(status));
    let refused = house.post("/v1/examples", JSON, "[1]").await;
    refused.problem(503, "source_halted");
    assert!(house.log.records.lock().unwrap().is_empty());
    house.get("/v1/examples").await.ok();
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
}
