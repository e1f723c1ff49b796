//! From a request to an answer: decode, dispatch, encode.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::dialect::{
    CORS_METHODS, CORS_REQUEST_FIELDS, CORS_RESPONSE_FIELDS, Dialect, Target,
};
use tidegate_protocol::field::concat::{Final, PartFault, part_id};
use tidegate_protocol::field::length::Length;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Create, NewContent, Request};
use tidegate_protocol::response::{Resource, Response};

use super::progress::Progress;
use super::receive::{self, Received};
use super::store::{Kind, NewFinal, NewUpload, State, Upload};
use super::{DEFAULT_PROJECT, Uploads, content, refuse};
use crate::cancel::CancelReason;
use crate::http::{self as transport, OutBody, Shared, reject};
use crate::id::UploadId;

/// A PATCH that has been silent for this long is taken over by a HEAD, so that the offset it
/// answers is final.
const SILENT: Duration = Duration::from_secs(1);

/// Where uploads live.
const BASE_PATH: &str = "/files";

const SHARED: Shared = Shared {
    methods: CORS_METHODS,
    request_fields: CORS_REQUEST_FIELDS,
    response_fields: CORS_RESPONSE_FIELDS,
};

/// What is sent: an answer in the dialect's words, or content.
enum Answer {
    Protocol(Response),
    Content(transport::Response),
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::Protocol(Response::Refused { problem, resource: None })
    }
}

/// Serves a request at a URL of uploads.
pub(super) async fn serve(
    uploads: Arc<Uploads>,
    target: Target,
    request: transport::Request,
) -> transport::Response {
    let dialect = Dialect::detect(&request.head);
    let settings = uploads.config.settings;
    let method = request.head.method.clone();
    let fields = request.head.headers.clone();
    let path = request.head.uri.path().to_owned();
    let length = request.body.size_hint_exact();
    let answer = match dialect.decode(&request.head, target, length, &settings) {
        Ok(asked) => dispatch(&uploads, target, asked, request).await,
        Err(problem) => problem.into(),
    };
    let mut response = match answer {
        Answer::Content(response) => response,
        Answer::Protocol(answer) => {
            let mut response = match &answer {
                Response::Refused { problem, .. } => reject::problem(&method, &path, problem),
                _ => transport::Response::new(OutBody::empty()),
            };
            *response.status_mut() = dialect.status(&answer);
            response.headers_mut().extend(dialect.fields(&answer, &settings));
            response
        }
    };
    uploads.config.cors.apply(&method, &fields, response.headers_mut(), SHARED);
    response
}

async fn dispatch(
    uploads: &Arc<Uploads>,
    target: Target,
    asked: Request,
    request: transport::Request,
) -> Answer {
    if asked == Request::Discover {
        return Answer::Protocol(Response::Discovered);
    }
    if target == Target::Creation {
        if request.path.get("project").is_some_and(|project| project != DEFAULT_PROJECT) {
            return Problem::NotFound.into();
        }
        return match asked {
            Request::Create(create) => creating(uploads, create, request).await,
            // Decoding at this target gives nothing else.
            _ => Problem::NotFound.into(),
        };
    }
    let Some(id) = request.path.get("id").and_then(|id| id.parse::<UploadId>().ok()) else {
        return Problem::NotFound.into();
    };
    match asked {
        Request::Retrieve => retrieve(uploads, id).await,
        Request::Append(append) => {
            appended(receive::append(uploads, id, append, request.body).await)
        }
        Request::Cancel => match uploads.cancel(id).await {
            Ok(()) => Answer::Protocol(Response::Cancelled),
            Err(problem) => problem.into(),
        },
        Request::Read => match content::read(uploads, id, &request.head).await {
            Ok(response) => Answer::Content(response),
            Err(problem) => problem.into(),
        },
        Request::Discover | Request::Create(_) => Problem::NotFound.into(),
    }
}

async fn creating(uploads: &Arc<Uploads>, create: Create, request: transport::Request) -> Answer {
    if !uploads.store.has_room() {
        return Problem::StorageFull.into();
    }
    let id = UploadId::random();
    let origin = uploads.config.origin.of(&request.head);
    let location = format!("{origin}{BASE_PATH}/{id}");
    let metadata = create.metadata.raw().to_owned();
    let made = match create.content {
        NewContent::Appended { length, partial } => {
            let owner = request.caller.user.clone();
            make(uploads, NewKind { id, owner, length, partial, metadata }).await
        }
        NewContent::Concatenated(parts) => {
            match new_final(uploads, id, &parts, metadata, &request) {
                Ok(new) => concatenate(uploads, new).await,
                Err(problem) => Err(problem),
            }
        }
    };
    let upload = match made {
        Ok(upload) => upload,
        Err(problem) => return problem.into(),
    };
    uploads.metrics.created();
    match create.append {
        None => Answer::Protocol(Response::Created {
            location,
            resource: resource(&upload),
            appended: false,
        }),
        Some(append) => {
            let received = receive::append(uploads, id, append, request.body).await;
            created_with(uploads, location, received, id).await
        }
    }
}

