//! Shares as JSON (contract, "Callers, projects, access").

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use tidegate_protocol::problem::Problem;

use super::ask::Invitation;
use super::row::Share;
use super::store::{Invited, NotShared};
use super::{Projects, api};
use crate::clock::rfc3339;
use crate::http::{Page, PathParams, Request, Response, json, reject};
use crate::id::{InvalidId, ShareId};

/// A share, as its project's owner and whom it concerns see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: String,
    project_id: String,
    /// Only in the list of the caller's own: who is invited cannot see the project yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_title: Option<String>,
    user_id: Option<String>,
    email: Option<String>,
    status: &'static str,
    created_at: String,
    updated_at: String,
}

impl View {
    fn of(share: Share, project_title: Option<String>) -> Self {
        Self {
            id: share.id,
            project_id: share.project,
            project_title,
            user_id: share.user,
            email: share.email,
            status: share.status.as_str(),
            created_at: rfc3339(share.created_at),
            updated_at: rfc3339(share.updated_at),
        }
    }
}

/// `POST /api/projects/{project}/shares`.
pub(super) async fn create(projects: Arc<Projects>, mut request: Request) -> Response {
    let invited = async {
        let id = api::id(&request.path)?;
        let invitation: Invitation = json::read(&request.head.headers, &mut request.body).await?;
        let (with, field) = invitation.checked()?;
        let invited = projects.store.share(id, request.caller.clone(), with).await;
        let invited = invited?;
        invited.map_err(|error| not_shared(error, field))
    };
    let (status, invited) = match invited.await {
        Ok(Invited::Now(share)) => (StatusCode::CREATED, Ok(share)),
        Ok(Invited::Before(share)) => (StatusCode::OK, Ok(share)),
        Err(problem) => (problem.status(), Err(problem)),
    };
    answer_one(&request, status, invited)
}

/// `GET /api/projects/{project}/shares?page=&limit=`.
pub(super) async fn list(projects: Arc<Projects>, request: Request) -> Response {
    let listed = async {
        let id = api::id(&request.path)?;
        let page = Page::of(&request.head)?;
        let listed = projects.store.shares(&id, &request.caller, &page).await;
        let listed = listed?;
        let (shares, total) = listed?;
        let views = shares.into_iter().map(|share| View::of(share, None));
        Ok((page, views.collect(), total))
    };
    let listed = listed.await;
    answer_many(&request, listed)
}

/// `GET /api/shares?page=&limit=`.
pub(super) async fn list_own(projects: Arc<Projects>, request: Request) -> Response {
    let listed = async {
        let page = Page::of(&request.head)?;
        let listed = projects.store.shares_concerning(&request.caller, &page);
        let (shares, total) = listed.await?;
        let view = |(share, title)| View::of(share, Some(title));
        Ok((page, shares.into_iter().map(view).collect(), total))
    };
    let listed = listed.await;
    answer_many(&request, listed)
}

/// `POST /api/shares/{share}/accept`.
pub(super) async fn accept(projects: Arc<Projects>, mut request: Request) -> Response {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Nothing {}
    let accepted = async {
        let id = id(&request.path)?;
        let Nothing {} = json::read(&request.head.headers, &mut request.body).await?;
        let accepted = projects.store.accept(id, request.caller.clone()).await;
        let accepted = accepted?;
        accepted.map_err(Problem::from)
    };
    let accepted = accepted.await;
    answer_one(&request, StatusCode::OK, accepted)
}

/// `DELETE /api/shares/{share}`.
pub(super) async fn revoke(projects: Arc<Projects>, request: Request) -> Response {
    let revoked = async {
        let id = id(&request.path)?;
        let revoked = projects.store.revoke(id, request.caller.clone()).await;
        let revoked = revoked?;
        revoked.map_err(Problem::from)
    };
    let revoked = revoked.await;
    answer_one(&request, StatusCode::OK, revoked)
}

fn id(path: &PathParams) -> Result<ShareId, Problem> {
    let id = path.get("share").unwrap_or_default();
    id.parse()
        .map_err(|error: InvalidId| Problem::validation("id", error.to_string()))
}

fn answer_one(request: &Request, status: StatusCode, share: Result<Share, Problem>) -> Response {
    match share {
        Ok(share) => reject::success(status, &View::of(share, None), None),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

fn answer_many(request: &Request, listed: Result<(Page, Vec<View>, u64), Problem>) -> Response {
    match listed {
        Ok((page, views, total)) => reject::list(&views, &page, total),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// `field` is the one that names with whom.
fn not_shared(error: NotShared, field: &'static str) -> Problem {
    match error {
        NotShared::Denied(denied) => denied.into(),
        NotShared::WithOwner => Problem::validation(field, "is the project's owner"),
        NotShared::WithOneself => Problem::validation(field, "is the caller"),
        NotShared::TooMany => Problem::validation(
            field,
            "would be one too many: a project has 1000 shares that are not revoked at most",
        ),
    }
}
