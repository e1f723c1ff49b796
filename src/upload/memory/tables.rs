//! The rows, and what each transaction does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_protocol::request::Protocol;
use tidegate_protocol::upload::Mark;

use crate::access::{DEFAULT_OF_LOCAL, Denied, Right};
use crate::auth::Caller;
use crate::event::Kind as EventKind;
use crate::id::UploadId;
use crate::upload::change::invalid;
use crate::upload::event;
use crate::upload::row::millis;
use crate::upload::store::{
    Advance, Advanced, Allowance, CancelOutcome, Canceller, Due, End, Excess, Kind, Made, NewFinal,
    NewUpload, NotMade, Remains, Seen, State, StoreError, Sum, TOO_LARGE, Upload, Usage, Which,
};

/// What a database can count to.
const MOST: u64 = i64::MAX.unsigned_abs();

/// What a transaction sees.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) now_ms: i64,
    pub(super) rows: BTreeMap<UploadId, Upload>,
    /// Whose each project is.
    pub(super) projects: BTreeMap<String, String>,
    /// Each with a user who has an accepted share of it.
    pub(super) shares: BTreeSet<(String, String)>,
    /// When each was cancelled in advance, and why.
    pub(super) forestalled: BTreeMap<(UploadId, String), (i64, Option<String>)>,
    /// By final upload, in order.
    pub(super) parts: BTreeMap<UploadId, Vec<UploadId>>,
    /// Deleted parts whose bytes are kept for a final upload.
    pub(super) held: BTreeSet<UploadId>,
    pub(super) allowance: Allowance,
    /// Bytes that each project is charged.
    pub(super) used: BTreeMap<String, u64>,
}

impl Tables {
    pub(super) fn open(&mut self, project: &str, owner: &str) {
        let project = self.projects.entry(project.to_owned());
        project.or_insert_with(|| owner.to_owned());
    }

    pub(super) fn share(&mut self, project: &str, user: &str, is_shared: bool) {
        let share = (project.to_owned(), user.to_owned());
        match is_shared {
            true => self.shares.insert(share),
            false => self.shares.remove(&share),
        };
    }

    pub(super) fn right(&self, project: &str, caller: &Caller) -> Option<Right> {
        let owner = self.projects.get(project)?;
        let share = (project.to_owned(), caller.user.clone());
        match *owner == caller.user || caller.is_admin() {
            true => Some(Right::Owner),
            false => self.shares.contains(&share).then_some(Right::Member),
        }
    }

    pub(super) fn seen(&self, id: UploadId, caller: &Caller) -> Option<Seen> {
        let row = self.rows.get(&id)?;
        let right = self.right(&row.project, caller)?;
        Some(Seen::of(row.clone(), right, caller))
    }

    /// The project for something new of `caller`.
    fn home(&mut self, project: Option<String>, caller: &Caller) -> Result<String, NotMade> {
        let Some(project) = project else {
            let default = match caller.user.as_str() {
                Caller::LOCAL => DEFAULT_OF_LOCAL.to_owned(),
                user => format!("of {user}"),
            };
            self.open(&default, &caller.user);
            return Ok(default);
        };
        let right = self.right(&project, caller);
        right.map(|_| project).ok_or(NotMade::NoProject)
    }

    /// What a creation finds if its id is in use.
    fn there(&self, id: UploadId, caller: &Caller) -> Option<Result<Made, NotMade>> {
        let row = self.rows.get(&id)?;
        let is_lost = row.owner == caller.user && self.seen(id, caller).is_none();
        let made = Made {
            upload: row.clone(),
            is_new: false,
        };
        Some(if is_lost {
            Err(NotMade::NoProject)
        } else {
            Ok(made)
        })
    }

    pub(super) fn create(&mut self, new: NewUpload) -> Result<Made, NotMade> {
        if let Some(there) = self.there(new.id, &new.caller) {
            return there;
        }
        let project = self.home(new.project.clone(), &new.caller)?;
        let empty = new.is_whole();
        let now = self.now_ms;
        let upload = Upload {
            id: new.id,
            project,
            owner: new.caller.user,
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
            interrupted_at: None,
            protocol: new.protocol,
            expected_sha256: new.expected_sha256,
            released_bytes: None,
        };
        self.insert(upload, new.named)
    }

