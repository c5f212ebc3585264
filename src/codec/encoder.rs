//! Rows -> inputs of the model, with running moments.

use super::schema::{Kind, Schema};
use super::settings::Encoding;
use crate::state::{Error, State};

/// Standardised numbers are cut here: one outlier must not move the model alone.
const CUT: f64 = 8.0;

/// Encodes rows and learns their moments.
///
/// A batch is encoded with the moments as they stood before it; then it is observed. A numeric feature is one
/// input: the value (`raw`), or `(x - mean) / sd` cut at +-8 (`standard`), where the population standard deviation
/// comes from Welford's recurrence (1962) in f64, one value after the other; 0 before two values or without
/// variance. Missing is 0. A categorical feature is one input a bucket, 1 where the value fell, all 0 when missing.
///
/// ```
/// use skewd::codec::{Encoder, Encoding, Schema, Settings};
/// let settings = Settings { features: vec!["x".into()], ..Settings::default() };
/// let schema = Schema::given(&settings).unwrap();
/// let mut encoder = Encoder::new(&schema, Encoding::Standard);
/// encoder.observe([&[1.0_f32][..], &[3.0], &[f32::NAN]].into_iter());
/// let mut inputs = Vec::new();
/// encoder.encode([&[4.0_f32][..], &[f32::NAN]].into_iter(), &mut inputs);
/// assert_eq!(inputs, [2.0, 0.0]); // mean 2, deviation 1
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    encoding: Encoding,
    columns: Vec<Column>,
    names: Vec<String>,
    moments: Moments,
}

/// The inputs of one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    /// One input; its index among the moments.
    Number { input: usize, moment: usize },
    /// `buckets` inputs from `input` on.
    Category { input: usize, buckets: usize },
}

/// Count, mean and sum of squared deviations of each numeric feature.
#[derive(Debug, Clone, Default, PartialEq)]
struct Moments {
    counts: Vec<u64>,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Encoder {
    /// An encoder that has seen nothing.
    #[must_use]
    pub fn new(schema: &Schema, encoding: Encoding) -> Self {
        let (mut columns, mut names, mut numbers) = (Vec::new(), Vec::new(), 0);
        for feature in &schema.features {
            let input = names.len();
            match feature.kind {
                Kind::Numeric => {
                    columns.push(Column::Number {
                        input,
                        moment: numbers,
                    });
                    names.push(feature.name.clone());
                    numbers += 1;
                }
                Kind::Categorical => {
                    let buckets = schema.category_buckets;
                    columns.push(Column::Category { input, buckets });
                    names.extend((0..buckets).map(|bucket| format!("{}#{bucket}", feature.name)));
                }
            }
        }
        Self {
            encoding,
            columns,
            names,
            moments: Moments {
                counts: vec![0; numbers],
                means: vec![0.0; numbers],
                squares: vec![0.0; numbers],
            },
        }
    }

    /// Inputs of the model a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// A name for each input: the feature's, with `#bucket` for one of a category.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Replaces `out` with the inputs of the rows, row-major, [`Encoder::width`] a row. Rows have one value a
    /// feature of the schema.
    pub fn encode<'a>(&self, rows: impl Iterator<Item = &'a [f32]>, out: &mut Vec<f32>) {
        let scales = match self.encoding {
            Encoding::Raw => Vec::new(),
            Encoding::Standard => self.moments.scales(),
        };
        out.clear();
        for row in rows {
            let start = out.len();
            out.resize(start + self.width(), 0.0);
            let inputs = &mut out[start..];
            for (value, column) in row.iter().zip(&self.columns) {
                match *column {
                    _ if value.is_nan() => {}
                    Column::Number { input, moment } => {
                        inputs[input] = match scales.get(moment) {
                            None => *value,
                            Some((mean, scale)) => {
                                ((f64::from(*value) - mean) * scale).clamp(-CUT, CUT) as f32
                            }
                        };
                    }
                    Column::Category { input, buckets } => {
                        inputs[input + (*value as usize).min(buckets - 1)] = 1.0;
                    }
                }
            }
        }
    }

    /// Learns the moments of the rows, one after the other. With `raw` there are none to learn.
    pub fn observe<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) {
        if self.encoding == Encoding::Raw {
            return;
        }
        for row in rows {
            for (value, column) in row.iter().zip(&self.columns) {
                if let Column::Number { moment, .. } = column
                    && !value.is_nan()
                {
                    self.moments.add(*moment, f64::from(*value));
                }
            }
        }
    }

    /// Writes the moments under `encoder.`.
    pub fn save(&self, state: &mut State) {
        state.put_u64("encoder.count", self.moments.counts.clone());
        state.put_f64("encoder.mean", self.moments.means.clone());
        state.put_f64("encoder.squares", self.moments.squares.clone());
    }

    /// The encoder for a schema that has more features: what it knows of the others stays. Also where each of its inputs
    /// comes from among those of this one; `None` for a new one.
    #[must_use]
    pub fn grown(&self, schema: &Schema) -> (Self, Vec<Option<usize>>) {
        let mut grown = Self::new(schema, self.encoding);
        let from: Vec<Option<usize>> = grown
            .names
            .iter()
            .map(|name| self.names.iter().position(|known| known == name))
            .collect();
        for column in &grown.columns {
            let Column::Number { input, moment } = *column else {
                continue;
            };
            let old = from[input].and_then(|old| {
                self.columns.iter().find_map(|column| match column {
                    Column::Number { input, moment } if *input == old => Some(*moment),
                    _ => None,
                })
            });
            if let Some(old) = old {
                grown.moments.counts[moment] = self.moments.counts[old];
                grown.moments.means[moment] = self.moments.means[old];
                grown.moments.squares[moment] = self.moments.squares[old];
            }
        }
        (grown, from)
    }

    /// The encoder that was saved, for the same schema and encoding.
    ///
    /// # Errors
    /// When the state has no moments, or of another number of features.
    pub fn load(schema: &Schema, encoding: Encoding, state: &State) -> Result<Self, Error> {
        let mut encoder = Self::new(schema, encoding);
        let numbers = encoder.moments.counts.len();
        encoder.moments = Moments {
            counts: state.u64_exact("encoder.count", numbers)?.to_vec(),
            means: state.f64_exact("encoder.mean", numbers)?.to_vec(),
            squares: state.f64_exact("encoder.squares", numbers)?.to_vec(),
        };
        Ok(encoder)
    }
}

impl Moments {
    fn add(&mut self, index: usize, value: f64) {
        self.counts[index] += 1;
        let before = value - self.means[index];
        self.means[index] += before / self.counts[index] as f64;
        self.squares[index] += before * (value - self.means[index]);
    }

    /// Mean and 1 / standard deviation of each feature; 0 for the latter where there is none.
    fn scales(&self) -> Vec<(f64, f64)> {
        let moments = self.counts.iter().zip(&self.means).zip(&self.squares);
        let scale = |((count, mean), squares): ((&u64, &f64), &f64)| {
            let deviation = (squares / *count as f64).sqrt();
            if *count < 2 || deviation <= 0.0 {
                return (*mean, 0.0);
            }
            (*mean, 1.0 / deviation)
        };
        moments.map(scale).collect()
    }
}
