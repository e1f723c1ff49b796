//! What can go wrong with the database, by what a caller can do about it.

use std::sync::Arc;

use tidegate_protocol::problem::Problem;

/// Seconds after which a client is asked to try again.
const RETRY_AFTER: u64 = 5;

/// Why a read or a write failed.
///
/// Unless a variant says otherwise, nothing of a failed write was kept. An error is cheap to
/// clone, because one failure can be the answer to many writers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// [`Db::close`](super::Db::close) was called, or the writer is gone.
    #[error("the database is closed")]
    Closed,
    /// A write could not be made durable, or the database file is damaged. Every later write
    /// fails too, and only a restart shows whether this one was kept.
    #[error("the database is broken: restart the server and look at its disk")]
    Broken,
    /// The disk is full. Works that change or delete rows, instead of adding some, may still
    /// succeed: see [`Db::is_full`](super::Db::is_full).
    #[error("no space is left for the database")]
    Full,
    /// Others held what was needed for too long, retries included. Later may be better.
    #[error("the database is busy")]
    Busy,
    /// The database server cannot be reached. Later may be better.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The connection was lost while committing: the write may or may not have been kept.
    #[error("the connection was lost while committing, so the outcome is unknown")]
    CommitUnknown,
    /// A row with that key is there already.
    #[error("a row with this key exists")]
    Duplicate(#[source] Arc<sqlx::Error>),
    /// A column is not of the type it was read as.
    #[error("cannot read column {column} of the row")]
    Decode {
        /// Which column, counted from 0.
        column: usize,
        /// What is wrong with it.
        source: Arc<sqlx::Error>,
    },
    /// The work gave its transaction up on purpose and says why.
    #[error("the transaction was given up: {0}")]
    Aborted(&'static str),
    /// The work panicked, with this message.
    #[error("the database work panicked: {0}")]
    Panicked(Arc<str>),
    /// The database and this binary do not fit together: a setting, a migration, a statement.
    #[error("{0}")]
    Refused(Arc<str>),
    /// Anything else, usually a mistake in a statement or a violated constraint.
    #[error("a database statement failed")]
    Driver(#[source] Arc<sqlx::Error>),
}

impl DbError {
    /// Refuses with a reason for the operator.
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into().into())
    }

    /// Wraps what no other variant is for.
    pub(super) fn driver(error: sqlx::Error) -> Self {
        Self::Driver(Arc::new(error))
    }
}

impl From<DbError> for Problem {
    /// What a client is told. What it is not told goes to the log.
    fn from(error: DbError) -> Self {
        match error {
            DbError::Full => Self::StorageFull,
            DbError::Busy | DbError::Unavailable(_) => Self::Unavailable {
                retry_after: RETRY_AFTER,
            },
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "database");
                Self::Internal
            }
        }
    }
}
