//! One step on one screen: predict first, then weigh, then learn; commit all of it or none.

use std::sync::Arc;

use super::batcher::Batch;
use super::guard::Guard;
use super::rescue::Rescue;
use super::settings::Task;
use crate::absgd::stats::WeightStatistics;
use crate::absgd::{Normalizer, clip_scale};
use crate::codec::{Encoder, Schema};
use crate::evaluate::{Judge, Live, log_loss};
use crate::loss;
use crate::model::{self, Engine};

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The parameters moved.
    Applied {
        /// Norm of the mean weighted gradient, before clipping.
        gradient_norm: f64,
        /// Examples whose weight met the cap.
        clipped: usize,
    },
    /// A loss or the gradient was not finite: nothing of the step was committed.
    SkippedNonFinite,
}

/// Facts about one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Steps so far, this one included if it was applied.
    pub step: u64,
    /// Examples so far, this batch included.
    pub examples: u64,
    /// Examples so far, those included that a rollback took back: see [`super::Learner::taken`].
    pub taken: u64,
    /// Examples of this batch.
    pub batch: usize,
    /// Mean loss of this batch, before it was learned.
    pub loss: f64,
    /// What became of it.
    pub verdict: Verdict,
    /// Places in the batch of examples that were left out, because no sound model gives them a finite loss and gradient.
    pub quarantined: Vec<usize>,
    /// True when the model went back to an older one: see [`super::guard`].
    pub went_back: bool,
}

/// What the last batch looked like, before and while it was learned. Arrays are reused.
#[derive(Debug, Default)]
pub struct LastBatch {
    /// Classes known when it was predicted.
    pub known: usize,
    /// Predicted probabilities, `known` a row.
    pub predicted: Vec<f32>,
    /// Prequential losses, one an example.
    pub losses: Vec<f64>,
    /// ABSGD weights, one an example; empty where nothing was learned.
    pub weights: Vec<f64>,
}

/// Everything that a step reads and writes.
pub struct Core {
    pub(super) task: Task,
    pub(super) schema: Arc<Schema>,
    pub(super) classes: Vec<Arc<str>>,
    pub(super) encoder: Encoder,
    pub(super) engine: Engine,
    pub(super) normalizer: Normalizer,
    pub(super) statistics: WeightStatistics,
    pub(super) live: Live,
    pub(super) judge: Judge,
    pub(super) step: u64,
    pub(super) examples: u64,
    pub(super) nonfinite_steps: u64,
    pub(super) guard: Guard,
    pub(super) last: LastBatch,
    pub(super) inputs: Vec<f32>,
    pub(super) probabilities: Vec<f32>,
    /// The predictions of the last batch before they were calibrated.
    learned: Vec<f32>,
    pub(super) losses: Vec<f64>,
    coefficients: Vec<f32>,
    seed_gradient: Vec<f32>,
}

impl Core {
    /// A core that has learned nothing; classes that the settings give are known from the start.
    ///
    /// # Errors
    /// When the device cannot be opened.
    pub fn new(task: Task, schema: Arc<Schema>) -> Result<Self, model::Error> {
        let encoder = Encoder::new(&schema, task.codec.encoding);
        let engine = Engine::new(&task.model, encoder.width(), task.seed, &task.device)?;
        let given = task.codec.classes.clone();
        let mut core = Self {
            live: Live::new(&task.evaluation),
            judge: Judge::new(&task.decision),
            statistics: WeightStatistics::new(),
            normalizer: Normalizer::new(),
            encoder,
            engine,
            task,
            schema,
            classes: Vec::new(),
            step: 0,
            examples: 0,
            nonfinite_steps: 0,
            guard: Guard::default(),
            last: LastBatch::default(),
            inputs: Vec::new(),
            probabilities: Vec::new(),
            learned: Vec::new(),
            losses: Vec::new(),
            coefficients: Vec::new(),
            seed_gradient: Vec::new(),
        };
        for class in given {
            core.join(Arc::from(class))?;
        }
        Ok(core)
    }

