//! What is served: the probabilities of all voices (members and their averages), averaged by weights that follow the user's
//! objective.
//!
//! Every voice is scored by the objective itself on what it predicted, segment by segment of the stream ([`Scorecard`]), and
//! its weight is a softmax of its score in the logit: a voice with half the errors of another soon has nearly all of the
//! weight, and voices that are about as good share it, which is what makes a mixture better than any of them. The scores do
//! not depend on the weights, and a voice never loses all of its weight, so one that lost comes back after a drift. Before there
//! is a score, and beside the first few, losses tell the voices apart ([`Early`]); in rows of a class that is still young, how well
//! each told it from the rest does ([`Gate`]).

use super::early::Early;
use super::gate::Gate;
use super::scorecard::{Scorecard, VoiceScore};
use super::step::LastBatch;
use crate::evaluate::Objective;
use crate::loss::UNKNOWN_CLASS_LOSS;
use crate::state::{self, State};

/// Distance of two scores, in the logit, at which one voice weighs e times the other.
const TEMPERATURE: f64 = 0.1;
/// A mean over so many segments counts for half: the first ones hold a few examples of a rare class each, and jump.
const HALF: f64 = 3.0;
/// What every voice keeps.
const FLOOR: f64 = 1e-3;
/// Scores nearer to 0 or 1 than this are all the same.
const EDGE: f64 = 1e-4;

/// The weights of the voices, and what they follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// One a voice; they sum to 1.
    weights: Vec<f64>,
    card: Scorecard,
    early: Early,
    gate: Gate,
}

impl Mixture {
    /// Equal weights.
    #[must_use]
    pub fn new(voices: usize, objective: Objective) -> Self {
        Self {
            weights: vec![1.0 / voices.max(1) as f64; voices],
            card: Scorecard::new(voices, objective),
            early: Early::new(voices),
            gate: Gate::new(voices),
        }
    }

    /// Weights of the voices; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Score of a voice by itself, by the objective; larger is better.
    #[must_use]
    pub fn score(&self, voice: usize) -> Option<VoiceScore> {
        self.card.score(voice)
    }

    /// The voice with the largest weight, the first of several.
    #[must_use]
    pub fn lead(&self) -> usize {
        let mut lead = 0;
        for (voice, weight) in self.weights.iter().enumerate() {
            if *weight > self.weights[lead] {
                lead = voice;
            }
        }
        lead
    }

    /// Who is heard about young classes.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Mixes what the voices predicted of the last batch: fills everything of `last` but the weights. If it `learns`, each row
    /// is mixed with what the rows before it told of young classes.
    pub fn mix(
        &mut self,
        voices: &[&LastBatch],
        labels: &[u32],
        last: &mut LastBatch,
        learns: bool,
    ) {
        let first = voices[0];
        last.stride = first.stride;
        last.known.clone_from(&first.known);
        last.losses.clone_from(&first.losses);
        last.predicted.clone_from(&first.predicted);
        if voices.len() == 1 {
            return;
        }
        last.predicted.fill(0.0);
        let mut weights = Vec::with_capacity(voices.len());
        for (row, label) in labels.iter().enumerate() {
            let known = voices.iter().map(|voice| voice.known[row]).max();
            last.known[row] = known.unwrap_or(0);
            let spoken = |voice: usize, class: usize| {
                voices[voice].row(row).get(class).copied().unwrap_or(0.0)
            };
            weights.clone_from(&self.weights);
            if self.gate.is_open() {
                self.gate.weigh(last.known[row], &spoken, &mut weights);
            }
            mix_row(voices, &weights, row, *label as usize, last);
            if learns {
                self.gate.observe(*label as usize, last.known[row], &spoken);
            }
        }
    }

    /// Follows the objective, after a batch.
    pub fn learn(&mut self, voices: &[&LastBatch], labels: &[u32]) {
        if voices.len() < 2 {
            return;
        }
        for (row, label) in labels.iter().enumerate() {
            let predicted = voices.iter().map(|voice| voice.row(row));
            self.card.add(*label as usize, predicted);
            let losses = voices.iter().map(|voice| voice.losses[row]);
            self.early
                .add(*label as usize, losses, self.card.segments());
        }
        if self.card.conclude() || self.card.segments() == 0 {
            self.weigh();
        }
    }

