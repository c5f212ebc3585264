//! What the weights do: facts about the last step, and decayed sums per class.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::example::Lambda;
use crate::state::{self, State};

/// After this many examples of the stream a past example counts half in the sums per class. Long enough to hold a
/// hundred examples of a class of one percent, short enough to follow a drift within minutes of a busy stream.
pub const HALF_LIFE_EXAMPLES: f64 = 10_000.0;

/// Facts about one step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    effective_sample_size: f64,
    kl_to_uniform: f64,
    max_weight: f64,
    clipped_share: f64,
    mean_loss: f64,
}

impl Step {
    const NONE: Self = Self {
        effective_sample_size: f64::NAN,
        kl_to_uniform: f64::NAN,
        max_weight: f64::NAN,
        clipped_share: f64::NAN,
        mean_loss: f64::NAN,
    };
}

/// Sums of one class. `count` and `weight` are decayed alike, so their quotient is a mean weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Class {
    examples: u64,
    count: f64,
    weight: f64,
}

/// Weight statistics of a stream: part of the learning state, so a restart continues them.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightStatistics {
    step: Step,
    classes: Vec<Class>,
}

/// The statistics as served. A figure that does not exist yet is not finite, and `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightReport {
    /// Temperature λ, or `"inf"`.
    pub lambda: Lambda,
    /// Share γ of a new batch in the moving average.
    pub gamma: f64,
    /// ln s.
    pub log_s: f64,
    /// λ ln s, the running robust objective; the mean loss of the last batch for λ = inf.
    pub objective: f64,
    /// `(sum p)^2 / (B sum p^2)` of the last batch: 1 when all weigh the same, 1/B when one weighs all.
    pub effective_sample_size: f64,
    /// Divergence of the weights of the last batch, normalised, from the uniform distribution, in nats.
    pub kl_to_uniform: f64,
    /// Largest weight of the last batch.
    pub max_weight: f64,
    /// Share of the last batch that the cap held back.
    pub clipped_share: f64,
    /// Mean loss of the last batch before its update, in nats.
    pub mean_loss: f64,
    /// Per class, by name.
    pub classes: BTreeMap<String, ClassWeights>,
}

/// How one class fares. The shares are over a decaying window, see [`HALF_LIFE_EXAMPLES`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassWeights {
    /// Examples learned since the start.
    pub examples: u64,
    /// Mean weight of an example of this class.
    pub mean_weight: f64,
    /// Share of this class in the sum of all weights; these sum to 1.
    pub weight_share: f64,
    /// Share of this class in the examples; these sum to 1.
    pub example_share: f64,
}

impl Default for WeightStatistics {
    fn default() -> Self {
        Self::new()
    }
}

