//! The recent examples of largest weight.

use super::board::HardExample;

/// Examples kept at most.
const KEPT: usize = 50;
/// Older examples make room, however heavy they were.
const RECENT_EXAMPLES: u64 = 10_000;

/// A short list ordered by weight. Not part of the learning state: it names offsets, which the digest must not see.
#[derive(Debug, Clone, Default)]
pub struct Hardest {
    entries: Vec<(u64, HardExample)>,
    lightest: f64,
}

impl Hardest {
    /// True when an example of this weight would enter the list.
    #[must_use]
    pub fn wants(&self, weight: f64) -> bool {
        self.entries.len() < KEPT || weight > self.lightest
    }

    /// Adds an example that was learned as number `at`.
    pub fn push(&mut self, at: u64, example: HardExample) {
        self.expire(at);
        let place = self
            .entries
            .partition_point(|(_, entry)| entry.weight >= example.weight);
        self.entries.insert(place, (at, example));
        self.entries.truncate(KEPT);
        self.lightest = self.entries.last().map_or(0.0, |(_, entry)| entry.weight);
    }

    /// Drops what is no longer recent when `now` examples have been learned.
    pub fn expire(&mut self, now: u64) {
        self.entries.retain(|(at, _)| at + RECENT_EXAMPLES >= now);
        if self.entries.len() < KEPT {
            self.lightest = 0.0;
        }
    }

    /// The list, heaviest first.
    #[must_use]
    pub fn list(&self) -> Vec<HardExample> {
        self.entries
            .iter()
            .map(|(_, example)| example.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(offset: i64, weight: f64) -> HardExample {
        HardExample {
            id: None,
            partition: 0,
            offset,
            step: 1,
            label: "rare".into(),
            prediction: None,
            loss: 1.0,
            weight,
        }
    }

    #[test]
    fn keeps_the_heaviest_of_the_recent_in_order() {
        let mut hardest = Hardest::default();
        for offset in 0..1000 {
            let weight = ((offset * 37) % 1000) as f64;
            if hardest.wants(weight) {
                hardest.push(offset as u64, example(offset, weight));
            }
        }
        let list = hardest.list();
        assert_eq!(list.len(), KEPT);
        assert_eq!(list[0].weight, 999.0);
        assert!(list.windows(2).all(|pair| pair[0].weight >= pair[1].weight));
        assert_eq!(list[KEPT - 1].weight, 950.0);
    }

    #[test]
    fn an_old_heavy_example_makes_room() {
        let mut hardest = Hardest::default();
        hardest.push(1, example(1, 1e9));
        hardest.push(RECENT_EXAMPLES + 2, example(2, 0.5));
        assert_eq!(hardest.list().len(), 1);
        assert!(hardest.wants(0.1));
    }
}
