//! What each transaction does to the rows, and what it tells of that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_protocol::request::Protocol;
use tidegate_protocol::upload::{Invalid, Mark};

use super::book::Book;
use super::event;
use super::row::{STRANGE, find, find_for, ids, int, millis, upload};
use super::statement as sql;
use super::store::{
    Advance, Advanced, CancelOutcome, Canceller, End, Kind, Made, NewFinal, NewUpload, NotMade,
    Seen, State, Sum, TOO_LARGE, Upload, Which,
};
use crate::access::{self, Denied, Right, asker};
use crate::auth::Caller;
use crate::db::{DbError, Param, Row, Tx};
use crate::event::{Draft, Feed, Kind as EventKind, record_all};
use crate::id::UploadId;

/// How many ids one owner may have cancelled in advance: nobody can use up what others have.
pub(super) const FORESTALLED_MAX: i64 = 10_000;

/// What a transaction has changed: told at its end, since telling locks the feed.
#[derive(Default)]
pub(super) struct Changes {
    drafts: Vec<Draft>,
    opened: Option<access::Change>,
}

/// What is to be done after the commit.
pub(super) struct Told {
    /// Where something is told.
    pub(super) feeds: BTreeSet<Feed>,
    /// A default project that was made.
    pub(super) opened: Option<access::Change>,
}

impl Changes {
    /// `kind` has happened to the uploads of `rows`, which are now as they are there.
    pub(super) fn add(&mut self, rows: &[Row], kind: EventKind) -> Result<(), DbError> {
        for row in rows {
            self.drafts.push(event::draft(&upload(row)?, kind));
        }
        Ok(())
    }

    /// The uploads of `rows` have come into the state that they are in now.
    pub(super) fn reached(&mut self, rows: &[Row]) -> Result<(), DbError> {
        for row in rows {
            self.of(&upload(row)?);
        }
        Ok(())
    }

    /// The caller's default project, which may be made just now.
    async fn open_default(&mut self, tx: &mut Tx, caller: &Caller) -> Result<String, DbError> {
        let (project, is_new) = access::default_project(tx, &caller.user).await?;
        self.opened = is_new.then(|| access::Change {
            project: project.clone(),
            user: Some(caller.user.clone()),
        });
        Ok(project)
    }

    /// As [`Self::reached`].
    pub(super) fn of(&mut self, upload: &Upload) {
        let kind = event::reached(upload.state);
        self.drafts
            .extend(kind.map(|kind| event::draft(upload, kind)));
    }

    /// Writes them.
    pub(super) async fn tell(self, tx: &mut Tx) -> Result<Told, DbError> {
        let feeds = self.drafts.iter().map(|draft| draft.feed.clone()).collect();
        record_all(tx, self.drafts).await?;
        let opened = self.opened;
        Ok(Told { feeds, opened })
    }
}

pub(super) async fn insert(
    tx: &mut Tx,
    changes: &mut Changes,
    book: Book,
    new: NewUpload,
) -> Result<Result<Made, NotMade>, DbError> {
    let id = new.id.to_string();
    lock_names(tx, book, &id, new.named, &new.caller).await?;
    book.hold_home(tx, new.project.as_deref(), &new.caller)
        .await?;
    let kind = if new.partial {
        Kind::Partial
    } else {
        Kind::Whole
    };
    let empty = new.is_whole();
    let state = if empty {
        State::Completed
    } else {
        State::Uploading
    };
    // A complete partial upload is kept for its final one only as long as an unfinished one.
    let expires = (!empty || new.partial).then(|| millis(new.expires_after));
    let [user, admin] = asker(&new.caller);
    let params = [
        Param::Text(&id),
        Param::OptText(new.project.as_deref()),
        user,
        Param::Text(kind.as_str()),
        Param::Text(state.as_str()),
        Param::Int(0),
        Param::OptInt(new.length.map(int)),
        Param::Text(&new.metadata),
        Param::OptText(None),
        Param::OptBlob(new.digest.as_deref().filter(|_| !empty)),
        Param::OptText(new.sha256_of_nothing.as_deref().filter(|_| empty)),
        Param::OptInt(expires),
        Param::Text(new.protocol.as_str()),
        Param::OptText(new.expected_sha256.as_deref()),
        admin,
    ];
    let new = New {
        id: new.id,
        named: new.named,
        caller: &new.caller,
    };
    made(tx, changes, book, new, &params).await
}

