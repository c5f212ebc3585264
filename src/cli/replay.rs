//! `skewd replay`: the daemon's pipeline over recorded examples, at full speed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::lane::Lane;
use super::report::{Input, LearnerReport, Report, write_predictions};
use super::{Failure, ReplayArgs, grid, pipeline, plot, recorded};
use crate::codec::Intake;
use crate::config::Config;
use crate::evaluate::{Exact, PerClass};
use crate::example::{Arrival, Outcome};
use crate::stream;
use crate::stream::file::FileSource;

/// What the decoder counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) rows: u64,
    rejected: BTreeMap<&'static str, u64>,
    classes: Vec<u64>,
}

/// Runs the command.
///
/// # Errors
/// 65 for data that is neither CSV nor JSON, 74 for files, 78 for settings.
pub fn run(config: &Config, args: &ReplayArgs) -> Result<(), Failure> {
    if let Some(dir) = &args.journal {
        let started = Instant::now();
        let (lane, counted) = recorded::run(config, args, dir)?;
        return finish(
            config,
            args,
            vec![lane],
            counted,
            started.elapsed().as_secs_f64(),
        );
    }
    let lanes = grid::combinations(config, &args.grid)?;
    let mut source = FileSource::open(&args.files, &config.schema.label).map_err(data_error)?;
    let mut intake = Intake::new(&config.schema, None);
    if let Some(columns) = source.columns() {
        intake
            .set_columns(columns.to_vec())
            .map_err(|error| Failure::data(format!("{}: {error}", args.files[0].display())))?;
    }
    let started = Instant::now();
    let bar = progress_bar(source.bytes_total() * u64::from(args.passes));
    let (mut lanes, counted) = pipeline::run(&mut source, &mut intake, args, lanes, &bar)?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    intake.end();
    if let Some(first) = lanes.first_mut() {
        for notice in intake.take_notices() {
            first.learner.notice(notice);
        }
    }
    if let Some(first) = source.nothing_parsed(&counted.rejected, counted.rows) {
        for lane in &mut lanes {
            crate::telemetry::warn(&lane.learner.take_warnings());
        }
        return Err(Failure::data(first));
    }
    finish(config, args, lanes, counted, seconds)
}

/// No record of the input gave a schema: because the file is no data at all, or for the reason that discovery gives.
pub(super) fn nothing_found(
    source: &FileSource,
    rows: u64,
    files: &[PathBuf],
    reason: &str,
) -> Failure {
    let all_bad = BTreeMap::from([("syntax", rows)]);
    Failure::data(
        source
            .nothing_parsed(&all_bad, rows)
            .unwrap_or_else(|| format!("{}: {reason}", shown(files))),
    )
}

impl Counted {
    pub(super) fn add(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            match &arrival.outcome {
                Outcome::Example { example, .. } => {
                    let class = example.class as usize;
                    if self.classes.len() <= class {
                        self.classes.resize(class + 1, 0);
                    }
                    self.classes[class] += 1;
                }
                Outcome::Rejected { reject, .. } => {
                    *self.rejected.entry(reject.reason.as_str()).or_insert(0) += 1;
                }
                Outcome::Unlabelled => {}
            }
        }
    }
}

