//! Projects and shares in the database: whole transactions, never single rows.
//!
//! Every change locks the project's row, looks at what the caller may do there by the rule of
//! [`access`](crate::access), changes on condition, and tells its events last. After the commit those
//! are told who may see more or less than before.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::statement as sql;
use super::{Deps, event};
use crate::access::{Change, Changes, Right, asker, right};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::db::{Db, DbError, Param, Row, Sql, Tx};
use crate::event::{Hub, record};
use crate::http::Page;
use crate::id::{ProjectId, ShareId};

/// Shares of a project that are not revoked, at most.
pub(super) const SHARES_MAX: i64 = 1000;

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
    fn concerns(&self, caller: &Caller) -> bool {
        match &self.user {
            Some(user) => *user == caller.user,
            None => self.email.is_some() && self.email == caller.email,
        }
    }

    fn change(&self) -> Option<Change> {
        let user = self.user.clone()?;
        Some(Change {
            project: self.project.clone(),
            user: Some(user),
        })
    }
}

/// Why a caller may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no such thing, or none that he may know of.
    Absent,
    /// He may see it, and not do this.
    Forbidden,
}

/// Why a project is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotShared {
    Denied(Denied),
    /// It is his own.
    WithOwner,
    /// Nobody invites himself.
    WithOneself,
    /// It has [`SHARES_MAX`].
    TooMany,
}

/// With whom a project is to be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// The user with this id.
    User(String),
    /// Whoever proves to have this address, in lower case.
    Email(String),
}

/// A share that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Invited {
    Now(Share),
    /// There was one already.
    Before(Share),
}

/// What a project is to be called from now on. `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) title: Option<String>,
    /// Within it `None` removes the description.
    pub(super) description: Option<Option<String>>,
}

/// Which projects to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// That user's own, and those shared with him.
    VisibleTo(String),
    All,
}

/// The database, and whom to tell after a commit.
pub(super) struct Store {
    db: Db,
    hub: Hub,
    changes: Changes,
    scope: Scope,
}

impl Store {
    pub(super) fn new(deps: &Deps) -> Self {
        Self {
            db: deps.db.clone(),
            hub: deps.hub.clone(),
            changes: deps.changes.clone(),
            scope: deps.scope.clone(),
        }
    }

    /// Runs a transaction and tells of it. As a task: a client that leaves after the commit must not
    /// keep others from being told.
    async fn change<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<Done<T>, DbError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, DbError> {
        let (db, hub, changes) = (self.db.clone(), self.hub.clone(), self.changes.clone());
        let task = self.scope.spawn(async move {
            let Done { value, change } = db.write(work).await?;
            if let Some(change) = change {
                changes.tell(change);
            }
            hub.wake_all();
            Ok(value)
        });
        let panicked = |error: crate::cancel::Panicked| DbError::Panicked(error.message().into());
        task.await.map_err(panicked)?
    }

    /// Everybody looks again at what he may see of `project`.
    pub(super) fn tell_everybody(&self, project: &str) {
        self.changes.tell(Change {
            project: project.to_owned(),
            user: None,
        });
    }

    pub(super) async fn create(
        &self,
        owner: String,
        title: String,
        description: Option<String>,
    ) -> Result<Project, DbError> {
        if self.db.is_full() {
            return Err(DbError::Full);
        }
        let id = ProjectId::random();
        self.change(move |tx| {
            let (id, owner) = (id.clone(), owner.clone());
            let (title, description) = (title.clone(), description.clone());
            async move {
                let params = [
                    Param::Text(id.as_str()),
                    Param::Text(&owner),
                    Param::Text(&title),
                    Param::OptText(description.as_deref()),
                ];
                let row = tx.fetch_optional(&sql::CREATE, &params).await?;
                let project = project(&row.ok_or(STRANGE)?)?;
                let change = Change {
                    project: project.id.clone(),
                    user: Some(owner),
                };
                Ok(Done {
                    value: project,
                    change: Some(change),
                })
            }
            .boxed()
        })
        .await
    }

    pub(super) async fn find(
        &self,
        id: &ProjectId,
        caller: &Caller,
    ) -> Result<Result<Project, Denied>, DbError> {
        let found = self.db.read(|tx| {
            let (id, caller) = (id.clone(), caller.clone());
            async move { find(tx, &id, &caller).await }.boxed()
        });
        Ok(found
            .await?
            .map(|(project, _)| project)
            .ok_or(Denied::Absent))
    }

