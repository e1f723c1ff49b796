//! What the tests of both dialects need.

use http::request::Parts;
use http::{HeaderMap, Method, Request as HttpRequest};

use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{Create, Request};
use crate::response::Resource;

/// Field lines of a request.
pub(super) type Lines<'l> = &'l [(&'l str, &'l str)];

pub(super) fn head(method: &Method, lines: Lines<'_>) -> Parts {
    let mut request = HttpRequest::builder().method(method);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a legal request").into_parts().0
}

/// A refusal because of a field's value.
#[track_caller]
pub(super) fn assert_invalid(request: Result<Request, Problem>, field: &str) {
    let problem = request.expect_err("a refusal");
    assert_eq!(problem.status(), 400);
    assert_eq!(problem.errors().map(|(field, _)| field), Some(field));
}

/// The value of a field; `None` if it is absent.
pub(super) fn value<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f str> {
    fields.get(name).map(|value| value.to_str().expect("text"))
}

/// An upload with 5 of 10 bytes.
pub(super) fn resource() -> Resource {
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

pub(super) fn location() -> String {
    String::from("https://up.example/files/id")
}

pub(super) fn created(request: Result<Request, Problem>) -> Create {
    match request {
        Ok(Request::Create(create)) => create,
        other => panic!("not a creation: {other:?}"),
    }
}
