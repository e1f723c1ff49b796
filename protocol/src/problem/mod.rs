//! Refusals (RFC 9457): every reason for which this server does not do what it was asked.
//!
//! One enum; what each variant means on the wire (address, status, title, code, explanation) is one
//! row of [`types`], and nothing else chooses a status for a refusal.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use crate::field::{Fault, FieldError};

pub mod types;

pub use types::{ALL_SLUGS, Type, explanation};

/// One refusal, with the data that its body tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A field of the header section, the query or a JSON body is not valid.
    ValidationFailed {
        /// The field's name.
        field: Cow<'static, str>,
        /// What is wrong with it; reads well behind the name.
        message: Cow<'static, str>,
    },
    /// The request is malformed as a whole.
    BadRequest {
        /// What is wrong with it.
        detail: Cow<'static, str>,
    },
    /// The body of an operation in JSON is of another type (contract, "Errors").
    NotJson,
    /// A body that has to be a form is not sent as one.
    NotAForm,
    /// The body of an operation in JSON is too large.
    BodyTooLarge {
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// Nobody is known to call: there is no token, or none that is good (contract, "Callers, projects,
    /// access").
    Unauthorized {
        /// What is wrong with the token, in words of ours and none of its own. `None`: there is none.
        fault: Option<&'static str>,
    },
    /// A page of another origin would act for the user whose browser it is in.
    ForeignOrigin,
    /// No access right for this.
    Forbidden,
    /// Nothing here, or nothing that the caller may know of (row T15).
    NotFound,
    /// The resource does not do this (row T23).
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: Cow<'static, str>,
    },
    /// The resource is served in another protocol only (RFC 9110, section 15.5.22).
    UpgradeRequired {
        /// The value of `Upgrade`.
        protocol: &'static str,
    },
    /// `If-Match` or `If-Unmodified-Since` does not hold (RFC 9110, section 13.1).
    PreconditionFailed,
    /// No byte of the range asked for exists (RFC 9110, section 15.5.17).
    RangeNotSatisfiable {
        /// The length of the content.
        length: u64,
    },
    /// The header section, or a field in it, is too large.
    HeaderTooLarge,
    /// `Tus-Resumable` is missing or another version (rows T2 and T3).
    UnsupportedVersion,
    /// Not the `Content-Type` of an append (row T11).
    InvalidContentType,
    /// An append with a `Content-Encoding`: offsets count the bytes that are sent.
    UnsupportedContentEncoding,
    /// An append without `Upload-Offset` (row T12).
    MissingOffset,
    /// `Upload-Offset` is not the upload's offset (row T13).
    OffsetMismatch {
        /// The upload's offset.
        expected: u64,
        /// The request's.
        provided: u64,
    },
    /// `Upload-Id` is the id of another upload (contract, "Cancel").
    IdTaken,
    /// The image waits for a worker or is being processed already (contract, "Processing queue").
    AlreadyQueued,
    /// A worker's report on an item that was cancelled before (contract, "Processing queue").
    CancelWon,
    /// A worker's report on an item that is not its any more (contract, "Processing queue").
    LeaseLost,
    /// A reader of a feed names a place that the feed has never had (contract, "Events").
    CursorUnknown,
    /// A creation that says nothing about its length (row T31).
    LengthRequired,
    /// A length declared anew is not the one declared before (row T41).
    LengthConflict {
        /// The one declared before.
        known: u64,
        /// The request's.
        declared: u64,
    },
    /// A deferred length declared below what is stored already (row T42).
    LengthBelowOffset {
        /// The upload's offset.
        offset: u64,
        /// The request's length.
        declared: u64,
    },
    /// More than an upload may have (rows T34, T43 and T112).
    TooLarge {
        /// The largest length, in bytes.
        limit: u64,
    },
    /// An append of another protocol than that in which the upload was created.
    OtherProtocol,
    /// An append to an upload of the draft that is complete (row R50).
    UploadCompleted,
    /// Less than a request may have after which more is to follow (row R22).
    AppendTooSmall {
        /// The least, in bytes.
        limit: u64,
    },
    /// An append past the upload's length, to the draft (row R46).
    PastLength {
        /// The upload's length.
        length: u64,
    },
    /// The bytes of the request do not have its `Content-Digest` (row R75).
    ContentDigestMismatch,
    /// The whole content does not have the `Repr-Digest` of the creation (row R76).
    DigestMismatch,
    /// An append past the upload's length (rows T21, T22 and T48).
    ExceedsLength {
        /// The upload's length.
        length: u64,
    },
    /// A checksum algorithm that is not offered (row T72).
    UnknownChecksumAlgorithm,
    /// The bytes of the append do not have the digest that was announced (rows T73 and T78).
    ChecksumMismatch,
    /// An append to an upload made of others (rows T106 and T113).
    FinalUpload,
    /// A part of a final upload is no partial upload of this server (row T111).
    InvalidPart {
        /// Its place in the list, from 1.
        part: usize,
    },
    /// A part of a final upload does not exist (row T111).
    PartNotFound {
        /// Its place in the list, from 1.
        part: usize,
    },
    /// The content was asked for before it was complete (contract, "Uploads").
    UploadIncomplete,
    /// The upload was cancelled (contract, "Cancel").
    UploadCancelled {
        /// The reason given by who cancelled it.
        reason: Option<String>,
        /// When, in milliseconds since the Unix epoch.
        at: Option<u64>,
    },
    /// The upload was not finished in time (row T63).
    UploadExpired,
    /// The upload can never become complete (row T114).
    UploadFailed,
    /// The caller's export of the project before this one has not ended (contract, "Export").
    ExportRunning {
        /// Its id.
        job: String,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The archive was asked for before it was whole (contract, "Export").
    ExportIncomplete,
    /// The export was cancelled (contract, "Cancel").
    ExportCancelled {
        /// The reason given by who cancelled it.
        reason: Option<String>,
        /// When, in milliseconds since the Unix epoch.
        at: Option<u64>,
    },
    /// The archive was kept for as long as archives are (contract, "Export").
    ExportExpired,
    /// The export has failed, and there is no archive (contract, "Export").
    ExportFailed,
    /// A newer request has taken the upload over. A 400, which clients do not retry, so that two
    /// senders never fight.
    UploadSuperseded,
    /// The sender was silent for too long, or too slow. A 503, which clients retry (row T17).
    UploadStalled,
    /// The request before did not let go of the upload in time (row T24).
    UploadBusy,
    /// No space is left for bytes. What was stored is kept.
    StorageFull,
    /// The project has as many bytes as it may have, or would have more. A 413, which clients do not
    /// retry: only somebody who removes something can help.
    QuotaExceeded {
        /// The most that it may have, in bytes.
        quota: u64,
        /// What it has, in bytes.
        used: u64,
    },
    /// The caller has as many unfinished uploads as he may have.
    TooManyUploads {
        /// The most that he may have.
        limit: u64,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The caller sends to as many uploads at once as he may.
    TooManyStreams {
        /// The most to which he may send.
        limit: u64,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The project has as many items in the queue as it may have.
    TooManyItems {
        /// The most that it may have.
        limit: u64,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The caller asks more often than he may.
    TooManyRequests {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The server is stopping.
    ShuttingDown {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The server cannot do this now.
    Unavailable {
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// Something failed that the client cannot mend. Told to the log, never to the client.
    Internal,
}

/// The value of an extension member of a problem's body (RFC 9457, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A string.
    Text(String),
    /// A number.
    Number(u64),
    /// A point in time, in milliseconds since the Unix epoch; written as RFC 3339.
    Time(u64),
}

impl Problem {
    /// A [`Problem::ValidationFailed`].
    #[must_use]
    pub fn validation(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::ValidationFailed {
            field: field.into(),
            message: message.into(),
        }
    }

    /// What is the same for every occurrence of this problem.
    #[must_use]
    pub fn kind(&self) -> &'static Type {
        match self {
            Self::ValidationFailed { .. } => &types::VALIDATION_FAILED,
            Self::BadRequest { .. } => &types::BAD_REQUEST,
            Self::NotJson => &types::NOT_JSON,
            Self::NotAForm => &types::NOT_A_FORM,
            Self::BodyTooLarge { .. } => &types::BODY_TOO_LARGE,
            Self::Unauthorized { .. } => &types::UNAUTHORIZED,
            Self::ForeignOrigin => &types::FOREIGN_ORIGIN,
            Self::Forbidden => &types::FORBIDDEN,
            Self::NotFound => &types::NOT_FOUND,
            Self::MethodNotAllowed { .. } => &types::METHOD_NOT_ALLOWED,
            Self::UpgradeRequired { .. } => &types::UPGRADE_REQUIRED,
            Self::PreconditionFailed => &types::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable { .. } => &types::RANGE_NOT_SATISFIABLE,
            Self::HeaderTooLarge => &types::HEADER_TOO_LARGE,
            Self::UnsupportedVersion => &types::UNSUPPORTED_VERSION,
            Self::InvalidContentType => &types::INVALID_CONTENT_TYPE,
            Self::UnsupportedContentEncoding => &types::UNSUPPORTED_CONTENT_ENCODING,
            Self::MissingOffset => &types::MISSING_OFFSET,
            Self::OffsetMismatch { .. } => &types::OFFSET_MISMATCH,
            Self::IdTaken => &types::ID_TAKEN,
            Self::AlreadyQueued => &types::ALREADY_QUEUED,
            Self::CancelWon => &types::CANCEL_WON,
            Self::LeaseLost => &types::LEASE_LOST,
            Self::CursorUnknown => &types::CURSOR_UNKNOWN,
            Self::LengthRequired => &types::LENGTH_REQUIRED,
            Self::LengthConflict { .. } => &types::LENGTH_CONFLICT,
            Self::LengthBelowOffset { .. } => &types::LENGTH_BELOW_OFFSET,
            Self::TooLarge { .. } => &types::UPLOAD_TOO_LARGE,
            Self::OtherProtocol => &types::OTHER_PROTOCOL,
            Self::UploadCompleted => &types::UPLOAD_COMPLETED,
            Self::AppendTooSmall { .. } => &types::APPEND_TOO_SMALL,
            Self::PastLength { .. } => &types::PAST_LENGTH,
            Self::ContentDigestMismatch => &types::CONTENT_DIGEST_MISMATCH,
            Self::DigestMismatch => &types::DIGEST_MISMATCH,
            Self::ExceedsLength { .. } => &types::EXCEEDS_LENGTH,
            Self::UnknownChecksumAlgorithm => &types::UNKNOWN_CHECKSUM_ALGORITHM,
            Self::ChecksumMismatch => &types::CHECKSUM_MISMATCH,
            Self::FinalUpload => &types::FINAL_UPLOAD,
            Self::InvalidPart { .. } => &types::INVALID_PART,
            Self::PartNotFound { .. } => &types::PART_NOT_FOUND,
            Self::UploadIncomplete => &types::UPLOAD_INCOMPLETE,
            Self::UploadCancelled { .. } => &types::UPLOAD_CANCELLED,
            Self::UploadExpired => &types::UPLOAD_EXPIRED,
            Self::UploadFailed => &types::UPLOAD_FAILED,
            Self::ExportRunning { .. } => &types::EXPORT_RUNNING,
            Self::ExportIncomplete => &types::EXPORT_INCOMPLETE,
            Self::ExportCancelled { .. } => &types::EXPORT_CANCELLED,
            Self::ExportExpired => &types::EXPORT_EXPIRED,
            Self::ExportFailed => &types::EXPORT_FAILED,
            Self::UploadSuperseded => &types::UPLOAD_SUPERSEDED,
            Self::UploadStalled => &types::UPLOAD_STALLED,
            Self::UploadBusy => &types::UPLOAD_BUSY,
            Self::StorageFull => &types::STORAGE_FULL,
            Self::QuotaExceeded { .. } => &types::QUOTA_EXCEEDED,
            Self::TooManyUploads { .. } => &types::TOO_MANY_UPLOADS,
            Self::TooManyStreams { .. } => &types::TOO_MANY_STREAMS,
            Self::TooManyItems { .. } => &types::TOO_MANY_ITEMS,
            Self::TooManyRequests { .. } => &types::TOO_MANY_REQUESTS,
            Self::ShuttingDown { .. } => &types::SHUTTING_DOWN,
            Self::Unavailable { .. } => &types::UNAVAILABLE,
            Self::Internal => &types::INTERNAL_ERROR,
        }
    }

    /// The last segment of the problem's address, `/problems/<slug>`.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        self.kind().slug
    }

    /// The problem's address (RFC 9457, section 3.1.1): the registered one, where the IETF draft has
    /// one for it, or else that of a page of this server.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "few are registered")]
    pub fn uri(&self) -> String {
        const REGISTRY: &str = "https://iana.org/assignments/http-problem-types#";
        match self {
            Self::OffsetMismatch { .. } => format!("{REGISTRY}mismatching-upload-offset"),
            Self::LengthConflict { .. } => format!("{REGISTRY}inconsistent-upload-length"),
            _ => format!("/problems/{}", self.slug()),
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        // Every row of the table holds a valid status, as a test proves.
        StatusCode::from_u16(self.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The reason phrase, for a status that has none of its own: tus names one for 460 (row T73).
    #[must_use]
    pub fn reason_phrase(&self) -> Option<&'static str> {
        matches!(self, Self::ChecksumMismatch).then_some("Checksum Mismatch")
    }

    /// A short summary, the same for every occurrence.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.kind().title
    }

    /// The name of the problem for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code
    }

    /// What happened this time, in a sentence for people.
    #[must_use]
    pub fn detail(&self) -> String {
        self.to_string()
    }

    /// Extension members of the body, in order.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most refusals have no members"
    )]
    pub fn members(&self) -> Vec<(&'static str, Member)> {
        match self {
            // The names that the IETF draft registers.
            Self::OffsetMismatch { expected, provided } => vec![
                ("expected-offset", Member::Number(*expected)),
                ("provided-offset", Member::Number(*provided)),
            ],
            Self::LengthConflict { known: length, .. }
            | Self::ExceedsLength { length }
            | Self::PastLength { length }
            | Self::RangeNotSatisfiable { length } => vec![("length", Member::Number(*length))],
            Self::LengthBelowOffset { offset, .. } => vec![("offset", Member::Number(*offset))],
            Self::TooLarge { limit }
            | Self::AppendTooSmall { limit }
            | Self::BodyTooLarge { limit } => {
                vec![("limit", Member::Number(*limit))]
            }
            Self::TooManyUploads { limit, .. }
            | Self::TooManyStreams { limit, .. }
            | Self::TooManyItems { limit, .. } => {
                vec![("limit", Member::Number(*limit))]
            }
            Self::QuotaExceeded { quota, used } => vec![
                ("quota", Member::Number(*quota)),
                ("used", Member::Number(*used)),
            ],
            Self::InvalidPart { part } | Self::PartNotFound { part } => {
                vec![("part", Member::Number(*part as u64))]
            }
            Self::ExportRunning { job, .. } => vec![("jobId", Member::Text(job.clone()))],
            Self::UploadCancelled { reason, at } | Self::ExportCancelled { reason, at } => {
                let reason = reason
                    .clone()
                    .map(|reason| ("reason", Member::Text(reason)));
                let at = at.map(|at| ("cancelledAt", Member::Time(at)));
                reason.into_iter().chain(at).collect()
            }
            _ => Vec::new(),
        }
    }

    /// For a failed validation, the field and what is wrong with it (contract, "Errors").
    #[must_use]
    pub fn errors(&self) -> Option<(&str, &str)> {
        let Self::ValidationFailed { field, message } = self else {
            return None;
        };
        Some((field, message))
    }

    /// The value of `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let (Self::ShuttingDown { retry_after }
        | Self::Unavailable { retry_after }
        | Self::TooManyUploads { retry_after, .. }
        | Self::TooManyStreams { retry_after, .. }
        | Self::TooManyItems { retry_after, .. }
        | Self::ExportRunning { retry_after, .. }
        | Self::TooManyRequests { retry_after }) = self
        else {
            return None;
        };
        Some(*retry_after)
    }

    /// The value of `Allow`.
    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        let Self::MethodNotAllowed { allow } = self else {
            return None;
        };
        Some(allow)
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3).
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        let Self::Unauthorized { fault } = self else {
            return None;
        };
        let challenge = String::from("Bearer realm=\"tidegate\"");
        Some(match fault {
            None => challenge,
            Some(fault) => {
                format!("{challenge}, error=\"invalid_token\", error_description=\"{fault}\"")
            }
        })
    }

    /// The value of `Upgrade`.
    #[must_use]
    pub fn upgrade(&self) -> Option<&'static str> {
        let Self::UpgradeRequired { protocol } = self else {
            return None;
        };
        Some(*protocol)
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        if error.fault == Fault::UnknownAlgorithm {
            return Self::UnknownChecksumAlgorithm;
        }
        if matches!(error.fault, Fault::TooLong { .. }) {
            return Self::HeaderTooLarge;
        }
        Self::validation(error.name, error.fault.to_string())
    }
}

