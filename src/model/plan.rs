//! The shape of a model, the first values of its parameters, and a dense layer on the host.

use std::ops::Range;

use super::init;
use super::{Error, Kind, ParameterView, Settings};
use crate::state::{self, Blob, State};

/// Shape and seed of a model.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Width of the input, then of each hidden layer: the inputs of layer 0, 1, …
    widths: Vec<usize>,
    seed: u64,
    kind: Kind,
}

impl Plan {
    pub(super) fn new(settings: &Settings, inputs: usize, seed: u64) -> Self {
        let mut widths = vec![inputs];
        widths.extend_from_slice(settings.hidden_widths());
        Self {
            widths,
            seed,
            kind: settings.kind,
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.widths[0]
    }

    pub(super) fn add_inputs(&mut self, more: usize) {
        self.widths[0] += more;
    }

    /// Index of the output layer, and so the number of hidden ones.
    pub(super) fn output_layer(&self) -> usize {
        self.widths.len() - 1
    }

    /// Inputs of the output layer.
    pub(super) fn output_inputs(&self) -> usize {
        self.widths[self.output_layer()]
    }

    /// The hidden layers at their first values: He-uniform rows, biases 0. Of each range of inputs in `one_hot` at most one is
    /// not 0 in a row.
    pub(super) fn hidden_layers(&self, one_hot: &[Range<usize>]) -> Vec<Dense> {
        let hidden = |(layer, pair): (usize, &[usize])| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let mut dense = Dense::empty(inputs);
            for row in 0..outputs {
                init::hidden_row(self.seed, layer, row, inputs, &mut dense.weight);
            }
            if layer == 0 {
                init::widen_numbers(inputs, one_hot, &mut dense.weight);
            }
            dense.weight_velocity = vec![0.0; outputs * inputs];
            dense.bias = vec![0.0; outputs];
            dense.bias_velocity = vec![0.0; outputs];
            dense
        };
        self.widths.windows(2).enumerate().map(hidden).collect()
    }

    /// First weights of the output row of a class; its bias is 0.
    pub(super) fn class_row(&self, class: usize) -> Vec<f32> {
        let inputs = self.output_inputs();
        match self.kind {
            Kind::Linear => vec![0.0; inputs],
            Kind::Mlp => {
                let mut row = Vec::with_capacity(inputs);
                init::output_row(self.seed, self.output_layer(), class, inputs, &mut row);
                row
            }
        }
    }

    /// The layers as a state holds them; shapes must be those of this plan and so many classes.
    pub(super) fn load_layers(&self, classes: usize, state: &State) -> Result<Vec<Dense>, Error> {
        let mut outputs = self.widths[1..].to_vec();
        if classes > 0 {
            outputs.push(classes);
        }
        let layers = outputs.iter().zip(&self.widths).enumerate();
        layers
            .map(|(index, (&outputs, &inputs))| Dense::load(index, inputs, outputs, state))
            .collect()
    }
}

/// Gives the first layer of a saved model other inputs: input `i` is what `from[i]` was, or a new one, whose weights begin
/// at zero, so that no prediction changes before it is learned. Copies of a model under any prefix change too.
pub fn remap_inputs(state: &mut State, inputs: usize, from: &[Option<usize>]) {
    let first = |name: &str| {
        ["param", "momentum", "square"]
            .iter()
            .any(|kind| name.ends_with(&format!("model.{kind}.000.weight")))
    };
    for (name, blob) in &mut state.blobs {
        let Blob::F32 { shape, values } = blob else {
            continue;
        };
        if !first(name) || shape.len() != 2 || shape[1] != inputs {
            continue;
        }
        *values = values
            .chunks_exact(inputs)
            .flat_map(|row| from.iter().map(|old| old.map_or(0.0, |old| row[old])))
            .collect();
        shape[1] = from.len();
    }
}

/// Rows of `inputs` values with `more` zeros after each.
fn widened(values: &[f32], inputs: usize, more: usize) -> Vec<f32> {
    let rows = values.len() / inputs.max(1);
    let mut out = Vec::with_capacity(values.len() + rows * more);
    for row in values.chunks_exact(inputs.max(1)) {
        out.extend_from_slice(row);
        out.resize(out.len() + more, 0.0);
    }
    out
}

/// One layer: `x W^T + b`, with velocities.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dense {
    pub inputs: usize,
    /// `outputs x inputs`, row-major.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub weight_velocity: Vec<f32>,
    pub bias_velocity: Vec<f32>,
    /// Mean squared gradients, under Adam; empty before its first step.
    pub weight_square: Vec<f32>,
    pub bias_square: Vec<f32>,
}

