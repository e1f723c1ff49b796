//! Uploads in memory, by the same rules as in [`super::sql`], with a clock that is moved by hand
//! and calls that can be made to fail. For tests.
//!
//! [`super::conformance`] holds both to one suite and compares them step by step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};
use tidegate_protocol::upload::Mark;

use super::sql::millis;
use super::store::{
    Advance, Advanced, CancelOutcome, Canceller, Filter, Kind, Made, NewFinal, NewUpload,
    NotConcatenated, State, StoreError, Sum, TOO_LARGE, Upload, UploadStore, Which,
};
use crate::id::UploadId;

/// Rows in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No space is left; nothing has happened.
    Full,
    /// Nothing has happened.
    Io,
    /// It has been done, but nobody is told: the connection was lost while committing.
    AnswerLost,
    /// As before, but the commit is still on its way: nobody sees it who does not wait for it.
    AnswerLate,
}

#[derive(Debug, Default)]
struct Shared {
    tables: Tables,
    /// What the tables will be once a commit that is on its way has come.
    late: Option<Tables>,
    /// How often a call is pending before it has its effect, beside once.
    slowness: usize,
    /// Calls until one fails. `None`: none does.
    fails_after: Option<(usize, Failure)>,
    /// The call that failed last.
    failed: Option<&'static str>,
    /// Whether there is no room for what is new.
    no_room: bool,
}

/// What a transaction sees.
#[derive(Clone, Debug, Default)]
struct Tables {
    now_ms: i64,
    rows: BTreeMap<UploadId, Upload>,
    /// When each was cancelled in advance, and why.
    forestalled: BTreeMap<(UploadId, String), (i64, Option<String>)>,
    /// By final upload, in order.
    parts: BTreeMap<UploadId, Vec<UploadId>>,
}

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

impl MemoryStore {
    /// Moves the clock.
    pub(super) fn pass(&self, time: Duration) {
        self.shared().tables.now_ms += millis(time);
    }

    /// Each call is pending `times` more often before it has its effect.
    pub(super) fn slow_down(&self, times: usize) {
        self.shared().slowness = times;
    }

    /// The call after `calls` more ones fails, once.
    pub(super) fn fail_after(&self, calls: usize, failure: Failure) {
        self.shared().fails_after = Some((calls, failure));
    }

    /// Takes a failure back that has not come yet. Returns whether there was one.
    pub(super) fn fail_no_more(&self) -> bool {
        self.shared().fails_after.take().is_some()
    }

    /// Lets the room for what is new be used up, or be there again.
    pub(super) fn use_up_room(&self, used_up: bool) {
        self.shared().no_room = used_up;
    }

    /// The name of the call that failed last.
    pub(super) fn failed(&self) -> Option<&'static str> {
        self.shared().failed
    }

    /// The row as it stands.
    pub(super) fn row(&self, id: UploadId) -> Option<Upload> {
        self.shared().tables.rows.get(&id).cloned()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction: pending at least once, so that a test can stop before its effect; then all
    /// of it or, if it fails, nothing.
    fn transaction<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let store = self.clone();
        let mut waits = self.shared().slowness + 1;
        async move {
            poll_fn(|context| {
                if waits == 0 {
                    return std::task::Poll::Ready(());
                }
                waits -= 1;
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
            store.shared().transact(name, work)
        }
        .boxed()
    }
}

/// Calls that wait for nobody: they read what is committed.
const UNLOCKED: [&str; 3] = ["find", "parts", "list"];

impl Shared {
    fn transact<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failure = match self.fails_after.take() {
            Some((0, failure)) => Some(failure),
            left => {
                self.fails_after = left.map(|(calls, failure)| (calls - 1, failure));
                None
            }
        };
        self.failed = failure.map_or(self.failed, |_| Some(name));
        match failure {
            Some(Failure::Full) => return Err(StoreError::Full),
            Some(Failure::Io) => return Err(failed("asked to fail")),
            Some(Failure::AnswerLost | Failure::AnswerLate) | None => {}
        }
        if !UNLOCKED.contains(&name)
            && let Some(late) = self.late.take()
        {
            let now_ms = self.tables.now_ms;
            self.tables = Tables { now_ms, ..late };
        }
        let mut tables = self.tables.clone();
        let done = work(&mut tables)?;
        match failure {
            Some(Failure::AnswerLate) => self.late = Some(tables),
            _ => self.tables = tables,
        }
        match failure {
            None => Ok(done),
            Some(_) => Err(failed("asked to lose the answer")),
        }
    }
}

