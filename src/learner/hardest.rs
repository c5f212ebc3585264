//! The recent examples of largest weight, and older ones that stay hard.
//!
//! A rare case is hard until a few of its kind were learned; a wrong label stays hard for ever. So those that leave the list
//! of the recent are predicted again now and then, and stay as long as the model does not believe their label.

use super::board::{HardExample, Trace};
use super::{Learner, Snapshot};
use crate::evaluate::{log_loss, most_probable};

/// Examples kept at most, of the recent and of the older ones.
const KEPT: usize = 50;
/// Older examples make room, however heavy they were.
const RECENT_EXAMPLES: u64 = 10_000;
/// Examples between two looks at the losses of now.
const REVIEW_EVERY: u64 = 5_000;
/// Losses of later models that are kept of an example.
const TRACES: usize = 16;
/// An older example below this loss is believed: its label gets more than half of the probability.
const BELIEVED: f64 = std::f64::consts::LN_2;

/// A short list ordered by weight, and one of older examples ordered by loss. Not part of the learning state: they name
/// offsets, which the digest must not see.
#[derive(Debug, Clone, Default)]
pub struct Hardest {
    entries: Vec<(u64, HardExample)>,
    lightest: f64,
    persistent: Vec<HardExample>,
    /// Those of them that are new to whoever asks for them next.
    doubted: Vec<HardExample>,
    reviewed_at: u64,
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

    /// Puts those that are no longer recent, when `now` examples have been learned, with the older ones.
    pub fn expire(&mut self, now: u64) {
        if self
            .entries
            .iter()
            .all(|(at, _)| at + RECENT_EXAMPLES >= now)
        {
            return;
        }
        let (recent, old) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|(at, _)| at + RECENT_EXAMPLES >= now);
        self.entries = recent;
        self.lightest = 0.0;
        let old: Vec<(u64, HardExample)> = old;
        self.persistent
            .extend(old.into_iter().map(|(_, example)| example));
        // Nobody may ask for long: what was not reviewed must not grow without bound.
        if self.persistent.len() > 4 * KEPT {
            self.rank();
        }
    }

    /// The recent ones, heaviest first.
    #[must_use]
    pub fn list(&self) -> Vec<HardExample> {
        let examples = self.entries.iter();
        examples.map(|(_, example)| example.clone()).collect()
    }

    /// The older ones that are not believed, the largest loss first.
    #[must_use]
    pub fn persistent(&self) -> Vec<HardExample> {
        let examples = self.persistent.iter().take(KEPT);
        examples.cloned().collect()
    }

    fn is_due(&self, now: u64) -> bool {
        now >= self.reviewed_at + REVIEW_EVERY || now < self.reviewed_at
    }

    /// Notes the losses that all examples have under a later model; `losses` in the order of [`Hardest::rows`].
    fn review(&mut self, now: u64, step: u64, losses: impl Iterator<Item = f64>) {
        self.reviewed_at = now;
        let recent = self.entries.iter_mut().map(|(_, example)| example);
        for (example, loss) in recent.chain(&mut self.persistent).zip(losses) {
            if example.trail.len() == TRACES {
                let mut place = 0;
                example.trail.retain(|_| {
                    place += 1;
                    place % 2 == 0
                });
            }
            example.trail.push(Trace { step, loss });
        }
        self.rank();
        self.persistent
            .retain(|example| example.latest_loss() >= BELIEVED);
        for example in self.persistent.iter_mut().filter(|example| !example.told) {
            example.told = true;
            self.doubted.push(example.clone());
        }
        // As above.
        let too_many = self.doubted.len().saturating_sub(4 * KEPT);
        self.doubted.drain(..too_many);
    }

    /// Those whose label a model of [`RECENT_EXAMPLES`] later still does not believe, each once.
    fn take_doubted(&mut self) -> Vec<HardExample> {
        std::mem::take(&mut self.doubted)
    }

    fn rank(&mut self) {
        self.persistent
            .sort_by(|one, two| two.latest_loss().total_cmp(&one.latest_loss()));
        self.persistent.truncate(KEPT);
    }

    /// Values and class of each example, the recent ones first.
    fn rows(&self) -> (Vec<Box<[f32]>>, Vec<u32>) {
        let recent = self.entries.iter().map(|(_, example)| example);
        recent
            .chain(&self.persistent)
            .map(|example| (example.row.clone(), example.class))
            .unzip()
    }
}

impl Learner {
    /// The examples of the batch that was just learned enter the list, where they are heavy enough.
    pub(super) fn note_hardest(&mut self) {
        let Some(core) = &self.core else { return };
        let width = core.schema.len();
        for (index, weight) in core.last.weights.iter().copied().enumerate() {
            if !self.hardest.wants(weight) {
                continue;
            }
            let predicted = core.last.row(index);
            let (partition, offset) = self.batch.places[index];
            let class = self.batch.classes[index];
            self.hardest.push(
                core.examples,
                HardExample {
                    id: self.batch.ids[index].as_deref().map(str::to_owned),
                    partition,
                    offset,
                    step: core.step,
                    label: core.classes[class as usize].to_string(),
                    prediction: most_probable(predicted)
                        .map(|class| core.classes[class].to_string()),
                    loss: core.last.losses[index],
                    weight,
                    trail: Vec::new(),
                    row: self.batch.rows[index * width..(index + 1) * width].into(),
                    class,
                    told: false,
                },
            );
        }
    }

