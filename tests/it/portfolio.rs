//! Several learners side by side: what is served, and that it is exact.

use std::sync::Arc;

use skewd::codec::Intake;
use skewd::config::Config;
use skewd::example::{Arrival, Record};
use skewd::learner::{Event, Learner};

use crate::support::{as_json, rows};

const PORTFOLIO: [&str; 6] = [
    "learner.mode=portfolio",
    "schema.encoding=robust",
    "schema.recent_shares=true",
    "learner.batch_size=16",
    "learner.batch_linger_ms=off",
    "model.hidden=[8]",
];

fn config() -> Config {
    let settings = PORTFOLIO.map(str::to_owned);
    Config::load(&[], std::iter::empty(), &settings).unwrap()
}

/// A stream of so many examples, decoded.
fn arrivals(count: usize) -> (Intake, Vec<Arrival>) {
    let mut intake = Intake::new(&config().schema, None);
    let mut arrivals = Vec::new();
    for (offset, line) in as_json(&rows(count, 3)).into_iter().enumerate() {
        intake.push(Record::new(0, offset as i64, line), &mut arrivals);
    }
    (intake, arrivals)
}

fn feed(learner: &mut Learner, arrivals: &[Arrival]) {
    for arrival in arrivals {
        learner.handle(Event::Arrival(arrival)).unwrap();
    }
}

fn digest(learner: &Learner) -> String {
    learner.save().unwrap().unwrap().digest()
}

#[test]
fn a_portfolio_that_is_restored_anywhere_ends_as_one_that_never_stopped() {
    let (intake, arrivals) = arrivals(4096);
    let mut whole = Learner::new(config().task().unwrap());
    let schema = Arc::clone(intake.schema().unwrap());
    whole.handle(Event::Schema(schema)).unwrap();
    for (part, chunk) in arrivals.chunks(512).enumerate() {
        feed(&mut whole, chunk);
        let state = whole.save().unwrap().unwrap();
        let task = config().task().unwrap();
        let mut restored = Learner::restore(task, &state, whole.positions().clone()).unwrap();
        assert_eq!(digest(&restored), digest(&whole), "part {part}");
        // The rest of the stream teaches both the same.
        let mut twin =
            Learner::restore(config().task().unwrap(), &state, whole.positions().clone()).unwrap();
        let rest = &arrivals[(part + 1) * 512..];
        feed(&mut restored, &rest[..rest.len().min(1024)]);
        feed(&mut twin, &rest[..rest.len().min(512)]);
        if rest.len() >= 1024 {
            feed(&mut twin, &rest[512..1024]);
        }
        assert_eq!(digest(&restored), digest(&twin), "part {part}");
    }
    let mut again = Learner::new(config().task().unwrap());
    let schema = Arc::clone(intake.schema().unwrap());
    again.handle(Event::Schema(schema)).unwrap();
    feed(&mut again, &arrivals[..2048]);
    let state = again.save().unwrap().unwrap();
    let task = config().task().unwrap();
    let mut again = Learner::restore(task, &state, again.positions().clone()).unwrap();
    feed(&mut again, &arrivals[2048..]);
    assert_eq!(digest(&again), digest(&whole));
}

#[test]
fn what_is_served_is_the_mixture_that_was_scored() {
    let (intake, arrivals) = arrivals(2048);
    let mut learner = Learner::new(config().task().unwrap());
    let schema = Arc::clone(intake.schema().unwrap());
    learner.handle(Event::Schema(schema)).unwrap();
    feed(&mut learner, &arrivals);
    let shares = learner.shares();
    assert_eq!(shares.len(), 6);
    assert!(
        (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
        "{shares:?}"
    );
    assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
    let snapshot = learner.snapshot().unwrap().unwrap();
    let skewd::example::Outcome::Example { example, .. } = &arrivals[7].outcome else {
        panic!("an example");
    };
    let predictions = snapshot
        .predict(std::slice::from_ref(&example.row))
        .unwrap();
    let sum: f32 = predictions[0].probabilities.iter().sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    // What the next batch begins with is what was served: the same features, the same state.
    let (last, _) = learner.last().unwrap();
    assert_eq!(last.len(), 16);
    feed(&mut learner, &arrivals[7..8]);
    learner.predict_waiting().unwrap();
    let (_, last) = learner.last().unwrap();
    for (served, learned) in predictions[0].probabilities.iter().zip(last.row(0)) {
        assert!((served - learned).abs() < 1e-5, "{served} {learned}");
    }
}

#[test]
fn a_schema_that_grows_changes_no_prediction_of_any_member() {
    let (intake, arrivals) = arrivals(1024);
    let mut learner = Learner::new(config().task().unwrap());
    let schema = Arc::clone(intake.schema().unwrap());
    learner.handle(Event::Schema(Arc::clone(&schema))).unwrap();
    feed(&mut learner, &arrivals);
    let before = learner.snapshot().unwrap().unwrap();
    let mut wider = (*schema).clone();
    let mut feature = wider.features[0].clone();
    feature.name = "new".to_owned();
    wider.features.insert(1, feature);
    learner.grow(&wider, &["another".into()]).unwrap();
    let after = learner.snapshot().unwrap().unwrap();
    let skewd::example::Outcome::Example { example, .. } = &arrivals[3].outcome else {
        panic!("an example");
    };
    let mut row = example.row.to_vec();
    let narrow = before.predict(&[row.clone().into()]).unwrap();
    row.insert(1, 0.5);
    let wide = after.predict(&[row.into()]).unwrap();
    let known = narrow[0].probabilities.len();
    // The new class takes its part; among the known ones nothing moved.
    let part: f32 = wide[0].probabilities[..known].iter().sum();
    for (narrow, wide) in narrow[0].probabilities.iter().zip(&wide[0].probabilities) {
        assert!(
            (narrow - wide / part).abs() < 0.02,
            "{narrow} {wide} of {part}"
        );
    }
    feed(&mut learner, &arrivals[..0]);
    assert_eq!(learner.examples(), 1024);
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
    ] {
        let config = || {
            let common = [
                "learner.mode=single",
                "learner.batch_size=16",
                "learner.batch_linger_ms=off",
            ];
            let all: Vec<String> = common
                .iter()
                .chain(settings)
                .map(|s| (*s).to_owned())
                .collect();
            Config::load(&[], std::iter::empty(), &all).unwrap()
        };
        let (intake, arrivals) = arrivals(2048);
        let mut whole = Learner::new(config().task().unwrap());
        let schema = Arc::clone(intake.schema().unwrap());
        whole.handle(Event::Schema(schema)).unwrap();
        feed(&mut whole, &arrivals[..1024]);
        let state = whole.save().unwrap().unwrap();
        let task = config().task().unwrap();
        let mut again = Learner::restore(task, &state, whole.positions().clone()).unwrap();
        feed(&mut whole, &arrivals[1024..]);
        feed(&mut again, &arrivals[1024..]);
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
        let settings = ["learner.mode=single".to_owned(), setting.to_owned()];
        let config = Config::load(&[], std::iter::empty(), &settings).unwrap();
        let (intake, arrivals) = arrivals(1024);
        let mut learner = Learner::new(config.task().unwrap());
        let schema = Arc::clone(intake.schema().unwrap());
        learner.handle(Event::Schema(schema)).unwrap();
        feed(&mut learner, &arrivals);
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
