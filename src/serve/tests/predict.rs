use std::time::Duration;

use super::*;

#[tokio::test]
async fn rows_come_as_arrays_and_as_objects_and_mean_the_same() {
    let house = House::serving(42);
    let body = r#"{"rows": [[9, "shop"], {"merchant": "shop", "amount": 9}, {"amount": -1}, {"amount": 0.4}]}"#;
    let answer = house.predict(body).await.ok();
    assert_eq!(answer["model_version"], 7);
    assert_eq!(answer["trained_through"]["0"], 42);
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 4);
    assert_eq!(predictions[0], predictions[1]);
    assert_eq!(predictions[0]["class"], "fraud");
    assert_eq!(predictions[0]["decision"], "fraud");
    assert_eq!(predictions[0]["probabilities"]["fraud"], 0.75);
    assert_eq!(predictions[2]["class"], "ok");
    assert_eq!(predictions[2]["decision"], "ok");
    // The rule decides otherwise than by the most probable class.
    assert_eq!(predictions[3]["class"], "ok");
    assert_eq!(predictions[3]["decision"], "fraud");
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_named_with_its_field() {
    let house = House::serving(0);
    for (row, field, reason) in [
        (r#"{"amount": "much"}"#, "rows[2].amount", "feature_type"),
        (r#"["much", "x"]"#, "rows[2][0]", "feature_type"),
        ("[1]", "rows[2]", "dimension"),
        ("7", "rows[2]", "not_an_object"),
    ] {
        let body = format!(r#"{{"rows": [[1,"a"],[2,"b"],{row}]}}"#);
        let problem = house.predict(&body).await.problem(400, "invalid_row");
        assert_eq!(problem["field"], field, "{problem}");
        assert_eq!(problem["reason"], reason, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().starts_with(field),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn nothing_is_predicted_before_anything_was_learned() {
    let house = House::new();
    let answer = house.predict(r#"{"rows": [[1,"a"]]}"#).await;
    answer.problem(503, "model_not_ready");
}

#[tokio::test]
async fn a_body_that_is_not_the_question_is_refused() {
    let house = House::serving(0);
    for body in ["", "[]", "{", r#"{"row": [[1,"a"]]}"#, r#"{"rows": 3}"#] {
        house.predict(body).await.problem(400, "invalid_json");
    }
    let empty = house
        .predict(r#"{"rows": []}"#)
        .await
        .problem(400, "empty_request");
    assert_eq!(empty["field"], "rows");
}

#[tokio::test]
async fn rows_are_limited() {
    let house = House::limited(Settings {
        max_rows: 2,
        ..Settings::default()
    });
    house.publish(Fake::new(1, 0));
    house.predict(r#"{"rows": [[1,"a"],[1,"a"]]}"#).await.ok();
    let many = house
        .predict(r#"{"rows": [[1,"a"],[1,"a"],[1,"a"]]}"#)
        .await;
    assert_eq!(many.problem(413, "too_many_rows")["limit_rows"], 2);
}

#[tokio::test]
async fn an_offset_that_is_not_learned_yet_is_answered_with_the_positions() {
    let house = House::serving(42);
    let ask = |next: i64| format!(r#"{{"rows": [[1,"a"]], "min_offset": {{"0": {next}}}}}"#);
    house.predict(&ask(42)).await.ok();
    let problem = house
        .predict(&ask(43))
        .await
        .problem(412, "min_offset_not_reached");
    assert_eq!(problem["trained_through"]["0"], 42);
    assert_eq!(problem["min_offset"]["0"], 43);
    assert_eq!(problem["field"], "min_offset");
    let other = r#"{"rows": [[1,"a"]], "min_offset": {"5": 0}}"#;
    house
        .predict(other)
        .await
        .problem(412, "min_offset_not_reached");
}

#[tokio::test]
async fn a_request_waits_for_the_offset_it_asks_for() {
    let house = House::serving(42);
    let body = r#"{"rows": [[1,"a"]], "min_offset": {"0": 50}, "wait_ms": 5000}"#;
    let publish = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.publish(Fake::new(8, 49));
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.publish(Fake::new(9, 50));
    };
    let (answer, ()) = tokio::join!(house.predict(body), publish);
    assert_eq!(answer.ok()["model_version"], 9);
    let late = house
        .predict(r#"{"rows": [[1,"a"]], "min_offset": {"0": 51}, "wait_ms": 20}"#)
        .await;
    assert_eq!(
        late.problem(412, "min_offset_not_reached")["trained_through"]["0"],
        50
    );
}

#[tokio::test]
async fn those_that_wait_leave_places_for_others() {
    let house = House::limited(Settings {
        max_in_flight: 4,
        ..Settings::default()
    });
    house.publish(Fake::new(1, 42));
    let router = house.public();
    let body = r#"{"rows": [[1,"a"]], "min_offset": {"0": 50}, "wait_ms": 9000}"#;
    let wait = || {
        ask(
            router.clone(),
            posted("/v1/predict", "application/json", body),
        )
    };
    let waiting = [tokio::spawn(wait()), tokio::spawn(wait())];
    let two = HttpFact::Began { in_flight: 2 };
    while !house.facts.lock().unwrap().contains(&two) {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    wait().await.problem(429, "busy");
    house.predict(r#"{"rows": [[1,"a"]]}"#).await.ok();
    ask(router.clone(), request("GET", "/v1/model")).await.ok();
    house.publish(Fake::new(2, 50));
    for answer in waiting {
        answer.await.unwrap().ok();
    }
    wait().await.ok();
}

#[tokio::test]
async fn a_request_that_waits_hears_of_the_shutdown() {
    let house = House::serving(42);
    let body = r#"{"rows": [[1,"a"]], "min_offset": {"0": 50}, "wait_ms": 5000}"#;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.draining.send_replace(true);
    };
    let (answer, ()) = tokio::join!(house.predict(body), stop);
    answer.problem(503, "draining");
}

#[tokio::test]
async fn a_model_that_fails_tells_the_client_no_internals() {
    let house = House::serving(0);
    let one = |amount: f32| format!(r#"{{"rows": [[{amount}, "a"]]}}"#);
    let failed = house.predict(&one(FAILS)).await;
    failed.problem(500, "prediction_failed");
    assert!(!failed.text().contains("secret"));
    let problem = house
        .predict(&one(NOT_FINITE))
        .await
        .problem(500, "non_finite_output");
    assert_eq!(problem["field"], "rows[0]");
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let house = House::serving(0);
    let small = format!(r#"{{"rows": [[{PANICS}, "a"]]}}"#);
    house.predict(&small).await.problem(500, "internal");
    // Large bodies are worked on by another thread.
    let row = format!("[{PANICS}, \"a long name\"]");
    let large = format!(r#"{{"rows": [{}]}}"#, vec![row; 1024].join(", "));
    assert!(large.len() > 16 << 10);
    house.predict(&large).await.problem(500, "internal");
    house.predict(r#"{"rows": [[1,"a"]]}"#).await.ok();
}

#[tokio::test]
async fn a_large_request_is_answered_as_a_small_one() {
    let house = House::serving(0);
    let body = format!(
        r#"{{"rows": [{}]}}"#,
        vec![r#"[9, "a long name"]"#; 1024].join(", ")
    );
    let answer = house.predict(&body).await.ok();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 1024);
    assert_eq!(answer["predictions"][1023]["class"], "fraud");
}
