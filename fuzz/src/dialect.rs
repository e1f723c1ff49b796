//! Whole requests, from header lines to an answer.

use http::{HeaderName, HeaderValue, Method, Request as HttpRequest};
use tidegate_protocol::dialect::{Dialect, Settings, Target, effective_method};
use tidegate_protocol::field::length::Length;
use tidegate_protocol::field::offset;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, NewContent, Request};
use tidegate_protocol::response::{Resource, Response};
use tidegate_protocol::upload::{Facts, Limits, Upload};

use crate::Input;

const METHODS: [Method; 7] = [
    Method::OPTIONS,
    Method::POST,
    Method::HEAD,
    Method::PATCH,
    Method::DELETE,
    Method::GET,
    Method::PUT,
];

const SETTINGS: Settings = Settings {
    limits: Limits {
        size_max: Some(1 << 40),
        append_max: Some(1 << 30),
        checkpoint_bytes: 1 << 20,
    },
    metadata_bytes_max: 128,
};

/// Decodes a request and answers it. The first two bytes choose method, target and the declared
/// length of the content; the rest is header lines.
///
/// # Panics
///
/// When a request is neither decoded nor refused, or cannot be answered.
pub fn dialect(data: &[u8]) {
    let mut input = Input(data);
    let method = METHODS[usize::from(input.byte()) % METHODS.len()].clone();
    let target = if input.flag() {
        Target::Upload
    } else {
        Target::Creation
    };
    let content_length = input.maybe(Input::number);
    let mut request = HttpRequest::new(());
    *request.method_mut() = method;
    for line in input.0.split(|byte| *byte == b'\n') {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    let (head, ()) = request.into_parts();
    if let Ok(method) = effective_method(&head) {
        assert!(METHODS.contains(&method));
    }
    let dialect = Dialect::detect(&head);
    match dialect.decode(&head, target, content_length, &SETTINGS) {
        Ok(request) => answer(dialect, request),
        Err(problem) => refuse(dialect, problem),
    }
}

fn answer(dialect: Dialect, request: Request) {
    match request {
        Request::Create(create) => {
            let raw = create.metadata.raw().to_owned();
            let length = match &create.content {
                NewContent::Appended { length, .. } => Some(*length),
                NewContent::Concatenated(parts) => {
                    assert!(parts.parts().count() > 0);
                    None
                }
            };
            let resource = Resource {
                offset: Some(0),
                length,
                metadata: raw.clone(),
                concat: None,
                expires_at: Some(u64::MAX),
            };
            // What came in as metadata goes out byte for byte.
            let fields = dialect.fields(&Response::Retrieved(resource), &SETTINGS);
            let echoed = fields
                .get("upload-metadata")
                .map_or(&b""[..], HeaderValue::as_bytes);
            assert_eq!(echoed, raw.as_bytes());
            if let Some(append) = create.append {
                assert_eq!(append.offset, 0);
                check(dialect, &append, length.and_then(Length::known));
            }
        }
        Request::Append(append) => check(dialect, &append, None),
        Request::Discover | Request::Retrieve | Request::Cancel | Request::Read => {
            let fields = dialect.fields(&Response::Discovered, &SETTINGS);
            assert!(!fields.is_empty());
        }
    }
}

/// The machine takes any append that was decoded, or refuses it.
fn check(dialect: Dialect, append: &Append, length: Option<u64>) {
    assert!(append.offset <= offset::MAX);
    assert!(append.length.is_none_or(|length| length <= offset::MAX));
    let facts = Facts {
        offset: append.offset,
        length,
        complete: false,
        concatenated: false,
    };
    if let Err(problem) = Upload::new(facts, SETTINGS.limits).handle_append(append) {
        refuse(dialect, problem);
    }
}

fn refuse(dialect: Dialect, problem: Problem) {
    assert!(!problem.slug().is_empty() && !problem.title().is_empty());
    assert!(!problem.code().is_empty() && !problem.detail().is_empty());
    assert!(problem.members().iter().all(|(name, _)| !name.is_empty()));
    assert!(
        problem
            .errors()
            .is_none_or(|(field, message)| !field.is_empty() && !message.is_empty())
    );
    let response = Response::Refused {
        problem,
        resource: None,
    };
    assert!(dialect.status(&response).is_client_error());
    assert!(
        dialect
            .fields(&response, &SETTINGS)
            .contains_key("tus-resumable")
    );
}