impl UploadStore for MemoryStore {
    fn create(&self, new: NewUpload) -> Answer<Made> {
        self.transaction("create", move |tables| Ok(tables.create(new)))
    }

    fn concatenate(&self, new: NewFinal) -> Answer<Result<Made, NotConcatenated>> {
        self.transaction("concatenate", move |tables| Ok(tables.concatenate(new)))
    }

    fn find(&self, id: UploadId) -> Answer<Option<Upload>> {
        self.transaction("find", move |tables| Ok(tables.rows.get(&id).cloned()))
    }

    fn find_settled(&self, id: UploadId) -> Answer<Option<Upload>> {
        self.transaction("find_settled", move |tables| {
            Ok(tables.rows.get(&id).cloned())
        })
    }

    fn parts(&self, id: UploadId) -> Answer<Vec<Upload>> {
        self.transaction("parts", move |tables| {
            Ok(tables.parts_of(id).cloned().collect())
        })
    }

    fn advance(&self, advance: Advance) -> Answer<Advanced> {
        self.transaction("advance", move |tables| tables.advance(advance))
    }

    fn cancel(&self, id: UploadId, by: Canceller, reason: Option<String>) -> Answer<CancelOutcome> {
        self.transaction("cancel", move |tables| Ok(tables.cancel(id, by, reason)))
    }

    fn forestall(
        &self,
        id: UploadId,
        owner: String,
        reason: Option<String>,
    ) -> Answer<CancelOutcome> {
        self.transaction("forestall", move |tables| {
            let outcome = tables.cancel(id, Canceller::Other, reason.clone());
            if outcome == CancelOutcome::Unknown {
                let now = tables.now_ms;
                let promise = tables.forestalled.entry((id, owner));
                promise.or_insert((now, reason));
            }
            Ok(outcome)
        })
    }

    fn cancel_many(
        &self,
        which: Which,
        reason: Option<String>,
    ) -> Answer<Vec<(UploadId, CancelOutcome)>> {
        self.transaction("cancel_many", move |tables| {
            Ok(tables.cancel_many(which, &reason))
        })
    }

    fn fail(&self, id: UploadId, reason: String) -> Answer<()> {
        self.transaction("fail", move |tables| {
            if tables.is_alive(id) {
                tables.end(id, State::Failed, Some(reason));
                tables.fail_waiting(id);
            }
            Ok(())
        })
    }

    fn expire(&self, id: UploadId) -> Answer<bool> {
        self.transaction("expire", move |tables| Ok(tables.expire(id)))
    }

    fn may_release(&self, id: UploadId) -> Answer<bool> {
        self.transaction("may_release", move |tables| {
            let ended = tables
                .rows
                .get(&id)
                .is_some_and(|row| row.ended_at.is_some());
            Ok(ended && !tables.is_used(id))
        })
    }

    fn released(&self, id: UploadId, bytes: u64) -> Answer<()> {
        self.transaction("released", move |tables| {
            tables.released(id, bytes);
            Ok(())
        })
    }

    fn expiring(&self, limit: u32) -> Answer<Vec<UploadId>> {
        self.transaction("expiring", move |tables| {
            let due = tables.ids(|row| tables.may_expire(row));
            Ok(tables.first_by(due, limit, |upload| upload.expires_at))
        })
    }

