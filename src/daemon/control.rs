//! What an operator asks of the learner's thread, and what holds it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failure, Trainer};
use crate::config::Config;
use crate::learner::Event;
use crate::learner::recorded::Change;
use crate::serve::{Command, CommandError};
use crate::stream::SourceStatus;
use crate::telemetry;

/// A source that fails again and again is reported this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Settings that may change while learning goes on.
const CHANGEABLE: [&str; 24] = [
    "learner.lambda",
    "learner.gamma",
    "learner.weight_cap",
    "learner.learning_rate",
    "learner.momentum",
    "learner.weight_decay",
    "learner.clip_norm",
    "learner.batch_linger_ms",
    "learner.normalizer_start",
    "learner.adam_beta2",
    "learner.schedule",
    "learner.warmup_steps",
    "learner.schedule_steps",
    "learner.step_every",
    "learner.step_factor",
    "learner.schedule_floor",
    "learner.damped_examples",
    "learner.lambda_anneal_examples",
    "learner.lambda_start",
    "learner.kl_budget",
    "learner.kl_lambda_floor",
    "learner.drift_reaction",
    "learner.drift_rate",
    "learner.drift_examples",
];

/// Why a command has to wait.
pub(super) const REPEATING: &str =
    "the batches since the last checkpoint are being repeated: try again in a moment";

/// Why nothing is changed that could not be repeated.
pub(super) const NOT_RECORDED: &str = "nothing was changed: the journal cannot be written just now, and after a crash the change \
     would be lost; the daemon's log says why";

/// Why a checkpoint has to wait.
pub(super) const LETTERS_WAIT: &str = "the dead letters before it cannot be made durable, and a checkpoint must not pass them: \
     the daemon's log says why, and it is tried again by itself";

/// What keeps the learner from the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// Nothing.
    Nothing,
    /// An operator's pause.
    Pause,
    /// The source cannot go on without a person.
    Halt,
}

/// Commands and holds.
pub(super) struct Control {
    commands: mpsc::Receiver<Command>,
    /// Why learning is held.
    paused: Option<String>,
    halted: Option<String>,
    complained: Option<Instant>,
}

impl Control {
    pub fn new(commands: mpsc::Receiver<Command>, halted: Option<String>) -> Self {
        Self {
            commands,
            paused: None,
            halted,
            complained: None,
        }
    }

    pub fn holding(&self) -> Holding {
        match (&self.halted, &self.paused) {
            (Some(_), _) => Holding::Halt,
            (None, Some(_)) => Holding::Pause,
            (None, None) => Holding::Nothing,
        }
    }

    pub fn halt(&mut self, reason: String) {
        self.halted = Some(reason);
    }

    /// Holds learning until an operator resumes it.
    pub fn pause(&mut self, reason: String) {
        self.paused = Some(reason);
    }

    pub fn paused(&self) -> bool {
        self.paused.is_some()
    }

    /// True when a repeated failure may be reported again.
    pub fn complain(&mut self, now: Instant) -> bool {
        let may = self
            .complained
            .is_none_or(|at| now.duration_since(at) >= COMPLAIN_EVERY);
        if may {
            self.complained = Some(now);
        }
        may
    }

    /// State and detail of the source, as people see them.
    pub fn source_state(&self, status: &SourceStatus) -> (String, String) {
        match (&self.halted, &self.paused) {
            (Some(reason), _) => ("halted".to_owned(), reason.clone()),
            (None, Some(reason)) => ("paused".to_owned(), reason.clone()),
            (None, None) => (status.state.to_owned(), status.detail.clone()),
        }
    }
}

impl Trainer {
    /// Carries out what operators asked for since the last look.
    pub(super) fn obey(&mut self) -> Result<(), Failure> {
        while let Ok(command) = self.control.commands.try_recv() {
            // A client that went away does not need its answer.
            match command {
                Command::Pause(reply) => {
                    self.control.pause("an operator paused learning".to_owned());
                    self.show();
                    let _ = reply.send(Ok(json!({ "paused": true, "step": self.learner.steps() })));
                }
                Command::Resume(reply) => {
                    if self.control.paused.take().is_some() && self.poison.trouble().is_some() {
                        // Who resumes has seen it: as many bad records are needed again.
                        self.poison.forget();
                        telemetry::record_poison(false);
                    }
                    self.show();
                    let _ =
                        reply.send(Ok(json!({ "paused": false, "step": self.learner.steps() })));
                }
                Command::Checkpoint(reply) => {
                    let answer = self.checkpoint_now()?;
                    self.show();
                    let _ = reply.send(answer);
                }
                Command::Discover(reply) => {
                    let answer = self.discover_now()?;
                    self.show();
                    let _ = reply.send(answer);
                }
                Command::Rollback(to, reply) => {
                    let answer = self.roll_back(&to)?;
                    self.show();
                    let _ = reply.send(answer);
                }
                Command::Settings(change, reply) => {
                    let answer = self.change(&change)?;
                    self.show();
                    let _ = reply.send(answer);
                }
            }
        }
        Ok(())
    }

    /// Publishes at once what a command has changed, so that its answer is not older than what others see.
    pub(super) fn show(&mut self) {
        if let Some(last) = self.saver.last() {
            self.publisher.saved(last.digest.clone(), last.examples);
        }
        self.publisher.publish_soon();
        self.publish(Instant::now());
    }

