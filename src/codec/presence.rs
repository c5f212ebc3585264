//! In how many records each name stands. One record with thousands of names of its own must not make thousands of features.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

/// So many names are counted at once; beyond, those seen least are forgotten.
const MOST_NAMES: usize = 1 << 18;
/// So many rare names may be features all the same: a field that only a rare class has is worth much.
pub(super) const MOST_RARE: usize = 64;
/// A name is rare in fewer than one of so many records.
const RARE_ONE_IN: u64 = 100;
/// From so many records on, a name in a single one is rare.
const ENOUGH_RECORDS: u64 = 10;

/// Counts the records in which names stand.
#[derive(Debug, Default)]
pub(super) struct Presence {
    counts: HashMap<u64, u64>,
    records: u64,
    rare: usize,
}

impl Presence {
    /// One more record; its names follow.
    pub fn record(&mut self) {
        self.records += 1;
    }

    /// The record holds this name.
    pub fn see(&mut self, name: &str) {
        let name = xxh3_64(name.as_bytes());
        if let Some(count) = self.counts.get_mut(&name) {
            *count += 1;
            return;
        }
        let mut least = 1;
        while self.counts.len() >= MOST_NAMES {
            self.counts.retain(|_, count| *count > least);
            least += 1;
        }
        self.counts.insert(name, 1);
    }

    /// All records were counted.
    pub fn counted(&mut self) {
        let (counts, records) = (&self.counts, self.records);
        self.rare = counts
            .values()
            .filter(|count| is_rare(**count, records))
            .count();
    }

    /// In how many records a name stands.
    pub fn of(&self, name: &str) -> u64 {
        let count = self.counts.get(&xxh3_64(name.as_bytes()));
        count.copied().unwrap_or(0)
    }

    /// Rare names, if there are more of them than may be features.
    pub fn too_many_rare(&self) -> Option<usize> {
        (self.rare > MOST_RARE).then_some(self.rare)
    }

    /// True for a name that is left out.
    pub fn leaves_out(&self, name: &str) -> bool {
        self.too_many_rare().is_some() && is_rare(self.of(name), self.records)
    }
}

fn is_rare(count: u64, records: u64) -> bool {
    count * RARE_ONE_IN < records || (count == 1 && records >= ENOUGH_RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_one_record_in_a_hundred_is_never_left_out_however_many_names_there_are() {
        let mut presence = Presence::default();
        for record in 0..200 {
            presence.record();
            presence.see("common");
            if record % 100 == 0 {
                presence.see("one in a hundred");
            }
            for name in 0..5000 {
                presence.see(&format!("{record} {name}"));
            }
        }
        presence.counted();
        assert!(presence.counts.len() <= MOST_NAMES);
        assert!(presence.too_many_rare().is_some());
        assert!(!presence.leaves_out("common"));
        assert!(presence.leaves_out("7 7"));
    }

    #[test]
    fn a_few_rare_names_stay() {
        let mut presence = Presence::default();
        for record in 0..1000 {
            presence.record();
            if record < MOST_RARE {
                presence.see(&record.to_string());
            }
        }
        presence.counted();
        assert_eq!(presence.too_many_rare(), None);
        assert!(!presence.leaves_out("3"));
        presence.record();
        presence.see("one more");
        presence.counted();
        assert_eq!(presence.too_many_rare(), Some(MOST_RARE + 1));
        assert!(presence.leaves_out("3"));
    }
}
