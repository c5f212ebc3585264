//! HTTP: predictions, statistics, ingest, admin and the page.
//!
//! [`App`] is what the daemon lends to the handlers: pointers to immutable values that it swaps, and queues
//! with a bound. No handler waits for training, for the disk of a checkpoint or for Kafka; a prediction
//! reads one published model from its first row to its last.
//!
//! Reading order: [`routes`] (who may call what), `guard` (what every request passes), then the handlers.
//! [`listen`] is the accept loop.

pub mod access;
mod admin;
mod events;
mod examples;
mod guard;
mod health;
mod json;
pub mod keeper;
pub mod listen;
mod media;
mod openapi;
mod openapi_operations;
mod page;
mod predict;
pub mod problem;
mod raw;
pub mod routes;
mod secret;
pub mod settings;
mod shared;
mod statistics;
pub mod tls;
pub mod tokens;
mod turns;
mod v2;
mod v2_tensors;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::codec::Reject;
use crate::example::{Positions, Prediction};
use crate::learner::Board;

pub use access::Access;
pub use keeper::Keeper;
pub use listen::{Limits, run};
pub use page::plotly_js;
pub use routes::{admin, public};
pub use settings::{AdminSettings, Settings};
pub use tls::Tls;
pub use tokens::Tokens;

/// What the daemon lends to the handlers. Everything is shared and read without locks.
pub struct App {
    /// The table `[http]`.
    pub settings: Settings,
    /// Tokens and host names.
    pub access: Access,
    /// The model that is served now; `None` before anything was learned.
    pub model: Arc<dyn Fn() -> Option<Arc<dyn Model>> + Send + Sync>,
    /// The learner's board; `None` until it has published one.
    pub board: Arc<ArcSwapOption<Board>>,
    /// What only the daemon knows.
    pub status: Arc<ArcSwap<Status>>,
    /// The embedded log; `None` where the source is Kafka.
    pub ingest: Option<Arc<dyn Ingest>>,
    /// To the learner's thread.
    pub commands: mpsc::Sender<Command>,
    /// Changes after a new model or board was published (the value does not matter).
    pub updates: watch::Receiver<u64>,
    /// True from the moment a stop was asked for.
    pub draining: watch::Receiver<bool>,
    /// False once the learner's thread has ended unasked.
    pub alive: Arc<AtomicBool>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Told of every request.
    pub observe: Arc<dyn Fn(HttpFact) + Send + Sync>,
}

/// A published model, as predictions use it: immutable, and never waits.
pub trait Model: Send + Sync {
    /// The step that made it.
    fn version(&self) -> u64;
    /// Times that an operator sent the model back. Else a version is smaller than an earlier one only after a crash, while what
    /// was learned since the last checkpoint is repeated.
    fn epoch(&self) -> u64;
    /// Examples learned by then.
    fn examples(&self) -> u64;
    /// It has learned everything before these offsets.
    fn trained_through(&self) -> &Positions;
    /// Class names, in class order.
    fn classes(&self) -> &[Arc<str>];
    /// Names of the features in schema order, and whether each is a number (not a category).
    fn features(&self) -> Vec<(&str, bool)>;
    /// One row from its JSON text: an array in schema order, or an object by name.
    ///
    /// # Errors
    /// What does not fit, and why.
    fn row(&self, json: &str) -> Result<Box<[f32]>, Reject>;
    /// Class and probabilities of each row.
    ///
    /// # Errors
    /// When the model could not be evaluated.
    fn predict(&self, rows: &[Box<[f32]>]) -> Result<Vec<Prediction>, String>;
}

/// What only the daemon knows; replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// The learning settings by dotted key.
    pub settings: serde_json::Value,
    /// Digest of the last checkpoint.
    pub digest: Option<String>,
    /// Examples learned by the last checkpoint.
    pub digest_examples: Option<u64>,
    /// Where records come from.
    pub source: SourceFacts,
    /// Examples learned a second, lately.
    pub examples_per_second: f64,
    /// True while an operator holds learning.
    pub paused: bool,
    /// Device the model runs on (`cpu`, `cuda:0`).
    pub device: String,
    /// Instruction set of the arithmetic, which the digest depends on.
    pub instruction_set: String,
}

/// The source of records, as `/v1/model` and the page show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SourceFacts {
    /// `embedded`, `kafka` or `file`.
    pub kind: String,
    /// `running`, `degraded`, `poisoned_source`, `paused`, `halted`...
    pub state: String,
    /// What to know about that state; empty when there is nothing.
    pub detail: String,
    /// Records not read yet, per partition.
    pub lag: BTreeMap<i32, i64>,
}

/// A future that a trait object can return.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The embedded log, as the ingest endpoint uses it.
pub trait Ingest: Send + Sync {
    /// Appends records in order; resolves when all are durable, with the first offset and the one after the
    /// last.
    fn append(&self, records: Vec<Bytes>) -> Pending<Result<(i64, i64), IngestError>>;
    /// First offset kept, and the next to be written.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn bounds(&self) -> Result<(i64, i64), IngestError>;
}

/// Why records were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestError {
    /// No room: the disk or the quota is full.
    Full,
    /// The writer's queue is full.
    Busy,
    /// Anything else; the text goes to the log, not to the client.
    Io(String),
}

/// The answer to a command.
pub type Reply = oneshot::Sender<Result<serde_json::Value, CommandError>>;

/// What an operator asks of the learner's thread.
#[derive(Debug)]
pub enum Command {
    /// Hold learning; predictions go on.
    Pause(Reply),
    /// Go on learning.
    Resume(Reply),
    /// Write a checkpoint now.
    Checkpoint(Reply),
    /// End the discovery of the schema with what has been seen.
    Discover(Reply),
    /// Go back to an older model: the one of a named checkpoint, or of the one before.
    Rollback(RollbackTo, Reply),
    /// Change settings: a JSON object of keys, dotted or nested.
    Settings(serde_json::Value, Reply),
}

/// Which checkpoint a rollback goes back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackTo {
    /// Its name, as `skewd checkpoint ls` shows it.
    pub checkpoint: Option<String>,
    /// The newest that had learned no more examples than these.
    pub examples: Option<u64>,
    /// The newest of this step or an earlier one.
    pub step: Option<u64>,
}

/// Why a command was not carried out. The message goes to the client: no paths, no values of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// 400 (not valid), 409 (not in this state), 503 (not now); anything else is answered 500.
    pub status: u16,
    /// What was wrong and what to do.
    pub message: String,
    /// The key at fault, where there is one.
    pub field: Option<String>,
}

/// What happened to requests, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HttpFact {
    /// A request came.
    Began {
        /// Requests in flight on this listener, with this one.
        in_flight: usize,
    },
    /// A request was answered, or its client went away.
    Ended {
        /// Path template of the route, or `unmatched`.
        route: &'static str,
        /// A method of a closed set, or `other`.
        method: &'static str,
        /// Status; 499 when the client went away before the answer.
        status: u16,
        /// From the request's head to the answer's.
        seconds: f64,
        /// Requests in flight on this listener, without this one.
        in_flight: usize,
    },
}
