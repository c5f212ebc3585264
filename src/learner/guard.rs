//! What stands between a bad record or a ruined model and everything that was learned.
//!
//! A step whose losses or gradient are not finite is never committed. If the records are to blame (a sound older model
//! stumbles over them too) they are found by bisection, left out and named, and the rest of the batch is learned. If the
//! model is to blame (the older one takes the same records well), the step is dropped, and after [`BAD_STEPS`] of those
//! within [`WINDOW`] batches the model goes back to the older one and learns at half its rate for a while.
//!
//! Everything here counts batches, so a replay takes the same decisions.

use crate::model::{self, Engine};
use crate::state::{Blob, State};

/// Dropped steps that send the model back.
pub const BAD_STEPS: usize = 3;
/// Batches within which they count, and that the lower rate lasts for.
pub const WINDOW: u64 = 100;
/// Batches between two copies of a sound model.
pub const COPY_EVERY: u64 = 200;
/// A model has moved if its parameters changed by more than this share of their norm.
const MOVED: f64 = 1e-7;
/// Copies without a move after which a model counts as stalled: within 1,000 batches.
const STALLED_COPIES: u64 = 3;
/// The rate after a rollback.
const SLOW: f64 = 0.5;

const COUNTS: &str = "guard.counts";
const BAD: &str = "guard.bad";
const GOOD: &str = "guard.good.";

/// The guard's memory; all of it is part of the learning state.
#[derive(Debug, Default)]
pub struct Guard {
    batches: u64,
    /// Batches that were dropped because the model was to blame, of late.
    bad: Vec<u64>,
    slow_until: u64,
    /// Copies in a row that were as the one before.
    still: u64,
    /// Examples that were left out.
    pub quarantined: u64,
    /// Times that the model went back.
    pub rollbacks: u64,
    /// A sound model, and its number of classes.
    good: State,
    good_classes: usize,
}

impl Guard {
    /// Factor of the learning rate.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.batches < self.slow_until {
            SLOW
        } else {
            1.0
        }
    }

    /// True when the parameters have not moved for about a thousand batches.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.still >= STALLED_COPIES
    }

    /// The last copy of a sound model, with its number of classes; `None` before there was one.
    #[must_use]
    pub fn good(&self) -> Option<(&State, usize)> {
        (!self.good.blobs.is_empty()).then_some((&self.good, self.good_classes))
    }

    /// A step was dropped, and the model was to blame: true when it must go back now.
    pub fn stumbled(&mut self) -> bool {
        let now = self.batches;
        self.bad.retain(|batch| batch + WINDOW > now);
        self.bad.push(now);
        if self.bad.len() < BAD_STEPS {
            return false;
        }
        self.bad.clear();
        self.slow_until = now + WINDOW;
        self.rollbacks += 1;
        true
    }

    /// A batch is over: copies the model if it is time and nothing was wrong of late.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn batch_over(&mut self, engine: &Engine) -> Result<(), model::Error> {
        self.batches += 1;
        if !self.batches.is_multiple_of(COPY_EVERY) {
            return Ok(());
        }
        let mut now = State::default();
        engine.save(&mut now)?;
        self.still = match change(&self.good, &now) {
            Some(change) if change <= MOVED => self.still + 1,
            _ => 0,
        };
        let sound = self.bad.iter().all(|batch| batch + WINDOW <= self.batches);
        if sound {
            (self.good, self.good_classes) = (now, engine.classes());
        }
        Ok(())
    }

    /// Writes everything under `guard.`.
    pub fn save(&self, state: &mut State) {
        state.put_u64(
            COUNTS,
            vec![
                self.batches,
                self.slow_until,
                self.still,
                self.quarantined,
                self.rollbacks,
                self.good_classes as u64,
            ],
        );
        state.put_u64(BAD, self.bad.clone());
        for (name, blob) in &self.good.blobs {
            state.blobs.insert(format!("{GOOD}{name}"), blob.clone());
        }
    }

    /// Reads what [`Guard::save`] wrote; a state from before there was a guard begins one.
    #[must_use]
    pub fn load(state: &State) -> Self {
        let (Ok(counts), Ok(bad)) = (state.u64_exact(COUNTS, 6), state.u64(BAD)) else {
            return Self::default();
        };
        let mut good = State::default();
        for (name, blob) in &state.blobs {
            if let Some(name) = name.strip_prefix(GOOD) {
                good.blobs.insert(name.to_owned(), blob.clone());
            }
        }
        Self {
            batches: counts[0],
            bad: bad.to_vec(),
            slow_until: counts[1],
            still: counts[2],
            quarantined: counts[3],
            rollbacks: counts[4],
            good_classes: counts[5] as usize,
            good,
        }
    }
}

