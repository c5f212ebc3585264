//! A first layer without some of its inputs: those that are 0 in every row change no output, and get no gradient.

use super::plan::Dense;
use super::{Engine, Error, Inner};

/// Which inputs a first layer has, and what it knew of the others.
#[derive(Debug)]
pub(super) struct Narrow {
    /// Inputs with those that are left out.
    inputs: usize,
    /// Those that it has, ascending.
    pub kept: Vec<usize>,
    /// Weights of all inputs, `outputs x inputs`, row-major; only those of inputs that are left out are up to date.
    weights: Vec<f32>,
}

impl Narrow {
    /// The layer with only these of its inputs, and what is needed to give it the others again. A layer that is not there yet
    /// has no output.
    pub fn new(inputs: usize, kept: Vec<usize>, whole: Option<Dense>) -> (Self, Option<Dense>) {
        let narrow = whole.as_ref().map(|whole| Dense {
            inputs: kept.len(),
            weight: picked(&whole.weight, inputs, &kept),
            weight_velocity: picked(&whole.weight_velocity, inputs, &kept),
            weight_square: picked(&whole.weight_square, inputs, &kept),
            bias: whole.bias.clone(),
            bias_velocity: whole.bias_velocity.clone(),
            bias_square: whole.bias_square.clone(),
        });
        let left = Self {
            inputs,
            kept,
            weights: whole.map_or_else(Vec::new, |whole| whole.weight),
        };
        (left, narrow)
    }

    /// The layer with all inputs; those that were left out are at rest.
    pub fn whole(&self, narrow: Dense) -> Dense {
        let rest = vec![0.0; self.weights.len()];
        let squares = if narrow.weight_square.is_empty() {
            Vec::new()
        } else {
            self.placed(rest.clone(), &narrow.weight_square)
        };
        Dense {
            inputs: self.inputs,
            weight: self.placed(self.weights.clone(), &narrow.weight),
            weight_velocity: self.placed(rest, &narrow.weight_velocity),
            weight_square: squares,
            ..narrow
        }
    }

    /// Indexes of the inputs that the layer does not have.
    pub fn left_out(&self) -> Vec<u64> {
        let is_out = |input: &usize| self.kept.binary_search(input).is_err();
        let left_out = (0..self.inputs).filter(is_out);
        left_out.map(|input| input as u64).collect()
    }

    /// `more` inputs join after all others, with weights of 0, and are not left out.
    pub fn add_inputs(&mut self, more: usize) {
        let mut layer = Dense::empty(self.inputs);
        layer.weight = std::mem::take(&mut self.weights);
        layer.add_inputs(more);
        self.weights = layer.weight;
        self.kept.extend(self.inputs..self.inputs + more);
        self.inputs += more;
    }

    /// An output joins: its weights by the inputs that the layer has, from those by all inputs.
    pub fn push_row(&mut self, row: &[f32]) -> Vec<f32> {
        self.weights.extend_from_slice(row);
        self.kept.iter().map(|input| row[*input]).collect()
    }

    /// `values` of all inputs with those of a narrow layer in their places.
    fn placed(&self, mut values: Vec<f32>, narrow: &[f32]) -> Vec<f32> {
        let rows = values.chunks_exact_mut(self.inputs.max(1));
        for (row, narrow) in rows.zip(narrow.chunks_exact(self.kept.len().max(1))) {
            for (input, value) in self.kept.iter().zip(narrow) {
                row[*input] = *value;
            }
        }
        values
    }
}

impl Engine {
    /// Values of one input row, without inputs that are left out.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.narrow {
            Some(narrow) => narrow.kept.len(),
            None => self.plan.inputs(),
        }
    }

    /// The inputs that rows have, ascending, by their places among all.
    #[must_use]
    pub fn kept_inputs(&self) -> Vec<usize> {
        match &self.narrow {
            Some(narrow) => narrow.kept.clone(),
            None => (0..self.plan.inputs()).collect(),
        }
    }

    /// From now on rows have only these of all inputs, ascending. The others count as 0, which costs nothing; they keep their
    /// weights until they are kept again. Saved parameters are those of all inputs.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// ```
    /// use skewd::model::{DeviceChoice, Engine, Settings};
    /// let mut engine = Engine::new(&Settings::default(), 3, 1, &DeviceChoice::Cpu)?;
    /// engine.add_class()?;
    /// let whole = engine.forward(&[0.5, 0.0, 2.0], 1)?.to_vec();
    /// engine.keep_inputs(vec![0, 2])?;
    /// assert_eq!(engine.forward(&[0.5, 2.0], 1)?, whole);
    /// # Ok::<(), skewd::model::Error>(())
    /// ```
    pub fn keep_inputs(&mut self, kept: Vec<usize>) -> Result<(), Error> {
        if kept == self.kept_inputs() {
            return Ok(());
        }
        let inputs = self.plan.inputs();
        let first = match self.has_first_layer() {
            true => self.whole_layers()?.into_iter().next(),
            false => None,
        };
        let (narrow, first) = Narrow::new(inputs, kept, first);
        if let Some(first) = first {
            match &mut self.inner {
                Inner::Fused(fused) => fused.replace_first(first),
                Inner::Autograd(autograd) => autograd.replace_first(first)?,
            }
        }
        self.narrow = (narrow.kept.len() < inputs).then_some(narrow);
        Ok(())
    }

    /// A linear model has no layer before it has a class.
    fn has_first_layer(&self) -> bool {
        self.plan.output_layer() > 0 || self.classes() > 0
    }

    /// Appends inputs. Their weights are zero until something is learned, so no prediction changes by it.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_inputs(&mut self, more: usize) -> Result<(), Error> {
        if more == 0 {
            return Ok(());
        }
        self.plan.add_inputs(more);
        if let Some(narrow) = &mut self.narrow {
            narrow.add_inputs(more);
        }
        let has_layers = self.has_first_layer();
        match &mut self.inner {
            _ if !has_layers => Ok(()),
            Inner::Fused(fused) => {
                fused.add_inputs(more);
                Ok(())
            }
            Inner::Autograd(autograd) => autograd.add_inputs(more),
        }
    }

    /// The layers with all inputs, on the host.
    pub(super) fn whole_layers(&self) -> Result<Vec<Dense>, Error> {
        let mut layers = self.layers()?;
        if let (Some(narrow), Some(first)) = (&self.narrow, layers.first_mut()) {
            *first = narrow.whole(std::mem::replace(first, Dense::empty(0)));
        }
        Ok(layers)
    }
}

/// The values of some inputs, row by row.
fn picked(values: &[f32], inputs: usize, kept: &[usize]) -> Vec<f32> {
    let rows = values.chunks_exact(inputs.max(1));
    rows.flat_map(|row| kept.iter().map(|input| row[*input]))
        .collect()
}

#[cfg(test)]
mod tests;
