//! What is served does not change while training goes on.

use std::sync::Arc;

use skewd::codec::Intake;
use skewd::config::Config;
use skewd::example::{Arrival, Record};
use skewd::learner::{Event, Learner};

use crate::support::{as_json, rows};

/// A learner that knows the schema, and what it is to learn.
fn prepared(config: &Config) -> (Learner, Vec<Arrival>) {
    let mut intake = Intake::new(&config.schema, None);
    let mut learner = Learner::new(config.task().unwrap());
    let mut arrivals = Vec::new();
    for (offset, line) in as_json(&rows(4000, 2)).into_iter().enumerate() {
        intake.push(Record::new(0, offset as i64, line), &mut arrivals);
    }
    let schema = Arc::clone(intake.schema().unwrap());
    learner.handle(Event::Schema(schema)).unwrap();
    (learner, arrivals)
}

#[test]
fn a_served_snapshot_stays_as_it_was() {
    let config = Config::load(
        &[],
        std::iter::empty(),
        &[
            "schema.features=a,b,c,d".to_owned(),
            "learner.batch_size=16".to_owned(),
        ],
    )
    .unwrap();
    let (mut learner, arrivals) = prepared(&config);
    let (first, rest) = arrivals.split_at(1600);
    for arrival in first {
        learner.handle(Event::Arrival(arrival)).unwrap();
    }
    let snapshot = learner.snapshot().unwrap().unwrap();
    let inputs: Vec<Box<[f32]>> = vec![
        vec![0.1, 0.2, 0.3, 0.4].into_boxed_slice(),
        vec![1.5, 1.5, 1.5, 1.5].into_boxed_slice(),
    ];
    let before = snapshot.predict(&inputs).unwrap();
    let bits = |predictions: &[skewd::example::Prediction]| -> Vec<u32> {
        predictions
            .iter()
            .flat_map(|prediction| prediction.probabilities.iter().map(|p| p.to_bits()))
            .collect()
    };
    for arrival in rest {
        learner.handle(Event::Arrival(arrival)).unwrap();
    }
    assert_eq!(bits(&snapshot.predict(&inputs).unwrap()), bits(&before));
    let later = learner.snapshot().unwrap().unwrap();
    assert!(later.model_version > snapshot.model_version);
    assert_ne!(bits(&later.predict(&inputs).unwrap()), bits(&before));
    assert_eq!(snapshot.examples, 1600);
    assert_eq!(snapshot.trained_through.next(0), Some(1600));
}

/// Two learners side by side; the second is driven far beyond what any data bears.
const ONE_IS_WILD: &str = r#"
[schema]
features = ["a", "b", "c", "d"]
[learner]
batch_size = 16
[[learner.portfolio]]
name = "calm"
[[learner.portfolio]]
name = "wild"
learning_rate = 100.0
momentum = 0.99
clip_norm = "off"
"#;

#[test]
fn a_learner_that_bursts_does_not_silence_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let settings = crate::support::file(dir.path(), "wild.toml", ONE_IS_WILD);
    let config = Config::load(&[settings], std::iter::empty(), &[]).unwrap();
    let (mut learner, arrivals) = prepared(&config);
    let row: Vec<Box<[f32]>> = vec![vec![9.0, -9.0, 9.0, -9.0].into_boxed_slice()];
    let mut burst = 0;
    for arrival in &arrivals {
        learner.handle(Event::Arrival(arrival)).unwrap();
        let Some(mut snapshot) = learner.snapshot().unwrap() else {
            continue;
        };
        let mixed = snapshot.predict(&row).unwrap();
        let wild = snapshot.speakers.split_off(1);
        let calm = snapshot.predict(&row).unwrap();
        snapshot.speakers = wild;
        if snapshot.predict(&row).is_err() {
            burst += 1;
            // Alone, its words carry its share of the whole; without the wild one they are the whole.
            let said: f32 = calm[0].probabilities.iter().sum();
            for (mixed, calm) in mixed[0].probabilities.iter().zip(&calm[0].probabilities) {
                assert!((mixed - calm / said).abs() < 1e-5, "{mixed} {calm} {said}");
            }
        }
    }
    assert!(burst > 0, "the wild one never burst");
}
