//! Several learners side by side: what is served, and that it is exact.

use crate::support::house::{House, PORTFOLIO, digest, feed};

/// The same with calibrated probabilities, and alerts by a budget.
fn decided() -> Vec<&'static str> {
    let mut settings = PORTFOLIO.to_vec();
    settings.extend([
        "decision.calibration=on",
        "decision.rule=alert_budget",
        "decision.alerts_per_hour=40",
    ]);
    settings
}

#[test]
fn a_portfolio_that_is_restored_anywhere_goes_on_as_one_that_never_stopped() {
    for house in [
        House::new(&PORTFOLIO, 4096),
        House::new(&decided(), 4096),
        House::with_a_young_class(&PORTFOLIO),
    ] {
        let mut whole = house.learner();
        feed(&mut whole, &house.arrivals[..512]);
        for chunk in house.arrivals[512..].chunks(512) {
            let mut restored = house.restored(&whole);
            feed(&mut restored, chunk);
            feed(&mut whole, chunk);
            assert_eq!(digest(&restored), digest(&whole), "{}", whole.examples());
        }
        assert_eq!(whole.examples(), house.arrivals.len() as u64);
    }
}

#[test]
fn what_is_served_is_what_was_scored_calibrated_or_not() {
    for settings in [&PORTFOLIO[..], &decided()] {
        serves_what_it_scores(&House::new(settings, 2048), 7);
        // A row of the young class is mixed by weights of its own.
        serves_what_it_scores(&House::with_a_young_class(settings), 100);
    }
}

fn serves_what_it_scores(house: &House, row: usize) {
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals);
    let shares = learner.shares();
    assert_eq!(shares.len(), 9, "six members, three averages");
    assert!(
        (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
        "{shares:?}"
    );
    assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
    let spread = shares.iter().any(|share| (share - 1.0 / 9.0).abs() > 0.01);
    assert!(spread, "the weights never moved: {shares:?}");
    let snapshot = learner.snapshot().unwrap().unwrap();
    let predictions = snapshot.predict(&[house.row(row)]).unwrap();
    // What the next batch is scored by is what was served: the same features, the same state.
    feed(&mut learner, &house.arrivals[row..=row]);
    learner.predict_waiting().unwrap();
    let (_, last) = learner.last().unwrap();
    assert_eq!(predictions[0].probabilities.len(), last.row(0).len());
    for (served, scored) in predictions[0].probabilities.iter().zip(last.row(0)) {
        assert!((served - scored).abs() < 1e-6, "{served} {scored}");
    }
}

#[test]
fn a_schema_that_grows_changes_no_prediction_of_any_member() {
    let house = House::new(&PORTFOLIO, 1024);
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals);
    let before = learner.snapshot().unwrap().unwrap();
    let mut wider = (**house.intake.schema().unwrap()).clone();
    let mut feature = wider.features[0].clone();
    feature.name = "new".to_owned();
    wider.features.insert(1, feature);
    learner.grow(&wider, &[]).unwrap();
    let after = learner.snapshot().unwrap().unwrap();
    let mut row = house.row(3).to_vec();
    let narrow = before.predict(&[row.clone().into()]).unwrap();
    row.insert(1, 0.5);
    let wide = after.predict(&[row.into()]).unwrap();
    for (narrow, wide) in narrow[0].probabilities.iter().zip(&wide[0].probabilities) {
        assert!((narrow - wide).abs() < 1e-6, "{narrow} {wide}");
    }
    assert_eq!(learner.examples(), 1024);
}

#[test]
fn rehearsed_rows_move_the_model_and_are_in_no_count() {
    let settings = [
        "learner.batch_size=16",
        "learner.rehearsal_rows=8",
        "learner.lambda=0.5",
    ];
    let house = House::new(&settings, 1024);
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals);
    let board = learner.board(None);
    assert_eq!((board.examples, board.evaluation.examples), (1024, 1024));
    let counted: u64 = board
        .weights
        .classes
        .values()
        .map(|class| class.examples)
        .sum();
    assert_eq!(counted, 1024);
    assert!(board.weights.clipped_share <= 1.0, "{:?}", board.weights);
    let (batch, last) = learner.last().unwrap();
    assert_eq!(
        (batch.len(), last.weights.len(), last.losses.len()),
        (16, 16, 16)
    );
}

/// Every loss, optimizer and schedule learns, and goes on after a restart as if there had been none.
#[test]
fn every_loss_and_schedule_learns_and_survives_a_restart() {
    for settings in [
        &["loss.kind=focal"][..],
        &["loss.kind=ldam", "loss.class_balanced=outside"],
        &["loss.prior_adjustment=1.0"],
        &[
            "loss.class_balanced=inside",
            "learner.optimizer=adam",
            "learner.learning_rate=0.001",
        ],
        &["learner.schedule=warmup"],
        &["learner.schedule=cosine", "learner.schedule_steps=100"],
        &["learner.schedule=step", "learner.step_every=40"],
        &[
            "learner.schedule=damped_lambda",
            "learner.damped_examples=1000",
        ],
        &["learner.lambda_anneal_examples=2000"],
        &["learner.kl_budget=0.2"],
        &["learner.averaging_examples=500"],
    ] {
        let mut all = vec!["learner.batch_size=16"];
        all.extend(settings);
        let house = House::new(&all, 2048);
        let mut whole = house.learner();
        feed(&mut whole, &house.arrivals[..1024]);
        let mut again = house.restored(&whole);
        feed(&mut whole, &house.arrivals[1024..]);
        feed(&mut again, &house.arrivals[1024..]);
        assert_eq!(digest(&again), digest(&whole), "{settings:?}");
        assert_eq!(whole.steps(), 128, "{settings:?}");
        let board = whole.board(None);
        let accuracy = board.evaluation.window.balanced_accuracy;
        assert!(
            accuracy.is_some_and(|accuracy| accuracy > 0.55),
            "{settings:?}: {accuracy:?}"
        );
    }
}

#[test]
fn losses_and_schedules_each_lead_elsewhere() {
    let run = |setting: &str| {
        let house = House::new(&[setting], 1024);
        let mut learner = house.learner();
        feed(&mut learner, &house.arrivals);
        digest(&learner)
    };
    let mut digests: Vec<String> = [
        "seed=1",
        "loss.kind=focal",
        "loss.kind=ldam",
        "loss.prior_adjustment=0.5",
        "loss.class_balanced=inside",
        "loss.class_balanced=outside",
        "learner.schedule=warmup",
        "learner.schedule=damped_lambda",
        "learner.lambda_anneal_examples=500",
        "learner.kl_budget=0.1",
        "learner.optimizer=adam",
        "learner.rehearsal_rows=4",
    ]
    .into_iter()
    .map(run)
    .collect();
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
