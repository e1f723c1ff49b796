//! "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload), in all its interop versions.
//!
//! Interop version 9 is that of draft -12. Rows R1 to R85 are quoted by number.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    ACCEPT_PATCH, Settings, Target, UPLOAD_LENGTH, UPLOAD_OFFSET, effective_method, is_encoded,
    put_digest, put_location,
};
use crate::field::id::Id;
use crate::field::length::Length;
use crate::field::metadata::Metadata;
use crate::field::{Fault, disposition, media, name, structured};
use crate::problem::Problem;
use crate::request::{
    Append, Completion, Create, Expected, NewContent, Overrun, Protocol, Request, Retrieve,
    Unfinished,
};
use crate::response::{Interim, Resource, Response};
use crate::upload::{Facts, Upload};

/// The media type of an append.
pub const MEDIA_TYPE: &str = "application/partial-upload";

/// The key of the metadata under which the `Content-Encoding` of the content is kept (row R24).
pub const CONTENT_ENCODING: &str = "content-encoding";

/// The key for its `Content-Language`.
pub const CONTENT_LANGUAGE: &str = "content-language";

/// The newest version in [`VERSIONS`].
pub const NEWEST: u64 = 9;

const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static(name::UPLOAD_COMPLETE);
const UPLOAD_INCOMPLETE: HeaderName = HeaderName::from_static(name::UPLOAD_INCOMPLETE);
const UPLOAD_LIMIT: HeaderName = HeaderName::from_static(name::UPLOAD_LIMIT);
const INTEROP_VERSION: HeaderName = HeaderName::from_static(name::UPLOAD_DRAFT_INTEROP_VERSION);

/// How one interop version differs from the others, as far as clients of it exist.
#[derive(Debug)]
struct Version {
    /// As in `Upload-Draft-Interop-Version`.
    number: u64,
    completeness: Completeness,
    omitted: Omitted,
    media_type: MediaType,
    /// The rules of an upload that is created in it.
    protocol: Protocol,
    /// The status of an append after which more is to follow.
    appended: StatusCode,
    overrun: Overrun,
    /// What of an append HEAD and DELETE must not carry (row R33).
    retrieval: Retrieval,
    /// Whether it knows 104 with an offset (row R13).
    progress: Progress,
}

/// The field that says whether this is the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    /// `Upload-Incomplete`: `?1` means that more is to follow.
    Inverted,
    /// `Upload-Complete`.
    Plain,
}

/// What an append without that field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omitted {
    /// It is the last one.
    Last,
    /// It is the last one if it declares a length and ends there: tus-js-client sends the end of a
    /// stream like this.
    LastAtLength,
    /// It is not valid.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Any,
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retrieval {
    /// Neither the offset nor whether this is the last request.
    Strict,
    /// Nor the length.
    Strictest,
    Lenient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unknown,
    Known,
}

const V3: Version = Version {
    number: 3,
    completeness: Completeness::Inverted,
    omitted: Omitted::Last,
    media_type: MediaType::Any,
    protocol: Protocol::EarlyDraft,
    appended: StatusCode::CREATED,
    overrun: Overrun::KeepToLength,
    retrieval: Retrieval::Strict,
    progress: Progress::Unknown,
};

const V4: Version = Version {
    number: 4,
    completeness: Completeness::Plain,
    omitted: Omitted::LastAtLength,
    ..V3
};

const V5: Version = Version {
    number: 5,
    progress: Progress::Known,
    ..V4
};

const V6: Version = Version {
    number: 6,
    media_type: MediaType::Required,
    retrieval: Retrieval::Strictest,
    ..V5
};

const V7: Version = Version {
    number: 7,
    omitted: Omitted::Refused,
    protocol: Protocol::Draft,
    appended: StatusCode::NO_CONTENT,
    overrun: Overrun::Invalidate,
    retrieval: Retrieval::Lenient,
    ..V6
};

const V8: Version = Version { number: 8, ..V7 };

const V9: Version = Version {
    number: NEWEST,
    ..V8
};

