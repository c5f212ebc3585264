//! No sender may own what is learned: `learner.sender_share` bounds the weight that one of them has in it.
//!
//! Whether an example is learned follows from the senders and weights of the examples learned before it, which are part
//! of the state, and from those that wait for the same batch. So a restart, a replay and an audit leave out the same ones.

use std::collections::{BTreeMap, VecDeque};

use crate::state::{self, State};

/// Examples over which shares are taken.
pub const WINDOW: usize = 10_000;
/// A share is taken of so many examples at least: at the beginning nobody has said enough to be compared with.
pub const FLOOR: u64 = 1_000;
/// Weights are whole parts of this, so that sums are exact however often the window moves.
const UNIT: f64 = 1024.0;
/// A weight beyond this counts as this: four million times the usual.
const MOST: u32 = u32::MAX;

const NAME: &str = "senders";

/// What a sender has in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    weight: u64,
    examples: u64,
}

/// The senders of the examples that were learned last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Senders {
    window: VecDeque<(u64, u32)>,
    sums: BTreeMap<u64, Sum>,
    total: u64,
}

impl Senders {
    /// True when an example of `sender`, which brings this weight of its own, may be learned beside those that wait for the
    /// same batch, by an upper `share` of the weight in the window.
    #[must_use]
    pub fn admit(&self, sender: u64, weight: f32, waiting: &[u64], share: f64) -> bool {
        if share >= 1.0 {
            return true;
        }
        let sum = self.sums.get(&sender).copied().unwrap_or_default();
        let usual = mean(self.total, self.window.len() as u64, UNIT);
        // A sender whose examples weigh much gets in with fewer of them.
        // What an example brings is known before it is learned; what it weighs among others is not, but it is 1 on average.
        let each = mean(sum.weight, sum.examples, usual).max(UNIT * f64::from(weight));
        let own = waiting.iter().filter(|other| **other == sender).count();
        let all = self.total as f64 + waiting.len() as f64 * usual + each;
        let own = sum.weight as f64 + (own as f64 + 1.0) * each;
        // Until so many have said something, as if as many had that weigh like this one.
        let nothing_said = (self.window.len() as u64) < FLOOR || self.total == 0;
        let floor = match nothing_said {
            true => FLOOR as f64 * usual.max(each),
            false => 0.0,
        };
        own <= share * all.max(floor)
    }

    /// A batch was learned: what its records weighed among each other (nothing where nothing was learned of it), times the
    /// weights that they brought, is what they counted for.
    pub fn learned(&mut self, senders: &[u64], weights: &[f64], brought: &[f32], share: f64) {
        if share >= 1.0 {
            // Nobody asks, and one who asks later shall not hear of long ago.
            *self = Self::default();
            return;
        }
        for ((sender, weight), brought) in senders.iter().zip(weights).zip(brought) {
            let weight = (weight * f64::from(*brought) * UNIT)
                .round()
                .clamp(0.0, f64::from(MOST)) as u32;
            self.add(*sender, weight);
        }
    }

    fn add(&mut self, sender: u64, weight: u32) {
        if self.window.len() == WINDOW
            && let Some((old, weight)) = self.window.pop_front()
        {
            self.total -= u64::from(weight);
            if let Some(sum) = self.sums.get_mut(&old) {
                sum.weight -= u64::from(weight);
                sum.examples -= 1;
                if sum.examples == 0 {
                    self.sums.remove(&old);
                }
            }
        }
        self.window.push_back((sender, weight));
        let sum = self.sums.entry(sender).or_default();
        sum.weight += u64::from(weight);
        sum.examples += 1;
        self.total += u64::from(weight);
    }

    /// Writes the window, if there is one.
    pub fn save(&self, state: &mut State) {
        if self.window.is_empty() {
            return;
        }
        let flat = self
            .window
            .iter()
            .flat_map(|(sender, weight)| [*sender, u64::from(*weight)]);
        state.put_u64(NAME, flat.collect());
    }

    /// Reads it; a state without one knows no senders.
    ///
    /// # Errors
    /// When the numbers cannot be those of a window.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        let mut senders = Self::default();
        if !state.blobs.contains_key(NAME) {
            return Ok(senders);
        }
        for pair in state.u64(NAME)?.chunks_exact(2) {
            let weight = u32::try_from(pair[1]).unwrap_or(MOST);
            senders.add(pair[0], weight);
        }
        Ok(senders)
    }
}

