//! Log time: how late it is by the examples' own timestamps, whatever single ones of them say.
//!
//! A wrong timestamp must not stop the clock: if log time ran ahead to it, no budget would be renewed until the stream had come
//! that far. So time goes on by more than an hour only when a few examples in a row say so, and it goes back when all of
//! several thousand are far behind it.

use crate::state::{Error, State};

/// Log time of an example without a timestamp, in seconds.
const UNTIMED_SECONDS: f64 = 1.0;
/// A step of so many seconds is a leap.
const LEAP: f64 = 3600.0;
/// So many examples in a row must agree on a leap forward.
const AGREE: u64 = 3;
/// So many in a row must be a leap behind, or without a timestamp, before time goes back to them. More than one partition of a
/// topic gives in a row while several are read.
const BACK: u64 = 4096;
/// No clock shows more seconds, or fewer.
const FARTHEST: f64 = 1e12;

/// The log time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Clock {
    /// Newest log time in seconds, once an example had one.
    newest: Option<f64>,
    /// Without timestamps: examples, as seconds.
    counted: f64,
    /// Examples in a row that were a leap ahead, and the least of their times.
    ahead: u64,
    least: f64,
    /// Examples in a row that were a leap behind.
    behind: u64,
}

/// What an example did to the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tick {
    /// So many seconds have passed.
    Passed(f64),
    /// Time begins anew: what was noted at times of before says nothing.
    Anew,
}

impl Clock {
    /// How late it is, in seconds.
    pub fn now(&self) -> f64 {
        self.newest.unwrap_or(self.counted)
    }

    /// The same, where it comes from timestamps.
    pub fn by_timestamps(&self) -> Option<f64> {
        self.newest
    }

    /// An example came, at this time if it has one.
    pub fn tick(&mut self, time: Option<f64>) -> Tick {
        let time = time.filter(|time| time.abs() <= FARTHEST);
        let Some(newest) = self.newest else {
            return self.first(time);
        };
        let is_behind = time.is_none_or(|time| time < newest - LEAP);
        self.behind = if is_behind { self.behind + 1 } else { 0 };
        if self.behind >= BACK {
            *self = Self {
                newest: time,
                ..Self::default()
            };
            return Tick::Anew;
        }
        let Some(time) = time else {
            self.ahead = 0;
            return Tick::Passed(0.0);
        };
        if time <= newest + LEAP {
            self.ahead = 0;
            self.newest = Some(newest.max(time));
            return Tick::Passed((time - newest).max(0.0));
        }
        if !self.agrees(time) {
            return Tick::Passed(0.0);
        }
        self.newest = Some(self.least);
        Tick::Passed(self.least - newest)
    }

    /// Before any timestamp counts.
    fn first(&mut self, time: Option<f64>) -> Tick {
        match time {
            None => {
                self.ahead = 0;
                self.counted += UNTIMED_SECONDS;
                Tick::Passed(UNTIMED_SECONDS)
            }
            // A stream of examples without timestamps does not turn to them for a single one.
            Some(time) if self.counted > 0.0 && !self.agrees(time) => Tick::Passed(0.0),
            Some(time) => {
                self.ahead = 0;
                self.newest = Some(time);
                // What was counted in examples says nothing about hours.
                Tick::Anew
            }
        }
    }

    /// Notes a leap forward; true when enough examples agree on it.
    fn agrees(&mut self, time: f64) -> bool {
        self.least = if self.ahead == 0 {
            time
        } else {
            self.least.min(time)
        };
        self.ahead += 1;
        let enough = self.ahead >= AGREE;
        if enough {
            self.ahead = 0;
        }
        enough
    }

    /// Writes what [`Clock::load`] reads beside the two numbers of `decision.sums`.
    pub fn save(&self, state: &mut State) {
        state.put_f64(
            "decision.clock",
            vec![self.ahead as f64, self.least, self.behind as f64],
        );
    }

    /// The newest time and what was counted, as the other sums are kept.
    pub fn sums(&self) -> (Option<f64>, f64) {
        (self.newest, self.counted)
    }

