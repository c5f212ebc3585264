//! `skewd checkpoint ls | show | export`, and the checkpoint that a replay leaves.

use std::path::{Path, PathBuf};

use comfy_table::Table;

use super::{CheckpointCommand, Failure};
use crate::checkpoint::{self, Checkpoint, name_of};
use crate::config::Config;
use crate::example::Positions;
use crate::learner::Learner;

/// Where a data folder keeps its checkpoints.
pub const FOLDER: &str = "checkpoints";
/// Source of a checkpoint that a replay wrote: a daemon starts its own stream from the beginning.
pub const REPLAY_SOURCE: &str = "replay";

/// Runs the command.
///
/// # Errors
/// 74 when the folder cannot be read, 78 when there is no valid checkpoint.
pub fn run(config: &Config, command: CheckpointCommand) -> Result<(), Failure> {
    let dir = config.in_data_dir(FOLDER);
    match command {
        CheckpointCommand::Ls { json } => list(&dir, json),
        CheckpointCommand::Show { name, json } => {
            let (checkpoint, path) = find(&dir, name.as_deref())?;
            show(&checkpoint, &path, json);
            Ok(())
        }
        CheckpointCommand::Audit { from, to, json } => {
            super::audit::run(config, from.as_deref(), to.as_deref(), json)
        }
        CheckpointCommand::Export { out, name, json } => {
            let (checkpoint, path) = find(&dir, name.as_deref())?;
            checkpoint::export_safetensors(&checkpoint, &out).map_err(Failure::io)?;
            if json {
                let answer = serde_json::json!({ "from": path, "to": out });
                println!("{answer}");
            } else {
                println!("{} -> {}", path.display(), out.display());
            }
            Ok(())
        }
    }
}

fn list(dir: &Path, json: bool) -> Result<(), Failure> {
    let entries = checkpoint::list(dir).map_err(Failure::io)?;
    if json {
        let lines: Vec<serde_json::Value> = entries
            .iter()
            .map(|entry| match &entry.checkpoint {
                Ok(header) => serde_json::json!({
                    "name": name_of(&entry.path), "valid": true, "examples": header.examples,
                    "step": header.step, "digest": header.digest, "positions": header.positions,
                }),
                Err(reason) => serde_json::json!({
                    "name": name_of(&entry.path), "valid": false, "reason": reason.to_string(),
                }),
            })
            .collect();
        println!("{}", serde_json::Value::Array(lines));
        return Ok(());
    }
    let mut table = Table::new();
    table.set_header(["name", "examples", "step", "digest"]);
    for entry in &entries {
        match &entry.checkpoint {
            Ok(header) => table.add_row([
                name_of(&entry.path),
                header.examples.to_string(),
                header.step.to_string(),
                header.digest.clone(),
            ]),
            Err(reason) => table.add_row([
                name_of(&entry.path),
                String::new(),
                String::new(),
                format!("not valid: {reason}"),
            ]),
        };
    }
    println!("{table}");
    Ok(())
}

fn show(checkpoint: &Checkpoint, path: &Path, json: bool) {
    let arrays: serde_json::Map<String, serde_json::Value> = checkpoint
        .state
        .blobs
        .iter()
        .map(|(name, blob)| {
            let entry = serde_json::json!({ "type": blob.kind(), "shape": blob.shape() });
            (name.clone(), entry)
        })
        .collect();
    let parse = |name: &str| -> serde_json::Value {
        checkpoint
            .state
            .text(name)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    };
    let whole = serde_json::json!({
        "name": name_of(path),
        "examples": checkpoint.examples,
        "step": checkpoint.step,
        "digest": checkpoint.digest,
        "positions": checkpoint.positions,
        "source": checkpoint.source,
        "instruction_set": checkpoint.instruction_set,
        "classes": parse("classes"),
        "schema": parse("schema"),
        "settings": checkpoint.settings,
        "arrays": arrays,
    });
    if json {
        println!("{whole}");
    } else if let Ok(text) = serde_json::to_string_pretty(&whole) {
        println!("{text}");
    }
}

pub(super) fn find(dir: &Path, name: Option<&str>) -> Result<(Checkpoint, PathBuf), Failure> {
    let path = match name {
        Some(name) if Path::new(name).components().count() > 1 => PathBuf::from(name),
        Some(name) => dir.join(name),
        None => {
            let newest = checkpoint::list(dir)
                .map_err(Failure::io)?
                .into_iter()
                .rfind(|entry| entry.checkpoint.is_ok());
            let Some(newest) = newest else {
                return Err(Failure::config(format!(
                    "no valid checkpoint in {}: set data_dir to the folder of a daemon that has learned",
                    dir.display()
                )));
            };
            newest.path
        }
    };
    let checkpoint = checkpoint::load(&path).map_err(|error| match error {
        checkpoint::Error::Io { .. } => Failure::io(error),
        other => Failure::config(other),
    })?;
    Ok((checkpoint, path))
}

/// Writes what a replay learned, so that a daemon can go on from it on a stream of its own.
///
/// # Errors
/// 65 when nothing was learned, 74 when it cannot be written.
pub fn save_replay(dir: &Path, config: &Config, learner: &Learner) -> Result<(), Failure> {
    let checkpoint = of_learner(config, learner, Positions::default(), REPLAY_SOURCE)
        .map_err(Failure::internal)?;
    let Some(checkpoint) = checkpoint else {
        return Err(Failure::data(
            "nothing was learned, so there is nothing to save: fewer examples than one batch",
        ));
    };
    let written = checkpoint::save(&dir.join(FOLDER), &checkpoint, config.checkpoint.keep)
        .map_err(Failure::io)?;
    println!("checkpoint: {}", written.path.display());
    Ok(())
}

/// The checkpoint of a learner as of its last boundary; `None` before its first step.
///
/// # Errors
/// When the learning state cannot be read.
pub fn of_learner(
    config: &Config,
    learner: &Learner,
    positions: Positions,
    source: &str,
) -> Result<Option<Checkpoint>, crate::learner::Error> {
    let Some(state) = learner.save()?.filter(|_| learner.examples() > 0) else {
        return Ok(None);
    };
    Ok(Some(Checkpoint {
        digest: state.digest(),
        state,
        positions,
        examples: learner.examples(),
        taken: learner.taken(),
        step: learner.steps(),
        settings: serde_json::Value::Object(config.learning()),
        instruction_set: crate::model::instruction_set().to_owned(),
        source: source.to_owned(),
    }))
}
