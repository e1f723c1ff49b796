//! The way out of life: first the row, for good; then stop, destroy, confirm.
//!
//! A cancel and a deletion begin with one durable, irrevocable statement. What follows can be cut
//! short by a crash at any point: the row says what is left to do, and [`super::sweep`] does it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tidegate_protocol::problem::Problem;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::progress::Progress;
use super::store::{CancelOutcome, Canceller, End, Remains, State, Which};
use super::{Uploads, refuse};
use crate::auth::Caller;
use crate::blob::BlobError;
use crate::cancel::CancelReason;
use crate::id::UploadId;

/// How long a canceller waits for the confirmation.
const CONFIRM_WITHIN: Duration = Duration::from_millis(50);

/// Uploads of one cancel that are stopped and destroyed at the same time.
const FINISHING_MAX: usize = 64;

/// Uploads of a project that are ended in one transaction.
const CLEARED_MAX: u32 = 1_000;

/// Uploads that are named in one call, and ended in one transaction: others write in between.
const NAMED_MAX: usize = 500;

/// What is asked for, transaction by transaction.
fn parts(which: Which) -> Vec<Which> {
    let Which::Ids { project, ids } = which else {
        return vec![which];
    };
    // Without any, too: whether there is such a project is still to be answered.
    let none = ids.is_empty().then_some(&[][..]);
    let parts = ids.chunks(NAMED_MAX).chain(none);
    parts
        .map(|ids| Which::Ids {
            project: project.clone(),
            ids: ids.to_vec(),
        })
        .collect()
}

/// What became of a cancel, at the moment of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// Its bytes are gone, so many of them.
    Confirmed { released: u64 },
    /// It is irrevocable; that its bytes are gone follows.
    Accepted,
    /// It had ended before.
    Already(State),
    /// It is not the caller's to end.
    Uncovered,
    /// There is no such upload, or none for the caller.
    Unknown,
}

