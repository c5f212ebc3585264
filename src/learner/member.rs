//! One learner of those that run side by side: predict, weigh, learn, sub-batch by sub-batch.

use std::ops::Range;

use super::average::Average;
use super::guard::Guard;
use super::inputs::Inputs;
use super::portfolio::MemberTask;
use super::settings::{Optimizer, Task};
use super::step::{LastBatch, Verdict};
use crate::absgd::stats::WeightStatistics;
use crate::absgd::{Normalizer, Temperature};
use crate::codec::{Encoder, SHARES};
use crate::loss::{self, Lesson};
use crate::model::{self, DeviceChoice, Engine};

/// A batch as all members see it: encoded once.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Inputs that come from features, a row; see [`super::inputs`].
    pub width: usize,
    /// How many of them, the first, are for members that take no pieces.
    pub plain_width: usize,
    /// Places of those that no earlier batch had.
    pub newborn: Vec<usize>,
    /// Inputs of each row, row-major.
    pub inputs: Vec<f32>,
    /// Class indexes.
    pub classes: Vec<u32>,
    /// Weights outside the exponent.
    pub importance: Vec<f32>,
    /// Recent class shares before each row, `share_width` a row; empty when they are no inputs.
    pub shares: Vec<f32>,
    /// Recent shares a row: [`SHARES`] for each class that the batch knows in the end.
    pub share_width: usize,
    /// Rows to rehearse, in the same form. The first are the same for every member.
    pub rehearsed: Option<Box<Encoded>>,
}

impl Encoded {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.inputs[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn shares(&self, row: usize, classes: usize) -> &[f32] {
        let start = row * self.share_width;
        &self.shares[start..start + (classes * SHARES).min(self.share_width)]
    }

    /// How many of a row's inputs a member takes, the first.
    pub(super) fn width_of(&self, member: &MemberTask) -> usize {
        if member.model.pieces {
            self.width
        } else {
            self.plain_width
        }
    }

    /// Makes 0 in rows of these inputs what no earlier batch had: nothing was learned of it.
    pub(super) fn blank(&self, rows: usize, inputs: &mut [f32], width: usize) {
        let stride = inputs.len() / rows.max(1);
        for row in inputs.chunks_exact_mut(stride.max(1)) {
            for place in self.newborn.iter().take_while(|place| **place < width) {
                row[*place] = 0.0;
            }
        }
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Norm of the last gradient that was applied; `None` when nothing was learned.
    pub gradient_norm: Option<f64>,
    /// Examples whose weight met the cap.
    pub clipped: usize,
    /// Rows that were left out.
    pub quarantined: Vec<usize>,
    /// The model went back to an older one.
    pub went_back: bool,
}

/// A member's model and all that it needs to go on.
pub struct Member {
    pub(super) task: MemberTask,
    pub(super) seed: u64,
    pub(super) device: DeviceChoice,
    /// Inputs that come from features, of those of the encoder the first.
    pub(super) width: usize,
    /// Which of them are buckets of one category, where first weights go by that.
    pub(super) categories: Vec<Range<usize>>,
    /// Whether recent class shares are inputs too.
    pub(super) with_shares: bool,
    pub(super) engine: Engine,
    /// Of its parameters; `None` where none is wanted.
    pub(super) average: Option<Average>,
    pub(super) normalizer: Normalizer,
    pub(super) statistics: WeightStatistics,
    pub(super) guard: Guard,
    pub(super) temperature: Temperature,
    /// Factor of the step size, while a drift is reacted to.
    pub(super) haste: f64,
    /// Examples before the sub-batch at hand.
    pub(super) examples: u64,
    pub(super) steps: u64,
    pub(super) skipped: u64,
    pub(super) last: LastBatch,
    pub(super) batch: Rows,
    pub(super) weights: Vec<f64>,
    learned: Learned,
    pub(super) lesson: Lesson,
    pub(super) counts: Vec<f64>,
    pub(super) coefficients: Vec<f32>,
    pub(super) seed_gradient: Vec<f32>,
}

/// The rows of one step: those of the sub-batch, then those that are rehearsed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub inputs: Vec<f32>,
    pub classes: Vec<u32>,
    pub importance: Vec<f32>,
    /// Kept where the loss is not plain cross-entropy.
    pub logits: Vec<f32>,
    pub probabilities: Vec<f32>,
    pub losses: Vec<f64>,
    /// How many are not rehearsed.
    pub fresh: usize,
}

impl Rows {
    fn push(&mut self, from: &Encoded, row: usize, width: usize, shares: &[f32]) {
        self.inputs.extend_from_slice(&from.row(row)[..width]);
        self.inputs.extend_from_slice(shares);
        self.classes.push(from.classes[row]);
        self.importance.push(from.importance[row]);
    }
}

/// What was learned of a batch, its rehearsed rows left out.
#[derive(Debug, Default)]
struct Learned {
    losses: Vec<f64>,
    weights: Vec<f64>,
    classes: Vec<u32>,
}

impl Member {
    /// A member that has learned nothing and knows no class.
    ///
    /// # Errors
    /// When the device cannot be opened.
    pub fn new(
        common: &Task,
        task: MemberTask,
        index: usize,
        encoder: &Encoder,
    ) -> Result<Self, model::Error> {
        // Members begin apart, so that they do not all err alike.
        let seed = common.seed.wrapping_add(index as u64);
        let width = if task.model.pieces {
            encoder.width()
        } else {
            encoder.plain_width()
        };
        // Momentum, whose steps are as large as the gradients, does not come away from wider first weights.
        let categories = match task.learner.optimizer {
            Optimizer::Adam => encoder.categories(),
            Optimizer::Momentum => Vec::new(),
        };
        let engine =
            || Engine::with_categories(&task.model, width, &categories, seed, &common.device);
        let average = (task.learner.averaging_examples > 0).then(engine);
        Ok(Self {
            engine: engine()?,
            average: average.transpose()?.map(Average::of),
            seed,
            device: common.device,
            width,
            categories,
            with_shares: common.codec.recent_shares,
            task,
            normalizer: Normalizer::new(),
            statistics: WeightStatistics::new(),
            guard: Guard::default(),
            temperature: Temperature::default(),
            haste: 1.0,
            examples: 0,
            steps: 0,
            skipped: 0,
            last: LastBatch::default(),
            batch: Rows::default(),
            weights: Vec::new(),
            learned: Learned::default(),
            lesson: Lesson::default(),
            counts: Vec::new(),
            coefficients: Vec::new(),
            seed_gradient: Vec::new(),
        })
    }

