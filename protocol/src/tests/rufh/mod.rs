//! "Resumable Uploads for HTTP", the IETF draft, as a codec: the rows that a request's header
//! section decides, and those that the header fields of an answer show.

mod append;
mod creation;
mod detect;
mod field;
mod interim;
mod metadata;
mod refusal;
mod retrieval;
mod version;

use http::{HeaderMap, Method, StatusCode};

use super::codec::{Lines, assert_invalid, created, head, location, resource, value};
use crate::dialect::{Dialect, Settings, Target, rufh};
use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun, Request};
use crate::response::{Resource, Response};
use crate::upload::Limits;

const SETTINGS: Settings = Settings {
    limits: Limits {
        size_max: Some(1000),
        append_max: None,
        append_min: None,
        checkpoint_bytes: 1 << 20,
    },
    metadata_bytes_max: 256,
    expires_after: None,
    interop_max: rufh::NEWEST,
};

/// As little as can be configured.
const NO_LIMITS: Settings = Settings {
    limits: Limits {
        size_max: None,
        ..SETTINGS.limits
    },
    ..SETTINGS
};

/// Bounds of one request, too.
const BOUNDS: Settings = Settings {
    limits: Limits {
        append_max: Some(50),
        append_min: Some(5),
        ..SETTINGS.limits
    },
    ..SETTINGS
};

/// The interop versions that differ in something.
const NUMBERS: [u64; 7] = [3, 4, 5, 6, 7, 8, 9];

const LAST: (&str, &str) = ("upload-complete", "?1");
const NOT_LAST: (&str, &str) = ("upload-complete", "?0");
const PARTIAL: (&str, &str) = ("content-type", "application/partial-upload");
const LENGTH_5: (&str, &str) = ("upload-length", "5");
const OFFSET_5: (&str, &str) = ("upload-offset", "5");

/// Of "hello".
const SHA256: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

/// Decodes a request with exactly these field lines.
fn decode_with(
    settings: &Settings,
    target: Target,
    method: &Method,
    lines: Lines<'_>,
    content_length: Option<u64>,
) -> Result<Request, Problem> {
    let head = head(method, lines);
    let dialect = Dialect::detect(&head).expect("a dialect");
    assert!(matches!(dialect, Dialect::Rufh(_)), "{lines:?}");
    dialect.decode(&head, target, content_length, settings)
}

/// A creation of no told version.
fn post(lines: Lines<'_>, content_length: Option<u64>) -> Result<Request, Problem> {
    let (target, method) = (Target::Creation, Method::POST);
    decode_with(&SETTINGS, target, &method, lines, content_length)
}

/// An append of no told version, with the media type that it has to have.
fn patch(lines: Lines<'_>, content_length: Option<u64>) -> Result<Request, Problem> {
    let lines = [&[PARTIAL], lines].concat();
    let (target, method) = (Target::Upload, Method::PATCH);
    decode_with(&SETTINGS, target, &method, &lines, content_length)
}

fn appended(request: Result<Request, Problem>) -> Append {
    match request {
        Ok(Request::Append(append)) => append,
        other => panic!("not an append: {other:?}"),
    }
}

/// An append at offset 5 that says nothing more, of the newest version.
fn append(completion: Completion) -> Append {
    Append {
        offset: 5,
        length: None,
        content_length: None,
        checksum: None,
        completion,
        overrun: Overrun::Invalidate,
    }
}

/// The dialect of a client that speaks this interop version.
fn speaking(number: u64) -> Dialect {
    let lines = [("upload-draft-interop-version", &*number.to_string())];
    Dialect::detect(&head(&Method::GET, &lines)).expect("a dialect")
}

/// The dialect of a client that speaks a version and does not tell which.
fn untold() -> Dialect {
    Dialect::Rufh(rufh::Interop::UNTOLD)
}

/// Status and header fields of an answer to a client that speaks `dialect`.
fn answer_in(dialect: Dialect, response: &Response) -> (StatusCode, HeaderMap) {
    let fields = dialect.fields(response, &SETTINGS);
    for name in fields.keys() {
        assert_eq!(fields.get_all(name).iter().count(), 1, "{name}");
        assert!(fields[name].to_str().is_ok(), "{name}");
    }
    (dialect.status(response), fields)
}

fn answer(response: &Response) -> (StatusCode, HeaderMap) {
    answer_in(untold(), response)
}

fn refusal(problem: Problem, resource: Option<Resource>) -> Response {
    Response::Refused {
        problem: untold().refusal(problem),
        location: None,
        resource,
    }
}

/// One with all ten.
fn complete() -> Resource {
    Resource {
        offset: Some(10),
        complete: true,
        ..resource()
    }
}

fn creation(resource: Resource) -> Response {
    Response::Created {
        location: location(),
        resource,
        appended: true,
    }
}
