//! The processing queue: images wait for workers, which are programs of others, and whatever waits or is
//! processed can be cancelled.
//!
//! | file | what |
//! |---|---|
//! | [`api`], [`cancel_api`], [`worker_api`] | the routes |
//! | [`ask`], [`view`], [`result`] | what is said, checked; what is answered; what workers have found |
//! | [`claim`] | a worker waits for something to do |
//! | [`control`] | a worker is told what is cancelled |
//! | [`crew`] | who waits for what, in memory |
//! | [`store`], [`lease`], [`look`] | whole transactions: of users, of workers, and to look |
//! | [`change`], [`statement`] | what they do, and their texts |
//! | [`findings`] | results, for other modules |
//! | [`item`], [`event`] | items as the database has them, and what is told of them |
//! | [`sweep`], [`metrics`] | what nobody asks for, and what is counted |
//!
//! | may be relied on | kept by |
//! |---|---|
//! | a cancel that was accepted is final | [`statement`]: no report leads from `cancelling` to anywhere but `cancelled` |
//! | a worker that was given up changes nothing | the fence, which is raised by each claim and each loss |
//! | an item of a dead worker ends or is tried again | the lease, which a cancel only ever shortens |
//! | a worker hears of every cancel | the row says so, and is looked at again: [`control`], heartbeats |
//! | counts and events agree with the items | [`change`]: they are made of what a statement returned |
//! | an image's status is never wrong | it is not stored, but told by its last item and its result |

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;

use crate::auth::Authenticator;
use crate::cancel::{Live, Scope};
use crate::db::{Db, DbError, Line, Tx};
use crate::event::Hub;
use crate::http::{Origin, Request, Response, Route};
use crate::module::Mount;

mod api;
mod ask;
mod cancel_api;
mod change;
mod claim;
mod control;
mod crew;
mod event;
pub mod findings;
mod item;
mod lease;
mod look;
mod metrics;
mod result;
mod statement;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod view;
mod worker_api;

pub use cancel_api::Cancels;
pub use metrics::Metrics;
pub use view::CancelView;

/// The migrations of the module.
pub const LINE: Line = Line {
    name: "queue",
    sqlite: &[(
        1,
        "queue",
        include_str!("../../migrations/sqlite/queue/0001_queue.sql"),
    )],
    postgres: &[(
        1,
        "queue",
        include_str!("../../migrations/postgres/queue/0001_queue.sql"),
    )],
};

/// What is to be processed, and belongs to another module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id, that of an upload.
    pub id: String,
    /// The project it is in.
    pub project: String,
    /// Whether all of its bytes are there.
    pub is_complete: bool,
    /// As its sender calls it.
    pub filename: Option<String>,
    /// Its media type, as its sender says.
    pub content_type: Option<String>,
    /// How many it has.
    pub bytes: u64,
    /// Its digest in lower-case hexadecimal, as far as it is known.
    pub sha256: Option<String>,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// Where images are. Each function reads within a transaction of the queue.
pub trait Images: Send + Sync + 'static {
    /// Those with these ids, in any order: what is complete or may become so, and nothing that has
    /// ended in another way. `ids` are up to 10,000.
    ///
    /// # Errors
    /// The database's.
    fn find<'t>(
        &'t self,
        tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>>;

    /// The complete ones of a project, newest first: so many at most, after so many others; and how
    /// many there are altogether.
    ///
    /// # Errors
    /// The database's.
    fn list<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        bounds: [i64; 2],
    ) -> BoxFuture<'t, Result<(Vec<Image>, u64), DbError>>;
}

