//! What a project is charged for its uploads and how many somebody has open, and the most of both.
//!
//! Invariant: while there is a quota, a project's `used_bytes` is the sum of what its uploads are
//! [charged](Upload::charge). Whatever changes the one changes the other in the same transaction:
//! a creation ([`Book::enter`]), a step of an upload whose length was not known ([`Book::grow`]), and
//! the one transition by which bytes are gone ([`Book::leave`]).
//!
//! PostgreSQL's locks are taken in one order, so that nobody waits for each other: ids, owners,
//! projects, uploads, feeds. Whoever is going to change a project's row locks it for that at once:
//! two who only share it could both never go on.

use super::row::{STRANGE, count, find, int};
use super::statement as sql;
use super::store::{Advance, Allowance, Excess, NotMade, State, Upload, Usage};
use crate::auth::Caller;
use crate::db::{DbError, Param, Tx};

/// Keeps the books of one store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Book(pub(super) Allowance);

impl Book {
    /// Comes before the first row that is made of `caller`'s is looked at or locked.
    pub(super) async fn hold_owner(self, tx: &mut Tx, caller: &Caller) -> Result<(), DbError> {
        if self.0.open_max.is_some() {
            // No id is called so.
            let owner = format!("owner {}", caller.user);
            tx.lock(&sql::LOCK_ID, &[Param::Text(&owner)]).await?;
        }
        Ok(())
    }

    /// Comes before something is made in a project, or in the caller's default one.
    pub(super) async fn hold_home(
        self,
        tx: &mut Tx,
        project: Option<&str>,
        caller: &Caller,
    ) -> Result<(), DbError> {
        let params = [Param::OptText(project), Param::Text(&caller.user)];
        let sql = match self.0.project_bytes_max {
            Some(_) => &sql::HOLD_HOME,
            None => &sql::SHARE_HOME,
        };
        tx.lock(sql, &params).await?;
        Ok(())
    }

    /// Comes before an upload is released.
    pub(super) async fn hold_project_of(self, tx: &mut Tx, id: &str) -> Result<(), DbError> {
        if self.0.project_bytes_max.is_some() {
            tx.lock(&sql::HOLD_PROJECT_OF, &[Param::Text(id)]).await?;
        }
        Ok(())
    }

    /// Enters an upload whose row has just been made. If that is refused, the row has to go again.
    pub(super) async fn enter(
        self,
        tx: &mut Tx,
        made: &Upload,
    ) -> Result<Result<(), NotMade>, DbError> {
        if let Some(max) = self.0.open_max.filter(|_| made.state == State::Uploading) {
            let params = [Param::Text(&made.owner), Param::Int(i64::from(max) + 1)];
            let open = tx.fetch_optional(&sql::COUNT_OPEN, &params).await?;
            // Its own row is one of them.
            if open.ok_or(STRANGE)?.int(0)? > i64::from(max) {
                return Ok(Err(NotMade::TooManyOpen(max)));
            }
        }
        let reserved = self.reserve(tx, &made.project, made.charge()).await?;
        Ok(reserved.map_err(NotMade::OverQuota))
    }

    /// Charges for what an upload grows by in a step that is about to be made. Only one whose length
    /// was not known grows.
    pub(super) async fn grow(
        self,
        tx: &mut Tx,
        step: &Advance,
    ) -> Result<Result<(), Excess>, DbError> {
        if self.0.project_bytes_max.is_none() {
            return Ok(Ok(()));
        }
        let id = step.id.to_string();
        let this = [Param::Text(&id)];
        let project = tx.fetch_optional(&sql::HOLD_UNMEASURED, &this).await?;
        if project.is_none() {
            return Ok(Ok(()));
        }
        // As it is now: whoever had the project before may have changed it.
        let Some(before) = find(tx, &sql::FIND_LOCKED, step.id).await? else {
            return Ok(Ok(()));
        };
        let is_next = before.epoch == step.epoch
            && before.offset == step.commit.from
            && before.state == State::Uploading;
        if !is_next {
            // The step is refused.
            return Ok(Ok(()));
        }
        let after = Upload {
            offset: step.commit.to,
            length: step.commit.length.or(before.length),
            ..before.clone()
        };
        let growth = after.charge().saturating_sub(before.charge());
        self.reserve(tx, &before.project, growth).await
    }

    /// Takes an upload out whose bytes are gone since the statement before.
    pub(super) async fn leave(self, tx: &mut Tx, released: &Upload) -> Result<(), DbError> {
        let charged = Upload {
            released_bytes: None,
            ..released.clone()
        };
        let bytes = charged.charge();
        if self.0.project_bytes_max.is_some() && bytes > 0 {
            let params = [Param::Text(&released.project), Param::Int(int(bytes))];
            tx.execute(&sql::DISCHARGE, &params).await?;
        }
        Ok(())
    }

    /// Charges a project for `bytes` more, if they fit.
    async fn reserve(
        self,
        tx: &mut Tx,
        project: &str,
        bytes: u64,
    ) -> Result<Result<(), Excess>, DbError> {
        let Some(quota) = self.0.project_bytes_max.filter(|_| bytes > 0) else {
            return Ok(Ok(()));
        };
        if let Some(room) = quota.checked_sub(bytes) {
            let params = [
                Param::Text(project),
                Param::Int(int(bytes)),
                Param::Int(int(room)),
            ];
            if tx.execute(&sql::CHARGE, &params).await? > 0 {
                return Ok(Ok(()));
            }
        }
        let this = [Param::Text(project)];
        let row = tx.fetch_optional(&sql::CHARGED, &this).await?;
        let used = count(&row.ok_or(STRANGE)?, 0)?;
        Ok(Err(Excess { quota, used }))
    }

    /// Reckons anew what each project is charged.
    pub(super) async fn balance(self, tx: &mut Tx) -> Result<(), DbError> {
        if self.0.project_bytes_max.is_some() {
            tx.execute(&sql::BALANCE, &[]).await?;
        }
        Ok(())
    }

    /// How much is in a project that is there.
    pub(super) async fn usage(self, tx: &mut Tx, project: &str) -> Result<Usage, DbError> {
        let this = [Param::Text(project)];
        let quota_bytes = self.0.project_bytes_max;
        let used = match quota_bytes {
            Some(_) => tx.fetch_optional(&sql::CHARGED, &this).await?,
            None => tx.fetch_optional(&sql::RECKONED, &this).await?,
        };
        let counted = tx.fetch_optional(&sql::COUNT_USAGE, &this).await?;
        let counted = counted.ok_or(STRANGE)?;
        Ok(Usage {
            used_bytes: count(&used.ok_or(STRANGE)?, 0)?,
            quota_bytes,
            open: count(&counted, 0)?,
            completed: count(&counted, 1)?,
        })
    }
}
