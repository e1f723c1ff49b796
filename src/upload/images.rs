//! `POST /api/projects/{project}/images`: a form whose files become uploads, one after the other.
//!
//! Each file of the field `images` is an upload like any other: created, received by
//! [`receive`], told on the feed, cancelled by its id while it comes in. Its length is known when
//! its part ends, so it follows the rules of the IETF draft: complete when its sender says so.
//!
//! Invariant: a file that this request does not complete is cancelled. Nobody else has been asked to
//! go on with it, so nothing of it stays. What came before it stays complete.

use std::future::{Ready, ready};
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_TYPE, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use tidegate_protocol::dialect::{CORS_REQUEST_FIELDS, CORS_RESPONSE_FIELDS};
use tidegate_protocol::field::id::Id;
use tidegate_protocol::field::media::MediaType;
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Completion, Overrun, Protocol};

use super::api::View;
use super::receive::{self, Received, Sender};
use super::store::{NewUpload, State, Upload};
use super::streams::Stream;
use super::{Uploads, refuse};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::http::multipart::{Broken, Head, HeadError, Multipart};
use crate::http::{OutBody, Request, Response, Shared, reject};
use crate::id::UploadId;

/// Where forms are sent.
pub(super) const PATH: &str = "/api/projects/{project}/images";

/// The field of the form whose files are stored.
const FIELD: &[u8] = b"images";

/// In the header section of a part: the id that its sender gives the file.
const UPLOAD_ID: HeaderName = HeaderName::from_static("x-upload-id");

const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// Other fields of a form, and the content of each. They mean nothing here.
const OTHER_FIELDS_MAX: u32 = 100;
const OTHER_FIELD_BYTES_MAX: u64 = 64 * 1024;

/// The name of a file.
const FILENAME_BYTES_MAX: usize = 255;

const SHARED: Shared = Shared {
    methods: "POST",
    request_fields: CORS_REQUEST_FIELDS,
    response_fields: CORS_RESPONSE_FIELDS,
};

/// A file's content is one append, and its end is the upload's.
const WHOLE: Append = Append {
    offset: 0,
    length: None,
    content_length: None,
    checksum: None,
    completion: Completion::AtEnd,
    overrun: Overrun::KeepToLength,
};

/// Serves a form. Its files are received in a task of their own, which outlives the connection.
pub(super) async fn serve(uploads: Arc<Uploads>, request: Request) -> Response {
    let (method, path) = (
        request.head.method.clone(),
        request.head.uri.path().to_owned(),
    );
    let (cors, counting) = (cors(&uploads, &request.head), uploads.clone());
    let begun = match is_seen(&uploads, &request).await {
        Ok(()) => Taking::begin(uploads, request),
        Err(problem) => Err(problem),
    };
    let mut response = match begun {
        Ok((taking, form)) => {
            let task = taking.scope.clone().spawn(taking.run(form));
            let taken = task.await.unwrap_or_else(|panicked| {
                tracing::error!(%panicked, "images");
                Taken::default().ending_with(Problem::Internal)
            });
            taken.answer(&method, &path)
        }
        Err(problem) => {
            counting.metrics.refused(&problem);
            reject::problem(&method, &path, &problem)
        }
    };
    response.headers_mut().extend(cors);
    response
}

/// Refuses a project that is not there for the caller.
fn is_seen(
    uploads: &Uploads,
    request: &Request,
) -> impl Future<Output = Result<(), Problem>> + use<> {
    let project = request.path.get("project").unwrap_or_default().to_owned();
    let is_seen = uploads.store.is_seen(project, request.caller.clone());
    async move {
        match is_seen.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::NotFound),
            Err(error) => Err(refuse::store(&error)),
        }
    }
}

