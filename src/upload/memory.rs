//! Uploads in memory, by the same rules as in [`super::sql`], with a clock that is moved by hand
//! and calls that can be made to fail. For tests.
//!
//! [`super::conformance`] holds both to one suite and compares them step by step.

mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};

use self::tables::{Tables, failed};
use super::Census;
use super::row::millis;
use super::store::{
    Advance, Advanced, Allowance, CancelOutcome, Canceller, Due, Filter, Kind, Made, NewFinal,
    NewUpload, NotMade, Remains, Seen, State, StoreError, Upload, UploadStore, Usage, Which,
};
use crate::access::Denied;
use crate::auth::Caller;
use crate::event::Kind as EventKind;
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
    /// What has happened, transaction by transaction.
    told: Vec<(UploadId, EventKind)>,
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

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

impl MemoryStore {
    /// Keeps to `allowance` from now on.
    pub(super) fn keep_within(&self, allowance: Allowance) {
        self.shared().tables.balance(allowance);
    }

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

    /// Makes a project, if it is not there.
    pub(super) fn open(&self, project: &str, owner: &str) {
        self.shared().tables.open(project, owner);
    }

    /// Shares a project, or takes that back.
    pub(super) fn share(&self, project: &str, user: &str, is_shared: bool) {
        self.shared().tables.share(project, user, is_shared);
    }

    /// The row as it stands.
    pub(super) fn row(&self, id: UploadId) -> Option<Upload> {
        self.shared().tables.rows.get(&id).cloned()
    }

    /// What has happened so far.
    pub(super) fn told(&self) -> Vec<(UploadId, EventKind)> {
        self.shared().told.clone()
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
    fn keep(&mut self, tables: Tables) {
        self.told.extend(tables.told_since(&self.tables));
        self.tables = tables;
    }

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
            self.keep(Tables { now_ms, ..late });
        }
        let mut tables = self.tables.clone();
        let done = work(&mut tables)?;
        match failure {
            Some(Failure::AnswerLate) => self.late = Some(tables),
            _ => self.keep(tables),
        }
        match failure {
            None => Ok(done),
            Some(_) => Err(failed("asked to lose the answer")),
        }
    }
}

impl UploadStore for MemoryStore {
    fn create(&self, new: NewUpload) -> Answer<Result<Made, NotMade>> {
        self.transaction("create", move |tables| Ok(tables.create(new)))
    }

    fn concatenate(&self, new: NewFinal) -> Answer<Result<Made, NotMade>> {
        self.transaction("concatenate", move |tables| Ok(tables.concatenate(new)))
    }

    fn find(&self, id: UploadId) -> Answer<Option<Upload>> {
        self.transaction("find", move |tables| Ok(tables.rows.get(&id).cloned()))
    }

    fn find_for(&self, id: UploadId, caller: Caller) -> Answer<Option<Seen>> {
        self.transaction("find", move |tables| Ok(tables.seen(id, &caller)))
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

    fn interrupted(&self, id: UploadId) -> Answer<()> {
        self.transaction("interrupted", move |tables| {
            tables.attend(id, false);
            Ok(())
        })
    }

    fn resumed(&self, id: UploadId) -> Answer<()> {
        self.transaction("resumed", move |tables| {
            tables.attend(id, true);
            Ok(())
        })
    }

    fn cancel(&self, id: UploadId, by: Canceller, reason: Option<String>) -> Answer<CancelOutcome> {
        self.transaction("cancel", move |tables| Ok(tables.cancel(id, by, reason)))
    }

    fn forestall(
        &self,
        id: UploadId,
        project: Option<String>,
        caller: Caller,
        by: Canceller,
        reason: Option<String>,
    ) -> Answer<CancelOutcome> {
        self.transaction("forestall", move |tables| {
            Ok(tables.forestall(id, project.as_deref(), &caller, by, &reason))
        })
    }

    fn cancel_many(
        &self,
        which: Which,
        caller: Caller,
        reason: Option<String>,
    ) -> Answer<Result<Vec<(UploadId, CancelOutcome)>, Denied>> {
        self.transaction("cancel_many", move |tables| {
            Ok(tables.cancel_many(which, &caller, &reason))
        })
    }

    fn clear(
        &self,
        project: String,
        reason: String,
        limit: u32,
    ) -> Answer<Vec<(UploadId, CancelOutcome)>> {
        self.transaction("clear", move |tables| {
            Ok(tables.clear(&project, &reason, limit))
        })
    }

    fn is_clear(&self, project: String) -> Answer<bool> {
        self.transaction("is_clear", move |tables| {
            let has_bytes = |row: &Upload| row.project == project && row.released_bytes.is_none();
            Ok(tables.ids(has_bytes).is_empty())
        })
    }

    fn fail(&self, id: UploadId, reason: String) -> Answer<()> {
        self.transaction("fail", move |tables| {
            tables.fail(id, reason);
            Ok(())
        })
    }

    fn expire(&self, id: UploadId) -> Answer<bool> {
        self.transaction("expire", move |tables| Ok(tables.expire(id)))
    }

    fn may_release(&self, id: UploadId) -> Answer<Option<Remains>> {
        self.transaction("may_release", move |tables| Ok(tables.remains(id)))
    }

    fn released(&self, id: UploadId, bytes: u64, parts_expire_after: Duration) -> Answer<()> {
        self.transaction("released", move |tables| {
            tables.released(id, bytes, parts_expire_after);
            Ok(())
        })
    }

    fn expiring(&self, after: Option<Due>, limit: u32) -> Answer<Vec<Due>> {
        self.transaction("expiring", move |tables| {
            let expires_at = |row: &Upload| row.expires_at.filter(|at| *at < tables.now_ms);
            Ok(tables.due(after, limit, expires_at))
        })
    }

    fn releasable(&self, after: Option<Due>, limit: u32) -> Answer<Vec<Due>> {
        self.transaction("releasable", move |tables| {
            let ended_at = |row: &Upload| {
                let has_blob = row.released_bytes.is_none() && !tables.held.contains(&row.id);
                row.ended_at.filter(|_| has_blob)
            };
            Ok(tables.due(after, limit, ended_at))
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

    fn census(&self) -> Answer<Census> {
        self.transaction("census", |tables| {
            let rows = tables.rows.values();
            let (mut open, mut ending) = (0, 0);
            for row in rows {
                let has_ended = row.ended_at.is_some() && row.released_bytes.is_none();
                open += u64::from(row.state == State::Uploading && row.kind != Kind::Final);
                ending += u64::from(has_ended && !tables.held.contains(&row.id));
            }
            Ok(Census { open, ending })
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

    fn is_seen(&self, project: String, caller: Caller) -> Answer<bool> {
        self.transaction("is_seen", move |tables| {
            Ok(tables.right(&project, &caller).is_some())
        })
    }

    fn usage(&self, project: String, caller: Caller) -> Answer<Option<Usage>> {
        self.transaction("usage", move |tables| Ok(tables.usage(&project, &caller)))
    }

    fn list(&self, filter: Filter, caller: Caller) -> Answer<Option<(Vec<Upload>, u64)>> {
        self.transaction("list", move |tables| {
            if tables.right(&filter.project, &caller).is_none() {
                return Ok(None);
            }
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
            let page = found.into_iter().skip(page * limit).take(limit);
            Ok(Some((page.collect(), total)))
        })
    }
}