/// Locks what has no row yet: comes before every row, since everybody does it so.
async fn lock_names(
    tx: &mut Tx,
    book: Book,
    id: &str,
    named: bool,
    caller: &Caller,
) -> Result<(), DbError> {
    if named {
        tx.lock(&sql::LOCK_ID, &[Param::Text(id)]).await?;
    }
    book.hold_owner(tx, caller).await
}

/// An upload to be, of whatever kind.
struct New<'a> {
    id: UploadId,
    named: bool,
    caller: &'a Caller,
}

/// Makes a row, unless there is one with its id.
async fn made(
    tx: &mut Tx,
    changes: &mut Changes,
    book: Book,
    new: New<'_>,
    params: &[Param<'_>; 15],
) -> Result<Result<Made, NotMade>, DbError> {
    let New { id, named, caller } = new;
    let text = id.to_string();
    let mut row = tx.fetch_optional(&sql::INSERT, params).await?;
    if row.is_none() {
        if let Some(there) = there(tx, id, caller).await? {
            return Ok(there);
        }
        if matches!(params[1], Param::OptText(None)) {
            changes.open_default(tx, caller).await?;
            book.hold_home(tx, None, caller).await?;
            row = tx.fetch_optional(&sql::INSERT, params).await?;
        }
    }
    let Some(row) = row else {
        return Ok(Err(NotMade::NoProject));
    };
    let mut upload = upload(&row)?;
    let created = event::draft(&upload, EventKind::UploadCreated);
    if named {
        let params = [Param::Text(&text), Param::Text(&caller.user)];
        if let Some(forestalled) = tx.fetch_optional(&sql::FORESTALLED, &params).await? {
            let params = [Param::Text(&text), Param::OptText(forestalled.opt_text(0)?)];
            let row = tx.fetch_optional(&sql::STILLBORN, &params).await?;
            upload = row.as_ref().map_or(Err(STRANGE), self::upload)?;
        }
    }
    if let Err(refused) = book.enter(tx, &upload).await? {
        tx.execute(&sql::UNMAKE, &[Param::Text(&text)]).await?;
        return Ok(Err(refused));
    }
    changes.drafts.push(created);
    if upload.state != State::Uploading {
        changes.of(&upload);
    }
    let is_new = true;
    Ok(Ok(Made { upload, is_new }))
}

/// What a creation finds if its id is in use: also what is somebody else's, who may not be told more
/// than that. What the caller has made where he has no right any more is not there.
async fn there(
    tx: &mut Tx,
    id: UploadId,
    caller: &Caller,
) -> Result<Option<Result<Made, NotMade>>, DbError> {
    let Some(upload) = find(tx, &sql::FIND, id).await? else {
        return Ok(None);
    };
    if upload.owner == caller.user && find_for(tx, id, caller).await?.is_none() {
        return Ok(Some(Err(NotMade::NoProject)));
    }
    let is_new = false;
    Ok(Some(Ok(Made { upload, is_new })))
}

pub(super) async fn concatenate(
    tx: &mut Tx,
    changes: &mut Changes,
    book: Book,
    new: NewFinal,
) -> Result<Result<Made, NotMade>, DbError> {
    let id = new.id.to_string();
    lock_names(tx, book, &id, new.named, &new.caller).await?;
    if let Some(there) = there(tx, new.id, &new.caller).await? {
        return Ok(there);
    }
    let project = match new.project.clone() {
        Some(project) => project,
        None => changes.open_default(tx, &new.caller).await?,
    };
    let Some(right) = access::right_to_add(tx, &project, &new.caller).await? else {
        return Ok(Err(NotMade::NoProject));
    };
    let locked = lock_parts(tx, &new.parts).await?;
    let (length, whole) = match measured(&new, &project, right, &locked) {
        Ok(measured) => measured,
        Err(refused) => return Ok(Err(refused)),
    };
    let [user, admin] = asker(&new.caller);
    let state = if whole {
        State::Completed
    } else {
        State::Uploading
    };
    let params = [
        Param::Text(&id),
        Param::OptText(Some(&project)),
        user,
        Param::Text(Kind::Final.as_str()),
        Param::Text(state.as_str()),
        Param::Int(length.filter(|_| whole).map_or(0, int)),
        Param::OptInt(length.map(int)),
        Param::Text(&new.metadata),
        Param::OptText(Some(&new.concat)),
        Param::OptBlob(None),
        Param::OptText(None),
        Param::OptInt(None),
        Param::Text(Protocol::Tus.as_str()),
        Param::OptText(None),
        admin,
    ];
    let row = New {
        id: new.id,
        named: new.named,
        caller: &new.caller,
    };
    let made = match made(tx, changes, book, row, &params).await? {
        Ok(made) if made.is_new && made.upload.ended_at.is_none() => made,
        other => return Ok(other),
    };
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

/// The length of a final upload to be, as far as it is known, and whether it is whole.
fn measured(
    new: &NewFinal,
    project: &str,
    right: Right,
    parts: &BTreeMap<UploadId, Option<Upload>>,
) -> Result<(Option<u64>, bool), NotMade> {
    let mut lengths = Vec::with_capacity(new.parts.len());
    let mut whole = true;
    for (number, part) in (1..).zip(&new.parts) {
        let found = parts.get(part).and_then(Option::as_ref);
        let usable = |part: &&Upload| {
            // A final upload keeps the bytes of its parts, which is their owner's to decide.
            part.project == project
                && right.covers(&new.caller, &part.owner)
                && matches!(part.state, State::Uploading | State::Completed)
        };
        let found = found.filter(usable);
        let found = found.ok_or(NotMade::PartNotFound(number))?;
        if found.kind != Kind::Partial {
            return Err(NotMade::NotPartial(number));
        }
        whole &= found.state == State::Completed;
        lengths.push(found.length);
    }
    let sum: Sum = lengths.into_iter().collect();
    match sum.exceeds(new.size_max) {
        true => Err(NotMade::TooLarge),
        false => Ok((sum.length(), whole)),
    }
}

/// The parts of a final upload to be. They are locked in one order, whatever the order of the
/// content: two that have the same parts must not wait for each other.
async fn lock_parts(
    tx: &mut Tx,
    parts: &[UploadId],
) -> Result<BTreeMap<UploadId, Option<Upload>>, DbError> {
    let mut locked = BTreeMap::new();
    for part in parts.iter().collect::<BTreeSet<_>>() {
        locked.insert(*part, find(tx, &sql::FIND_LOCKED, *part).await?);
    }
    Ok(locked)
}

pub(super) async fn advance(
    tx: &mut Tx,
    changes: &mut Changes,
    book: Book,
    step: Advance,
) -> Result<Advanced, DbError> {
    let id = step.id.to_string();
    if let Err(excess) = book.grow(tx, &step).await? {
        return Ok(Advanced::OverQuota(excess));
    }
    let (state, reason) = match step.commit.mark {
        Mark::Open => (State::Uploading, None),
        Mark::Completed => (State::Completed, None),
        Mark::Invalidated(why) => (State::Failed, Some(invalid(why))),
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
    let advanced = upload(&row)?;
    if state != State::Uploading {
        changes.of(&advanced);
    }
    let mut expires_at = advanced.expires_at;
    if advanced.kind == Kind::Partial {
        if step.commit.length.is_some() {
            measure_waiting(tx, changes, &id, step.size_max).await?;
        }
        match state {
            State::Completed => {
                complete_waiting(tx, changes, &id).await?;
                if tx.execute(&sql::HOLD_PART, &[Param::Text(&id)]).await? > 0 {
                    expires_at = None;
                }
            }
            State::Failed => fail_waiting(tx, changes, &id).await?,
            _ => {}
        }
    }
    Ok(Advanced::Committed { expires_at })
}

/// Why an upload has failed, in the words of its row.
pub(super) fn invalid(why: Invalid) -> &'static str {
    match why {
        Invalid::PastLength => "content past its length",
        Invalid::Digest => "content without the digest that it was to have",
    }
}

/// Gives the final uploads for which `part` was the last one without a length theirs (row T105),
/// and fails those that it makes larger than an upload may be (row T112). They are locked first:
/// of two parts that declare a length at once, the later transaction has to see the earlier one.
async fn measure_waiting(
    tx: &mut Tx,
    changes: &mut Changes,
    part: &str,
    size_max: u64,
) -> Result<(), DbError> {
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
            changes.reached(&tx.fetch_all(&sql::FAIL, &params).await?)?;
        } else if let Some(length) = sum.length() {
            let params = [Param::Text(id), Param::Int(int(length))];
            tx.execute(&sql::MEASURE, &params).await?;
        }
    }
    Ok(())
}