    /// By what the objective says, and what the losses say as long as that is little.
    fn weigh(&mut self) {
        let scores = (0..self.weights.len()).map(|voice| self.card.unit_score(voice));
        let segments = self.card.segments() as f64;
        let trust = segments / (segments + HALF) / TEMPERATURE;
        let logit = |score: f64| {
            let score = score.clamp(EDGE, 1.0 - EDGE);
            (score / (1.0 - score)).ln() * trust
        };
        let scored: Option<Vec<f64>> = scores.map(|score| score.map(logit)).collect();
        let Some(logarithms) = sum(scored, self.early.terms(self.card.segments())) else {
            return;
        };
        let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = (logarithms.iter())
            .map(|logarithm| (logarithm - largest).exp())
            .collect();
        let total: f64 = shares.iter().sum();
        let rest = 1.0 - FLOOR * shares.len() as f64;
        for (weight, share) in self.weights.iter_mut().zip(&shares) {
            *weight = FLOOR + rest * share / total;
        }
    }

    /// Writes everything under `mixture.`; nothing of a single voice.
    pub fn save(&self, state: &mut State) {
        if self.weights.len() < 2 {
            return;
        }
        state.put_f64("mixture.weights", self.weights.clone());
        self.card.save(state);
        self.early.save(state);
        self.gate.save(state);
    }

    /// Reads what [`Mixture::save`] wrote.
    ///
    /// # Errors
    /// When the state holds another number of voices.
    pub fn load(voices: usize, objective: Objective, state: &State) -> Result<Self, state::Error> {
        let mut mixture = Self::new(voices, objective);
        if voices > 1 {
            mixture.weights = state.f64_exact("mixture.weights", voices)?.to_vec();
            mixture.card = Scorecard::load(voices, objective, state)?;
            mixture.early = Early::load(voices, state)?;
            mixture.gate = Gate::load(voices, state)?;
        }
        Ok(mixture)
    }
}

/// Probabilities and loss of one row.
fn mix_row(voices: &[&LastBatch], weights: &[f64], row: usize, label: usize, last: &mut LastBatch) {
    for (voice, weight) in voices.iter().zip(weights) {
        for (mixed, p) in last.row_mut(row).iter_mut().zip(voice.row(row)) {
            *mixed += *weight as f32 * p;
        }
    }
    last.losses[row] = if label < last.known[row] {
        let weighed = voices.iter().zip(weights);
        let likelihood: f64 = weighed
            .map(|(voice, weight)| weight * (-voice.losses[row]).exp())
            .sum();
        -likelihood.max(f64::MIN_POSITIVE).ln()
    } else {
        UNKNOWN_CLASS_LOSS
    };
}

