//! What becomes of a learner when it goes back, or when its schema grows: everything else that it knows stays.

use std::sync::Arc;

use super::saved::to_json;
use super::{Error, Learner};
use crate::codec::{SHARES, Schema};
use crate::model::remap_inputs;
use crate::state::State;

impl Learner {
    /// Takes an older state for the newest. The stream goes on where it is: examples that were learned since are not
    /// learned again, and those that wait for a batch are forgotten here, so the caller gives them again.
    ///
    /// # Errors
    /// When the state does not fit; the learner is then as it was.
    pub fn roll_back(&mut self, state: &State) -> Result<(), Error> {
        let older = Self::restore(self.task.clone(), state, self.positions().clone())?;
        self.replace(older);
        self.epoch += 1;
        Ok(())
    }

    /// Gives the model a place for features and classes that it does not know. Predictions do not change by it: weights of
    /// new inputs are zero until something is learned. Examples that wait for a batch are forgotten here, so the caller
    /// gives them again.
    ///
    /// # Errors
    /// When `schema` does not hold every known feature, or the engine fails; the learner is then as it was.
    pub fn grow(&mut self, schema: &Schema, classes: &[Arc<str>]) -> Result<(), Error> {
        let Some(core) = &self.core else {
            return Ok(());
        };
        if let Some(reason) = schema.cannot_follow(&core.schema) {
            return Err(Error::Growth(reason));
        }
        let (encoder, from) = core.encoder.grown(schema);
        let shares = match core.shares {
            Some(_) => core.classes.len() * SHARES,
            None => 0,
        };
        let Some(mut state) = self.save()? else {
            return Ok(());
        };
        // Those that take the pieces too, and those that do not.
        let widths = [
            (core.encoder.width(), encoder.width()),
            (core.encoder.plain_width(), encoder.plain_width()),
        ];
        for (known, wanted) in widths
            .iter()
            .take(if widths[0] == widths[1] { 1 } else { 2 })
        {
            let mut from = from[..*wanted].to_vec();
            from.extend((0..shares).map(|share| Some(known + share)));
            remap_inputs(&mut state, known + shares, &from);
        }
        core.inputs.remapped(&from).save(&mut state);
        let mut memory = core.memory.clone();
        memory.remap(&features(&core.schema, schema));
        memory.save(&mut state);
        encoder.save(&mut state);
        state.put_text("schema", to_json(schema));
        let mut grown = Self::restore(self.task.clone(), &state, self.positions().clone())?;
        if let Some(core) = &mut grown.core {
            for class in classes {
                if !core.classes.contains(class) {
                    core.join(Arc::clone(class))?;
                }
            }
        }
        self.replace(grown);
        Ok(())
    }

    /// Another state in the same place of the stream.
    fn replace(&mut self, mut other: Self) {
        other.taken_back = self.taken() - other.examples().min(self.taken());
        other.epoch = self.epoch;
        other.frontier = self.frontier.clone();
        (other.tally, other.settled) = (self.tally, self.settled);
        other.watch = std::mem::take(&mut self.watch);
        *self = other;
    }
}

/// Where each feature of the new schema stands in the known one.
fn features(known: &Schema, new: &Schema) -> Vec<Option<usize>> {
    let place = |name: &str| known.features.iter().position(|known| known.name == name);
    let features = new.features.iter();
    features.map(|feature| place(&feature.name)).collect()
}
