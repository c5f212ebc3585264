//! Inputs of the model.

use super::strings;
use crate::codec::{Encoder, Encoding, Schema, Settings};
use crate::state::State;

fn schema() -> Schema {
    let settings = Settings {
        features: strings(&["x", "color", "y"]),
        categorical: strings(&["color"]),
        category_buckets: 3,
        ..Settings::default()
    };
    Schema::given(&settings).expect("features are given")
}

fn encode(encoder: &Encoder, rows: &[[f32; 3]]) -> Vec<f32> {
    let mut out = vec![9.0; 4];
    encoder.encode(rows.iter().map(|row| &row[..]), &mut out);
    out
}

fn observe(encoder: &mut Encoder, rows: &[[f32; 3]]) {
    encoder.observe(rows.iter().map(|row| &row[..]));
}

const MISSING: f32 = f32::NAN;

#[test]
fn raw_is_the_value_and_one_of_the_buckets() {
    let mut encoder = Encoder::new(&schema(), Encoding::Raw, 1);
    assert_eq!(encoder.names(), ["x", "color#0", "color#1", "color#2", "y"]);
    let rows = [[1e30, 2.0, -7.0], [MISSING, MISSING, MISSING]];
    let expected = [1e30, 0.0, 0.0, 1.0, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(encode(&encoder, &rows), expected);
    observe(&mut encoder, &rows);
    assert_eq!(encode(&encoder, &rows), expected);
}

#[test]
fn standard_is_zero_until_two_values_differ_and_is_cut_at_eight() {
    let mut encoder = Encoder::new(&schema(), Encoding::Standard, 1);
    let row = [[5.0, MISSING, 1.0]];
    assert_eq!(encode(&encoder, &row), [0.0; 5]);
    observe(&mut encoder, &row);
    assert_eq!(
        encode(&encoder, &[[7.0, 0.0, 9.0]]),
        [0.0, 1.0, 0.0, 0.0, 0.0]
    );
    observe(&mut encoder, &[[7.0, 0.0, 1.0], [MISSING, 0.0, 1.0]]);
    // x: mean 6, deviation 1; y: constant.
    assert_eq!(
        encode(&encoder, &[[6.5, 1.0, 2.0]]),
        [0.5, 0.0, 1.0, 0.0, 0.0]
    );
    assert_eq!(encode(&encoder, &[[f32::MAX, 1.0, 1.0]])[0], 8.0);
    assert_eq!(encode(&encoder, &[[-1e9, 1.0, 1.0]])[0], -8.0);
}

#[test]
fn moments_are_those_of_two_passes() {
    let values: Vec<f32> = (0..1000)
        .map(|i| 1e4 + (i * i % 97) as f32 * 0.25)
        .collect();
    let mut encoder = Encoder::new(&schema(), Encoding::Standard, 1);
    for value in &values {
        observe(&mut encoder, &[[*value, MISSING, MISSING]]);
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|v| (f64::from(*v) - mean).powi(2))
        .sum::<f64>()
        / n;
    let expected = (f64::from(values[5]) - mean) / variance.sqrt();
    let found = encode(&encoder, &[[values[5], MISSING, MISSING]])[0];
    assert!(
        (f64::from(found) - expected).abs() < 1e-6,
        "{found} {expected}"
    );
}

#[test]
fn extreme_values_never_give_what_is_not_finite() {
    let mut encoder = Encoder::new(&schema(), Encoding::Standard, 1);
    let extremes = [
        f32::MAX,
        f32::MIN,
        1e-45,
        -0.0,
        0.0,
        f32::MIN_POSITIVE,
        MISSING,
    ];
    for round in 0..200 {
        let value = extremes[round % extremes.len()];
        let rows = [[value, 1.0, extremes[round * 3 % extremes.len()]]];
        assert!(
            encode(&encoder, &rows)
                .iter()
                .all(|input| input.is_finite())
        );
        observe(&mut encoder, &rows);
    }
}

#[test]
fn moments_do_not_depend_on_how_rows_are_cut_into_batches() {
    let rows: Vec<[f32; 3]> = (0..97)
        .map(|i| {
            let x = (i * i % 31) as f32 * 0.1;
            [x, (i % 3) as f32, if i % 5 == 0 { MISSING } else { -x }]
        })
        .collect();
    let mut whole = Encoder::new(&schema(), Encoding::Standard, 1);
    observe(&mut whole, &rows);
    for size in [1, 2, 7, 64] {
        let mut parts = Encoder::new(&schema(), Encoding::Standard, 1);
        rows.chunks(size).for_each(|rows| observe(&mut parts, rows));
        let (mut expected, mut found) = (State::default(), State::default());
        whole.save(&mut expected);
        parts.save(&mut found);
        assert_eq!(found.digest(), expected.digest(), "batches of {size}");
    }
}

#[test]
fn a_batch_is_encoded_by_the_moments_before_it() {
    let mut encoder = Encoder::new(&schema(), Encoding::Standard, 1);
    observe(&mut encoder, &[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]);
    let before = encoder.clone();
    let batch = [[4.0, 0.0, 0.0], [100.0, 0.0, 0.0]];
    let inputs = encode(&encoder, &batch);
    assert_eq!(encoder, before, "encoding learns nothing");
    assert_eq!(
        (inputs[0], inputs[5]),
        (2.0, 8.0),
        "mean 2, deviation 1 for both rows"
    );
}

#[test]
fn a_saved_encoder_goes_on_bit_for_bit() {
    let mut encoder = Encoder::new(&schema(), Encoding::Standard, 1);
    observe(
        &mut encoder,
        &[[1.0, 0.0, 0.1], [2.5, 2.0, MISSING], [0.3, 1.0, 7.0]],
    );
    let mut state = State::default();
    encoder.save(&mut state);
    let mut loaded =
        Encoder::load(&schema(), Encoding::Standard, 1, &state).expect("what was saved");
    assert_eq!(loaded, encoder);
    observe(&mut loaded, &[[9.0, 0.0, 3.0]]);
    observe(&mut encoder, &[[9.0, 0.0, 3.0]]);
    assert_eq!(loaded, encoder);
    let other = Settings {
        features: strings(&["x"]),
        ..Settings::default()
    };
    let other = Schema::given(&other).expect("features are given");
    assert!(Encoder::load(&other, Encoding::Standard, 1, &state).is_err());
    assert!(Encoder::load(&schema(), Encoding::Standard, 1, &State::default()).is_err());
}

#[test]
fn pieces_fill_one_after_the_other_between_the_quantiles_and_come_after_all_the_rest() {
    let mut encoder = Encoder::new(&schema(), Encoding::Robust, 1).with_pieces();
    let plain = Encoder::new(&schema(), Encoding::Robust, 1);
    assert_eq!(encoder.plain_width(), plain.width());
    assert_eq!(encoder.width(), plain.width() + 2 * 8);
    assert_eq!(encoder.names()[..plain.width()], *plain.names());
    assert_eq!(encoder.names()[plain.width() + 8], "y#piece0");
    let rows: Vec<[f32; 3]> = (0..=800).map(|i| [i as f32, 0.0, 7.0]).collect();
    observe(&mut encoder, &rows);
    let pieces = |x: f32| {
        let row = encode(&encoder, &[[x, 0.0, MISSING]]);
        row[plain.width()..].to_vec()
    };
    assert_eq!(pieces(-5.0)[..8], [0.0; 8]);
    assert_eq!(pieces(1e9)[..8], [1.0; 8]);
    let middle = pieces(450.0);
    assert_eq!(middle[..4], [1.0; 4]);
    assert!((middle[4] - 0.5).abs() < 0.05, "{middle:?}");
    assert_eq!(middle[5..], [0.0; 11], "above, and of what is missing");
    assert_eq!(
        Encoder::new(&schema(), Encoding::Standard, 1)
            .with_pieces()
            .width(),
        5,
        "no quantiles, no pieces"
    );
}
