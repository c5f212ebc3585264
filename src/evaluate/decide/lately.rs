//! How many examples and alerts came of late, in log time.

use std::collections::VecDeque;

use crate::state::{Error, State};

/// Parts of the window in which alerts are counted.
const PARTS: i64 = 60;

/// Counts events over an hour of log time (longer where less than one alert an hour is allowed), in sixtieths of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Lately {
    /// Part of the log time and events in it, oldest first; parts without any are left out.
    counted: VecDeque<(i64, u64)>,
}

/// Alerts that may come in a window, and the length of its parts in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Allowance {
    most: u64,
    part: f64,
}

impl Allowance {
    pub fn of(alerts_per_hour: f64) -> Self {
        Self {
            most: (alerts_per_hour as u64).max(1),
            part: 3600.0 / PARTS as f64 / alerts_per_hour.min(1.0),
        }
    }

    /// Length of the window in seconds.
    pub fn seconds(self) -> f64 {
        self.part * PARTS as f64
    }

    fn part_of(self, time: f64) -> i64 {
        (time / self.part).floor() as i64
    }
}

impl Lately {
    /// One more at a time.
    pub fn add(&mut self, allowance: Allowance, time: f64) {
        let now = allowance.part_of(time);
        match self.counted.back_mut() {
            Some((part, events)) if *part >= now => *events += 1,
            _ => self.counted.push_back((now, 1)),
        }
        while self
            .counted
            .front()
            .is_some_and(|(part, _)| *part < now - PARTS)
        {
            self.counted.pop_front();
        }
    }

    /// True when one more at `time` would be too many in the window that ends then.
    pub fn is_spent(&self, allowance: Allowance, time: f64) -> bool {
        self.recent(allowance, time) >= allowance.most
    }

    /// Events in the window that ends at `time`. The oldest part counts whole, so that no window of that length holds
    /// more, wherever it begins.
    pub fn recent(&self, allowance: Allowance, time: f64) -> u64 {
        let now = allowance.part_of(time);
        let recent = self.counted.iter().filter(|(part, _)| *part >= now - PARTS);
        recent.map(|(_, events)| events).sum()
    }

    /// Writes the counts under a name.
    pub fn save(&self, state: &mut State, name: &str) {
        let counted = self.counted.iter();
        let pairs = counted.flat_map(|(part, events)| [*part as u64, *events]);
        state.put_u64(name, pairs.collect());
    }

    /// Reads them back.
    pub fn load(state: &State, name: &str) -> Result<Self, Error> {
        let pairs = state.u64(name)?.len() / 2;
        let pairs = state.u64_exact(name, 2 * pairs)?.chunks_exact(2);
        Ok(Self {
            counted: pairs.map(|pair| (pair[0] as i64, pair[1])).collect(),
        })
    }
}
