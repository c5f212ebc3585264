//! What is learned where it is not plain cross-entropy: per row a loss, its gradient, and a factor.

use super::classes::{balanced_weights, log_priors, margins};
use super::{ClassBalanced, Kind, Settings, UNKNOWN_CLASS_LOSS};

/// What a batch teaches: filled by [`Objective::learn`], and reused from batch to batch.
#[derive(Debug, Default)]
pub struct Lesson {
    /// One loss a row, in nats: what enters the exponent.
    pub losses: Vec<f64>,
    /// `rows x classes`: gradient of each loss by its logits, every row for a weight of 1.
    pub gradients: Vec<f32>,
    /// One factor a row, outside the exponent; 1 unless classes are balanced there.
    pub outside: Vec<f64>,
    scratch: Scratch,
}

/// Buffers that outlive a batch.
#[derive(Debug, Default)]
struct Scratch {
    counts: Vec<f64>,
    /// What is added to the logits of each class; empty = nothing.
    shifts: Vec<f64>,
    /// Margin of each class; empty = none.
    margins: Vec<f64>,
    /// Weight of each class; empty = 1.
    weights: Vec<f64>,
    row: Vec<f64>,
}

impl Lesson {
    /// Gradient of `sum_i coefficients[i] * losses[i]` by the logits: fills `dz` (`rows x classes`).
    ///
    /// The coefficients hold all that multiplies a loss: its ABSGD weight, [`Lesson::outside`], the weight of the
    /// example, 1/B. The counterpart of [`super::seed_gradient`].
    ///
    /// # Panics
    /// When there is not one coefficient a row.
    pub fn seed(&self, classes: usize, coefficients: &[f32], dz: &mut Vec<f32>) {
        assert_eq!(
            coefficients.len(),
            self.losses.len(),
            "a coefficient for every row"
        );
        dz.clear();
        if classes == 0 {
            return;
        }
        let rows = self.gradients.chunks_exact(classes).zip(coefficients);
        dz.extend(rows.flat_map(|(row, coefficient)| row.iter().map(move |g| coefficient * g)));
    }
}

/// A loss, and how often each class was seen so far.
///
/// ```
/// use skewd::loss::{Kind, Lesson, Objective, Settings};
///
/// let settings = Settings { kind: Kind::Focal, focal_gamma: 1.0, ..Settings::default() };
/// let objective = Objective { settings: &settings, counts: &[900.0, 100.0] };
/// let mut lesson = Lesson::default();
/// objective.learn(&[0.0, 0.0], 2, &[1], &mut lesson);
/// assert_eq!(lesson.losses, [0.5 * 2f64.ln()]); // (1 - p) * -ln p at p = 1/2
/// assert_eq!(lesson.gradients[0], -lesson.gradients[1]);
/// assert_eq!(lesson.outside, [1.0]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Objective<'a> {
    /// Which loss.
    pub settings: &'a Settings,
    /// Examples a class so far, decayed or not, one a known class. What is missing or below 1 is taken as 1.
    pub counts: &'a [f64],
}

/// How the logits of a row change before their softmax.
struct Bend<'a> {
    scale: f64,
    margin: f64,
    shifts: &'a [f64],
}

