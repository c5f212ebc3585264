//! The table of metrics.

/// What kind a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows; ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, with the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, with its unit.
    pub help: &'static str,
}

const LOSS: &[f64] = &[
    0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.693, 1.0, 2.0, 4.0, 8.0, 14.0,
];
const WEIGHT: &[f64] = &[
    0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0,
];
const STEP_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];
const HTTP_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Entry {
    Entry {
        name,
        kind: Kind::Histogram(buckets),
        labels,
        help,
    }
}

/// Every metric that skewd publishes.
#[rustfmt::skip]
pub const TABLE: &[Entry] = &[
    gauge("skewd_build_info", &["version", "build"], "Always 1; the labels say what runs."),
    counter("skewd_events_consumed_total", &["topic", "partition"], "Records taken from the stream."),
    counter("skewd_events_unlabelled_total", &[], "Records without a label: counted, not learned."),
    counter("skewd_examples_thinned_total", &[], "Examples that were not learned because their sender had had its share (learner.sender_share)."),
    counter("skewd_events_rejected_total", &["reason"], "Bad records, by reason."),
    counter("skewd_dead_letters_total", &["reason"], "Bad records written to the dead letters, by reason."),
    counter("skewd_review_examples_total", &["result"], "Examples whose label is not believed: sent to kafka.review_topic, or lost on the way."),
    gauge("skewd_consumer_lag_records", &["topic", "partition"], "Records of the stream that were not read yet."),
    gauge("skewd_last_event_timestamp_seconds", &[], "Newest timestamp of a consumed record, since the epoch."),
    gauge("skewd_source_poisoned", &[], "1 from the record on that makes more than half of the last 10,000 bad until no more than a quarter is."),
    gauge("skewd_training_halted", &[], "1 while training has stopped until a person acts; predictions go on."),
    counter("skewd_train_steps_total", &[], "Steps that moved the parameters."),
    counter("skewd_train_examples_total", &["class"], "Examples learned, by class."),
    histogram("skewd_train_step_duration_seconds", &[], STEP_SECONDS, "Time from the last example of a batch to the moved parameters."),
    histogram("skewd_train_batch_size", &[], BATCH, "Examples in a step."),
    histogram("skewd_loss", &["class"], LOSS, "Loss of an example before it was learned, in nats."),
    histogram("skewd_example_weight", &["class"], WEIGHT, "ABSGD weight of an example: exp(loss/lambda)/s."),
    gauge("skewd_weight_mass_ratio", &["class"], "Share of all weight over share of all examples; 1 = the weighting leaves the class alone."),
    gauge("skewd_effective_sample_ratio", &[], "(sum p)^2 / sum p^2 of the last batch, as a share of the batch."),
    gauge("skewd_normalizer_log", &[], "ln s, the running normaliser."),
    gauge("skewd_lambda", &[], "The temperature lambda in force; +Inf = plain SGD."),
    counter("skewd_weight_clipped_total", &[], "Examples whose weight met the cap."),
    gauge("skewd_gradient_norm", &[], "Norm of the last step's gradient, before clipping."),
    gauge("skewd_parameter_update_norm", &[], "Norm of the last change of the parameters; 0 = the model does not move."),
    gauge("skewd_records_held", &["state"], "Records that wait for the schema: labelled, unlabelled, bad."),
    gauge("skewd_model_stalled", &[], "1 when the parameters have not moved for about a thousand batches."),
    counter("skewd_nonfinite_steps_total", &[], "Steps dropped because a loss or the gradient was not finite."),
    counter("skewd_examples_quarantined_total", &[], "Examples left out of their batch because no sound model gives them a finite loss and gradient."),
    counter("skewd_guard_rollbacks_total", &[], "Times that a ruined model went back to an older one by itself."),
    counter("skewd_stream_warnings_total", &["kind"], "Warnings about the stream, by kind: a feature that is missing, a class that is new ..."),
    gauge("skewd_prequential_score", &["metric"], "Predict-first scores over the window."),
    gauge("skewd_class_recall_ratio", &["class"], "Share of a class's examples that were recognised, over the window."),
    gauge("skewd_class_loss_changes", &["class", "direction"], "Times that a class became harder or easier to predict."),
    gauge("skewd_calibration_error_ratio", &[], "Expected calibration error over the window."),
    counter("skewd_snapshots_total", &[], "Attempts to write a checkpoint."),
    counter("skewd_snapshot_failures_total", &[], "Checkpoints that could not be written."),
    counter("skewd_snapshots_skipped_total", &[], "Checkpoints that were due while another was being written."),
    counter("skewd_snapshot_scrubs_total", &[], "Times that the kept checkpoints were read again and checked."),
    gauge("skewd_snapshots_damaged", &[], "Kept checkpoints that were damaged when they were last read again."),
    gauge("skewd_snapshot_timestamp_seconds", &[], "When the last checkpoint was written, since the epoch."),
    gauge("skewd_model_version", &[], "Version of the served model: its step."),
    gauge("skewd_served_model_timestamp_seconds", &[], "When the served model was published, since the epoch."),
    counter("skewd_http_requests_total", &["route", "method", "code"], "Requests answered."),
    histogram("skewd_http_request_duration_seconds", &["route", "method"], HTTP_SECONDS, "Time from a request's head to its answer's."),
    gauge("skewd_http_requests_in_flight", &[], "Requests that are being answered."),
];
