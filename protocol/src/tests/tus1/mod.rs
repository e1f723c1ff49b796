//! tus 1.0.0 as a codec: the rows that a request's header section decides, and those that the
//! header fields of an answer show.

mod checksum;
mod concatenation;
mod core;
mod creation;
mod field;

use http::{HeaderMap, Method, StatusCode};

use super::codec::{Lines, assert_invalid, created, head, location, resource, value};
use crate::dialect::{Dialect, Settings, Target, rufh};
use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun, Protocol, Request};
use crate::response::{Resource, Response};
use crate::upload::Limits;

const SETTINGS: Settings = Settings {
    limits: Limits {
        size_max: Some(1000),
        append_max: None,
        append_min: None,
        checkpoint_bytes: 1 << 20,
    },
    metadata_bytes_max: 64,
    expires_after: None,
    interop_max: rufh::NEWEST,
};

const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
const OFFSET_OCTET_STREAM: (&str, &str) = ("content-type", "application/offset+octet-stream");
const LENGTH_5: (&str, &str) = ("upload-length", "5");
const OFFSET_5: (&str, &str) = ("upload-offset", "5");

/// Decodes a request with exactly these field lines.
fn decode_at(
    target: Target,
    method: &Method,
    lines: Lines<'_>,
    content_length: Option<u64>,
) -> Result<Request, Problem> {
    let head = head(method, lines);
    // A request that tells nothing is tus at an upload of tus.
    assert!(matches!(Dialect::detect(&head), None | Some(Dialect::Tus1)));
    Dialect::of(Protocol::Tus).decode(&head, target, content_length, &SETTINGS)
}

/// A creation without content.
fn post(lines: Lines<'_>) -> Result<Request, Problem> {
    let lines = [&[VERSION], lines].concat();
    decode_at(Target::Creation, &Method::POST, &lines, Some(0))
}

/// A creation with content.
fn post_with(lines: Lines<'_>, content_length: Option<u64>) -> Result<Request, Problem> {
    let lines = [&[VERSION, OFFSET_OCTET_STREAM], lines].concat();
    decode_at(Target::Creation, &Method::POST, &lines, content_length)
}

/// An append whose content is five bytes long.
fn patch(lines: Lines<'_>) -> Result<Request, Problem> {
    let lines = [&[VERSION, OFFSET_OCTET_STREAM], lines].concat();
    decode_at(Target::Upload, &Method::PATCH, &lines, Some(5))
}

/// What [`patch`] means with [`OFFSET_5`] and nothing else.
fn append() -> Append {
    Append {
        offset: 5,
        length: None,
        content_length: Some(5),
        checksum: None,
        completion: Completion::AtLength,
        overrun: Overrun::KeepToLength,
    }
}

/// Status and header fields of an answer.
fn answer(response: &Response) -> (StatusCode, HeaderMap) {
    let dialect = Dialect::Tus1;
    let fields = dialect.fields(response, &SETTINGS);
    for name in fields.keys() {
        assert_eq!(fields.get_all(name).iter().count(), 1, "{name}");
    }
    (dialect.status(response), fields)
}

fn refusal(problem: Problem, resource: Option<Resource>) -> Response {
    Response::Refused {
        problem,
        location: None,
        resource,
    }
}