    fn checkpoint_now(&mut self) -> Result<Result<Value, CommandError>, Failure> {
        if !(self.letters.deliver() && self.letters.settled()) {
            return Ok(Err(refuse(503, LETTERS_WAIT)));
        }
        self.saver.wait()?;
        if self.saver.stale(&self.learner) {
            self.save(Instant::now());
            self.saver.wait()?;
            if self.saver.failed() {
                return Ok(Err(refuse(
                    503,
                    "the checkpoint could not be written: the daemon's log says why, and it is tried again by itself",
                )));
            }
        }
        Ok(match self.saver.last() {
            Some(last) => {
                Ok(json!({ "name": last.name, "examples": last.examples, "digest": last.digest }))
            }
            None => Err(refuse(
                409,
                "nothing was learned yet, so there is nothing to write down",
            )),
        })
    }

    fn discover_now(&mut self) -> Result<Result<Value, CommandError>, Failure> {
        if self.intake.discovered() {
            return Ok(Err(refuse(
                409,
                "the schema is known already: see GET /v1/model",
            )));
        }
        if self.recording.is_repeating() {
            return Ok(Err(refuse(503, REPEATING)));
        }
        // Who is refused has changed nothing: the records go on waiting.
        if let Err(reason) = self.intake.can_finish_discovery() {
            return Ok(Err(refuse(409, &reason)));
        }
        let held = self.intake.buffered() as u64;
        self.intake
            .finish_discovery(&mut self.arrivals)
            .map_err(Failure::internal)?;
        self.recording
            .note(self.learner.taken(), Change::Discover(held));
        self.learn()?;
        let features = self.learner.schema().map_or(0, |schema| schema.len());
        Ok(Ok(json!({ "features": features })))
    }

    /// Changes settings from the next step on; all of them or none.
    fn change(&mut self, change: &Value) -> Result<Result<Value, CommandError>, Failure> {
        if self.recording.is_repeating() {
            return Ok(Err(refuse(503, REPEATING)));
        }
        if self.recording.trouble().is_some() {
            return Ok(Err(refuse(503, NOT_RECORDED)));
        }
        let config = match changed(&self.config, change) {
            Ok(config) => config,
            Err(refused) => return Ok(Err(refused)),
        };
        self.take_over(config)?;
        tracing::info!(step = self.learner.steps(), %change, "settings changed");
        let settings: serde_json::Map<String, Value> = self
            .config
            .learning()
            .into_iter()
            .filter(|(key, _)| CHANGEABLE.contains(&key.as_str()))
            .collect();
        Ok(Ok(
            json!({ "after_step": self.learner.steps(), "settings": settings }),
        ))
    }
}

pub(super) fn refuse(status: u16, message: &str) -> CommandError {
    CommandError {
        status,
        message: message.to_owned(),
        field: None,
    }
}

/// The settings with a change laid over them.
fn changed(config: &Config, change: &Value) -> Result<Config, CommandError> {
    let mut flat = Vec::new();
    let Value::Object(table) = change else {
        return Err(refuse(
            400,
            "send a JSON object of settings, such as {\"learner.lambda\": 5}",
        ));
    };
    flatten("", table, &mut flat);
    if flat.is_empty() {
        return Err(refuse(
            400,
            "no setting was given, such as {\"learner.lambda\": 5}",
        ));
    }
    let mut changes = serde_json::Map::new();
    for (key, value) in flat {
        let key = if CHANGEABLE.contains(&format!("learner.{key}").as_str()) {
            format!("learner.{key}")
        } else {
            key
        };
        if !CHANGEABLE.contains(&key.as_str()) {
            return Err(CommandError {
                status: 409,
                message: format!(
                    "{key} cannot change while the daemon runs; these can: {}",
                    CHANGEABLE.join(", ")
                ),
                field: Some(key),
            });
        }
        changes.insert(key, value);
    }
    config.with(&changes).map_err(invalid)
}

fn invalid(error: crate::config::Error) -> CommandError {
    CommandError {
        status: 400,
        message: error.to_string(),
        field: Some(error.key),
    }
}

fn flatten(at: &str, table: &serde_json::Map<String, Value>, flat: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        match value {
            Value::Object(inner) => flatten(&key, inner, flat),
            value => flat.push((key, value.clone())),
        }
    }
}

impl Trainer {
    /// Gives the learner what discovery has found, if that is new.
    pub(super) fn introduce_schema(&mut self) -> Result<(), Failure> {
        if let Some(schema) = self.intake.schema().cloned() {
            self.learner
                .handle(Event::Schema(schema))
                .map_err(Failure::internal)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_by_short_dotted_or_nested_name() {
        for change in [
            json!({ "lambda": 2 }),
            json!({ "learner.lambda": 2.0 }),
            json!({ "learner": { "lambda": "2" } }),
        ] {
            let config = changed(&Config::default(), &change).unwrap();
            assert_eq!(config.learner.lambda.0, 2.0, "{change}");
        }
        let config = changed(
            &Config::default(),
            &json!({ "lambda": "inf", "gamma": 0.5 }),
        )
        .unwrap();
        assert!(config.learner.lambda.0.is_infinite());
        assert_eq!(config.learner.gamma, 0.5);
    }

    #[test]
    fn a_setting_that_needs_a_restart_is_refused_by_name() {
        let error = changed(
            &Config::default(),
            &json!({ "model": { "kind": "linear" } }),
        )
        .unwrap_err();
        assert_eq!(
            (error.status, error.field.as_deref()),
            (409, Some("model.kind"))
        );
        let error = changed(&Config::default(), &json!({ "gamma": 2 })).unwrap_err();
        assert_eq!(
            (error.status, error.field.as_deref()),
            (400, Some("learner.gamma"))
        );
        assert_eq!(
            changed(&Config::default(), &json!([])).unwrap_err().status,
            400
        );
    }
}
