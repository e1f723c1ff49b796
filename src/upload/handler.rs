//! From a request to an answer: decode, dispatch, encode.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::Method;
use http::request::Parts;
use tidegate_protocol::dialect::{
    CORS_METHODS, CORS_REQUEST_FIELDS, CORS_RESPONSE_FIELDS, Dialect, Settings, Target,
};
use tidegate_protocol::field::concat::{Final, PartFault, part_id};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{
    Append, Create, NewContent, Protocol, Request, Retrieve, Unfinished,
};
use tidegate_protocol::response::{Resource, Response};

use super::interim::Interims;
use super::progress::Progress;
use super::receive::{self, Received, Sender};
use super::store::{
    Canceller, Kind, Made, NewFinal, NewUpload, NotMade, Seen, State, StoreError, Upload,
};
use super::streams::Stream;
use super::{Uploads, cancel_api, content, refuse};
use crate::auth::Caller;
use crate::blob::Digests;
use crate::cancel::{CancelReason, Settling};
use crate::http::{self as transport, OutBody, Shared, reject};
use crate::id::UploadId;

/// How long a HEAD waits for the attempt before it to end: a client that lost its connection asks at
/// once, while what had arrived is still being committed.
const LEAVING: Duration = Duration::from_millis(250);

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
    Content(transport::Response, Resource),
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::Protocol(Response::Refused {
            problem,
            location: None,
            resource: None,
        })
    }
}

/// Serves a request at a URL of uploads.
pub(super) async fn serve(
    uploads: Arc<Uploads>,
    target: Target,
    request: transport::Request,
) -> transport::Response {
    let dialect = match Dialect::detect(&request.head) {
        Some(dialect) => dialect,
        None => dialect_of(&uploads, named(&request), &request.caller).await,
    };
    let (settings, counting) = (uploads.config.settings, uploads.clone());
    let method = request.head.method.clone();
    let path = request.head.uri.path().to_owned();
    let cors = uploads
        .config
        .cors
        .fields(&method, &request.head.headers, SHARED);
    let length = request.body.size_hint_exact();
    let answer = match dialect.decode(&request.head, target, length, &settings) {
        Ok(asked) => dispatch(uploads, dialect, target, asked, request).await,
        Err(problem) => problem.into(),
    };
    if let Answer::Protocol(Response::Refused { problem, .. }) = &answer {
        counting.metrics.refused(problem);
    }
    let mut response = match answer {
        Answer::Content(mut response, resource) => {
            let fields = dialect.content_fields(&resource, &settings);
            response.headers_mut().extend(fields);
            response
        }
        Answer::Protocol(answer) => encoded(dialect, answer, &method, &path, &settings),
    };
    response.headers_mut().extend(cors);
    response
}

/// Answers a request whose caller is not let in, so that a tus client and a web page understand it.
pub(super) fn turned_away(
    uploads: &Uploads,
    head: &Parts,
    problem: Problem,
) -> transport::Response {
    let dialect = Dialect::detect(head).unwrap_or_else(|| Dialect::of(Protocol::Tus));
    let answer = Response::Refused {
        problem,
        location: None,
        resource: None,
    };
    let (path, config) = (head.uri.path(), &uploads.config);
    let mut response = encoded(dialect, answer, &head.method, path, &config.settings);
    let cors = config.cors.fields(&head.method, &head.headers, SHARED);
    response.headers_mut().extend(cors);
    response
}

fn encoded(
    dialect: Dialect,
    answer: Response,
    method: &Method,
    path: &str,
    settings: &Settings,
) -> transport::Response {
    let answer = in_words_of(dialect, answer);
    let mut response = match &answer {
        Response::Refused { problem, .. } => reject::problem(method, path, problem),
        _ => transport::Response::new(OutBody::empty()),
    };
    *response.status_mut() = dialect.status(&answer);
    response
        .headers_mut()
        .extend(dialect.fields(&answer, settings));
    response
}

/// The dialect for a request that does not tell: that of the upload.
async fn dialect_of(uploads: &Uploads, id: Option<UploadId>, caller: &Caller) -> Dialect {
    let seen = match id {
        Some(id) => uploads.seen(id, caller).await.ok(),
        None => None,
    };
    Dialect::of(seen.map_or(Protocol::Tus, |seen| seen.upload.protocol))
}

/// The upload that the request's path names.
fn named(request: &transport::Request) -> Option<UploadId> {
    request.path.get("id").and_then(|id| id.parse().ok())
}

fn in_words_of(dialect: Dialect, answer: Response) -> Response {
    match answer {
        Response::Refused {
            problem,
            location,
            resource,
        } => Response::Refused {
            problem: dialect.refusal(problem),
            location,
            resource,
        },
        answer => answer,
    }
}

