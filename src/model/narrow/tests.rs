use super::super::{DeviceChoice, Kind, Settings};
use super::*;
use crate::absgd::{AdamRule, MomentumForm, Rule, UpdateRule};
use crate::state::State;

const INPUTS: usize = 40;
const ROWS: usize = 8;
/// Every third input is 0 in all rows, then only the first two of those.
const OUT: usize = 3;

fn settings(kind: Kind) -> Settings {
    Settings {
        kind,
        hidden: if kind == Kind::Mlp { vec![24] } else { vec![] },
        pieces: false,
    }
}

fn rules() -> [Rule; 2] {
    [
        Rule::Momentum(UpdateRule {
            learning_rate: 0.05,
            momentum: 0.9,
            form: MomentumForm::Torch,
            weight_decay: 0.0,
        }),
        Rule::Adam(AdamRule {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }),
    ]
}

/// Numbers in [-1, 1) without a pattern.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let number = |place: u64| crate::random::below(seed, 1, place, 0, 2000) as f32 / 1000.0 - 1.0;
    (0..len as u64).map(number).collect()
}

fn kept(out: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..INPUTS).filter(|input| !out(*input)).collect()
}

/// A whole and a narrow model that learn the same rows.
struct Pair {
    whole: Engine,
    narrow: Engine,
    kept: Vec<usize>,
    seed: u64,
}

impl Pair {
    fn new(whole: Engine, narrow: Engine) -> Self {
        Self {
            whole,
            narrow,
            kept: kept(|_| false),
            seed: 0,
        }
    }

    fn keep(&mut self, kept: Vec<usize>) {
        self.narrow.keep_inputs(kept.clone()).unwrap();
        assert_eq!(self.narrow.inputs(), kept.len());
        self.kept = kept;
    }

    fn learn(&mut self, rule: &Rule) {
        self.seed += 2;
        let width = self.whole.inputs();
        let mut rows = noise(ROWS * width, self.seed);
        for row in rows.chunks_exact_mut(width) {
            for (input, value) in row.iter_mut().enumerate() {
                if !self.kept.contains(&input) {
                    *value = 0.0;
                }
            }
        }
        let few: Vec<f32> = rows
            .chunks_exact(width)
            .flat_map(|row| self.kept.iter().map(|input| row[*input]))
            .collect();
        let dz = noise(ROWS * self.whole.classes(), self.seed + 1);
        let whole = self.whole.forward(&rows, ROWS).unwrap().to_vec();
        close(self.narrow.forward(&few, ROWS).unwrap(), &whole);
        let norm = self.whole.backward(&rows, ROWS, &dz).unwrap();
        let same = self.narrow.backward(&few, ROWS, &dz).unwrap();
        assert!((norm - same).abs() < 1e-5 * norm, "{norm} {same}");
        self.whole.apply(*rule, 0.1).unwrap();
        self.narrow.apply(*rule, 0.1).unwrap();
        self.agree();
    }

    fn agree(&self) {
        let (whole, narrow) = (self.whole.parameters(), self.narrow.parameters());
        for (whole, narrow) in whole.unwrap().iter().zip(narrow.unwrap()) {
            assert_eq!((&whole.name, &whole.shape), (&narrow.name, &narrow.shape));
            close(&narrow.values, &whole.values);
            close(&narrow.velocity, &whole.velocity);
        }
    }
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

/// What is left out is 0, so a narrow model does what a whole one does, while inputs and classes join and others come back.
fn goes_on_as_the_whole(mut pair: Pair, rule: &Rule) {
    pair.keep(kept(|input| input % OUT == 0));
    pair.learn(rule);
    for engine in [&mut pair.whole, &mut pair.narrow] {
        engine.add_class().unwrap();
        engine.add_inputs(2).unwrap();
    }
    pair.kept.extend([INPUTS, INPUTS + 1]);
    assert_eq!(pair.narrow.kept_inputs(), pair.kept);
    pair.learn(rule);
    let mut more = kept(|input| input % OUT == 0 && input > OUT);
    more.extend([INPUTS, INPUTS + 1]);
    pair.keep(more);
    pair.learn(rule);
    pair.keep((0..INPUTS + 2).collect());
    pair.learn(rule);
}

#[test]
fn a_narrow_model_does_what_the_whole_one_does_on_either_engine() {
    for kind in [Kind::Linear, Kind::Mlp] {
        let fused = || Engine::new(&settings(kind), INPUTS, 5, &DeviceChoice::Cpu).unwrap();
        let reference = || Engine::reference(&settings(kind), INPUTS, 5).unwrap();
        for rule in rules() {
            for mut pair in [
                Pair::new(fused(), fused()),
                Pair::new(reference(), reference()),
            ] {
                for engine in [&mut pair.whole, &mut pair.narrow] {
                    engine.add_class().unwrap();
                    engine.add_class().unwrap();
                }
                goes_on_as_the_whole(pair, &rule);
            }
        }
    }
}

#[test]
fn a_model_without_a_class_may_be_narrow() {
    for kind in [Kind::Linear, Kind::Mlp] {
        let fused = || Engine::new(&settings(kind), INPUTS, 5, &DeviceChoice::Cpu).unwrap();
        let mut pair = Pair::new(fused(), fused());
        pair.keep(kept(|input| input % OUT == 0));
        for engine in [&mut pair.whole, &mut pair.narrow] {
            engine.add_class().unwrap();
        }
        pair.learn(&rules()[0]);
    }
}

#[test]
fn a_narrow_model_is_saved_as_a_whole_one_and_goes_on_to_the_bit() {
    let settings = settings(Kind::Mlp);
    let load =
        |state: &State| Engine::load(&settings, INPUTS, 2, 5, &DeviceChoice::Cpu, state).unwrap();
    for rule in rules() {
        let fused = || Engine::new(&settings, INPUTS, 5, &DeviceChoice::Cpu).unwrap();
        let mut pair = Pair::new(fused(), fused());
        for engine in [&mut pair.whole, &mut pair.narrow] {
            engine.add_class().unwrap();
            engine.add_class().unwrap();
        }
        pair.keep(kept(|input| input % OUT == 0));
        pair.learn(&rule);
        let mut state = State::default();
        pair.narrow.save(&mut state).unwrap();
        let left_out = state.u64("model.left_out").unwrap();
        assert_eq!(left_out, Vec::from_iter((0..INPUTS as u64).step_by(OUT)));
        let mut again = Pair::new(load(&state), load(&state));
        (again.seed, pair.seed) = (8, 8);
        again.keep(pair.kept.clone());
        again.learn(&rule);
        pair.learn(&rule);
        assert_eq!(
            pair.narrow.parameters().unwrap(),
            again.narrow.parameters().unwrap()
        );
        let rows = noise(ROWS * pair.kept.len(), 9);
        let frozen = pair.narrow.frozen().unwrap();
        assert_eq!(frozen.probabilities(&rows, ROWS).unwrap().len(), ROWS * 2);
    }
}
