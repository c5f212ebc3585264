//! The order of a stream: a record that comes again is not learned again.

use std::collections::HashMap;

use crate::example::{Positions, Record};

/// Watches the offsets of each partition. Sources deliver them in order and once; a fault of a client library that does
/// not must cost nothing but a count.
#[derive(Debug, Default)]
pub struct Order {
    next: HashMap<i32, i64>,
    dropped: u64,
}

impl Order {
    /// Begins at the positions where reading begins.
    #[must_use]
    pub fn at(positions: &Positions) -> Self {
        Self {
            next: positions.0.iter().map(|(at, next)| (*at, *next)).collect(),
            dropped: 0,
        }
    }

    /// True for a record that was not delivered before.
    pub fn is_new(&mut self, record: &Record) -> bool {
        let next = self.next.entry(record.partition).or_insert(i64::MIN);
        if record.offset < *next {
            self.dropped += 1;
            return false;
        }
        *next = record.offset + 1;
        true
    }

    /// Records that came again, since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_dropped_and_counted_and_gaps_are_not() {
        let mut positions = Positions::default();
        positions.advance(0, 4);
        let mut order = Order::at(&positions);
        let taken: Vec<i64> = [3, 4, 5, 6, 5, 6, 7, 10, 9, 11]
            .into_iter()
            .filter(|offset| order.is_new(&Record::new(0, *offset, "x")))
            .collect();
        assert_eq!(taken, [5, 6, 7, 10, 11]);
        assert!(order.is_new(&Record::new(1, 0, "x")));
        assert_eq!((order.take_dropped(), order.take_dropped()), (5, 0));
    }
}
