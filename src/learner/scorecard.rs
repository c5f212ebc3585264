//! The latest predictions of every member, class by class, and how good a mixture of them would have been.

use std::collections::VecDeque;

use crate::evaluate::{
    Objective, SMALLEST_PROBABILITY, UNKNOWN_CLASS_PROBABILITY, most_probable, rare_classes,
};
use crate::state::{self, State};

/// Predictions kept over all classes, and at least so many a class.
const ROOM: usize = 4000;
const LEAST: usize = 50;
/// Examples after which a past one counts half in the shares of the classes.
const HALF_LIFE: f64 = 50_000.0;
/// A class with fewer predictions says nothing yet.
const ENOUGH: usize = 5;

/// Predictions by class; part of the learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    members: usize,
    /// What an example leaves of the decayed counts.
    keep: f64,
    classes: Vec<OfClass>,
}

/// The latest examples of one class.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfClass {
    /// Decayed examples.
    count: f64,
    /// All examples.
    seen: u64,
    /// For each kept example the probabilities of each member, one member after the other, with their number.
    rows: VecDeque<Vec<f32>>,
}

impl Scorecard {
    /// Nothing seen.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self {
            members,
            keep: (-std::f64::consts::LN_2 / HALF_LIFE).exp(),
            classes: Vec::new(),
        }
    }

    /// Adds an example of class `label` with what each member predicted.
    pub fn add<'a>(&mut self, label: usize, predicted: impl Iterator<Item = &'a [f32]> + Clone) {
        if self.classes.len() <= label {
            self.classes.resize(label + 1, OfClass::default());
        }
        for class in &mut self.classes {
            class.count *= self.keep;
        }
        let room = (ROOM / self.classes.len()).max(LEAST);
        let known = predicted.clone().map(<[f32]>::len).max().unwrap_or(0);
        let class = &mut self.classes[label];
        class.count += 1.0;
        class.seen += 1;
        let mut row = if class.rows.len() >= room {
            class.rows.pop_front().unwrap_or_default()
        } else {
            Vec::new()
        };
        row.clear();
        for member in predicted {
            row.extend_from_slice(member);
            row.resize(row.len() + known - member.len(), 0.0);
        }
        class.rows.push_back(row);
        // A class that joined leaves less room to each.
        while class.rows.len() > room {
            class.rows.pop_front();
        }
    }

    /// The rare classes that have enough predictions, and the weight of one kept prediction of each class.
    #[must_use]
    pub fn view(&self) -> (Vec<usize>, Vec<f64>) {
        let seen: Vec<u64> = self.classes.iter().map(|class| class.seen).collect();
        let enough = |class: &usize| self.classes[*class].rows.len() >= ENOUGH;
        let rare = rare_classes(&seen).into_iter().filter(enough).collect();
        let weight = |class: &OfClass| class.count / class.rows.len().max(1) as f64;
        (rare, self.classes.iter().map(weight).collect())
    }

    /// How good the kept predictions are under these weights of the members, larger is better; `None` where that is
    /// not defined yet.
    #[must_use]
    pub fn score(
        &self,
        objective: Objective,
        point: &[f64],
        rare: &[usize],
        weights: &[f64],
    ) -> Option<f64> {
        match objective {
            Objective::PrAuc => {
                let precision = |class: &usize| self.average_precision(point, *class, weights);
                mean(rare.iter().filter_map(precision))
            }
            Objective::BalancedAccuracy => {
                let mut mixed = Vec::new();
                let mut recall = |(label, class): (usize, &OfClass)| {
                    mean(class.rows.iter().map(|row| {
                        let known = self.known(row);
                        mixed.clear();
                        mixed.extend((0..known).map(|class| self.mixed(row, point, class)));
                        f64::from(u8::from(most_probable(&mixed) == Some(label)))
                    }))
                };
                mean(self.classes.iter().enumerate().filter_map(&mut recall))
            }
            Objective::LogLoss => {
                let (mut sum, mut total) = (0.0, 0.0);
                for (label, class) in self.classes.iter().enumerate() {
                    for row in &class.rows {
                        let p = if label < self.known(row) {
                            f64::from(self.mixed(row, point, label)).max(SMALLEST_PROBABILITY)
                        } else {
                            UNKNOWN_CLASS_PROBABILITY
                        };
                        sum += weights[label] * p.ln();
                        total += weights[label];
                    }
                }
                (total > 0.0).then(|| sum / total)
            }
        }
    }

    /// Classes that were known when a kept example was predicted.
    fn known(&self, row: &[f32]) -> usize {
        row.len() / self.members.max(1)
    }

    /// What the mixture gave a class; 0 where it was not known.
    fn mixed(&self, row: &[f32], point: &[f64], class: usize) -> f32 {
        let known = self.known(row);
        if class >= known {
            return 0.0;
        }
        let of_members = row.iter().skip(class).step_by(known).zip(point);
        of_members.map(|(p, weight)| *weight as f32 * p).sum()
    }

    /// Average precision of a class among the weighed examples; equal scores share a threshold. `None` where a side is
    /// empty.
    fn average_precision(&self, point: &[f64], class: usize, weights: &[f64]) -> Option<f64> {
        let mut keys: Vec<(u32, usize)> = Vec::new();
        for (label, kept) in self.classes.iter().enumerate() {
            let score = |row: &Vec<f32>| self.mixed(row, point, class).max(0.0).to_bits();
            keys.extend(kept.rows.iter().map(|row| (score(row), label)));
        }
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let (mut inside, mut others, mut sum) = (0.0, 0.0, 0.0);
        for tied in keys.chunk_by(|a, b| a.0 == b.0) {
            let mut more = 0.0;
            for (_, label) in tied {
                if *label == class {
                    more += weights[*label];
                } else {
                    others += weights[*label];
                }
            }
            inside += more;
            if more > 0.0 {
                sum += more * inside / (inside + others);
            }
        }
        (inside > 0.0 && others > 0.0).then(|| sum / inside)
    }

    /// Writes everything under `mixture.`.
    pub fn save(&self, state: &mut State) {
        let classes = self.classes.iter();
        state.put_f64("mixture.count", classes.map(|class| class.count).collect());
        let classes = self.classes.iter();
        let counts = classes.flat_map(|class| [class.seen, class.rows.len() as u64]);
        state.put_u64("mixture.seen", counts.collect());
        let rows = || self.classes.iter().flat_map(|class| &class.rows);
        let widths = rows().map(|row| row.len() as u64);
        state.put_u64("mixture.widths", widths.collect());
        let values: Vec<f32> = rows().flatten().copied().collect();
        state.put_f32("mixture.predicted", vec![values.len()], values);
    }

    /// Reads what [`Scorecard::save`] wrote.
    ///
    /// # Errors
    /// When entries are missing or do not fit together.
    pub fn load(members: usize, state: &State) -> Result<Self, state::Error> {
        let count = state.f64("mixture.count")?;
        let seen = state.u64_exact("mixture.seen", count.len() * 2)?;
        let kept = seen.iter().skip(1).step_by(2).sum::<u64>() as usize;
        let widths = state.u64_exact("mixture.widths", kept)?;
        let values = widths.iter().sum::<u64>() as usize;
        let mut values = state.f32_exact("mixture.predicted", values)?;
        let mut widths = widths.iter();
        let mut card = Self::new(members);
        for (count, pair) in count.iter().zip(seen.chunks_exact(2)) {
            let mut class = OfClass {
                count: *count,
                seen: pair[0],
                rows: VecDeque::new(),
            };
            for width in widths.by_ref().take(pair[1] as usize) {
                let (row, rest) = values.split_at(*width as usize);
                class.rows.push_back(row.to_vec());
                values = rest;
            }
            card.classes.push(class);
        }
        Ok(card)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Scorecard {
        let mut card = Scorecard::new(2);
        for i in 0..600u16 {
            let label = usize::from(i % 10 == 0);
            // The first member ranks well, the second the wrong way round.
            let good = if label == 1 {
                0.8
            } else {
                f32::from(i % 7) / 10.0
            };
            let (good, bad) = ([1.0 - good, good], [good, 1.0 - good]);
            card.add(label, [&good[..], &bad].into_iter());
        }
        card
    }

    #[test]
    fn a_mixture_of_the_better_member_scores_higher() {
        let card = card();
        let (rare, weights) = card.view();
        assert_eq!(rare, [1]);
        for objective in [
            Objective::PrAuc,
            Objective::BalancedAccuracy,
            Objective::LogLoss,
        ] {
            let score = |point: [f64; 2]| card.score(objective, &point, &rare, &weights).unwrap();
            assert!(score([1.0, 0.0]) > score([0.0, 1.0]), "{objective:?}");
        }
        let best = card.score(Objective::PrAuc, &[1.0, 0.0], &rare, &weights);
        assert_eq!(best, Some(1.0));
    }

    #[test]
    fn a_kept_prediction_counts_for_the_share_of_its_class() {
        let mut card = Scorecard::new(1);
        for i in 0..20_000u32 {
            card.add(usize::from(i % 1000 == 0), std::iter::once(&[0.9, 0.1][..]));
        }
        let (_, weights) = card.view();
        assert!(weights[0] > 5.0 && weights[1] < 1.1, "{weights:?}");
        assert!(card.classes[0].rows.len() <= ROOM);
    }

    #[test]
    fn a_card_survives_its_state() {
        let mut state = State::default();
        let card = card();
        card.save(&mut state);
        assert_eq!(Scorecard::load(2, &state), Ok(card));
    }
}
