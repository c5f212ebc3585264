//! Losses per example, never reduced, and their gradients.
//!
//! Everything runs on the host over rows of logits: the weights of ABSGD need every single loss, and as constants
//! of the gradient they only scale its seed. Logits are f32, row-major (`rows x classes`); losses are f64, in nats.

use serde::{Deserialize, Serialize};

/// Which loss is learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Softmax cross-entropy.
    #[default]
    CrossEntropy,
    /// Cross-entropy times `(1 - p)^focal_gamma`.
    Focal,
    /// Label-distribution-aware margins.
    Ldam,
}

/// Whether classes are weighed by their effective number, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassBalanced {
    /// Not at all.
    #[default]
    Off,
    /// Inside the exponent, as the paper.
    Inside,
    /// Outside the exponent.
    Outside,
}

/// Settings of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which loss.
    pub kind: Kind,
    /// Exponent of the focal loss.
    pub focal_gamma: f64,
    /// Strength τ of the running-prior logit adjustment; 0 = off.
    pub prior_adjustment: f64,
    /// Class weights by effective number.
    pub class_balanced: ClassBalanced,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::CrossEntropy,
            focal_gamma: 2.0,
            prior_adjustment: 0.0,
            class_balanced: ClassBalanced::Off,
        }
    }
}

impl Settings {
    /// Refuses what this version does not learn, rather than learning something else.
    ///
    /// # Errors
    /// The key and what to put there.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        if self.kind != Kind::CrossEntropy {
            return wrong(
                "kind",
                "only \"cross_entropy\" is available in this version",
            );
        }
        if !(self.focal_gamma >= 0.0 && self.focal_gamma.is_finite()) {
            return wrong("focal_gamma", "must be a number of at least 0");
        }
        if self.prior_adjustment != 0.0 {
            return wrong(
                "prior_adjustment",
                "is not available in this version: leave it at 0",
            );
        }
        if self.class_balanced != ClassBalanced::Off {
            return wrong(
                "class_balanced",
                "is not available in this version: leave it at \"off\"",
            );
        }
        Ok(())
    }
}

/// Loss of an example whose class the model does not know yet: that of probability 1e-6, `-ln 1e-6`.
#[allow(clippy::excessive_precision, clippy::unreadable_literal)]
pub const UNKNOWN_CLASS_LOSS: f64 = 13.815510557964274;

/// Cross-entropy of every row: fills `probabilities` (`rows x classes`) and `losses` (`rows`).
///
/// `rows` is the number of labels. A label that is not below `classes` costs [`UNKNOWN_CLASS_LOSS`]. Differences
/// and sums are taken in f64, so a loss is exact to the rounding of its logits, however large they are; a logit that
/// is not finite makes the loss of its row so (an infinite one NaN).
///
/// ```
/// let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
/// skewd::loss::softmax_cross_entropy(&[0.0, 0.0], 2, &[1], &mut probabilities, &mut losses);
/// assert_eq!(probabilities, [0.5, 0.5]);
/// assert_eq!(losses, [2f64.ln()]);
/// ```
///
/// # Panics
/// When there are not `classes` logits a label.
pub fn softmax_cross_entropy(
    logits: &[f32],
    classes: usize,
    labels: &[u32],
    probabilities: &mut Vec<f32>,
    losses: &mut Vec<f64>,
) {
    assert_eq!(
        logits.len(),
        labels.len() * classes,
        "a row of logits for every label"
    );
    probabilities.clear();
    losses.clear();
    if classes == 0 {
        losses.resize(labels.len(), UNKNOWN_CLASS_LOSS);
        return;
    }
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let (highest, sum) = softmax_row(row, probabilities);
        losses.push(match row.get(label as usize) {
            Some(&own) => sum.ln() + (highest - f64::from(own)),
            None => UNKNOWN_CLASS_LOSS,
        });
    }
}

/// Probabilities of every row of logits: fills `out` (`rows x classes`).
///
/// ```
/// let mut out = Vec::new();
/// skewd::loss::softmax(&[1000.0, 1000.0, 0.0, 0.0], 2, &mut out);
/// assert_eq!(out, [0.5; 4]);
/// ```
///
/// # Panics
/// When the logits are no whole number of rows.
pub fn softmax(logits: &[f32], classes: usize, out: &mut Vec<f32>) {
    out.clear();
    if classes == 0 {
        assert!(logits.is_empty(), "no logits without a class");
        return;
    }
    assert_eq!(logits.len() % classes, 0, "whole rows of logits");
    for row in logits.chunks_exact(classes) {
        softmax_row(row, out);
    }
}

