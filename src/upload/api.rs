//! Uploads as JSON (contract, "Uploads"). Looking never disturbs a running append.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::problem::Problem;

use super::store::{Filter, Seen, State, Upload};
use super::{Uploads, refuse};
use crate::clock::rfc3339;
use crate::http::{Page, Request, Response, reject};
use crate::id::{InvalidId, UploadId};

/// An upload, as a client sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    id: String,
    project_id: String,
    owner_id: String,
    state: &'static str,
    offset: u64,
    length: Option<u64>,
    filename: Option<String>,
    content_type: Option<String>,
    metadata: Map<String, Value>,
    sha256: Option<String>,
    created_at: String,
    updated_at: String,
    completed_at: Option<String>,
    expires_at: Option<String>,
    /// Whether its sender has gone away, and nobody is back.
    interrupted: bool,
    /// Why it has ended: in the canceller's words, or ours.
    reason: Option<String>,
    url: String,
}

impl View {
    pub(super) fn of(upload: Upload) -> Self {
        let metadata = Metadata::from_stored(upload.metadata);
        Self {
            id: upload.id.to_string(),
            project_id: upload.project,
            owner_id: upload.owner,
            state: upload.state.as_str(),
            offset: upload.offset,
            length: upload.length,
            filename: metadata.filename(),
            content_type: metadata.filetype(),
            metadata: metadata
                .pairs()
                .map(|(key, value)| {
                    (
                        key.to_owned(),
                        String::from_utf8_lossy(&value).into_owned().into(),
                    )
                })
                .collect(),
            sha256: upload.sha256,
            created_at: rfc3339(upload.created_at),
            updated_at: rfc3339(upload.updated_at),
            completed_at: upload.completed_at.map(rfc3339),
            expires_at: upload.expires_at.map(rfc3339),
            interrupted: upload.state == State::Uploading && upload.interrupted_at.is_some(),
            reason: upload.end_reason,
            url: format!("/files/{}", upload.id),
        }
    }
}

/// `GET /api/uploads/{id}`.
pub(super) async fn find(uploads: Arc<Uploads>, request: Request) -> Response {
    let found = async {
        let id = id(request.path.get("id").unwrap_or_default(), "id")?;
        let Seen { upload, .. } = uploads.seen(id, &request.caller).await?;
        match upload.state {
            State::Deleting => Err(Problem::NotFound),
            _ => Ok(upload),
        }
    };
    match found.await {
        Ok(upload) => reject::success(StatusCode::OK, &View::of(upload), None),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// `GET /api/projects/{project}/uploads?state=&page=&limit=`.
pub(super) async fn list(uploads: Arc<Uploads>, request: Request) -> Response {
    let listed = async {
        let project = request.path.get("project").unwrap_or_default().to_owned();
        let page = Page::of(&request.head)?;
        let state = page.query("state").map(|state| {
            // One that is being deleted is no longer there for anybody.
            let known = State::parse(&state).filter(|state| *state != State::Deleting);
            known.ok_or_else(|| Problem::ValidationFailed {
                field: "state".into(),
                message: "is not a state of an upload".into(),
            })
        });
        let filter = Filter {
            project,
            state: state.transpose()?,
            page: page.number,
            limit: page.limit,
        };
        let listed = uploads
            .store
            .list(filter, request.caller.clone())
            .await
            .map_err(|error| refuse::store(&error))?;
        Ok::<_, Problem>((page, listed.ok_or(Problem::NotFound)?))
    };
    match listed.await {
        Ok((page, (rows, total))) => {
            let views: Vec<View> = rows.into_iter().map(View::of).collect();
            reject::list(&views, &page, total)
        }
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// `GET /api/projects/{project}/usage`.
pub(super) async fn usage(uploads: Arc<Uploads>, request: Request) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct View {
        project_id: String,
        used_bytes: u64,
        quota_bytes: Option<u64>,
        open_uploads: u64,
        completed_uploads: u64,
    }
    let project = request.path.get("project").unwrap_or_default().to_owned();
    let found = uploads.store.usage(project.clone(), request.caller).await;
    let found = found.map_err(|error| refuse::store(&error));
    match found.and_then(|usage| usage.ok_or(Problem::NotFound)) {
        Ok(usage) => {
            let view = View {
                project_id: project,
                used_bytes: usage.used_bytes,
                quota_bytes: usage.quota_bytes,
                open_uploads: usage.open,
                completed_uploads: usage.completed,
            };
            reject::success(StatusCode::OK, &view, None)
        }
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// The id that stands in `field`.
pub(super) fn id(text: &str, field: &'static str) -> Result<UploadId, Problem> {
    text.parse()
        .map_err(|error: InvalidId| Problem::ValidationFailed {
            field: field.into(),
            message: error.to_string().into(),
        })
}
