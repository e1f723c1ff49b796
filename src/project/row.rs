//! Projects and shares as the database has them.

use crate::access::Change;
use crate::auth::Caller;
use crate::db::{DbError, Row};

/// A project as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) title: String,
    pub(super) description: Option<String>,
    /// Milliseconds since the Unix epoch, as all times of rows.
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// Where a share is in its life.
///
/// ```text
///  pending ──► accepted ──► revoked ──► (no row) some time later
///     └────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Somebody is invited, which gives him nothing yet.
    Pending,
    /// He has accepted: he is a member.
    Accepted,
    /// Taken back, declined or left. There is no way out of it.
    Revoked,
}

impl Status {
    /// The word used in rows, in JSON and in events.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Accepted, Self::Revoked];
        all.into_iter().find(|status| status.as_str() == text)
    }
}

/// A share as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) id: String,
    pub(super) project: String,
    /// Whom it concerns. `None` while only his address is known.
    pub(super) user: Option<String>,
    /// In lower case.
    pub(super) email: Option<String>,
    pub(super) status: Status,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

impl Share {
    /// Whether it is `caller` whom it concerns.
    pub(super) fn concerns(&self, caller: &Caller) -> bool {
        match &self.user {
            Some(user) => *user == caller.user,
            None => self.email.is_some() && self.email == caller.email,
        }
    }

    /// Who is to look again at what he may see, once this has reached its status.
    pub(super) fn change(&self) -> Option<Change> {
        let user = self.user.clone()?;
        Some(Change {
            project: self.project.clone(),
            user: Some(user),
        })
    }
}

pub(super) fn project(row: &Row) -> Result<Project, DbError> {
    Ok(Project {
        id: row.text(0)?.to_owned(),
        owner: row.text(1)?.to_owned(),
        title: row.text(2)?.to_owned(),
        description: row.opt_text(3)?.map(str::to_owned),
        created_at: row.int(4)?,
        updated_at: row.int(5)?,
    })
}

pub(super) fn share(row: &Row) -> Result<Share, DbError> {
    Ok(Share {
        id: row.text(0)?.to_owned(),
        project: row.text(1)?.to_owned(),
        user: row.opt_text(2)?.map(str::to_owned),
        email: row.opt_text(3)?.map(str::to_owned),
        status: Status::parse(row.text(4)?).ok_or(STRANGE)?,
        created_at: row.int(5)?,
        updated_at: row.int(6)?,
    })
}

/// A row that nothing of this module writes.
pub(super) const STRANGE: DbError =
    DbError::Aborted("a row of a project holds what it never should");
