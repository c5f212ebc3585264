//! What happens to a batch whose step could not be committed: see [`super::guard`].

use super::batcher::Batch;
use super::guard::{Probe, find};
use super::step::{Core, Verdict};
use crate::loss;
use crate::model::{self, Engine};

/// What became of a batch in the end.
pub(super) struct Rescue {
    pub verdict: Verdict,
    /// Places of the examples that were left out.
    pub quarantined: Vec<usize>,
    /// The model went back to an older one.
    pub went_back: bool,
}

impl Core {
    /// Finds out whether records or the model are to blame. Expects `self.inputs` to hold the batch.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) fn rescue(&mut self, batch: &Batch) -> Result<Rescue, model::Error> {
        let width = self.encoder.width();
        let mut sound = self.guard.sound(&self.task, width, self.classes.len())?;
        let rows: Vec<usize> = (0..batch.len()).collect();
        let mut judge = Judge {
            engine: &mut sound,
            inputs: &self.inputs,
            batch,
            width,
        };
        let guilty = find(&mut judge, &rows)?;
        self.guard.quarantined += guilty.len() as u64;
        let rest: Vec<usize> = rows
            .into_iter()
            .filter(|row| guilty.binary_search(row).is_err())
            .collect();
        let verdict = if guilty.is_empty() || rest.is_empty() {
            Verdict::SkippedNonFinite
        } else {
            self.learn_some(batch, &rest)?
        };
        let is_models_fault = verdict == Verdict::SkippedNonFinite && !rest.is_empty();
        let went_back = is_models_fault && self.guard.stumbled();
        if went_back {
            self.engine = sound;
        }
        Ok(Rescue {
            verdict,
            quarantined: guilty,
            went_back,
        })
    }

    /// Learns these rows of a batch as if they were all of it.
    fn learn_some(&mut self, batch: &Batch, rows: &[usize]) -> Result<Verdict, model::Error> {
        let chosen = Chosen::of(batch, &self.inputs, self.encoder.width(), rows);
        self.inputs = chosen.inputs;
        let logits = self.engine.forward(&self.inputs, rows.len())?;
        loss::softmax_cross_entropy(
            logits,
            self.classes.len(),
            &chosen.classes,
            &mut self.probabilities,
            &mut self.losses,
        );
        let verdict = self.learn(&chosen.classes, &chosen.importance)?;
        if !self.last.weights.is_empty() {
            // Who looks at the batch finds every example at its own place.
            let mut weights = vec![0.0; batch.len()];
            for (row, weight) in rows.iter().zip(&self.last.weights) {
                weights[*row] = *weight;
            }
            self.last.weights = weights;
        }
        Ok(verdict)
    }
}

/// Some rows of a batch.
struct Chosen {
    inputs: Vec<f32>,
    classes: Vec<u32>,
    importance: Vec<f32>,
}

impl Chosen {
    fn of(batch: &Batch, inputs: &[f32], width: usize, rows: &[usize]) -> Self {
        let row = |row: &usize| &inputs[row * width..(row + 1) * width];
        Self {
            inputs: rows.iter().flat_map(row).copied().collect(),
            classes: rows.iter().map(|row| batch.classes[*row]).collect(),
            importance: rows.iter().map(|row| batch.importance[*row]).collect(),
        }
    }
}

/// Asks a sound model about rows.
struct Judge<'a> {
    engine: &'a mut Engine,
    inputs: &'a [f32],
    batch: &'a Batch,
    width: usize,
}

impl Probe for Judge<'_> {
    type Error = model::Error;

    fn is_finite(&mut self, rows: &[usize]) -> Result<bool, model::Error> {
        let chosen = Chosen::of(self.batch, self.inputs, self.width, rows);
        let (mut probabilities, mut losses, mut gradient) = (Vec::new(), Vec::new(), Vec::new());
        let classes = self.engine.classes();
        let logits = self.engine.forward(&chosen.inputs, rows.len())?;
        loss::softmax_cross_entropy(
            logits,
            classes,
            &chosen.classes,
            &mut probabilities,
            &mut losses,
        );
        if !losses.iter().all(|loss| loss.is_finite()) {
            return Ok(false);
        }
        let share = 1.0 / rows.len() as f32;
        let coefficients: Vec<f32> = chosen
            .importance
            .iter()
            .map(|importance| importance * share)
            .collect();
        loss::seed_gradient(
            &probabilities,
            classes,
            &chosen.classes,
            &coefficients,
            &mut gradient,
        );
        let norm_squared = self
            .engine
            .backward(&chosen.inputs, rows.len(), &gradient)?;
        Ok(norm_squared.is_finite())
    }
}