    /// The examples whose label the model still does not believe when ten thousand more have been learned, each once: rare,
    /// or mislabelled, which a person can tell. A board must have been made since; of those that nobody took the newest are
    /// kept.
    pub fn take_doubted(&mut self) -> Vec<HardExample> {
        self.hardest.take_doubted()
    }

    /// Predicts the listed examples again, now and then: a copy of the model and a hundred predictions each time.
    pub(super) fn review_hardest(&mut self) {
        let now = self.examples();
        self.hardest.expire(now);
        if !self.hardest.is_due(now) {
            return;
        }
        let Ok(Some(snapshot)) = self.snapshot() else {
            return;
        };
        let (rows, classes) = self.hardest.rows();
        if let Some(losses) = losses(&snapshot, &rows, &classes) {
            self.hardest
                .review(now, snapshot.model_version, losses.into_iter());
        }
    }
}

/// The loss of each row under a model; `None` where it cannot tell.
fn losses(snapshot: &Snapshot, rows: &[Box<[f32]>], classes: &[u32]) -> Option<Vec<f64>> {
    let predictions = snapshot.predict(rows).ok()?;
    let losses = predictions.iter().zip(classes);
    Some(
        losses
            .map(|(of, class)| log_loss(*class, &of.probabilities))
            .collect(),
    )
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
            trail: Vec::new(),
            row: [0.0].into(),
            class: 0,
            told: false,
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
        assert_eq!(hardest.persistent()[0].offset, 1);
    }

    #[test]
    fn an_old_example_stays_until_its_label_is_believed() {
        let mut hardest = Hardest::default();
        for offset in 0..3 {
            hardest.push(1, example(offset, 10.0 - offset as f64));
        }
        hardest.expire(RECENT_EXAMPLES + 2);
        hardest.review(RECENT_EXAMPLES + 2, 7, [0.1, 4.0, 5.0].into_iter());
        let offsets = |hardest: &Hardest| -> Vec<i64> {
            let persistent = hardest.persistent();
            persistent.iter().map(|example| example.offset).collect()
        };
        assert_eq!(offsets(&hardest), [2, 1]);
        for step in 8..100 {
            hardest.review(1, step, [6.0, 1.0].into_iter());
        }
        assert_eq!(offsets(&hardest), [2, 1]);
        let trail = &hardest.persistent()[0].trail;
        assert!(
            trail.len() <= TRACES
                && trail.last()
                    == Some(&Trace {
                        step: 99,
                        loss: 6.0
                    })
        );
        assert!(trail.windows(2).all(|pair| pair[0].step < pair[1].step));
        hardest.review(1, 100, [0.2, 0.3].into_iter());
        assert!(hardest.persistent().is_empty());
    }

    #[test]
    fn an_example_that_is_not_believed_is_given_out_once() {
        let mut hardest = Hardest::default();
        (0..3).for_each(|offset| hardest.push(1, example(offset, 1.0)));
        hardest.review(100, 7, [9.0, 9.0, 9.0].into_iter());
        assert!(
            hardest.take_doubted().is_empty(),
            "the recent ones may be learned yet"
        );
        hardest.expire(RECENT_EXAMPLES + 2);
        hardest.review(RECENT_EXAMPLES + 2, 8, [0.1, 4.0, 5.0].into_iter());
        let given: Vec<i64> = hardest
            .take_doubted()
            .iter()
            .map(|example| example.offset)
            .collect();
        assert_eq!(given, [2, 1]);
        hardest.review(RECENT_EXAMPLES + 9, 9, [5.0, 6.0].into_iter());
        assert!(hardest.take_doubted().is_empty());
    }

    #[test]
    fn what_nobody_asks_for_is_bounded() {
        let mut hardest = Hardest::default();
        for at in 0..200_u64 {
            hardest.push(at * (RECENT_EXAMPLES + 1), example(at as i64, 1.0));
        }
        assert!(hardest.persistent.len() <= 4 * KEPT);
        assert_eq!(hardest.persistent().len(), KEPT);
        for step in 0..10 {
            let at = 1_000_000 * (step + 1);
            (0..KEPT as i64).for_each(|offset| hardest.push(at, example(offset, 1.0)));
            hardest.expire(at + RECENT_EXAMPLES + 1);
            let losses: Vec<f64> = (0..hardest.persistent.len() as u64)
                .map(|place| 1.0 + place as f64)
                .collect();
            hardest.review(at + RECENT_EXAMPLES + 1, step, losses.into_iter());
        }
        assert!(
            hardest.doubted.len() <= 4 * KEPT,
            "{}",
            hardest.doubted.len()
        );
    }
}
