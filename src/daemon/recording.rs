//! Repeating the batches that the journal holds after the checkpoint, and recording those that come then.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Failure, Trainer};
use crate::checkpoint::journal::{self, Journal};
use crate::checkpoint::{Checkpoint, DirLock};
use crate::config::Config;
use crate::example::{Positions, Record};
use crate::learner::StepReport;
use crate::learner::recorded::{Change, Entry, Recorder};
use crate::learner::repeat::{Mismatch, Repeat, Repeater};

/// Where a data folder keeps its journal.
pub(crate) const FOLDER: &str = "journal";

/// Examples that may be learned ahead of the journal.
const WAITING_EXAMPLES: u64 = 1_000_000;

/// The journal, and what of it is still to be repeated.
pub(super) struct Recording {
    pub journal: Journal,
    pub recorder: Recorder,
    repeater: Option<Repeater>,
    repeating: bool,
    /// Batches that were learned while others are repeated.
    learned: VecDeque<Entry>,
    /// The learner's settings as the journal has them.
    in_force: Option<Map<String, Value>>,
    /// Where the recorded batches end.
    pub reach: Positions,
    /// Settings of the files, to be taken over when nothing is left to repeat.
    wanted: Config,
}

/// The settings that an entry may change: those of the learner, and how records are read.
pub(crate) fn changing(settings: &Map<String, Value>) -> Map<String, Value> {
    settings
        .iter()
        .filter(|(key, _)| key.starts_with("learner.") || key.starts_with("schema."))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The settings that were in force before the first recorded batch.
pub(crate) fn first_settings(entries: &[Entry]) -> Map<String, Value> {
    let mut table = Map::new();
    for entry in entries.iter().take_while(|entry| !entry.is_batch()) {
        if let Some(Change::Settings(Value::Object(settings))) = &entry.change {
            table.extend(settings.clone());
        }
    }
    table
}

/// The first offset of each partition in recorded batches.
fn beginnings(entries: &[Entry]) -> Positions {
    let mut first = Positions::default();
    for run in entries.iter().flat_map(|entry| &entry.runs) {
        first.0.entry(run.0).or_insert(run.1);
    }
    first
}

/// One past the last offset of each partition in recorded batches.
fn ends(entries: &[Entry]) -> Positions {
    let mut last = Positions::default();
    for run in entries.iter().flat_map(|entry| &entry.runs) {
        let end = last.0.entry(run.0).or_insert(run.2);
        *end = run.2.max(*end);
    }
    last
}

/// What was recorded after the state with so many examples taken.
pub(super) fn recorded_after(dir: &Path, taken: u64) -> Result<Vec<Entry>, Failure> {
    journal::read_all(dir, taken).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Failure::config(format!(
            "{error}; restore the file, or move the folder {} away to go on from the checkpoint without it",
            dir.display()
        )),
        _ => Failure::io(format!("{}: {error}", dir.display())),
    })
}

impl Recording {
    /// Reads what was recorded after the checkpoint. Answers the settings to begin with, too (until the recorded batches
    /// were repeated they are those of that time), and where the stream begins.
    pub fn open(
        config: &Config,
        saved: Option<&Checkpoint>,
        positions: &Positions,
        lock: &Arc<DirLock>,
    ) -> Result<(Self, Config, Positions), Failure> {
        let dir = config.in_data_dir(FOLDER);
        let taken = saved.map_or(0, |saved| saved.taken);
        let entries = recorded_after(&dir, taken)?;
        let then = match saved {
            Some(saved) => saved.settings.as_object().map(changing),
            None => (!entries.is_empty()).then(|| first_settings(&entries)),
        };
        let mut in_force = then.clone();
        for entry in &entries {
            if let Some(Change::Settings(change)) = &entry.change {
                let table = in_force.get_or_insert_default();
                table.extend(change.as_object().cloned().unwrap_or_default());
            }
        }
        let begin = match then {
            Some(then) if !entries.is_empty() => config.with(&then)?,
            _ => config.clone(),
        };
        // Without a checkpoint the stream begins where the first recorded batch did, whatever `kafka.start` says now.
        let begin_at = if saved.is_none() {
            beginnings(&entries)
        } else {
            positions.clone()
        };
        let reach = ends(&entries);
        let end = entries.last().map_or(taken, |entry| entry.taken);
        let journal = Journal::open(
            &dir,
            end,
            config.checkpoint.journal_bytes,
            Some(Arc::clone(lock)),
        )
        .map_err(|error| Failure::io(format!("{}: {error}", dir.display())))?;
        if !entries.is_empty() {
            tracing::info!(
                entries = entries.len(),
                examples = taken,
                until = end,
                "repeating the batches of the journal"
            );
        }
        let recording = Self {
            journal,
            recorder: Recorder::default(),
            repeating: !entries.is_empty(),
            repeater: (!entries.is_empty()).then(|| Repeater::new(entries.into(), &begin_at)),
            learned: VecDeque::new(),
            in_force,
            reach,
            wanted: config.clone(),
        };
        Ok((recording, begin, begin_at))
    }

