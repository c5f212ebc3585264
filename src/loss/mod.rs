//! Losses per example, never reduced, and their gradients.
//!
//! Everything runs on the host over rows of logits: the weights of ABSGD need every single loss, and as constants
//! of the gradient they only scale its seed. Logits are f32, row-major (`rows x classes`); losses are f64, in nats.
//!
//! # Which loss, and where it comes from
//!
//! | setting | what a row teaches | source |
//! |---|---|---|
//! | `cross_entropy` | `-ln p_y` | |
//! | `focal` | `-(1 - p_y)^γ ln p_y` | Lin, Goyal, Girshick, He, Dollár, "Focal loss for dense object detection", 2017 |
//! | `ldam` | `-ln p_y` of `scale (z - m_y onehot(y))` | Cao, Wei, Gaidon, Arechiga, Ma, "Learning imbalanced datasets with label-distribution-aware margin loss", 2019 |
//! | `prior_adjustment` | the loss above of `z + τ ln prior` | Menon et al., "Long-tail learning via logit adjustment", 2021: the logit-adjusted softmax cross-entropy |
//! | `class_balanced` | the loss above times a weight of the class | Cui, Jia, Lin, Song, Belongie, "Class-balanced loss based on effective number of samples", 2019 |
//!
//! Plain cross-entropy has functions of its own ([`softmax_cross_entropy`], [`seed_gradient`]); everything else is
//! an [`Objective`], which knows how many examples of each class there were, and fills a [`Lesson`].

mod classes;
mod objective;
mod settings;

pub use classes::{balanced_weights, effective_number, log_priors, margins};
pub use objective::{Lesson, Objective};
pub use settings::{ClassBalanced, Kind, Settings};

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
mod tests;