    /// Reads the rest; states of before it was there hold none.
    ///
    /// # Errors
    /// When the entry has another length.
    pub fn load(newest: Option<f64>, counted: f64, state: &State) -> Result<Self, Error> {
        let mut clock = Self {
            newest,
            counted,
            ..Self::default()
        };
        if state.blobs.contains_key("decision.clock") {
            let rest = state.f64_exact("decision.clock", 3)?;
            (clock.ahead, clock.least, clock.behind) = (rest[0] as u64, rest[1], rest[2] as u64);
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(clock: &mut Clock, times: impl IntoIterator<Item = Option<f64>>) -> Vec<Tick> {
        times.into_iter().map(|time| clock.tick(time)).collect()
    }

    #[test]
    fn single_times_of_far_ahead_or_behind_change_nothing() {
        let mut clock = Clock::default();
        assert_eq!(clock.tick(Some(1000.0)), Tick::Anew);
        for odd in [1e9, 1e300, f64::NAN, f64::INFINITY, -1e15, 0.0] {
            assert_eq!(clock.tick(Some(odd)), Tick::Passed(0.0), "{odd}");
            assert_eq!(
                clock.tick(Some(clock.now() + 1.0)),
                Tick::Passed(1.0),
                "{odd}"
            );
        }
        assert_eq!(clock.now(), 1006.0);
    }

    #[test]
    fn a_gap_is_passed_when_three_agree_on_it_and_no_farther_than_all_of_them_say() {
        let mut clock = Clock::default();
        let times = [0.0, 90_000.0, 1e9, 90_002.0, 90_003.0].map(Some);
        let came = ticks(&mut clock, times);
        assert_eq!(came[1..3], [Tick::Passed(0.0); 2]);
        assert_eq!(came[3..], [Tick::Passed(90_000.0), Tick::Passed(3.0)]);
        // One example a day.
        let days = (2..12).map(|day| Some(f64::from(day) * 86_400.0));
        ticks(&mut clock, days);
        assert!(clock.now() >= 8.0 * 86_400.0, "{}", clock.now());
    }

    #[test]
    fn time_comes_back_from_a_wrong_future_and_to_examples_without_timestamps() {
        for after in [Some(1000.0), None] {
            let mut clock = Clock::default();
            clock.tick(Some(1000.0));
            ticks(&mut clock, [Some(1e9); 3]);
            assert_eq!(clock.now(), 1e9);
            let came = ticks(&mut clock, vec![after; BACK as usize]);
            assert_eq!(
                came.iter().position(|tick| *tick == Tick::Anew),
                Some(BACK as usize - 1)
            );
            assert_eq!(clock.by_timestamps(), after);
            // One that is in time holds it.
            let mut clock = Clock::default();
            clock.tick(Some(1e9));
            let mut late = vec![after; 3 * BACK as usize];
            for in_time in late.iter_mut().step_by(BACK as usize - 1) {
                *in_time = Some(1e9);
            }
            ticks(&mut clock, late);
            assert_eq!(clock.now(), 1e9);
        }
    }

    #[test]
    fn examples_without_timestamps_count_until_several_have_one() {
        let mut clock = Clock::default();
        assert_eq!(ticks(&mut clock, [None; 5]), [Tick::Passed(1.0); 5]);
        clock.tick(Some(1e9));
        assert_eq!(ticks(&mut clock, [None; 5]), [Tick::Passed(1.0); 5]);
        assert_eq!((clock.now(), clock.by_timestamps()), (10.0, None));
        let came = ticks(&mut clock, [Some(1e9), Some(1e9 + 1.0), Some(1e9 + 2.0)]);
        assert_eq!(came[2], Tick::Anew);
    }

    #[test]
    fn a_clock_survives_its_state() {
        let mut clock = Clock::default();
        ticks(&mut clock, [Some(5.0), Some(1e9), Some(1e9)]);
        let mut state = State::default();
        clock.save(&mut state);
        let (newest, counted) = clock.sums();
        assert_eq!(Clock::load(newest, counted, &state), Ok(clock));
    }
}
