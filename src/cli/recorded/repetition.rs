//! The recorded batches, one after the other, and what comes out of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use super::super::Failure;
use super::super::lane::Lane;
use super::super::replay::Counted;
use super::ahead::{CHUNKS_WAITING, Chunk, Lines, Reading};
use crate::codec::{Intake, Schema};
use crate::config::Config;
use crate::daemon::changes::read_as;
use crate::example::{Arrival, Outcome, Positions, Record};
use crate::learner::recorded::{Change, Entry, Recorder, Target};
use crate::learner::repeat::{Course, Mismatch, Repeat, Repeater};
use crate::learner::waiting::Waiting;
use crate::learner::{Event, StepReport};
use crate::state::State;
use crate::stream::Source;

/// Looks at a learner after a repeated batch or a rollback: its place in the journal, and the learner.
type Look<'a> = dyn FnMut(u64, &Lane) -> Result<(), Failure> + 'a;

/// Why a repetition ended early.
pub(in crate::cli) enum Early {
    /// A batch came out otherwise.
    Mismatch(Mismatch),
    /// Anything else.
    Failure(Failure),
}

impl From<Mismatch> for Early {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The recorded batches, and where their records come from.
pub(in crate::cli) struct Repetition<'a> {
    repeater: Repeater,
    reading: Reading,
    learning: Learning<'a>,
}

impl<'a> Repetition<'a> {
    /// A repetition of `entries` from `positions` on that has not begun.
    pub fn new(
        config: &Config,
        entries: VecDeque<Entry>,
        positions: &Positions,
        sources: Vec<Box<dyn Source>>,
        (intake, lane): (Intake, Lane),
        look: &'a mut Look<'a>,
    ) -> Self {
        let targets = entries
            .iter()
            .filter_map(|entry| match &entry.change {
                Some(Change::Rollback(target)) => Some((target.clone(), None)),
                _ => None,
            })
            .collect();
        Self {
            repeater: Repeater::new(entries, positions),
            reading: Reading { sources, intake },
            learning: Learning {
                config: config.clone(),
                lane,
                counted: Counted::default(),
                look,
                recorder: Recorder::default(),
                learned: VecDeque::new(),
                waiting: Waiting::default(),
                taken: Vec::new(),
                targets,
            },
        }
    }

    /// States that entries may go back to and that the repetition does not come by.
    pub fn knows(&mut self, digest: &str, state: &State) {
        for (target, known) in &mut self.learning.targets {
            if target.digest == digest {
                *known = Some(state.clone());
            }
        }
    }

    /// The learner, and what was counted.
    pub fn into_parts(self) -> (Lane, Counted) {
        (self.learning.lane, self.learning.counted)
    }

    /// Repeats every batch.
    ///
    /// # Errors
    /// When records are missing or are others; what `look` says.
    pub fn follow(&mut self) -> Result<(), Early> {
        loop {
            if self.reading.intake.discovered() && self.repeater.course.is_met() {
                self.follow_ahead()?;
            }
            let mut here = Here {
                intake: Some(&mut self.reading.intake),
                learning: &mut self.learning,
            };
            if self.repeater.follow(&mut here)? {
                return Ok(());
            }
            if self.repeater.course.is_met() && self.reading.intake.discovered() {
                continue;
            }
            self.reading.read_on(&mut self.repeater.plan)?;
        }
    }

    /// Repeats the batches before the next change of another kind, and expects that one. While nothing but batches
    /// comes, decoding does not depend on the learner: it runs ahead on a thread of its own.
    fn follow_ahead(&mut self) -> Result<(), Early> {
        let (plan, course) = (&mut self.repeater.plan, &mut self.repeater.course);
        let (reading, learning) = (&mut self.reading, &mut self.learning);
        let stop = std::thread::scope(|scope| {
            let (chunks, decoded) = sync_channel(CHUNKS_WAITING);
            let (back, done) = channel();
            let decoder = scope.spawn(move || reading.decode(plan, &Lines { chunks, done }));
            // What went wrong while learning came before what the decoder ran into.
            learning.learn_chunks(&decoded, &back, course)?;
            drop(decoded);
            let found = decoder
                .join()
                .map_err(|_| Failure::internal("the decoder's thread died"))?;
            Ok::<_, Early>(found?)
        })?;
        if let Some(stop) = stop {
            learning.fills(stop.filling);
            course.expect(stop.change);
        }
        Ok(())
    }
}

/// The learner, and what became of the records so far.
struct Learning<'a> {
    config: Config,
    lane: Lane,
    counted: Counted,
    look: &'a mut Look<'a>,
    recorder: Recorder,
    learned: VecDeque<Entry>,
    waiting: Waiting,
    /// Which of the examples since the last batch were taken, and not left out.
    taken: Vec<bool>,
    /// States that a later entry goes back to, once they were met.
    targets: Vec<(Target, Option<State>)>,
}

