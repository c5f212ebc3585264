//! One life of a simulated daemon: the learner, the journal and the checkpoints as the real one wires them, without its
//! threads and clocks.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::{Core, End, io, wrong};
use super::disk::SimDisk;
use super::{Mutant, Stream};
use crate::checkpoint;
use crate::checkpoint::disk::Disk as _;
use crate::checkpoint::journal::{Appender, Order as Write, read_all_on};
use crate::cli::checkpoints::of_learner;
use crate::config::Config;
use crate::example::{Positions, Record};
use crate::learner::recorded::{Change, Entry, Target};
use crate::learner::repeat::{Repeat as _, Repeater};
use crate::state::State;
use crate::stream::kafka::Batch;

pub const CHECKPOINTS: &str = "data/checkpoints";
pub const JOURNAL: &str = "data/journal";

/// What the observer of all lives knows, and no daemon does.
#[derive(Default)]
pub struct Memory {
    /// The history of each checkpoint.
    pub marks: HashMap<String, Vec<Entry>>,
    /// States that rollbacks went back to.
    pub states: HashMap<String, State>,
    names: u64,
}

impl Memory {
    /// A name that was never used.
    pub fn unique(&mut self) -> String {
        self.names += 1;
        format!("simulated {}", self.names)
    }
}

/// A running daemon.
pub struct Process {
    pub core: Core,
    disk: SimDisk,
    repeater: Option<Repeater>,
    appender: Appender,
    orders: Vec<Write>,
    /// Next offset that the source delivers, per partition.
    pub cursor: Positions,
    kept: VecDeque<u64>,
    mutant: Mutant,
    /// Everything that made the state, from the first batch of the first life on.
    pub history: Vec<Entry>,
    /// What was served: epoch, examples taken, digest.
    pub served: Vec<(u64, u64, String)>,
    pub repeated: u64,
}

