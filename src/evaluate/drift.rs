//! Has a class become harder, or easier? One change detector a class.
//!
//! ADWIN (Bifet and Gavaldà, *Learning from Time-Changing Data with Adaptive Windowing*, SDM 2007) over the probability
//! that the label did not get, `1 - p`: a loss between 0 and 1, as the bound of the test needs it. The window holds all
//! examples since the last change, in buckets of 1, 2, 4 ... of them, five of each size; whenever two parts of it differ by
//! more than chance allows, the older part is dropped: all of it, up to the clearest cut, so that one change counts once. A class of its own for each label, because the mean over all hides
//! the rare ones.
//!
//! A learner that still learns makes its losses fall: that is a change too, and said to be one ("easier"). What calls for a
//! person is "harder".
//!
//! Memory: at most 5 x 33 buckets a class, in practice below 2 kB.

use std::sync::Arc;

use serde::Serialize;

use super::PerClass;
use crate::state::{Error, State};

/// Buckets of one size; one more, and two of them become one of the next size.
const BUCKETS: usize = 5;
/// Sizes of buckets: 2^0 to 2^32 examples.
const SIZES: usize = 33;
/// Examples of a class between two tests.
const TEST_EVERY: u64 = 16;
/// Examples that either part of the window must have.
const FEWEST: f64 = 16.0;
/// Chance of a false alarm in a test, before the correction for the length of the window.
const DELTA: f64 = 0.002;

/// A collapse: over so many examples of a class its label got at least three quarters of the probability on the average, and
/// after the change not half of it.
const LONG: f64 = 2_000.0;
const WELL: f64 = 0.25;
const BADLY: f64 = 0.5;
/// What collapsed may be put right again: so soon after a collapse so many examples of a class are enough.
const SOON: u64 = 20_000;
const LONG_SOON: f64 = 200.0;

/// The window of one class.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    /// Sums and sums of squared distances to the mean, per size, oldest first.
    buckets: Vec<Vec<(f64, f64)>>,
    /// Examples of the class since start.
    seen: u64,
    harder: u64,
    easier: u64,
    /// Those of `harder` after which a class that was predicted well was not any more.
    collapses: u64,
    /// Examples of all classes when the last change was found; 0 = none.
    last: u64,
}

/// Detectors of all classes.
///
/// ```
/// use skewd::evaluate::Drift;
/// let mut drift = Drift::new();
/// drift.add_class();
/// for index in 0..2000 {
///     drift.observe(0, if index < 1000 { 0.9 } else { 0.4 });
/// }
/// let report = drift.report(&["fraud".into()]);
/// let fraud = report.get("fraud").unwrap();
/// assert_eq!(fraud.harder, 1);
/// assert!(fraud.last_change.unwrap() < 1100);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drift {
    examples: u64,
    classes: Vec<Window>,
    /// Examples when a class last collapsed; 0 = none has.
    collapsed: u64,
}

/// What the detector of one class found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DriftReport {
    /// Changes found since start.
    pub changes: u64,
    /// Those after which the loss was higher.
    pub harder: u64,
    /// Those of the former after which a class that was predicted well was not any more.
    pub collapses: u64,
    /// Those after which it was lower, as it is while a learner learns.
    pub easier: u64,
    /// Examples of all classes when the last change was found; `None` before the first.
    pub last_change: Option<u64>,
    /// Mean of `1 - p(label)` over the window since the last change; `None` before the first example of the class.
    pub loss: Option<f64>,
    /// Examples of the class in that window.
    pub window: u64,
}

impl Drift {
    /// Watches no class yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A class joined.
    pub fn add_class(&mut self) {
        self.classes.push(Window::new());
    }

    /// One example as it was predicted before it was learned: its class, and the probability that the class got (0 where
    /// it was not known). Labels of a class may come before [`Drift::add_class`] tells of it; they are then left out.
    pub fn observe(&mut self, label: usize, probability: f32) {
        self.examples += 1;
        if let Some(window) = self.classes.get_mut(label) {
            let sound = if probability.is_nan() {
                0.0
            } else {
                probability.clamp(0.0, 1.0)
            };
            let loss = 1.0 - f64::from(sound);
            let is_soon = self.collapsed > 0 && self.examples - self.collapsed < SOON;
            let long = if is_soon { LONG_SOON } else { LONG };
            if window.add(loss, self.examples, long) {
                self.collapsed = self.examples;
            }
        }
    }

