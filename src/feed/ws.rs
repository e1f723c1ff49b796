//! The WebSocket handshake (RFC 6455, section 4.2).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::{ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use tidegate_protocol::problem::Problem;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Deps;
use super::session::Session;
use crate::http::{Request, Response, Upgrade, reject};

const PROTOCOL: &str = "websocket";

/// The only version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// `GET /api/events/ws`.
pub(super) async fn serve(deps: Arc<Deps>, mut request: Request) -> Response {
    let (upgrade, key) = match shake_hands(&deps, &mut request) {
        Ok(agreed) => agreed,
        Err(problem) => {
            let path = request.head.uri.path();
            let mut response = reject::problem(&request.head.method, path, &problem);
            if matches!(problem, Problem::UpgradeRequired { .. }) {
                let headers = response.headers_mut();
                headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
            }
            return response;
        }
    };
    let caller = request.caller;
    let mut response = upgrade.accept(PROTOCOL, async move |socket, scope| {
        let session = Session::begin(socket, deps, caller, scope).await;
        session.run().await.part().await;
    });
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, key);
    response
}

/// # Errors
/// The problem to answer with.
fn shake_hands(deps: &Deps, request: &mut Request) -> Result<(Upgrade, HeaderValue), Problem> {
    let required = Problem::UpgradeRequired { protocol: PROTOCOL };
    let offer = request.upgrade.take();
    let upgrade = offer.filter(|offer| offer.offers(PROTOCOL));
    let upgrade = upgrade.ok_or_else(|| required.clone())?;
    let head = &request.head;
    // A browser asks nobody before it opens a socket, and sends its cookies along.
    let mut pages = head.headers.get_all(ORIGIN).iter();
    let is_welcome =
        pages.all(|page| deps.origin.is_own(page, head, &request.scheme) || deps.cors.trusts(page));
    if !is_welcome {
        return Err(Problem::Forbidden);
    }
    if head.headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(required);
    }
    let key = head.headers.get(SEC_WEBSOCKET_KEY);
    let key = key.filter(|key| BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.and_then(|accept| HeaderValue::from_str(&accept).ok());
    let accept = accept
        .ok_or_else(|| Problem::validation("sec-websocket-key", "must be 16 bytes in base64"))?;
    Ok((upgrade, accept))
}
