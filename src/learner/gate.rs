//! Who is heard about a class that has had few examples.
//!
//! The objective scores a class once it has had a few examples in a segment, and a class of twenty examples that come in one
//! burst is over by then. But a voice that learns every row knows such a class from its second example on, and one that is
//! an average of many steps does not. So each voice is also judged by how well it told each young class from the rest: the
//! log-loss of "this class, or not?", per example of the class, from its first example on. In rows that the voices take for that
//! class those who told it better weigh more; everywhere else nothing changes. This is a mixture of experts (Jacobs, Jordan,
//! Nowlan and Hinton, *Adaptive Mixtures of Local Experts*, 1991) whose gate is what the mixture itself makes of the row.
//!
//! With two classes nothing is done: there the score of the rare class is the score.

use crate::state::{self, State};

/// Examples after which a class is no longer young. What its losses say fades towards that.
const MANY: u64 = 50;
/// A class with so many examples counts for half of what its losses say.
const HALF: f64 = 1.0;
/// Distance of two losses, in nats an example of the class, at which one voice weighs e times the other.
const TEMPERATURE: f64 = 0.3;
/// A loss counts for at most so much.
const CEILING: f64 = 5.0;
/// A class that no voice gives more than this is not what the row is about.
const NEGLIGIBLE: f32 = 1e-3;
/// How often the row is mixed to find what it is about. The weights have settled by then.
const ROUNDS: usize = 3;

/// How well each voice told the young classes from the rest; part of the learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    voices: usize,
    /// Examples of each class.
    seen: Vec<u64>,
    /// Sums of the losses about each class while it is young, class by class, one a voice.
    losses: Vec<f64>,
}

