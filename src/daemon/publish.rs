//! What the learner's thread publishes for the others: models and boards by pointer swap, status by value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::control::Control;
use crate::codec::{Intake, Kind, Reject, RowReader, Schema};
use crate::config::Config;
use crate::example::{Positions, Prediction};
use crate::learner::{Board, Discovering, Learner, Snapshot};
use crate::serve;
use crate::stream::Source;
use crate::telemetry;

/// A model is copied for serving at most this often.
const MODEL_EVERY: Duration = Duration::from_millis(5);
/// And no oftener than lets copying take one part in so many of the time, unless that is longer than [`MODEL_AT_LEAST_EVERY`].
const COPYING_ONE_IN: u32 = 40;
const MODEL_AT_LEAST_EVERY: Duration = Duration::from_millis(200);
/// Statistics move at a pace that a person can read.
const BOARD_EVERY: Duration = Duration::from_millis(250);
/// Memory of the rate shown to people.
const RATE_MEMORY_SECONDS: f64 = 2.0;

/// What the threads share. Readers never wait.
pub(super) struct Shared {
    pub snapshot: ArcSwapOption<Served>,
    pub board: Arc<ArcSwapOption<Board>>,
    pub status: Arc<ArcSwap<serve::Status>>,
    pub updates: watch::Sender<u64>,
    pub draining: watch::Sender<bool>,
    pub alive: Arc<AtomicBool>,
    stop: AtomicBool,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            board: Arc::default(),
            status: Arc::default(),
            updates: watch::channel(0).0,
            draining: watch::channel(false).0,
            alive: Arc::new(AtomicBool::new(true)),
            stop: AtomicBool::new(false),
        }
    }

    /// Asks the learner's thread to finish, and turns readiness off.
    pub fn stop(&self) {
        self.draining.send_replace(true);
        self.stop.store(true, Ordering::Release);
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A snapshot as the HTTP room sees it.
pub(super) struct Served {
    snapshot: Snapshot,
    /// Reads rows by the snapshot's schema.
    rows: Arc<RowReader>,
}

impl serve::Model for Served {
    fn version(&self) -> u64 {
        self.snapshot.model_version
    }

    fn epoch(&self) -> u64 {
        self.snapshot.epoch
    }

    fn examples(&self) -> u64 {
        self.snapshot.examples
    }

    fn trained_through(&self) -> &Positions {
        &self.snapshot.trained_through
    }

    fn classes(&self) -> &[Arc<str>] {
        &self.snapshot.classes
    }

    fn features(&self) -> Vec<(&str, bool)> {
        self.snapshot
            .schema
            .features
            .iter()
            .map(|feature| (feature.name.as_str(), feature.kind == Kind::Numeric))
            .collect()
    }

    fn row(&self, json: &str) -> Result<Box<[f32]>, Reject> {
        self.rows.read(json)
    }

    fn predict(&self, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, String> {
        self.snapshot.predict(rows)
    }
}

/// What a publish depends on, beside the learner and its surroundings.
pub(super) struct Moment {
    pub now: Instant,
    /// What a person should know.
    pub trouble: Option<String>,
    /// Why most records are not learned.
    pub poison: Option<String>,
    /// Examples taken up to which the journal is durable.
    pub durable: u64,
    /// Records of each partition that were read and are not learned.
    pub ahead: BTreeMap<i32, i64>,
}

/// Decides when to publish.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    template: serve::Status,
    topic: String,
    wanted: usize,
    new_model: bool,
    /// A model that is not served yet.
    copied: Option<Arc<Served>>,
    /// The last schema that was served, and its reader.
    reader: Option<(Arc<Schema>, Arc<RowReader>)>,
    model_at: Option<Instant>,
    model_every: Duration,
    board_at: Option<Instant>,
    board_due: bool,
    board_examples: u64,
    rate: f64,
    version: u64,
}

impl Publisher {
    pub fn new(
        shared: Arc<Shared>,
        config: &Config,
        device: String,
        kind: &str,
        topic: String,
    ) -> Self {
        let template = serve::Status {
            settings: serde_json::Value::Object(config.learning()),
            device,
            instruction_set: crate::model::instruction_set().to_owned(),
            source: serve::SourceFacts {
                kind: kind.to_owned(),
                state: "running".to_owned(),
                ..Default::default()
            },
            ..Default::default()
        };
        Self {
            shared,
            template,
            topic,
            wanted: config.schema.discover_records,
            new_model: true,
            copied: None,
            reader: None,
            model_at: None,
            model_every: MODEL_EVERY,
            board_at: None,
            board_due: false,
            board_examples: 0,
            rate: 0.0,
            version: 0,
        }
    }

    /// A step was taken: there is a model to publish.
    pub fn stepped(&mut self) {
        self.new_model = true;
    }

    /// The model went back: what was copied of it is not served any more.
    pub fn went_back(&mut self) {
        self.copied = None;
        self.new_model = true;
        self.model_at = None;
    }

    /// The next call publishes the board, however young the last one is.
    pub fn publish_soon(&mut self) {
        self.board_due = true;
    }

    /// Settings in force, as people see them.
    pub fn settings(&mut self, config: &Config) {
        self.template.settings = serde_json::Value::Object(config.learning());
    }

    /// True while a model waits to be served: until the journal is durable, or because the last one was served just now.
    pub fn holds_a_model(&self) -> bool {
        self.new_model || self.copied.is_some()
    }

    /// The last checkpoint, as people see it.
    pub fn saved(&mut self, digest: String, examples: u64) {
        self.template.digest = Some(digest);
        self.template.digest_examples = Some(examples);
    }

    /// Publishes what is due.
    pub fn publish(
        &mut self,
        moment: Moment,
        learner: &mut Learner,
        intake: &Intake,
        source: &mut dyn Source,
        control: &Control,
    ) {
        let (now, durable) = (moment.now, moment.durable);
        let model_due = self.serve_durable(durable);
        if self.new_model && self.copied.is_none() && due(self.model_at, now, self.model_every) {
            match learner.snapshot() {
                Ok(snapshot) => self.copied = snapshot.map(|snapshot| self.readable(snapshot)),
                Err(error) => tracing::error!(%error, "the model could not be copied for serving"),
            }
            self.model_at = Some(now);
            self.model_every =
                (now.elapsed() * COPYING_ONE_IN).clamp(MODEL_EVERY, MODEL_AT_LEAST_EVERY);
            self.new_model = false;
        }
        let model_due = self.serve_durable(durable) || model_due;
        let board_due = std::mem::take(&mut self.board_due) || due(self.board_at, now, BOARD_EVERY);
        if board_due {
            self.publish_board(moment, learner, intake, source, control);
        }
        if model_due || board_due {
            self.version += 1;
            self.shared.updates.send_replace(self.version);
        }
    }

    /// The snapshot with a reader of its rows, which is made once a schema.
    fn readable(&mut self, snapshot: Snapshot) -> Arc<Served> {
        let known = self
            .reader
            .take_if(|(schema, _)| Arc::ptr_eq(schema, &snapshot.schema));
        let (schema, rows) = known.unwrap_or_else(|| {
            let reader = RowReader::new(&snapshot.schema);
            (Arc::clone(&snapshot.schema), Arc::new(reader))
        });
        self.reader = Some((schema, Arc::clone(&rows)));
        Arc::new(Served { snapshot, rows })
    }

    /// Serves the copied model once the journal up to its step is durable: what was served can be repeated.
    fn serve_durable(&mut self, durable: u64) -> bool {
        let Some(served) = self
            .copied
            .take_if(|copied| copied.snapshot.taken <= durable)
        else {
            return false;
        };
        telemetry::record_model(served.snapshot.model_version);
        self.shared.snapshot.store(Some(served));
        true
    }

    fn publish_board(
        &mut self,
        moment: Moment,
        learner: &mut Learner,
        intake: &Intake,
        source: &mut dyn Source,
        control: &Control,
    ) {
        let held = intake.held();
        let discovering = (!intake.discovered()).then(|| Discovering {
            seen: held.labelled,
            wanted: self.wanted,
            unlabelled: held.unlabelled,
            bad: held.bad,
            first_bad: held.first_bad.clone(),
        });
        telemetry::record_held(&held);
        let board = learner.board(discovering);
        let mut lag = source.lag();
        for (partition, records) in &moment.ahead {
            lag.entry(*partition).and_modify(|lag| *lag += records);
        }
        self.measure_rate(moment.now, board.examples);
        let mut status = self.template.clone();
        status.examples_per_second = self.rate;
        status.paused = control.paused();
        (status.source.state, status.source.detail) = control.source_state(&source.status());
        let known = [
            ("poisoned_source", moment.poison),
            ("degraded", moment.trouble),
        ];
        if status.source.state == "running"
            && let Some((state, detail)) = known
                .into_iter()
                .find_map(|(state, detail)| Some((state, detail?)))
        {
            status.source.state = state.to_owned();
            status.source.detail = detail;
        }
        status.source.lag = lag.clone();
        let facts = telemetry::Facts {
            topic: self.topic.clone(),
            lag,
            halted: status.source.state == "halted",
            update_norm: learner.update_norm(),
        };
        telemetry::record_board(&board, &facts);
        self.shared.status.store(Arc::new(status));
        self.shared.board.store(Some(Arc::new(board)));
    }

    fn measure_rate(&mut self, now: Instant, examples: u64) {
        let seconds = self
            .board_at
            .map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        if seconds > 0.0 {
            let lately = examples.saturating_sub(self.board_examples) as f64 / seconds;
            let keep = (-seconds / RATE_MEMORY_SECONDS).exp();
            self.rate = keep * self.rate + (1.0 - keep) * lately;
        }
        self.board_at = Some(now);
        self.board_examples = examples;
    }
}

fn due(last: Option<Instant>, now: Instant, every: Duration) -> bool {
    last.is_none_or(|at| now.duration_since(at) >= every)
}
