//! The program: arguments to configuration, configuration to a run, a run to an exit code.

use std::process::ExitCode;

use tidegate::{app, config};

fn main() -> ExitCode {
    match config::parse(std::env::args_os()) {
        Ok(command) => app::run(command),
        Err(refusal) => refusal.report(),
    }
}
