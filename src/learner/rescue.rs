//! What happens to a batch whose step could not be committed: see [`super::guard`].

use super::guard::{Probe, find};
use super::member::{Member, Rows};
use super::step::Verdict;
use crate::codec::SHARES;
use crate::loss;
use crate::model::{self, Engine};

/// What became of a batch in the end.
pub(super) struct Rescue {
    pub verdict: Verdict,
    /// Places of the rows that were learned, ascending.
    pub learned: Vec<usize>,
    /// Places of the rows that were left out.
    pub quarantined: Vec<usize>,
    /// The model went back to an older one.
    pub went_back: bool,
}

impl Member {
    /// Finds out whether records or the model are to blame, and learns what can be learned. Afterwards the rows at hand are
    /// those that were learned.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) fn rescue(&mut self) -> Result<Rescue, model::Error> {
        let mut sound = self.sound()?;
        let rows: Vec<usize> = (0..self.batch.classes.len()).collect();
        let mut judge = Judge {
            engine: &mut sound,
            batch: &self.batch,
        };
        let guilty = find(&mut judge, &rows)?;
        let fresh = self.batch.fresh;
        self.guard.quarantined += guilty.iter().filter(|row| **row < fresh).count() as u64;
        let rest: Vec<usize> = rows
            .into_iter()
            .filter(|row| guilty.binary_search(row).is_err())
            .collect();
        let verdict = if guilty.is_empty() || rest.is_empty() {
            Verdict::SkippedNonFinite
        } else {
            self.learn_some(&rest)?
        };
        let is_models_fault = verdict == Verdict::SkippedNonFinite && !rest.is_empty();
        let went_back = is_models_fault && self.guard.stumbled();
        if went_back {
            self.engine = sound;
        }
        Ok(Rescue {
            verdict,
            learned: rest,
            quarantined: guilty,
            went_back,
        })
    }

    /// The older model that takes over when the newest is ruined; the untrained one before there is another.
    fn sound(&self) -> Result<Engine, model::Error> {
        let (model, seed, device) = (&self.task.model, self.seed, &self.device);
        let mut engine = match self.guard.good() {
            None => Engine::with_categories(model, self.width, &self.categories, seed, device)?,
            Some((state, classes)) => {
                let inputs = self.inputs(classes);
                Engine::load(model, inputs, classes, seed, device, state)?
            }
        };
        while engine.classes() < self.engine.classes() {
            engine.add_class()?;
            if self.with_shares {
                engine.add_inputs(SHARES)?;
            }
        }
        engine.keep_inputs(self.engine.kept_inputs())?;
        Ok(engine)
    }

    /// Learns these rows of a batch as if they were all of it.
    fn learn_some(&mut self, rows: &[usize]) -> Result<Verdict, model::Error> {
        self.batch = self.batch.some(rows);
        self.forward()?;
        self.learn()
    }
}

impl Rows {
    /// Only these rows.
    fn some(&self, rows: &[usize]) -> Self {
        let width = self.inputs.len() / self.classes.len().max(1);
        let row = |row: &usize| &self.inputs[row * width..(row + 1) * width];
        Self {
            inputs: rows.iter().flat_map(row).copied().collect(),
            classes: rows.iter().map(|row| self.classes[*row]).collect(),
            importance: rows.iter().map(|row| self.importance[*row]).collect(),
            fresh: rows.iter().filter(|row| **row < self.fresh).count(),
            ..Self::default()
        }
    }
}

/// Asks a sound model about rows.
struct Judge<'a> {
    engine: &'a mut Engine,
    batch: &'a Rows,
}

impl Probe for Judge<'_> {
    type Error = model::Error;

    fn is_finite(&mut self, rows: &[usize]) -> Result<bool, model::Error> {
        let mut chosen = self.batch.some(rows);
        let mut gradient = Vec::new();
        let classes = self.engine.classes();
        let logits = self.engine.forward(&chosen.inputs, rows.len())?;
        loss::softmax_cross_entropy(
            logits,
            classes,
            &chosen.classes,
            &mut chosen.probabilities,
            &mut chosen.losses,
        );
        if !chosen.losses.iter().all(|loss| loss.is_finite()) {
            return Ok(false);
        }
        let share = 1.0 / rows.len() as f32;
        let coefficients: Vec<f32> = chosen
            .importance
            .iter()
            .map(|importance| importance * share)
            .collect();
        loss::seed_gradient(
            &chosen.probabilities,
            classes,
            &chosen.classes,
            &coefficients,
            &mut gradient,
        );
        let norm_squared = self
            .engine
            .backward(&chosen.inputs, rows.len(), &gradient)?;
        Ok(norm_squared.is_finite())
    }
}
