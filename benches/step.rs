//! What a learning step costs: candle's autograd, the fused engine, and a loop written by hand for one network.
//!
//! All three do the same step in one process: forward, cross-entropy, weights, backward, norm, AdamW or momentum. On a shared
//! machine only the ratios within one run mean something; the best of several rounds is taken of each, in turns. The loop by
//! hand has the products of `gemm` and this crate's update, and nothing else in between; `benches/step_torch.py` is the same
//! step by torch.
//!
//! `RAYON_NUM_THREADS=1 cargo bench --bench step` (candle would otherwise use every core)

use std::hint::black_box;
use std::time::Instant;

use skewd::absgd::{
    AdamRule, MomentumForm, Normalizer, Rule, Settings, UpdateRule, adam, norm_squared, update,
};
use skewd::loss::{seed_gradient, softmax_cross_entropy};
use skewd::model::matmul::{Matrix, multiply};
use skewd::model::{self, DeviceChoice, Engine, Error, Kind, instruction_set};

const MOMENTUM: Rule = Rule::Momentum(UpdateRule {
    learning_rate: 0.01,
    momentum: 0.9,
    form: MomentumForm::Torch,
    weight_decay: 1e-4,
});

const ADAM: Rule = Rule::Adam(AdamRule {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 1e-4,
});

/// Inputs, two hidden widths, classes.
type Net = [usize; 4];

/// Losses, weights and the gradient by the logits: the same for every contestant.
#[derive(Default)]
struct Head {
    probabilities: Vec<f32>,
    losses: Vec<f64>,
    weights: Vec<f64>,
    coefficients: Vec<f32>,
    dz: Vec<f32>,
    normalizer: Normalizer,
    settings: Settings,
}

impl Head {
    fn seed(&mut self, logits: &[f32], classes: usize, labels: &[u32]) {
        softmax_cross_entropy(
            logits,
            classes,
            labels,
            &mut self.probabilities,
            &mut self.losses,
        );
        let proposal = self
            .normalizer
            .propose(&self.settings, &self.losses, &mut self.weights);
        self.normalizer = proposal.next;
        let rows = labels.len() as f64;
        self.coefficients.clear();
        self.coefficients
            .extend(self.weights.iter().map(|p| (p / rows) as f32));
        seed_gradient(
            &self.probabilities,
            classes,
            labels,
            &self.coefficients,
            &mut self.dz,
        );
    }
}

/// One contestant: a step on a batch.
trait Step {
    fn step(&mut self, x: &[f32], labels: &[u32]) -> Result<(), Error>;
}

struct ByEngine {
    engine: Engine,
    rule: Rule,
    head: Head,
}

impl Step for ByEngine {
    fn step(&mut self, x: &[f32], labels: &[u32]) -> Result<(), Error> {
        let classes = self.engine.classes();
        let logits = self.engine.forward(x, labels.len())?;
        self.head.seed(logits, classes, labels);
        let norm = self.engine.backward(x, labels.len(), &self.head.dz)?;
        black_box(norm);
        self.engine.apply(self.rule, 1.0)
    }
}

/// Three layers spelled out on fixed buffers: what no abstraction at all would cost.
struct ByHand {
    net: Net,
    rule: Rule,
    steps: u64,
    weights: [Vec<f32>; 3],
    biases: [Vec<f32>; 3],
    velocities: [[Vec<f32>; 2]; 3],
    squares: [[Vec<f32>; 2]; 3],
    gradients: [[Vec<f32>; 2]; 3],
    outputs: [Vec<f32>; 3],
    deltas: [Vec<f32>; 2],
    head: Head,
}

impl ByHand {
    fn new(net: Net, rows: usize, rule: Rule) -> Self {
        let sizes = [0, 1, 2].map(|layer| net[layer] * net[layer + 1]);
        let zeros = |layer: usize| [vec![0.0; sizes[layer]], vec![0.0; net[layer + 1]]];
        Self {
            net,
            rule,
            steps: 0,
            weights: [0, 1, 2].map(|layer| noise(sizes[layer], 0.1)),
            biases: [0, 1, 2].map(|layer| vec![0.0; net[layer + 1]]),
            velocities: [0, 1, 2].map(zeros),
            squares: [0, 1, 2].map(zeros),
            gradients: [0, 1, 2].map(zeros),
            outputs: [0, 1, 2].map(|layer| vec![0.0; rows * net[layer + 1]]),
            deltas: [0, 1].map(|layer| vec![0.0; rows * net[layer + 1]]),
            head: Head::default(),
        }
    }

    fn layer(&mut self, index: usize, x: &[f32], rows: usize) {
        let (inputs, outputs) = (self.net[index], self.net[index + 1]);
        let (before, from) = self.outputs.split_at_mut(index);
        let x = before.last().map_or(x, Vec::as_slice);
        let out = &mut from[0];
        for row in out.chunks_exact_mut(outputs) {
            row.copy_from_slice(&self.biases[index]);
        }
        let weight = Matrix::new(&self.weights[index], outputs, inputs);
        multiply(Matrix::new(x, rows, inputs), weight.transposed(), true, out);
        if index < 2 {
            for value in out.iter_mut() {
                *value = if *value < 0.0 { 0.0 } else { *value };
            }
        }
    }

