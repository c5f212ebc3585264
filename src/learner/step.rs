//! One step on one screen: predict first, then weigh, then learn; commit all of it or none.
//!
//! The batch is encoded once. Every member predicts and learns it on its own ([`super::member`]); what is served, scored
//! and shown is their mixture ([`super::mixture`]). In single mode there is one member, and the mixture is that member.

use std::sync::Arc;

use super::batcher::Batch;
use super::inputs::Inputs;
use super::member::{Encoded, Member, Outcome};
use super::mixture::Mixture;
use super::portfolio::Voice;
use super::reaction::Reaction;
use super::rehearsal::Memory;
use super::settings::Task;
use super::{Error, portfolio};
use crate::codec::{Encoder, RecentShares, SHARES, Schema};
use crate::evaluate::{Judge, Live, log_loss};
use crate::model;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The parameters moved.
    Applied {
        /// Norm of the mean weighted gradient, before clipping; of several members, that of the one with the largest share.
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
    /// True when a model went back to an older one: see [`super::guard`].
    pub went_back: bool,
}

/// What the last batch looked like to a member, or as served, before and while it was learned. Arrays are reused.
#[derive(Debug, Default)]
pub struct LastBatch {
    /// Values a row of `predicted`: the classes after the batch.
    pub stride: usize,
    /// Classes known when each row was predicted.
    pub known: Vec<usize>,
    /// Predicted probabilities, `stride` a row, 0 for a class that was not known.
    pub predicted: Vec<f32>,
    /// Prequential losses, one an example.
    pub losses: Vec<f64>,
    /// ABSGD weights, one an example, 0 where it was left out. What is served has those of the member with the largest
    /// share, and none where that one learned nothing.
    pub weights: Vec<f64>,
}

impl LastBatch {
    /// Makes room for a batch of `rows` in which `classes` are known in the end.
    pub(super) fn begin(&mut self, rows: usize, classes: usize) {
        self.stride = classes;
        self.predicted.clear();
        self.predicted.resize(rows * classes, 0.0);
        self.known.clear();
        self.weights.clear();
        self.weights.resize(rows, 0.0);
    }

    /// Notes the prediction of the next row.
    pub(super) fn note(&mut self, row: usize, probabilities: &[f32]) {
        let start = row * self.stride;
        self.predicted[start..start + probabilities.len()].copy_from_slice(probabilities);
        self.known.push(probabilities.len());
    }

    /// Predicted probabilities of one row, of the classes known then.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.predicted[self.place(row)]
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let place = self.place(row);
        &mut self.predicted[place]
    }

    /// Where the predicted probabilities of a row are.
    fn place(&self, row: usize) -> std::ops::Range<usize> {
        let start = row * self.stride;
        start..start + self.known[row]
    }
}

/// Everything that a step reads and writes.
pub struct Core {
    pub(super) task: Task,
    pub(super) schema: Arc<Schema>,
    pub(super) classes: Vec<Arc<str>>,
    pub(super) encoder: Encoder,
    /// Recent class shares, where they are inputs.
    pub(super) shares: Option<RecentShares>,
    pub(super) memory: Memory,
    pub(super) members: Vec<Member>,
    /// Those that predict, in the order of the mixture's weights.
    pub(super) voices: Vec<Voice>,
    pub(super) mixture: Mixture,
    pub(super) live: Live,
    pub(super) judge: Judge,
    pub(super) reaction: Reaction,
    pub(super) step: u64,
    pub(super) examples: u64,
    pub(super) nonfinite_steps: u64,
    pub(super) last: LastBatch,
    /// Which of the encoder's inputs take part.
    pub(super) inputs: Arc<Inputs>,
    pub(super) encoded: Encoded,
    /// All inputs of the rows at hand, and of those that are rehearsed.
    pub(super) whole: [Vec<f32>; 2],
    /// Predictions of the last batch before they were calibrated.
    learned: Vec<f32>,
    /// Raw values of the rows that are rehearsed.
    drawn: Vec<f32>,
}