    /// A page, newest first, and how many there are altogether.
    pub(super) async fn list(
        &self,
        which: Which,
        page: &Page,
    ) -> Result<(Vec<Project>, u64), DbError> {
        let [limit, skip] = bounds(page);
        let listed = self.db.read(|tx| {
            let which = which.clone();
            async move {
                let user = match &which {
                    Which::VisibleTo(user) => vec![Param::Text(user)],
                    Which::All => Vec::new(),
                };
                let (count, list) = match which {
                    Which::VisibleTo(_) => (&sql::COUNT, &sql::LIST),
                    Which::All => (&sql::COUNT_ALL, &sql::LIST_ALL),
                };
                page_of(tx, [count, list], user, [limit, skip]).await
            }
            .boxed()
        });
        let (rows, total) = listed.await?;
        Ok((rows.iter().map(project).collect::<Result<_, _>>()?, total))
    }

    /// Gives the project a new title or description. Nothing is told if it has them already.
    pub(super) async fn update(
        &self,
        id: ProjectId,
        caller: Caller,
        edit: Edit,
    ) -> Result<Result<Project, Denied>, DbError> {
        self.change(move |tx| {
            let (id, caller, edit) = (id.clone(), caller.clone(), edit.clone());
            async move {
                let before = match find_own(tx, &id, &caller).await? {
                    Ok(project) => project,
                    Err(denied) => return Ok(Done::silent(Err(denied))),
                };
                let title = edit.title.as_ref().unwrap_or(&before.title);
                let description = edit.description.as_ref().unwrap_or(&before.description);
                if (title, description) == (&before.title, &before.description) {
                    return Ok(Done::silent(Ok(before)));
                }
                let params = [
                    Param::Text(id.as_str()),
                    Param::Text(title),
                    Param::OptText(description.as_deref()),
                ];
                let row = tx.fetch_optional(&sql::UPDATE, &params).await?;
                let after = project(&row.ok_or(STRANGE)?)?;
                record(tx, event::updated(&after)).await?;
                Ok(Done::silent(Ok(after)))
            }
            .boxed()
        })
        .await
    }

    /// Makes a project invisible for good, and revokes all its shares. What is in it is to be removed
    /// then, and [`Self::remove`] ends it.
    pub(super) async fn begin_deletion(
        &self,
        id: ProjectId,
        caller: Caller,
    ) -> Result<Result<(), Denied>, DbError> {
        self.change(move |tx| {
            let (id, caller) = (id.clone(), caller.clone());
            async move {
                if let Err(denied) = find_own(tx, &id, &caller).await? {
                    return Ok(Done::silent(Err(denied)));
                }
                let this = [Param::Text(id.as_str())];
                tx.execute(&sql::BEGIN_DELETION, &this).await?;
                let rows = tx.fetch_all(&sql::REVOKE_ALL, &this).await?;
                let revoked: Vec<Share> = rows.iter().map(share).collect::<Result<_, _>>()?;
                tell(tx, &revoked).await?;
                let change = Change {
                    project: id.to_string(),
                    user: None,
                };
                Ok(Done {
                    value: Ok(()),
                    change: Some(change),
                })
            }
            .boxed()
        })
        .await
    }

