//! The decider's part of the learning state.

use super::history::{History, ThresholdPoint};
use super::{Choice, Clock, Decider, Lately, Prior, Scores};
use crate::evaluate::settings::DecisionSettings;
use crate::state::{Error, State};

/// How a missing number is written.
const NONE: f64 = f64::NAN;

impl Decider {
    /// Writes everything under `decision.`.
    pub fn save(&self, state: &mut State) {
        state.put_text("decision.rule", self.settings.rule_text());
        state.put_u64("decision.seen", self.seen.clone());
        self.prior.save(state);
        let rare = self.rare.iter().map(|rare| u64::from(*rare));
        state.put_u64("decision.rare", rare.collect());
        self.scores.save(state);
        state.put_u64(
            "decision.counters",
            vec![
                self.examples,
                self.next_review,
                self.next_rare_review,
                self.unfaded,
            ],
        );
        let threshold = match self.threshold {
            Choice::TooEarly => NONE,
            Choice::From(threshold) => threshold,
            Choice::Never => f64::INFINITY,
        };
        let (newest, counted) = self.clock.sums();
        state.put_f64(
            "decision.sums",
            vec![threshold, newest.unwrap_or(NONE), counted, self.fade],
        );
        self.clock.save(state);
        self.alerts.save(state, "decision.alerts");
        self.traffic.save(state, "decision.traffic");
        let points = self.history.points.iter().flat_map(|point| {
            [
                point.examples as f64,
                point.time.unwrap_or(NONE),
                point.threshold.unwrap_or(NONE),
            ]
        });
        state.put_f64("decision.history", points.collect());
    }

    /// Reads what [`Decider::save`] wrote; `names` of the classes find their costs. Under another rule than the saved
    /// one the threshold is chosen anew from what was seen.
    ///
    /// # Errors
    /// When an entry is missing or its length does not fit the others.
    pub fn load<N: AsRef<str>>(
        settings: &DecisionSettings,
        names: &[N],
        state: &State,
    ) -> Result<Self, Error> {
        let classes = names.len();
        let mut decider = Self::new(settings);
        for name in names {
            decider.add_class(name.as_ref());
        }
        decider.seen = state.u64_exact("decision.seen", classes)?.to_vec();
        decider.prior = Prior::load(classes, state)?;
        let rare = state.u64_exact("decision.rare", classes)?;
        decider.rare = rare.iter().map(|rare| *rare != 0).collect();
        decider.scores = Scores::load(state)?;
        let counters = state.u64_exact("decision.counters", 4)?;
        decider.examples = counters[0];
        decider.next_review = counters[1];
        decider.next_rare_review = counters[2];
        decider.unfaded = counters[3];
        let given = |value: f64| (!value.is_nan()).then_some(value);
        let sums = state.f64_exact("decision.sums", 4)?;
        decider.threshold = match given(sums[0]) {
            None => Choice::TooEarly,
            Some(threshold) if threshold.is_infinite() => Choice::Never,
            Some(threshold) => Choice::From(threshold),
        };
        decider.clock = Clock::load(given(sums[1]), sums[2], state)?;
        decider.fade = sums[3];
        decider.alerts = Lately::load(state, "decision.alerts")?;
        decider.traffic = Lately::load(state, "decision.traffic")?;
        let points = state.f64("decision.history")?;
        let points = state.f64_exact("decision.history", points.len() / 3 * 3)?;
        decider.history = History {
            points: points
                .chunks_exact(3)
                .map(|point| ThresholdPoint {
                    examples: point[0] as u64,
                    time: given(point[1]),
                    threshold: given(point[2]),
                })
                .collect(),
        };
        if state.text("decision.rule")? != decider.settings.rule_text() {
            // Counted in parts of another length, perhaps.
            (decider.alerts, decider.traffic) = <_>::default();
            decider.threshold = Choice::TooEarly;
            decider.choose();
        }
        Ok(decider)
    }
}
