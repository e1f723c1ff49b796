//! Wire form: which dialect a request speaks, and its requests and answers in header fields.
//!
//! Callers hold a [`Dialect`] value and know nothing else: a new dialect is a new variant here
//! and a file beside [`tus1`] and [`rufh`].

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use self::rufh::Interop;

use crate::field::{media, name, structured};
use crate::problem::Problem;
use crate::request::{Protocol, Request};
use crate::response::{Interim, Resource, Response};
use crate::upload::Limits;

pub mod rufh;
pub mod tus1;

/// A protocol spoken on the upload URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// tus 1.0.0.
    Tus1,
    /// "Resumable Uploads for HTTP", the IETF draft.
    Rufh(Interop),
}

/// What the request's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Where uploads are made.
    Creation,
    /// Where uploads are made, and listed by others than the dialect.
    Collection,
    /// One upload.
    Upload,
}

impl Target {
    /// That it does not have the method of the request, in any dialect.
    fn refuses_method(self) -> Problem {
        let allow = match self {
            Self::Creation => "OPTIONS, POST, PUT",
            Self::Collection => "OPTIONS, GET, HEAD, POST, PUT",
            Self::Upload => "OPTIONS, HEAD, GET, PATCH, DELETE",
        };
        Problem::MethodNotAllowed {
            allow: allow.into(),
        }
    }
}

/// Bounds that are announced and checked before any byte is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of an upload and of one request.
    pub limits: Limits,
    /// Longest `Upload-Metadata`, in bytes.
    pub metadata_bytes_max: usize,
    /// When an upload that nobody goes on with is removed, in seconds.
    pub expires_after: Option<u64>,
    /// The newest interop version of the IETF draft that is spoken; [`rufh::NEWEST`] at least.
    pub interop_max: u64,
}

/// Replaces the method of a POST (row T7).
pub const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// For `Access-Control-Allow-Methods`.
pub const CORS_METHODS: &str = "POST, PUT, HEAD, PATCH, OPTIONS, GET, DELETE";

/// For `Access-Control-Allow-Headers`.
pub const CORS_REQUEST_FIELDS: &str = "Authorization, Origin, X-Requested-With, X-Request-ID, \
     X-HTTP-Method-Override, Content-Type, Content-Encoding, Content-Disposition, Range, If-Range, Upload-Id, \
     Upload-Length, Upload-Offset, Tus-Resumable, Upload-Metadata, Upload-Defer-Length, \
     Upload-Concat, Upload-Checksum, Upload-Incomplete, Upload-Complete, \
     Upload-Draft-Interop-Version, Content-Digest, Repr-Digest, Want-Repr-Digest, \
     Want-Content-Digest";

/// For `Access-Control-Expose-Headers`, on refusals too: a browser's client needs them there most.
pub const CORS_RESPONSE_FIELDS: &str = "Upload-Offset, Location, Upload-Length, Tus-Version, \
     Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, Upload-Metadata, \
     Upload-Defer-Length, Upload-Concat, Upload-Expires, Upload-Incomplete, Upload-Complete, \
     Upload-Limit, Upload-Draft-Interop-Version, Repr-Digest, Content-Digest, Retry-After, \
     X-Request-ID, Content-Disposition, Content-Range, Accept-Ranges, ETag, Accept-Patch, \
     Want-Content-Digest, Want-Repr-Digest, WWW-Authenticate";

impl Dialect {
    /// The dialect of a request (§2.9 of the rows); `None` if nothing in it tells. One that names tus
    /// is tus, whatever else it has: there are clients that add the draft's fields to anything.
    #[must_use]
    pub fn detect(head: &Parts) -> Option<Self> {
        if head.headers.contains_key(tus1::TUS_RESUMABLE) {
            return Some(Self::Tus1);
        }
        if let Some(interop) = rufh::detect(&head.headers) {
            return Some(Self::Rufh(interop));
        }
        media::is(&head.headers, tus1::MEDIA_TYPE).then_some(Self::Tus1)
    }

