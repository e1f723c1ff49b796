//! Flags, environment and file, read once into one typed [`Config`].
//!
//! The one invariant: a [`Config`] that exists has been checked. What it says is complete, within
//! bounds and free of contradictions, so nobody past this module asks again. Precedence is flag,
//! then environment (`TIDEGATE_` and the flag's name), then file, then default.
//!
//! | file | concern |
//! |---|---|
//! | `args` | the settings as they are written |
//! | `resolve` | defaults and checks |
//! | `auth` | the same for callers |
//! | `export` | the same for exports |
//! | `queue` | the same for the queue |
//! | `webhook` | the same for those who are sent events |
//!
//! Every command reads the same settings, so that one file and one environment serve them all. A
//! flag that a command has no use for is refused on its command line.

mod args;
mod auth;
mod export;
mod queue;
mod resolve;
#[cfg(test)]
mod tests;
mod webhook;

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::auth::TokenConfig;
use crate::cli;
use crate::http::telemetry::LogFormat;
use crate::http::{Cors, DrainLimits, Listen, Origin, Proxies};
use crate::webhook::EndpointConfig;
use args::{Cli, Flags, Settings, Subcommand};
pub use export::ExportLimits;
pub use queue::QueueLimits;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Something with a server of this machine.
    Operator(Box<Command>),
    /// To talk to a server, wherever it is.
    Client(cli::Command),
    /// To write the grammar of the command line in other words.
    Grammar(Box<clap::Command>, cli::Words),
}

/// What an operator asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve until told to stop.
    Serve(Config),
    /// Bring the database to this version's schema.
    Migrate(Config),
    /// Nothing: the configuration has been checked already.
    Check(Config),
    /// Compare stored bytes and rows.
    Fsck {
        /// Where they are.
        config: Config,
        /// Put right what can be.
        repair: bool,
    },
    /// Sign a token.
    Token {
        /// By which it is signed.
        config: Config,
        /// What it is to say.
        token: TokenRequest,
    },
}

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whom it names.
    pub user: String,
    /// The user's address.
    pub email: Option<String>,
    /// What he may do beyond what everybody may.
    pub role: Option<TokenRole>,
    /// The models that he may work with as a worker. `None`: every one.
    pub models: Option<Vec<String>>,
    /// For how long it is good.
    pub expires: Duration,
}

/// What a token lets its user do beyond what everybody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenRole {
    /// See and end everything
    Admin,
    /// Work on the items of the processing queue
    Worker,
}

/// Everything an operator can choose, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one. Without authentication all of them are loopback or local, unless the operator
    /// insisted.
    pub listen: Vec<Listen>,
    /// With what connections over TCP are secured.
    pub tls: Option<TlsFiles>,
    /// How absolute URLs are made.
    pub origin: Origin,
    /// Which web pages of other origins may use the server.
    pub cors: Cors,
    /// How tokens are checked. `None`: everybody is served, and only where that is harmless, unless
    /// the operator insisted.
    pub auth: Option<TokenConfig>,
    /// Held by one server at a time.
    pub data_dir: PathBuf,
    /// Who is believed what it says of a client.
    pub proxies: Proxies,
    /// `sqlite:...`, `postgres://...` or `postgresql://...`; without it, SQLite in the data
    /// directory.
    pub database: Option<Url>,
    /// The directory of the blobs, if it is not in the data directory.
    pub store: Option<PathBuf>,
    /// What an acknowledged offset survives.
    pub durability: Durability,
    /// What is computed of every upload while it comes in.
    pub digest: Digest,
    /// Bounds and pace of uploads.
    pub uploads: UploadLimits,
    /// Bounds of exports.
    pub exports: ExportLimits,
    /// Bounds and pace of the queue.
    pub queue: QueueLimits,
    /// How many requests one caller may make in a second; `None` is without limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// For how long events can be read again.
    pub event_keep: Duration,
    /// Who is sent events. Their names differ.
    pub webhooks: Vec<EndpointConfig>,
    /// What is read of a body after an early answer.
    pub drain: DrainLimits,
    /// How long work in hand may take to settle at the end.
    pub shutdown_grace: Duration,
    /// What is logged, and how.
    pub log: Log,
    /// Which of the optional modules are mounted.
    pub modules: Modules,
}

/// Where certificate and key are, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate first.
    pub cert: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

/// Bounds and pace of uploads.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// The largest upload; `None` is without limit. Never zero.
    pub upload_bytes_max: Option<u64>,
    /// The most bytes in one request; `None` is without limit. Never zero.
    pub append_bytes_max: Option<u64>,
    /// The least bytes in one request after which more is to follow. Never zero, and not more than
    /// the most.
    pub append_bytes_min: Option<u64>,
    /// The newest interop version of the IETF draft that is spoken.
    pub interop_max: u64,
    /// How many interim responses one request is sent at most.
    pub interims_max: u32,
    /// How many files one form may bring. Never zero.
    pub images_max: u32,
    /// Bytes of metadata. Never zero, and some of a header section is left beside the most.
    pub metadata_bytes_max: usize,
    /// Bytes that one project may have; `None` is without limit. Never zero.
    pub project_bytes_max: Option<u64>,
    /// Unfinished uploads that one caller may have; `None` is without limit. Never zero.
    pub open_max: Option<u32>,
    /// Uploads that one caller may send to at once; `None` is without limit.
    pub streams_max: Option<NonZeroU32>,
    /// Uploads that one caller may create in a second; `None` is without limit.
    pub creations_per_second: Option<NonZeroU32>,
    /// An unfinished upload that nobody goes on with is removed after this. Never zero.
    pub expires_after: Duration,
    /// How long the row of a cancelled or expired upload is kept.
    pub tombstone_keep: Duration,
    /// A sender slower than `rate_min` over this time is stalled. Never zero.
    pub stall_timeout: Duration,
    /// Bytes per second; with zero, only silence stalls.
    pub rate_min: u64,
    /// A commit follows at the latest after so many bytes. Never zero.
    pub checkpoint_bytes: u64,
    /// A commit follows at the latest after this time. Never zero.
    pub checkpoint_interval: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A valid filter of `tracing`'s environment filter.
    pub filter: String,
}

