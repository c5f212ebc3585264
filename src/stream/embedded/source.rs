//! Reading the log from a position.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::block::{self, Stored};
use super::store::Extent;
use super::{Inner, LogError, offset};
use crate::example::{Positions, Record};
use crate::stream::{Error, Halt, Polled, Source, SourceStatus};

/// The only partition of the embedded stream.
const PARTITION: i32 = 0;

/// The records of an [`EmbeddedLog`](super::EmbeddedLog) from an offset on, as partition 0.
pub struct EmbeddedSource {
    log: Arc<Inner>,
    /// Offset of the next record to hand over.
    next: u64,
    /// Records of the current block from `next` on.
    block: VecDeque<Stored>,
    halt: Option<Halt>,
    trouble: Option<String>,
}

impl EmbeddedSource {
    pub(super) fn new(log: Arc<Inner>, from: i64) -> Result<Self, Halt> {
        let next = within(from, &log.shared.extent())?;
        Ok(Self {
            log,
            next,
            block: VecDeque::new(),
            halt: None,
            trouble: None,
        })
    }

    /// Fills `block` so that its front is the record at `next`.
    fn load(&mut self) -> Result<(), Error> {
        // Retention may have passed this reader if the floor was set beyond it.
        let (first, value) = match self.log.shared.block(self.next).map_err(io)? {
            Some(found) => found,
            None => return Err(self.overtaken().into()),
        };
        let records = block::decode(&value).map_err(|what| self.damaged(&what))?;
        let skip = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        if skip >= records.len() {
            return Err(self.overtaken().into());
        }
        self.block = records.into_iter().skip(skip).collect();
        Ok(())
    }

    /// Why the record at `next`, which was promised, is not there.
    fn overtaken(&self) -> Halt {
        match within(offset(self.next), &self.log.shared.extent()) {
            Err(halt) => halt,
            Ok(_) => self.damaged(&format!("no block holds offset {}", self.next)),
        }
    }

    fn damaged(&self, what: &str) -> Halt {
        Halt::Refused(format!(
            "the embedded log is damaged at offset {}: {what}; restore the log from a copy; or move it away and run `skewd source reset`, to keep the model and \
             begin an empty log; or start with an empty data_dir",
            self.next
        ))
    }

    fn read(&mut self, wait: Duration, max: usize, out: &mut Vec<Record>) -> Result<Polled, Error> {
        let extent = self.log.shared.wait_past(self.next, wait);
        if self.log.shared.is_dead() {
            return Err(Error::Dead(
                "the thread that writes the embedded log has died".to_owned(),
            ));
        }
        within(offset(self.next), &extent)?;
        let mut taken = 0;
        while taken < max && self.next < extent.next {
            if self.block.is_empty()
                && let Err(error) = self.load()
            {
                // What was already taken is handed over first; the error comes again at the next call.
                return if taken > 0 {
                    Ok(Polled::Records)
                } else {
                    Err(error)
                };
            }
            while taken < max
                && self.next < extent.next
                && let Some((timestamp_ms, payload)) = self.block.pop_front()
            {
                let mut record = Record::new(PARTITION, offset(self.next), payload);
                record.timestamp_ms = Some(timestamp_ms);
                out.push(record);
                self.next += 1;
                taken += 1;
            }
        }
        Ok(if taken > 0 {
            Polled::Records
        } else {
            Polled::Idle
        })
    }
}

impl Source for EmbeddedSource {
    fn poll(&mut self, wait: Duration, max: usize, out: &mut Vec<Record>) -> Result<Polled, Error> {
        if let Some(halt) = &self.halt {
            return Err(halt.clone().into());
        }
        let polled = self.read(wait, max, out);
        self.trouble = polled.as_ref().err().map(ToString::to_string);
        if let Err(Error::Halt(halt)) = &polled {
            self.halt = Some(halt.clone());
        }
        polled
    }

    fn checkpointed(&mut self, positions: &Positions) -> Result<(), Error> {
        let floor = positions.next(PARTITION).unwrap_or(0);
        self.log.shared.set_floor(u64::try_from(floor).unwrap_or(0));
        Ok(())
    }

    fn is_pressed(&self) -> bool {
        self.log.shared.is_pressed()
    }

    fn lag(&mut self) -> BTreeMap<i32, i64> {
        let unread = self.log.shared.extent().next.saturating_sub(self.next);
        BTreeMap::from([(PARTITION, offset(unread))])
    }

    fn status(&self) -> SourceStatus {
        match (&self.halt, &self.trouble) {
            (Some(halt), _) => SourceStatus::halted(halt),
            (None, Some(trouble)) => SourceStatus::degraded(trouble),
            (None, None) => SourceStatus::running(),
        }
    }

    fn identity(&self) -> String {
        self.log.shared.name().identity()
    }

    fn identity_at(&self, positions: &Positions) -> String {
        let next = positions.next(PARTITION).unwrap_or(0);
        let last = u64::try_from(next - 1).ok();
        match last.and_then(|last| self.log.shared.mark(last)) {
            Some(mark) => mark.beside(&self.identity()),
            None => self.identity(),
        }
    }
}

/// Checks that the log can go on from `have`.
fn within(have: i64, extent: &Extent) -> Result<u64, Halt> {
    let (low, high) = (offset(extent.first), offset(extent.next));
    if have < low {
        return Err(Halt::Gap {
            partition: PARTITION,
            have,
            low,
        });
    }
    if have > high {
        return Err(Halt::Truncated {
            partition: PARTITION,
            have,
            high,
        });
    }
    Ok(u64::try_from(have).unwrap_or(0))
}

fn io(error: LogError) -> Error {
    Error::Io(error.to_string())
}
