//! `skewd replay --journal DIR`: the batches that a daemon recorded, over the same records.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::replay::{Counted, data_error};
use super::{Failure, ReplayArgs, grid};
use crate::checkpoint::journal;
use crate::codec::Intake;
use crate::config::Config;
use crate::daemon::changes::read_as;
use crate::daemon::recording::{FOLDER, first_settings};
use crate::example::{Arrival, Positions, Record};
use crate::learner::recorded::{Change, Entry, Recorder, Target};
use crate::learner::repeat::{Mismatch, Repeat, Repeater};
use crate::learner::waiting::Waiting;
use crate::learner::{Event, StepReport};
use crate::state::State;
use crate::stream::file::FileSource;
use crate::stream::{Polled, Source};

/// Records read from a file at once.
const CHUNK_RECORDS: usize = 2048;
/// How long a stream may keep records waiting that it must have.
const WAIT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at a learner after a repeated batch or a rollback: its place in the journal, and the learner.
type Look<'a> = dyn FnMut(u64, &Lane) -> Result<(), Failure> + 'a;

/// Why a repetition ended early.
pub(super) enum Early {
    /// A batch came out otherwise.
    Mismatch(Mismatch),
    /// Anything else.
    Failure(Failure),
}

impl From<Mismatch> for Early {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The recorded batches, and where their records come from.
pub(super) struct Repetition<'a> {
    config: Config,
    repeater: Repeater,
    /// One for each partition, or one that names the partitions itself.
    sources: Vec<Box<dyn Source>>,
    intake: Intake,
    lane: Lane,
    counted: Counted,
    look: &'a mut Look<'a>,
    recorder: Recorder,
    learned: VecDeque<Entry>,
    waiting: Waiting,
    /// States that a later entry goes back to, once they were met.
    targets: Vec<(Target, Option<State>)>,
}

impl<'a> Repetition<'a> {
    /// A repetition of `entries` from `positions` on that has not begun.
    pub fn new(
        config: &Config,
        entries: VecDeque<Entry>,
        positions: &Positions,
        sources: Vec<Box<dyn Source>>,
        (intake, lane): (Intake, Lane),
        look: &'a mut Look<'a>,
    ) -> Self {
        let targets = entries
            .iter()
            .filter_map(|entry| match &entry.change {
                Some(Change::Rollback(target)) => Some((target.clone(), None)),
                _ => None,
            })
            .collect();
        Self {
            config: config.clone(),
            repeater: Repeater::new(entries, positions),
            sources,
            intake,
            lane,
            counted: Counted::default(),
            look,
            recorder: Recorder::default(),
            learned: VecDeque::new(),
            waiting: Waiting::default(),
            targets,
        }
    }

    /// States that entries may go back to and that the repetition does not come by.
    pub fn knows(&mut self, digest: &str, state: &State) {
        for (target, known) in &mut self.targets {
            if target.digest == digest {
                *known = Some(state.clone());
            }
        }
    }
}

