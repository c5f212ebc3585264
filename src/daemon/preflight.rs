//! What can be wrong before anything is served: looked at by `serve` as it starts, and by `check` without starting.

use std::net::TcpListener;

use super::build::{DEAD_LETTERS, LOG, check_features, load, lock, revive};
use super::{Failure, http, recording, secrets};
use crate::config::Config;
use crate::model;
use crate::stream::Kind;
use crate::stream::embedded::EmbeddedLog;

/// Opens the device, and answers its name.
///
/// # Errors
/// 78 when there is none.
pub(crate) fn device(config: &Config) -> Result<String, Failure> {
    model::parse_device(&config.device)
        .and_then(|choice| model::open_device(&choice).map_err(|error| error.to_string()))
        .map(|(_, name)| name)
        .map_err(|reason| Failure::config(format!("device = {:?}: {reason}", config.device)))
}

/// Both listeners, bound.
///
/// # Errors
/// 78 when an address cannot be had.
pub(super) fn listeners(config: &Config) -> Result<(TcpListener, TcpListener), Failure> {
    let public = config.http.address().map_err(Failure::config)?;
    let admin = config.admin.address().map_err(Failure::config)?;
    Ok((
        http::bind("http.listen", public)?,
        http::bind("admin.listen", admin)?,
    ))
}

/// What `serve` would find in the data folder, and whether it could listen. A folder in use is looked at by its daemon.
///
/// # Errors
/// Those of a start.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, Failure> {
    secrets::check(config)?;
    if !config.data_dir.exists() {
        drop(listeners(config)?);
        return Ok(vec![
            format!(
                "data_dir   {} will be made by serve",
                config.data_dir.display()
            ),
            listening(config),
        ]);
    }
    let _lock = match lock(&config.data_dir) {
        Ok(lock) => lock,
        Err(failure) if failure.code == 75 => {
            return Ok(vec![format!(
                "data_dir   {failure}: its files were not looked at"
            )]);
        }
        Err(failure) => return Err(failure),
    };
    drop(listeners(config)?);
    let mut lines = state(config)?;
    files(config)?;
    lines.push(listening(config));
    Ok(lines)
}

fn listening(config: &Config) -> String {
    format!(
        "listeners  {} and {} (admin)",
        config.http.listen, config.admin.listen
    )
}

/// The newest state, and whether the settings fit it.
fn state(config: &Config) -> Result<Vec<String>, Failure> {
    let saved = load(config)?;
    let (learner, _) = revive(config, saved.newest.as_ref())?;
    check_features(config, &learner)?;
    let taken = saved.newest.as_ref().map_or(0, |newest| newest.taken);
    recording::recorded_after(&config.in_data_dir(recording::FOLDER), taken)?;
    Ok(vec![match (&saved.newest, &saved.last) {
        (Some(newest), Some(last)) => {
            format!("checkpoint {} with {} examples", last.name, newest.examples)
        }
        _ => format!(
            "data_dir   {} without a checkpoint",
            config.data_dir.display()
        ),
    }])
}

/// Files that must be files.
fn files(config: &Config) -> Result<(), Failure> {
    let log = config.in_data_dir(LOG);
    if config.source.kind == Kind::Embedded && log.exists() {
        EmbeddedLog::open(&log, config.source.retention_bytes).map_err(Failure::io)?;
    }
    let letters = config.in_data_dir(DEAD_LETTERS);
    if letters.is_dir() {
        let what = format!(
            "{} is a folder, and dead letters go there",
            letters.display()
        );
        return Err(Failure::io(what));
    }
    Ok(())
}
