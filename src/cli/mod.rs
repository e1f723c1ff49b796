//! The commands of a client. They talk HTTP to a server, this one or another, and import none of it.
//!
//! It promises that what a server says is believed only as far as it can be checked: requests go to
//! one origin and the token with them, what is shown is safe to show, and what is read is bounded.
//!
//! | file | concern |
//! |---|---|
//! | `connect` | which server, and as whom: flags, environment, profile |
//! | `token` | where the token comes from |
//! | `server` | requests to one origin |
//! | `refusal` | what a server says when it does not do it |
//! | `retry` | how long to wait before something is tried again |
//! | `interrupt` | Ctrl-C |
//! | `error` | exit codes |
//! | `out`, `text` | what is written, and that it is safe to show |
//! | `session` | what commands beside `upload` have in common |
//! | `object`, `pages` | what a server tells of something, and lists of that, page by page |
//! | `sse` | a stream of events |
//! | `fetch`, `part` | downloads, and a file that is not whole yet |
//! | `grammar` | completions and manual pages |
//! | `upload` | `tidegate upload` |
//! | `ls`, `cancel`, `watch`, `download`, `queue`, `export`, `project`, `share` | the commands of these names |

mod cancel;
mod connect;
mod download;
mod error;
mod export;
mod fetch;
mod grammar;
mod interrupt;
mod ls;
mod object;
mod out;
mod pages;
mod part;
mod project;
mod queue;
mod refusal;
mod retry;
mod server;
mod session;
mod share;
mod sse;
mod text;
mod token;
mod upload;
mod watch;

use std::process::ExitCode;

use clap::ArgMatches;

use self::error::CommandError;
pub use self::grammar::{Words, describe};
use crate::cancel::Scope;

/// Threads that may wait for files at once.
const BLOCKING_THREADS_MAX: usize = 64;

/// A command of a client, and what it was told.
#[derive(Debug)]
pub struct Command(Which);

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Send files and directories, many at once, and go on where an earlier run stopped
    #[command(after_long_help = upload::EXAMPLES)]
    Upload(Box<upload::Arguments>),
    /// List the uploads of a project
    #[command(after_long_help = ls::EXAMPLES)]
    Ls(Box<ls::Arguments>),
    /// Cancel uploads that are on their way
    #[command(after_long_help = cancel::EXAMPLES)]
    Cancel(Box<cancel::Arguments>),
    /// Tell what happens, as it happens
    #[command(after_long_help = watch::EXAMPLES)]
    Watch(Box<watch::Arguments>),
    /// Download an upload, and go on where an earlier run stopped
    #[command(after_long_help = download::EXAMPLES)]
    Download(Box<download::Arguments>),
    /// Have images processed
    #[command(subcommand, after_long_help = queue::EXAMPLES)]
    Queue(queue::Arguments),
    /// Have a project as an archive
    #[command(subcommand, after_long_help = export::EXAMPLES)]
    Export(export::Arguments),
    /// Make, look at and remove projects
    #[command(subcommand, after_long_help = project::EXAMPLES)]
    Project(project::Arguments),
    /// Share projects with others
    #[command(subcommand, after_long_help = share::EXAMPLES)]
    Share(share::Arguments),
}

/// Does what the command line asks for.
pub fn run(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("tidegate")
        .build();
    let done = runtime.map_err(CommandError::Io).and_then(|runtime| {
        let scope = Scope::root("command");
        let done = runtime.block_on(async {
            match command.0 {
                Which::Upload(arguments) => upload::run(*arguments, &scope).await,
                Which::Ls(arguments) => ls::run(*arguments, &scope).await,
                Which::Cancel(arguments) => cancel::run(*arguments, &scope).await,
                Which::Watch(arguments) => watch::run(*arguments, &scope).await,
                Which::Download(arguments) => download::run(*arguments, &scope).await,
                Which::Queue(arguments) => queue::run(arguments, &scope).await,
                Which::Export(arguments) => export::run(arguments, &scope).await,
                Which::Project(arguments) => project::run(arguments, &scope).await,
                Which::Share(arguments) => share::run(arguments, &scope).await,
            }
        });
        // What still waits for a file or for an answer is of no use to anybody any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

// What commands are told is nobody else's business, so these do what deriving would do.

impl clap::FromArgMatches for Command {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Which::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl clap::Subcommand for Command {
    fn augment_subcommands(program: clap::Command) -> clap::Command {
        Which::augment_subcommands(program)
    }

    fn augment_subcommands_for_update(program: clap::Command) -> clap::Command {
        Which::augment_subcommands_for_update(program)
    }

    fn has_subcommand(name: &str) -> bool {
        Which::has_subcommand(name)
    }
}