/// Tells a browser whether a page of another origin may send a form with an `Authorization`.
pub(super) fn preflight(uploads: Arc<Uploads>, request: Request) -> Ready<Response> {
    let mut response = Response::new(OutBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(cors(&uploads, &request.head));
    ready(response)
}

/// Answers a form whose sender is not let in, so that a page of another origin understands it.
pub(super) fn turned_away(uploads: &Uploads, head: &Parts, problem: Problem) -> Response {
    let mut response = reject::problem(&head.method, head.uri.path(), &problem);
    response.headers_mut().extend(cors(uploads, head));
    response
}

fn cors(uploads: &Uploads, head: &Parts) -> HeaderMap {
    let cors = &uploads.config.cors;
    cors.fields(&head.method, &head.headers, SHARED)
}

/// One form being taken apart, on somebody's behalf.
struct Taking {
    uploads: Arc<Uploads>,
    project: String,
    caller: Caller,
    scope: Scope,
    taken: Taken,
    /// Counts it, until it is taken apart.
    _stream: Stream,
}

/// What has become of the files of a form.
#[derive(Default)]
struct Taken {
    stored: Vec<Upload>,
    failed: Vec<Failed>,
}

/// A file that was not stored, or why the form was not read to its end.
struct Failed {
    filename: Option<String>,
    id: Option<UploadId>,
    problem: Problem,
}

impl Taking {
    /// # Errors
    /// The problem to answer with; nothing of the form has been asked for.
    fn begin(uploads: Arc<Uploads>, request: Request) -> Result<(Self, Multipart), Problem> {
        let project = request.path.get("project").unwrap_or_default().to_owned();
        // A browser sends a form anywhere without asking first.
        let (config, head) = (&uploads.config, &request.head);
        let mut pages = head.headers.get_all(ORIGIN).iter();
        if !pages.all(|page| {
            config.cors.admits(page) || config.origin.is_own(page, head, &request.scheme)
        }) {
            return Err(Problem::Forbidden);
        }
        let stream = uploads.streams.enter(&request.caller, UploadId::random())?;
        let form = Multipart::new(&head.headers, request.body, config.stall)?;
        let taking = Self {
            _stream: stream,
            project,
            caller: request.caller,
            scope: uploads.scope.child("images"),
            uploads,
            taken: Taken::default(),
        };
        Ok((taking, form))
    }

    async fn run(mut self, form: Multipart) -> Taken {
        match self.take(form).await {
            Ok(()) => self.taken,
            Err(problem) => self.taken.ending_with(problem),
        }
    }

    /// Takes one part after the other.
    ///
    /// # Errors
    /// Why there are parts that nobody has looked at, unless a file has failed for the same reason.
    async fn take(&mut self, mut form: Multipart) -> Result<(), Problem> {
        let (mut files, mut others) = (0, 0);
        while let Some(head) = self.reading(form.part()).await? {
            if head.as_ref().is_ok_and(|head| head.name != FIELD) {
                others += 1;
                if others > OTHER_FIELDS_MAX {
                    return Err(Problem::validation("body", "has too many other fields"));
                }
                self.reading(form.skip(OTHER_FIELD_BYTES_MAX)).await?;
                continue;
            }
            files += 1;
            let files_max = self.uploads.config.images_max;
            if files > files_max {
                let message = format!("too many files: {files_max} at most in one request");
                return Err(Problem::validation("images", message));
            }
            form = match self.take_file(form, head).await {
                Some(form) => form,
                None => return Ok(()),
            };
            let limits = self.uploads.config.settings.limits;
            let bytes_max = limits.upload_bytes_max();
            let bytes_max = bytes_max.saturating_add(self.uploads.config.skip_bytes_max);
            self.reading(form.skip(bytes_max)).await?;
        }
        Ok(())
    }

    /// Waits for something of the form, unless the server stops.
    ///
    /// # Errors
    /// Why the form cannot be read any further.
    async fn reading<T>(
        &self,
        read: impl Future<Output = Result<T, Broken>>,
    ) -> Result<T, Problem> {
        tokio::select! {
            biased;
            // Nothing of the form is read any more.
            _ = self.scope.cancelled() => Err(refuse::shutdown()),
            // A piece is either returned or still in the form.
            read = read => read.map_err(broken),
        }
    }

    /// Makes an upload of the part that has just begun. Returns the form, of whose part something may
    /// be left, or `None` if nothing can come of what follows.
    async fn take_file(
        &mut self,
        form: Multipart,
        head: Result<Head, HeadError>,
    ) -> Option<Multipart> {
        let filename = head.as_ref().ok().and_then(|head| head.filename.as_deref());
        let filename = filename.map(|name| String::from_utf8_lossy(name).into_owned());
        let (id, form, problem) = match self.create(head).await {
            Err(problem) => (None, Some(form), problem),
            Ok(id) => match self.receive(id, form).await {
                (Ok(upload), form) => {
                    self.taken.stored.push(upload);
                    return form;
                }
                (Err(problem), form) => {
                    self.remove(id, &problem).await;
                    (Some(id), form, problem)
                }
            },
        };
        self.uploads.metrics.refused(&problem);
        let goes_on = !is_for_all(&problem);
        self.taken.failed.push(Failed {
            filename,
            id,
            problem,
        });
        form.filter(|form| goes_on && form.broken().is_none())
    }

    /// # Errors
    /// Why it does not become an upload.
    async fn create(&self, head: Result<Head, HeadError>) -> Result<UploadId, Problem> {
        let head = head.map_err(|error| Problem::BadRequest {
            detail: error.to_string().into(),
        })?;
        let uploads = &self.uploads;
        if !uploads.store.has_room() {
            return Err(Problem::StorageFull);
        }
        uploads.count_creation(&self.caller)?;
        let named = named(&head.fields)?;
        let metadata = metadata(&head)?;
        if metadata.raw().len() > uploads.config.settings.metadata_bytes_max {
            return Err(Problem::HeaderTooLarge);
        }
        let digests = uploads.digests();
        let new = NewUpload {
            id: named.unwrap_or_else(UploadId::random),
            named: named.is_some(),
            project: Some(self.project.clone()),
            caller: self.caller.clone(),
            partial: false,
            length: None,
            metadata: metadata.raw().to_owned(),
            protocol: Protocol::Draft,
            expected_sha256: None,
            digest: digests.save(),
            sha256_of_nothing: digests.whole_hex(),
            expires_after: uploads.config.expires_after,
        };
        let made = uploads.made(uploads.store.create(new).await)?;
        if !made.is_new {
            return Err(Problem::IdTaken);
        }
        // One that was cancelled in advance is told so when its content is to be received.
        if made.upload.state == State::Uploading {
            uploads.metrics.created();
        }
        Ok(made.upload.id)
    }

    /// Receives the content of the part. Returns the complete upload, and the form.
    async fn receive(
        &self,
        id: UploadId,
        form: Multipart,
    ) -> (Result<Upload, Problem>, Option<Multipart>) {
        let (body, rest) = form.into_content();
        let sender = Sender {
            caller: self.caller.clone(),
            body,
            interims: None,
            location: None,
            // The form is counted, as one.
            stream: None,
        };
        let Received {
            upload, problem, ..
        } = receive::append(&self.uploads, id, WHOLE, sender).await;
        let form = rest.found().await;
        let upload = upload.filter(|upload| upload.state == State::Completed);
        let received = match (problem, upload) {
            (None, Some(upload)) => {
                // As the database has it, with the times of its commits.
                let found = self.uploads.store.find(id).await.ok().flatten();
                let found = found.filter(|found| found.state == State::Completed);
                Ok(found.unwrap_or(upload))
            }
            (problem, _) => {
                let problem = problem.unwrap_or(Problem::Internal);
                // That the content has broken off is all that an append can tell.
                let cause = form.as_ref().and_then(Multipart::broken).map(broken);
                Err(cause
                    .filter(|_| problem == refuse::cut())
                    .unwrap_or(problem))
            }
        };
        (received, form)
    }

    /// Removes what has come of a file that will not become complete.
    async fn remove(&self, id: UploadId, problem: &Problem) {
        let has_ended = matches!(
            problem,
            Problem::UploadCancelled { .. }
                | Problem::UploadExpired
                | Problem::UploadFailed
                | Problem::NotFound
        );
        if has_ended {
            return;
        }
        let reason = Some(problem.detail());
        if let Err(problem) = self.uploads.end(id, reason).await {
            // It expires.
            tracing::warn!(upload = %id, ?problem, "removing an image that is not whole");
        }
    }
}

impl Taken {
    fn ending_with(mut self, problem: Problem) -> Self {
        self.failed.push(Failed {
            filename: None,
            id: None,
            problem,
        });
        self
    }

    /// If nothing has been stored, the first failure is that of the request.
    fn answer(self, method: &Method, path: &str) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Images {
            images: Vec<View>,
            count: usize,
            failed_count: usize,
            failed_files: Vec<FailedFile>,
        }
        let count = self.stored.len();
        let problem = match (count, self.failed.first()) {
            (0, None) => Some(Problem::validation("images", "must have at least one file")),
            (0, Some(failed)) => Some(failed.problem.clone()),
            _ => None,
        };
        let failed_files: Vec<_> = self.failed.into_iter().map(FailedFile::of).collect();
        let Some(problem) = problem else {
            let images = Images {
                images: self.stored.into_iter().map(View::of).collect(),
                count,
                failed_count: failed_files.len(),
                failed_files,
            };
            return reject::success(StatusCode::CREATED, &images, None);
        };
        let mut response = reject::problem(method, path, &problem);
        let mut body = reject::problem_body(path, &problem);
        if let Some(members) = body.as_object_mut() {
            members.insert(String::from("failedFiles"), json!(failed_files));
        }
        *response.body_mut() = OutBody::full(body.to_string());
        response
    }
}

