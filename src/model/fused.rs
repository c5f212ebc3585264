//! The step on owned buffers: one pass for bias and product, one for the ReLU, no tape, every buffer reused.
//!
//! Few rows go through loops of our own ([`super::few`]), more through a general product ([`super::matmul`]).

use pulp::{Simd, WithSimd};

use super::Error;
use super::few::{Below, Forward, Outer, few, norm_of_few};
use super::matmul::{Matrix, multiply};
use super::plan::{Dense, Plan};
use crate::absgd::{Rule, adam, norm_squared, update};
use crate::wide::wide;

/// A model on the CPU.
#[derive(Debug)]
pub(super) struct Fused {
    layers: Vec<Layer>,
    /// Output of each layer of the last forward pass; the last is the logits.
    activations: Vec<Vec<f32>>,
    /// Gradient by the output of each layer but the last, before its ReLU. The inputs of the first need none.
    deltas: Vec<Vec<f32>>,
    /// Rows of the last forward pass.
    rows: usize,
    /// Whether the gradients belong to the present parameters.
    ready: bool,
}

#[derive(Debug)]
struct Layer {
    dense: Dense,
    weight_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
}

impl Layer {
    fn new(dense: Dense) -> Self {
        Self {
            weight_gradient: vec![0.0; dense.weight.len()],
            bias_gradient: vec![0.0; dense.bias.len()],
            dense,
        }
    }

    /// Gradients from those of the outputs; their squared norm.
    fn learn(&mut self, delta: &[f32], x: &[f32], rows: usize) -> f64 {
        let (inputs, outputs) = (self.dense.inputs, self.dense.outputs());
        let gradient = &mut self.weight_gradient;
        column_sums(delta, &mut self.bias_gradient);
        if few(rows, inputs) {
            let product = Outer {
                delta,
                outputs,
                x,
                inputs,
                out: gradient,
            };
            product.run();
            if let Some(norm) = norm_of_few(delta, outputs, x, inputs) {
                return norm;
            }
        } else {
            let delta = Matrix::new(delta, rows, outputs).transposed();
            multiply(delta, Matrix::new(x, rows, inputs), false, gradient);
        }
        norm_squared(gradient) + norm_squared(&self.bias_gradient)
    }

    /// Gradients of the inputs, which a ReLU gave, before that ReLU.
    fn below(&self, delta: &[f32], gate: &[f32], rows: usize, out: &mut Vec<f32>) {
        let (inputs, outputs) = (self.dense.inputs, self.dense.outputs());
        out.resize(rows * inputs, 0.0);
        if few(rows, inputs) {
            let weight = &self.dense.weight;
            let product = Below {
                delta,
                outputs,
                weight,
                inputs,
                gate,
                out,
            };
            return product.run();
        }
        let delta = Matrix::new(delta, rows, outputs);
        multiply(delta, self.weight(), false, out);
        wide(ReluGradient(gate, out));
    }

    /// Step number `time` of the rule.
    fn apply(&mut self, rule: &Rule, time: u64, scale: f32) {
        let dense = &mut self.dense;
        if matches!(rule, Rule::Adam(_)) {
            dense.remember_squares();
        }
        let weight = (
            &mut dense.weight,
            &mut dense.weight_velocity,
            &mut dense.weight_square,
            &self.weight_gradient,
        );
        let bias = (
            &mut dense.bias,
            &mut dense.bias_velocity,
            &mut dense.bias_square,
            &self.bias_gradient,
        );
        for (values, velocity, square, gradient) in [weight, bias] {
            match rule {
                Rule::Momentum(rule) => update(rule, values, velocity, gradient, scale),
                Rule::Adam(rule) => adam(rule, time, values, velocity, square, gradient, scale),
            }
        }
    }

    fn weight(&self) -> Matrix<'_> {
        Matrix::new(&self.dense.weight, self.dense.outputs(), self.dense.inputs)
    }
}