impl Uploads {
    /// Ends the upload by its sender's own wish, a complete one too. Returns when that is durable
    /// and, unless it takes too long, when its stream has stopped and its bytes are gone.
    ///
    /// # Errors
    /// The problem to answer with: it does not exist, or can no longer be ended.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub(super) async fn delete(self: &Arc<Self>, id: UploadId) -> Result<(), Problem> {
        let called = Instant::now();
        let begun = self.store.cancel(id, Canceller::Sender, None).await;
        let begun = begun.map_err(|error| refuse::store(&error))?;
        self.deleted(id, begun, called).await
    }

    /// As [`Self::delete`], for a caller. If there is no such upload, he will find it cancelled when he
    /// makes it: the deletion has overtaken the creation.
    ///
    /// # Errors
    /// As [`Self::delete`], or it is not his to end.
    ///
    /// # Cancel safety
    /// As [`Self::delete`].
    pub(super) async fn delete_for(
        self: &Arc<Self>,
        id: UploadId,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<(), Problem> {
        let called = Instant::now();
        let by = Canceller::Sender;
        let begun = self.store.forestall(id, None, caller, by, reason).await;
        let begun = begun.map_err(|error| refuse::store(&error))?;
        self.deleted(id, begun, called).await
    }

    async fn deleted(
        self: &Arc<Self>,
        id: UploadId,
        begun: CancelOutcome,
        called: Instant,
    ) -> Result<(), Problem> {
        match self.confirm(vec![(id, begun)], called).await.get(&id) {
            None | Some(Cancelled::Unknown | Cancelled::Already(State::Deleting)) => {
                Err(Problem::NotFound)
            }
            Some(Cancelled::Uncovered) => Err(Problem::Forbidden),
            Some(Cancelled::Already(State::Expired)) => Err(Problem::UploadExpired),
            Some(Cancelled::Already(State::Failed)) => Err(Problem::UploadFailed),
            Some(Cancelled::Already(_) | Cancelled::Accepted | Cancelled::Confirmed { .. }) => {
                Ok(())
            }
        }
    }

    /// Ends the upload by somebody else's wish, unless it is complete. If there is no such upload, the
    /// caller will find it cancelled when he makes it: the cancel has overtaken the creation.
    ///
    /// # Errors
    /// The store failed; it may have been begun all the same, and is finished then.
    ///
    /// # Cancel safety
    /// As [`Self::delete`].
    pub(super) async fn cancel(
        self: &Arc<Self>,
        id: UploadId,
        project: Option<String>,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<Cancelled, Problem> {
        let called = Instant::now();
        let by = Canceller::Other;
        let begun = self.store.forestall(id, project, caller, by, reason).await;
        let begun = begun.map_err(|error| refuse::store(&error))?;
        let confirmed = self.confirm(vec![(id, begun)], called).await;
        Ok(confirmed.get(&id).copied().unwrap_or(Cancelled::Unknown))
    }

    /// As [`Self::cancel`] for many, so many of them begun in one transaction; in the order in which
    /// they are asked for.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    ///
    /// # Cancel safety
    /// As [`Self::delete`].
    pub(super) async fn cancel_many(
        self: &Arc<Self>,
        which: Which,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<Vec<(UploadId, Cancelled)>, Problem> {
        let called = Instant::now();
        let mut begun = Vec::new();
        let mut failed = None;
        for part in parts(which) {
            let some = self.store.cancel_many(part, caller.clone(), reason.clone());
            let some = some.await.map_err(|error| refuse::store(&error));
            match some.and_then(|some| some.map_err(Problem::from)) {
                Ok(some) => begun.extend(some),
                Err(problem) => {
                    failed = Some(problem);
                    break;
                }
            }
        }
        let asked: Vec<UploadId> = begun.iter().map(|(id, _)| *id).collect();
        let confirmed = self.confirm(begun, called).await;
        let outcome = |id| confirmed.get(&id).copied().unwrap_or(Cancelled::Unknown);
        // What was begun is finished nevertheless.
        if let Some(problem) = failed {
            return Err(problem);
        }
        Ok(asked.into_iter().map(|id| (id, outcome(id))).collect())
    }

    /// Ends an upload that this server has made for a request which cannot complete it.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    ///
    /// # Cancel safety
    /// As [`Self::delete`].
    pub(super) async fn end(
        self: &Arc<Self>,
        id: UploadId,
        reason: Option<String>,
    ) -> Result<(), Problem> {
        let called = Instant::now();
        let begun = self.store.cancel(id, Canceller::Other, reason).await;
        let begun = begun.map_err(|error| refuse::store(&error))?;
        self.confirm(vec![(id, begun)], called).await;
        Ok(())
    }

    /// Ends some of what is left in a project that is going, complete uploads too. True: nothing of it
    /// is left, not a byte.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    ///
    /// # Cancel safety
    /// As [`Self::delete`].
    pub(super) async fn clear(
        self: &Arc<Self>,
        project: String,
        reason: &str,
    ) -> Result<bool, Problem> {
        let called = Instant::now();
        let begun = self
            .store
            .clear(project.clone(), reason.to_owned(), CLEARED_MAX);
        let begun = begun.await.map_err(|error| refuse::store(&error))?;
        self.confirm(begun, called).await;
        let is_clear = self.store.is_clear(project).await;
        is_clear.map_err(|error| refuse::store(&error))
    }

    /// Stops and destroys what has just been begun, and waits for that, but not for long.
    async fn confirm(
        self: &Arc<Self>,
        begun: Vec<(UploadId, CancelOutcome)>,
        called: Instant,
    ) -> HashMap<UploadId, Cancelled> {
        let deadline = Instant::now() + CONFIRM_WITHIN;
        let mut outcomes = HashMap::with_capacity(begun.len());
        let mut ending = Vec::new();
        for (id, outcome) in begun {
            let outcome = match outcome {
                CancelOutcome::Begun(end) => {
                    self.stop(id, &end);
                    ending.push((id, end.remains));
                    Cancelled::Accepted
                }
                CancelOutcome::Already(state) => Cancelled::Already(state),
                CancelOutcome::Uncovered => Cancelled::Uncovered,
                CancelOutcome::Unknown => Cancelled::Unknown,
            };
            // One that is asked for twice has its first outcome.
            outcomes.entry(id).or_insert(outcome);
        }
        if ending.is_empty() {
            return outcomes;
        }
        let (this, (done, mut finished)) = (self.clone(), mpsc::unbounded_channel());
        // As a task: a canceller that leaves must not leave half of it behind.
        drop(self.scope.spawn(async move {
            let finish = |(id, remains)| {
                let (this, done) = (&this, &done);
                async move {
                    this.metrics.cancelled();
                    if let Some(released) = this.finish(id, remains, called).await {
                        // Nobody may be waiting any more.
                        let _ = done.send((id, released));
                    }
                }
            };
            let all = stream::iter(ending).map(finish);
            all.buffer_unordered(FINISHING_MAX).collect::<()>().await;
        }));
        while let Ok(Some((id, released))) = timeout_at(deadline, finished.recv()).await {
            outcomes.insert(id, Cancelled::Confirmed { released });
        }
        outcomes
    }

    /// Tells whoever still writes to an ended upload to stop, and why.
    fn stop(&self, id: UploadId, end: &End) {
        if let (Some(holder), Some(problem)) = (self.live.holder(&id), refuse::end(end)) {
            holder.shown.end(problem);
            holder.scope.cancel(CancelReason::Requested);
        }
    }

    /// Stops whoever still writes to an ended upload, then removes its bytes.
    ///
    /// Returns how many bytes that has freed, if it was done, and was for this call to do.
    async fn finish(&self, id: UploadId, remains: Option<Remains>, called: Instant) -> Option<u64> {
        let scope = self.scope.child("end");
        let progress = Arc::new(Progress::new());
        let admitted = self.admit(id, scope, progress, CancelReason::Requested);
        match admitted.await {
            // Held, so that no attempt opens the blob while it goes.
            Ok(_lease) => {
                self.metrics.stopped(called.elapsed());
                let released = self.release(id, remains).await?;
                self.metrics.removed(called.elapsed());
                Some(released)
            }
            // Somebody else sees to it.
            Err(Problem::UploadSuperseded) => None,
            // The sweeper comes back to it.
            Err(problem) => {
                tracing::warn!(upload = %id, ?problem, "the writer does not stop");
                None
            }
        }
    }

    /// As [`Self::finish`] for the sweeper, who waits for nobody: whoever still has the upload is told
    /// to stop, and the sweeper comes back.
    pub(super) async fn finish_free(&self, id: UploadId) {
        let scope = self.scope.child("end");
        match self.live.take_free(id, scope, Arc::new(Progress::new())) {
            Some(_lease) => drop(self.release(id, None).await),
            None => {
                if let Some(holder) = self.live.holder(&id) {
                    holder.scope.cancel(CancelReason::Requested);
                }
            }
        }
    }

    /// Removes the bytes of an ended upload, unless something else refers to them, and says so in
    /// its row. The caller holds the upload's lease, and may know already what there is to remove.
    async fn release(&self, id: UploadId, remains: Option<Remains>) -> Option<u64> {
        let released = async {
            let remains = match remains {
                Some(remains) => Some(remains),
                None => {
                    let may_release = self.store.may_release(id).await;
                    may_release.map_err(|error| refuse::store(&error))?
                }
            };
            let Some(remains) = remains else {
                return Ok(None);
            };
            self.has_settled(id);
            let destroyed = self.destroy(id, remains).await;
            let bytes = destroyed.map_err(|error| refuse::blob(&error))?;
            let parts_expire_after = self.config.expires_after;
            let released = self.store.released(id, bytes, parts_expire_after).await;
            released.map_err(|error| refuse::store(&error))?;
            self.metrics.released(bytes);
            tracing::debug!(upload = %id, bytes, "released");
            Ok::<_, Problem>(Some(bytes))
        };
        released.await.unwrap_or_else(|problem| {
            tracing::error!(upload = %id, ?problem, "removing the bytes of an ended upload");
            None
        })
    }

    /// Removes the blob of an ended upload and returns how many bytes that has freed.
    async fn destroy(&self, id: UploadId, remains: Remains) -> Result<u64, BlobError> {
        if remains.is_damaged {
            tracing::warn!(upload = %id, "what is left of a damaged upload: moved to quarantine");
            let blob = id.to_string();
            self.blobs.quarantine(id.shard(), blob).await?;
            return Ok(0);
        }
        let held = self.blobs.delete(id).await?;
        // A crash may have come between an earlier removal and the row. Then nothing is there any
        // more, and what the row promises is what was freed.
        Ok(held.max(remains.promised))
    }
}
