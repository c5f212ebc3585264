//! Everything that watches the predictions of what is served: calibration, decisions, drift.

use std::sync::Arc;

use serde::Serialize;

use super::settings::{Calibration, DecisionSettings};
use super::{CalibrationReport, Calibrator, Decider, DecisionReport, Drift, DriftReport, PerClass};
use crate::state::{Error, State};

/// The part that a served model carries: what becomes of learned probabilities on their way out.
///
/// ```
/// use skewd::evaluate::{DecisionSettings, Judge};
/// let mut judge = Judge::new(&DecisionSettings::default());
/// judge.add_class("ok");
/// judge.add_class("fraud");
/// let raw = [0.8, 0.2];
/// let served = judge.served().clone();
/// let mut row = raw;
/// served.calibrate(&mut row);
/// assert_eq!(row, raw, "calibration is off");
/// assert_eq!(served.decide(&row), Some(0));
/// judge.observe(1, &raw, &row, None);
/// assert_eq!(judge.report(&["ok".into(), "fraud".into()]).decision.rule, "argmax");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    on: bool,
    calibrator: Calibrator,
    decider: Decider,
}

impl Served {
    /// Corrects one row of learned probabilities in place, where calibration is on; true when it is.
    pub fn calibrate(&self, probabilities: &mut [f32]) -> bool {
        if self.on {
            self.calibrator.apply(probabilities);
        }
        self.on
    }

    /// The decision by the rule of the settings, from probabilities as they are served; `None` for an empty row.
    #[must_use]
    pub fn decide(&self, probabilities: &[f32]) -> Option<usize> {
        self.decider.decide(probabilities)
    }
}

/// The part that learns, beside the learner: all of it is learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    served: Served,
    drift: Drift,
}

/// Calibration, decision and drift as `/v1/evaluation` shows them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeReport {
    /// The decision rule, its threshold and how it moved.
    pub decision: DecisionReport,
    /// What is done to the probabilities.
    pub calibration: CalibrationReport,
    /// Changes of the loss, by class.
    pub drift: PerClass<DriftReport>,
}

impl Judge {
    /// A judge that has seen nothing and knows no class.
    #[must_use]
    pub fn new(settings: &DecisionSettings) -> Self {
        Self {
            served: Served {
                on: settings.calibration == Calibration::On,
                calibrator: Calibrator::new(),
                decider: Decider::new(settings),
            },
            drift: Drift::new(),
        }
    }

    /// A class joined.
    pub fn add_class(&mut self, name: &str) {
        self.served.calibrator.add_class();
        self.served.decider.add_class(name);
        self.drift.add_class();
    }

    /// What a served model carries; cheap enough to clone at each publication (20 kB).
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// Learns from one example as it was predicted before it was learned: its class, the probabilities as learned and as
    /// served (the same where calibration is off), and its log time in seconds, where it has one.
    pub fn observe(&mut self, label: usize, raw: &[f32], served: &[f32], time: Option<f64>) {
        self.served.calibrator.observe(label, raw);
        self.served.decider.observe(label, served, time);
        self.drift
            .observe(label, served.get(label).copied().unwrap_or(0.0));
    }

    /// Everything that the judge knows; `names` in class order.
    #[must_use]
    pub fn report(&self, names: &[Arc<str>]) -> JudgeReport {
        JudgeReport {
            decision: self.served.decider.report(names),
            calibration: self.served.calibrator.report(self.served.on),
            drift: self.drift.report(names),
        }
    }

    /// Times that a class which was predicted well has stopped being so.
    #[must_use]
    pub fn collapses(&self) -> u64 {
        self.drift.collapses()
    }

    /// Times that each class has become harder, in class order.
    pub fn harder(&self) -> impl Iterator<Item = u64> {
        self.drift.harder()
    }

    /// Writes everything under `calibration.`, `decision.` and `drift.`.
    pub fn save(&self, state: &mut State) {
        self.served.calibrator.save(state);
        self.served.decider.save(state);
        self.drift.save(state);
    }

    /// Reads what [`Judge::save`] wrote; `names` in class order. A state that was written before there was a judge gives
    /// one that has seen nothing.
    ///
    /// # Errors
    /// When an entry is missing or does not fit the others.
    pub fn load<N: AsRef<str>>(
        settings: &DecisionSettings,
        names: &[N],
        state: &State,
    ) -> Result<Self, Error> {
        let mut judge = Self::new(settings);
        let parts = ["calibration.", "decision.", "drift."];
        let known = |name: &String| parts.iter().any(|part| name.starts_with(part));
        if !state.blobs.keys().any(known) {
            for name in names {
                judge.add_class(name.as_ref());
            }
            return Ok(judge);
        }
        judge.served.calibrator = Calibrator::load(state)?;
        judge.served.decider = Decider::load(settings, names, state)?;
        judge.drift = Drift::load(state)?;
        Ok(judge)
    }
}
