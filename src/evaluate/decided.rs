//! What decisions would have achieved on a recorded stream.

use std::sync::Arc;

use serde::Serialize;

use super::exact::WINDOW_MINIMUM;
use super::{Confusion, Decider, DecisionSettings, Exact, PerClass, mean, wilson_interval};

/// What the decisions under the `[decision]` rule achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// The rule, as in the settings.
    pub rule: &'static str,
    /// Mean recall of the decisions over the classes that have examples.
    pub balanced_accuracy: Option<f64>,
    /// Geometric mean of those recalls.
    pub g_mean: Option<f64>,
    /// Mean over ten equal windows, each class where it has at least five examples.
    pub windowed: WindowedDecided,
    /// Share of a class's examples that were decided to be of it.
    pub recall: PerClass<Option<f64>>,
    /// Wilson's 95 % interval of that recall, `[low, high]`.
    pub recall_interval: PerClass<Option<(f64, f64)>>,
    /// Share of the decisions for a class that were right.
    pub precision: PerClass<Option<f64>>,
    /// Wilson's 95 % interval of that precision, `[low, high]`.
    pub precision_interval: PerClass<Option<(f64, f64)>>,
    /// Decisions for a class that was rare at the time.
    pub alerts: u64,
    /// The threshold at the end, where the rule has one.
    pub threshold: Option<f64>,
}

/// The windowed figures of decisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowedDecided {
    /// Mean recall over the classes that count.
    pub balanced_accuracy: Option<f64>,
    /// Geometric mean of those recalls.
    pub g_mean: Option<f64>,
}

impl Decided {
    /// Decides every example of a run in order, each before the rule learns from it.
    ///
    /// ```
    /// use skewd::evaluate::{Decided, DecisionSettings, Exact, Scored};
    /// let mut exact = Exact::new();
    /// for row in 0..40 {
    ///     let label = u32::from(row % 4 == 0);
    ///     let fraud = if label == 1 { 0.4 } else { 0.1 };
    ///     exact.push(Scored { row, label, weight: None, time: None, probabilities: &[1.0 - fraud, fraud] });
    /// }
    /// let decided = Decided::of(&exact, &DecisionSettings::default(), &["ok".into(), "fraud".into()]);
    /// assert_eq!((decided.rule, decided.balanced_accuracy), ("argmax", Some(0.5)));
    /// ```
    #[must_use]
    pub fn of(exact: &Exact, settings: &DecisionSettings, names: &[Arc<str>]) -> Self {
        let mut decider = Decider::new(settings);
        for name in names {
            decider.add_class(name);
        }
        let classes = names.len();
        let mut whole = Confusion::new(classes);
        let mut windows = Vec::new();
        let mut alerts = 0;
        for rows in exact.window_ranges() {
            let mut window = Confusion::new(classes);
            for scored in exact.range(rows) {
                let label = scored.label as usize;
                let decision = decider.decide(scored.probabilities);
                alerts += u64::from(decision.is_some_and(|class| decider.is_rare(class)));
                decider.observe(label, scored.probabilities, scored.time);
                if label < classes {
                    let decision = decision.filter(|class| *class < classes);
                    whole.add(label, decision);
                    window.add(label, decision);
                }
            }
            windows.push(window);
        }
        let per_class = |share: &dyn Fn(usize) -> Option<f64>| {
            PerClass::new(names, (0..classes).map(share).collect())
        };
        let interval = |trials: &[u64]| {
            let ends = whole.correct.iter().zip(trials);
            PerClass::new(
                names,
                ends.map(|(hits, all)| wilson_interval(*hits, *all))
                    .collect(),
            )
        };
        let windowed = |figure: fn(&Confusion, u64) -> Option<f64>| {
            mean(windows.iter().map(|window| figure(window, WINDOW_MINIMUM)))
        };
        Self {
            rule: settings.rule.as_str(),
            balanced_accuracy: whole.balanced_accuracy(1),
            g_mean: whole.g_mean(1),
            windowed: WindowedDecided {
                balanced_accuracy: windowed(Confusion::balanced_accuracy),
                g_mean: windowed(Confusion::g_mean),
            },
            recall: per_class(&|class| whole.recall(class, 1)),
            recall_interval: interval(&whole.labelled),
            precision: per_class(&|class| whole.precision(class)),
            precision_interval: interval(&whole.predicted),
            alerts,
            threshold: decider.threshold(),
        }
    }
}