/// How far the values moved, as a share of the norm; `None` where they cannot be compared.
fn change(before: &State, now: &State) -> Option<f64> {
    let (mut moved, mut norm) = (0.0, 0.0);
    for (name, blob) in &now.blobs {
        let Blob::F32 { values: now, .. } = blob else {
            continue;
        };
        let Some(Blob::F32 { values: then, .. }) = before.blobs.get(name) else {
            return None;
        };
        if now.len() != then.len() {
            return None;
        }
        for (now, then) in now.iter().zip(then) {
            let (now, then) = (f64::from(*now), f64::from(*then));
            moved += (now - then) * (now - then);
            norm += now * now;
        }
    }
    (!now.blobs.is_empty()).then(|| (moved / f64::max(norm, f64::MIN_POSITIVE)).sqrt())
}

/// What [`find`] asks: whether the gradient over some rows of a batch is finite.
pub trait Probe {
    /// Why it cannot tell.
    type Error;

    /// True when the losses and the gradient over these rows are finite.
    ///
    /// # Errors
    /// When the engine fails.
    fn is_finite(&mut self, rows: &[usize]) -> Result<bool, Self::Error>;
}

/// The rows that are to blame, by bisection: `log2(rows) + 1` probes lead to each. Empty when no row is to blame alone.
///
/// # Errors
/// When the probe fails.
pub fn find<P: Probe>(probe: &mut P, rows: &[usize]) -> Result<Vec<usize>, P::Error> {
    if rows.is_empty() || probe.is_finite(rows)? {
        return Ok(Vec::new());
    }
    if let [row] = rows {
        return Ok(vec![*row]);
    }
    let (left, right) = rows.split_at(rows.len() / 2);
    let mut guilty = find(probe, left)?;
    guilty.extend(find(probe, right)?);
    Ok(guilty)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that are bad by themselves, and the number of probes.
    struct Bad(Vec<usize>, usize);

    impl Probe for Bad {
        type Error = ();

        fn is_finite(&mut self, rows: &[usize]) -> Result<bool, ()> {
            self.1 += 1;
            Ok(!rows.iter().any(|row| self.0.contains(row)))
        }
    }

    #[test]
    fn one_bad_row_is_found_in_a_logarithm_of_probes() {
        let rows: Vec<usize> = (0..128).collect();
        for guilty in [0, 1, 63, 64, 127] {
            let mut probe = Bad(vec![guilty], 0);
            assert_eq!(find(&mut probe, &rows), Ok(vec![guilty]));
            // Two probes a level, one of which finds nothing.
            assert!(probe.1 <= 2 * (7 + 1), "{} probes", probe.1);
        }
        let mut probe = Bad(vec![3, 90], 0);
        assert_eq!(find(&mut probe, &rows), Ok(vec![3, 90]));
    }

    #[test]
    fn three_stumbles_within_the_window_send_the_model_back_and_slow_it_down() {
        let mut guard = Guard::default();
        assert!(!guard.stumbled());
        guard.batches = 60;
        assert!(!guard.stumbled());
        guard.batches = WINDOW;
        // The first is forgotten by now.
        assert!(!guard.stumbled());
        assert_eq!(guard.rate(), 1.0);
        guard.batches += 1;
        assert!(guard.stumbled());
        assert_eq!((guard.rollbacks, guard.rate()), (1, SLOW));
        guard.batches += WINDOW;
        assert_eq!(guard.rate(), 1.0);
    }

    #[test]
    fn a_guard_survives_its_state() {
        let mut guard = Guard {
            batches: 9,
            bad: vec![3, 4],
            slow_until: 12,
            still: 1,
            quarantined: 5,
            rollbacks: 2,
            good_classes: 3,
            good: State::default(),
        };
        guard
            .good
            .put_f32("model.0.weight", vec![2], vec![1.0, -0.0]);
        let mut state = State::default();
        guard.save(&mut state);
        let mut again = State::default();
        Guard::load(&state).save(&mut again);
        assert_eq!(state, again);
    }
}
