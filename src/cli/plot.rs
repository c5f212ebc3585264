//! `--plot`: one page that says how the learners did, readable without a network.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use plotly::common::{Anchor, DashType, Font, Line, Orientation};
use plotly::layout::{Axis, AxisType, BarMode, Legend, Margin};
use plotly::{Configuration, Layout, Plot};

use super::course::Course;
use crate::evaluate::{Exact, Metrics, rare_classes};

mod charts;
mod classes;
mod over_time;
mod scene;

/// One learner on the page.
pub struct Learner<'a> {
    /// What the report calls it.
    pub name: &'a str,
    /// Every prediction that it made.
    pub predictions: &'a Exact,
    /// Its figures over the whole stream.
    pub metrics: &'a Metrics,
}

/// What the members of a portfolio counted for in what was served.
pub struct Mixture<'a> {
    /// What the report calls the mixture.
    pub name: &'a str,
    /// The members' names, in the order of their shares.
    pub members: Vec<&'a str>,
    /// Their shares over the stream.
    pub course: &'a Course,
}

/// All that the page shows.
pub struct Scene<'a> {
    /// Its title.
    pub title: String,
    /// The classes by their index.
    pub classes: &'a [Arc<str>],
    /// The learners, what was served first.
    pub learners: Vec<Learner<'a>>,
    /// One a portfolio.
    pub mixtures: Vec<Mixture<'a>>,
}

/// One line colour a learner, distinguishable for the colour-blind (the palette of Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933",
];

/// Writes the page: average precision of the rare classes over the stream, the precision-recall curve of the rarest class,
/// per class its share of the learning beside its share of the examples, what the weights did over the stream, what each
/// member of a portfolio counted for, and the figures of each class.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, scene: &Scene<'_>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    page(&mut out, scene)?;
    out.flush()
}

/// [`write()`] into any writer.
///
/// # Errors
/// When the writer fails.
pub fn page(out: &mut impl Write, scene: &Scene<'_>) -> io::Result<()> {
    let title = escape(&scene.title);
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
    for (index, chart) in charts(scene).into_iter().enumerate() {
        writeln!(
            out,
            "<h2>{}</h2>\n<p>{}</p>",
            escape(&chart.heading),
            escape(&chart.note)
        )?;
        let plot = chart.plot.to_inline_html(Some(&format!("chart-{index}")));
        writeln!(out, "<div class=\"chart\">{plot}</div>")?;
    }
    if let Some(first) = scene.learners.first() {
        classes::write(out, first, scene.classes)?;
    }
    writeln!(out, "</body>\n</html>")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;\
                     padding:0 1rem;color:#222}.chart{height:440px}h2{margin-bottom:0}p{color:#555}\
                     table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
                     th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
                     th:first-child,td:first-child{text-align:left}";

/// One chart with the words around it.
struct Chart {
    heading: String,
    note: String,
    plot: Plot,
}

fn charts(scene: &Scene<'_>) -> Vec<Chart> {
    let (classes, learners) = (scene.classes, &scene.learners);
    let counts = learners
        .first()
        .map(|learner| learner.predictions.class_counts(classes.len()))
        .unwrap_or_default();
    let rare = rare_classes(&counts);
    let mut charts = vec![charts::over_the_stream(classes, &rare, learners)];
    if let Some(&rarest) = rare.iter().min_by_key(|&&class| counts[class]) {
        charts.push(charts::precision_recall(&classes[rarest], rarest, learners));
    }
    charts.push(charts::shares(classes, learners));
    if !rare.is_empty() {
        charts.push(over_time::weights(classes, &rare, learners));
    }
    charts.extend(scene.mixtures.iter().map(over_time::shares));
    charts
}

/// The range of an axis of shares.
const SHARE: Option<[f64; 2]> = Some([0.0, 1.02]);

fn plot(x: &str, x_type: AxisType, y: &str, range: Option<[f64; 2]>) -> Plot {
    let axis = |title: &str| Axis::new().title(title).zero_line(false);
    let legend = Legend::new()
        .orientation(Orientation::Horizontal)
        .y(1.02)
        .y_anchor(Anchor::Bottom);
    let upright = match range {
        Some(range) => axis(y).range(range.to_vec()),
        // Factors: twice as much is as far from 1 as half.
        None => axis(y).type_(AxisType::Log),
    };
    let mut plot = Plot::new();
    plot.set_layout(
        Layout::new()
            .x_axis(axis(x).type_(x_type))
            .y_axis(upright)
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
        let classes: [Arc<str>; 2] = ["ok".into(), class.into()];
        let metrics = exact.metrics(&classes);
        let mut course = Course::default();
        (0..u64::from(rows)).for_each(|row| course.note(row, &[0.25, 0.75]));
        let scene = Scene {
            title: "a & b.csv".to_owned(),
            classes: &classes,
            learners: vec![Learner {
                name: learner,
                predictions: &exact,
                metrics: &metrics,
            }],
            mixtures: vec![Mixture {
                name: learner,
                members: vec!["sgd", learner],
                course: &course,
            }],
        };
        let mut out = Vec::new();
        page(&mut out, &scene).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_draws_its_charts() {
        let page = page_of("fraud", "one", 400);
        assert!(page.contains("<title>a &amp; b.csv</title>"));
        assert_eq!(
            page.matches("Plotly.newPlot(").count()
                - script().unwrap().matches("Plotly.newPlot(").count(),
            5
        );
        // The figures of each class stand below: 20 of 100 are fraud, and all of them are found.
        assert!(
            page.contains("<tr><td>fraud</td><td>76</td><td>19.000 %</td>"),
            "{}",
            page.split("<table").nth(1).unwrap_or_default()
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
