//! A running average of a member's parameters, which predicts beside it.
//!
//! At a constant rate the parameters keep jumping about what they have found; their average lies closer to it than almost any
//! of them (Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992). Where the stream moves on,
//! the average lags. Which of the two holds is the stream's affair, so both predict and are scored.
//!
//! The average moves once a batch and predicts the whole of it at once, so it costs little beside the member's own steps.

use super::member::{Encoded, Member};
use super::step::LastBatch;
use crate::codec::SHARES;
use crate::loss;
use crate::model::{self, Engine};
use crate::state::State;

/// While there are few examples the average spans about this share of them, the newest: the first values of the parameters are
/// soon forgotten.
const YOUNG: f64 = 0.25;
/// Prefix of the average in the state of its member.
const PREFIX: &str = "average.";

/// The average, and what it predicted of the last batch.
#[derive(Debug)]
pub(super) struct Average {
    pub engine: Engine,
    pub last: LastBatch,
    inputs: Vec<f32>,
    probabilities: Vec<f32>,
}

impl Average {
    /// An average that begins where `engine` does.
    pub fn of(engine: Engine) -> Self {
        Self {
            engine,
            last: LastBatch::default(),
            inputs: Vec::new(),
            probabilities: Vec::new(),
        }
    }

    fn predict(
        &mut self,
        batch: &Encoded,
        classes: usize,
        width: usize,
        with_shares: bool,
    ) -> Result<(), model::Error> {
        let known = self.engine.classes();
        let shares = if with_shares { known } else { 0 };
        self.inputs.clear();
        for row in 0..batch.len() {
            self.inputs.extend_from_slice(&batch.row(row)[..width]);
            self.inputs.extend_from_slice(batch.shares(row, shares));
        }
        batch.blank(batch.len(), &mut self.inputs, width);
        let logits = self.engine.forward(&self.inputs, batch.len())?;
        let last = &mut self.last;
        loss::softmax_cross_entropy(
            logits,
            known,
            &batch.classes,
            &mut self.probabilities,
            &mut last.losses,
        );
        last.begin(batch.len(), classes);
        for row in 0..batch.len() {
            last.note(row, &self.probabilities[row * known..(row + 1) * known]);
        }
        Ok(())
    }

    /// Writes the parameters; there is nothing else to know of them.
    pub fn save(&self, state: &mut State) -> Result<(), model::Error> {
        let mut own = State::default();
        self.engine.save(&mut own)?;
        for (name, blob) in own.blobs {
            if name.starts_with("model.param.") {
                state.blobs.insert(format!("{PREFIX}{name}"), blob);
            }
        }
        Ok(())
    }

    /// The state of the average as a model's own; the velocities of its member stand in for those that it does not have.
    /// `None` where the member had no average.
    pub fn part(state: &State) -> Option<State> {
        let mut own = State::default();
        for (name, blob) in &state.blobs {
            if let Some(name) = name.strip_prefix(PREFIX) {
                own.blobs.insert(name.to_owned(), blob.clone());
            } else if name.starts_with("model.momentum.") {
                own.blobs.insert(name.clone(), blob.clone());
            }
        }
        let has_parameters = own
            .blobs
            .keys()
            .any(|name| name.starts_with("model.param."));
        has_parameters.then_some(own)
    }
}

impl Member {
    /// The average predicts a batch, if there is one.
    pub(super) fn predict_average(
        &mut self,
        batch: &Encoded,
        classes: usize,
    ) -> Result<(), model::Error> {
        let (width, with_shares) = (batch.width_of(&self.task), self.with_shares);
        match &mut self.average {
            Some(average) => average.predict(batch, classes, width, with_shares),
            None => Ok(()),
        }
    }

    /// The average follows the parameters after a batch of `rows`, all the way when they went back to older ones.
    pub(super) fn follow(&mut self, rows: usize, went_back: bool) -> Result<(), model::Error> {
        let Some(average) = &mut self.average else {
            return Ok(());
        };
        average.last.weights.clone_from(&self.last.weights);
        let (rows, examples) = (rows as f64, self.examples as f64);
        let horizon = self.task.learner.averaging_examples.max(1) as f64;
        let share = if went_back {
            1.0
        } else {
            (rows / horizon).max(rows / (rows + YOUNG * examples))
        };
        average.engine.follow(&self.engine, share as f32)
    }

    /// The next class joins the average too.
    pub(super) fn join_average(&mut self) -> Result<(), model::Error> {
        let Some(average) = &mut self.average else {
            return Ok(());
        };
        average.engine.add_class()?;
        if self.with_shares {
            average.engine.add_inputs(SHARES)?;
        }
        Ok(())
    }
}
