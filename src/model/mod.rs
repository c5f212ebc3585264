//! The model: linear or MLP, forward, backward, update, with its parameters in a fixed order.
//!
//! An [`Engine`] is what the learner holds. It comes in two kinds that do the same arithmetic:
//!
//! | engine | where | how |
//! |---|---|---|
//! | fused | CPU | explicit layers on owned f32 buffers, reused from step to step |
//! | autograd | CUDA, and the CPU as a reference | candle tensors and candle's tape |
//!
//! Neither knows a loss: [`Engine::backward`] takes the gradient by the logits, already weighted, so the weights of
//! ABSGD are constants by construction. Predictions are served from a [`Frozen`] copy, by the loops of the fused engine.
//!
//! Parameters: layer l maps a row x to `x W^T + b` with `W` of `outputs x inputs`, row-major; hidden layers are
//! followed by a ReLU; the output layer has one row a class and comes into being with the first one. In a [`State`]
//! they are `model.param.<l>.weight`, `model.param.<l>.bias` and, for their velocities, `model.momentum.…`.

mod autograd;
mod device;
mod few;
mod frozen;
mod fused;
mod init;
pub mod matmul;
mod narrow;
mod plan;
mod settings;

pub use device::{DeviceChoice, open_device, parse_device};
pub use frozen::Frozen;
pub use matmul::instruction_set;
pub use settings::{Kind, Settings};

use std::ops::Range;

use autograd::Autograd;
use candle_core::Device;
use fused::Fused;
use narrow::Narrow;
pub use plan::remap_inputs;
use plan::{Dense, Plan};

use crate::absgd::{Rule, norm_squared};
use crate::state::{self, State};

const ADAM_STEPS: &str = "model.adam_steps";
/// Inputs that are left out, for who reads the parameters: they count as 0. Whoever loads a model says so anew.
const LEFT_OUT: &str = "model.left_out";

/// Why a model could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device could not be opened.
    #[error("{0}")]
    Device(String),
    /// Slices that do not fit the model or each other.
    #[error("{what} hold {found} values, expected {rows} rows of {width}")]
    Shape {
        /// What has the wrong length.
        what: &'static str,
        /// Its length.
        found: usize,
        /// How many rows were announced.
        rows: usize,
        /// Values a row should have.
        width: usize,
    },
    /// A backward pass that has no forward pass of as many rows before it.
    #[error(
        "backward of {rows} rows follows a forward of {forward}: run forward on the same rows first"
    )]
    Order {
        /// Rows of the backward pass.
        rows: usize,
        /// Rows of the last forward pass.
        forward: usize,
    },
    /// There is nothing to learn without a class.
    #[error("the model has no class yet: add one before the backward pass")]
    NoClass,
    /// A parameter that the backward pass did not reach would silently never learn.
    #[error("parameter {0} received no gradient: an operation of the model has no backward pass")]
    NoGradient(String),
    /// Candle failed (on CUDA: out of memory, a lost device).
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The state to load does not fit these settings.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// One parameter array with its velocity, copied out.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterView {
    /// `layer.<l>.weight` or `layer.<l>.bias`, l with three digits.
    pub name: String,
    /// `[outputs, inputs]` of a weight, `[outputs]` of a bias.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
    /// Its momentum buffer, in the same order.
    pub velocity: Vec<f32>,
}

/// A model that learns.
///
/// ```
/// use skewd::absgd::{MomentumForm, UpdateRule};
/// use skewd::model::{DeviceChoice, Engine, Kind, Settings};
///
/// let settings = Settings { kind: Kind::Linear, ..Settings::default() };
/// let mut engine = Engine::new(&settings, 2, 1, &DeviceChoice::Cpu)?;
/// engine.add_class()?;
/// engine.add_class()?;
/// let x = [1.0, -1.0];
/// assert_eq!(engine.forward(&x, 1)?, [0.0, 0.0]);
/// let norm_squared = engine.backward(&x, 1, &[-0.5, 0.5])?; // (softmax - onehot) for label 0
/// assert_eq!(norm_squared, 1.5);
/// let rule = UpdateRule { learning_rate: 1.0, momentum: 0.9, form: MomentumForm::Torch, weight_decay: 0.0 };
/// engine.apply(rule, 1.0)?;
/// assert_eq!(engine.forward(&x, 1)?, [1.5, -1.5]);
/// # Ok::<(), skewd::model::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    plan: Plan,
    /// What is left out of the first layer; see [`Engine::keep_inputs`].
    narrow: Option<Narrow>,
    device: String,
    inner: Inner,
    /// Steps of Adam so far: its moments began at zero, and that is corrected by their number.
    adam_steps: u64,
}

