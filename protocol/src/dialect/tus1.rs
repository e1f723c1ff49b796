//! tus 1.0.0 with its extensions: creation, creation-with-upload, creation-defer-length,
//! expiration, checksum, checksum-trailer, termination, concatenation, concatenation-unfinished.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    Settings, Target, UPLOAD_LENGTH, UPLOAD_OFFSET, effective_method, is_encoded, put_digest,
    put_location,
};
use crate::field::checksum::{self, Checksum};
use crate::field::concat::Concat;
use crate::field::id::Id;
use crate::field::length::Length;
use crate::field::metadata::Metadata;
use crate::field::{date, media, name, offset};
use crate::problem::Problem;
use crate::request::{
    Append, Completion, Create, Expected, NewContent, Overrun, Protocol, Request, Retrieve,
    Unfinished,
};
use crate::response::{Resource, Response};
use crate::upload::{Facts, Upload};

/// The version, and the list of versions.
pub const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// Every extension. Without spaces: there are clients that do not trim (row H7).
pub const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,\
     checksum,checksum-trailer,termination,concatenation,concatenation-unfinished";

/// The media type of an append.
pub const MEDIA_TYPE: &str = "application/offset+octet-stream";

pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static(name::UPLOAD_DEFER_LENGTH);
const UPLOAD_METADATA: HeaderName = HeaderName::from_static(name::UPLOAD_METADATA);
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static(name::UPLOAD_CONCAT);

/// Decodes a request, in the order of checks that fixes which error wins: method override,
/// OPTIONS, version (412), method (405), header fields (400, 415, 413).
pub(super) fn decode(
    head: &Parts,
    target: Target,
    content_length: Option<u64>,
    settings: &Settings,
) -> Result<Request, Problem> {
    let method = effective_method(head)?;
    if method == Method::OPTIONS {
        return Ok(Request::Discover);
    }
    check_version(&method, &head.headers)?;
    match (target, method) {
        (Target::Creation | Target::Collection, Method::POST) => {
            create(&head.headers, content_length, settings)
        }
        (Target::Upload, Method::HEAD) => Ok(Request::Retrieve(Retrieve::Quietly)),
        (Target::Upload, Method::GET) => Ok(Request::Read(Unfinished::Refused)),
        (Target::Upload, Method::PATCH) => append(&head.headers, content_length),
        (Target::Upload, Method::DELETE) => Ok(Request::Cancel { again: true }),
        (target, _) => Err(target.refuses_method()),
    }
}

/// Rows T2 to T4: reading needs no version, but must not claim another one.
fn check_version(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let mut versions = headers.get_all(TUS_RESUMABLE).iter();
    match (versions.next(), versions.next()) {
        (Some(version), None) if *version == VERSION => Ok(()),
        (None, _) if *method == Method::HEAD || *method == Method::GET => Ok(()),
        _ => Err(Problem::UnsupportedVersion),
    }
}

fn create(
    headers: &HeaderMap,
    content_length: Option<u64>,
    settings: &Settings,
) -> Result<Request, Problem> {
    let id = Id::from_headers(headers)?;
    let length = Length::declared(headers)?;
    let concat = Concat::from_headers(headers)?;
    let metadata = Metadata::from_headers(headers, settings.metadata_bytes_max)?;
    // Another media type is a default of some client's stack: its content is not an append (T46).
    let carries = media::is(headers, MEDIA_TYPE);
    let partial = concat == Some(Concat::Partial);
    if let Some(Concat::Final(parts)) = concat {
        if carries {
            return Err(Problem::FinalUpload);
        }
        if length.is_some() {
            return Err(Problem::ValidationFailed {
                field: name::UPLOAD_LENGTH.into(),
                message: "a final upload's length is that of its parts".into(),
            });
        }
        let content = NewContent::Concatenated(parts);
        return Ok(Request::Create(Create {
            id,
            content,
            metadata,
            protocol: Protocol::Tus,
            digest: None,
            append: None,
        }));
    }
    let length = length.ok_or(Problem::LengthRequired)?;
    if let (Some(length), Some(limit)) = (length.known(), settings.limits.size_max)
        && length > limit
    {
        return Err(Problem::TooLarge { limit });
    }
    let append = carries
        .then(|| content(headers, 0, None, content_length))
        .transpose()?;
    // Once there is an upload it is too late to refuse its first append (row T48).
    if let Some(append) = &append {
        let new = Facts {
            offset: 0,
            length: length.known(),
            complete: false,
            concatenated: false,
            has_digest: false,
            protocol: Protocol::Tus,
        };
        Upload::new(new, settings.limits).handle_append(append)?;
    }
    let content = NewContent::Appended { length, partial };
    Ok(Request::Create(Create {
        id,
        content,
        metadata,
        protocol: Protocol::Tus,
        digest: None,
        append,
    }))
}