/// Repeats the journal in `dir` (a data folder, or the journal's own).
///
/// # Errors
/// 64 for files that do not match the recorded partitions, 65 for records that are not those of the journal.
pub(super) fn run(
    config: &Config,
    args: &ReplayArgs,
    dir: &Path,
) -> Result<(Lane, Counted), Failure> {
    if !args.grid.is_empty() || args.passes != 1 || args.limit.is_some() {
        return Err(Failure::usage(
            "--journal repeats one daemon's batches: leave --grid, --passes and --limit away",
        ));
    }
    let entries = read(dir)?;
    let config = &config.with(&first_settings(&entries))?;
    let sources = open(args, &config.schema.label, partitions(&entries))?;
    let mut intake = Intake::new(&config.schema, None);
    if let Some(columns) = sources.first().and_then(|source| source.columns()) {
        intake
            .set_columns(columns.to_vec())
            .map_err(Failure::data)?;
    }
    let lane = grid::combinations(config, &[])?
        .pop()
        .ok_or_else(|| Failure::internal("a replay without a learner"))?;
    let mut batches = 0;
    let mut look = |_: u64, _: &Lane| {
        batches += 1;
        Ok(())
    };
    let sources = sources
        .into_iter()
        .map(|source| Box::new(source) as Box<dyn Source>)
        .collect();
    let begin = Positions::default();
    let mut repetition = Repetition::new(
        config,
        entries.into(),
        &begin,
        sources,
        (intake, lane),
        &mut look,
    );
    repetition.follow().map_err(|early| match early {
        Early::Mismatch(mismatch) => Failure::data(format!(
            "{mismatch}: these are not the records that the daemon learned, or its settings are not those of the journal"
        )),
        Early::Failure(failure) => failure,
    })?;
    let (lane, counted) = (repetition.lane, repetition.counted);
    tracing::info!(batches, "the recorded batches were repeated");
    Ok((lane, counted))
}

fn read(dir: &Path) -> Result<Vec<Entry>, Failure> {
    let inner = dir.join(FOLDER);
    let dir = if inner.is_dir() {
        inner
    } else {
        dir.to_owned()
    };
    let entries = journal::read_all(&dir, 0).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Failure::data(error),
        _ => Failure::io(format!("{}: {error}", dir.display())),
    })?;
    if entries.iter().any(Entry::is_batch) {
        Ok(entries)
    } else {
        Err(Failure::data(format!(
            "{} holds no recorded batch: give the data_dir of a daemon that has learned",
            dir.display()
        )))
    }
}

fn partitions(entries: &[Entry]) -> usize {
    let largest = entries
        .iter()
        .flat_map(|entry| &entry.runs)
        .map(|run| run.0)
        .max();
    usize::try_from(largest.unwrap_or(0)).unwrap_or(0) + 1
}

/// One source a partition; all files together are partition 0 where there is no other.
fn open(args: &ReplayArgs, label: &str, partitions: usize) -> Result<Vec<FileSource>, Failure> {
    let files: Vec<&[PathBuf]> = if partitions == 1 {
        vec![&args.files]
    } else if args.files.len() == partitions {
        args.files.chunks(1).collect()
    } else {
        return Err(Failure::usage(format!(
            "the journal knows {partitions} partitions: give one file for each, in their order"
        )));
    };
    files
        .into_iter()
        .map(|files| FileSource::open(files, label).map_err(data_error))
        .collect()
}