/// Completes the final uploads for which `part` was the last one missing. They are locked first:
/// of two parts that complete at once, the later transaction has to see the earlier one.
async fn complete_waiting(tx: &mut Tx, changes: &mut Changes, part: &str) -> Result<(), DbError> {
    tx.lock(&sql::LOCK_WAITING, &[Param::Text(part)]).await?;
    let completed = tx
        .fetch_all(&sql::COMPLETE_WAITING, &[Param::Text(part)])
        .await?;
    changes.reached(&completed)
}

/// Fails the final uploads that can never become whole without `part` (row T114). They are locked
/// first, in their order: parts that end at once must not wait for each other.
pub(super) async fn fail_waiting(
    tx: &mut Tx,
    changes: &mut Changes,
    part: &str,
) -> Result<(), DbError> {
    tx.lock(&sql::LOCK_WAITING, &[Param::Text(part)]).await?;
    let failed = tx
        .fetch_all(&sql::FAIL_WAITING, &[Param::Text(part)])
        .await?;
    changes.reached(&failed)
}

async fn cancel(
    tx: &mut Tx,
    changes: &mut Changes,
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
    let mut row = tx.fetch_optional(&sql::CANCEL, &params).await?;
    if row.is_none() && by == Canceller::Sender {
        row = tx.fetch_optional(&sql::DELETE, &params).await?;
    }
    if let Some(row) = row {
        let ending = upload(&row)?;
        changes.of(&ending);
        if ending.kind == Kind::Partial {
            fail_waiting(tx, changes, &text).await?;
            if ending.state == State::Deleting {
                tx.execute(&sql::HOLD_DELETED, &params[..1]).await?;
            }
        }
        return Ok(CancelOutcome::Begun(Box::new(End::of(&ending))));
    }
    let Some(found) = find(tx, &sql::FIND, id).await? else {
        return Ok(CancelOutcome::Unknown);
    };
    if by == Canceller::Sender && found.ended_by == Some(Canceller::Other) {
        tx.execute(&sql::AGREED, &params[..1]).await?;
    }
    Ok(CancelOutcome::Already(found.state))
}