    pub(super) fn concatenate(&mut self, new: NewFinal) -> Result<Made, NotMade> {
        if let Some(there) = self.there(new.id, &new.caller) {
            return there;
        }
        let project = self.home(new.project.clone(), &new.caller)?;
        let right = self.right(&project, &new.caller);
        let right = right.ok_or(NotMade::NoProject)?;
        let mut lengths = Vec::with_capacity(new.parts.len());
        let mut whole = true;
        for (number, part) in (1..).zip(&new.parts) {
            let usable = |upload: &&Upload| {
                let is_covered = right.covers(&new.caller, &upload.owner);
                upload.project == project && is_covered && is_alive(upload.state)
            };
            let Some(part) = self.rows.get(part).filter(usable) else {
                return Err(NotMade::PartNotFound(number));
            };
            if part.kind != Kind::Partial {
                return Err(NotMade::NotPartial(number));
            }
            whole &= part.state == State::Completed;
            lengths.push(part.length);
        }
        let sum: Sum = lengths.into_iter().collect();
        if sum.exceeds(new.size_max) {
            return Err(NotMade::TooLarge);
        }
        let length = sum.length();
        let now = self.now_ms;
        let upload = Upload {
            id: new.id,
            project,
            owner: new.caller.user,
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
            expires_at: None,
            ended_at: None,
            end_reason: None,
            ended_by: None,
            interrupted_at: None,
            protocol: Protocol::Tus,
            expected_sha256: None,
            released_bytes: None,
        };
        let made = self.insert(upload, new.named)?;
        if made.upload.ended_at.is_none() {
            self.parts.insert(new.id, new.parts.clone());
            new.parts.into_iter().for_each(|part| self.hold(part));
        }
        Ok(made)
    }

    fn insert(&mut self, mut upload: Upload, named: bool) -> Result<Made, NotMade> {
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
        let is_open = |row: &Upload| row.state == State::Uploading && row.owner == upload.owner;
        if let Some(max) = self.allowance.open_max.filter(|_| is_open(&upload))
            && self.ids(is_open).len() >= max as usize
        {
            return Err(NotMade::TooManyOpen(max));
        }
        let reserved = self.reserve(&upload.project, upload.charge());
        reserved.map_err(NotMade::OverQuota)?;
        self.rows.insert(upload.id, upload.clone());
        Ok(Made {
            upload,
            is_new: true,
        })
    }

    /// Keeps to `allowance` from now on, and reckons anew what projects are charged.
    pub(super) fn balance(&mut self, allowance: Allowance) {
        self.allowance = allowance;
        self.used.clear();
        if allowance.project_bytes_max.is_none() {
            return;
        }
        for row in self.rows.values() {
            let used = self.used.entry(row.project.clone()).or_default();
            *used = used.saturating_add(row.charge()).min(MOST);
        }
    }

    /// Charges a project for `bytes` less.
    fn discharge(&mut self, project: &str, bytes: u64) {
        match self.used.get_mut(project) {
            Some(used) if *used < MOST => *used -= bytes,
            // It was more than can be counted, or nobody counts.
            _ => self.balance(self.allowance),
        }
    }

    /// Charges a project for `bytes` more.
    fn reserve(&mut self, project: &str, bytes: u64) -> Result<(), Excess> {
        let Some(quota) = self.allowance.project_bytes_max.filter(|_| bytes > 0) else {
            return Ok(());
        };
        let used = self.used.entry(project.to_owned()).or_default();
        if bytes > quota.saturating_sub(*used) {
            return Err(Excess { quota, used: *used });
        }
        *used += bytes;
        Ok(())
    }

    pub(super) fn usage(&self, project: &str, caller: &Caller) -> Option<Usage> {
        self.right(project, caller)?;
        let rows = || self.rows.values().filter(|row| row.project == project);
        let count = |state| rows().filter(|row| row.state == state).count() as u64;
        let sum = rows().fold(0_u64, |sum, row| sum.saturating_add(row.charge()));
        let quota_bytes = self.allowance.project_bytes_max;
        let booked = self.used.get(project).copied().unwrap_or(0);
        Some(Usage {
            used_bytes: if quota_bytes.is_some() {
                booked
            } else {
                sum.min(MOST)
            },
            quota_bytes,
            open: count(State::Uploading),
            completed: count(State::Completed),
        })
    }

