//! The routes of users (contract, "Export").

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use tidegate_protocol::problem::Problem;

use super::Exports;
use super::ask::{self, AskCancel, AskStart};
use super::job::Job;
use super::store::NotStarted;
use super::view::{CancelView, JobView};
use crate::auth::Caller;
use crate::clock;
use crate::http::{Page, PathParams, Request, Response, json, reject};

/// The longest that a client is asked to wait before it starts another export, in seconds.
const RETRY_AFTER: u64 = 5;

/// The answer to a start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    success: bool,
    job_id: String,
    message: &'static str,
}

/// `POST /api/projects/{project}/export`.
pub(super) async fn start(exports: Arc<Exports>, mut request: Request) -> Response {
    let started = async {
        let project = ask::project(&request.path)?;
        let asked: AskStart = json::read(&request.head.headers, &mut request.body).await?;
        let order = asked.checked(project)?;
        let images_max = exports.config.images_max;
        let started = exports
            .store
            .start(order, request.caller.clone(), images_max)
            .await?;
        started.map_err(|why| refused(why, images_max))
    };
    match started.await {
        Ok(job) => {
            exports.begin_waiting();
            let started = Started {
                success: true,
                job_id: job.id,
                message: "The export waits for its turn.",
            };
            reject::json(StatusCode::OK, &started)
        }
        Err(problem) => turned_away(&request, &problem),
    }
}

fn refused(why: NotStarted, images_max: u32) -> Problem {
    const SELECTED: &str = "options.selectedImageIds";
    match why {
        NotStarted::Denied(denied) => denied.into(),
        NotStarted::Foreign(image) => {
            Problem::validation(SELECTED, format!("has {image}, no image of the project"))
        }
        NotStarted::Incomplete(image) => {
            Problem::validation(SELECTED, format!("has {image}, which is not complete"))
        }
        NotStarted::TooMany => Problem::validation(
            SELECTED,
            format!("must name some of the images: one export has {images_max} at most"),
        ),
        NotStarted::Running(job) => Problem::ExportRunning {
            job,
            retry_after: RETRY_AFTER,
        },
    }
}

/// `GET /api/projects/{project}/export/{id}/status`.
pub(super) async fn status(exports: Arc<Exports>, request: Request) -> Response {
    let shown = async {
        let (_, id) = ask::path(&request.path)?;
        // Before the row: else one that ends in between looks as if it were beginning again.
        let running = exports.live.holder(&id).map(|holder| holder.shown);
        let job = exports.find(&request.path, &request.caller).await?;
        Ok(JobView::of(job, running.as_deref(), now()))
    };
    match shown.await {
        Ok(view) => Twice::answer(StatusCode::OK, &view),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `GET /api/projects/{project}/export/history?page=&limit=`.
pub(super) async fn history(exports: Arc<Exports>, request: Request) -> Response {
    let listed = async {
        let page = Page::of(&request.head)?;
        let project = ask::project(&request.path)?;
        // As for one: before the rows.
        let running: HashMap<_, _> = exports.live.holders().into_iter().collect();
        let listed = exports.store.list(&project, &request.caller, &page).await?;
        let (jobs, total) = listed.ok_or(Problem::NotFound)?;
        let views = jobs.into_iter().map(|job| {
            let running = running.get(&job.id).map(|holder| holder.shown.clone());
            JobView::of(job, running.as_deref(), now())
        });
        let views: Vec<_> = views.collect();
        Ok((views, page, total))
    };
    match listed.await {
        Ok((views, page, total)) => reject::list(&views, &page, total),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `POST /api/projects/{project}/export/{id}/cancel`.
pub(super) async fn cancel(exports: Arc<Exports>, mut request: Request) -> Response {
    let cancelled = async {
        let (project, id) = ask::path(&request.path)?;
        let ask: AskCancel = json::read(&request.head.headers, &mut request.body).await?;
        let caller = request.caller.clone();
        exports.cancel(id, Some(project), caller, ask.reason).await
    };
    match cancelled.await {
        Ok(view) => reject::success(StatusCode::OK, &view, Some(CancelView::message(&view))),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// An answer whose members stand beside `data`, too: the application of a laboratory reads them there.
#[derive(Serialize)]
pub(super) struct Twice<'a, T> {
    success: bool,
    data: &'a T,
    #[serde(flatten)]
    beside: &'a T,
}

impl<'a, T: Serialize> Twice<'a, T> {
    pub(super) fn answer(status: StatusCode, data: &'a T) -> Response {
        let twice = Self {
            success: true,
            data,
            beside: data,
        };
        reject::json(status, &twice)
    }
}

impl Exports {
    /// The export that a path names, if the caller may see it.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) async fn find(&self, path: &PathParams, caller: &Caller) -> Result<Job, Problem> {
        let (project, id) = ask::path(path)?;
        let found = self.store.find(&id, &project, caller).await?;
        found.ok_or(Problem::NotFound)
    }
}

/// In milliseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX)
}

pub(super) fn turned_away(request: &Request, problem: &Problem) -> Response {
    reject::problem(&request.head.method, request.head.uri.path(), problem)
}