/// As [`cancel`], of an upload that may just be in the making.
pub(super) async fn cancel_one(
    tx: &mut Tx,
    changes: &mut Changes,
    id: UploadId,
    by: Canceller,
    reason: Option<String>,
) -> Result<CancelOutcome, DbError> {
    let text = id.to_string();
    tx.lock(&sql::LOCK_ID, &[Param::Text(&text)]).await?;
    cancel(tx, changes, id, by, reason).await
}

/// As [`cancel_one`], for a caller, who gets it cancelled if he is about to make it.
pub(super) async fn forestall(
    tx: &mut Tx,
    changes: &mut Changes,
    promises: &mut Promises,
    asked: Asked<'_>,
    by: Canceller,
    reason: Option<String>,
) -> Result<CancelOutcome, DbError> {
    let Asked {
        id,
        project,
        caller,
    } = asked;
    let text = id.to_string();
    tx.lock(&sql::LOCK_ID, &[Param::Text(&text)]).await?;
    let seen = find_for(tx, id, caller).await?;
    let is_elsewhere = |seen: &Seen| project.is_some_and(|project| seen.upload.project != project);
    match seen {
        Some(seen) if is_elsewhere(&seen) => Ok(CancelOutcome::Unknown),
        Some(seen) if !seen.is_covered => Ok(CancelOutcome::Uncovered),
        Some(_) => cancel(tx, changes, id, by, reason).await,
        None => {
            if promises.has_room(tx, &caller.user).await? {
                // Of one that is somebody else's nothing comes: its id is taken.
                let reason = Param::OptText(reason.as_deref());
                let params = [Param::Text(&text), Param::Text(&caller.user), reason];
                tx.execute(&sql::FORESTALL, &params).await?;
            }
            Ok(CancelOutcome::Unknown)
        }
    }
}

/// How many more ids the caller of a transaction may have cancelled in advance. `None`: not counted yet.
#[derive(Default)]
pub(super) struct Promises(Option<i64>);

impl Promises {
    /// Whether there is room for one more, which is taken.
    async fn has_room(&mut self, tx: &mut Tx, owner: &str) -> Result<bool, DbError> {
        let room = match self.0 {
            Some(room) => room,
            None => {
                let this = [Param::Text(owner)];
                let counted = tx.fetch_optional(&sql::COUNT_FORESTALLED, &this).await?;
                FORESTALLED_MAX.saturating_sub(counted.ok_or(STRANGE)?.int(0)?)
            }
        };
        self.0 = Some(room.saturating_sub(1));
        Ok(room > 0)
    }
}

