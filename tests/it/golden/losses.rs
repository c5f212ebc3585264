//! Focal and LDAM losses, their gradients, and class weights, as recorded in f64.

use serde_json::Value;
use skewd::loss::{
    ClassBalanced, Kind, Lesson, Objective, Settings, balanced_weights, effective_number, margins,
};

use super::{F64, all_close, close, flat, golden, number, numbers, wide};

/// The recorded logits are decimals, which f32 holds to 6e-8 of their size; LDAM multiplies that by its scale.
const LOGITS: f64 = 1e-6;

fn learn(recorded: &Value, settings: &Settings, logits: &Value) -> Lesson {
    let counts = numbers(&recorded["class_counts"]);
    let labels: Vec<u32> = flat(&recorded["labels"])
        .iter()
        .map(|y| *y as u32)
        .collect();
    let objective = Objective {
        settings,
        counts: &counts,
    };
    let mut lesson = Lesson::default();
    objective.learn(&flat(logits), 3, &labels, &mut lesson);
    lesson
}

fn losses_of(lesson: &Lesson) -> Vec<f64> {
    let weighted = lesson.losses.iter().zip(&lesson.outside);
    weighted.map(|(loss, outside)| loss * outside).collect()
}

#[track_caller]
fn same(what: &str, lesson: &Lesson, losses: &Value, gradients: &Value, tolerance: f64) {
    all_close(
        what,
        &losses_of(lesson),
        &numbers(losses),
        tolerance,
        LOGITS,
    );
    let expected = wide(&flat(gradients));
    all_close(
        what,
        &wide(&lesson.gradients),
        &expected,
        tolerance,
        tolerance,
    );
}

#[test]
fn focal_losses_and_their_gradients_are_as_recorded() {
    let recorded = golden("losses.json");
    for case in recorded["focal"].as_array().unwrap() {
        let mut settings = Settings {
            kind: Kind::Focal,
            focal_gamma: number(&case["gamma"]),
            ..Settings::default()
        };
        let lesson = learn(&recorded, &settings, &recorded["logits"]);
        let what = format!("focal, gamma {}", case["gamma"]);
        same(&what, &lesson, &case["loss"], &case["dloss_dz"], LOGITS);
        for class_balanced in [ClassBalanced::Outside, ClassBalanced::Inside] {
            settings.class_balanced = class_balanced;
            let lesson = learn(&recorded, &settings, &recorded["logits"]);
            all_close(
                &format!("{what}, {class_balanced:?}"),
                &losses_of(&lesson),
                &numbers(&case["weighted_outside"]),
                LOGITS,
                LOGITS,
            );
        }
    }
}

#[test]
fn ldam_losses_margins_and_gradients_are_as_recorded() {
    let recorded = golden("losses.json");
    let ldam = &recorded["ldam"];
    let mut settings = Settings {
        kind: Kind::Ldam,
        ldam_max_margin: number(&ldam["max_m"]),
        ldam_scale: number(&ldam["s"]),
        ..Settings::default()
    };
    let mut found = Vec::new();
    margins(
        &numbers(&recorded["class_counts"]),
        settings.ldam_max_margin,
        &mut found,
    );
    all_close("margins", &found, &numbers(&ldam["margins"]), F64, F64);
    let tolerance = LOGITS * settings.ldam_scale;
    let lesson = learn(&recorded, &settings, &ldam["logits"]);
    same("ldam", &lesson, &ldam["loss"], &ldam["dloss_dz"], tolerance);
    let cosines = &recorded["ldam_cosines"];
    let lesson = learn(&recorded, &settings, &cosines["cos_logits"]);
    same(
        "ldam of cosines",
        &lesson,
        &cosines["loss"],
        &cosines["dloss_dcos"],
        tolerance,
    );
    settings.class_balanced = ClassBalanced::Inside;
    let lesson = learn(&recorded, &settings, &ldam["logits"]);
    all_close(
        "class-weighted ldam",
        &lesson.losses,
        &numbers(&ldam["class_weighted_loss"]),
        tolerance,
        LOGITS,
    );
}

#[test]
fn class_weights_by_effective_number_are_as_recorded() {
    let recorded = golden("losses.json");
    let mut weights = Vec::new();
    for case in recorded["cb"].as_array().unwrap() {
        let (counts, beta) = (numbers(&case["counts"]), number(&case["beta"]));
        let numbers_found = counts.iter().map(|count| effective_number(*count, beta));
        for (found, expected) in numbers_found.zip(numbers(&case["effective_number"])) {
            close("effective number", found, expected, F64, F64);
        }
        balanced_weights(&counts, beta, &mut weights);
        let expected = numbers(&case["normalised_sum_K"]);
        all_close("weights", &weights, &expected, F64, F64);
    }
    balanced_weights(
        &numbers(&recorded["class_counts"]),
        Settings::default().class_balanced_beta,
        &mut weights,
    );
    let used = numbers(&recorded["class_weights_used"]);
    all_close("weights used", &weights, &used, F64, F64);
}
