//! The published model: immutable, shared by pointer, never a view of what is being trained.

use std::borrow::Cow;
use std::sync::Arc;

use super::gate::Gate;
use super::inputs::Inputs;
use crate::codec::{self, Encoder, RecentShares, Reject, SHARES, Schema};
use crate::evaluate::{Served, most_probable};
use crate::example::{Positions, Prediction};
use crate::model::Frozen;

/// Everything that a prediction needs, as of one step.
pub struct Snapshot {
    /// The step that made this model.
    pub model_version: u64,
    /// Times that the model was sent back to an older one. Else a version is smaller than an earlier one only after a crash,
    /// while what was learned since the last checkpoint is repeated.
    pub epoch: u64,
    /// Examples learned by then.
    pub examples: u64,
    /// Examples taken by then: the model's place in the journal.
    pub taken: u64,
    /// Next offsets: the model has learned everything before them.
    pub trained_through: Positions,
    /// The features.
    pub schema: Arc<Schema>,
    /// How records are read.
    pub codec: Arc<codec::Settings>,
    /// Class names, in class order.
    pub classes: Vec<Arc<str>>,
    /// Encoder as of that step.
    pub encoder: Encoder,
    /// Which of its inputs the models take.
    pub inputs: Arc<Inputs>,
    /// Recent class shares as of that step, where they are inputs.
    pub shares: Option<RecentShares>,
    /// What becomes of the mixed probabilities on their way out.
    pub served: Served,
    /// Detached copies of the members' parameters, or of their averages.
    pub speakers: Vec<Speaker>,
    /// Who of them is heard about young classes.
    pub gate: Gate,
}

/// One of the models whose probabilities are mixed.
pub struct Speaker {
    /// What it counts for.
    pub share: f64,
    /// How many of the inputs it takes, the first.
    pub width: usize,
    /// The model.
    pub model: Frozen,
}

impl Snapshot {
    /// One row of a predict request, from its JSON text: an array in schema order or an object by name.
    ///
    /// # Errors
    /// The field that does not fit, and why.
    pub fn row(&self, json: &str) -> Result<Box<[f32]>, Reject> {
        codec::row_of_json(&self.schema, &self.codec, json)
    }

    /// Class and probabilities of each row.
    ///
    /// # Errors
    /// When the model could not be evaluated, or an output was not finite.
    pub fn predict(&self, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, String> {
        let mut inputs = Vec::with_capacity(rows.len() * self.encoder.width());
        self.encoder
            .encode(rows.iter().map(|row| &**row), &mut inputs);
        let mut probabilities = self.mixed(&self.inputs.pick(inputs), rows.len())?;
        Ok(probabilities
            .chunks_exact_mut(self.classes.len().max(1))
            .map(|row| {
                self.served.calibrate(row);
                let class = most_probable(row).unwrap_or(0);
                Prediction {
                    class,
                    decision: self.served.decide(row).unwrap_or(class),
                    probabilities: row.to_vec(),
                }
            })
            .collect())
    }

    /// What the speakers say together of each row.
    fn mixed(&self, inputs: &[f32], rows: usize) -> Result<Vec<f32>, String> {
        let spoken: Vec<Vec<f32>> = self
            .speakers
            .iter()
            .map(|speaker| {
                let own = self.inputs_of(inputs, speaker.width);
                speaker.model.probabilities(&own, rows)
            })
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let classes = self.classes.len().max(1);
        let shares: Vec<f64> = self.speakers.iter().map(|speaker| speaker.share).collect();
        let mut mixed = vec![0.0; rows * self.classes.len()];
        let mut weights = Vec::with_capacity(shares.len());
        for (row, mixed) in mixed.chunks_exact_mut(classes).enumerate() {
            let said = || {
                spoken
                    .iter()
                    .map(|spoken| &spoken[row * classes..][..classes])
            };
            weights.clone_from(&shares);
            if self.gate.is_open() {
                let spoken = |voice: usize, class: usize| spoken[voice][row * classes + class];
                self.gate.weigh(classes, &spoken, &mut weights);
            }
            for (weight, said) in weights.iter().zip(said()) {
                for (sum, p) in mixed.iter_mut().zip(said) {
                    *sum += *weight as f32 * p;
                }
            }
            if !mixed.iter().all(|p| p.is_finite()) {
                mix_sound(&weights, said(), mixed)?;
            }
        }
        Ok(mixed)
    }

    /// The first `wanted` inputs of each row, and the recent class shares after them where they are inputs.
    fn inputs_of<'a>(&self, inputs: &'a [f32], wanted: usize) -> Cow<'a, [f32]> {
        let width = self.inputs.among(self.encoder.width()).max(1);
        if self.shares.is_none() && wanted == width {
            return Cow::Borrowed(inputs);
        }
        let more = self
            .shares
            .as_ref()
            .map_or(0, |_| self.classes.len() * SHARES);
        let mut out = Vec::with_capacity(inputs.len() / width * (wanted + more));
        for row in inputs.chunks_exact(width) {
            out.extend_from_slice(&row[..wanted]);
            if let Some(shares) = &self.shares {
                shares.write(self.classes.len(), &mut out);
            }
        }
        Cow::Owned(out)
    }
}

/// A row without the speakers who say nothing finite of it: a learner that is driven too far (the guard brings it back
/// with the next batches) must not silence the others.
fn mix_sound<'a>(
    weights: &[f64],
    said: impl Iterator<Item = &'a [f32]>,
    mixed: &mut [f32],
) -> Result<(), String> {
    mixed.fill(0.0);
    let mut heard = 0.0;
    for (weight, said) in weights.iter().zip(said) {
        if said.iter().all(|p| p.is_finite()) {
            heard += *weight as f32;
            for (sum, p) in mixed.iter_mut().zip(said) {
                *sum += *weight as f32 * p;
            }
        }
    }
    if heard <= 0.0 {
        return Err("the model's output is not finite".to_owned());
    }
    mixed.iter_mut().for_each(|p| *p /= heard);
    Ok(())
}