async fn created_with(
    uploads: &Arc<Uploads>,
    location: String,
    received: Received,
    id: UploadId,
) -> Answer {
    match (received.problem, received.upload) {
        (None, Some(upload)) => Answer::Protocol(Response::Created {
            location,
            resource: resource(&upload),
            appended: true,
        }),
        // The client has no address for it: nothing may stay behind (row T76).
        (Some(Problem::ChecksumMismatch), _) => {
            if let Err(problem) = uploads.cancel(id).await {
                tracing::warn!(upload = %id, ?problem, "removing an upload without an address");
            }
            Problem::ChecksumMismatch.into()
        }
        (problem, upload) => Answer::Protocol(Response::Refused {
            problem: problem.unwrap_or(Problem::Internal),
            resource: upload.as_ref().map(resource),
        }),
    }
}

struct NewKind {
    id: UploadId,
    owner: String,
    length: Length,
    partial: bool,
    metadata: String,
}

async fn make(uploads: &Uploads, new: NewKind) -> Result<Upload, Problem> {
    let digests = uploads.digests();
    let new = NewUpload {
        id: new.id,
        project: String::from(DEFAULT_PROJECT),
        owner: new.owner,
        partial: new.partial,
        length: new.length.known(),
        metadata: new.metadata,
        digest: digests.save(),
        sha256_of_nothing: digests.whole_hex(),
        expires_after: uploads.config.expires_after,
    };
    uploads.store.create(new).await.map_err(|error| refuse::store(&error))
}

/// A final upload of the parts that a client names by their URLs.
fn new_final(
    uploads: &Uploads,
    id: UploadId,
    list: &Final,
    metadata: String,
    request: &transport::Request,
) -> Result<NewFinal, Problem> {
    let authorities = uploads.config.origin.authorities(&request.head);
    let authorities: Vec<&str> = authorities.iter().map(String::as_str).collect();
    let mut parts = Vec::new();
    for (part, url) in (1..).zip(list.parts()) {
        let id = part_id(url, BASE_PATH, &authorities).map_err(|fault| match fault {
            PartFault::Foreign | PartFault::NotAnUpload => Problem::InvalidPart { part },
        })?;
        parts.push(id.parse().map_err(|_| Problem::InvalidPart { part })?);
    }
    Ok(NewFinal {
        id,
        project: String::from(DEFAULT_PROJECT),
        owner: request.caller.user.clone(),
        parts,
        metadata,
        concat: list.raw().to_owned(),
        size_max: uploads.config.settings.limits.size_max,
        expires_after: uploads.config.expires_after,
    })
}

async fn concatenate(uploads: &Uploads, new: NewFinal) -> Result<Upload, Problem> {
    let size_max = new.size_max;
    let made = uploads.store.concatenate(new).await.map_err(|error| refuse::store(&error))?;
    made.map_err(|error| refuse::not_concatenated(error, size_max))
}

async fn retrieve(uploads: &Arc<Uploads>, id: UploadId) -> Answer {
    if let Some(holder) = uploads.live.holder(&id)
        && holder.shown.silent_for() >= SILENT
    {
        let scope = uploads.scope.child("retrieve");
        let progress = Arc::new(Progress::new());
        match uploads.admit(id, scope, progress, CancelReason::Superseded).await {
            Ok(lease) => drop(lease),
            // Somebody newer writes; what is committed is still true.
            Err(Problem::UploadSuperseded) => {}
            Err(problem) => return problem.into(),
        }
    }
    let upload = match uploads.settled(id).await {
        Ok(Some(upload)) => upload,
        Ok(None) => return Problem::NotFound.into(),
        Err(problem) => return problem.into(),
    };
    if let Some(problem) = refuse::ended(&upload) {
        return problem.into();
    }
    match waiting(uploads, &upload).await {
        Ok(resource) => Answer::Protocol(Response::Retrieved(resource)),
        Err(problem) => problem.into(),
    }
}

/// The resource, with the length that a waiting final upload has as soon as all its parts have
/// one (row T105).
async fn waiting(uploads: &Uploads, upload: &Upload) -> Result<Resource, Problem> {
    let mut told = resource(upload);
    if told.offset.is_none() && told.length.is_none() {
        let parts = uploads.store.parts(upload.id).await.map_err(|error| refuse::store(&error))?;
        let sum = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.length?));
        told.length = sum.map(Length::Known);
    }
    Ok(told)
}

fn appended(received: Received) -> Answer {
    let resource = received.upload.as_ref().map(resource);
    Answer::Protocol(match (received.problem, resource) {
        (None, Some(resource)) => Response::Appended(resource),
        (problem, resource) => {
            Response::Refused { problem: problem.unwrap_or(Problem::Internal), resource }
        }
    })
}

/// What a client is told about an upload.
fn resource(upload: &Upload) -> Resource {
    let waits = upload.kind == Kind::Final && upload.state != State::Completed;
    let concat = match upload.kind {
        Kind::Whole => None,
        Kind::Partial => Some(String::from("partial")),
        Kind::Final => upload.concat.clone(),
    };
    Resource {
        offset: (!waits).then_some(upload.offset),
        length: match upload.length {
            Some(length) => Some(Length::Known(length)),
            None if waits => None,
            None => Some(Length::Deferred),
        },
        metadata: upload.metadata.clone(),
        concat,
        // Rounded up: it is there at least until then.
        expires_at: upload.expires_at.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms.div_ceil(1000)),
    }
}