    /// Predicts, scores and learns one batch. `new_classes` are those that it brings, in class order.
    ///
    /// # Errors
    /// Only when the engine itself fails: a broken invariant or a lost device.
    pub fn step(
        &mut self,
        batch: &Batch,
        new_classes: &[Arc<str>],
    ) -> Result<StepReport, model::Error> {
        self.predict(batch)?;
        self.losses.clone_from(&self.last.losses);
        self.probabilities.clone_from(&self.last.predicted);
        self.serve(batch);
        self.score(batch);
        let loss = mean(&self.last.losses);
        if !new_classes.is_empty() {
            for class in new_classes {
                self.join(Arc::clone(class))?;
            }
            let logits = self.engine.forward(&self.inputs, batch.len())?;
            loss::softmax_cross_entropy(
                logits,
                self.classes.len(),
                &batch.classes,
                &mut self.probabilities,
                &mut self.losses,
            );
        }
        let Rescue {
            verdict,
            quarantined,
            went_back,
        } = match self.learn(&batch.classes, &batch.importance)? {
            Verdict::SkippedNonFinite => self.rescue(batch)?,
            verdict => Rescue {
                verdict,
                quarantined: Vec::new(),
                went_back: false,
            },
        };
        self.examples += batch.len() as u64;
        match verdict {
            Verdict::Applied { .. } => self.step += 1,
            Verdict::SkippedNonFinite => self.nonfinite_steps += 1,
        }
        let rows = self.rows(batch).enumerate();
        self.encoder
            .observe(rows.filter_map(|(at, row)| (!quarantined.contains(&at)).then_some(row)));
        self.guard.batch_over(&self.engine)?;
        Ok(StepReport {
            step: self.step,
            examples: self.examples,
            taken: self.examples,
            batch: batch.len(),
            loss,
            verdict,
            quarantined,
            went_back,
        })
    }

    /// Predicts a batch with the state as it is: fills `last` without weights.
    ///
    /// # Errors
    /// Only when the engine itself fails.
    pub fn predict(&mut self, batch: &Batch) -> Result<(), model::Error> {
        self.inputs.clear();
        let width = self.schema.features.len();
        self.encoder
            .encode(batch.rows.chunks_exact(width), &mut self.inputs);
        let logits = self.engine.forward(&self.inputs, batch.len())?;
        self.last.known = self.classes.len();
        self.last.weights.clear();
        loss::softmax_cross_entropy(
            logits,
            self.last.known,
            &batch.classes,
            &mut self.last.predicted,
            &mut self.last.losses,
        );
        Ok(())
    }

    /// Turns the predictions in `last` into what is served.
    pub(super) fn serve(&mut self, batch: &Batch) {
        self.learned.clone_from(&self.last.predicted);
        let rows = self.last.predicted.chunks_exact_mut(self.last.known.max(1));
        for ((row, class), loss) in rows.zip(&batch.classes).zip(&mut self.last.losses) {
            if self.judge.served().calibrate(row) {
                *loss = log_loss(*class, row);
            }
        }
    }

    /// Every example is scored before it is learned.
    fn score(&mut self, batch: &Batch) {
        let known = self.last.known;
        for (index, class) in batch.classes.iter().enumerate() {
            let row = index * known..(index + 1) * known;
            let served = &self.last.predicted[row.clone()];
            self.live.observe(*class, served, self.last.losses[index]);
            self.judge
                .observe(*class as usize, &self.learned[row], served, None);
        }
    }

    /// Losses -> weights -> weighted gradient -> clip -> momentum. Equation 7 of the paper is in `absgd`.
    pub(super) fn learn(
        &mut self,
        classes: &[u32],
        importance: &[f32],
    ) -> Result<Verdict, model::Error> {
        if !self.losses.iter().all(|loss| loss.is_finite()) {
            return Ok(Verdict::SkippedNonFinite);
        }
        let settings = self.task.learner.weights();
        let proposal = self
            .normalizer
            .propose(&settings, &self.losses, &mut self.last.weights);

        let share = 1.0 / classes.len() as f64;
        self.coefficients.clear();
        self.coefficients.extend(
            self.last
                .weights
                .iter()
                .zip(importance)
                .map(|(weight, importance)| (weight * f64::from(*importance) * share) as f32),
        );
        loss::seed_gradient(
            &self.probabilities,
            self.classes.len(),
            classes,
            &self.coefficients,
            &mut self.seed_gradient,
        );
        let norm_squared =
            self.engine
                .backward(&self.inputs, classes.len(), &self.seed_gradient)?;
        if !norm_squared.is_finite() {
            self.last.weights.clear();
            return Ok(Verdict::SkippedNonFinite);
        }
        let gradient_norm = norm_squared.sqrt();
        let scale = clip_scale(gradient_norm, self.task.learner.clip_norm);

        let mut rule = self.task.learner.update_rule();
        rule.learning_rate *= self.guard.rate();
        self.engine.apply(&rule, scale)?;
        self.normalizer = proposal.next;
        self.statistics
            .observe(&self.losses, &self.last.weights, classes, proposal.clipped);
        Ok(Verdict::Applied {
            gradient_norm,
            clipped: proposal.clipped,
        })
    }

    /// A class joins: the model, the statistics and the metrics each get a place for it.
    pub(super) fn join(&mut self, class: Arc<str>) -> Result<(), model::Error> {
        self.engine.add_class()?;
        self.classes.push(class);
        self.statistics.add_class();
        self.judge
            .add_class(self.classes.last().map_or("", |class| &**class));
        self.live.add_class();
        Ok(())
    }

    fn rows<'a>(&self, batch: &'a Batch) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        batch.rows.chunks_exact(self.schema.features.len())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
