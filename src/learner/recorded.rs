//! Batches as they were cut, so that they can be cut again: which records went into each, in which order.
//!
//! Linger and the mixing of partitions depend on time. What they decided is written down as runs of offsets, and a
//! restart or an audit feeds the same records in the same order and cuts at the same places.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::step::{StepReport, Verdict};
use crate::example::{Arrival, Positions, Record};

/// Consecutive records of one partition: `from..to`, offsets without records included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(pub i32, pub i64, pub i64);

/// One batch, or something else that decides what the state becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Examples taken once the batch was learned ([`super::Learner::taken`]).
    #[serde(rename = "n")]
    pub taken: u64,
    /// The records since the batch before, in the order in which they were taken; bad and unlabelled ones too.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// A mark of what the step did ([`mark`]): another mark for the same records means another state.
    #[serde(rename = "m", default, skip_serializing_if = "is_zero")]
    pub mark: u64,
    /// What changed after the batches before; such an entry has no records of its own.
    #[serde(flatten)]
    pub change: Option<Change>,
}

/// What changes a state beside a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Settings, by dotted key.
    #[serde(rename = "s")]
    Settings(serde_json::Value),
    /// The schema was decided on so many held records, because an operator asked for it.
    #[serde(rename = "d")]
    Discover(u64),
    /// An older state took the place of the newest.
    #[serde(rename = "b")]
    Rollback(Target),
}

/// The state that a rollback goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The file that holds it.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Examples that had been taken when it was written.
    pub taken: u64,
    /// Number of this rollback: [`super::Learner::epoch`] after it. A state of that epoch has it behind itself.
    pub epoch: u64,
}

impl Entry {
    /// A change after so many examples.
    #[must_use]
    pub fn of_change(taken: u64, change: Change) -> Self {
        Self {
            taken,
            runs: Vec::new(),
            mark: 0,
            change: Some(change),
        }
    }

    /// True for a batch.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.change.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(mark: &u64) -> bool {
    *mark == 0
}

/// A number that follows from the losses and the gradient of a step; never 0.
#[must_use]
pub fn mark(report: &StepReport) -> u64 {
    let gradient = match report.verdict {
        Verdict::Applied { gradient_norm, .. } => gradient_norm,
        Verdict::SkippedNonFinite => f64::NAN,
    };
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&report.loss.to_bits().to_le_bytes());
    bytes[8..16].copy_from_slice(&gradient.to_bits().to_le_bytes());
    bytes[16..].copy_from_slice(&report.step.to_le_bytes());
    xxh3_64(&bytes).max(1)
}

/// Collects the runs of the batch that is being filled.
#[derive(Debug, Default)]
pub struct Recorder {
    runs: Vec<Run>,
}

impl Recorder {
    /// A record was taken.
    pub fn saw(&mut self, arrival: &Arrival) {
        let (partition, offset) = (arrival.partition, arrival.offset);
        match self.runs.last_mut() {
            Some(run) if run.0 == partition && offset >= run.2 => run.2 = offset + 1,
            _ => self.runs.push(Run(partition, offset, offset + 1)),
        }
    }

    /// Forgets the records since the last batch: they will be taken again.
    pub fn forget(&mut self) {
        self.runs.clear();
    }

    /// The batch was learned: its entry.
    pub fn cut(&mut self, report: &StepReport) -> Entry {
        Entry {
            taken: report.taken,
            runs: std::mem::take(&mut self.runs),
            mark: mark(report),
            change: None,
        }
    }
}

/// What to do next to repeat recorded batches.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Take this record.
    Record(Record),
    /// The batch of this entry ends here, or its change comes here.
    Entry(Entry),
    /// Records are missing: read on, then ask again.
    Starved,
    /// Every entry was repeated: from here on nothing is recorded.
    Done,
}

/// Hands out records in the order of recorded batches.
#[derive(Debug, Default)]
pub struct Plan {
    entries: VecDeque<Entry>,
    /// Records that were read before their turn, by partition.
    early: BTreeMap<i32, VecDeque<Record>>,
    run: usize,
}

impl Plan {
    /// A plan for `entries`, from `positions` on: what lies before them is in the state already.
    #[must_use]
    pub fn new(mut entries: VecDeque<Entry>, positions: &Positions) -> Self {
        for entry in &mut entries {
            for run in &mut entry.runs {
                run.1 = run.1.max(positions.next(run.0).unwrap_or(i64::MIN));
            }
            entry.runs.retain(|run| run.1 < run.2);
        }
        Self {
            entries,
            early: BTreeMap::new(),
            run: 0,
        }
    }