/// Which of the optional modules are mounted.
#[derive(Clone, Copy, Debug)]
pub struct Modules {
    /// Archives of a project's uploads.
    pub export: bool,
    /// The processing queue.
    pub queue: bool,
}

/// What an acknowledged offset survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The loss of power: bytes are on the disk before they are acknowledged
    PowerLoss,
    /// The end of the process, however sudden, but not of the machine
    ProcessCrash,
}

/// The digest of a whole upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    /// SHA-256
    Sha256,
    /// None
    None,
}

/// A URL with a scheme that this program knows. Shows no more than the scheme when it is formatted
/// for a log, because a password may be in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Deref for Url {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split(':').next().unwrap_or_default();
        write!(f, "{scheme}:(hidden)")
    }
}

/// Why there is nothing to do: help was asked for, or something is wrong with the arguments, the
/// environment or the file.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Tells the operator, and gives the exit code: 0 after help, 2 after a mistake.
    pub fn report(&self) -> ExitCode {
        // Without standard streams there is nobody to tell.
        drop(self.0.print());
        if self.0.use_stderr() {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Refusal {}

/// Reads the command line (the program's name first), the environment and the file.
///
/// # Errors
///
/// Help is an error here too: see [`Refusal::report`].
pub fn parse<I>(arguments: I) -> Result<Invocation, Refusal>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let mut program = program();
    let matches = program
        .try_get_matches_from_mut(arguments)
        .map_err(Refusal)?;
    let refuse = |program: &mut clap::Command, why: &dyn fmt::Display| {
        Refusal(program.error(clap::error::ErrorKind::ValueValidation, why))
    };
    if let Some(flag) = useless_flag(&program, &matches) {
        return Err(refuse(&mut program, &flag));
    }
    let cli =
        Cli::from_arg_matches(&matches).map_err(|error| Refusal(error.format(&mut program)))?;
    let config = |program: &mut clap::Command, flags: Flags| {
        resolve::config(flags).map_err(|e| refuse(program, &e))
    };
    let program = &mut program;
    Ok(Invocation::Operator(Box::new(match cli.command {
        Subcommand::Client(command) => return Ok(Invocation::Client(command)),
        Subcommand::Completions { shell } => return Ok(grammar(cli::Words::Completions(shell))),
        Subcommand::Man { dir } => return Ok(grammar(cli::Words::Man(dir))),
        Subcommand::Serve(flags) => Command::Serve(config(program, flags)?),
        Subcommand::Migrate(flags) => Command::Migrate(config(program, flags)?),
        Subcommand::Check(flags) => Command::Check(config(program, flags)?),
        Subcommand::Fsck { repair, flags } => Command::Fsck {
            config: config(program, flags)?,
            repair,
        },
        Subcommand::Token {
            user,
            expires,
            email,
            role,
            mut flags,
        } => {
            let models = match is_on_command_line(&matches, "models") {
                true => flags.settings.models.take(),
                false => None,
            };
            if expires.0 < Duration::from_secs(1) {
                return Err(refuse(program, &"`--expires` must be a second or more"));
            }
            if models.is_some() && role != Some(TokenRole::Worker) {
                return Err(refuse(program, &"`--models` needs `--role worker`"));
            }
            // What else would it be signed for?
            flags.settings.auth.get_or_insert(args::Auth::Jwt);
            Command::Token {
                config: config(program, flags)?,
                token: TokenRequest {
                    user,
                    email,
                    role,
                    models,
                    expires: expires.0,
                },
            }
        }
    })))
}

fn grammar(words: cli::Words) -> Invocation {
    // Not the one that has parsed, which is changed by that.
    Invocation::Grammar(Box::new(program()), words)
}

/// The grammar, in which commands that do not serve hide what they have no use for.
fn program() -> clap::Command {
    let mut program = Cli::command();
    for (name, headings) in args::HEADINGS {
        program = program.mut_subcommand(name, |command| {
            command.mut_args(|flag| {
                let heading = flag.get_help_heading();
                let hidden = heading.is_some_and(|heading| !headings.contains(&heading));
                flag.hide(hidden)
            })
        });
    }
    program.mut_subcommand("token", |command| {
        command.mut_arg("models", |flag| {
            let flag = flag.help(args::MODELS_OF_TOKEN).help_heading(None::<&str>);
            flag.hide(false).hide_env(true)
        })
    })
}

fn is_on_command_line(matches: &ArgMatches, flag: &str) -> bool {
    matches
        .subcommand()
        .is_some_and(|(_, given)| given.value_source(flag) == Some(ValueSource::CommandLine))
}

/// A complaint about a flag that was given to a command which hides it.
fn useless_flag(program: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let (name, _) = matches.subcommand()?;
    let command = program.find_subcommand(name)?;
    let flag = command
        .get_arguments()
        .filter(|flag| flag.is_hide_set())
        .find(|flag| is_on_command_line(matches, flag.get_id().as_str()))?;
    Some(format!(
        "`--{}` means nothing to `tidegate {name}`",
        flag.get_long()?
    ))
}
