//! A copy of the parameters that serves predictions.

use super::plan::Dense;
use super::{Error, expect};

/// A model that only predicts, on the CPU, whatever device learns: predictions neither wait for training nor disturb it.
///
/// It shares nothing with the engine it came from, so it never changes, and many threads may read it at once. It works by the
/// loops that learn on the CPU, on the thread that asks: a row costs what its products cost, and no thread is woken for it.
#[derive(Debug, Clone)]
pub struct Frozen {
    inputs: usize,
    /// Weights and biases; what only learning needs is left out.
    layers: Vec<Dense>,
    classes: usize,
}

impl Frozen {
    pub(super) fn new(inputs: usize, classes: usize, layers: Vec<Dense>) -> Self {
        Self {
            inputs,
            layers: layers.into_iter().map(Dense::without_velocity).collect(),
            classes,
        }
    }

    /// Classes known when it was frozen.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Probabilities (`rows x classes`) of `x` (`rows x inputs`, encoded as for learning). Empty without a class.
    ///
    /// The same row alone and among many others may differ in its last bits: products of other sizes add in another order.
    ///
    /// # Errors
    /// When `x` has another length.
    pub fn probabilities(&self, x: &[f32], rows: usize) -> Result<Vec<f32>, Error> {
        expect("inputs", x, rows, self.inputs)?;
        if rows == 0 || self.classes == 0 {
            return Ok(Vec::new());
        }
        let (mut values, mut out) = (Vec::new(), Vec::new());
        for (index, layer) in self.layers.iter().enumerate() {
            let input = if index == 0 { x } else { &values };
            layer.forward(input, rows, index + 1 < self.layers.len(), &mut out);
            std::mem::swap(&mut values, &mut out);
        }
        values.chunks_exact_mut(self.classes).for_each(softmax);
        Ok(values)
    }
}

/// Logits to probabilities, by differences and sums in f64; a logit that is no finite number leaves none in its row.
fn softmax(row: &mut [f32]) {
    let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut sum = 0.0;
    for value in &mut *row {
        let power = (f64::from(*value) - highest).exp();
        sum += power;
        *value = power as f32;
    }
    let scale = 1.0 / sum;
    for value in row {
        *value = (f64::from(*value) * scale) as f32;
    }
}
