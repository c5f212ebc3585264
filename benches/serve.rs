//! What a caller of the daemon feels while it learns: time to the first prediction from a checkpoint, latency of one-row
//! predictions at 1,000 requests a second, resident memory.
//!
//! `cargo bench --bench serve -- [--seconds 20] [--feed 2000]`. The daemon runs as a process of its own, with the
//! release binary; feeder and callers share the machine with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FEATURES: usize = 30;
const CALLERS: u32 = 4;
const RATE: u32 = 1000;
const SETTINGS: [&str; 6] = [
    "model.hidden=[128,64]",
    "schema.encoding=standard",
    "schema.recent_shares=false",
    "learner.batch_size=128",
    "http.listen=127.0.0.1:0",
    "admin.listen=127.0.0.1:0",
];

fn main() {
    let seconds = option("--seconds").unwrap_or(20.0);
    let feed_rate = option("--feed").unwrap_or(2000.0);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let history = dir.path().join("history.jsonl");
    std::fs::write(&history, lines(0, 20_000).join("\n")).expect("a file");
    let data = dir.path().join("data");
    warm_up(&history, &data);

    let started = Instant::now();
    let (mut daemon, address) = serve(&data);
    let mut first = Client::connect(&address);
    while first.predict(0).is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "first prediction after start from a checkpoint: {:.0} ms",
        started.elapsed().as_secs_f64() * 1e3
    );

    let stop = AtomicBool::new(false);
    let (mut latencies, fed, memory) = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&address, feed_rate, &stop));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn({
                    let address = &address;
                    move || call(address, caller, seconds)
                })
            })
            .collect();
        let latencies: Vec<f64> = callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("a caller"))
            .collect();
        let memory = resident(daemon.id());
        stop.store(true, Ordering::Relaxed);
        (latencies, feeder.join().expect("the feeder"), memory)
    });
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] * 1e3;
    println!(
        "{} predictions at {:.0} a second while {:.0} examples a second were learned: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        latencies.len(),
        latencies.len() as f64 / seconds,
        fed as f64 / seconds,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!("resident memory: {memory:.0} MiB");
    let _ = daemon.kill();
    let _ = daemon.wait();
}

fn option(name: &str) -> Option<f64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// JSON lines whose values need no generator's state.
fn lines(from: u64, count: u64) -> Vec<String> {
    (from..from + count)
        .map(|row| {
            let rare = row % 97 == 0;
            let mut text = String::from("{");
            for feature in 0..FEATURES as u64 {
                let mixed = (row * 31 + feature + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                let value = mixed as f64 / f64::from(1 << 23) - 1.0
                    + if rare && feature < 8 { 0.6 } else { 0.0 };
                text.push_str(&format!("\"f{feature}\":{value:.4},"));
            }
            text.push_str(if rare {
                "\"label\":\"fraud\"}"
            } else {
                "\"label\":\"ok\"}"
            });
            text
        })
        .collect()
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_skewd"))
}

fn settings(command: &mut Command) {
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
}

fn warm_up(history: &Path, data: &Path) {
    let mut command = program();
    command.arg("replay").arg(history).arg("--save").arg(data);
    settings(&mut command);
    let status = command.stdout(Stdio::null()).status().expect("the program");
    assert!(status.success(), "replay failed");
}

/// Starts the daemon and answers where it listens.
fn serve(data: &Path) -> (Child, String) {
    let mut command = program();
    command.args(["serve", "--log-format", "json", "--set"]);
    command.arg(format!("data_dir={}", data.display()));
    settings(&mut command);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program");
    let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
    let address = log
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line).ok()?;
            (entry["message"] == "serving").then(|| entry["address"].as_str().map(str::to_owned))?
        })
        .expect("the address");
    std::thread::spawn(move || log.for_each(drop));
    (child, address)
}

/// A connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Status of the answer.
    fn post(&mut self, path: &str, kind: &str, body: &str) -> u16 {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .expect("a request");
        let mut status = 0;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer");
            if line == "\r\n" {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if status == 0 {
                status = line[9..12].parse().expect("a status");
            } else if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).expect("a body");
        status
    }

    fn predict(&mut self, row: u64) -> Option<()> {
        let values: Vec<String> = (0..FEATURES as u64)
            .map(|feature| format!("{}", ((row + feature) % 19) as f64 / 10.0 - 0.9))
            .collect();
        let body = format!("{{\"rows\":[[{}]]}}", values.join(","));
        (self.post("/v1/predict", "application/json", &body) == 200).then_some(())
    }
}

/// One caller's share of the rate; latencies in seconds, from the moment when the request was due.
fn call(address: &str, caller: u32, seconds: f64) -> Vec<f64> {
    let mut client = Client::connect(address);
    let begun = Instant::now();
    let gap = Duration::from_secs(1) * CALLERS / RATE;
    let mut latencies = Vec::new();
    for turn in 0.. {
        let due = gap * turn + gap * caller / CALLERS;
        if due.as_secs_f64() > seconds {
            break;
        }
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        let sent = Instant::now();
        client.predict(u64::from(turn)).expect("a prediction");
        latencies.push(sent.elapsed().as_secs_f64());
    }
    latencies
}

/// Posts examples at a steady rate; answers how many.
fn feed(address: &str, rate: f64, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(address);
    let begun = Instant::now();
    let block = (rate / 20.0).max(1.0) as u64;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_secs_f64(sent as f64 / rate);
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        let body = lines(1_000_000 + sent, block).join("\n");
        if client.post("/v1/examples", "application/x-ndjson", &body) == 200 {
            sent += block;
        }
    }
    sent
}

/// Resident memory of a process in MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<f64>()
                .ok()
        })
        .map_or(f64::NAN, |kib| kib / 1024.0)
}