    pub(super) fn advance(&mut self, step: Advance) -> Result<Advanced, StoreError> {
        let now = self.now_ms;
        let row = self.rows.get(&step.id).filter(|upload| {
            upload.epoch == step.epoch
                && upload.offset == step.commit.from
                && upload.state == State::Uploading
                && upload.kind != Kind::Final
        });
        let Some(before) = row.cloned() else {
            return Ok(Advanced::Refused);
        };
        let after = Upload {
            offset: step.commit.to,
            length: step.commit.length.or(before.length),
            ..before.clone()
        };
        let growth = after.charge().saturating_sub(before.charge());
        if before.length.is_none()
            && let Err(excess) = self.reserve(&before.project, growth)
        {
            return Ok(Advanced::OverQuota(excess));
        }
        let Some(upload) = self.rows.get_mut(&step.id) else {
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
            Mark::Invalidated(why) => {
                upload.state = State::Failed;
                upload.ended_at = Some(now);
                upload.end_reason = Some(invalid(why).to_owned());
                upload.expires_at = None;
            }
        }
        if is_partial && step.commit.length.is_some() {
            self.measure_waiting(step.id, step.size_max);
        }
        match step.commit.mark {
            Mark::Completed if is_partial => {
                self.complete_waiting(step.id)?;
                self.hold(step.id);
            }
            Mark::Invalidated(_) if is_partial => self.fail_waiting(step.id),
            _ => {}
        }
        let expires_at = self.rows.get(&step.id).and_then(|row| row.expires_at);
        Ok(Advanced::Committed { expires_at })
    }

    /// Tells whether the sender of an unfinished upload is there.
    pub(super) fn attend(&mut self, id: UploadId, is_there: bool) {
        let now = self.now_ms;
        if let Some(row) = self.rows.get_mut(&id)
            && row.state == State::Uploading
        {
            row.interrupted_at = (!is_there).then(|| row.interrupted_at.unwrap_or(now));
        }
    }

    /// What has happened since `before`, in no order: the oracle for what a store tells.
    pub(super) fn told_since(&self, before: &Self) -> Vec<(UploadId, EventKind)> {
        let mut told = Vec::new();
        for (id, row) in &self.rows {
            let old = before.rows.get(id);
            if old.is_none() {
                told.push((*id, EventKind::UploadCreated));
            }
            if old.map_or(State::Uploading, |old| old.state) != row.state {
                told.extend(event::reached(row.state).map(|kind| (*id, kind)));
            }
            let was_away = old.is_some_and(|old| old.interrupted_at.is_some());
            match (was_away, row.interrupted_at.is_some()) {
                (false, true) => told.push((*id, EventKind::UploadInterrupted)),
                (true, false) => told.push((*id, EventKind::UploadResumed)),
                _ => {}
            }
        }
        for (id, old) in &before.rows {
            if old.state == State::Deleting && !self.rows.contains_key(id) {
                told.push((*id, EventKind::UploadDeleted));
            }
        }
        told
    }

    pub(super) fn cancel(
        &mut self,
        id: UploadId,
        by: Canceller,
        reason: Option<String>,
    ) -> CancelOutcome {
        let Some(row) = self.rows.get(&id) else {
            return CancelOutcome::Unknown;
        };
        let state = match (row.state, by) {
            (State::Uploading, _) => State::Cancelling,
            (State::Completed, Canceller::Sender) => State::Deleting,
            (ended, by) => {
                let is_cancelled = matches!(ended, State::Cancelling | State::Cancelled);
                if is_cancelled
                    && by == Canceller::Sender
                    && let Some(row) = self.rows.get_mut(&id)
                {
                    row.ended_by = Some(by);
                }
                return CancelOutcome::Already(ended);
            }
        };
        self.end(id, state, reason);
        if let Some(row) = self.rows.get_mut(&id) {
            row.ended_by = Some(by);
        }
        self.fail_waiting(id);
        self.hold(id);
        match self.rows.get(&id) {
            Some(row) => CancelOutcome::Begun(Box::new(End::of(row))),
            None => CancelOutcome::Unknown,
        }
    }