    /// Projects whose deletion has begun, by id.
    pub(super) async fn going(&self, after: &str, limit: u32) -> Result<Vec<String>, DbError> {
        let rows = self.db.read(|tx| {
            let after = after.to_owned();
            async move {
                let params = [Param::Text(&after), Param::Int(limit.into())];
                tx.fetch_all(&sql::GOING, &params).await
            }
            .boxed()
        });
        let rows = rows.await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Whether the deletion of a project has begun and not ended.
    pub(super) async fn is_going(&self, project: &str) -> Result<bool, DbError> {
        let found = self.db.read(|tx| {
            let project = project.to_owned();
            async move {
                let this = [Param::Text(&project)];
                tx.fetch_optional(&sql::IS_GOING, &this).await
            }
            .boxed()
        });
        Ok(found.await?.is_some())
    }

    /// Ends the deletion of a project in which nothing is left.
    pub(super) async fn remove(&self, project: &str) -> Result<(), DbError> {
        let project = project.to_owned();
        let removed = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                let this = [Param::Text(&project)];
                tx.execute(&sql::REMOVE, &this).await?;
                tx.execute(&sql::REMOVE_SHARES, &this).await
            }
            .boxed()
        });
        removed.await?;
        Ok(())
    }

    /// Invites somebody, if he is not invited or a member already.
    pub(super) async fn share(
        &self,
        id: ProjectId,
        caller: Caller,
        with: With,
    ) -> Result<Result<Invited, NotShared>, DbError> {
        if self.db.is_full() {
            return Err(DbError::Full);
        }
        let share = ShareId::random().to_string();
        self.change(move |tx| {
            let (id, caller) = (id.clone(), caller.clone());
            let (share, with) = (share.clone(), with.clone());
            async move { Ok(Done::silent(invite(tx, &share, &id, &caller, &with).await?)) }.boxed()
        })
        .await
    }

    /// A page of what a project is shared by: all, or for a member only his own.
    pub(super) async fn shares(
        &self,
        id: &ProjectId,
        caller: &Caller,
        page: &Page,
    ) -> Result<Result<(Vec<Share>, u64), Denied>, DbError> {
        let [limit, skip] = bounds(page);
        let listed = self.db.read(|tx| {
            let (id, caller) = (id.clone(), caller.clone());
            async move {
                let whose = match right(tx, id.as_str(), &caller).await? {
                    None => return Ok(None),
                    Some(Right::Member) => Some(caller.user.as_str()),
                    Some(Right::Owner) => None,
                };
                let params = vec![Param::Text(id.as_str()), Param::OptText(whose)];
                let sql = [&sql::COUNT_SHARES, &sql::LIST_SHARES];
                page_of(tx, sql, params, [limit, skip]).await.map(Some)
            }
            .boxed()
        });
        let Some((rows, total)) = listed.await? else {
            return Ok(Err(Denied::Absent));
        };
        let shares = rows.iter().map(share).collect::<Result<_, _>>()?;
        Ok(Ok((shares, total)))
    }

    /// A page of the shares that concern `caller`, each with the title of its project.
    pub(super) async fn shares_concerning(
        &self,
        caller: &Caller,
        page: &Page,
    ) -> Result<(Vec<(Share, String)>, u64), DbError> {
        let [limit, skip] = bounds(page);
        let listed = self.db.read(|tx| {
            let caller = caller.clone();
            async move {
                let email = caller.email.as_deref();
                let params = vec![Param::Text(&caller.user), Param::OptText(email)];
                let sql = [&sql::COUNT_CONCERNING, &sql::LIST_CONCERNING];
                page_of(tx, sql, params, [limit, skip]).await
            }
            .boxed()
        });
        let (rows, total) = listed.await?;
        let titled = |row: &Row| Ok((share(row)?, row.text(7)?.to_owned()));
        let shares = rows.iter().map(titled).collect::<Result<_, DbError>>()?;
        Ok((shares, total))
    }

    /// Makes the invited caller a member. The answer is his share of the project: another one, if he
    /// had been invited twice.
    pub(super) async fn accept(
        &self,
        id: ShareId,
        caller: Caller,
    ) -> Result<Result<Share, Denied>, DbError> {
        self.change(move |tx| {
            let caller = caller.clone();
            async move {
                let accepted = accept(tx, id, &caller).await?;
                let change = accepted.as_ref().ok().and_then(Share::change);
                Ok(Done {
                    value: accepted,
                    change,
                })
            }
            .boxed()
        })
        .await
    }

    /// Takes a share back, or for the caller whom it concerns declines or leaves it.
    pub(super) async fn revoke(
        &self,
        id: ShareId,
        caller: Caller,
    ) -> Result<Result<Share, Denied>, DbError> {
        self.change(move |tx| {
            let caller = caller.clone();
            async move {
                let revoked = revoke(tx, id, &caller).await?;
                // Also if it was revoked before: perhaps nobody was told then.
                let change = revoked.as_ref().ok().and_then(Share::change);
                Ok(Done {
                    value: revoked,
                    change,
                })
            }
            .boxed()
        })
        .await
    }

    /// Forgets shares that were revoked longer ago than `keep`.
    pub(super) async fn forget(&self, keep: Duration) -> Result<u64, DbError> {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let keep = keep.min(i64::MAX / 2);
        let forgotten = self.db.write(move |tx| {
            async move { tx.execute(&sql::FORGET, &[Param::Int(keep)]).await }.boxed()
        });
        forgotten.await
    }
}

