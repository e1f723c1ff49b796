//! Cancel calls (contract, "Cancel").
//!
//! None of them waits for a worker: an item that is processed is `cancelling` when the answer goes out,
//! and its image free again.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use tidegate_protocol::problem::Problem;

use super::Queue;
use super::api::{answer, project};
use super::ask::{self, AskCancel, AskCancelAll};
use super::store::{MANY_MAX, Which};
use super::view::{CancelView, CancelsView};
use crate::auth::Caller;
use crate::http::{Request, Response, json, reason};

/// Cancels items for whoever serves such a call in another way than this module. Clones share it.
#[derive(Clone)]
pub struct Cancels(pub(super) Arc<Queue>);

/// `DELETE /api/queue/items/{item}`, `POST /api/queue/items/{item}/cancel`.
pub(super) async fn one(queue: Arc<Queue>, mut request: Request) -> Response {
    let cancelled = async {
        let ask: AskCancel = json::read(&request.head.headers, &mut request.body).await?;
        let id = request.path.get("item").unwrap_or_default();
        queue.cancel(&request.caller, id, ask.reason).await
    };
    let cancelled = cancelled.await;
    let message = cancelled.as_ref().map(CancelView::message).ok();
    answer(&request, StatusCode::OK, cancelled.as_ref(), message)
}

/// `POST /api/queue/batches/{batch}/cancel`.
pub(super) async fn batch(queue: Arc<Queue>, mut request: Request) -> Response {
    let ask = async {
        let batch = ask::path_id(&request.path, "batch")?;
        let ask: AskCancel = json::read(&request.head.headers, &mut request.body).await?;
        Ok((Which::Batch(batch), ask.reason))
    };
    let ask = ask.await;
    let done = many(&queue, request.caller.clone(), ask).await;
    answer_many(&request, &done)
}

/// `POST /api/queue/projects/{project}/cancel`.
pub(super) async fn of_project(queue: Arc<Queue>, mut request: Request) -> Response {
    let ask = async {
        let project = project(&request.path)?;
        let ask: AskCancelAll = json::read(&request.head.headers, &mut request.body).await?;
        let which = Which::Project {
            project,
            all: ask.all,
        };
        Ok((which, ask.reason))
    };
    let ask = ask.await;
    let done = many(&queue, request.caller.clone(), ask).await;
    answer_many(&request, &done)
}

/// `POST /api/queue/cancel-all-user`.
pub(super) async fn own(queue: Arc<Queue>, mut request: Request) -> Response {
    let ask: Result<AskCancel, _> = json::read(&request.head.headers, &mut request.body).await;
    let ask = ask.map(|ask| (Which::Own, ask.reason));
    let done = many(&queue, request.caller.clone(), ask).await;
    answer_many(&request, &done)
}

async fn many(
    queue: &Queue,
    caller: Caller,
    ask: Result<(Which, Option<String>), Problem>,
) -> Result<CancelsView, Problem> {
    let (which, why) = ask?;
    let why = reason::checked(why)?;
    // No batch has more than one call takes.
    let is_open = !matches!(which, Which::Batch(_));
    let cancelled = queue.store.cancel_many(which, caller, why).await??;
    let more = is_open && cancelled.changed.len() >= MANY_MAX;
    Ok(CancelsView::of(cancelled, more))
}

fn answer_many(request: &Request, done: &Result<CancelsView, Problem>) -> Response {
    let message = done.as_ref().map(CancelsView::message).ok();
    answer(request, StatusCode::OK, done.as_ref(), message.as_deref())
}

impl Queue {
    async fn cancel(
        &self,
        caller: &Caller,
        id: &str,
        why: Option<String>,
    ) -> Result<CancelView, Problem> {
        let why = reason::checked(why)?;
        let id = ask::uuid(id, "id")?;
        let (item, is_changed) = self.store.cancel(id, caller.clone(), why).await??;
        Ok(CancelView::of(&item, is_changed))
    }
}

impl Cancels {
    /// What a call of `POST /api/queue/items/{item}/cancel` does, and the `data` of its answer.
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
        self.0.cancel(caller, id, reason).await
    }

    /// Ends some of what is left in a project that is going. True: nothing of it is left.
    ///
    /// # Errors
    /// The database failed.
    ///
    /// # Cancel safety
    /// As [`Self::cancel`].
    pub async fn clear(&self, project: String) -> Result<bool, Problem> {
        Ok(self.0.store.clear(project).await?)
    }
}

impl fmt::Debug for Cancels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancels").finish_non_exhaustive()
    }
}
