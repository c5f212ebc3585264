//! A fading histogram of the scores of the rare classes, from which thresholds are read.

use crate::evaluate::confusion::wilson_low;
use crate::evaluate::ranking::{Order, rank_groups};
use crate::evaluate::sketch::{BINS, bin, edge};
use crate::state::{Error, State};

/// Weight of examples below which a histogram says nothing yet.
pub(super) const FEWEST: f64 = 50.0;
/// Weight of rare examples that a threshold must catch before its precision counts.
const FEWEST_CAUGHT: f64 = 8.0;
/// Counts are ranked in parts of this size, as whole numbers are what the ranking takes.
const PARTS: f64 = 64.0;

/// Histograms of one score: how much probability the rare classes got together. 16 kB.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    /// Weights of the rare examples, by bin.
    rare: Vec<f64>,
    /// Weights of the others.
    others: Vec<f64>,
    /// Weight of all examples.
    pub count: f64,
    /// Seconds of log time that they took, fading like them.
    pub seconds: f64,
}

/// The lowest score that a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    /// Too few examples to say.
    TooEarly,
    /// From this score on.
    From(f64),
    /// No score does what is asked for.
    Never,
}

impl Scores {
    pub fn new() -> Self {
        Self {
            rare: vec![0.0; BINS],
            others: vec![0.0; BINS],
            count: 0.0,
            seconds: 0.0,
        }
    }

    pub fn add(&mut self, score: f32, is_rare: bool, seconds: f64) {
        let side = if is_rare {
            &mut self.rare
        } else {
            &mut self.others
        };
        side[bin(score)] += 1.0;
        self.count += 1.0;
        self.seconds += seconds;
    }

    /// Lets everything fade to a share of its weight.
    pub fn fade(&mut self, to: f64) {
        for weight in self.rare.iter_mut().chain(&mut self.others) {
            *weight *= to;
        }
        self.count *= to;
        self.seconds *= to;
    }

    /// Examples that come in so many seconds of log time, on the average.
    pub fn expected(&self, seconds: f64) -> Option<f64> {
        let examples = self.count * seconds / self.seconds;
        (self.count >= FEWEST && examples.is_finite()).then_some(examples)
    }

    /// The lowest threshold that flags at most a share of the examples. Where the highest scores alone are more than
    /// that, the threshold stands below them: what is too much is for the count of alerts to stop.
    pub fn flagging(&self, share: Option<f64>) -> Choice {
        let Some(share) = share else {
            return Choice::TooEarly;
        };
        let allowed = share * self.count;
        let mut flagged = 0.0;
        let mut lowest = None;
        for (bin, weight) in self.down() {
            flagged += weight.0 + weight.1;
            if flagged > allowed && lowest.is_some() {
                break;
            }
            lowest = Some(bin);
            if flagged > allowed {
                break;
            }
        }
        lowest.map_or(Choice::TooEarly, |bin| Choice::From(f64::from(edge(bin))))
    }

    /// The lowest threshold whose precision is at least `floor` with some confidence: one standard error of its own
    /// estimate is taken off.
    pub fn keeping(&self, floor: f64) -> Choice {
        if self.count < FEWEST {
            return Choice::TooEarly;
        }
        let (mut caught, mut flagged) = (0.0, 0.0);
        let mut lowest = None;
        for (bin, weight) in self.down() {
            caught += weight.0;
            flagged += weight.0 + weight.1;
            if caught >= FEWEST_CAUGHT && wilson_low(caught, flagged, 1.0) >= floor {
                lowest = Some(bin);
            }
        }
        lowest.map_or(Choice::Never, |bin| Choice::From(f64::from(edge(bin))))
    }

    /// Share of the rare examples among the `share` highest scores; a bin that the border cuts counts in part.
    pub fn recall(&self, share: f64) -> Option<f64> {
        let all: f64 = self.rare.iter().sum();
        let mut left = share * self.count;
        let mut caught = 0.0;
        for (_, weight) in self.down() {
            let inside = (left / (weight.0 + weight.1)).clamp(0.0, 1.0);
            caught += inside * weight.0;
            left -= inside * (weight.0 + weight.1);
        }
        (all > 0.0 && self.count >= FEWEST).then(|| caught / all)
    }

    /// Average precision of the rare classes against the rest, recent examples counting most.
    pub fn average_precision(&self) -> Option<f64> {
        let parts = |weight: f64| (weight * PARTS).round() as u64;
        rank_groups(self.down().map(|(bin, weight)| {
            let order = if bin == 0 || bin == BINS - 1 {
                Order::Tied
            } else {
                Order::Unknown
            };
            ((parts(weight.0), parts(weight.1)), order)
        }))
        .average_precision
    }

    /// Bins that hold anything, from the highest down: weights of rare examples and of others.
    fn down(&self) -> impl Iterator<Item = (usize, (f64, f64))> {
        let weights = self.rare.iter().copied().zip(self.others.iter().copied());
        let bins = weights.enumerate().rev();
        bins.filter(|(_, weight)| weight.0 + weight.1 > 0.0)
    }

    pub fn save(&self, state: &mut State) {
        state.put_f64("decision.scores.rare", self.rare.clone());
        state.put_f64("decision.scores.others", self.others.clone());
        state.put_f64("decision.scores.sums", vec![self.count, self.seconds]);
    }

    pub fn load(state: &State) -> Result<Self, Error> {
        let sums = state.f64_exact("decision.scores.sums", 2)?;
        Ok(Self {
            rare: state.f64_exact("decision.scores.rare", BINS)?.to_vec(),
            others: state.f64_exact("decision.scores.others", BINS)?.to_vec(),
            count: sums[0],
            seconds: sums[1],
        })
    }
}