/// Every version that is known.
static VERSIONS: [Version; 7] = [V3, V4, V5, V6, V7, V8, V9];

/// The interop version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interop {
    /// As the client says; `None` if it says nothing.
    number: Option<u64>,
}

impl Interop {
    /// For a request that says nothing of it.
    pub const UNTOLD: Self = Self { number: None };

    fn of(headers: &HeaderMap) -> Self {
        Self {
            number: structured::count(headers, name::UPLOAD_DRAFT_INTEROP_VERSION),
        }
    }

    /// What the version asks for. One that is not known, and none, is taken for the newest.
    fn version(self) -> &'static Version {
        let known = VERSIONS
            .iter()
            .find(|version| Some(version.number) == self.number);
        known.unwrap_or(&V9)
    }

    /// The number to answer, if it is one that this server speaks.
    fn spoken(self, settings: &Settings) -> Option<u64> {
        let newest = settings.interop_max.max(NEWEST);
        self.number
            .filter(|number| (V3.number..=newest).contains(number))
    }
}

/// The version of a request that speaks this dialect; `None` if it does not (§2.9 of the rows).
pub(super) fn detect(headers: &HeaderMap) -> Option<Interop> {
    let speaks = [
        name::UPLOAD_COMPLETE,
        name::UPLOAD_INCOMPLETE,
        name::UPLOAD_DRAFT_INTEROP_VERSION,
    ];
    let speaks = speaks.iter().any(|name| headers.contains_key(*name));
    (speaks || media::is(headers, MEDIA_TYPE)).then(|| Interop::of(headers))
}

/// Decodes a request, in the order of checks that fixes which error wins: method override,
/// OPTIONS, method (405), header fields (400, 415), sizes (413, 400).
pub(super) fn decode(
    interop: Interop,
    head: &Parts,
    target: Target,
    content_length: Option<u64>,
    settings: &Settings,
) -> Result<Request, Problem> {
    let method = effective_method(head)?;
    if method == Method::OPTIONS {
        return Ok(Request::Discover);
    }
    let (version, headers) = (interop.version(), &head.headers);
    match (target, method) {
        (Target::Creation | Target::Collection, Method::POST | Method::PUT) => {
            create(version, headers, content_length, settings)
        }
        (Target::Upload, Method::HEAD) => {
            check_retrieval(version, headers)?;
            Ok(Request::Retrieve(Retrieve::Finally))
        }
        (Target::Upload, Method::GET) => Ok(Request::Read(match detect(headers) {
            Some(_) => Unfinished::Retrieved,
            // Anybody who looks at it, with any client.
            None => Unfinished::Described,
        })),
        (Target::Upload, Method::PATCH) => append(version, headers, content_length),
        (Target::Upload, Method::DELETE) => {
            check_retrieval(version, headers)?;
            Ok(Request::Cancel { again: false })
        }
        (target, _) => Err(target.refuses_method()),
    }
}

/// Row R33.
fn check_retrieval(version: &Version, headers: &HeaderMap) -> Result<(), Problem> {
    let appends = [
        name::UPLOAD_OFFSET,
        completeness_name(version),
        name::UPLOAD_LENGTH,
    ];
    let refused = match version.retrieval {
        Retrieval::Strict => &appends[..2],
        Retrieval::Strictest => &appends,
        Retrieval::Lenient => &[],
    };
    match refused.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => Err(Problem::validation(*name, "belongs to an append")),
        None => Ok(()),
    }
}

