//! The routes of users (contract, "Processing queue").

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use tidegate_protocol::problem::Problem;

use super::Queue;
use super::ask::{self, AskCleanup, AskMany, AskOne, AskReset, STUCK_AFTER};
use super::store::{MANY_MAX, NotEnqueued};
use super::view::{self, BatchView, HealthView, ImageView, ItemView, StatsView, count};
use crate::auth::Caller;
use crate::http::{Page, PathParams, Request, Response, json, reject};
use crate::id::ProjectId;

/// `POST /api/queue/images/{image}`.
pub(super) async fn enqueue(queue: Arc<Queue>, mut request: Request) -> Response {
    let enqueued = async {
        let image = ask::path_id(&request.path, "image")?;
        let ask: AskOne = json::read(&request.head.headers, &mut request.body).await?;
        let order = ask.checked(&queue.config)?;
        let enqueued = queue
            .store
            .enqueue(image, request.caller.clone(), order)
            .await?;
        let item = enqueued.map_err(|why| refused(why, &queue))?;
        Ok(ItemView::of(item, &queue.crew))
    };
    let enqueued = enqueued.await;
    answer(&request, StatusCode::CREATED, enqueued.as_ref(), None)
}

/// `POST /api/queue/batch`.
pub(super) async fn enqueue_all(queue: Arc<Queue>, mut request: Request) -> Response {
    let enqueued = async {
        let ask: AskMany = json::read(&request.head.headers, &mut request.body).await?;
        let batch = ask.checked(&queue.config)?;
        let asked = batch.images.clone();
        let enqueued = queue
            .store
            .enqueue_all(batch, request.caller.clone())
            .await?;
        let enqueued = enqueued.map_err(|why| match why {
            NotEnqueued::Foreign(image) => {
                Problem::validation("imageIds", format!("has {image}, no image of the project"))
            }
            NotEnqueued::Incomplete(image) => {
                Problem::validation("imageIds", format!("has {image}, which is not complete"))
            }
            why => refused(why, &queue),
        })?;
        Ok(BatchView::of(enqueued, &asked, &queue.crew))
    };
    let enqueued = enqueued.await;
    answer(&request, StatusCode::CREATED, enqueued.as_ref(), None)
}

fn refused(why: NotEnqueued, queue: &Queue) -> Problem {
    match why {
        NotEnqueued::Denied(denied) => denied.into(),
        NotEnqueued::Foreign(_) => Problem::NotFound,
        NotEnqueued::Incomplete(_) => Problem::UploadIncomplete,
        NotEnqueued::Active => Problem::AlreadyQueued,
        NotEnqueued::TooMany => Problem::TooManyItems {
            limit: queue.config.items_max.into(),
            retry_after: 60,
        },
    }
}

/// `GET /api/queue/items/{item}`.
pub(super) async fn find(queue: Arc<Queue>, request: Request) -> Response {
    let found = async {
        let id = ask::path_id(&request.path, "item")?;
        let found = queue.store.find(&id, &request.caller).await?;
        let item = found.ok_or(Problem::NotFound)?;
        Ok(ItemView::of(item, &queue.crew))
    };
    let found = found.await;
    answer(&request, StatusCode::OK, found.as_ref(), None)
}