    pub(super) fn forestall(
        &mut self,
        id: UploadId,
        project: Option<&str>,
        caller: &Caller,
        by: Canceller,
        reason: &Option<String>,
    ) -> CancelOutcome {
        let seen = self.seen(id, caller);
        let is_elsewhere =
            |seen: &Seen| project.is_some_and(|project| seen.upload.project != project);
        match seen {
            Some(seen) if is_elsewhere(&seen) => CancelOutcome::Unknown,
            Some(seen) if !seen.is_covered => CancelOutcome::Uncovered,
            Some(_) => self.cancel(id, by, reason.clone()),
            None => {
                let now = self.now_ms;
                let promise = self.forestalled.entry((id, caller.user.clone()));
                promise.or_insert_with(|| (now, reason.clone()));
                CancelOutcome::Unknown
            }
        }
    }

    pub(super) fn cancel_many(
        &mut self,
        which: Which,
        caller: &Caller,
        reason: &Option<String>,
    ) -> Result<Vec<(UploadId, CancelOutcome)>, Denied> {
        let (Which::Ids { project, .. } | Which::Active { project, .. }) = &which;
        let right = self.right(project, caller).ok_or(Denied::Absent)?;
        match which {
            Which::Ids { project, ids } => {
                let (by, mut outcomes) = (Canceller::Other, Vec::with_capacity(ids.len()));
                for id in ids {
                    outcomes.push((id, self.forestall(id, Some(&project), caller, by, reason)));
                }
                Ok(outcomes)
            }
            Which::Active { all: true, .. } if right < Right::Owner => Err(Denied::Forbidden),
            Which::Active {
                project,
                all,
                limit,
            } => {
                let active = self.ids(|row| {
                    let is_wanted = all || row.owner == caller.user;
                    row.state == State::Uploading && row.project == project && is_wanted
                });
                Ok(self.cancel_all(active, limit, Canceller::Other, reason.clone()))
            }
        }
    }

    pub(super) fn clear(
        &mut self,
        project: &str,
        reason: &str,
        limit: u32,
    ) -> Vec<(UploadId, CancelOutcome)> {
        let left = self.ids(|row| row.project == project && is_alive(row.state));
        self.cancel_all(left, limit, Canceller::Sender, Some(reason.to_owned()))
    }

    fn cancel_all(
        &mut self,
        ids: Vec<UploadId>,
        limit: u32,
        by: Canceller,
        reason: Option<String>,
    ) -> Vec<(UploadId, CancelOutcome)> {
        let mut outcomes = Vec::new();
        for id in ids.into_iter().take(limit as usize) {
            outcomes.push((id, self.cancel(id, by, reason.clone())));
        }
        outcomes
    }

