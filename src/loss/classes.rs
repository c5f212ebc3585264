//! What the numbers of examples of the classes mean to a loss.
//!
//! Counts may be decayed, so they are f64 and may fall below 1; a count below 1, that of a class never seen included,
//! is taken as 1: nothing divides by zero, and no class is infinitely rare.

/// Effective number of `count` examples, `(1 - β^n) / (1 - β)`: Cui et al. 2019, proposition 1.
///
/// ```
/// use skewd::loss::effective_number;
/// assert_eq!(effective_number(0.0, 0.5), 1.0);
/// assert_eq!(effective_number(3.0, 0.5), 1.75);
/// assert_eq!(effective_number(1e9, 0.5), 2.0);
/// ```
#[must_use]
pub fn effective_number(count: f64, beta: f64) -> f64 {
    -(at_least_one(count) * beta.ln()).exp_m1() / (1.0 - beta)
}

/// Class weights `1 / effective number`, scaled to sum to the number of classes: the class-balanced loss of Cui et al. 2019.
///
/// Fills `out` with one weight a class. With `beta` 0 all weigh 1; near 1 they go like `1 / count`.
///
/// ```
/// let mut weights = Vec::new();
/// skewd::loss::balanced_weights(&[2.0, 1.0], 0.0, &mut weights);
/// assert_eq!(weights, [1.0, 1.0]);
/// skewd::loss::balanced_weights(&[3e9, 1e9], 1.0 - 1e-15, &mut weights);
/// assert!((weights[0] - 0.5).abs() < 1e-5 && (weights[1] - 1.5).abs() < 1e-5);
/// ```
pub fn balanced_weights(counts: &[f64], beta: f64, out: &mut Vec<f64>) {
    out.clear();
    out.extend(
        counts
            .iter()
            .map(|count| 1.0 / effective_number(*count, beta)),
    );
    let scale = counts.len() as f64 / out.iter().sum::<f64>();
    for weight in out {
        *weight *= scale;
    }
}

/// Margins `max_margin (n_min / n)^(1/4)`: those of Cao et al. 2019, the rarest class at `max_margin`.
///
/// Fills `out` with one margin a class, in units of a logit.
///
/// ```
/// let mut margins = Vec::new();
/// skewd::loss::margins(&[16.0, 0.0], 0.5, &mut margins);
/// assert_eq!(margins, [0.25, 0.5]);
/// ```
pub fn margins(counts: &[f64], max_margin: f64, out: &mut Vec<f64>) {
    let fewest = counts
        .iter()
        .map(|count| at_least_one(*count))
        .fold(f64::INFINITY, f64::min);
    out.clear();
    out.extend(
        counts
            .iter()
            .map(|count| max_margin * (fewest / at_least_one(*count)).sqrt().sqrt()),
    );
}

/// Natural logarithms of the shares of the classes: what Menon et al. 2021 add to the logits, τ times.
///
/// ```
/// let mut log_priors = Vec::new();
/// skewd::loss::log_priors(&[3.0, 0.0], &mut log_priors);
/// assert_eq!(log_priors, [0.75f64.ln(), 0.25f64.ln()]);
/// ```
pub fn log_priors(counts: &[f64], out: &mut Vec<f64>) {
    let sum: f64 = counts.iter().map(|count| at_least_one(*count)).sum();
    out.clear();
    out.extend(counts.iter().map(|count| (at_least_one(*count) / sum).ln()));
}

fn at_least_one(count: f64) -> f64 {
    count.max(1.0)
}
