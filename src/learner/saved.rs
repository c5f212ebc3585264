//! The learner's part of a checkpoint: everything that it needs to go on, and the counts that people see.

use std::borrow::Cow;
use std::sync::Arc;

use super::average::Average;
use super::batcher::Frontier;
use super::guard::Guard;
use super::history::History;
use super::inputs::Inputs;
use super::member::Member;
use super::mixture::Mixture;
use super::portfolio::SINGLE;
use super::reaction::Reaction;
use super::rehearsal::Memory;
use super::senders::Senders;
use super::step::{Core, prefix};
use super::{Error, Learner, Task};
use crate::absgd::stats::WeightStatistics;
use crate::absgd::{Normalizer, Temperature};
use crate::codec::{Encoder, Reason, RecentShares, Schema};
use crate::evaluate::{Judge, Live};
use crate::example::Positions;
use crate::model::Engine;
use crate::state::State;

/// Examples that rollbacks took back, and how often: the machine's history, not the model's.
const TAKEN_BACK: &str = "display.taken_back";

/// Counts of records that taught nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub unlabelled: u64,
    pub unknown_fields: u64,
    /// Examples of senders that had had their share.
    pub thinned: u64,
    pub rejected: [u64; Reason::ALL.len()],
}

impl Learner {
    /// A learner as it was when `state` was saved, with everything before `positions` learned.
    ///
    /// # Errors
    /// When the state does not fit the task's model and schema.
    pub fn restore(task: Task, state: &State, positions: Positions) -> Result<Self, Error> {
        let schema: Schema = parse(state, "schema")?;
        let classes: Vec<Arc<str>> = parse::<Vec<String>>(state, "classes")?
            .into_iter()
            .map(Arc::from)
            .collect();
        let counters = state.u64_exact("learner.counters", 3)?;
        let mut core = Core::new(task.clone(), Arc::new(schema))?;
        let has_pieces = core.encoder.width() > core.encoder.plain_width();
        core.encoder = Encoder::load(&core.schema, task.codec.encoding, task.seed, state)?;
        if has_pieces {
            core.encoder = core.encoder.with_pieces();
        }
        if core.shares.is_some() {
            core.shares = Some(RecentShares::load(state)?);
        }
        core.inputs = Arc::new(Inputs::load(core.encoder.width(), state)?);
        core.memory = Memory::load(core.memory.room(), core.schema.len(), state)?;
        core.mixture = Mixture::load(core.voices.len(), task.evaluation.objective, state)?;
        let members = core.members.len();
        for member in &mut core.members {
            let part = part(state, &prefix(member, members));
            // Those of a single member are counted by the learner.
            (member.examples, member.steps) = (counters[0], counters[1]);
            member.load(classes.len(), &part)?;
            member.keep(&core.inputs)?;
        }
        core.live = Live::load(&task.evaluation, state)?;
        core.judge = Judge::load(&task.decision, &classes, state)?;
        core.reaction = Reaction::load(state)?;
        core.classes = classes;
        core.examples = counters[0];
        core.step = counters[1];
        core.nonfinite_steps = counters[2];
        let mut learner = Self::new(task);
        learner.core = Some(core);
        learner.frontier = Frontier::at(positions);
        learner.settled = Tally::load(state);
        learner.tally = learner.settled;
        learner.senders = Senders::load(state)?;
        learner.history = History::load(state).unwrap_or_default();
        if let Ok([taken_back, epoch]) = state.u64(TAKEN_BACK) {
            (learner.taken_back, learner.epoch) = (*taken_back, *epoch);
        }
        Ok(learner)
    }