/// What a transaction has come to, and who is to look again at what he may see.
struct Done<T> {
    value: T,
    change: Option<Change>,
}

impl<T> Done<T> {
    fn silent(value: T) -> Self {
        Self {
            value,
            change: None,
        }
    }
}

async fn find(
    tx: &mut Tx,
    id: &ProjectId,
    caller: &Caller,
) -> Result<Option<(Project, Right)>, DbError> {
    let [user, admin] = asker(caller);
    let params = [Param::Text(id.as_str()), user, admin];
    let Some(row) = tx.fetch_optional(&sql::FIND, &params).await? else {
        return Ok(None);
    };
    let right = Right::of(row.int(6)?);
    right.map(|right| Ok((project(&row)?, right))).transpose()
}

/// Locks a project for a change that is its owner's to make.
async fn find_own(
    tx: &mut Tx,
    id: &ProjectId,
    caller: &Caller,
) -> Result<Result<Project, Denied>, DbError> {
    if !tx.lock(&sql::LOCK, &[Param::Text(id.as_str())]).await? {
        return Ok(Err(Denied::Absent));
    }
    // After the lock: it has to see what was committed by whom that waited for.
    Ok(match find(tx, id, caller).await? {
        None => Err(Denied::Absent),
        Some((_, Right::Member)) => Err(Denied::Forbidden),
        Some((project, Right::Owner)) => Ok(project),
    })
}

async fn invite(
    tx: &mut Tx,
    new: &str,
    id: &ProjectId,
    caller: &Caller,
    with: &With,
) -> Result<Result<Invited, NotShared>, DbError> {
    let project = match find_own(tx, id, caller).await? {
        Ok(project) => project,
        Err(denied) => return Ok(Err(NotShared::Denied(denied))),
    };
    let is_oneself = match with {
        With::User(user) if *user == project.owner => return Ok(Err(NotShared::WithOwner)),
        With::User(user) => *user == caller.user,
        With::Email(email) => Some(email) == caller.email.as_ref(),
    };
    if is_oneself {
        return Ok(Err(NotShared::WithOneself));
    }
    let of_project = Param::Text(id.as_str());
    let (known, user, email) = match with {
        With::User(user) => (&sql::WITH_USER, Some(user.as_str()), None),
        With::Email(email) => (&sql::WITH_EMAIL, None, Some(email.as_str())),
    };
    let either = Param::OptText(user.or(email));
    if let Some(row) = tx.fetch_optional(known, &[of_project, either]).await? {
        return Ok(Ok(Invited::Before(share(&row)?)));
    }
    let everybody = [of_project, Param::OptText(None)];
    let living = tx.fetch_optional(&sql::COUNT_SHARES, &everybody).await?;
    if living.ok_or(STRANGE)?.int(0)? >= SHARES_MAX {
        return Ok(Err(NotShared::TooMany));
    }
    let params = [
        Param::Text(new),
        of_project,
        Param::OptText(user),
        Param::OptText(email),
    ];
    let row = tx.fetch_optional(&sql::INVITE, &params).await?;
    Ok(Ok(Invited::Now(share(&row.ok_or(STRANGE)?)?)))
}

/// Locks the project of a share. Returns the share and the project's owner.
async fn find_share(tx: &mut Tx, id: ShareId) -> Result<Option<(Share, String)>, DbError> {
    let id = id.to_string();
    let this = [Param::Text(&id)];
    if !tx.lock(&sql::LOCK_OF_SHARE, &this).await? {
        return Ok(None);
    }
    let row = tx.fetch_optional(&sql::FIND_SHARE, &this).await?;
    row.map(|row| Ok((share(&row)?, row.text(7)?.to_owned())))
        .transpose()
}

