//! tus 1.0.0 as a codec: the rows that a request's header section decides, and those that the
//! header fields of an answer show.

mod checksum;
mod concatenation;
mod core;
mod creation;
mod field;

use http::request::Parts;
use http::{HeaderMap, Method, Request as HttpRequest, StatusCode};

use crate::dialect::{Dialect, Settings, Target, rufh};
use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{Append, Completion, Create, Overrun, Protocol, Request};
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

/// Field lines of a request.
type Lines<'l> = &'l [(&'l str, &'l str)];

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

fn head(method: &Method, lines: Lines<'_>) -> Parts {
    let mut request = HttpRequest::builder().method(method);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a legal request").into_parts().0
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

fn created(request: Result<Request, Problem>) -> Create {
    match request {
        Ok(Request::Create(create)) => create,
        other => panic!("not a creation: {other:?}"),
    }
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

/// A refusal because of a field's value.
#[track_caller]
fn assert_invalid(request: Result<Request, Problem>, field: &str) {
    let problem = request.expect_err("a refusal");
    assert_eq!(problem.status(), 400);
    assert_eq!(problem.errors().map(|(field, _)| field), Some(field));
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

/// The value of a field; `None` if it is absent.
fn value<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f str> {
    fields.get(name).map(|value| value.to_str().expect("text"))
}

fn refusal(problem: Problem, resource: Option<Resource>) -> Response {
    Response::Refused {
        problem,
        location: None,
        resource,
    }
}

/// An upload with 5 of 10 bytes.
fn resource() -> Resource {
    Resource {
        offset: Some(5),
        complete: false,
        sha256: None,
        length: Some(Length::Known(10)),
        metadata: String::new(),
        concat: None,
        expires_at: None,
        expires_in: None,
    }
}

fn location() -> String {
    String::from("https://up.example/files/id")
}
