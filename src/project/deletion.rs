//! The end of a project: out of sight first, then emptied, then gone.
//!
//! A deletion begins with one durable, irrevocable transaction. What follows can be cut short by a
//! crash or a failure at any point: the row says what is left to do, and [`Deletions`] does it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;
use tokio::time::{sleep, timeout};

use super::Projects;
use crate::auth::Caller;
use crate::cancel::Task;
use crate::db::DbError;
use crate::id::ProjectId;
use crate::work::{Next, Worker};

/// How long whoever deletes a project waits for its end.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// Projects that are emptied at the same time.
const CLEARING_MAX: usize = 64;

/// Projects that the worker looks at in one step.
const BATCH: u32 = 100;

/// Pause before what is left in a project is removed, and after the first failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Pause after many failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Steps of the worker, a second apart, between two looks for shares to forget.
const STEPS_PER_FORGETTING: u32 = 60;

/// What is in projects, and belongs to other modules.
pub trait Contents: Send + Sync + 'static {
    /// Cancels what is active in a project and removes what is there, as much as can be done in a
    /// few seconds. Nothing is added meanwhile. Called again until nothing is left, at the same time
    /// never.
    ///
    /// # Errors
    /// What kept it from that. It is called again, after a pause that grows.
    fn clear(&self, project: String) -> BoxFuture<'static, Result<Cleared, Problem>>;
}

/// How far [`Contents::clear`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Nothing is left.
    All,
    /// Something is left: there was too much of it, or it takes time to end.
    Remaining,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// Nothing of the project is left.
    Gone,
    /// It is irrevocable and out of sight; the rest follows.
    Begun,
}

impl Projects {
    /// Deletes a project and waits for its end, but not for long.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub(super) async fn delete(
        self: &Arc<Self>,
        id: ProjectId,
        caller: Caller,
    ) -> Result<Deleted, Problem> {
        let begun = self.store.begin_deletion(id.clone(), caller).await;
        begun??;
        tracing::info!(project = %id, "deleting");
        let finished = match self.finish(id.as_str()) {
            Some(finishing) => timeout(CONFIRM_WITHIN, finishing).await,
            // The worker comes to it.
            None => return Ok(Deleted::Begun),
        };
        Ok(match finished {
            Ok(Ok(deleted)) => deleted,
            Ok(Err(_)) | Err(_) => Deleted::Begun,
        })
    }

    /// Goes on with a deletion in a task of its own, unless somebody does so already or too many are
    /// under way.
    pub(super) fn finish(self: &Arc<Self>, project: &str) -> Option<Task<Deleted>> {
        if self.clearing.len() >= CLEARING_MAX || self.scope.reason().is_some() {
            return None;
        }
        let scope = self.scope.child("deletion");
        let project = project.to_owned();
        let lease = self
            .clearing
            .take_free(project.clone(), scope.clone(), ())?;
        let this = self.clone();
        Some(scope.spawn(async move {
            let _lease = lease;
            this.clear(&project).await
        }))
    }

    /// Removes everything in a project, and then the project, however long it takes; or until the
    /// server stops.
    async fn clear(&self, project: &str) -> Deleted {
        let mut failures = 0;
        loop {
            let pause = match self.clear_once(project).await {
                Ok(Cleared::All) => return Deleted::Gone,
                Ok(Cleared::Remaining) => {
                    failures = 0;
                    PAUSE
                }
                Err(problem) => {
                    tracing::error!(project, ?problem, "deleting a project");
                    failures += 1;
                    (PAUSE * 2_u32.saturating_pow(failures)).min(PAUSE_MAX)
                }
            };
            tokio::select! {
                // Both may be dropped: neither has done anything yet.
                _ = self.scope.cancelled() => return Deleted::Begun,
                () = sleep(pause) => {}
            }
        }
    }

    /// The caller holds the lease of the project: nobody else removes it.
    async fn clear_once(&self, project: &str) -> Result<Cleared, Problem> {
        // Somebody may have come to its end before the lease was taken, and a default project of the
        // same name may live now.
        let is_going = self.store.is_going(project).await;
        if !is_going? {
            return Ok(Cleared::All);
        }
        let cleared = self.contents.clear(project.to_owned()).await?;
        if cleared == Cleared::All {
            let removed = self.store.remove(project).await;
            removed?;
            tracing::info!(project, "deleted");
        }
        Ok(cleared)
    }
}

/// Goes on with the deletions that a crash has left, and forgets revoked shares.
pub(super) struct Deletions {
    projects: Arc<Projects>,
    /// The last project that was looked at, by id.
    after: String,
    step: u32,
}

impl Deletions {
    pub(super) fn new(projects: &Arc<Projects>) -> Self {
        Self {
            projects: projects.clone(),
            after: String::new(),
            step: 0,
        }
    }

    async fn step(&mut self) -> Result<Next, DbError> {
        let projects = &self.projects;
        let going = projects.store.going(&self.after, BATCH).await?;
        for project in &going {
            if projects.finish(project).is_some() {
                // Perhaps nobody was told when it began.
                projects.store.tell_everybody(project);
            }
        }
        if let Some(last) = going.into_iter().next_back() {
            self.after = last;
            return Ok(Next::Now);
        }
        self.after.clear();
        if self.step.is_multiple_of(STEPS_PER_FORGETTING) {
            projects.store.forget(projects.config.revoked_keep).await?;
        }
        self.step = self.step.wrapping_add(1);
        Ok(Next::Later)
    }
}

impl Worker for Deletions {
    fn name(&self) -> &'static str {
        "deletions"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            self.step().await.unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "going on with deletions");
                Next::Later
            })
        }
        .boxed()
    }
}
