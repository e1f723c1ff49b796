//! One export, from its turn to its end.
//!
//! Whoever writes an archive holds the export's lease from before its row says `processing` until nothing
//! is written any more. So a row that says so while nobody has the lease was interrupted, and whoever
//! removes an archive takes the lease first.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::archive::ArchiveError;
use super::end::NotEnded;
use super::job::{Job, subject};
use super::make::{Made, Maker, NotMade};
use super::progress::Progress;
use super::{Exports, event};
use crate::cancel::{CancelReason, Lease, Scope};
use crate::db::DbError;
use crate::event::{Kind, Operation};

/// Pause before the database is asked again to keep how an export has ended.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// An export that is under way.
struct Running {
    job: Arc<Job>,
    scope: Scope,
    progress: Arc<Progress>,
    operation: Operation,
    /// Dropped when nothing is written any more.
    lease: Lease<String, Arc<Progress>>,
    /// Dropped when another may begin.
    room: OwnedSemaphorePermit,
}

impl Exports {
    /// Begins what waits, as far as there is room for it.
    pub(super) fn begin_waiting(self: &Arc<Self>) {
        let this = self.clone();
        drop(self.scope.spawn(async move {
            while let Some(running) = this.begin_next().await {
                let this = this.clone();
                let scope = running.scope.clone();
                drop(scope.spawn(async move {
                    this.run(running).await;
                    this.begin_waiting();
                }));
            }
        }));
    }

    async fn begin_next(&self) -> Option<Running> {
        if self.scope.reason().is_some() {
            return None;
        }
        let room = self.room.clone().try_acquire_owned().ok()?;
        self.begin(room).await.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn Error, "beginning an export");
            None
        })
    }

    async fn begin(&self, room: OwnedSemaphorePermit) -> Result<Option<Running>, DbError> {
        // Others may be at as many of them as can be under way.
        for id in self.store.next(self.config.running_max + 1).await? {
            let (scope, progress) = (self.scope.child("export"), Arc::new(Progress::default()));
            let lease = self
                .live
                .take_free(id.clone(), scope.clone(), progress.clone());
            let Some(lease) = lease else { continue };
            // Before the export is: its end might be told in between.
            let operation = self.operations.begin(subject(&id));
            if let Some(job) = self.store.begin(&id).await? {
                return Ok(Some(Running {
                    job: Arc::new(job),
                    scope,
                    progress,
                    operation,
                    lease,
                    room,
                }));
            }
        }
        Ok(None)
    }

    /// Makes the archive, and keeps what became of it.
    async fn run(self: &Arc<Self>, running: Running) {
        let Running {
            job,
            scope,
            progress,
            operation,
            lease,
            room,
        } = running;
        tracing::info!(export = job.id, attempt = job.attempt, "exporting");
        self.show(&operation, &job, &scope, &progress);
        let made = match Maker::begin(self, job.clone(), scope, progress).await {
            Ok(maker) => maker.make().await,
            Err(why) => Err(why),
        };
        drop(operation);
        match made {
            Ok(made) => self.keep(&job, &made).await,
            Err(NotMade::Archive(ArchiveError::Stopped(reason))) => {
                tracing::info!(export = job.id, %reason, "stopped");
                // In all other cases whoever has stopped it sees to the rest.
                if reason == CancelReason::Shutdown {
                    self.put_back(&job).await;
                }
            }
            Err(why) => self.give_up(&job, &why).await,
        }
        drop((lease, room));
    }

    fn show(&self, operation: &Operation, job: &Arc<Job>, scope: &Scope, progress: &Arc<Progress>) {
        let feed = event::feed(&job.project);
        let (job, scope, progress) = (job.clone(), scope.clone(), progress.clone());
        let mut last = None;
        operation.show(feed, Kind::ExportProgress, move || {
            // What is stopped comes no further.
            let seen = scope.reason().is_none().then(|| progress.seen())?;
            let is_news = last.as_ref() != Some(&seen);
            let told = is_news.then(|| event::progress(&job, &seen));
            last = Some(seen);
            told
        });
    }

    async fn keep(&self, job: &Job, made: &Made) {
        let keep = self.config.archive_keep;
        loop {
            let completed = self.store.complete(job, made.bytes, &made.warnings, keep);
            match completed.await {
                Ok(completed) => return self.told(completed),
                Err(error) if self.again_after(&error).await => {}
                Err(_) => return,
            }
        }
    }

    /// Removes what there is, and says why there is no more; or tries again after what passes.
    async fn give_up(&self, job: &Job, why: &NotMade) {
        tracing::error!(export = job.id, error = why as &dyn Error, "exporting");
        if why.is_passing() && !self.again_after(why).await {
            return;
        }
        let words = match why.is_for_space() {
            true => "No space is left on the server.",
            false => "The server could not make the archive.",
        };
        loop {
            let failed = async {
                self.remove(&job.id).await?;
                Ok::<_, NotEnded>(match why.is_passing() {
                    true => self.store.begin_again(job).await?,
                    false => self.store.fail(job, words).await?,
                })
            };
            match failed.await {
                Ok(failed) => return self.told(failed),
                Err(error) if self.again_after(&error).await => {}
                Err(_) => return,
            }
        }
    }

    /// Leaves the next server nothing but to begin it. If that fails, it does what it does after a crash.
    async fn put_back(&self, job: &Job) {
        let put_back = async {
            self.remove(&job.id).await?;
            Ok::<_, NotEnded>(self.store.put_back(job).await?)
        };
        if let Err(error) = put_back.await {
            tracing::warn!(
                export = job.id,
                error = &error as &dyn Error,
                "putting back"
            );
        }
    }

    /// `None`: the export was cancelled before, and whoever has done that sees to the rest.
    fn told(&self, ended: Option<Job>) {
        if let Some(job) = ended {
            self.metrics.ended(&job);
            let state = job.state.as_str();
            tracing::info!(export = job.id, state, bytes = job.bytes, "ended");
        }
    }

    /// Waits until it may be tried again to keep how an export has ended. False: the server stops, and
    /// its next start sees to it.
    async fn again_after(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        tracing::error!(
            error = error as &dyn Error,
            "keeping how an export has ended"
        );
        tokio::select! {
            // Both may be dropped: neither has done anything yet.
            _ = self.scope.cancelled() => false,
            () = sleep(AGAIN_AFTER) => true,
        }
    }
}
