//! A small stream with classes that join on the way, learned through the real rooms, against the predictions and
//! weights that `tests/reference/absgd_numpy.py` wrote for it in f64.

use std::path::Path;

use skewd::absgd::{MomentumForm, Normalizer, NormalizerStart, Settings, UpdateRule};
use skewd::example::{Lambda, Limit};
use skewd::loss::{seed_gradient, softmax, softmax_cross_entropy};
use skewd::model::{self, DeviceChoice, Engine, Kind};

const BATCH: usize = 16;

fn table(file: &str) -> Vec<csv::StringRecord> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    csv::Reader::from_path(path)
        .unwrap()
        .into_records()
        .map(Result::unwrap)
        .collect()
}

/// Predictions per row, and weights per learned row.
type Learned = (Vec<Vec<f32>>, Vec<f64>);

fn learn(rows: &[(Vec<f32>, usize)]) -> Learned {
    let settings = Settings {
        lambda: Lambda(2.0),
        gamma: 0.1,
        normalizer_start: NormalizerStart::Debias,
        weight_cap: Limit::Off,
    };
    let rule = UpdateRule {
        learning_rate: 0.05,
        momentum: 0.9,
        form: MomentumForm::Torch,
        weight_decay: 1e-4,
    };
    let linear = model::Settings {
        kind: Kind::Linear,
        hidden: Vec::new(),
        pieces: false,
    };
    let mut engine = Engine::new(&linear, 4, 0, &DeviceChoice::Cpu).unwrap();
    let (mut normalizer, mut all_weights, mut predictions) =
        (Normalizer::new(), Vec::new(), Vec::new());
    let (mut probabilities, mut losses, mut weights, mut dz) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for batch in rows.chunks(BATCH) {
        let x: Vec<f32> = batch.iter().flat_map(|(x, _)| x.clone()).collect();
        let labels: Vec<u32> = batch.iter().map(|(_, label)| *label as u32).collect();
        let known = engine.classes();
        softmax(
            engine.forward(&x, batch.len()).unwrap(),
            known,
            &mut probabilities,
        );
        predictions
            .extend((0..batch.len()).map(|row| probabilities[row * known..][..known].to_vec()));
        if batch.len() < BATCH {
            break;
        }
        while engine.classes() <= labels.iter().map(|label| *label as usize).max().unwrap() {
            engine.add_class().unwrap();
        }
        let classes = engine.classes();
        let logits = engine.forward(&x, BATCH).unwrap();
        softmax_cross_entropy(logits, classes, &labels, &mut probabilities, &mut losses);
        normalizer = normalizer.propose(&settings, &losses, &mut weights).next;
        let coefficients: Vec<f32> = weights.iter().map(|p| (p / BATCH as f64) as f32).collect();
        seed_gradient(&probabilities, classes, &labels, &coefficients, &mut dz);
        engine.backward(&x, BATCH, &dz).unwrap();
        engine.apply(rule, 1.0).unwrap();
        all_weights.extend_from_slice(&weights);
    }
    (predictions, all_weights)
}

#[test]
fn the_stream_is_predicted_and_weighed_as_by_numpy() {
    let mut names: Vec<String> = Vec::new();
    let rows: Vec<(Vec<f32>, usize)> = table("algorithm1.csv")
        .iter()
        .map(|line| {
            let x = (0..4).map(|column| line[column].parse().unwrap()).collect();
            let class = names
                .iter()
                .position(|name| *name == line[4])
                .unwrap_or_else(|| {
                    names.push(line[4].to_owned());
                    names.len() - 1
                });
            (x, class)
        })
        .collect();
    let (predictions, weights) = learn(&rows);
    let expected = table("algorithm1_predictions.csv");
    assert_eq!(
        (predictions.len(), weights.len(), expected.len()),
        (300, 288, 300)
    );
    for (row, line) in expected.iter().enumerate() {
        let expected: Vec<f64> = line
            .iter()
            .skip(4)
            .take_while(|p| !p.is_empty())
            .map(|p| p.parse().unwrap())
            .collect();
        assert_eq!(
            predictions[row].len(),
            expected.len(),
            "classes known at row {row}"
        );
        for (found, expected) in predictions[row].iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5,
                "row {row}: {found} {expected}"
            );
        }
        match weights.get(row) {
            Some(found) => {
                let expected: f64 = line[3].parse().unwrap();
                assert!(
                    (found - expected).abs() < 5e-5 * expected,
                    "row {row}: {found} {expected}"
                );
            }
            None => assert_eq!(&line[3], "", "the tail is not learned"),
        }
    }
}
