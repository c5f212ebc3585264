//! [`KafkaSource`]: the caller's side of the reading thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Settings;
use super::client::{Role, client_config};
use super::handover::{Counts, Ended, Handover, Item, Taken};
use super::ledger::Ledger;
use super::opening::probe;
use super::reader::Reader;
use crate::example::{Positions, Record};
use crate::stream::{Error, Polled, Source, SourceStatus};

/// How long a stop may take before the thread is left behind: a broker that hangs must not hold a shutdown.
const STOP: Duration = Duration::from_secs(3);

/// A topic as a source of records.
pub struct KafkaSource {
    handover: Arc<Handover>,
    thread: Option<JoinHandle<()>>,
    ledger: Ledger,
    /// The batch that is being handed out.
    current: std::vec::IntoIter<Record>,
}

impl KafkaSource {
    /// Starts reading at `saved` (empty: where `start` says), in the background: brokers may come later.
    ///
    /// `identity` is what [`KafkaSource::identity`] answered when the positions were saved.
    ///
    /// # Errors
    /// The key of the `[kafka]` table at fault, and why. Nothing that only the brokers can tell.
    pub fn open(
        settings: &Settings,
        saved: &Positions,
        identity: Option<String>,
    ) -> Result<Self, (String, String)> {
        settings.check()?;
        settings.check_topic()?;
        client_config(
            settings,
            Role::Consumer {
                queued_kbytes: 1024,
            },
        )?;
        // Creating a client finds what its configuration alone does not: missing files, bad certificates.
        drop(probe(settings)?);
        let status = SourceStatus::degraded(format!("connecting to {}", settings.brokers));
        let handover = Arc::new(Handover::new(status));
        let reader = Reader {
            settings: settings.clone(),
            saved: saved.clone(),
            expected: identity,
            handover: Arc::clone(&handover),
        };
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| {
                (
                    "brokers".to_owned(),
                    format!("no thread to read with: {error}"),
                )
            })?;
        Ok(Self {
            handover,
            thread: Some(thread),
            ledger: Ledger::default(),
            current: Vec::new().into_iter(),
        })
    }

    /// Cluster, topic and topic ID, to be kept beside the positions; `None` until brokers answered.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        self.handover.identity()
    }

    /// Figures since the source was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.handover.counts()
    }

    /// Bytes of records that wait between the reading thread and the caller.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.handover.waiting_bytes()
    }

    fn take_in(&mut self, item: Item) {
        match item {
            Item::Start {
                partition,
                saved,
                next,
            } => self.ledger.start(partition, saved, next),
            Item::Reach { partition, next } => self.ledger.reach(partition, next),
            Item::Records(records, _) => self.current = records.into_iter(),
        }
    }

    /// Appends records of the current batch until `out` is `limit` long.
    fn hand_out(&mut self, limit: usize, out: &mut Vec<Record>) {
        let count = limit.saturating_sub(out.len());
        for record in self.current.by_ref().take(count) {
            self.ledger.deliver(record.partition, record.offset);
            out.push(record);
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, wait: Duration, max: usize, out: &mut Vec<Record>) -> Result<Polled, Error> {
        let (before, deadline) = (out.len(), Instant::now() + wait);
        let limit = before.saturating_add(max);
        loop {
            self.hand_out(limit, out);
            if out.len() >= limit {
                break;
            }
            let left = if out.len() == before {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match self.handover.take(left) {
                Taken::Item(item) => self.take_in(item),
                Taken::Ended(_) if out.len() > before => break,
                Taken::Ended(Ended::Halted(halt)) => return Err(Error::Halt(halt)),
                Taken::Ended(Ended::Broken(reason)) => return Err(Error::Dead(reason)),
                Taken::Ended(Ended::Stopped) | Taken::Nothing => break,
            }
        }
        Ok(if out.len() > before {
            Polled::Records
        } else {
            Polled::Idle
        })
    }

    fn checkpointed(&mut self, positions: &Positions) -> Result<(), Error> {
        self.handover.commit(positions);
        Ok(())
    }

    fn lag(&mut self) -> BTreeMap<i32, i64> {
        let high = self.handover.high();
        self.ledger
            .next()
            .filter_map(|(partition, next)| {
                Some((partition, (high.get(&partition)? - next).max(0)))
            })
            .collect()
    }

    fn status(&self) -> SourceStatus {
        self.handover.status()
    }

    fn settle(&self, positions: &mut Positions) {
        self.ledger.settle(positions);
    }

    fn identity(&self) -> String {
        self.handover.identity().unwrap_or_default()
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.handover.stop();
        if self.handover.wait_for_end(STOP)
            && let Some(thread) = self.thread.take()
        {
            // A panic of the thread was reported by `poll`.
            let _ = thread.join();
        }
    }
}
