//! Webhooks: what happens, sent to whoever is to know (Standard Webhooks 1.0.0).
//!
//! A webhook is a reader of the feeds whose place is kept. The log is its queue: only what could not
//! be delivered at the first attempt has a row of its own, so that it is in nobody's way. Everything
//! before the place that is kept has been delivered or has such a row, which is why each event is
//! delivered at least once.
//!
//! | file | what |
//! |---|---|
//! | [`endpoint`] | where to, what, and with which secrets |
//! | [`dispatch`] | which events next, and what becomes of them |
//! | [`attempt`] | one request |
//! | [`sign`] | its signature |
//! | [`schedule`] | when something is tried again |
//! | [`store`] | what is kept |

use crate::access;
use crate::cancel::Scope;
use crate::event::Hub;
use crate::http::TlsError;
use crate::module::Mount;
use crate::work::Worker;

mod attempt;
mod dispatch;
mod endpoint;
mod metrics;
mod schedule;
mod sign;
mod store;
#[cfg(test)]
mod tests;

pub use endpoint::{EndpointConfig, EndpointError, Endpoints};
pub use metrics::Metrics;
pub use store::LINE;

use attempt::Courier;
use dispatch::{Dispatcher, Janitor};

/// What the module needs of the rest of the house.
pub struct Deps {
    pub hub: Hub,
    /// Tells of new projects: the endpoints are told what happens in all of them.
    pub access: access::Changes,
    pub endpoints: Endpoints,
    /// Connections run here, and attempts end with it.
    pub scope: Scope,
    pub metrics: Metrics,
}

/// Mounts the module.
///
/// # Errors
/// TLS cannot be used.
pub fn mount(deps: Deps) -> Result<Mount, TlsError> {
    let Deps {
        hub,
        access,
        endpoints: Endpoints(endpoints),
        scope,
        metrics,
    } = deps;
    let names = endpoints.iter().map(|endpoint| endpoint.name.clone());
    let janitor = Janitor::new(&hub, names.collect());
    let mut workers: Vec<Box<dyn Worker>> = vec![Box::new(janitor)];
    for endpoint in endpoints {
        metrics.begin(&endpoint.name);
        let courier = Courier::new(endpoint, scope.clone())?;
        let dispatcher = Dispatcher::new(
            courier,
            hub.clone(),
            access.listen(),
            scope.clone(),
            metrics.clone(),
        );
        workers.push(Box::new(dispatcher));
    }
    Ok(Mount {
        routes: Vec::new(),
        workers,
    })
}
