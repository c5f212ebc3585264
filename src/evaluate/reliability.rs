//! Do probabilities mean what they say? The calibration error and the Brier score.

/// Bins of the calibration error.
const CALIBRATION_BINS: f64 = 15.0;

/// Expected calibration error (Guo et al., 2017) over 15 bins of equal mass (Nixon et al., 2019): the mean distance, over
/// the predictions, between how sure those of a bin were and how often they were right. Bins of equal mass leave none
/// empty, which equal widths do where nearly all predictions are near 1.
///
/// `groups` yields, in ascending order of confidence, predictions that belong together: how many, how many were right, the
/// sum of their confidences. A group that the border of a bin cuts counts in both in proportion, so the order of rows
/// never matters. `None` without predictions.
pub(super) fn equal_mass_error(
    groups: impl Iterator<Item = (u64, u64, f64)>,
    total: u64,
) -> Option<f64> {
    let size = total as f64 / CALIBRATION_BINS;
    let (mut left, mut right, mut sure) = (size, 0.0, 0.0);
    let mut distance = 0.0;
    for (count, of_right, of_sure) in groups {
        let mut rest = count as f64;
        while rest > 0.0 {
            let taken = rest.min(left);
            let share = taken / count as f64;
            right += share * of_right as f64;
            sure += share * of_sure;
            rest -= taken;
            left -= taken;
            // Borders fall on fractions: what rounding leaves of a bin is no bin.
            if left <= 1e-9 * size {
                distance += f64::abs(right - sure);
                (left, right, sure) = (size, 0.0, 0.0);
            }
            if rest <= 1e-9 * size {
                break;
            }
        }
    }
    distance += f64::abs(right - sure);
    (total > 0).then(|| distance / total as f64)
}

/// Half the squared distance between the probabilities and the label's own (1 for it, 0 for the rest): in
/// [0, 1], and with two classes the familiar `(p - y)^2`.
pub(super) fn half_squared_distance(label: usize, probabilities: &[f32]) -> f64 {
    let target = |class: usize| f64::from(u8::from(class == label));
    let known: f64 = probabilities
        .iter()
        .enumerate()
        .map(|(class, &p)| (f64::from(p) - target(class)).powi(2))
        .sum();
    let missed = if label < probabilities.len() {
        0.0
    } else {
        1.0
    };
    (known + missed) / 2.0
}
