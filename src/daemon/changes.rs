//! Changes of the state that no batch makes: going back to an older model, and other settings of how records are read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::control::{REPEATING, refuse};
use super::{Failure, Trainer};
use crate::checkpoint::{self, Checkpoint};
use crate::cli::checkpoints::FOLDER;
use crate::codec::{Intake, Schema};
use crate::config::Config;
use crate::example::Outcome;
use crate::learner::recorded::{Change, Target};
use crate::learner::{Event, Learner};
use crate::serve::{CommandError, RollbackTo};

/// Takes over how records are read from here on. Features and classes may come to those that a model knows; nothing that
/// it knows may go. Examples that wait for a batch must be given again.
///
/// # Errors
/// 78 with what would be lost.
pub(crate) fn read_as(
    config: &Config,
    learner: &mut Learner,
    intake: &mut Intake,
) -> Result<(), Failure> {
    let settings = &config.schema;
    learner.set_codec(&Arc::new(settings.clone()));
    let known = learner.schema().map(|known| (**known).clone());
    if let Some(known) = &known {
        let given = Schema::given(settings).unwrap_or_else(|| known.clone());
        let classes: Vec<Arc<str>> = settings
            .classes
            .iter()
            .map(|class| Arc::from(class.as_str()))
            .collect();
        let new_features = given.len() - known.len().min(given.len());
        let new_classes = classes
            .iter()
            .filter(|class| !learner.classes().contains(class))
            .count();
        if given != *known || new_classes > 0 {
            learner.grow(&given, &classes).map_err(unfit)?;
            tracing::info!(
                new_features,
                new_classes,
                step = learner.steps(),
                "the model grows; predictions are as before until it has learned what is new"
            );
        }
    }
    if known.is_some() || intake.buffered() == 0 {
        let restored = learner.schema().map(|schema| (**schema).clone());
        let classes = learner.classes().to_vec();
        *intake = Intake::new(settings, restored.map(|schema| (schema, classes)));
    }
    Ok(())
}

/// A state that does not fit the settings.
pub(crate) fn unfit(error: crate::learner::Error) -> Failure {
    match error {
        crate::learner::Error::Growth(reason) => Failure::config(format!(
            "schema.features: {reason}: features may be added, in any place; put it back, or start anew with an empty \
             data_dir"
        )),
        other => Failure::config(other),
    }
}

impl Trainer {
    /// Settings from the next step on, recorded.
    pub(super) fn take_over(&mut self, config: Config) -> Result<(), Failure> {
        self.adopt(config)?;
        self.publisher.settings(&self.config);
        self.recording
            .note_settings(self.learner.taken(), &self.config);
        Ok(())
    }

    /// The settings with which reading begins: the state may be older than they are.
    pub(super) fn begin(&mut self, config: Config) -> Result<(), Failure> {
        let size = |learner: &Learner| {
            let features = learner.schema().map_or(0, |schema| schema.len());
            (features, learner.classes().len())
        };
        let before = size(&self.learner);
        read_as(&config, &mut self.learner, &mut self.intake)?;
        if size(&self.learner) != before {
            self.saver.outdated();
        }
        self.take_over(config)
    }

    /// Settings from the next step on.
    pub(super) fn adopt(&mut self, config: Config) -> Result<(), Failure> {
        self.learner.set(config.learner.clone());
        let reads_as_before = self.config.schema == config.schema;
        self.config = config;
        if !reads_as_before {
            read_as(&self.config, &mut self.learner, &mut self.intake)?;
            self.feed_again()?;
            self.saver.outdated();
        }
        Ok(())
    }

