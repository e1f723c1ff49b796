//! Projects and shares in the database: whole transactions, never single rows.
//!
//! Every change locks the project's row, looks at what the caller may do there by the rule of
//! [`access`](crate::access), changes on condition, and writes its events last. After the commit all
//! are told who keep something open that may have become visible or invisible.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::change::{accept, find, find_own, invite, revoke, tell};
use super::row::{Project, STRANGE, Share, project, share};
use super::statement as sql;
use super::{Deps, event};
use crate::access::{Change, Changes, Denied, Right, right};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::db::{Db, DbError, Param, Row, Sql, Tx};
use crate::event::{Hub, record};
use crate::http::Page;
use crate::id::{ProjectId, ShareId};

/// Shares of a project that are not revoked, at most.
pub(super) const SHARES_MAX: i64 = 1000;

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

    /// Runs a transaction and tells of it.
    async fn change<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<Done<T>, DbError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, DbError> {
        let changes = self.changes.clone();
        let tell = move |hub: &Hub, done: &Done<T>| {
            if let Some(change) = &done.change {
                changes.tell(change.clone());
            }
            hub.wake_all();
        };
        let done = self.hub.change(&self.scope, work, tell).await?;
        Ok(done.value)
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
        let [limit, skip] = page.bounds();
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
        let [limit, skip] = page.bounds();
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
        let [limit, skip] = page.bounds();
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
                Ok(Done::of(accepted))
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
                Ok(Done::of(revoked))
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

impl Done<Result<Share, Denied>> {
    /// Tells those whom the share concerns.
    fn of(changed: Result<Share, Denied>) -> Self {
        let change = changed.as_ref().ok().and_then(Share::change);
        Self {
            value: changed,
            change,
        }
    }
}

/// Limit and offset.
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

/// The title of a project, for other modules within their transactions. `None`: there is no such project.
///
/// # Errors
/// The database's.
pub async fn title(tx: &mut Tx, project: &str) -> Result<Option<String>, DbError> {
    let row = tx
        .fetch_optional(&sql::TITLE, &[Param::Text(project)])
        .await?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}
