//! The learner of a simulated daemon, and how it repeats recorded batches.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Mutant;
use crate::checkpoint::Checkpoint;
use crate::codec::Intake;
use crate::config::Config;
use crate::daemon::changes::{intake_for, read_as};
use crate::example::{Arrival, Record};
use crate::learner::recorded::{Change, Entry, Recorder, Target};
use crate::learner::repeat::{Mismatch, Repeat};
use crate::learner::waiting::Waiting;
use crate::learner::{Event, Learner, StepReport};
use crate::state::State;

/// Why a life ended.
pub enum End {
    /// The disk failed or the machine stopped: the process would have ended, or must be started again.
    Io,
    /// What must never be.
    Wrong(String),
}

impl From<Mismatch> for End {
    fn from(mismatch: Mismatch) -> Self {
        Self::Wrong(mismatch.to_string())
    }
}

pub fn wrong(error: impl std::fmt::Display) -> End {
    End::Wrong(error.to_string())
}

pub fn io<E>(_: E) -> End {
    End::Io
}

/// What learns, and what it says about its batches.
pub struct Core {
    pub config: Config,
    pub learner: Learner,
    pub intake: Intake,
    recorder: Recorder,
    learned: VecDeque<Entry>,
    waiting: Waiting,
    /// States by digest, for going back.
    pub states: HashMap<String, State>,
    /// Digest after so many taken examples, in the order of rollbacks.
    pub digests: BTreeMap<(u64, u64), String>,
    pub notes_digests: bool,
    mutant: Mutant,
}

impl Core {
    pub fn new(config: &Config, saved: Option<&Checkpoint>, mutant: Mutant) -> Result<Self, End> {
        let task = config.task().map_err(wrong)?;
        let learner = match saved {
            None => Learner::new(task),
            Some(saved) => {
                Learner::restore(task, &saved.state, saved.positions.clone()).map_err(wrong)?
            }
        };
        Ok(Self {
            config: config.clone(),
            intake: intake_for(config, &learner),
            learner,
            recorder: Recorder::default(),
            learned: VecDeque::new(),
            waiting: Waiting::default(),
            states: HashMap::new(),
            digests: BTreeMap::new(),
            notes_digests: false,
            mutant,
        })
    }

    pub fn digest(&self) -> Result<String, End> {
        let state = self.learner.save().map_err(wrong)?;
        Ok(state.map(|state| state.digest()).unwrap_or_default())
    }

    fn learn(&mut self, arrivals: &[Arrival]) -> Result<(), End> {
        if let Some(schema) = self.intake.schema().cloned() {
            self.learner.handle(Event::Schema(schema)).map_err(wrong)?;
        }
        for arrival in arrivals {
            self.waiting.comes_out(self.learner.wants(arrival));
            self.recorder.saw(arrival);
            let report = self
                .learner
                .handle(Event::Arrival(arrival))
                .map_err(wrong)?;
            self.stepped(report)?;
        }
        Ok(())
    }

    fn stepped(&mut self, report: Option<StepReport>) -> Result<(), End> {
        let Some(report) = report else {
            return Ok(());
        };
        self.waiting.learned();
        self.learned.push_back(self.recorder.cut(&report));
        self.note_digest()
    }

    pub fn go_back(&mut self, target: &Target) -> Result<(), End> {
        if self.learner.epoch() >= target.epoch {
            return Ok(());
        }
        let Some(state) = self.states.get(&target.digest).cloned() else {
            return Err(wrong(format!("nothing knows {target:?}")));
        };
        self.learner.roll_back(&state).map_err(wrong)?;
        read_as(&self.config, &mut self.learner, &mut self.intake)
            .map_err(|_| wrong("the older state does not fit"))?;
        self.waiting
            .again(&mut self.intake, &mut self.learner, |_, _| {})
            .map_err(wrong)?;
        self.note_digest()
    }

    pub fn note_digest(&mut self) -> Result<(), End> {
        if self.notes_digests {
            let digest = self.digest()?;
            self.digests
                .insert((self.learner.epoch(), self.learner.taken()), digest);
        }
        Ok(())
    }
}

impl Repeat for Core {
    type Error = End;

    fn take(&mut self, record: Record) -> Result<(), End> {
        let mut arrivals = Vec::new();
        self.waiting.enters(&record);
        self.intake.push(record, &mut arrivals);
        self.learn(&arrivals)
    }

    fn cut(&mut self) -> Result<(), End> {
        let report = self.learner.handle(Event::Cut).map_err(wrong)?;
        self.stepped(report)
    }

    fn learned(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.learned)
    }

    fn held(&self) -> Option<u64> {
        (!self.intake.discovered()).then_some(self.intake.buffered() as u64)
    }

    fn decide(&mut self) -> Result<(), End> {
        let mut arrivals = Vec::new();
        self.intake.finish_discovery(&mut arrivals).map_err(wrong)?;
        self.learn(&arrivals)
    }

    fn change(&mut self, change: &Change) -> Result<(), End> {
        match change {
            Change::Settings(settings) => {
                let table = settings.as_object().cloned().unwrap_or_default();
                self.config = self.config.with(&table).map_err(wrong)?;
                self.learner.set(self.config.learner.clone()).unwrap();
                Ok(())
            }
            Change::Rollback(_) if self.mutant == Mutant::RollbackForgotten => Ok(()),
            Change::Rollback(target) => self.go_back(target),
            Change::Discover(_) => Ok(()),
        }
    }
}
