//! Which inputs take part: those that were ever anything but 0.
//!
//! A category has many more buckets than values, and most numbers are never missing, so that a good part of a robustly encoded
//! row is 0 in every row of a stream. Such an input changes no output, and its weights get no gradient: once the
//! stream has shown which they are, the models leave them out of their first layer, and multiply a fraction of what they did.
//! One that is met later takes part from the batch that it is met in, with the weights that it would have had all along; in the
//! predictions of that batch, made before it is learned, it is 0, and so it is in those that are served until then.

use std::sync::Arc;

use super::member::Encoded;
use super::step::Core;
use crate::model;
use crate::state::{Error, State};
use crate::wide::LANES;

/// Examples after which inputs that were always 0 are left out.
const LEARNED: u64 = 1000;
const SEEN: &str = "inputs.seen";
/// Inputs a word of the state.
const BITS: usize = u64::BITS as usize;

/// What was met of the encoder's inputs; part of the learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Whether each was ever anything but 0.
    seen: Vec<bool>,
    /// Whether those that were not are left out by now.
    settled: bool,
    /// Those that take part, ascending, where some do not.
    kept: Option<Vec<u32>>,
}

impl Inputs {
    /// So many inputs, none of which was met.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self {
            seen: vec![false; width],
            settled: false,
            kept: None,
        }
    }

    fn width(&self) -> usize {
        self.seen.len()
    }

    /// Whether all take part.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.kept.is_none()
    }

    /// How many of the first `width` inputs of a row take part.
    #[must_use]
    pub fn among(&self, width: usize) -> usize {
        self.kept.as_ref().map_or(width, |kept| {
            kept.partition_point(|input| (*input as usize) < width)
        })
    }

    /// Indexes of those of the first `width` inputs that take part.
    pub(super) fn kept(&self, width: usize) -> Vec<usize> {
        match &self.kept {
            Some(kept) => {
                let indexes = kept.iter().map(|input| *input as usize);
                indexes.take_while(|input| *input < width).collect()
            }
            None => (0..width).collect(),
        }
    }

    /// Indexes of inputs that encoded rows are the first to have, ascending.
    fn unmet(&self, rows: [&[f32]; 2]) -> Vec<usize> {
        let width = self.width();
        if width == 0 || self.seen.iter().all(|seen| *seen) {
            return Vec::new();
        }
        // Without its sign bit a 0 has no bit set: one sweep over the rows, which becomes vector code.
        let mut bits = vec![0_u32; width];
        for row in rows.iter().flat_map(|rows| rows.chunks_exact(width)) {
            for (bits, value) in bits.iter_mut().zip(row) {
                *bits |= value.to_bits() << 1;
            }
        }
        let unmet = |input: &usize| !self.seen[*input] && bits[*input] != 0;
        (0..width).filter(unmet).collect()
    }

    /// Takes note that these were met. Gives their places among all that take part, if others do not.
    fn meet(&mut self, unmet: &[usize]) -> Vec<usize> {
        for input in unmet {
            self.seen[*input] = true;
        }
        if !self.settled {
            return Vec::new();
        }
        self.settle();
        unmet.iter().map(|input| self.among(*input)).collect()
    }

    /// Leaves out what was always 0; true if that is any.
    fn narrow(&mut self) -> bool {
        // The loops over a few rows are for whole vectors: no fewer inputs than one has.
        let mut met = self.seen.iter().filter(|seen| **seen).count();
        for seen in &mut self.seen {
            if met >= LANES {
                break;
            }
            met += usize::from(!*seen);
            *seen = true;
        }
        self.settle();
        !self.are_all()
    }

    fn settle(&mut self) {
        let seen = (0..self.width()).filter(|input| self.seen[*input]);
        let kept: Vec<u32> = seen.map(|input| input as u32).collect();
        self.kept = (kept.len() < self.width()).then_some(kept);
        self.settled = true;
    }

    /// What takes part of encoded rows, row by row.
    #[must_use]
    pub fn pick(&self, rows: Vec<f32>) -> Vec<f32> {
        let mut picked = Vec::new();
        match &self.kept {
            Some(kept) => pick(kept, self.width(), &rows, &mut picked),
            None => picked = rows,
        }
        picked
    }

    /// The same for an encoder in which input `i` is what `from[i]` was, or a new one, which was not met.
    #[must_use]
    pub fn remapped(&self, from: &[Option<usize>]) -> Self {
        let seen = from.iter().map(|old| old.is_some_and(|old| self.seen[old]));
        let mut remapped = Self {
            seen: seen.collect(),
            settled: false,
            kept: None,
        };
        if self.settled {
            remapped.settle();
        }
        remapped
    }

    /// Writes everything under `inputs.`.
    pub fn save(&self, state: &mut State) {
        let mut words = vec![u64::from(self.settled)];
        words.extend(self.seen.chunks(BITS).map(|seen| {
            let bits = seen.iter().enumerate();
            bits.fold(0, |word, (bit, seen)| word | (u64::from(*seen) << bit))
        }));
        state.put_u64(SEEN, words);
    }

    /// Reads what [`Inputs::save`] wrote, for so many inputs. In a state from before anything was left out, all take part for
    /// good.
    ///
    /// # Errors
    /// When it was written for another number of inputs.
    pub fn load(width: usize, state: &State) -> Result<Self, Error> {
        let mut inputs = Self::new(width);
        if !state.blobs.contains_key(SEEN) {
            inputs.seen.fill(true);
            inputs.settle();
            return Ok(inputs);
        }
        let words = state.u64_exact(SEEN, 1 + width.div_ceil(BITS))?;
        for (seen, word) in inputs.seen.chunks_mut(BITS).zip(&words[1..]) {
            for (bit, seen) in seen.iter_mut().enumerate() {
                *seen = word >> bit & 1 == 1;
            }
        }
        if words[0] == 1 {
            inputs.settle();
        }
        Ok(inputs)
    }
}

