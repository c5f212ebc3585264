//! Every metric's name, label and bucket, in one table; and the log lines.
//!
//! Names follow the Prometheus guide: one prefix, base units, `_total` on counters, timestamps instead of ages.
//! Labels come from closed sets, so that the number of series is bounded: classes beyond the first
//! [`CLASS_LABELS`] are counted under `other`.

mod meters;
mod requests;
mod table;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

pub use meters::Meters;
pub use requests::{record_in_flight, record_request};
pub use table::{Entry, Kind, TABLE};

use crate::codec::Reason;
use crate::learner::{Board, Warning};

/// Classes that have a label of their own.
pub const CLASS_LABELS: usize = 32;

/// Renders the metrics. Clones share one registry.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl Handle {
    /// The text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves recorded distributions into their buckets: to be called every few seconds, so that they do not pile up
    /// where nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Installs the registry of this process and describes every metric; a second call gets the first one's.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> Result<Handle, BuildError> {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for entry in TABLE {
        if let Kind::Histogram(buckets) = entry.kind {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(entry.name.to_owned()), buckets)?;
        }
    }
    let handle = Handle(builder.install_recorder()?);
    describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn describe() {
    for entry in TABLE {
        match entry.kind {
            Kind::Counter => metrics::describe_counter!(entry.name, Unit::Count, entry.help),
            Kind::Gauge => metrics::describe_gauge!(entry.name, Unit::Count, entry.help),
            Kind::Histogram(_) => metrics::describe_histogram!(entry.name, Unit::Count, entry.help),
        }
    }
    let profile = if cfg!(feature = "cuda") {
        "cuda"
    } else {
        "cpu"
    };
    gauge!("skewd_build_info", "version" => env!("CARGO_PKG_VERSION"), "build" => profile).set(1.0);
    counter!("skewd_snapshot_failures_total").increment(0);
    counter!("skewd_snapshots_total").increment(0);
    counter!("skewd_snapshots_skipped_total").increment(0);
    counter!("skewd_snapshot_scrubs_total").increment(0);
    gauge!("skewd_snapshots_damaged").set(0.0);
    record_poison(false);
}

/// What the metrics of a board need beside the board.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Name of the stream.
    pub topic: String,
    /// Records not read yet, per partition.
    pub lag: BTreeMap<i32, i64>,
    /// True while training has stopped until a person acts.
    pub halted: bool,
    /// Norm of the last change of the parameters.
    pub update_norm: f64,
}

/// Publishes the statistics of a board; a figure that is not defined is not published, and `NaN` if it once was.
pub fn record_board(board: &Board, facts: &Facts) {
    for (partition, lag) in &facts.lag {
        gauge!("skewd_consumer_lag_records",
            "topic" => facts.topic.clone(), "partition" => partition.to_string())
        .set(*lag as f64);
    }
    gauge!("skewd_training_halted").set(f64::from(u8::from(facts.halted)));
    gauge!("skewd_parameter_update_norm").set(facts.update_norm);
    gauge!("skewd_model_stalled").set(f64::from(u8::from(board.stalled)));
    gauge!("skewd_effective_sample_ratio").set(board.weights.effective_sample_size);
    gauge!("skewd_normalizer_log").set(board.weights.log_s);
    gauge!("skewd_lambda").set(board.weights.lambda.0);
    for (kind, count) in &board.warning_counts {
        counter!("skewd_stream_warnings_total", "kind" => *kind).absolute(*count);
    }
    record_classes(board);
    record_scores(board);
}

/// Records that wait for the schema, by what they are.
pub fn record_held(held: &crate::codec::HeldCounts) {
    for (state, count) in [
        ("labelled", held.labelled),
        ("unlabelled", held.unlabelled),
        ("bad", held.bad),
    ] {
        gauge!("skewd_records_held", "state" => state).set(count as f64);
    }
}

