//! `skewd checkpoint audit`: the recorded batches between two checkpoints, learned again, must give the same states.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comfy_table::Table;
use serde_json::json;

use super::checkpoints::FOLDER;
use super::lane::Lane;
use super::recorded::{Early, Repetition};
use super::{Failure, checkpoints};
use crate::checkpoint::{self, Checkpoint, journal, name_of};
use crate::config::Config;
use crate::daemon::build::{lock, revive, start_positions};
use crate::daemon::open::open_source;
use crate::daemon::recording;
use crate::example::Positions;
use crate::learner::recorded::Entry;

/// A checkpoint that the repetition came by.
struct Met {
    path: PathBuf,
    examples: u64,
    recorded: String,
    found: String,
}

/// Repeats what was learned from checkpoint `from` (the oldest without it) to `to` (the newest), and compares the digest of every
/// checkpoint on the way.
///
/// # Errors
/// 75 while a daemon holds the folder, 78 without two checkpoints, 65 when records or batches are missing, 70 when a state
/// differs: the message names the first batch that does.
pub fn run(
    config: &Config,
    from: Option<&str>,
    to: Option<&str>,
    as_json: bool,
) -> Result<(), Failure> {
    let _lock = lock(&config.data_dir)?;
    let dir = config.in_data_dir(FOLDER);
    let (first, first_path) = ends(&dir, from, false)?;
    let (last, last_path) = ends(&dir, to, true)?;
    if first.taken >= last.taken {
        return Err(Failure::config(format!(
            "an audit needs two checkpoints, the first before the second: {} has {} examples, {} has {}",
            name_of(&first_path),
            first.examples,
            name_of(&last_path),
            last.examples
        )));
    }
    let waypoints = waypoints(&dir, first.taken, last.taken)?;
    let met = repeat(config, &first, last.taken, &waypoints)?;
    let equal = met.iter().all(|met| met.recorded == met.found);
    show(&first_path, &first, &met, as_json);
    if equal {
        Ok(())
    } else {
        Err(Failure::internal(
            "a state is not what the recorded batches give: see the table",
        ))
    }
}

fn ends(
    dir: &std::path::Path,
    name: Option<&str>,
    newest: bool,
) -> Result<(Checkpoint, PathBuf), Failure> {
    if name.is_some() || newest {
        return checkpoints::find(dir, name);
    }
    let oldest = checkpoint::list(dir)
        .map_err(Failure::io)?
        .into_iter()
        .find(|entry| entry.checkpoint.is_ok())
        .ok_or_else(|| Failure::config(format!("no valid checkpoint in {}", dir.display())))?;
    let checkpoint = checkpoint::load(&oldest.path).map_err(Failure::config)?;
    Ok((checkpoint, oldest.path))
}

/// Checkpoints after the first, up to the last, by their examples.
fn waypoints(
    dir: &std::path::Path,
    after: u64,
    until: u64,
) -> Result<BTreeMap<u64, Vec<(PathBuf, String)>>, Failure> {
    let mut found: BTreeMap<u64, Vec<(PathBuf, String)>> = BTreeMap::new();
    for entry in checkpoint::list(dir).map_err(Failure::io)? {
        if let Ok(header) = entry.checkpoint
            && header.taken.max(header.examples) > after
            && header.taken.max(header.examples) <= until
        {
            found
                .entry(header.taken.max(header.examples))
                .or_default()
                .push((entry.path, header.digest));
        }
    }
    Ok(found)
}

fn repeat(
    config: &Config,
    first: &Checkpoint,
    until: u64,
    waypoints: &BTreeMap<u64, Vec<(PathBuf, String)>>,
) -> Result<Vec<Met>, Failure> {
    let entries: std::collections::VecDeque<Entry> =
        journal::read_all(&config.in_data_dir(recording::FOLDER), first.taken)
            .map_err(Failure::data)?
            .into_iter()
            .take_while(|entry| entry.taken <= until)
            .collect();
    if entries
        .iter()
        .rev()
        .find(|entry| entry.is_batch())
        .map(|entry| entry.taken)
        != Some(until)
    {
        return Err(Failure::data(format!(
            "the journal does not hold the batches from {} to {until} examples: they were removed, or were learned \
             without it",
            first.examples
        )));
    }
    let then = first
        .settings
        .as_object()
        .map(recording::changing)
        .unwrap_or_default();
    let config = config.with(&then)?;
    let (learner, intake) = revive(&config, Some(first))?;
    let (source, _log, halt) = open_source(
        &config,
        Some(first),
        &start_positions(first),
        &Positions::default(),
    )?;
    if let Some(halt) = halt {
        return Err(Failure::data(halt));
    }
    let mut met: Vec<Met> = Vec::new();
    let mut look = |taken: u64, lane: &Lane| {
        for (path, digest) in waypoints.get(&taken).into_iter().flatten() {
            let state = lane.learner.save().map_err(Failure::internal)?;
            let found = state.map(|state| state.digest()).unwrap_or_default();
            // A rollback stands at the same place as the batch before it: a checkpoint there holds one of the two states.
            match met.iter_mut().find(|met| met.path == *path) {
                Some(met) if met.found == met.recorded => {}
                Some(met) => met.found = found,
                None => met.push(Met {
                    path: path.clone(),
                    examples: lane.learner.examples(),
                    recorded: digest.clone(),
                    found,
                }),
            }
        }
        Ok(())
    };
    let lane = Lane::over("audit".to_owned(), config.learning(), learner);
    let positions = start_positions(first);
    let mut repetition = Repetition::new(
        &config,
        entries,
        &positions,
        vec![source],
        (intake, lane),
        &mut look,
    );
    for entry in checkpoint::list(&config.in_data_dir(FOLDER)).map_err(Failure::io)? {
        if let Ok(older) = checkpoint::load(&entry.path)
            && older.taken <= first.taken
        {
            repetition.knows(&older.digest, &older.state);
        }
    }
    repetition.follow().map_err(|early| match early {
        Early::Mismatch(mismatch) => {
            Failure::internal(format!("{mismatch}: this batch is the first that differs"))
        }
        Early::Failure(failure) => failure,
    })?;
    drop(repetition);
    Ok(met)
}

fn show(first_path: &std::path::Path, first: &Checkpoint, met: &[Met], as_json: bool) {
    if as_json {
        let steps: Vec<serde_json::Value> = met
            .iter()
            .map(|met| {
                json!({ "name": name_of(&met.path), "examples": met.examples, "digest": met.recorded,
                        "repeated": met.found, "equal": met.recorded == met.found })
            })
            .collect();
        let answer = json!({ "from": name_of(first_path), "examples": first.examples, "checkpoints": steps });
        println!("{answer}");
        return;
    }
    let mut table = Table::new();
    table.set_header(["checkpoint", "examples", "digest", "repeated"]);
    table.add_row([
        name_of(first_path),
        first.examples.to_string(),
        first.digest.clone(),
        "(begin)".to_owned(),
    ]);
    for met in met {
        let verdict = if met.recorded == met.found {
            "equal".to_owned()
        } else {
            format!("differs: {}", met.found)
        };
        table.add_row([
            name_of(&met.path),
            met.examples.to_string(),
            met.recorded.clone(),
            verdict,
        ]);
    }
    println!("{table}");
}