    fn releasable(&self, limit: u32) -> Answer<Vec<UploadId>> {
        self.transaction("releasable", move |tables| {
            let ended = tables.ids(|row| {
                let upload = row;
                upload.ended_at.is_some()
                    && row.released_bytes.is_none()
                    && !tables.is_used(upload.id)
            });
            Ok(tables.first_by(ended, limit, |upload| upload.ended_at))
        })
    }

    fn forget(&self, keep: Duration) -> Answer<u64> {
        self.transaction("forget", move |tables| {
            let before = tables.now_ms.saturating_sub(millis(keep));
            let old = tables.ids(|row| {
                row.ended_at.is_some_and(|at| at < before) && row.released_bytes.is_some()
            });
            for id in &old {
                tables.forget(*id);
            }
            tables.forestalled.retain(|_, (at, _)| *at >= before);
            Ok(old.len() as u64)
        })
    }

    fn open(&self, after: Option<UploadId>, limit: u32) -> Answer<Vec<(UploadId, u64)>> {
        self.transaction("open", move |tables| {
            let open = tables
                .past(after)
                .filter(|row| row.state == State::Uploading && row.kind != Kind::Final);
            Ok(open
                .map(|row| (row.id, row.offset))
                .take(limit as usize)
                .collect())
        })
    }

    fn every(&self, after: Option<UploadId>, limit: u32) -> Answer<Vec<Upload>> {
        self.transaction("every", move |tables| {
            let every = tables
                .past(after)
                .filter(|row| row.released_bytes.is_none());
            Ok(every.take(limit as usize).cloned().collect())
        })
    }

    fn with_blob(&self, ids: Vec<UploadId>) -> Answer<Vec<UploadId>> {
        self.transaction("with_blob", move |tables| {
            let has_blob = |id: &UploadId| {
                tables
                    .rows
                    .get(id)
                    .is_some_and(|row| row.released_bytes.is_none() && row.kind != Kind::Final)
            };
            Ok(ids.into_iter().filter(has_blob).collect())
        })
    }

    fn undigested(&self, limit: u32) -> Answer<Vec<UploadId>> {
        self.transaction("undigested", move |tables| {
            let found = tables.ids(|row| {
                let upload = row;
                upload.kind == Kind::Final
                    && upload.state == State::Completed
                    && upload.sha256.is_none()
            });
            Ok(tables.first_by(found, limit, |upload| upload.completed_at))
        })
    }

    fn digested(&self, id: UploadId, sha256: String) -> Answer<()> {
        self.transaction("digested", move |tables| {
            let now_ms = tables.now_ms;
            if let Some(row) = tables.rows.get_mut(&id)
                && row.kind == Kind::Final
                && row.state == State::Completed
            {
                row.sha256 = Some(sha256);
                row.updated_at = now_ms;
            }
            Ok(())
        })
    }

    fn has_room(&self) -> bool {
        !self.shared().no_room
    }

    fn restore_room(&self) -> Answer<()> {
        self.transaction("restore_room", |_| Ok(()))
    }

    fn list(&self, filter: Filter) -> Answer<(Vec<Upload>, u64)> {
        self.transaction("list", move |tables| {
            let mut found: Vec<Upload> = tables
                .rows
                .values()
                .filter(|upload| upload.project == filter.project)
                .filter(|upload| filter.state.is_none_or(|state| upload.state == state))
                .filter(|upload| upload.state != State::Deleting)
                .cloned()
                .collect();
            found.sort_by_key(|upload| std::cmp::Reverse((upload.created_at, upload.id)));
            let total = found.len() as u64;
            let (page, limit) = (
                filter.page.saturating_sub(1) as usize,
                filter.limit as usize,
            );
            Ok((
                found.into_iter().skip(page * limit).take(limit).collect(),
                total,
            ))
        })
    }
}

