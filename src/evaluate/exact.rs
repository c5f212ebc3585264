//! Exact prequential metrics of a finished run: every prediction is kept, every figure computed once at the end.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::classes::{PerClass, rare_classes};
use super::confusion::Confusion;
use super::metrics::Metrics;
use super::ranking::{self, CurvePoint, Ranking, rank};
use super::reliability::{equal_mass_error, half_squared_distance};
use super::{log_loss, mean, most_probable};

/// Number of equal windows behind the windowed figures.
pub const WINDOWS: usize = 10;

/// Examples that a class needs inside a window for the window to say something about it.
pub const WINDOW_MINIMUM: u64 = 5;

/// One accepted example and how it was predicted before it was learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<'a> {
    /// Row in the input, from 0.
    pub row: u64,
    /// Class index.
    pub label: u32,
    /// Weight that the example had in its step; `None` where it was predicted but not learned.
    pub weight: Option<f32>,
    /// Log time in seconds; `None` where examples have none.
    pub time: Option<f64>,
    /// Probabilities of the classes known at prediction time, in class order; may be empty.
    pub probabilities: &'a [f32],
}

/// Every prediction of one learner, packed: 28 bytes an example and 4 a known class.
///
/// ```
/// use skewd::evaluate::{Exact, Scored};
/// let mut exact = Exact::new();
/// for (row, (label, fraud)) in [(0, 0.1), (0, 0.4), (1, 0.35), (1, 0.8)].into_iter().enumerate() {
///     exact.push(Scored { row: row as u64, label, weight: None, time: None, probabilities: &[1.0 - fraud, fraud] });
/// }
/// let metrics = exact.metrics(&["ok".into(), "fraud".into()]);
/// assert!((metrics.pr_auc.get("fraud").unwrap().unwrap() - 5.0 / 6.0).abs() < 1e-6);
/// assert_eq!(metrics.roc_auc_macro, Some(0.75));
/// assert_eq!(metrics.accuracy, Some(0.75));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Exact {
    rows: Vec<u64>,
    labels: Vec<u32>,
    /// NaN = none.
    weights: Vec<f32>,
    /// NaN = none.
    times: Vec<f64>,
    /// Classes known at prediction time.
    known: Vec<u32>,
    /// The known classes' probabilities of all examples, one after the other.
    probabilities: Vec<f32>,
}

/// How much of the stream and of the learning a class had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassShare {
    /// Share of the learned examples.
    pub examples: f64,
    /// Share of the sum of their weights.
    pub weight: f64,
}

/// What a set of rows is measured against.
struct Measure<'a> {
    names: &'a [Arc<str>],
    rare: &'a [usize],
    /// Examples a class needs to count.
    minimum: u64,
}

impl Exact {
    /// Nothing predicted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next example of the stream.
    pub fn push(&mut self, scored: Scored) {
        self.rows.push(scored.row);
        self.labels.push(scored.label);
        self.weights.push(scored.weight.unwrap_or(f32::NAN));
        self.times.push(scored.time.unwrap_or(f64::NAN));
        self.known.push(scored.probabilities.len() as u32);
        self.probabilities.extend_from_slice(scored.probabilities);
    }