impl WeightStatistics {
    /// No class, nothing observed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            step: Step::NONE,
            classes: Vec::new(),
        }
    }

    /// Makes room for the next class index.
    pub fn add_class(&mut self) {
        self.classes.push(Class::default());
    }

    /// Takes in one learned batch: its losses before the update, its weights and class indices, one each per
    /// example, and how many of them the cap held back. An empty batch changes nothing.
    ///
    /// # Panics
    /// When the lengths differ or a class was not added.
    pub fn observe(&mut self, losses: &[f64], weights: &[f64], classes: &[u32], clipped: usize) {
        assert_eq!(losses.len(), weights.len(), "a weight for every loss");
        assert_eq!(losses.len(), classes.len(), "a class for every loss");
        if losses.is_empty() {
            return;
        }
        self.step = step_facts(losses, weights, clipped);
        let decay = (-(losses.len() as f64) / HALF_LIFE_EXAMPLES).exp2();
        for class in &mut self.classes {
            class.count *= decay;
            class.weight *= decay;
        }
        for (&weight, &class) in weights.iter().zip(classes) {
            let class = &mut self.classes[class as usize];
            class.examples += 1;
            class.count += 1.0;
            class.weight += weight;
        }
    }

    /// Examples learned of each class, since the start or decayed (see [`HALF_LIFE_EXAMPLES`]); fills `out`.
    pub fn counts(&self, decayed: bool, out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.classes.iter().map(|class| {
            if decayed {
                class.count
            } else {
                class.examples as f64
            }
        }));
    }

    /// The statistics under the names of the classes (`class_names[i]` is class i; classes without a name are left
    /// out of the map). `lambda`, `gamma` and `log_s` are those in force.
    #[must_use]
    pub fn report(
        &self,
        lambda: Lambda,
        gamma: f64,
        log_s: f64,
        class_names: &[Arc<str>],
    ) -> WeightReport {
        let count: f64 = self.classes.iter().map(|class| class.count).sum();
        let weight: f64 = self.classes.iter().map(|class| class.weight).sum();
        let classes = class_names.iter().zip(&self.classes).map(|(name, class)| {
            let figures = ClassWeights {
                examples: class.examples,
                mean_weight: class.weight / class.count,
                weight_share: class.weight / weight,
                example_share: class.count / count,
            };
            (name.to_string(), figures)
        });
        WeightReport {
            lambda,
            gamma,
            log_s,
            objective: if lambda.0.is_infinite() {
                self.step.mean_loss
            } else {
                lambda.0 * log_s
            },
            effective_sample_size: self.step.effective_sample_size,
            kl_to_uniform: self.step.kl_to_uniform,
            max_weight: self.step.max_weight,
            clipped_share: self.step.clipped_share,
            mean_loss: self.step.mean_loss,
            classes: classes.collect(),
        }
    }

    /// Writes the statistics under `weights.`.
    pub fn save(&self, state: &mut State) {
        let step = &self.step;
        state.put_f64(
            "weights.step",
            vec![
                step.effective_sample_size,
                step.kl_to_uniform,
                step.max_weight,
                step.clipped_share,
                step.mean_loss,
            ],
        );
        state.put_u64(
            "weights.examples",
            self.classes.iter().map(|c| c.examples).collect(),
        );
        state.put_f64(
            "weights.count",
            self.classes.iter().map(|c| c.count).collect(),
        );
        state.put_f64(
            "weights.weight",
            self.classes.iter().map(|c| c.weight).collect(),
        );
    }

    /// Reads what [`WeightStatistics::save`] wrote.
    ///
    /// # Errors
    /// When an entry is missing or of another shape.
    pub fn load(state: &State) -> Result<Self, state::Error> {
        let step = state.f64_exact("weights.step", 5)?;
        let examples = state.u64("weights.examples")?;
        let count = state.f64_exact("weights.count", examples.len())?;
        let weight = state.f64_exact("weights.weight", examples.len())?;
        let sums = examples.iter().zip(count).zip(weight);
        Ok(Self {
            step: Step {
                effective_sample_size: step[0],
                kl_to_uniform: step[1],
                max_weight: step[2],
                clipped_share: step[3],
                mean_loss: step[4],
            },
            classes: sums
                .map(|((&examples, &count), &weight)| Class {
                    examples,
                    count,
                    weight,
                })
                .collect(),
        })
    }
}

