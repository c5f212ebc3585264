//! Handles for what is counted on every record and every step: a lookup by name would cost more than the count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::CLASS_LABELS;
use crate::codec::Reason;
use crate::example::Record;
use crate::learner::{LastBatch, StepReport, Verdict};

/// Label of the classes that have none of their own.
const OTHER: &str = "other";

struct ClassMeters {
    examples: Counter,
    loss: Histogram,
    weight: Histogram,
}

impl ClassMeters {
    fn new(class: &str) -> Self {
        Self {
            examples: counter!("skewd_train_examples_total", "class" => class.to_owned()),
            loss: histogram!("skewd_loss", "class" => class.to_owned()),
            weight: histogram!("skewd_example_weight", "class" => class.to_owned()),
        }
    }
}

fn by_reason(name: &'static str) -> Vec<Counter> {
    Reason::ALL
        .iter()
        .map(|reason| counter!(name, "reason" => reason.as_str()))
        .collect()
}

/// The meters of the learner's thread. Made after [`super::install`]; known series start at 0.
pub struct Meters {
    topic: String,
    consumed: BTreeMap<i32, Counter>,
    newest: Gauge,
    newest_ms: i64,
    unlabelled: Counter,
    thinned: Counter,
    rejected: Vec<Counter>,
    steps: Counter,
    skipped: Counter,
    quarantined: Counter,
    went_back: Counter,
    clipped: Counter,
    step_seconds: Histogram,
    batch_size: Histogram,
    gradient_norm: Gauge,
    classes: Vec<ClassMeters>,
    other: Option<ClassMeters>,
}

impl Meters {
    /// Meters for a stream named `topic`.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        let meters = Self {
            topic: topic.to_owned(),
            consumed: BTreeMap::new(),
            newest: gauge!("skewd_last_event_timestamp_seconds"),
            newest_ms: 0,
            unlabelled: counter!("skewd_events_unlabelled_total"),
            thinned: counter!("skewd_examples_thinned_total"),
            rejected: by_reason("skewd_events_rejected_total"),
            steps: counter!("skewd_train_steps_total"),
            skipped: counter!("skewd_nonfinite_steps_total"),
            quarantined: counter!("skewd_examples_quarantined_total"),
            went_back: counter!("skewd_guard_rollbacks_total"),
            clipped: counter!("skewd_weight_clipped_total"),
            step_seconds: histogram!("skewd_train_step_duration_seconds"),
            batch_size: histogram!("skewd_train_batch_size"),
            gradient_norm: gauge!("skewd_gradient_norm"),
            classes: Vec::new(),
            other: None,
        };
        for counter in [
            &meters.unlabelled,
            &meters.thinned,
            &meters.steps,
            &meters.skipped,
            &meters.quarantined,
            &meters.went_back,
            &meters.clipped,
        ] {
            counter.increment(0);
        }
        for counter in meters
            .rejected
            .iter()
            .chain(&by_reason("skewd_dead_letters_total"))
        {
            counter.increment(0);
        }
        meters
    }

    /// Records were taken from the stream.
    pub fn consumed(&mut self, records: &[Record]) {
        for run in records.chunk_by(|a, b| a.partition == b.partition) {
            let partition = run[0].partition;
            self.consumed
                .entry(partition)
                .or_insert_with(|| {
                    counter!("skewd_events_consumed_total",
                        "topic" => self.topic.clone(), "partition" => partition.to_string())
                })
                .increment(run.len() as u64);
        }
        let newest = records
            .iter()
            .filter_map(|record| record.timestamp_ms)
            .max();
        if let Some(newest) = newest.filter(|newest| *newest > self.newest_ms) {
            self.newest_ms = newest;
            self.newest.set(newest as f64 / 1000.0);
        }
    }

    /// A record had no label.
    pub fn unlabelled(&self) {
        self.unlabelled.increment(1);
    }

    /// An example was left out: its sender had had its share.
    pub fn thinned(&self) {
        self.thinned.increment(1);
    }

    /// A record was bad.
    pub fn rejected(&self, reason: Reason) {
        self.rejected[reason as usize].increment(1);
    }

    /// A batch was learned, or its step was dropped.
    pub fn stepped(&self, report: &StepReport, took: Duration) {
        self.step_seconds.record(took.as_secs_f64());
        self.batch_size.record(report.batch as f64);
        match report.verdict {
            Verdict::Applied {
                gradient_norm,
                clipped,
            } => {
                self.steps.increment(1);
                self.gradient_norm.set(gradient_norm);
                self.clipped.increment(clipped as u64);
            }
            Verdict::SkippedNonFinite => self.skipped.increment(1),
        }
        self.quarantined.increment(report.quarantined.len() as u64);
        self.went_back.increment(u64::from(report.went_back));
    }

    /// What the batch looked like: `labels` are class indices into `classes`.
    pub fn batch(&mut self, classes: &[Arc<str>], labels: &[u32], last: &LastBatch) {
        while self.classes.len() < classes.len().min(CLASS_LABELS) {
            self.classes
                .push(ClassMeters::new(&classes[self.classes.len()]));
        }
        if classes.len() > CLASS_LABELS && self.other.is_none() {
            self.other = Some(ClassMeters::new(OTHER));
        }
        for (index, label) in labels.iter().enumerate() {
            let meters = self.classes.get(*label as usize).or(self.other.as_ref());
            let Some(meters) = meters else { continue };
            meters.examples.increment(1);
            if let Some(loss) = last.losses.get(index) {
                meters.loss.record(*loss);
            }
            if let Some(weight) = last.weights.get(index) {
                meters.weight.record(*weight);
            }
        }
    }
}
