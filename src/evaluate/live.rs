//! Prequential metrics of a stream that never ends, in bounded memory. They are part of the learning state.

use std::collections::VecDeque;
use std::sync::Arc;

use super::report::{EvaluationReport, Scores};
use super::sketch::{BINS, Sketch};
use super::tops::Tops;
use super::{SMALLEST_PROBABILITY, Settings, rare_classes};
use crate::state::{Error, State};

/// The live scorer: sums since start, and the last `window` predictions as they were.
///
/// Memory: 24 kB, and 16 kB a class, for the sums; 24 bytes an example and 4 a class for the window.
///
/// ```
/// use skewd::evaluate::{Live, Settings};
/// let mut live = Live::new(&Settings::default());
/// live.add_class();
/// live.add_class();
/// live.observe(1, &[0.75, 0.25], 4f64.ln());
/// live.observe(0, &[0.75, 0.25], -(0.75f64.ln()));
/// let report = live.report(&["ok".into(), "fraud".into(), "new".into()]);
/// assert_eq!(report.examples, 2);
/// assert_eq!(report.since_start.accuracy, Some(0.5));
/// assert_eq!(report.since_start.recall.get("new"), Some(&None));
/// assert_eq!(report.since_start.undefined["recall.new"], "no example of this class yet");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    window: usize,
    /// Classes announced by `add_class`; the sums may be ahead of it by the labels of the current batch.
    announced: usize,
    since_start: Sketch,
    recent: Recent,
}

/// The last predictions, oldest first, packed.
#[derive(Debug, Clone, PartialEq, Default)]
struct Recent {
    labels: VecDeque<u64>,
    known: VecDeque<u64>,
    losses: VecDeque<f64>,
    probabilities: VecDeque<f32>,
}

impl Live {
    /// Nothing seen, no classes.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            window: settings.window.max(1),
            announced: 0,
            since_start: Sketch::default(),
            recent: Recent::default(),
        }
    }

    /// A class joined. Labels of it may have been observed before or after this call: both orders give the
    /// same state.
    pub fn add_class(&mut self) {
        self.announced += 1;
        self.since_start.grow(self.announced);
    }

    /// Scores one example as it was predicted before it was learned.
    ///
    /// `label` is its class index, `probabilities` those of the classes known then, in class order (possibly
    /// none), `loss` the natural-log loss of the label. Losses count at most `-ln` of
    /// [`SMALLEST_PROBABILITY`], which non-finite ones become.
    pub fn observe(&mut self, label: u32, probabilities: &[f32], loss: f64) {
        let largest = -SMALLEST_PROBABILITY.ln();
        let loss = if loss.is_finite() {
            loss.min(largest)
        } else {
            largest
        };
        self.since_start.add(label as usize, probabilities, loss);
        self.recent.push(label, probabilities, loss);
        self.recent.shrink(self.window);
    }

    /// Examples scored since start.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.since_start.examples()
    }

    /// Every figure, since start and over the window. Cost: one walk over the window and the histograms.
    #[must_use]
    pub fn report(&self, class_names: &[Arc<str>]) -> EvaluationReport {
        let rare = rare_classes(&self.since_start.confusion.labelled);
        let window = self.recent.sketch(self.since_start.classes());
        EvaluationReport {
            examples: self.since_start.examples(),
            window_examples: window.examples(),
            since_start: Scores::of(&self.since_start, class_names, &rare, "yet"),
            window: Scores::of(&window, class_names, &rare, "in the window"),
        }
    }

    /// Writes the sketches under `evaluation.`.
    pub fn save(&self, state: &mut State) {
        let sums = &self.since_start;
        let classes = [self.announced as u64, sums.classes() as u64];
        state.put_u64("evaluation.classes", classes.to_vec());
        state.put_u64("evaluation.labelled", sums.confusion.labelled.clone());
        state.put_u64("evaluation.correct", sums.confusion.correct.clone());
        state.put_u64("evaluation.predicted", sums.confusion.predicted.clone());
        state.put_u64("evaluation.positives", sums.positives.clone());
        state.put_u64("evaluation.negatives", sums.negatives.clone());
        state.put_f64("evaluation.sums", vec![sums.loss, sums.brier]);
        sums.tops.save(state);
        self.recent.save(state);
    }

    /// Reads what [`Live::save`] wrote. A smaller `window` than the saved one keeps the newest predictions.
    ///
    /// # Errors
    /// When an entry is missing or its length does not fit the others.
    pub fn load(settings: &Settings, state: &State) -> Result<Self, Error> {
        let classes = state.u64_exact("evaluation.classes", 2)?;
        let (announced, len) = (classes[0] as usize, classes[1] as usize);
        let mut sums = Sketch::default();
        sums.confusion.labelled = state.u64_exact("evaluation.labelled", len)?.to_vec();
        sums.confusion.correct = state.u64_exact("evaluation.correct", len)?.to_vec();
        sums.confusion.predicted = state.u64_exact("evaluation.predicted", len)?.to_vec();
        sums.positives = state
            .u64_exact("evaluation.positives", len * BINS)?
            .to_vec();
        sums.negatives = state
            .u64_exact("evaluation.negatives", len * BINS)?
            .to_vec();
        let totals = state.f64_exact("evaluation.sums", 2)?;
        (sums.loss, sums.brier) = (totals[0], totals[1]);
        sums.tops = Tops::load(state)?;
        let mut live = Self {
            announced,
            since_start: sums,
            recent: Recent::load(state, classes[1])?,
            ..Self::new(settings)
        };
        live.recent.shrink(live.window);
        Ok(live)
    }
}