    /// What was found, by class.
    #[must_use]
    pub fn report(&self, names: &[Arc<str>]) -> PerClass<DriftReport> {
        let reports = self.classes.iter().map(|window| {
            let (count, sum) = window.totals();
            DriftReport {
                changes: window.harder + window.easier,
                harder: window.harder,
                collapses: window.collapses,
                easier: window.easier,
                last_change: (window.last > 0).then_some(window.last),
                loss: (count > 0.0).then(|| sum / count),
                window: count as u64,
            }
        });
        PerClass::new(names, reports.collect())
    }

    /// Times that a class which was predicted well has stopped being so, of all classes together: what was learned of it does
    /// not hold any more.
    #[must_use]
    pub fn collapses(&self) -> u64 {
        self.classes.iter().map(|window| window.collapses).sum()
    }

    /// Times that each class has become harder, in class order.
    pub fn harder(&self) -> impl Iterator<Item = u64> {
        self.classes.iter().map(|window| window.harder)
    }

    /// Writes everything under `drift.`.
    pub fn save(&self, state: &mut State) {
        state.put_u64(
            "drift.classes",
            vec![self.examples, self.classes.len() as u64],
        );
        let mut counts = Vec::new();
        let mut buckets = Vec::new();
        for window in &self.classes {
            counts.extend([window.seen, window.harder, window.easier, window.last]);
            for size in &window.buckets {
                counts.push(size.len() as u64);
                buckets.extend(size.iter().flat_map(|(sum, spread)| [*sum, *spread]));
            }
        }
        state.put_u64("drift.counts", counts);
        if self.collapses() > 0 {
            let collapses = self.classes.iter().map(|window| window.collapses);
            let collapses = collapses.chain([self.collapsed]);
            state.put_u64("drift.collapses", collapses.collect());
        }
        state.put_f64("drift.buckets", buckets);
    }

    /// Reads what [`Drift::save`] wrote.
    ///
    /// # Errors
    /// When an entry is missing or its length does not fit the others.
    pub fn load(state: &State) -> Result<Self, Error> {
        let head = state.u64_exact("drift.classes", 2)?;
        let counts = state.u64_exact("drift.counts", head[1] as usize * (4 + SIZES))?;
        let lengths = || counts.chunks_exact(4 + SIZES).flat_map(|class| &class[4..]);
        if lengths().any(|length| *length > BUCKETS as u64) {
            return Err(Error::Mismatch {
                name: "drift.counts".to_owned(),
                found: "more buckets of a size than there can be".to_owned(),
                expected: format!("at most {BUCKETS}"),
            });
        }
        let all = lengths().sum::<u64>() as usize;
        let collapses = match state.blobs.contains_key("drift.collapses") {
            true => state.u64_exact("drift.collapses", head[1] as usize + 1)?,
            false => &vec![0; head[1] as usize + 1],
        };
        let mut values = state.f64_exact("drift.buckets", 2 * all)?.chunks_exact(2);
        let mut classes = Vec::new();
        for (class, collapses) in counts.chunks_exact(4 + SIZES).zip(collapses) {
            let buckets = class[4..].iter().map(|length| {
                let of_size = values.by_ref().take(*length as usize);
                of_size.map(|pair| (pair[0], pair[1])).collect()
            });
            classes.push(Window {
                buckets: buckets.collect(),
                seen: class[0],
                harder: class[1],
                easier: class[2],
                collapses: *collapses,
                last: class[3],
            });
        }
        Ok(Self {
            examples: head[0],
            classes,
            collapsed: collapses.last().copied().unwrap_or(0),
        })
    }
}

impl Window {
    fn new() -> Self {
        Self {
            buckets: vec![Vec::new(); SIZES],
            seen: 0,
            harder: 0,
            easier: 0,
            collapses: 0,
            last: 0,
        }
    }

