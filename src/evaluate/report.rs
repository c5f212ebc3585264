//! The live figures as `/v1/evaluation` shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::classes::PerClass;
use super::confusion::wilson_interval;
use super::mean;
use super::ranking::Ranking;
use super::sketch::Sketch;

/// Prequential metrics since start and over the recent window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Examples scored since start.
    pub examples: u64,
    /// Examples in the window.
    pub window_examples: u64,
    /// Figures since start.
    pub since_start: Scores,
    /// Figures over the window.
    pub window: Scores,
}

/// One set of figures. `None` (JSON `null`) = undefined, and `undefined` says why, under the path of the
/// member: `"pr_auc_rare"`, `"recall.fraud"`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scores {
    /// One-vs-rest average precision; read from a histogram of scores.
    pub pr_auc: PerClass<Option<f64>>,
    /// Its mean over the classes.
    pub pr_auc_macro: Option<f64>,
    /// Its mean over the classes that are rare since start.
    pub pr_auc_rare: Option<f64>,
    /// One-vs-rest ROC-AUC; read from the same histogram.
    pub roc_auc: PerClass<Option<f64>>,
    /// Its mean over the classes.
    pub roc_auc_macro: Option<f64>,
    /// Share of a class's examples that were recognised.
    pub recall: PerClass<Option<f64>>,
    /// Wilson's 95 % interval of that recall, `[low, high]`.
    pub recall_interval: PerClass<Option<(f64, f64)>>,
    /// Share of a class's predictions that were right.
    pub precision: PerClass<Option<f64>>,
    /// Wilson's 95 % interval of that precision, `[low, high]`.
    pub precision_interval: PerClass<Option<(f64, f64)>>,
    /// Mean recall over the classes that have examples.
    pub balanced_accuracy: Option<f64>,
    /// Geometric mean of those recalls.
    pub g_mean: Option<f64>,
    /// Share of examples whose most probable class was the label.
    pub accuracy: Option<f64>,
    /// Mean natural-log loss.
    pub log_loss: Option<f64>,
    /// Mean of half the squared distance between probabilities and label: 0 best, 1 worst.
    pub brier: Option<f64>,
    /// Expected calibration error of the most probable class, over 15 bins of equal mass; read from a histogram.
    pub calibration_error: Option<f64>,
    /// Why a figure is undefined.
    pub undefined: BTreeMap<String, String>,
}

impl Scores {
    /// Reads the figures off a sketch; `span` ends the sentence "no example ...".
    pub(super) fn of(sketch: &Sketch, names: &[Arc<str>], rare: &[usize], span: &str) -> Self {
        let classes = 0..names.len();
        let rankings: Vec<Ranking> = classes
            .clone()
            .map(|class| {
                if class < sketch.classes() {
                    sketch.ranking(class)
                } else {
                    Ranking::default()
                }
            })
            .collect();
        let confusion = &sketch.confusion;
        let examples = sketch.examples();
        let interval = |of: &[u64], class: usize| {
            wilson_interval(*confusion.correct.get(class)?, *of.get(class)?)
        };
        let recalled = |class: usize| interval(&confusion.labelled, class);
        let precise = |class: usize| interval(&confusion.predicted, class);
        let average = |sum: f64| (examples > 0).then(|| sum / examples as f64);
        let precisions = || rankings.iter().map(|ranking| ranking.average_precision);
        let roc_aucs = || rankings.iter().map(|ranking| ranking.roc_auc);
        let mut scores =
            Self {
                pr_auc: PerClass::new(names, precisions().collect()),
                pr_auc_macro: mean(precisions()),
                pr_auc_rare: mean(rare.iter().filter_map(|&class| {
                    rankings.get(class).map(|ranking| ranking.average_precision)
                })),
                roc_auc: PerClass::new(names, roc_aucs().collect()),
                roc_auc_macro: mean(roc_aucs()),
                recall: PerClass::new(
                    names,
                    classes.clone().map(|c| confusion.recall(c, 1)).collect(),
                ),
                recall_interval: PerClass::new(names, classes.clone().map(recalled).collect()),
                precision_interval: PerClass::new(names, classes.clone().map(precise).collect()),
                precision: PerClass::new(names, classes.map(|c| confusion.precision(c)).collect()),
                balanced_accuracy: confusion.balanced_accuracy(1),
                g_mean: confusion.g_mean(1),
                accuracy: confusion.accuracy(),
                log_loss: average(sketch.loss),
                brier: average(sketch.brier),
                calibration_error: sketch.tops.calibration_error(),
                undefined: BTreeMap::new(),
            };
        scores.explain(sketch, span);
        scores
    }

    /// Notes the reason of every undefined figure.
    fn explain(&mut self, sketch: &Sketch, span: &str) {
        let mut reasons = BTreeMap::new();
        let no_example = format!("no example {span}");
        let one_sided = format!("no two classes with examples {span}");
        let no_rare = format!("no example of a rare class beside others {span}");
        let no_prediction = format!("no prediction {span}");
        let whole = [
            ("pr_auc_macro", self.pr_auc_macro, &one_sided),
            ("pr_auc_rare", self.pr_auc_rare, &no_rare),
            ("roc_auc_macro", self.roc_auc_macro, &one_sided),
            ("balanced_accuracy", self.balanced_accuracy, &no_example),
            ("g_mean", self.g_mean, &no_example),
            ("accuracy", self.accuracy, &no_example),
            ("log_loss", self.log_loss, &no_example),
            ("brier", self.brier, &no_example),
            ("calibration_error", self.calibration_error, &no_prediction),
        ];
        for (figure, value, reason) in whole {
            if value.is_none() {
                reasons.insert(figure.to_owned(), reason.clone());
            }
        }
        let labelled = |class: usize| sketch.confusion.labelled.get(class).copied().unwrap_or(0);
        for (class, (name, _)) in self.pr_auc.0.iter().enumerate() {
            let mut note = |figure: &str, undefined: bool, reason: String| {
                if undefined {
                    reasons.insert(format!("{figure}.{name}"), reason);
                }
            };
            let unseen = labelled(class) == 0;
            let unranked = if unseen {
                format!("no example of this class {span}")
            } else {
                format!("no example of another class {span}")
            };
            note("pr_auc", self.pr_auc.0[class].1.is_none(), unranked.clone());
            note(
                "roc_auc",
                self.roc_auc.0[class].1.is_none(),
                unranked.clone(),
            );
            note("recall", unseen, unranked.clone());
            note("recall_interval", unseen, unranked);
            let unpredicted = self.precision.0[class].1.is_none();
            let unpredicted_reason = format!("no prediction of this class {span}");
            note("precision", unpredicted, unpredicted_reason.clone());
            note("precision_interval", unpredicted, unpredicted_reason);
        }
        self.undefined = reasons;
    }
}