impl Tables {
    fn create(&mut self, new: NewUpload) -> Made {
        let empty = new.length == Some(0);
        let now = self.now_ms;
        let upload = Upload {
            id: new.id,
            project: new.project,
            owner: new.owner,
            kind: if new.partial {
                Kind::Partial
            } else {
                Kind::Whole
            },
            state: if empty {
                State::Completed
            } else {
                State::Uploading
            },
            epoch: 1,
            offset: 0,
            length: new.length,
            metadata: new.metadata,
            concat: None,
            digest: new.digest.filter(|_| !empty),
            sha256: new.sha256_of_nothing.filter(|_| empty),
            created_at: now,
            updated_at: now,
            completed_at: empty.then_some(now),
            expires_at: (!empty || new.partial).then(|| now + millis(new.expires_after)),
            ended_at: None,
            end_reason: None,
            ended_by: None,
            released_bytes: None,
        };
        self.insert(upload, new.named)
    }

    fn concatenate(&mut self, new: NewFinal) -> Result<Made, NotConcatenated> {
        if let Some(row) = self.rows.get(&new.id) {
            return Ok(Made {
                upload: row.clone(),
                is_new: false,
            });
        }
        let mut lengths = Vec::with_capacity(new.parts.len());
        let mut whole = true;
        for (number, part) in (1..).zip(&new.parts) {
            let usable = |upload: &&Upload| upload.project == new.project && is_alive(upload.state);
            let Some(part) = self.rows.get(part).filter(usable) else {
                return Err(NotConcatenated::PartNotFound(number));
            };
            if part.kind != Kind::Partial {
                return Err(NotConcatenated::NotPartial(number));
            }
            whole &= part.state == State::Completed;
            lengths.push(part.length);
        }
        let sum: Sum = lengths.into_iter().collect();
        if sum.exceeds(new.size_max) {
            return Err(NotConcatenated::TooLarge);
        }
        let length = sum.length();
        let now = self.now_ms;
        let upload = Upload {
            id: new.id,
            project: new.project,
            owner: new.owner,
            kind: Kind::Final,
            state: if whole {
                State::Completed
            } else {
                State::Uploading
            },
            epoch: 1,
            offset: length.filter(|_| whole).unwrap_or(0),
            length,
            metadata: new.metadata,
            concat: Some(new.concat),
            digest: None,
            sha256: None,
            created_at: now,
            updated_at: now,
            completed_at: whole.then_some(now),
            expires_at: (!whole).then(|| now + millis(new.expires_after)),
            ended_at: None,
            end_reason: None,
            ended_by: None,
            released_bytes: None,
        };
        let made = self.insert(upload, new.named);
        if made.upload.ended_at.is_none() {
            self.parts.insert(new.id, new.parts);
        }
        Ok(made)
    }

    fn insert(&mut self, mut upload: Upload, named: bool) -> Made {
        if let Some(row) = self.rows.get(&upload.id) {
            return Made {
                upload: row.clone(),
                is_new: false,
            };
        }
        let key = (upload.id, upload.owner.clone());
        if named && let Some((_, reason)) = self.forestalled.remove(&key) {
            upload = Upload {
                state: State::Cancelled,
                epoch: 2,
                digest: None,
                sha256: None,
                completed_at: None,
                expires_at: None,
                ended_at: Some(self.now_ms),
                end_reason: reason,
                ended_by: Some(Canceller::Other),
                released_bytes: Some(0),
                ..upload
            };
        }
        self.rows.insert(upload.id, upload.clone());
        Made {
            upload,
            is_new: true,
        }
    }

