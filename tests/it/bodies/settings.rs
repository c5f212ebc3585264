//! Settings as they are typed. The first byte chooses where: assignments, variables, a file, or a change of those that
//! hold.

use skewd::config::{Config, Error};

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let loaded = match first % 4 {
        0 => of_assignments(text),
        1 => of_variables(text),
        2 => of_file(text),
        _ => of_changes(text),
    };
    match loaded {
        Ok(config) => check(&config),
        Err(error) => assert!(!error.reason.is_empty(), "{error:?}"),
    }
}

/// One a line.
fn of_assignments(text: &str) -> Result<Config, Error> {
    let assignments: Vec<String> = text.lines().map(str::to_owned).collect();
    Config::load(&[], std::iter::empty(), &assignments)
}

/// One a line, without the prefix.
fn of_variables(text: &str) -> Result<Config, Error> {
    let variables = text.lines().map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (format!("SKEWD_{name}"), value.to_owned())
    });
    Config::load(&[], variables, &[])
}

fn of_file(text: &str) -> Result<Config, Error> {
    let file = tempfile::NamedTempFile::new().expect("room for a file");
    std::fs::write(file.path(), text).expect("room for a file");
    Config::load(&[file.path().to_owned()], std::iter::empty(), &[])
}

/// As an operator sends them: JSON, by dotted key.
fn of_changes(text: &str) -> Result<Config, Error> {
    match serde_json::from_str(text) {
        Ok(changes) => Config::default().with(&changes),
        Err(_) => Ok(Config::default()),
    }
}

/// Settings that were taken are complete, and come back as they are from where they are written down.
fn check(config: &Config) {
    assert!(config.task().is_ok());
    assert_eq!(config.with(&config.learning()).as_ref(), Ok(config));
}