    /// Examples and sum of the losses in the window.
    fn totals(&self) -> (f64, f64) {
        self.newest_first()
            .fold((0.0, 0.0), |(count, sum), (size, bucket)| {
                (count + size, sum + bucket.0)
            })
    }

    /// Buckets with their sizes, from the newest to the oldest.
    fn newest_first(&self) -> impl Iterator<Item = (f64, (f64, f64))> {
        let sizes = self.buckets.iter().enumerate();
        sizes.flat_map(|(size, buckets)| {
            let examples = (1u64 << size) as f64;
            buckets.iter().rev().map(move |bucket| (examples, *bucket))
        })
    }

    /// Takes a loss; true when the class has collapsed, after at least `long` examples.
    fn add(&mut self, loss: f64, now: u64, long: f64) -> bool {
        self.seen += 1;
        self.buckets[0].push((loss, 0.0));
        self.compress();
        if !self.seen.is_multiple_of(TEST_EVERY) {
            return false;
        }
        let Some((rose, newer)) = self.differing() else {
            return false;
        };
        let (all, all_sum) = self.totals();
        self.keep(newer);
        let (left, left_sum) = self.totals();
        self.last = now;
        self.harder += u64::from(rose);
        self.easier += u64::from(!rose);
        let before = (all - left, all_sum - left_sum);
        let collapsed = before.0 >= long && is_collapse(before, (left, left_sum));
        self.collapses += u64::from(collapsed);
        collapsed
    }

    /// Two buckets become one of the next size where there are too many.
    fn compress(&mut self) {
        for size in 0..SIZES - 1 {
            if self.buckets[size].len() <= BUCKETS {
                return;
            }
            let examples = (1u64 << size) as f64;
            let (one, two) = (self.buckets[size][0], self.buckets[size][1]);
            let apart = (one.0 - two.0) / examples;
            self.buckets[size].drain(..2);
            let spread = one.1 + two.1 + apart * apart * examples / 2.0;
            self.buckets[size + 1].push((one.0 + two.0, spread));
        }
        if self.buckets[SIZES - 1].len() > BUCKETS {
            self.buckets[SIZES - 1].remove(0);
        }
    }

    /// Drops the oldest buckets until only the newest `examples` are left.
    fn keep(&mut self, examples: f64) {
        let (mut count, _) = self.totals();
        for (size, buckets) in self.buckets.iter_mut().enumerate().rev() {
            while count > examples && !buckets.is_empty() {
                buckets.remove(0);
                count -= (1u64 << size) as f64;
            }
        }
    }

    /// Looks for the place where the losses before and after it differ most clearly, and by more than chance allows: whether
    /// the later ones are higher, and how many they are. The bound is that of the paper's section 4, with the variance of
    /// the window.
    fn differing(&self) -> Option<(bool, f64)> {
        let (count, sum) = self.totals();
        if count < 2.0 * FEWEST {
            return None;
        }
        let mean = sum / count;
        let spread: f64 = self
            .newest_first()
            .map(|(size, (sum, spread))| spread + size * (sum / size - mean).powi(2))
            .sum();
        let variance = spread / count;
        let log = (2.0 * count.ln() / DELTA).ln();
        let (mut newer, mut newer_sum) = (0.0, 0.0);
        let (mut clearest, mut found) = (1.0, None);
        for (size, bucket) in self.newest_first() {
            newer += size;
            newer_sum += bucket.0;
            let older = count - newer;
            if older < FEWEST {
                break;
            }
            if newer < FEWEST {
                continue;
            }
            let harmonic = 1.0 / (1.0 / newer + 1.0 / older);
            let bound = (2.0 / harmonic * variance * log).sqrt() + 2.0 / (3.0 * harmonic) * log;
            let apart = newer_sum / newer - (sum - newer_sum) / older;
            if apart.abs() > clearest * bound {
                clearest = apart.abs() / bound;
                found = Some((apart > 0.0, newer));
            }
        }
        found
    }
}

/// Whether a class that was predicted well, by examples and sum of losses before a change, is not after it.
fn is_collapse(before: (f64, f64), after: (f64, f64)) -> bool {
    before.1 <= WELL * before.0 && after.1 >= BADLY * after.0
}

#[cfg(test)]
mod tests;
