//! What the learners did: how well they ranked the rare classes, and whom the learning listened to.

use std::sync::Arc;

use plotly::common::{Marker, Mode};
use plotly::layout::AxisType;
use plotly::{Bar, Scatter};

use super::{Chart, Learner, SHARE, colour, escape, line, plot};

/// Points of a precision-recall curve: more than a screen can show would only make the page heavy.
const CURVE_POINTS: usize = 500;

pub(super) fn over_the_stream(
    classes: &[Arc<str>],
    rare: &[usize],
    learners: &[Learner<'_>],
) -> Chart {
    let mut plot = plot(
        "share of the stream, %",
        AxisType::Linear,
        "PR-AUC, rare",
        SHARE,
    );
    for (
        index,
        Learner {
            name, predictions, ..
        },
    ) in learners.iter().enumerate()
    {
        let windows = predictions.windows(classes);
        let step = 100.0 / windows.len().max(1) as f64;
        let x: Vec<f64> = (1..=windows.len())
            .map(|window| window as f64 * step)
            .collect();
        let y: Vec<Option<f64>> = windows.iter().map(|window| window.pr_auc_rare).collect();
        let trace = Scatter::new(x, y).mode(Mode::LinesMarkers);
        plot.add_trace(trace.name(escape(name)).line(line(index)));
    }
    let names: Vec<&str> = rare.iter().map(|&class| &*classes[class]).collect();
    Chart {
        heading: "Rare classes over the stream".to_owned(),
        note: format!(
            "Average precision in each tenth of the stream, every example predicted before it was \
             learned. Rare: {}. A gap means fewer than five examples.",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ),
        plot,
    }
}

pub(super) fn precision_recall(class: &str, index: usize, learners: &[Learner<'_>]) -> Chart {
    let mut plot = plot("recall", AxisType::Linear, "precision", SHARE);
    for (
        learner,
        Learner {
            name, predictions, ..
        },
    ) in learners.iter().enumerate()
    {
        let (x, y): (Vec<f64>, Vec<f64>) = predictions
            .curve(index, CURVE_POINTS)
            .into_iter()
            .map(|point| (point.recall, point.precision))
            .unzip();
        plot.add_trace(
            Scatter::new(x, y)
                .mode(Mode::Lines)
                .name(escape(name))
                .line(line(learner)),
        );
    }
    Chart {
        heading: format!("Precision against recall of {class}"),
        note: "Over the whole stream, the first unlearned examples included: what each threshold on its \
               probability would have caught, and how often rightly."
            .to_owned(),
        plot,
    }
}

pub(super) fn shares(classes: &[Arc<str>], learners: &[Learner<'_>]) -> Chart {
    let x: Vec<String> = classes.iter().map(|class| escape(class)).collect();
    // Names that look like numbers are still names.
    let mut plot = plot("", AxisType::Category, "share", SHARE);
    let mut examples_drawn = false;
    for (
        index,
        Learner {
            name, predictions, ..
        },
    ) in learners.iter().enumerate()
    {
        let shares = predictions.shares(classes.len());
        if shares.is_empty() {
            continue;
        }
        if !examples_drawn {
            let y: Vec<f64> = shares.iter().map(|share| share.examples).collect();
            let bar = Bar::new(x.clone(), y).name("of the examples");
            plot.add_trace(bar.marker(Marker::new().color("#bbbbbb")));
            examples_drawn = true;
        }
        let y: Vec<f64> = shares.iter().map(|share| share.weight).collect();
        let bar = Bar::new(x.clone(), y).name(format!("of the weight: {}", escape(name)));
        plot.add_trace(bar.marker(Marker::new().color(colour(index))));
    }
    Chart {
        heading: "Who the learning listened to".to_owned(),
        note:
            "Each class's share of the sum of the example weights beside its share of the examples."
                .to_owned(),
        plot,
    }
}
