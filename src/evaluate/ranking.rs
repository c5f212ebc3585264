//! How well scores rank one class above the others: average precision and ROC-AUC from groups of equal scores.

/// Average precision and ROC-AUC of one class against the rest; `None` where a side has no examples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ranking {
    /// Average precision: the sum over distinct thresholds of (step in recall) x precision, without
    /// interpolation. In [0, 1]; a random ranking scores the share of the class.
    pub average_precision: Option<f64>,
    /// The probability that a random example of the class outranks a random other one, ties counting half.
    pub roc_auc: Option<f64>,
}

/// One point of a precision-recall curve: what the threshold at that score would give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Share of the class's examples at or above the threshold.
    pub recall: f64,
    /// Share of the examples at or above the threshold that are of the class.
    pub precision: f64,
}

/// Ranks one class against the rest.
///
/// `groups` yields, from the highest score to the lowest, how many examples of the class and how many others
/// share a score; a tie is one group, as one threshold cannot split it. Empty groups are allowed. The counts
/// are whole numbers until the last division, so the result does not depend on the order of rows.
///
/// ```
/// use skewd::evaluate::rank;
/// // scores .8+ .4- .35+ .1-
/// let ranking = rank([(1, 0), (0, 1), (1, 0), (0, 1)]);
/// assert!((ranking.average_precision.unwrap() - 5.0 / 6.0).abs() < 1e-12);
/// assert_eq!(ranking.roc_auc, Some(0.75));
/// assert_eq!(rank([(3, 0)]).roc_auc, None);
/// ```
#[must_use]
pub fn rank(groups: impl IntoIterator<Item = (u64, u64)>) -> Ranking {
    rank_groups(groups.into_iter().map(|group| (group, Order::Tied)))
}

/// What is known about the order of the examples inside a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// They share one score.
    Tied,
    /// Their scores differ, in an order that was not kept: the average order is assumed.
    Unknown,
}

/// [`rank`] for groups that may hold different scores.
pub(super) fn rank_groups(groups: impl Iterator<Item = ((u64, u64), Order)>) -> Ranking {
    let (mut positives, mut negatives) = (0u64, 0u64);
    let mut weighted_precision = 0.0f64;
    // Twice the number of (positive, negative) pairs in the wrong order, ties counting once.
    let mut misordered = 0u128;
    for ((inside, others), order) in groups {
        misordered += u128::from(inside) * u128::from(2 * negatives + others);
        if inside > 0 {
            let flagged = positives + inside + negatives + others;
            weighted_precision += match order {
                Order::Tied => inside as f64 * ((positives + inside) as f64 / flagged as f64),
                Order::Unknown => spread(positives, negatives, inside, others),
            };
        }
        positives += inside;
        negatives += others;
    }
    if positives == 0 || negatives == 0 {
        return Ranking::default();
    }
    let pairs = 2 * u128::from(positives) * u128::from(negatives);
    Ranking {
        average_precision: Some(weighted_precision / positives as f64),
        roc_auc: Some((pairs - misordered) as f64 / pairs as f64),
    }
}

/// Sum of the precisions at each of `inside` examples of the class that are spread evenly among `others`,
/// below `positives` and `negatives`: in an average order, `others k / (inside + 1)` of the others stand
/// above the k-th. Long sums are read off the integral, whose error is far below that of the assumption.
fn spread(positives: u64, negatives: u64, inside: u64, others: u64) -> f64 {
    let above = positives as f64;
    let flagged = (positives + negatives) as f64;
    let step = 1.0 + others as f64 / (inside as f64 + 1.0);
    if inside <= 64 {
        return (1..=inside)
            .map(|k| (above + k as f64) / (flagged + step * k as f64))
            .sum();
    }
    let primitive = |x: f64| x / step + (above - flagged / step) / step * (flagged + step * x).ln();
    primitive(inside as f64 + 0.5) - primitive(0.5)
}

/// The precision-recall curve of the same groups, one point a group that holds anything, from recall 0 up.
/// Empty where the class has no examples.
#[must_use]
pub(super) fn curve(groups: impl Iterator<Item = (u64, u64)>) -> Vec<CurvePoint> {
    let (mut positives, mut negatives) = (0u64, 0u64);
    let mut counts = Vec::new();
    for (tied_positives, tied_negatives) in groups {
        positives += tied_positives;
        negatives += tied_negatives;
        if tied_positives + tied_negatives > 0 {
            counts.push((positives, positives + negatives));
        }
    }
    if positives == 0 {
        return Vec::new();
    }
    counts
        .into_iter()
        .map(|(hits, flagged)| CurvePoint {
            recall: hits as f64 / positives as f64,
            precision: hits as f64 / flagged as f64,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_of_a_long_group_is_its_sum() {
        for (above, others_above, inside, others) in [
            (0, 0, 65, 0),
            (0, 0, 100, 40),
            (3, 50, 1000, 20_000),
            (500, 2, 80, 7),
        ] {
            let step = 1.0 + others as f64 / (inside as f64 + 1.0);
            let sum: f64 = (1..=inside)
                .map(|k| (above + k) as f64 / ((above + others_above) as f64 + step * k as f64))
                .sum();
            let distance =
                (spread(above, others_above, inside, others) - sum).abs() / inside as f64;
            assert!(
                distance < 1e-3,
                "{inside} among {others}: off by {distance} a row"
            );
        }
    }

    #[test]
    fn an_unknown_order_counts_between_its_best_and_its_worst_case() {
        let precision = |groups: &[((u64, u64), Order)]| {
            rank_groups(groups.iter().copied())
                .average_precision
                .unwrap()
        };
        let unknown = precision(&[((3, 9), Order::Unknown)]);
        let best = precision(&[((3, 0), Order::Tied), ((0, 9), Order::Tied)]);
        let worst = precision(&[((0, 9), Order::Tied), ((3, 0), Order::Unknown)]);
        assert!(
            worst < unknown && unknown < best,
            "{worst} {unknown} {best}"
        );
    }
}
