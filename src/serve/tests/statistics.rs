use super::*;

#[tokio::test]
async fn weights_are_the_report_and_the_classes() {
    let house = House::new();
    house
        .get("/v1/weights")
        .await
        .problem(503, "model_not_ready");
    house.board.store(Some(Arc::new(board_of(10))));
    let weights = house.get("/v1/weights").await.ok();
    assert_eq!(weights["step"], 10);
    assert_eq!(weights["lambda"], 5.0);
    assert_eq!(weights["effective_sample_size"], 0.8);
    // What is not a number yet is null.
    assert_eq!(weights["kl_to_uniform"], Value::Null);
    assert_eq!(weights["classes"]["fraud"]["weight_share"], 0.4);
    assert_eq!(weights["classes"]["fraud"]["examples"], 10);
    assert!(weights.get("history").is_none());
}

#[tokio::test]
async fn the_history_is_given_in_as_many_points_as_asked_for() {
    let house = House::new();
    house.board.store(Some(Arc::new(board_of(10))));
    let steps = async |query: &str| -> Vec<u64> {
        let weights = house.get(&format!("/v1/weights?{query}")).await.ok();
        let points = weights["history"].as_array().unwrap().clone();
        points
            .iter()
            .map(|point| point["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps("points=5").await, [2, 4, 6, 8, 10]);
    assert_eq!(steps("since=8").await, [9, 10]);
    assert_eq!(steps("points=1&since=4").await, [10]);
    let weights = house.get("/v1/weights?points=1").await.ok();
    assert_eq!(weights["class_order"], serde_json::json!(["ok", "fraud"]));
    assert_eq!(
        weights["history"][0]["weight_share"],
        serde_json::json!([0.6, 0.4])
    );
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let house = House::new();
    house.board.store(Some(Arc::new(board_of(2))));
    house
        .get("/v1/weights?points=many")
        .await
        .problem(400, "invalid_request");
    house
        .get("/v1/weights?point=1")
        .await
        .problem(400, "invalid_request");
    house.get("/v1/weights?learner=single").await.ok();
    let unknown = house.get("/v1/weights?learner=nobody").await;
    assert_eq!(unknown.problem(404, "unknown_learner")["field"], "learner");
}

#[tokio::test]
async fn the_hardest_examples_name_their_records() {
    let house = House::new();
    house
        .get("/v1/hardest")
        .await
        .problem(503, "model_not_ready");
    house.board.store(Some(Arc::new(board_of(2))));
    let hardest = house.get("/v1/hardest").await.ok()["hardest"].clone();
    assert_eq!(hardest.as_array().unwrap().len(), 2);
    assert_eq!(hardest[0]["id"], "tx-3");
    assert_eq!(hardest[0]["offset"], 3);
    assert_eq!(hardest[1]["id"], Value::Null);
    assert_eq!(
        hardest[0]["trail"],
        serde_json::json!([{"step": 2, "loss": 1.5}])
    );
    assert_eq!(hardest[0]["loss_now"], Value::Null, "nothing is served");
    let one = house.get("/v1/hardest?limit=1").await.ok();
    assert_eq!(one["hardest"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_hard_example_shows_its_loss_under_the_model_of_now() {
    let house = House::new();
    house.publish(Fake::new(7, 3));
    let mut board = board_of(2);
    house.board.store(Some(Arc::new(board.clone())));
    let answer = house.get("/v1/hardest?limit=1").await.ok();
    assert_eq!(answer["model_version"], 7);
    assert_eq!(answer["persistent"][0]["offset"], 0);
    for list in ["hardest", "persistent"] {
        let example = &answer[list][0];
        assert_eq!(example["loss"], 2.5);
        // The model gives the class of the label a quarter.
        let now = example["loss_now"].as_f64().unwrap();
        assert!((now - 4_f64.ln()).abs() < 1e-6, "{answer}");
        assert_eq!(example["prediction_now"], "ok");
    }
    // A row of another schema cannot be predicted.
    board.hardest[0].row = [0.25].into();
    house.board.store(Some(Arc::new(board)));
    let answer = house.get("/v1/hardest").await.ok();
    assert_eq!(answer["hardest"][0]["loss_now"], Value::Null);
    assert_eq!(answer["hardest"][0]["loss"], 2.5);
}

#[tokio::test]
async fn evaluation_and_learners_show_the_window() {
    let house = House::new();
    house
        .get("/v1/evaluation")
        .await
        .problem(503, "model_not_ready");
    assert_eq!(
        house.get("/v1/learners").await.ok()["learners"][0]["windowed"],
        Value::Null
    );
    house.board.store(Some(Arc::new(board_of(2))));
    let evaluation = house.get("/v1/evaluation").await.ok();
    assert_eq!(evaluation["window"]["pr_auc_rare"], 0.75);
    assert_eq!(evaluation["since_start"]["pr_auc_rare"], Value::Null);
    assert_eq!(evaluation["decision"]["rule"], "argmax");
    assert_eq!(evaluation["decision"]["history"], serde_json::json!([]));
    assert_eq!(evaluation["calibration"]["on"], false);
    assert_eq!(evaluation["drift"], serde_json::json!({}));
    let learners = house.get("/v1/learners").await.ok();
    assert_eq!(learners["learners"][0]["share"], 1.0);
    assert_eq!(
        learners["learners"][0]["windowed"]["balanced_accuracy"],
        0.9
    );
}

#[tokio::test]
async fn the_model_says_what_it_is_and_where_it_stands() {
    let house = House::new();
    let before = house.get("/v1/model").await.ok();
    assert_eq!(before["ready"], false);
    assert_eq!(before["schema"], Value::Null);
    house.publish(Fake::new(7, 42));
    house.board.store(Some(Arc::new(board_of(7))));
    house.status.store(Arc::new(Status {
        digest: Some("abc".into()),
        digest_examples: Some(200),
        settings: serde_json::json!({"learner.lambda": 5}),
        source: SourceFacts {
            kind: "embedded".into(),
            state: "running".into(),
            lag: [(0, 3), (1, 4)].into(),
            ..SourceFacts::default()
        },
        ..Status::default()
    }));
    let model = house.get("/v1/model").await.ok();
    assert_eq!(model["ready"], true);
    assert_eq!(model["version"], 7);
    assert_eq!(model["examples"], 224);
    assert_eq!(model["positions"]["0"], 42);
    assert_eq!(model["classes"], serde_json::json!(["ok", "fraud"]));
    let features = &model["schema"]["features"];
    assert_eq!(
        features[1],
        serde_json::json!({"name": "merchant", "kind": "categorical"})
    );
    assert_eq!(model["settings"]["learner.lambda"], 5);
    assert_eq!(model["digest"], "abc");
    assert_eq!(model["digest_examples"], 200);
    assert_eq!(model["lag"], 7);
    assert_eq!(model["counts"]["accepted"], 224);
}

#[tokio::test]
async fn live_is_the_process_and_ready_is_the_model() {
    let house = House::new();
    house.get("/healthz").await.ok();
    house.get("/readyz").await.problem(503, "model_not_ready");
    house.publish(Fake::new(7, 0));
    assert_eq!(house.get("/readyz").await.ok()["ready"], true);
    house.draining.send_replace(true);
    house.get("/healthz").await.ok();
    assert_eq!(
        house.get("/readyz").await.problem(503, "draining")["ready"],
        false
    );
    house.alive.store(false, Ordering::Release);
    house.get("/healthz").await.problem(503, "unavailable");
}

#[tokio::test]
async fn metrics_are_text() {
    let answer = House::new().get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "skewd_train_steps_total 7\n");
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
}

/// Data of the next event.
async fn event(body: &mut Body) -> Value {
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.contains("event: board\n"), "{text}");
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    serde_json::from_str(data).unwrap()
}

#[tokio::test]
async fn events_begin_at_once_and_follow_what_is_published() {
    let house = House::new();
    let response = house
        .public()
        .oneshot(request("GET", "/v1/events"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let first = event(&mut body).await;
    assert_eq!(first["ready"], false);
    assert_eq!(first["weights"], Value::Null);
    house.board.store(Some(Arc::new(board_of(5))));
    house.publish(Fake::new(5, 160));
    let second = event(&mut body).await;
    assert_eq!(second["ready"], true);
    assert_eq!(second["examples"], 160);
    assert_eq!(second["loss"], 0.2);
    assert_eq!(second["pr_auc"], 0.75);
    assert_eq!(second["point"]["step"], 5);
    assert_eq!(second["weights"]["kl_to_uniform"], Value::Null);
    assert_eq!(second["hardest"][0]["id"], "tx-3");
    // The end of the daemon ends the stream.
    house.draining.send_replace(true);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn subscribers_are_limited() {
    let house = House::limited(Settings {
        max_subscribers: 1,
        ..Settings::default()
    });
    let router = house.public();
    let first = router
        .clone()
        .oneshot(request("GET", "/v1/events"))
        .await
        .unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    ask(router.clone(), request("GET", "/v1/events"))
        .await
        .problem(429, "busy");
}
