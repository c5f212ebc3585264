//! Features that are missing all at once, and numbers that have left their range.

use super::{Block, Concern, Kind, Notice, Schema, percent};
use crate::learner::Batch;

/// A feature that was there in more than this share of the examples is expected.
const USUAL: f64 = 0.5;
/// It is gone where it is there in no more than this share of a block.
const GONE: f64 = 0.02;
/// Values this many times as far from all before as those lie from each other, or from zero, are far outside.
const FAR: f32 = 100.0;
/// So many of them in a block are no accident of a single record.
const FEWEST: u32 = 5;

/// What is known of every feature, and what the block at hand holds: one value a feature in each list, so that the loop over a
/// row takes several at once.
#[derive(Debug, Default)]
pub(super) struct Features {
    /// Values before this block, and their range.
    known: Vec<u64>,
    low: Vec<f32>,
    high: Vec<f32>,
    /// Outside of these a value lies far from all before.
    floor: Vec<f32>,
    ceiling: Vec<f32>,
    /// Values in this block, those far outside, and their range.
    present: Vec<u32>,
    far: Vec<u32>,
    least: Vec<f32>,
    most: Vec<f32>,
}

impl Features {
    fn new(width: usize) -> Self {
        let (lowest, highest) = (vec![f32::NEG_INFINITY; width], vec![f32::INFINITY; width]);
        Self {
            known: vec![0; width],
            low: highest.clone(),
            high: lowest.clone(),
            floor: lowest.clone(),
            ceiling: highest.clone(),
            present: vec![0; width],
            far: vec![0; width],
            least: highest,
            most: lowest,
        }
    }

    pub fn take(&mut self, batch: &Batch, schema: &Schema) {
        let width = schema.len();
        if self.known.len() != width {
            *self = Self::new(width);
        }
        for row in batch.rows.chunks_exact(width.max(1)) {
            let counts = self.present.iter_mut().zip(&mut self.far);
            let bounds = self.floor.iter().zip(&self.ceiling);
            for ((value, (present, far)), (floor, ceiling)) in row.iter().zip(counts).zip(bounds) {
                // NaN is a missing value: no comparison holds for it.
                *present += u32::from(!value.is_nan());
                *far += u32::from(value < floor) + u32::from(value > ceiling);
            }
            let range = self.least.iter_mut().zip(&mut self.most);
            for (value, (least, most)) in row.iter().zip(range) {
                *least = least.min(*value);
                *most = most.max(*value);
            }
        }
    }

    /// What is wrong with the block, compared with the `known` examples before; of too few nothing is said.
    pub fn compare(&mut self, schema: &Schema, block: &Block, known: Option<u64>) -> Vec<Notice> {
        let mut found = Vec::new();
        for (index, feature) in schema.features.iter().enumerate() {
            if let Some(known) = known {
                let usual = self.known[index] as f64 / known as f64;
                let there = f64::from(self.present[index]);
                if usual >= USUAL && there <= GONE * block.rows as f64 {
                    found.push(self.gone(index, &feature.name, usual, block));
                }
                let is_far = self.far[index] >= FEWEST && self.known[index] > 0;
                if feature.kind == Kind::Numeric && is_far {
                    found.push(self.left(index, &feature.name));
                }
            }
            self.turn(index);
        }
        found
    }

    pub fn varies(&self, index: usize) -> bool {
        let bound = |lists: [&[f32]; 2], pick: fn(f32, f32) -> f32| {
            let values = lists.iter().filter_map(|list| list.get(index));
            values.copied().reduce(pick)
        };
        let lowest = bound([&self.low, &self.least], f32::min);
        let highest = bound([&self.high, &self.most], f32::max);
        lowest < highest
    }

    /// The block becomes part of what is known.
    fn turn(&mut self, index: usize) {
        self.known[index] += u64::from(self.present[index]);
        let low = self.low[index].min(self.least[index]);
        let high = self.high[index].max(self.most[index]);
        (self.low[index], self.high[index]) = (low, high);
        if self.known[index] > 0 {
            let size = (high - low).max(high.abs()).max(low.abs());
            // Of a feature that was always zero nothing is known but that one is no large number.
            let reach = FAR * if size > 0.0 { size } else { 1.0 };
            (self.floor[index], self.ceiling[index]) = (low - reach, high + reach);
        }
        (self.present[index], self.far[index]) = (0, 0);
        (self.least[index], self.most[index]) = (f32::INFINITY, f32::NEG_INFINITY);
    }

    fn gone(&self, index: usize, name: &str, usual: f64, block: &Block) -> Notice {
        let rows = block.rows;
        let strangers = match block.unknown_fields {
            0 => String::new(),
            some => format!("; they hold {some} fields that the schema does not know"),
        };
        Notice {
            concern: Concern::FeatureMissing,
            subject: name.to_owned(),
            message: format!(
                "feature {name:?} is missing in {} of the last {rows} examples and was there in {} % of those before{strangers}: \
                 if it was renamed, send it under its old name, or add the new one to schema.features",
                rows - u64::from(self.present[index]),
                percent(usual)
            ),
        }
    }

    fn left(&self, index: usize, name: &str) -> Notice {
        let farthest = if self.most[index] > self.ceiling[index] {
            self.most[index]
        } else {
            self.least[index]
        };
        Notice {
            concern: Concern::FeatureRange,
            subject: name.to_owned(),
            message: format!(
                "feature {name:?}: {} of the last {} values, such as {farthest:e}, lie far outside of all before ({:e} to \
                 {:e}): see whether its unit or its source has changed",
                self.far[index], self.present[index], self.low[index], self.high[index]
            ),
        }
    }
}