    /// Why batches cannot be recorded, and so no newer model is served.
    pub fn trouble(&self) -> Option<String> {
        let reason = self.journal.trouble()?;
        Some(format!(
            "the journal cannot be written, and no newer model is served until it can: {reason}"
        ))
    }

    /// False when so much waits for a disk that does not take it that learning on would only fill the memory.
    pub fn keeps_up(&self, taken: u64) -> bool {
        taken.saturating_sub(self.journal.durable()) < WAITING_EXAMPLES
    }

    /// True while recorded batches are repeated.
    pub fn is_repeating(&self) -> bool {
        self.repeating
    }

    /// A batch was learned: it is recorded, or compared with its record.
    pub fn stepped(&mut self, report: &StepReport) {
        let entry = self.recorder.cut(report);
        if self.repeating {
            self.learned.push_back(entry);
        } else {
            self.journal.append(entry);
        }
    }

    /// Something else than a batch changed the state, and was not repeated.
    pub fn note(&mut self, taken: u64, change: Change) {
        if !self.repeating {
            self.journal.append(Entry::of_change(taken, change));
        }
    }

    /// Records settings that are not those of before.
    pub fn note_settings(&mut self, taken: u64, config: &Config) {
        let table = changing(&config.learning());
        if self.in_force.as_ref() == Some(&table) {
            return;
        }
        self.note(taken, Change::Settings(Value::Object(table.clone())));
        self.in_force = Some(table);
    }
}

impl From<Mismatch> for Failure {
    fn from(mismatch: Mismatch) -> Self {
        Self::internal(format!(
            "{mismatch}; move the folder {FOLDER} away to go on from the checkpoint without it"
        ))
    }
}

impl Trainer {
    /// Feeds what was read in the recorded order, and cuts where it was cut.
    pub(super) fn repeat(&mut self) -> Result<(), Failure> {
        let Some(mut repeater) = self.recording.repeater.take() else {
            return Ok(());
        };
        repeater.hold(self.records.drain(..));
        if !repeater.follow(self)? {
            self.recording.repeater = Some(repeater);
            return Ok(());
        }
        tracing::info!(
            batches = repeater.repeated(),
            examples = self.learner.examples(),
            "the batches of the journal were repeated"
        );
        self.recording.repeating = false;
        let (beyond, records) = repeater.beyond();
        for entry in beyond {
            self.recording.journal.append(entry);
        }
        let wanted = self.recording.wanted.clone();
        self.take_over(wanted)?;
        // What was read beyond the record is learned like anything else.
        self.records.extend(records);
        Ok(())
    }
}

impl Repeat for Trainer {
    type Error = Failure;

    fn take(&mut self, record: Record) -> Result<(), Failure> {
        self.records.push(record);
        self.decode_here();
        self.learn()
    }

    fn cut(&mut self) -> Result<(), Failure> {
        self.cut_waiting()
    }

    fn learned(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.recording.learned)
    }

    fn held(&self) -> Option<u64> {
        (!self.intake.discovered()).then_some(self.intake.buffered() as u64)
    }

    fn decide(&mut self) -> Result<(), Failure> {
        self.intake
            .finish_discovery(&mut self.arrivals)
            .map_err(Failure::internal)?;
        self.learn()
    }

    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::Settings(settings) => {
                let table = settings.as_object().cloned().unwrap_or_default();
                let config = self.config.with(&table)?;
                self.adopt(config)
            }
            Change::Rollback(target) => self.go_back_to(target),
            Change::Discover(_) => Ok(()),
        }
    }
}
