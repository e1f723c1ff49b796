//! Who may do what in a project (contract, "Callers, projects, access").
//!
//! There is one rule, and this file has it: the owner and an admin may do everything, a person with
//! an accepted share may see everything and end what is his own, and to everybody else the project
//! does not exist. It is a fragment of SQL, so that whoever reads or changes a row asks for the right
//! in the same statement or transaction; what is shared and with whom is written by the module
//! `project`.
//!
//! Invariant: nothing of a project is answered to a caller who has no [`Right`] in it.

use std::fmt;

use tidegate_protocol::problem::Problem;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::auth::Caller;
use crate::db::{DbError, Line, Param, Sql, Tx, sql};
use crate::id::ProjectId;

/// The tables that the rule looks at.
pub const LINE: Line = Line {
    name: "project",
    sqlite: &[
        (
            1,
            "project",
            include_str!("../migrations/sqlite/project/0001_project.sql"),
        ),
        (
            2,
            "used_bytes",
            include_str!("../migrations/sqlite/project/0002_used_bytes.sql"),
        ),
    ],
    postgres: &[
        (
            1,
            "project",
            include_str!("../migrations/postgres/project/0001_project.sql"),
        ),
        (
            2,
            "used_bytes",
            include_str!("../migrations/postgres/project/0002_used_bytes.sql"),
        ),
    ],
};

/// What a caller may do in a project, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// See everything, add, and end what he has added.
    Member,
    /// Everything.
    Owner,
}

impl Right {
    /// The right that [`right_in!`] has computed. `None`: the project does not exist for the caller.
    pub fn of(computed: i64) -> Option<Self> {
        match computed {
            1 => Some(Self::Member),
            2.. => Some(Self::Owner),
            _ => None,
        }
    }

    /// Whether a caller with this right may append to, or end, what `owner` has added.
    pub fn covers(self, caller: &Caller, owner: &str) -> bool {
        self == Self::Owner || caller.user == owner
    }
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no such thing, or none that he may know of.
    Absent,
    /// He may see it, and not do this.
    Forbidden,
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Absent => Self::NotFound,
            Denied::Forbidden => Self::Forbidden,
        }
    }
}

/// SQL for what a caller may do in the project whose id is `$project`: 0 nothing, 1 as
/// [`Right::Member`], 2 as [`Right::Owner`]. `$user` and `$admin` stand for [`asker`]'s parameters.
macro_rules! right_in {
    ($project:literal, $user:literal, $admin:literal) => {
        concat!(
            "COALESCE((SELECT CAST(CASE WHEN project.owner_id = ",
            $user,
            " OR CAST(",
            $admin,
            " AS BIGINT) = 1 THEN 2 WHEN EXISTS (SELECT 1 FROM share WHERE share.project_id = project.id \
             AND share.user_id = ",
            $user,
            " AND share.status = 'accepted') THEN 1 ELSE 0 END AS BIGINT) FROM project \
             WHERE project.id = ",
            $project,
            " AND project.deleted_at IS NULL), 0)"
        )
    };
}
pub(crate) use right_in;

/// SQL for the ids of the projects that are `$user`'s own or shared with him.
macro_rules! visible_to {
    ($user:literal) => {
        concat!(
            "SELECT id FROM project WHERE owner_id = ",
            $user,
            " AND deleted_at IS NULL UNION SELECT project.id FROM share \
             JOIN project ON project.id = share.project_id WHERE share.user_id = ",
            $user,
            " AND share.status = 'accepted' AND project.deleted_at IS NULL"
        )
    };
}
pub(crate) use visible_to;

/// What [`right_in!`] needs to know of a caller, in the order `$user`, `$admin`.
pub fn asker(caller: &Caller) -> [Param<'_>; 2] {
    [
        Param::Text(&caller.user),
        Param::Int(caller.is_admin().into()),
    ]
}

/// $1 project, $2 user, $3 whether an admin.
static RIGHT: Sql = sql!("SELECT ", right_in!("$1", "$2", "$3"));

/// Keeps a project from being deleted until the end of the transaction. $1 project.
static HOLD: Sql = sql!("SELECT id FROM project WHERE id = $1 AND deleted_at IS NULL {for_share}");

