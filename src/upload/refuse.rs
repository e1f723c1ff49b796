//! Errors and ends, as the problems that clients are told.

use tidegate_protocol::problem::Problem;

use super::store::{End, Excess, NotMade, State, StoreError, Upload};
use crate::blob::BlobError;
use crate::cancel::{CancelReason, Refused};

/// Seconds after which a client is asked to try again.
const RETRY_AFTER: u64 = 5;

pub(super) fn blob(error: &BlobError) -> Problem {
    match error {
        BlobError::Full => Problem::StorageFull,
        BlobError::Short { .. } => Problem::UploadFailed,
        BlobError::Io(_) => Problem::Internal,
    }
}

pub(super) fn store(error: &StoreError) -> Problem {
    match error {
        StoreError::Full => Problem::StorageFull,
        StoreError::Unavailable => Problem::Unavailable {
            retry_after: RETRY_AFTER,
        },
        StoreError::Failed(source) => {
            tracing::error!(error = &**source as &dyn std::error::Error, "database");
            Problem::Internal
        }
    }
}

/// What the sender of a cancelled attempt is told, if it still listens.
pub(super) fn cancelled(reason: CancelReason) -> Option<Problem> {
    match reason {
        CancelReason::ClientGone => None,
        CancelReason::Superseded | CancelReason::LeaseLost => Some(Problem::UploadSuperseded),
        CancelReason::Requested => Some(Problem::UploadCancelled {
            reason: None,
            at: None,
        }),
        CancelReason::Denied => Some(Problem::Forbidden),
        CancelReason::Stalled => Some(Problem::UploadStalled),
        CancelReason::Expired => Some(Problem::UploadExpired),
        CancelReason::Shutdown => Some(shutdown()),
    }
}

pub(super) fn not_admitted(refused: Refused) -> Problem {
    match refused {
        Refused::Closed => shutdown(),
        Refused::Overdue => Problem::UploadBusy,
        Refused::Superseded => Problem::UploadSuperseded,
    }
}

pub(super) fn not_made(error: NotMade, size_max: u64) -> Problem {
    match error {
        NotMade::NoProject => Problem::NotFound,
        NotMade::PartNotFound(part) => Problem::PartNotFound { part },
        NotMade::NotPartial(part) => Problem::InvalidPart { part },
        NotMade::TooLarge => Problem::TooLarge { limit: size_max },
        NotMade::OverQuota(excess) => over_quota(excess),
        NotMade::TooManyOpen(max) => Problem::TooManyUploads {
            limit: max.into(),
            retry_after: RETRY_AFTER,
        },
    }
}

pub(super) fn over_quota(excess: Excess) -> Problem {
    Problem::QuotaExceeded {
        quota: excess.quota,
        used: excess.used,
    }
}

/// Why nothing can be done with an upload any more, if so.
pub(super) fn ended(upload: &Upload) -> Option<Problem> {
    end(&End::of(upload))
}

/// As [`ended`], of one that has.
pub(super) fn end(end: &End) -> Option<Problem> {
    match end.state {
        State::Uploading | State::Completed => None,
        State::Cancelling | State::Cancelled => Some(Problem::UploadCancelled {
            reason: end.reason.clone(),
            at: end.ended_at.and_then(|at| u64::try_from(at).ok()),
        }),
        State::Expired => Some(Problem::UploadExpired),
        State::Failed => Some(Problem::UploadFailed),
        State::Deleting => Some(Problem::NotFound),
    }
}

/// For a sender that is still there but has ended its content early, or malformed it.
pub(super) fn cut() -> Problem {
    Problem::BadRequest {
        detail: "the content broke off; what had arrived is kept".into(),
    }
}

/// Whether a sender is told this because it has left, or been sent away, before the end.
pub(super) fn is_departure(problem: &Problem) -> bool {
    let is_sent_away = matches!(
        problem,
        Problem::UploadStalled | Problem::ShuttingDown { .. } | Problem::Forbidden
    );
    is_sent_away || *problem == cut()
}

pub(super) fn shutdown() -> Problem {
    Problem::ShuttingDown {
        retry_after: RETRY_AFTER,
    }
}
