//! Doubtful examples on their way to a review topic, where one is named.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Failure;
use crate::config::Config;
use crate::learner::HardExample;
use crate::stream::kafka::ReviewTopic;
use crate::telemetry;

/// What is on its way has so long when the daemon stops.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Losses are reported this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The topic, and the stream that examples come from.
pub(super) struct Review {
    sink: Option<ReviewTopic>,
    stream: String,
    complained: Option<Instant>,
}

/// What stands in a record of the review topic: an entry of `/v1/hardest`, and where it came from.
#[derive(Serialize)]
struct Letter<'a> {
    topic: &'a str,
    #[serde(flatten)]
    example: &'a HardExample,
    loss_now: f64,
}

impl Review {
    /// Opens what `kafka.review_topic` names.
    ///
    /// # Errors
    /// 78 when the settings make no client.
    pub fn open(config: &Config, stream: String) -> Result<Self, Failure> {
        // Both are there from the start, so that a rate can be taken of them.
        telemetry::record_reviewed(0, 0);
        let is_wanted = !config.kafka.review_topic.is_empty();
        let sink = is_wanted.then(|| ReviewTopic::open(&config.kafka));
        Ok(Self {
            sink: sink.transpose().map_err(Failure::config)?,
            stream,
            complained: None,
        })
    }

    /// Sends examples off; without a topic nothing is done.
    pub fn post(&mut self, doubted: &[HardExample]) {
        let Some(sink) = &self.sink else { return };
        for example in doubted {
            let letter = Letter {
                topic: &self.stream,
                example,
                loss_now: example.latest_loss(),
            };
            match serde_json::to_vec(&letter) {
                Ok(value) => sink.send(example.id.as_deref(), &value),
                Err(error) => tracing::error!(%error, "an example for review could not be written"),
            }
        }
        let (sent, lost) = sink.take_counts();
        if sent + lost > 0 {
            telemetry::record_reviewed(sent, lost);
        }
        let is_early = self
            .complained
            .is_some_and(|at| at.elapsed() < COMPLAIN_EVERY);
        if lost > 0 && !is_early {
            self.complained = Some(Instant::now());
            tracing::warn!(
                lost,
                "examples for review could not be written to kafka.review_topic: they are in /v1/hardest only"
            );
        }
    }

    /// Gives what is on its way a moment.
    pub fn close(&mut self) {
        if let Some(sink) = &self.sink {
            sink.flush(LAST_WAIT);
        }
        self.post(&[]);
    }
}
