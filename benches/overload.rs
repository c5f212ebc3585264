//! What callers feel when there are too many of them: ten thousand open connections, and twenty times the requests that the
//! machine can answer.
//!
//! `cargo bench --bench overload -- [--connections 10000] [--active 100] [--times 20] [--seconds 20]`. The daemon runs as a
//! process of its own, with the release binary; the callers share the machine with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

const FEATURES: u64 = 30;
/// Connections that overload the daemon; fewer than it accepts.
const CALLERS: u32 = 1000;
/// Callers that find out how much it can answer.
const PROBERS: u32 = 8;

fn main() {
    let open = rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a limit of open files");
    let seconds = option("--seconds").unwrap_or(20.0);
    let wanted = option("--connections").unwrap_or(10_000.0) as u64;
    let connections = wanted.min(open.saturating_sub(500)).min(25_000) as usize;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        crowd(
            connections,
            option("--active").unwrap_or(100.0) as u32,
            seconds,
        )
        .await;
        overload(option("--times").unwrap_or(20.0), seconds).await;
    });
}

fn option(name: &str) -> Option<f64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// Many connections, few of them active.
async fn crowd(connections: usize, active: u32, seconds: f64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let allowed = format!("http.max_connections={}", connections + 100);
    let daemon = Daemon::start(
        dir.path(),
        20_000,
        &[
            "model.hidden=[64,64]",
            &allowed,
            "http.header_timeout_ms=600000",
        ],
    );
    let ask = request("/v1/predict", &rows(1));
    let (alone, _) = steady(&daemon, active, seconds / 4.0, &ask).await;
    let before = daemon.resident();
    let begun = Instant::now();
    let mut idle = Vec::with_capacity(connections);
    while idle.len() + (active as usize) < connections {
        let mut client = Client::connect(&daemon.address).await;
        let status = client.ask(&ask).await;
        assert_eq!(status, Some(200), "connection {}", idle.len());
        idle.push(client);
    }
    let opened = begun.elapsed().as_secs_f64();
    let (mut crowded, failed) = steady(&daemon, active, seconds, &ask).await;
    let mut alone = alone;
    println!(
        "{} open connections (opened and answered once in {opened:.1} s), {active} of them active, {} predictions of one row, \
         {failed} failed: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; without the idle ones p50 {:.2} ms, p99 {:.2} ms",
        idle.len() + active as usize,
        crowded.len(),
        at(&mut crowded, 0.5),
        at(&mut crowded, 0.99),
        at(&mut crowded, 1.0),
        at(&mut alone, 0.5),
        at(&mut alone, 0.99),
    );
    println!(
        "resident memory: {before:.0} MiB before them, {:.0} MiB with them",
        daemon.resident()
    );
}

/// `active` callers, ten requests a second each; latencies in seconds, and how many had no answer of 200.
async fn steady(daemon: &Daemon, active: u32, seconds: f64, ask: &Arc<[u8]>) -> (Vec<f64>, usize) {
    let gap = Duration::from_millis(100);
    let mut callers = JoinSet::new();
    for caller in 0..active {
        let (address, ask) = (daemon.address.clone(), Arc::clone(ask));
        callers.spawn(async move {
            let mut client = Client::connect(&address).await;
            let begun = tokio::time::Instant::now() + gap * caller / active;
            let (mut latencies, mut failed) = (Vec::new(), 0);
            for turn in 0..(seconds * 10.0) as u32 {
                sleep_until(begun + gap * turn).await;
                let sent = Instant::now();
                match client.ask(&ask).await {
                    Some(200) => latencies.push(sent.elapsed().as_secs_f64()),
                    _ => failed += 1,
                }
            }
            (latencies, failed)
        });
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    while let Some(done) = callers.join_next().await {
        let (more, missed) = done.expect("a caller");
        latencies.extend(more);
        failed += missed;
    }
    (latencies, failed)
}

/// What one caller of the flood saw.
#[derive(Default)]
struct Seen {
    answered: usize,
    shed: Vec<f64>,
    other: usize,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.shed.extend(other.shed);
        self.other += other.other;
    }
}

/// First what it can answer, then many times as much; health is asked all the while.
async fn overload(times: f64, seconds: f64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let daemon = Daemon::start(dir.path(), 2_000, &["model.hidden=[2048,2048]"]);
    let ask = request("/v1/predict", &rows(128));
    let half = seconds / 2.0;
    let before = flood(&daemon, PROBERS, Duration::ZERO, half, &ask).await;
    let peak = before.answered as f64 / half;
    // While a caller waits for an answer it asks nothing: those in flight do not count.
    let pause = Duration::from_secs_f64(f64::from(CALLERS - 256) / (peak * times));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let health = std::thread::spawn({
        let (stop, address) = (Arc::clone(&stop), daemon.admin.clone());
        move || watch_health(&address, &stop)
    });
    let mut seen = flood(&daemon, CALLERS, pause, seconds, &ask).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut health = health.join().expect("the watch");
    // Other work on the machine moves the peak: it is measured on both sides of the flood.
    let after = flood(&daemon, PROBERS, Duration::ZERO, half, &ask).await;
    let peak = (before.answered + after.answered) as f64 / seconds;
    let asked = seen.answered + seen.shed.len() + seen.other;
    let goodput = seen.answered as f64 / seconds;
    println!(
        "peak: {peak:.0} requests of 128 rows a second; offered {:.0} a second, {:.1} times the peak, for {seconds:.0} s",
        asked as f64 / seconds,
        asked as f64 / seconds / peak
    );
    println!(
        "answered {goodput:.0} a second ({:.0} % of the peak); {} shed with 429: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {} others",
        100.0 * goodput / peak,
        seen.shed.len(),
        at(&mut seen.shed, 0.5),
        at(&mut seen.shed, 0.99),
        at(&mut seen.shed, 1.0),
        seen.other
    );
    println!(
        "health on the admin listener, {} times: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; resident memory {:.0} MiB",
        health.len(),
        at(&mut health, 0.5),
        at(&mut health, 0.99),
        at(&mut health, 1.0),
        daemon.resident()
    );
}

