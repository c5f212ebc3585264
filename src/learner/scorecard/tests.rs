use super::*;

#[test]
fn a_band_ends_where_scores_end() {
    let of = |score, band| VoiceScore { score, band }.interval();
    assert_eq!(of(0.9, 0.2), [0.7, 1.0]);
    assert_eq!(of(0.1, 0.25), [0.0, 0.35]);
    assert_eq!(of(-0.25, 0.5), [-0.75, 0.0]);
}

/// The first voice ranks well, the second the wrong way round; one row in `rare` is rare.
fn card(rows: u64, rare: u64) -> Scorecard {
    let mut card = Scorecard::new(2, Objective::PrAuc);
    for row in 0..rows {
        let label = usize::from(row % rare == 0);
        let good = if label == 1 {
            0.8
        } else {
            (row % 7) as f32 / 10.0
        };
        let (good, bad) = ([1.0 - good, good], [good, 1.0 - good]);
        card.add(label, [&good[..], &bad].into_iter());
        card.conclude();
    }
    card
}

#[test]
fn a_voice_is_scored_by_how_it_ranks() {
    let card = card(600, 10);
    let [good, bad] = [0, 1].map(|voice| card.score(voice).unwrap().score);
    assert_eq!(good, 1.0);
    assert!(bad < 0.2, "{bad}");
}

#[test]
fn a_very_rare_class_waits_until_it_has_enough() {
    let early = card(4 * 3000, 3000);
    assert_eq!(early.score(0), None);
    assert!(early.rows.len() <= ROOM);
    // Those that stay stand for those that went.
    let weight: f64 = early.rows.iter().map(|row| row.weight).sum();
    assert!((weight - 12_000.0).abs() < 600.0, "{weight}");
    let later = card(6 * 3000, 3000);
    assert_eq!(later.score(0).unwrap().score, 1.0);
}

#[test]
fn a_card_survives_its_state() {
    let mut state = State::default();
    let card = card(5000, 30);
    card.save(&mut state);
    assert_eq!(Scorecard::load(2, Objective::PrAuc, &state), Ok(card));
}