/// An upload that a caller asks for.
pub(super) struct Asked<'a> {
    pub(super) id: UploadId,
    /// Where it has to be. `None`: anywhere.
    pub(super) project: Option<&'a str>,
    pub(super) caller: &'a Caller,
}

pub(super) async fn cancel_many(
    tx: &mut Tx,
    changes: &mut Changes,
    which: Which,
    caller: &Caller,
    reason: Option<String>,
) -> Result<Result<Vec<(UploadId, CancelOutcome)>, Denied>, DbError> {
    let (Which::Ids { project, .. } | Which::Active { project, .. }) = &which;
    let Some(right) = access::right(tx, project, caller).await? else {
        return Ok(Err(Denied::Absent));
    };
    match which {
        Which::Ids { project, ids } => {
            // In one order: two that name the same must not wait for each other.
            for id in ids.iter().collect::<BTreeSet<_>>() {
                let text = id.to_string();
                tx.lock(&sql::LOCK_ID, &[Param::Text(&text)]).await?;
            }
            let mut promises = Promises::default();
            let mut outcomes = Vec::with_capacity(ids.len());
            for id in ids {
                let asked = Asked {
                    id,
                    project: Some(&project),
                    caller,
                };
                let by = Canceller::Other;
                let promises = &mut promises;
                let outcome = forestall(tx, changes, promises, asked, by, reason.clone()).await?;
                outcomes.push((id, outcome));
            }
            Ok(Ok(outcomes))
        }
        Which::Active { all: true, .. } if right < Right::Owner => Ok(Err(Denied::Forbidden)),
        Which::Active {
            project,
            all,
            limit,
        } => {
            let owner = (!all).then_some(caller.user.as_str());
            let params = vec![
                Param::Text(&project),
                Param::OptText(owner),
                Param::Int(limit.into()),
            ];
            let active = ids(tx, &sql::ACTIVE, params).await?;
            let by = Canceller::Other;
            cancel_all(tx, changes, active, by, reason).await.map(Ok)
        }
    }
}

/// Ends what a project that is going still has.
pub(super) async fn clear(
    tx: &mut Tx,
    changes: &mut Changes,
    project: &str,
    reason: &str,
    limit: u32,
) -> Result<Vec<(UploadId, CancelOutcome)>, DbError> {
    let params = vec![Param::Text(project), Param::Int(limit.into())];
    let left = ids(tx, &sql::LEFT, params).await?;
    // Complete ones, too.
    let by = Canceller::Sender;
    cancel_all(tx, changes, left, by, Some(reason.to_owned())).await
}

async fn cancel_all(
    tx: &mut Tx,
    changes: &mut Changes,
    ids: Vec<UploadId>,
    by: Canceller,
    reason: Option<String>,
) -> Result<Vec<(UploadId, CancelOutcome)>, DbError> {
    let mut outcomes = Vec::with_capacity(ids.len());
    for id in ids {
        let outcome = cancel(tx, changes, id, by, reason.clone()).await?;
        outcomes.push((id, outcome));
    }
    Ok(outcomes)
}

pub(super) async fn released(
    tx: &mut Tx,
    changes: &mut Changes,
    book: Book,
    id: UploadId,
    bytes: u64,
    parts_expire_after: Duration,
) -> Result<(), DbError> {
    let id = id.to_string();
    let this = [Param::Text(&id)];
    book.hold_project_of(tx, &id).await?;
    // Parts before the final upload, as everybody does it; and locked before they are looked at,
    // since whoever has them may be changing its mind.
    tx.lock(&sql::LOCK_PARTS, &this).await?;
    let released = [this[0], Param::Int(int(bytes))];
    let Some(row) = tx.fetch_optional(&sql::RELEASED, &released).await? else {
        return Ok(());
    };
    let released = upload(&row)?;
    book.leave(tx, &released).await?;
    if released.state == State::Cancelled {
        changes.of(&released);
    }
    if released.kind == Kind::Final {
        let parts_expire = Param::Int(millis(parts_expire_after));
        tx.execute(&sql::LET_GO, &[this[0], parts_expire]).await?;
    }
    if released.state == State::Deleting {
        tx.execute(&sql::FORGET_PARTS_OF_DELETED, &this).await?;
        let deleted = tx.fetch_all(&sql::FORGET_DELETED, &this).await?;
        changes.add(&deleted, EventKind::UploadDeleted)?;
    }
    Ok(())
}