    fn layer_back(&mut self, index: usize, x: &[f32], rows: usize) {
        let (inputs, outputs) = (self.net[index], self.net[index + 1]);
        let (below, from) = self.deltas.split_at_mut(index);
        let delta = if index == 2 { &self.head.dz } else { &from[0] };
        let x = if index == 0 {
            x
        } else {
            &self.outputs[index - 1]
        };
        let [weight_gradient, bias_gradient] = &mut self.gradients[index];
        let delta_matrix = Matrix::new(delta, rows, outputs);
        multiply(
            delta_matrix.transposed(),
            Matrix::new(x, rows, inputs),
            false,
            weight_gradient,
        );
        bias_gradient.fill(0.0);
        for row in delta.chunks_exact(outputs) {
            bias_gradient
                .iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        if let Some(below) = below.last_mut() {
            multiply(
                delta_matrix,
                Matrix::new(&self.weights[index], outputs, inputs),
                false,
                below,
            );
            for (delta, &output) in below.iter_mut().zip(x) {
                *delta = if output > 0.0 { *delta } else { 0.0 };
            }
        }
    }
}

impl Step for ByHand {
    fn step(&mut self, x: &[f32], labels: &[u32]) -> Result<(), Error> {
        let rows = labels.len();
        (0..3).for_each(|index| self.layer(index, x, rows));
        self.head.seed(&self.outputs[2], self.net[3], labels);
        (0..3)
            .rev()
            .for_each(|index| self.layer_back(index, x, rows));
        let gradients = self.gradients.iter().flatten();
        black_box(
            gradients
                .map(|gradient| norm_squared(gradient))
                .sum::<f64>(),
        );
        self.steps += 1;
        for index in 0..3 {
            let parameters = [&mut self.weights[index], &mut self.biases[index]];
            for (part, values) in parameters.into_iter().enumerate() {
                let velocity = &mut self.velocities[index][part];
                let square = &mut self.squares[index][part];
                let gradient = &self.gradients[index][part];
                match &self.rule {
                    Rule::Momentum(rule) => update(rule, values, velocity, gradient, 1.0),
                    Rule::Adam(rule) => {
                        adam(rule, self.steps, values, velocity, square, gradient, 1.0);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Numbers in [-scale, scale) without a pattern.
fn noise(len: usize, scale: f32) -> Vec<f32> {
    let mut x = 12_345u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        scale * ((x >> 8) as f32 / 8_388_608.0 - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

fn by_engine(mut engine: Engine, classes: usize, rule: Rule) -> Result<Box<dyn Step>, Error> {
    (0..classes).try_for_each(|_| engine.add_class())?;
    Ok(Box::new(ByEngine {
        engine,
        rule,
        head: Head::default(),
    }))
}

/// Seconds a step of each contestant, the best of the rounds, taken in turns.
fn race(net: Net, rows: usize, rule: Rule) -> Result<[f64; 3], Error> {
    let settings = model::Settings {
        kind: Kind::Mlp,
        hidden: net[1..3].to_vec(),
        pieces: false,
    };
    let mut contestants = [
        by_engine(Engine::reference(&settings, net[0], 1)?, net[3], rule)?,
        by_engine(
            Engine::new(&settings, net[0], 1, &DeviceChoice::Cpu)?,
            net[3],
            rule,
        )?,
        Box::new(ByHand::new(net, rows, rule)),
    ];
    let x = noise(rows * net[0], 1.0);
    let labels: Vec<u32> = (0..rows).map(|row| (row % net[3]) as u32).collect();
    let steps = (4096 / rows).clamp(20, 400);
    let mut best = [f64::INFINITY; 3];
    for _ in 0..12 {
        for (contestant, best) in contestants.iter_mut().zip(&mut best) {
            let begin = Instant::now();
            (0..steps).try_for_each(|_| contestant.step(&x, &labels))?;
            *best = best.min(begin.elapsed().as_secs_f64() / steps as f64);
        }
    }
    Ok(best)
}

fn main() -> Result<(), Error> {
    println!("instruction set: {}", instruction_set());
    println!(
        "network            batch  rule      autograd us  fused us  hand us  fused/autograd speed  fused/hand speed"
    );
    for (net, rows, rule) in [
        ([57, 64, 64, 7], 1, ADAM),
        ([57, 64, 64, 7], 4, ADAM),
        ([57, 64, 64, 7], 16, ADAM),
        ([30, 128, 64, 2], 1, ADAM),
        ([30, 128, 64, 2], 4, ADAM),
        ([30, 128, 64, 2], 16, ADAM),
        ([30, 128, 64, 2], 128, MOMENTUM),
        ([54, 256, 128, 7], 128, MOMENTUM),
    ] {
        let [autograd, fused, hand] = race(net, rows, rule)?;
        let name = net.map(|width| width.to_string()).join("-");
        let rule = match rule {
            Rule::Momentum(_) => "momentum",
            Rule::Adam(_) => "adam",
        };
        println!(
            "{name:<17} {rows:>6}  {rule:<8} {:>12.2} {:>9.2} {:>8.2} {:>21.2} {:>17.2}",
            autograd * 1e6,
            fused * 1e6,
            hand * 1e6,
            autograd / fused,
            hand / fused,
        );
    }
    Ok(())
}
