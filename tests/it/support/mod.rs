//! Running the binary as a user does, and asking it over HTTP.

pub mod house;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing in these tests takes this long; the bound only ends a test that has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the binary to its end.
pub fn skewd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skewd"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the binary to its end and expects success.
pub fn skewd_ok(args: &[&str]) -> String {
    let output = skewd(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skewd {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The report of a replay.
pub fn replay(dir: &Path, files: &[&Path], settings: &[&str]) -> Value {
    let report = dir.join("report.json");
    let mut args = vec!["replay".to_owned()];
    args.extend(files.iter().map(|file| file.display().to_string()));
    args.extend(["--report".to_owned(), report.display().to_string()]);
    for setting in settings {
        args.extend(["--set".to_owned(), (*setting).to_owned()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    skewd_ok(&args);
    serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap()
}

/// The report of `replay --journal` over one file for each partition.
pub fn repeat(dir: &Path, data: &Path, files: &[PathBuf], settings: &[&str]) -> Value {
    let report = dir.join("repeated.json");
    let mut arguments: Vec<&str> = vec!["replay"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    arguments.extend([
        "--journal",
        data.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    skewd_ok(&arguments);
    serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap()
}

/// Code and errors of a daemon that must not start.
pub fn refused(data: &Path, settings: &[&str]) -> (Option<i32>, String) {
    let data = format!("data_dir={}", data.display());
    let mut arguments = vec!["serve"];
    for setting in [&data, "http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"]
        .iter()
        .chain(settings)
    {
        arguments.extend(["--set", setting]);
    }
    let output = skewd(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

/// A daemon of the test's own, on free ports.
pub struct Daemon {
    child: Child,
    pub address: String,
    pub admin: String,
    pub dir: PathBuf,
}

impl Daemon {
    /// Starts `skewd serve` and waits until it listens.
    pub fn start(dir: &Path, settings: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_skewd")), dir, settings)
    }

    /// The same by a command of the test's own, to which the arguments are added.
    pub fn start_as(command: Command, dir: &Path, settings: &[&str]) -> Self {
        Self::launch(command, dir, settings, true)
    }

    /// The same, and nobody reads what it says once it listens: 4 KiB of that fit into the pipe.
    pub fn start_unheard(dir: &Path, settings: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_skewd"));
        Self::launch(command, dir, settings, false)
    }

    fn launch(mut command: Command, dir: &Path, settings: &[&str], heard: bool) -> Self {
        command.args(["serve", "--log-format", "json"]);
        for setting in [
            "http.listen=127.0.0.1:0",
            "admin.listen=127.0.0.1:0",
            &format!("data_dir={}", dir.display()),
        ]
        .iter()
        .chain(settings)
        {
            command.args(["--set", setting]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = child.stderr.take().unwrap();
        if !heard {
            rustix::pipe::fcntl_setpipe_size(&errors, 4096).unwrap();
        }
        let mut lines = BufReader::new(errors).lines();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in lines.by_ref().map_while(Result::ok) {
                if let Ok(entry) = serde_json::from_str::<Value>(&line)
                    && entry["message"] == "serving"
                {
                    let text = |name: &str| entry[name].as_str().unwrap().to_owned();
                    let _ = sender.send((text("address"), text("admin")));
                    if !heard {
                        // Held open to the end, and never read again.
                        std::mem::forget(lines);
                        return;
                    }
                } else if std::env::var_os("SKEWD_TEST_SHOW_LOGS").is_some() {
                    eprintln!("{line}");
                }
            }
        });
        let (address, admin) = receiver
            .recv_timeout(PATIENCE)
            .expect("the daemon ended, or did not say where it listens");
        Self {
            child,
            address,
            admin,
            dir: dir.to_owned(),
        }
    }

    /// GET; status and JSON (or the text as a JSON string).
    pub fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = agent()
            .get(format!("http://{}{path}", self.address))
            .call()
            .unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// POST with a content type.
    pub fn post(&self, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let mut answer = agent()
            .post(format!("http://{}{path}", self.address))
            .header("content-type", content_type)
            .send(body.as_ref())
            .unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// The status of a POST; `None` when there is none within a second.
    pub fn try_post(&self, path: &str, content_type: &str, body: &str) -> Option<u16> {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(1)))
            .build()
            .new_agent()
            .post(format!("http://{}{path}", self.address))
            .header("content-type", content_type)
            .send(body)
            .ok()
            .map(|answer| answer.status().as_u16())
    }

    /// A POST to the admin listener with its token.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = std::fs::read_to_string(self.dir.join("admin.token")).unwrap();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.admin))
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .unwrap();
        let mut answer = agent().run(request).unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Sends NDJSON and expects it to be taken.
    pub fn feed(&self, lines: &[String]) -> Value {
        let (status, answer) = self.post("/v1/examples", "application/x-ndjson", lines.join("\n"));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits until the model has learned `examples`.
    pub fn wait_for_examples(&self, examples: u64) {
        self.wait_for(&format!("{examples} examples to be learned"), |model| {
            model["examples"].as_u64() >= Some(examples)
        });
    }

    /// Waits until `/v1/model` answers something that is `as_wanted`.
    pub fn wait_for(&self, what: &str, as_wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, model) = self.get("/v1/model");
            if status == 200 && as_wanted(&model) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {status} {model}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }

    /// SIGKILL: no goodbye.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub fn stop(self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.ended()
    }

    /// Waits until it ends by itself; the exit code.
    pub fn ended(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon did not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent that reports every status as an answer.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into()
}

/// A stream of `rows` examples with a rare class that is separable but not trivially so.
pub fn rows(rows: usize, seed: u64) -> Vec<(Vec<f64>, &'static str)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..rows)
        .map(|_| {
            let rare = uniform() < 0.05;
            let shift = if rare { 1.5 } else { 0.0 };
            // Three decimals, so that CSV and JSON carry the same digits.
            let row = (0..4)
                .map(|_| ((uniform() * 2.0 - 1.0 + shift) * 1000.0).round() / 1000.0)
                .collect();
            (row, if rare { "rare" } else { "common" })
        })
        .collect()
}

/// The rows as flat JSON.
pub fn as_json(rows: &[(Vec<f64>, &'static str)]) -> Vec<String> {
    rows.iter()
        .map(|(row, label)| {
            format!(
                r#"{{"a":{},"b":{},"c":{},"d":{},"label":"{label}"}}"#,
                row[0], row[1], row[2], row[3]
            )
        })
        .collect()
}

/// The rows as CSV with a header.
pub fn as_csv(rows: &[(Vec<f64>, &'static str)]) -> String {
    let mut text = "a,b,c,d,label\n".to_owned();
    for (row, label) in rows {
        text.push_str(&format!(
            "{},{},{},{},{label}\n",
            row[0], row[1], row[2], row[3]
        ));
    }
    text
}

/// Writes a file into the folder and answers its path.
pub fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    path
}