    /// Forgets everything, for another pass over the input.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.labels.clear();
        self.weights.clear();
        self.times.clear();
        self.known.clear();
        self.probabilities.clear();
    }

    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True before the first example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The examples in stream order.
    pub fn iter(&self) -> impl Iterator<Item = Scored<'_>> {
        self.range(0..self.len())
    }

    /// Figures over the whole stream.
    #[must_use]
    pub fn metrics(&self, names: &[Arc<str>]) -> Metrics {
        let rare = rare_classes(&self.counts(0..self.len(), names.len()));
        self.measure(
            0..self.len(),
            &Measure {
                names,
                rare: &rare,
                minimum: 1,
            },
        )
    }

    /// Figures of each of [`WINDOWS`] equal windows of the stream (fewer where it is shorter than that), in
    /// order. A class counts in a window where it has at least [`WINDOW_MINIMUM`] examples; which classes are
    /// rare is settled by the whole stream.
    #[must_use]
    pub fn windows(&self, names: &[Arc<str>]) -> Vec<Metrics> {
        let rare = rare_classes(&self.counts(0..self.len(), names.len()));
        let measure = Measure {
            names,
            rare: &rare,
            minimum: WINDOW_MINIMUM,
        };
        let windows: Vec<_> = self.window_ranges().collect();
        windows
            .into_par_iter()
            .map(|rows| self.measure(rows, &measure))
            .collect()
    }

    /// The mean of every figure over the windows in which it is defined. Means over classes are taken inside
    /// a window first, over the classes that count there.
    #[must_use]
    pub fn windowed(&self, names: &[Arc<str>]) -> Metrics {
        Metrics::mean(&self.windows(names), names)
    }

    /// The precision-recall curve of a class over the whole stream, thinned to at most `points` points that
    /// are evenly spread over recall. Empty where the class has no examples.
    #[must_use]
    pub fn curve(&self, class: usize, points: usize) -> Vec<CurvePoint> {
        let keys = self.sorted_keys(0..self.len(), class);
        let all = ranking::curve(groups(&keys));
        let step = 1.0 / points.saturating_sub(2).max(1) as f64;
        let mut next = 0.0;
        let last = all.len().saturating_sub(1);
        all.into_iter()
            .enumerate()
            .filter(|(index, point)| {
                let keep = *index == 0 || *index == last || point.recall >= next;
                if keep {
                    next = point.recall + step;
                }
                keep
            })
            .map(|(_, point)| point)
            .collect()
    }

    /// Per class the share of the learned examples and of their weights; empty where nothing was learned.
    #[must_use]
    pub fn shares(&self, classes: usize) -> Vec<ClassShare> {
        let mut sums = vec![(0u64, 0.0f64); classes];
        for (&label, &weight) in self.labels.iter().zip(&self.weights) {
            if let (false, Some(sum)) = (weight.is_nan(), sums.get_mut(label as usize)) {
                sum.0 += 1;
                sum.1 += f64::from(weight);
            }
        }
        let examples: u64 = sums.iter().map(|sum| sum.0).sum();
        let weight: f64 = sums.iter().map(|sum| sum.1).sum();
        if examples == 0 || weight <= 0.0 {
            return Vec::new();
        }
        sums.into_iter()
            .map(|sum| ClassShare {
                examples: sum.0 as f64 / examples as f64,
                weight: sum.1 / weight,
            })
            .collect()
    }

    /// Share of the weight of some classes over their share of the examples, in each of so many equal parts of the stream;
    /// `None` where a part has none of them, or nothing was learned.
    #[must_use]
    pub fn weight_ratios(&self, classes: &[usize], parts: usize) -> Vec<Option<f64>> {
        let parts = parts.min(self.len()).max(1);
        let bound = |part: usize| part * self.len() / parts;
        (0..parts)
            .map(|part| {
                let (mut examples, mut weight, mut all, mut all_weight) = (0u64, 0.0, 0u64, 0.0);
                for row in bound(part)..bound(part + 1) {
                    let one = f64::from(self.weights[row]);
                    if one.is_nan() {
                        continue;
                    }
                    (all, all_weight) = (all + 1, all_weight + one);
                    if classes.contains(&(self.labels[row] as usize)) {
                        (examples, weight) = (examples + 1, weight + one);
                    }
                }
                (examples > 0 && all_weight > 0.0)
                    .then(|| (weight / all_weight) / (examples as f64 / all as f64))
            })
            .collect()
    }

    /// Examples of each class over the whole stream.
    #[must_use]
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        self.counts(0..self.len(), classes)
    }

    fn counts(&self, rows: Range<usize>, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for &label in &self.labels[rows] {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    pub(super) fn window_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let len = self.len();
        (0..WINDOWS)
            .map(move |window| window * len / WINDOWS..(window + 1) * len / WINDOWS)
            .filter(|rows| !rows.is_empty())
    }

    pub(super) fn range(&self, rows: Range<usize>) -> impl Iterator<Item = Scored<'_>> {
        let mut start: usize = self.known[..rows.start]
            .iter()
            .map(|&known| known as usize)
            .sum();
        rows.map(move |index| {
            let end = start + self.known[index] as usize;
            let probabilities = &self.probabilities[start..end];
            start = end;
            let weight = self.weights[index];
            Scored {
                row: self.rows[index],
                label: self.labels[index],
                weight: (!weight.is_nan()).then_some(weight),
                time: Some(self.times[index]).filter(|time| !time.is_nan()),
                probabilities,
            }
        })
    }

    fn measure(&self, rows: Range<usize>, by: &Measure) -> Metrics {
        let classes = by.names.len();
        let mut confusion = Confusion::new(classes);
        let (mut loss, mut brier) = (0.0, 0.0);
        let mut tops = Vec::with_capacity(rows.len());
        for scored in self.range(rows.clone()) {
            if (scored.label as usize) < classes {
                let prediction =
                    most_probable(scored.probabilities).filter(|&class| class < classes);
                confusion.add(scored.label as usize, prediction);
            }
            loss += log_loss(scored.label, scored.probabilities);
            brier += half_squared_distance(scored.label as usize, scored.probabilities);
            if let Some(top) = most_probable(scored.probabilities) {
                tops.push((scored.probabilities[top], top == scored.label as usize));
            }
        }
        let rankings: Vec<Ranking> = (0..classes)
            .into_par_iter()
            .map(|class| {
                if confusion.labelled[class] >= by.minimum {
                    rank(groups(&self.sorted_keys(rows.clone(), class)))
                } else {
                    Ranking::default()
                }
            })
            .collect();
        let precision = |class: usize| rankings[class].average_precision;
        let per_class = |value: &dyn Fn(usize) -> Option<f64>| {
            PerClass::new(by.names, (0..classes).map(value).collect())
        };
        let average = |sum: f64| (!rows.is_empty()).then(|| sum / rows.len() as f64);
        Metrics {
            pr_auc_rare: mean(by.rare.iter().map(|&class| precision(class))),
            pr_auc_macro: mean((0..classes).map(precision)),
            roc_auc_macro: mean(rankings.iter().map(|ranking| ranking.roc_auc)),
            balanced_accuracy: confusion.balanced_accuracy(by.minimum),
            g_mean: confusion.g_mean(by.minimum),
            accuracy: confusion.accuracy(),
            log_loss: average(loss),
            brier: average(brier),
            calibration_error: calibration_error(tops),
            pr_auc: per_class(&precision),
            roc_auc: per_class(&|class| rankings[class].roc_auc),
            recall: per_class(&|class| confusion.recall(class, by.minimum)),
            precision: per_class(&|class| confusion.precision(class)),
        }
    }

    /// One key an example, highest score first: the bits of a non-negative float order like the float, and
    /// the lowest bit says whether the example is of the class. Sorting plain integers is what keeps a report
    /// over many classes fast.
    fn sorted_keys(&self, rows: Range<usize>, class: usize) -> Vec<u32> {
        let mut keys: Vec<u32> = self
            .range(rows)
            .map(|scored| {
                let score = scored.probabilities.get(class).copied().unwrap_or(0.0);
                // Also turns NaN and -0.0 into 0.
                let bits = if score > 0.0 { score.to_bits() } else { 0 };
                (bits << 1) | u32::from(scored.label as usize == class)
            })
            .collect();
        keys.par_sort_unstable_by(|a, b| b.cmp(a));
        keys
    }
}

/// Groups of equal scores as (examples of the class, others), from the highest score down.
fn groups(keys: &[u32]) -> impl Iterator<Item = (u64, u64)> {
    keys.chunk_by(|a, b| a >> 1 == b >> 1).map(|tied| {
        let positives = tied.partition_point(|key| key & 1 == 1);
        (positives as u64, (tied.len() - positives) as u64)
    })
}

/// The calibration error of predictions, given how sure each was and whether it was right.
fn calibration_error(mut tops: Vec<(f32, bool)>) -> Option<f64> {
    tops.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total = tops.len() as u64;
    let groups = tops.chunk_by(|a, b| a.0 == b.0).map(|tied| {
        let right = tied.iter().filter(|(_, right)| *right).count();
        let sure = f64::from(tied[0].0) * tied.len() as f64;
        (tied.len() as u64, right as u64, sure)
    });
    equal_mass_error(groups, total)
}