impl Process {
    /// Starts on what the disk holds.
    pub fn start(
        config: &Config,
        disk: &SimDisk,
        mutant: Mutant,
        memory: &Memory,
    ) -> Result<Self, End> {
        let saved =
            checkpoint::load_newest_on(disk, Path::new(CHECKPOINTS)).map_err(
                |error| match error {
                    checkpoint::Error::Io { .. } => io(error),
                    other => wrong(other),
                },
            )?;
        let saved = saved.map(|loaded| loaded.checkpoint);
        let taken = saved.as_ref().map_or(0, |saved| saved.taken);
        let entries = match mutant {
            Mutant::JournalIgnored => Vec::new(),
            _ => read_all_on(disk, Path::new(JOURNAL), taken).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::InvalidData => wrong(error),
                    _ => io(error),
                }
            })?,
        };
        let kept = connected(disk, taken)?;
        let end = entries.last().map_or(taken, |entry| entry.taken);
        let appender =
            Appender::open(Arc::new(disk.clone()), Path::new(JOURNAL), end, 2500).map_err(io)?;
        let mut core = Core::new(config, saved.as_ref(), mutant)?;
        core.states.clone_from(&memory.states);
        let cursor = saved
            .as_ref()
            .map(|saved| saved.positions.clone())
            .unwrap_or_default();
        if let Some(saved) = &saved {
            core.config = config
                .with(
                    saved
                        .settings
                        .as_object()
                        .unwrap_or(&serde_json::Map::new()),
                )
                .map_err(wrong)?;
            core.learner.set(core.config.learner.clone()).unwrap();
        }
        let mut history = saved
            .as_ref()
            .and_then(|saved| memory.marks.get(&saved.source).cloned())
            .unwrap_or_default();
        // Changes that stand exactly at the checkpoint may be in its history already; each is unlike all others.
        let new: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.taken > taken || !history.contains(entry))
            .cloned()
            .collect();
        history.extend(new);
        let mut process = Self {
            repeater: (!entries.is_empty()).then(|| Repeater::new(entries.into(), &cursor)),
            disk: disk.clone(),
            appender,
            orders: Vec::new(),
            cursor,
            kept,
            mutant,
            history,
            served: Vec::new(),
            repeated: 0,
            core,
        };
        process.go_on()?;
        Ok(process)
    }

    pub fn is_repeating(&self) -> bool {
        self.repeater.is_some()
    }

    /// Delivers the next records of a partition, some of them twice if the client library is bad.
    pub fn deliver(
        &mut self,
        stream: &Stream,
        partition: i32,
        count: usize,
        again: usize,
    ) -> Result<(), End> {
        let log = &stream.0[partition as usize];
        let mut next = self.cursor.next(partition).unwrap_or(0);
        let (begin, end) = (next as usize, (next as usize + count).min(log.len()));
        let delivered = &log[begin.saturating_sub(again)..end];
        let records = if self.mutant == Mutant::RepeatedTaken {
            delivered.to_vec()
        } else {
            // What stands between Kafka's client and everything else.
            let mut batch = Batch::default();
            for record in delivered {
                batch.accept(&mut next, record.clone());
            }
            batch.into_records()
        };
        self.cursor.0.insert(partition, end as i64);
        match &mut self.repeater {
            Some(repeater) if self.mutant != Mutant::OrderIgnored => {
                repeater.hold(records);
                self.go_on()
            }
            _ => self.take_all(records),
        }
    }

    fn take_all(&mut self, records: Vec<Record>) -> Result<(), End> {
        for record in records {
            self.core.take(record)?;
        }
        self.record();
        Ok(())
    }

    /// Repeats as far as records are there.
    fn go_on(&mut self) -> Result<(), End> {
        let Some(mut repeater) = self.repeater.take() else {
            return Ok(());
        };
        if !repeater.follow(&mut self.core)? {
            self.repeater = Some(repeater);
            return Ok(());
        }
        self.repeated += repeater.repeated();
        let (beyond, records) = repeater.beyond();
        for entry in beyond {
            self.append(entry);
        }
        self.take_all(records)
    }

    /// Learns a short batch, as a clock would have it.
    pub fn linger(&mut self) -> Result<(), End> {
        if self.is_repeating() {
            return Ok(());
        }
        self.core.cut()?;
        self.record();
        Ok(())
    }

    fn record(&mut self) {
        for entry in self.core.learned() {
            self.append(entry);
        }
    }

    fn append(&mut self, entry: Entry) {
        self.history.push(entry.clone());
        self.orders.push(Write::Entry(entry));
    }

    /// An operator changes a setting.
    pub fn change(&mut self, lambda: f64) -> Result<(), End> {
        if self.is_repeating() {
            return Ok(());
        }
        let change = Change::Settings(serde_json::json!({ "learner.lambda": lambda }));
        self.core.change(&change)?;
        if self.mutant != Mutant::ChangeNotRecorded {
            self.append(Entry::of_change(self.core.learner.taken(), change));
        }
        Ok(())
    }

    /// An operator sends the model back to the newest checkpoint that is older than it.
    pub fn roll_back(&mut self, memory: &mut Memory) -> Result<(), End> {
        if self.is_repeating() {
            return Ok(());
        }
        let newest = checkpoint::load_newest_on(&self.disk, Path::new(CHECKPOINTS)).map_err(io)?;
        let Some(found) = newest else {
            return Ok(());
        };
        let saved = found.checkpoint;
        let target = Target {
            name: memory.unique(),
            digest: saved.digest.clone(),
            taken: saved.taken,
            epoch: self.core.learner.epoch() + 1,
        };
        memory
            .states
            .insert(saved.digest.clone(), saved.state.clone());
        self.core.states.insert(saved.digest, saved.state);
        self.core.go_back(&target)?;
        let change = Change::Rollback(target);
        self.append(Entry::of_change(self.core.learner.taken(), change));
        self.flush()?;
        self.save(memory)
    }

    /// Writes what waits for the journal.
    pub fn flush(&mut self) -> Result<(), End> {
        self.appender.carry_out(&mut self.orders).map_err(io)
    }

    /// Serves the newest model, if the journal up to it is durable.
    pub fn serve(&mut self) -> Result<(), End> {
        let taken = self.core.learner.taken();
        let durable = self.orders.is_empty() && self.appender.taken() >= taken;
        if taken == 0 || self.is_repeating() {
            return Ok(());
        }
        if durable || self.mutant == Mutant::ServedEarly {
            let digest = self.core.digest()?;
            self.served.push((self.core.learner.epoch(), taken, digest));
        }
        Ok(())
    }

    /// Writes a checkpoint, if the journal up to it is durable.
    pub fn save(&mut self, memory: &mut Memory) -> Result<(), End> {
        let learner = &self.core.learner;
        let durable = self.orders.is_empty() && self.appender.taken() >= learner.taken();
        if (!durable && self.mutant != Mutant::SavedEarly) || learner.taken() == 0 {
            return Ok(());
        }
        let positions = match self.mutant {
            Mutant::PositionsAhead => self.cursor.clone(),
            _ => learner.positions().clone(),
        };
        let mark = memory.unique();
        let found = of_learner(&self.core.config, learner, positions, &mark).map_err(wrong)?;
        let left = self.repeater.as_ref().map_or(0, Repeater::left);
        let passed = self.history.len() - left;
        memory.marks.insert(mark, self.history[..passed].to_vec());
        let Some(mut saved) = found else {
            return Ok(());
        };
        if self.mutant == Mutant::OptimizerForgotten {
            for (name, blob) in &mut saved.state.blobs {
                if let (true, crate::state::Blob::F32 { values, .. }) =
                    (name.starts_with("model.momentum"), blob)
                {
                    values.fill(0.0);
                }
            }
        }
        let written = checkpoint::save_on(&self.disk, Path::new(CHECKPOINTS), &saved, 3);
        if matches!(written, Ok(_) | Err(checkpoint::Error::Unsettled { .. })) {
            self.kept.push_back(saved.taken);
        }
        let standing = written.map_err(io)?.standing;
        while self.kept.len() > standing {
            self.kept.pop_front();
        }
        let keep_from = match self.mutant {
            Mutant::JournalCutTooFar => u64::MAX,
            _ => self.kept.front().copied().unwrap_or(0),
        };
        self.orders.push(Write::Turn { keep_from });
        self.flush()
    }

    /// True when the source has nothing more, and nothing waits to be repeated.
    pub fn is_done(&self, stream: &Stream) -> bool {
        !self.is_repeating()
            && stream
                .0
                .iter()
                .enumerate()
                .all(|(at, log)| self.cursor.next(at as i32).unwrap_or(0) as usize >= log.len())
    }
}