/// What the module needs of the rest of the house.
pub struct Deps {
    pub db: Db,
    /// Woken after each change.
    pub hub: Hub,
    pub images: Arc<dyn Images>,
    /// Lends workers the right to read an image.
    pub auth: Authenticator,
    /// How the address of an image is made.
    pub origin: Origin,
    pub metrics: Metrics,
    /// Everything of the module runs below it.
    pub scope: Scope,
}

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// What workers may be asked for; the first one is for whoever names none. Never empty.
    pub models: Vec<String>,
    /// How long a worker has an item that it tells nothing of.
    pub lease: Duration,
    /// How long a worker has to end what is cancelled.
    pub grace: Duration,
    /// The largest report, in bytes.
    pub result_bytes_max: usize,
    /// How many items of one project may wait or be processed, about.
    pub items_max: u32,
    /// For how long an item is kept that has ended.
    pub keep: Duration,
    /// How long the server takes to end.
    pub shutdown_grace: Duration,
}

impl Config {
    /// How often a worker is to tell that it is there.
    fn heartbeat(&self) -> Duration {
        self.lease / 3
    }
}

/// Mounts the module. Also returned is what cancels items for others, whether or not it is mounted.
pub fn mount(deps: Deps, config: Config) -> (Mount, Cancels) {
    let queue = Arc::new(Queue::new(deps, config));
    let (get, post) = (Method::GET, Method::POST);
    let mount = Mount {
        routes: vec![
            queue.route(&post, "/api/queue/images/{image}", api::enqueue),
            queue.route(&post, "/api/queue/batch", api::enqueue_all),
            queue.route(&get, "/api/queue/projects/{project}/items", api::list),
            queue.route(&get, "/api/queue/projects/{project}/stats", api::stats),
            queue.route(
                &post,
                "/api/queue/projects/{project}/cancel",
                cancel_api::of_project,
            ),
            queue.route(&get, "/api/queue/items/{item}", api::find),
            queue.route(&Method::DELETE, "/api/queue/items/{item}", cancel_api::one),
            queue.route(&post, "/api/queue/items/{item}/cancel", cancel_api::one),
            queue.route(
                &post,
                "/api/queue/batches/{batch}/cancel",
                cancel_api::batch,
            ),
            queue.route(&post, "/api/queue/cancel-all-user", cancel_api::own),
            queue.route(&get, "/api/queue/stats", api::own_stats),
            queue.route(&get, "/api/queue/health", api::health),
            queue.route(&post, "/api/queue/reset-stuck", api::reset),
            queue.route(&post, "/api/queue/cleanup", api::clean_up),
            queue.route(&get, "/api/images/{image}", api::show),
            queue.route(&get, "/api/images/{image}/result", api::result),
            queue.route(&get, "/api/projects/{project}/images", api::show_all),
            queue.route(&post, "/api/worker/claim", worker_api::claim),
            queue.route(&get, "/api/worker/{worker}/control", worker_api::listen),
            queue.route(&post, "/api/worker/{worker}/heartbeat", worker_api::beat),
            queue.route(&post, "/api/worker/items/{item}/finish", worker_api::finish),
        ],
        workers: vec![Box::new(sweep::Sweeper::new(&queue))],
    };
    (mount, Cancels(queue))
}

/// The module's state, shared by its handlers and its worker.
struct Queue {
    store: store::Store,
    crew: Arc<crew::Crew>,
    /// The claims that wait, or have an answer that is not on its way yet.
    claims: Live<claim::Key, ()>,
    auth: Authenticator,
    origin: Origin,
    scope: Scope,
    config: Arc<Config>,
}

impl Queue {
    fn new(deps: Deps, config: Config) -> Self {
        let config = Arc::new(config);
        let crew = Arc::new(crew::Crew::new(
            deps.hub.operations().clone(),
            deps.metrics.clone(),
        ));
        Self {
            store: store::Store::new(&deps, crew.clone(), config.clone()),
            crew,
            claims: Live::new(),
            auth: deps.auth,
            origin: deps.origin,
            scope: deps.scope,
            config,
        }
    }

    fn route<A>(
        self: &Arc<Self>,
        method: &Method,
        path: &str,
        handler: fn(Arc<Self>, Request) -> A,
    ) -> Route
    where
        A: Future<Output = Response> + Send + 'static,
    {
        let this = self.clone();
        Route::new(method.clone(), path, move |request| {
            handler(this.clone(), request)
        })
    }
}
