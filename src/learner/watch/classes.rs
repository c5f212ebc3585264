//! Classes that are new, whose share has jumped, or that have become harder to predict.

use std::sync::Arc;

use super::{Batch, Concern, Notice, percent};

/// Examples over which a share is remembered.
const MEMORY: f64 = 10_000.0;
/// Blocks that are compared together with what is remembered.
const BLOCKS: usize = 2;
/// A share that moved by more than this has jumped ...
const JUMP: f64 = 0.25;
/// ... or one that is so many times what it was, or what it was so many times it, ...
const TIMES: f64 = 5.0;
/// ... where the larger of the two means at least so many examples.
const EXAMPLES: f64 = 50.0;
/// Examples since a class was first seen, before which its share is no news.
const YOUNG: u64 = 4096;

/// Shares of the classes, remembered and of late.
#[derive(Debug, Default)]
pub(super) struct Classes {
    examples: u64,
    /// Examples of each class in this block.
    block: Vec<u64>,
    /// The blocks before.
    lately: Vec<Vec<u64>>,
    /// Remembered share of each class, and the examples that the memory holds.
    shares: Vec<f64>,
    remembered: f64,
    /// Examples seen when each class came first.
    first: Vec<Option<u64>>,
    /// Times that each class had become harder; `None` before the first block.
    harder: Option<Vec<u64>>,
}

/// A class came for the first time.
pub(super) fn newcomer(class: &str, examples: u64) -> Notice {
    Notice {
        concern: Concern::NewClass,
        subject: class.to_owned(),
        message: format!(
            "class {class:?} came for the first time after {examples} examples: if it is a slip of the label, name the classes in \
             schema.classes, and others are refused"
        ),
    }
}

impl Classes {
    pub fn take(&mut self, batch: &Batch, classes: usize) {
        self.block.resize(classes.max(self.block.len()), 0);
        self.first.resize(self.block.len(), None);
        for class in &batch.classes {
            let class = *class as usize;
            self.block[class] += 1;
            self.first[class].get_or_insert(self.examples);
        }
        self.examples += batch.len() as u64;
    }

    /// What the block has changed, compared with those before.
    pub fn compare(
        &mut self,
        names: &[Arc<str>],
        harder: impl Iterator<Item = u64>,
        is_known: bool,
    ) -> Vec<Notice> {
        let mut found = Vec::new();
        found.extend(self.only_one(names));
        found.extend(self.jumps(names, is_known));
        found.extend(self.harder(names, harder.collect(), is_known));
        found
    }

    /// All examples so far are of one class.
    fn only_one(&self, names: &[Arc<str>]) -> Option<Notice> {
        let mut seen = (0..self.first.len()).filter(|class| self.first[*class].is_some());
        let (class, other) = (seen.next()?, seen.next());
        if other.is_some() || self.examples < 1000 {
            return None;
        }
        let (name, count) = (&names[class], self.examples);
        Some(Notice {
            concern: Concern::OneClass,
            subject: name.to_string(),
            message: format!(
                "all {count} examples so far are of class {name:?}: nothing can be told apart before another comes; where the \
                 other one is not that rare, see that schema.label names the label"
            ),
        })
    }

    fn jumps(&mut self, names: &[Arc<str>], is_known: bool) -> Vec<Notice> {
        let classes = self.block.len();
        self.shares.resize(classes, 0.0);
        let block = std::mem::replace(&mut self.block, vec![0; classes]);
        self.lately.push(block);
        if self.lately.len() > BLOCKS {
            let old = self.lately.remove(0);
            self.remember(&old);
        }
        let rows: u64 = self.lately.iter().flatten().sum();
        let mut found = Vec::new();
        for (class, name) in names.iter().enumerate().take(classes) {
            let count: u64 = self
                .lately
                .iter()
                .filter_map(|block| block.get(class))
                .sum();
            let (share, before) = (count as f64 / rows as f64, self.shares[class]);
            let is_old = self.first[class].is_some_and(|first| first + YOUNG <= self.examples);
            if !is_known || !is_old || before <= 0.0 || !is_jump(before, share, rows as f64) {
                continue;
            }
            found.push(Notice {
                concern: Concern::ClassShare,
                subject: name.to_string(),
                message: format!(
                    "class {name:?} makes {} % of the last {rows} examples and made {} % of those before: precision, thresholds \
                     and calibration move with it; see whether the labels are right",
                    percent(share),
                    percent(before)
                ),
            });
        }
        found
    }

    fn remember(&mut self, block: &[u64]) {
        let rows = block.iter().sum::<u64>() as f64;
        self.remembered = (self.remembered + rows).min(MEMORY);
        for (class, share) in self.shares.iter_mut().enumerate() {
            let of_block = block.get(class).copied().unwrap_or(0) as f64 / rows;
            *share += rows / self.remembered * (of_block - *share);
        }
    }

    fn harder(&mut self, names: &[Arc<str>], now: Vec<u64>, is_known: bool) -> Vec<Notice> {
        let before = self.harder.replace(now).unwrap_or_default();
        let now = self.harder.as_deref().unwrap_or_default();
        let rose = |class: &usize| {
            before
                .get(*class)
                .is_some_and(|before| now[*class] > *before)
        };
        let classes = (0..now.len().min(names.len())).filter(|class| is_known && rose(class));
        classes
            .map(|class| Notice {
                concern: Concern::ClassHarder,
                subject: names[class].to_string(),
                message: format!(
                    "class {:?} has become harder to predict: see whether its labels are right and what changed in the features",
                    names[class]
                ),
            })
            .collect()
    }
}

/// Whether a share over `rows` examples is news.
fn is_jump(before: f64, now: f64, rows: f64) -> bool {
    let (low, high) = (before.min(now), before.max(now));
    high - low > JUMP || (high >= TIMES * low && high * rows >= EXAMPLES)
}