    /// True when nothing is left to repeat and nothing is held.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.entries.is_empty() && self.early.is_empty()
    }

    /// Entries that were not repeated yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.entries.len()
    }

    /// True when an entry that is no batch is left.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.entries.iter().all(Entry::is_batch)
    }

    /// Gives the plan what was read.
    pub fn hold(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.early
                .entry(record.partition)
                .or_default()
                .push_back(record);
        }
    }

    /// The next thing to do.
    pub fn advance(&mut self) -> Next {
        let Some(entry) = self.entries.front() else {
            return self.rest();
        };
        while let Some(Run(partition, from, to)) = entry.runs.get(self.run).copied() {
            let Some(waiting) = self.early.get_mut(&partition) else {
                return Next::Starved;
            };
            while waiting.front().is_some_and(|record| record.offset < from) {
                waiting.pop_front();
            }
            match waiting.front().map(|record| record.offset) {
                Some(offset) if offset < to => {
                    if offset + 1 == to {
                        self.run += 1;
                    }
                    return waiting.pop_front().map_or(Next::Starved, Next::Record);
                }
                // The end of the run holds no record any more.
                Some(_) => self.run += 1,
                None => return Next::Starved,
            }
        }
        self.run = 0;
        self.entries.pop_front().map_or(Next::Done, Next::Entry)
    }

    /// What was read beyond the last entry, partition by partition.
    fn rest(&mut self) -> Next {
        while let Some(mut first) = self.early.first_entry() {
            if let Some(record) = first.get_mut().pop_front() {
                return Next::Record(record);
            }
            first.remove();
        }
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Outcome;

    fn arrival(partition: i32, offset: i64) -> Arrival {
        Arrival {
            partition,
            offset,
            outcome: Outcome::Unlabelled,
        }
    }

    fn report(examples: u64) -> StepReport {
        StepReport {
            step: examples,
            examples,
            taken: examples,
            quarantined: Vec::new(),
            went_back: false,
            batch: 1,
            loss: 0.5,
            verdict: Verdict::SkippedNonFinite,
        }
    }

    fn record(partition: i32, offset: i64) -> Record {
        Record::new(partition, offset, "x")
    }

    #[test]
    fn runs_follow_the_order_of_arrival_over_holes() {
        let mut recorder = Recorder::default();
        for (partition, offset) in [(0, 5), (0, 6), (0, 9), (1, 0), (0, 10), (1, 1), (1, 2)] {
            recorder.saw(&arrival(partition, offset));
        }
        let entry = recorder.cut(&report(7));
        assert_eq!(
            entry.runs,
            [Run(0, 5, 10), Run(1, 0, 1), Run(0, 10, 11), Run(1, 1, 3)]
        );
        assert_eq!(recorder.cut(&report(8)).runs, []);
    }

    #[test]
    fn a_plan_restores_the_order_and_the_cuts_however_records_come() {
        let mut recorder = Recorder::default();
        let order = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2), (0, 3)];
        let mut entries = VecDeque::new();
        for (at, (partition, offset)) in order.into_iter().enumerate() {
            recorder.saw(&arrival(partition, offset));
            if at == 2 || at == 5 {
                entries.push_back(recorder.cut(&report(at as u64)));
            }
        }
        let mut plan = Plan::new(entries, &Positions::default());
        assert_eq!(plan.advance(), Next::Starved);
        // Partition 1 comes first, and more than was recorded.
        plan.hold((0..4).map(|offset| record(1, offset)));
        assert_eq!(plan.advance(), Next::Starved);
        plan.hold((0..4).map(|offset| record(0, offset)));
        let mut taken = Vec::new();
        let mut cuts = Vec::new();
        loop {
            match plan.advance() {
                Next::Record(record) => taken.push((record.partition, record.offset)),
                Next::Entry(entry) => cuts.push((taken.len(), entry.taken)),
                Next::Done => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(taken[..6], order[..6]);
        assert_eq!(cuts, [(3, 2), (6, 5)]);
        // What was read beyond the record comes afterwards, none of it lost.
        assert_eq!(taken[6..], [(0, 3), (1, 3)]);
        assert!(plan.is_over());
    }

    #[test]
    fn what_the_state_holds_already_is_left_out() {
        let entry = Entry {
            taken: 9,
            runs: vec![Run(0, 10, 20), Run(1, 5, 8)],
            mark: 1,
            change: None,
        };
        let mut positions = Positions::default();
        positions.advance(0, 17);
        positions.advance(1, 7);
        let mut plan = Plan::new([entry].into(), &positions);
        plan.hold([record(0, 18), record(0, 19)]);
        assert_eq!(plan.advance(), Next::Record(record(0, 18)));
        assert_eq!(plan.advance(), Next::Record(record(0, 19)));
        assert!(matches!(plan.advance(), Next::Entry(entry) if entry.taken == 9));
        assert_eq!(plan.advance(), Next::Done);
    }

    #[test]
    fn records_that_are_gone_from_the_end_of_a_run_do_not_stop_it() {
        let entry = Entry {
            taken: 2,
            runs: vec![Run(0, 0, 5)],
            mark: 1,
            change: None,
        };
        let mut plan = Plan::new([entry].into(), &Positions::default());
        plan.hold([record(0, 1), record(0, 7)]);
        assert_eq!(plan.advance(), Next::Record(record(0, 1)));
        assert!(matches!(plan.advance(), Next::Entry(_)));
        assert_eq!(plan.advance(), Next::Record(record(0, 7)));
    }

    #[test]
    fn an_entry_survives_its_text() {
        let entry = Entry {
            taken: 3,
            runs: vec![Run(0, 1, 4)],
            mark: u64::MAX,
            change: None,
        };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(text, r#"{"n":3,"r":[[0,1,4]],"m":18446744073709551615}"#);
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        // As the first journals have them.
        for (text, change) in [
            (
                r#"{"n":3,"s":{"learner.lambda":2.0}}"#,
                Change::Settings(serde_json::json!({ "learner.lambda": 2.0 })),
            ),
            (r#"{"n":3,"d":7}"#, Change::Discover(7)),
        ] {
            let entry = Entry::of_change(3, change);
            assert_eq!(serde_json::to_string(&entry).unwrap(), text);
            assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), entry);
        }
        for change in [
            Change::Settings(serde_json::json!({ "learner.lambda": 2.0 })),
            Change::Discover(7),
            Change::Rollback(Target {
                name: "checkpoint-0000000001.skewd".to_owned(),
                digest: "d".to_owned(),
                taken: 3,
                epoch: 1,
            }),
        ] {
            let entry = Entry::of_change(3, change);
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(
                serde_json::from_str::<Entry>(&text).unwrap(),
                entry,
                "{text}"
            );
        }
    }
}
