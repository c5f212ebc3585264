//! A class that becomes harder: what `learner.drift_reaction` does then, and that it is exact.

use std::sync::Arc;

use skewd::codec::Intake;
use skewd::config::Config;
use skewd::example::{Arrival, Record};
use skewd::learner::{Event, Learner};

use crate::support::{as_json, rows};

const ROWS: usize = 8192;
/// From this row on the features stand for the other class.
const TURN: usize = 4096;

fn house(reaction: &str) -> (Config, Intake, Vec<Arrival>) {
    let settings = [
        "learner.mode=portfolio".to_owned(),
        "learner.batch_size=16".to_owned(),
        "learner.batch_linger_ms=off".to_owned(),
        "model.hidden=[8]".to_owned(),
        format!("learner.drift_reaction={reaction}"),
    ];
    let config = Config::load(&[], std::iter::empty(), &settings).unwrap();
    let mut rows = rows(ROWS, 3);
    for (values, _) in &mut rows[TURN..] {
        values.iter_mut().for_each(|value| *value = 1.5 - *value);
    }
    let mut intake = Intake::new(&config.schema, None);
    let mut arrivals = Vec::new();
    for (offset, line) in as_json(&rows).into_iter().enumerate() {
        intake.push(Record::new(0, offset as i64, line), &mut arrivals);
    }
    (config, intake, arrivals)
}

fn feed(learner: &mut Learner, arrivals: &[Arrival]) {
    for arrival in arrivals {
        if learner.handle(Event::Arrival(arrival)).unwrap().is_none() {
            continue;
        }
        // What each voice predicted of the batch stays, also of one that begins anew after it.
        for voice in 0..learner.shares().len() {
            let rows = learner.last_of(voice).unwrap().known.len();
            assert_eq!(rows, 16, "voice {voice}");
        }
    }
}

fn digest(learner: &Learner) -> String {
    learner.save().unwrap().unwrap().digest()
}

/// Digests every 512 rows of a learner that is restored there, and of one that never stops.
fn digests(reaction: &str) -> Vec<String> {
    let (config, intake, arrivals) = house(reaction);
    let mut whole = Learner::new(config.task().unwrap());
    let schema = Arc::clone(intake.schema().unwrap());
    whole.handle(Event::Schema(schema)).unwrap();
    let mut digests = Vec::new();
    for chunk in arrivals.chunks(512) {
        feed(&mut whole, chunk);
        digests.push(digest(&whole));
    }
    let mut restored = Learner::new(config.task().unwrap());
    restored
        .handle(Event::Schema(Arc::clone(intake.schema().unwrap())))
        .unwrap();
    for (chunk, whole) in arrivals.chunks(512).zip(&digests) {
        feed(&mut restored, chunk);
        assert_eq!(digest(&restored), *whole, "{reaction}");
        let state = restored.save().unwrap().unwrap();
        let task = config.task().unwrap();
        restored = Learner::restore(task, &state, restored.positions().clone()).unwrap();
    }
    let board = whole.board(None);
    assert_eq!(board.examples, ROWS as u64);
    assert_eq!(board.counts.quarantined, 0);
    digests
}

#[test]
fn every_reaction_changes_what_is_learned_after_a_drift_and_survives_a_restart_anywhere() {
    let all = ["none", "statistics", "rate", "forget", "challenger"].map(digests);
    for (place, one) in all.iter().enumerate() {
        for other in &all[..place] {
            assert_ne!(one.last(), other.last());
        }
    }
}

#[test]
fn what_cannot_work_is_refused() {
    for (table, word) in [
        (r#"drift_reaction = "panic""#, "drift_reaction"),
        ("drift_rate = 0.5", "drift_rate"),
        ("drift_examples = 0", "drift_examples"),
        (
            "portfolio = [{ name = \"a\", drift_reaction = \"rate\" }]",
            "same for all",
        ),
    ] {
        let text = format!("[learner]\n{table}\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let files = [file.path().to_path_buf()];
        let error = Config::load(&files, std::iter::empty(), &[]).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
