//! `skewd produce` and `skewd check`: what a person does with a topic before the daemon learns from it.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::replay::data_error;
use super::{Failure, ProduceArgs};
use crate::codec::CsvFields;
use crate::config::Config;
use crate::daemon::preflight;
use crate::example::Record;
use crate::stream::file::FileSource;
use crate::stream::kafka::{self, check_brokers};
use crate::stream::producer::{Outgoing, ProduceError, Progress, produce, row_to_json};
use crate::stream::{Kind, Polled, Source};

/// Records read from the file at once.
const CHUNK_RECORDS: usize = 1024;

/// Loads a file into a topic and waits until the brokers have all of it.
///
/// # Errors
/// 64 for a rate that is none, 65 for bad data, 74 for files and brokers, 78 for settings.
pub fn run(config: &Config, args: &ProduceArgs) -> Result<(), Failure> {
    if args.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e9)) {
        return Err(Failure::usage(
            "--rate must be a positive number of records a second",
        ));
    }
    let settings = settings(config, args)?;
    let source = FileSource::open(std::slice::from_ref(&args.file), &config.schema.label)
        .map_err(data_error)?;
    let bar = progress_bar(source.bytes_total());
    let read = bar.clone();
    let records = Outgoings {
        columns: source.columns().map(<[String]>::to_vec),
        label: config.schema.label.clone(),
        fields: CsvFields::default(),
        source,
        waiting: Vec::new().into_iter(),
        over: false,
        failed: None,
        bar: read,
    };
    let mut shown = bar.clone();
    let done = produce(&settings, records, args.rate, |progress| {
        show(&mut shown, progress)
    })
    .map_err(|error| match error {
        ProduceError::Settings(reason) => Failure::config(reason),
        ProduceError::Broker(reason) => Failure::io(reason),
        ProduceError::Input(reason) => Failure::data(reason),
    })?;
    bar.finish_and_clear();
    println!(
        "{} records ({} bytes) are in topic {}",
        done.delivered, done.delivered_bytes, settings.topic
    );
    Ok(())
}

/// The `[kafka]` table with what the command line adds.
fn settings(config: &Config, args: &ProduceArgs) -> Result<kafka::Settings, Failure> {
    let mut settings = config.kafka.clone();
    settings.topic.clone_from(&args.topic);
    if let Some(brokers) = &args.brokers {
        settings.brokers.clone_from(brokers);
    }
    for pair in &args.property {
        settings
            .properties
            .add_pair(pair)
            .map_err(|reason| Failure::usage(format!("-X {reason}")))?;
    }
    settings
        .check()
        .map_err(|(key, reason)| Failure::config(format!("kafka.{key}: {reason}")))?;
    Ok(settings)
}

/// The records of a file as messages; the first bad row ends them.
struct Outgoings {
    source: FileSource,
    columns: Option<Vec<String>>,
    label: String,
    fields: CsvFields,
    waiting: std::vec::IntoIter<Record>,
    over: bool,
    failed: Option<String>,
    bar: ProgressBar,
}

impl Iterator for Outgoings {
    type Item = Result<Outgoing, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.waiting.next() {
                return Some(self.message(&record));
            }
            if self.over {
                return self.failed.take().map(Err);
            }
            let mut records = Vec::with_capacity(CHUNK_RECORDS);
            match self
                .source
                .poll(Duration::ZERO, CHUNK_RECORDS, &mut records)
            {
                Ok(polled) => self.over = polled == Polled::End,
                Err(error) => {
                    self.over = true;
                    self.failed = Some(error.to_string());
                }
            }
            self.bar.set_position(self.source.bytes_read());
            self.waiting = records.into_iter();
        }
    }
}

impl Outgoings {
    fn message(&mut self, record: &Record) -> Result<Outgoing, String> {
        let payload = record.payload.as_deref().unwrap_or_default();
        let payload = match &self.columns {
            None => payload.to_vec(),
            Some(columns) => std::str::from_utf8(payload)
                .map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to()))
                .and_then(|text| self.fields.of_record(text, columns.len()))
                .and_then(|fields| row_to_json(columns, fields, &self.label))
                .map_err(|reason| format!("record {} of the file: {reason}", record.offset + 1))?
                .into_bytes(),
        };
        Ok(Outgoing { key: None, payload })
    }
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let template = "{bar:32} {percent:>3} %  {msg}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &mut ProgressBar, progress: Progress) {
    bar.set_message(format!("{} delivered", progress.delivered));
}

/// Looks at everything that `serve` needs, and says what it found.
///
/// # Errors
/// Those of a start: 78 for settings and states that do not fit, 74 for files and brokers.
pub fn check(config: &Config) -> Result<(), Failure> {
    println!("settings   ok");
    let device = preflight::device(config)?;
    println!("device     {device}");
    writable(&config.data_dir)?;
    for line in preflight::check(config)? {
        println!("{line}");
    }
    match config.source.kind {
        Kind::Embedded => println!("source     embedded log in {}", config.data_dir.display()),
        Kind::Kafka => {
            let report = check_brokers(&config.kafka).map_err(Failure::io)?;
            println!("brokers    {}", report.brokers.join(", "));
            println!(
                "topic      {} with {} partitions, at most {} records",
                report.topic, report.partitions, report.records
            );
        }
    }
    Ok(())
}

/// Whether files can be made in a folder, or in the nearest one above that exists.
fn writable(dir: &Path) -> Result<(), Failure> {
    let here = Path::new(".");
    let mut above = dir.ancestors().map(|path| {
        if path.as_os_str().is_empty() {
            here
        } else {
            path
        }
    });
    let nearest = above.find(|path| path.exists()).unwrap_or(here);
    tempfile::tempfile_in(nearest).map(|_| ()).map_err(|error| {
        Failure::io(format!(
            "data_dir = {}: nothing can be written in {}: {error}",
            dir.display(),
            nearest.display()
        ))
    })
}
