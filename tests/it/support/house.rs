//! A learner and a stream for it, without a daemon around them.

use std::sync::Arc;

use skewd::codec::Intake;
use skewd::config::Config;
use skewd::example::{Arrival, Outcome, Record};
use skewd::learner::{Event, Learner};

use super::{as_json, rows};

/// Several learners, small ones.
pub const PORTFOLIO: [&str; 6] = [
    "learner.mode=portfolio",
    "schema.encoding=robust",
    "schema.recent_shares=true",
    "learner.batch_size=16",
    "learner.batch_linger_ms=off",
    "model.hidden=[8]",
];

/// A stream of so many examples under these settings: how they are read, and what they are.
pub struct House {
    pub config: Config,
    pub intake: Intake,
    pub arrivals: Vec<Arrival>,
}

impl House {
    pub fn new(settings: &[&str], examples: usize) -> Self {
        Self::of(settings, &rows(examples, 3))
    }

    /// One with a third class that has twenty examples.
    pub fn with_a_young_class(settings: &[&str]) -> Self {
        let mut rows = rows(2048, 3);
        for (values, label) in rows.iter_mut().step_by(100).skip(1) {
            *label = "young";
            values[3] += 3.0;
        }
        Self::of(settings, &rows)
    }

    fn of(settings: &[&str], rows: &[(Vec<f64>, &'static str)]) -> Self {
        Self::of_lines(settings, as_json(rows))
    }

    /// One of these records.
    pub fn of_lines(settings: &[&str], lines: Vec<String>) -> Self {
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        let config = Config::load(&[], std::iter::empty(), &settings).unwrap();
        let mut intake = Intake::new(&config.schema, None);
        let mut arrivals = Vec::new();
        for (offset, line) in lines.into_iter().enumerate() {
            intake.push(Record::new(0, offset as i64, line), &mut arrivals);
        }
        Self {
            config,
            intake,
            arrivals,
        }
    }

    pub fn learner(&self) -> Learner {
        let mut learner = Learner::new(self.config.task().unwrap());
        let schema = Arc::clone(self.intake.schema().unwrap());
        learner.handle(Event::Schema(schema)).unwrap();
        learner
    }

    /// The learner as its state has it.
    pub fn restored(&self, learner: &Learner) -> Learner {
        let state = learner.save().unwrap().unwrap();
        let task = self.config.task().unwrap();
        Learner::restore(task, &state, learner.positions().clone()).unwrap()
    }

    pub fn row(&self, index: usize) -> Box<[f32]> {
        let Outcome::Example { example, .. } = &self.arrivals[index].outcome else {
            panic!("an example");
        };
        example.row.clone()
    }
}

pub fn feed(learner: &mut Learner, arrivals: &[Arrival]) {
    for arrival in arrivals {
        learner.handle(Event::Arrival(arrival)).unwrap();
    }
}

pub fn digest(learner: &Learner) -> String {
    learner.save().unwrap().unwrap().digest()
}