/// Finds who answers. The future owns no more of the request than that one needs: an append may
/// last for hours, and the head of its request keeps a read buffer alive.
fn dispatch(
    uploads: Arc<Uploads>,
    dialect: Dialect,
    target: Target,
    asked: Request,
    request: transport::Request,
) -> BoxFuture<'static, Answer> {
    let id = named(&request);
    match (target, asked, id) {
        (_, Request::Discover, _) => ready(Answer::Protocol(Response::Discovered)).boxed(),
        (Target::Creation | Target::Collection, Request::Create(create), _) => {
            create_from(uploads, dialect, create, request).boxed()
        }
        (Target::Upload, Request::Retrieve(how), Some(id)) => {
            retrieve(uploads, id, request.caller, how).boxed()
        }
        (Target::Upload, Request::Append(append), Some(id)) => {
            // Before anybody is sent away.
            let stream = match uploads.streams.enter(&request.caller, id) {
                Ok(stream) => Some(stream),
                Err(problem) => return ready(problem.into()).boxed(),
            };
            let sender = Sender {
                interims: Interims::of(&uploads, dialect, request.interim),
                location: None,
                caller: request.caller,
                body: request.body,
                stream,
            };
            async move { appended(receive::append(&uploads, id, append, sender).await) }.boxed()
        }
        (Target::Upload, Request::Cancel { again }, Some(id)) => {
            cancel(uploads, id, again, request).boxed()
        }
        (Target::Upload, Request::Read(unfinished), Some(id)) => {
            read(uploads, id, unfinished, request).boxed()
        }
        // Not an id, or nothing that decoding gives for this target.
        _ => ready(Problem::NotFound.into()).boxed(),
    }
}

async fn cancel(
    uploads: Arc<Uploads>,
    id: UploadId,
    again: bool,
    mut request: transport::Request,
) -> Answer {
    let deleted = async {
        if !again {
            match uploads.seen(id, &request.caller).await {
                Ok(seen) => refuse::ended(&seen.upload).map_or(Ok(()), Err)?,
                // It may still be in the making.
                Err(Problem::NotFound) => {}
                Err(problem) => return Err(problem),
            }
        }
        let reason = cancel_api::reason_of_deletion(&mut request).await?;
        uploads.delete_for(id, request.caller, reason).await
    };
    match deleted.await {
        Ok(()) => Answer::Protocol(Response::Cancelled),
        Err(problem) => problem.into(),
    }
}

async fn read(
    uploads: Arc<Uploads>,
    id: UploadId,
    unfinished: Unfinished,
    request: transport::Request,
) -> Answer {
    let transport::Request {
        head,
        caller,
        is_lent,
        ..
    } = request;
    // Only the content is lent: not how far it is, nor to send away who goes on with it.
    let unfinished = match is_lent {
        true => Unfinished::Refused,
        false => unfinished,
    };
    match (
        content::read(&uploads, id, &caller, &head).await,
        unfinished,
    ) {
        (Ok((response, resource)), _) => Answer::Content(response, resource),
        (Err(Problem::UploadIncomplete), Unfinished::Described) => {
            described(&uploads, id, &caller, Retrieve::Finally).await
        }
        (Err(Problem::UploadIncomplete), Unfinished::Retrieved) => {
            retrieve(uploads, id, caller, Retrieve::Finally).await
        }
        (Err(problem), _) => problem.into(),
    }
}

async fn create_from(
    uploads: Arc<Uploads>,
    dialect: Dialect,
    create: Create,
    request: transport::Request,
) -> Answer {
    let named = create.id.as_ref().map(|id| id.as_str().parse::<UploadId>());
    let Ok(named) = named.transpose() else {
        return Problem::Internal.into();
    };
    let id = named.unwrap_or_else(UploadId::random);
    let origin = uploads.config.origin.of(&request.head, &request.scheme);
    let location = format!("{origin}{BASE_PATH}/{id}");
    let append = create.append.clone();
    let (new, stream) = match admitted(&uploads, id, named.is_some(), create, &request) {
        Ok(admitted) => admitted,
        Err(problem) => return problem.into(),
    };
    let transport::Request {
        caller,
        body,
        interim,
        ..
    } = request;
    // Without content the answer comes as soon.
    let has_content = |append: &Append| append.content_length != Some(0);
    let sender = Sender {
        interims: Interims::of(&uploads, dialect, interim),
        location: append
            .as_ref()
            .is_some_and(has_content)
            .then(|| location.clone()),
        caller,
        body,
        stream,
    };
    let asked = Asked::of(&new);
    let Made { upload, is_new } = match make(&uploads, new).await {
        Ok(made) => made,
        Err(problem) => return problem.into(),
    };
    if !is_new && !asked.is(&upload) {
        return Problem::IdTaken.into();
    }
    if let Some(problem) = refuse::ended(&upload) {
        return problem.into();
    }
    if !is_new {
        return existed(&uploads, location, upload, append, sender).await;
    }
    uploads.metrics.created();
    match append {
        None => Answer::Protocol(Response::Created {
            location,
            resource: upload.resource(),
            appended: false,
        }),
        Some(append) => {
            // Who has named it can come back to it.
            let received = match named {
                Some(_) => receive::append(&uploads, id, append, sender).await,
                None => receive::append_first(&uploads, id, append, sender).await,
            };
            created_with(location, received)
        }
    }
}

