//! Taking records out of the partitions' own queues, in a fixed order and fairly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::client::{Consumer, Context, Stray};
use super::handover::{Counts, Handover, Item, RECORD_OVERHEAD};
use super::opening::Begin;
use crate::example::Record;

/// Records and bytes of one batch that is handed over.
const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;

/// How long partitions that are known to have records may take before the others fill a batch alone.
/// A backlog then comes mixed over the partitions instead of one partition after the other.
const PATIENCE: Duration = Duration::from_millis(100);

/// One partition being read.
pub(super) struct Lane {
    pub partition: i32,
    queue: PartitionQueue<Context>,
    /// The next offset to read.
    pub next: i64,
    /// The newest high watermark known.
    pub high: i64,
    /// False once it let the others wait in vain, until it gives a record again.
    awaited: bool,
    /// Its position is out of range, or what is there is damaged: the reader has to look, and to begin it anew.
    pub lost: bool,
    /// How often in a row the records at its position came with a wrong checksum.
    pub damaged: u32,
    /// The brokers did not know the topic for a moment: what comes next may be another topic's, and stays in
    /// its queue until the reader has seen which topic it is.
    pub doubted: bool,
}

impl Lane {
    /// A partition that is read from where `begin` says; arriving records wake the reading thread.
    pub(super) fn new(
        queue: PartitionQueue<Context>,
        begin: &Begin,
        handover: &Arc<Handover>,
    ) -> Self {
        let mut lane = Self {
            partition: begin.partition,
            queue,
            next: begin.next,
            high: begin.high,
            awaited: true,
            lost: false,
            damaged: 0,
            doubted: false,
        };
        lane.wake_on_records(handover);
        lane
    }

    /// Goes on elsewhere, with the queue that the new assignment gave.
    pub(super) fn restart(
        &mut self,
        queue: PartitionQueue<Context>,
        begin: &Begin,
        handover: &Arc<Handover>,
    ) {
        // Dropping the old queue switches the callback off, so the new one comes after.
        self.queue = queue;
        self.wake_on_records(handover);
        self.next = begin.next;
        self.high = begin.high;
        self.awaited = true;
        self.lost = false;
    }

    fn wake_on_records(&mut self, handover: &Arc<Handover>) {
        let handover = Arc::clone(handover);
        self.queue.set_nonempty_callback(move || handover.wake());
    }

    fn lags(&self) -> bool {
        self.awaited && !self.lost && !self.doubted && self.high > self.next
    }

    /// Takes up to `quota` records.
    fn take(&mut self, quota: usize, consumer: &Consumer, batch: &mut Batch) {
        let mut taken = 0;
        while taken < quota && !batch.is_full() && !self.doubted && !self.lost {
            match self.queue.poll(Duration::ZERO) {
                None => return,
                Some(Ok(message)) => {
                    let record = record_of(&message);
                    if batch.accept(&mut self.next, record) {
                        self.awaited = true;
                        self.damaged = 0;
                        taken += 1;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.pass_holes(consumer, batch),
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset) => self.lost = true,
                    // librdkafka goes on after the damaged batch: what follows is not taken.
                    Some(RDKafkaErrorCode::BadMessage) => {
                        self.damaged += 1;
                        self.lost = true;
                    }
                    Some(code) if is_unknown_topic(code) => self.doubted = true,
                    // Everything else heals by itself and has been heard by the context.
                    _ => {}
                },
            }
        }
    }

    /// At the end of a partition: its position lies past control records that were never delivered.
    fn pass_holes(&mut self, consumer: &Consumer, batch: &mut Batch) {
        batch.heard = true;
        let Ok(positions) = consumer.position() else {
            return;
        };
        let position = positions
            .elements()
            .iter()
            .find(|element| element.partition() == self.partition)
            .and_then(|element| element.offset().to_raw())
            .unwrap_or(self.next);
        if position > self.next {
            self.next = position;
            batch.reached.push((self.partition, position));
        }
    }
}

/// What one pass over the partitions brought.
#[derive(Default)]
pub(crate) struct Batch {
    records: Vec<Record>,
    bytes: usize,
    reached: Vec<(i32, i64)>,
    heard: bool,
    counts: Counts,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    /// Notes a record unless it came before; moves `next` past it.
    pub(crate) fn accept(&mut self, next: &mut i64, record: Record) -> bool {
        if record.offset < *next {
            self.counts.repeated += 1;
            return false;
        }
        self.counts.holes += (record.offset - *next).unsigned_abs();
        *next = record.offset + 1;
        self.bytes += cost(&record);
        self.records.push(record);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.reached.is_empty() && self.counts == Counts::default()
    }