impl Recent {
    fn push(&mut self, label: u32, probabilities: &[f32], loss: f64) {
        self.labels.push_back(u64::from(label));
        self.known.push_back(probabilities.len() as u64);
        self.losses.push_back(loss);
        self.probabilities.extend(probabilities);
    }

    /// Drops the oldest predictions beyond `window`.
    fn shrink(&mut self, window: usize) {
        while self.labels.len() > window {
            self.labels.pop_front();
            self.losses.pop_front();
            let known = self.known.pop_front().unwrap_or(0) as usize;
            self.probabilities.drain(..known);
        }
    }

    /// The sums over the window.
    fn sketch(&self, classes: usize) -> Sketch {
        let mut sketch = Sketch::new(classes);
        let mut probabilities = self.probabilities.iter();
        let mut row = Vec::with_capacity(classes);
        for ((&label, &known), &loss) in self.labels.iter().zip(&self.known).zip(&self.losses) {
            row.clear();
            row.extend(probabilities.by_ref().take(known as usize));
            sketch.add(label as usize, &row, loss);
        }
        sketch
    }

    fn save(&self, state: &mut State) {
        state.put_u64(
            "evaluation.window.labels",
            self.labels.iter().copied().collect(),
        );
        state.put_u64(
            "evaluation.window.known",
            self.known.iter().copied().collect(),
        );
        state.put_f64(
            "evaluation.window.losses",
            self.losses.iter().copied().collect(),
        );
        let probabilities: Vec<f32> = self.probabilities.iter().copied().collect();
        state.put_f32(
            "evaluation.window.probabilities",
            vec![probabilities.len()],
            probabilities,
        );
    }

    fn load(state: &State, classes: u64) -> Result<Self, Error> {
        let known = state.u64("evaluation.window.known")?;
        let labels = state.u64_exact("evaluation.window.labels", known.len())?;
        if known.iter().any(|&known| known > classes)
            || labels.iter().any(|&label| label >= classes)
        {
            return Err(Error::Mismatch {
                name: "evaluation.window.labels".to_owned(),
                found: "a class beyond the known ones".to_owned(),
                expected: format!("classes below {classes}"),
            });
        }
        let cells = known.iter().sum::<u64>() as usize;
        let probabilities = state.f32_exact("evaluation.window.probabilities", cells)?;
        let losses = state.f64_exact("evaluation.window.losses", known.len())?;
        Ok(Self {
            labels: labels.to_vec().into(),
            known: known.to_vec().into(),
            losses: losses.to_vec().into(),
            probabilities: probabilities.to_vec().into(),
        })
    }
}
