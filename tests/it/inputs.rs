//! Inputs that were never anything but 0 are left out, and nobody notices.

use skewd::example::Prediction;
use skewd::learner::Learner;

use crate::support::house::{House, PORTFOLIO, digest, feed};
use crate::support::rows;

/// Examples after which inputs are left out, in whole batches.
const NARROW: usize = 1008;
/// Where a place is named that was not before, the first row of a batch, and where a number is missing for the first time.
const NEW_PLACE: usize = 1504;
const MISSING: usize = 1900;

/// A stream with a category of three values of thirty-two buckets, and of a fourth later on.
fn house() -> House {
    let lines = rows(2400, 3).into_iter().enumerate();
    let lines = lines.map(|(index, (row, label))| {
        let place = match index {
            NEW_PLACE.. if index % 5 == NEW_PLACE % 5 => "new",
            _ => ["here", "there", "elsewhere"][index % 3],
        };
        let last = match index {
            MISSING.. if index % 3 == 0 => "null".to_owned(),
            _ => row[3].to_string(),
        };
        format!(
            r#"{{"a":{},"b":{},"c":{},"d":{last},"place":"{place}","label":"{label}"}}"#,
            row[0], row[1], row[2]
        )
    });
    House::of_lines(&PORTFOLIO, lines.collect())
}

fn served(learner: &Learner, row: Box<[f32]>) -> Prediction {
    let snapshot = learner.snapshot().unwrap().unwrap();
    snapshot.predict(&[row]).unwrap().remove(0)
}

/// Inputs that the models of the served snapshot take, and those that the encoder has.
fn inputs(learner: &Learner) -> (usize, usize) {
    let snapshot = learner.snapshot().unwrap().unwrap();
    let width = snapshot.encoder.width();
    (snapshot.inputs.among(width), width)
}

#[test]
fn most_buckets_of_a_category_and_what_is_never_missing_are_left_out_until_they_are_met() {
    let house = house();
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals[..NARROW - 16]);
    let (whole, width) = inputs(&learner);
    assert_eq!(whole, width);
    feed(&mut learner, &house.arrivals[NARROW - 16..NARROW]);
    // Of the 32 buckets 29, and whether each of four numbers is missing.
    assert_eq!(inputs(&learner).0, width - 29 - 4);
    feed(&mut learner, &house.arrivals[NARROW..NEW_PLACE + 16]);
    assert_eq!(inputs(&learner).0, width - 28 - 4);
    feed(&mut learner, &house.arrivals[NEW_PLACE + 16..MISSING + 16]);
    assert_eq!(inputs(&learner).0, width - 28 - 3);
}

#[test]
fn what_was_never_met_is_served_and_scored_as_if_it_were_missing() {
    let house = house();
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals[..NEW_PLACE]);
    let row = house.row(NEW_PLACE);
    let mut missing = row.clone();
    missing[4] = f32::NAN;
    let prediction = served(&learner, row);
    assert_eq!(
        prediction.probabilities,
        served(&learner, missing).probabilities
    );
    feed(&mut learner, &house.arrivals[NEW_PLACE..NEW_PLACE + 16]);
    let (_, last) = learner.last().unwrap();
    for (served, scored) in prediction.probabilities.iter().zip(last.row(0)) {
        assert!((served - scored).abs() < 1e-6, "{served} {scored}");
    }
}

#[test]
fn a_restart_before_or_after_inputs_are_left_out_or_met_changes_nothing() {
    let house = house();
    let mut whole = house.learner();
    feed(&mut whole, &house.arrivals[..400]);
    for chunk in house.arrivals[400..].chunks(160) {
        let mut restored = house.restored(&whole);
        feed(&mut restored, chunk);
        feed(&mut whole, chunk);
        assert_eq!(digest(&restored), digest(&whole), "{}", whole.examples());
    }
}

/// A state from before inputs were left out goes on with all of them, and says the same of everything, but for rounding.
#[test]
fn an_older_state_goes_on_with_all_inputs_and_predicts_the_same() {
    let house = house();
    let mut learner = house.learner();
    feed(&mut learner, &house.arrivals[..800]);
    let mut state = learner.save().unwrap().unwrap();
    assert!(state.blobs.remove("inputs.seen").is_some());
    let task = house.config.task().unwrap();
    let mut older = Learner::restore(task, &state, learner.positions().clone()).unwrap();
    for learner in [&mut learner, &mut older] {
        feed(learner, &house.arrivals[800..NARROW + 160]);
    }
    let (few, width) = inputs(&learner);
    assert_eq!(inputs(&older), (width, width));
    assert!(few < width);
    for index in 0..50 {
        let probabilities = |learner: &Learner| served(learner, house.row(index)).probabilities;
        for (few, all) in probabilities(&learner).iter().zip(probabilities(&older)) {
            assert!((few - all).abs() < 1e-3, "{few} {all}");
        }
    }
}