impl fmt::Display for Problem {
    /// Writes the detail.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most have nothing particular to tell"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValidationFailed { field, message } => write!(f, "{field}: {message}."),
            Self::BadRequest { detail } => f.write_str(detail),
            Self::Unauthorized { fault: Some(fault) } => write!(f, "{fault}."),
            Self::MethodNotAllowed { allow } => write!(f, "Allowed here: {allow}."),
            Self::UpgradeRequired { protocol } => {
                write!(f, "This is only served over `{protocol}`, on HTTP/1.1.")
            }
            Self::RangeNotSatisfiable { length } => {
                write!(f, "The content is {length} bytes long.")
            }
            Self::OffsetMismatch { expected, provided } => {
                write!(
                    f,
                    "The upload is at offset {expected}, the request starts at {provided}."
                )
            }
            Self::LengthConflict { known, declared } => {
                write!(
                    f,
                    "The upload's length is {known}, the request says {declared}."
                )
            }
            Self::LengthBelowOffset { offset, declared } => {
                write!(
                    f,
                    "{offset} bytes are stored, the request declares a length of {declared}."
                )
            }
            Self::TooLarge { limit } | Self::BodyTooLarge { limit } => {
                write!(f, "The limit is {limit} bytes.")
            }
            Self::AppendTooSmall { limit } => {
                write!(
                    f,
                    "At least {limit} bytes, or none, while more is to follow."
                )
            }
            Self::ExceedsLength { length } | Self::PastLength { length } => {
                write!(
                    f,
                    "The request has more bytes than the upload's length of {length} allows."
                )
            }
            Self::InvalidPart { part } => {
                write!(
                    f,
                    "Part {part} of the list is not a partial upload of this server."
                )
            }
            Self::PartNotFound { part } => write!(f, "Part {part} of the list does not exist."),
            Self::UploadCancelled {
                reason: Some(reason),
                ..
            } => {
                write!(f, "The upload was cancelled: {reason}")
            }
            Self::ExportCancelled {
                reason: Some(reason),
                ..
            } => {
                write!(f, "The export was cancelled: {reason}")
            }
            Self::QuotaExceeded { quota, used } => {
                write!(f, "The project may have {quota} bytes and has {used}.")
            }
            Self::TooManyUploads { limit, .. } => {
                write!(f, "{limit} unfinished uploads are the most at once.")
            }
            Self::TooManyStreams { limit, .. } => {
                write!(f, "{limit} uploads are the most to send to at once.")
            }
            Self::TooManyItems { limit, .. } => {
                write!(f, "{limit} items of one project are the most in the queue.")
            }
            Self::TooManyRequests { retry_after } => {
                write!(f, "Try again in {retry_after} s.")
            }
            Self::ShuttingDown { retry_after } => {
                write!(f, "The server is stopping. Try again in {retry_after} s.")
            }
            Self::Unavailable { retry_after } => {
                write!(
                    f,
                    "The server cannot do this now. Try again in {retry_after} s."
                )
            }
            _ => f.write_str(self.kind().summary),
        }
    }
}

impl std::error::Error for Problem {}
