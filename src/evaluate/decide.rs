//! From probabilities to a decision: the rules of `[decision]`, and what they must remember.
//!
//! The decider watches every prediction as it was made before its example was learned, and keeps what its rule needs:
//! running class shares, a fading histogram of the scores of the rare classes, the alerts of the last hour. A served model
//! carries a copy.
//!
//! **Rare** means, of two classes, the smaller one; of more, all that together make the classes below 5 % of the examples
//! ([`rare_classes`]). The rules `threshold`, `alert_budget` and `precision_floor` ask whether the probability of the rare
//! classes together reaches a threshold; if it does, the decision is the most probable of them, and otherwise the most
//! probable of the others. Which classes are rare is looked at again whenever the stream has grown by a quarter, and a
//! class changes sides only when it is clearly beyond the border; a class without examples is rare.
//!
//! **Log time** is the timestamp of the examples, where the schema names one; without it an example counts as a second, so
//! that `alerts_per_hour` is a budget per 3,600 examples. An alert is a decision for a rare class on the labelled stream.
//! The budget is kept twice: the threshold is the one that would spend it at the rate of the last hour, and when the alerts of an hour are
//! used up there are none until the oldest is an hour old. A late example has the time of the newest; what wrong timestamps can
//! do is in `decide/clock.rs`.
//!
//! **A label of its own**, which one wrong record is enough for, changes no rule: beside a class of fewer than 20 examples one that
//! was rare without it stays so, and `prior_shift` gives a class of one or two no more than the most frequent class gets.
//!
//! **A class that stays away** keeps half of its share since the start: `prior_shift` lifts it no further.
//!
//! **Hysteresis**: a threshold moves only when the new one is more than 0.1 away in the logit; what `prior_shift` divides by
//! when it has changed by a twentieth for a class.
//!
//! Memory: 16 kB for the histogram, 40 bytes a class, 256 points of history.

mod clock;
mod history;
mod lately;
mod prior;
mod saved;
mod scores;

use std::sync::Arc;

use super::settings::{DecisionSettings, Rule};
use super::{most_probable, rare_classes};
use clock::{Clock, Tick};
use history::History;
pub use history::{DecisionReport, ThresholdPoint};
use lately::{Allowance, Lately};
use prior::Prior;
use scores::{Choice, Scores};

/// Examples between two looks at the threshold once the stream is long; at first they come more often.
const REVIEW_EVERY: u64 = 256;
/// Examples over which what is remembered fades to half: a quarter of the stream so far, within these bounds, because a
/// young model's scores soon mean something else.
const HALF_LIFE: (f64, f64) = (1_000.0, 50_000.0);
/// A threshold moves when the new one is farther away than this, in the logit.
const DEAD_BAND: f64 = 0.1;
/// Examples from which on a class can make another one less rare: fewer may be slips, or somebody's label of their own.
const ENOUGH: u64 = 20;
/// Examples from which on `prior_shift` lifts a class. With more of them the rarest classes of a stream would wait too long.
const LIFTED: u64 = 3;
/// Of two classes the other one becomes the rare one when it is smaller by this factor.
const CLEARLY_SMALLER: f64 = 0.9;
/// Of more, a class stays rare up to this share.
const RARE_UP_TO: f64 = 0.06;

/// Decides by the rule of the settings, and learns what the rule needs.
///
/// ```
/// use skewd::evaluate::{Decider, DecisionSettings, Rule};
/// let settings = DecisionSettings { rule: Rule::PriorShift, ..DecisionSettings::default() };
/// let mut decider = Decider::new(&settings);
/// decider.add_class("ok");
/// decider.add_class("fraud");
/// for index in 0..1000 {
///     let probabilities = [0.9, 0.1];
///     decider.observe(usize::from(index % 50 == 0), &probabilities, None);
/// }
/// // 10 % is five times the share of fraud.
/// assert_eq!(decider.decide(&[0.9, 0.1]), Some(1));
/// assert_eq!(decider.decide(&[0.99, 0.01]), Some(0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Decider {
    settings: Arc<DecisionSettings>,
    /// Cost of missing one example, by class.
    costs: Vec<f64>,
    /// Examples of each class since start.
    seen: Vec<u64>,
    prior: Prior,
    rare: Vec<bool>,
    scores: Scores,
    threshold: Choice,
    /// Alerts and all examples of the last hour.
    alerts: Lately,
    traffic: Lately,
    clock: Clock,
    examples: u64,
    next_review: u64,
    next_rare_review: u64,
    /// What an example lets the rest fade to.
    fade: f64,
    /// Examples since the histogram was last faded.
    unfaded: u64,
    history: History,
}

