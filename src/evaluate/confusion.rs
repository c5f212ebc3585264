//! What the most probable class got right, per class.

/// Counts of labels, predictions and hits per class.
///
/// An example that was predicted before any class was known has no prediction: it counts as wrong.
///
/// ```
/// use skewd::evaluate::Confusion;
/// let mut confusion = Confusion::new(3);
/// confusion.add(0, Some(0));
/// confusion.add(1, Some(0));
/// confusion.add(1, Some(1));
/// confusion.add(0, Some(2));
/// // class 2 was predicted but has no example: it is left out of the mean
/// assert_eq!(confusion.balanced_accuracy(1), Some(0.5));
/// assert_eq!(confusion.recall(2, 1), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Examples of each class.
    pub labelled: Vec<u64>,
    /// Examples of each class whose prediction was that class.
    pub correct: Vec<u64>,
    /// Predictions of each class.
    pub predicted: Vec<u64>,
}

impl Confusion {
    /// No counts yet, for a number of classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self {
            labelled: vec![0; classes],
            correct: vec![0; classes],
            predicted: vec![0; classes],
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.labelled.len()
    }

    /// Makes room for at least `classes` classes; new ones start at zero.
    pub fn grow(&mut self, classes: usize) {
        let classes = classes.max(self.classes());
        self.labelled.resize(classes, 0);
        self.correct.resize(classes, 0);
        self.predicted.resize(classes, 0);
    }

    /// Counts one example; both indices are below [`Confusion::classes`].
    pub fn add(&mut self, label: usize, prediction: Option<usize>) {
        self.labelled[label] += 1;
        if let Some(prediction) = prediction {
            self.predicted[prediction] += 1;
            self.correct[label] += u64::from(prediction == label);
        }
    }

    /// All examples.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.labelled.iter().sum()
    }

    /// Share of the class's examples that were predicted as the class; `None` with fewer than `minimum`.
    #[must_use]
    pub fn recall(&self, class: usize, minimum: u64) -> Option<f64> {
        let labelled = *self.labelled.get(class)?;
        (labelled >= minimum.max(1)).then(|| self.correct[class] as f64 / labelled as f64)
    }

    /// Share of the class's predictions that were right; `None` where it was never predicted.
    #[must_use]
    pub fn precision(&self, class: usize) -> Option<f64> {
        let predicted = *self.predicted.get(class)?;
        (predicted > 0).then(|| self.correct[class] as f64 / predicted as f64)
    }

    /// Mean recall over the classes with at least `minimum` examples.
    #[must_use]
    pub fn balanced_accuracy(&self, minimum: u64) -> Option<f64> {
        super::mean((0..self.classes()).map(|class| self.recall(class, minimum)))
    }

    /// Geometric mean of the recalls over the classes with at least `minimum` examples: 0 as soon as one of
    /// them is never recognised.
    #[must_use]
    pub fn g_mean(&self, minimum: u64) -> Option<f64> {
        let recalls: Vec<f64> = (0..self.classes())
            .filter_map(|class| self.recall(class, minimum))
            .collect();
        if recalls.is_empty() {
            return None;
        }
        let log_sum: f64 = recalls.iter().map(|recall| recall.ln()).sum();
        Some((log_sum / recalls.len() as f64).exp())
    }

    /// Share of all examples predicted right.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let examples = self.examples();
        (examples > 0).then(|| self.correct.iter().sum::<u64>() as f64 / examples as f64)
    }
}

/// The 95 % point of the normal distribution, two-sided.
const Z: f64 = 1.959_963_984_540_054;

/// Lower end of Wilson's interval at `z` standard errors, for counts that fade. 0 without trials.
pub(super) fn wilson_low(successes: f64, trials: f64, z: f64) -> f64 {
    if trials <= 0.0 {
        return 0.0;
    }
    let share = (successes / trials).min(1.0);
    let square = z * z / trials;
    let half = z * (share * (1.0 - share) / trials + square / (4.0 * trials)).sqrt();
    ((share + square / 2.0 - half) / (1.0 + square)).max(0.0)
}

/// Wilson's 95 % score interval of a share (E. B. Wilson, 1927): stays inside [0, 1] and says something useful
/// after a handful of trials, which is all that a rare class offers. `None` without trials.
///
/// ```
/// use skewd::evaluate::wilson_interval;
/// let (low, high) = wilson_interval(0, 10).unwrap();
/// assert!(low == 0.0 && (high - 0.2775).abs() < 1e-4);
/// ```
#[must_use]
pub fn wilson_interval(successes: u64, trials: u64) -> Option<(f64, f64)> {
    if trials == 0 {
        return None;
    }
    let n = trials as f64;
    let share = successes as f64 / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the bound is exact; rounding would leave a trace such as 1e-17.
    let low = if successes == 0 {
        0.0
    } else {
        (middle - half).max(0.0)
    };
    let high = if successes == trials {
        1.0
    } else {
        (middle + half).min(1.0)
    };
    Some((low, high))
}
