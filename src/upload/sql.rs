//! The module's transactions on SQLite and PostgreSQL, from one text each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Census;
use super::book::Book;
use super::change::{
    Asked, Changes, Promises, advance, cancel_many, cancel_one, clear, concatenate, fail_waiting,
    forestall, insert, released,
};
use super::row::{STRANGE, count, due, find, find_for, id, ids, millis, upload};
use super::statement as sql;
use super::store::{
    Advance, Advanced, Allowance, CancelOutcome, Canceller, Due, Filter, Made, NewFinal, NewUpload,
    NotMade, Remains, Seen, State, StoreError, Upload, UploadStore, Usage, Which,
};
use crate::access::{self, Denied};
use crate::auth::Caller;
use crate::cancel::Panicked;
use crate::db::{Db, DbError, Param, Tx};
use crate::event::{Hub, Kind as EventKind};
use crate::id::UploadId;

/// Uploads in the database.
#[derive(Clone)]
pub struct SqlStore {
    db: Db,
    hub: Hub,
    access: access::Changes,
    book: Book,
}

impl SqlStore {
    /// Over a database whose migrations have been applied. `hub` is woken after each change, and
    /// `access` is told of each default project that was made.
    pub fn new(db: Db, hub: Hub, access: access::Changes) -> Self {
        Self {
            db,
            hub,
            access,
            book: Book::default(),
        }
    }

    /// Keeps to `allowance`, for which [`Self::balance`] comes first.
    #[must_use]
    pub fn within(mut self, allowance: Allowance) -> Self {
        self.book = Book(allowance);
        self
    }

    /// Reckons anew what each project is charged, if that is limited. Nothing else is to happen
    /// meanwhile.
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Cancel safety
    /// A dropped call has done it or not.
    pub async fn balance(&self) -> Result<(), DbError> {
        let book = self.book;
        self.db.write(move |tx| book.balance(tx).boxed()).await
    }

    /// A transaction that tells what it changes.
    fn change<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx, &'t mut Changes) -> BoxFuture<'t, Result<T, DbError>>
        + Send
        + Sync
        + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (store, work) = (self.clone(), Arc::new(work));
        let scope = self.hub.scope().clone();
        let changing = async move {
            let (done, told) = store
                .db
                .write(move |tx| {
                    let work = work.clone();
                    async move {
                        let mut changes = Changes::default();
                        let done = work(tx, &mut changes).await?;
                        Ok((done, changes.tell(tx).await?))
                    }
                    .boxed()
                })
                .await?;
            if let Some(opened) = told.opened {
                store.access.tell(opened);
            }
            store.hub.wake(&told.feeds);
            Ok::<_, DbError>(done)
        };
        async move {
            // As a task: whoever leaves after the commit must not keep others from being told.
            let task = scope.spawn(changing);
            let panicked = |error: Panicked| DbError::Panicked(error.message().into());
            Ok(task.await.map_err(panicked)??)
        }
        .boxed()
    }

    /// Does `sql` to the row, and tells `kind` if that has changed it.
    fn note(
        &self,
        sql: &'static sql::Sql,
        id: UploadId,
        kind: EventKind,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(move |tx, changes| {
            async move {
                let id = id.to_string();
                changes.add(&tx.fetch_all(sql, &[Param::Text(&id)]).await?, kind)
            }
            .boxed()
        })
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, DbError>> + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let db = self.db.clone();
        async move { Ok(db.write(work).await?) }.boxed()
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, DbError>> + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let db = self.db.clone();
        async move { Ok(db.read(work).await?) }.boxed()
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").finish_non_exhaustive()
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Full => Self::Full,
            DbError::Busy | DbError::Unavailable(_) => Self::Unavailable,
            error => Self::Failed(Box::new(error)),
        }
    }
}

