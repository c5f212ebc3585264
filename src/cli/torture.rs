//! `skewd torture`: a crash test for a sceptic. It starts this program as a child, feeds it, kills it again and again, and
//! compares its state after every restart with that of a learner that was never disturbed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::health::agent;
use super::{Failure, TortureArgs};
use crate::codec::Intake;
use crate::config::Config;
use crate::crash::{self, Dice};
use crate::example::Record;
use crate::learner::{Event, Learner};

/// Settings of the child and of the undisturbed learner. Checkpoints are so frequent that kills meet them being written.
const SETTINGS: [&str; 9] = [
    "schema.features=a,b,c,d",
    "model.hidden=[16]",
    "learner.batch_size=16",
    "learner.batch_linger_ms=off",
    "checkpoint.every_examples=64",
    "checkpoint.every_seconds=1",
    "evaluation.window=500",
    "http.listen=127.0.0.1:0",
    "admin.listen=127.0.0.1:0",
];
/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// `learner.batch_size` of the settings.
const BATCH: u64 = 16;
/// Records of one request.
const POST: u64 = 23;

/// The record at an offset; some are bad.
fn record(offset: u64) -> String {
    let mut dice = Dice::new(offset);
    if dice.below(29) == 0 {
        return "{broken".to_owned();
    }
    let rare = dice.below(20) == 0;
    let mut value = || (dice.below(2000) as f64 - 1000.0 + if rare { 900.0 } else { 0.0 }) / 1000.0;
    format!(
        r#"{{"a":{},"b":{},"c":{},"d":{},"label":"{}"}}"#,
        value(),
        value(),
        value(),
        value(),
        if rare { "rare" } else { "common" }
    )
}

/// The learner that nobody disturbs.
struct Undisturbed {
    intake: Intake,
    learner: Learner,
    offset: u64,
}

impl Undisturbed {
    fn new(config: &Config) -> Result<Self, Failure> {
        let intake = Intake::new(&config.schema, None);
        let mut learner = Learner::new(config.task()?);
        if let Some(schema) = intake.schema() {
            learner
                .handle(Event::Schema(Arc::clone(schema)))
                .map_err(Failure::internal)?;
        }
        Ok(Self {
            intake,
            learner,
            offset: 0,
        })
    }

    /// Digest after exactly so many examples; none when batches do not end there.
    fn digest_at(&mut self, examples: u64) -> Result<Option<String>, Failure> {
        let mut arrivals = Vec::new();
        while self.learner.examples() < examples {
            self.intake.push(
                Record::new(0, self.offset as i64, record(self.offset)),
                &mut arrivals,
            );
            self.offset += 1;
            for arrival in arrivals.drain(..) {
                self.learner
                    .handle(Event::Arrival(&arrival))
                    .map_err(Failure::internal)?;
            }
        }
        if self.learner.examples() != examples {
            return Ok(None);
        }
        let state = self.learner.save().map_err(Failure::internal)?;
        Ok(state.map(|state| state.digest()))
    }
}

/// A child that runs the daemon.
struct Victim {
    child: Child,
    address: String,
    admin: String,
}

impl Victim {
    /// Starts the daemon; none when the crash that was asked for came before it listened.
    fn start(dir: &Path, crash: Option<&str>) -> Result<Option<Self>, Failure> {
        let program = std::env::current_exe().map_err(Failure::io)?;
        let mut command = Command::new(program);
        command.args(["serve", "--log-format", "json", "--set"]);
        command.arg(format!("data_dir={}", dir.display()));
        for setting in SETTINGS {
            command.args(["--set", setting]);
        }
        command.env_remove(crash::VARIABLE);
        if let Some(crash) = crash {
            command.env(crash::VARIABLE, crash);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::io)?;
        let Some(log) = child.stderr.take() else {
            return Err(Failure::internal("the child has no log"));
        };
        let mut lines = BufReader::new(log).lines();
        let mut last = String::new();
        let serving = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            let text = |name: &str| entry[name].as_str().map(str::to_owned);
            last = line;
            (entry["message"] == "serving").then(|| Some((text("address")?, text("admin")?)))?
        });
        let Some((address, admin)) = serving else {
            let status = child.wait().map_err(Failure::io)?;
            return match status.code() {
                None => Ok(None),
                Some(code) => Err(Failure::internal(format!(
                    "the daemon did not start (exit {code}): {last}"
                ))),
            };
        };
        // What else it says is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Some(Self {
            child,
            address,
            admin,
        }))
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut answer = agent(PATIENCE)
            .get(format!("http://{}{path}", self.address))
            .call()
            .ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    /// Posts records from an offset on; how far the daemon has acknowledged, if it did.
    fn post(&self, from: u64, count: u64) -> Option<u64> {
        let body: Vec<String> = (from..from + count).map(record).collect();
        let mut answer = agent(PATIENCE)
            .post(format!("http://{}/v1/examples", self.address))
            .header("content-type", "application/x-ndjson")
            .send(body.join("\n"))
            .ok()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        answer["next_offset"].as_u64()
    }

    /// Examples and digest of a checkpoint made now; none when there is nothing to write down yet.
    fn checkpoint(&self, dir: &Path) -> Option<(u64, String)> {
        let token = std::fs::read_to_string(dir.join("admin.token")).ok()?;
        let mut answer = agent(PATIENCE)
            .post(format!("http://{}/v1/checkpoint", self.admin))
            .header("authorization", format!("Bearer {}", token.trim()))
            .send("")
            .ok()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        Some((
            answer["examples"].as_u64()?,
            answer["digest"].as_str()?.to_owned(),
        ))
    }

    fn kill(&mut self) {
        // One that has crashed already is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What became of the kills of one kind.
#[derive(Default)]
struct Row {
    kills: u64,
    identical: u64,
}

struct Torture {
    dir: PathBuf,
    dice: Dice,
    undisturbed: Undisturbed,
    acknowledged: u64,
    /// Records looked at, and how many of them are examples.
    counted: u64,
    good: u64,
    lost: u64,
    differing: u64,
    rows: BTreeMap<String, Row>,
}

/// Runs the command.
///
/// # Errors
/// 70 when a record was lost, learned twice, or a state differs.
pub fn run(args: &TortureArgs) -> Result<(), Failure> {
    let dir = tempfile::Builder::new()
        .prefix("skewd-torture-")
        .tempdir()
        .map_err(|error| Failure::io(format!("no temporary folder: {error}")))?;
    let settings: Vec<String> = SETTINGS.iter().map(|&setting| setting.to_owned()).collect();
    let config = Config::load(&[], std::iter::empty(), &settings)?;
    let mut torture = Torture {
        dir: dir.path().join("data"),
        dice: Dice::new(args.seed),
        undisturbed: Undisturbed::new(&config)?,
        acknowledged: 0,
        counted: 0,
        good: 0,
        lost: 0,
        differing: 0,
        rows: BTreeMap::new(),
    };
    let bar = ProgressBar::new(args.kills);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} kills  {eta} left") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    for number in 0..args.kills {
        torture.round(number)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    torture.report(args, begun.elapsed())
}