    fn advance(&mut self, step: Advance) -> Result<Advanced, StoreError> {
        let now = self.now_ms;
        let row = self.rows.get_mut(&step.id).filter(|upload| {
            upload.epoch == step.epoch
                && upload.offset == step.commit.from
                && upload.state == State::Uploading
        });
        let Some(upload) = row else {
            return Ok(Advanced::Refused);
        };
        let is_partial = upload.kind == Kind::Partial;
        upload.offset = step.commit.to;
        upload.length = step.commit.length.or(upload.length);
        upload.digest = step.digest;
        upload.sha256 = step.sha256;
        upload.updated_at = now;
        let expires_at = Some(now + millis(step.expires_after));
        match step.commit.mark {
            Mark::Open => upload.expires_at = expires_at,
            Mark::Completed => {
                upload.state = State::Completed;
                upload.completed_at = Some(now);
                upload.expires_at = expires_at.filter(|_| is_partial);
            }
            Mark::Invalidated => {
                upload.state = State::Failed;
                upload.ended_at = Some(now);
                upload.end_reason = Some(String::from("content past its length"));
                upload.expires_at = None;
            }
        }
        let expires_at = upload.expires_at;
        if is_partial && step.commit.length.is_some() {
            self.measure_waiting(step.id, step.size_max);
        }
        match step.commit.mark {
            Mark::Completed if is_partial => self.complete_waiting(step.id)?,
            Mark::Invalidated if is_partial => self.fail_waiting(step.id),
            _ => {}
        }
        Ok(Advanced::Committed { expires_at })
    }

    fn cancel(&mut self, id: UploadId, by: Canceller, reason: Option<String>) -> CancelOutcome {
        let Some(row) = self.rows.get(&id) else {
            return CancelOutcome::Unknown;
        };
        let state = match (row.state, by) {
            (State::Uploading, _) => State::Cancelling,
            (State::Completed, Canceller::Sender) => State::Deleting,
            (ended, _) => return CancelOutcome::Already(ended),
        };
        self.end(id, state, reason);
        if let Some(row) = self.rows.get_mut(&id) {
            row.ended_by = Some(by);
        }
        self.fail_waiting(id);
        CancelOutcome::Begun
    }

    fn cancel_many(
        &mut self,
        which: Which,
        reason: &Option<String>,
    ) -> Vec<(UploadId, CancelOutcome)> {
        let (project, ids) = match which {
            Which::Ids { project, ids } => (project, ids),
            Which::Active {
                project,
                owner,
                limit,
            } => {
                let active = self.ids(|row| {
                    let upload = row;
                    upload.state == State::Uploading
                        && upload.project == project
                        && owner.as_ref().is_none_or(|owner| *owner == upload.owner)
                });
                (project, active.into_iter().take(limit as usize).collect())
            }
        };
        let mut outcomes = Vec::with_capacity(ids.len());
        for id in ids {
            let is_in = |row: &Upload| row.project == project;
            let outcome = match self.rows.get(&id).is_some_and(is_in) {
                true => self.cancel(id, Canceller::Other, reason.clone()),
                false => CancelOutcome::Unknown,
            };
            outcomes.push((id, outcome));
        }
        outcomes
    }

    fn expire(&mut self, id: UploadId) -> bool {
        let Some(row) = self.rows.get(&id).filter(|row| self.may_expire(row)) else {
            return false;
        };
        let completed = row.state == State::Completed;
        let reason = row.end_reason.clone();
        self.end(
            id,
            if completed {
                State::Deleting
            } else {
                State::Expired
            },
            reason,
        );
        self.fail_waiting(id);
        true
    }