impl Decider {
    /// A decider that has seen nothing and knows no class.
    #[must_use]
    pub fn new(settings: &DecisionSettings) -> Self {
        Self {
            settings: Arc::new(settings.clone()),
            costs: Vec::new(),
            seen: Vec::new(),
            prior: Prior::default(),
            rare: Vec::new(),
            scores: Scores::new(),
            threshold: Choice::TooEarly,
            alerts: Lately::default(),
            traffic: Lately::default(),
            clock: Clock::default(),
            examples: 0,
            next_review: 16,
            next_rare_review: 16,
            fade: 0.5f64.powf(1.0 / HALF_LIFE.0),
            unfaded: 0,
            history: History::default(),
        }
    }

    /// A class joined; its name finds its cost.
    pub fn add_class(&mut self, name: &str) {
        self.costs
            .push(self.settings.costs.get(name).copied().unwrap_or(1.0));
        self.seen.push(0);
        self.prior.add_class();
        self.rare.push(true);
    }

    /// The rule in force.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.settings.rule
    }

    /// True for a class that is rare at present.
    #[must_use]
    pub fn is_rare(&self, class: usize) -> bool {
        self.rare.get(class).copied().unwrap_or(false)
    }

    /// The decision for a row of probabilities in class order; `None` for an empty row. Until a rule has seen enough it
    /// is the most probable class (for `precision_floor`, of those that are not rare).
    #[must_use]
    pub fn decide(&self, probabilities: &[f32]) -> Option<usize> {
        let likely = most_probable(probabilities);
        match self.settings.rule {
            Rule::Argmax => likely,
            Rule::PriorShift => self.shifted(probabilities).or(likely),
            Rule::Cost => best(probabilities, |class, p| {
                Some(p * self.costs.get(class).copied().unwrap_or(1.0))
            })
            .or(likely),
            Rule::Threshold | Rule::AlertBudget | Rule::PrecisionFloor => {
                let is_rare = match self.threshold {
                    Choice::From(threshold) => {
                        f64::from(self.rare_mass(probabilities)) >= threshold
                    }
                    Choice::Never => false,
                    // A precision that is not known yet is not kept.
                    Choice::TooEarly => {
                        self.settings.rule != Rule::PrecisionFloor
                            && likely.is_some_and(|class| self.is_rare(class))
                    }
                };
                let is_rare = is_rare && !self.is_spent();
                best(probabilities, |class, p| {
                    (self.is_rare(class) == is_rare).then_some(p)
                })
                .or(likely)
            }
        }
    }

    /// The class of the largest probability by what it is divided by, of those that have examples. The share of a class of a
    /// few examples is next to nothing and says next to nothing: it counts as that of the most frequent.
    fn shifted(&self, probabilities: &[f32]) -> Option<usize> {
        let lifted = self.least_beside_others(LIFTED);
        let divisors = self.prior.divisors();
        let largest = divisors.iter().copied().fold(0.0, f64::max);
        best(probabilities, |class, p| {
            let (seen, own) = (*self.seen.get(class)?, *divisors.get(class)?);
            let divisor = if seen < lifted { largest } else { own };
            (seen > 0 && own > 0.0).then(|| p / divisor)
        })
    }

    /// Examples that a class must have where at least two have [`ENOUGH`]; without those none is a few beside others.
    fn least_beside_others(&self, least: u64) -> u64 {
        let mut others = self.seen.iter().filter(|seen| **seen >= ENOUGH);
        others.nth(1).map_or(0, |_| least)
    }

    /// Learns from one example as it was predicted before it was learned: its class, the probabilities of the classes
    /// known then, and its log time in seconds, where it has one. Weights do not count here.
    ///
    /// Labels of a class may come before [`Decider::add_class`] tells of it; they are then left out.
    pub fn observe(&mut self, label: usize, probabilities: &[f32], time: Option<f64>) {
        if label >= self.seen.len() {
            return;
        }
        let decision = self.decide(probabilities);
        let seconds = self.pass_time(time);
        self.traffic.add(self.allowance(), self.clock.now());
        if decision.is_some_and(|class| self.is_rare(class)) {
            self.alerts.add(self.allowance(), self.clock.now());
        }
        self.examples += 1;
        self.prior.observe(label, probabilities, self.fade);
        self.seen[label] += 1;
        let is_new = self.seen[label] == 1;
        if is_new || self.examples >= self.next_rare_review {
            self.review_rare(is_new.then_some(label));
        }
        let score = self.rare_mass(probabilities);
        self.scores.add(score, self.is_rare(label), seconds);
        self.unfaded += 1;
        if self.examples >= self.next_review {
            self.review();
        }
    }

    /// Seconds of log time that the example took.
    fn pass_time(&mut self, time: Option<f64>) -> f64 {
        match self.clock.tick(time) {
            Tick::Passed(seconds) => seconds,
            Tick::Anew => {
                (self.alerts, self.traffic) = <_>::default();
                self.scores = Scores::new();
                0.0
            }
        }
    }

    fn allowance(&self) -> Allowance {
        Allowance::of(self.settings.alerts_per_hour)
    }

    fn is_spent(&self) -> bool {
        self.settings.rule == Rule::AlertBudget
            && self.alerts.is_spent(self.allowance(), self.clock.now())
    }

    /// Probability of the rare classes together.
    fn rare_mass(&self, probabilities: &[f32]) -> f32 {
        let rare = probabilities.iter().zip(&self.rare);
        rare.filter(|(_, rare)| **rare).map(|(p, _)| p).sum()
    }

    /// Settles again which classes are rare.
    fn review_rare(&mut self, newcomer: Option<usize>) {
        self.next_rare_review = (self.examples + self.examples / 4).max(64);
        let total: u64 = self.seen.iter().sum();
        let present = self.seen.iter().filter(|seen| **seen > 0).count();
        let mut rare: Vec<bool> = self.seen.iter().map(|seen| *seen == 0).collect();
        if present >= 2 {
            for class in rare_classes(&self.seen) {
                rare[class] = true;
            }
        }
        if present == 2 && newcomer.is_none() {
            let seen = |class: &usize| self.seen[*class] > 0;
            let before = (0..rare.len()).filter(seen).find(|class| self.rare[*class]);
            let now = (0..rare.len()).filter(seen).find(|class| rare[*class]);
            if let (Some(before), Some(now)) = (before, now)
                && self.seen[now] as f64 > CLEARLY_SMALLER * self.seen[before] as f64
            {
                rare.clone_from(&self.rare);
            }
        } else if present > 2 && rare.iter().filter(|rare| **rare).count() > 1 {
            for (class, seen) in self.seen.iter().enumerate() {
                rare[class] |= self.rare[class] && (*seen as f64) < RARE_UP_TO * total as f64;
            }
        }
        // Nor does a class that has had a few examples take another out of them.
        let least = self.least_beside_others(ENOUGH);
        let counts = |seen: &u64| if *seen < least { 0 } else { *seen };
        let enough: Vec<u64> = self.seen.iter().map(counts).collect();
        if enough != self.seen {
            for class in rare_classes(&enough) {
                rare[class] |= self.rare[class];
            }
        }
        // Before a class had examples it had next to no probability either: the scores so far hold for the larger set.
        let grown =
            (0..rare.len()).all(|class| rare[class] == self.rare[class] || Some(class) == newcomer);
        if !grown {
            self.scores = Scores::new();
            self.threshold = Choice::TooEarly;
        }
        if rare != self.rare {
            self.rare = rare;
            self.next_review = self.examples;
        }
    }

    /// Lets the past fade, and looks whether the threshold and the class shares still hold.
    fn review(&mut self) {
        self.next_review = self.examples + (self.examples / 8).clamp(16, REVIEW_EVERY);
        self.scores.fade(self.fade.powf(self.unfaded as f64));
        self.unfaded = 0;
        let half_life = (self.examples as f64 / 4.0).clamp(HALF_LIFE.0, HALF_LIFE.1);
        self.fade = 0.5f64.powf(1.0 / half_life);
        self.prior.review(&self.seen);
        self.choose();
        let point = self.threshold();
        self.history
            .note(self.examples, self.clock.by_timestamps(), point);
    }

    /// The threshold that the rule asks for now, taken over where it is clearly another one.
    fn choose(&mut self) {
        let new = match self.settings.rule {
            Rule::Threshold => Choice::From(self.settings.threshold),
            Rule::AlertBudget => self.scores.flagging(self.budget()),
            Rule::PrecisionFloor => self.scores.keeping(self.settings.precision),
            Rule::Argmax | Rule::PriorShift | Rule::Cost => Choice::TooEarly,
        };
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let same = match (new, self.threshold) {
            (Choice::From(new), Choice::From(old)) if self.settings.rule != Rule::Threshold => {
                new == old || (logit(new) - logit(old)).abs() <= DEAD_BAND
            }
            _ => false,
        };
        if !same {
            self.threshold = new;
        }
    }

    /// Share of the examples that may be flagged, at the rate at which they come: the average one, or that of the last hour
    /// where it is higher, so that a busy day does not spend its budget in the morning.
    fn budget(&self) -> Option<f64> {
        let allowance = self.allowance();
        let recent = self.traffic.recent(allowance, self.clock.now()) as f64;
        let average = self.scores.expected(allowance.seconds())?;
        let alerts = self.settings.alerts_per_hour * allowance.seconds() / 3600.0;
        Some((alerts / average.max(recent)).min(1.0))
    }

    /// The probability of the rare classes from which the rule decides for one of them, where the rule comes down to
    /// that: always with two classes.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        let rare = (0..self.rare.len()).find(|class| self.rare[*class]);
        let other = (0..self.rare.len()).find(|class| !self.rare[*class]);
        let binary = match (rare, other) {
            (Some(rare), Some(other)) if self.rare.len() == 2 => Some((rare, other)),
            _ => None,
        };
        match self.settings.rule {
            Rule::Argmax => binary.map(|_| 0.5),
            Rule::PriorShift => binary.map(|(rare, other)| {
                let by = self.prior.divisors();
                by[rare] / (by[rare] + by[other])
            }),
            Rule::Cost => binary
                .map(|(rare, other)| self.costs[other] / (self.costs[rare] + self.costs[other])),
            Rule::Threshold | Rule::AlertBudget | Rule::PrecisionFloor => match self.threshold {
                Choice::From(threshold) => Some(threshold),
                Choice::TooEarly | Choice::Never => None,
            },
        }
        .filter(|threshold| threshold.is_finite())
    }
}

/// The class of the largest value, the first of several equal ones, among those that have one.
fn best(probabilities: &[f32], value: impl Fn(usize, f64) -> Option<f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (class, &p) in probabilities.iter().enumerate() {
        if let Some(value) = value(class, f64::from(p)).filter(|value| !value.is_nan())
            && best.is_none_or(|(_, highest)| value > highest)
        {
            best = Some((class, value));
        }
    }
    best.map(|(class, _)| class)
}

#[cfg(test)]
mod tests;
