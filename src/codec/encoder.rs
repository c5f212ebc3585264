//! Rows -> inputs of the model, with what is known of the numbers so far.

use std::ops::Range;

use super::moments::Moments;
use super::passes::{Encode, Observe};
use super::quantiles::Quantiles;
use super::schema::{Kind, Schema};
use super::settings::Encoding;
use crate::state::{Error, State};
use crate::wide::wide;

/// Further forms of a number under `robust`, in the order of their inputs after the standardised one.
const FORMS: [&str; 3] = ["log", "quantile", "missing"];
pub(super) const LOG: usize = 1;
pub(super) const QUANTILE: usize = 2;
pub(super) const MISSING: usize = 3;
/// Parts of a number under [`Encoder::with_pieces`].
pub(super) const PIECES: usize = 8;

/// Encodes rows and learns what their numbers look like.
///
/// A batch is encoded with what was known before it; then it is observed. A categorical feature is one input a bucket, 1
/// where the value fell, all 0 when missing. A numeric feature is, by [`Encoding`]:
///
/// - `raw`: the value;
/// - `standard`: `(x - mean) / sd`, cut at +-8; 0 before two values or without variance;
/// - `robust`: that, the same of its signed log `sign(x) ln(1 + |x|)`, its place among the quantiles so far (-1.7 to 1.7),
///   and 1 where it is missing.
///
/// Missing is 0 everywhere else.
///
/// ```
/// use skewd::codec::{Encoder, Encoding, Schema, Settings};
/// let settings = Settings { features: vec!["x".into()], ..Settings::default() };
/// let schema = Schema::given(&settings).unwrap();
/// let mut encoder = Encoder::new(&schema, Encoding::Standard, 1);
/// encoder.observe([&[1.0_f32][..], &[3.0], &[f32::NAN]].into_iter());
/// let mut inputs = Vec::new();
/// encoder.encode([&[4.0_f32][..], &[f32::NAN]].into_iter(), &mut inputs);
/// assert_eq!(inputs, [2.0, 0.0]); // mean 2, deviation 1
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    pub(super) encoding: Encoding,
    pub(super) columns: Vec<Column>,
    /// The columns again: numbers that stand side by side.
    pub(super) runs: Vec<Run>,
    names: Vec<String>,
    /// Inputs before the pieces.
    pub(super) plain_width: usize,
    pub(super) moments: Moments,
    /// Of the signed logs, and the quantiles; for `robust`.
    pub(super) compressed: Option<(Moments, Quantiles)>,
}

/// The inputs of one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Column {
    /// Inputs from `input` on; its index among the numbers.
    Number { input: usize, number: usize },
    /// `buckets` inputs from `input` on.
    Category { input: usize, buckets: usize },
}

/// Neighbouring features that are numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    /// The first feature, its index among the numbers, its first input.
    pub column: usize,
    pub number: usize,
    pub input: usize,
    pub length: usize,
}

fn runs(columns: &[Column]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let Column::Number { input, number } = *column else {
            continue;
        };
        match runs.last_mut() {
            Some(run) if run.column + run.length == index => run.length += 1,
            _ => runs.push(Run {
                column: index,
                number,
                input,
                length: 1,
            }),
        }
    }
    runs
}

/// Inputs of one feature; a category has its buckets.
pub(super) fn inputs_of(kind: Kind, encoding: Encoding, buckets: usize) -> usize {
    match kind {
        Kind::Numeric if encoding == Encoding::Robust => 1 + FORMS.len(),
        Kind::Numeric => 1,
        Kind::Categorical => buckets,
    }
}

