//! `skewd replay --journal DIR`: the batches that a daemon recorded, over the same records.

mod ahead;
mod repetition;

use std::path::{Path, PathBuf};

use super::lane::Lane;
use super::replay::{Counted, data_error};
use super::{Failure, ReplayArgs, grid};
use crate::checkpoint::journal;
use crate::codec::Intake;
use crate::config::Config;
use crate::daemon::recording::{FOLDER, first_settings};
use crate::example::Positions;
use crate::learner::recorded::Entry;
use crate::stream::Source;
use crate::stream::file::FileSource;

pub(super) use repetition::{Early, Repetition};

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
    let (lane, counted) = repetition.into_parts();
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