fn step_facts(losses: &[f64], weights: &[f64], clipped: usize) -> Step {
    let batch = losses.len() as f64;
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|p| p * p).sum();
    let divergence: f64 = weights
        .iter()
        .map(|p| p / sum)
        // q ln q -> 0 as q -> 0
        .map(|q| {
            if q > 0.0 {
                q * (q * batch).ln()
            } else {
                q * 0.0
            }
        })
        .sum();
    Step {
        effective_sample_size: sum * sum / (batch * squares),
        // rounding may leave a uniform batch a hair below 0; NaN (all weights 0) stays NaN
        kl_to_uniform: if divergence < 0.0 { 0.0 } else { divergence },
        max_weight: weights.iter().copied().fold(0.0, f64::max),
        clipped_share: clipped as f64 / batch,
        mean_loss: losses.iter().sum::<f64>() / batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn of_two_classes() -> WeightStatistics {
        let mut statistics = WeightStatistics::new();
        statistics.add_class();
        statistics.add_class();
        statistics
    }

    #[test]
    fn uniform_weights_use_the_whole_batch_and_have_no_divergence() {
        let mut statistics = of_two_classes();
        statistics.observe(&[1.0, 3.0], &[1.0, 1.0], &[0, 1], 0);
        let report = statistics.report(Lambda(f64::INFINITY), 0.1, 0.0, &names(&["a", "b"]));
        assert_eq!(report.effective_sample_size, 1.0);
        assert_eq!(report.kl_to_uniform, 0.0);
        assert_eq!(report.objective, 2.0, "the mean loss for lambda = inf");
    }

    #[test]
    fn one_heavy_example_leaves_one_part_of_the_batch() {
        let mut statistics = of_two_classes();
        statistics.observe(
            &[0.0, 0.0, 0.0, 9.0],
            &[0.0, 0.0, 0.0, 4.0],
            &[0, 0, 0, 1],
            1,
        );
        let report = statistics.report(Lambda(2.0), 0.1, 1.5, &names(&["a", "b"]));
        assert_eq!(report.effective_sample_size, 0.25);
        assert!((report.kl_to_uniform - 4f64.ln()).abs() < 1e-15);
        assert_eq!(
            (report.max_weight, report.clipped_share, report.objective),
            (4.0, 0.25, 3.0)
        );
    }

    #[test]
    fn shares_sum_to_one_and_mean_weights_explain_them() {
        let mut statistics = of_two_classes();
        for _ in 0..500 {
            statistics.observe(&[0.1, 0.2, 3.0], &[0.5, 0.7, 2.5], &[0, 0, 1], 0);
        }
        let report = statistics.report(Lambda(1.0), 0.1, 0.0, &names(&["common", "rare"]));
        let (common, rare) = (report.classes["common"], report.classes["rare"]);
        assert!((common.weight_share + rare.weight_share - 1.0).abs() < 1e-12);
        assert!((common.example_share + rare.example_share - 1.0).abs() < 1e-12);
        assert!((common.mean_weight - 0.6).abs() < 1e-12 && (rare.mean_weight - 2.5).abs() < 1e-12);
        assert_eq!((common.examples, rare.examples), (1000, 500));
    }

    #[test]
    fn an_example_counts_half_after_the_half_life() {
        let mut statistics = of_two_classes();
        statistics.observe(&[1.0; 100], &[1.0; 100], &[0; 100], 0);
        for _ in 0..100 {
            statistics.observe(&[1.0; 100], &[1.0; 100], &[1; 100], 0);
        }
        assert_eq!(HALF_LIFE_EXAMPLES, 100.0 * 100.0);
        assert!(
            (statistics.classes[0].count - 50.0).abs() < 1e-9,
            "{:?}",
            statistics.classes
        );
        assert_eq!(
            statistics.classes[0].examples, 100,
            "the total does not decay"
        );
    }

    #[test]
    fn what_is_not_known_yet_is_null_in_json() {
        let mut statistics = WeightStatistics::new();
        statistics.add_class();
        let report = statistics.report(
            Lambda(f64::INFINITY),
            0.1,
            f64::NEG_INFINITY,
            &names(&["a"]),
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["lambda"], "inf");
        for key in [
            "log_s",
            "objective",
            "effective_sample_size",
            "kl_to_uniform",
            "max_weight",
            "clipped_share",
        ] {
            assert!(json[key].is_null(), "{key}: {json}");
        }
        assert!(json["classes"]["a"]["mean_weight"].is_null());
        assert_eq!(json["classes"]["a"]["examples"], 0);
    }

    #[test]
    fn a_restored_state_reports_and_continues_the_same() {
        let mut statistics = of_two_classes();
        statistics.observe(&[0.1, 2.0], &[0.4, 1.7], &[0, 1], 1);
        let mut state = State::default();
        statistics.save(&mut state);
        let mut restored = WeightStatistics::load(&state).unwrap();
        for each in [&mut statistics, &mut restored] {
            each.observe(&[0.3], &[0.9], &[1], 0);
        }
        assert_eq!(restored, statistics);
    }
}
