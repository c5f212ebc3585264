//! Memory of a daemon over a long run, to the byte: a binary of its own, because every allocation of the process is counted.

// In a test a panic is the failure report, also in the functions that tests share.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use skewd::cli::Cli;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 50;
const RECORDS: usize = 40_000;
/// Every counted structure is full by then.
const FULL: usize = 10;

/// Bytes that were allocated and not freed.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The smallest of some readings: what a caller or a thread holds for a moment is none of it.
fn at_rest() -> usize {
    let reading = |_| {
        std::thread::sleep(Duration::from_millis(10));
        live()
    };
    (0..20).map(reading).min().unwrap()
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Lines of one round: one in a hundred of them is bad, another one has no label.
fn lines(round: usize) -> Vec<String> {
    let mut state = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut line = |at: usize| match at % 100 {
        98 => format!(r#"{{"a":{}"#, uniform()),
        99 => format!(r#"{{"a":{},"b":1}}"#, uniform()),
        _ => {
            let rare = uniform() < 0.02;
            let shift = f64::from(u8::from(rare));
            let label = if rare { "rare" } else { "common" };
            let (a, b, c) = (uniform() + shift, uniform(), uniform() - shift);
            format!(
                r#"{{"a":{a:.4},"b":{b:.4},"c":{c:.4},"id":"r{round}-{at}","label":"{label}"}}"#
            )
        }
    };
    (0..RECORDS).map(&mut line).collect()
}

fn ask(agent: &ureq::Agent, url: &str) -> Value {
    let mut answer = agent.get(url).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// One round over connections of its own: records in, predictions and figures out.
fn round(public: &str, number: usize) {
    let agent = ureq::Agent::new_with_defaults();
    let deadline = Instant::now() + Duration::from_secs(120);
    for chunk in lines(number).chunks(4_000) {
        // The log takes no more than it may keep until a checkpoint lets it forget.
        let url = format!("http://{public}/v1/examples");
        let body = chunk.join("\n");
        while agent
            .post(&url)
            .header("content-type", "application/x-ndjson")
            .send(body.as_bytes())
            .is_err()
        {
            assert!(Instant::now() < deadline, "the records are not taken");
            std::thread::sleep(Duration::from_millis(20));
        }
        let url = format!("http://{public}/v1/predict");
        let post = agent.post(&url).header("content-type", "application/json");
        // Before the first model is served the answer is an error.
        let _ = post.send(&br#"{"rows":[[0.5,0.1,0.2],{"a":1,"b":null,"c":3}]}"#[..]);
        for path in ["/metrics", "/v1/metrics", "/v1/hardest", "/v1/history"] {
            let url = format!("http://{public}{path}");
            let _ = agent
                .get(&url)
                .call()
                .map(|mut body| body.body_mut().read_to_string());
        }
    }
    let taught = (RECORDS / 100 * 98 * (number + 1)) as u64;
    loop {
        let model = ask(&agent, &format!("http://{public}/v1/model"));
        let learned = model["examples"].as_u64().unwrap();
        // Fewer than a batch may wait; each round ends with a checkpoint.
        if learned + 64 > taught && model["digest_examples"].as_u64() >= Some(taught - 10_000) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited in vain for {taught} examples: {model}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn live_bytes_stay_as_they_are_over_two_million_records() {
    let folder = tempfile::tempdir().unwrap();
    let (public, admin) = (free_port(), free_port());
    let mut arguments = vec!["skewd".to_owned(), "serve".to_owned()];
    for setting in [
        format!("http.listen={public}"),
        format!("admin.listen={admin}"),
        format!("data_dir={}", folder.path().display()),
        "schema.features=a,b,c".to_owned(),
        "schema.id=id".to_owned(),
        "checkpoint.every_examples=10000".to_owned(),
        "checkpoint.journal_bytes=1048576".to_owned(),
        "source.retention_bytes=1048576".to_owned(),
    ] {
        arguments.extend(["--set".to_owned(), setting]);
    }
    let cli = Cli::read(arguments.into_iter().map(Into::into)).unwrap();
    std::thread::spawn(move || {
        if let Err(failure) = skewd::cli::run(cli) {
            eprintln!("{failure}");
            std::process::exit(1);
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while ureq::get(format!("http://{public}/healthz"))
        .call()
        .is_err()
    {
        assert!(Instant::now() < deadline, "the daemon did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = Vec::new();
    for number in 0..ROUNDS {
        round(&public, number);
        bytes.push(at_rest());
    }
    // The log forgets in steps, so the bytes move by a tenth from round to round; what grows would show in the means.
    let mean = |rounds: &[usize]| rounds.iter().sum::<usize>() as f64 / rounds.len() as f64;
    let middle = ROUNDS.midpoint(FULL);
    let (before, after) = (mean(&bytes[FULL..middle]), mean(&bytes[middle..]));
    eprintln!("live bytes at the end of each round: {bytes:?}; means {before:.0} and {after:.0}");
    assert!(after <= before * 1.03, "{before:.0}, {after:.0}: {bytes:?}");
}
