//! Records wait here until it is certain which topic they are from.
//!
//! librdkafka goes on at the old offset when it learns that a topic was deleted and made anew, and says nothing. A topic
//! ID never comes back, though: a broker that names the known ID *after* records were fetched has shown that they are
//! of the known topic. So what was fetched is held, the broker is asked while more is fetched, and a right answer sets
//! free all that was held when it was asked for. Of another topic no record is handed over.
//!
//! The broker that is asked leads a partition. Others of a cluster hear of a new topic within moments of it; a record that
//! one of them gives in such a moment is the one thing that this does not see before the next answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Consumer;
use super::fetch::Batch;
use super::handover::Handover;
use super::opening::serve;
use super::topic_id::Question;
use crate::example::Positions;

/// Bytes that are held before no more is fetched.
const HELD_BYTES: usize = 2 << 20;

/// Between two questions, unless much is held.
const BETWEEN: Duration = Duration::from_millis(20);
const MUCH_BYTES: usize = 256 << 10;

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What a broker said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is the known topic.
    Same,
    /// It is another one, with this ID.
    Another(String),
    /// The broker gave no ID: it is too busy, or there is no such topic now.
    Unanswered,
}

/// What was fetched and not handed over.
pub(super) struct Held {
    batches: Vec<Batch>,
    bytes: usize,
    /// The question, and how many of the batches it is about.
    question: Option<(Question, usize)>,
    asked: Option<Instant>,
    /// No answer came: the topic is looked at before the next question.
    unanswered: bool,
    /// Asks on a connection of its own: on that of the records a question waits until the next of them come.
    client: Arc<Consumer>,
}

impl Held {
    pub(super) fn new(client: Consumer) -> Self {
        Self {
            batches: Vec::new(),
            bytes: 0,
            question: None,
            asked: None,
            unanswered: false,
            client: Arc::new(client),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= HELD_BYTES
    }

    /// Holds what was fetched.
    pub(super) fn hold(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.bytes += batch.bytes();
            self.batches.push(batch);
        }
    }

    /// True while an answer may come.
    pub(super) fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// True while brokers do not say which topic it is.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Asks about what is held, if that is due.
    pub(super) fn ask(&mut self, broker: i32, topic: &str) {
        serve(&self.client);
        let is_due =
            self.bytes >= MUCH_BYTES || self.asked.is_none_or(|asked| asked.elapsed() >= BETWEEN);
        if self.is_empty() || self.is_asking() || self.unanswered || !is_due {
            return;
        }
        self.asked = Some(Instant::now());
        self.question = Question::ask(&self.client, broker, topic, ANSWER)
            .map(|question| (question, self.batches.len()));
    }

    /// Takes an answer, waiting for it as long as `wait`, and hands over what it proves to be of the topic `known`.
    pub(super) fn hear(
        &mut self,
        known: &str,
        handover: &Handover,
        wait: Duration,
    ) -> Option<Proof> {
        let (question, count) = self.question.take()?;
        let Some(answer) = question.answer(wait) else {
            self.question = Some((question, count));
            return None;
        };
        Some(match answer {
            Some(id) if id == known => {
                self.release(count, handover);
                Proof::Same
            }
            Some(id) => Proof::Another(id),
            None => {
                self.unanswered = true;
                Proof::Unanswered
            }
        })
    }

    /// Hands everything over: the topic was looked at and is the known one, or no broker tells IDs.
    pub(super) fn release_all(&mut self, handover: &Handover) {
        self.question = None;
        self.unanswered = false;
        self.release(self.batches.len(), handover);
    }

    fn release(&mut self, count: usize, handover: &Handover) {
        for batch in self.batches.drain(..count) {
            self.bytes -= batch.bytes();
            batch.hand_over(handover);
        }
    }

    /// Moves positions back to before what is held.
    pub(super) fn rewind(&self, positions: &mut Positions) {
        for (partition, first) in self.batches.iter().rev().flat_map(Batch::firsts) {
            positions.0.insert(partition, first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Record;
    use crate::stream::SourceStatus;
    use crate::stream::kafka::Settings;
    use crate::stream::kafka::handover::{Item, Taken};
    use crate::stream::kafka::opening::probe;

    fn held() -> Held {
        Held::new(probe(&Settings::default()).unwrap())
    }

    fn batch(records: &[(i32, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (partition, offset) in records {
            let mut next = *offset;
            batch.accept(&mut next, Record::new(*partition, *offset, "x"));
        }
        batch
    }

    fn offsets(handover: &Handover) -> Vec<i64> {
        let mut offsets = Vec::new();
        while let Taken::Item(Item::Records(records, _)) = handover.take(Duration::ZERO) {
            offsets.extend(records.iter().map(|record| record.offset));
        }
        offsets
    }

    #[test]
    fn what_is_held_comes_in_order_and_only_once_it_is_proven() {
        let handover = Handover::new(SourceStatus::running());
        let mut held = held();
        held.hold(batch(&[(0, 5), (0, 6)]));
        held.hold(Batch::default());
        held.hold(batch(&[(0, 7)]));
        held.hold(batch(&[(0, 8)]));
        assert!(offsets(&handover).is_empty());
        held.release(2, &handover);
        assert_eq!(offsets(&handover), [5, 6, 7]);
        assert!(!held.is_empty());
        held.release_all(&handover);
        assert_eq!(offsets(&handover), [8]);
        assert!(held.is_empty());
        assert_eq!(held.bytes, 0);
    }

    #[test]
    fn a_new_client_begins_again_before_what_was_held() {
        let mut held = held();
        held.hold(batch(&[(0, 5), (1, 9), (0, 6)]));
        held.hold(batch(&[(0, 7), (2, 0)]));
        let mut positions = Positions([(0, 8), (1, 10), (2, 1), (3, 4)].into());
        held.rewind(&mut positions);
        assert_eq!(positions.0, [(0, 5), (1, 9), (2, 0), (3, 4)].into());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut held = held();
        let mut next = 0;
        let mut large = Batch::default();
        large.accept(&mut next, Record::new(0, 0, vec![0; HELD_BYTES]));
        assert!(!held.is_full());
        held.hold(large);
        assert!(held.is_full());
    }
}