impl UploadStore for SqlStore {
    fn create(
        &self,
        new: NewUpload,
    ) -> BoxFuture<'static, Result<Result<Made, NotMade>, StoreError>> {
        let book = self.book;
        self.change(move |tx, changes| insert(tx, changes, book, new.clone()).boxed())
    }

    fn concatenate(
        &self,
        new: NewFinal,
    ) -> BoxFuture<'static, Result<Result<Made, NotMade>, StoreError>> {
        let book = self.book;
        self.change(move |tx, changes| concatenate(tx, changes, book, new.clone()).boxed())
    }

    fn find(&self, id: UploadId) -> BoxFuture<'static, Result<Option<Upload>, StoreError>> {
        self.read(move |tx| find(tx, &sql::FIND, id).boxed())
    }

    fn find_for(
        &self,
        id: UploadId,
        caller: Caller,
    ) -> BoxFuture<'static, Result<Option<Seen>, StoreError>> {
        self.read(move |tx| {
            let caller = caller.clone();
            async move { find_for(tx, id, &caller).await }.boxed()
        })
    }

    fn find_settled(&self, id: UploadId) -> BoxFuture<'static, Result<Option<Upload>, StoreError>> {
        self.write(move |tx| find(tx, &sql::FIND_LOCKED, id).boxed())
    }

    fn parts(&self, id: UploadId) -> BoxFuture<'static, Result<Vec<Upload>, StoreError>> {
        self.read(move |tx| {
            async move {
                let id = id.to_string();
                let rows = tx.fetch_all(&sql::PARTS, &[Param::Text(&id)]).await?;
                rows.iter().map(upload).collect()
            }
            .boxed()
        })
    }

    fn advance(&self, step: Advance) -> BoxFuture<'static, Result<Advanced, StoreError>> {
        let book = self.book;
        self.change(move |tx, changes| advance(tx, changes, book, step.clone()).boxed())
    }

    fn interrupted(&self, id: UploadId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.note(&sql::INTERRUPTED, id, EventKind::UploadInterrupted)
    }

    fn resumed(&self, id: UploadId) -> BoxFuture<'static, Result<(), StoreError>> {
        self.note(&sql::RESUMED, id, EventKind::UploadResumed)
    }

    fn cancel(
        &self,
        id: UploadId,
        by: Canceller,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<CancelOutcome, StoreError>> {
        self.change(move |tx, changes| cancel_one(tx, changes, id, by, reason.clone()).boxed())
    }

    fn forestall(
        &self,
        id: UploadId,
        project: Option<String>,
        caller: Caller,
        by: Canceller,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<CancelOutcome, StoreError>> {
        self.change(move |tx, changes| {
            let (project, caller, reason) = (project.clone(), caller.clone(), reason.clone());
            async move {
                let asked = Asked {
                    id,
                    project: project.as_deref(),
                    caller: &caller,
                };
                forestall(tx, changes, &mut Promises::default(), asked, by, reason).await
            }
            .boxed()
        })
    }

    fn cancel_many(
        &self,
        which: Which,
        caller: Caller,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<Result<Vec<(UploadId, CancelOutcome)>, Denied>, StoreError>>
    {
        self.change(move |tx, changes| {
            let (which, caller, reason) = (which.clone(), caller.clone(), reason.clone());
            async move { cancel_many(tx, changes, which, &caller, reason).await }.boxed()
        })
    }

    fn clear(
        &self,
        project: String,
        reason: String,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<(UploadId, CancelOutcome)>, StoreError>> {
        self.change(move |tx, changes| {
            let (project, reason) = (project.clone(), reason.clone());
            async move { clear(tx, changes, &project, &reason, limit).await }.boxed()
        })
    }

    fn is_clear(&self, project: String) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.read(move |tx| {
            let project = project.clone();
            async move {
                let row = tx
                    .fetch_optional(&sql::HAS_ANY, &[Param::Text(&project)])
                    .await?;
                Ok(row.ok_or(STRANGE)?.int(0)? == 0)
            }
            .boxed()
        })
    }

    fn fail(&self, id: UploadId, reason: String) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(move |tx, changes| {
            let reason = reason.clone();
            async move {
                let id = id.to_string();
                let params = [Param::Text(&id), Param::Text(&reason)];
                changes.reached(&tx.fetch_all(&sql::FAIL, &params).await?)?;
                changes.reached(&tx.fetch_all(&sql::FAIL_MADE_OF, &params).await?)
            }
            .boxed()
        })
    }

    fn expire(&self, id: UploadId) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.change(move |tx, changes| {
            async move {
                let id = id.to_string();
                let expired = tx.fetch_all(&sql::EXPIRE, &[Param::Text(&id)]).await?;
                if expired.is_empty() {
                    return Ok(false);
                }
                changes.reached(&expired)?;
                fail_waiting(tx, changes, &id).await?;
                Ok(true)
            }
            .boxed()
        })
    }

    fn may_release(&self, id: UploadId) -> BoxFuture<'static, Result<Option<Remains>, StoreError>> {
        // In a write, so that it sees what was committed a moment ago on either engine.
        self.write(move |tx| {
            async move {
                let id = id.to_string();
                let this = [Param::Text(&id)];
                let Some(row) = tx.fetch_optional(&sql::MAY_RELEASE, &this).await? else {
                    return Ok(None);
                };
                Ok(Some(Remains {
                    promised: count(&row, 0)?,
                    is_damaged: row.int(1)? > 0,
                }))
            }
            .boxed()
        })
    }

    fn released(
        &self,
        id: UploadId,
        bytes: u64,
        parts_expire_after: Duration,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let book = self.book;
        self.change(move |tx, changes| {
            released(tx, changes, book, id, bytes, parts_expire_after).boxed()
        })
    }

    fn expiring(
        &self,
        after: Option<Due>,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Due>, StoreError>> {
        self.read(move |tx| due(tx, &sql::EXPIRING, after, limit).boxed())
    }

    fn releasable(
        &self,
        after: Option<Due>,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Due>, StoreError>> {
        self.read(move |tx| due(tx, &sql::RELEASABLE, after, limit).boxed())
    }

    fn forget(&self, keep: Duration) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.write(move |tx| {
            async move {
                let keep = Param::Int(millis(keep));
                tx.execute(&sql::FORGET_PARTS_OF_TOMBSTONES, &[keep])
                    .await?;
                tx.execute(&sql::FORGET_FORESTALLED, &[keep]).await?;
                tx.execute(&sql::FORGET_TOMBSTONES, &[keep]).await
            }
            .boxed()
        })
    }

    fn open(
        &self,
        after: Option<UploadId>,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<(UploadId, u64)>, StoreError>> {
        self.write(move |tx| {
            async move {
                let after = after.map(|id| id.to_string()).unwrap_or_default();
                let params = [Param::Text(&after), Param::Int(limit.into())];
                let rows = tx.fetch_all(&sql::OPEN, &params).await?;
                rows.iter()
                    .map(|row| Ok((id(row, 0)?, count(row, 1)?)))
                    .collect()
            }
            .boxed()
        })
    }

    fn census(&self) -> BoxFuture<'static, Result<Census, StoreError>> {
        self.read(|tx| {
            async move {
                let row = tx.fetch_optional(&sql::CENSUS, &[]).await?.ok_or(STRANGE)?;
                Ok(Census {
                    open: count(&row, 0)?,
                    ending: count(&row, 1)?,
                })
            }
            .boxed()
        })
    }

    fn every(
        &self,
        after: Option<UploadId>,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Upload>, StoreError>> {
        self.read(move |tx| {
            async move {
                let after = after.map(|id| id.to_string()).unwrap_or_default();
                let params = [Param::Text(&after), Param::Int(limit.into())];
                tx.fetch_all(&sql::EVERY, &params)
                    .await?
                    .iter()
                    .map(upload)
                    .collect()
            }
            .boxed()
        })
    }

    fn with_blob(
        &self,
        wanted: Vec<UploadId>,
    ) -> BoxFuture<'static, Result<Vec<UploadId>, StoreError>> {
        self.read(move |tx| {
            let wanted = wanted.clone();
            async move {
                let mut known = Vec::with_capacity(wanted.len());
                for id in wanted {
                    let text = id.to_string();
                    if tx
                        .fetch_optional(&sql::WITH_BLOB, &[Param::Text(&text)])
                        .await?
                        .is_some()
                    {
                        known.push(id);
                    }
                }
                Ok(known)
            }
            .boxed()
        })
    }

    fn undigested(&self, limit: u32) -> BoxFuture<'static, Result<Vec<UploadId>, StoreError>> {
        self.read(move |tx| ids(tx, &sql::UNDIGESTED, vec![Param::Int(limit.into())]).boxed())
    }

    fn digested(&self, id: UploadId, sha256: String) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(move |tx| {
            let sha256 = sha256.clone();
            async move {
                let id = id.to_string();
                tx.execute(&sql::DIGESTED, &[Param::Text(&id), Param::Text(&sha256)])
                    .await?;
                Ok(())
            }
            .boxed()
        })
    }

    fn has_room(&self) -> bool {
        !self.db.is_full()
    }

    fn restore_room(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let db = self.db.clone();
        async move {
            db.restore_reserve().await;
            Ok(())
        }
        .boxed()
    }

    fn is_seen(
        &self,
        project: String,
        caller: Caller,
    ) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.read(move |tx| {
            let (project, caller) = (project.clone(), caller.clone());
            async move { Ok(access::right(tx, &project, &caller).await?.is_some()) }.boxed()
        })
    }

    fn usage(
        &self,
        project: String,
        caller: Caller,
    ) -> BoxFuture<'static, Result<Option<Usage>, StoreError>> {
        let book = self.book;
        self.read(move |tx| {
            let (project, caller) = (project.clone(), caller.clone());
            async move {
                let right = access::right(tx, &project, &caller).await?;
                match right {
                    Some(_) => book.usage(tx, &project).await.map(Some),
                    None => Ok(None),
                }
            }
            .boxed()
        })
    }

    fn list(
        &self,
        filter: Filter,
        caller: Caller,
    ) -> BoxFuture<'static, Result<Option<(Vec<Upload>, u64)>, StoreError>> {
        self.read(move |tx| {
            let (filter, caller) = (filter.clone(), caller.clone());
            async move {
                let right = access::right(tx, &filter.project, &caller).await?;
                if right.is_none() {
                    return Ok(None);
                }
                let state = filter.state.map(State::as_str);
                let which = [Param::Text(&filter.project), Param::OptText(state)];
                let total = tx.fetch_optional(&sql::COUNT, &which).await?;
                let total = total.as_ref().map_or(Ok(0), |row| count(row, 0))?;
                let skip = i64::from(filter.page.saturating_sub(1)) * i64::from(filter.limit);
                let page = [
                    which[0],
                    which[1],
                    Param::Int(filter.limit.into()),
                    Param::Int(skip),
                ];
                let rows = tx.fetch_all(&sql::LIST, &page).await?;
                let uploads = rows.iter().map(upload).collect::<Result<_, _>>()?;
                Ok(Some((uploads, total)))
            }
            .boxed()
        })
    }
}
