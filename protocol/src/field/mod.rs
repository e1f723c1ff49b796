//! Header fields: one file, one parsed type each.
//!
//! The one invariant: what a function here returns is valid, and whatever bytes it was given, it
//! returned. A parser of one field comes twice: as a plain function over bytes, for tests, fuzzing
//! and stored values, and as a function over a header map, which also refuses a repeated field line
//! and names the field.
//!
//! | field | file | specification |
//! |---|---|---|
//! | `Upload-Offset` and every other count | [`offset`] | tus 1.0.0, "Headers" |
//! | `Upload-Length`, `Upload-Defer-Length` | [`length`] | tus 1.0.0, "Creation" |
//! | `Upload-Metadata` | [`metadata`] | tus 1.0.0, "Creation" |
//! | `Upload-Checksum` | [`checksum`] | tus 1.0.0, "Checksum" |
//! | `Upload-Concat` | [`concat`](mod@concat) | tus 1.0.0, "Concatenation" |
//! | `Upload-Id` | [`id`] | ours: no protocol has it |
//! | `Upload-Expires`, `Last-Modified` | [`date`] | RFC 9110, section 5.6.7 |
//! | `Range`, `Content-Range` | [`range`] | RFC 9110, section 14 |
//! | `If-Match` and its like | [`precondition`] | RFC 9110, section 13 |
//! | `Content-Type` | [`media`] | RFC 9110, section 8.3 |
//! | `Accept-Encoding` | [`coding`] | RFC 9110, section 12.5.3 |
//! | `Content-Disposition` | [`disposition`] | RFC 6266 |
//! | every field of the IETF draft, digests | [`structured`] | RFC 9651, RFC 9530 |

use http::{HeaderMap, HeaderValue};

pub mod checksum;
pub mod coding;
pub mod concat;
pub mod date;
pub mod display;
pub mod disposition;
pub mod id;
pub mod length;
pub mod media;
pub mod metadata;
pub mod offset;
pub mod precondition;
pub mod range;
pub mod structured;

/// Names of the fields parsed here, in the lower case in which a header map keeps them.
pub mod name {
    /// RFC 9530, section 2.
    pub const CONTENT_DIGEST: &str = "content-digest";
    /// RFC 9530, section 3.
    pub const REPR_DIGEST: &str = "repr-digest";
    /// tus 1.0.0, "Checksum".
    pub const UPLOAD_CHECKSUM: &str = "upload-checksum";
    /// IETF draft, "Upload-Complete".
    pub const UPLOAD_COMPLETE: &str = "upload-complete";
    /// tus 1.0.0, "Concatenation".
    pub const UPLOAD_CONCAT: &str = "upload-concat";
    /// tus 1.0.0, "Creation" (creation-defer-length).
    pub const UPLOAD_DEFER_LENGTH: &str = "upload-defer-length";
    /// IETF draft, "Draft Version Identification".
    pub const UPLOAD_DRAFT_INTEROP_VERSION: &str = "upload-draft-interop-version";
    /// Ours.
    pub const UPLOAD_ID: &str = "upload-id";
    /// IETF draft up to interop version 3.
    pub const UPLOAD_INCOMPLETE: &str = "upload-incomplete";
    /// tus 1.0.0, "Creation".
    pub const UPLOAD_LENGTH: &str = "upload-length";
    /// IETF draft, "Upload-Limit".
    pub const UPLOAD_LIMIT: &str = "upload-limit";
    /// tus 1.0.0, "Creation".
    pub const UPLOAD_METADATA: &str = "upload-metadata";
    /// tus 1.0.0, "Core Protocol".
    pub const UPLOAD_OFFSET: &str = "upload-offset";
}

/// A field that cannot be used: which, and why. Becomes a [`crate::problem::Problem`] with `From`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {fault}")]
pub struct FieldError {
    /// The field's name, in lower case.
    pub name: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field's value. The texts are shown to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A second field line, where the field allows one.
    #[error("may appear only once")]
    Repeated,
    /// Control characters, or bytes that are not UTF-8.
    #[error("contains characters that are not allowed")]
    NotText,
    /// More bytes than this server takes for the field.
    #[error("is longer than {bytes_max} bytes")]
    TooLong {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// Not `1*DIGIT`.
    #[error("must be a non-negative decimal number")]
    NotCount,
    /// `1*DIGIT`, but past [`offset::MAX`].
    #[error("must not be larger than 9223372036854775807")]
    TooLarge,
    /// `Upload-Defer-Length` other than `1` (row T33).
    #[error("must be 1")]
    NotOne,
    /// `Upload-Defer-Length` beside `Upload-Length` (row T32).
    #[error("must not be sent together with upload-length")]
    BesideLength,
    /// `Upload-Id` other than a random UUID in canonical form.
    #[error("must be a random (version 4) UUID in lower case")]
    NotUuid,
    /// A metadata pair without a key (row H4).
    #[error("contains an empty key")]
    EmptyKey,
    /// A metadata key used twice (row H4).
    #[error("contains the same key twice")]
    DuplicateKey,
    /// A metadata pair that is not a key, or a key, one space and a value (row H4).
    #[error("must hold pairs of a key, one space and a value, separated by commas")]
    NotPair,
    /// Not standard base64 with padding.
    #[error("must use standard base64 with padding")]
    NotBase64,
    /// Not an algorithm, a space and a digest (row H10).
    #[error("must be an algorithm, one space and the digest in base64")]
    NotChecksum,
    /// A checksum algorithm this server does not offer (row T72).
    #[error("names an algorithm that is not offered")]
    UnknownAlgorithm,
    /// A digest of another length than its algorithm makes (row H10).
    #[error("holds a digest of the wrong length for its algorithm")]
    WrongDigestLength,
    /// Neither `partial` nor `final;` and a list (row H12).
    #[error("must be partial, or final; and a list of URLs separated by spaces")]
    NotConcat,
    /// A final upload without a part (row H12).
    #[error("must name at least one part")]
    NoParts,
    /// A final upload with too many parts (row T117).
    #[error("must not name more than {parts_max} parts")]
    TooManyParts {
        /// The bound.
        parts_max: usize,
    },
}

impl Fault {
    /// This fault, found in the field `name`.
    #[must_use]
    pub fn of(self, name: &'static str) -> FieldError {
        FieldError { name, fault: self }
    }
}

/// The value of a field that allows one field line only.
///
/// # Errors
///
/// [`Fault::Repeated`] for a second line, even one with the same value: a proxy and this server
/// might otherwise believe different ones.
pub fn sole<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h HeaderValue>, FieldError> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(Fault::Repeated.of(name));
    }
    Ok(first)
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1) without blanks around them.
/// Empty elements are kept; quoted strings are not known here.
fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(trim)
}

/// The byte that two hexadecimal digits stand for.
fn byte_of(high: u8, low: u8) -> Option<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(nibble(high)? * 16 + nibble(low)?).ok()
}

/// The text without optional whitespace (RFC 9110, section 5.6.3) at its ends.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
