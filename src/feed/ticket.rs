//! Tickets for browsers, whose `EventSource` and `WebSocket` cannot send a token.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use tidegate_protocol::problem::Problem;

use super::Deps;
use crate::auth::{TICKET_LIFETIME, TooMany};
use crate::http::{Request, Response, reject};

/// The answer's data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    ticket: String,
    /// In seconds.
    expires_in: u64,
}

/// `POST /api/events/ticket`.
pub(super) async fn serve(deps: Arc<Deps>, request: Request) -> Response {
    match deps.auth.tickets().issue(request.caller) {
        Ok(ticket) => {
            let expires_in = TICKET_LIFETIME.as_secs();
            let issued = Issued { ticket, expires_in };
            reject::success(StatusCode::CREATED, &issued, None)
        }
        Err(TooMany) => {
            tracing::warn!("too many tickets are out");
            let problem = Problem::Unavailable {
                retry_after: TICKET_LIFETIME.as_secs(),
            };
            reject::problem(&request.head.method, request.head.uri.path(), &problem)
        }
    }
}