    /// What its records cost in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when brokers were heard, be it only to say that there is no more.
    pub(super) fn heard(&self) -> bool {
        self.heard || !self.records.is_empty()
    }

    /// Partitions and offsets of the records from the last to the first: the last word on a partition is its first record.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let place = |record: &Record| (record.partition, record.offset);
        self.records.iter().rev().map(place)
    }

    /// The records, for who has no hand-over.
    #[cfg(test)]
    pub(crate) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Hands everything over.
    pub(super) fn hand_over(self, handover: &Handover) {
        // Who sees the records sees what was counted on the way to them.
        if self.counts != Counts::default() {
            handover.count(&self.counts);
        }
        if !self.records.is_empty() {
            handover.put(Item::Records(self.records, self.bytes));
        }
        for (partition, next) in self.reached {
            handover.put(Item::Reach { partition, next });
        }
    }
}

/// Goes over the partitions in ascending order: first a fair share of each, then whatever fills the batch.
pub(super) fn drain(consumer: &Consumer, lanes: &mut [Lane], handover: &Handover) -> Batch {
    let mut batch = Batch::default();
    take_strays(consumer, lanes, &mut batch);
    let share = BATCH_RECORDS.div_ceil(lanes.len().max(1));
    let mut missing = Vec::with_capacity(lanes.len());
    for lane in lanes.iter_mut() {
        let before = batch.records.len();
        lane.take(share, consumer, &mut batch);
        missing.push(share - (batch.records.len() - before));
    }
    if batch.records.is_empty() || batch.is_full() {
        return batch;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut late = false;
        for (lane, missing) in lanes.iter_mut().zip(&mut missing) {
            if *missing > 0 && lane.lags() {
                let before = batch.records.len();
                lane.take(*missing, consumer, &mut batch);
                *missing -= batch.records.len() - before;
                late |= *missing > 0 && lane.lags();
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !late || batch.is_full() || handover.stopping() {
            break;
        }
        if left.is_zero() {
            for (lane, missing) in lanes.iter_mut().zip(&missing) {
                lane.awaited &= *missing == 0 || !lane.lags();
            }
            break;
        }
        handover.wait(left);
    }
    for lane in lanes.iter_mut() {
        lane.take(BATCH_RECORDS, consumer, &mut batch);
    }
    batch
}

/// Takes what came before the queues were split, and therefore before anything that is in them.
fn take_strays(consumer: &Consumer, lanes: &mut [Lane], batch: &mut Batch) {
    for stray in consumer.context().take_strays() {
        match stray {
            Stray::Record(record) => {
                let lane = lanes
                    .iter_mut()
                    .find(|lane| lane.partition == record.partition && !lane.lost);
                if let Some(lane) = lane
                    && batch.accept(&mut lane.next, record)
                {
                    lane.awaited = true;
                }
            }
            Stray::End(partition) => {
                if let Some(lane) = lanes.iter_mut().find(|lane| lane.partition == partition) {
                    lane.pass_holes(consumer, batch);
                }
            }
            // It does not say which partition it means: all are looked at.
            Stray::Error(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::BadMessage) => {
                lanes.iter_mut().for_each(|lane| lane.lost = true);
            }
            Stray::Error(code) if is_unknown_topic(code) => {
                lanes.iter_mut().for_each(|lane| lane.doubted = true);
            }
            Stray::Error(_) => {}
        }
    }
}

/// True when the brokers said that there is no such topic or partition. It comes on the partition's own queue, before any
/// record of a topic that was made anew under the name.
fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopicId
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}

fn cost(record: &Record) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + length(value) + RECORD_OVERHEAD / 4)
        .sum();
    RECORD_OVERHEAD + length(&record.key) + length(&record.payload) + headers
}

pub(super) fn record_of(message: &BorrowedMessage<'_>) -> Record {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| {
                    (
                        header.key.to_owned(),
                        header.value.map(Bytes::copy_from_slice),
                    )
                })
                .collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_records_are_dropped_and_counted_and_holes_are_not_errors() {
        let mut batch = Batch::default();
        let mut next = 5;
        let offsets: Vec<bool> = [5, 6, 6, 3, 9]
            .into_iter()
            .map(|offset| batch.accept(&mut next, Record::new(0, offset, "x")))
            .collect();
        assert_eq!(offsets, [true, true, false, false, true]);
        assert_eq!(next, 10);
        assert_eq!(batch.counts.repeated, 2);
        assert_eq!(batch.counts.holes, 2);
    }

    #[test]
    fn a_batch_is_full_by_bytes_too() {
        let mut batch = Batch::default();
        let mut next = 0;
        batch.accept(&mut next, Record::new(0, 0, vec![0; BATCH_BYTES]));
        assert!(batch.is_full());
    }
}
