//! The same step as candle would do it: tensors, a tape, and an update by tensor operations. The reference of the
//! fused step on the CPU, and the step on CUDA.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::Error;
use super::plan::{Dense, Plan};
use crate::absgd::adam::Biased;
use crate::absgd::{AdamRule, MomentumForm, Rule, UpdateRule};

/// A model on a candle device.
#[derive(Debug)]
pub(super) struct Autograd {
    device: Device,
    layers: Vec<Layer>,
    /// Logits of the last forward pass with their graph.
    logits: Option<Tensor>,
    /// The same on the host.
    host_logits: Vec<f32>,
    rows: usize,
    /// Gradients of the last backward pass, weight before bias, layer by layer.
    gradients: Vec<Tensor>,
}

#[derive(Debug)]
struct Layer {
    weight: Parameter,
    bias: Parameter,
}

#[derive(Debug)]
struct Parameter {
    var: Var,
    velocity: Tensor,
    /// Mean squared gradient, from the first step of Adam on.
    square: Option<Tensor>,
}

impl Parameter {
    fn new(
        values: Vec<f32>,
        velocity: Vec<f32>,
        square: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let square = (!square.is_empty())
            .then(|| Tensor::from_vec(square, shape, device))
            .transpose()?;
        Ok(Self {
            square,
            var: Var::from_tensor(&Tensor::from_vec(values, shape, device)?)?,
            velocity: Tensor::from_vec(velocity, shape, device)?,
        })
    }

    /// Appends rows (or values, or columns) at rest.
    fn grow(&mut self, more: Tensor, dimension: usize) -> Result<(), Error> {
        let rest = more.zeros_like()?;
        self.velocity = Tensor::cat(&[&self.velocity, &rest], dimension)?;
        if let Some(square) = &mut self.square {
            *square = Tensor::cat(&[&*square, &rest], dimension)?;
        }
        let value = self.var.as_detached_tensor();
        self.var = Var::from_tensor(&Tensor::cat(&[&value, &more], dimension)?)?;
        Ok(())
    }

    fn follow(&mut self, other: &Self, share: f32) -> Result<(), Error> {
        let goal = other.var.as_detached_tensor();
        if share >= 1.0 {
            return Ok(self.var.set(&goal)?);
        }
        let value = self.var.as_detached_tensor();
        let change = (goal - &value)?.affine(f64::from(share), 0.0)?;
        Ok(self.var.set(&(value + change)?)?)
    }

    fn step(&mut self, rule: &Rule, time: u64, gradient: &Tensor, scale: f32) -> Result<(), Error> {
        match rule {
            Rule::Momentum(rule) => self.step_momentum(rule, gradient, scale),
            Rule::Adam(rule) => self.step_adam(rule, time, gradient, scale),
        }
    }

    fn step_adam(
        &mut self,
        rule: &AdamRule,
        time: u64,
        gradient: &Tensor,
        scale: f32,
    ) -> Result<(), Error> {
        let numbers = Biased::at(rule, time);
        let value = self.var.as_detached_tensor();
        let gradient = gradient.affine(f64::from(scale), 0.0)?;
        let square = match self.square.take() {
            Some(square) => square,
            None => gradient.zeros_like()?,
        };
        self.velocity =
            (self.velocity.affine(rule.beta1, 0.0)? + gradient.affine(1.0 - rule.beta1, 0.0)?)?;
        let square =
            (square.affine(rule.beta2, 0.0)? + gradient.sqr()?.affine(1.0 - rule.beta2, 0.0)?)?;
        let root = square.sqrt()?.affine(1.0, f64::from(numbers.epsilon))?;
        let change = self
            .velocity
            .affine(f64::from(numbers.rate), 0.0)?
            .div(&root)?;
        self.square = Some(square);
        self.var
            .set(&(value.affine(f64::from(numbers.keep), 0.0)? - change)?)?;
        Ok(())
    }

    fn step_momentum(
        &mut self,
        rule: &UpdateRule,
        gradient: &Tensor,
        scale: f32,
    ) -> Result<(), Error> {
        let value = self.var.as_detached_tensor();
        let gradient =
            (gradient.affine(f64::from(scale), 0.0)? + value.affine(rule.weight_decay, 0.0)?)?;
        let kept = self.velocity.affine(rule.momentum, 0.0)?;
        let value = match rule.form {
            MomentumForm::Torch => {
                self.velocity = (kept + gradient)?;
                (value - self.velocity.affine(rule.learning_rate, 0.0)?)?
            }
            MomentumForm::HeavyBall => {
                self.velocity = (kept - gradient.affine(rule.learning_rate, 0.0)?)?;
                (value + &self.velocity)?
            }
        };
        self.var.set(&value)?;
        Ok(())
    }