    /// The learning state as of the last boundary; `None` before the schema is known.
    ///
    /// # Errors
    /// When the parameters cannot be read from their device.
    pub fn save(&self) -> Result<Option<State>, Error> {
        let Some(core) = self.core.as_ref() else {
            return Ok(None);
        };
        let mut state = State::default();
        state.put_text("schema", to_json(&*core.schema));
        state.put_text("classes", to_json(&core.classes));
        state.put_u64(
            "learner.counters",
            vec![core.examples, core.step, core.nonfinite_steps],
        );
        core.encoder.save(&mut state);
        if let Some(shares) = &core.shares {
            shares.save(&mut state);
        }
        core.inputs.save(&mut state);
        core.memory.save(&mut state);
        core.mixture.save(&mut state);
        for member in &core.members {
            let prefix = prefix(member, core.members.len());
            let mut part = State::default();
            member.save(&mut part)?;
            for (name, blob) in part.blobs {
                state.blobs.insert(format!("{prefix}{name}"), blob);
            }
        }
        core.live.save(&mut state);
        core.judge.save(&mut state);
        core.reaction.save(&mut state);
        state.put_u64(TAKEN_BACK, vec![self.taken_back, self.epoch]);
        self.senders.save(&mut state);
        self.settled.save(&mut state);
        self.history.save(&mut state);
        Ok(Some(state))
    }
}

impl Member {
    fn save(&self, state: &mut State) -> Result<(), Error> {
        self.engine.save(state)?;
        if let Some(average) = &self.average {
            average.save(state)?;
        }
        self.normalizer.save(state);
        self.temperature.save(state);
        self.statistics.save(state);
        self.guard.save(state);
        if self.task.name != SINGLE {
            state.put_u64("counters", vec![self.steps, self.skipped]);
        }
        Ok(())
    }

    fn load(&mut self, classes: usize, state: &State) -> Result<(), Error> {
        let engine = |state: &State| {
            let inputs = self.inputs(classes);
            let (model, seed) = (&self.task.model, self.seed);
            Engine::load(model, inputs, classes, seed, &self.device, state)
        };
        // One that is new with the settings begins where the parameters are.
        let average = Average::part(state);
        let average = engine(average.as_ref().unwrap_or(state))?;
        self.engine = engine(state)?;
        self.average = self.average.take().map(|_| Average::of(average));
        self.normalizer = Normalizer::load(state)?;
        self.temperature = Temperature::load(state)?;
        self.statistics = WeightStatistics::load(state)?;
        self.guard = Guard::load(state);
        if let Ok([steps, skipped]) = state.u64("counters") {
            (self.steps, self.skipped) = (*steps, *skipped);
        }
        Ok(())
    }
}

/// Everything under a prefix, without it.
fn part<'a>(state: &'a State, prefix: &str) -> Cow<'a, State> {
    if prefix.is_empty() {
        return Cow::Borrowed(state);
    }
    let mut part = State::default();
    for (name, blob) in &state.blobs {
        if let Some(name) = name.strip_prefix(prefix) {
            part.blobs.insert(name.to_owned(), blob.clone());
        }
    }
    Cow::Owned(part)
}

impl Tally {
    const NAME: &'static str = "display.tally";
    const THINNED: &'static str = "display.thinned";

    fn save(&self, state: &mut State) {
        let mut counts = vec![self.unlabelled, self.unknown_fields];
        counts.extend(self.rejected);
        state.put_u64(Self::NAME, counts);
        state.put_u64(Self::THINNED, vec![self.thinned]);
    }

    /// Counts for people: a state without them, or of another set of reasons, starts at 0.
    fn load(state: &State) -> Self {
        let mut tally = Self::default();
        if let Ok([unlabelled, unknown_fields, rejected @ ..]) = state.u64(Self::NAME)
            && let Ok(rejected) = rejected.try_into()
        {
            tally = Self {
                unlabelled: *unlabelled,
                unknown_fields: *unknown_fields,
                thinned: 0,
                rejected,
            };
        }
        if let Ok([thinned]) = state.u64(Self::THINNED) {
            tally.thinned = *thinned;
        }
        tally
    }
}

fn parse<T: serde::de::DeserializeOwned>(state: &State, name: &'static str) -> Result<T, Error> {
    serde_json::from_str(state.text(name)?).map_err(|error| Error::Text {
        name,
        reason: error.to_string(),
    })
}

/// A text of the state. The types written here (names and kinds) always have a JSON form.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
