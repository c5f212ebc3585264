//! What is done when a class that was predicted well is not any more: what was learned of it does not hold. The statistics of
//! the inputs should then be those from here on, and if the change lasts, the rows that are rehearsed too. What each reaction is
//! worth is measured in `docs/decisions.md`.
//!
//! The detector is part of the learning state, and so is what follows from it here: a replay reacts at the same batch.

use serde::{Deserialize, Serialize};

use super::member::Member;
use super::settings::Settings;
use super::step::Core;
use crate::model;
use crate::state::{self, State};

/// After a drift the moments count as those of so many examples: they follow the new ones within a few thousand.
const EXAMPLES_LEFT: u64 = 1_000;

/// What happens when a class that was predicted well is not any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftReaction {
    /// Nothing.
    None,
    /// Step sizes rise by `drift_rate`, and glide back over `drift_examples`.
    Rate,
    /// The moments of the inputs follow faster.
    #[default]
    Statistics,
    /// That, and rehearsal goes over to new rows: better if the change lasts, worse if it passes.
    Forget,
    /// The member with the smallest share begins anew; plain SGD, the first one, never does. A single learner has none.
    Challenger,
}

/// What was reacted to; part of the learning state where a reaction is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reaction {
    /// Collapses at the last look; `None` before the first.
    collapses: Option<u64>,
    /// Examples after which the step sizes are as set again.
    until: u64,
}

impl Reaction {
    /// Whether there is something new to react to, now that so many were found.
    fn is_due(&mut self, settings: &Settings, collapses: u64, examples: u64) -> bool {
        if settings.drift_reaction == DriftReaction::None {
            *self = Self::default();
            return false;
        }
        let before = self.collapses.replace(collapses).unwrap_or(collapses);
        if collapses <= before {
            return false;
        }
        self.until = examples + settings.drift_examples;
        true
    }

    /// Factor of the step sizes after so many examples.
    fn rate(&self, settings: &Settings, examples: u64) -> f64 {
        if settings.drift_reaction != DriftReaction::Rate {
            return 1.0;
        }
        let left = self.until.saturating_sub(examples) as f64 / settings.drift_examples as f64;
        1.0 + (settings.drift_rate - 1.0) * left.min(1.0)
    }

    /// Writes everything under `learner.reaction`; nothing where none is wanted.
    pub fn save(&self, state: &mut State) {
        if let Some(collapses) = self.collapses {
            state.put_u64("learner.reaction", vec![collapses, self.until]);
        }
    }

    /// Reads what [`Reaction::save`] wrote.
    ///
    /// # Errors
    /// When the entry has another length.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        if !state.blobs.contains_key("learner.reaction") {
            return Ok(Self::default());
        }
        let entry = state.u64_exact("learner.reaction", 2)?;
        Ok(Self {
            collapses: Some(entry[0]),
            until: entry[1],
        })
    }
}

impl Core {
    /// Step sizes of the batch that comes.
    pub(super) fn pace(&mut self) {
        let rate = self.reaction.rate(&self.task.learner, self.examples);
        for member in &mut self.members {
            member.haste = rate;
        }
    }

    /// After a batch: looks whether a class has collapsed, and does what is to be done then.
    pub(super) fn react(&mut self) -> Result<(), model::Error> {
        let collapses = self.judge.collapses();
        let settings = &self.task.learner;
        if !self.reaction.is_due(settings, collapses, self.examples) {
            return Ok(());
        }
        match settings.drift_reaction {
            DriftReaction::None | DriftReaction::Rate => {}
            DriftReaction::Statistics => self.encoder.hasten(EXAMPLES_LEFT),
            DriftReaction::Forget => {
                self.encoder.hasten(EXAMPLES_LEFT);
                self.memory.forget();
            }
            DriftReaction::Challenger => {
                if let Some(place) = self.weakest() {
                    self.begin_anew(place)?;
                }
            }
        }
        Ok(())
    }

    /// The member whose voices have the smallest share together, the first one left out.
    fn weakest(&self) -> Option<usize> {
        let share = |member: usize| -> f64 {
            let voices = self.voices.iter().zip(self.mixture.weights());
            let own = voices.filter(|(voice, _)| voice.member == member);
            own.map(|(_, share)| share).sum()
        };
        (1..self.members.len()).min_by(|a, b| share(*a).total_cmp(&share(*b)))
    }

    /// Puts a member back to how it was at the beginning, knowing all classes; its counts go on.
    fn begin_anew(&mut self, place: usize) -> Result<(), model::Error> {
        let task = self.members[place].task.clone();
        let mut member = Member::new(&self.task, task, place, &self.encoder)?;
        for _ in &self.classes {
            member.join()?;
        }
        member.keep(&self.inputs)?;
        let old = &mut self.members[place];
        (member.examples, member.steps, member.skipped) = (old.examples, old.steps, old.skipped);
        std::mem::swap(&mut member.statistics, &mut old.statistics);
        // What was predicted of the batch was predicted by who went.
        std::mem::swap(&mut member.last, &mut old.last);
        if let (Some(new), Some(old)) = (&mut member.average, &mut old.average) {
            std::mem::swap(&mut new.last, &mut old.last);
        }
        member.guard.quarantined = old.guard.quarantined;
        member.guard.rollbacks = old.guard.rollbacks;
        *old = member;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(reaction: DriftReaction) -> Settings {
        Settings {
            drift_reaction: reaction,
            drift_rate: 3.0,
            drift_examples: 100,
            ..Settings::default()
        }
    }

    #[test]
    fn step_sizes_rise_at_once_and_glide_back() {
        let rate = settings(DriftReaction::Rate);
        let mut reaction = Reaction::default();
        assert!(
            !reaction.is_due(&rate, 4, 900),
            "what was before it was asked for is over"
        );
        assert_eq!(reaction.rate(&rate, 900), 1.0);
        assert!(reaction.is_due(&rate, 5, 1000));
        let rates = [1000, 1050, 1100, 5000].map(|examples| reaction.rate(&rate, examples));
        assert_eq!(rates, [3.0, 2.0, 1.0, 1.0]);
        assert!(!reaction.is_due(&rate, 5, 1010), "once a change");
        assert_eq!(reaction.rate(&settings(DriftReaction::Forget), 1010), 1.0);
    }

    #[test]
    fn where_none_is_wanted_there_is_nothing_to_keep() {
        let none = settings(DriftReaction::None);
        let mut reaction = Reaction::default();
        assert!(!reaction.is_due(&none, 1, 10) && !reaction.is_due(&none, 2, 20));
        let mut state = State::default();
        reaction.save(&mut state);
        assert!(state.blobs.is_empty());
        assert_eq!(Reaction::load(&state), Ok(Reaction::default()));
        reaction.is_due(&settings(DriftReaction::Rate), 3, 30);
        reaction.is_due(&settings(DriftReaction::Rate), 4, 40);
        reaction.save(&mut state);
        assert_eq!(Reaction::load(&state), Ok(reaction));
    }
}
