//! Downloads: any range of a whole archive, as often as wanted, by whoever may see the project or has been
//! lent that right.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_DISPOSITION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tidegate_protocol::field::disposition;
use tidegate_protocol::problem::Problem;

use super::api::{Twice, now, turned_away};
use super::end::blob;
use super::job::{Job, State};
use super::{Exports, names};
use crate::clock::rfc3339;
use crate::http::{Operation, Representation, Request, Response};

/// How long a right to download is lent. A download that has begun goes on.
const LENT_FOR: Duration = Duration::from_secs(600);

const MEDIA_TYPE: &str = "application/zip";

/// The right to download, as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    expires_at: String,
}

/// `POST /api/projects/{project}/export/{id}/download-token`.
pub(super) async fn token(exports: Arc<Exports>, request: Request) -> Response {
    let issued = async {
        let job = exports.find(&request.path, &request.caller).await?;
        // He may not have the role any more when the token is used.
        let lender = request.caller.without_role();
        match exports.find(&request.path, &lender).await {
            Err(Problem::NotFound) => return Err(Problem::Forbidden),
            seen => drop(seen?),
        }
        is_there(&job)?;
        let capabilities = exports.auth.capabilities();
        let word = Operation::Archive.word();
        let (token, until) = capabilities.issue(&lender, word, &job.id, LENT_FOR);
        let expires_at = rfc3339(i64::try_from(until).unwrap_or(i64::MAX));
        Ok(Token { token, expires_at })
    };
    match issued.await {
        Ok(token) => Twice::answer(StatusCode::OK, &token),
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `GET /api/projects/{project}/export/{id}/download`.
pub(super) async fn serve(exports: Arc<Exports>, request: Request) -> Response {
    let served = async {
        let job = exports.find(&request.path, &request.caller).await?;
        is_there(&job)?;
        exports.is_whole(&job).await?;
        representation(&exports, &job, &request.head)
    };
    served
        .await
        .unwrap_or_else(|problem| turned_away(&request, &problem))
}

/// Fails unless there is an archive.
fn is_there(job: &Job) -> Result<(), Problem> {
    match job.state {
        State::Completed if job.is_kept(now()) => Ok(()),
        State::Completed => Err(Problem::ExportExpired),
        State::Queued | State::Processing => Err(Problem::ExportIncomplete),
        State::Failed => Err(Problem::ExportFailed),
        State::Cancelling | State::Cancelled => Err(Problem::ExportCancelled {
            reason: job.cancel_reason.clone(),
            at: job.cancelled_at.and_then(|at| u64::try_from(at).ok()),
        }),
    }
}

impl Exports {
    /// Fails if the archive is not as it was written: after a restore it may be gone.
    async fn is_whole(&self, job: &Job) -> Result<(), Problem> {
        let archive = blob(&job.id).map_err(|_| Problem::Internal)?;
        match self.archives.lens(vec![archive]).await.pop() {
            Some(Ok(bytes)) if bytes == job.bytes => Ok(()),
            found => {
                tracing::error!(export = job.id, ?found, "the archive is not there");
                Err(Problem::ExportExpired)
            }
        }
    }
}

/// # Errors
/// The problem to answer with.
fn representation(exports: &Exports, job: &Job, head: &Parts) -> Result<Response, Problem> {
    let (archive, archives) = (blob(&job.id), exports.archives.clone());
    let archive = archive.map_err(|_| Problem::Internal)?;
    // Without `/`, of which only the end would be left, and so short that it keeps its `.zip`.
    let name = format!("{}.zip", job.title).replace(['/', '\\'], "_");
    let name = names::clean(Some(&name), &job.id);
    let disposition = disposition::content_disposition(Some(&name), Some(MEDIA_TYPE));
    let completed_at = job.finished_at.unwrap_or(job.updated_at);
    let representation = Representation {
        length: job.bytes.unwrap_or(0),
        // An archive is written once.
        etag: format!("\"{}\"", job.id),
        modified: u64::try_from(completed_at / 1000).unwrap_or(0),
        content_type: HeaderValue::from_static(MEDIA_TYPE),
        fields: HeaderMap::from_iter([(CONTENT_DISPOSITION, disposition)]),
    };
    representation.answer(head, move |range| {
        let read = archives.read(archive, range);
        async move { read.await.map_err(io::Error::other) }
    })
}