impl Dense {
    /// Outputs of `rows` rows of `x`, through a ReLU if `relu`.
    pub(super) fn forward(&self, x: &[f32], rows: usize, relu: bool, out: &mut Vec<f32>) {
        let (inputs, outputs) = (self.inputs, self.outputs());
        if few(rows, inputs) {
            out.resize(rows * outputs, 0.0);
            let product = Forward {
                x,
                inputs,
                weight: &self.weight,
                bias: &self.bias,
                relu,
                out,
            };
            return product.run();
        }
        out.clear();
        for _ in 0..rows {
            out.extend_from_slice(&self.bias);
        }
        let x = Matrix::new(x, rows, inputs);
        let weight = Matrix::new(&self.weight, outputs, inputs);
        multiply(x, weight.transposed(), true, out);
        if relu {
            wide(Relu(out));
        }
    }
}

impl Fused {
    pub(super) fn new(layers: Vec<Dense>) -> Self {
        let mut fused = Self {
            layers: Vec::new(),
            activations: Vec::new(),
            deltas: Vec::new(),
            rows: 0,
            ready: false,
        };
        for dense in layers {
            fused.push_layer(dense);
        }
        fused
    }

    fn push_layer(&mut self, dense: Dense) {
        if !self.layers.is_empty() {
            self.deltas.push(Vec::new());
        }
        self.layers.push(Layer::new(dense));
        self.activations.push(Vec::new());
    }

    pub(super) fn classes(&self, plan: &Plan) -> usize {
        self.layers
            .get(plan.output_layer())
            .map_or(0, |output| output.dense.outputs())
    }

    pub(super) fn add_class(&mut self, plan: &Plan, row: &[f32]) {
        if self.layers.len() == plan.output_layer() {
            self.push_layer(Dense::empty(row.len()));
        }
        let output = &mut self.layers[plan.output_layer()];
        output.dense.push_row(row);
        output
            .weight_gradient
            .resize(output.dense.weight.len(), 0.0);
        output.bias_gradient.resize(output.dense.bias.len(), 0.0);
        // The logits and gradients at hand are those of fewer classes.
        self.rows = 0;
        self.ready = false;
    }

    /// Rows of the last forward pass; 0 when there is none that a backward pass may follow.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn forward(&mut self, x: &[f32], rows: usize) -> &[f32] {
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, from) = self.activations.split_at_mut(index);
            let input = before.last().map_or(x, Vec::as_slice);
            layer.dense.forward(input, rows, index < last, &mut from[0]);
        }
        self.rows = rows;
        &self.activations[last]
    }

    pub(super) fn backward(&mut self, x: &[f32], rows: usize, dz: &[f32]) -> f64 {
        let last = self.layers.len() - 1;
        let mut norm = 0.0;
        for index in (0..=last).rev() {
            let layer = &mut self.layers[index];
            let (below, from) = self.deltas.split_at_mut(index);
            let delta = if index == last {
                dz
            } else {
                from[0].as_slice()
            };
            let input = if index == 0 {
                x
            } else {
                &self.activations[index - 1]
            };
            norm += layer.learn(delta, input, rows);
            if let Some(delta_below) = below.last_mut() {
                layer.below(delta, input, rows, delta_below);
            }
        }
        self.ready = true;
        norm
    }

    pub(super) fn apply(&mut self, rule: &Rule, time: u64, scale: f32) -> Result<(), Error> {
        if !std::mem::take(&mut self.ready) {
            return Err(Error::NoGradient("layer.000.weight".to_owned()));
        }
        for layer in &mut self.layers {
            layer.apply(rule, time, scale);
        }
        Ok(())
    }

    pub(super) fn add_inputs(&mut self, more: usize) {
        let first = &mut self.layers[0];
        first.dense.add_inputs(more);
        first.weight_gradient = vec![0.0; first.dense.weight.len()];
        self.rows = 0;
        self.ready = false;
    }

    pub(super) fn replace_first(&mut self, first: Dense) {
        self.layers[0] = Layer::new(first);
        self.rows = 0;
        self.ready = false;
    }

    pub(super) fn follow(&mut self, other: &Self, share: f32) {
        for (own, other) in self.layers.iter_mut().zip(&other.layers) {
            approach(&mut own.dense.weight, &other.dense.weight, share);
            approach(&mut own.dense.bias, &other.dense.bias, share);
        }
        self.rows = 0;
        self.ready = false;
    }

    pub(super) fn layers(&self) -> Vec<Dense> {
        self.layers
            .iter()
            .map(|layer| layer.dense.clone())
            .collect()
    }

    pub(super) fn gradients(&self) -> Vec<Vec<f32>> {
        let pairs = self
            .layers
            .iter()
            .map(|layer| [layer.weight_gradient.clone(), layer.bias_gradient.clone()]);
        pairs.flatten().collect()
    }
}

