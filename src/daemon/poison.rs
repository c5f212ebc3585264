//! A stream that is all bad: bad records cost nothing but a dead letter each, but a person should know when they are most
//! of what comes.

use std::collections::VecDeque;

use crate::example::{Arrival, Outcome};
use crate::telemetry;

use super::Trainer;

/// Records that are looked at.
const WINDOW: usize = 10_000;
/// More bad ones than these among them: the stream is poisoned.
const TOO_MANY: usize = WINDOW / 2;
/// No more than these: it is sound again. Far enough below that a stream at the border does not flicker.
const FEW: usize = WINDOW / 4;

/// What a record has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    None,
    /// More than half of the last records are bad.
    Poisoned,
    /// No more than a quarter of them is.
    Sound,
}

/// Counts the bad ones of the last records.
#[derive(Default)]
pub(super) struct Poison {
    recent: VecDeque<bool>,
    bad: usize,
    /// Partition and offset of the record at which it began.
    since: Option<(i32, i64)>,
}

impl Poison {
    /// Counts a record.
    pub fn saw(&mut self, bad: bool, partition: i32, offset: i64) -> Turn {
        if self.recent.len() == WINDOW && self.recent.pop_front() == Some(true) {
            self.bad -= 1;
        }
        self.recent.push_back(bad);
        self.bad += usize::from(bad);
        match self.since {
            None if self.bad > TOO_MANY => {
                self.since = Some((partition, offset));
                Turn::Poisoned
            }
            Some(_) if self.bad <= FEW => {
                self.since = None;
                Turn::Sound
            }
            _ => Turn::None,
        }
    }

    /// Forgets what was counted: as many bad records are needed again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What a person should know; `None` while most records are good.
    pub fn trouble(&self) -> Option<String> {
        self.since.map(|(partition, offset)| {
            format!(
                "more than half of the last {WINDOW} records were bad at partition {partition} offset {offset}, now {}: look \
                 at the dead letters and at what writes to the stream",
                self.bad
            )
        })
    }
}

impl Trainer {
    /// Counts a record that came out of the codec, and says so where most of them are bad.
    pub(super) fn watch_poison(&mut self, arrival: &Arrival) {
        // Records that are repeated were judged before.
        if self.recording.is_repeating() {
            return;
        }
        let bad = matches!(&arrival.outcome, Outcome::Rejected { reject, .. } if reject.reason.is_dead_letter());
        match self.poison.saw(bad, arrival.partition, arrival.offset) {
            Turn::None => return,
            Turn::Poisoned => {
                let detail = self.poison.trouble().unwrap_or_default();
                tracing::error!("poisoned_source: {detail}");
                if self.config.source.on_poison == crate::stream::OnPoison::Pause {
                    self.control
                        .pause(format!("{detail}; POST /v1/resume goes on"));
                }
            }
            Turn::Sound => tracing::info!("most records of the stream are good again"),
        }
        telemetry::record_poison(self.poison.trouble().is_some());
        self.publisher.publish_soon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_at_the_record_that_makes_more_than_half_of_the_last_ten_thousand_bad() {
        let mut poison = Poison::default();
        for offset in 0..5_000 {
            assert_eq!(poison.saw(true, 3, offset), Turn::None);
        }
        assert_eq!(poison.trouble(), None);
        assert_eq!(poison.saw(true, 3, 5_000), Turn::Poisoned);
        assert!(
            poison
                .trouble()
                .unwrap()
                .contains("partition 3 offset 5000")
        );
        assert_eq!(poison.saw(true, 3, 5_001), Turn::None);
    }

    #[test]
    fn half_is_not_too_many_and_old_bad_records_are_forgotten() {
        let mut poison = Poison::default();
        for offset in 0..50_000 {
            assert_eq!(poison.saw(offset % 2 == 0, 0, offset), Turn::None);
        }
        // The next bad one takes the place of a bad one, the one after that of a good one.
        assert_eq!(poison.saw(true, 0, 50_000), Turn::None);
        assert_eq!(poison.saw(true, 0, 50_001), Turn::Poisoned);
    }

    #[test]
    fn it_is_over_when_no_more_than_a_quarter_is_bad_and_may_begin_again() {
        let mut poison = Poison::default();
        for offset in 0..10_000 {
            poison.saw(true, 0, offset);
        }
        for offset in 0..7_499 {
            assert_eq!(poison.saw(false, 0, offset), Turn::None);
        }
        assert_eq!(poison.saw(false, 0, 7_499), Turn::Sound);
        assert_eq!(poison.trouble(), None);
        let again = (0..10_000).find(|offset| poison.saw(true, 0, *offset) == Turn::Poisoned);
        // The 2,500 bad ones that were left are forgotten before the new ones are too many.
        assert_eq!(again, Some(5_000));
        poison.forget();
        assert_eq!(
            (0..5_000).find(|at| poison.saw(true, 0, *at) != Turn::None),
            None
        );
    }
}
