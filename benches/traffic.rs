//! What the HTTP listener takes: predictions of one row on 32 connections, alone and while the daemon learns its embedded
//! stream as fast as it can, and durable ingest in batches of 1,000 next to what the disk can sync.
//!
//! `cargo bench --bench traffic -- [--seconds 3] [--rounds 3] [--backlog 2000000]`. The daemon is the release binary in a
//! process of its own; the callers share the machine with it. The rounds take turns through all cases; of each case the round with
//! the most requests is shown, since whatever else the machine does only takes away.

#[path = "traffic/daemon.rs"]
mod daemon;
#[path = "traffic/generator.rs"]
mod generator;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use daemon::{Daemon, used_here};
use generator::{Seen, ask, request};

const FEATURES: u64 = 30;
const CONNECTIONS: usize = 32;
const BATCH: u64 = 1000;
/// Requests a second of the steady callers.
const STEADY: f64 = 10_000.0;
const SETTINGS: [&str; 7] = [
    "learner.mode=single",
    "model.hidden=[128,64]",
    "schema.encoding=standard",
    "schema.recent_shares=false",
    "learner.batch_size=128",
    "source.retention_bytes=8000000000",
    "checkpoint.every_seconds=3600",
];

fn main() {
    let seconds = Duration::from_secs_f64(option("--seconds").unwrap_or(3.0));
    let rounds = option("--rounds").unwrap_or(3.0) as usize;
    let backlog = option("--backlog").unwrap_or(2_000_000.0) as u64;
    machine();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let history = folder.path().join("history.jsonl");
    std::fs::write(&history, lines(0, 20_000)).expect("a file");
    let daemon = Daemon::start(folder.path(), &history, &SETTINGS);
    // Until it is told to go on, what arrives waits in the log.
    daemon.order("pause");
    let address = &daemon.address;

    // Does nothing: what a request costs in the kernel and in the HTTP library.
    let healthz = [b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()];
    let json = [request(
        "/v1/predict",
        "content-type: application/json\r\n",
        row().as_bytes(),
    )];
    let bytes: Vec<u8> = numbers(7)
        .flat_map(|value| (value as f32).to_le_bytes())
        .collect();
    let binary = [request(
        "/v1/predict",
        "content-type: application/octet-stream\r\naccept: application/octet-stream\r\n",
        &bytes,
    )];
    let batches: Vec<Vec<u8>> = (0..16)
        .map(|batch| {
            let body = lines(1_000_000 + batch * BATCH, BATCH);
            request(
                "/v1/examples",
                "content-type: application/x-ndjson\r\n",
                body.as_bytes(),
            )
        })
        .collect();
    let mut cases: Vec<Case> = Vec::new();
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        let one = |name, requests: &[Vec<u8>], rate| {
            let work = || ask(address, CONNECTIONS, requests, rate, seconds);
            measure(&daemon, name, &work)
        };
        keep(&mut cases, one("/healthz, alone", &healthz, None));
        keep(&mut cases, one("JSON, alone", &json, None));
        keep(&mut cases, one("f32, alone", &binary, None));
        keep(
            &mut cases,
            one("JSON, alone, 10,000/s", &json, Some(STEADY)),
        );
        for (name, connections) in [("ingest, 1 connection", 1), ("ingest, 8 connections", 8)] {
            let work = || ask(address, connections, &batches, None, seconds / 4);
            let mut case = measure(&daemon, name, &work);
            case.syncs = syncs(folder.path(), batches[0].len());
            keep(&mut cases, case);
        }
        let quiet = || {
            std::thread::sleep(seconds);
            Seen {
                seconds: seconds.as_secs_f64(),
                ..Seen::default()
            }
        };
        // Each starts with as much to learn, which lasts.
        let mut learning = |name, work: &dyn Fn() -> Seen| {
            fill(address, &batches, backlog);
            daemon.order("resume");
            let case = measure(&daemon, name, work);
            if daemon.lag() == 0 {
                println!("{name}: everything was learned before the end; give a larger --backlog");
            }
            daemon.order("pause");
            keep(&mut cases, case);
        };
        let asking =
            |requests: &[Vec<u8>], rate| ask(address, CONNECTIONS, requests, rate, seconds);
        learning("nobody, learning", &quiet);
        learning("JSON, learning", &|| asking(&json, None));
        learning("JSON, learning, 10,000/s", &|| asking(&json, Some(STEADY)));
        learning("f32, learning", &|| asking(&binary, None));
    }
    table(&mut cases);
}