fn approach(values: &mut [f32], goals: &[f32], share: f32) {
    if share >= 1.0 {
        values.copy_from_slice(goals);
        return;
    }
    for (value, goal) in values.iter_mut().zip(goals) {
        *value += share * (goal - *value);
    }
}

/// `max(0, v)` that keeps NaN, so that a broken value still reaches the losses. A select, not a branch around a store:
/// only the former becomes vector code.
struct Relu<'a>(&'a mut [f32]);

impl WithSimd for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for value in self.0 {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
    }
}

/// Passes the gradient (the second) where the ReLU passed its input (the first are its outputs); its slope at 0 is 0.
struct ReluGradient<'a>(&'a [f32], &'a mut [f32]);

impl WithSimd for ReluGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (delta, &output) in self.1.iter_mut().zip(self.0) {
            *delta = if output > 0.0 { *delta } else { 0.0 };
        }
    }
}

/// Sums over the rows, in their order.
fn column_sums(rows: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn a_warm_step_reuses_every_buffer() {
        let plan = Plan::new(&Settings::default(), 5, 1);
        let mut fused = Fused::new(plan.hidden_layers(&[]));
        for class in 0..3 {
            fused.add_class(&plan, &plan.class_row(class));
        }
        let places = |fused: &Fused| -> Vec<(*const f32, usize)> {
            let gradients = fused.layers.iter().map(|layer| &layer.weight_gradient);
            let buffers = fused
                .activations
                .iter()
                .chain(&fused.deltas)
                .chain(gradients);
            buffers
                .map(|buffer| (buffer.as_ptr(), buffer.capacity()))
                .collect()
        };
        let mut step = |rows: usize| {
            let (x, dz) = (vec![0.5; rows * 5], vec![0.1; rows * 3]);
            fused.forward(&x, rows);
            fused.backward(&x, rows, &dz);
            places(&fused)
        };
        let warm = step(32);
        for rows in [32, 1, 7, 32] {
            assert_eq!(step(rows), warm, "{rows} rows");
        }
    }

    #[test]
    fn the_inputs_of_the_first_layer_get_no_gradient() {
        let plan = Plan::new(&Settings::default(), 5, 1);
        let mut fused = Fused::new(plan.hidden_layers(&[]));
        fused.add_class(&plan, &plan.class_row(0));
        assert_eq!((fused.layers.len(), fused.deltas.len()), (3, 2));
    }

    #[test]
    fn relu_is_a_maximum_that_keeps_nan() {
        let mut values = [-1.0, 0.0, 2.0, f32::NAN, f32::NEG_INFINITY];
        wide(Relu(&mut values));
        assert_eq!(values[..3], [0.0, 0.0, 2.0]);
        assert!(values[3].is_nan());
        assert_eq!(values[4], 0.0);
        let mut delta = [1.0, 1.0, 1.0];
        wide(ReluGradient(&[0.0, 3.0, -0.0], &mut delta));
        assert_eq!(delta, [0.0, 1.0, 0.0]);
    }
}
