//! Whole requests, from header lines to an answer.

use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest};
use tidegate_protocol::dialect::{Dialect, Settings, Target, effective_method};
use tidegate_protocol::field::length::Length;
use tidegate_protocol::field::offset;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Create, NewContent, Request};
use tidegate_protocol::response::{Resource, Response};
use tidegate_protocol::upload::{Facts, Limits, Upload};

use crate::{split_line, split_number};

const SETTINGS: Settings = Settings {
    limits: Limits {
        size_max: Some(1 << 40),
        append_max: Some(1 << 30),
        checkpoint_bytes: 1 << 20,
    },
    metadata_bytes_max: 128,
};

/// Decodes a request and answers it.
///
/// The first line is like `PATCH /files/id 5`: method, path and the length of the content as far
/// as it is known; the others are header lines.
///
/// # Panics
///
/// When a request is neither decoded nor refused, or cannot be answered.
pub fn dialect(data: &[u8]) {
    let (line, lines) = split_line(data);
    let mut words = line.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next().unwrap_or_default()).unwrap_or_default();
    let target = match words.next() {
        Some(b"/files") => Target::Creation,
        Some(_) | None => Target::Upload,
    };
    let content_length = words.next().map(|digits| split_number(digits).0);
    let mut request = HttpRequest::new(());
    *request.method_mut() = method;
    *request.headers_mut() = headers(lines);
    let (head, ()) = request.into_parts();
    if let Ok(method) = effective_method(&head) {
        assert!(method == head.method || head.method == Method::POST);
    }
    let dialect = Dialect::detect(&head);
    match dialect.decode(&head, target, content_length, &SETTINGS) {
        Ok(request) => answer(dialect, request),
        Err(problem) => refuse(dialect, problem, None),
    }
}

fn headers(mut lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while !lines.is_empty() {
        let (line, rest) = split_line(lines);
        lines = rest;
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn answer(dialect: Dialect, request: Request) {
    match request {
        Request::Create(create) => created(dialect, create),
        Request::Append(append) => {
            assert!(append.length.is_none_or(|length| length <= offset::MAX));
            let facts = facts(append.offset, None);
            if let Err(problem) = Upload::new(facts, SETTINGS.limits).handle_append(&append) {
                refuse(dialect, problem, Some(resource(append.offset)));
            }
        }
        Request::Discover => {
            told(dialect, &Response::Discovered);
        }
        Request::Retrieve | Request::Read => {
            let fields = told(dialect, &Response::Retrieved(resource(0)));
            assert_eq!(fields["upload-offset"], "0");
        }
        Request::Cancel => {
            told(dialect, &Response::Cancelled);
        }
    }
}

fn created(dialect: Dialect, create: Create) {
    let metadata = create.metadata.raw().to_owned();
    let (length, concat) = match &create.content {
        NewContent::Appended { length, partial } => {
            (Some(*length), partial.then(|| String::from("partial")))
        }
        NewContent::Concatenated(parts) => {
            assert!(parts.parts().count() > 0);
            assert_eq!(create.append, None);
            (None, Some(parts.raw().to_owned()))
        }
    };
    // What came in goes out byte for byte.
    let fields = told(
        dialect,
        &Response::Retrieved(Resource {
            offset: Some(0),
            length,
            metadata: metadata.clone(),
            concat: concat.clone(),
            expires_at: Some(u64::MAX),
        }),
    );
    let field = |name| fields.get(name).map(HeaderValue::as_bytes);
    assert_eq!(
        field("upload-metadata").unwrap_or_default(),
        metadata.as_bytes()
    );
    assert_eq!(field("upload-concat"), concat.as_deref().map(str::as_bytes));
    if let Some(append) = create.append {
        assert_eq!(append.offset, 0);
        assert_eq!(append.length, None);
        first(&append, length.and_then(Length::known));
    }
}

/// Nothing is created whose first content the machine would refuse.
fn first(append: &Append, length: Option<u64>) {
    let mut machine = Upload::new(facts(0, length), SETTINGS.limits);
    assert_eq!(machine.handle_append(append), Ok(()));
}

fn facts(offset: u64, length: Option<u64>) -> Facts {
    Facts {
        offset,
        length,
        complete: false,
        concatenated: false,
    }
}

fn resource(offset: u64) -> Resource {
    Resource {
        offset: Some(offset),
        length: Some(Length::Deferred),
        metadata: String::new(),
        concat: None,
        expires_at: None,
    }
}

/// The fields of an answer: legal, and each there once.
fn told(dialect: Dialect, response: &Response) -> HeaderMap {
    let fields = dialect.fields(response, &SETTINGS);
    assert_eq!(fields["tus-resumable"], "1.0.0");
    assert!(
        fields
            .keys()
            .all(|name| fields.get_all(name).iter().count() == 1)
    );
    assert!(dialect.status(response).as_u16() >= 200);
    fields
}

fn refuse(dialect: Dialect, problem: Problem, resource: Option<Resource>) {
    assert!(!problem.slug().is_empty() && !problem.title().is_empty());
    assert!(!problem.code().is_empty() && !problem.detail().is_empty());
    assert!(problem.members().iter().all(|(name, _)| !name.is_empty()));
    let (field, message) = problem.errors().unwrap_or(("none", "none"));
    assert!(!field.is_empty() && !message.is_empty());
    if let Some(allow) = problem.allow() {
        let fields = HeaderMap::from_iter([(ALLOW, HeaderValue::from_str(allow).expect("text"))]);
        assert!(!fields[ALLOW].is_empty());
    }
    let offset = resource.as_ref().and_then(|resource| resource.offset);
    let response = Response::Refused {
        problem,
        location: None,
        resource,
    };
    assert!(dialect.status(&response).is_client_error());
    let fields = told(dialect, &response);
    let expected = offset.map(HeaderValue::from);
    assert_eq!(fields.get("upload-offset"), expected.as_ref());
}
