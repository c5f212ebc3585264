//! What was handed over, partition by partition: plain bookkeeping, no Kafka.

use std::collections::BTreeMap;

use crate::example::Positions;

/// Positions of a source as the caller may see them.
///
/// A caller advances its own positions by the records it learned. Two things it cannot learn from records:
/// where a partition begins that has given none yet, and that the end of a partition holds only control
/// records. [`Ledger::settle`] adds both, and only where the caller has learned all that it was handed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    partitions: BTreeMap<i32, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// What the caller holds once it has learned everything: the saved position, or one past the last record.
    held: Option<i64>,
    /// The next offset to read, at or past `held`.
    next: i64,
}

impl Ledger {
    /// Reading of `partition` begins at `next`; the caller came with the position `saved`, if with any.
    pub(super) fn start(&mut self, partition: i32, saved: Option<i64>, next: i64) {
        match self.partitions.get_mut(&partition) {
            // Going on elsewhere while running: the caller still holds what the last record left.
            Some(entry) if saved == Some(entry.next) => entry.next = next,
            _ => {
                self.partitions
                    .insert(partition, Entry { held: saved, next });
            }
        }
    }

    /// The record at `offset` was handed over.
    pub(super) fn deliver(&mut self, partition: i32, offset: i64) {
        let next = offset + 1;
        self.partitions.insert(
            partition,
            Entry {
                held: Some(next),
                next,
            },
        );
    }

    /// There is no record before `next` that was not handed over.
    pub(super) fn reach(&mut self, partition: i32, next: i64) {
        if let Some(entry) = self.partitions.get_mut(&partition) {
            entry.next = entry.next.max(next);
        }
    }

    /// The next offset to read, per partition.
    pub(super) fn next(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.partitions
            .iter()
            .map(|(partition, entry)| (*partition, entry.next))
    }

    /// Moves positions that stand where the last record ended to where reading goes on.
    pub(super) fn settle(&self, positions: &mut Positions) {
        for (partition, entry) in &self.partitions {
            if positions.next(*partition) == entry.held {
                positions.0.insert(*partition, entry.next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(pairs: &[(i32, i64)]) -> Positions {
        Positions(pairs.iter().copied().collect())
    }

    #[test]
    fn a_partition_without_records_stands_where_reading_began() {
        let mut ledger = Ledger::default();
        ledger.start(0, None, 500);
        let mut held = Positions::default();
        ledger.settle(&mut held);
        assert_eq!(held, positions(&[(0, 500)]));
    }

    #[test]
    fn control_records_at_the_end_are_passed_only_once_everything_was_learned() {
        let mut ledger = Ledger::default();
        ledger.start(0, Some(3), 3);
        ledger.deliver(0, 3);
        ledger.deliver(0, 4);
        ledger.reach(0, 6);
        let mut behind = positions(&[(0, 4)]);
        ledger.settle(&mut behind);
        assert_eq!(
            behind,
            positions(&[(0, 4)]),
            "one record is still in a batch"
        );
        let mut done = positions(&[(0, 5)]);
        ledger.settle(&mut done);
        assert_eq!(done, positions(&[(0, 6)]));
    }

    #[test]
    fn a_gap_that_was_allowed_moves_the_position_to_the_oldest_record() {
        let mut ledger = Ledger::default();
        ledger.start(2, Some(10), 25);
        let mut held = positions(&[(2, 10)]);
        ledger.settle(&mut held);
        assert_eq!(held, positions(&[(2, 25)]));
    }

    #[test]
    fn a_gap_while_running_moves_a_position_that_had_passed_control_records() {
        let mut ledger = Ledger::default();
        ledger.start(0, Some(4), 4);
        ledger.deliver(0, 4);
        ledger.reach(0, 7);
        ledger.start(0, Some(7), 20);
        let mut held = positions(&[(0, 5)]);
        ledger.settle(&mut held);
        assert_eq!(held, positions(&[(0, 20)]));
    }

    #[test]
    fn a_hole_never_moves_a_position_backwards() {
        let mut ledger = Ledger::default();
        ledger.start(0, None, 0);
        ledger.deliver(0, 9);
        ledger.reach(0, 4);
        assert_eq!(ledger.next().collect::<Vec<_>>(), [(0, 10)]);
    }
}
