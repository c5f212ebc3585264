//! Repeating the batches that the journal holds after the checkpoint, and recording those that come then.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::{Failure, Trainer};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::journal::{self, Journal};
use crate::config::Config;
use crate::example::Positions;
use crate::learner::StepReport;
use crate::learner::recorded::{Entry, Next, Plan, Recorder};

/// Where a data folder keeps its journal.
pub(crate) const FOLDER: &str = "journal";

/// The first offset of each partition in recorded batches.
fn beginnings(entries: &[Entry]) -> Positions {
    let mut first = Positions::default();
    for run in entries.iter().flat_map(|entry| &entry.runs) {
        first.0.entry(run.0).or_insert(run.1);
    }
    first
}

/// Examples that may be learned ahead of the journal.
const WAITING_EXAMPLES: u64 = 1_000_000;

/// The journal, and what of it is still to be repeated.
pub(super) struct Recording {
    pub journal: Journal,
    pub recorder: Recorder,
    plan: Option<Plan>,
    /// Recorded batches that the learner has not cut yet.
    expected: VecDeque<Entry>,
    /// Batches that the learner cut, whose record comes next.
    ahead: VecDeque<Entry>,
    /// The schema is to be decided once so many records are held.
    discover_at: Option<u64>,
    /// The learner's settings as the journal has them.
    in_force: Option<Map<String, Value>>,
    /// Settings of the files, to be taken over when nothing is left to repeat.
    wanted: Config,
    repeated: u64,
}

/// The settings that an entry may change: those of the learner.
pub(crate) fn learner_table(settings: &Map<String, Value>) -> Map<String, Value> {
    settings
        .iter()
        .filter(|(key, _)| key.starts_with("learner."))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl Recording {
    /// Reads what was recorded after the checkpoint. Answers the settings to begin with, too (until the recorded batches
    /// were repeated they are those of that time), and where the stream begins.
    pub fn open(
        config: &Config,
        saved: Option<&Checkpoint>,
        positions: &Positions,
    ) -> Result<(Self, Config, Positions), Failure> {
        let dir = config.in_data_dir(FOLDER);
        let examples = saved.map_or(0, |saved| saved.examples);
        let entries = journal::read_all(&dir, examples).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Failure::config(format!(
                "{error}; restore the file, or move the folder {} away to go on from the checkpoint without it",
                dir.display()
            )),
            _ => Failure::io(format!("{}: {error}", dir.display())),
        })?;
        let then = saved
            .and_then(|saved| saved.settings.as_object())
            .map(learner_table);
        let mut in_force = then.clone();
        for change in entries.iter().filter_map(|entry| entry.settings.as_ref()) {
            let table = in_force.get_or_insert_default();
            table.extend(change.as_object().cloned().unwrap_or_default());
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
        let end = entries.last().map_or(examples, |entry| entry.examples);
        let journal = Journal::open(&dir, end, config.checkpoint.journal_bytes)
            .map_err(|error| Failure::io(format!("{}: {error}", dir.display())))?;
        if !entries.is_empty() {
            tracing::info!(
                batches = entries.len(),
                examples,
                until = end,
                "repeating the batches of the journal"
            );
        }
        let recording = Self {
            journal,
            recorder: Recorder::default(),
            plan: (!entries.is_empty()).then(|| Plan::new(entries.into(), &begin_at)),
            expected: VecDeque::new(),
            ahead: VecDeque::new(),
            discover_at: None,
            in_force,
            wanted: config.clone(),
            repeated: 0,
        };
        Ok((recording, begin, begin_at))
    }

    /// False when so much waits for a disk that does not take it that learning on would only fill the memory.
    pub fn keeps_up(&self, examples: u64) -> bool {
        examples.saturating_sub(self.journal.durable()) < WAITING_EXAMPLES
    }

    /// True while recorded batches are repeated.
    pub fn is_repeating(&self) -> bool {
        self.plan.is_some()
    }

    /// A batch was learned: it is recorded, or compared with its record.
    pub fn stepped(&mut self, report: &StepReport) -> Result<(), Failure> {
        let entry = self.recorder.cut(report);
        match self.expected.pop_front() {
            Some(expected) => self.compare(&expected, &entry)?,
            None if self.is_repeating() => self.ahead.push_back(entry),
            None => self.journal.append(entry),
        }
        Ok(())
    }

    fn compare(&mut self, recorded: &Entry, found: &Entry) -> Result<(), Failure> {
        self.repeated += 1;
        if (recorded.examples, recorded.mark) == (found.examples, found.mark) {
            return Ok(());
        }
        Err(Failure::internal(format!(
            "the batch after which {} examples were learned does not repeat itself (now {} examples): the stream, the \
             settings or the machine's instruction set are not what they were; move the folder {FOLDER} away to go on \
             from the checkpoint without it",
            recorded.examples, found.examples
        )))
    }

    /// Records settings that are not those of before.
    pub fn note_settings(&mut self, examples: u64, config: &Config) {
        let table = learner_table(&config.learning());
        if self.in_force.as_ref() == Some(&table) {
            return;
        }
        self.journal
            .append(Entry::of_settings(examples, Value::Object(table.clone())));
        self.in_force = Some(table);
    }
}