    /// Values, velocity and squares.
    fn host(&self) -> Result<[Vec<f32>; 3], Error> {
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let square = self.square.as_ref().map(flat).transpose()?;
        Ok([
            flat(&self.var)?,
            flat(&self.velocity)?,
            square.unwrap_or_default(),
        ])
    }
}

impl Layer {
    fn new(dense: Dense, device: &Device) -> Result<Self, Error> {
        let (inputs, outputs) = (dense.inputs, dense.outputs());
        Ok(Self {
            weight: Parameter::new(
                dense.weight,
                dense.weight_velocity,
                dense.weight_square,
                &[outputs, inputs],
                device,
            )?,
            bias: Parameter::new(
                dense.bias,
                dense.bias_velocity,
                dense.bias_square,
                &[outputs],
                device,
            )?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(x.matmul(&self.weight.var.t()?)?
            .broadcast_add(&self.bias.var)?)
    }
}

impl Autograd {
    pub(super) fn new(layers: Vec<Dense>, device: Device) -> Result<Self, Error> {
        let layers: Result<_, _> = layers
            .into_iter()
            .map(|dense| Layer::new(dense, &device))
            .collect();
        Ok(Self {
            layers: layers?,
            device,
            logits: None,
            host_logits: Vec::new(),
            rows: 0,
            gradients: Vec::new(),
        })
    }

    pub(super) fn classes(&self, plan: &Plan) -> usize {
        let output = self.layers.get(plan.output_layer());
        output.map_or(0, |output| output.bias.var.elem_count())
    }

    pub(super) fn add_class(&mut self, plan: &Plan, row: Vec<f32>) -> Result<(), Error> {
        if let Some(output) = self.layers.get_mut(plan.output_layer()) {
            let row = Tensor::from_slice(&row, (1, row.len()), &self.device)?;
            output.weight.grow(row, 0)?;
            output
                .bias
                .grow(Tensor::zeros(1, DType::F32, &self.device)?, 0)?;
        } else {
            let mut dense = Dense::empty(row.len());
            dense.push_row(&row);
            self.layers.push(Layer::new(dense, &self.device)?);
        }
        self.logits = None;
        self.rows = 0;
        self.gradients.clear();
        Ok(())
    }

    /// Rows of the last forward pass; 0 when there is none that a backward pass may follow.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn forward(&mut self, x: &[f32], rows: usize) -> Result<&[f32], Error> {
        let width = x.len() / rows.max(1);
        let mut values = Tensor::from_slice(x, (rows, width), &self.device)?;
        for (index, layer) in self.layers.iter().enumerate() {
            values = layer.forward(&values)?;
            if index + 1 < self.layers.len() {
                values = relu(&values)?;
            }
        }
        self.host_logits = values.flatten_all()?.to_vec1()?;
        self.logits = Some(values);
        self.rows = rows;
        Ok(&self.host_logits)
    }

    pub(super) fn backward(&mut self, dz: &[f32]) -> Result<f64, Error> {
        let rows = std::mem::take(&mut self.rows);
        let logits = self
            .logits
            .take()
            .ok_or(Error::Order { rows, forward: 0 })?;
        let dz = Tensor::from_slice(dz, logits.shape(), &self.device)?;
        // The gradient of sum(logits * dz) by the logits is dz: a seed for the tape.
        let store = (logits * dz)?.sum_all()?.backward()?;
        let parameters = self
            .layers
            .iter()
            .flat_map(|layer| [&layer.weight.var, &layer.bias.var]);
        self.gradients = gradients_of(&store, parameters)?;
        let mut squares = Tensor::zeros((), DType::F64, &self.device)?;
        for gradient in &self.gradients {
            squares = (squares + gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?)?;
        }
        Ok(squares.to_scalar()?)
    }

    pub(super) fn add_inputs(&mut self, more: usize) -> Result<(), Error> {
        let weight = &mut self.layers[0].weight;
        let outputs = weight.var.dims2()?.0;
        weight.grow(Tensor::zeros((outputs, more), DType::F32, &self.device)?, 1)?;
        self.logits = None;
        self.rows = 0;
        self.gradients.clear();
        Ok(())
    }

    pub(super) fn replace_first(&mut self, first: Dense) -> Result<(), Error> {
        self.layers[0] = Layer::new(first, &self.device)?;
        self.logits = None;
        self.rows = 0;
        self.gradients.clear();
        Ok(())
    }

    pub(super) fn apply(&mut self, rule: &Rule, time: u64, scale: f32) -> Result<(), Error> {
        let gradients = std::mem::take(&mut self.gradients);
        if gradients.is_empty() {
            return Err(Error::NoGradient(name_of(0)));
        }
        for (layer, pair) in self.layers.iter_mut().zip(gradients.chunks_exact(2)) {
            layer.weight.step(rule, time, &pair[0], scale)?;
            layer.bias.step(rule, time, &pair[1], scale)?;
        }
        Ok(())
    }

    pub(super) fn follow(&mut self, other: &Self, share: f32) -> Result<(), Error> {
        for (own, other) in self.layers.iter_mut().zip(&other.layers) {
            own.weight.follow(&other.weight, share)?;
            own.bias.follow(&other.bias, share)?;
        }
        self.logits = None;
        self.rows = 0;
        self.gradients.clear();
        Ok(())
    }

    pub(super) fn layers(&self) -> Result<Vec<Dense>, Error> {
        let host = |layer: &Layer| {
            let [weight, weight_velocity, weight_square] = layer.weight.host()?;
            let [bias, bias_velocity, bias_square] = layer.bias.host()?;
            Ok(Dense {
                inputs: layer.weight.var.dims2()?.1,
                weight,
                bias,
                weight_velocity,
                bias_velocity,
                weight_square,
                bias_square,
            })
        };
        self.layers.iter().map(host).collect()
    }

    pub(super) fn gradients(&self) -> Result<Vec<Vec<f32>>, Error> {
        let flat = |gradient: &Tensor| Ok(gradient.flatten_all()?.to_vec1()?);
        self.gradients.iter().map(flat).collect()
    }
}

/// The gradient of every parameter. Some candle operations have no backward pass and say nothing: a parameter behind
/// one would never learn, so its absence is an error at the first step.
fn gradients_of<'a>(
    store: &GradStore,
    parameters: impl Iterator<Item = &'a Var>,
) -> Result<Vec<Tensor>, Error> {
    let gradient = |(index, var): (usize, &'a Var)| {
        store
            .get(var)
            .cloned()
            .ok_or_else(|| Error::NoGradient(name_of(index)))
    };
    parameters.enumerate().map(gradient).collect()
}

