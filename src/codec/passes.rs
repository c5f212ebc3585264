//! The two passes of the encoder over rows: inputs out of what is known, and what is known out of the rows.
//!
//! Both run through [`crate::wide::wide`], run by run of numbers that stand side by side.

use pulp::{Simd, WithSimd};

use super::encoder::{Encoder, LOG, MISSING, PIECES, QUANTILE, Run};
use super::lanes::{Scales, signed_logs, standardise, standardise_wide, widen};
use super::moments::bounds_are_due;
use super::quantiles::{Quantiles, REACH};
use super::settings::Encoding;

/// [`Encoder::encode`].
pub(super) struct Encode<'e, I> {
    pub encoder: &'e Encoder,
    pub rows: I,
    pub out: &'e mut Vec<f32>,
}

impl<'a, I: Iterator<Item = &'a [f32]>> WithSimd for Encode<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { encoder, rows, out } = self;
        let width = encoder.width();
        out.resize(rows.size_hint().0 * width, 0.0);
        let mut known = Known::new(encoder);
        let mut start = 0;
        for row in rows {
            if out.len() < start + width {
                out.resize(start + width, 0.0);
            }
            let (inputs, pieces) = out[start..start + width].split_at_mut(encoder.plain_width);
            for run in &encoder.runs {
                known.write(*run, row, inputs, pieces);
            }
            if encoder.runs.len() < encoder.columns.len() {
                encoder.write_categories(row, inputs);
            }
            start += width;
        }
        out.truncate(start);
    }
}

/// What the encoder knows of the numbers, and room for one row.
struct Known<'e> {
    encoding: Encoding,
    scales: Scales,
    compressed: Option<(Scales, &'e Quantiles)>,
    logs: Vec<f64>,
    scaled: Vec<f32>,
}

impl<'e> Known<'e> {
    fn new(encoder: &'e Encoder) -> Self {
        let room = encoder.columns.len();
        let (scales, compressed) = match (&encoder.compressed, encoder.encoding) {
            (Some((logs, quantiles)), _) => {
                (encoder.moments.scales(), Some((logs.scales(), quantiles)))
            }
            (None, Encoding::Raw) => (Scales::default(), None),
            (None, _) => (encoder.moments.scales(), None),
        };
        Self {
            encoding: encoder.encoding,
            scales,
            compressed,
            logs: vec![0.0; room],
            scaled: vec![0.0; room],
        }
    }

    /// Writes the inputs of neighbouring numbers.
    #[inline(always)]
    fn write(&mut self, run: Run, row: &[f32], inputs: &mut [f32], pieces: &mut [f32]) {
        let values = &row[run.column..run.column + run.length];
        if self.encoding == Encoding::Raw {
            for (value, input) in values.iter().zip(&mut inputs[run.input..]) {
                *input = if value.is_nan() { 0.0 } else { *value };
            }
            return;
        }
        let numbers = run.number..run.number + run.length;
        let (means, scales) = (&self.scales.means, &self.scales.scales);
        let (means, scales) = (&means[numbers.clone()], &scales[numbers.clone()]);
        let Some((log_scales, quantiles)) = &self.compressed else {
            let inputs = &mut inputs[run.input..run.input + run.length];
            standardise(values, means, scales, inputs);
            return;
        };
        let forms = &mut inputs[run.input..run.input + run.length * (MISSING + 1)];
        let forms = forms.as_chunks_mut::<{ MISSING + 1 }>().0;
        let scaled = &mut self.scaled[..run.length];
        standardise(values, means, scales, scaled);
        for (form, scaled) in forms.iter_mut().zip(&*scaled) {
            form[0] = *scaled;
        }
        let (means, scales) = (&log_scales.means, &log_scales.scales);
        let (means, scales) = (&means[numbers.clone()], &scales[numbers]);
        let logs = &mut self.logs[..run.length];
        signed_logs(values, logs);
        standardise_wide(logs, means, scales, scaled);
        for (index, (form, value)) in forms.iter_mut().zip(values).enumerate() {
            form[LOG] = scaled[index];
            if value.is_nan() {
                form[MISSING] = 1.0;
                continue;
            }
            let number = run.number + index;
            form[QUANTILE] = quantiles.place(number, *value);
            if let Some(pieces) = pieces.get_mut(number * PIECES..(number + 1) * PIECES) {
                fill(form[QUANTILE], pieces);
            }
        }
    }
}

/// [`Encoder::observe`], but for the knots of the quantiles.
pub(super) struct Observe<'e, I> {
    pub encoder: &'e mut Encoder,
    pub rows: I,
}

impl<'a, I: Iterator<Item = &'a [f32]>> WithSimd for Observe<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Encoder {
            columns,
            runs,
            moments,
            compressed,
            ..
        } = self.encoder;
        let mut room = vec![0.0; columns.len()];
        for (index, row) in self.rows.enumerate() {
            if bounds_are_due(index) {
                moments.bound();
                if let Some((logs, _)) = compressed {
                    logs.bound();
                }
            }
            for run in runs.iter() {
                let values = &row[run.column..run.column + run.length];
                let room = &mut room[..run.length];
                widen(values, room);
                moments.add(run.number, room);
                if let Some((logs, _)) = compressed {
                    signed_logs(values, room);
                    logs.add(run.number, room);
                }
            }
            if let Some((_, quantiles)) = compressed {
                let numbers = runs.iter().flat_map(|run| {
                    let values = &row[run.column..run.column + run.length];
                    values.iter().copied()
                });
                quantiles.add(numbers);
            }
        }
    }
}

/// Fills the pieces from the lowest up to a place among the quantiles.
fn fill(place: f32, pieces: &mut [f32]) {
    let filled = (place / REACH as f32 + 1.0) / 2.0 * pieces.len() as f32;
    for (index, piece) in pieces.iter_mut().enumerate() {
        *piece = (filled - index as f32).clamp(0.0, 1.0);
    }
}