    /// An operator wants an older model.
    pub(super) fn roll_back(
        &mut self,
        to: &RollbackTo,
    ) -> Result<Result<Value, CommandError>, Failure> {
        if self.recording.is_repeating() {
            return Ok(Err(refuse(503, REPEATING)));
        }
        if !(self.letters.deliver() && self.letters.settled()) {
            return Ok(Err(refuse(
                503,
                "dead letters are not delivered yet: try again later",
            )));
        }
        self.saver.wait()?;
        let found = match self.find(to) {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let (path, checkpoint) = found;
        let from = (self.learner.steps(), self.learner.examples());
        if let Err(error) = self.restore_from(&checkpoint)? {
            return Ok(Err(refuse(409, &error)));
        }
        let target = Target {
            name: name_of(&path),
            digest: checkpoint.digest.clone(),
            taken: checkpoint.taken,
            epoch: self.learner.epoch(),
        };
        tracing::warn!(
            checkpoint = target.name,
            from_step = from.0,
            to_step = checkpoint.step,
            "the model was sent back to an older one"
        );
        let answer = json!({
            "checkpoint": target.name,
            "step": checkpoint.step,
            "examples": checkpoint.examples,
            "digest": checkpoint.digest,
            "from": { "step": from.0, "examples": from.1 },
        });
        self.recording
            .note(self.learner.taken(), Change::Rollback(target));
        // From here on a restart finds the older model even if that checkpoint is gone.
        self.save(Instant::now());
        self.saver.wait()?;
        Ok(Ok(answer))
    }

    /// The journal says that the model went back here.
    pub(super) fn go_back_to(&mut self, target: &Target) -> Result<(), Failure> {
        if self.learner.epoch() >= target.epoch {
            return Ok(());
        }
        let path = self.config.in_data_dir(FOLDER).join(&target.name);
        let gone = |reason: String| {
            Failure::config(format!(
                "the journal goes back to {}, which cannot be used ({reason}): restore it, or move the journal away to \
                 go on from the checkpoint without it",
                target.name
            ))
        };
        let checkpoint = checkpoint::load(&path).map_err(|error| gone(error.to_string()))?;
        if checkpoint.digest != target.digest {
            return Err(gone("it holds another state".to_owned()));
        }
        self.restore_from(&checkpoint)?.map_err(gone)
    }

    /// Takes the older state; the inner error says why it does not fit.
    fn restore_from(&mut self, checkpoint: &Checkpoint) -> Result<Result<(), String>, Failure> {
        if let Err(error) = self.learner.roll_back(&checkpoint.state) {
            return Ok(Err(error.to_string()));
        }
        read_as(&self.config, &mut self.learner, &mut self.intake)?;
        self.feed_again()?;
        self.publisher.went_back();
        self.saver.outdated();
        Ok(Ok(()))
    }

    /// Examples that wait for their batch are decoded once more: classes and features have other numbers now.
    fn feed_again(&mut self) -> Result<(), Failure> {
        let mut arrivals = Vec::new();
        for record in std::mem::take(&mut self.waiting) {
            self.intake.push(record.clone(), &mut arrivals);
            for arrival in arrivals.drain(..) {
                match &arrival.outcome {
                    Outcome::Rejected { reject, record } => {
                        self.meters.rejected(reject.reason);
                        self.letters.post(record, reject);
                    }
                    Outcome::Example { .. } => self.waiting.push(record.clone()),
                    Outcome::Unlabelled => {}
                }
                // Fewer than a batch: no step follows.
                self.learner
                    .handle(Event::Arrival(&arrival))
                    .map_err(Failure::internal)?;
            }
        }
        Ok(())
    }

    /// The checkpoint that is meant.
    fn find(&self, to: &RollbackTo) -> Result<(PathBuf, Checkpoint), CommandError> {
        let dir = self.config.in_data_dir(FOLDER);
        let unreadable = |error: checkpoint::Error| {
            tracing::error!(%error, "checkpoints cannot be read for a rollback");
            refuse(
                500,
                "the checkpoints cannot be read: the daemon's log says more",
            )
        };
        let listed = checkpoint::list(&dir).map_err(unreadable)?;
        let now = (self.learner.steps(), self.learner.examples());
        let found = listed.into_iter().rev().find_map(|entry| {
            let header = entry.checkpoint.ok()?;
            let is_older =
                header.taken < self.learner.taken() && (header.step, header.examples) != now;
            let is_meant = match (&to.checkpoint, to.examples, to.step) {
                (Some(name), _, _) => name_of(&entry.path) == *name,
                (None, None, None) => is_older,
                (None, examples, step) => {
                    examples.is_none_or(|most| header.examples <= most)
                        && step.is_none_or(|most| header.step <= most)
                }
            };
            is_meant.then_some(entry.path)
        });
        let Some(path) = found else {
            return Err(refuse(
                409,
                "no valid checkpoint is meant by this: `skewd checkpoint ls` shows those that there are \
                 (checkpoint.keep says how many are kept)",
            ));
        };
        let checkpoint = checkpoint::load(&path).map_err(unreadable)?;
        Ok((path, checkpoint))
    }
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
