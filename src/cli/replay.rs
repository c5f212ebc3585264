//! `skewd replay`: the daemon's pipeline over recorded examples, at full speed.
//!
//! One thread reads and decodes; the learners run on the other cores and see every record in the same order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::lane::Lane;
use super::report::{Input, LearnerReport, Report, write_predictions};
use super::{Failure, ReplayArgs, grid, plot, recorded};
use crate::codec::{Intake, Schema};
use crate::config::Config;
use crate::evaluate::{Exact, PerClass};
use crate::example::{Arrival, Outcome};
use crate::learner::{Event, StepReport};
use crate::stream::file::FileSource;
use crate::stream::{self, Polled, Source};

/// Records that travel together from the decoder to the learners, few enough to arrive in a cache.
const CHUNK_RECORDS: usize = 512;
/// Chunks that may wait for a learner: enough to keep it busy, little memory.
const CHUNKS_WAITING: usize = 8;

/// Decoded records, shared by every learner.
struct Chunk {
    schema: Option<Arc<Schema>>,
    last_pass_begins: bool,
    arrivals: Vec<Arrival>,
}

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
            vec![(0, lane)],
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
    let (mut lanes, counted) = std::thread::scope(|scope| {
        let (inputs, workers) = start_workers(scope, lanes);
        let counted = decode(&mut source, &mut intake, args, &inputs, &bar);
        drop(inputs);
        let mut lanes = Vec::new();
        for worker in workers {
            let done = worker
                .join()
                .map_err(|_| Failure::internal("a learner's thread died"))?;
            lanes.extend(done.map_err(Failure::internal)?);
        }
        lanes.sort_by_key(|(place, _)| *place);
        Ok::<_, Failure>((lanes, counted?))
    })?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    intake.end();
    for warning in intake.take_warnings() {
        tracing::warn!("{warning}");
    }
    if let Some((_, first)) = lanes.first_mut() {
        for notice in intake.take_notices() {
            first.learner.notice(notice);
        }
    }
    if let Some(first) = source.nothing_parsed(&counted.rejected, counted.rows) {
        return Err(Failure::data(first));
    }
    finish(config, args, lanes, counted, seconds)
}

/// The way to the learners and back: what they are done with is freed where it was allocated, which is faster.
struct Lines {
    chunks: Vec<SyncSender<Arc<Chunk>>>,
    done: Receiver<Arc<Chunk>>,
}

type Numbered = (usize, Lane);
type Worker<'scope> =
    std::thread::ScopedJoinHandle<'scope, Result<Vec<Numbered>, crate::learner::Error>>;

/// Spreads the learners over the cores that the decoder leaves.
fn start_workers<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    lanes: Vec<Lane>,
) -> (Lines, Vec<Worker<'scope>>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.saturating_sub(1).clamp(1, lanes.len());
    let mut shares: Vec<Vec<Numbered>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, lane) in lanes.into_iter().enumerate() {
        shares[place % threads].push((place, lane));
    }
    let (back, done) = channel();
    let start = |share| {
        let ((sender, receiver), back) = (sync_channel(CHUNKS_WAITING), back.clone());
        (sender, scope.spawn(move || learn(share, &receiver, &back)))
    };
    let (chunks, workers) = shares.into_iter().map(start).unzip();
    (Lines { chunks, done }, workers)
}

fn learn(
    mut lanes: Vec<Numbered>,
    chunks: &Receiver<Arc<Chunk>>,
    back: &Sender<Arc<Chunk>>,
) -> Result<Vec<Numbered>, crate::learner::Error> {
    while let Ok(chunk) = chunks.recv() {
        for (_, lane) in &mut lanes {
            if let Some(schema) = &chunk.schema {
                let _: Option<StepReport> =
                    lane.learner.handle(Event::Schema(Arc::clone(schema)))?;
            }
            if chunk.last_pass_begins {
                lane.begin_last_pass();
            }
            lane.take(&chunk.arrivals)?;
        }
        let _ = back.send(chunk);
    }
    for (_, lane) in &mut lanes {
        lane.finish()?;
    }
    Ok(lanes)
}

/// Reads, decodes, counts and hands over, until the input or the limit ends.
fn decode(
    source: &mut FileSource,
    intake: &mut Intake,
    args: &ReplayArgs,
    learners: &Lines,
    bar: &ProgressBar,
) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    let mut records = Vec::new();
    let mut arrivals = Vec::new();
    let mut told = false;
    let mut hand_over = |intake: &Intake, arrivals: Vec<Arrival>, last_pass_begins: bool| {
        let chunk = Arc::new(Chunk {
            schema: intake.schema().filter(|_| !told).cloned(),
            last_pass_begins,
            arrivals,
        });
        told |= chunk.schema.is_some();
        learners.done.try_iter().for_each(drop);
        learners
            .chunks
            .iter()
            .all(|learner| learner.send(Arc::clone(&chunk)).is_ok())
    };
    for pass in 1..=args.passes {
        let last = pass == args.passes;
        if pass > 1 {
            source.rewind().map_err(data_error)?;
        }
        if last {
            counted = Counted::default();
            if !hand_over(intake, std::mem::take(&mut arrivals), true) {
                return Ok(counted);
            }
        }
        let mut left = args.limit.unwrap_or(u64::MAX);
        loop {
            let wanted = (CHUNK_RECORDS as u64).min(left) as usize;
            let end = wanted == 0
                || source
                    .poll(Duration::ZERO, wanted, &mut records)
                    .map_err(data_error)?
                    == Polled::End;
            left -= records.len() as u64;
            counted.rows += records.len() as u64;
            for record in records.drain(..) {
                intake.push(record, &mut arrivals);
            }
            if end {
                // A short input is discovered from all of it.
                intake
                    .finish_discovery(&mut arrivals)
                    .map_err(|reason| nothing_found(source, counted.rows, &args.files, &reason))?;
            }
            counted.add(&arrivals);
            bar.set_position(source.bytes_read() + u64::from(pass - 1) * source.bytes_total());
            let arrivals = std::mem::replace(&mut arrivals, Vec::with_capacity(CHUNK_RECORDS));
            if !hand_over(intake, arrivals, false) || end {
                break;
            }
        }
    }
    Ok(counted)
}

/// No record of the input gave a schema: because the file is no data at all, or for the reason that discovery gives.
fn nothing_found(source: &FileSource, rows: u64, files: &[PathBuf], reason: &str) -> Failure {
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
    lanes: Vec<Numbered>,
    counted: Counted,
    seconds: f64,
) -> Result<(), Failure> {
    let mut lanes: Vec<Lane> = lanes.into_iter().map(|(_, lane)| lane).collect();
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
