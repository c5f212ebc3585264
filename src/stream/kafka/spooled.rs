//! Dead letters to a Kafka topic, over the disk while the topic cannot be written.
//!
//! While all is well a letter goes straight to the topic. Where brokers do not report letters written by the time that a
//! checkpoint is due, or too many wait in memory, all that wait move to a [`Spool`] in their order, and those that follow
//! queue behind them; checkpoints go on. The spool is sent file by file, and a file goes once all of its letters are
//! reported written. Only a full spool, or a disk that fails, makes the caller wait.
//!
//! Nothing is lost. A letter may stand in the topic twice: after a crash, and when a broker took it and could not say so.

use std::path::Path;
use std::time::Duration;

use super::Settings;
use super::dead_letters::{DeadLetterError, KafkaDeadLetters, Letter};
use super::spool::{Refused, Spool};
use crate::example::Record;

/// How long librdkafka may take to give letters back.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// The writer of dead letters that a broken topic does not hold up.
pub struct SpooledDeadLetters {
    topic: KafkaDeadLetters,
    spool: Spool,
    /// The letters of the spool's oldest file are on their way.
    sending: bool,
}

impl SpooledDeadLetters {
    /// Makes the client, and takes up what an earlier run left in the folder `dir`.
    ///
    /// # Errors
    /// When the settings do not make a client, or the folder cannot be read.
    pub fn open(settings: &Settings, dir: &Path) -> Result<Self, DeadLetterError> {
        let spool = Spool::open(dir, settings.dead_letter_spool_bytes).map_err(failed)?;
        if !spool.is_empty() {
            tracing::info!(
                letters = spool.letters(),
                topic = settings.dead_letter_topic,
                "dead letters of an earlier run wait on disk and are sent now"
            );
        }
        Ok(Self {
            topic: KafkaDeadLetters::open(settings)?,
            spool,
            sending: false,
        })
    }

    /// Takes a bad record, as [`KafkaDeadLetters::write`] does.
    ///
    /// # Errors
    /// When topic and disk are both full or failing: the record was not taken, give it again later.
    pub fn write(
        &mut self,
        record: &Record,
        reason: &str,
        detail: &str,
    ) -> Result<(), DeadLetterError> {
        if self.spool.is_empty() {
            match self.topic.write(record, reason, detail) {
                Err(DeadLetterError::Full { .. }) => self.move_to_disk()?,
                taken => return taken,
            }
        }
        let letter = Letter::new(record, reason, detail);
        self.spool.append(&letter).map_err(|refused| match refused {
            Refused::Full => self.topic.full(self.spool.letters()),
            Refused::Io(error) => failed(error),
        })
    }

    /// Makes every letter that was taken durable, in the topic within `wait` or on disk.
    ///
    /// # Errors
    /// When some are not: no checkpoint may be written now.
    pub fn settle(&mut self, wait: Duration) -> Result<(), DeadLetterError> {
        if self.spool.is_empty() {
            match self.topic.flush(wait) {
                Err(DeadLetterError::Pending { .. }) => self.move_to_disk()?,
                settled => return settled,
            }
        }
        self.spool.flush().map_err(failed)
    }

    /// Sends what waits on disk, as far as the topic takes it; never waits. To be called again and again.
    ///
    /// # Errors
    /// When the disk fails, or no client can be made.
    pub fn tend(&mut self) -> Result<(), DeadLetterError> {
        self.topic.tend()?;
        if self.spool.is_empty() || self.topic.pending() > 0 {
            return Ok(());
        }
        if self.sending {
            self.sending = false;
            self.spool.remove_oldest().map_err(failed)?;
        }
        for letter in self.spool.oldest().map_err(failed)? {
            self.sending = true;
            self.topic.post(letter);
        }
        Ok(())
    }

    /// What a person should know; `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        (!self.spool.is_empty()).then(|| {
            format!(
                "{} dead letters wait in {} for {}",
                self.spool.letters(),
                self.spool.dir().display(),
                self.topic.told()
            )
        })
    }

    fn move_to_disk(&mut self) -> Result<(), DeadLetterError> {
        let letters = self.topic.take_back(GIVE_BACK)?;
        tracing::warn!(
            letters = letters.len(),
            folder = %self.spool.dir().display(),
            "dead letters wait on disk for {}",
            self.topic.told()
        );
        for letter in &letters {
            self.spool.take_over(letter);
        }
        self.spool.flush().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> DeadLetterError {
    DeadLetterError::Disk(error.to_string())
}
