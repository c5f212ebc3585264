//! Plain cross-entropy, and what must hold for every loss.

mod objectives;

use super::*;

fn losses(logits: &[f32], classes: usize, labels: &[u32]) -> Vec<f64> {
    let (mut probabilities, mut losses) = (Vec::new(), Vec::new());
    softmax_cross_entropy(logits, classes, labels, &mut probabilities, &mut losses);
    losses
}

#[test]
fn the_gradient_is_the_central_difference_of_the_losses() {
    let logits = [0.5f32, -1.25, 2.0, 0.0, 0.75, -3.0, 1.5, 1.25, -0.5];
    let (labels, coefficients) = ([0u32, 1, 2], [0.5f32, 2.0, 1.25]);
    let total = |logits: &[f32]| -> f64 {
        let each = losses(logits, 3, &labels);
        each.iter()
            .zip(coefficients)
            .map(|(l, c)| l * f64::from(c))
            .sum()
    };
    let (mut probabilities, mut dz) = (Vec::new(), Vec::new());
    softmax(&logits, 3, &mut probabilities);
    seed_gradient(&probabilities, 3, &labels, &coefficients, &mut dz);
    let h = 1.0 / 1024.0; // exact in f32, as are the sums: the losses are f64 all the way
    for i in 0..logits.len() {
        let (mut up, mut down) = (logits, logits);
        up[i] += h;
        down[i] -= h;
        let slope = (total(&up) - total(&down)) / (2.0 * f64::from(h));
        assert!(
            (slope - f64::from(dz[i])).abs() < 1e-6,
            "logit {i}: {slope} {}",
            dz[i]
        );
    }
}

#[test]
fn huge_logits_give_exact_losses() {
    assert_eq!(losses(&[1e5, -1e5, -1e5, 1e5], 2, &[1, 1]), [2e5, 0.0]);
}

#[test]
fn a_class_that_is_not_known_costs_what_probability_one_millionth_costs() {
    assert_eq!(losses(&[0.0, 0.0], 2, &[2]), [UNKNOWN_CLASS_LOSS]);
    assert_eq!(losses(&[], 0, &[0, 1]), [UNKNOWN_CLASS_LOSS; 2]);
    assert!((UNKNOWN_CLASS_LOSS + 1e-6f64.ln()).abs() < 1e-14);
    let mut dz = vec![9.0];
    seed_gradient(&[0.5, 0.5], 2, &[7], &[1.0], &mut dz);
    assert_eq!(dz, [0.0, 0.0]);
}

#[test]
fn what_is_not_finite_shows_in_the_loss() {
    for bad in [f32::NAN, f32::INFINITY] {
        let each = losses(&[0.0, bad, 0.0, 1.0], 2, &[0, 0]);
        assert!(!each[0].is_finite() && each[1].is_finite(), "{each:?}");
    }
    assert!(!losses(&[f32::NEG_INFINITY; 2], 2, &[0])[0].is_finite());
}

#[test]
fn probabilities_sum_to_one_and_do_not_depend_on_a_shift() {
    let (mut plain, mut shifted) = (Vec::new(), Vec::new());
    softmax(&[1.0, 2.0, 4.0], 3, &mut plain);
    softmax(&[1025.0, 1026.0, 1028.0], 3, &mut shifted);
    assert_eq!(plain, shifted);
    assert!((plain.iter().sum::<f32>() - 1.0).abs() < 1e-6);
}