impl Gate {
    /// Nothing seen.
    #[must_use]
    pub fn new(voices: usize) -> Self {
        Self {
            voices,
            seen: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Whether the weights of a row may differ from those of all rows.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seen.len() > 2 && self.seen.iter().any(|seen| *seen < MANY)
    }

    /// Replaces `weights`, which are those of all rows, with those of a row of `classes` known classes. They sum to 1 if the
    /// others did. `spoken` tells what a voice, the first argument, gives a class in that row: 0 to one that it does not know.
    pub fn weigh(
        &self,
        classes: usize,
        spoken: &impl Fn(usize, usize) -> f32,
        weights: &mut [f64],
    ) {
        let young: Vec<(usize, Vec<f64>)> = (0..classes.min(self.seen.len()))
            .filter(|class| self.is_at_hand(*class, spoken))
            .map(|class| (class, self.of_class(class, weights)))
            .collect();
        if young.is_empty() {
            return;
        }
        let usual = weights.to_vec();
        let by_class = |class: usize| {
            let own = young.iter().find(|(young, _)| *young == class);
            own.map_or(usual.as_slice(), |(_, own)| own)
        };
        let mix = |weights: &[f64], class: usize| -> f64 {
            let voices = weights.iter().enumerate();
            voices
                .map(|(voice, weight)| weight * f64::from(spoken(voice, class)))
                .sum()
        };
        let mut mixed: Vec<f64> = (0..classes)
            .map(|class| mix(by_class(class), class))
            .collect();
        for _ in 0..ROUNDS {
            let total: f64 = mixed.iter().sum();
            // A voice that says nothing finite is for others to deal with.
            if !(total.is_finite() && total > 0.0) {
                weights.copy_from_slice(&usual);
                return;
            }
            let about: f64 = young.iter().map(|(class, _)| mixed[*class] / total).sum();
            for (weight, usual) in weights.iter_mut().zip(&usual) {
                *weight = (1.0 - about) * usual;
            }
            for (class, own) in &young {
                for (weight, own) in weights.iter_mut().zip(own) {
                    *weight += mixed[*class] / total * own;
                }
            }
            for (class, mixed) in mixed.iter_mut().enumerate() {
                *mixed = mix(weights, class);
            }
        }
    }

    /// A young class that the losses say something about, and the row may be of.
    fn is_at_hand(&self, class: usize, spoken: &impl Fn(usize, usize) -> f32) -> bool {
        let is_young = (1..MANY).contains(&self.seen[class]);
        is_young && (0..self.voices).any(|voice| spoken(voice, class) > NEGLIGIBLE)
    }

    /// The weights in rows of a class, given those in all rows.
    fn of_class(&self, class: usize, weights: &[f64]) -> Vec<f64> {
        let seen = self.seen[class] as f64;
        let trust = (1.0 - seen / MANY as f64) * seen / (seen + HALF);
        let losses = &self.losses[class * self.voices..][..self.voices];
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let voices = weights.iter().zip(losses);
        let mut own: Vec<f64> = voices
            .map(|(weight, loss)| weight * (-trust * (loss - least) / seen / TEMPERATURE).exp())
            .collect();
        let (all, total) = (weights.iter().sum::<f64>(), own.iter().sum::<f64>());
        // The best voice keeps its weight, so the sum is never 0.
        own.iter_mut().for_each(|weight| *weight *= all / total);
        own
    }

    /// Learns from an example of class `label`, `classes` of which were known before it.
    pub fn observe(&mut self, label: usize, classes: usize, spoken: &impl Fn(usize, usize) -> f32) {
        let needed = classes.max(label + 1);
        if self.seen.len() < needed {
            self.seen.resize(needed, 0);
            self.losses.resize(needed * self.voices, 0.0);
        }
        for class in (0..classes).filter(|class| self.seen[*class] < MANY) {
            let losses = &mut self.losses[class * self.voices..][..self.voices];
            for (voice, sum) in losses.iter_mut().enumerate() {
                *sum += loss(spoken(voice, class), class == label);
            }
        }
        self.seen[label] += 1;
    }

    /// Writes everything under `mixture.gate`; nothing where nothing was seen.
    pub fn save(&self, state: &mut State) {
        if self.seen.is_empty() {
            return;
        }
        state.put_u64("mixture.gate_seen", self.seen.clone());
        state.put_f64("mixture.gate_losses", self.losses.clone());
    }

    /// Reads what [`Gate::save`] wrote; states of before it was there hold nothing.
    ///
    /// # Errors
    /// When entries do not fit together.
    pub fn load(voices: usize, state: &State) -> Result<Self, state::Error> {
        let mut gate = Self::new(voices);
        if state.blobs.contains_key("mixture.gate_seen") {
            gate.seen = state.u64("mixture.gate_seen")?.to_vec();
            let cells = gate.seen.len() * voices;
            gate.losses = state.f64_exact("mixture.gate_losses", cells)?.to_vec();
        }
        Ok(gate)
    }
}

/// The log-loss of a class's probability where the row was of it, or was not; one that is not a number costs the most.
fn loss(probability: f32, is_own: bool) -> f64 {
    let p = f64::from(probability);
    match is_own {
        true => (-p.ln()).min(CEILING),
        // What `-ln(1 - p)` is there, without a logarithm for most rows.
        false if probability <= NEGLIGIBLE => p.max(0.0),
        false => (-(1.0 - p).max(0.0).ln()).min(CEILING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class 2 has come six times: voice 0 knew it, voice 1 did not, and voice 2 took everything for it.
    fn gate() -> Gate {
        let mut gate = Gate::new(3);
        for number in 0..300 {
            let label = if number % 50 == 7 { 2 } else { number % 2 };
            let of_rare = match label {
                2 => [0.9, 0.01, 0.9],
                _ => [0.001, 0.01, 0.9],
            };
            gate.observe(label, 3, &row(of_rare));
        }
        gate
    }

    /// Each voice's probability of class 2; the others share the rest.
    fn row(of_rare: [f32; 3]) -> impl Fn(usize, usize) -> f32 {
        move |voice, class| {
            if class == 2 {
                of_rare[voice]
            } else {
                (1.0 - of_rare[voice]) / 2.0
            }
        }
    }

    fn weights(gate: &Gate, of_rare: [f32; 3]) -> [f64; 3] {
        let mut weights = [0.2, 0.5, 0.3];
        gate.weigh(3, &row(of_rare), &mut weights);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        weights
    }

    #[test]
    fn who_told_a_young_class_from_the_rest_weighs_more_in_its_rows() {
        let [knew, not, all] = weights(&gate(), [0.9, 0.01, 0.9]);
        assert!(
            knew > 0.5 && knew > 2.0 * not && knew > 2.0 * all,
            "{knew} {not} {all}"
        );
    }

    #[test]
    fn rows_of_other_classes_keep_the_usual_weights() {
        assert_eq!(weights(&gate(), [1e-4, 1e-4, 1e-4]), [0.2, 0.5, 0.3]);
        let [knew, ..] = weights(&gate(), [0.005, 0.005, 0.005]);
        assert!((knew - 0.2).abs() < 0.05, "{knew}");
    }

    #[test]
    fn it_is_closed_once_every_class_has_had_many_examples_and_with_two_classes() {
        let mut gate = gate();
        assert!(gate.is_open());
        let told = row([0.9, 0.01, 0.9]);
        (6..MANY).for_each(|_| gate.observe(2, 3, &told));
        assert!(!gate.is_open());
        let mut two = Gate::new(3);
        (0..10).for_each(|number| two.observe(number % 2, 2, &told));
        assert!(!two.is_open());
    }

    #[test]
    fn a_voice_that_says_nothing_finite_is_the_worst_and_changes_no_row() {
        let mut gate = gate();
        gate.observe(2, 3, &row([f32::NAN, 0.5, 0.5]));
        assert!(gate.losses.iter().all(|loss| loss.is_finite()));
        assert_eq!(weights(&gate, [f32::NAN, 0.9, 0.9]), [0.2, 0.5, 0.3]);
    }

    #[test]
    fn it_survives_its_state_and_older_states_hold_none() {
        let gate = gate();
        let mut state = State::default();
        assert_eq!(Gate::load(3, &state), Ok(Gate::new(3)));
        gate.save(&mut state);
        assert_eq!(Gate::load(3, &state), Ok(gate));
        assert!(Gate::load(2, &state).is_err());
    }
}
