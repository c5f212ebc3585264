//! From settings to a running daemon: lock, state, source, listeners, threads. Nothing is served and nothing is
//! read before everything that can be wrong has been looked at.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ahead::Ahead;
use super::changes::{intake_for, unfit};
use super::control::Control;
use super::http::Servers;
use super::letters::Letters;
use super::open::{open_letters, open_source};
use super::poison::Poison;
use super::publish::{Publisher, Shared};
use super::recording::Recording;
use super::review::Review;
use super::saver::{Saved, Saver};
use super::scrub::Scrubber;
use super::secrets::Secrets;
use super::{Daemon, Failure, Trainer, preflight};
use crate::checkpoint::{self, Checkpoint, DirLock};
use crate::cli::checkpoints::{FOLDER, REPLAY_SOURCE};
use crate::codec::{self, Intake, Schema};
use crate::config::Config;
use crate::example::Positions;
use crate::learner::Learner;
use crate::learner::waiting::Waiting;
use crate::serve::{Access, App, HttpFact, Ingest, IngestError, Pending};
use crate::stream::Kind;
use crate::stream::embedded::{EmbeddedLog, LogError};
use crate::telemetry::Meters;
use crate::{serve, telemetry};

/// Commands that may wait for the learner's thread.
const COMMANDS_WAITING: usize = 16;
/// The learner's thread walks graphs of operations that may be deep.
const TRAINER_STACK_BYTES: usize = 64 << 20;
/// Names in the data folder.
pub(crate) const LOG: &str = "examples.redb";
pub(super) const DEAD_LETTERS: &str = "dead_letters.jsonl";
pub(super) const SPOOL: &str = "dead_letters.spool";
/// Settings that a saved state is made of: they cannot change under it.
const FIXED: [&str; 6] = [
    "model.kind",
    "model.hidden",
    "schema.encoding",
    "schema.recent_shares",
    "schema.category_buckets",
    "seed",
];

impl Daemon {
    /// Opens everything and starts the threads.
    ///
    /// # Errors
    /// 75 when another process holds the data folder, 78 for settings and states that do not fit, 74 for files.
    pub fn start(config: Config) -> Result<Self, Failure> {
        preflight::device(&config)?;
        let lock = Arc::new(lock(&config.data_dir)?);
        let (public, admin) = preflight::listeners(&config)?;
        let address = public.local_addr().map_err(Failure::io)?;
        let admin_address = admin.local_addr().map_err(Failure::io)?;
        let (secrets, access) = Secrets::open(&config)?;
        let metrics = telemetry::install().map_err(Failure::internal)?;

        let saved = load(&config)?;
        let positions = saved
            .newest
            .as_ref()
            .map(start_positions)
            .unwrap_or_default();
        let wanted = config;
        let (recording, config, positions) =
            Recording::open(&wanted, saved.newest.as_ref(), &positions, &lock)?;
        let (learner, intake) = revive(&config, saved.newest.as_ref())?;
        check_features(&wanted, &learner)?;
        let (source, log, halt) =
            open_source(&config, saved.newest.as_ref(), &positions, &recording.reach)?;
        let sink = open_letters(&config)?;

        let shared = Arc::new(Shared::new());
        let (commands, orders) = mpsc::channel(COMMANDS_WAITING);
        let mut publisher = Publisher::new(
            Arc::clone(&shared),
            &config,
            config.device.clone(),
            kind_name(config.source.kind),
            topic_name(&config),
        );
        if let Some(last) = &saved.last {
            publisher.saved(last.digest.clone(), last.examples);
        }
        let mut trainer = Trainer {
            saver: Saver::new(&config, saved.kept, saved.last, Instant::now()),
            scrubber: Scrubber::new(&config, Instant::now()),
            poison: Poison::default(),
            letters: Letters::new(sink, topic_name(&config)),
            review: Review::open(&config, topic_name(&config))?,
            control: Control::new(orders, halt.map(|halt| halt.to_string())),
            publisher,
            recording,
            meters: Meters::new(&topic_name(&config)),
            source,
            ahead: Ahead::beside(1).map_err(Failure::io)?,
            intake,
            learner,
            shared: Arc::clone(&shared),
            records: Vec::new(),
            arrivals: Vec::new(),
            waiting: Waiting::default(),
            waiting_since: None,
            told_of_sender: false,
            lock,
            lock_seen: Instant::now(),
            config: config.clone(),
        };
        // What was learned before is served from the first request on.
        trainer.introduce_schema()?;
        if !trainer.recording.is_repeating() {
            trainer.begin(config.clone())?;
        }
        trainer.show();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("skewd-http")
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Failure::internal)?;
        let app = app(&config, &shared, access, log, commands, metrics.clone());
        let http = Servers::start(&runtime, &config, app, (public, admin), &secrets, metrics)?;
        Ok(Self {
            trainer: Some(start_trainer(trainer)?),
            shared,
            address,
            admin_address,
            http,
            runtime,
        })
    }
}

