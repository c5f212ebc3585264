//! Settings may stand before the command, behind it, or on both sides; those behind come later and win.
//!
//! Clap's global arguments keep only what stands behind where both are given, so these are declared for every command and
//! gathered by hand.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;

/// Ids of the arguments that every command takes.
const SHARED: [&str; 2] = ["config", "set"];

impl Cli {
    /// Reads a command line, its first part the program.
    ///
    /// # Errors
    /// What clap says of it; help and version are among it.
    ///
    /// ```
    /// let line = ["skewd", "--set", "seed=1", "serve", "--set", "seed=2"];
    /// let cli = skewd::cli::Cli::read(line.map(Into::into)).unwrap();
    /// assert_eq!(cli.set, ["seed=1", "seed=2"]);
    /// ```
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = everywhere().try_get_matches_from(line)?;
        let (config, set) = (gather(&matches, "config"), gather(&matches, "set"));
        let cli = Self::from_arg_matches_mut(&mut matches);
        let cli = cli.map_err(|error| error.format(&mut everywhere()))?;
        Ok(Self { config, set, ..cli })
    }
}

/// The command line, with the shared arguments on every command.
pub(super) fn everywhere() -> Command {
    let command = Cli::command();
    let shared: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|argument| SHARED.contains(&argument.get_id().as_str()))
        .cloned()
        .collect();
    below(command, &shared)
}

fn below(command: Command, shared: &[clap::Arg]) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| {
            below(command.args(shared.iter().cloned()), shared)
        })
    })
}

/// Every value of an argument, from the outermost command inwards.
fn gather<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Vec<T> {
    let values = matches.get_many::<T>(id).unwrap_or_default();
    let mut all: Vec<T> = values.cloned().collect();
    if let Some((_, inner)) = matches.subcommand() {
        all.extend(gather(inner, id));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn settings_before_and_behind_any_command_are_kept_in_their_order() {
        let line = [
            "skewd",
            "-c",
            "a.toml",
            "--set",
            "a=1",
            "checkpoint",
            "--set",
            "b=2",
            "ls",
            "--json",
            "-c",
            "b.toml",
            "--set",
            "c=3",
            "--set",
            "d=4",
        ];
        let cli = Cli::read(line.map(Into::into)).unwrap();
        assert_eq!(cli.set, ["a=1", "b=2", "c=3", "d=4"]);
        assert_eq!(cli.config, ["a.toml", "b.toml"].map(PathBuf::from));
        let line = ["skewd", "serve", "--log-format", "json"];
        let cli = Cli::read(line.map(Into::into)).unwrap();
        assert!(cli.set.is_empty() && cli.log_format == super::super::LogFormat::Json);
    }

    #[test]
    fn every_command_says_the_shared_arguments_in_its_help() {
        everywhere().debug_assert();
        for line in [
            &["skewd", "replay", "--help"][..],
            &["skewd", "checkpoint", "show", "--help"],
        ] {
            let help = Cli::read(line.iter().map(|part| (*part).into())).unwrap_err();
            let help = help.to_string();
            assert!(
                help.contains("--set") && help.contains("--config"),
                "{help}"
            );
        }
    }
}
