//! What a server says when it does not do what it is asked.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidegate_protocol::field::date::retry_after;

use super::text::clean;
use crate::clock;

/// The longest time for which a server is left alone because it asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// An answer of 4xx or 5xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The last segment of the problem's type, such as `upload-cancelled`; empty if there is none.
    pub(super) problem: String,
    /// What is wrong, in words, made safe to show.
    detail: String,
    /// Why somebody has cancelled, made safe to show.
    pub(super) reason: Option<String>,
    /// For how long the server wants to be left alone, bounded.
    pub(super) retry_after: Option<Duration>,
}

/// RFC 9457. What has another type is not there: a refusal is one whatever its body says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    r#type: String,
    title: String,
    detail: String,
    reason: Option<String>,
}

impl Refusal {
    /// `body` may be cut off.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let plain = String::from_utf8_lossy(body);
        let detail = [problem.detail.as_str(), &problem.title];
        let detail = detail.into_iter().find(|text| !text.is_empty());
        // Other servers answer with a line of text, proxies with a page.
        let line = plain.trim().lines().next().unwrap_or_default();
        let detail = detail.unwrap_or_else(|| match line.starts_with(['<', '{']) {
            true => "",
            false => line,
        });
        let slug = problem.r#type.rsplit('/').next().unwrap_or_default();
        Self {
            status,
            problem: slug.to_owned(),
            detail: clean(detail).into_owned(),
            reason: problem.reason.map(|reason| clean(&reason).into_owned()),
            retry_after: asked(headers, clock::unix_ms() / 1000),
        }
    }

    /// Whether the same request may be answered otherwise another time.
    pub(super) fn is_passing(&self) -> bool {
        let is_busy = matches!(self.status.as_u16(), 408 | 409 | 423 | 425 | 429 | 460);
        is_busy || self.status.is_server_error()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answers {}", self.status.as_u16())?;
        let words = match self.detail.is_empty() {
            true => self.status.canonical_reason().unwrap_or_default(),
            false => &self.detail,
        };
        match words.is_empty() {
            true => Ok(()),
            false => write!(f, ": {words}"),
        }
    }
}

/// For how long the server wants to be left alone, as far as that is granted. `now` is in seconds since
/// the Unix epoch.
fn asked(headers: &HeaderMap, now: u64) -> Option<Duration> {
    retry_after(headers, now).map(|time| time.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    fn of(status: u16, body: &str) -> Refusal {
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::new(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let body = r#"{"type": "/problems/upload-cancelled", "title": "Upload cancelled",
            "detail": "It was \u001b[2Jcancelled.", "reason": "wrong\u0007file", "status": 410}"#;
        let refusal = of(410, body);
        assert_eq!(refusal.problem, "upload-cancelled");
        assert_eq!(refusal.reason.as_deref(), Some("wrong\\u{7}file"));
        let words = "the server answers 410: It was \\u{1b}[2Jcancelled.";
        assert_eq!(refusal.to_string(), words);
    }

    #[test]
    fn other_bodies_are_told_as_far_as_they_are_words() {
        for (body, words) in [
            ("", "the server answers 502: Bad Gateway"),
            ("<html>\n", "the server answers 502: Bad Gateway"),
            ("{\"type\": 7", "the server answers 502: Bad Gateway"),
            ("ERR: no\nmore", "the server answers 502: ERR: no"),
        ] {
            assert_eq!(of(502, body).to_string(), words);
        }
        assert_eq!(of(460, "").to_string(), "the server answers 460");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for status in [408, 409, 423, 425, 429, 460, 500, 502, 503, 507] {
            assert!(of(status, "").is_passing(), "{status}");
        }
        for status in [400, 401, 403, 404, 410, 412, 413, 415, 431] {
            assert!(!of(status, "").is_passing(), "{status}");
        }
    }

    #[test]
    fn a_server_may_ask_to_be_left_alone_for_a_bounded_time() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            asked(&headers, 1_767_225_600).map(|time| time.as_secs())
        };
        assert_eq!(asked(" 5 "), Some(5));
        assert_eq!(asked("Thu, 01 Jan 2026 00:00:30 GMT"), Some(30));
        assert_eq!(asked("99999999"), Some(RETRY_AFTER_MAX.as_secs()));
        assert_eq!(asked("soon"), None);
    }
}
