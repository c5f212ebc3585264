//! `skewd replay --journal DIR`: the batches that a daemon recorded, over the same records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::replay::{Counted, data_error};
use super::{Failure, ReplayArgs, grid};
use crate::checkpoint::journal;
use crate::codec::Intake;
use crate::config::Config;
use crate::daemon::recording::FOLDER;
use crate::example::{Positions, Record};
use crate::learner::recorded::{Entry, Next, Plan};
use crate::stream::file::FileSource;
use crate::stream::{Polled, Source};

/// Records read from a file at once.
const CHUNK_RECORDS: usize = 2048;
/// How long a stream may keep records waiting that it must have.
const WAIT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at a repeated batch: its record, and the learner after it.
type Look<'a> = dyn FnMut(&Entry, &Lane) -> Result<(), Failure> + 'a;

/// The recorded batches, and where their records come from.
pub(super) struct Repetition<'a> {
    pub config: Config,
    pub plan: Plan,
    /// One for each partition, or one that names the partitions itself.
    pub sources: Vec<Box<dyn Source>>,
    pub intake: Intake,
    pub lane: Lane,
    pub counted: Counted,
    pub look: &'a mut Look<'a>,
    told: bool,
    discover_at: Option<u64>,
}

impl<'a> Repetition<'a> {
    /// A repetition that has not begun.
    pub fn new(
        config: &Config,
        plan: Plan,
        sources: Vec<Box<dyn Source>>,
        intake: Intake,
        lane: Lane,
        look: &'a mut Look<'a>,
    ) -> Self {
        Self {
            config: config.clone(),
            plan,
            sources,
            intake,
            lane,
            counted: Counted::default(),
            look,
            told: false,
            discover_at: None,
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
    let mut look = |_: &Entry, _: &Lane| {
        batches += 1;
        Ok(())
    };
    let plan = Plan::new(entries.into(), &Positions::default());
    let sources = sources
        .into_iter()
        .map(|source| Box::new(source) as Box<dyn Source>)
        .collect();
    let mut repetition = Repetition::new(config, plan, sources, intake, lane, &mut look);
    repetition.follow()?;
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
    /// Repeats every batch of the plan.
    ///
    /// # Errors
    /// 65 when records are missing or are others; what `look` says.
    pub fn follow(&mut self) -> Result<(), Failure> {
        while self.plan.left() > 0 {
            match self.plan.advance() {
                Next::Record(record) => {
                    self.counted.rows += 1;
                    let mut arrivals = Vec::new();
                    self.intake.push(record, &mut arrivals);
                    self.learn(&arrivals)?;
                    self.discover_if_due()?;
                }
                Next::Cut(entry) => self.cut(&entry)?,
                Next::Settings(change) => {
                    self.config = self
                        .config
                        .with(change.as_object().unwrap_or(&serde_json::Map::new()))?;
                    self.lane.learner.set(self.config.learner.clone());
                    self.lane.settings = self.config.learning();
                }
                Next::Discover(held) => {
                    self.discover_at = Some(held);
                    self.discover_if_due()?;
                }
                Next::Starved => self.read_on()?,
                Next::Done => break,
            }
        }
        Ok(())
    }

    fn learn(&mut self, arrivals: &[crate::example::Arrival]) -> Result<(), Failure> {
        if let Some(schema) = self.intake.schema().filter(|_| !self.told) {
            self.told = true;
            self.lane
                .learner
                .handle(crate::learner::Event::Schema(Arc::clone(schema)))
                .map_err(Failure::internal)?;
        }
        self.counted.add(arrivals);
        self.lane.take(arrivals).map_err(Failure::internal)
    }

    fn cut(&mut self, entry: &Entry) -> Result<(), Failure> {
        // Records that are held for the schema are learned with the batch that decides it.
        if !self.intake.discovered() {
            return Ok(());
        }
        if self.lane.learner.examples() < entry.examples {
            self.lane.cut().map_err(Failure::internal)?;
        }
        let found = self.lane.learner.examples();
        if found < entry.examples {
            return Err(Failure::data(format!(
                "the recorded batch that ends at {} examples ends at {found} here: these are not the records that the \
                 daemon learned, or its schema differs",
                entry.examples
            )));
        }
        (self.look)(entry, &self.lane)
    }

    fn discover_if_due(&mut self) -> Result<(), Failure> {
        if self.discover_at == Some(self.intake.buffered() as u64) {
            self.discover_at = None;
            let mut arrivals = Vec::new();
            self.intake
                .finish_discovery(&mut arrivals)
                .map_err(Failure::data)?;
            self.learn(&arrivals)?;
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), Failure> {
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
                self.plan.hold(records.into_iter().map(|record| Record {
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
                    self.plan.left()
                )));
            }
        }
    }
}