fn start_trainer(
    mut trainer: Trainer,
) -> Result<std::thread::JoinHandle<Result<(), Failure>>, Failure> {
    std::thread::Builder::new()
        .name("skewd-learner".to_owned())
        .stack_size(TRAINER_STACK_BYTES)
        .spawn(move || {
            let alive = Alive(Arc::clone(&trainer.shared));
            let end = trainer.run();
            // The lock goes last: what this thread writes, nobody else may write.
            drop(trainer);
            drop(alive);
            end
        })
        .map_err(Failure::internal)
}

/// Says that the thread has ended, however it ended.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if !self.0.stopping() {
            self.0
                .alive
                .store(false, std::sync::atomic::Ordering::Release);
        }
    }
}

/// Takes the lock of a data folder.
pub(crate) fn lock(data_dir: &Path) -> Result<DirLock, Failure> {
    std::fs::create_dir_all(data_dir).map_err(|error| {
        Failure::io(format!(
            "data_dir = {}: the folder cannot be made: {error}",
            data_dir.display()
        ))
    })?;
    DirLock::acquire(data_dir).map_err(|error| match error {
        checkpoint::LockError::Held { .. } => Failure::locked(error),
        other => Failure::io(other),
    })
}

/// The newest checkpoint of the data folder that is whole.
pub(crate) fn newest(config: &Config) -> Result<Option<checkpoint::Loaded>, Failure> {
    checkpoint::load_newest(&config.in_data_dir(FOLDER)).map_err(|error| match error {
        checkpoint::Error::Io { .. } => Failure::io(error),
        other => Failure::config(other),
    })
}

/// What the checkpoints of the data folder say.
pub(super) struct Loaded {
    pub newest: Option<Checkpoint>,
    pub last: Option<Saved>,
    kept: VecDeque<(u64, Positions)>,
}

pub(super) fn load(config: &Config) -> Result<Loaded, Failure> {
    let dir = config.in_data_dir(FOLDER);
    let Some(found) = newest(config)? else {
        return Ok(Loaded {
            newest: None,
            last: None,
            kept: VecDeque::new(),
        });
    };
    for skipped in &found.skipped {
        tracing::error!(
            file = %skipped.path.display(),
            reason = %skipped.reason,
            "a checkpoint is damaged and is passed over; an older one is used"
        );
    }
    // What older ones learned from another stream says nothing about what this one must keep.
    let kept = checkpoint::list(&dir)
        .map_err(Failure::io)?
        .into_iter()
        .filter_map(|entry| entry.checkpoint.ok())
        .filter(|header| same_stream(header, &found.checkpoint))
        .map(|header| (header.taken.max(header.examples), header.positions))
        .collect();
    let checkpoint = found.checkpoint;
    check_settings(config, &checkpoint)?;
    let last = Saved {
        name: checkpoint::name_of(&found.path),
        digest: checkpoint.digest.clone(),
        examples: checkpoint.examples,
        taken: checkpoint.taken,
        boundary: checkpoint.positions.clone(),
        positions: checkpoint.positions.clone(),
    };
    Ok(Loaded {
        newest: Some(checkpoint),
        last: Some(last),
        kept,
    })
}

/// True when an older checkpoint's positions are such in the stream of the newest. The embedded log had no name once.
fn same_stream(older: &checkpoint::Header, newest: &Checkpoint) -> bool {
    let named_alike =
        older.source == newest.source || EmbeddedLog::may_be_one(&older.source, &newest.source);
    named_alike && newest.positions.covers(&older.positions)
}

/// A state is not silently reinterpreted: what it is made of must be what the settings say.
fn check_settings(config: &Config, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let now = config.learning();
    for key in FIXED {
        let then = checkpoint.settings.get(key);
        if then.is_some() && then != now.get(key) {
            return Err(Failure::config(format!(
                "{key} = {}: the saved state was made with {}; set it back, or start anew with an empty data_dir",
                now.get(key).cloned().unwrap_or_default(),
                then.cloned().unwrap_or_default()
            )));
        }
    }
    for (key, value) in &now {
        if let Some(then) = checkpoint.settings.get(key)
            && then != value
        {
            tracing::info!(%key, %then, now = %value, "a setting differs from that of the saved state and is taken over");
        }
    }
    Ok(())
}