impl Repetition<'_> {
    /// Repeats every batch.
    ///
    /// # Errors
    /// When records are missing or are others; what `look` says.
    pub fn follow(&mut self) -> Result<(), Early> {
        let mut repeater = std::mem::take(&mut self.repeater);
        while !repeater.follow(self)? {
            self.read_on(&mut repeater)?;
        }
        Ok(())
    }

    fn learn(&mut self, arrivals: &[Arrival]) -> Result<(), Failure> {
        if let Some(schema) = self.intake.schema() {
            // A learner that knows one stays with it.
            self.lane
                .learner
                .handle(Event::Schema(Arc::clone(schema)))
                .map_err(Failure::internal)?;
        }
        self.counted.add(arrivals);
        for arrival in arrivals {
            self.waiting.comes_out(arrival);
            self.recorder.saw(arrival);
            let report = self
                .lane
                .take(std::slice::from_ref(arrival))
                .map_err(Failure::internal)?;
            self.note(report);
        }
        Ok(())
    }

    fn note(&mut self, report: Option<StepReport>) {
        if let Some(report) = report {
            self.waiting.learned();
            self.learned.push_back(self.recorder.cut(&report));
        }
    }

    fn go_back(&mut self, target: &Target) -> Result<(), Failure> {
        if self.lane.learner.epoch() >= target.epoch {
            return Ok(());
        }
        let known = self
            .targets
            .iter()
            .find(|(other, state)| other == target && state.is_some());
        let Some((_, Some(state))) = known else {
            return Err(Failure::data(format!(
                "the journal goes back to {} (digest {}), a state that these batches do not come by",
                target.name, target.digest
            )));
        };
        self.lane
            .learner
            .roll_back(state)
            .map_err(Failure::internal)?;
        self.read_anew()?;
        (self.look)(self.lane.learner.taken(), &self.lane)
    }

    /// Settings of how records are read, or the learner's classes, have changed.
    fn read_anew(&mut self) -> Result<(), Failure> {
        read_as(&self.config, &mut self.lane.learner, &mut self.intake)?;
        self.waiting
            .again(&mut self.intake, &mut self.lane.learner, |_, _| {})
            .map_err(Failure::internal)
    }

    fn read_on(&mut self, repeater: &mut Repeater) -> Result<(), Failure> {
        let only = self.sources.len() == 1;
        let begun = Instant::now();
        loop {
            let (mut found, mut over) = (false, true);
            for (number, source) in self.sources.iter_mut().enumerate() {
                let mut records = Vec::new();
                let polled = source
                    .poll(WAIT, CHUNK_RECORDS, &mut records)
                    .map_err(data_error)?;
                found |= polled == Polled::Records;
                over &= polled == Polled::End;
                let number = i32::try_from(number).map_err(Failure::internal)?;
                // A file knows no partition: it is that of its place.
                repeater.hold(records.into_iter().map(|record| Record {
                    partition: if only { record.partition } else { number },
                    ..record
                }));
            }
            if found {
                return Ok(());
            }
            if over || begun.elapsed() > PATIENCE {
                return Err(Failure::data(format!(
                    "the records end before the recorded batches do: {} of them are left",
                    repeater.left()
                )));
            }
        }
    }
}

impl Repeat for Repetition<'_> {
    type Error = Early;

    fn take(&mut self, record: Record) -> Result<(), Early> {
        self.counted.rows += 1;
        let mut arrivals = Vec::new();
        self.waiting.enters(&record);
        self.intake.push(record, &mut arrivals);
        Ok(self.learn(&arrivals)?)
    }

    fn cut(&mut self) -> Result<(), Early> {
        let report = self.lane.cut().map_err(Failure::internal)?;
        self.note(report);
        Ok(())
    }

    fn learned(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.learned)
    }

    fn held(&self) -> Option<u64> {
        (!self.intake.discovered()).then_some(self.intake.buffered() as u64)
    }

    fn decide(&mut self) -> Result<(), Early> {
        let mut arrivals = Vec::new();
        self.intake
            .finish_discovery(&mut arrivals)
            .map_err(Failure::data)?;
        Ok(self.learn(&arrivals)?)
    }

    fn change(&mut self, change: &Change) -> Result<(), Early> {
        match change {
            Change::Settings(settings) => {
                let table = settings.as_object().cloned().unwrap_or_default();
                let config = self.config.with(&table).map_err(Failure::from)?;
                let reads_as_before = self.config.schema == config.schema;
                self.config = config;
                self.lane
                    .learner
                    .set(self.config.learner.clone())
                    .map_err(Failure::internal)?;
                self.lane.settings = self.config.learning();
                if reads_as_before {
                    return Ok(());
                }
                Ok(self.read_anew()?)
            }
            Change::Rollback(target) => Ok(self.go_back(target)?),
            Change::Discover(_) => Ok(()),
        }
    }

    fn repeated(&mut self, entry: &Entry) -> Result<(), Early> {
        for (target, state) in &mut self.targets {
            if target.taken == entry.taken
                && let Some(found) = self.lane.learner.save().map_err(Failure::internal)?
                && found.digest() == target.digest
            {
                *state = Some(found);
            }
        }
        Ok((self.look)(entry.taken, &self.lane)?)
    }
}
