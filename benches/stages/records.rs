//! The records that every stage takes, in every form.

use std::fmt::Write as _;
use std::path::Path;

/// Numbers of a record.
pub const FEATURES: usize = 30;

/// How a record is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Flat,
    Named,
    Array,
    Csv,
}

/// Numbers and labels of a made-up stream, 1 in 100 rare; the same at every call.
pub struct Records {
    texts: Vec<[String; FEATURES]>,
    labels: Vec<&'static str>,
}

impl Records {
    /// `long`: seventeen digits a number instead of four decimals.
    pub fn new(count: usize, long: bool) -> Self {
        let mut state = 7_u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut records = Self {
            texts: Vec::new(),
            labels: Vec::new(),
        };
        for _ in 0..count {
            let rare = uniform() < 0.01;
            records.texts.push(std::array::from_fn(|index| {
                // Nearly normal: the sum of twelve uniform numbers.
                let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
                let value = normal + if rare && index < 8 { 0.6 } else { 0.0 };
                // As Python's `round(value, 4)`: no zeros at the end but one.
                let value = if long {
                    value
                } else {
                    (value * 1e4).round() / 1e4
                };
                format!("{value:?}")
            }));
            records.labels.push(if rare { "fraud" } else { "ok" });
        }
        records
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Each record's text.
    pub fn bytes(&self, form: Form) -> Vec<Vec<u8>> {
        let texts = self.texts.iter().zip(&self.labels);
        texts
            .map(|(numbers, label)| one(form, numbers, label).into_bytes())
            .collect()
    }

    /// A file with one record a line, and the header where it has one.
    pub fn write(&self, path: &Path, form: Form) -> std::io::Result<()> {
        let mut lines = Vec::new();
        if form == Form::Csv {
            lines.extend_from_slice(columns().join(",").as_bytes());
            lines.push(b'\n');
        }
        for record in self.bytes(form) {
            lines.extend_from_slice(&record);
            lines.push(b'\n');
        }
        std::fs::write(path, lines)
    }
}

/// The names of the numbers, and of the label.
pub fn columns() -> Vec<String> {
    let features = (0..FEATURES).map(|index| format!("f{index}"));
    features.chain(["label".to_owned()]).collect()
}

fn one(form: Form, numbers: &[String; FEATURES], label: &str) -> String {
    let named = || {
        let mut text = String::new();
        for (index, number) in numbers.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}\"f{index}\": {number}");
        }
        text
    };
    match form {
        Form::Flat => format!("{{{}, \"label\": \"{label}\"}}", named()),
        Form::Named => format!("{{\"features\": {{{}}}, \"label\": \"{label}\"}}", named()),
        Form::Array => format!(
            "{{\"features\": [{}], \"label\": \"{label}\"}}",
            numbers.join(", ")
        ),
        Form::Csv => format!("{},{label}", numbers.join(",")),
    }
}
