//! One attempt to deliver one event.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use tidegate_protocol::field::date::retry_after;

use super::endpoint::Endpoint;
use super::sign::signatures;
use crate::cancel::Scope;
use crate::clock;
use crate::http::{Client, TlsError, telemetry};

/// How long an endpoint may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Delivers to one endpoint.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) endpoint: Endpoint,
    client: Client,
}

/// How an attempt has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The endpoint has taken it.
    Delivered,
    /// It does not take this one as it is now. It is there, and may take others.
    Refused { why: String },
    /// It has not; it may another time.
    Failed {
        why: String,
        /// For how long the endpoint wants to be left alone.
        retry_after: Duration,
    },
    /// It wants nothing any more.
    Gone,
}

impl Courier {
    /// Its connections run in `scope`.
    ///
    /// # Errors
    /// TLS cannot be used.
    pub(super) fn new(endpoint: Endpoint, scope: Scope) -> Result<Self, TlsError> {
        let client = Client::new(endpoint.reach, scope)?;
        Ok(Self { endpoint, client })
    }

    /// Sends an event, which has this id.
    ///
    /// # Cancel safety
    /// The endpoint may have got it.
    pub(super) async fn attempt(&self, id: &str, body: &Bytes) -> Verdict {
        let failed = |why| Verdict::Failed {
            why,
            retry_after: Duration::ZERO,
        };
        let timestamp = clock::unix_ms() / 1000;
        let signatures = signatures(&self.endpoint.secrets, id, timestamp, body);
        let request = Request::post(self.endpoint.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures)
            .body(Full::new(body.clone()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return failed(error.to_string()),
        };
        match self.client.send(request, ANSWERED_WITHIN).await {
            Ok(answer) => verdict(answer.status(), answer.headers(), timestamp),
            Err(error) => failed(telemetry::causes(&error)),
        }
    }
}

/// Anything but success is a failure, redirects too: what is told to one address must not be sent
/// to another on its word.
fn verdict(status: StatusCode, headers: &HeaderMap, now: u64) -> Verdict {
    let why = format!("answered {status}");
    // These are about the endpoint, not about the event.
    let is_busy = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    match status {
        StatusCode::GONE => Verdict::Gone,
        status if status.is_success() => Verdict::Delivered,
        status if status.is_client_error() && !is_busy => Verdict::Refused { why },
        _ => Verdict::Failed {
            why,
            retry_after: retry_after(headers, now).unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn of(status: u16, retry_after: Option<&str>) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        verdict(StatusCode::from_u16(status).unwrap(), &headers, NOW)
    }

    #[test]
    fn only_success_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status, None), Verdict::Delivered, "{status}");
        }
        for status in [301, 302, 304, 307, 308, 408, 425, 429, 500, 502, 503] {
            let verdict = of(status, None);
            assert!(matches!(verdict, Verdict::Failed { .. }), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 422] {
            let verdict = of(status, None);
            assert!(matches!(verdict, Verdict::Refused { .. }), "{status}");
        }
        assert_eq!(of(410, None), Verdict::Gone);
    }

    #[test]
    fn an_endpoint_can_ask_to_be_left_alone() {
        let asked = |value| match of(503, Some(value)) {
            Verdict::Failed { retry_after, .. } => retry_after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked("120"), 120);
        assert_eq!(asked(" 5 "), 5);
        assert_eq!(asked("Thu, 01 Jan 2026 00:00:30 GMT"), 30);
        for none in ["soon", "-1", "", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(asked(none), 0, "{none}");
        }
    }
}
