//! The thread that owns the consumer: connect, read, hand over, until told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{Consumer, Context, Role, client_config, explain};
use super::fetch::{Batch, Lane, drain};
use super::handover::{Ended, Handover};
use super::opening::{Opened, Trouble, open, probe, serve};
use super::proof::Held;
use super::upkeep::{Health, Reading, Verdict, announce, split};
use crate::example::Positions;
use crate::stream::{Halt, SourceStatus};

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// Without records: how often events are served.
const IDLE: Duration = Duration::from_millis(100);

/// While a broker is asked which topic records are of: how long nothing else is looked at.
const SHORT: Duration = Duration::from_millis(10);

/// How long the last commit may take when stopping.
const LAST_COMMIT: Duration = Duration::from_millis(500);

/// The state of the reading thread.
pub(super) struct Reader {
    pub settings: Settings,
    /// Where to begin: the caller's positions, later those of the last client.
    pub saved: Positions,
    /// What the checkpoint says the source is.
    pub expected: Option<String>,
    pub handover: Arc<Handover>,
}

/// Marks the end of the thread also when it panics.
struct Closing(Arc<Handover>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.end(Ended::Broken(
            "the thread that reads Kafka has died".to_owned(),
        ));
    }
}

impl Reader {
    pub(super) fn run(mut self) {
        let closing = Closing(Arc::clone(&self.handover));
        let ended = match self.read() {
            Ok(()) => Ended::Stopped,
            Err(halt) => Ended::Halted(halt),
        };
        self.handover.end(ended);
        drop(closing);
    }

    fn read(&mut self) -> Result<(), Halt> {
        let mut is_first = true;
        while let Some(reading) = self.connect(is_first)? {
            is_first = false;
            let Some(positions) = self.follow(reading)? else {
                break;
            };
            self.saved = positions;
        }
        Ok(())
    }

    /// Tries until the topic is open; `None` when told to stop.
    fn connect(&mut self, is_first: bool) -> Result<Option<Reading>, Halt> {
        let mut client: Option<Consumer> = None;
        loop {
            let attempt = self.attempt(&mut client, is_first);
            let reason = match attempt {
                Ok(reading) => return Ok(Some(reading)),
                Err(Trouble::Halt(halt)) => return Err(halt),
                Err(Trouble::Retry(reason)) => reason,
            };
            if self.handover.stopping() {
                return Ok(None);
            }
            self.handover.set_status(SourceStatus::degraded(reason));
            self.handover.wait(RETRY);
        }
    }

    fn attempt(
        &mut self,
        client: &mut Option<Consumer>,
        is_first: bool,
    ) -> Result<Reading, Trouble> {
        let retry =
            |(key, reason): (String, String)| Trouble::Retry(format!("kafka.{key}: {reason}"));
        let asking = match client.take() {
            Some(client) => client,
            None => probe(&self.settings).map_err(retry)?,
        };
        let stopping = || self.handover.stopping();
        let opened = open(
            &asking,
            &self.settings,
            &self.saved,
            self.expected.as_deref(),
            &stopping,
        );
        serve(&asking);
        let refused = asking
            .context()
            .take_complaints()
            .iter()
            .any(super::client::Complaint::is_refusal);
        match opened {
            Ok(opened) => self.begin(opened, asking, is_first),
            Err(trouble) => {
                if !refused {
                    // A refused client is made anew: passwords and certificates may have been replaced.
                    *client = Some(asking);
                }
                Err(trouble)
            }
        }
    }

