//! What each stage beside the learning step costs, next to what the machine could do over the same bytes.
//!
//! Stages and contestants take turns in one process, and of each the best of the rounds counts, in time of the processor: on
//! a shared machine only the ratios within one run mean something. Records are those of `benches/glue.py`: 30 numbers of four decimals and a
//! label, in the spelling of Python's `json`; a second set has numbers of seventeen digits, as Python writes what was
//! computed. `benches/stages_orjson.py` parses the same records with orjson.
//!
//! `cargo bench --bench stages [-- --write FOLDER]` (writes the records for the script; `--rounds 40`)

use std::hint::black_box;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use skewd::codec::Encoding;

#[path = "stages/codec.rs"]
mod codec;
#[path = "stages/edges.rs"]
mod edges;
#[path = "stages/peers.rs"]
mod peers;
#[path = "stages/records.rs"]
mod records;
#[path = "stages/streams.rs"]
mod streams;

use codec::{Decoded, Pipeline};
use records::{FEATURES, Form, Records};

type Failure = Box<dyn std::error::Error>;

/// One line of the table.
struct Contestant<'a> {
    name: &'static str,
    /// Records that one call of `run` takes.
    records: usize,
    run: Box<dyn FnMut() + 'a>,
    best: f64,
}

impl<'a> Contestant<'a> {
    fn new(name: &'static str, records: usize, run: impl FnMut() + 'a) -> Self {
        Self {
            name,
            records,
            run: Box::new(run),
            best: f64::INFINITY,
        }
    }
}

/// What this thread has had of a processor.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Lets the contestants take turns; prints each with its speed as a multiple of the first one's.
fn race(title: &str, rounds: usize, contestants: &mut [Contestant<'_>]) {
    for _ in 0..rounds {
        for contestant in contestants.iter_mut() {
            let begin = cpu_seconds();
            (contestant.run)();
            let seconds = (cpu_seconds() - begin) / contestant.records as f64;
            contestant.best = contestant.best.min(seconds);
        }
    }
    println!("\n{title}");
    let first = contestants[0].best;
    for contestant in contestants {
        println!(
            "  {:<52} {:>9.1} ns {:>11.0} /s {:>7.2} x",
            contestant.name,
            contestant.best * 1e9,
            1.0 / contestant.best,
            first / contestant.best,
        );
    }
}

fn json(title: &str, rounds: usize, records: &Records) -> Result<(), Failure> {
    let count = records.len();
    let flat = records.bytes(Form::Flat);
    let mut decode = Pipeline::new(records, Form::Flat, None)?;
    let mut standard = Pipeline::new(records, Form::Flat, Some(Encoding::Standard))?;
    let mut robust = Pipeline::new(records, Form::Flat, Some(Encoding::Robust))?;
    let mut named = Pipeline::new(records, Form::Named, Some(Encoding::Standard))?;
    let mut array = Pipeline::new(records, Form::Array, Some(Encoding::Standard))?;
    let mut csv = Pipeline::new(records, Form::Csv, Some(Encoding::Standard))?;
    let mut only_named = Pipeline::new(records, Form::Named, None)?;
    let mut only_array = Pipeline::new(records, Form::Array, None)?;
    let mut only_csv = Pipeline::new(records, Form::Csv, None)?;
    let csv_lines = records.bytes(Form::Csv);
    let one = |name, pipeline| Contestant::new(name, count, Pipeline::runner(pipeline));
    let mut contestants = vec![
        one("skewd: flat JSON, decode + encode standard", &mut standard),
        one("skewd: flat JSON, decode + encode robust", &mut robust),
        one(
            "skewd: envelope by name, decode + encode standard",
            &mut named,
        ),
        one(
            "skewd: envelope by position, decode + encode standard",
            &mut array,
        ),
        one("skewd: CSV, decode + encode standard", &mut csv),
        one("skewd: flat JSON, decode", &mut decode),
        one("skewd: envelope by name, decode", &mut only_named),
        one("skewd: envelope by position, decode", &mut only_array),
        one("skewd: CSV, decode", &mut only_csv),
        Contestant::new("sonic-rs: flat JSON, typed", count, || {
            peers::sonic_typed(&flat)
        }),
        Contestant::new("sonic-rs: flat JSON, tree", count, || {
            peers::sonic_tree(&flat)
        }),
        Contestant::new("simd-json: flat JSON, typed", count, || {
            peers::simd_typed(&flat)
        }),
        Contestant::new("simd-json: flat JSON, tape", count, || {
            peers::simd_tape(&flat)
        }),
        Contestant::new("simd-json: flat JSON, tree", count, || {
            peers::simd_tree(&flat)
        }),
        Contestant::new("serde_json: flat JSON, typed", count, || {
            peers::serde_typed(&flat)
        }),
        Contestant::new("serde_json: flat JSON, tree", count, || {
            peers::serde_tree(&flat)
        }),
        Contestant::new("csv-core and str::parse: CSV, one loop", count, || {
            peers::csv_loop(&csv_lines);
        }),
    ];
    race(title, rounds, &mut contestants);
    Ok(())
}

fn encoders(rounds: usize, decoded: &Decoded) {
    let count = decoded.rows();
    let mut standard = codec::Encoders::new(decoded, Encoding::Standard);
    let mut robust = codec::Encoders::new(decoded, Encoding::Robust);
    let mut robust_again = codec::Encoders::new(decoded, Encoding::Robust);
    let mut standard_again = codec::Encoders::new(decoded, Encoding::Standard);
    let mut plain = codec::Plain::new(decoded);
    race(
        "encode a batch of 128 and learn its moments",
        rounds,
        &mut [
            Contestant::new("skewd: standard, encode + observe", count, || {
                standard.both()
            }),
            Contestant::new("skewd: robust, encode + observe", count, || robust.both()),
            Contestant::new("skewd: standard, encode", count, || standard_again.encode()),
            Contestant::new("skewd: robust, encode", count, || robust_again.encode()),
            Contestant::new(
                "a plain loop: standardise and cut, nothing learned",
                count,
                || {
                    plain.standardise();
                },
            ),
            Contestant::new("a copy of the matrix", count, || {
                black_box(decoded.matrix().to_vec());
            }),
        ],
    );
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let rounds = option("--rounds").map_or(Ok(40), |text| text.parse())?;
    let short = Records::new(4_000, false);
    let long = Records::new(4_000, true);
    if let Some(folder) = option("--write") {
        short.write(&Path::new(folder).join("short.jsonl"), Form::Flat)?;
        long.write(&Path::new(folder).join("long.jsonl"), Form::Flat)?;
        return Ok(());
    }
    println!("instruction set: {}", skewd::model::instruction_set());
    println!(
        "{FEATURES} numbers a record; time and speed of one record, and the speed beside the first line's"
    );
    json("four decimals", rounds, &short)?;
    json("seventeen digits", rounds, &long)?;
    let decoded = Decoded::new(&short)?;
    encoders(rounds, &decoded);
    edges::read(rounds, &short)?;
    streams::embedded(rounds, &short)?;
    streams::kafka(rounds.min(5))?;
    edges::evaluation(rounds, &decoded);
    edges::gather(rounds, &short)?;
    // As many as do not stay in a cache.
    edges::learner(rounds.min(5), &Records::new(100_000, false))?;
    Ok(())
}
