//! Feeds: what happens, told to whoever listens (contract, "Events").
//!
//! | file | what |
//! |---|---|
//! | [`ask`] | what a reader wants: which feeds, which events, from where |
//! | [`reading`] | what he gets, as long as he may |
//! | [`sse`] | server-sent events |
//! | [`ws`] | WebSockets: the handshake |
//! | [`session`] | one WebSocket, from its handshake to its end |
//! | [`command`] | what a WebSocket client asks for and is answered |
//! | [`ticket`] | readers that cannot send a token |
//! | [`trim`] | what is too old |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;
use tidegate_protocol::problem::Problem;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::access;
use crate::auth::{Authenticator, Caller};
use crate::event::Hub;
use crate::http::{Cors, Credential, Origin, Route};
use crate::module::Mount;

mod ask;
mod command;
mod reading;
mod session;
mod sse;
#[cfg(test)]
mod tests;
mod ticket;
mod trim;
mod ws;

pub use command::CancelCall;

/// Where WebSockets begin.
const PATH: &str = "/api/events/ws";

/// What the module needs of the rest of the house.
pub struct Deps {
    pub hub: Hub,
    /// Tells who may see more or less than before.
    pub access: access::Changes,
    /// For how long events can be read again.
    pub keep: Duration,
    pub cancel: Arc<dyn Cancel>,
    /// Whose pages may open a WebSocket, beside the server's own.
    pub cors: Cors,
    /// Which pages are the server's own.
    pub origin: Origin,
    /// What gives out tickets.
    pub auth: Authenticator,
}

/// Cancels what other modules run.
pub trait Cancel: fmt::Debug + Send + Sync + 'static {
    /// Does what the cancel call of that operation does, and has the `data` of its answer, or the
    /// problem.
    fn cancel(
        &self,
        caller: Caller,
        call: CancelCall,
    ) -> BoxFuture<'static, Result<Value, Problem>>;
}

/// Mounts the module.
pub fn mount(deps: Deps) -> Mount {
    let feeds = Arc::new(deps);
    let trimmer = trim::Trimmer::new(&feeds);
    let (sockets, tickets) = (feeds.clone(), feeds.clone());
    Mount {
        routes: vec![
            Route::new(Method::GET, "/api/events", move |request| {
                sse::serve(feeds.clone(), request)
            })
            .takes(Credential::Ticket),
            Route::new(Method::GET, PATH, move |request| {
                ws::serve(sockets.clone(), request)
            })
            .takes(Credential::Ticket),
            Route::new(Method::POST, "/api/events/ticket", move |request| {
                ticket::serve(tickets.clone(), request)
            }),
        ],
        workers: vec![Box::new(trimmer)],
    }
}

/// When a reader is to be sent something even if nothing happens: first after a period of silence.
fn pings(period: Duration) -> Interval {
    let mut ping = interval(period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    ping
}