/// Features may come to those that the state knows; none may go.
pub(super) fn check_features(config: &Config, learner: &Learner) -> Result<(), Failure> {
    let Some(known) = learner.schema() else {
        return Ok(());
    };
    if let Some(given) = Schema::given(&config.schema)
        && let Some(reason) = given.cannot_follow(known)
    {
        return Err(unfit(crate::learner::Error::Growth(reason)));
    }
    let numbers = known
        .features
        .iter()
        .filter(|feature| feature.kind == codec::Kind::Numeric);
    let mut numbers = numbers.map(|feature| &feature.name);
    match numbers.find(|name| config.schema.categorical.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::config(format!(
            "schema.categorical: the model has learned {name:?} as a number, and its kind cannot change: take it out; list it in \
             schema.ignore to go on without it, or start anew with an empty data_dir"
        ))),
    }
}

/// The learner and the intake as the checkpoint has them.
pub(crate) fn revive(
    config: &Config,
    saved: Option<&Checkpoint>,
) -> Result<(Learner, Intake), Failure> {
    let task = config.task()?;
    let learner = match saved {
        None => Learner::new(task),
        Some(saved) => {
            tracing::info!(
                examples = saved.examples,
                step = saved.step,
                digest = %saved.digest,
                "going on from a checkpoint"
            );
            Learner::restore(task, &saved.state, start_positions(saved)).map_err(Failure::config)?
        }
    };
    let intake = intake_for(config, &learner);
    Ok((learner, intake))
}

/// A replay's positions are those of its files: a daemon begins its own stream at the beginning.
pub(crate) fn start_positions(saved: &Checkpoint) -> Positions {
    if saved.source == REPLAY_SOURCE {
        Positions::default()
    } else {
        saved.positions.clone()
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Embedded => "embedded",
        Kind::Kafka => "kafka",
    }
}

fn topic_name(config: &Config) -> String {
    match config.source.kind {
        Kind::Embedded => "embedded".to_owned(),
        Kind::Kafka => config.kafka.topic.clone(),
    }
}

fn app(
    config: &Config,
    shared: &Arc<Shared>,
    access: Access,
    log: Option<EmbeddedLog>,
    commands: mpsc::Sender<serve::Command>,
    metrics: telemetry::Handle,
) -> Arc<App> {
    let model = Arc::clone(shared);
    Arc::new(App {
        settings: config.http.clone(),
        access,
        model: Arc::new(move || {
            model
                .snapshot
                .load_full()
                .map(|served| served as Arc<dyn serve::Model>)
        }),
        board: Arc::clone(&shared.board),
        status: Arc::clone(&shared.status),
        ingest: log.map(|log| Arc::new(Appender(log)) as Arc<dyn Ingest>),
        commands,
        updates: shared.updates.subscribe(),
        draining: shared.draining.subscribe(),
        alive: Arc::clone(&shared.alive),
        metrics: Arc::new(move || metrics.render()),
        observe: Arc::new(observe),
    })
}

/// What happens to requests, as metrics.
fn observe(fact: HttpFact) {
    match fact {
        HttpFact::Began { in_flight } => telemetry::record_in_flight(in_flight),
        HttpFact::Ended {
            route,
            method,
            status,
            seconds,
            in_flight,
        } => {
            telemetry::record_in_flight(in_flight);
            telemetry::record_request(route, method, status, seconds);
        }
    }
}

/// The embedded log, as the ingest endpoint uses it.
struct Appender(EmbeddedLog);

impl Ingest for Appender {
    fn append(&self, records: Vec<Bytes>) -> Pending<Result<(i64, i64), IngestError>> {
        let appended = self.0.append(records);
        Box::pin(async move {
            appended
                .await
                .map(|range| (range.start, range.end))
                .map_err(ingest_error)
        })
    }

    fn bounds(&self) -> Result<(i64, i64), IngestError> {
        Ok(self.0.bounds())
    }
}

fn ingest_error(error: LogError) -> IngestError {
    match error {
        LogError::Full(_) => IngestError::Full,
        LogError::Busy => IngestError::Busy,
        other => IngestError::Io(other.to_string()),
    }
}