fn progress_bar(bytes: u64) -> ProgressBar {
    // Draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new(bytes);
    let template = "{bar:32} {percent:>3} %  {bytes_per_sec:>12}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What a stream's error means for a command that reads files.
pub(super) fn data_error(error: stream::Error) -> Failure {
    match error {
        stream::Error::Data(text) => Failure::data(text),
        other => Failure::io(other),
    }
}

fn finish(
    config: &Config,
    args: &ReplayArgs,
    mut lanes: Vec<Lane>,
    counted: Counted,
    seconds: f64,
) -> Result<(), Failure> {
    let Some(warnings) = lanes.first_mut().map(|first| first.learner.take_warnings()) else {
        return Err(Failure::internal("a replay without a learner"));
    };
    crate::telemetry::warn(&warnings);
    let first = &lanes[0];
    let names = first.learner.all_classes();
    let mut learners = Vec::new();
    for lane in &lanes {
        learners.extend(reports(lane, &names, lanes.len() > 1)?);
    }
    let report = Report {
        seconds,
        examples_per_second: counted.classes.iter().sum::<u64>() as f64 * f64::from(args.passes)
            / seconds.max(f64::MIN_POSITIVE),
        digest: digest(first)?,
        examples: first.learner.examples(),
        input: counted.into_input(&names),
        learners,
        warnings,
    };
    println!("{}", report.table());
    println!(
        "{} rows, {} examples learned in {seconds:.2} s, {:.0} a second; digest {}",
        report.input.rows, report.examples, report.examples_per_second, report.digest
    );
    for (reason, count) in &report.input.rejected {
        println!("rejected: {count} {reason}");
    }
    let exacts = lanes.iter().flat_map(|lane| {
        let members = lane.members.iter().map(|(_, exact)| exact);
        std::iter::once(&lane.exact).chain(members)
    });
    let names_of = report.learners.iter().map(|learner| learner.name.as_str());
    let predictions: Vec<(&str, &Exact)> = names_of.zip(exacts).collect();
    let unwritten = |path: &Path| {
        let path = path.display().to_string();
        move |error| Failure::io(format!("{path} cannot be written: {error}"))
    };
    if let Some(path) = &args.report {
        report.write(path).map_err(unwritten(path))?;
    }
    if let Some(path) = &args.predictions {
        write_predictions(path, &names, &predictions).map_err(unwritten(path))?;
    }
    if let Some(path) = &args.plot {
        let title = format!("skewd replay of {}", shown(&args.files));
        let scene = plot::Scene::of(title, &names, &report, &predictions, &lanes);
        plot::write(path, &scene).map_err(unwritten(path))?;
    }
    if let Some(dir) = &args.save {
        super::checkpoints::save_replay(dir, config, &first.learner)?;
    }
    Ok(())
}

/// Figures of what was served, then of each member.
fn reports(
    lane: &Lane,
    names: &[Arc<str>],
    side_by_side: bool,
) -> Result<Vec<LearnerReport>, Failure> {
    let weights = |report| serde_json::to_value(report).map_err(Failure::internal);
    let mut served = LearnerReport::new(
        lane.name.as_str(),
        lane.settings.clone().into_iter().collect(),
        &lane.exact,
        names,
        weights(lane.learner.weight_report())?,
        lane.learner.decision(),
    );
    served.digest = Some(digest(lane)?);
    let mut reports = vec![served];
    for (index, (member, exact)) in lane.members.iter().enumerate() {
        let name = if side_by_side {
            format!("{} / {}", lane.name, member.name)
        } else {
            member.name.clone()
        };
        let mut settings = lane.settings.clone();
        settings.extend(member.settings());
        let report = lane.learner.weight_report_of(index);
        let mut report = LearnerReport::new(
            name,
            settings.into_iter().collect(),
            exact,
            names,
            weights(report.unwrap_or_else(|| lane.learner.weight_report()))?,
            lane.learner.decision(),
        );
        report.share = lane.learner.shares().get(index).copied();
        reports.push(report);
    }
    Ok(reports)
}

/// Digest of a lane's learning state; empty where not even the schema is known.
fn digest(lane: &Lane) -> Result<String, Failure> {
    let state = lane.learner.save().map_err(Failure::internal)?;
    Ok(state.map(|state| state.digest()).unwrap_or_default())
}

/// Paths as a person typed them.
fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

impl Counted {
    fn into_input(self, names: &[Arc<str>]) -> Input {
        Input {
            rows: self.rows,
            rejected: self
                .rejected
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
            classes: PerClass(
                names
                    .iter()
                    .enumerate()
                    .map(|(class, name)| {
                        (
                            Arc::clone(name),
                            self.classes.get(class).copied().unwrap_or(0),
                        )
                    })
                    .collect(),
            ),
        }
    }
}