fn create(
    version: &Version,
    headers: &HeaderMap,
    content_length: Option<u64>,
    settings: &Settings,
) -> Result<Request, Problem> {
    let id = Id::from_headers(headers)?;
    let metadata = metadata(headers, settings)?;
    let completion = completion(version, headers).ok_or_else(|| untold(version))?;
    let declared = structured::count(headers, name::UPLOAD_LENGTH);
    let digest = structured::sha256(headers, name::REPR_DIGEST);
    let append = Append {
        offset: 0,
        length: None,
        content_length,
        checksum: structured::sha256(headers, name::CONTENT_DIGEST).map(Expected::Header),
        completion,
        overrun: version.overrun,
    };
    if let (Some(length), Some(limit)) = (declared, settings.limits.size_max)
        && length > limit
    {
        return Err(Problem::TooLarge { limit });
    }
    // Nothing is there yet that could be invalidated, so this refuses all that is known to end in a
    // refusal (rows R19 to R22).
    let new = Facts {
        offset: 0,
        length: declared,
        complete: false,
        concatenated: false,
        has_digest: digest.is_some(),
        protocol: version.protocol,
    };
    Upload::new(new, settings.limits).handle_append(&append)?;
    if let (Some(length), Some(content)) = (declared, content_length)
        && content > length
    {
        return Err(Problem::PastLength { length });
    }
    let length = declared.or_else(|| content_length.filter(|_| completion == Completion::AtEnd));
    let is_nothing =
        content_length == Some(0) && completion == Completion::Later && append.checksum.is_none();
    Ok(Request::Create(Create {
        id,
        content: NewContent::Appended {
            length: Length::from(length),
            partial: false,
        },
        metadata,
        protocol: version.protocol,
        digest,
        append: (!is_nothing).then_some(append),
    }))
}

fn append(
    version: &Version,
    headers: &HeaderMap,
    content_length: Option<u64>,
) -> Result<Request, Problem> {
    if version.media_type == MediaType::Required && !media::is(headers, MEDIA_TYPE) {
        return Err(Problem::InvalidContentType);
    }
    if is_encoded(headers) {
        return Err(Problem::UnsupportedContentEncoding);
    }
    let offset = structured::count(headers, name::UPLOAD_OFFSET).ok_or(Problem::MissingOffset)?;
    let declared = structured::count(headers, name::UPLOAD_LENGTH);
    let end = content_length.map(|content| offset.saturating_add(content));
    let completion = match (completion(version, headers), version.omitted) {
        (Some(completion), _) => completion,
        (None, Omitted::Last) => Completion::AtEnd,
        (None, Omitted::LastAtLength) if declared.is_some() && declared == end => Completion::AtEnd,
        (None, Omitted::LastAtLength | Omitted::Refused) => return Err(untold(version)),
    };
    Ok(Request::Append(Append {
        offset,
        // Row R49.
        length: declared.or_else(|| end.filter(|_| completion == Completion::AtEnd)),
        content_length,
        checksum: structured::sha256(headers, name::CONTENT_DIGEST).map(Expected::Header),
        completion,
        overrun: version.overrun,
    }))
}

fn completeness_name(version: &Version) -> &'static str {
    match version.completeness {
        Completeness::Inverted => name::UPLOAD_INCOMPLETE,
        Completeness::Plain => name::UPLOAD_COMPLETE,
    }
}

fn completion(version: &Version, headers: &HeaderMap) -> Option<Completion> {
    let told = structured::boolean(headers, completeness_name(version))?;
    Some(
        match told == (version.completeness == Completeness::Plain) {
            true => Completion::AtEnd,
            false => Completion::Later,
        },
    )
}

fn untold(version: &Version) -> Problem {
    Problem::validation(completeness_name(version), "must be ?0 or ?1")
}