/// Sends so many records, to be learned later.
fn fill(address: &str, batches: &[Vec<u8>], records: u64) {
    let mut sent = 0;
    while sent < records {
        let seen = ask(address, 4, batches, None, Duration::from_millis(250));
        sent += seen.latencies.len() as u64 * BATCH;
    }
}

fn option(name: &str) -> Option<f64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// One line of the table.
struct Case {
    name: &'static str,
    seen: Seen,
    /// Examples learned a second.
    learned: f64,
    /// Processors used: by what learns, by what serves, by the callers.
    learning: f64,
    serving: f64,
    calling: f64,
    /// What the disk syncs in a second, of as many bytes as a batch has.
    syncs: f64,
}

fn measure(daemon: &Daemon, name: &'static str, work: &dyn Fn() -> Seen) -> Case {
    let (all, learning) = daemon.used();
    let (learned, here, begun) = (daemon.learned(), used_here(), Instant::now());
    let seen = work();
    let here = used_here() - here;
    let more = daemon.learned() - learned;
    let wall = begun.elapsed().as_secs_f64();
    let (all_after, learning_after) = daemon.used();
    let learning = learning_after - learning;
    Case {
        name,
        seen,
        learned: more as f64 / wall,
        learning: learning / wall,
        serving: (all_after - all - learning) / wall,
        calling: here / wall,
        syncs: 0.0,
    }
}

fn keep(cases: &mut Vec<Case>, case: Case) {
    let worth = |case: &Case| (case.seen.latencies.len(), case.learned as u64);
    match cases.iter_mut().find(|known| known.name == case.name) {
        None => cases.push(case),
        Some(known) if worth(known) < worth(&case) => *known = case,
        Some(_) => {}
    }
}

fn table(cases: &mut [Case]) {
    println!(
        "\n| callers | answers/s | p50, ms | p99, ms | refused | learned/s | processors: learning | serving | calling |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for case in &mut *cases {
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {} | {:.0} | {:.2} | {:.2} | {:.2} |",
            case.name,
            case.seen.rate(),
            case.seen.at(0.5),
            case.seen.at(0.99),
            case.seen.refused,
            case.learned,
            case.learning,
            case.serving,
            case.calling,
        );
    }
    println!();
    for case in cases.iter().filter(|case| case.syncs > 0.0) {
        println!(
            "{}: {:.0} examples a second, durable, in batches of {BATCH}; the disk alone writes and syncs {:.0} such batches a second",
            case.name,
            case.seen.rate() * BATCH as f64,
            case.syncs,
        );
    }
}

fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    println!(
        "{model}, {} processors, load {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        read("/proc/loadavg").trim(),
    );
}

/// Writes and syncs a file that grows by `bytes`, for half a second.
fn syncs(folder: &Path, bytes: usize) -> f64 {
    let path = folder.join("sync");
    let mut file = File::create(&path).expect("a file");
    let block = vec![b'x'; bytes];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        file.write_all(&block).expect("room on the disk");
        file.sync_data().expect("a sync");
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("the file");
    rate
}

/// Numbers of a row that need no generator's state.
fn numbers(row: u64) -> impl Iterator<Item = f64> {
    (0..FEATURES).map(move |feature| {
        let mixed = (row * 31 + feature + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        mixed as f64 / f64::from(1 << 23) - 1.0
    })
}

fn row() -> String {
    let values: Vec<String> = numbers(7).map(|value| format!("{value:.4}")).collect();
    format!("{{\"rows\":[[{}]]}}", values.join(","))
}

/// Records, one a line: flat JSON of some 440 bytes.
fn lines(from: u64, count: u64) -> String {
    let mut text = String::new();
    for row in from..from + count {
        let rare = row % 97 == 0;
        text.push('{');
        for (feature, value) in numbers(row).enumerate() {
            let value = value + if rare && feature < 8 { 0.6 } else { 0.0 };
            text.push_str(&format!("\"f{feature}\":{value:.4},"));
        }
        let label = if rare { "fraud" } else { "ok" };
        text.push_str(&format!("\"label\":\"{label}\"}}\n"));
    }
    text
}
