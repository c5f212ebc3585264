//! A daemon that is started, asked, and killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::PATIENCE;
use super::feed::record;
use crate::cli::Failure;
use crate::cli::health::agent;
use crate::config::is_setting;
use crate::crash;

/// A child that runs the daemon.
pub(super) struct Victim {
    child: Child,
    address: String,
    admin: String,
}

impl Victim {
    /// Starts the daemon; none when the crash that was asked for came before it listened.
    pub fn start(
        dir: &Path,
        file: &Path,
        settings: &[String],
        crash: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        let program = std::env::current_exe().map_err(Failure::io)?;
        let mut command = Command::new(program);
        // What the variables say is in the file, as far as it is meant for the child.
        let variables = std::env::vars_os().map(|(name, _)| name);
        for name in variables.filter(|name| is_setting(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.args(["serve", "--log-format", "json", "--config"]);
        command.arg(file);
        command.args(["--set", &format!("data_dir={}", dir.display())]);
        for setting in settings {
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

    pub fn get(&self, path: &str) -> Option<Value> {
        let mut answer = agent(PATIENCE)
            .get(format!("http://{}{path}", self.address))
            .call()
            .ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    /// Posts records from an offset on; how far the daemon has acknowledged, if it did.
    pub fn post(&self, from: u64, count: u64) -> Option<u64> {
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
    pub fn checkpoint(&self, dir: &Path) -> Option<(u64, String)> {
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

    /// True when it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    pub fn kill(&mut self) {
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
