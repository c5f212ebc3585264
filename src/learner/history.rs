//! The evolution of the weights in bounded memory: when the list is full, every second point goes and the
//! stride doubles, so it always covers the whole run.

use std::sync::Arc;

use super::board::HistoryPoint;
use crate::state::{self, State};

/// Points kept at most.
const POINTS_MAX: usize = 512;
/// Numbers of a point before its per-class shares.
const FIXED: usize = 12;

/// Name in the state: kept for people, not part of the digest.
const NAME: &str = "display.history";

/// The thinned history.
#[derive(Debug, Clone)]
pub struct History {
    points: Arc<Vec<HistoryPoint>>,
    stride: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            points: Arc::default(),
            stride: 1,
        }
    }
}

impl History {
    /// True when the step's point is to be kept.
    #[must_use]
    pub fn wants(&self, step: u64) -> bool {
        step.is_multiple_of(self.stride)
    }

    /// Keeps a point, and thins the list when it is full.
    pub fn push(&mut self, point: HistoryPoint) {
        let points = Arc::make_mut(&mut self.points);
        points.push(point);
        if points.len() >= POINTS_MAX {
            self.stride *= 2;
            let stride = self.stride;
            points.retain(|point| point.step.is_multiple_of(stride));
        }
    }

    /// Notes the windowed PR-AUC at the newest point; it is too dear to compute at every step.
    pub fn score_newest(&mut self, pr_auc: Option<f64>) {
        if let Some(point) = Arc::make_mut(&mut self.points).last_mut() {
            point.pr_auc = pr_auc;
        }
    }

    /// The points, oldest first.
    #[must_use]
    pub fn points(&self) -> Arc<Vec<HistoryPoint>> {
        Arc::clone(&self.points)
    }

    /// Writes the points.
    pub fn save(&self, state: &mut State) {
        let mut flat = vec![self.stride as f64];
        for point in self.points.iter() {
            flat.extend([
                point.step as f64,
                point.examples as f64,
                point.lambda,
                point.log_s,
                point.objective,
                point.effective_sample_size,
                point.kl_to_uniform,
                point.max_weight,
                point.clipped_share,
                point.loss,
                point.pr_auc.unwrap_or(f64::NAN),
                point.weight_share.len() as f64,
            ]);
            flat.extend(&point.weight_share);
            flat.extend(&point.example_share);
        }
        state.put_f64(NAME, flat);
    }

    /// Reads the points back.
    ///
    /// # Errors
    /// When the entry is missing or cut short.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        let flat = state.f64(NAME)?;
        let mut points = Vec::new();
        let (stride, mut rest) = flat.split_first().ok_or_else(cut_short)?;
        while !rest.is_empty() {
            let (fixed, tail) = rest.split_at_checked(FIXED).ok_or_else(cut_short)?;
            let classes = fixed[FIXED - 1] as usize;
            let (weight_share, tail) = tail.split_at_checked(classes).ok_or_else(cut_short)?;
            let (example_share, tail) = tail.split_at_checked(classes).ok_or_else(cut_short)?;
            rest = tail;
            points.push(HistoryPoint {
                step: fixed[0] as u64,
                examples: fixed[1] as u64,
                lambda: fixed[2],
                log_s: fixed[3],
                objective: fixed[4],
                effective_sample_size: fixed[5],
                kl_to_uniform: fixed[6],
                max_weight: fixed[7],
                clipped_share: fixed[8],
                loss: fixed[9],
                pr_auc: Some(fixed[10]).filter(|value| !value.is_nan()),
                weight_share: weight_share.to_vec(),
                example_share: example_share.to_vec(),
            });
        }
        Ok(Self {
            points: Arc::new(points),
            stride: (*stride as u64).max(1),
        })
    }
}

fn cut_short() -> state::Error {
    state::Error::Mismatch {
        name: NAME.to_owned(),
        found: "a list that is cut short".to_owned(),
        expected: "whole points".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64, classes: usize) -> HistoryPoint {
        HistoryPoint {
            step,
            examples: step * 10,
            lambda: f64::INFINITY,
            log_s: -0.5,
            objective: 0.1,
            effective_sample_size: 0.9,
            kl_to_uniform: 0.01,
            max_weight: 2.0,
            clipped_share: 0.0,
            loss: 0.3,
            pr_auc: (step.is_multiple_of(2)).then_some(0.5),
            weight_share: vec![0.5; classes],
            example_share: vec![0.25; classes],
        }
    }

    #[test]
    fn a_long_run_stays_bounded_and_keeps_its_beginning() {
        let mut history = History::default();
        for step in 1..=100_000 {
            if history.wants(step) {
                history.push(point(step, 2));
            }
        }
        let points = history.points();
        assert!(points.len() < POINTS_MAX);
        assert!(points.len() > POINTS_MAX / 4);
        assert!(points[0].step <= 100_000 / 128);
        assert!(points.windows(2).all(|pair| pair[0].step < pair[1].step));
    }

    #[test]
    fn a_restored_history_is_the_saved_one() {
        let mut history = History::default();
        for step in 1..40 {
            history.push(point(step, 1 + (step as usize) / 20));
        }
        let mut state = State::default();
        history.save(&mut state);
        let restored = History::load(&state).unwrap();
        let mut again = State::default();
        restored.save(&mut again);
        // NaN stands for "no value", so the bits are compared, not the numbers.
        let bits = |state: &State| -> Vec<u64> {
            state
                .f64(NAME)
                .unwrap()
                .iter()
                .map(|v| v.to_bits())
                .collect()
        };
        assert_eq!(bits(&state), bits(&again));
        assert_eq!(restored.points().len(), 39);
    }
}
