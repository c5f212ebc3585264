//! Changes of the state that no batch makes: going back to an older model, and other settings of how records are read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::control::{LETTERS_WAIT, NOT_RECORDED, REPEATING, refuse};
use super::{Failure, Trainer};
use crate::checkpoint::{self, Checkpoint, name_of};
use crate::cli::checkpoints::FOLDER;
use crate::codec::{Intake, Schema};
use crate::config::Config;
use crate::learner::Learner;
use crate::learner::recorded::{Change, Target};
use crate::serve::{CommandError, RollbackTo};

/// Gives the model a place for features and classes that the settings name and it does not know; true when there were any.
/// Nothing that it knows may go. Examples that wait for a batch must be given again then.
///
/// # Errors
/// 78 with what would be lost.
pub(crate) fn grow(config: &Config, learner: &mut Learner) -> Result<bool, Failure> {
    let settings = &config.schema;
    let Some(known) = learner.schema().map(Arc::clone) else {
        return Ok(false);
    };
    let given = Schema::given(settings).unwrap_or_else(|| (*known).clone());
    let classes: Vec<Arc<str>> = settings
        .classes
        .iter()
        .map(|class| Arc::from(class.as_str()))
        .filter(|class| !learner.classes().contains(class))
        .collect();
    if given == *known && classes.is_empty() {
        return Ok(false);
    }
    learner.grow(&given, &classes).map_err(unfit)?;
    tracing::info!(
        new_features = given.len() - known.len(),
        new_classes = classes.len(),
        step = learner.steps(),
        "the model grows; predictions are as before until it has learned what is new"
    );
    Ok(true)
}

/// Reads records from here on as the settings say, for a learner whose state or settings are not what they were.
/// Examples that wait for a batch must be given again.
///
/// # Errors
/// As [`grow`].
pub(crate) fn read_as(
    config: &Config,
    learner: &mut Learner,
    intake: &mut Intake,
) -> Result<(), Failure> {
    learner.set_codec(&Arc::new(config.schema.clone()));
    grow(config, learner)?;
    // Records that are held for the schema stay with the intake that holds them.
    if intake.buffered() == 0 {
        *intake = intake_for(config, learner);
    }
    Ok(())
}

/// An intake that knows what the learner knows.
pub(crate) fn intake_for(config: &Config, learner: &Learner) -> Intake {
    let known = learner
        .schema()
        .map(|schema| ((**schema).clone(), learner.classes().to_vec()));
    Intake::new(&config.schema, known)
}

/// True when a saved state lies on the way to the one of now, each as (examples, examples taken). What rollbacks took back
/// is the difference of the two: a state with less taken back that has more examples than the first one after the last
/// rollback lies on the way that was given up.
fn is_ancestor(then: (u64, u64), now: (u64, u64), all: &[(u64, u64)]) -> bool {
    let taken_back = |(examples, taken): (u64, u64)| taken.saturating_sub(examples);
    let branch = all
        .iter()
        .filter(|state| taken_back(**state) == taken_back(now))
        .map(|state| state.0)
        .min()
        .unwrap_or(now.0);
    then.0 < now.0 && (taken_back(then) == taken_back(now) || then.0 <= branch)
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
        if grow(&config, &mut self.learner)? {
            self.intake = intake_for(&config, &self.learner);
            self.saver.outdated();
        }
        self.take_over(config)
    }

    /// Settings from the next step on.
    pub(super) fn adopt(&mut self, config: Config) -> Result<(), Failure> {
        self.learner
            .set(config.learner.clone())
            .map_err(Failure::internal)?;
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
        if self.recording.trouble().is_some() || self.saver.failed() {
            return Ok(Err(refuse(503, NOT_RECORDED)));
        }
        if !(self.letters.deliver() && self.letters.settled()) {
            return Ok(Err(refuse(503, LETTERS_WAIT)));
        }
        self.saver.wait()?;
        let (path, checkpoint) = match self.find(to) {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
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
        if self.saver.failed() {
            return Ok(Err(refuse(
                503,
                "the older model is served, but that could not be written down yet: after a crash the newer one may be back; the \
                 daemon's log says why, and it is tried again by itself",
            )));
        }
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
        let (meters, letters) = (&self.meters, &mut self.letters);
        self.waiting
            .again(&mut self.intake, &mut self.learner, |record, reject| {
                meters.rejected(reject.reason);
                letters.post(record, reject);
            })
            .map_err(Failure::internal)
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
        let headers: Vec<_> = listed
            .iter()
            .filter_map(|entry| entry.checkpoint.as_ref().ok())
            .map(|header| (header.examples, header.taken.max(header.examples)))
            .collect();
        let now = (self.learner.examples(), self.learner.taken());
        let found = listed.into_iter().rev().find_map(|entry| {
            let header = entry.checkpoint.ok()?;
            let then = (header.examples, header.taken.max(header.examples));
            let is_older = is_ancestor(then, now, &headers);
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

#[cfg(test)]
mod tests {
    use super::is_ancestor;

    #[test]
    fn the_way_that_a_rollback_gave_up_is_not_gone_back_to() {
        // 100, 200, 300 examples; back to 200 at 320 taken; then on to 250.
        let all = [(100, 100), (200, 200), (300, 300), (200, 320), (250, 370)];
        let now = (260, 380);
        let on_the_way: Vec<_> = all
            .iter()
            .filter(|then| is_ancestor(**then, now, &all))
            .collect();
        assert_eq!(
            on_the_way,
            [&(100, 100), &(200, 200), &(200, 320), &(250, 370)]
        );
        // Asked twice without learning between: the one before goes further back, not forward.
        let now = (200, 320);
        let newest = all[..4]
            .iter()
            .rev()
            .find(|then| is_ancestor(**then, now, &all[..4]));
        assert_eq!(newest, Some(&(100, 100)));
        assert!(!is_ancestor((240, 240), (260, 380), &all));
    }
}
