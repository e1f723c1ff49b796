//! The transport: sockets in, requests out. It knows HTTP and no domain.
//!
//! It promises a handler that it may answer at any time, whatever is left of the request's body,
//! and that the client will be able to read that answer; and it promises the operator that nothing
//! a client does or omits takes more than a bounded part of the machine.
//!
//! | file | concern |
//! |---|---|
//! | `server` | listening, accepting, the connection cap, the end |
//! | `connection` | one connection: protocol, limits, each request's frame, the gentle close |
//! | `tls` | certificates and handshakes |
//! | `io` | the bytes of a connection before hyper sees them |
//! | `interim` | responses ahead of the answer, between the bytes that hyper writes |
//! | `client` | requests of our own |
//! | `reach` | where those may go |
//! | `body` | request bodies, their remains, response bodies |
//! | `representation` | answers of bytes that do not change: conditions and ranges |
//! | `event_stream` | answers that go on as server-sent events |
//! | `json` | bodies in JSON |
//! | `multipart` | bodies that are forms |
//! | `reason` | why somebody cancels |
//! | `cors` | what web pages of other origins may do |
//! | `origin` | absolute URLs of this server |
//! | `proxies` | whom to believe about a client |
//! | `page` | pages of a list |
//! | `upgrade` | connections that go on in another protocol |
//! | `route` | from path and method to a handler |
//! | `caller` | on whose behalf a request is made |
//! | `throttle` | how often each caller may do something |
//! | `reject` | refusals and other JSON on the wire |
//! | `telemetry` | metrics and log |

mod body;
mod caller;
mod client;
mod connection;
mod cors;
mod event_stream;
mod interim;
mod io;
pub mod json;
mod leaving;
pub mod multipart;
mod origin;
mod page;
mod proxies;
mod reach;
pub mod reason;
pub mod reject;
mod representation;
pub mod route;
mod server;
mod stall;
pub mod telemetry;
mod throttle;
mod tls;
mod upgrade;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use body::{Body, BodyError, DrainLimits, OutBody};
pub use caller::{Credential, Operation};
pub use client::{Client, ClientError};
pub use cors::{Cors, Shared};
pub use event_stream::event_stream;
pub use interim::Interim;
pub use origin::Origin;
pub use page::Page;
pub use proxies::{Network, Proxies};
pub use reach::Reach;
pub use representation::Representation;
pub use route::{Handler, PathParams, Route, RouteError, Router};
pub use server::{BindError, Bound, Config, Listen, Listeners, serve};
pub use stall::{StallClock, StallLimits};
pub use throttle::Throttle;
pub use tls::{Tls, TlsError};
pub use upgrade::{Switched, Upgrade};

use crate::auth::Caller;

/// An answer.
pub type Response = http::Response<OutBody>;

/// A request, as a handler gets it.
#[derive(Debug)]
pub struct Request {
    /// Method, URI, version and header fields, as they were sent.
    pub head: Parts,
    /// Not read yet.
    pub body: Body,
    /// An offer to go on in another protocol, if there is one.
    pub upgrade: Option<Upgrade>,
    /// Sends responses ahead of the answer, where the transport can.
    pub interim: Interim,
    /// On whose behalf it is made. What proved that has been taken from `head`.
    pub caller: Caller,
    /// Whether the caller does not make it himself, but has lent his right to this.
    pub is_lent: bool,
    /// The variable segments of its path.
    pub path: PathParams,
    /// Its name in the log, answered as `X-Request-Id`.
    pub id: RequestId,
    /// Who sent it: the client, or a proxy before it.
    pub peer: Peer,
    /// How it came to this server. A proxy before it may have been asked in another way.
    pub scheme: Scheme,
}

impl Request {
    /// Host and port that the client asked for: `:authority`, an absolute URI, or `Host`.
    pub fn authority(&self) -> Option<&str> {
        match self.head.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.head.headers.get(HOST)?.to_str().ok(),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// At this address.
    Tcp(SocketAddr),
    /// On this machine.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A request's name: the one that the client gave it in `X-Request-ID`, if it is safe to log, or a
/// random UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The header field, in both directions.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    const LENGTH_MAX: usize = 64;

    /// Names a request with these header fields.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(Self::HEADER)
            .and_then(|value| value.to_str().ok());
        match given.filter(|id| Self::is_safe(id)) {
            Some(id) => Self(id.to_owned()),
            None => Self(uuid::Uuid::new_v4().to_string()),
        }
    }

    fn is_safe(id: &str) -> bool {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=Self::LENGTH_MAX).contains(&id.len()) && id.bytes().all(safe)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
