//! `skewd torture`: a crash test for a sceptic. It starts this program as a child, feeds it, kills it again and again, and
//! compares its state after every restart with that of a learner that was never disturbed.

mod feed;
mod settings;
mod victim;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Failure, TortureArgs};
use crate::config::Config;
use crate::crash::{self, Dice};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};

use feed::{Feed, Undisturbed, record};
use victim::Victim;

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A daemon that learns nothing for so long although records wait is stuck.
const STUCK: Duration = Duration::from_secs(15);
/// `learner.batch_size` of the settings.
const BATCH: u64 = 16;
/// Records of one request.
const POST: u64 = 23;

/// What became of the kills of one kind.
#[derive(Default)]
struct Row {
    kills: u64,
    identical: u64,
}

struct Torture {
    dir: PathBuf,
    feed: Feed,
    /// Settings of the child, and those of the stream beside them.
    file: PathBuf,
    settings: Vec<String>,
    points: Vec<&'static str>,
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
pub fn run(config: &Config, args: &TortureArgs) -> Result<(), Failure> {
    let feed = match (&args.brokers, &args.topic) {
        (Some(brokers), Some(topic)) => Feed::kafka(config, brokers, topic)?,
        _ => Feed::Embedded,
    };
    let dir = tempfile::Builder::new()
        .prefix("skewd-torture-")
        .tempdir()
        .map_err(|error| Failure::io(format!("no temporary folder: {error}")))?;
    let config = settings::settings(config)?;
    let file = dir.path().join("settings.toml");
    settings::write(&config, &file)?;
    let mut torture = Torture {
        dir: dir.path().join("data"),
        points: crash::POINTS
            .into_iter()
            .filter(|point| feed.passes(point))
            .collect(),
        settings: feed.settings(),
        file,
        feed,
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
            let place = self.points[self.dice.below(self.points.len() as u64) as usize];
            format!("{place}:{}", 1 + self.dice.below(6))
        });
        let kind = place
            .as_deref()
            .and_then(|place| place.split(':').next())
            .unwrap_or("at any moment")
            .to_owned();
        let Some(mut victim) =
            Victim::start(&self.dir, &self.file, &self.settings, place.as_deref())?
        else {
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
            match self.feed.send(&victim, self.acknowledged, count) {
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
        let mut victim = Victim::start(&self.dir, &self.file, &self.settings, None)?
            .ok_or_else(|| Failure::internal("an undisturbed daemon died at its start"))?;
        let next = self.feed.end(&victim)?;
        self.lost += self.acknowledged.saturating_sub(next);
        // A request that was cut off may have been stored all the same.
        self.acknowledged = next;
        let learnable = self.learnable(&mut victim, next)?;
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
    fn learnable(&mut self, victim: &mut Victim, next: u64) -> Result<u64, Failure> {
        while self.counted < next {
            self.good += u64::from(!record(self.counted).starts_with("{b"));
            self.counted += 1;
        }
        let full = self.good / BATCH * BATCH;
        if full == 0 {
            return Ok(0);
        }
        let (mut moved, mut learned) = (Instant::now(), None);
        loop {
            let now = victim
                .get("/v1/model")
                .and_then(|model| model["examples"].as_u64());
            if now >= Some(full) {
                return Ok(full);
            }
            if now != learned {
                (moved, learned) = (Instant::now(), now);
            }
            let ended = now.is_none() && victim.has_ended();
            if ended || moved.elapsed() > STUCK {
                return Err(Failure::internal(format!(
                    "the daemon has learned {} of {full} examples {}; repeat it with the same --seed",
                    learned.unwrap_or(0),
                    if ended {
                        "and has ended"
                    } else {
                        "and does not go on"
                    }
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
