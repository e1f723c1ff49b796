//! Errors, as the problems that clients are told.

use tidegate_protocol::problem::Problem;

use super::store::NotShared;
use crate::db::DbError;

/// Seconds after which a client is asked to try again.
const RETRY_AFTER: u64 = 5;

pub(super) fn db(error: &DbError) -> Problem {
    match error {
        DbError::Full => Problem::StorageFull,
        DbError::Busy | DbError::Unavailable(_) => Problem::Unavailable {
            retry_after: RETRY_AFTER,
        },
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "database");
            Problem::Internal
        }
    }
}

/// `field` is the one that names with whom.
pub(super) fn not_shared(error: NotShared, field: &'static str) -> Problem {
    match error {
        NotShared::Denied(denied) => denied.into(),
        NotShared::WithOwner => Problem::validation(field, "is the project's owner"),
        NotShared::WithOneself => Problem::validation(field, "is the caller"),
        NotShared::TooMany => Problem::validation(
            field,
            "would be one too many: a project has 1000 shares that are not revoked at most",
        ),
    }
}
