//! Projects: what uploads, exports and queue items belong to, and whom they are shared with.
//!
//! | file | what |
//! |---|---|
//! | [`api`], [`share_api`] | the routes |
//! | [`ask`] | what clients say, checked |
//! | [`store`], [`change`], [`statement`] | whole transactions, what they do, and its texts |
//! | [`row`] | projects and shares as the database has them |
//! | [`event`] | what is told of changes |
//! | [`deletion`] | the end of a project |
//!
//! | may be relied on | kept by |
//! |---|---|
//! | nobody sees a project in which he has no right | [`access`](crate::access), asked in each transaction |
//! | all changes of a project and its shares form one order | the project's row, which each of them locks |
//! | a change of who sees what is told to those who must know | [`store`], in a task, after the commit |
//! | a deletion that has begun comes to its end | [`deletion`], as often as it takes |

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::access::Changes;
use crate::cancel::{Live, Scope};
use crate::db::Db;
use crate::event::Hub;
use crate::http::{Request, Response, Route};
use crate::module::Mount;

mod api;
mod ask;
mod change;
mod deletion;
mod event;
mod row;
mod share_api;
mod statement;
mod store;
#[cfg(test)]
mod tests;

pub use deletion::{Cleared, Contents};
pub use store::title;

/// What the module needs of the rest of the house.
pub struct Deps {
    pub db: Db,
    /// Woken after each change.
    pub hub: Hub,
    /// Told after each change of who may see what.
    pub changes: Changes,
    /// What goes with a project.
    pub contents: Arc<dyn Contents>,
    /// Everything of the module runs below it.
    pub scope: Scope,
}

/// What an operator may choose.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// For how long the row of a revoked share is kept.
    pub revoked_keep: Duration,
}

/// Mounts the module.
pub fn mount(deps: Deps, config: Config) -> Mount {
    let projects = Arc::new(Projects::new(deps, config));
    let worker = deletion::Deletions::new(&projects);
    let shares = "/api/projects/{project}/shares";
    Mount {
        routes: vec![
            projects.route(Method::POST, "/api/projects", api::create),
            projects.route(Method::GET, "/api/projects", api::list),
            projects.route(Method::GET, "/api/projects/{project}", api::find),
            projects.route(Method::PUT, "/api/projects/{project}", api::update),
            projects.route(Method::DELETE, "/api/projects/{project}", api::delete),
            projects.route(Method::POST, shares, share_api::create),
            projects.route(Method::GET, shares, share_api::list),
            projects.route(Method::GET, "/api/shares", share_api::list_own),
            projects.route(
                Method::POST,
                "/api/shares/{share}/accept",
                share_api::accept,
            ),
            projects.route(Method::DELETE, "/api/shares/{share}", share_api::revoke),
        ],
        workers: vec![Box::new(worker)],
    }
}

/// The module's state, shared by its handlers and its worker.
struct Projects {
    store: store::Store,
    contents: Arc<dyn Contents>,
    scope: Scope,
    /// The deletions that are under way, by project.
    clearing: Live<String, ()>,
    config: Config,
}

impl Projects {
    fn new(deps: Deps, config: Config) -> Self {
        Self {
            store: store::Store::new(&deps),
            contents: deps.contents,
            scope: deps.scope,
            clearing: Live::new(),
            config,
        }
    }

    fn route<A>(
        self: &Arc<Self>,
        method: Method,
        path: &str,
        handler: fn(Arc<Self>, Request) -> A,
    ) -> Route
    where
        A: Future<Output = Response> + Send + 'static,
    {
        let this = self.clone();
        Route::new(method, path, move |request| handler(this.clone(), request))
    }
}