impl Core {
    /// A core that has learned nothing; classes that the settings give are known from the start.
    ///
    /// # Errors
    /// When the device cannot be opened, or the settings of a member cannot work.
    pub fn new(task: Task, schema: Arc<Schema>) -> Result<Self, Error> {
        let tasks = task.members().map_err(Error::of_settings)?;
        let mut encoder = Encoder::new(&schema, task.codec.encoding, task.seed);
        if tasks.iter().any(|member| member.model.pieces) {
            encoder = encoder.with_pieces();
        }
        let voices = portfolio::voices(&tasks);
        let mut members = Vec::new();
        for (index, member) in tasks.into_iter().enumerate() {
            members.push(Member::new(&task, member, index, &encoder)?);
        }
        let given = task.codec.classes.clone();
        let mut core = Self {
            live: Live::new(&task.evaluation),
            judge: Judge::new(&task.decision),
            reaction: Reaction::default(),
            shares: task.codec.recent_shares.then(RecentShares::default),
            memory: Memory::new(room(&members)),
            mixture: Mixture::new(voices.len(), task.evaluation.objective),
            voices,
            members,
            inputs: Arc::new(Inputs::new(encoder.width())),
            encoder,
            task,
            schema,
            classes: Vec::new(),
            step: 0,
            examples: 0,
            nonfinite_steps: 0,
            last: LastBatch::default(),
            encoded: Encoded::default(),
            whole: [Vec::new(), Vec::new()],
            learned: Vec::new(),
            drawn: Vec::new(),
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
        let classes = self.classes.len() + new_classes.len();
        let shares = self.encode(batch, classes);
        self.rehearse(batch.len());
        self.meet_inputs()?;
        self.pick_inputs();
        self.pace();
        let mut outcomes = Vec::with_capacity(self.members.len());
        for member in &mut self.members {
            outcomes.push(member.take(&self.encoded, classes)?);
        }
        for class in new_classes {
            self.note_class(Arc::clone(class));
        }
        self.serve(batch, true);
        self.score(batch);
        let report = self.conclude(batch, outcomes);
        self.remember(batch, &report.quarantined);
        self.shares = shares;
        let lasts = lasts(&self.voices, &self.members);
        self.mixture.learn(&lasts, &batch.classes);
        self.react()?;
        self.narrow_inputs()?;
        Ok(report)
    }

    /// Place of the member whose voice has the largest share.
    pub(super) fn lead(&self) -> usize {
        self.voices[self.mixture.lead()].member
    }

    /// Counts what the members made of the batch.
    fn conclude(&mut self, batch: &Batch, outcomes: Vec<Outcome>) -> StepReport {
        let lead = self.lead();
        let verdict = match outcomes[lead].gradient_norm {
            Some(gradient_norm) => Verdict::Applied {
                gradient_norm,
                clipped: outcomes[lead].clipped,
            },
            None => Verdict::SkippedNonFinite,
        };
        self.last.weights.clear();
        if outcomes[lead].gradient_norm.is_some() {
            let weights = &self.members[lead].last.weights;
            self.last.weights.extend_from_slice(weights);
        }
        self.examples += batch.len() as u64;
        let applied = outcomes
            .iter()
            .any(|outcome| outcome.gradient_norm.is_some());
        self.step += u64::from(applied);
        self.nonfinite_steps += u64::from(verdict == Verdict::SkippedNonFinite);
        let mut quarantined: Vec<usize> = Vec::new();
        for outcome in &outcomes {
            quarantined.extend(&outcome.quarantined);
        }
        quarantined.sort_unstable();
        quarantined.dedup();
        StepReport {
            step: self.step,
            examples: self.examples,
            taken: self.examples,
            batch: batch.len(),
            loss: mean(&self.last.losses),
            verdict,
            quarantined,
            went_back: outcomes.iter().any(|outcome| outcome.went_back),
        }
    }

    /// What later batches know of this one: moments, rows to rehearse.
    fn remember(&mut self, batch: &Batch, quarantined: &[usize]) {
        let width = self.schema.features.len();
        let sound = |row: &usize| !quarantined.contains(row);
        let rows = (0..batch.len()).filter(sound);
        self.encoder.observe(
            rows.clone()
                .map(|row| &batch.rows[row * width..(row + 1) * width]),
        );
        let first = self.examples - batch.len() as u64;
        let share_width = self.encoded.share_width;
        for row in rows {
            let shares = &self.encoded.shares[row * share_width..(row + 1) * share_width];
            let number = first + row as u64;
            self.memory
                .enter(self.task.seed, number, batch, row, width, shares);
        }
    }

    /// Predicts a batch with the state as it is: fills `last` without weights. `classes` are known to those who ask.
    ///
    /// # Errors
    /// Only when the engine itself fails.
    pub fn predict(&mut self, batch: &Batch, classes: usize) -> Result<(), model::Error> {
        self.encode(batch, classes);
        self.pick_inputs();
        for member in &mut self.members {
            member.predict(&self.encoded, classes)?;
        }
        self.serve(batch, false);
        self.last.weights.clear();
        Ok(())
    }

    /// Encodes the batch with what was known before it; gives the class shares after it.
    fn encode(&mut self, batch: &Batch, classes: usize) -> Option<RecentShares> {
        let features = self.schema.features.len();
        let encoded = &mut self.encoded;
        self.encoder
            .encode(batch.rows.chunks_exact(features), &mut self.whole[0]);
        self.whole[1].clear();
        encoded.classes.clone_from(&batch.classes);
        encoded.importance.clone_from(&batch.importance);
        encoded.shares.clear();
        encoded.share_width = 0;
        let mut shares = self.shares.clone()?;
        encoded.share_width = classes * SHARES;
        for class in &batch.classes {
            shares.write(classes, &mut encoded.shares);
            shares.observe(*class);
        }
        Some(shares)
    }

    /// Draws and encodes the rows that are rehearsed with the batch.
    fn rehearse(&mut self, rows: usize) {
        let wanted = self.members.iter().map(|member| member.rehearses(rows));
        let wanted = wanted.max().unwrap_or(0);
        let mut drawn = self.encoded.rehearsed.take().unwrap_or_default();
        drawn.share_width = self.encoded.share_width;
        let (seed, examples) = (self.task.seed, self.examples);
        self.memory
            .draw(seed, examples, wanted, &mut self.drawn, &mut drawn);
        let features = self.schema.features.len();
        self.encoder
            .encode(self.drawn.chunks_exact(features), &mut self.whole[1]);
        self.encoded.rehearsed = Some(drawn);
    }

    /// Makes of the members' predictions what would have been served: mixed, and calibrated where that is on.
    fn serve(&mut self, batch: &Batch, learns: bool) {
        let lasts = lasts(&self.voices, &self.members);
        self.mixture
            .mix(&lasts, &batch.classes, &mut self.last, learns);
        self.learned.clone_from(&self.last.predicted);
        for (row, class) in batch.classes.iter().enumerate() {
            let predicted = self.last.row_mut(row);
            if self.judge.served().calibrate(predicted) {
                self.last.losses[row] = log_loss(*class, predicted);
            }
        }
    }

    /// Every example is scored before it is learned.
    fn score(&mut self, batch: &Batch) {
        for (row, class) in batch.classes.iter().enumerate() {
            let (class, served) = (*class, self.last.row(row));
            self.live.observe(class, served, self.last.losses[row]);
            let learned = &self.learned[self.last.place(row)];
            self.judge
                .observe(class as usize, learned, served, batch.times[row]);
        }
    }

    /// A class joins: the members, the mixture and the metrics each get a place for it.
    pub(super) fn join(&mut self, class: Arc<str>) -> Result<(), model::Error> {
        for member in &mut self.members {
            member.join()?;
        }
        self.note_class(class);
        Ok(())
    }

    /// The members know the class already.
    fn note_class(&mut self, class: Arc<str>) {
        self.judge.add_class(&class);
        self.classes.push(class);
        self.live.add_class();
    }

    /// Takes over settings from the next step on. The members stay the same.
    pub(super) fn set(&mut self, task: Task) -> Result<(), Error> {
        let members = task.members().map_err(Error::of_settings)?;
        for (member, task) in self.members.iter_mut().zip(members) {
            member.task = task;
        }
        self.task = task;
        Ok(())
    }
}

/// What the last batch looked like to each voice.
fn lasts<'a>(voices: &[Voice], members: &'a [Member]) -> Vec<&'a LastBatch> {
    let of_voice = |voice: &Voice| members[voice.member].last_of(voice.averaged);
    voices.iter().map(of_voice).collect()
}

/// Rows a class that the members want to rehearse from.
fn room(members: &[Member]) -> usize {
    let rooms = members.iter().map(|member| &member.task.learner);
    rooms
        .filter(|learner| learner.rehearsal_rows > 0)
        .map(|learner| learner.rehearsal_memory)
        .max()
        .unwrap_or(0)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Name under which a member's part of the state stands; none where there is only one.
pub(super) fn prefix(member: &Member, members: usize) -> String {
    if members == 1 && member.task.name == portfolio::SINGLE {
        String::new()
    } else {
        format!("member.{}.", member.task.name)
    }
}
