//! The front door: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match skewd::cli::Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; a failure to print them has nobody left to hear of it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match skewd::cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("skewd: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
