use super::*;
use crate::serve::access::Caller;
use crate::serve::routes::{On, ROUTES};

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done_are_problems() {
    let house = House::new();
    house.get("/v1/nothing").await.problem(404, "not_found");
    let answer = ask(house.public(), request("DELETE", "/v1/predict")).await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    let answer = ask(house.public(), request("PUT", "/v1/examples")).await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("POST") && answer.header("allow").contains("GET"));
    // What belongs to the admin listener is unknown to the public one.
    let answer = ask(house.public(), request("POST", "/v1/pause")).await;
    answer.problem(404, "not_found");
}

#[tokio::test]
async fn every_answer_forbids_guessing_its_type() {
    let house = House::new();
    for path in ["/", "/healthz", "/v1/model", "/v1/nothing"] {
        let answer = house.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_the_daemons_is_refused_on_every_route() {
    let house = House::serving(0);
    for route in ROUTES.iter().filter(|route| route.on != On::Admin) {
        let strange = with(request(route.method, route.path), "host", "evil.example");
        ask(house.public(), strange)
            .await
            .problem(403, "host_not_allowed");
    }
    let strange = with(request("GET", "/v1/nothing"), "host", "evil.example");
    ask(house.public(), strange)
        .await
        .problem(403, "host_not_allowed");
}

#[tokio::test]
async fn where_a_token_is_set_every_reader_needs_it() {
    let house = House::with(Plan {
        token: Some("reader-token"),
        ..Plan::default()
    });
    house.publish(Fake::new(1, 0));
    for route in ROUTES.iter().filter(|route| route.on != On::Admin) {
        let bare = request(route.method, route.path);
        let answer = ask(house.public(), bare).await;
        if route.caller == Caller::Anyone {
            assert_ne!(answer.status, 401, "{}", route.path);
        } else {
            answer.problem(401, "unauthorized");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    for token in ["reader-token", "admin-token"] {
        let known = with(
            request("GET", "/v1/model"),
            "authorization",
            &format!("Bearer {token}"),
        );
        ask(house.public(), known).await.ok();
    }
    // A right token is worth more than a name: proxies call by names that nobody configured.
    let named = with(
        request("GET", "/v1/model"),
        "authorization",
        "Bearer reader-token",
    );
    ask(house.public(), with(named, "host", "evil.example"))
        .await
        .ok();
    let wrong = with(
        request("GET", "/v1/model"),
        "authorization",
        "Bearer reader-tokem",
    );
    ask(house.public(), wrong)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let house = House::limited(Settings {
        max_body_bytes: 1024,
        ..Settings::default()
    });
    let declared = with(
        posted("/v1/predict", "application/json", "x"),
        "content-length",
        "1025",
    );
    let answer = ask(house.public(), declared).await;
    answer.problem(413, "body_too_large");
    assert_eq!(answer.header("connection"), "close");
    let long = "x".repeat(1025);
    house.predict(&long).await.problem(413, "body_too_large");
    house
        .predict(&long[..1024])
        .await
        .problem(400, "invalid_json");
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let house = House::limited(Settings {
        request_timeout_ms: 50,
        ..Settings::default()
    });
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(1);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let answer = house.post("/v1/predict", "application/json", body).await;
    answer.problem(408, "request_timeout");
    assert_eq!(answer.header("connection"), "close");
    drop(sender);
}

#[tokio::test]
async fn bodies_share_a_bound_on_memory_and_give_it_back() {
    let house = House::limited(Settings {
        max_buffered_bytes: 4096,
        ..Settings::default()
    });
    let router = house.public();
    let send = async |bytes: usize| {
        let body = "x".repeat(bytes);
        ask(
            router.clone(),
            posted("/v1/predict", "application/json", body),
        )
        .await
    };
    send(5000).await.problem(429, "busy");
    for _ in 0..3 {
        send(4096).await.problem(400, "invalid_json");
    }
}

#[tokio::test]
async fn requests_in_flight_are_limited_and_probes_pass_all_the_same() {
    let house = House::limited(Settings {
        max_in_flight: 1,
        ..Settings::default()
    });
    house.publish(Fake::new(1, 42));
    let router = house.public();
    let body = r#"{"rows": [[1,"a"]], "min_offset": {"0": 50}, "wait_ms": 9000}"#;
    let waiting = tokio::spawn(ask(
        router.clone(),
        posted("/v1/predict", "application/json", body),
    ));
    while !house
        .facts
        .lock()
        .unwrap()
        .contains(&HttpFact::Began { in_flight: 1 })
    {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    ask(router.clone(), request("GET", "/v1/model"))
        .await
        .problem(429, "busy");
    assert_eq!(
        ask(router.clone(), request("GET", "/healthz")).await.status,
        200
    );
    assert_eq!(
        ask(router.clone(), request("GET", "/metrics")).await.status,
        200
    );
    house.publish(Fake::new(2, 50));
    waiting.await.unwrap().ok();
    ask(router, request("GET", "/v1/model")).await.ok();
}

#[tokio::test]
async fn while_draining_work_is_refused_and_probes_are_answered() {
    let house = House::serving(0);
    house.draining.send_replace(true);
    let answer = house.predict(r#"{"rows": [[1,"a"]]}"#).await;
    answer.problem(503, "draining");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(house.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn every_request_is_told_to_the_metrics_with_labels_of_closed_sets() {
    let house = House::new();
    house.get("/v1/model").await.ok();
    house.get("/v1/nothing").await;
    let strange = Request::builder()
        .method(Method::from_bytes(b"BREW").unwrap())
        .uri("/v1/model")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    ask(house.public(), strange)
        .await
        .problem(405, "method_not_allowed");
    let ended: Vec<_> = house
        .facts
        .lock()
        .unwrap()
        .iter()
        .filter_map(|fact| match *fact {
            HttpFact::Ended {
                route,
                method,
                status,
                in_flight,
                ..
            } => Some((route, method, status, in_flight)),
            HttpFact::Began { .. } => None,
        })
        .collect();
    assert_eq!(
        ended,
        [
            ("/v1/model", "GET", 200, 0),
            ("unmatched", "GET", 404, 0),
            ("unmatched", "other", 405, 0)
        ]
    );
}

#[tokio::test]
async fn every_route_of_the_document_is_routed() {
    let house = House::with(Plan {
        token: Some("reader-token"),
        ..Plan::default()
    });
    let routers = [
        (On::Public, house.public()),
        (On::Admin, admin(Arc::clone(&house.app))),
    ];
    let document = house.get("/openapi.json").await.ok();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for route in ROUTES {
        assert!(
            paths[route.path]
                .get(route.method.to_ascii_lowercase())
                .is_some()
        );
        for (on, router) in &routers {
            if route.on != On::Both && route.on != *on {
                continue;
            }
            // Without a token nothing happens, and yet the path is known.
            let path = route.path.replace(['{', '}'], "");
            let answer = ask(router.clone(), request(route.method, &path)).await;
            assert_ne!(answer.status, 405, "{path}");
            let unknown = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            assert!(
                route.path.contains("/assets/") || unknown["code"] != "not_found",
                "{path}"
            );
        }
    }
}