async fn accept(
    tx: &mut Tx,
    id: ShareId,
    caller: &Caller,
) -> Result<Result<Share, Denied>, DbError> {
    let Some((invitation, owner)) = find_share(tx, id).await? else {
        return Ok(Err(Denied::Absent));
    };
    if !invitation.concerns(caller) || owner == caller.user {
        let right = right(tx, &invitation.project, caller).await?;
        return Ok(Err(match right {
            Some(Right::Owner) => Denied::Forbidden,
            Some(Right::Member) | None => Denied::Absent,
        }));
    }
    let params = [Param::Text(&invitation.project), Param::Text(&caller.user)];
    let own = tx.fetch_optional(&sql::WITH_USER, &params).await?;
    let own = own.as_ref().map(share).transpose()?;
    let other = own.filter(|own| own.id != invitation.id);
    let mut reached = Vec::new();
    let accepted = match (invitation.status, other) {
        (Status::Accepted, _) => invitation,
        // It has ended because he was a member already, or he has been invited anew since.
        (Status::Revoked, Some(other)) if other.status == Status::Accepted => other,
        (Status::Revoked, _) => return Ok(Err(Denied::Absent)),
        (Status::Pending, None) => {
            let accepted = accepted(tx, &invitation.id, caller).await?;
            reached.push(accepted.clone());
            accepted
        }
        // He is invited by his id and by his address: one share is enough.
        (Status::Pending, Some(other)) => {
            reached.push(revoked(tx, &invitation.id, Some(&caller.user)).await?);
            match other.status {
                Status::Pending => {
                    let accepted = accepted(tx, &other.id, caller).await?;
                    reached.push(accepted.clone());
                    accepted
                }
                Status::Accepted | Status::Revoked => other,
            }
        }
    };
    tell(tx, &reached).await?;
    Ok(Ok(accepted))
}

async fn accepted(tx: &mut Tx, id: &str, caller: &Caller) -> Result<Share, DbError> {
    let params = [Param::Text(id), Param::Text(&caller.user)];
    let row = tx.fetch_optional(&sql::ACCEPT, &params).await?;
    share(&row.ok_or(STRANGE)?)
}

async fn revoked(tx: &mut Tx, id: &str, user: Option<&str>) -> Result<Share, DbError> {
    let params = [Param::Text(id), Param::OptText(user)];
    let row = tx.fetch_optional(&sql::REVOKE, &params).await?;
    share(&row.ok_or(STRANGE)?)
}

async fn revoke(
    tx: &mut Tx,
    id: ShareId,
    caller: &Caller,
) -> Result<Result<Share, Denied>, DbError> {
    let Some((before, _)) = find_share(tx, id).await? else {
        return Ok(Err(Denied::Absent));
    };
    let concerns = before.concerns(caller);
    match (right(tx, &before.project, caller).await?, before.status) {
        (Some(Right::Owner), Status::Revoked) => return Ok(Ok(before)),
        (Some(Right::Owner), _) => {}
        (_, Status::Pending | Status::Accepted) if concerns => {}
        _ => return Ok(Err(Denied::Absent)),
    }
    let user = concerns.then_some(caller.user.as_str());
    let after = revoked(tx, &before.id, user).await?;
    tell(tx, std::slice::from_ref(&after)).await?;
    Ok(Ok(after))
}

/// Writes the events of shares that have just reached their status. To be called last.
async fn tell(tx: &mut Tx, shares: &[Share]) -> Result<(), DbError> {
    for draft in event::reached(shares) {
        record(tx, draft).await?;
    }
    Ok(())
}

/// Limit and offset.
fn bounds(page: &Page) -> [i64; 2] {
    let limit = i64::from(page.limit);
    [limit, i64::from(page.number.saturating_sub(1)) * limit]
}

/// The rows of a page and how many there are altogether; `sql` counts and lists.
async fn page_of(
    tx: &mut Tx,
    [count, list]: [&'static Sql; 2],
    mut params: Vec<Param<'_>>,
    [limit, skip]: [i64; 2],
) -> Result<(Vec<Row>, u64), DbError> {
    let total = tx.fetch_optional(count, &params).await?;
    let total = total.ok_or(STRANGE)?.int(0)?;
    params.extend([Param::Int(limit), Param::Int(skip)]);
    let rows = tx.fetch_all(list, &params).await?;
    Ok((rows, u64::try_from(total).map_err(|_| STRANGE)?))
}

fn project(row: &Row) -> Result<Project, DbError> {
    Ok(Project {
        id: row.text(0)?.to_owned(),
        owner: row.text(1)?.to_owned(),
        title: row.text(2)?.to_owned(),
        description: row.opt_text(3)?.map(str::to_owned),
        created_at: row.int(4)?,
        updated_at: row.int(5)?,
    })
}

fn share(row: &Row) -> Result<Share, DbError> {
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
const STRANGE: DbError = DbError::Aborted("a row of a project holds what it never should");
