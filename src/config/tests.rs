//! Layers, checks, and what every setting can be.

use super::*;

fn load(assignments: &[&str]) -> Result<Config, Error> {
    let assignments: Vec<String> = assignments.iter().map(|a| (*a).to_owned()).collect();
    Config::load(&[], std::iter::empty(), &assignments)
}

#[test]
fn defaults_pass_their_own_checks() {
    assert_eq!(load(&[]).unwrap(), Config::default());
}

#[test]
fn a_word_and_a_toml_string_are_the_same_value() {
    assert_eq!(
        load(&["model.kind=linear"]).unwrap(),
        load(&["model.kind=\"linear\""]).unwrap()
    );
}

#[test]
fn lambda_takes_a_number_a_negative_number_and_inf() {
    for (text, expected) in [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-5", -5.0),
        ("inf", f64::INFINITY),
    ] {
        let config = load(&[&format!("learner.lambda={text}")]).unwrap();
        assert_eq!(config.learner.lambda.0, expected);
    }
    let error = load(&["learner.lambda=0"]).unwrap_err();
    assert_eq!(error.key, "learner.lambda");
}

#[test]
fn who_describes_a_learner_gets_that_one_as_it_is_and_else_a_calibrated_portfolio() {
    use evaluate::Calibration;
    use learner::Mode;
    for (assignments, mode, calibration) in [
        (&[][..], Mode::Portfolio, Calibration::On),
        (&["learner.batch_size=32"], Mode::Portfolio, Calibration::On),
        (&["schema.label=y"], Mode::Portfolio, Calibration::On),
        (&["learner.lambda=2"], Mode::Single, Calibration::Off),
        (&["model.kind=linear"], Mode::Single, Calibration::Off),
        (&["loss.kind=focal"], Mode::Single, Calibration::Off),
        (
            &["learner.lambda=2", "learner.mode=portfolio"],
            Mode::Portfolio,
            Calibration::On,
        ),
        (
            &["learner.lambda=2", "decision.calibration=on"],
            Mode::Single,
            Calibration::On,
        ),
        (
            &["decision.calibration=off"],
            Mode::Portfolio,
            Calibration::Off,
        ),
    ] {
        let config = load(assignments).unwrap();
        assert_eq!(config.learner.mode, mode, "{assignments:?}");
        let task = config.task().unwrap();
        assert_eq!(task.decision.calibration, calibration, "{assignments:?}");
    }
}

#[test]
fn places_that_cannot_work_are_refused_by_their_key() {
    assert_eq!(load(&["data_dir="]).unwrap_err().key, "data_dir");
    for (public, admin) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost:80", "0.0.0.0:80"),
    ] {
        let error = load(&[
            &format!("http.listen={public}"),
            &format!("admin.listen={admin}"),
            "admin.token_file=t",
        ]);
        assert_eq!(error.unwrap_err().key, "admin.listen");
    }
    load(&["http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"]).unwrap();
}

#[test]
fn a_decay_that_takes_all_is_refused() {
    let error = load(&["learner.weight_decay=1e6"]).unwrap_err();
    assert_eq!(error.key, "learner.weight_decay");
    assert!(error.reason.contains("20"), "{error}");
    load(&["learner.weight_decay=0.01"]).unwrap();
    assert_eq!(
        load(&["learner.learning_rate=1e9"]).unwrap_err().key,
        "learner.learning_rate"
    );
}

#[test]
fn what_is_no_file_of_settings_is_refused_without_reading_all_of_it() {
    for path in ["/dev/zero", "/"] {
        let error = Config::load(&[path.into()], std::iter::empty(), &[]).unwrap_err();
        assert_eq!(error.key, path);
        assert!(error.reason.contains("after -c"), "{error}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let error = load(&["learner.lamda=5"]).unwrap_err();
    assert_eq!(error.key, "learner.lamda");
    assert!(error.reason.contains("learner.lambda"), "{}", error.reason);
    let error = load(&["lerner.lambda=5"]).unwrap_err();
    assert!(error.reason.contains("learner.lambda"), "{}", error.reason);
}

#[test]
fn a_bad_value_names_key_value_and_reason() {
    let error = load(&["learner.gamma=1.5"]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("learner.gamma = 1.5: "), "{text}");
    let error = load(&["learner.batch_size=many"]).unwrap_err();
    assert_eq!(error.key, "learner.batch_size");
    let error = load(&["model.kind=forest"]).unwrap_err();
    assert!(error.to_string().contains("linear"), "{error}");
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("a.toml");
    let second = dir.path().join("b.toml");
    std::fs::write(&first, "seed = 2\n[learner]\ngamma = 0.2\nbatch_size = 7\n").unwrap();
    std::fs::write(&second, "[learner]\ngamma = 0.3\n").unwrap();
    let environment = [
        ("SKEWD_LEARNER__GAMMA".to_owned(), "0.4".to_owned()),
        ("SKEWD_SEED".to_owned(), "9".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    let config = Config::load(
        &[first, second],
        environment.into_iter(),
        &["learner.gamma=0.5".to_owned()],
    )
    .unwrap();
    assert_eq!(config.learner.gamma, 0.5);
    assert_eq!(config.learner.batch_size, 7);
    assert_eq!(config.seed, 9);
}

#[test]
fn lists_may_be_typed_with_commas_and_numbers() {
    let config = load(&["schema.classes=[0, 1]", "schema.features=a,b"]).unwrap();
    assert_eq!(config.schema.classes, ["0", "1"]);
    assert_eq!(config.schema.features, ["a", "b"]);
    let config = load(&["model.hidden=[8]"]).unwrap();
    assert_eq!(config.model.hidden, [8]);
}

#[test]
fn an_unknown_variable_is_refused_with_its_name() {
    let environment = [("SKEWD_LEARNER__GAMA".to_owned(), "0.4".to_owned())];
    let error = Config::load(&[], environment.into_iter(), &[]).unwrap_err();
    assert!(error.reason.contains("learner.gamma"), "{error}");
}

#[test]
fn settings_come_back_from_where_they_are_written_down_as_they_were() {
    for assignment in [
        r#"schema.label=" a""#,
        r#"schema.label="1e5""#,
        r#"schema.label="[]""#,
        r#"schema.id="0x10""#,
        r#"schema.weight='"w"'"#,
        r#"schema.classes=["\u007f", "b"]"#,
        r#"decision.costs={"a=b" = 2}"#,
    ] {
        let config = load(&[assignment]).unwrap();
        assert_eq!(config.with(&config.learning()), Ok(config), "{assignment}");
    }
}

#[test]
fn a_name_of_endless_parts_is_no_setting() {
    let endless = format!("{}a=1", "a.".repeat(200_000));
    let error = load(&[&endless]).unwrap_err();
    assert!(error.reason.starts_with("is not a setting"), "{error}");
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn learning_settings_leave_out_where_things_are() {
    let learning = Config::default().learning();
    assert!(learning.contains_key("learner.lambda"));
    assert!(learning.contains_key("seed"));
    assert!(
        !learning
            .keys()
            .any(|key| key.starts_with("http.") || key == "data_dir")
    );
}