    /// What the last batch looked like to its parameters, or to their average.
    #[must_use]
    pub fn last_of(&self, averaged: bool) -> &LastBatch {
        match &self.average {
            Some(average) if averaged => &average.last,
            _ => &self.last,
        }
    }

    /// The next class joins.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn join(&mut self) -> Result<(), model::Error> {
        self.engine.add_class()?;
        if self.with_shares {
            self.engine.add_inputs(SHARES)?;
        }
        self.statistics.add_class();
        self.join_average()
    }

    /// All inputs of its model when so many classes are known, those that are left out among them.
    pub(super) fn inputs(&self, classes: usize) -> usize {
        let shares = if self.with_shares {
            classes * SHARES
        } else {
            0
        };
        self.width + shares
    }

    /// From now on these of the encoder's inputs take part.
    ///
    /// # Errors
    /// When the device fails.
    pub fn keep(&mut self, inputs: &Inputs) -> Result<(), model::Error> {
        let mut kept = inputs.kept(self.width);
        kept.extend(self.width..self.inputs(self.engine.classes()));
        if let Some(average) = &mut self.average {
            average.engine.keep_inputs(kept.clone())?;
        }
        self.engine.keep_inputs(kept)
    }

    /// Rows that a batch of `rows` rehearses.
    pub fn rehearses(&self, rows: usize) -> usize {
        rows.div_ceil(self.task.learner.batch_size) * self.task.learner.rehearsal_rows
    }