/// Replaces `out` with the inputs `kept` of rows of `width`.
fn pick(kept: &[u32], width: usize, rows: &[f32], out: &mut Vec<f32>) {
    out.clear();
    for row in rows.chunks_exact(width) {
        out.extend(kept.iter().map(|input| row[*input as usize]));
    }
}

impl Core {
    /// Inputs that the rows at hand are the first to have take part from now on.
    pub(super) fn meet_inputs(&mut self) -> Result<(), model::Error> {
        self.encoded.newborn.clear();
        let unmet = self.inputs.unmet([&self.whole[0], &self.whole[1]]);
        if unmet.is_empty() {
            return Ok(());
        }
        self.encoded.newborn = Arc::make_mut(&mut self.inputs).meet(&unmet);
        if self.encoded.newborn.is_empty() {
            return Ok(());
        }
        self.keep_inputs()
    }

    /// What takes part of the rows at hand.
    pub(super) fn pick_inputs(&mut self) {
        let inputs = &*self.inputs;
        let (width, plain_width) = (self.encoder.width(), self.encoder.plain_width());
        let [fresh, rehearsed] = &mut self.whole;
        let take = |whole: &mut Vec<f32>, encoded: &mut Encoded| {
            encoded.width = inputs.among(width);
            encoded.plain_width = inputs.among(plain_width);
            match &inputs.kept {
                Some(kept) => pick(kept, width, whole, &mut encoded.inputs),
                None => std::mem::swap(whole, &mut encoded.inputs),
            }
        };
        take(fresh, &mut self.encoded);
        if let Some(encoded) = &mut self.encoded.rehearsed {
            take(rehearsed, encoded);
        }
    }

