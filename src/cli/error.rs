//! Why a command has not done what it was told, and what a script sees of that.

use std::io;
use std::process::ExitCode;

use super::server::AskError;

/// As the contract has them: 0 all done, and these.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOTHING: u8 = 3;
const INTERRUPTED: u8 = 130;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// It was told something that it cannot do.
    #[error("{0}")]
    Usage(String),
    /// It did not work.
    #[error("{0}")]
    Failed(String),
    /// Of many things some did not work, and that has been told.
    #[error("some of it has failed")]
    Some,
    /// There is nothing that it could be about.
    #[error("{0}")]
    Nothing(String),
    /// Somebody has interrupted it, and what is to be known has been told.
    #[error("interrupted")]
    Interrupted,
    /// The server did not do it.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// A file or a stream could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl CommandError {
    /// Tells it, if it is not told yet, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Some | Self::Interrupted => {}
            // Whoever read the output has had enough of it, as `head` has.
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            _ => super::out::tell(&format!("tidegate: {self}")),
        }
        ExitCode::from(match self {
            Self::Usage(_) => USAGE,
            Self::Nothing(_) => NOTHING,
            Self::Interrupted => INTERRUPTED,
            Self::Failed(_) | Self::Some | Self::Ask(_) | Self::Io(_) => FAILED,
        })
    }
}