    /// Predicts a batch without learning it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn predict(&mut self, batch: &Encoded, classes: usize) -> Result<(), model::Error> {
        self.begin(batch, classes);
        self.predict_average(batch, classes)?;
        let size = self.task.learner.batch_size;
        let mut start = 0;
        while start < batch.len() {
            let end = (start + size).min(batch.len());
            self.gather(batch, start..end, 0..0);
            self.forward()?;
            self.note_predictions(start, end);
            start = end;
        }
        Ok(())
    }

    /// Predicts and learns a batch, sub-batch by sub-batch; `classes` are known after it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn take(&mut self, batch: &Encoded, classes: usize) -> Result<Outcome, model::Error> {
        self.begin(batch, classes);
        self.predict_average(batch, classes)?;
        let (size, rehearsal) = (
            self.task.learner.batch_size,
            self.task.learner.rehearsal_rows,
        );
        let mut outcome = Outcome::default();
        let (mut start, mut rehearsed) = (0, 0);
        while start < batch.len() {
            let end = (start + size).min(batch.len());
            let drawn = rehearsed..rehearsed + rehearsal;
            rehearsed = drawn.end;
            self.gather(batch, start..end, drawn.clone());
            let unmet = !batch.newborn.is_empty();
            if unmet {
                let (rows, width) = (self.batch.classes.len(), batch.width_of(&self.task));
                batch.blank(rows, &mut self.batch.inputs, width);
            }
            self.forward()?;
            self.note_predictions(start, end);
            if self.meet(&batch.classes[start..end])? || unmet {
                self.gather(batch, start..end, drawn);
                self.forward()?;
            }
            self.learn_or_rescue(start, &mut outcome)?;
            self.examples += (end - start) as u64;
            start = end;
        }
        self.follow(batch.len(), outcome.went_back)?;
        let Learned {
            losses,
            weights,
            classes,
        } = &self.learned;
        self.statistics
            .observe(losses, weights, classes, outcome.clipped);
        Ok(outcome)
    }

    fn begin(&mut self, batch: &Encoded, classes: usize) {
        self.last.begin(batch.len(), classes);
        self.last.losses.clear();
        self.learned.losses.clear();
        self.learned.weights.clear();
        self.learned.classes.clear();
    }

    /// Takes up `fresh` rows of the batch, with the shares as they were before the first of them, and then those that were
    /// drawn to be rehearsed.
    fn gather(&mut self, batch: &Encoded, fresh: Range<usize>, drawn: Range<usize>) {
        let known = if self.with_shares {
            self.engine.classes()
        } else {
            0
        };
        let width = batch.width_of(&self.task);
        let rows = &mut self.batch;
        rows.inputs.clear();
        rows.classes.clear();
        rows.importance.clear();
        rows.fresh = fresh.len();
        for row in fresh.clone() {
            rows.push(batch, row, width, batch.shares(fresh.start, known));
        }
        if let Some(rehearsed) = &batch.rehearsed {
            for row in drawn.start..drawn.end.min(rehearsed.len()) {
                rows.push(rehearsed, row, width, rehearsed.shares(row, known));
            }
        }
    }

    /// Probabilities and losses of the rows at hand.
    pub(super) fn forward(&mut self) -> Result<(), model::Error> {
        let rows = &mut self.batch;
        let known = self.engine.classes();
        let logits = self.engine.forward(&rows.inputs, rows.classes.len())?;
        loss::softmax_cross_entropy(
            logits,
            known,
            &rows.classes,
            &mut rows.probabilities,
            &mut rows.losses,
        );
        rows.logits.clear();
        if !self.task.loss.is_plain() {
            rows.logits.extend_from_slice(logits);
        }
        Ok(())
    }

    fn note_predictions(&mut self, start: usize, end: usize) {
        let known = self.engine.classes();
        for row in start..end {
            let from = (row - start) * known;
            let probabilities = &self.batch.probabilities[from..from + known];
            self.last.note(row, probabilities);
            self.last.losses.push(self.batch.losses[row - start]);
        }
    }

    /// Lets the classes of these labels join; true when one was new.
    fn meet(&mut self, labels: &[u32]) -> Result<bool, model::Error> {
        let before = self.engine.classes();
        let needed = labels.iter().max().map_or(0, |class| *class as usize + 1);
        while self.engine.classes() < needed {
            self.join()?;
        }
        Ok(self.engine.classes() > before)
    }

    fn learn_or_rescue(&mut self, start: usize, outcome: &mut Outcome) -> Result<(), model::Error> {
        let fresh = self.batch.fresh;
        let mut verdict = self.learn()?;
        let mut places: Vec<usize> = Vec::new();
        if verdict == Verdict::SkippedNonFinite {
            let rescue = self.rescue()?;
            verdict = rescue.verdict;
            places = rescue.learned;
            let guilty = rescue.quarantined.into_iter().filter(|row| *row < fresh);
            outcome.quarantined.extend(guilty.map(|row| start + row));
            outcome.went_back |= rescue.went_back;
        } else {
            places.extend(0..fresh);
        }
        match verdict {
            Verdict::Applied {
                gradient_norm,
                clipped,
            } => {
                self.steps += 1;
                outcome.gradient_norm = Some(gradient_norm);
                outcome.clipped += clipped;
                self.note_learned(start, fresh, &places);
            }
            Verdict::SkippedNonFinite => self.skipped += 1,
        }
        self.guard.batch_over(&self.engine)
    }

    /// The rows at hand, which stood at these places, were learned.
    fn note_learned(&mut self, start: usize, fresh: usize, places: &[usize]) {
        let fresh = places.iter().take_while(|place| **place < fresh);
        for (row, place) in fresh.enumerate() {
            self.last.weights[start + place] = self.weights[row];
            self.learned.losses.push(self.batch.losses[row]);
            self.learned.weights.push(self.weights[row]);
            self.learned.classes.push(self.batch.classes[row]);
        }
    }
}