fn record_classes(board: &Board) {
    for class in board.classes.iter().take(CLASS_LABELS) {
        if let Some(weights) = board.weights.classes.get(class.as_ref())
            && weights.example_share > 0.0
        {
            gauge!("skewd_weight_mass_ratio", "class" => class.to_string())
                .set(weights.weight_share / weights.example_share);
        }
        let recall = board.evaluation.window.recall.get(class.as_ref());
        if let Some(recall) = recall.copied().flatten() {
            gauge!("skewd_class_recall_ratio", "class" => class.to_string()).set(recall);
        }
        if let Some(drift) = board.judge.drift.get(class.as_ref()) {
            for (direction, changes) in [("harder", drift.harder), ("easier", drift.easier)] {
                let class = class.to_string();
                gauge!("skewd_class_loss_changes", "class" => class, "direction" => direction)
                    .set(changes as f64);
            }
        }
    }
}

fn record_scores(board: &Board) {
    let window = &board.evaluation.window;
    let scores = [
        ("pr_auc_rare", window.pr_auc_rare),
        ("pr_auc_macro", window.pr_auc_macro),
        ("roc_auc_macro", window.roc_auc_macro),
        ("balanced_accuracy", window.balanced_accuracy),
        ("g_mean", window.g_mean),
        ("accuracy", window.accuracy),
        ("log_loss", window.log_loss),
        ("brier", window.brier),
    ];
    for (name, score) in scores {
        if let Some(score) = score {
            gauge!("skewd_prequential_score", "metric" => name).set(score);
        }
    }
    if let Some(error) = window.calibration_error {
        gauge!("skewd_calibration_error_ratio").set(error);
    }
}

/// Says what was noticed of the stream.
pub fn warn(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!(
            kind = warning.kind.as_str(),
            examples = warning.examples,
            "{}",
            warning.message
        );
    }
}

/// Notes that a model was published for serving.
pub fn record_model(version: u64) {
    gauge!("skewd_model_version").set(version as f64);
    gauge!("skewd_served_model_timestamp_seconds").set(unix_seconds());
}

/// Notes that a checkpoint was written, or could not be.
pub fn record_checkpoint(written: bool) {
    counter!("skewd_snapshots_total").increment(1);
    if written {
        gauge!("skewd_snapshot_timestamp_seconds").set(unix_seconds());
    } else {
        counter!("skewd_snapshot_failures_total").increment(1);
    }
}

/// Notes that a checkpoint was due while another was being written.
pub fn record_checkpoint_skipped() {
    counter!("skewd_snapshots_skipped_total").increment(1);
}

/// Notes that the kept checkpoints were read again, and how many are damaged.
pub fn record_scrub(damaged: usize) {
    counter!("skewd_snapshot_scrubs_total").increment(1);
    gauge!("skewd_snapshots_damaged").set(damaged as f64);
}

/// Notes whether most of the last records are bad.
pub fn record_poison(poisoned: bool) {
    gauge!("skewd_source_poisoned").set(f64::from(u8::from(poisoned)));
}

/// Notes that a bad record was written to the dead letters.
pub fn record_dead_letter(reason: Reason) {
    counter!("skewd_dead_letters_total", "reason" => reason.as_str()).increment(1);
}

/// Notes examples that were written to the review topic, and those that could not be.
pub fn record_reviewed(sent: u64, lost: u64) {
    counter!("skewd_review_examples_total", "result" => "sent").increment(sent);
    counter!("skewd_review_examples_total", "result" => "lost").increment(lost);
}

fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Lines that may wait for a reader of standard error.
const LINES_WAITING: usize = 4096;

/// Sends log lines to standard error; `SKEWD_LOG` chooses what is said. Later calls change nothing.
///
/// A thread of its own writes them, so that a pipe which nobody reads holds nothing up: lines beyond those that wait are
/// then dropped. Those that wait are written when the guard is dropped, within a second or so.
#[must_use = "lines that wait are written when it is dropped"]
pub fn start_logging(json: bool) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING)
        .lossy(true)
        .thread_name("skewd-log")
        .finish(std::io::stderr());
    let filter = EnvFilter::try_from_env("SKEWD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    // Only the first call of a process installs a subscriber; a second one means the same.
    let _ = if json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_target(false).try_init()
    };
    guard
}
