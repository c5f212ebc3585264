//! `skewd demo`: a daemon on a temporary stream, fed through the same HTTP ingest that a user would call.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::health::agent;
use super::{DemoArgs, Failure};
use crate::config::{self, Config};
use crate::daemon::Daemon;
use crate::stream::producer::row_to_json;

/// NASA's Statlog Shuttle, CC BY 4.0: see `data/README.md`.
const STREAM: &[u8] = include_bytes!("../../data/shuttle.csv.zst");
const CITATION: &str = "NASA's Statlog (Shuttle), UCI Machine Learning Repository, CC BY 4.0, \
                        https://doi.org/10.24432/C5WS31";
/// Posts a second, so that the page moves smoothly.
const POSTS_PER_SECOND: f64 = 10.0;
/// How long the daemon may not be heard of before that is a failure.
const SILENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether there is a model.
const READY_LOOK: Duration = Duration::from_millis(100);
/// A row to predict.
const ROW: &str = "[50,21,77,0,28,0,27,48,22]";

/// Runs the command.
///
/// # Errors
/// 64 for a busy port or a rate that is none, else what the daemon says.
pub fn run(files: &[PathBuf], set: &[String], args: &DemoArgs) -> Result<(), Failure> {
    if !(args.rate > 0.0 && args.rate <= 1e6) {
        return Err(Failure::usage(
            "--rate must be a positive number of examples a second",
        ));
    }
    let records = records()?;
    let dir = tempfile::Builder::new()
        .prefix("skewd-demo-")
        .tempdir()
        .map_err(|error| Failure::io(format!("no temporary folder: {error}")))?;
    let mut set = set.to_vec();
    set.push(format!("data_dir={}", dir.path().display()));
    set.push("source.kind=embedded".to_owned());
    set.push(format!("http.listen={}", args.listen));
    if !set
        .iter()
        .any(|assignment| assignment.starts_with("admin.listen"))
    {
        // Two demos side by side need two admin ports, and nobody has to know this one.
        set.push("admin.listen=127.0.0.1:0".to_owned());
    }
    let config = Config::load(files, config::environment()?.into_iter(), &set)?;
    let daemon = Daemon::start(config).map_err(|failure| name_the_flag(failure, &args.listen))?;
    let stop = Arc::new(AtomicBool::new(false));
    let lost = Arc::new(Mutex::new(None));
    let feeder = {
        let (stop, lost) = (Arc::clone(&stop), Arc::clone(&lost));
        let (address, rate) = (daemon.address().to_string(), args.rate);
        std::thread::Builder::new()
            .name("skewd-demo-feed".to_owned())
            .spawn(move || {
                if let Err(reason) = feed(&records, &address, rate, &stop)
                    && let Ok(mut lost) = lost.lock()
                {
                    tracing::error!(%reason, "the demo's stream has stopped");
                    *lost = Some(reason);
                }
            })
            .map_err(Failure::internal)?
    };
    let announcer = {
        let (stop, address) = (Arc::clone(&stop), daemon.address().to_string());
        std::thread::Builder::new()
            .name("skewd-demo-help".to_owned())
            .spawn(move || announce(&address, &stop))
            .map_err(Failure::internal)?
    };
    let end = daemon.run_until(args.exit_after_seconds.map(Duration::from_secs), greet);
    stop.store(true, Ordering::Relaxed);
    // What went wrong in them is in `lost`, or was only a message.
    let _ = feeder.join();
    let _ = announcer.join();
    end?;
    match lost.lock().ok().and_then(|mut lost| lost.take()) {
        Some(reason) => Err(Failure::internal(reason)),
        None => Ok(()),
    }
}

fn name_the_flag(failure: Failure, listen: &str) -> Failure {
    if failure.message.contains("in use") {
        Failure::usage(format!(
            "{listen} is in use by another process: choose a free address with --listen, for example --listen 127.0.0.1:8090"
        ))
    } else {
        failure
    }
}

/// The demo's rows as the JSON objects that a user would send.
fn records() -> Result<Vec<String>, Failure> {
    let mut text = Vec::new();
    zstd::Decoder::new(STREAM)
        .and_then(|mut decoder| decoder.read_to_end(&mut text))
        .map_err(|error| Failure::internal(format!("the demo's stream is damaged: {error}")))?;
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let columns: Vec<String> = reader
        .headers()
        .map_err(Failure::internal)?
        .iter()
        .map(str::to_owned)
        .collect();
    reader
        .into_records()
        .map(|row| {
            let row = row.map_err(Failure::internal)?;
            row_to_json(&columns, row.iter(), "label").map_err(Failure::internal)
        })
        .collect()
}

/// Posts the records at the pace asked for, once through.
fn feed(records: &[String], address: &str, rate: f64, stop: &AtomicBool) -> Result<(), String> {
    let url = format!("http://{address}/v1/examples");
    let agent = agent(Duration::from_secs(30));
    let started = Instant::now();
    let per_post = ((rate / POSTS_PER_SECOND).round() as usize).max(1);
    let mut sent = 0;
    for post in records.chunks(per_post) {
        let due = Duration::from_secs_f64(sent as f64 / rate);
        while let Some(early) = due.checked_sub(started.elapsed()) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(early.min(Duration::from_millis(100)));
        }
        let body = post.join("\n");
        let mut silent_since = None;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match agent
                .post(&url)
                .header("content-type", "application/x-ndjson")
                .send(&body)
            {
                Ok(answer) if answer.status().is_success() => break,
                // Busy or starting: the same records again, in a moment.
                Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(answer) => return Err(format!("the daemon answered {}", answer.status())),
                Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
                // A daemon that ends takes no connections before `stop` is known here.
                Err(error) if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE => {
                    return Err(format!("the daemon does not answer: {error}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        sent += post.len();
    }
    println!(
        "\nAll {sent} examples have been fed, once through. The daemon stays up: look around, or stop it with Ctrl-C."
    );
    Ok(())
}

/// Says where the page is, at once.
fn greet(daemon: &Daemon) {
    println!("skewd learns from {CITATION}.");
    println!();
    println!("  page     http://{}/", daemon.address());
    println!();
}

/// Prints commands to try, once they work.
fn announce(address: &str, stop: &AtomicBool) {
    let agent = agent(Duration::from_secs(5));
    let ready = format!("http://{address}/readyz");
    while !stop.load(Ordering::Relaxed) {
        if matches!(agent.get(&ready).call(), Ok(answer) if answer.status().is_success()) {
            println!(
                "  curl -s http://{address}/v1/predict -H 'content-type: application/json' -d '{{\"rows\":[{ROW}]}}'"
            );
            println!("  curl -s http://{address}/v1/weights");
            println!("  curl -s http://{address}/metrics");
            println!();
            return;
        }
        std::thread::sleep(READY_LOOK);
    }
}
