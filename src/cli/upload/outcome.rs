//! What has become of a file, and why it was not sent.

use std::io;

use super::hash::Sha256Sum;
use super::journal::{JournalLost, Unchanged};
use crate::cli::refusal::Refusal;
use crate::cli::server::AskError;
use crate::id::UploadId;

/// What has become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is on the server.
    Sent {
        /// The server's own name of it, where it has taken ours.
        url: String,
        sha256: Sha256Sum,
        /// Whether the server has told the same SHA-256.
        verified: bool,
    },
    /// There was nothing to do.
    Skipped(Skipped),
    /// Somebody has cancelled it.
    Cancelled { reason: Option<String> },
    /// It was interrupted, and the server has so much of it, if that is known.
    Interrupted { kept: Option<u64> },
    /// It could not be sent.
    Failed { why: String },
}

/// Why there was nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// An earlier run has sent it.
    Sent { upload: UploadId, sha256: Sha256Sum },
    /// The project has it already.
    Present,
    /// It is being sent already: it was named twice.
    Twice,
}

impl Outcome {
    /// In one word, as `--json` has it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Skipped(_) => "skipped",
            Self::Cancelled { .. } => "cancelled",
            Self::Interrupted { .. } => "interrupted",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Why sending has come to no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// Somebody has cancelled the upload.
    #[error("cancelled")]
    Cancelled(Refusal),
    /// The upload of an earlier run is not there any more, for no reason that would keep anybody from
    /// sending it again.
    #[error("the upload of the run before is gone")]
    Lost,
    /// The run was interrupted, and so much is kept, if that is known.
    #[error("interrupted")]
    Interrupted { kept: Option<u64> },
    /// Another run sends the file, as it is now.
    #[error("another run has begun it anew")]
    Overtaken,
    /// It is not the file any more that it was.
    #[error("has changed or vanished while it was sent")]
    Changed,
    /// The server has something else than the file.
    #[error("the server has other bytes than the file; what it had is removed")]
    Differs,
    /// The file cannot be read.
    #[error("{0}")]
    File(io::Error),
    /// The server does not take it.
    #[error("{0}")]
    Ask(AskError),
    /// It was tried often enough.
    #[error("given up after {tries} tries: {last}")]
    GivenUp { tries: u32, last: AskError },
    /// Nothing will be taken from this caller: no other file either.
    #[error("{0}")]
    Denied(AskError),
    /// What is sent cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalLost),
}

impl From<Unchanged> for SendError {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Lost(lost) => Self::Journal(lost),
            Unchanged::Overtaken => Self::Overtaken,
        }
    }
}

impl SendError {
    /// Whether no other file will fare better.
    pub(super) fn ends_run(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Journal(_))
    }
}
