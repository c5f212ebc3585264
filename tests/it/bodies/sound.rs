//! What holds for every row and every reject, whatever the bytes were.

use skewd::codec::{Reason, Reject, Schema};

/// A detail is shown to people: it may not be as long as what it complains about.
const LONGEST_DETAIL: usize = 2000;

/// A row holds finite numbers, buckets of categories, and NaN where a value is missing.
pub fn check_row(row: &[f32], schema: &Schema) {
    assert_eq!(row.len(), schema.len());
    for (value, feature) in row.iter().zip(&schema.features) {
        assert!(!value.is_infinite(), "{} is infinite", feature.name);
        let is_bucket = (0.0..schema.category_buckets as f32).contains(value);
        assert!(
            feature.is_numeric() || value.is_nan() || is_bucket && value.fract() == 0.0,
            "{} is no bucket: {value}",
            feature.name
        );
    }
}

/// A reject is printable and short whatever the record held, and never a panic that was caught.
pub fn check_reject(reject: &Reject) {
    assert_ne!(reject.reason, Reason::DecoderPanic);
    assert!(!reject.detail.chars().any(char::is_control), "{reject}");
    assert!(reject.detail.len() <= LONGEST_DETAIL, "{reject}");
}
