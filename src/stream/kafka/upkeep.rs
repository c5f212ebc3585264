//! While records flow: is the topic still the same, did partitions join, why is a position out of range.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{Complaint, Consumer, Context, explain};
use super::fetch::{Batch, Lane};
use super::handover::{Counts, Handover, Item};
use super::opening::{Begin, Identity, Trouble, begin, check_identity, describe, identify, untold};
use super::proof::{Held, Proof};
use crate::example::Positions;
use crate::stream::{Halt, SourceStatus};

/// How soon a troubled source is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// Records with a wrong checksum are fetched so often: what the network has damaged comes whole the next time.
const FETCHES: u32 = 3;

/// What is wrong at the moment, and when the topic is looked at next.
pub(super) struct Health {
    trouble: Option<String>,
    refused: bool,
    next_look: Instant,
    next_examination: Instant,
    interval: Duration,
}

impl Health {
    pub(super) fn new(settings: &Settings) -> Self {
        let interval = Duration::from_secs(settings.refresh_seconds);
        Self {
            trouble: None,
            refused: false,
            next_look: Instant::now() + interval,
            next_examination: Instant::now(),
            interval,
        }
    }

    /// Hears complaints; a lost connection alone only hastens the next look.
    pub(super) fn hear(&mut self, complaints: &[Complaint], handover: &Handover) {
        for complaint in complaints {
            self.refused |= complaint.is_refusal();
            self.next_look = self.next_look.min(Instant::now() + SOON);
            let is_passing = matches!(
                complaint.code,
                RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::AutoOffsetReset
            );
            if !is_passing && self.trouble.is_none() {
                self.degrade(complaint.reason.clone(), handover);
            }
        }
    }

    fn degrade(&mut self, reason: String, handover: &Handover) {
        handover.set_status(SourceStatus::degraded(reason.clone()));
        self.trouble = Some(reason);
    }

    /// Brokers answered: all is well again.
    pub(super) fn recover(&mut self, handover: &Handover) {
        if self.trouble.take().is_some() {
            handover.set_status(SourceStatus::running());
        }
        self.refused = false;
    }

    pub(super) fn is_look_due(&self) -> bool {
        Instant::now() >= self.next_look
    }

    /// Looks at the topic at once.
    pub(super) fn hasten(&mut self) {
        self.next_look = Instant::now();
    }
}

/// Everything that reading holds while it runs. Fields are dropped in order: queues before the consumer.
pub(super) struct Reading {
    pub lanes: Vec<Lane>,
    /// What was fetched, until it is certain that it is of this topic.
    pub held: Held,
    pub consumer: Arc<Consumer>,
    pub identity: Identity,
    /// The broker that is asked for the topic's ID.
    pub broker: i32,
    pub health: Health,
    /// The newest positions that were committed for lag tools.
    pub committed: Option<Positions>,
}

/// Whether reading can go on with this client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// Credentials were refused: only a new client reads them again.
    Reconnect,
}

impl Reading {
    /// Looks at the topic: does it exist, is it the same, did partitions join.
    pub(super) fn look(
        &mut self,
        settings: &Settings,
        handover: &Arc<Handover>,
    ) -> Result<Verdict, Halt> {
        let troubled = |health: &mut Health, reason: String| {
            health.degrade(reason, handover);
            health.next_look = Instant::now() + SOON;
            if health.refused {
                Verdict::Reconnect
            } else {
                Verdict::GoOn
            }
        };
        let topic = match describe(&self.consumer, settings) {
            Ok(topic) => topic,
            Err(Trouble::Halt(halt)) => return Err(halt),
            Err(Trouble::Retry(reason)) => {
                // Until it is seen again it may be made anew: nothing of it is read before that is known.
                for lane in &mut self.lanes {
                    lane.doubted = true;
                }
                return Ok(troubled(&mut self.health, reason));
            }
        };
        self.broker = topic.broker;
        let found = identify(&self.consumer, settings, &topic);
        check_identity(&found, Some(&self.identity.to_string()))?;
        let is_open = self.is_doubted() || !self.held.is_empty();
        if is_open && self.identity.id.is_some() && found.id.is_none() {
            return Ok(troubled(&mut self.health, untold(settings)));
        }
        self.held.release_all(handover);
        for lane in &mut self.lanes {
            lane.doubted = false;
        }
        if self.identity.id.is_none() && found.id.is_some() {
            self.identity = found;
            handover.set_identity(self.identity.to_string());
        }
        let known = i32::try_from(self.lanes.len()).unwrap_or(i32::MAX);
        if topic.partitions < known {
            return Err(Halt::PartitionLost {
                topic: settings.topic.clone(),
                partition: topic.partitions,
            });
        }
        for partition in known..topic.partitions {
            if let Err(trouble) = self.add(settings, handover, partition) {
                return match trouble {
                    Trouble::Halt(halt) => Err(halt),
                    Trouble::Retry(reason) => Ok(troubled(&mut self.health, reason)),
                };
            }
        }
        if let Some(positions) = &self.committed {
            self.commit(settings, positions);
        }
        self.health.next_look = Instant::now() + self.health.interval;
        self.health.recover(handover);
        Ok(Verdict::GoOn)
    }

