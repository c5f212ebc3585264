//! `--plot`: one page that says how the learners did, readable without a network.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use plotly::common::{Anchor, DashType, Font, Line, Marker, Mode, Orientation};
use plotly::layout::{Axis, AxisType, BarMode, Legend, Margin};
use plotly::{Bar, Configuration, Layout, Plot, Scatter};

use crate::evaluate::{Exact, rare_classes};

/// Points of a precision-recall curve: more than a screen can show would only make the page heavy.
const CURVE_POINTS: usize = 500;

/// One line colour a learner, distinguishable for the colour-blind (the palette of Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933",
];

/// Writes the page: average precision of the rare classes over the stream, the precision-recall curve of the
/// rarest class, and per class its share of the learning beside its share of the examples.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: &Path,
    title: &str,
    classes: &[Arc<str>],
    learners: &[(&str, &Exact)],
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    page(&mut out, title, classes, learners)?;
    out.flush()
}

/// [`write()`] into any writer.
///
/// # Errors
/// When the writer fails.
pub fn page(
    out: &mut impl Write,
    title: &str,
    classes: &[Arc<str>],
    learners: &[(&str, &Exact)],
) -> io::Result<()> {
    let title = escape(title);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"
    )?;
    writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\">"
    )?;
    writeln!(out, "<title>{title}</title>\n<style>{STYLE}</style>")?;
    writeln!(out, "{}\n</head>\n<body>\n<h1>{title}</h1>", script()?)?;
    for (index, chart) in charts(classes, learners).into_iter().enumerate() {
        writeln!(
            out,
            "<h2>{}</h2>\n<p>{}</p>",
            escape(&chart.heading),
            escape(&chart.note)
        )?;
        let plot = chart.plot.to_inline_html(Some(&format!("chart-{index}")));
        writeln!(out, "<div class=\"chart\">{plot}</div>")?;
    }
    writeln!(out, "</body>\n</html>")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;\
                     padding:0 1rem;color:#222}.chart{height:440px}h2{margin-bottom:0}p{color:#555}";

/// One chart with the words around it.
struct Chart {
    heading: String,
    note: String,
    plot: Plot,
}

fn charts(classes: &[Arc<str>], learners: &[(&str, &Exact)]) -> Vec<Chart> {
    let counts = learners
        .first()
        .map(|(_, predictions)| predictions.class_counts(classes.len()))
        .unwrap_or_default();
    let rare = rare_classes(&counts);
    let mut charts = vec![over_the_stream(classes, &rare, learners)];
    if let Some(&rarest) = rare.iter().min_by_key(|&&class| counts[class]) {
        charts.push(precision_recall(&classes[rarest], rarest, learners));
    }
    charts.push(shares(classes, learners));
    charts
}

fn over_the_stream(classes: &[Arc<str>], rare: &[usize], learners: &[(&str, &Exact)]) -> Chart {
    let mut plot = plot("share of the stream, %", AxisType::Linear, "PR-AUC, rare");
    for (index, (name, predictions)) in learners.iter().enumerate() {
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

fn precision_recall(class: &str, index: usize, learners: &[(&str, &Exact)]) -> Chart {
    let mut plot = plot("recall", AxisType::Linear, "precision");
    for (learner, (name, predictions)) in learners.iter().enumerate() {
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

fn shares(classes: &[Arc<str>], learners: &[(&str, &Exact)]) -> Chart {
    let x: Vec<String> = classes.iter().map(|class| escape(class)).collect();
    // Names that look like numbers are still names.
    let mut plot = plot("", AxisType::Category, "share");
    let mut examples_drawn = false;
    for (index, (name, predictions)) in learners.iter().enumerate() {
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

fn plot(x: &str, x_type: AxisType, y: &str) -> Plot {
    let axis = |title: &str| Axis::new().title(title).zero_line(false);
    let legend = Legend::new()
        .orientation(Orientation::Horizontal)
        .y(1.02)
        .y_anchor(Anchor::Bottom);
    let mut plot = Plot::new();
    plot.set_layout(
        Layout::new()
            .x_axis(axis(x).type_(x_type))
            .y_axis(axis(y).range(vec![0.0, 1.02]))
            .bar_mode(BarMode::Group)
            .font(Font::new().size(13))
            .margin(Margin::new().left(60).right(20).top(20).bottom(50))
            .legend(legend),
    );
    plot.set_configuration(Configuration::new().responsive(true).display_logo(false));
    plot
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Colours repeat after eight learners; the dashes then tell them apart.
fn line(index: usize) -> Line {
    let dash = match index / COLOURS.len() {
        0 => DashType::Solid,
        1 => DashType::Dash,
        _ => DashType::Dot,
    };
    Line::new().color(colour(index)).dash(dash)
}

/// The plotting library itself.
fn script() -> io::Result<String> {
    let library = crate::serve::plotly_js()?;
    Ok(format!("<script>{library}</script>"))
}

/// Text as it may stand in HTML, and in chart labels, which read a few tags and these entities only.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Scored;

    fn page_of(class: &str, learner: &str, rows: u32) -> String {
        let mut exact = Exact::new();
        for row in 0..rows {
            let fraud = (row * 37 % 100) as f32 / 100.0;
            exact.push(Scored {
                row: row.into(),
                label: u32::from(fraud > 0.8),
                weight: Some(1.0),
                time: None,
                probabilities: &[1.0 - fraud, fraud],
            });
        }
        let mut out = Vec::new();
        let classes = ["ok".into(), class.into()];
        page(&mut out, "a & b.csv", &classes, &[(learner, &exact)]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_draws_three_charts() {
        let page = page_of("fraud", "one", 400);
        assert!(page.contains("<title>a &amp; b.csv</title>"));
        assert_eq!(
            page.matches("Plotly.newPlot(").count()
                - script().unwrap().matches("Plotly.newPlot(").count(),
            3
        );
        assert_eq!(
            page.matches("<script").count(),
            page.matches("</script>").count()
        );
        for outside in ["src=\"http", "href=\"http", "MathJax.js"] {
            let own = page.replace(&script().unwrap(), "");
            assert!(!own.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_class_name_cannot_leave_its_label() {
        let page = page_of("</script><script>alert(1)</script>", "<b>&", 400)
            .replace(&script().unwrap(), "");
        assert!(
            !page.contains("<script>alert"),
            "the class name became markup"
        );
        assert!(!page.contains("<b>"), "the learner's name became markup");
    }

    #[test]
    fn a_run_without_examples_still_has_a_page() {
        assert!(page_of("fraud", "one", 0).contains("Rare: none"));
    }
}