    fn released(&mut self, id: UploadId, bytes: u64) {
        let now = self.now_ms;
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        if row.ended_at.is_some() && row.released_bytes.is_none() {
            row.released_bytes = Some(bytes);
            row.digest = None;
            row.updated_at = now;
            if row.state == State::Cancelling {
                row.state = State::Cancelled;
            }
        }
        if row.state == State::Deleting {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: UploadId) {
        self.parts.remove(&id);
        self.rows.remove(&id);
    }

    fn end(&mut self, id: UploadId, state: State, reason: Option<String>) {
        let now = self.now_ms;
        if let Some(upload) = self.rows.get_mut(&id) {
            upload.state = state;
            upload.epoch += 1;
            upload.updated_at = now;
            upload.ended_at = Some(now);
            upload.end_reason = reason;
            upload.expires_at = None;
        }
    }

    /// Unfinished final uploads that have this part.
    fn waiting_for(&self, part: UploadId) -> Vec<UploadId> {
        let uses = self.parts.iter().filter(|(_, parts)| parts.contains(&part));
        uses.map(|(id, _)| *id)
            .filter(|id| {
                let row = self.rows.get(id);
                row.is_some_and(|row| row.state == State::Uploading)
            })
            .collect()
    }

    fn measure_waiting(&mut self, part: UploadId, size_max: u64) {
        let now = self.now_ms;
        for id in self.waiting_for(part) {
            let sum: Sum = self.parts_of(id).map(|part| part.length).collect();
            if sum.exceeds(size_max) {
                self.end(id, State::Failed, Some(String::from(TOO_LARGE)));
            } else if let (Some(length), Some(row)) = (sum.length(), self.rows.get_mut(&id)) {
                row.length = Some(length);
                row.updated_at = now;
            }
        }
    }

    fn complete_waiting(&mut self, part: UploadId) -> Result<(), StoreError> {
        let now = self.now_ms;
        for id in self.waiting_for(part) {
            if !self.parts_of(id).all(|part| part.state == State::Completed) {
                continue;
            }
            let sum = self.parts_of(id).try_fold(0_i64, |sum, part| {
                sum.checked_add_unsigned(part.offset)
                    .ok_or_else(|| failed("too large a sum"))
            })?;
            if let Some(upload) = self.rows.get_mut(&id) {
                upload.state = State::Completed;
                upload.offset = sum.unsigned_abs();
                upload.length = Some(sum.unsigned_abs());
                upload.updated_at = now;
                upload.completed_at = Some(now);
                upload.expires_at = None;
            }
        }
        Ok(())
    }

    fn fail_waiting(&mut self, part: UploadId) {
        for id in self.waiting_for(part) {
            self.end(
                id,
                State::Failed,
                Some(String::from("a part of it has ended")),
            );
        }
    }

    /// The parts of a final upload in order, with duplicates.
    fn parts_of(&self, id: UploadId) -> impl Iterator<Item = &Upload> {
        let parts = self.parts.get(&id).into_iter().flatten();
        parts.filter_map(|part| self.rows.get(part))
    }

    /// Whether a final upload, finished or not, has this part.
    fn is_used(&self, id: UploadId) -> bool {
        let mut uses = self.parts.iter().filter(|(_, parts)| parts.contains(&id));
        uses.any(|(whole, _)| self.is_alive(*whole))
    }

    fn is_alive(&self, id: UploadId) -> bool {
        self.rows.get(&id).is_some_and(|row| is_alive(row.state))
    }

    fn may_expire(&self, upload: &Upload) -> bool {
        upload.expires_at.is_some_and(|at| at < self.now_ms)
            && match upload.state {
                State::Uploading => true,
                State::Completed => !self.is_used(upload.id),
                _ => false,
            }
    }

    fn past(&self, after: Option<UploadId>) -> impl Iterator<Item = &Upload> {
        self.rows
            .values()
            .filter(move |row| after.is_none_or(|after| row.id > after))
    }

    fn ids(&self, wanted: impl Fn(&Upload) -> bool) -> Vec<UploadId> {
        self.rows
            .values()
            .filter(|row| wanted(row))
            .map(|row| row.id)
            .collect()
    }

    fn first_by(
        &self,
        mut ids: Vec<UploadId>,
        limit: u32,
        key: impl Fn(&Upload) -> Option<i64>,
    ) -> Vec<UploadId> {
        ids.sort_by_key(|id| self.rows.get(id).and_then(&key));
        ids.truncate(limit as usize);
        ids
    }
}

fn is_alive(state: State) -> bool {
    matches!(state, State::Uploading | State::Completed)
}

fn failed(why: &'static str) -> StoreError {
    StoreError::Failed(why.into())
}