    pub(super) fn expire(&mut self, id: UploadId) -> bool {
        let Some(row) = self
            .rows
            .get(&id)
            .filter(|row| row.expires_at.is_some_and(|at| at < self.now_ms))
        else {
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

    /// Fails an upload and all that is made of it.
    pub(super) fn fail(&mut self, id: UploadId, reason: String) {
        let made_of = self.parts.iter().filter(|(_, parts)| parts.contains(&id));
        let failing: Vec<UploadId> = made_of.map(|(id, _)| *id).chain([id]).collect();
        for id in failing {
            if self.is_alive(id) {
                self.end(id, State::Failed, Some(reason.clone()));
            }
        }
    }

    pub(super) fn remains(&self, id: UploadId) -> Option<Remains> {
        let row = self.rows.get(&id)?;
        if row.ended_at.is_none() || self.is_used(id) {
            return None;
        }
        let is_damaged = |row: &Upload| row.state == State::Failed && row.completed_at.is_some();
        let mut made_of = self.parts.iter().filter(|(_, parts)| parts.contains(&id));
        let of_damaged = made_of.any(|(whole, _)| self.rows.get(whole).is_some_and(is_damaged));
        let has_own = row.kind != Kind::Final;
        Some(Remains {
            promised: if has_own { row.offset } else { 0 },
            is_damaged: has_own && (is_damaged(row) || of_damaged),
        })
    }

    pub(super) fn released(&mut self, id: UploadId, bytes: u64, parts_expire_after: Duration) {
        let now = self.now_ms;
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        if row.ended_at.is_some() && row.released_bytes.is_none() {
            let (project, charge) = (row.project.clone(), row.charge());
            row.released_bytes = Some(bytes);
            row.digest = None;
            row.updated_at = now;
            if row.state == State::Cancelling {
                row.state = State::Cancelled;
            }
            self.discharge(&project, charge);
        }
        let deleted = self
            .rows
            .get(&id)
            .is_some_and(|row| row.state == State::Deleting);
        for part in self.parts.get(&id).cloned().unwrap_or_default() {
            self.let_go(part, parts_expire_after);
        }
        if deleted {
            self.forget(id);
        }
    }

    /// A final upload has this part, if one has: its time stands still, its bytes are kept.
    fn hold(&mut self, part: UploadId) {
        if !self.is_used(part) {
            return;
        }
        if let Some(row) = self.rows.get_mut(&part) {
            match row.state {
                State::Completed => row.expires_at = None,
                State::Deleting => drop(self.held.insert(part)),
                _ => {}
            }
        }
    }

    /// A final upload that has had this part has ended.
    fn let_go(&mut self, part: UploadId, expires_after: Duration) {
        if self.is_used(part) {
            return;
        }
        self.held.remove(&part);
        let now = self.now_ms;
        if let Some(row) = self.rows.get_mut(&part)
            && row.state == State::Completed
            && row.expires_at.is_none()
        {
            row.expires_at = Some(now + millis(expires_after));
        }
    }

    pub(super) fn forget(&mut self, id: UploadId) {
        self.parts.remove(&id);
        self.held.remove(&id);
        self.rows.remove(&id);
    }

    pub(super) fn end(&mut self, id: UploadId, state: State, reason: Option<String>) {
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

    pub(super) fn fail_waiting(&mut self, part: UploadId) {
        for id in self.waiting_for(part) {
            self.end(
                id,
                State::Failed,
                Some(String::from("a part of it has ended")),
            );
        }
    }

    /// The parts of a final upload in order, with duplicates.
    pub(super) fn parts_of(&self, id: UploadId) -> impl Iterator<Item = &Upload> {
        let parts = self.parts.get(&id).into_iter().flatten();
        parts.filter_map(|part| self.rows.get(part))
    }

    /// Whether a final upload, finished or not, has this part.
    pub(super) fn is_used(&self, id: UploadId) -> bool {
        let mut uses = self.parts.iter().filter(|(_, parts)| parts.contains(&id));
        uses.any(|(whole, _)| self.is_alive(*whole))
    }

    pub(super) fn is_alive(&self, id: UploadId) -> bool {
        self.rows.get(&id).is_some_and(|row| is_alive(row.state))
    }

    /// The uploads for which `since` says a time, past `after`.
    pub(super) fn due(
        &self,
        after: Option<Due>,
        limit: u32,
        since: impl Fn(&Upload) -> Option<i64>,
    ) -> Vec<Due> {
        let due = |row: &Upload| since(row).map(|at| Due { at, id: row.id });
        let mut due: Vec<Due> = self.rows.values().filter_map(due).collect();
        due.sort();
        due.retain(|due| after.is_none_or(|after| *due > after));
        due.truncate(limit as usize);
        due
    }

    pub(super) fn past(&self, after: Option<UploadId>) -> impl Iterator<Item = &Upload> {
        self.rows
            .values()
            .filter(move |row| after.is_none_or(|after| row.id > after))
    }

    pub(super) fn ids(&self, wanted: impl Fn(&Upload) -> bool) -> Vec<UploadId> {
        self.rows
            .values()
            .filter(|row| wanted(row))
            .map(|row| row.id)
            .collect()
    }

    pub(super) fn first_by(
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

pub(super) fn failed(why: &'static str) -> StoreError {
    StoreError::Failed(why.into())
}