#[derive(Debug)]
enum Inner {
    Fused(Fused),
    Autograd(Autograd),
}

impl Engine {
    /// A model without a class. The first values of its parameters follow from `seed`; see [`Engine::add_class`].
    ///
    /// # Errors
    /// When the device cannot be opened.
    pub fn new(
        settings: &Settings,
        inputs: usize,
        seed: u64,
        device: &DeviceChoice,
    ) -> Result<Self, Error> {
        Self::with_categories(settings, inputs, &[], seed, device)
    }

    /// The same for rows in which at most one of the inputs of each range in `one_hot` is not 0: first weights are as large as
    /// befits the inputs that a row has.
    ///
    /// # Errors
    /// When the device cannot be opened.
    pub fn with_categories(
        settings: &Settings,
        inputs: usize,
        one_hot: &[Range<usize>],
        seed: u64,
        device: &DeviceChoice,
    ) -> Result<Self, Error> {
        let (device, name) = open_device(device).map_err(Error::Device)?;
        let plan = Plan::new(settings, inputs, seed);
        let layers = plan.hidden_layers(one_hot);
        Self::assemble(plan, layers, device, name)
    }

    /// The same model on candle's autograd and the CPU: slow, the yardstick of the fused engine.
    ///
    /// # Errors
    /// When candle fails.
    pub fn reference(settings: &Settings, inputs: usize, seed: u64) -> Result<Self, Error> {
        let plan = Plan::new(settings, inputs, seed);
        let inner = Inner::Autograd(Autograd::new(plan.hidden_layers(&[]), Device::Cpu)?);
        Ok(Self {
            plan,
            narrow: None,
            device: "cpu".to_owned(),
            inner,
            adam_steps: 0,
        })
    }

    fn assemble(
        plan: Plan,
        layers: Vec<Dense>,
        device: Device,
        name: String,
    ) -> Result<Self, Error> {
        let inner = match device {
            Device::Cpu => Inner::Fused(Fused::new(layers)),
            other => Inner::Autograd(Autograd::new(layers, other)?),
        };
        Ok(Self {
            plan,
            narrow: None,
            device: name,
            inner,
            adam_steps: 0,
        })
    }

