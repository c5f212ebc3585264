//! `--grid KEY=V1,V2,…`: every combination is one learner of the same pass.

use super::Failure;
use super::lane::Lane;
use crate::config::{self, Config, Layers};
use crate::learner::Mode;
use crate::learner::portfolio::SERVED;

/// Learners that one pass may carry.
const LEARNERS_MAX: usize = 256;
/// Name of the only learner of a replay without a grid.
const ALONE: &str = "default";

/// One lane a combination; without a grid one lane with the settings as they are.
///
/// # Errors
/// 64 for a grid that is none, 78 for a value that cannot work.
pub fn combinations(config: &Config, grid: &[String]) -> Result<Vec<Lane>, Failure> {
    let mut names = vec![Vec::<String>::new()];
    for axis in grid {
        let (key, values) = config::parse_assignment(axis)
            .map_err(|error| Failure::usage(format!("--grid {axis}: {}", error.reason)))?;
        check_key(key)?;
        let values = split(values);
        names = names
            .iter()
            .flat_map(|name| {
                values.iter().map(move |value| {
                    let mut longer = name.clone();
                    longer.push(format!("{key}={value}"));
                    longer
                })
            })
            .collect();
        if names.len() > LEARNERS_MAX {
            return Err(Failure::usage(format!(
                "--grid asks for more than {LEARNERS_MAX} learners: give fewer values"
            )));
        }
    }
    names
        .into_iter()
        .map(|assignments| {
            let config = with(config, &assignments)?;
            let name = if assignments.is_empty() {
                match config.learner.mode {
                    Mode::Single => ALONE.to_owned(),
                    Mode::Portfolio => SERVED.to_owned(),
                }
            } else {
                assignments.join(" ")
            };
            Ok(Lane::new(name, config.learning(), config.task()?))
        })
        .collect()
}

fn with(config: &Config, assignments: &[String]) -> Result<Config, config::Error> {
    let mut layers = Layers::over(config);
    let keys = || assignments.iter().filter_map(|text| text.split('=').next());
    let is_described = keys().any(config::describes_a_learner);
    if is_described && config.learner.portfolio.is_empty() {
        // Values of one learner are compared; a mode among the assignments comes later and wins.
        layers.add_assignment("learner.mode=single")?;
    }
    for assignment in assignments {
        layers.add_assignment(assignment)?;
    }
    layers.finish()
}

/// Learners of one pass share the decoded records, so the settings that decide how a record is read cannot differ.
fn check_key(key: &str) -> Result<(), Failure> {
    let table = key.split('.').next().unwrap_or(key);
    let fits = match table {
        "model" | "loss" | "learner" | "evaluation" | "decision" | "seed" | "device" => true,
        "schema" => matches!(key, "schema.encoding" | "schema.recent_shares"),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "--grid {key}: the learners of one pass share its records, so only model, loss, learner, evaluation, \
             decision, seed, schema.encoding and schema.recent_shares may differ; set {key} with --set"
        )))
    }
}

/// Splits at commas that stand outside brackets and quotes.
fn split(values: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quote) = (0_i32, None);
    for c in values.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_brackets_and_quotes_do_not_split() {
        assert_eq!(split("1,2"), ["1", "2"]);
        assert_eq!(split("[64, 64],[8]"), ["[64, 64]", "[8]"]);
        assert_eq!(split("\"a,b\",c"), ["\"a,b\"", "c"]);
    }

    #[test]
    fn every_combination_is_one_learner() {
        let grid = [
            "learner.lambda=1,inf".to_owned(),
            "model.hidden=[8],[4,4]".to_owned(),
        ];
        let lanes = combinations(&Config::default(), &grid).unwrap();
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "learner.lambda=1 model.hidden=[8]",
                "learner.lambda=1 model.hidden=[4,4]",
                "learner.lambda=inf model.hidden=[8]",
                "learner.lambda=inf model.hidden=[4,4]"
            ]
        );
        let settings = &lanes[3].settings;
        assert_eq!(settings["learner.lambda"], "inf");
        assert_eq!(settings["model.hidden"], serde_json::json!([4, 4]));
    }

    #[test]
    fn a_key_that_decides_how_records_are_read_is_refused() {
        let error = combinations(&Config::default(), &["schema.label=a,b".to_owned()]);
        assert_eq!(error.err().map(|failure| failure.code), Some(64));
    }
}