impl Dense {
    /// No output yet.
    pub(super) fn empty(inputs: usize) -> Self {
        Self {
            inputs,
            weight: Vec::new(),
            bias: Vec::new(),
            weight_velocity: Vec::new(),
            bias_velocity: Vec::new(),
            weight_square: Vec::new(),
            bias_square: Vec::new(),
        }
    }

    /// Only weight and bias, for a model that does not learn.
    pub(super) fn without_velocity(self) -> Self {
        Self {
            weight: self.weight,
            bias: self.bias,
            ..Self::empty(self.inputs)
        }
    }

    /// Makes room for what Adam remembers.
    pub(super) fn remember_squares(&mut self) {
        self.weight_square.resize(self.weight.len(), 0.0);
        self.bias_square.resize(self.bias.len(), 0.0);
    }

    /// Appends inputs whose weights are zero until they are learned.
    pub(super) fn add_inputs(&mut self, more: usize) {
        for values in [
            &mut self.weight,
            &mut self.weight_velocity,
            &mut self.weight_square,
        ] {
            *values = widened(values, self.inputs, more);
        }
        self.inputs += more;
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Adds an output at rest: velocities and bias 0.
    pub(super) fn push_row(&mut self, row: &[f32]) {
        self.weight.extend_from_slice(row);
        self.weight_velocity.resize(self.weight.len(), 0.0);
        self.bias.push(0.0);
        self.bias_velocity.push(0.0);
        if !self.bias_square.is_empty() {
            self.remember_squares();
        }
    }

    /// Weight and bias as named arrays.
    pub(super) fn views(self, index: usize) -> [ParameterView; 2] {
        let (inputs, outputs) = (self.inputs, self.outputs());
        [
            ParameterView {
                name: format!("layer.{index:03}.weight"),
                shape: vec![outputs, inputs],
                values: self.weight,
                velocity: self.weight_velocity,
            },
            ParameterView {
                name: format!("layer.{index:03}.bias"),
                shape: vec![outputs],
                values: self.bias,
                velocity: self.bias_velocity,
            },
        ]
    }

    pub(super) fn save(self, index: usize, state: &mut State) {
        let (inputs, outputs) = (self.inputs, self.outputs());
        let (weight, bias) = (vec![outputs, inputs], vec![outputs]);
        state.put_f32(
            format!("model.param.{index:03}.weight"),
            weight.clone(),
            self.weight,
        );
        state.put_f32(
            format!("model.param.{index:03}.bias"),
            bias.clone(),
            self.bias,
        );
        if !self.bias_square.is_empty() {
            state.put_f32(
                format!("model.square.{index:03}.weight"),
                weight.clone(),
                self.weight_square,
            );
            state.put_f32(
                format!("model.square.{index:03}.bias"),
                bias.clone(),
                self.bias_square,
            );
        }
        state.put_f32(
            format!("model.momentum.{index:03}.weight"),
            weight,
            self.weight_velocity,
        );
        state.put_f32(
            format!("model.momentum.{index:03}.bias"),
            bias,
            self.bias_velocity,
        );
    }

    fn load(index: usize, inputs: usize, outputs: usize, state: &State) -> Result<Self, Error> {
        let read = |kind: &str, part: &str, shape: &[usize]| -> Result<Vec<f32>, Error> {
            let name = format!("model.{kind}.{index:03}.{part}");
            let (found, values) = state.f32(&name)?;
            if found != shape {
                return Err(Error::State(state::Error::Mismatch {
                    name,
                    found: format!("f32 of shape {found:?}"),
                    expected: format!("f32 of shape {shape:?}"),
                }));
            }
            Ok(values.to_vec())
        };
        let (weight, bias) = ([outputs, inputs], [outputs]);
        let has_squares = state
            .blobs
            .contains_key(&format!("model.square.{index:03}.bias"));
        let square = |part: &str, shape: &[usize]| {
            if has_squares {
                read("square", part, shape)
            } else {
                Ok(Vec::new())
            }
        };
        Ok(Self {
            weight_square: square("weight", &weight)?,
            bias_square: square("bias", &bias)?,
            inputs,
            weight: read("param", "weight", &weight)?,
            bias: read("param", "bias", &bias)?,
            weight_velocity: read("momentum", "weight", &weight)?,
            bias_velocity: read("momentum", "bias", &bias)?,
        })
    }
}
