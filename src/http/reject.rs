//! Answers in JSON: the one place that turns a [`Problem`] into a response, and its counterpart
//! for success (contract, "Errors").

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    UPGRADE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use hyper::ext::ReasonPhrase;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_protocol::field::range;
use tidegate_protocol::problem::{Member, Problem};

use super::{OutBody, Page, Response};
use crate::clock;

/// The answer to a request for `path` that is refused because of `problem` (RFC 9457).
///
/// Beside the body it has what the problem itself demands: `Allow`, `Upgrade`, `Retry-After`,
/// `WWW-Authenticate`, a reason phrase. What a protocol wants beyond that (`Tus-Resumable`, `Upload-Offset`) is the caller's to add.
pub fn problem(method: &Method, path: &str, problem: &Problem) -> Response {
    // An answer to HEAD has no content, and so none of a length.
    let body = match *method {
        Method::HEAD => OutBody::empty(),
        _ => OutBody::full(problem_body(path, problem).to_string()),
    };
    let mut response = typed(problem.status(), "application/problem+json", body);
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(Ok(allow)) = problem.allow().map(HeaderValue::from_str) {
        headers.insert(ALLOW, allow);
    }
    if let Some(Ok(challenge)) = problem.challenge().map(HeaderValue::try_from) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(protocol) = problem.upgrade() {
        // Over HTTP/2, which has neither, hyper leaves them out.
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Problem::RangeNotSatisfiable { length } = problem {
        headers.insert(CONTENT_RANGE, range::unsatisfied(*length));
    }
    if let Some(phrase) = problem.reason_phrase() {
        response
            .extensions_mut()
            .insert(ReasonPhrase::from_static(phrase.as_bytes()));
    }
    response
}

/// What a refusal says in its body, for where it is no answer of its own but part of something.
pub fn problem_body(path: &str, problem: &Problem) -> Value {
    let mut body = Map::new();
    // First, so that no member of a problem can take the place of one of these.
    for (name, member) in problem.members() {
        body.insert(name.to_owned(), value(member));
    }
    if let Some((field, message)) = problem.errors() {
        body.insert(String::from("errors"), json!({ field: [message] }));
    }
    let fixed = [
        ("type", json!(problem.uri())),
        ("title", json!(problem.title())),
        ("status", json!(problem.status().as_u16())),
        ("detail", json!(problem.detail())),
        ("instance", json!(path)),
        ("success", json!(false)),
        ("error", json!(problem.title())),
        ("code", json!(problem.code())),
    ];
    body.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(body)
}

fn value(member: Member) -> Value {
    match member {
        Member::Text(text) => text.into(),
        Member::Number(number) => number.into(),
        Member::Time(unix_ms) => clock::rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX)).into(),
    }
}

/// `{"success":true,"data":...,"message"?}`.
///
/// A `data` that cannot be written as JSON is a mistake of ours: it is logged, and answered by 500.
pub fn success<T: Serialize>(status: StatusCode, data: &T, message: Option<&str>) -> Response {
    #[derive(Serialize)]
    struct Success<'a, T> {
        success: bool,
        data: &'a T,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    }
    json(
        status,
        &Success {
            success: true,
            data,
            message,
        },
    )
}

/// The same with data that is JSON already: it may be long, and is not looked at.
pub fn success_as_written(data: &str) -> Response {
    let body = format!("{{\"success\":true,\"data\":{data}}}");
    typed(StatusCode::OK, "application/json", OutBody::full(body))
}

/// A page of a list: `{"success":true,"data":[...],"pagination":{...}}`.
pub fn list<T: Serialize>(rows: &[T], page: &Page, total: u64) -> Response {
    #[derive(Serialize)]
    struct List<'a, T> {
        success: bool,
        data: &'a [T],
        pagination: Pagination,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pagination {
        page: u32,
        limit: u32,
        total: u64,
        total_pages: u64,
    }
    let (limit, total_pages) = (page.limit, total.div_ceil(page.limit.into()));
    let pagination = Pagination {
        page: page.number,
        limit,
        total,
        total_pages,
    };
    json(
        StatusCode::OK,
        &List {
            success: true,
            data: rows,
            pagination,
        },
    )
}

/// Any answer in JSON.
///
/// A `value` that cannot be written is a mistake of ours: it is logged, and answered by 500.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", OutBody::full(body)),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            problem(&Method::GET, "", &Problem::Internal)
        }
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: OutBody) -> Response {
    const HEADERS: [(HeaderName, &str); 2] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
