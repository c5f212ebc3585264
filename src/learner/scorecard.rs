//! How good every voice is by the user's objective, segment by segment of the stream.
//!
//! A segment is a sixteenth of the stream so far, within bounds. At its end each class that counts is scored on the
//! predictions since it was last scored, if it has had a few examples; a rarer class waits for the next end. Classes count
//! alike. Rows of one class are only ever compared with rows of the same time: otherwise a voice that follows a drifting prior
//! would look better than it ranks. A score is the mean over segments, the older ones fading.
//!
//! Memory: 2,048 predictions of all voices. When there are more, every second one of the most frequent class goes, and the
//! others count twice.

#[cfg(test)]
mod tests;

use crate::evaluate::{
    Objective, SMALLEST_PROBABILITY, UNKNOWN_CLASS_PROBABILITY, most_probable, rare_classes,
};
use crate::state::{self, State};

/// Predictions kept.
const ROOM: usize = 2048;
/// Shortest and longest segment, in examples.
const SHORTEST: u64 = 256;
const LONGEST: u64 = 16_384;
/// Segments in the stream so far, between these.
const SEGMENTS: u64 = 16;
/// Examples that a class needs to be scored.
const ENOUGH: usize = 5;
/// Segments after which one fades.
const MOST: u64 = 16;
/// Deviations on either side of a mean that hold 95 % of the cases.
const BAND: f64 = 1.96;

/// Scores of all voices; part of the learning state.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    voices: usize,
    objective: Objective,
    classes: Vec<OfClass>,
    /// The predictions since the longest wait of a class began.
    rows: Vec<Kept>,
    seen: u64,
    /// Examples at which the segment began, and at which it ends.
    begin: u64,
    end: u64,
    segments: u64,
    /// Per voice the fading mean of its scores and of their squares.
    means: Vec<f64>,
    squares: Vec<f64>,
}

/// What is known of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OfClass {
    /// Its examples.
    seen: u64,
    /// Examples of all classes when it was last scored.
    since: u64,
    /// Every so manieth of its examples is kept.
    stride: u64,
}

/// One kept example.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    /// Examples before it.
    place: u64,
    label: usize,
    /// Examples that it stands for.
    weight: f64,
    /// The probabilities of each voice, one voice after the other, equally many each.
    predicted: Vec<f32>,
}

/// A voice's score by the objective (larger is better) with half the width of its 95 % band; for log-loss the mean
/// logarithm of the probability of the label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoiceScore {
    /// Mean over the segments.
    pub score: f64,
    /// Half the width of the band.
    pub band: f64,
}

impl VoiceScore {
    /// The band, as far as there are such scores: from 0 to 1, and up to 0 for mean logarithms.
    #[must_use]
    pub fn interval(&self) -> [f64; 2] {
        let (least, most) = match self.score < 0.0 {
            true => (f64::NEG_INFINITY, 0.0),
            false => (0.0, 1.0),
        };
        [
            (self.score - self.band).max(least),
            (self.score + self.band).min(most),
        ]
    }
}

impl Scorecard {
    /// Nothing seen.
    #[must_use]
    pub fn new(voices: usize, objective: Objective) -> Self {
        Self {
            voices,
            objective,
            classes: Vec::new(),
            rows: Vec::new(),
            seen: 0,
            begin: 0,
            end: SHORTEST,
            segments: 0,
            means: vec![0.0; voices],
            squares: vec![0.0; voices],
        }
    }