impl Trainer {
    /// Feeds what was read in the recorded order, and cuts where it was cut.
    pub(super) fn repeat(&mut self) -> Result<(), Failure> {
        let Some(mut plan) = self.recording.plan.take() else {
            return Ok(());
        };
        plan.hold(self.records.drain(..));
        let over = self.follow(&mut plan)?;
        if !over {
            self.recording.plan = Some(plan);
            return Ok(());
        }
        // What was read beyond the record is learned like anything else.
        while let Next::Record(record) = plan.advance() {
            self.records.push(record);
        }
        tracing::info!(
            batches = self.recording.repeated,
            examples = self.learner.examples(),
            "the batches of the journal were repeated"
        );
        let wanted = self.recording.wanted.clone();
        self.take_over(wanted);
        Ok(())
    }

    /// True when every entry was repeated; false when more must be read first.
    fn follow(&mut self, plan: &mut Plan) -> Result<bool, Failure> {
        while plan.left() > 0 {
            match plan.advance() {
                Next::Starved => {
                    self.recording.plan = None;
                    return Ok(false);
                }
                Next::Done => break,
                Next::Record(record) => {
                    self.records.push(record);
                    // `stepped` must see that batches are repeated.
                    self.recording.plan = Some(Plan::default());
                    self.decode();
                    self.learn()?;
                    self.discover_if_due()?;
                }
                Next::Cut(entry) => self.cut_as_recorded(entry)?,
                Next::Settings(change) => {
                    let config = self
                        .config
                        .with(change.as_object().unwrap_or(&Map::new()))?;
                    self.learner.set(config.learner.clone());
                    self.config = config;
                }
                Next::Discover(held) => {
                    self.recording.discover_at = Some(held);
                    self.discover_if_due()?;
                }
            }
        }
        self.recording.plan = None;
        Ok(true)
    }

    fn cut_as_recorded(&mut self, entry: Entry) -> Result<(), Failure> {
        if let Some(found) = self.recording.ahead.pop_front() {
            return self.recording.compare(&entry, &found);
        }
        let examples = entry.examples;
        self.recording.expected.push_back(entry);
        if self.intake.discovered() {
            self.cut()?;
            if !self.recording.expected.is_empty() {
                return Err(Failure::internal(format!(
                    "the recorded batch that ends at {examples} examples has no examples left: records are missing \
                     from the stream; move the folder {FOLDER} away to go on from the checkpoint without it"
                )));
            }
        }
        Ok(())
    }

    fn discover_if_due(&mut self) -> Result<(), Failure> {
        if self.recording.discover_at == Some(self.intake.buffered() as u64) {
            self.recording.discover_at = None;
            self.intake
                .finish_discovery(&mut self.arrivals)
                .map_err(Failure::internal)?;
            self.learn()?;
        }
        Ok(())
    }

    /// Settings from the next step on, recorded.
    pub(super) fn take_over(&mut self, config: Config) {
        self.learner.set(config.learner.clone());
        self.config = config;
        self.publisher.settings(&self.config);
        self.recording
            .note_settings(self.learner.examples(), &self.config);
    }
}
