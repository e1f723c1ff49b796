//! Wire form: which dialect a request speaks, and its requests and answers in header fields.
//!
//! Callers hold a [`Dialect`] value and know nothing else: a new dialect is a new variant here
//! and a file beside [`tus1`].

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::problem::Problem;
use crate::request::Request;
use crate::response::Response;
use crate::upload::Limits;

pub mod tus1;

/// A protocol spoken on the upload URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// tus 1.0.0.
    Tus1,
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

/// Bounds that are announced and checked before any byte is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of an upload and of one request.
    pub limits: Limits,
    /// Longest `Upload-Metadata`, in bytes.
    pub metadata_bytes_max: usize,
}

/// Replaces the method of a POST (row T7).
pub const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// For `Access-Control-Allow-Methods`.
pub const CORS_METHODS: &str = "POST, HEAD, PATCH, OPTIONS, GET, DELETE";

/// For `Access-Control-Allow-Headers`.
pub const CORS_REQUEST_FIELDS: &str = "Authorization, Origin, X-Requested-With, X-Request-ID, \
     X-HTTP-Method-Override, Content-Type, Content-Disposition, Range, If-Range, Upload-Id, \
     Upload-Length, Upload-Offset, Tus-Resumable, Upload-Metadata, Upload-Defer-Length, \
     Upload-Concat, Upload-Checksum, Upload-Incomplete, Upload-Complete, \
     Upload-Draft-Interop-Version, Content-Digest, Repr-Digest, Want-Repr-Digest, \
     Want-Content-Digest";

/// For `Access-Control-Expose-Headers`, on refusals too: a browser's client needs them there most.
pub const CORS_RESPONSE_FIELDS: &str = "Upload-Offset, Location, Upload-Length, Tus-Version, \
     Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, Upload-Metadata, \
     Upload-Defer-Length, Upload-Concat, Upload-Expires, Upload-Incomplete, Upload-Complete, \
     Upload-Limit, Upload-Draft-Interop-Version, Repr-Digest, Content-Digest, Retry-After, \
     X-Request-ID, Content-Disposition, Content-Range, Accept-Ranges, ETag";

impl Dialect {
    /// The dialect of a request.
    #[must_use]
    pub fn detect(_head: &Parts) -> Self {
        Self::Tus1
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
        }
    }

    /// The status of an answer.
    #[must_use]
    pub fn status(self, response: &Response) -> StatusCode {
        match self {
            Self::Tus1 => response.status(),
        }
    }

    /// The header fields that a dialect puts on content that is read, beside HTTP's own.
    #[must_use]
    pub fn content_fields(self) -> HeaderMap {
        match self {
            Self::Tus1 => tus1::content_fields(),
        }
    }

    /// The header fields of an answer.
    #[must_use]
    pub fn fields(self, response: &Response, settings: &Settings) -> HeaderMap {
        match self {
            Self::Tus1 => tus1::fields(response, settings),
        }
    }
}

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

/// Whether the request has content in a coding that changes its bytes (`Content-Encoding`).
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}