/// `GET /api/queue/projects/{project}/items?state=&imageId=&batchId=&page=&limit=`.
pub(super) async fn list(queue: Arc<Queue>, request: Request) -> Response {
    let listed = async {
        let page = Page::of(&request.head)?;
        let listed = ask::listed(project(&request.path)?, &page)?;
        let listed = queue.store.list(listed, &request.caller, &page).await?;
        let (items, total) = listed.ok_or(Problem::NotFound)?;
        let views = items
            .into_iter()
            .map(|item| ItemView::of(item, &queue.crew));
        Ok((views.collect::<Vec<_>>(), page, total))
    };
    match listed.await {
        Ok((views, page, total)) => reject::list(&views, &page, total),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `GET /api/queue/projects/{project}/stats`.
pub(super) async fn stats(queue: Arc<Queue>, request: Request) -> Response {
    let stats = async {
        let project = project(&request.path)?;
        let stats = queue.store.stats(&project, &request.caller).await?;
        Ok(StatsView::of(stats.ok_or(Problem::NotFound)?))
    };
    let stats = stats.await;
    answer(&request, StatusCode::OK, stats.as_ref(), None)
}

/// `GET /api/queue/stats`.
pub(super) async fn own_stats(queue: Arc<Queue>, request: Request) -> Response {
    let stats = queue.store.stats_of(&request.caller.user).await;
    let stats = stats.map(StatsView::of).map_err(Problem::from);
    answer(&request, StatusCode::OK, stats.as_ref(), None)
}

/// `GET /api/queue/health`.
pub(super) async fn health(queue: Arc<Queue>, request: Request) -> Response {
    let health = queue.store.health(STUCK_AFTER).await;
    let health = health.map(|health| HealthView::of(health, &queue.crew, &queue.config.models));
    answer(
        &request,
        StatusCode::OK,
        health.map_err(Problem::from).as_ref(),
        None,
    )
}

/// `POST /api/queue/reset-stuck`.
pub(super) async fn reset(queue: Arc<Queue>, mut request: Request) -> Response {
    let reset = async {
        let ask: AskReset = json::read(&request.head.headers, &mut request.body).await?;
        let user = whose(&request.caller);
        let reset = queue.store.reset(ask.checked()?, user).await?;
        Ok(count("resetCount", reset as u64))
    };
    let reset: Result<Value, Problem> = reset.await;
    answer(&request, StatusCode::OK, reset.as_ref(), None)
}

/// `POST /api/queue/cleanup`.
pub(super) async fn clean_up(queue: Arc<Queue>, mut request: Request) -> Response {
    let forgotten = async {
        let ask: AskCleanup = json::read(&request.head.headers, &mut request.body).await?;
        let user = whose(&request.caller);
        let after = ask.checked()?;
        let forgotten = queue.store.forget(after, user, MANY_MAX as i64).await?;
        Ok(count("deletedCount", forgotten))
    };
    let forgotten: Result<Value, Problem> = forgotten.await;
    answer(&request, StatusCode::OK, forgotten.as_ref(), None)
}

/// Whose items the caller may put right: `None` is everybody's.
fn whose(caller: &Caller) -> Option<String> {
    (!caller.is_admin()).then(|| caller.user.clone())
}

/// `GET /api/images/{image}/result`.
pub(super) async fn result(queue: Arc<Queue>, request: Request) -> Response {
    let found = async {
        let image = ask::path_id(&request.path, "image")?;
        let found = queue.store.result(&image, &request.caller).await?;
        let saved = found.flatten().ok_or(Problem::NotFound)?;
        Ok((image, saved))
    };
    let written = found.await.and_then(|(image, saved)| {
        view::result(&image, &saved).map_err(|error| {
            tracing::error!(%error, image, "a result that is no JSON");
            Problem::Internal
        })
    });
    match written {
        Ok(data) => reject::success_as_written(&data),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `GET /api/images/{image}`.
pub(super) async fn show(queue: Arc<Queue>, request: Request) -> Response {
    let shown = async {
        let image = ask::path_id(&request.path, "image")?;
        let shown = queue.store.show(&image, &request.caller).await?;
        let (image, status) = shown.ok_or(Problem::NotFound)?;
        Ok(ImageView::of(image, status))
    };
    let shown = shown.await;
    answer(&request, StatusCode::OK, shown.as_ref(), None)
}

/// `GET /api/projects/{project}/images?page=&limit=`.
pub(super) async fn show_all(queue: Arc<Queue>, request: Request) -> Response {
    let shown = async {
        let page = Page::of(&request.head)?;
        let project = project(&request.path)?;
        let shown = queue
            .store
            .show_all(&project, &request.caller, &page)
            .await?;
        let (images, total) = shown.ok_or(Problem::NotFound)?;
        let views = images
            .into_iter()
            .map(|(image, status)| ImageView::of(image, status));
        Ok((views.collect::<Vec<_>>(), page, total))
    };
    match shown.await {
        Ok((views, page, total)) => reject::list(&views, &page, total),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// The project that a path names. One that cannot be is as good as one that is not there.
pub(super) fn project(path: &PathParams) -> Result<String, Problem> {
    let id = path.get("project").unwrap_or_default();
    let id: ProjectId = id.parse().map_err(|_| Problem::NotFound)?;
    Ok(id.to_string())
}

pub(super) fn answer<T: serde::Serialize>(
    request: &Request,
    status: StatusCode,
    done: Result<&T, &Problem>,
    message: Option<&str>,
) -> Response {
    match done {
        Ok(view) => reject::success(status, view, message),
        Err(problem) => turned_away(request, problem),
    }
}

pub(super) fn turned_away(request: &Request, problem: &Problem) -> Response {
    reject::problem(&request.head.method, request.head.uri.path(), problem)
}
