//! What tells the voices apart before the objective can.
//!
//! A rare class is scored once it has had a few examples, and where classes come one after another that takes a good part of
//! the stream. Until then, and fading with each score that comes, the losses say which voices have learned: each class's mean,
//! classes alike, since the frequent ones would own any plain mean. Of the losses alone what is served would follow the best
//! probabilities instead of the best ranking, which is why they fade.

use crate::state::{self, State};

/// Examples before anything is said: of the first ones a voice that is sure of what it does not know looks best.
const WAIT: u64 = 256;
/// Distance of two mean losses, in nats, at which one voice weighs e times the other.
const TEMPERATURE: f64 = 0.1;
/// A loss counts for at most so much: the first example of a class is unknown to all.
const CEILING: f64 = 5.0;
/// A class with so many examples counts for half of one with many.
const HALF: f64 = 3.0;
/// An example's least share in its class's mean.
const FADE: f64 = 0.02;
/// Scores after which losses say nothing any more.
const LAST: u64 = 16;

/// Mean losses of every voice on every class; part of the learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Early {
    voices: usize,
    /// Examples of each class.
    seen: Vec<u64>,
    /// The mean losses, class by class.
    losses: Vec<f64>,
}

impl Early {
    /// Nothing seen.
    #[must_use]
    pub fn new(voices: usize) -> Self {
        Self {
            voices,
            seen: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Adds an example of class `label` with the loss of each voice; not after the last score for which it matters.
    pub fn add(&mut self, label: usize, losses: impl Iterator<Item = f64>, scores: u64) {
        if scores >= LAST {
            return;
        }
        if self.seen.len() <= label {
            self.seen.resize(label + 1, 0);
            self.losses.resize((label + 1) * self.voices, 0.0);
        }
        self.seen[label] += 1;
        let share = (1.0 / self.seen[label] as f64).max(FADE);
        let means = &mut self.losses[label * self.voices..][..self.voices];
        for (mean, loss) in means.iter_mut().zip(losses) {
            // A loss that is not finite is as bad as any.
            *mean += share * (loss.min(CEILING) - *mean);
        }
    }

    /// What to add to the logarithm of each voice's weight beside so many scores; `None` while that is nothing.
    #[must_use]
    pub fn terms(&self, scores: u64) -> Option<Vec<f64>> {
        if scores >= LAST || self.seen.iter().sum::<u64>() < WAIT {
            return None;
        }
        let (mut sums, mut classes) = (vec![0.0; self.voices], 0.0);
        for (seen, means) in self.seen.iter().zip(self.losses.chunks_exact(self.voices)) {
            let share = *seen as f64 / (*seen as f64 + HALF);
            classes += share;
            for (sum, mean) in sums.iter_mut().zip(means) {
                *sum += share * mean;
            }
        }
        let fade = 1.0 / (1.0 + scores as f64);
        let term = |sum: &f64| -sum / classes / TEMPERATURE * fade;
        Some(sums.iter().map(term).collect())
    }

    /// Writes everything under `mixture.early`; nothing where nothing was seen.
    pub fn save(&self, state: &mut State) {
        if self.seen.is_empty() {
            return;
        }
        state.put_u64("mixture.early_seen", self.seen.clone());
        state.put_f64("mixture.early_losses", self.losses.clone());
    }

    /// Reads what [`Early::save`] wrote; states of before it was there hold nothing.
    ///
    /// # Errors
    /// When entries do not fit together.
    pub fn load(voices: usize, state: &State) -> Result<Self, state::Error> {
        let mut early = Self::new(voices);
        if state.blobs.contains_key("mixture.early_seen") {
            early.seen = state.u64("mixture.early_seen")?.to_vec();
            let cells = early.seen.len() * voices;
            early.losses = state.f64_exact("mixture.early_losses", cells)?.to_vec();
        }
        Ok(early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One example in a hundred is of class 1, which voice 0 knows; voice 1 is a little better at class 0.
    fn early(examples: usize) -> Early {
        let mut early = Early::new(2);
        for number in 0..examples {
            let label = usize::from(number % 100 == 7);
            let losses = [[0.05, 0.02], [0.5, 3.0]][label];
            early.add(label, losses.into_iter(), 0);
        }
        early
    }

    #[test]
    fn the_voice_that_knows_the_rare_class_weighs_more_whatever_the_frequent_class_says() {
        assert_eq!(early(255).terms(0), None);
        let terms = early(256).terms(0).unwrap();
        assert!(terms[0] - terms[1] > 5.0, "{terms:?}");
    }

    #[test]
    fn what_losses_say_fades_with_every_score() {
        let early = early(1000);
        let gap = |scores| {
            let terms = early.terms(scores).unwrap();
            terms[0] - terms[1]
        };
        assert!((gap(0) / gap(3) - 4.0).abs() < 1e-9);
        assert_eq!(early.terms(LAST), None);
        let mut late = early.clone();
        late.add(0, [1.0, 1.0].into_iter(), LAST);
        assert_eq!(late, early);
    }

    #[test]
    fn losses_that_are_not_finite_count_as_large_ones() {
        let mut early = early(300);
        early.add(1, [f64::NAN, f64::INFINITY].into_iter(), 0);
        assert!(early.terms(0).unwrap().iter().all(|term| term.is_finite()));
    }

    #[test]
    fn it_survives_its_state_and_older_states_hold_none() {
        let early = early(300);
        let mut state = State::default();
        assert_eq!(Early::load(2, &state), Ok(Early::new(2)));
        early.save(&mut state);
        assert_eq!(Early::load(2, &state), Ok(early));
        assert!(Early::load(3, &state).is_err());
    }
}
