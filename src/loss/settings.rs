//! The `[loss]` table.

use serde::{Deserialize, Serialize};

/// Which loss is learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Softmax cross-entropy.
    #[default]
    CrossEntropy,
    /// Cross-entropy times `(1 - p)^focal_gamma`: what is already learned well counts less.
    Focal,
    /// Label-distribution-aware margins: the rarer a class, the farther its examples must lie from the border.
    Ldam,
}

/// Whether classes are weighed by their effective number, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassBalanced {
    /// Not at all.
    #[default]
    Off,
    /// Inside the exponent, as the paper: the class weight multiplies the loss, and thereby its gradient too.
    Inside,
    /// Outside the exponent: the class weight multiplies the weight of the example.
    Outside,
}

/// Settings of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which loss.
    pub kind: Kind,
    /// Exponent of the focal loss; 0 = cross-entropy.
    pub focal_gamma: f64,
    /// Margin of the rarest class under LDAM, in units of a logit.
    pub ldam_max_margin: f64,
    /// Factor of the logits under LDAM. The paper takes 30 because its logits are cosines, in [-1, 1]. Ours are
    /// unbounded, and the served probabilities are their plain softmax: any factor but 1 would make the loss fit
    /// other probabilities than those served, 30 times too close to even.
    pub ldam_scale: f64,
    /// Strength τ of the running-prior logit adjustment; 0 = off, 1 = as if the classes were balanced.
    pub prior_adjustment: f64,
    /// Class weights by effective number.
    pub class_balanced: ClassBalanced,
    /// Overlap β of the effective number: `1/(1-β)` examples of a class are as good as any number of them.
    pub class_balanced_beta: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::CrossEntropy,
            focal_gamma: 2.0,
            ldam_max_margin: 0.5,
            ldam_scale: 1.0,
            prior_adjustment: 0.0,
            class_balanced: ClassBalanced::Off,
            class_balanced_beta: 0.9999,
        }
    }
}

impl Settings {
    /// Whether this is plain cross-entropy, for which [`super::softmax_cross_entropy`] and [`super::seed_gradient`] are
    /// there: nothing of it depends on the counts.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::CrossEntropy
            && self.prior_adjustment == 0.0
            && self.class_balanced == ClassBalanced::Off
    }

    /// Checks the ranges, of keys that are not in use too.
    ///
    /// ```
    /// use skewd::loss::Settings;
    /// let settings = Settings { class_balanced_beta: 1.0, ..Settings::default() };
    /// assert_eq!(settings.check().unwrap_err().0, "class_balanced_beta");
    /// ```
    ///
    /// # Errors
    /// The key and what to put there.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        let at_least_zero = |value: f64| value >= 0.0 && value.is_finite();
        if !at_least_zero(self.focal_gamma) {
            return wrong("focal_gamma", "must be a number of at least 0");
        }
        if !at_least_zero(self.ldam_max_margin) {
            return wrong(
                "ldam_max_margin",
                "must be a number of at least 0, 0.5 is usual",
            );
        }
        if !(self.ldam_scale > 0.0 && self.ldam_scale.is_finite()) {
            return wrong("ldam_scale", "must be a positive number, such as 1");
        }
        if !at_least_zero(self.prior_adjustment) {
            return wrong(
                "prior_adjustment",
                "must be a number of at least 0: 0 = off, 1 = full strength",
            );
        }
        if !(0.0..1.0).contains(&self.class_balanced_beta) {
            return wrong(
                "class_balanced_beta",
                "must be at least 0 and below 1, such as 0.9999",
            );
        }
        Ok(())
    }
}
