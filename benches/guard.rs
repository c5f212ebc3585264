//! Fixed work whose instructions `benches/guard.sh` counts: `guard WORK ROUNDS`, or `guard set` for the instruction set.
//!
//! What a program does before its work, and what a first round does alone, cancels out between two numbers of rounds.

use std::hint::black_box;

use skewd::absgd::{AdamRule, Rule};
use skewd::codec::Encoding;
use skewd::loss::{seed_gradient, softmax_cross_entropy};
use skewd::model::{self, DeviceChoice, Engine, Kind, instruction_set};

#[allow(dead_code)]
#[path = "stages/codec.rs"]
mod codec;
#[allow(dead_code)]
#[path = "stages/records.rs"]
mod records;

use codec::{Decoded, Encoders, Pipeline};
use records::{FEATURES, Form, Records};

type Failure = Box<dyn std::error::Error>;

/// Records of a round; as many steps.
const RECORDS: usize = 512;
/// Rows of a step: so few that it uses skewd's own loops and none that look at the caches of the machine.
const BATCH: usize = 4;

fn decode(form: Form, long: bool) -> Result<Box<dyn FnMut()>, Failure> {
    let mut pipeline = Pipeline::new(&Records::new(RECORDS, long), form, None)?;
    Ok(Box::new(move || pipeline.run()))
}

fn encode(encoding: Encoding) -> Result<Box<dyn FnMut()>, Failure> {
    let decoded: &'static Decoded =
        Box::leak(Box::new(Decoded::new(&Records::new(RECORDS, false))?));
    let mut encoders = Encoders::new(decoded, encoding);
    Ok(Box::new(move || encoders.both()))
}

fn step() -> Result<Box<dyn FnMut()>, Failure> {
    let settings = model::Settings {
        kind: Kind::Mlp,
        hidden: vec![128, 64],
        pieces: false,
    };
    let mut engine = Engine::new(&settings, FEATURES, 1, &DeviceChoice::Cpu)?;
    (0..2).try_for_each(|_| engine.add_class())?;
    let rule = Rule::Adam(AdamRule {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 1e-4,
    });
    let inputs: Vec<f32> = (0..BATCH * FEATURES)
        .map(|place| (place as f32 * 0.37).sin())
        .collect();
    let labels = [0, 1, 0, 0];
    let coefficients = [1.0 / BATCH as f32; BATCH];
    let (mut probabilities, mut losses, mut gradient) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Box::new(move || {
        for _ in 0..RECORDS {
            let logits = engine.forward(&inputs, BATCH).expect("a forward pass");
            softmax_cross_entropy(logits, 2, &labels, &mut probabilities, &mut losses);
            seed_gradient(&probabilities, 2, &labels, &coefficients, &mut gradient);
            let norm = engine.backward(&inputs, BATCH, &gradient);
            black_box(norm.expect("a gradient"));
            engine.apply(rule, 1.0).expect("an update");
        }
    }))
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, work, rounds, ..] = arguments.as_slice() else {
        println!("{RECORDS} {}", instruction_set());
        return Ok(());
    };
    let mut run = match work.as_str() {
        "decode-json" => decode(Form::Flat, false)?,
        "decode-json-long" => decode(Form::Flat, true)?,
        "decode-named" => decode(Form::Named, false)?,
        "decode-array" => decode(Form::Array, false)?,
        "decode-csv" => decode(Form::Csv, false)?,
        "encode-standard" => encode(Encoding::Standard)?,
        "encode-robust" => encode(Encoding::Robust)?,
        "step" => step()?,
        other => return Err(format!("no such work: {other}").into()),
    };
    for _ in 0..rounds.parse::<u32>()? {
        run();
    }
    Ok(())
}