    /// True while what partitions hold may be another topic's; the topic is then looked at before it is read.
    pub(super) fn is_doubted(&self) -> bool {
        self.lanes.iter().any(|lane| lane.doubted)
    }

    /// Holds what was fetched until it is certain which topic it is of; where no broker tells, that is never.
    pub(super) fn hold(&mut self, batch: Batch, settings: &Settings, handover: &Handover) {
        if self.identity.id.is_none() {
            batch.hand_over(handover);
            return;
        }
        self.held.hold(batch);
        self.held.ask(self.broker, &settings.topic);
    }

    /// Hears whether what is held is of this topic; waits for the answer as long as `wait`.
    pub(super) fn hear_proof(&mut self, handover: &Handover, wait: Duration) -> Result<(), Halt> {
        let Some(known) = &self.identity.id else {
            return Ok(());
        };
        match self.held.hear(known, handover, wait) {
            None | Some(Proof::Same) => Ok(()),
            Some(Proof::Unanswered) => {
                self.health.hasten();
                Ok(())
            }
            Some(Proof::Another(id)) => {
                let found = Identity {
                    id: Some(id),
                    ..self.identity.clone()
                };
                check_identity(&found, Some(&self.identity.to_string()))
            }
        }
    }

    /// Reads a partition that was added while running, from its first record.
    fn add(
        &mut self,
        settings: &Settings,
        handover: &Arc<Handover>,
        partition: i32,
    ) -> Result<(), Trouble> {
        let known: Positions = self.positions();
        let begin = begin(&self.consumer, settings, &known, partition)?;
        tracing::info!(
            partition,
            "kafka: a partition joined topic {:?}",
            settings.topic
        );
        announce(&begin, handover);
        let list = one(&settings.topic, partition, begin.next)?;
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| Trouble::Retry(explain(&error)))?;
        let queue = split(&self.consumer, settings, partition)?;
        self.lanes.push(Lane::new(queue, &begin, handover));
        Ok(())
    }

    /// Finds out why partitions' positions are out of range, and goes on where that is allowed.
    pub(super) fn examine(
        &mut self,
        settings: &Settings,
        handover: &Arc<Handover>,
    ) -> Result<(), Halt> {
        if Instant::now() < self.health.next_examination {
            return Ok(());
        }
        let held = self.positions();
        for lane in self.lanes.iter_mut().filter(|lane| lane.lost) {
            if lane.damaged >= FETCHES {
                return Err(damaged(settings, lane));
            }
            let outcome =
                begin(&self.consumer, settings, &held, lane.partition).and_then(|begin| {
                    let queue = reassign(&self.consumer, settings, &begin)?;
                    announce(&begin, handover);
                    lane.restart(queue, &begin, handover);
                    Ok(())
                });
            match outcome {
                Ok(()) => {}
                Err(Trouble::Halt(halt)) => return Err(halt),
                Err(Trouble::Retry(reason)) => {
                    self.health.next_examination = Instant::now() + SOON;
                    self.health.degrade(reason, handover);
                }
            }
        }
        Ok(())
    }

    /// Where reading goes on with another client: what was not handed over is read again.
    pub(super) fn handed_over(&self) -> Positions {
        let mut positions = self.positions();
        self.held.rewind(&mut positions);
        positions
    }

    /// Where reading stands, per partition.
    fn positions(&self) -> Positions {
        Positions(
            self.lanes
                .iter()
                .map(|lane| (lane.partition, lane.next))
                .collect(),
        )
    }

    /// Takes in newer high watermarks from the statistics.
    pub(super) fn note_high(&mut self, handover: &Handover) {
        let high = self.consumer.context().take_high_watermarks();
        for lane in &mut self.lanes {
            if let Some(high) = high.get(&lane.partition) {
                lane.high = *high;
            }
        }
        if !high.is_empty() {
            handover.raise_high(&high);
        }
    }

    /// Commits positions under the group's name, and remembers them: librdkafka tells neither that a commit arrived nor
    /// that it was overtaken by an older one, so the newest are sent again with each look at the topic. That also
    /// keeps brokers from forgetting a group that has nothing to read for days.
    pub(super) fn commit_newest(&mut self, settings: &Settings, positions: Positions) {
        self.commit(settings, &positions);
        self.committed = Some(positions);
    }

    /// Commits positions under the group's name.
    pub(super) fn commit(&self, settings: &Settings, positions: &Positions) {
        let mut list = TopicPartitionList::new();
        for lane in &self.lanes {
            if let Some(next) = positions.next(lane.partition)
                && list
                    .add_partition_offset(&settings.topic, lane.partition, Offset::Offset(next))
                    .is_err()
            {
                return;
            }
        }
        if list.count() == 0 {
            return;
        }
        tracing::debug!(?positions, "kafka: committing for lag tools");
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            let reason = explain(&error);
            self.consumer.context().warn_rarely(&format!(
                "positions could not be committed for lag tools: {reason}"
            ));
        }
    }
}

