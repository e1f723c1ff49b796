//! What is answered, in the same words for every dialect.

use http::StatusCode;

use crate::field::length::Length;
use crate::problem::Problem;

/// One answer, before a dialect gives it its header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`crate::request::Request::Discover`].
    Discovered,
    /// The upload exists from now on.
    Created {
        /// Absolute URL of the upload.
        location: String,
        /// The upload as it stands after any bytes of the request.
        resource: Resource,
        /// Whether the request carried content, so that the offset is news to the client.
        appended: bool,
    },
    /// The client has made this upload before, with the same `Upload-Id`.
    Existed {
        /// Absolute URL of the upload.
        location: String,
        /// The upload as it stands.
        resource: Resource,
    },
    /// To [`crate::request::Request::Retrieve`].
    Retrieved(Resource),
    /// The content of the request is stored.
    Appended(Resource),
    /// The upload has ended and its bytes are going or gone.
    Cancelled,
    /// Nothing, or not all, of what was asked has been done.
    Refused {
        /// Why.
        problem: Problem,
        /// Absolute URL of the upload, where the client can go on with it and may not know it yet.
        location: Option<String>,
        /// The upload as it stands, where the client may know it.
        resource: Option<Resource>,
    },
}

impl Response {
    /// The status, in the one place that chooses it. A dialect overrides it only where its rows
    /// say so.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Discovered | Self::Appended(_) | Self::Cancelled => StatusCode::NO_CONTENT,
            Self::Created { .. } => StatusCode::CREATED,
            Self::Existed { .. } | Self::Retrieved(_) => StatusCode::OK,
            Self::Refused { problem, .. } => problem.status(),
        }
    }
}

/// What a client is told about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Committed bytes. `None` while a final upload waits for its parts (row T105).
    pub offset: Option<u64>,
    /// Whether it is complete.
    pub complete: bool,
    /// The SHA-256 of a complete one, in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Its length. `None` only for a final upload with a part of unknown length.
    pub length: Option<Length>,
    /// The creation's metadata field, byte for byte. Empty: there was none.
    pub metadata: String,
    /// The creation's `Upload-Concat` field, byte for byte.
    pub concat: Option<String>,
    /// When it will be removed, in seconds since the Unix epoch. `None`: it stays.
    pub expires_at: Option<u64>,
    /// The same in seconds from now.
    pub expires_in: Option<u64>,
}

/// What is told ahead of the answer, while the content of a request still comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interim<'a> {
    /// The upload exists from now on.
    Created {
        /// Absolute URL of the upload; the one that the answer will tell.
        location: &'a str,
        /// In how many seconds it will be removed, as in [`Resource`].
        expires_in: Option<u64>,
    },
    /// So many bytes are committed.
    Progress {
        /// The committed offset.
        offset: u64,
    },
}