impl Encoder {
    /// An encoder that has seen nothing; `seed` decides which rows the quantiles are taken from.
    #[must_use]
    pub fn new(schema: &Schema, encoding: Encoding, seed: u64) -> Self {
        let (mut columns, mut names, mut numbers) = (Vec::new(), Vec::new(), 0);
        for feature in &schema.features {
            let input = names.len();
            match feature.kind {
                Kind::Numeric => {
                    columns.push(Column::Number {
                        input,
                        number: numbers,
                    });
                    names.push(feature.name.clone());
                    if encoding == Encoding::Robust {
                        let name = &feature.name;
                        names.extend(FORMS.map(|form| format!("{name}#{form}")));
                    }
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
            runs: runs(&columns),
            columns,
            plain_width: names.len(),
            names,
            moments: Moments::new(numbers),
            compressed: (encoding == Encoding::Robust)
                .then(|| (Moments::new(numbers), Quantiles::new(numbers, seed))),
        }
    }

    /// The same with eight further inputs a number after all the others, where the encoding knows quantiles: input i grows
    /// from 0 to 1 within the i-th eighth of the values so far (Gorishniy et al., *On Embeddings for Numerical Features in
    /// Tabular Deep Learning*, 2022). All 0 when missing.
    #[must_use]
    pub fn with_pieces(mut self) -> Self {
        if self.compressed.is_none() || self.has_pieces() {
            return self;
        }
        let numbers = self.columns.iter().filter_map(|column| match *column {
            Column::Number { input, .. } => Some(input),
            Column::Category { .. } => None,
        });
        let names: Vec<String> = numbers
            .flat_map(|input| {
                let name = &self.names[input];
                (0..PIECES).map(move |piece| format!("{name}#piece{piece}"))
            })
            .collect();
        self.names.extend(names);
        self
    }

    fn has_pieces(&self) -> bool {
        self.names.len() > self.plain_width
    }

    /// Inputs of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Inputs of a row before those of [`Encoder::with_pieces`].
    #[must_use]
    pub fn plain_width(&self) -> usize {
        self.plain_width
    }

    /// A name for each input: the feature's, with `#bucket` for one of a category and `#log`, `#quantile`, `#missing` or
    /// `#piece` and its index for the further forms of a number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The inputs of each category, at most one of which is not 0 in a row.
    #[must_use]
    pub fn categories(&self) -> Vec<Range<usize>> {
        let ranges = self.columns.iter().filter_map(|column| match *column {
            Column::Category { input, buckets } => Some(input..input + buckets),
            Column::Number { .. } => None,
        });
        ranges.collect()
    }

    /// Replaces `out` with the inputs of the rows, row-major, [`Encoder::width`] a row. Rows have one value a
    /// feature of the schema.
    pub fn encode<'a>(&self, rows: impl Iterator<Item = &'a [f32]>, out: &mut Vec<f32>) {
        out.clear();
        wide(Encode {
            encoder: self,
            rows,
            out,
        });
    }

    /// Writes the inputs of the categories of a row; all are 0 before.
    pub(super) fn write_categories(&self, row: &[f32], inputs: &mut [f32]) {
        for (value, column) in row.iter().zip(&self.columns) {
            if let Column::Category { input, buckets } = *column
                && !value.is_nan()
            {
                inputs[input + (*value as usize).min(buckets - 1)] = 1.0;
            }
        }
    }

    /// Learns from the rows, one after the other. With `raw` there is nothing to learn.
    pub fn observe<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) {
        if self.encoding == Encoding::Raw {
            return;
        }
        wide(Observe {
            encoder: self,
            rows,
        });
        if let Some((_, quantiles)) = &mut self.compressed {
            quantiles.refresh();
        }
    }

    /// Lets the moments count as those of at most so many rows, so that they follow the next ones faster. The quantiles
    /// stay: a sample of all rows.
    pub fn hasten(&mut self, most: u64) {
        self.moments.hasten(most);
        if let Some((logs, _)) = &mut self.compressed {
            logs.hasten(most);
        }
    }

    /// Writes everything under `encoder.`.
    pub fn save(&self, state: &mut State) {
        self.moments.save("encoder.", state);
        if let Some((logs, quantiles)) = &self.compressed {
            logs.save("encoder.log.", state);
            quantiles.save(state);
        }
    }

    /// The encoder for a schema that has more features: what it knows of the others stays. Also where each of its inputs
    /// comes from among those of this one; `None` for a new one.
    #[must_use]
    pub fn grown(&self, schema: &Schema) -> (Self, Vec<Option<usize>>) {
        let mut grown = Self::new(schema, self.encoding, 0);
        if self.has_pieces() {
            grown = grown.with_pieces();
        }
        let from: Vec<Option<usize>> = grown
            .names
            .iter()
            .map(|name| self.names.iter().position(|known| known == name))
            .collect();
        let numbers: Vec<Option<usize>> = grown
            .columns
            .iter()
            .filter_map(|column| match *column {
                Column::Number { input, .. } => {
                    Some(from[input].and_then(|old| self.number_at(old)))
                }
                Column::Category { .. } => None,
            })
            .collect();
        for (number, old) in numbers.iter().enumerate() {
            let Some(old) = *old else { continue };
            grown.moments.copy(number, &self.moments, old);
            if let (Some((logs, _)), Some((known, _))) = (&mut grown.compressed, &self.compressed) {
                logs.copy(number, known, old);
            }
        }
        if let (Some((_, quantiles)), Some((_, known))) = (&mut grown.compressed, &self.compressed)
        {
            *quantiles = Quantiles::grown(known, &numbers);
        }
        (grown, from)
    }

    /// Index among the numbers of the feature whose inputs begin at `input`.
    fn number_at(&self, input: usize) -> Option<usize> {
        self.columns.iter().find_map(|column| match *column {
            Column::Number { input: at, number } if at == input => Some(number),
            _ => None,
        })
    }

    /// The encoder that was saved, for the same schema and encoding.
    ///
    /// # Errors
    /// When the state has no moments, or of another number of features.
    pub fn load(
        schema: &Schema,
        encoding: Encoding,
        seed: u64,
        state: &State,
    ) -> Result<Self, Error> {
        let mut encoder = Self::new(schema, encoding, seed);
        let columns = encoder.columns.iter();
        let numbers = columns
            .filter(|column| matches!(column, Column::Number { .. }))
            .count();
        encoder.moments = Moments::load("encoder.", numbers, state)?;
        if let Some((logs, quantiles)) = &mut encoder.compressed {
            *logs = Moments::load("encoder.log.", numbers, state)?;
            *quantiles = Quantiles::load(numbers, seed, state)?;
        }
        Ok(encoder)
    }
}