impl Torture {
    /// One life: start, compare, feed, die.
    fn round(&mut self, number: u64) -> Result<(), Failure> {
        // Every other death is at a named place of the write path, the others at any moment.
        let place = (number % 2 == 1).then(|| {
            let place = crash::POINTS[self.dice.below(crash::POINTS.len() as u64) as usize];
            format!("{place}:{}", 1 + self.dice.below(6))
        });
        let kind = place
            .as_deref()
            .and_then(|place| place.split(':').next())
            .unwrap_or("at any moment")
            .to_owned();
        let Some(mut victim) = Victim::start(&self.dir, place.as_deref())? else {
            self.verify(&kind)?;
            return Ok(());
        };
        let deadline = Instant::now() + Duration::from_millis(10 + self.dice.below(60));
        let posts = if place.is_some() { 40 } else { 6 };
        for _ in 0..posts {
            if place.is_none() && Instant::now() >= deadline {
                break;
            }
            let count = 1 + self.dice.below(POST);
            match victim.post(self.acknowledged, count) {
                Some(next) => self.acknowledged = next,
                None => break,
            }
        }
        if place.is_none() {
            let rest = deadline.saturating_duration_since(Instant::now());
            std::thread::sleep(rest);
        }
        victim.kill();
        self.verify(&kind)
    }

    /// Starts a daemon that is left in peace, and compares what it knows.
    fn verify(&mut self, kind: &str) -> Result<(), Failure> {
        let victim = Victim::start(&self.dir, None)?
            .ok_or_else(|| Failure::internal("an undisturbed daemon died at its start"))?;
        let next = victim
            .get("/v1/examples")
            .and_then(|bounds| bounds["next_offset"].as_u64())
            .ok_or_else(|| Failure::internal("the daemon does not tell how far its log goes"))?;
        self.lost += self.acknowledged.saturating_sub(next);
        // A request that was cut off may have been stored all the same.
        self.acknowledged = next;
        let learnable = self.learnable(&victim, next)?;
        let same = match victim.checkpoint(&self.dir) {
            None => learnable == 0,
            Some((examples, digest)) => {
                examples == learnable && self.undisturbed.digest_at(examples)? == Some(digest)
            }
        };
        let row = self.rows.entry(kind.to_owned()).or_default();
        row.kills += 1;
        if same {
            row.identical += 1;
        } else {
            self.differing += 1;
        }
        Ok(())
    }

    /// Waits until everything in the log was read; the examples that full batches of it give.
    fn learnable(&mut self, victim: &Victim, next: u64) -> Result<u64, Failure> {
        while self.counted < next {
            self.good += u64::from(!record(self.counted).starts_with("{b"));
            self.counted += 1;
        }
        let full = self.good / BATCH * BATCH;
        let deadline = Instant::now() + PATIENCE;
        if full == 0 {
            return Ok(0);
        }
        loop {
            let model = victim.get("/v1/model").unwrap_or_default();
            if model["examples"].as_u64() >= Some(full) {
                return Ok(full);
            }
            if Instant::now() > deadline {
                return Err(Failure::internal(format!(
                    "the daemon has learned {} of {full} examples and does not go on",
                    model["examples"]
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn report(&self, args: &TortureArgs, took: Duration) -> Result<(), Failure> {
        let mut table = Table::new();
        table.set_header(["killed", "times", "identical digests"]);
        for (kind, row) in &self.rows {
            table.add_row([
                kind.clone(),
                row.kills.to_string(),
                row.identical.to_string(),
            ]);
        }
        println!("{table}");
        let identical: u64 = self.rows.values().map(|row| row.identical).sum();
        println!(
            "{} kills in {:.0} s (seed {}): {identical} identical digests, {} differ; {} of {} acknowledged records lost",
            args.kills,
            took.as_secs_f64(),
            args.seed,
            self.differing,
            self.lost,
            self.acknowledged
        );
        if self.lost == 0 && self.differing == 0 {
            println!("0 lost, 0 learned twice");
            Ok(())
        } else {
            Err(Failure::internal(format!(
                "the crash test failed; repeat it with --kills {} --seed {}",
                args.kills, args.seed
            )))
        }
    }
}