/// $1 user, $2 limit.
static VISIBLE: Sql = sql!(visible_to!("$1"), " ORDER BY 1 LIMIT $2");

/// $1 id to go on after, $2 limit.
static EVERY: Sql = sql!("SELECT id FROM project WHERE id > $1 ORDER BY id LIMIT $2");

/// $1 user.
static DEFAULT: Sql =
    sql!("SELECT id FROM project WHERE owner_id = $1 AND is_default = 1 AND deleted_at IS NULL");

/// $1 id, $2 user, $3 title.
static OPEN_DEFAULT: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, $3, 1, {now}, {now}) ON CONFLICT DO NOTHING"
);

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
static ALL: &[&Sql] = &[&RIGHT, &HOLD, &VISIBLE, &EVERY, &DEFAULT, &OPEN_DEFAULT];

/// What `caller` may do in `project`. `None`: for him, there is no such project.
///
/// # Errors
/// The database's.
pub async fn right(tx: &mut Tx, project: &str, caller: &Caller) -> Result<Option<Right>, DbError> {
    let [user, admin] = asker(caller);
    let row = tx
        .fetch_optional(&RIGHT, &[Param::Text(project), user, admin])
        .await?;
    Ok(Right::of(row.map_or(Ok(0), |row| row.int(0))?))
}

/// As [`right`], for a transaction that adds something to the project: it is not deleted before that
/// ends. Call it first.
///
/// # Errors
/// The database's.
pub async fn right_to_add(
    tx: &mut Tx,
    project: &str,
    caller: &Caller,
) -> Result<Option<Right>, DbError> {
    match tx.lock(&HOLD, &[Param::Text(project)]).await? {
        true => right(tx, project, caller).await,
        false => Ok(None),
    }
}

/// The ids of the projects that are `caller`'s own or shared with him, `limit` at most.
///
/// # Errors
/// The database's.
pub async fn visible(tx: &mut Tx, caller: &Caller, limit: u32) -> Result<Vec<String>, DbError> {
    let params = [Param::Text(&caller.user), Param::Int(limit.into())];
    let rows = tx.fetch_all(&VISIBLE, &params).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// The ids of projects past `after`, whosever they are, those that are going included; `limit` at most.
///
/// # Errors
/// The database's.
pub async fn every(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<String>, DbError> {
    let params = [Param::Text(after), Param::Int(limit.into())];
    let rows = tx.fetch_all(&EVERY, &params).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// The id of `user`'s default project, which is made if it is not there, and whether it was. That of
/// the user `local` is [`DEFAULT_OF_LOCAL`].
///
/// # Errors
/// The database's. [`DbError::Busy`] while the last one of the user `local` is still being removed.
pub async fn default_project(tx: &mut Tx, user: &str) -> Result<(String, bool), DbError> {
    let id = match user {
        Caller::LOCAL => String::from(DEFAULT_OF_LOCAL),
        _ => Uuid::new_v4().to_string(),
    };
    let params = [
        Param::Text(&id),
        Param::Text(user),
        Param::Text(DEFAULT_TITLE),
    ];
    let mut is_new = false;
    for _attempt in 0..2 {
        if let Some(row) = tx.fetch_optional(&DEFAULT, &params[1..2]).await? {
            return Ok((row.text(0)?.to_owned(), is_new));
        }
        is_new = tx.execute(&OPEN_DEFAULT, &params).await? > 0;
    }
    // The one before has the same id.
    Err(DbError::Busy)
}

/// The default project of a server without authentication.
pub const DEFAULT_OF_LOCAL: &str = ProjectId::DEFAULT;

const DEFAULT_TITLE: &str = "Default";

/// Somebody may see more, or less, than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which project.
    pub project: String,
    /// Who. `None`: everybody, since the project goes.
    pub user: Option<String>,
}

/// Tells of each [`Change`] after its commit. Clones tell the same listeners.
#[derive(Clone)]
pub struct Changes(broadcast::Sender<Change>);

/// Changes that a listener may be behind. One that is further behind looks at everything again.
const BEHIND_MAX: usize = 64;

impl Changes {
    /// Without listeners.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }

    /// To be called after the commit.
    pub fn tell(&self, change: Change) {
        // Without a listener nobody needs it.
        drop(self.0.send(change));
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
