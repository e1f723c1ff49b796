//! The way out of life: first the row, for good; then stop, remove, confirm.
//!
//! A cancel begins with one durable, irrevocable statement. What follows can be cut short by a crash at
//! any point: the row says that something may be left, and [`super::sweep`] goes on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::problem::Problem;
use tokio::time::{Instant, timeout};

use super::Exports;
use super::job::{Job, State};
use super::store::Begun;
use super::view::CancelView;
use crate::auth::Caller;
use crate::blob::BlobError;
use crate::cancel::{CancelReason, Refused};
use crate::db::DbError;
use crate::http::reason;
use crate::id::UploadId;

/// How long a canceller waits for the confirmation.
const CONFIRM_WITHIN: Duration = Duration::from_millis(50);

/// How long whoever writes an archive may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the owners of exports in a project that is going are told.
const GOING: &str = "the project is deleted";

/// Cancels exports for whoever serves such a call in another way than this module. Clones share it.
#[derive(Clone)]
pub struct Cancels(pub(super) Arc<Exports>);

/// Why what is left of an export could not be removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEnded {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl Exports {
    /// Cancels an export of `project`, or of any.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        id: String,
        project: Option<String>,
        caller: Caller,
        why: Option<String>,
    ) -> Result<CancelView, Problem> {
        let called = Instant::now();
        let why = reason::checked(why)?;
        let this = self.clone();
        // As a task: a canceller that leaves must not leave half of it behind.
        let begun = self.scope.spawn(async move {
            let begun = this.store.cancel(id, project, caller, why).await??;
            let Begun::Now(job) = &begun else {
                return Ok((begun, None));
            };
            let (finishing, job) = (this.clone(), job.clone());
            let finished = this.scope.clone().spawn(async move {
                let finished = finishing.finish(&job).await;
                if finished.is_some() {
                    finishing.metrics.removed(called.elapsed());
                }
                finished
            });
            Ok::<_, Problem>((begun, Some(finished)))
        });
        let (begun, finished) = begun.await.map_err(|_panicked| Problem::Internal)??;
        let job = match begun {
            Begun::Before(job) => return Ok(CancelView::of(&job, false)),
            Begun::Now(job) => job,
        };
        let finished = match finished {
            // Only waited for: the task goes on.
            Some(finished) => timeout(CONFIRM_WITHIN, finished).await,
            None => Ok(Ok(None)),
        };
        Ok(match finished {
            Ok(Ok(Some(cancelled))) => CancelView::of(&cancelled, true),
            Ok(Ok(None) | Err(_)) | Err(_) => CancelView::of(&job, true),
        })
    }

    /// Stops whoever still writes the archive of an ended export, and removes it. Returns the export, if
    /// that is done and was for this call to do.
    async fn finish(self: &Arc<Self>, job: &Job) -> Option<Job> {
        let (id, scope) = (job.id.clone(), self.scope.child("end"));
        let reason = CancelReason::Requested;
        let admitted = self
            .live
            .take_over(id, scope, Arc::default(), reason, STOP_WITHIN);
        match admitted.await {
            // Held, so that nobody opens the archive while it goes.
            Ok(_lease) => self.release(job).await,
            // Somebody else sees to it.
            Err(Refused::Superseded | Refused::Closed) => None,
            Err(Refused::Overdue) => {
                tracing::warn!(export = job.id, "the writer does not stop");
                None
            }
        }
    }

    /// As [`Self::finish`] for the sweeper, who waits for nobody, and has found this row a while ago.
    pub(super) async fn finish_free(self: &Arc<Self>, job: &Job) {
        let (id, scope) = (job.id.clone(), self.scope.child("end"));
        match self.live.take_free(id, scope, Arc::default()) {
            // While it is held nothing comes to its end, but until then it may have.
            Some(_lease) => match self.store.still_remains(&job.id).await {
                Ok(Some(job)) => drop(self.release(&job).await),
                Ok(None) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(export = job.id, error, "looking at an export");
                }
            },
            None if job.state == State::Cancelling => {
                if let Some(holder) = self.live.holder(&job.id) {
                    holder.scope.cancel(CancelReason::Requested);
                }
            }
            // It is under way.
            None => {}
        }
    }

    /// Removes what there is of an archive, and says so in the row. The caller holds the lease, and
    /// knows that this is how the row is.
    async fn release(&self, job: &Job) -> Option<Job> {
        let released = async {
            let bytes = self.remove(&job.id).await?;
            let changed = match job.state {
                State::Cancelling => self.store.cancelled(&job.id, bytes).await?,
                State::Processing => self.store.begin_again(job).await?,
                State::Completed => {
                    self.store.released(&job.id, bytes).await?;
                    tracing::info!(export = job.id, bytes, "the archive has expired");
                    None
                }
                // Nothing of them is left.
                State::Queued | State::Failed | State::Cancelled => None,
            };
            if let Some(job) = &changed {
                self.metrics.ended(job);
                tracing::info!(
                    export = job.id,
                    state = job.state.as_str(),
                    bytes,
                    "removed"
                );
            }
            Ok::<_, NotEnded>(changed)
        };
        released.await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(export = job.id, error, "removing what is left of an export");
            None
        })
    }

    /// Removes what there is of an archive. Returns how many bytes that has freed.
    pub(super) async fn remove(&self, id: &str) -> Result<u64, NotEnded> {
        Ok(self.archives.delete(blob(id)?).await?)
    }
}

/// The name of an archive in the store.
pub(super) fn blob(id: &str) -> Result<UploadId, BlobError> {
    id.parse()
        .map_err(|_| BlobError::Io(io::Error::other("no export has such an id")))
}

impl Cancels {
    /// What a call of `POST /api/projects/{project}/export/{id}/cancel` does, and the `data` of its answer.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: &str,
        reason: Option<String>,
    ) -> Result<CancelView, Problem> {
        let id = super::ask::uuid(id)?;
        self.0.cancel(id, None, caller.clone(), reason).await
    }

    /// Ends some of what is left in a project that is going, and removes its archives. True: nothing of
    /// it is left, not a byte.
    ///
    /// # Errors
    /// The database failed.
    ///
    /// # Cancel safety
    /// What was begun is gone on with by the next call.
    pub async fn clear(&self, project: String) -> Result<bool, Problem> {
        for job in self.0.store.end_project(&project, GOING).await? {
            self.0.finish_free(&job).await;
        }
        Ok(self.0.store.clear(&project).await?)
    }
}

impl fmt::Debug for Cancels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancels").finish_non_exhaustive()
    }
}
