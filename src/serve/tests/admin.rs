use super::*;

impl House {
    async fn order(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let mut request = request(method, path);
        let headers = request.headers_mut();
        if !token.is_empty() {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        if !body.is_empty() {
            headers.insert("content-type", "application/json".parse().unwrap());
        }
        *request.body_mut() = Body::from(body.to_owned());
        ask(admin(Arc::clone(&self.app)), request).await
    }
}

/// Answers the next command.
fn obey(
    mut commands: mpsc::Receiver<Command>,
    answer: impl FnOnce(Command) + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { answer(commands.recv().await.unwrap()) })
}

#[tokio::test]
async fn orders_need_the_admin_token() {
    let house = House::with(Plan {
        token: Some("reader-token"),
        ..Plan::default()
    });
    for path in [
        "/v1/pause",
        "/v1/resume",
        "/v1/checkpoint",
        "/v1/rollback",
        "/v1/discover",
    ] {
        house
            .order("POST", path, "", "")
            .await
            .problem(401, "unauthorized");
        house
            .order("POST", path, "guess", "")
            .await
            .problem(401, "unauthorized");
        house
            .order("POST", path, "reader-token", "")
            .await
            .problem(403, "forbidden");
    }
    house
        .order("PATCH", "/v1/settings", "", "{}")
        .await
        .problem(401, "unauthorized");
    // On the public listener's rules alone nobody becomes an operator.
    let open = House::new();
    open.order("POST", "/v1/pause", "", "")
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn settings_are_handed_over_as_they_came() {
    let mut house = House::new();
    let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
    let learner = obey(commands, |command| {
        let Command::Settings(changes, reply) = command else {
            panic!("{command:?}")
        };
        assert_eq!(changes, serde_json::json!({"learner.lambda": 2.5}));
        reply.send(Ok(serde_json::json!({"step": 12}))).unwrap();
    });
    let changes = r#"{"learner.lambda": 2.5}"#;
    let answer = house
        .order("PATCH", "/v1/settings", "admin-token", changes)
        .await;
    assert_eq!(answer.ok()["step"], 12);
    learner.await.unwrap();
}

#[tokio::test]
async fn a_setting_that_is_refused_is_named() {
    let mut house = House::new();
    let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
    obey(commands, |command| {
        let Command::Settings(_, reply) = command else {
            panic!("{command:?}")
        };
        let error = CommandError {
            status: 400,
            message: "learner.gamma = 2: give a number in (0, 1]".into(),
            field: Some("learner.gamma".into()),
        };
        reply.send(Err(error)).unwrap();
    });
    let answer = house
        .order(
            "PATCH",
            "/v1/settings",
            "admin-token",
            r#"{"learner.gamma": 2}"#,
        )
        .await;
    let problem = answer.problem(400, "invalid_request");
    assert_eq!(problem["field"], "learner.gamma");
}

#[tokio::test]
async fn a_body_that_is_no_change_never_reaches_the_learner() {
    let mut house = House::new();
    for (body, code) in [
        ("{}", "empty_request"),
        ("[]", "invalid_json"),
        ("{", "invalid_json"),
    ] {
        let answer = house
            .order("PATCH", "/v1/settings", "admin-token", body)
            .await;
        answer.problem(400, code);
    }
    let bare = house
        .order("PATCH", "/v1/settings", "admin-token", "")
        .await;
    bare.problem(415, "unsupported_media_type");
    assert!(house.commands.try_recv().is_err());
}

#[tokio::test]
async fn each_path_is_its_command() {
    for (path, expected) in [
        ("/v1/pause", "Pause"),
        ("/v1/resume", "Resume"),
        ("/v1/checkpoint", "Checkpoint"),
        ("/v1/discover", "Discover"),
        ("/v1/rollback", "Rollback"),
        ("/pause", "Pause"),
    ] {
        let mut house = House::new();
        let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
        let learner = obey(commands, move |command| {
            let (name, reply) = match command {
                Command::Pause(reply) => ("Pause", reply),
                Command::Resume(reply) => ("Resume", reply),
                Command::Checkpoint(reply) => ("Checkpoint", reply),
                Command::Discover(reply) => ("Discover", reply),
                Command::Rollback(_, reply) => ("Rollback", reply),
                Command::Settings(_, reply) => ("Settings", reply),
            };
            assert_eq!(name, expected);
            reply.send(Ok(Value::Null)).unwrap();
        });
        assert_eq!(
            house.order("POST", path, "admin-token", "").await.status,
            200
        );
        learner.await.unwrap();
    }
}

#[tokio::test]
async fn orders_that_are_no_object_or_say_something_twice_are_refused() {
    let house = House::new();
    for (method, path, body) in [
        ("POST", "/v1/rollback", "[]"),
        ("POST", "/v1/rollback", r#"["checkpoint-0000000001.skewd"]"#),
        ("POST", "/v1/rollback", r#"{"step":1,"step":2}"#),
        ("PATCH", "/v1/settings", "[]"),
        ("PATCH", "/v1/settings", r#"{"lambda":1,"lambda":2}"#),
    ] {
        let refused = house.order(method, path, "admin-token", body).await;
        refused.problem(400, "invalid_json");
        assert!(!refused.text().contains("RollbackTo"), "{}", refused.text());
    }
    let two = r#"{"step":1,"examples":2}"#;
    let refused = house
        .order("POST", "/v1/rollback", "admin-token", two)
        .await;
    refused.problem(400, "invalid_request");
    let house = House::serving(1);
    let refused = house.predict(r#"[[[1,"a"]],null,null]"#).await;
    refused.problem(400, "invalid_json");
    assert!(!refused.text().contains("Ask"), "{}", refused.text());
}

#[tokio::test]
async fn a_rollback_says_where_to_or_nothing() {
    for (body, expected) in [
        ("", RollbackTo::default()),
        (
            r#"{"checkpoint": "checkpoint-0000000007.skewd"}"#,
            RollbackTo {
                checkpoint: Some("checkpoint-0000000007.skewd".to_owned()),
                ..RollbackTo::default()
            },
        ),
        (
            r#"{"examples": 640}"#,
            RollbackTo {
                examples: Some(640),
                ..RollbackTo::default()
            },
        ),
    ] {
        let mut house = House::new();
        let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
        let learner = obey(commands, move |command| match command {
            Command::Rollback(to, reply) => {
                assert_eq!(to, expected);
                reply.send(Ok(Value::Null)).unwrap();
            }
            other => panic!("{other:?}"),
        });
        let answer = house
            .order("POST", "/v1/rollback", "admin-token", body)
            .await;
        assert_eq!(answer.status, 200, "{body}");
        learner.await.unwrap();
    }
    let house = House::new();
    house
        .order("POST", "/v1/rollback", "admin-token", r#"{"stepp": 3}"#)
        .await
        .problem(400, "invalid_json");
}

#[tokio::test]
async fn a_learner_that_is_busy_gone_or_not_in_that_state_is_told_apart() {
    let mut house = House::new();
    let (reply, _answer) = oneshot::channel();
    house.app.commands.try_send(Command::Pause(reply)).unwrap();
    let full = house.order("POST", "/v1/pause", "admin-token", "").await;
    full.problem(429, "busy");
    let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
    drop(commands);
    let gone = house.order("POST", "/v1/pause", "admin-token", "").await;
    gone.problem(503, "unavailable");
    let mut house = House::new();
    let commands = std::mem::replace(&mut house.commands, mpsc::channel(1).1);
    obey(commands, |command| {
        let Command::Discover(reply) = command else {
            panic!("{command:?}")
        };
        let error = CommandError {
            status: 409,
            message: "the schema is known already".into(),
            field: None,
        };
        reply.send(Err(error)).unwrap();
    });
    let known = house.order("POST", "/v1/discover", "admin-token", "").await;
    known.problem(409, "conflict");
}

#[tokio::test]
async fn health_and_metrics_answer_here_too_and_predictions_do_not() {
    let house = House::serving(0);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(house.order("GET", path, "", "").await.status, 200, "{path}");
    }
    let predict = house
        .order(
            "POST",
            "/v1/predict",
            "admin-token",
            r#"{"rows":[[1,"a"]]}"#,
        )
        .await;
    predict.problem(404, "not_found");
}
