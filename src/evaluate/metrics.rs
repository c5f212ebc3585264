//! The exact figures of a report.

use std::sync::Arc;

use serde::Serialize;

use super::{PerClass, mean};

/// The figures of a report; `None` = undefined (the class has no examples, or there is only one class).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Average precision of the rare classes ([`rare_classes`]), their mean where there are several.
    pub pr_auc_rare: Option<f64>,
    /// Mean average precision over the classes.
    pub pr_auc_macro: Option<f64>,
    /// Mean one-vs-rest ROC-AUC over the classes.
    pub roc_auc_macro: Option<f64>,
    /// Mean recall over the classes that have examples.
    pub balanced_accuracy: Option<f64>,
    /// Geometric mean of those recalls.
    pub g_mean: Option<f64>,
    /// Share of examples whose most probable class was the label.
    pub accuracy: Option<f64>,
    /// Mean of `-ln p(label)`.
    pub log_loss: Option<f64>,
    /// Mean of half the squared distance between probabilities and label: 0 best, 1 worst.
    pub brier: Option<f64>,
    /// Expected calibration error of the most probable class, over 15 bins of equal mass.
    pub calibration_error: Option<f64>,
    /// One-vs-rest average precision.
    pub pr_auc: PerClass<Option<f64>>,
    /// One-vs-rest ROC-AUC.
    pub roc_auc: PerClass<Option<f64>>,
    /// Share of a class's examples that were recognised.
    pub recall: PerClass<Option<f64>>,
    /// Share of a class's predictions that were right.
    pub precision: PerClass<Option<f64>>,
}

impl Metrics {
    /// Mean of each figure over the parts in which it is defined.
    pub(super) fn mean(parts: &[Metrics], names: &[Arc<str>]) -> Metrics {
        let one = |figure: fn(&Metrics) -> Option<f64>| mean(parts.iter().map(figure));
        let per_class = |figure: fn(&Metrics) -> &PerClass<Option<f64>>| {
            let of = |class: usize| mean(parts.iter().map(|part| figure(part).0[class].1));
            PerClass::new(names, (0..names.len()).map(of).collect())
        };
        Metrics {
            pr_auc_rare: one(|part| part.pr_auc_rare),
            pr_auc_macro: one(|part| part.pr_auc_macro),
            roc_auc_macro: one(|part| part.roc_auc_macro),
            balanced_accuracy: one(|part| part.balanced_accuracy),
            g_mean: one(|part| part.g_mean),
            accuracy: one(|part| part.accuracy),
            log_loss: one(|part| part.log_loss),
            brier: one(|part| part.brier),
            calibration_error: one(|part| part.calibration_error),
            pr_auc: per_class(|part| &part.pr_auc),
            roc_auc: per_class(|part| &part.roc_auc),
            recall: per_class(|part| &part.recall),
            precision: per_class(|part| &part.precision),
        }
    }
}
