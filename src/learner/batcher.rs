//! When a batch is cut, and which positions it covers.

use crate::example::{Example, Positions};

/// The examples that wait for their step, in flat arrays that are reused from batch to batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Row-major raw values, `features` a row.
    pub rows: Vec<f32>,
    /// Class indexes.
    pub classes: Vec<u32>,
    /// Weights of the records (outside the exponent).
    pub importance: Vec<f32>,
    /// Ids of the records.
    pub ids: Vec<Option<Box<str>>>,
    /// Log times of the records, in seconds.
    pub times: Vec<Option<f64>>,
    /// Numbers of the senders.
    pub senders: Vec<u64>,
    /// Where the records came from.
    pub places: Vec<(i32, i64)>,
}

impl Batch {
    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// True when no example waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Adds an example.
    pub fn push(&mut self, example: &Example, place: (i32, i64)) {
        self.rows.extend_from_slice(&example.row);
        self.classes.push(example.class);
        self.importance.push(example.weight);
        self.ids.push(example.id.clone());
        self.times.push(example.time);
        self.senders.push(example.sender);
        self.places.push(place);
    }

    /// Forgets the examples, keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.classes.clear();
        self.importance.clear();
        self.ids.clear();
        self.times.clear();
        self.senders.clear();
        self.places.clear();
    }
}

/// Positions at the last boundary between batches, and those of the records seen since.
///
/// A checkpoint may only hold boundary positions: what lies between the boundary and the newest record
/// is in no model yet, and is read again after a restart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frontier {
    boundary: Positions,
    seen: Positions,
}

impl Frontier {
    /// Starts at the positions of a checkpoint.
    #[must_use]
    pub fn at(positions: Positions) -> Self {
        Self {
            boundary: positions.clone(),
            seen: positions,
        }
    }

    /// Notes a record.
    pub fn saw(&mut self, partition: i32, offset: i64) {
        self.seen.advance(partition, offset);
    }

    /// Everything seen so far is settled: it was learned, or it was no example.
    pub fn settle(&mut self) {
        for (partition, next) in &self.seen.0 {
            self.boundary.0.insert(*partition, *next);
        }
    }

    /// Positions after everything that was seen.
    #[must_use]
    pub fn seen(&self) -> &Positions {
        &self.seen
    }

    /// Positions of the last boundary.
    #[must_use]
    pub fn boundary(&self) -> &Positions {
        &self.boundary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_moves_only_when_settled() {
        let mut frontier = Frontier::at(Positions::default());
        frontier.saw(0, 4);
        frontier.saw(2, 7);
        assert_eq!(frontier.boundary(), &Positions::default());
        frontier.settle();
        assert_eq!(frontier.boundary().next(0), Some(5));
        assert_eq!(frontier.boundary().next(2), Some(8));
    }

    #[test]
    fn clearing_a_batch_forgets_every_column() {
        let mut batch = Batch::default();
        let example = Example {
            row: vec![1.0, 2.0].into(),
            class: 1,
            weight: 1.0,
            id: None,
            sender: 3,
            time: Some(4.5),
        };
        batch.push(&example, (0, 3));
        assert_eq!(batch.len(), 1);
        batch.clear();
        assert!(batch.is_empty());
        assert!(batch.rows.is_empty() && batch.ids.is_empty());
        assert!(batch.times.is_empty() && batch.places.is_empty());
    }
}