/// Row R24: what the header section says of the content, in the words of `Upload-Metadata`, which
/// tells what the other fields do not (row R27).
fn metadata(headers: &HeaderMap, settings: &Settings) -> Result<Metadata, Problem> {
    // A list may come in several lines (RFC 9110, section 5.3).
    let text = |name: HeaderName| {
        let lines = headers.get_all(name).iter().map(HeaderValue::to_str);
        let value = lines.collect::<Result<Vec<_>, _>>().ok()?.join(", ");
        (!value.is_empty()).then_some(value)
    };
    let bytes_max = settings.metadata_bytes_max;
    let sent = Metadata::from_headers(headers, bytes_max)?;
    let file_name = text(header::CONTENT_DISPOSITION);
    let content_type = text(header::CONTENT_TYPE).filter(|text| !media::is_same(text, MEDIA_TYPE));
    let told = [
        (
            "filename",
            file_name.and_then(|text| disposition::file_name(&text)),
        ),
        ("filetype", content_type),
        (CONTENT_ENCODING, text(header::CONTENT_ENCODING)),
        (CONTENT_LANGUAGE, text(header::CONTENT_LANGUAGE)),
    ];
    let told = told
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let metadata = told.fold(Metadata::default(), |metadata, (key, value)| {
        metadata.with(key, &value)
    });
    let metadata = metadata.or(&sent);
    match metadata.raw().len() > bytes_max {
        true => Err(Fault::TooLong { bytes_max }
            .of(name::UPLOAD_METADATA)
            .into()),
        false => Ok(metadata),
    }
}

/// The problem in the words of this dialect, which has statuses of its own for some (rows R46 and
/// R75).
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most problems have the same words in every dialect"
)]
pub(super) fn refusal(problem: Problem) -> Problem {
    match problem {
        Problem::ExceedsLength { length } => Problem::PastLength { length },
        Problem::ChecksumMismatch => Problem::ContentDigestMismatch,
        problem => problem,
    }
}

/// The status of an answer.
pub(super) fn status(interop: Interop, response: &Response) -> StatusCode {
    match response {
        Response::Retrieved(_) => StatusCode::NO_CONTENT,
        // Row R41: as the creation would have been answered.
        Response::Appended(resource) if resource.complete => StatusCode::CREATED,
        Response::Appended(_) => interop.version().appended,
        Response::Discovered
        | Response::Created { .. }
        | Response::Existed { .. }
        | Response::Cancelled
        | Response::Refused { .. } => response.status(),
    }
}

/// The header fields of an answer.
pub(super) fn fields(interop: Interop, response: &Response, settings: &Settings) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(12);
    fields.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    put_version(&mut fields, interop, settings);
    match response {
        Response::Discovered | Response::Cancelled => {}
        Response::Created {
            location, resource, ..
        }
        | Response::Existed { location, resource } => {
            put_location(&mut fields, location);
            put_resource(&mut fields, interop, resource, settings);
        }
        Response::Retrieved(resource) => {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            put_resource(&mut fields, interop, resource, settings);
        }
        Response::Appended(resource) => put_resource(&mut fields, interop, resource, settings),
        Response::Refused {
            problem,
            location,
            resource,
        } => {
            if let Some(location) = location {
                put_location(&mut fields, location);
            }
            put_refusal(&mut fields, interop, problem, resource.as_ref(), settings);
        }
    }
    fields
}

/// The header fields of a complete upload's content.
pub(super) fn content_fields(
    interop: Interop,
    resource: &Resource,
    settings: &Settings,
) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(6);
    put_version(&mut fields, interop, settings);
    put_resource(&mut fields, interop, resource, settings);
    fields
}

/// What this dialect adds to the answer to OPTIONS (rows R1 to R5). Digests are wanted in the one
/// algorithm in which they are looked at.
pub(super) fn discovered(fields: &mut HeaderMap, settings: &Settings) {
    let expires_in = settings.expires_after;
    fields.insert(UPLOAD_LIMIT, limit(&V9, settings, expires_in));
    let wanted = HeaderValue::from_static("sha-256=10");
    fields.insert("want-content-digest", wanted.clone());
    fields.insert("want-repr-digest", wanted);
}

/// The header fields of an interim response; `None` if the client must not be sent one (§3.4 of the
/// rows).
pub(super) fn interim(
    interop: Interop,
    interim: &Interim<'_>,
    settings: &Settings,
) -> Option<HeaderMap> {
    interop.spoken(settings)?;
    let mut fields = HeaderMap::with_capacity(4);
    put_version(&mut fields, interop, settings);
    match interim {
        Interim::Created {
            location,
            expires_in,
        } => {
            put_location(&mut fields, location);
            let limit = limit(interop.version(), settings, *expires_in);
            fields.insert(UPLOAD_LIMIT, limit);
        }
        Interim::Progress { offset } => {
            if interop.version().progress == Progress::Unknown {
                return None;
            }
            fields.insert(UPLOAD_OFFSET, HeaderValue::from(*offset));
        }
    }
    Some(fields)
}

