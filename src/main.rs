//! The program: arguments to configuration, configuration to a run, a run to an exit code.

use std::process::ExitCode;

use tidegate::config::{self, Invocation};
use tidegate::{app, cli};

fn main() -> ExitCode {
    match config::parse(std::env::args_os()) {
        Ok(Invocation::Operator(command)) => app::run(*command),
        Ok(Invocation::Client(command)) => cli::run(command),
        Ok(Invocation::Grammar(program, words)) => cli::describe(*program, &words),
        Err(refusal) => refusal.report(),
    }
}