fn mean(weight: u64, examples: u64, otherwise: f64) -> f64 {
    match examples {
        0 => otherwise,
        examples => weight as f64 / examples as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers senders in turn; how many of the last `WINDOW` that were learned are of sender 1, by weight.
    fn share_of_one(
        share: f64,
        weigh: impl Fn(u64) -> f64,
        senders: impl Iterator<Item = u64>,
    ) -> f64 {
        let (mut window, mut batch) = (Senders::default(), Vec::new());
        for sender in senders {
            if window.admit(sender, 1.0, &batch, share) {
                batch.push(sender);
            }
            if batch.len() == 64 {
                let weights: Vec<f64> = batch.iter().map(|one| weigh(*one)).collect();
                // The window is there to be looked at, whatever the share.
                window.learned(&batch, &weights, &vec![1.0; batch.len()], share.min(0.99));
                batch.clear();
            }
        }
        let sum = window.sums.get(&1).copied().unwrap_or_default();
        sum.weight as f64 / window.total as f64
    }

    #[test]
    fn a_sender_that_floods_the_stream_keeps_to_its_share() {
        // 99 of 100 examples are of sender 1, the others of 20 others.
        let flood =
            || (0..3_000_000u64).map(|at| if at % 100 == 0 { 2 + at / 100 % 20 } else { 1 });
        let plain = share_of_one(0.2, |_| 1.0, flood());
        assert!((0.19..=0.21).contains(&plain), "{plain}");
        // Its examples are as heavy as wrong labels make them: the share is one of weight, not of examples.
        let heavy = share_of_one(0.2, |sender| if sender == 1 { 5.0 } else { 0.8 }, flood());
        assert!((0.18..=0.21).contains(&heavy), "{heavy}");
        assert!(share_of_one(1.0, |_| 1.0, flood()) > 0.98);
    }

    #[test]
    fn who_brings_weights_of_its_own_has_no_larger_share() {
        let mut window = Senders::default();
        let (mut batch, mut weights, mut taken) = (Vec::new(), Vec::new(), 0);
        for at in 0..50_000u64 {
            // One of 64 records is of sender 1, and says that it counts for a thousand.
            let (sender, weight) = if at % 64 == 0 {
                (1, 1000.0)
            } else {
                (2 + at % 20, 1.0)
            };
            if window.admit(sender, weight, &batch, 0.2) {
                batch.push(sender);
                weights.push(weight);
                taken += u64::from(sender == 1);
            }
            if batch.len() == 64 {
                window.learned(&batch, &vec![1.0; batch.len()], &weights, 0.2);
                (batch, weights) = (Vec::new(), Vec::new());
            }
        }
        let sum = window.sums.get(&1).copied().unwrap_or_default();
        let share = sum.weight as f64 / window.total as f64;
        assert!(share <= 0.21, "{share}");
        assert!(taken < 60, "{taken}");
        // Where all weights are large, nobody is left out for that.
        let mut even = Senders::default();
        for at in 0..20_000u64 {
            assert!(even.admit(at % 10, 1000.0, &[], 0.2), "{at}");
            even.learned(&[at % 10], &[1.0], &[1000.0], 0.2);
        }
    }

    #[test]
    fn records_that_weigh_nothing_shut_nobody_out() {
        let mut window = Senders::default();
        for at in 0..5_000u64 {
            window.learned(&[at % 3], &[0.0], &[1.0], 0.2);
        }
        assert!(window.admit(7, 1.0, &[], 0.2));
    }

    #[test]
    fn senders_below_their_share_lose_nothing() {
        let mut window = Senders::default();
        let mut batch = Vec::new();
        for at in 0..50_000u64 {
            assert!(window.admit(at * 7 % 10, 1.0, &batch, 0.2), "{at}");
            batch.push(at * 7 % 10);
            if batch.len() == 32 {
                window.learned(&batch, &[1.0; 32], &[1.0; 32], 0.2);
                batch.clear();
            }
        }
    }

    #[test]
    fn a_window_goes_on_from_its_numbers_as_if_nothing_had_been() {
        let mut window = Senders::default();
        for at in 0..25_000u64 {
            window.learned(&[at % 7], &[(at % 13) as f64 / 3.0], &[1.0], 0.15);
        }
        let mut state = State::default();
        window.save(&mut state);
        let mut again = Senders::load(&state).unwrap();
        assert_eq!(again, window);
        for at in 0..20_000u64 {
            let (sender, other) = (at % 9, [at % 5]);
            assert_eq!(
                again.admit(sender, 1.0, &other, 0.15),
                window.admit(sender, 1.0, &other, 0.15)
            );
            for window in [&mut again, &mut window] {
                window.learned(&[sender], &[0.3], &[1.0], 0.15);
            }
        }
        assert_eq!(again, window);
    }

    #[test]
    fn a_batch_of_which_nothing_was_learned_weighs_nothing_and_an_unbounded_share_keeps_nothing() {
        let mut window = Senders::default();
        window.learned(&[1], &[], &[1.0], 0.2);
        assert_eq!(window, Senders::default());
        window.learned(&[1], &[1.0], &[1.0], 0.2);
        assert_ne!(window, Senders::default());
        window.learned(&[1], &[1.0], &[1.0], 1.0);
        assert_eq!(window, Senders::default());
    }
}