    /// Assigns every partition at its position and gives each its own queue.
    fn begin(
        &mut self,
        opened: Opened,
        asking: Consumer,
        is_first: bool,
    ) -> Result<Reading, Trouble> {
        let settings = &self.settings;
        let partitions = u64::try_from(opened.partitions.len()).unwrap_or(1).max(1);
        let queued_kbytes = (settings.memory_bytes / 1024 / partitions).clamp(256, 16384);
        let retry = |error| Trouble::Retry(explain(&error));
        let consumer: Consumer = client_config(settings, Role::Consumer { queued_kbytes })
            .map_err(|(key, reason)| Trouble::Retry(format!("kafka.{key}: {reason}")))?
            .create_with_context(Context::of_topic(&settings.topic))
            .map_err(retry)?;
        let consumer = Arc::new(consumer);
        let mut list = TopicPartitionList::new();
        for begin in &opened.partitions {
            list.add_partition_offset(&settings.topic, begin.partition, Offset::Offset(begin.next))
                .map_err(retry)?;
        }
        // Assign first: it would take away queues that were split before. Split before the first poll.
        consumer.assign(&list).map_err(retry)?;
        let lanes = opened
            .partitions
            .iter()
            .map(|begin| {
                let queue = split(&consumer, settings, begin.partition)?;
                Ok(Lane::new(queue, begin, &self.handover))
            })
            .collect::<Result<Vec<_>, _>>()?;
        for begin in &opened.partitions {
            if is_first || begin.saved.is_none() || begin.lost > 0 {
                announce(begin, &self.handover);
            }
        }
        let high: BTreeMap<i32, i64> = opened
            .partitions
            .iter()
            .map(|begin| (begin.partition, begin.high))
            .collect();
        self.handover.raise_high(&high);
        self.handover.set_identity(opened.identity.to_string());
        self.handover.set_status(SourceStatus::running());
        self.expected = Some(opened.identity.to_string());
        Ok(Reading {
            lanes,
            held: Held::new(asking),
            consumer,
            identity: opened.identity,
            broker: opened.broker,
            health: Health::new(settings),
            committed: None,
        })
    }

    /// Reads until told to stop (`None`) or until a new client is needed (where to go on).
    fn follow(&self, mut reading: Reading) -> Result<Option<Positions>, Halt> {
        let (settings, handover) = (&self.settings, &self.handover);
        loop {
            let commands = handover.take_commands();
            if let Some(positions) = commands.commit {
                reading.commit_newest(settings, positions);
                if commands.stop {
                    // Time for it to leave; without it the group's positions may be a little old.
                    let _ = reading.consumer.poll(LAST_COMMIT);
                }
            }
            if commands.stop {
                return Ok(None);
            }
            serve(&reading.consumer);
            reading.note_high(handover);
            let complaints = reading.consumer.context().take_complaints();
            reading.health.hear(&complaints, handover);
            reading.hear_proof(handover, Duration::ZERO)?;
            if reading.health.is_look_due()
                && reading.look(settings, handover)? == Verdict::Reconnect
            {
                return Ok(Some(reading.handed_over()));
            }
            if !handover.has_room() {
                handover.wait(IDLE);
                continue;
            }
            let heard = self.fetch(&mut reading)?;
            if reading.held.is_asking() && !heard {
                reading.hear_proof(handover, SHORT)?;
            } else if !heard {
                handover.wait(if reading.held.is_empty() { IDLE } else { SHORT });
            }
        }
    }

    /// Takes what has come; true when there may be more at once.
    fn fetch(&self, reading: &mut Reading) -> Result<bool, Halt> {
        let (settings, handover) = (&self.settings, &self.handover);
        let is_lost = |reading: &Reading| reading.lanes.iter().any(|lane| lane.lost);
        // A partition begins anew only once all that came before is handed over.
        let has_room = !reading.held.is_full() && (reading.held.is_empty() || !is_lost(reading));
        let was_doubted = reading.is_doubted();
        let batch = match has_room {
            true => drain(&reading.consumer, &mut reading.lanes, handover),
            false => Batch::default(),
        };
        let heard = batch.heard();
        reading.hold(batch, settings, handover);
        if reading.held.is_empty() && is_lost(reading) {
            reading.examine(settings, handover)?;
        }
        if reading.is_doubted() && !was_doubted {
            reading.health.hasten();
            return Ok(true);
        }
        if heard && !reading.held.is_unanswered() {
            reading.health.recover(handover);
        }
        Ok(heard)
    }
}
