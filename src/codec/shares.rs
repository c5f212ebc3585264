//! Recent class shares: how often each class came of late, as inputs of the model.
//!
//! Where labels come in runs, the labels just seen say more about the next one than its features do.

use crate::state::{Error, State};

/// Examples after which a label counts half, one share each.
const HALF_LIVES: [f64; SHARES] = [3.0, 23.0, 230.0];
/// Inputs a class.
pub const SHARES: usize = 3;

/// Decayed shares of the classes among the labels so far, with three memories.
///
/// ```
/// use skewd::codec::{RecentShares, SHARES};
/// let mut shares = RecentShares::default();
/// for label in [0, 0, 1, 1, 1, 1, 1, 1] {
///     shares.observe(label);
/// }
/// let mut inputs = Vec::new();
/// shares.write(2, &mut inputs);
/// assert_eq!(inputs.len(), 2 * SHARES);
/// assert!(inputs[SHARES] > inputs[0], "class 1 came more often of late");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecentShares {
    /// [`SHARES`] values a class.
    values: Vec<f64>,
}

impl RecentShares {
    /// Takes the label of an example. A class may be new.
    pub fn observe(&mut self, class: u32) {
        let class = class as usize;
        if self.values.len() < (class + 1) * SHARES {
            self.values.resize((class + 1) * SHARES, 0.0);
        }
        let keep = HALF_LIVES.map(|life| (-std::f64::consts::LN_2 / life).exp());
        for (of_class, shares) in self.values.chunks_exact_mut(SHARES).enumerate() {
            for (share, keep) in shares.iter_mut().zip(keep) {
                *share *= keep;
                if of_class == class {
                    *share += 1.0 - keep;
                }
            }
        }
    }

    /// Appends the shares of the first `classes` classes, [`SHARES`] each; 0 of a class that never came.
    pub fn write(&self, classes: usize, out: &mut Vec<f32>) {
        out.extend((0..classes * SHARES).map(|at| self.values.get(at).map_or(0.0, |v| *v as f32)));
    }

    /// Writes them under `encoder.`.
    pub fn save(&self, state: &mut State) {
        state.put_f64("encoder.shares", self.values.clone());
    }

    /// Reads what [`RecentShares::save`] wrote.
    ///
    /// # Errors
    /// When the state has none.
    pub fn load(state: &State) -> Result<Self, Error> {
        Ok(Self {
            values: state.f64("encoder.shares")?.to_vec(),
        })
    }
}