/// Name of a parameter by its place in the fixed order.
fn name_of(index: usize) -> String {
    format!(
        "layer.{:03}.{}",
        index / 2,
        if index.is_multiple_of(2) {
            "weight"
        } else {
            "bias"
        }
    )
}

/// A ReLU by its mask: unlike candle's, which is a maximum, it keeps NaN, so that a broken value reaches the losses.
fn relu(values: &Tensor) -> Result<Tensor, Error> {
    let mask = values.gt(0f32)?.to_dtype(DType::F32)?.detach();
    Ok(values.mul(&mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_the_tape_does_not_reach_is_an_error_that_names_it() {
        let var =
            |value: f32| Var::from_tensor(&Tensor::new(&[value], &Device::Cpu).unwrap()).unwrap();
        let (used, cut_off) = (var(2.0), var(3.0));
        let store = used.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients_of(&store, [&used].into_iter()).is_ok());
        let error = gradients_of(&store, [&used, &cut_off].into_iter()).unwrap_err();
        assert!(error.to_string().contains("layer.000.bias"), "{error}");
    }

    #[test]
    fn relu_keeps_nan_and_has_slope_zero_at_zero() {
        let x = Var::from_tensor(&Tensor::new(&[-1f32, 0.0, 2.0], &Device::Cpu).unwrap()).unwrap();
        let y = relu(&x).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), [-0.0, 0.0, 2.0]);
        let store = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(
            store.get(&x).unwrap().to_vec1::<f32>().unwrap(),
            [0.0, 0.0, 1.0]
        );
        let nan = relu(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap();
        assert!(nan.to_vec1::<f32>().unwrap()[0].is_nan());
    }
}