    /// The dialect for a request that tells none, at an upload of `protocol`.
    #[must_use]
    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tus => Self::Tus1,
            Protocol::Draft | Protocol::EarlyDraft => Self::Rufh(Interop::UNTOLD),
        }
    }

    /// The request in dialect-free words, statically checked. `content_length` is what the
    /// transport knows of the content's length; it is 0 for a request without content.
    ///
    /// # Errors
    /// The problem to answer with; no byte of the content has been asked for.
    pub fn decode(
        self,
        head: &Parts,
        target: Target,
        content_length: Option<u64>,
        settings: &Settings,
    ) -> Result<Request, Problem> {
        match self {
            Self::Tus1 => tus1::decode(head, target, content_length, settings),
            Self::Rufh(interop) => rufh::decode(interop, head, target, content_length, settings),
        }
    }

    /// A problem in the words of this dialect.
    #[must_use]
    pub fn refusal(self, problem: Problem) -> Problem {
        match self {
            Self::Tus1 => problem,
            Self::Rufh(_) => rufh::refusal(problem),
        }
    }

    /// The status of an answer.
    #[must_use]
    pub fn status(self, response: &Response) -> StatusCode {
        match self {
            Self::Tus1 => response.status(),
            Self::Rufh(interop) => rufh::status(interop, response),
        }
    }

    /// The header fields that a dialect puts on content that is read, beside HTTP's own.
    #[must_use]
    pub fn content_fields(self, resource: &Resource, settings: &Settings) -> HeaderMap {
        match self {
            Self::Tus1 => tus1::content_fields(),
            Self::Rufh(interop) => rufh::content_fields(interop, resource, settings),
        }
    }

    /// The header fields of an answer.
    #[must_use]
    pub fn fields(self, response: &Response, settings: &Settings) -> HeaderMap {
        match (self, response) {
            (_, Response::Discovered) => discovered(settings),
            (Self::Tus1, response) => tus1::fields(response, settings),
            (Self::Rufh(interop), response) => rufh::fields(interop, response, settings),
        }
    }

    /// The header fields of an interim response (104); `None` if the client must not be sent one.
    #[must_use]
    pub fn interim(self, interim: &Interim<'_>, settings: &Settings) -> Option<HeaderMap> {
        match self {
            Self::Tus1 => None,
            Self::Rufh(interop) => rufh::interim(interop, interim, settings),
        }
    }
}

/// What this server can do, in all dialects: whoever asks has not chosen yet.
fn discovered(settings: &Settings) -> HeaderMap {
    let mut fields = tus1::fields(&Response::Discovered, settings);
    rufh::discovered(&mut fields, settings);
    let both = format!("{}, {}", tus1::MEDIA_TYPE, rufh::MEDIA_TYPE);
    if let Ok(both) = HeaderValue::try_from(both) {
        fields.insert(ACCEPT_PATCH, both);
    }
    fields
}

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static(name::UPLOAD_OFFSET);
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static(name::UPLOAD_LENGTH);

/// The media types of appends (RFC 5789, section 3.1).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The method that a request means: a POST may name another one (row T7). Only a POST may, or a
/// link could delete things.
///
/// # Errors
/// The override is not a method that is offered this way.
pub fn effective_method(head: &Parts) -> Result<Method, Problem> {
    if head.method != Method::POST {
        return Ok(head.method.clone());
    }
    let mut lines = head.headers.get_all(METHOD_OVERRIDE).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else {
        return match head.headers.contains_key(METHOD_OVERRIDE) {
            true => Err(override_refused()),
            false => Ok(Method::POST),
        };
    };
    [Method::PATCH, Method::DELETE, Method::HEAD]
        .into_iter()
        .find(|method| {
            value
                .as_bytes()
                .eq_ignore_ascii_case(method.as_str().as_bytes())
        })
        .ok_or_else(override_refused)
}

fn override_refused() -> Problem {
    Problem::ValidationFailed {
        field: METHOD_OVERRIDE.as_str().to_owned().into(),
        message: "must be one of PATCH, DELETE, HEAD".into(),
    }
}

fn put_location(fields: &mut HeaderMap, location: &str) {
    if let Ok(location) = HeaderValue::from_str(location) {
        fields.insert(header::LOCATION, location);
    }
}

/// Of what a complete upload consists, so that its sender can compare it with what he has.
fn put_digest(fields: &mut HeaderMap, resource: &Resource) {
    let sha256 = resource.sha256.as_deref().filter(|_| resource.complete);
    if let Some(digest) = sha256.and_then(structured::from_sha256) {
        fields.insert(name::REPR_DIGEST, digest);
    }
}

/// Whether the request has content in a coding that changes its bytes (`Content-Encoding`).
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}
