//! Bounded sums from which every live figure is read: histograms of scores on a fixed grid, and counts.
//!
//! # The grid, and what it costs in precision
//!
//! A score in [0, 1] falls into one of [`BINS`] bins that follow the floating-point bits: sixteen bins an
//! octave of `p` below one half, down to 2^-41, and sixteen an octave of `1 - p` above it, down to the last
//! `f32` before 1. No bin is wider than 0.09 in the logit, and finding one needs no logarithm, so it is the
//! same on every machine.
//!
//! Within a bin the order of examples is lost: the average order is assumed, and in the outermost bins
//! (0 and unknown classes; exactly 1) a tie. With `n+` examples of the class and `n-` others in a bin out of
//! `P` and `N`, and `t` and `f` of them above it:
//!
//! - ROC-AUC is off by at most the sum over bins of `n+ n- / (2 P N)`;
//! - average precision is off by at most the sum over bins of `n+ / P` times the distance between the best
//!   case `(t + n+) / (t + n+ + f)` and the worst `(t + 1) / (t + 1 + f + n-)`.
//!
//! Those are worst cases; on smooth scores both errors are a few thousandths at most.

use super::confusion::Confusion;
use super::most_probable;
use super::ranking::{Order, Ranking, rank_groups};
use super::reliability::half_squared_distance;
use super::tops::Tops;

/// Scores below this share the lowest bin: 2^-41.
const LOWEST: u32 = code_of(0x2B00_0000);
/// The code of one half.
const HALF: u32 = code_of(0x3F00_0000);
/// The code of 2^-24, the distance of the last `f32` before 1.
const NEAREST_ONE: u32 = code_of(0x3380_0000);

/// Number of bins of a histogram of scores.
pub(super) const BINS: usize = (1 + (HALF - LOWEST) + (HALF - NEAREST_ONE + 1) + 1) as usize;

/// Exponent and the first four bits of the mantissa of a non-negative float.
const fn code_of(bits: u32) -> u32 {
    bits >> 19
}

/// The bin of a score; higher scores never have a lower bin. NaN counts as 0.
pub(super) fn bin(score: f32) -> usize {
    if score < 0.5 {
        let code = if score > 0.0 {
            code_of(score.to_bits())
        } else {
            0
        };
        return if code < LOWEST {
            0
        } else {
            (1 + code - LOWEST) as usize
        };
    }
    if score.is_nan() {
        return 0;
    }
    let rest = 1.0 - score;
    let below_top = if rest > 0.0 {
        code_of(rest.to_bits()).max(NEAREST_ONE) - NEAREST_ONE + 1
    } else {
        0
    };
    BINS - 1 - below_top as usize
}

/// The smallest score of a bin: from it on, scores fall into this bin or a higher one.
pub(super) fn edge(bin: usize) -> f32 {
    let upper_bins = (HALF - NEAREST_ONE + 2) as usize;
    if bin == 0 {
        0.0
    } else if bin < BINS - upper_bins {
        f32::from_bits((LOWEST + bin as u32 - 1) << 19)
    } else if bin >= BINS - 1 {
        1.0
    } else {
        // The first float whose distance from 1 is below that of the next bin down. Near 1 floats are farther apart than
        // bins, so the search begins one below.
        let code = NEAREST_ONE + (BINS - 2 - bin) as u32;
        let beyond = f32::from_bits((code + 1) << 19);
        let mut score = f32::from_bits((1.0 - beyond).to_bits() - 1);
        while 1.0 - score >= beyond {
            score = f32::from_bits(score.to_bits() + 1);
        }
        score.max(0.5)
    }
}

/// Sums over a set of predicted examples.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sketch {
    /// Labels, predictions, hits.
    pub(super) confusion: Confusion,
    /// Per class [`BINS`] counts of the scores that examples of the class gave it.
    pub(super) positives: Vec<u64>,
    /// The same of the other examples.
    pub(super) negatives: Vec<u64>,
    /// Sum of the losses.
    pub(super) loss: f64,
    /// Sum of half the squared distances between probabilities and labels.
    pub(super) brier: f64,
    /// The top probabilities, and how often they were right.
    pub(super) tops: Tops,
}

impl Sketch {
    /// Nothing seen, with room for a number of classes.
    pub(super) fn new(classes: usize) -> Self {
        let mut sketch = Self::default();
        sketch.grow(classes);
        sketch
    }

    /// Number of classes.
    pub(super) fn classes(&self) -> usize {
        self.confusion.classes()
    }

    /// All examples.
    pub(super) fn examples(&self) -> u64 {
        self.confusion.examples()
    }

    /// Makes room for at least `classes` classes. What was seen before a class joined scored 0 for it.
    pub(super) fn grow(&mut self, classes: usize) {
        let examples = self.examples();
        for _ in self.classes()..classes {
            let start = self.negatives.len();
            self.positives.resize(start + BINS, 0);
            self.negatives.resize(start + BINS, 0);
            self.negatives[start] = examples;
        }
        self.confusion.grow(classes);
    }

    /// Adds one predicted example; `loss` is `-ln p(label)`, finite.
    pub(super) fn add(&mut self, label: usize, probabilities: &[f32], loss: f64) {
        self.grow(probabilities.len().max(label + 1));
        for class in 0..self.classes() {
            let score = probabilities.get(class).copied().unwrap_or(0.0);
            let side = if class == label {
                &mut self.positives
            } else {
                &mut self.negatives
            };
            side[class * BINS + bin(score)] += 1;
        }
        let prediction = most_probable(probabilities);
        self.confusion.add(label, prediction);
        self.loss += loss;
        self.brier += half_squared_distance(label, probabilities);
        if let Some(prediction) = prediction {
            self.tops
                .add(probabilities[prediction], prediction == label);
        }
    }

    /// How well the scores rank a class above the rest.
    pub(super) fn ranking(&self, class: usize) -> Ranking {
        rank_groups(self.groups(class).enumerate().map(|(bin, group)| {
            let outermost = bin == 0 || bin == BINS - 1;
            (
                group,
                if outermost {
                    Order::Tied
                } else {
                    Order::Unknown
                },
            )
        }))
    }

    /// Per bin (examples of the class, others), from the highest bin down.
    pub(super) fn groups(&self, class: usize) -> impl Iterator<Item = (u64, u64)> {
        let bins = class * BINS..(class + 1) * BINS;
        let positives = self.positives[bins.clone()].iter().rev().copied();
        positives.zip(self.negatives[bins].iter().rev().copied())
    }
}
