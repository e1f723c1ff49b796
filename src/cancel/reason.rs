//! Why a unit of work is cancelled, and what follows from it.
//!
//! Invariant: every question about a reason is a total function with an exhaustive `match`, so that
//! a new reason does not compile until all of them are answered.

use std::fmt;

/// Why a unit of work is cancelled.
///
/// | reason | keep reading? | ending | answer | queue: attempt counted? |
/// |---|---|---|---|---|
/// | `ClientGone` | run dry what arrived | settle | - | - |
/// | `Superseded` | stop | settle | 400 problem `upload-superseded` | - |
/// | `Requested` | stop | settle, then destroy | 410 problem `upload-cancelled` | no, final |
/// | `Denied` | stop | settle | 4xx problem | no, final |
/// | `Stalled` | stop | settle | 503 problem `upload-stalled` | yes |
/// | `Expired` | stop | settle, then destroy | 410 | no, final |
/// | `LeaseLost` | stop | **abandon**: write nothing more | - | no, someone else has it |
/// | `Shutdown` | stop | settle | 503 and `Retry-After` | no, back to queued |
///
/// The answer goes to a client that still listens, and is not chosen here. It is 400 for
/// `Superseded` because clients do not retry that, so that two senders never fight; it is 503 for
/// `Stalled` because they retry a 5xx, but not 408. The other columns are the functions below,
/// where "-" in the last one means that no queue item ends for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelReason {
    /// The client closed, reset or lost the connection that carried its request.
    ClientGone,
    /// A newer request for the same thing took over.
    Superseded,
    /// Somebody who may do so asked for the cancel.
    Requested,
    /// The caller has lost the right to go on.
    Denied,
    /// No progress, or too little of it, for longer than the stall timeout.
    Stalled,
    /// The retention of an unfinished thing ran out.
    Expired,
    /// The epoch moved on: another owner writes now.
    LeaseLost,
    /// The server is going down.
    Shutdown,
}

impl CancelReason {
    /// Every reason, for tests that try them all and for metrics that name them all.
    pub const ALL: [Self; 8] = [
        Self::ClientGone,
        Self::Superseded,
        Self::Requested,
        Self::Denied,
        Self::Stalled,
        Self::Expired,
        Self::LeaseLost,
        Self::Shutdown,
    ];

    /// What becomes of input that was sent but has not been read yet.
    pub const fn reading(self) -> Reading {
        match self {
            // The sender can no longer hear how far it came: every byte kept is one not re-sent.
            Self::ClientGone => Reading::RunDry,
            Self::Superseded
            | Self::Requested
            | Self::Denied
            | Self::Stalled
            | Self::Expired
            | Self::LeaseLost
            | Self::Shutdown => Reading::Stop,
        }
    }

    /// How the unit ends.
    pub const fn ending(self) -> Ending {
        match self {
            Self::ClientGone | Self::Superseded | Self::Denied | Self::Stalled | Self::Shutdown => {
                Ending::Settle
            }
            Self::Requested | Self::Expired => Ending::SettleThenDestroy,
            // Whatever this owner still wrote would land in the new owner's work.
            Self::LeaseLost => Ending::Abandon,
        }
    }

    /// Whether an attempt of a queue item that ended for this reason uses up one of its retries.
    ///
    /// Only the unit's own failure to get on counts; what others decided about it does not.
    pub const fn counts_attempt(self) -> bool {
        match self {
            Self::Stalled => true,
            Self::ClientGone
            | Self::Superseded
            | Self::Requested
            | Self::Denied
            | Self::Expired
            | Self::LeaseLost
            | Self::Shutdown => false,
        }
    }

    /// The reason's stable name in logs, metric labels and event data.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Superseded => "superseded",
            Self::Requested => "requested",
            Self::Denied => "denied",
            Self::Stalled => "stalled",
            Self::Expired => "expired",
            Self::LeaseLost => "lease_lost",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a cancelled unit does with input that was sent but has not been read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Read on until the input ends or fails: nobody adds to it any more.
    RunDry,
    /// Read nothing more; what has been read already is still accounted for.
    Stop,
}

/// How a cancelled unit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Make everything read so far durable and committed.
    Settle,
    /// Settle; whoever cancelled destroys the thing after that.
    SettleThenDestroy,
    /// Write nothing more, not even what has been read: somebody else owns the thing now.
    Abandon,
}
