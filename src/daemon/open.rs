//! Opening what records come from, and where bad ones go.

use super::build::{DEAD_LETTERS, LOG, SPOOL};
use super::{Failure, letters::Sink};
use crate::checkpoint::Checkpoint;
use crate::cli::checkpoints::REPLAY_SOURCE;
use crate::config::Config;
use crate::example::Positions;
use crate::stream::dead_letters::FileDeadLetters;
use crate::stream::embedded::EmbeddedLog;
use crate::stream::kafka::{DeadLetterError, KafkaSource, SpooledDeadLetters};
use crate::stream::{Halt, Kind, Source};

/// Bytes of dead letters in the data folder, twice: the file and the one before it.
const DEAD_LETTER_BYTES: u64 = 256 << 20;

/// A source that is open, or the reason why it cannot go on.
pub(crate) type Opened = (Box<dyn Source>, Option<EmbeddedLog>, Option<Halt>);

/// Opens the configured source at the positions given, which are the checkpoint's or the journal's first; `reach` is where the
/// journal ends.
pub(crate) fn open_source(
    config: &Config,
    saved: Option<&Checkpoint>,
    positions: &Positions,
    reach: &Positions,
) -> Result<Opened, Failure> {
    let identity = saved
        .map(|saved| saved.source.clone())
        .filter(|source| !source.is_empty() && source != REPLAY_SOURCE);
    match config.source.kind {
        Kind::Embedded => open_embedded(config, positions, reach, identity.as_deref()),
        Kind::Kafka => {
            let source = KafkaSource::open(&config.kafka, positions, identity)
                .map_err(|(key, reason)| Failure::config(format!("kafka.{key}: {reason}")))?;
            Ok((Box::new(source), None, None))
        }
    }
}

fn open_embedded(
    config: &Config,
    positions: &Positions,
    reach: &Positions,
    identity: Option<&str>,
) -> Result<Opened, Failure> {
    let log = EmbeddedLog::open(&config.in_data_dir(LOG), config.source.retention_bytes)
        .map_err(Failure::io)?;
    let from = positions.next(0).unwrap_or_else(|| log.bounds().0);
    if let Some(found) = identity.filter(|identity| !EmbeddedLog::is_of_a_log(identity)) {
        return Err(Failure::config(format!(
            "source.kind = \"embedded\": the saved state was learned from {found}; point to that source, run `skewd source \
             reset` to keep the model and learn another one, or start anew with an empty data_dir"
        )));
    }
    let opened = match identity.filter(|identity| !log.answers_to(identity)) {
        Some(expected) => Err(other_log(&log, expected)),
        // What was learned beyond the checkpoint must be there, too.
        None => log
            .reader(reach.next(0).unwrap_or(from).max(from))
            .and_then(|_| log.reader(from)),
    };
    let (reader, halt) = match opened {
        Ok(reader) => (reader, None),
        // Training halts and nothing is taken in, but the model is served.
        Err(halt) => (log.reader(log.bounds().1).map_err(Failure::io)?, Some(halt)),
    };
    if let Some(halt) = &halt {
        tracing::error!(reason = %halt, "training stops and no record is taken; predictions go on");
    }
    Ok((Box::new(reader), Some(log), halt))
}

/// Positions of one log say nothing about another: beyond them lie records that were never learned.
fn other_log(log: &EmbeddedLog, expected: &str) -> Halt {
    Halt::IdentityChanged {
        expected: expected.to_owned(),
        found: log.identity(),
    }
}

/// Opens the sink of dead letters.
pub(super) fn open_letters(config: &Config) -> Result<Sink, Failure> {
    let spool = config.in_data_dir(SPOOL);
    if config.source.kind == Kind::Kafka && !config.kafka.dead_letter_topic.is_empty() {
        let topic =
            SpooledDeadLetters::open(&config.kafka, &spool).map_err(|error| match error {
                DeadLetterError::Disk(_) => Failure::io(error),
                other => Failure::config(other),
            })?;
        return Ok(Sink::Kafka(Box::new(topic)));
    }
    if std::fs::read_dir(&spool).is_ok_and(|mut files| files.next().is_some()) {
        tracing::warn!(
            folder = %spool.display(),
            "dead letters wait there for a topic: set kafka.dead_letter_topic to send them"
        );
    }
    let file = FileDeadLetters::open(&config.in_data_dir(DEAD_LETTERS), DEAD_LETTER_BYTES)
        .map_err(Failure::io)?;
    Ok(Sink::File(file))
}
