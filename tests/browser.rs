//! The page, as a person sees it: headless Chromium driven over WebDriver. Needs `chromium` and `chromedriver`.
//!
//! Run with `cargo test --release --features browser-tests --test browser`.

// In a test a panic is the failure report, also in the functions that it shares.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A child that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and answers the first line of its output that `pick` accepts.
fn start(
    mut command: Command,
    what: &str,
    pick: impl Fn(&str) -> Option<String>,
) -> (Process, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let found = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| pick(&line))
        .unwrap_or_else(|| panic!("{what} ended without saying where it listens"));
    // The rest of its output is read, so that it never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (process, found)
}

struct Browser {
    session: String,
    agent: ureq::Agent,
}

impl Browser {
    fn open(driver: &str, profile: &str) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build()
            .into();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--window-size=1400,1000", format!("--user-data-dir={profile}")
            ] }
        } } });
        let mut browser = Self {
            session: format!("{driver}/session"),
            agent,
        };
        let answer = browser.post("", &capabilities);
        let id = answer["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{driver}/session/{id}");
        browser
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut answer = self
            .agent
            .post(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert!(answer.status().is_success(), "WebDriver {path}: {text}");
        value["value"].take()
    }

    fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    fn text(&self, id: &str) -> String {
        let script = format!("return document.getElementById('{id}').textContent.trim();");
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn number(&self, script: &str) -> u64 {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
            .as_u64()
            .unwrap_or(0)
    }

    fn console_errors(&self) -> Vec<Value> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        entries
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .cloned()
            .collect()
    }

    /// Waits until `condition` holds; the bound only ends a test that has failed.
    fn wait(&self, what: &str, within: Duration, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + within;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

#[test]
fn the_page_moves_by_itself_and_the_console_stays_clean() {
    let profile = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_skewd"));
    demo.args(["demo", "--listen", "127.0.0.1:0"]);
    let (_demo, page) = start(demo, "skewd demo", |line| {
        line.trim()
            .strip_prefix("page")
            .map(|rest| rest.trim().to_owned())
    });
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0");
    let (_driver, port) = start(driver, "chromedriver", |line| {
        let (_, port) = line.split_once("on port ")?;
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty() && digits != "0").then_some(digits)
    });
    let browser = Browser::open(
        &format!("http://127.0.0.1:{port}"),
        profile.path().to_str().unwrap(),
    );
    browser.go(&page);
    browser.wait("the first values", Duration::from_secs(30), |browser| {
        browser
            .text("examples-value")
            .chars()
            .any(|c| c.is_ascii_digit())
            && browser
                .text("loss-value")
                .chars()
                .any(|c| c.is_ascii_digit())
    });
    let before = (browser.text("examples-value"), browser.text("loss-value"));
    browser.wait(
        "a change of two values within 3 seconds",
        Duration::from_secs(3),
        |browser| {
            browser.text("examples-value") != before.0 && browser.text("loss-value") != before.1
        },
    );
    browser.wait(
        "a row of hard examples",
        Duration::from_secs(10),
        |browser| {
            browser.number("return document.querySelectorAll('#hardest tbody tr').length;") > 0
        },
    );
    browser.wait("a row a class", Duration::from_secs(10), |browser| {
        browser.number("return document.querySelectorAll('#classes tbody tr').length;") >= 2
    });
    browser.wait("a row a learner", Duration::from_secs(10), |browser| {
        browser.number("return document.querySelectorAll('#voices tbody tr').length;") >= 6
    });
    browser.wait("a drawn chart", Duration::from_secs(10), |browser| {
        browser.number("return document.querySelectorAll('.main-svg, canvas').length;") > 0
    });
    assert_eq!(browser.console_errors(), Vec::<Value>::new());
}
