//! What `prior_shift` divides the probability of each class by.
//!
//! Dividing a probability that is true by the share of its class weighs all classes alike (the rule that minimises the balanced
//! error). Those of a single learner need not be true: weights that grow with the loss lift the rare classes, and one of ten
//! examples was hardly learned yet. What makes such a class win as often as its rows deserve is then not its share, but the
//! probability that it gets on the average. So the divisor is the share, and where the mean probability is another number by
//! more than a tenth, what is beyond that tenth counts too.
//!
//! Memory: 32 bytes a class.

use crate::state::{Error, State};

/// Shares are taken over when what is divided by has changed by more than this for a class, in the logarithm.
const BAND: f64 = 0.05;
/// A class's share counts as at least this part of its share since the start: of a class that stays away the recent share says
/// less and less, and a lift without bound makes a false alarm of every row that is a little like it.
const LEAST_OF_ALL: f64 = 0.5;
/// How soon that bound on what is divided by goes when the class is back: it falls by this power of the share.
const BACK: i32 = 4;
/// So far a mean probability may be from the share, in the logarithm, and is taken for it.
const TOLERANCE: f64 = 0.1;
/// Examples, and so much probability, that a class is given beforehand when the two are compared.
const FEW: f64 = 0.3;
/// By so much at most a mean probability counts, whatever it is.
const MOST: f64 = 10.0;

/// Class shares and mean probabilities, fading, and what follows from them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Prior {
    /// Examples of each class, fading.
    recent: Vec<f64>,
    /// Probability that each class got of all examples, fading alike.
    given: Vec<f64>,
    /// Class shares in force.
    shares: Vec<f64>,
    /// What is divided by.
    divisors: Vec<f64>,
}

impl Prior {
    pub fn add_class(&mut self) {
        for of_classes in [
            &mut self.recent,
            &mut self.given,
            &mut self.shares,
            &mut self.divisors,
        ] {
            of_classes.push(0.0);
        }
    }

    /// Adds an example of class `label` as it was predicted; what was before it fades.
    pub fn observe(&mut self, label: usize, probabilities: &[f32], fade: f64) {
        for sum in self.recent.iter_mut().chain(&mut self.given) {
            *sum *= fade;
        }
        self.recent[label] += 1.0;
        for (sum, p) in self.given.iter_mut().zip(probabilities) {
            if p.is_finite() {
                *sum += f64::from(*p);
            }
        }
    }

    /// Class shares in force; 0 for a class that none was taken over of yet.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// What is divided by, class by class; 0 as long as nothing is.
    pub fn divisors(&self) -> &[f64] {
        &self.divisors
    }

    /// Takes the shares over if they have changed; `seen` are the examples of each class since the start.
    pub fn review(&mut self, seen: &[u64]) {
        let classes = self.recent.len() as f64;
        let total: f64 = self.recent.iter().sum();
        let ever = seen.iter().sum::<u64>() as f64;
        let lately = |recent: &f64| (recent + 1.0) / (total + classes);
        let least: Vec<f64> = seen
            .iter()
            .map(|seen| LEAST_OF_ALL * (*seen as f64 + 1.0) / (ever + classes))
            .collect();
        let shares = self.recent.iter().zip(&least);
        let shares: Vec<f64> = shares
            .map(|(recent, least)| lately(recent).max(*least))
            .collect();
        let sums = self.recent.iter().zip(&self.given).zip(&least);
        let divisors = sums.map(|((recent, given), least)| {
            let apart = ((given + FEW) / (recent + FEW)).ln();
            let apart = apart.clamp(-MOST.ln(), MOST.ln());
            let beyond = apart - apart.clamp(-TOLERANCE, TOLERANCE);
            let away = (least / lately(recent)).min(1.0).powi(BACK);
            (lately(recent) * beyond.exp()).max(least * away)
        });
        let divisors: Vec<f64> = divisors.collect();
        let moved = |(new, old): (&f64, &f64)| (new / old).ln().abs() > BAND;
        if divisors.iter().zip(&self.divisors).any(moved) {
            self.shares = shares;
            self.divisors = divisors;
        }
    }

    pub fn save(&self, state: &mut State) {
        state.put_f64("decision.recent", self.recent.clone());
        state.put_f64("decision.given", self.given.clone());
        state.put_f64("decision.shares", self.shares.clone());
        state.put_f64("decision.divisors", self.divisors.clone());
    }