/// A line about a file that was not stored.
#[derive(Serialize)]
struct FailedFile {
    /// As it was sent. `null` where it is not about one file.
    filename: Option<String>,
    reason: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl FailedFile {
    fn of(failed: Failed) -> Self {
        Self {
            filename: failed.filename,
            reason: failed.problem.detail(),
            code: failed.problem.code(),
            id: failed.id.map(|id| id.to_string()),
        }
    }
}

/// The id that its sender gives a file.
///
/// # Errors
/// It is none, or there are several.
fn named(fields: &HeaderMap) -> Result<Option<UploadId>, Problem> {
    let mut lines = fields.get_all(UPLOAD_ID).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(line), None) => Id::parse(line.as_bytes()).ok(),
        (Some(_), Some(_)) => None,
    };
    let id = line.and_then(|id| id.as_str().parse().ok());
    let id = id.ok_or_else(|| {
        Problem::validation("X-Upload-Id", "must be one random UUID, in lower case")
    })?;
    Ok(Some(id))
}

/// The file's name and media type, as a client of tus would tell them.
///
/// # Errors
/// The file has no name that can be told, or is not sent as it is.
fn metadata(head: &Head) -> Result<Metadata, Problem> {
    let refused = |message: &'static str| Problem::validation("filename", message);
    let name = head.filename.as_deref().unwrap_or_default();
    let name = str::from_utf8(name).map_err(|_| refused("must be UTF-8"))?;
    match name.len() {
        1..=FILENAME_BYTES_MAX => {}
        0 => return Err(refused("must not be missing or empty")),
        _ => return Err(refused("must not be longer than 255 bytes")),
    }
    let as_it_is = ["binary", "8bit", "7bit"];
    let is_encoded = |coding: &HeaderValue| {
        let plain = as_it_is
            .iter()
            .any(|plain| coding.as_bytes().eq_ignore_ascii_case(plain.as_bytes()));
        !plain
    };
    let mut codings = head.fields.get_all(CONTENT_TRANSFER_ENCODING).iter();
    if codings.any(is_encoded) {
        let message = "is not undone: send the bytes as they are";
        return Err(Problem::validation("Content-Transfer-Encoding", message));
    }
    let metadata = Metadata::default().with("filename", name);
    let media_type = head
        .fields
        .get(CONTENT_TYPE)
        .and_then(|line| line.to_str().ok());
    Ok(
        match media_type.filter(|text| MediaType::parse(text).is_some()) {
            Some(media_type) => metadata.with("filetype", media_type),
            None => metadata,
        },
    )
}

fn broken(broken: Broken) -> Problem {
    match broken {
        Broken::Stalled => Problem::UploadStalled,
        Broken::Gone | Broken::Unfinished | Broken::Malformed(_) | Broken::TooLong => {
            Problem::BadRequest {
                detail: broken.to_string().into(),
            }
        }
    }
}

/// Whether it would be the same with the files that follow.
fn is_for_all(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::StorageFull | Problem::ShuttingDown { .. } | Problem::Unavailable { .. }
    )
}
