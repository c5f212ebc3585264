//! Streams that go wrong for a while, under the default settings: every figure stays defined or says that it is not, what
//! happened is reported within two thousand rows, and ten thousand rows later the rare class is ranked as well as before.

use std::sync::Arc;

use skewd::codec::Intake;
use skewd::config::Config;
use skewd::example::{Arrival, Example, Outcome, Record};
use skewd::learner::{Board, Event, Learner};

/// Rows before the disturbance, of it, and until the model must have come back.
const BEFORE: usize = 20_000;
const DURING: usize = 4_000;
const AFTER: usize = 10_000;
/// Rows within which a person must be told.
const NOTICE: usize = 2_000;
/// Share of the score that must come back.
const BACK: f64 = 0.95;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "still", "f"];

/// Evenly spread numbers from 0 to 1, the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// One row before it is written down: four numbers, one that never changes, and one that says nothing.
#[derive(Clone)]
struct Row {
    values: [f64; 6],
    label: &'static str,
}

impl Row {
    fn json(&self) -> String {
        let mut text = "{".to_owned();
        for (name, value) in NAMES.iter().zip(self.values) {
            text.push_str(&format!("\"{name}\":{value:.3},"));
        }
        text.push_str(&format!("\"label\":\"{}\"}}", self.label));
        text
    }
}

/// The rows, and a learner that follows them.
struct Stream {
    dice: Dice,
    /// Share of the class `rare`, and of the class `late`.
    rare: f64,
    late: f64,
    intake: Intake,
    learner: Learner,
    offset: i64,
}

impl Stream {
    fn new(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        let config = Config::load(&[], std::iter::empty(), &settings).unwrap();
        Self {
            dice: Dice(0x9e37_79b9_7f4a_7c15),
            rare: 0.05,
            late: 0.0,
            intake: Intake::new(&config.schema, None),
            learner: Learner::new(config.task().unwrap()),
            offset: 0,
        }
    }

    fn row(&mut self) -> Row {
        let (rare, late) = (self.rare, self.late);
        let dice = &mut self.dice;
        let label = match dice.roll() {
            roll if roll < rare => "rare",
            roll if roll < rare + late => "late",
            _ => "common",
        };
        let mut values = [0.0; 6].map(|_: f64| dice.roll() + dice.roll() + dice.roll() - 1.5);
        match label {
            "rare" => {
                values[0] += 0.9;
                values[1] += 0.9;
                values[2] = values[2].abs() * 1.5;
            }
            "late" => values[3] += 1.8,
            _ => {}
        }
        values[4] = 1.0;
        Row { values, label }
    }

    /// Learns so many rows, each as `write` writes it down.
    fn feed(&mut self, rows: usize, write: impl Fn(Row) -> String) {
        let mut arrivals = Vec::new();
        for _ in 0..rows {
            let line = write(self.row());
            self.intake
                .push(Record::new(0, self.offset, line), &mut arrivals);
            self.offset += 1;
            for notice in self.intake.take_notices() {
                self.learner.notice(notice);
            }
            self.take(&mut arrivals);
        }
    }

    fn take(&mut self, arrivals: &mut Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        let schema = Arc::clone(self.intake.schema().unwrap());
        self.learner.handle(Event::Schema(schema)).unwrap();
        for arrival in arrivals.drain(..) {
            self.learner.handle(Event::Arrival(&arrival)).unwrap();
        }
    }

    /// Kinds and subjects of the warnings since the last call.
    fn told(&mut self) -> Vec<(&'static str, String)> {
        let warnings = self.learner.take_warnings().into_iter();
        let told = warnings.map(|warning| (warning.kind.as_str(), warning.subject));
        told.collect()
    }

    /// The board, once nothing on it is a number that is none.
    fn board(&mut self) -> Board {
        let board = self.learner.board(None);
        let mut shown = board.clone();
        // A missing value of a row is no figure.
        for example in shown.hardest.iter_mut().chain(&mut shown.persistent) {
            assert!(example.loss.is_finite() && example.weight.is_finite());
            example.row = Box::default();
        }
        let figures = format!("{shown:?}");
        assert!(!figures.contains("NaN"), "{figures}");
        let evaluation = format!("{:?} {:?}", board.evaluation, board.judge);
        assert!(!evaluation.contains("inf"), "{evaluation}");
        let undefined = &board.evaluation.window.undefined;
        if board.evaluation.window.pr_auc_rare.is_none() {
            assert!(undefined.contains_key("pr_auc_rare"), "{undefined:?}");
        }
        self.serves_probabilities();
        board
    }