    /// Adds an example of class `label` with what each voice predicted.
    pub fn add<'a>(&mut self, label: usize, predicted: impl Iterator<Item = &'a [f32]> + Clone) {
        while self.classes.len() <= label {
            self.classes.push(OfClass {
                seen: 0,
                since: self.seen,
                stride: 1,
            });
        }
        let class = &mut self.classes[label];
        if class.seen.is_multiple_of(class.stride) {
            let known = predicted.clone().map(<[f32]>::len).max().unwrap_or(0);
            let mut row = Vec::with_capacity(known * self.voices);
            for voice in predicted {
                row.extend_from_slice(voice);
                row.resize(row.len() + known - voice.len(), 0.0);
            }
            self.rows.push(Kept {
                place: self.seen,
                label,
                weight: class.stride as f64,
                predicted: row,
            });
        }
        class.seen += 1;
        self.seen += 1;
        if self.rows.len() > ROOM {
            self.thin();
        }
    }

    /// Drops every second row of the class that has the most: of those before this segment while they are many, so that
    /// a class that waits for long does not blur the present.
    fn thin(&mut self) {
        let begin = self.begin;
        let old = self.rows.iter().filter(|row| row.place < begin).count();
        let is_old = old > ROOM / 2;
        let is_meant = |row: &Kept| (row.place < begin) == is_old;
        let mut counts = vec![0_usize; self.classes.len()];
        for row in self.rows.iter().filter(|row| is_meant(row)) {
            counts[row.label] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        if most < 2 {
            self.rows.remove(0);
            return;
        }
        let class = counts.iter().position(|count| *count == most).unwrap_or(0);
        if !is_old {
            self.classes[class].stride *= 2;
        }
        let mut stays = false;
        self.rows.retain_mut(|row| {
            if row.label != class || !is_meant(row) {
                return true;
            }
            stays = !stays;
            row.weight *= 2.0;
            stays
        });
    }

    /// Scores the voices if the segment is over; true when a score has changed.
    pub fn conclude(&mut self) -> bool {
        if self.seen < self.end {
            return false;
        }
        self.begin = self.seen;
        self.end = self.seen + (self.seen / SEGMENTS).clamp(SHORTEST, LONGEST);
        let counted = self.counted();
        let (mut sums, mut total) = (vec![0.0; self.voices], 0.0);
        for class in 0..self.classes.len() {
            if counted.contains(&class) {
                let Some((scores, weight)) = self.of_class(class) else {
                    continue;
                };
                for (sum, score) in sums.iter_mut().zip(scores) {
                    *sum += weight * score;
                }
                total += weight;
            }
            self.classes[class].since = self.seen;
        }
        for class in &mut self.classes {
            class.stride = 1;
        }
        self.forget(&counted);
        if total <= 0.0 {
            return false;
        }
        self.segments += 1;
        let share = 1.0 / self.segments.min(MOST) as f64;
        for (voice, sum) in sums.iter().enumerate() {
            let score = sum / total;
            self.means[voice] += share * (score - self.means[voice]);
            self.squares[voice] += share * (score * score - self.squares[voice]);
        }
        true
    }

    /// The classes by which the objective goes.
    fn counted(&self) -> Vec<usize> {
        let seen: Vec<u64> = self.classes.iter().map(|class| class.seen).collect();
        match self.objective {
            Objective::PrAuc => rare_classes(&seen),
            Objective::BalancedAccuracy | Objective::LogLoss => (0..seen.len()).collect(),
        }
    }

    /// Drops what no class waits for.
    fn forget(&mut self, counted: &[usize]) {
        let waiting = counted.iter().map(|class| self.classes[*class].since);
        let oldest = waiting.min().unwrap_or(self.seen);
        self.rows.retain(|row| row.place >= oldest);
    }

    /// Score of every voice on the rows since a class was last scored, and what it counts for; `None` where that says
    /// nothing yet.
    fn of_class(&self, class: usize) -> Option<(Vec<f64>, f64)> {
        let since = self.classes[class].since;
        let rows: Vec<&Kept> = self.rows.iter().filter(|row| row.place >= since).collect();
        let own = || rows.iter().filter(|row| row.label == class);
        if own().count() < ENOUGH {
            return None;
        }
        let weight: f64 = own().map(|row| row.weight).sum();
        let mean = |value: &dyn Fn(&Kept) -> f64| {
            own().map(|row| row.weight * value(row)).sum::<f64>() / weight
        };
        let voices = 0..self.voices;
        Some(match self.objective {
            Objective::PrAuc => {
                let scores: Option<Vec<f64>> = voices
                    .map(|voice| self.average_precision(&rows, voice, class))
                    .collect();
                (scores?, 1.0)
            }
            Objective::BalancedAccuracy => {
                let is_right = |voice: usize, row: &Kept| {
                    f64::from(u8::from(
                        most_probable(self.of_voice(row, voice)) == Some(class),
                    ))
                };
                (
                    voices
                        .map(|voice| mean(&|row| is_right(voice, row)))
                        .collect(),
                    1.0,
                )
            }
            Objective::LogLoss => {
                let surety = |voice: usize, row: &Kept| match self.of_voice(row, voice).get(class) {
                    Some(p) => f64::from(*p).max(SMALLEST_PROBABILITY).ln(),
                    None => UNKNOWN_CLASS_PROBABILITY.ln(),
                };
                (
                    voices
                        .map(|voice| mean(&|row| surety(voice, row)))
                        .collect(),
                    weight,
                )
            }
        })
    }

    /// What a voice gave the classes that were known.
    fn of_voice<'a>(&self, row: &'a Kept, voice: usize) -> &'a [f32] {
        let known = row.predicted.len() / self.voices.max(1);
        &row.predicted[voice * known..(voice + 1) * known]
    }

    /// Average precision of a class among the rows; equal scores share a threshold. `None` where a side is empty.
    fn average_precision(&self, rows: &[&Kept], voice: usize, class: usize) -> Option<f64> {
        let key = |row: &&Kept| {
            let score = self.of_voice(row, voice).get(class).copied().unwrap_or(0.0);
            (score.max(0.0).to_bits(), row.label == class, row.weight)
        };
        let mut keys: Vec<(u32, bool, f64)> = rows.iter().map(key).collect();
        keys.sort_unstable_by_key(|(score, ..)| std::cmp::Reverse(*score));
        let (mut inside, mut others, mut sum) = (0.0, 0.0, 0.0);
        for tied in keys.chunk_by(|a, b| a.0 == b.0) {
            let mut more = 0.0;
            for (_, is_own, weight) in tied {
                if *is_own {
                    more += weight;
                } else {
                    others += weight;
                }
            }
            inside += more;
            if more > 0.0 {
                sum += more * inside / (inside + others);
            }
        }
        (inside > 0.0 && others > 0.0).then(|| sum / inside)
    }

    /// Segments that were scored.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Score of a voice; `None` before there is one.
    #[must_use]
    pub fn score(&self, voice: usize) -> Option<VoiceScore> {
        let (mean, square) = (*self.means.get(voice)?, *self.squares.get(voice)?);
        let variance = (square - mean * mean).max(0.0);
        (self.segments > 0).then(|| VoiceScore {
            score: mean,
            band: BAND * (variance / self.segments.min(MOST) as f64).sqrt(),
        })
    }

    /// The score as a number from 0 to 1: log-loss as the geometric mean of the labels' probabilities.
    #[must_use]
    pub fn unit_score(&self, voice: usize) -> Option<f64> {
        let score = self.score(voice)?.score;
        Some(match self.objective {
            Objective::PrAuc | Objective::BalancedAccuracy => score,
            Objective::LogLoss => score.exp(),
        })
    }

    /// Writes everything under `mixture.`.
    pub fn save(&self, state: &mut State) {
        let classes = self.classes.iter();
        let classes = classes.flat_map(|class| [class.seen, class.since, class.stride]);
        state.put_u64("mixture.classes", classes.collect());
        state.put_u64(
            "mixture.counts",
            vec![self.seen, self.begin, self.end, self.segments],
        );
        state.put_f64("mixture.means", self.means.clone());
        state.put_f64("mixture.squares", self.squares.clone());
        let rows = self.rows.iter();
        let places = rows.flat_map(|row| [row.place, row.label as u64, row.predicted.len() as u64]);
        state.put_u64("mixture.rows", places.collect());
        let weights = self.rows.iter().map(|row| row.weight);
        state.put_f64("mixture.row_weights", weights.collect());
        let values: Vec<f32> = self
            .rows
            .iter()
            .flat_map(|row| &row.predicted)
            .copied()
            .collect();
        state.put_f32("mixture.predicted", vec![values.len()], values);
    }

    /// Reads what [`Scorecard::save`] wrote.
    ///
    /// # Errors
    /// When entries are missing or do not fit together.
    pub fn load(voices: usize, objective: Objective, state: &State) -> Result<Self, state::Error> {
        let mut card = Self::new(voices, objective);
        let classes = state.u64("mixture.classes")?;
        for triple in classes.chunks_exact(3) {
            card.classes.push(OfClass {
                seen: triple[0],
                since: triple[1],
                stride: triple[2].max(1),
            });
        }
        let counts = state.u64_exact("mixture.counts", 4)?;
        (card.seen, card.begin) = (counts[0], counts[1]);
        (card.end, card.segments) = (counts[2], counts[3]);
        card.means = state.f64_exact("mixture.means", voices)?.to_vec();
        card.squares = state.f64_exact("mixture.squares", voices)?.to_vec();
        let rows = state.u64("mixture.rows")?;
        let weights = state.f64_exact("mixture.row_weights", rows.len() / 3)?;
        let cells = rows.iter().skip(2).step_by(3).sum::<u64>() as usize;
        let mut values = state.f32_exact("mixture.predicted", cells)?;
        for (row, weight) in rows.chunks_exact(3).zip(weights) {
            if row[1] as usize >= card.classes.len() {
                return Err(state::Error::Mismatch {
                    name: "mixture.rows".to_owned(),
                    found: format!("a row of class {}", row[1]),
                    expected: format!("classes below {}", card.classes.len()),
                });
            }
            let (own, rest) = values.split_at(row[2] as usize);
            values = rest;
            card.rows.push(Kept {
                place: row[0],
                label: row[1] as usize,
                weight: *weight,
                predicted: own.to_vec(),
            });
        }
        Ok(card)
    }
}