    /// States of before mean probabilities were kept divide by the shares.
    pub fn load(classes: usize, state: &State) -> Result<Self, Error> {
        let read = |name: &str| Ok::<_, Error>(state.f64_exact(name, classes)?.to_vec());
        let or = |name: &str, before: &Vec<f64>| match state.blobs.contains_key(name) {
            true => read(name),
            false => Ok(before.clone()),
        };
        let recent = read("decision.recent")?;
        let shares = read("decision.shares")?;
        Ok(Self {
            given: or("decision.given", &recent)?,
            divisors: or("decision.divisors", &shares)?,
            recent,
            shares,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After 10,000 examples, every hundredth of class 1, which gets this probability of all.
    fn prior(of_rare: f32) -> Prior {
        let mut prior = Prior::default();
        prior.add_class();
        prior.add_class();
        for number in 0..10_000 {
            let label = usize::from(number % 100 == 0);
            prior.observe(label, &[1.0 - of_rare, of_rare], 1.0);
        }
        prior.review(&[9_900, 100]);
        prior
    }

    #[test]
    fn probabilities_that_are_true_on_the_average_are_divided_by_the_shares() {
        for of_rare in [0.0095, 0.01, 0.0105] {
            let prior = prior(of_rare);
            assert_eq!(prior.divisors(), prior.shares());
            assert!((prior.shares()[1] - 0.01).abs() < 2e-4);
        }
    }

    #[test]
    fn a_class_that_is_given_too_little_is_lifted_further_and_one_given_too_much_less() {
        let tenth = TOLERANCE.exp();
        let low = prior(0.002);
        assert!((low.divisors()[1] / 0.002 - tenth).abs() < 0.05, "{low:?}");
        let high = prior(0.05);
        assert!(
            (high.divisors()[1] * tenth / 0.05 - 1.0).abs() < 0.05,
            "{high:?}"
        );
        assert!(
            (high.shares()[1] - 0.01).abs() < 2e-4,
            "the shares stay what they are"
        );
    }

    #[test]
    fn a_class_that_is_given_nothing_is_not_lifted_without_bound() {
        let never = prior(0.0);
        let least = never.shares()[1] / MOST;
        assert!(never.divisors()[1] >= least, "{never:?}");
    }

    #[test]
    fn a_probability_that_is_no_number_is_left_out() {
        let mut prior = prior(0.01);
        prior.observe(1, &[f32::NAN, f32::INFINITY], 1.0);
        prior.review(&[9_900, 101]);
        assert_eq!(prior.divisors(), prior.shares());
    }

    #[test]
    fn a_class_that_stays_away_is_divided_by_its_mean_and_at_least_by_what_it_keeps() {
        let mut prior = prior(0.01);
        let fade = 0.5f64.powf(1.0 / 1_000.0);
        for _ in 0..20_000 {
            prior.observe(0, &[0.9983, 0.0017], fade);
        }
        prior.review(&[29_900, 100]);
        // 100 of 30,000 since the start, of which half is kept; it is still given a little.
        assert!((prior.shares()[1] - 0.0017).abs() < 2e-4, "{prior:?}");
        assert!((0.0016..0.008).contains(&prior.divisors()[1]), "{prior:?}");
        for _ in 0..20_000 {
            prior.observe(0, &[1.0, 0.0], fade);
        }
        prior.review(&[49_900, 100]);
        assert_eq!(
            prior.divisors()[1],
            prior.shares()[1],
            "nor is it lifted beyond that"
        );
        assert!((prior.shares()[1] - 0.001).abs() < 1e-4, "{prior:?}");
    }

    #[test]
    fn it_survives_its_state_and_one_from_before_divides_by_the_shares() {
        let prior = prior(0.05);
        let mut state = State::default();
        prior.save(&mut state);
        assert_eq!(Prior::load(2, &state), Ok(prior.clone()));
        assert!(Prior::load(3, &state).is_err());
        state.blobs.remove("decision.given");
        state.blobs.remove("decision.divisors");
        let before = Prior::load(2, &state).unwrap();
        assert_eq!(before.divisors(), prior.shares());
        assert_eq!(before.given, before.recent);
    }
}
