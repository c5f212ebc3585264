//! A copy of the parameters that serves predictions.

use candle_core::{D, Device, Tensor};

use super::plan::Dense;
use super::{Error, expect};

/// A model that only predicts, on the CPU, whatever device learns: predictions neither wait for training nor disturb it.
///
/// It shares no storage with the engine it came from (a clone of a candle tensor would), so it never changes, and many
/// threads may read it at once.
#[derive(Debug, Clone)]
pub struct Frozen {
    inputs: usize,
    /// Transposed weight (a view of `outputs x inputs`) and bias of each layer.
    layers: Vec<(Tensor, Tensor)>,
    classes: usize,
}

impl Frozen {
    pub(super) fn new(inputs: usize, classes: usize, layers: Vec<Dense>) -> Result<Self, Error> {
        let freeze = |dense: Dense| {
            let (outputs, inputs) = (dense.outputs(), dense.inputs);
            let weight = Tensor::from_vec(dense.weight, (outputs, inputs), &Device::Cpu)?.t()?;
            Ok((weight, Tensor::from_vec(dense.bias, outputs, &Device::Cpu)?))
        };
        let layers: Result<_, Error> = layers.into_iter().map(freeze).collect();
        Ok(Self {
            inputs,
            layers: layers?,
            classes,
        })
    }

    /// Classes known when it was frozen.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Probabilities (`rows x classes`) of `x` (`rows x inputs`, encoded as for learning). Empty without a class.
    ///
    /// The same row alone and among others may differ in its last bits: products of other sizes add in another order.
    ///
    /// # Errors
    /// When `x` has another length.
    pub fn probabilities(&self, x: &[f32], rows: usize) -> Result<Vec<f32>, Error> {
        expect("inputs", x, rows, self.inputs)?;
        if rows == 0 || self.classes == 0 {
            return Ok(Vec::new());
        }
        let mut values = Tensor::from_slice(x, (rows, self.inputs), &Device::Cpu)?;
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            values = values.matmul(weight)?.broadcast_add(bias)?;
            if index + 1 < self.layers.len() {
                values = values.relu()?;
            }
        }
        let probabilities = candle_nn::ops::softmax(&values, D::Minus1)?;
        Ok(probabilities.flatten_all()?.to_vec1()?)
    }
}