    fn serves_probabilities(&self) {
        let snapshot = self.learner.snapshot().unwrap().unwrap();
        for values in [[0.0_f32; 6], [f32::NAN; 6], [1e30; 6]] {
            let predictions = snapshot.predict(&[values.into()]).unwrap();
            let sum: f32 = predictions[0].probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-3, "{predictions:?}");
        }
    }

    /// How well the latest ten thousand examples of a class were ranked.
    fn score(&mut self, class: &str) -> f64 {
        let board = self.board();
        let scores = &board.evaluation.window.pr_auc;
        scores.get(class).copied().flatten().unwrap()
    }
}

fn plain(row: Row) -> String {
    row.json()
}

/// Lets the stream be disturbed for a while: what was told of it in its first rows, and the score afterwards as a share of that
/// before.
fn disturbed(
    stream: &mut Stream,
    write: impl Fn(Row) -> String,
) -> (Vec<(&'static str, String)>, f64) {
    stream.feed(BEFORE, plain);
    let before = stream.score("rare");
    let told = stream.told();
    assert_eq!(told, [("constant_feature", "still".to_owned())], "before");
    stream.feed(NOTICE, &write);
    let told = stream.told();
    stream.board();
    stream.feed(DURING - NOTICE, &write);
    stream.board();
    (stream.rare, stream.late) = (0.05, 0.0);
    stream.feed(AFTER, plain);
    let after = stream.score("rare");
    println!("{before:.4} before, {after:.4} after; {told:?}");
    (told, after / before)
}

fn said(told: &[(&'static str, String)], kind: &str, subject: &str) -> bool {
    told.iter().any(|(of, what)| *of == kind && what == subject)
}

#[test]
fn one_class_only() {
    let mut stream = Stream::new(&[]);
    let only = |mut row: Row| {
        row.label = "common";
        row.json()
    };
    stream.feed(NOTICE, only);
    assert!(said(&stream.told(), "one_class", "common"));
    stream.board();
    stream.feed(10_000, only);
    let board = stream.board();
    assert_eq!(board.evaluation.window.pr_auc_rare, None);
    // From here on as one that began with both.
    let mut other = Stream::new(&[]);
    other.feed(AFTER, plain);
    stream.feed(NOTICE, plain);
    assert!(said(&stream.told(), "new_class", "rare"));
    stream.feed(AFTER - NOTICE, plain);
    let (late, early) = (stream.score("rare"), other.score("rare"));
    assert!(late >= BACK * early, "{late} {early}");
}

#[test]
fn a_class_that_first_comes_late() {
    // The window does not touch what is learned: here it holds the last 4,000 of the 10,000 rows.
    let settings = ["evaluation.window=4000"];
    let mut stream = Stream::new(&settings);
    stream.feed(30_000, plain);
    let before = stream.score("rare");
    stream.told();
    stream.late = 0.02;
    stream.feed(NOTICE, plain);
    assert!(said(&stream.told(), "new_class", "late"));
    stream.feed(AFTER - NOTICE, plain);
    let (rare, late) = (stream.score("rare"), stream.score("late"));
    // As a model that has known the class all the time ranks the same rows.
    let mut other = Stream::new(&settings);
    other.late = 0.02;
    other.feed(30_000 + AFTER, plain);
    let known = other.score("late");
    println!("{before} {rare} {late} {known}");
    assert!(rare >= BACK * before, "{rare} {before}");
    assert!(late >= BACK * known, "{late} {known}");
}

#[test]
fn a_class_that_first_comes_as_example_one_million() {
    let settings = [
        "learner.mode=single",
        "model.kind=linear",
        "learner.batch_size=200",
        "schema.features=a,b,c,d,still,f",
    ];
    let run = |before: usize| {
        let mut stream = Stream::new(&settings);
        let mut arrivals = Vec::new();
        for offset in 0..before + AFTER {
            stream.late = if offset >= before { 0.02 } else { 0.0 };
            let row = stream.row();
            let class = ["common", "rare", "late"]
                .iter()
                .position(|name| *name == row.label);
            let class = class.unwrap() as u32;
            let known = stream.learner.all_classes().len() as u32;
            let example = Example {
                row: row.values.map(|value| value as f32).into(),
                class: class.min(known),
                weight: 1.0,
                id: None,
                sender: 0,
                time: None,
            };
            let new_class = (class >= known).then(|| row.label.into());
            arrivals.push(Arrival {
                partition: 0,
                offset: offset as i64,
                outcome: Outcome::Example {
                    example,
                    new_class,
                    unknown_fields: 0,
                },
            });
            stream.take(&mut arrivals);
            if offset == before + NOTICE {
                let told = stream.told();
                assert!(before == 0 || said(&told, "new_class", "late"), "{told:?}");
            }
        }
        (stream.score("rare"), stream.score("late"))
    };
    let (late, early) = (run(1_000_000), run(30_000));
    println!("{late:?} {early:?}");
    assert!(late.0 >= BACK * early.0, "{late:?} {early:?}");
    assert!(late.1 >= BACK * early.1, "{late:?} {early:?}");
}

#[test]
fn a_constant_feature_that_explodes() {
    let mut stream = Stream::new(&[]);
    let (told, back) = disturbed(&mut stream, |mut row| {
        row.values[4] *= 1e6;
        row.json()
    });
    assert!(said(&told, "feature_range", "still"), "{told:?}");
    assert!(back >= BACK, "{back}");
}

#[test]
fn a_feature_that_says_much_and_explodes() {
    let mut stream = Stream::new(&[]);
    let (told, back) = disturbed(&mut stream, |mut row| {
        row.values[0] *= 1e6;
        row.json()
    });
    assert!(said(&told, "feature_range", "a"), "{told:?}");
    assert!(back >= BACK, "{back}");
}

#[test]
fn a_feature_that_is_renamed() {
    let mut stream = Stream::new(&[]);
    let (told, back) = disturbed(&mut stream, |row| row.json().replace("\"a\":", "\"new\":"));
    assert!(said(&told, "feature_missing", "a"), "{told:?}");
    assert_eq!(stream.board().counts.unknown_fields, DURING as u64);
    assert!(back >= BACK, "{back}");
}

#[test]
fn a_feature_that_turns_from_number_to_text() {
    let mut stream = Stream::new(&[]);
    let (told, back) = disturbed(&mut stream, |row| {
        row.json().replace("\"a\":", "\"a\":\"high\",\"was\":")
    });
    assert!(said(&told, "rejects", "feature_type"), "{told:?}");
    let rejected = &stream.board().counts.rejected;
    assert_eq!(rejected.get("feature_type"), Some(&(DURING as u64)));
    assert!(back >= BACK, "{back}");
}

#[test]
fn labels_that_are_flipped_for_a_while() {
    let mut stream = Stream::new(&[]);
    let (told, back) = disturbed(&mut stream, |mut row| {
        row.label = if row.label == "rare" {
            "common"
        } else {
            "rare"
        };
        row.json()
    });
    for class in ["common", "rare"] {
        assert!(said(&told, "class_harder", class), "{told:?}");
        assert!(said(&told, "class_share", class), "{told:?}");
    }
    assert!(back >= BACK, "{back}");
}

#[test]
fn a_prior_that_flips() {
    let mut stream = Stream::new(&[]);
    stream.feed(BEFORE, plain);
    let before = stream.score("rare");
    stream.told();
    stream.rare = 0.95;
    stream.feed(NOTICE, plain);
    let told = stream.told();
    for class in ["common", "rare"] {
        assert!(said(&told, "class_share", class), "{told:?}");
    }
    stream.feed(DURING - NOTICE, plain);
    stream.board();
    stream.rare = 0.05;
    stream.feed(AFTER, plain);
    let after = stream.score("rare");
    assert!(after >= BACK * before, "{after} {before}");
}
