//! `skewd source reset`: the model stays, its place in the stream goes.

use std::path::{Path, PathBuf};

use super::Failure;
use super::checkpoints::FOLDER;
use crate::checkpoint::{self, Checkpoint, journal, name_of};
use crate::config::Config;
use crate::daemon::build::{LOG, lock, newest};
use crate::daemon::recording::FOLDER as JOURNAL;
use crate::example::Positions;
use crate::stream::Kind;
use crate::stream::embedded::EmbeddedLog;

/// Source of a checkpoint that belongs to no stream yet: whatever is configured is read from its beginning.
const NO_STREAM: &str = "";

/// Writes the newest state once more, without a place in a stream, and moves the journal aside: its batches are those of
/// the stream that is given up.
///
/// # Errors
/// 74 when files cannot be read or written, 75 while a daemon runs, 78 when there is no state to keep.
pub fn reset(config: &Config, json: bool) -> Result<(), Failure> {
    let _lock = lock(&config.data_dir)?;
    let dir = config.in_data_dir(FOLDER);
    let Some(found) = newest(config)? else {
        return Err(Failure::config(format!(
            "{}: there is no checkpoint, so there is no model to keep: start with an empty data_dir instead",
            dir.display()
        )));
    };
    let given_up = not_in(&config.in_data_dir(JOURNAL), &found.checkpoint);
    let checkpoint = Checkpoint {
        positions: Positions::default(),
        source: NO_STREAM.to_owned(),
        ..found.checkpoint
    };
    // The journal first: a crash between the two leaves a state that goes on where it was, or halts as before.
    let aside = move_aside(&config.in_data_dir(JOURNAL))?;
    // Older checkpoints must not be gone on from in what is there now: the log is another one from here on.
    if config.source.kind == Kind::Embedded {
        EmbeddedLog::rename(&config.in_data_dir(LOG)).map_err(Failure::io)?;
    }
    let path = checkpoint::save(&dir, &checkpoint, config.checkpoint.keep)
        .map_err(Failure::io)?
        .path;
    let aside_text = aside.as_ref().map_or_else(
        || "there was none".to_owned(),
        |to| format!("moved to {}", to.display()),
    );
    if json {
        let answer = serde_json::json!({
            "checkpoint": name_of(&path), "examples": checkpoint.examples, "step": checkpoint.step,
            "digest": checkpoint.digest, "examples_given_up": given_up, "journal": aside,
        });
        println!("{answer}");
        return Ok(());
    }
    println!(
        "model      {} examples, step {}, as of {}",
        checkpoint.examples,
        checkpoint.step,
        name_of(&found.path)
    );
    match given_up {
        Some(0) => {}
        Some(examples) => println!(
            "given up   {examples} examples that only the journal holds: learned after that checkpoint"
        ),
        None => {
            println!("given up   what the journal holds after that checkpoint: it cannot be read")
        }
    }
    println!("journal    {aside_text}");
    println!("next start reads the stream from its beginning");
    Ok(())
}

/// Examples that the journal holds beyond the state; `None` where it cannot be read, which is no reason to stop here.
fn not_in(dir: &Path, checkpoint: &Checkpoint) -> Option<u64> {
    let entries = journal::read_all(dir, checkpoint.taken).ok()?;
    Some(
        entries
            .last()
            .map_or(0, |entry| entry.taken.saturating_sub(checkpoint.taken)),
    )
}

fn move_aside(dir: &Path) -> Result<Option<PathBuf>, Failure> {
    if !dir.exists() {
        return Ok(None);
    }
    let to = (1_u32..)
        .map(|number| dir.with_extension(format!("reset-{number}")))
        .find(|to| !to.exists())
        .unwrap_or_else(|| dir.with_extension("reset"));
    std::fs::rename(dir, &to)
        .map_err(|error| Failure::io(format!("cannot move {} aside: {error}", dir.display())))?;
    Ok(Some(to))
}