fn put_version(fields: &mut HeaderMap, interop: Interop, settings: &Settings) {
    if let Some(number) = interop.spoken(settings) {
        fields.insert(INTEROP_VERSION, HeaderValue::from(number));
    }
}

fn put_resource(
    fields: &mut HeaderMap,
    interop: Interop,
    resource: &Resource,
    settings: &Settings,
) {
    let length = resource.length.and_then(Length::known);
    for (name, count) in [(UPLOAD_OFFSET, resource.offset), (UPLOAD_LENGTH, length)] {
        // An upload of tus may be larger than this dialect can tell.
        if let Some(count) = count.and_then(structured::from_count) {
            fields.insert(name, count);
        }
    }
    let limit = limit(interop.version(), settings, resource.expires_in);
    fields.insert(UPLOAD_LIMIT, limit);
    put_complete(fields, interop, resource.complete);
    put_digest(fields, resource);
}

fn put_complete(fields: &mut HeaderMap, interop: Interop, complete: bool) {
    let (name, value) = match interop.version().completeness {
        Completeness::Plain => (UPLOAD_COMPLETE, complete),
        Completeness::Inverted => (UPLOAD_INCOMPLETE, !complete),
    };
    fields.insert(name, structured::from_boolean(value));
}

/// Whether there is something to go on with, and within which bounds.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most refusals leave the upload as it is"
)]
fn put_refusal(
    fields: &mut HeaderMap,
    interop: Interop,
    problem: &Problem,
    resource: Option<&Resource>,
    settings: &Settings,
) {
    match problem {
        // There is no upload to tell anything of.
        Problem::NotFound
        | Problem::MethodNotAllowed { .. }
        | Problem::UploadCancelled { .. }
        | Problem::UploadExpired
        | Problem::UploadFailed => return,
        // It has ended: nothing to resume (row R76). Or it is about content, which only a complete one
        // has.
        Problem::DigestMismatch
        | Problem::PreconditionFailed
        | Problem::RangeNotSatisfiable { .. } => return put_complete(fields, interop, true),
        Problem::InvalidContentType => {
            fields.insert(ACCEPT_PATCH, HeaderValue::from_static(MEDIA_TYPE));
        }
        _ => {}
    }
    // An upload that has failed by this has no offset any more.
    let is_invalid = matches!(problem, Problem::PastLength { .. })
        && interop.version().overrun == Overrun::Invalidate;
    match resource.filter(|resource| resource.complete || !is_invalid) {
        Some(resource) => put_resource(fields, interop, resource, settings),
        None => {
            put_complete(fields, interop, false);
            let limit = limit(interop.version(), settings, None);
            fields.insert(UPLOAD_LIMIT, limit);
        }
    }
}

/// `Upload-Limit`: never empty. `expires_in` is in seconds.
fn limit(version: &Version, settings: &Settings, expires_in: Option<u64>) -> HeaderValue {
    let limits = settings.limits;
    let in_version_6 = expires_in.filter(|_| version.number == 6);
    let all = [
        ("max-size", limits.size_max),
        ("max-append-size", limits.append_max),
        ("min-append-size", limits.append_min),
        ("expires", in_version_6),
        ("max-age", expires_in),
    ];
    let told = all.into_iter().filter_map(|(key, value)| {
        // What is larger than an Integer can be is as good as no limit.
        let value = value.filter(|value| *value <= structured::INTEGER_MAX)?;
        Some(format!("{key}={value}"))
    });
    let told: Vec<String> = told.collect();
    let none = HeaderValue::from_static("min-size=0");
    match told.is_empty() {
        true => none,
        false => HeaderValue::try_from(told.join(", ")).unwrap_or(none),
    }
}
