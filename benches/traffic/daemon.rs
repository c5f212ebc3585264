//! The release binary as a process of its own, and what the operating system knows of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub address: String,
    admin: String,
    token: String,
}

impl Daemon {
    /// Learns `history`, and serves what was learned.
    pub fn start(folder: &Path, history: &Path, settings: &[&str]) -> Self {
        let data = folder.join("data");
        let mut replay = program("replay", settings);
        replay.arg(history).arg("--save").arg(&data);
        let status = replay.stdout(Stdio::null()).status().expect("the program");
        assert!(status.success(), "replay failed");
        let mut serve = program("serve", settings);
        serve.args(["--log-format", "json", "--set", "http.listen=127.0.0.1:0"]);
        serve.args(["--set", "admin.listen=127.0.0.1:0", "--set"]);
        serve.arg(format!("data_dir={}", data.display()));
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
        let token = std::fs::read_to_string(data.join("admin.token")).expect("a token");
        Self {
            child,
            address: text("address"),
            admin: text("admin"),
            token: token.trim().to_owned(),
        }
    }

    /// `POST /v1/{order}` of the admin listener.
    pub fn order(&self, order: &str) {
        let head = format!(
            "POST /v1/{order} HTTP/1.1\r\nauthorization: Bearer {}\r\n",
            self.token
        );
        talk(&self.admin, &head);
    }

    /// Examples learned so far.
    pub fn learned(&self) -> u64 {
        let answer = talk(&self.address, "GET /v1/model HTTP/1.1\r\n");
        answer["examples"].as_u64().expect("a count")
    }

    /// Records that wait to be learned.
    pub fn lag(&self) -> i64 {
        let answer = talk(&self.address, "GET /v1/model HTTP/1.1\r\n");
        answer["source"]["lag"]["0"].as_i64().unwrap_or(0)
    }

    /// Processor seconds of the whole daemon so far, and of the threads that learn.
    pub fn used(&self) -> (f64, f64) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let (mut all, mut learning) = (0.0, 0.0);
        for task in std::fs::read_dir(tasks).expect("its threads").flatten() {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name));
            let (Ok(name), Ok(stat)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let nanoseconds = stat.split(' ').next().and_then(|ran| ran.parse().ok());
            let seconds = nanoseconds.unwrap_or(0.0) * 1e-9;
            all += seconds;
            if !matches!(name.trim(), "skewd-http" | "skewd-admin") {
                learning += seconds;
            }
        }
        (all, learning)
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

/// One request without a body, on a connection of its own.
fn talk(address: &str, head: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("{head}host: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).expect("JSON")
}

/// Processor seconds of the calling thread so far.
pub fn used_here() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}