/// What tells a repeated creation from another one with the same id. Metadata does not: it changes
/// nothing about the bytes.
struct Asked {
    /// `None`: the owner's default one.
    project: Option<String>,
    owner: String,
    kind: Kind,
    length: Option<u64>,
    concat: Option<String>,
    protocol: Protocol,
    expected_sha256: Option<String>,
}

impl Asked {
    fn of(new: &New) -> Self {
        match new {
            New::Appended(new) => Self {
                project: new.project.clone(),
                owner: new.caller.user.clone(),
                kind: match new.partial {
                    true => Kind::Partial,
                    false => Kind::Whole,
                },
                length: new.length,
                concat: None,
                protocol: new.protocol,
                expected_sha256: new.expected_sha256.clone(),
            },
            New::Final(new) => Self {
                project: new.project.clone(),
                owner: new.caller.user.clone(),
                kind: Kind::Final,
                length: None,
                concat: Some(new.concat.clone()),
                protocol: Protocol::Tus,
                expected_sha256: None,
            },
        }
    }

    fn is(&self, upload: &Upload) -> bool {
        self.owner == upload.owner
            && self.project.as_ref().is_none_or(|project| *project == upload.project)
            && self.kind == upload.kind
            && self.concat == upload.concat
            && self.protocol == upload.protocol
            // Whoever asks for a comparison must not be told of an upload without it.
            && (self.expected_sha256.is_none() || self.expected_sha256 == upload.expected_sha256)
            // A deferred one may have been declared since.
            && (self.length.is_none() || self.length == upload.length)
    }
}

/// The answer to a creation whose first answer was lost. Its content is taken if none was before.
async fn existed(
    uploads: &Arc<Uploads>,
    location: String,
    upload: Upload,
    append: Option<Append>,
    sender: Sender,
) -> Answer {
    let Some(append) = append.filter(|_| upload.state == State::Uploading && upload.offset == 0)
    else {
        let resource = upload.resource();
        return Answer::Protocol(Response::Existed { location, resource });
    };
    let received = receive::append(uploads, upload.id, append, sender).await;
    match (received.problem, received.upload) {
        // The first request had come further than was known when this one began.
        (None | Some(Problem::OffsetMismatch { .. }), Some(upload)) => {
            Answer::Protocol(Response::Existed {
                location,
                resource: upload.resource(),
            })
        }
        (problem, upload) => refused(problem, upload.as_ref(), Some(location)),
    }
}

fn refused(problem: Option<Problem>, upload: Option<&Upload>, location: Option<String>) -> Answer {
    Answer::Protocol(Response::Refused {
        problem: problem.unwrap_or(Problem::Internal),
        location: location.filter(|_| upload.is_some()),
        resource: upload.map(Upload::resource),
    })
}

fn created_with(location: String, received: Received) -> Answer {
    match (received.problem, received.upload) {
        (None, Some(upload)) => Answer::Protocol(Response::Created {
            location,
            resource: upload.resource(),
            appended: true,
        }),
        (problem, upload) => refused(problem, upload.as_ref(), Some(location)),
    }
}

/// What a creation is to make, and what counts its content while it comes in.
///
/// # Errors
/// Its caller does too much, or it cannot be made.
fn admitted(
    uploads: &Uploads,
    id: UploadId,
    named: bool,
    create: Create,
    request: &transport::Request,
) -> Result<(New, Option<Stream>), Problem> {
    uploads.count_creation(&request.caller)?;
    let stream = match create.append {
        Some(_) => Some(uploads.streams.enter(&request.caller, id)?),
        None => None,
    };
    Ok((new(uploads, id, named, create, request)?, stream))
}

/// What a creation makes.
enum New {
    Appended(NewUpload),
    Final(NewFinal),
}

