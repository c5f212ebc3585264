use super::*;
use crate::codec::{Reason, Settings};
use crate::example::Example;

/// A stream of examples over two numbers, 64 a batch.
struct Stream {
    watch: Watch,
    schema: Schema,
    classes: Vec<Arc<str>>,
    harder: Vec<u64>,
    examples: u64,
}

impl Stream {
    fn new(classes: &[&str]) -> Self {
        let settings = Settings {
            features: vec!["x".into(), "y".into()],
            ..Settings::default()
        };
        Self {
            watch: Watch::default(),
            schema: Schema::given(&settings).unwrap(),
            classes: classes.iter().map(|&name| name.into()).collect(),
            harder: vec![0; classes.len()],
            examples: 0,
        }
    }

    fn feed(&mut self, batches: u64, example: impl Fn(u64) -> ([f32; 2], u32)) {
        for _ in 0..batches {
            let mut batch = Batch::default();
            for row in self.examples..self.examples + 64 {
                let (row, class) = example(row);
                self.watch.record(None, 0, self.examples);
                let example = Example {
                    row: row.into(),
                    class,
                    weight: 1.0,
                    id: None,
                    sender: 0,
                    time: None,
                };
                batch.push(&example, (0, 0));
            }
            self.examples += 64;
            let harder = self.harder.clone().into_iter();
            let (schema, classes) = (&self.schema, &self.classes);
            self.watch
                .learned(&batch, schema, classes, &[], harder, self.examples);
        }
    }

    fn said(&mut self) -> Vec<(Concern, String)> {
        let new = self.watch.take_new().into_iter();
        new.map(|warning| (warning.kind, warning.subject)).collect()
    }
}

/// One example in ten is of class 1.
fn usual(row: u64) -> ([f32; 2], u32) {
    ([(row % 7) as f32, 1.0], u32::from(row % 10 == 3))
}

#[test]
fn of_a_stream_that_stays_as_it_is_nothing_is_said() {
    let mut stream = Stream::new(&["a", "b"]);
    stream.feed(400, usual);
    assert_eq!(stream.said(), []);
}

#[test]
fn a_missing_feature_and_one_beyond_its_range_are_named_once() {
    let mut stream = Stream::new(&["a", "b"]);
    stream.feed(64, usual);
    stream.feed(32, |row| ([f32::NAN, 1e6], usual(row).1));
    let expected = [(Concern::FeatureMissing, "x"), (Concern::FeatureRange, "y")];
    let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
    assert_eq!(stream.said(), expected);
    assert_eq!(stream.watch.counts()["feature_missing"], 1);
    assert_eq!(stream.watch.kept().len(), 2);
}

#[test]
fn a_single_record_far_outside_is_not_worth_a_word() {
    let mut stream = Stream::new(&["a", "b"]);
    stream.feed(64, usual);
    stream.feed(32, |row| {
        let far = if row % 512 == 0 { 1e9 } else { 1.0 };
        ([1.0, far], usual(row).1)
    });
    assert_eq!(stream.said(), []);
}

#[test]
fn a_share_that_jumps_is_said_within_two_thousand_examples() {
    let mut stream = Stream::new(&["a", "b"]);
    stream.feed(160, usual);
    assert_eq!(stream.said(), []);
    stream.feed(31, |row| (usual(row).0, u32::from(row % 10 != 3)));
    let both = ["a", "b"].map(|class| (Concern::ClassShare, class.to_owned()));
    assert_eq!(stream.said(), both);
}

#[test]
fn one_class_and_a_class_that_became_harder_are_said() {
    let mut stream = Stream::new(&["a"]);
    stream.feed(31, |_| ([1.0, 2.0], 0));
    assert_eq!(stream.said(), [(Concern::OneClass, "a".to_owned())]);
    stream.feed(31, |_| ([1.0, 2.0], 0));
    stream.harder[0] = 1;
    stream.feed(8, |_| ([1.0, 2.0], 0));
    assert_eq!(stream.said(), [(Concern::ClassHarder, "a".to_owned())]);
}

#[test]
fn refused_records_are_said_with_the_first_of_them_and_again_only_later() {
    let mut watch = Watch::default();
    let reject = Reject {
        reason: Reason::FeatureType,
        detail: "x: text".to_owned(),
    };
    for _ in 0..9_000 {
        watch.record(Some(&reject), 0, 7);
    }
    let said = watch.take_new();
    assert_eq!(said.len(), 1);
    assert_eq!(
        (said[0].subject.as_str(), said[0].examples),
        ("feature_type", 7)
    );
    assert!(said[0].message.contains("x: text"), "{}", said[0].message);
    for _ in 0..3_000 {
        watch.record(Some(&reject), 0, 7);
    }
    assert_eq!(watch.take_new().len(), 1);
}

#[test]
fn a_few_refused_records_are_not_worth_a_word() {
    let mut watch = Watch::default();
    let reject = Reject {
        reason: Reason::Syntax,
        detail: String::new(),
    };
    for record in 0..9_000 {
        watch.record((record % 20 == 0).then_some(&reject), 0, 7);
    }
    assert_eq!(watch.take_new(), []);
}
