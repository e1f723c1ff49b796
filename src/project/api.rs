//! Projects as JSON (contract, "Callers, projects, access").

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use tidegate_protocol::problem::Problem;

use super::Projects;
use super::ask::{Changed, New};
use super::deletion::Deleted;
use super::row::Project;
use super::store::Which;
use crate::auth::Caller;
use crate::clock::rfc3339;
use crate::http::{Page, PathParams, Request, Response, json, reject};
use crate::id::ProjectId;

/// A project, as one who may see it sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: String,
    title: String,
    description: Option<String>,
    owner_id: String,
    /// What the caller is there.
    role: &'static str,
    created_at: String,
    updated_at: String,
}

impl View {
    fn of(project: Project, caller: &Caller) -> Self {
        let role = match (project.owner == caller.user, caller.is_admin()) {
            (true, _) => "owner",
            (false, true) => "admin",
            (false, false) => "member",
        };
        Self {
            id: project.id,
            title: project.title,
            description: project.description,
            owner_id: project.owner,
            role,
            created_at: rfc3339(project.created_at),
            updated_at: rfc3339(project.updated_at),
        }
    }
}

/// `POST /api/projects`.
pub(super) async fn create(projects: Arc<Projects>, mut request: Request) -> Response {
    let created = async {
        let new: New = json::read(&request.head.headers, &mut request.body).await?;
        let (title, description) = new.checked()?;
        let owner = request.caller.user.clone();
        let created = projects.store.create(owner, title, description).await;
        created.map_err(Problem::from)
    };
    let created = created.await;
    answer_one(&request, StatusCode::CREATED, created)
}

/// `GET /api/projects?all=&page=&limit=`.
pub(super) async fn list(projects: Arc<Projects>, request: Request) -> Response {
    let listed = async {
        let page = Page::of(&request.head)?;
        let which = match page.query("all").as_deref() {
            None | Some("false") => Which::VisibleTo(request.caller.user.clone()),
            Some("true") if request.caller.is_admin() => Which::All,
            Some("true") => return Err(Problem::Forbidden),
            Some(_) => return Err(Problem::validation("all", "must be `true` or `false`")),
        };
        let listed = projects.store.list(which, &page).await;
        let (rows, total) = listed?;
        Ok((page, rows, total))
    };
    match listed.await {
        Ok((page, rows, total)) => {
            let view = |project| View::of(project, &request.caller);
            let views: Vec<View> = rows.into_iter().map(view).collect();
            reject::list(&views, &page, total)
        }
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// `GET /api/projects/{project}`.
pub(super) async fn find(projects: Arc<Projects>, request: Request) -> Response {
    let found = async {
        let id = id(&request.path)?;
        let found = projects.store.find(&id, &request.caller).await;
        found?.map_err(Problem::from)
    };
    let found = found.await;
    answer_one(&request, StatusCode::OK, found)
}

/// `PUT /api/projects/{project}`.
pub(super) async fn update(projects: Arc<Projects>, mut request: Request) -> Response {
    let updated = async {
        let id = id(&request.path)?;
        let changed: Changed = json::read(&request.head.headers, &mut request.body).await?;
        let edit = changed.checked()?;
        let updated = projects
            .store
            .update(id, request.caller.clone(), edit)
            .await;
        updated?.map_err(Problem::from)
    };
    let updated = updated.await;
    answer_one(&request, StatusCode::OK, updated)
}

/// `DELETE /api/projects/{project}`.
pub(super) async fn delete(projects: Arc<Projects>, request: Request) -> Response {
    #[derive(Serialize)]
    struct Deletion {
        id: String,
        state: &'static str,
    }
    let deleted = async {
        let id = id(&request.path)?;
        let deleted = projects.delete(id.clone(), request.caller.clone()).await?;
        Ok((id, deleted))
    };
    match deleted.await {
        Ok((id, deleted)) => {
            let (state, message) = match deleted {
                Deleted::Gone => ("deleted", "The project and everything in it are gone."),
                Deleted::Begun => ("deleting", "The project is being deleted."),
            };
            let id = id.to_string();
            reject::success(StatusCode::OK, &Deletion { id, state }, Some(message))
        }
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// The project that a path names. One that cannot be is as good as one that is not there.
pub(super) fn id(path: &PathParams) -> Result<ProjectId, Problem> {
    let id = path.get("project").unwrap_or_default();
    id.parse().map_err(|_| Problem::NotFound)
}

fn answer_one(request: &Request, status: StatusCode, found: Result<Project, Problem>) -> Response {
    match found {
        Ok(project) => reject::success(status, &View::of(project, &request.caller), None),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}