fn new(
    uploads: &Uploads,
    id: UploadId,
    named: bool,
    create: Create,
    request: &transport::Request,
) -> Result<New, Problem> {
    if !uploads.store.has_room() {
        return Err(Problem::StorageFull);
    }
    let metadata = create.metadata.raw().to_owned();
    match create.content {
        NewContent::Concatenated(parts) => {
            let made = new_final(uploads, id, &parts, metadata, request);
            made.map(|new| New::Final(NewFinal { named, ..new }))
        }
        NewContent::Appended { length, partial } => {
            let digests = match create.digest {
                Some(_) => Digests::sha256(),
                None => uploads.digests(),
            };
            Ok(New::Appended(NewUpload {
                id,
                named,
                project: request.path.get("project").map(str::to_owned),
                caller: request.caller.clone(),
                partial,
                length: length.known(),
                metadata,
                protocol: create.protocol,
                expected_sha256: create.digest.map(|digest| digest.hex()),
                digest: digests.save(),
                sha256_of_nothing: digests.whole_hex(),
                expires_after: uploads.config.expires_after,
            }))
        }
    }
}

async fn make(uploads: &Uploads, new: New) -> Result<Made, Problem> {
    let made = match new {
        New::Appended(new) => uploads.store.create(new).await,
        New::Final(new) => uploads.store.concatenate(new).await,
    };
    uploads.made(made)
}

impl Uploads {
    /// # Errors
    /// The problem to answer with, if none was made.
    pub(super) fn made(
        &self,
        made: Result<Result<Made, NotMade>, StoreError>,
    ) -> Result<Made, Problem> {
        let size_max = self.config.settings.limits.upload_bytes_max();
        made.map_err(|error| refuse::store(&error))?
            .map_err(|error| refuse::not_made(error, size_max))
    }
}

/// A final upload of the parts that a client names by their URLs.
fn new_final(
    uploads: &Uploads,
    id: UploadId,
    list: &Final,
    metadata: String,
    request: &transport::Request,
) -> Result<NewFinal, Problem> {
    let authorities = uploads
        .config
        .origin
        .authorities(&request.head, &request.scheme);
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
        named: false,
        project: request.path.get("project").map(str::to_owned),
        caller: request.caller.clone(),
        parts,
        metadata,
        concat: list.raw().to_owned(),
        size_max: uploads.config.settings.limits.upload_bytes_max(),
    })
}

async fn retrieve(uploads: Arc<Uploads>, id: UploadId, caller: Caller, how: Retrieve) -> Answer {
    if is_to_leave(&uploads, id, &caller, how).await {
        let scope = uploads.scope.child("retrieve");
        let progress = Arc::new(Progress::new());
        match uploads
            .admit(id, scope, progress, CancelReason::Superseded)
            .await
        {
            // Its sender is gone. Whoever comes next is told to be back after this.
            Ok(_lease) => uploads.told(id, uploads.store.interrupted(id).await),
            // Somebody newer writes; what is committed is still true.
            Err(Problem::UploadSuperseded) => {}
            Err(problem) => return problem.into(),
        }
    }
    described(&uploads, id, &caller, how).await
}

/// Whether there is somebody who writes to the upload and must not, for an offset that is final.
async fn is_to_leave(uploads: &Uploads, id: UploadId, caller: &Caller, how: Retrieve) -> bool {
    let Some(holder) = uploads.live.holder(&id) else {
        return false;
    };
    // Whoever only looks sends nobody away.
    let seen = uploads.seen(id, caller).await;
    if !seen.is_ok_and(|seen| seen.is_covered) {
        return false;
    }
    let stays = holder.scope.settle(LEAVING).await == Settling::Overdue;
    stays
        && match how {
            Retrieve::Finally => true,
            Retrieve::Quietly => holder.shown.silent_for() >= SILENT,
        }
}

/// How far the upload is.
async fn described(uploads: &Arc<Uploads>, id: UploadId, caller: &Caller, how: Retrieve) -> Answer {
    let upload = match uploads.settled(id, caller).await {
        Ok(Seen { upload, .. }) => upload,
        Err(problem) => return problem.into(),
    };
    let is_frozen = how == Retrieve::Quietly && upload.ended_by == Some(Canceller::Other);
    match refuse::ended(&upload).filter(|_| !is_frozen) {
        Some(problem) => problem.into(),
        None => Answer::Protocol(Response::Retrieved(upload.resource())),
    }
}

fn appended(received: Received) -> Answer {
    match (received.problem, received.upload) {
        (None, Some(upload)) => Answer::Protocol(Response::Appended(upload.resource())),
        (problem, upload) => refused(problem, upload.as_ref(), None),
    }
}
