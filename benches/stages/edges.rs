//! Stages before and after the codec: files, evaluation, the learner, what it publishes.

use std::hint::black_box;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use skewd::codec::{Encoding, Intake, Schema};
use skewd::evaluate::{self, Exact, Live, Scored, log_loss};
use skewd::example::{Arrival, Outcome, Record};
use skewd::learner::{self, Event, Learner, Snapshot, Task};
use skewd::stream::Source as _;
use skewd::stream::file::FileSource;

use super::codec::{Decoded, settings};
use super::records::{FEATURES, Form, Records};
use super::{Contestant, Failure, race};

pub fn read(rounds: usize, records: &Records) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let count = records.len();
    for (title, name, form) in [
        (
            "read JSON lines from a file in memory",
            "records.jsonl",
            Form::Flat,
        ),
        ("read CSV from a file in memory", "records.csv", Form::Csv),
    ] {
        let path = dir.path().join(name);
        records.write(&path, form)?;
        let paths = [path.clone()];
        let mut source = FileSource::open(&paths, "label")?;
        let mut out = Vec::new();
        race(
            title,
            rounds,
            &mut [
                Contestant::new("skewd: records of a file", count, || {
                    source.rewind().expect("the first record");
                    loop {
                        out.clear();
                        source
                            .poll(Duration::ZERO, 2048, &mut out)
                            .expect("records");
                        if out.is_empty() {
                            break;
                        }
                        black_box(&out);
                    }
                }),
                Contestant::new("BufRead::read_until, a vector each", count, || {
                    let file = std::fs::File::open(&path).expect("a file");
                    let mut file = std::io::BufReader::with_capacity(1 << 16, file);
                    loop {
                        let mut line = Vec::with_capacity(600);
                        if file.read_until(b'\n', &mut line).expect("a line") == 0 {
                            break;
                        }
                        black_box(line);
                    }
                }),
                Contestant::new("the whole file at once", count, || {
                    black_box(std::fs::read(&path).expect("a file"));
                }),
            ],
        );
    }
    Ok(())
}

/// What `replay` keeps of each prediction, and what the daemon does.
pub fn evaluation(rounds: usize, decoded: &Decoded) {
    let count = decoded.rows();
    let probabilities: Vec<[f32; 2]> = decoded
        .matrix()
        .chunks_exact(FEATURES)
        .map(|row| {
            let p = 1.0 / (1.0 + (-row[0]).exp());
            [p, 1.0 - p]
        })
        .collect();
    let labels: Vec<u32> = (0..count).map(|row| u32::from(row % 100 == 0)).collect();
    let mut exact = Exact::new();
    let mut live = Live::new(&evaluate::Settings::default());
    race(
        "evaluation of one prediction, two classes",
        rounds,
        &mut [
            Contestant::new("skewd: live metrics of the daemon", count, || {
                for (label, row) in labels.iter().zip(&probabilities) {
                    live.observe(*label, row, log_loss(*label, row));
                }
            }),
            Contestant::new("skewd: exact scores of replay, kept", count, || {
                exact.clear();
                for (label, row) in labels.iter().zip(&probabilities) {
                    exact.push(Scored {
                        row: 0,
                        label: *label,
                        weight: Some(1.0),
                        time: None,
                        probabilities: row,
                    });
                }
            }),
            Contestant::new(
                "a loop: the logarithm of the label's probability",
                count,
                || {
                    let losses = labels.iter().zip(&probabilities);
                    black_box(
                        losses
                            .map(|(label, row)| log_loss(*label, row))
                            .sum::<f64>(),
                    );
                },
            ),
        ],
    );
}

fn task(encoding: Encoding) -> Task {
    Task {
        learner: learner::Settings {
            mode: learner::Mode::Single,
            batch_size: 128,
            ..learner::Settings::default()
        },
        model: skewd::model::Settings {
            kind: skewd::model::Kind::Mlp,
            hidden: vec![128, 64],
            pieces: false,
        },
        loss: skewd::loss::Settings::default(),
        codec: Arc::new(skewd::codec::Settings {
            encoding,
            ..settings(Form::Flat)
        }),
        evaluation: evaluate::Settings::default(),
        decision: evaluate::DecisionSettings::default(),
        seed: 1,
        device: skewd::model::DeviceChoice::Cpu,
    }
}