impl Objective<'_> {
    /// Losses, gradients and outer factors of every row of logits; `rows` is the number of labels.
    ///
    /// The class weights sum to the number of known classes. A label that is not below `classes` costs
    /// [`UNKNOWN_CLASS_LOSS`], whatever the loss, and has nothing to learn yet: a gradient of zeros, a factor of 1. A
    /// logit that is not finite makes loss and gradient of its row NaN.
    ///
    /// # Panics
    /// When there are not `classes` logits a label.
    pub fn learn(&self, logits: &[f32], classes: usize, labels: &[u32], out: &mut Lesson) {
        assert_eq!(
            logits.len(),
            labels.len() * classes,
            "a row of logits for every label"
        );
        let Lesson {
            losses,
            gradients,
            outside,
            scratch,
        } = out;
        losses.clear();
        gradients.clear();
        outside.clear();
        if classes == 0 {
            losses.resize(labels.len(), UNKNOWN_CLASS_LOSS);
            outside.resize(labels.len(), 1.0);
            return;
        }
        scratch.prepare(self, classes);
        let (scale, gamma) = match self.settings.kind {
            Kind::CrossEntropy => (1.0, 0.0),
            Kind::Focal => (1.0, self.settings.focal_gamma),
            Kind::Ldam => (self.settings.ldam_scale, 0.0),
        };
        let one = |values: &[f64], label: usize, or: f64| values.get(label).copied().unwrap_or(or);
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let label = label as usize;
            if label >= classes {
                losses.push(UNKNOWN_CLASS_LOSS);
                outside.push(1.0);
                gradients.resize(gradients.len() + classes, 0.0);
                continue;
            }
            let bend = Bend {
                scale,
                margin: one(&scratch.margins, label, 0.0),
                shifts: &scratch.shifts,
            };
            let cross_entropy = bend.softmax(row, label, &mut scratch.row);
            let (loss, slope) = focal(cross_entropy, gamma);
            let weight = one(&scratch.weights, label, 1.0);
            let (inside, outer) = match self.settings.class_balanced {
                ClassBalanced::Off => (1.0, 1.0),
                ClassBalanced::Inside => (weight, 1.0),
                ClassBalanced::Outside => (1.0, weight),
            };
            losses.push(inside * loss);
            outside.push(outer);
            scratch.row[label] -= 1.0;
            let factor = inside * slope * scale;
            gradients.extend(scratch.row.iter().map(|p| (factor * p) as f32));
        }
    }
}

impl Scratch {
    /// Works out once a batch what each class needs.
    fn prepare(&mut self, objective: &Objective<'_>, classes: usize) {
        let settings = objective.settings;
        self.counts.clear();
        self.counts
            .extend(objective.counts.iter().copied().take(classes));
        self.counts.resize(classes, 0.0);
        self.shifts.clear();
        self.margins.clear();
        self.weights.clear();
        if settings.prior_adjustment != 0.0 {
            log_priors(&self.counts, &mut self.shifts);
            for shift in &mut self.shifts {
                *shift *= settings.prior_adjustment;
            }
        }
        if settings.kind == Kind::Ldam {
            margins(&self.counts, settings.ldam_max_margin, &mut self.margins);
        }
        if settings.class_balanced != ClassBalanced::Off {
            let beta = settings.class_balanced_beta;
            balanced_weights(&self.counts, beta, &mut self.weights);
        }
    }
}

impl Bend<'_> {
    /// Fills `out` with the softmax of the bent row; gives back the cross-entropy of `label`.
    ///
    /// The shift is added after the scale: τ then means the same whatever the scale is.
    fn softmax(&self, row: &[f32], label: usize, out: &mut Vec<f64>) -> f64 {
        out.clear();
        out.extend(row.iter().map(|z| self.scale * f64::from(*z)));
        out[label] -= self.scale * self.margin;
        for (z, shift) in out.iter_mut().zip(self.shifts) {
            *z += shift;
        }
        let own = out[label];
        let highest = if row.iter().all(|z| z.is_finite()) {
            out.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        } else {
            f64::NAN
        };
        let mut sum = 0.0;
        for z in out.iter_mut() {
            *z = (*z - highest).exp();
            sum += *z;
        }
        for z in out {
            *z /= sum;
        }
        sum.ln() + (highest - own)
    }
}

/// Focal loss `(1 - p)^γ c` of a cross-entropy `c = -ln p`, and its derivative by c.
fn focal(cross_entropy: f64, gamma: f64) -> (f64, f64) {
    if gamma == 0.0 {
        return (cross_entropy, 1.0);
    }
    let missed = -(-cross_entropy).exp_m1(); // 1 - p, exact near p = 1
    let modulation = missed.powf(gamma);
    // c / (1 - p) -> 1 as c -> 0: written as a quotient, it stays finite for γ < 1 too
    let ratio = if missed > 0.0 {
        cross_entropy / missed
    } else {
        1.0
    };
    let slope = modulation * (1.0 + gamma * (-cross_entropy).exp() * ratio);
    (modulation * cross_entropy, slope)
}