/// The sums of what is there; `None` where nothing is.
fn sum(one: Option<Vec<f64>>, other: Option<Vec<f64>>) -> Option<Vec<f64>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.iter().zip(&other).map(|(a, b)| a + b).collect()),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of 64 rows in which voice 0 ranks well until row `turn`, and voice 1 from there on.
    fn mixture(rows: usize, turn: usize, objective: Objective) -> Mixture {
        let mut mixture = Mixture::new(2, objective);
        for start in (0..rows).step_by(64) {
            let labels: Vec<u32> = (start..start + 64)
                .map(|row| u32::from(row % 10 == 0))
                .collect();
            let voice = |is_good: bool| {
                let mut last = LastBatch::default();
                last.begin(64, 2);
                for (row, label) in labels.iter().enumerate() {
                    let noise = ((start + row) * 7919 % 1000) as f32 / 1000.0;
                    let signal = if is_good { *label as f32 } else { 0.0 };
                    let p = 0.1 + 0.5 * signal + 0.3 * noise;
                    last.note(row, &[1.0 - p, p]);
                    let of_label = if *label == 1 { p } else { 1.0 - p };
                    last.losses.push(-f64::from(of_label).ln());
                }
                last
            };
            let (a, b) = (voice(start < turn), voice(start >= turn));
            mixture.learn(&[&a, &b], &labels);
        }
        mixture
    }

    #[test]
    fn the_better_voice_gets_the_weight_under_every_objective() {
        for objective in [
            Objective::PrAuc,
            Objective::BalancedAccuracy,
            Objective::LogLoss,
        ] {
            let mixture = mixture(4096, usize::MAX, objective);
            assert!(mixture.weights()[0] > 0.9, "{objective:?} {mixture:?}");
            assert!(mixture.weights()[1] >= FLOOR);
            assert_eq!(mixture.lead(), 0);
            let [good, bad] = [0, 1].map(|voice| mixture.score(voice).unwrap());
            assert!(good.score - good.band > bad.score + bad.band);
        }
    }

    #[test]
    fn before_a_score_the_voice_that_learned_the_rare_class_gets_the_weight() {
        let mut mixture = Mixture::new(2, Objective::PrAuc);
        let labels: Vec<u32> = (0..256).map(|row| u32::from(row == 99)).collect();
        let voice = |of_rare: f32| {
            let mut last = LastBatch::default();
            last.begin(256, 2);
            for (row, label) in labels.iter().enumerate() {
                let p = if *label == 1 { of_rare } else { 0.1 };
                last.note(row, &[1.0 - p, p]);
                let of_label = if *label == 1 { p } else { 1.0 - p };
                last.losses.push(-f64::from(of_label).ln());
            }
            last
        };
        let (a, b) = (voice(0.6), voice(0.05));
        mixture.learn(&[&a, &b], &labels);
        assert_eq!(mixture.score(0), None, "one example is none");
        assert!(mixture.weights()[0] > 0.9, "{:?}", mixture.weights());
    }

    #[test]
    fn a_score_of_few_segments_counts_for_less() {
        let labels: Vec<u32> = (0..256).map(|row| u32::from(row % 10 == 0)).collect();
        // A voice ranks so many of the others above all rows of the rare class.
        let voice = |above: usize| {
            let mut last = LastBatch::default();
            last.begin(256, 2);
            for (row, label) in labels.iter().enumerate() {
                let p = match (label, row % 10 == 1 && row / 10 < above) {
                    (1, _) => 0.6,
                    (_, true) => 0.9,
                    _ => 0.1,
                };
                last.note(row, &[1.0 - p, p]);
                last.losses.push(1.0);
            }
            last
        };
        let (a, b) = (voice(3), voice(4));
        // How many times e voice 0 weighs more after so many segments of the same scores.
        let lead = |segments: usize| {
            let mut mixture = Mixture::new(2, Objective::PrAuc);
            (0..segments).for_each(|_| mixture.learn(&[&a, &b], &labels));
            assert_eq!(mixture.card.segments(), segments as u64);
            (mixture.weights()[0] / mixture.weights()[1]).ln()
        };
        let trust = |segments: f64| segments / (segments + HALF);
        let expected = trust(16.0) / trust(1.0);
        let found = lead(16) / lead(1);
        assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
    }

    #[test]
    fn a_voice_that_lost_comes_back_when_the_stream_turns() {
        let mixture = mixture(40_000, 8192, Objective::PrAuc);
        assert_eq!(mixture.lead(), 1, "{:?}", mixture.weights());
    }

    #[test]
    fn a_class_that_comes_in_one_burst_is_told_by_the_voice_that_learns_within_it() {
        let labels: Vec<u32> = (0..64).map(|row| [0, 1, 2][row / 22]).collect();
        let voice = |of_newest: [f32; 2]| {
            let mut last = LastBatch::default();
            last.begin(64, 3);
            for (row, label) in labels.iter().enumerate() {
                let p = of_newest[usize::from(*label == 2 && row > 44)];
                last.note(row, &[(1.0 - p) / 2.0, (1.0 - p) / 2.0, p]);
                last.losses.push(1.0);
            }
            last
        };
        let (knew, never) = (voice([0.01, 0.95]), voice([0.01, 0.01]));
        let mut mixture = Mixture::new(2, Objective::PrAuc);
        let (mut still, mut learning) = (LastBatch::default(), LastBatch::default());
        mixture.mix(&[&knew, &never], &labels, &mut still, false);
        mixture.mix(&[&knew, &never], &labels, &mut learning, true);
        assert!(
            (still.row(63)[2] - 0.48).abs() < 1e-6,
            "{:?}",
            still.row(63)
        );
        assert!(learning.row(63)[2] > 0.9, "{:?}", learning.row(63));
        assert!((learning.losses[63] - 1.0).abs() < 1e-9);
        let burst: Vec<f32> = (45..64).map(|row| learning.row(row)[2]).collect();
        assert!(burst.is_sorted(), "{burst:?}");
        assert_eq!(
            mixture.weights(),
            [0.5, 0.5],
            "those of all rows wait for a score"
        );
        let mut state = State::default();
        mixture.save(&mut state);
        assert_eq!(Mixture::load(2, Objective::PrAuc, &state), Ok(mixture));
    }

    #[test]
    fn a_mixture_survives_its_state() {
        let mixture = mixture(3000, 1500, Objective::PrAuc);
        let mut state = State::default();
        mixture.save(&mut state);
        assert_eq!(Mixture::load(2, Objective::PrAuc, &state), Ok(mixture));
        assert!(Mixture::load(3, Objective::PrAuc, &state).is_err());
    }
}
