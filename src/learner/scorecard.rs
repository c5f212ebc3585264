//! The latest predictions of every member, class by class, and how good a mixture of them would have been.

use std::collections::VecDeque;

use crate::evaluate::{Objective, most_probable, rare_classes};
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
            classes: Vec::new(),
        }
    }

    /// Adds an example of class `label` with what each member predicted.
    pub fn add(&mut self, label: usize, predicted: &[&[f32]]) {
        if self.classes.len() <= label {
            self.classes.resize(label + 1, OfClass::default());
        }
        let keep = (-std::f64::consts::LN_2 / HALF_LIFE).exp();
        for class in &mut self.classes {
            class.count *= keep;
        }
        let room = (ROOM / self.classes.len()).max(LEAST);
        let known = predicted.iter().map(|row| row.len()).max().unwrap_or(0);
        let class = &mut self.classes[label];
        class.count += 1.0;
        class.seen += 1;
        let mut row = Vec::with_capacity(known * self.members);
        for member in predicted {
            row.extend_from_slice(member);
            row.resize(row.len() + known - member.len(), 0.0);
        }
        class.rows.push_back(row);
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
        let mut mixed: Vec<(usize, Vec<f32>)> = Vec::new();
        for (label, class) in self.classes.iter().enumerate() {
            for row in &class.rows {
                mixed.push((label, self.mix(row, point)));
            }
        }
        match objective {
            Objective::PrAuc => {
                let scores = rare.iter();
                mean(scores.filter_map(|class| average_precision(&mixed, *class, weights)))
            }
            Objective::BalancedAccuracy => {
                let recall = |class: usize| {
                    let rows = mixed.iter().filter(|(label, _)| *label == class);
                    mean(rows.map(|(label, row)| {
                        f64::from(u8::from(most_probable(row) == Some(*label)))
                    }))
                };
                mean((0..self.classes.len()).filter_map(recall))
            }
            Objective::LogLoss => {
                let (mut sum, mut total) = (0.0, 0.0);
                for (label, row) in &mixed {
                    let p = row.get(*label).map_or(1e-6, |p| f64::from(*p));
                    sum += weights[*label] * p.max(1e-15).ln();
                    total += weights[*label];
                }
                (total > 0.0).then(|| sum / total)
            }
        }
    }

    fn mix(&self, row: &[f32], point: &[f64]) -> Vec<f32> {
        let known = row.len() / self.members.max(1);
        let mut mixed = vec![0.0; known];
        for (member, weight) in row.chunks_exact(known.max(1)).zip(point) {
            for (sum, p) in mixed.iter_mut().zip(member) {
                *sum += *weight as f32 * p;
            }
        }
        mixed
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

/// Average precision of a class among weighed examples; equal scores share a threshold. `None` where a side is empty.
fn average_precision(rows: &[(usize, Vec<f32>)], class: usize, weights: &[f64]) -> Option<f64> {
    let mut keys: Vec<(u32, usize)> = rows
        .iter()
        .map(|(label, row)| {
            let score = row.get(class).copied().unwrap_or(0.0).max(0.0);
            (score.to_bits(), *label)
        })
        .collect();
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
            card.add(label, &[&good, &bad]);
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
            card.add(usize::from(i % 1000 == 0), &[&[0.9, 0.1]]);
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