/// Gradient of `sum_i coefficients[i] * loss_i` by the logits: fills `dz` with `c_i (p - onehot(y_i))`.
///
/// The coefficients hold all that multiplies a loss: its ABSGD weight, its own weight, 1/B. A row whose label is
/// not below `classes` has nothing to learn yet: zeros.
///
/// ```
/// let mut dz = Vec::new();
/// skewd::loss::seed_gradient(&[0.25, 0.75], 2, &[1], &[2.0], &mut dz);
/// assert_eq!(dz, [0.5, -0.5]);
/// ```
///
/// # Panics
/// When the lengths do not fit together.
pub fn seed_gradient(
    probabilities: &[f32],
    classes: usize,
    labels: &[u32],
    coefficients: &[f32],
    dz: &mut Vec<f32>,
) {
    assert_eq!(
        probabilities.len(),
        labels.len() * classes,
        "a row of probabilities for every label"
    );
    assert_eq!(
        coefficients.len(),
        labels.len(),
        "a coefficient for every label"
    );
    dz.clear();
    if classes == 0 {
        return;
    }
    for ((row, &label), &coefficient) in probabilities
        .chunks_exact(classes)
        .zip(labels)
        .zip(coefficients)
    {
        let start = dz.len();
        let label = label as usize;
        if label >= classes {
            dz.resize(start + classes, 0.0);
            continue;
        }
        dz.extend(row.iter().map(|p| coefficient * p));
        dz[start + label] = coefficient * (row[label] - 1.0);
    }
}

/// Appends the probabilities of one row; gives back its largest logit and the sum of `exp(z - largest)`.
fn softmax_row(row: &[f32], out: &mut Vec<f32>) -> (f64, f64) {
    let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let start = out.len();
    let mut sum = 0.0;
    for &z in row {
        let e = (f64::from(z) - highest).exp();
        sum += e;
        out.push(e as f32);
    }
    let scale = 1.0 / sum;
    for p in &mut out[start..] {
        *p = (f64::from(*p) * scale) as f32;
    }
    (highest, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(logits: &[f32], classes: usize, labels: &[u32]) -> Vec<f64> {
        let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
        softmax_cross_entropy(logits, classes, labels, &mut probabilities, &mut losses);
        losses
    }

    #[test]
    fn the_gradient_is_the_central_difference_of_the_losses() {
        let logits = [0.5f32, -1.25, 2.0, 0.0, 0.75, -3.0, 1.5, 1.25, -0.5];
        let (labels, coefficients) = ([0u32, 1, 2], [0.5f32, 2.0, 1.25]);
        let total = |logits: &[f32]| -> f64 {
            let each = losses(logits, 3, &labels);
            each.iter()
                .zip(coefficients)
                .map(|(l, c)| l * f64::from(c))
                .sum()
        };
        let (mut probabilities, mut dz) = (Vec::new(), Vec::new());
        softmax(&logits, 3, &mut probabilities);
        seed_gradient(&probabilities, 3, &labels, &coefficients, &mut dz);
        let h = 1.0 / 1024.0; // exact in f32, as are the sums: the losses are f64 all the way
        for i in 0..logits.len() {
            let (mut up, mut down) = (logits, logits);
            up[i] += h;
            down[i] -= h;
            let slope = (total(&up) - total(&down)) / (2.0 * f64::from(h));
            assert!(
                (slope - f64::from(dz[i])).abs() < 1e-6,
                "logit {i}: {slope} {}",
                dz[i]
            );
        }
    }

    #[test]
    fn huge_logits_give_exact_losses() {
        assert_eq!(losses(&[1e5, -1e5, -1e5, 1e5], 2, &[1, 1]), [2e5, 0.0]);
    }

    #[test]
    fn a_class_that_is_not_known_costs_what_probability_one_millionth_costs() {
        assert_eq!(losses(&[0.0, 0.0], 2, &[2]), [UNKNOWN_CLASS_LOSS]);
        assert_eq!(losses(&[], 0, &[0, 1]), [UNKNOWN_CLASS_LOSS; 2]);
        assert!((UNKNOWN_CLASS_LOSS + 1e-6f64.ln()).abs() < 1e-14);
        let mut dz = vec![9.0];
        seed_gradient(&[0.5, 0.5], 2, &[7], &[1.0], &mut dz);
        assert_eq!(dz, [0.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_shows_in_the_loss() {
        for bad in [f32::NAN, f32::INFINITY] {
            let each = losses(&[0.0, bad, 0.0, 1.0], 2, &[0, 0]);
            assert!(!each[0].is_finite() && each[1].is_finite(), "{each:?}");
        }
        assert!(!losses(&[f32::NEG_INFINITY; 2], 2, &[0])[0].is_finite());
    }

    #[test]
    fn probabilities_sum_to_one_and_do_not_depend_on_a_shift() {
        let (mut plain, mut shifted) = (Vec::new(), Vec::new());
        softmax(&[1.0, 2.0, 4.0], 3, &mut plain);
        softmax(&[1025.0, 1026.0, 1028.0], 3, &mut shifted);
        assert_eq!(plain, shifted);
        assert!((plain.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn losses_that_are_not_built_yet_are_refused_by_key() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().map_err(|(key, _)| key)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|s| s.kind = Kind::Focal), Err("kind".to_owned()));
        assert_eq!(
            with(|s| s.focal_gamma = -1.0),
            Err("focal_gamma".to_owned())
        );
        assert_eq!(
            with(|s| s.prior_adjustment = 1.0),
            Err("prior_adjustment".to_owned())
        );
        assert_eq!(
            with(|s| s.class_balanced = ClassBalanced::Inside),
            Err("class_balanced".to_owned())
        );
    }
}