impl Learning<'_> {
    /// Learns what was decoded ahead until nothing comes any more.
    fn learn_chunks(
        &mut self,
        decoded: &Receiver<Chunk>,
        back: &Sender<Chunk>,
        course: &mut Course,
    ) -> Result<(), Early> {
        while let Ok(mut chunk) = decoded.recv() {
            self.counted.rows += chunk.arrivals.len() as u64;
            let mut learned = 0;
            for (end, entry) in chunk.entries.drain(..) {
                self.learn(chunk.schema.as_ref(), &chunk.arrivals[learned..end])?;
                learned = end;
                course.expect(entry);
                course.compare(&mut Here {
                    intake: None,
                    learning: self,
                })?;
            }
            self.learn(chunk.schema.as_ref(), &chunk.arrivals[learned..])?;
            let _ = back.send(chunk);
        }
        Ok(())
    }

    fn learn(&mut self, schema: Option<&Arc<Schema>>, arrivals: &[Arrival]) -> Result<(), Failure> {
        if let Some(schema) = schema {
            // A learner that knows one stays with it.
            self.lane
                .learner
                .handle(Event::Schema(Arc::clone(schema)))
                .map_err(Failure::internal)?;
        }
        self.counted.add(arrivals);
        for arrival in arrivals {
            if matches!(arrival.outcome, Outcome::Example { .. }) {
                self.taken.push(self.lane.learner.wants(arrival));
            }
            self.recorder.saw(arrival);
            let report = self
                .lane
                .take(std::slice::from_ref(arrival))
                .map_err(Failure::internal)?;
            self.note(report);
        }
        Ok(())
    }

    /// The last examples since the last batch, as they were before they were decoded ahead.
    fn fills(&mut self, records: Vec<Record>) {
        let before = self.taken.len().saturating_sub(records.len());
        let taken = &self.taken[before..];
        let records = records.into_iter().zip(taken);
        let records = records.filter_map(|(record, taken)| taken.then_some(record));
        self.waiting.fills(records);
    }

    /// As [`Self::learn`], for records that have entered what waits.
    fn learn_here(
        &mut self,
        schema: Option<&Arc<Schema>>,
        arrivals: &[Arrival],
    ) -> Result<(), Failure> {
        for arrival in arrivals {
            self.waiting.comes_out(self.lane.learner.wants(arrival));
            self.learn(schema, std::slice::from_ref(arrival))?;
        }
        Ok(())
    }

    fn note(&mut self, report: Option<StepReport>) {
        if let Some(report) = report {
            self.waiting.learned();
            self.taken.clear();
            self.learned.push_back(self.recorder.cut(&report));
        }
    }

    fn go_back(&mut self, target: &Target, intake: &mut Intake) -> Result<(), Failure> {
        if self.lane.learner.epoch() >= target.epoch {
            return Ok(());
        }
        let known = self
            .targets
            .iter()
            .find(|(other, state)| other == target && state.is_some());
        let Some((_, Some(state))) = known else {
            return Err(Failure::data(format!(
                "the journal goes back to {} (digest {}), a state that these batches do not come by",
                target.name, target.digest
            )));
        };
        self.lane
            .learner
            .roll_back(state)
            .map_err(Failure::internal)?;
        self.read_anew(intake)?;
        (self.look)(self.lane.learner.taken(), &self.lane)
    }

    /// Settings of how records are read, or the learner's classes, have changed.
    fn read_anew(&mut self, intake: &mut Intake) -> Result<(), Failure> {
        read_as(&self.config, &mut self.lane.learner, intake)?;
        self.waiting
            .again(intake, &mut self.lane.learner, |_, _| {})
            .map_err(Failure::internal)
    }

    fn set(&mut self, settings: &serde_json::Value, intake: &mut Intake) -> Result<(), Failure> {
        let table = settings.as_object().cloned().unwrap_or_default();
        let config = self.config.with(&table)?;
        let reads_as_before = self.config.schema == config.schema;
        self.config = config;
        self.lane
            .learner
            .set(self.config.learner.clone())
            .map_err(Failure::internal)?;
        self.lane.settings = self.config.learning();
        if reads_as_before {
            return Ok(());
        }
        self.read_anew(intake)
    }
}

/// The learner, and the intake unless another thread decodes ahead with it.
struct Here<'a, 'b> {
    intake: Option<&'a mut Intake>,
    learning: &'a mut Learning<'b>,
}

impl Repeat for Here<'_, '_> {
    type Error = Early;

    fn take(&mut self, record: Record) -> Result<(), Early> {
        let intake = here(&mut self.intake)?;
        let mut arrivals = Vec::new();
        self.learning.counted.rows += 1;
        self.learning.waiting.enters(&record);
        intake.push(record, &mut arrivals);
        Ok(self.learning.learn_here(intake.schema(), &arrivals)?)
    }

    fn cut(&mut self) -> Result<(), Early> {
        let report = self.learning.lane.cut().map_err(Failure::internal)?;
        self.learning.note(report);
        Ok(())
    }

    fn learned(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.learning.learned)
    }

    fn held(&self) -> Option<u64> {
        // Only an intake that knows its schema is ever elsewhere.
        let intake = self.intake.as_ref()?;
        (!intake.discovered()).then_some(intake.buffered() as u64)
    }

    fn decide(&mut self) -> Result<(), Early> {
        let intake = here(&mut self.intake)?;
        let mut arrivals = Vec::new();
        intake
            .finish_discovery(&mut arrivals)
            .map_err(Failure::data)?;
        Ok(self.learning.learn_here(intake.schema(), &arrivals)?)
    }

    fn change(&mut self, change: &Change) -> Result<(), Early> {
        let intake = here(&mut self.intake)?;
        match change {
            Change::Settings(settings) => self.learning.set(settings, intake)?,
            Change::Rollback(target) => self.learning.go_back(target, intake)?,
            Change::Discover(_) => {}
        }
        Ok(())
    }

    fn repeated(&mut self, entry: &Entry) -> Result<(), Early> {
        let learning = &mut self.learning;
        for (target, state) in &mut learning.targets {
            if target.taken == entry.taken
                && let Some(found) = learning.lane.learner.save().map_err(Failure::internal)?
                && found.digest() == target.digest
            {
                *state = Some(found);
            }
        }
        Ok((learning.look)(entry.taken, &learning.lane)?)
    }
}

fn here<'a>(intake: &'a mut Option<&mut Intake>) -> Result<&'a mut Intake, Failure> {
    intake.as_deref_mut().ok_or_else(|| {
        Failure::internal("an entry that is no batch came while another thread decodes")
    })
}