/// The places of the valid checkpoints in the journal, oldest first. From each of them the journal must lead to the
/// newest, or falling back to an older one would lose batches.
fn connected(disk: &SimDisk, newest: u64) -> Result<VecDeque<u64>, End> {
    let mut kept = VecDeque::new();
    for path in disk.list(Path::new(CHECKPOINTS)).map_err(io)? {
        if !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-"))
        {
            continue;
        }
        let taken = match checkpoint::load_on(disk, &path) {
            Ok(found) => found.taken,
            Err(checkpoint::Error::Io { .. }) => return Err(End::Io),
            Err(_) => continue,
        };
        let entries = match read_all_on(disk, Path::new(JOURNAL), taken) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(wrong(error));
            }
            Err(_) => return Err(End::Io),
        };
        let end = entries.last().map_or(taken, |entry| entry.taken);
        if end < newest {
            return Err(wrong(format!(
                "the journal leads from {taken} to {end}, and the newest checkpoint stands at {newest}"
            )));
        }
        kept.push_back(taken);
    }
    Ok(kept)
}

/// Where files are, for messages.
pub fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let mut files = disk.list(Path::new(CHECKPOINTS)).unwrap_or_default();
    files.extend(disk.list(Path::new(JOURNAL)).unwrap_or_default());
    files
}
