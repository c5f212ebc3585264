//! A few stored rows of every class, learned again with each step: classes with tens of examples are forgotten, not hard.
//!
//! Of each class a uniform sample of its examples so far is kept. Rows are drawn class by class
//! with equal chances, and encoded when they are drawn.
//!
//! After [`Memory::forget`] a class keeps its rows until it has had a few new ones: a class that has not come since may have
//! nothing else that is known of it.

use super::batcher::Batch;
use super::member::Encoded;
use crate::random::{self, below};
use crate::state::{self, State};

/// Purposes of random numbers.
const CLASS: u64 = 1;
const ROW: u64 = 2;
const ENTER: u64 = 3;
/// New rows of a class after which those of before a change go.
const RENEWED: usize = 5;

/// The stored rows; part of the learning state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Most rows a class.
    room: usize,
    classes: Vec<Reservoir>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Reservoir {
    /// Examples of the class so far, or since the change if some of its rows are stale.
    seen: u64,
    /// So many of the rows, the first ones, are of before a change.
    stale: usize,
    rows: Vec<Stored>,
}

/// One stored example.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    row: Box<[f32]>,
    importance: f32,
    /// Recent class shares when it came.
    shares: Box<[f32]>,
}

impl Reservoir {
    /// Takes a new row in the place of one of before the change, and lets the others go when it has had enough of them.
    fn renew(&mut self, stored: Stored) {
        self.stale -= 1;
        self.rows[self.stale] = stored;
        if self.rows.len() - self.stale >= RENEWED {
            self.rows.drain(..self.stale);
            self.stale = 0;
        }
    }
}