    /// Leaves out what was always 0, once enough examples have shown it.
    pub(super) fn narrow_inputs(&mut self) -> Result<(), model::Error> {
        if self.examples < LEARNED || self.inputs.settled {
            return Ok(());
        }
        if Arc::make_mut(&mut self.inputs).narrow() {
            self.keep_inputs()?;
        }
        Ok(())
    }

    /// The members' models have those inputs that take part.
    pub(super) fn keep_inputs(&mut self) -> Result<(), model::Error> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.keep(&self.inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 70;

    /// A row that is not 0 at these places.
    fn row(places: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let mut row = vec![0.0; WIDTH];
        for place in places {
            row[place] = -1.0;
        }
        row
    }

    fn met(inputs: &mut Inputs, row: &[f32]) -> Vec<usize> {
        let unmet = inputs.unmet([row, &[]]);
        inputs.meet(&unmet)
    }

    /// Twenty inputs of seventy.
    fn narrow() -> Inputs {
        let mut inputs = Inputs::new(WIDTH);
        assert!(met(&mut inputs, &row((0..40).step_by(2))).is_empty());
        assert!(inputs.narrow());
        inputs
    }

    #[test]
    fn what_is_met_late_takes_its_place_among_the_others() {
        let mut inputs = narrow();
        assert_eq!(inputs.kept(WIDTH), Vec::from_iter((0..40).step_by(2)));
        assert!(met(&mut inputs, &row([4, 6])).is_empty());
        assert_eq!(met(&mut inputs, &row([4, 5, 69])), [3, 21]);
        assert!(met(&mut inputs, &row([5, 69])).is_empty());
        assert_eq!((inputs.among(6), inputs.among(WIDTH)), (4, 22));
        let rows: Vec<f32> = (0..2 * WIDTH).map(|place| place as f32).collect();
        let picked = inputs.pick(rows);
        assert_eq!(picked.len(), 2 * 22);
        assert_eq!(picked[..5], [0.0, 2.0, 4.0, 5.0, 6.0]);
        assert_eq!((picked[21], picked[22], picked[43]), (69.0, 70.0, 139.0));
    }

    #[test]
    fn a_negative_zero_is_zero_and_nan_is_something() {
        let mut inputs = narrow();
        let mut row = vec![-0.0; WIDTH];
        assert!(met(&mut inputs, &row).is_empty());
        row[1] = f32::NAN;
        assert_eq!(met(&mut inputs, &row), [1]);
    }

    #[test]
    fn no_fewer_are_left_than_a_vector_has_and_all_take_part_where_all_were_met() {
        let mut inputs = Inputs::new(WIDTH);
        met(&mut inputs, &row([60]));
        assert!(inputs.narrow());
        assert_eq!(inputs.among(WIDTH), LANES);
        assert_eq!(inputs.among(60), LANES - 1);
        for (width, fits) in [(0, 0), (LANES - 1, LANES - 1), (WIDTH, WIDTH)] {
            let mut inputs = Inputs::new(width);
            met(&mut inputs, &row(0..fits)[..width]);
            assert!(!inputs.narrow());
            assert!(inputs.are_all());
        }
    }

    #[test]
    fn they_survive_their_state_and_follow_a_schema_that_grows() {
        let mut young = Inputs::new(WIDTH);
        met(&mut young, &row([3, 64]));
        for inputs in [young, narrow()] {
            let mut state = State::default();
            inputs.save(&mut state);
            assert_eq!(Inputs::load(WIDTH, &state).as_ref(), Ok(&inputs));
            assert!(Inputs::load(WIDTH + BITS, &state).is_err());
        }
        let inputs = narrow().remapped(&[Some(4), None, Some(3), Some(0)]);
        assert_eq!(inputs.kept(4), [0, 3]);
        // Before anything was left out, all took part, and so they go on.
        let mut old = Inputs::load(WIDTH, &State::default()).unwrap();
        assert!(old.are_all() && old.settled);
        assert!(met(&mut old, &row([69])).is_empty());
    }
}
