//! The module's transactions on SQLite and PostgreSQL, from one text each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::upload::Mark;

use super::statement as sql;
use super::store::{
    Advance, Advanced, CancelOutcome, Canceller, Due, Filter, Kind, Made, NewFinal, NewUpload,
    NotConcatenated, Remains, State, StoreError, Sum, TOO_LARGE, Upload, UploadStore, Which,
};
use crate::db::{Db, DbError, Param, Row, Tx};
use crate::id::UploadId;

/// How many ids one owner may have cancelled in advance: nobody can use up what others have.
pub(super) const FORESTALLED_MAX: i64 = 10_000;

/// Uploads in the database.
#[derive(Clone)]
pub struct SqlStore {
    db: Db,
}

impl SqlStore {
    /// Over a database whose migrations have been applied.
    pub fn new(db: Db) -> Self {
        Self { db }
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
    fn create(&self, new: NewUpload) -> BoxFuture<'static, Result<Made, StoreError>> {
        self.write(move |tx| insert(tx, new.clone()).boxed())
    }

    fn concatenate(
        &self,
        new: NewFinal,
    ) -> BoxFuture<'static, Result<Result<Made, NotConcatenated>, StoreError>> {
        self.write(move |tx| concatenate(tx, new.clone()).boxed())
    }

    fn find(&self, id: UploadId) -> BoxFuture<'static, Result<Option<Upload>, StoreError>> {
        self.read(move |tx| find(tx, &sql::FIND, id).boxed())
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
        self.write(move |tx| advance(tx, step.clone()).boxed())
    }

    fn cancel(
        &self,
        id: UploadId,
        by: Canceller,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<CancelOutcome, StoreError>> {
        self.write(move |tx| cancel_one(tx, id, by, reason.clone()).boxed())
    }

    fn forestall(
        &self,
        id: UploadId,
        owner: String,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<CancelOutcome, StoreError>> {
        self.write(move |tx| forestall(tx, id, owner.clone(), reason.clone()).boxed())
    }

    fn cancel_many(
        &self,
        which: Which,
        reason: Option<String>,
    ) -> BoxFuture<'static, Result<Vec<(UploadId, CancelOutcome)>, StoreError>> {
        self.write(move |tx| cancel_many(tx, which.clone(), reason.clone()).boxed())
    }

    fn fail(&self, id: UploadId, reason: String) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(move |tx| {
            let reason = reason.clone();
            async move {
                let id = id.to_string();
                let params = [Param::Text(&id), Param::Text(&reason)];
                tx.execute(&sql::FAIL, &params).await?;
                tx.execute(&sql::FAIL_MADE_OF, &params).await?;
                Ok(())
            }
            .boxed()
        })
    }

    fn expire(&self, id: UploadId) -> BoxFuture<'static, Result<bool, StoreError>> {
        self.write(move |tx| {
            async move {
                let id = id.to_string();
                if tx.execute(&sql::EXPIRE, &[Param::Text(&id)]).await? == 0 {
                    return Ok(false);
                }
                fail_waiting(tx, &id).await?;
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
        self.write(move |tx| released(tx, id, bytes, parts_expire_after).boxed())
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

    fn list(&self, filter: Filter) -> BoxFuture<'static, Result<(Vec<Upload>, u64), StoreError>> {
        self.read(move |tx| {
            let filter = filter.clone();
            async move {
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
                Ok((rows.iter().map(upload).collect::<Result<_, _>>()?, total))
            }
            .boxed()
        })
    }
}

async fn find(tx: &mut Tx, which: &sql::Sql, id: UploadId) -> Result<Option<Upload>, DbError> {
    let id = id.to_string();
    let row = tx.fetch_optional(which, &[Param::Text(&id)]).await?;
    row.as_ref().map(upload).transpose()
}

async fn ids(
    tx: &mut Tx,
    which: &sql::Sql,
    params: Vec<Param<'_>>,
) -> Result<Vec<UploadId>, DbError> {
    tx.fetch_all(which, &params)
        .await?
        .iter()
        .map(|row| id(row, 0))
        .collect()
}

async fn due(
    tx: &mut Tx,
    which: &sql::Sql,
    after: Option<Due>,
    limit: u32,
) -> Result<Vec<Due>, DbError> {
    let (at, after) = after.map_or((i64::MIN, String::new()), |due| {
        (due.at, due.id.to_string())
    });
    let params = [
        Param::Int(at),
        Param::Text(&after),
        Param::Int(limit.into()),
    ];
    let due = |row: &Row| {
        Ok(Due {
            at: row.int(0)?,
            id: id(row, 1)?,
        })
    };
    tx.fetch_all(which, &params)
        .await?
        .iter()
        .map(due)
        .collect()
}

async fn insert(tx: &mut Tx, new: NewUpload) -> Result<Made, DbError> {
    let id = new.id.to_string();
    let kind = if new.partial {
        Kind::Partial
    } else {
        Kind::Whole
    };
    let empty = new.length == Some(0);
    let state = if empty {
        State::Completed
    } else {
        State::Uploading
    };
    // A complete partial upload is kept for its final one only as long as an unfinished one.
    let expires = (!empty || new.partial).then(|| millis(new.expires_after));
    let params = [
        Param::Text(&id),
        Param::Text(&new.project),
        Param::Text(&new.owner),
        Param::Text(kind.as_str()),
        Param::Text(state.as_str()),
        Param::Int(0),
        Param::OptInt(new.length.map(int)),
        Param::Text(&new.metadata),
        Param::OptText(None),
        Param::OptBlob(new.digest.as_deref().filter(|_| !empty)),
        Param::OptText(new.sha256_of_nothing.as_deref().filter(|_| empty)),
        Param::OptInt(expires),
    ];
    made(tx, new.id, &new.owner, new.named, &params).await
}

/// Makes a row, unless there is one with its id.
async fn made(
    tx: &mut Tx,
    id: UploadId,
    owner: &str,
    named: bool,
    params: &[Param<'_>],
) -> Result<Made, DbError> {
    let text = id.to_string();
    if named {
        tx.execute(&sql::LOCK_ID, &[Param::Text(&text)]).await?;
    }
    let Some(row) = tx.fetch_optional(&sql::INSERT, params).await? else {
        let upload = find(tx, &sql::FIND, id).await?.ok_or(STRANGE)?;
        return Ok(Made {
            upload,
            is_new: false,
        });
    };
    let mut upload = upload(&row)?;
    if named {
        let params = [Param::Text(&text), Param::Text(owner)];
        if let Some(forestalled) = tx.fetch_optional(&sql::FORESTALLED, &params).await? {
            let params = [Param::Text(&text), Param::OptText(forestalled.opt_text(0)?)];
            let row = tx.fetch_optional(&sql::STILLBORN, &params).await?;
            upload = row.as_ref().map_or(Err(STRANGE), self::upload)?;
        }
    }
    Ok(Made {
        upload,
        is_new: true,
    })
}

async fn concatenate(tx: &mut Tx, new: NewFinal) -> Result<Result<Made, NotConcatenated>, DbError> {
    if let Some(upload) = find(tx, &sql::FIND, new.id).await? {
        return Ok(Ok(Made {
            upload,
            is_new: false,
        }));
    }
    // In one order, whatever the order of the content: two that have the same parts must not wait
    // for each other.
    let mut locked = BTreeMap::new();
    for part in new.parts.iter().collect::<BTreeSet<_>>() {
        locked.insert(part, find(tx, &sql::FIND_LOCKED, *part).await?);
    }
    let mut lengths = Vec::with_capacity(new.parts.len());
    let mut whole = true;
    for (number, part) in (1..).zip(&new.parts) {
        let found = locked.get(part).and_then(Option::as_ref);
        let usable = |part: &&Upload| {
            part.project == new.project && matches!(part.state, State::Uploading | State::Completed)
        };
        let Some(found) = found.filter(usable) else {
            return Ok(Err(NotConcatenated::PartNotFound(number)));
        };
        if found.kind != Kind::Partial {
            return Ok(Err(NotConcatenated::NotPartial(number)));
        }
        whole &= found.state == State::Completed;
        lengths.push(found.length);
    }
    let sum: Sum = lengths.into_iter().collect();
    if sum.exceeds(new.size_max) {
        return Ok(Err(NotConcatenated::TooLarge));
    }
    let length = sum.length();
    let id = new.id.to_string();
    let state = if whole {
        State::Completed
    } else {
        State::Uploading
    };
    let params = [
        Param::Text(&id),
        Param::Text(&new.project),
        Param::Text(&new.owner),
        Param::Text(Kind::Final.as_str()),
        Param::Text(state.as_str()),
        Param::Int(length.filter(|_| whole).map_or(0, int)),
        Param::OptInt(length.map(int)),
        Param::Text(&new.metadata),
        Param::OptText(Some(&new.concat)),
        Param::OptBlob(None),
        Param::OptText(None),
        Param::OptInt(None),
    ];
    let made = made(tx, new.id, &new.owner, new.named, &params).await?;
    if !made.is_new || made.upload.ended_at.is_some() {
        return Ok(Ok(made));
    }
    for (position, part) in (0_i64..).zip(&new.parts) {
        let part = part.to_string();
        let params = [Param::Text(&id), Param::Int(position), Param::Text(&part)];
        tx.execute(&sql::INSERT_PART, &params).await?;
    }
    for part in locked.keys() {
        let part = part.to_string();
        tx.execute(&sql::HOLD_PART, &[Param::Text(&part)]).await?;
    }
    Ok(Ok(made))
}

async fn advance(tx: &mut Tx, step: Advance) -> Result<Advanced, DbError> {
    let id = step.id.to_string();
    let (state, reason) = match step.commit.mark {
        Mark::Open => (State::Uploading, None),
        Mark::Completed => (State::Completed, None),
        Mark::Invalidated => (State::Failed, Some("content past its length")),
    };
    let params = [
        Param::Text(&id),
        Param::Int(step.epoch),
        Param::Int(int(step.commit.from)),
        Param::Int(int(step.commit.to)),
        Param::OptInt(step.commit.length.map(int)),
        Param::Text(state.as_str()),
        Param::OptBlob(step.digest.as_deref()),
        Param::OptText(step.sha256.as_deref()),
        Param::Int(millis(step.expires_after)),
        Param::OptText(reason),
    ];
    let Some(row) = tx.fetch_optional(&sql::ADVANCE, &params).await? else {
        return Ok(Advanced::Refused);
    };
    let mut expires_at = row.opt_int(0)?;
    if row.text(1)? == Kind::Partial.as_str() {
        if step.commit.length.is_some() {
            measure_waiting(tx, &id, step.size_max).await?;
        }
        match state {
            State::Completed => {
                complete_waiting(tx, &id).await?;
                if tx.execute(&sql::HOLD_PART, &[Param::Text(&id)]).await? > 0 {
                    expires_at = None;
                }
            }
            State::Failed => fail_waiting(tx, &id).await?,
            _ => {}
        }
    }
    Ok(Advanced::Committed { expires_at })
}

/// Gives the final uploads for which `part` was the last one without a length theirs (row T105),
/// and fails those that it makes larger than an upload may be (row T112). They are locked first:
/// of two parts that declare a length at once, the later transaction has to see the earlier one.
async fn measure_waiting(tx: &mut Tx, part: &str, size_max: u64) -> Result<(), DbError> {
    for row in tx
        .fetch_all(&sql::LOCK_WAITING, &[Param::Text(part)])
        .await?
    {
        let id = row.text(0)?;
        let parts = tx.fetch_all(&sql::PARTS, &[Param::Text(id)]).await?;
        let sum = parts
            .iter()
            .map(|part| Ok(upload(part)?.length))
            .collect::<Result<Sum, DbError>>()?;
        if sum.exceeds(size_max) {
            let params = [Param::Text(id), Param::Text(TOO_LARGE)];
            tx.execute(&sql::FAIL, &params).await?;
        } else if let Some(length) = sum.length() {
            let params = [Param::Text(id), Param::Int(int(length))];
            tx.execute(&sql::MEASURE, &params).await?;
        }
    }
    Ok(())
}

/// Completes the final uploads for which `part` was the last one missing. They are locked first:
/// of two parts that complete at once, the later transaction has to see the earlier one.
async fn complete_waiting(tx: &mut Tx, part: &str) -> Result<(), DbError> {
    tx.fetch_all(&sql::LOCK_WAITING, &[Param::Text(part)])
        .await?;
    tx.execute(&sql::COMPLETE_WAITING, &[Param::Text(part)])
        .await?;
    Ok(())
}

/// Fails the final uploads that can never become whole without `part` (row T114). They are locked
/// first, in their order: parts that end at once must not wait for each other.
async fn fail_waiting(tx: &mut Tx, part: &str) -> Result<(), DbError> {
    tx.fetch_all(&sql::LOCK_WAITING, &[Param::Text(part)])
        .await?;
    tx.execute(&sql::FAIL_WAITING, &[Param::Text(part)]).await?;
    Ok(())
}

async fn cancel(
    tx: &mut Tx,
    id: UploadId,
    by: Canceller,
    reason: Option<String>,
) -> Result<CancelOutcome, DbError> {
    let text = id.to_string();
    let params = [
        Param::Text(&text),
        Param::OptText(reason.as_deref()),
        Param::Text(by.as_str()),
    ];
    let begun = tx.execute(&sql::CANCEL, &params).await? > 0;
    let deleted = !begun && by == Canceller::Sender && tx.execute(&sql::DELETE, &params).await? > 0;
    if begun || deleted {
        fail_waiting(tx, &text).await?;
        if deleted {
            let this = [Param::Text(&text)];
            tx.execute(&sql::HOLD_DELETED, &this).await?;
        }
        return Ok(CancelOutcome::Begun);
    }
    let found = find(tx, &sql::FIND, id).await?;
    Ok(found.map_or(CancelOutcome::Unknown, |upload| {
        CancelOutcome::Already(upload.state)
    }))
}

/// As [`cancel`], of an upload that may just be in the making.
async fn cancel_one(
    tx: &mut Tx,
    id: UploadId,
    by: Canceller,
    reason: Option<String>,
) -> Result<CancelOutcome, DbError> {
    let text = id.to_string();
    tx.execute(&sql::LOCK_ID, &[Param::Text(&text)]).await?;
    cancel(tx, id, by, reason).await
}

async fn forestall(
    tx: &mut Tx,
    id: UploadId,
    owner: String,
    reason: Option<String>,
) -> Result<CancelOutcome, DbError> {
    let outcome = cancel_one(tx, id, Canceller::Other, reason.clone()).await?;
    if outcome == CancelOutcome::Unknown {
        let text = id.to_string();
        let params = [
            Param::Text(&text),
            Param::Text(&owner),
            Param::OptText(reason.as_deref()),
            Param::Int(FORESTALLED_MAX),
        ];
        tx.execute(&sql::FORESTALL, &params).await?;
    }
    Ok(outcome)
}

async fn cancel_many(
    tx: &mut Tx,
    which: Which,
    reason: Option<String>,
) -> Result<Vec<(UploadId, CancelOutcome)>, DbError> {
    let (project, asked) = match which {
        Which::Ids { project, ids } => (project, ids),
        Which::Active {
            project,
            owner,
            limit,
        } => {
            let params = vec![
                Param::Text(&project),
                Param::OptText(owner.as_deref()),
                Param::Int(limit.into()),
            ];
            let active = ids(tx, &sql::ACTIVE, params).await?;
            (project, active)
        }
    };
    let mut outcomes = Vec::with_capacity(asked.len());
    for id in asked {
        let found = find(tx, &sql::FIND, id).await?;
        let outcome = match found.filter(|upload| upload.project == project) {
            Some(_) => cancel(tx, id, Canceller::Other, reason.clone()).await?,
            None => CancelOutcome::Unknown,
        };
        outcomes.push((id, outcome));
    }
    Ok(outcomes)
}

async fn released(
    tx: &mut Tx,
    id: UploadId,
    bytes: u64,
    parts_expire_after: Duration,
) -> Result<(), DbError> {
    let id = id.to_string();
    let this = [Param::Text(&id)];
    // Parts before the final upload, as everybody does it; and locked before they are looked at,
    // since whoever has them may be changing its mind.
    tx.fetch_all(&sql::LOCK_PARTS, &this).await?;
    tx.execute(&sql::RELEASED, &[this[0], Param::Int(int(bytes))])
        .await?;
    let parts_expire = Param::Int(millis(parts_expire_after));
    tx.execute(&sql::LET_GO, &[this[0], parts_expire]).await?;
    tx.execute(&sql::FORGET_PARTS_OF_DELETED, &this).await?;
    tx.execute(&sql::FORGET_DELETED, &this).await?;
    Ok(())
}

fn upload(row: &Row) -> Result<Upload, DbError> {
    Ok(Upload {
        id: id(row, 0)?,
        project: row.text(1)?.to_owned(),
        owner: row.text(2)?.to_owned(),
        kind: Kind::parse(row.text(3)?).ok_or(STRANGE)?,
        state: State::parse(row.text(4)?).ok_or(STRANGE)?,
        epoch: row.int(5)?,
        offset: count(row, 6)?,
        length: row
            .opt_int(7)?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| STRANGE)?,
        metadata: row.text(8)?.to_owned(),
        concat: row.opt_text(9)?.map(str::to_owned),
        digest: row.opt_blob(10)?.map(<[u8]>::to_vec),
        sha256: row.opt_text(11)?.map(str::to_owned),
        created_at: row.int(12)?,
        updated_at: row.int(13)?,
        completed_at: row.opt_int(14)?,
        expires_at: row.opt_int(15)?,
        ended_at: row.opt_int(16)?,
        end_reason: row.opt_text(17)?.map(str::to_owned),
        ended_by: match row.opt_text(18)? {
            Some(by) => Some(Canceller::parse(by).ok_or(STRANGE)?),
            None => None,
        },
        released_bytes: row
            .opt_int(19)?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| STRANGE)?,
    })
}

/// A row that no statement of this module writes.
const STRANGE: DbError = DbError::Aborted("a row of an upload holds what it never should");

fn id(row: &Row, column: usize) -> Result<UploadId, DbError> {
    row.text(column)?.parse().map_err(|_| STRANGE)
}

fn count(row: &Row, column: usize) -> Result<u64, DbError> {
    u64::try_from(row.int(column)?).map_err(|_| STRANGE)
}

/// Offsets and lengths are bounded by `i64::MAX` where they are parsed.
fn int(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bounded so that the sum with any time of day still is a number of the database.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 2)
}