fn append(headers: &HeaderMap, content_length: Option<u64>) -> Result<Request, Problem> {
    if !media::is(headers, MEDIA_TYPE) {
        return Err(Problem::InvalidContentType);
    }
    let at = offset::count(headers, name::UPLOAD_OFFSET)?.ok_or(Problem::MissingOffset)?;
    // Upload-Defer-Length may be repeated here and says nothing (row T18a).
    let length = offset::count(headers, name::UPLOAD_LENGTH)?;
    Ok(Request::Append(content(
        headers,
        at,
        length,
        content_length,
    )?))
}

fn content(
    headers: &HeaderMap,
    offset: u64,
    length: Option<u64>,
    content_length: Option<u64>,
) -> Result<Append, Problem> {
    if is_encoded(headers) {
        return Err(Problem::UnsupportedContentEncoding);
    }
    let checksum = match (
        Checksum::from_headers(headers)?,
        checksum::is_announced(headers),
    ) {
        (Some(_), true) => {
            return Err(Problem::ValidationFailed {
                field: name::UPLOAD_CHECKSUM.into(),
                message: "must be in the header or in the trailer, not in both".into(),
            });
        }
        (Some(checksum), false) => Some(Expected::Header(checksum)),
        (None, true) => Some(Expected::Trailer),
        (None, false) => None,
    };
    Ok(Append {
        offset,
        length,
        content_length,
        checksum,
        completion: Completion::AtLength,
        overrun: Overrun::KeepToLength,
    })
}

/// Row T1: content names the version too.
pub(super) fn content_fields() -> HeaderMap {
    HeaderMap::from_iter([(TUS_RESUMABLE, VERSION)])
}

/// The header fields of an answer.
pub(super) fn fields(response: &Response, settings: &Settings) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(12);
    fields.insert(TUS_RESUMABLE, VERSION);
    fields.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    match response {
        Response::Discovered => discovered(&mut fields, settings),
        Response::Created {
            location,
            resource,
            appended,
        } => {
            put_location(&mut fields, location);
            if *appended {
                put_offset(&mut fields, resource);
            }
            put_expiry(&mut fields, resource);
            put_digest(&mut fields, resource);
        }
        Response::Existed { location, resource } => {
            put_location(&mut fields, location);
            put_offset(&mut fields, resource);
            put_expiry(&mut fields, resource);
            put_digest(&mut fields, resource);
        }
        Response::Retrieved(resource) => {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            put_offset(&mut fields, resource);
            put_expiry(&mut fields, resource);
            put_digest(&mut fields, resource);
            retrieved(&mut fields, resource);
        }
        Response::Appended(resource) => {
            put_offset(&mut fields, resource);
            put_expiry(&mut fields, resource);
            put_digest(&mut fields, resource);
        }
        Response::Cancelled => {}
        Response::Refused {
            problem,
            location,
            resource,
        } => {
            if *problem == Problem::UnsupportedVersion {
                fields.insert(TUS_VERSION, VERSION);
            }
            if let Some(location) = location {
                put_location(&mut fields, location);
            }
            if let Some(resource) = resource {
                put_offset(&mut fields, resource);
                put_expiry(&mut fields, resource);
            }
        }
    }
    fields
}

fn discovered(fields: &mut HeaderMap, settings: &Settings) {
    fields.insert(TUS_VERSION, VERSION);
    fields.insert(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    fields.insert(
        TUS_CHECKSUM_ALGORITHM,
        HeaderValue::from_static(checksum::OFFERED),
    );
    if let Some(limit) = settings.limits.size_max {
        fields.insert(TUS_MAX_SIZE, HeaderValue::from(limit));
    }
}

fn retrieved(fields: &mut HeaderMap, resource: &Resource) {
    match resource.length {
        Some(Length::Known(length)) => {
            fields.insert(UPLOAD_LENGTH, HeaderValue::from(length));
        }
        Some(Length::Deferred) => {
            fields.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1"));
        }
        None => {}
    }
    // Both were valid field values when they came in, and are kept byte for byte (T36, T104).
    if let Ok(metadata) = HeaderValue::from_bytes(resource.metadata.as_bytes())
        && !metadata.is_empty()
    {
        fields.insert(UPLOAD_METADATA, metadata);
    }
    if let Some(concat) = &resource.concat
        && let Ok(concat) = HeaderValue::from_str(concat)
    {
        fields.insert(UPLOAD_CONCAT, concat);
    }
}

fn put_offset(fields: &mut HeaderMap, resource: &Resource) {
    if let Some(offset) = resource.offset {
        fields.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    }
}

fn put_expiry(fields: &mut HeaderMap, resource: &Resource) {
    if let Some(seconds) = resource.expires_at {
        fields.insert(UPLOAD_EXPIRES, date::value(seconds));
    }
}
