//! When kept checkpoints are read again, and by whom: a thread of its own, at long intervals.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::{self, Scrubbed};
use crate::cli::checkpoints;
use crate::config::Config;
use crate::telemetry;

type Look = JoinHandle<Result<Scrubbed, checkpoint::Error>>;

/// Looks for bits that have rotted in the kept checkpoints.
pub(super) struct Scrubber {
    dir: PathBuf,
    /// `None`: never.
    every: Option<Duration>,
    last: Instant,
    in_flight: Option<Look>,
    trouble: Option<String>,
}

impl Scrubber {
    /// The start of the daemon has just read every file: the first look comes an interval later.
    pub fn new(config: &Config, now: Instant) -> Self {
        let seconds = config.checkpoint.scrub_every_seconds;
        Self {
            dir: config.in_data_dir(checkpoints::FOLDER),
            every: (seconds > 0).then(|| Duration::from_secs(seconds)),
            last: now,
            in_flight: None,
            trouble: None,
        }
    }

    /// Begins a look that is due and ends one that is over. True when a look has just found a damaged file: then a
    /// whole one should be written.
    pub fn tend(&mut self, now: Instant) -> bool {
        if let Some(look) = self.in_flight.take_if(|look| look.is_finished()) {
            return self.judge(look);
        }
        let due = self
            .every
            .is_some_and(|every| now.duration_since(self.last) >= every);
        if due && self.in_flight.is_none() {
            self.last = now;
            let dir = self.dir.clone();
            let look = std::thread::Builder::new()
                .name("skewd-scrub".to_owned())
                .spawn(move || checkpoint::scrub(&dir));
            match look {
                Ok(look) => self.in_flight = Some(look),
                Err(error) => tracing::error!(%error, "no thread to read the checkpoints again"),
            }
        }
        false
    }

    fn judge(&mut self, look: Look) -> bool {
        match look.join() {
            Ok(Ok(found)) => {
                telemetry::record_scrub(found.damaged.len());
                for damaged in &found.damaged {
                    tracing::error!(
                        file = %damaged.path.display(),
                        reason = %damaged.reason,
                        "a kept checkpoint is damaged; a new one is written: look at the disk"
                    );
                }
                self.trouble = found.damaged.first().map(|first| {
                    format!(
                        "{} of {} kept checkpoints damaged at the last look, {} among them: look at the disk",
                        found.damaged.len(),
                        found.damaged.len() + found.whole,
                        checkpoint::name_of(&first.path)
                    )
                });
                self.trouble.is_some()
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the kept checkpoints could not be read again");
                false
            }
            Err(_) => {
                tracing::error!("the thread that reads the checkpoints again died");
                false
            }
        }
    }

    /// What a person should know about the kept files; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}