/// Every caller asks, waits for the answer, and pauses.
async fn flood(
    daemon: &Daemon,
    callers: u32,
    pause: Duration,
    seconds: f64,
    ask: &Arc<[u8]>,
) -> Seen {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut flood = JoinSet::new();
    for caller in 0..callers {
        let (address, ask) = (daemon.address.clone(), Arc::clone(ask));
        flood.spawn(async move {
            let mut seen = Seen::default();
            let mut client = Client::connect(&address).await;
            sleep(pause * caller / callers).await;
            while Instant::now() < end {
                let sent = Instant::now();
                match client.ask(&ask).await {
                    Some(200) if Instant::now() < end => seen.answered += 1,
                    Some(200) => {}
                    Some(429) => seen.shed.push(sent.elapsed().as_secs_f64()),
                    Some(_) => seen.other += 1,
                    None => {
                        seen.other += 1;
                        client = Client::connect(&address).await;
                    }
                }
                sleep(pause.saturating_sub(sent.elapsed())).await;
            }
            seen
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = flood.join_next().await {
        all.add(seen.expect("a caller"));
    }
    all
}

/// Latencies of a probe every 20 ms, in seconds, each on a connection of its own as an orchestrator does it.
fn watch_health(address: &str, stop: &std::sync::atomic::AtomicBool) -> Vec<f64> {
    use std::io::{Read, Write};
    let mut latencies = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let sent = Instant::now();
        let mut stream = std::net::TcpStream::connect(address).expect("the admin listener");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        latencies.push(sent.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(20).saturating_sub(sent.elapsed()));
    }
    latencies
}

/// A share of sorted latencies, in milliseconds.
fn at(latencies: &mut [f64], share: f64) -> f64 {
    latencies.sort_by(f64::total_cmp);
    let last = latencies.len().saturating_sub(1);
    latencies
        .get((last as f64 * share) as usize)
        .map_or(f64::NAN, |seconds| seconds * 1e3)
}

fn value(row: u64, feature: u64) -> f64 {
    let mixed = (row * 31 + feature + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    mixed as f64 / f64::from(1 << 23) - 1.0
}

/// The body of a predict request.
fn rows(count: u64) -> String {
    let rows: Vec<String> = (0..count)
        .map(|row| {
            let values: Vec<String> = (0..FEATURES)
                .map(|feature| format!("{:.4}", value(row, feature)))
                .collect();
            format!("[{}]", values.join(","))
        })
        .collect();
    format!("{{\"rows\":[{}]}}", rows.join(","))
}

fn request(path: &str, body: &str) -> Arc<[u8]> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into()
}

/// A connection that stays open.
struct Client {
    stream: tokio::io::BufReader<TcpStream>,
}

impl Client {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        Self {
            stream: tokio::io::BufReader::with_capacity(1024, stream),
        }
    }

    /// Status of the answer; `None` when the connection was closed.
    async fn ask(&mut self, request: &[u8]) -> Option<u16> {
        self.stream.get_mut().write_all(request).await.ok()?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if status == 0 {
                status = line.get(9..12)?.parse().ok()?;
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).await.ok()?;
        Some(status)
    }
}

/// A daemon that has learned a little.
struct Daemon {
    child: Child,
    address: String,
    admin: String,
}

impl Daemon {
    fn start(dir: &Path, examples: u64, settings: &[&str]) -> Self {
        let history = dir.join("history.csv");
        let mut text: String = (0..FEATURES)
            .map(|feature| format!("f{feature},"))
            .collect();
        text.push_str("label\n");
        for row in 0..examples {
            for feature in 0..FEATURES {
                text.push_str(&format!("{:.4},", value(row, feature)));
            }
            text.push_str(if row % 97 == 0 { "fraud\n" } else { "ok\n" });
        }
        std::fs::write(&history, text).expect("a file");
        let data = dir.join("data");
        let mut replay = program("replay", settings);
        replay.arg(&history).arg("--save").arg(&data);
        let status = replay.stdout(Stdio::null()).status().expect("the program");
        assert!(status.success(), "replay failed");
        let mut serve = program("serve", settings);
        serve.args(["--log-format", "json"]);
        for setting in ["http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"] {
            serve.args(["--set", setting]);
        }
        serve.args(["--set", &format!("data_dir={}", data.display())]);
        let mut child = serve.stderr(Stdio::piped()).spawn().expect("the program");
        let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
        let entry: serde_json::Value = log
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str(&line).ok())
            .find(|entry: &serde_json::Value| entry["message"] == "serving")
            .expect("the addresses");
        std::thread::spawn(move || log.for_each(drop));
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        Self {
            child,
            address: text("address"),
            admin: text("admin"),
        }
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| {
                let kib: f64 = rest.trim().trim_end_matches("kB").trim().parse().ok()?;
                Some(kib / 1024.0)
            })
            .unwrap_or(f64::NAN)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(command: &str, settings: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_skewd"));
    program.arg(command);
    for setting in settings {
        program.args(["--set", setting]);
    }
    program
}
