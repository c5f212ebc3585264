//! The commands: what can be typed, and which exit code follows.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};

mod arguments;
mod audit;
pub mod checkpoints;
pub mod course;
pub mod demo;
pub mod grid;
pub mod health;
pub mod lane;
mod pipeline;
pub mod plot;
pub mod produce;
mod recorded;
pub mod replay;
pub mod report;
mod source;
mod torture;

/// Why a command did not do what it was asked: a message for a person and a code for a script.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code, by the table in the README.
    pub code: u8,
    /// What was wrong, where, and what to do.
    pub message: String,
}

/// Exit codes, after BSD's `sysexits.h`.
impl Failure {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// 64: the command line is wrong.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(64, message)
    }

    /// 65: the data is not what it should be.
    pub fn data(message: impl std::fmt::Display) -> Self {
        Self::new(65, message)
    }

    /// 70: a broken invariant or a dead thread.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(70, message)
    }

    /// 74: reading or writing failed.
    pub fn io(message: impl std::fmt::Display) -> Self {
        Self::new(74, message)
    }

    /// 75: another process holds the lock.
    pub fn locked(message: impl std::fmt::Display) -> Self {
        Self::new(75, message)
    }

    /// 78: bad configuration or a refused state.
    pub fn config(message: impl std::fmt::Display) -> Self {
        Self::new(78, message)
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::config(error)
    }
}

/// Learn from a skewed stream while it runs.
#[derive(Debug, Parser)]
#[command(name = "skewd", version, about, max_term_width = 100)]
pub struct Cli {
    /// Settings file (TOML); may repeat, later ones win
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// One setting, such as learner.lambda=5; may repeat, wins over files and SKEWD_… variables
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How log lines look on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: learn from the stream, serve predictions, statistics and metrics
    Serve,
    /// Show it: a daemon on a temporary stream, fed with a real imbalanced data set
    Demo(DemoArgs),
    /// Back-test: the same pipeline over recorded examples, at full speed
    Replay(ReplayArgs),
    /// Load a file into a Kafka topic
    Produce(ProduceArgs),
    /// Check settings, files, and whether the brokers and the topic answer
    Check,
    /// Look into checkpoints
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Where the daemon reads on
    #[command(subcommand)]
    Source(SourceCommand),
    /// Crash test: start the daemon, kill it again and again, compare it with one that nobody disturbed
    Torture(TortureArgs),
    /// Ask a running daemon whether it is alive (for container checks)
    Health(HealthArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `skewd demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Examples a second
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    pub rate: f64,
    /// Address of the page and the API
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: String,
    /// Stop by itself after this many seconds
    #[arg(long, value_name = "N")]
    pub exit_after_seconds: Option<u64>,
}

/// `skewd replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// CSV or JSON lines, plain or zstd; several files are one stream, in order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Learners side by side: every combination of the values; may repeat
    #[arg(long, value_name = "KEY=V1,V2,…")]
    pub grid: Vec<String>,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Read the stream this many times; metrics are those of the last pass
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub passes: u32,
    /// Write the report as JSON
    #[arg(long, value_name = "OUT.json")]
    pub report: Option<PathBuf>,
    /// Write one line an example and learner as CSV
    #[arg(long, value_name = "OUT.csv")]
    pub predictions: Option<PathBuf>,
    /// Write charts as one HTML file
    #[arg(long, value_name = "OUT.html")]
    pub plot: Option<PathBuf>,
    /// Write a checkpoint into DIR/checkpoints; `serve --set data_dir=DIR` goes on from it
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Repeat the batches that a daemon recorded in this data folder; one file a partition
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
}

/// `skewd produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// CSV or JSON lines, plain or zstd
    pub file: PathBuf,
    /// The topic
    #[arg(long, value_name = "T")]
    pub topic: String,
    /// Bootstrap brokers; without it those of the settings
    #[arg(long, value_name = "B")]
    pub brokers: Option<String>,
    /// A librdkafka property
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub property: Vec<String>,
    /// Records a second; without it as fast as the brokers take them
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
}

/// `skewd checkpoint …`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// List the checkpoints of the data folder
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one checkpoint: the newest valid one, or the one named
    Show {
        /// File name or path
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Learn the recorded batches between two checkpoints again, and compare the states
    Audit {
        /// File name or path of the first checkpoint: the oldest without it
        #[arg(long, value_name = "A")]
        from: Option<String>,
        /// File name or path of the last checkpoint: the newest valid one without it
        #[arg(long, value_name = "B")]
        to: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the parameters as a safetensors file
    Export {
        /// Where to write
        #[arg(value_name = "OUT.safetensors")]
        out: PathBuf,
        /// File name or path of the checkpoint: the newest valid one without it
        #[arg(long)]
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `skewd source …`.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Keep the model and forget the place in the stream: the next start reads what is there from its beginning
    ///
    /// For a stream that was lost or replaced. Batches that only the journal holds are not part of the model any more;
    /// the journal is moved aside, not deleted. Records that the model has learned and the stream still holds are
    /// learned again. The daemon must not run.
    Reset {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `skewd torture`.
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// How often the daemon is killed
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub kills: u64,
    /// Seed of the moments: the same seed tries the same places
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// Brokers of a Kafka cluster, instead of the embedded stream
    #[arg(long, value_name = "B", requires = "topic")]
    pub brokers: Option<String>,
    /// An empty topic of one partition on those brokers
    #[arg(long, value_name = "T", requires = "brokers")]
    pub topic: Option<String>,
}

/// `skewd health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Ask for readiness instead of life
    #[arg(long)]
    pub ready: bool,
}

/// Runs what was parsed.
///
/// # Errors
/// A message and an exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(
            shell,
            &mut arguments::everywhere(),
            "skewd",
            &mut std::io::stdout(),
        );
        return Ok(());
    }
    let _lines = crate::telemetry::start_logging(cli.log_format == LogFormat::Json);
    let config = Config::load(&cli.config, config::environment()?.into_iter(), &cli.set)?;
    match cli.command {
        Command::Serve => crate::daemon::serve(config),
        Command::Demo(args) => demo::run(&cli.config, &cli.set, &args),
        Command::Replay(args) => replay::run(&config, &args),
        Command::Produce(args) => produce::run(&config, &args),
        Command::Torture(args) => torture::run(&config, &args),
        Command::Check => produce::check(&config),
        Command::Checkpoint(command) => checkpoints::run(&config, command),
        Command::Source(SourceCommand::Reset { json }) => source::reset(&config, json),
        Command::Health(args) => health::run(&config, &args),
        Command::Completions { .. } => Ok(()),
    }
}