impl Memory {
    /// An empty memory of so many rows a class; of 0 it stays empty.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room,
            classes: Vec::new(),
        }
    }

    /// Most rows a class.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Draws `count` rows for the batch after `examples` examples: their raw values into `rows`, what else is known of them
    /// into `out`, whose `share_width` says how many shares they get. None while nothing is stored.
    pub fn draw(
        &self,
        seed: u64,
        examples: u64,
        count: usize,
        rows: &mut Vec<f32>,
        out: &mut Encoded,
    ) {
        rows.clear();
        out.classes.clear();
        out.importance.clear();
        out.shares.clear();
        let stored = |class: &usize| !self.classes[*class].rows.is_empty();
        let filled: Vec<usize> = (0..self.classes.len()).filter(stored).collect();
        if filled.is_empty() {
            return;
        }
        for index in 0..count as u64 {
            let class = filled[below(seed, CLASS, examples, index, filled.len())];
            let of_class = &self.classes[class].rows;
            let stored = &of_class[below(seed, ROW, examples, index, of_class.len())];
            rows.extend_from_slice(&stored.row);
            out.classes.push(class as u32);
            out.importance.push(stored.importance);
            let known = stored.shares.len().min(out.share_width);
            out.shares.extend_from_slice(&stored.shares[..known]);
            out.shares.resize(out.classes.len() * out.share_width, 0.0);
        }
    }

    /// Row `index` of a batch enters, by chance. `examples` is its number in the stream.
    pub fn enter(
        &mut self,
        seed: u64,
        examples: u64,
        batch: &Batch,
        index: usize,
        width: usize,
        shares: &[f32],
    ) {
        if self.room == 0 {
            return;
        }
        let class = batch.classes[index] as usize;
        if self.classes.len() <= class {
            self.classes.resize(class + 1, Reservoir::default());
        }
        let reservoir = &mut self.classes[class];
        reservoir.seen += 1;
        let stored = || Stored {
            row: batch.rows[index * width..(index + 1) * width].into(),
            importance: batch.importance[index],
            shares: shares.into(),
        };
        if reservoir.stale > 0 {
            reservoir.renew(stored());
            return;
        }
        let Some(place) = random::reservoir(seed, ENTER, examples, reservoir.seen, self.room)
        else {
            return;
        };
        if place < reservoir.rows.len() {
            reservoir.rows[place] = stored();
        } else {
            reservoir.rows.push(stored());
        }
    }

    /// The rows for a schema in which feature `i` is what `from[i]` was; a new one is missing in them.
    pub fn remap(&mut self, from: &[Option<usize>]) {
        for stored in self.classes.iter_mut().flat_map(|class| &mut class.rows) {
            stored.row = from
                .iter()
                .map(|old| old.map_or(f32::NAN, |old| stored.row[old]))
                .collect();
        }
    }

    /// Something has changed: each class lets its rows go once it has had a few new ones.
    pub fn forget(&mut self) {
        for class in &mut self.classes {
            class.stale = class.rows.len();
            class.seen = 0;
        }
    }

    /// Writes everything under `rehearsal.`.
    pub fn save(&self, state: &mut State) {
        if self.room == 0 {
            return;
        }
        let all = || self.classes.iter().flat_map(|class| &class.rows);
        let counts = self.classes.iter();
        let counts = counts.flat_map(|class| [class.seen, class.rows.len() as u64]);
        state.put_u64("rehearsal.classes", counts.collect());
        let mut rows = Vec::new();
        let (mut importance, mut shares) = (Vec::new(), Vec::new());
        for stored in all() {
            rows.extend_from_slice(&stored.row);
            importance.push(stored.importance);
            shares.extend_from_slice(&stored.shares);
        }
        let widths = all().map(|stored| stored.shares.len() as u64).collect();
        state.put_u64("rehearsal.share_widths", widths);
        if self.classes.iter().any(|class| class.stale > 0) {
            let stale = self.classes.iter().map(|class| class.stale as u64);
            state.put_u64("rehearsal.stale", stale.collect());
        }
        for (name, values) in [
            ("rows", rows),
            ("importance", importance),
            ("shares", shares),
        ] {
            state.put_f32(format!("rehearsal.{name}"), vec![values.len()], values);
        }
    }

    /// Reads what [`Memory::save`] wrote, for rows of so many features. Rows beyond the room are left behind.
    ///
    /// # Errors
    /// When entries are missing or do not fit together.
    pub fn load(room: usize, features: usize, state: &State) -> Result<Self, state::Error> {
        let mut memory = Self::new(room);
        if room == 0 || !state.blobs.contains_key("rehearsal.classes") {
            return Ok(memory);
        }
        let counts = state.u64("rehearsal.classes")?;
        let stored = counts.iter().skip(1).step_by(2).sum::<u64>() as usize;
        let widths = state.u64_exact("rehearsal.share_widths", stored)?;
        let rows = state.f32_exact("rehearsal.rows", stored * features)?;
        let importance = state.f32_exact("rehearsal.importance", stored)?;
        let wide = widths.iter().sum::<u64>() as usize;
        let shares = state.f32_exact("rehearsal.shares", wide)?;
        let stale = match state.blobs.contains_key("rehearsal.stale") {
            true => state.u64_exact("rehearsal.stale", counts.len() / 2)?,
            false => &vec![0; counts.len() / 2],
        };
        let (mut at, mut share) = (0, 0);
        for (pair, stale) in counts.chunks_exact(2).zip(stale) {
            let mut reservoir = Reservoir {
                seen: pair[0],
                stale: (*stale).min(pair[1]) as usize,
                rows: Vec::new(),
            };
            for _ in 0..pair[1] {
                let width = widths[at] as usize;
                reservoir.rows.push(Stored {
                    row: rows[at * features..(at + 1) * features].into(),
                    importance: importance[at],
                    shares: shares[share..share + width].into(),
                });
                (at, share) = (at + 1, share + width);
            }
            reservoir.rows.truncate(room);
            reservoir.stale = reservoir.stale.min(room);
            memory.classes.push(reservoir);
        }
        Ok(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Example;

    /// A memory after 1,000 rows, one in fifty of class 1; the first value of a row is its class.
    fn memory() -> Memory {
        let mut memory = Memory::new(20);
        enter(&mut memory, 0..1000, |number| u32::from(number % 50 == 0));
        memory
    }

    fn enter(memory: &mut Memory, numbers: std::ops::Range<u32>, class_of: fn(u32) -> u32) {
        let mut batch = Batch::default();
        for (place, number) in numbers.enumerate() {
            let class = class_of(number);
            let example = Example {
                row: vec![class as f32, number as f32].into(),
                class,
                weight: 1.0,
                id: None,
                sender: 0,
                time: None,
            };
            batch.push(&example, (0, i64::from(number)));
            let shares = vec![0.5; 3 * (class as usize + 1)];
            memory.enter(1, u64::from(number), &batch, place, 2, &shares);
        }
    }

    /// Numbers of the rows that are kept of a class.
    fn kept(memory: &Memory, class: usize) -> Vec<u32> {
        let rows = memory.classes[class].rows.iter();
        rows.map(|stored| stored.row[1] as u32).collect()
    }

    #[test]
    fn after_a_change_a_class_keeps_its_rows_until_it_has_had_a_few_new_ones() {
        let mut memory = memory();
        let before = kept(&memory, 1);
        memory.forget();
        enter(&mut memory, 1000..1004, |_| 0);
        assert_eq!(kept(&memory, 0).len(), 20);
        let mut state = State::default();
        memory.save(&mut state);
        assert_eq!(Memory::load(20, 2, &state).as_ref(), Ok(&memory));
        enter(&mut memory, 1004..1030, |_| 0);
        assert!(kept(&memory, 0).iter().all(|number| *number >= 1000));
        assert_eq!(kept(&memory, 0).len(), 20, "it is full again");
        assert_eq!(kept(&memory, 1), before, "nothing new is known of it");
        enter(&mut memory, 1030..1035, |_| 1);
        assert_eq!(kept(&memory, 1), [1034, 1033, 1032, 1031, 1030]);
    }

    #[test]
    fn a_class_of_fewer_rows_than_that_is_renewed_row_by_row() {
        let mut memory = Memory::new(20);
        enter(&mut memory, 0..3, |_| 0);
        memory.forget();
        enter(&mut memory, 3..5, |_| 0);
        assert_eq!(kept(&memory, 0), [0, 4, 3]);
        enter(&mut memory, 5..10, |_| 0);
        assert_eq!(kept(&memory, 0), [5, 4, 3, 6, 7, 8, 9]);
    }

    #[test]
    fn every_class_is_drawn_as_often_as_another() {
        let memory = memory();
        assert!(memory.classes.iter().all(|class| class.rows.len() == 20));
        let (mut rows, mut drawn) = (Vec::new(), Encoded::default());
        drawn.share_width = 6;
        memory.draw(1, 1000, 2000, &mut rows, &mut drawn);
        let rare = drawn.classes.iter().filter(|class| **class == 1).count();
        assert!((900..1100).contains(&rare), "{rare} of 2000");
        for (row, class) in rows.chunks_exact(2).zip(&drawn.classes) {
            assert_eq!(row[0], *class as f32);
        }
        // A share that was not known then is 0.
        for (shares, class) in drawn.shares.chunks_exact(6).zip(&drawn.classes) {
            assert_eq!(shares[..3], [0.5; 3]);
            assert_eq!(shares[3..], if *class == 1 { [0.5; 3] } else { [0.0; 3] });
        }
    }

    #[test]
    fn nothing_is_drawn_before_something_is_stored_and_nothing_is_stored_without_room() {
        let (mut rows, mut drawn) = (vec![1.0], Encoded::default());
        Memory::new(5).draw(1, 0, 4, &mut rows, &mut drawn);
        assert!(rows.is_empty() && drawn.classes.is_empty());
        let mut state = State::default();
        Memory::new(0).save(&mut state);
        assert_eq!(state, State::default());
    }

    #[test]
    fn a_memory_survives_its_state_and_follows_a_schema_that_grows() {
        let mut memory = memory();
        let mut state = State::default();
        memory.save(&mut state);
        assert_eq!(Memory::load(20, 2, &state).as_ref(), Ok(&memory));
        let smaller = Memory::load(5, 2, &state).unwrap();
        assert!(smaller.classes.iter().all(|class| class.rows.len() == 5));
        let before = memory.classes[1].rows[3].row.clone();
        memory.remap(&[Some(1), None, Some(0)]);
        let after = &memory.classes[1].rows[3].row;
        assert_eq!((after[0], after[2]), (before[1], before[0]));
        assert!(after[1].is_nan());
    }
}
