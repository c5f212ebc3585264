//! What changed while the stream ran: the weights, and the learners' shares in what was served.

use std::sync::Arc;

use plotly::Scatter;
use plotly::common::{Mode, Visible};
use plotly::layout::AxisType;

use super::{Chart, Learner, Mixture, SHARE, escape, line, plot};
use crate::learner::portfolio::AVERAGE;

/// Parts of the stream in which the weights are added up.
const PARTS: usize = 50;
/// So many members are drawn in full; the others can be called up.
const DRAWN: usize = 8;

/// The weight of the rare classes over the stream.
pub(super) fn weights(classes: &[Arc<str>], rare: &[usize], learners: &[Learner<'_>]) -> Chart {
    let mut plot = plot(
        "share of the stream, %",
        AxisType::Linear,
        "share of weight / of examples",
        None,
    );
    // An average has the weights of its member.
    let own = learners.iter().enumerate();
    for (index, learner) in own.filter(|(_, learner)| !learner.name.ends_with(AVERAGE)) {
        let ratios = learner.predictions.weight_ratios(rare, PARTS);
        let step = 100.0 / ratios.len().max(1) as f64;
        let x: Vec<f64> = (1..=ratios.len()).map(|part| part as f64 * step).collect();
        let trace = Scatter::new(x, ratios).mode(Mode::LinesMarkers);
        plot.add_trace(trace.name(escape(learner.name)).line(line(index)));
    }
    let names: Vec<&str> = rare.iter().map(|&class| &*classes[class]).collect();
    Chart {
        heading: "What the weights did for the rare classes".to_owned(),
        note: format!(
            "Their share of the weight over their share of the examples, in each fiftieth of the stream: 1 is what a learner \
             without weights gives them, 3 is three times as much. Rare: {}.",
            names.join(", ")
        ),
        plot,
    }
}

/// What each member of a portfolio counted for.
pub(super) fn shares(mixture: &Mixture<'_>) -> Chart {
    let mut plot = plot("examples learned", AxisType::Linear, "share", SHARE);
    let last = mixture.course.last();
    let mut order: Vec<usize> = (0..mixture.members.len()).collect();
    let share = |member: &usize| last.get(*member).copied().unwrap_or(0.0);
    order.sort_by(|a, b| share(b).total_cmp(&share(a)));
    for (index, &member) in order.iter().enumerate() {
        let (x, y): (Vec<u64>, Vec<f64>) = mixture
            .course
            .points()
            .filter_map(|(examples, shares)| Some((examples, *shares.get(member)?)))
            .unzip();
        let trace = Scatter::new(x, y)
            .mode(Mode::Lines)
            .name(escape(mixture.members[member]))
            // Behind what is served, as in the other charts.
            .line(line(member + 1));
        plot.add_trace(if index < DRAWN {
            trace
        } else {
            trace.visible(Visible::LegendOnly)
        });
    }
    Chart {
        heading: format!("Who made what {} says", mixture.name),
        note: "The share of each learner in the mixture, which follows their scores on the stream itself; none falls to 0, so \
               that each can come back. Those that count least at the end are switched on by a click in the legend."
            .to_owned(),
        plot,
    }
}