    /// Adds the output row of the next class, with velocity 0. An MLP's row follows from (seed, class index) alone,
    /// not from how many classes there are or what was learned meanwhile; a linear model's is zero.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_class(&mut self) -> Result<(), Error> {
        let mut row = self.plan.class_row(self.classes());
        if self.plan.output_layer() == 0
            && let Some(narrow) = &mut self.narrow
        {
            row = narrow.push_row(&row);
        }
        match &mut self.inner {
            Inner::Fused(fused) => fused.add_class(&self.plan, &row),
            Inner::Autograd(autograd) => autograd.add_class(&self.plan, row)?,
        }
        Ok(())
    }

    /// Classes so far.
    #[must_use]
    pub fn classes(&self) -> usize {
        match &self.inner {
            Inner::Fused(fused) => fused.classes(&self.plan),
            Inner::Autograd(autograd) => autograd.classes(&self.plan),
        }
    }

    /// Name of the device: `cpu`, `cuda:0`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Logits (`rows x classes`) of `x` (`rows x inputs`); keeps what the backward pass needs. Empty without a class.
    ///
    /// # Errors
    /// When `x` has another length, or the device fails.
    pub fn forward(&mut self, x: &[f32], rows: usize) -> Result<&[f32], Error> {
        expect("inputs", x, rows, self.inputs())?;
        if self.classes() == 0 {
            return Ok(&[]);
        }
        match &mut self.inner {
            Inner::Fused(fused) => Ok(fused.forward(x, rows)),
            Inner::Autograd(autograd) => autograd.forward(x, rows),
        }
    }

    /// Gradients of all parameters, kept for [`Engine::apply`], from `dz`, the gradient of the objective by the logits
    /// (`rows x classes`, weights and 1/B included). `x` and `rows` are those of the forward pass just before. Gives
    /// the squared norm of the whole gradient (without weight decay), which is not finite if any value is not.
    ///
    /// # Errors
    /// When lengths do not fit, there is no class, a parameter received no gradient, or the device fails.
    pub fn backward(&mut self, x: &[f32], rows: usize, dz: &[f32]) -> Result<f64, Error> {
        let classes = self.classes();
        if classes == 0 {
            return Err(Error::NoClass);
        }
        expect("inputs", x, rows, self.inputs())?;
        expect("logit gradients", dz, rows, classes)?;
        let forward = match &self.inner {
            Inner::Fused(fused) => fused.rows(),
            Inner::Autograd(autograd) => autograd.rows(),
        };
        if forward != rows {
            return Err(Error::Order { rows, forward });
        }
        match &mut self.inner {
            Inner::Fused(fused) => Ok(fused.backward(x, rows, dz)),
            Inner::Autograd(autograd) => autograd.backward(dz),
        }
    }

    /// Updates every parameter from the gradients of the last backward pass, each multiplied by `scale`.
    ///
    /// # Errors
    /// When there is no such pass since the last class was added, or the device fails.
    pub fn apply(&mut self, rule: impl Into<Rule>, scale: f32) -> Result<(), Error> {
        let rule = rule.into();
        if matches!(rule, Rule::Adam(_)) {
            self.adam_steps += 1;
        }
        match &mut self.inner {
            Inner::Fused(fused) => fused.apply(&rule, self.adam_steps, scale),
            Inner::Autograd(autograd) => autograd.apply(&rule, self.adam_steps, scale),
        }
    }

    /// Moves every parameter this share of the way towards those of a model of the same shape, and all the way from 1 on.
    ///
    /// # Errors
    /// When the device fails.
    pub fn follow(&mut self, other: &Self, share: f32) -> Result<(), Error> {
        match (&mut self.inner, &other.inner) {
            (Inner::Fused(own), Inner::Fused(other)) => own.follow(other, share),
            (Inner::Autograd(own), Inner::Autograd(other)) => own.follow(other, share)?,
            _ => {
                return Err(Error::Device(
                    "two models on different devices cannot follow each other".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// A copy that serves predictions on the CPU and never changes, whatever is learned afterwards.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn frozen(&self) -> Result<Frozen, Error> {
        Ok(Frozen::new(self.inputs(), self.classes(), self.layers()?))
    }

    /// Every parameter, in the fixed order: layer by layer, weight before bias.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn parameters(&self) -> Result<Vec<ParameterView>, Error> {
        let layers = self.whole_layers()?;
        Ok(layers
            .into_iter()
            .enumerate()
            .flat_map(|(index, layer)| layer.views(index))
            .collect())
    }

    /// Gradients of the last backward pass, in the order of [`Engine::parameters`]; for tests and benchmarks.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn gradients(&self) -> Result<Vec<Vec<f32>>, Error> {
        match &self.inner {
            Inner::Fused(fused) => Ok(fused.gradients()),
            Inner::Autograd(autograd) => autograd.gradients(),
        }
    }

    /// Writes parameters and velocities under `model.`.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn save(&self, state: &mut State) -> Result<(), Error> {
        for (index, layer) in self.whole_layers()?.into_iter().enumerate() {
            layer.save(index, state);
        }
        if self.adam_steps > 0 {
            state.put_u64(ADAM_STEPS, vec![self.adam_steps]);
        }
        if let Some(narrow) = &self.narrow {
            state.put_u64(LEFT_OUT, narrow.left_out());
        }
        Ok(())
    }

    /// Reads what [`Engine::save`] wrote, for a model of these settings with so many inputs and classes.
    ///
    /// # Errors
    /// When an entry is missing or of another shape, or the device cannot be opened.
    pub fn load(
        settings: &Settings,
        inputs: usize,
        classes: usize,
        seed: u64,
        device: &DeviceChoice,
        state: &State,
    ) -> Result<Self, Error> {
        let (device, name) = open_device(device).map_err(Error::Device)?;
        let plan = Plan::new(settings, inputs, seed);
        let layers = plan.load_layers(classes, state)?;
        let mut engine = Self::assemble(plan, layers, device, name)?;
        if state.blobs.contains_key(ADAM_STEPS) {
            engine.adam_steps = state.u64_exact(ADAM_STEPS, 1)?[0];
        }
        Ok(engine)
    }

    /// Euclidean norm of all momentum buffers; 0 where they cannot be read from their device.
    #[must_use]
    pub fn velocity_norm(&self) -> f64 {
        self.layers().map_or(0.0, |layers| {
            layers
                .iter()
                .map(|layer| {
                    norm_squared(&layer.weight_velocity) + norm_squared(&layer.bias_velocity)
                })
                .sum::<f64>()
                .sqrt()
        })
    }

    /// The layers with their velocities, on the host.
    fn layers(&self) -> Result<Vec<Dense>, Error> {
        match &self.inner {
            Inner::Fused(fused) => Ok(fused.layers()),
            Inner::Autograd(autograd) => autograd.layers(),
        }
    }
}

/// Checks that `values` are `rows` rows of `width`.
fn expect(what: &'static str, values: &[f32], rows: usize, width: usize) -> Result<(), Error> {
    if rows.checked_mul(width) == Some(values.len()) {
        Ok(())
    } else {
        Err(Error::Shape {
            what,
            found: values.len(),
            rows,
            width,
        })
    }
}

#[cfg(test)]
mod tests;
