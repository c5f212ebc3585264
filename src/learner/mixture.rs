//! What is served: the members' probabilities, averaged by weights that follow the user's objective.
//!
//! Of each class the most recent predictions of all members are kept, so a rare class has as many as a frequent one; each
//! counts for its class's share of the stream. Every so often the weights take a step that makes the mixture of those
//! predictions better by the objective itself, not by a stand-in: towards one member, or back towards the average
//! (a Frank-Wolfe step; Caruana et al. 2004 choose ensembles by the same greed). The average is where they begin, and a
//! part of it stays, so a member that lost can come back after a drift.

use super::member::Member;
use super::scorecard::Scorecard;
use super::step::LastBatch;
use crate::evaluate::Objective;
use crate::loss::UNKNOWN_CLASS_LOSS;
use crate::state::{self, State};

/// Examples between two steps of the weights, and before the first.
const EVERY: u64 = 1024;
/// How far a step may go.
const STEPS: [f64; 2] = [0.3, 0.1];
/// A step must gain this much.
const GAIN: f64 = 1e-3;
/// What stays of the average.
const FLOOR: f64 = 0.1;

/// The weights of the members, and what they follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    objective: Objective,
    /// Where the steps lead, without the floor.
    point: Vec<f64>,
    /// One a member; they sum to 1.
    weights: Vec<f64>,
    card: Scorecard,
    next: u64,
    /// Score of each member by itself when the weights were last looked at: for people, not part of the state.
    scores: Vec<Option<f64>>,
}

impl Mixture {
    /// Equal weights.
    #[must_use]
    pub fn new(members: usize, objective: Objective) -> Self {
        let even = vec![1.0 / members.max(1) as f64; members];
        Self {
            objective,
            point: even.clone(),
            weights: even,
            card: Scorecard::new(members),
            next: EVERY,
            scores: vec![None; members],
        }
    }

    /// Weights of the members; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Score of each member by itself, by the objective; larger is better.
    #[must_use]
    pub fn scores(&self) -> &[Option<f64>] {
        &self.scores
    }

    /// The member with the largest weight, the first of several.
    #[must_use]
    pub fn lead(&self) -> usize {
        let mut lead = 0;
        for (member, weight) in self.weights.iter().enumerate() {
            if *weight > self.weights[lead] {
                lead = member;
            }
        }
        lead
    }

    /// Mixes what the members predicted of the last batch: fills everything of `last` but the weights.
    pub fn mix(&self, members: &[Member], labels: &[u32], last: &mut LastBatch) {
        let first = &members[0].last;
        last.stride = first.stride;
        last.known.clone_from(&first.known);
        last.losses.clone_from(&first.losses);
        last.predicted.clone_from(&first.predicted);
        if members.len() == 1 {
            return;
        }
        last.predicted.fill(0.0);
        for (member, weight) in members.iter().zip(&self.weights) {
            let weight = *weight as f32;
            for (mixed, p) in last.predicted.iter_mut().zip(&member.last.predicted) {
                *mixed += weight * p;
            }
        }
        for (row, label) in labels.iter().enumerate() {
            let known = members.iter().map(|member| member.last.known[row]).max();
            last.known[row] = known.unwrap_or(0);
            let weighed = members.iter().zip(&self.weights);
            let likelihood: f64 = weighed
                .map(|(member, weight)| weight * (-member.last.losses[row]).exp())
                .sum();
            last.losses[row] = if (*label as usize) < last.known[row] {
                -likelihood.max(f64::MIN_POSITIVE).ln()
            } else {
                UNKNOWN_CLASS_LOSS
            };
        }
    }

    /// Follows the objective, after a batch; `examples` were learned by now.
    pub fn learn(&mut self, members: &[Member], labels: &[u32], examples: u64) {
        if members.len() < 2 {
            return;
        }
        for (row, label) in labels.iter().enumerate() {
            let predicted = members.iter().map(|member| member.last.row(row));
            self.card.add(*label as usize, predicted);
        }
        if examples < self.next {
            return;
        }
        // Young weights move often, old ones seldom: the cost stays a small part of learning.
        self.next = examples + EVERY.max(examples / 50);
        for size in STEPS {
            self.step(size);
        }
        self.score_members();
        let even = FLOOR / members.len() as f64;
        for (weight, point) in self.weights.iter_mut().zip(&self.point) {
            *weight = (1.0 - FLOOR) * point + even;
        }
    }

    fn score_members(&mut self) {
        let (rare, weights) = self.card.view();
        for member in 0..self.scores.len() {
            let mut alone = vec![0.0; self.scores.len()];
            alone[member] = 1.0;
            self.scores[member] = self.card.score(self.objective, &alone, &rare, &weights);
        }
    }

    /// Goes to the best neighbour, if one is better.
    fn step(&mut self, size: f64) {
        let members = self.point.len();
        let (rare, labels) = self.card.view();
        let Some(here) = self.card.score(self.objective, &self.point, &rare, &labels) else {
            return;
        };
        let mut best = (here + GAIN, None);
        for target in 0..=members {
            let towards = |member: usize| {
                let goal = if target == members {
                    1.0 / members as f64
                } else {
                    f64::from(u8::from(member == target))
                };
                (1.0 - size) * self.point[member] + size * goal
            };
            let point: Vec<f64> = (0..members).map(towards).collect();
            let score = self.card.score(self.objective, &point, &rare, &labels);
            if score.is_some_and(|score| score > best.0) {
                best = (score.unwrap_or(best.0), Some(point));
            }
        }
        if let (_, Some(point)) = best {
            self.point = point;
        }
    }

    /// Writes everything under `mixture.`; nothing of a single member.
    pub fn save(&self, state: &mut State) {
        if self.weights.len() < 2 {
            return;
        }
        state.put_f64("mixture.weights", self.weights.clone());
        state.put_f64("mixture.point", self.point.clone());
        state.put_u64("mixture.next", vec![self.next]);
        self.card.save(state);
    }

    /// Reads what [`Mixture::save`] wrote.
    ///
    /// # Errors
    /// When the state holds another number of members.
    pub fn load(members: usize, objective: Objective, state: &State) -> Result<Self, state::Error> {
        let mut mixture = Self::new(members, objective);
        if members > 1 {
            mixture.weights = state.f64_exact("mixture.weights", members)?.to_vec();
            mixture.point = state.f64_exact("mixture.point", members)?.to_vec();
            mixture.next = state.u64_exact("mixture.next", 1)?[0];
            mixture.card = Scorecard::load(members, state)?;
        }
        Ok(mixture)
    }
}