/// The copies of rows into a batch, and what is noted with each: a batch that no record fills is never learned.
pub fn gather(rounds: usize, records: &Records) -> Result<(), Failure> {
    let arrivals = arrivals_of(records)?;
    let mut endless = task(Encoding::Standard);
    endless.learner.batch_size = 1 << 20;
    let rows: Vec<&[f32]> = (arrivals.1.iter())
        .filter_map(|arrival| match &arrival.outcome {
            Outcome::Example { example, .. } => Some(&*example.row),
            _ => None,
        })
        .collect();
    let mut matrix: Vec<f32> = Vec::with_capacity(rows.len() * FEATURES);
    race(
        "gather rows into a batch",
        rounds,
        &mut [
            Contestant::new("skewd: an arrival into the batch", rows.len(), || {
                let mut learner = Learner::new(endless.clone());
                learner
                    .handle(Event::Schema(Arc::clone(&arrivals.0)))
                    .expect("a schema");
                for arrival in &arrivals.1 {
                    learner.handle(Event::Arrival(arrival)).expect("a row");
                }
            }),
            Contestant::new("a copy of each row into a matrix", rows.len(), || {
                matrix.clear();
                for row in &rows {
                    matrix.extend_from_slice(row);
                }
                black_box(&matrix);
            }),
        ],
    );
    Ok(())
}

/// The records, decoded, and their schema.
fn arrivals_of(records: &Records) -> Result<(Arc<Schema>, Vec<Arrival>), Failure> {
    let mut intake = Intake::new(&settings(Form::Flat), None);
    let mut arrivals: Vec<Arrival> = Vec::new();
    for (offset, bytes) in (0..).zip(records.bytes(Form::Flat)) {
        intake.push(Record::new(0, offset, bytes), &mut arrivals);
    }
    let schema = intake.schema().ok_or("the features are given")?;
    Ok((Arc::clone(schema), arrivals))
}

/// Learning of decoded records (MLP 30-128-64-2, batch 128), and the publication of what was learned.
pub fn learner(rounds: usize, records: &Records) -> Result<(), Failure> {
    let (schema, arrivals) = arrivals_of(records)?;
    let begun = |encoding| -> Result<Learner, Failure> {
        let mut learner = Learner::new(task(encoding));
        learner.handle(Event::Schema(Arc::clone(&schema)))?;
        Ok(learner)
    };
    let mut standard = begun(Encoding::Standard)?;
    let mut robust = begun(Encoding::Robust)?;
    let mut published = begun(Encoding::Standard)?;
    let learn = |learner: &mut Learner| {
        for arrival in &arrivals {
            learner.handle(Event::Arrival(arrival)).expect("a step");
        }
    };
    race(
        "learn an example (encode, predict, score, step; MLP 30-128-64-2, batch 128)",
        rounds,
        &mut [
            Contestant::new("skewd: standard", arrivals.len(), || learn(&mut standard)),
            Contestant::new("skewd: robust", arrivals.len(), || learn(&mut robust)),
        ],
    );
    learn(&mut published);
    let first = published.snapshot()?.ok_or("a learned model")?;
    let parameters = vec![1.0_f32; 30 * 128 + 128 + 128 * 64 + 64 + 64 * 2 + 2];
    let latest: ArcSwap<Snapshot> = ArcSwap::from_pointee(first);
    race(
        "publish a snapshot",
        rounds * 20,
        &mut [
            Contestant::new("skewd: snapshot and swap of the pointer", 1, || {
                if let Ok(Some(snapshot)) = published.snapshot() {
                    latest.store(Arc::new(snapshot));
                }
            }),
            Contestant::new("a copy of the parameters", 1, || {
                black_box(parameters.clone());
            }),
        ],
    );
    Ok(())
}
