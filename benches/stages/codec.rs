//! skewd's own stages between bytes and inputs.

use std::hint::black_box;

use skewd::codec::{Encoder, Encoding, Format, Intake, Kind, Schema, Settings};
use skewd::example::{Arrival, Outcome, Record};

use super::Failure;
use super::records::{FEATURES, Form, Records, columns};

/// Examples of a batch.
const BATCH: usize = 128;

pub fn settings(form: Form) -> Settings {
    Settings {
        format: match form {
            Form::Flat => Format::Flat,
            Form::Named | Form::Array => Format::Envelope,
            Form::Csv => Format::Csv,
        },
        features: columns()[..FEATURES].to_vec(),
        columns: columns(),
        ..Settings::default()
    }
}

/// Decoding, and with an encoding what comes between it and the model, batch by batch.
pub struct Pipeline {
    records: Vec<Record>,
    intake: Intake,
    encoder: Option<Encoder>,
    arrivals: Vec<Arrival>,
    rows: Vec<f32>,
    inputs: Vec<f32>,
}

impl Pipeline {
    pub fn new(records: &Records, form: Form, encoding: Option<Encoding>) -> Result<Self, Failure> {
        let settings = settings(form);
        let mut intake = Intake::new(&settings, None);
        // The first examples of a stream are looked at twice; what is measured is the stream behind them.
        intake.end();
        let schema = intake.schema().ok_or("the features are given")?;
        Ok(Self {
            encoder: encoding.map(|encoding| Encoder::new(schema, encoding, 1)),
            intake,
            records: (0..)
                .zip(records.bytes(form))
                .map(|(offset, bytes)| Record::new(0, offset, bytes))
                .collect(),
            arrivals: Vec::new(),
            rows: Vec::new(),
            inputs: Vec::new(),
        })
    }

    pub fn run(&mut self) {
        for batch in self.records.chunks(BATCH) {
            self.arrivals.clear();
            for record in batch {
                self.intake.push(record.clone(), &mut self.arrivals);
            }
            let Some(encoder) = &mut self.encoder else {
                black_box(&self.arrivals);
                continue;
            };
            self.rows.clear();
            for arrival in &self.arrivals {
                let Outcome::Example { example, .. } = &arrival.outcome else {
                    panic!("{arrival:?}");
                };
                self.rows.extend_from_slice(&example.row);
            }
            encoder.encode(self.rows.chunks_exact(FEATURES), &mut self.inputs);
            encoder.observe(self.rows.chunks_exact(FEATURES));
            black_box(&self.inputs);
        }
    }

    pub fn runner<'a>(pipeline: &'a mut Self) -> impl FnMut() + 'a {
        || pipeline.run()
    }
}

/// The rows of the records as one matrix.
pub struct Decoded {
    matrix: Vec<f32>,
}

impl Decoded {
    pub fn new(records: &Records) -> Result<Self, Failure> {
        let mut intake = Intake::new(&settings(Form::Flat), None);
        let mut arrivals = Vec::new();
        for (offset, bytes) in (0..).zip(records.bytes(Form::Flat)) {
            intake.push(Record::new(0, offset, bytes), &mut arrivals);
        }
        let rows = arrivals
            .iter()
            .filter_map(|arrival| match &arrival.outcome {
                Outcome::Example { example, .. } => Some(&example.row[..]),
                _ => None,
            });
        Ok(Self {
            matrix: rows.flatten().copied().collect(),
        })
    }

    pub fn matrix(&self) -> &[f32] {
        &self.matrix
    }

    pub fn rows(&self) -> usize {
        self.matrix.len() / FEATURES
    }
}

pub fn schema() -> Schema {
    let feature = |name| skewd::codec::Feature {
        name,
        kind: Kind::Numeric,
    };
    Schema {
        features: columns()[..FEATURES].iter().cloned().map(feature).collect(),
        category_buckets: 1,
        undecided: Vec::new(),
    }
}

/// The encoder alone.
pub struct Encoders<'a> {
    encoder: Encoder,
    decoded: &'a Decoded,
    inputs: Vec<f32>,
}

impl<'a> Encoders<'a> {
    pub fn new(decoded: &'a Decoded, encoding: Encoding) -> Self {
        let mut encoder = Encoder::new(&schema(), encoding, 1);
        encoder.observe(decoded.matrix.chunks_exact(FEATURES));
        Self {
            encoder,
            decoded,
            inputs: Vec::new(),
        }
    }

    pub fn both(&mut self) {
        for batch in self.decoded.matrix.chunks(BATCH * FEATURES) {
            self.encoder
                .encode(batch.chunks_exact(FEATURES), &mut self.inputs);
            self.encoder.observe(batch.chunks_exact(FEATURES));
            black_box(&self.inputs);
        }
    }

    pub fn encode(&mut self) {
        for batch in self.decoded.matrix.chunks(BATCH * FEATURES) {
            self.encoder
                .encode(batch.chunks_exact(FEATURES), &mut self.inputs);
            black_box(&self.inputs);
        }
    }
}

/// A loop that standardises with what it was given.
pub struct Plain<'a> {
    decoded: &'a Decoded,
    scales: [(f64, f64); FEATURES],
    inputs: Vec<f32>,
}

impl<'a> Plain<'a> {
    pub fn new(decoded: &'a Decoded) -> Self {
        Self {
            decoded,
            scales: std::array::from_fn(|index| (0.01 * index as f64, 1.1)),
            inputs: Vec::new(),
        }
    }

    pub fn standardise(&mut self) {
        for batch in self.decoded.matrix.chunks(BATCH * FEATURES) {
            self.inputs.clear();
            self.inputs.resize(batch.len(), 0.0);
            let rows = batch.as_chunks::<FEATURES>().0;
            let outs = self.inputs.as_chunks_mut::<FEATURES>().0;
            for (row, out) in rows.iter().zip(outs) {
                for index in 0..FEATURES {
                    let (mean, scale) = self.scales[index];
                    let value = (f64::from(row[index]) - mean) * scale;
                    out[index] = value.clamp(-8.0, 8.0) as f32;
                }
            }
            black_box(&self.inputs);
        }
    }
}
