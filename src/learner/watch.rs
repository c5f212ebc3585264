//! Looks at the stream as it is learned and says what a person should know: a feature that is missing all at once or has
//! left its range, a class that is new, whose share has jumped or that has become harder, records that are refused.
//!
//! Examples are counted in blocks and compared with all before. Nothing here moves the model, and none of it is part of the
//! learning state: after a restart it begins anew, and says nothing before it has seen two thousand examples.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::batcher::Batch;
use crate::codec::{Concern, Kind, Notice, Reject, Schema, in_few_words};

mod classes;
mod features;

use classes::Classes;
use features::Features;

/// Examples of a block, at least.
const BLOCK: u64 = 512;
/// Examples before anything is compared with them.
const REFERENCE: u64 = 2048;
/// Records of which the refused ones are counted.
const RECORDS: u64 = 1000;
/// More refused ones than this share of them are said.
const REFUSED: f64 = 0.1;
/// Records until the same is said again, if it is still so.
const AGAIN: u64 = 10_000;
/// Warnings that wait to be taken: of a learner that nobody asks they must not pile up.
const UNTOLD: usize = 1000;
/// Warnings that are kept to be shown.
const KEPT: usize = 50;

/// One thing to know, and when it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: Concern,
    /// The feature, class or reason that it is about.
    pub subject: String,
    /// Examples learned by then.
    pub examples: u64,
    /// What was seen, and what to do.
    pub message: String,
}

/// Counts what arrives, block by block.
#[derive(Debug, Default)]
pub struct Watch {
    records: u64,
    examples: u64,
    block: Block,
    features: Features,
    classes: Classes,
    refused: Refused,
    /// Records at which something was last said.
    said: BTreeMap<(Concern, String), u64>,
    new: Vec<Warning>,
    kept: VecDeque<Warning>,
    counts: [u64; Concern::ALL.len()],
}

/// The examples since the last comparison.
#[derive(Debug, Default)]
struct Block {
    rows: u64,
    unknown_fields: u64,
}

/// Refused ones among the last records.
#[derive(Debug, Default)]
struct Refused {
    records: u64,
    by_reason: BTreeMap<&'static str, (u64, String)>,
}

impl Watch {
    /// A record came: refused, or an example with so many fields that the schema does not know.
    pub fn record(&mut self, refused: Option<&Reject>, unknown_fields: u32, examples: u64) {
        self.records += 1;
        self.block.unknown_fields += u64::from(unknown_fields);
        self.refused.records += 1;
        if let Some(reject) = refused {
            let entry = self.refused.by_reason.entry(reject.reason.as_str());
            entry.or_insert_with(|| (0, reject.detail.clone())).0 += 1;
        }
        if self.refused.records >= RECORDS {
            let refused = std::mem::take(&mut self.refused);
            for notice in refused.notices() {
                self.say(notice, examples);
            }
        }
    }

    /// A batch was learned. `newcomers` came with it, `harder` says how often each class has become harder to predict, and
    /// `examples` were learned by now.
    pub fn learned(
        &mut self,
        batch: &Batch,
        schema: &Schema,
        classes: &[Arc<str>],
        newcomers: &[Arc<str>],
        harder: impl Iterator<Item = u64>,
        examples: u64,
    ) {
        self.features.take(batch, schema);
        self.classes.take(batch, classes.len());
        self.block.rows += batch.len() as u64;
        let before = examples - batch.len() as u64;
        if before >= REFERENCE {
            for class in newcomers {
                self.say(classes::newcomer(class, before), examples);
            }
        }
        if self.block.rows < BLOCK {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let is_known = self.examples >= REFERENCE;
        let mut found = self
            .features
            .compare(schema, &block, is_known.then_some(self.examples));
        self.examples += block.rows;
        found.extend(self.classes.compare(classes, harder, is_known));
        for notice in in_few_words(found) {
            self.say(notice, examples);
        }
    }

    /// Says it, unless it was said not long ago. What concerns the schema comes once, and while no record has arrived yet.
    pub fn say(&mut self, notice: Notice, examples: u64) {
        let key = (notice.concern, notice.subject.clone());
        let at = self.said.get(&key);
        if at.is_some_and(|at| at + AGAIN > self.records) && notice.concern != Concern::Schema {
            return;
        }
        self.said.insert(key, self.records);
        self.said.retain(|_, at| *at + AGAIN > self.records);
        self.counts[notice.concern as usize] += 1;
        let warning = Warning {
            kind: notice.concern,
            subject: notice.subject,
            examples,
            message: notice.message,
        };
        if self.new.len() < UNTOLD {
            self.new.push(warning.clone());
        }
        self.kept.push_back(warning);
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// Whether a feature of this name had different values.
    #[must_use]
    pub fn varies(&self, schema: &Schema, name: &str) -> bool {
        let mut features = schema.features.iter();
        let index = features.position(|feature| feature.name == name);
        index.is_some_and(|index| self.features.varies(index))
    }

    /// What was noticed since the last call.
    pub fn take_new(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.new)
    }

    /// The latest warnings, the newest last.
    #[must_use]
    pub fn kept(&self) -> Vec<Warning> {
        self.kept.iter().cloned().collect()
    }

    /// How many there were of each kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = Concern::ALL.iter().zip(self.counts);
        counts.map(|(of, count)| (of.as_str(), count)).collect()
    }
}

impl Refused {
    fn notices(self) -> impl Iterator<Item = Notice> {
        let records = self.records;
        let many = move |(count, _): &(u64, String)| *count as f64 > REFUSED * records as f64;
        let reasons = self.by_reason.into_iter().filter(move |(_, of)| many(of));
        reasons.map(move |(reason, (count, detail))| Notice {
            concern: Concern::Rejects,
            subject: reason.to_owned(),
            message: format!(
                "{count} of the last {records} records were refused as {reason} (the first: {detail}): none of them is \
                 learned; look at the dead letters and at what writes to the stream"
            ),
        })
    }
}

/// Share in percent, as people read it.
fn percent(share: f64) -> String {
    format!("{:.3}", share * 100.0)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests;