fn damaged(settings: &Settings, lane: &Lane) -> Halt {
    Halt::Refused(format!(
        "topic {:?}, partition {}: the records at offset {} came with a wrong checksum {FETCHES} times: the broker's log is damaged; \
         restore it from another replica, or delete the records up to the next good one (kafka-delete-records) and set \
         kafka.on_gap = \"continue\" to go on after them",
        settings.topic, lane.partition, lane.next
    ))
}

/// Tells the caller where a partition begins, and says aloud what was lost.
pub(super) fn announce(begin: &Begin, handover: &Handover) {
    if begin.lost > 0 {
        tracing::warn!(
            partition = begin.partition,
            lost = begin.lost,
            next = begin.next,
            "kafka: retention removed records that were not read; going on after them, as kafka.on_gap says"
        );
        handover.count(&Counts {
            lost_to_gaps: begin.lost.unsigned_abs(),
            ..Counts::default()
        });
    }
    handover.raise_high(&[(begin.partition, begin.high)].into());
    handover.put(Item::Start {
        partition: begin.partition,
        saved: begin.saved,
        next: begin.next,
    });
}

/// Gives an assigned partition its own queue.
pub(super) fn split(
    consumer: &Arc<Consumer>,
    settings: &Settings,
    partition: i32,
) -> Result<PartitionQueue<Context>, Trouble> {
    consumer
        .split_partition_queue(&settings.topic, partition)
        .ok_or_else(|| Trouble::Retry(format!("librdkafka has no queue for partition {partition}")))
}

/// Assigns a partition anew: `seek` fails once its position was out of range.
fn reassign(
    consumer: &Arc<Consumer>,
    settings: &Settings,
    begin: &Begin,
) -> Result<PartitionQueue<Context>, Trouble> {
    let retry = |error| Trouble::Retry(explain(&error));
    let list = one(&settings.topic, begin.partition, begin.next)?;
    consumer.incremental_unassign(&list).map_err(retry)?;
    // Paused until its queue is split: what comes before that does not say which partition it is of.
    consumer.pause(&list).map_err(retry)?;
    consumer.incremental_assign(&list).map_err(retry)?;
    let queue = split(consumer, settings, begin.partition);
    consumer.resume(&list).map_err(retry)?;
    queue
}

fn one(topic: &str, partition: i32, next: i64) -> Result<TopicPartitionList, Trouble> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(next))
        .map_err(|error| Trouble::Retry(explain(&error)))?;
    Ok(list)
}
