//! Exports: a project's images, and what was found in them, as one archive that is made in the
//! background, can be cancelled at any time, and is downloaded in as many pieces as it takes.
//!
//! | file | what |
//! |---|---|
//! | [`api`], [`download`] | the routes |
//! | [`ask`], [`view`] | what is said, checked; what is answered |
//! | [`run`] | one export, from its turn to its end |
//! | [`end`] | the way out of life: cancels, archives that expire |
//! | [`make`], [`findings`], [`manifest`] | what an archive has, in its order |
//! | [`archive`], [`spool`] | a ZIP file on its way into the store; what waits for its place in it |
//! | [`names`] | paths in the archive |
//! | [`found`], [`classes`], [`coco`], [`yolo`], [`measure`] | what was found in an image, and its forms |
//! | [`store`], [`statement`] | whole transactions, and their texts |
//! | [`job`], [`event`], [`progress`] | exports as the database has them; what is told of them |
//! | [`sweep`], [`metrics`], [`fsck`] | what nobody asks for; what is counted; rows against archives |
//!
//! | may be relied on | kept by |
//! |---|---|
//! | a cancel that was accepted is final | [`statement`]: nothing leads from `cancelling` to anywhere but `cancelled` |
//! | a cancelled or failed export leaves nothing | the row says that something may be left until all is gone: [`end`], [`sweep`] |
//! | an archive is never written to by two | [`Live`]: whoever writes or removes one holds its lease |
//! | nothing is silently missing | [`make`]: what is to be exported is listed before anything is read |
//! | memory does not grow with what is exported | [`archive`], [`spool`]; a table of contents has some 200 bytes an entry |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Method;
use tokio::sync::Semaphore;

use crate::auth::Authenticator;
use crate::blob::{BlobError, BlobStore};
use crate::cancel::{Live, Scope};
use crate::db::{Db, DbError, Line, Tx};
use crate::event::{Hub, Operations};
use crate::http::{Credential, Operation, Request, Response, Route};
use crate::module::Mount;

mod api;
mod archive;
mod ask;
mod classes;
mod coco;
mod download;
mod end;
mod event;
mod findings;
mod found;
pub mod fsck;
mod job;
mod make;
mod manifest;
mod measure;
mod metrics;
mod names;
mod number;
mod progress;
mod run;
mod spool;
mod statement;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod view;
mod yolo;

pub use end::Cancels;
pub use metrics::Metrics;
pub use view::CancelView;

/// The migrations of the module.
pub const LINE: Line = Line {
    name: "export",
    sqlite: &[(
        1,
        "export",
        include_str!("../../migrations/sqlite/export/0001_export.sql"),
    )],
    postgres: &[(
        1,
        "export",
        include_str!("../../migrations/postgres/export/0001_export.sql"),
    )],
};

/// What is exported, and belongs to another module.
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

/// The bytes of a complete image.
pub trait Content: Send + Sync + 'static {
    /// Reads from `at`, up to so many bytes; none at its end.
    fn read(&self, at: u64, bytes_max: u64) -> BoxFuture<'_, Result<bytes::Bytes, BlobError>>;
}

/// Where images are, and what was found in them. Each function reads within a transaction of this module;
/// their errors are the database's.
pub trait Source: Send + Sync + 'static {
    /// The title of a project.
    fn title<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>>;

    /// How many complete images a project has, and `limit` if there are more.
    fn count<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        limit: u64,
    ) -> BoxFuture<'t, Result<u64, DbError>>;

    /// The complete images of a project in the order in which they were begun, then of their ids: `limit`
    /// at most of those behind the place `after`.
    fn page<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        after: Option<(i64, &'t str)>,
        limit: i64,
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>>;

    /// Those with these ids, in any order: what is complete or may become so, and nothing that has
    /// ended in another way.
    fn find<'t>(
        &'t self,
        tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>>;

    /// The bytes of a complete image. `None`: it is not there any more.
    fn open<'t>(
        &'t self,
        tx: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<Box<dyn Content>>, DbError>>;

    /// Those of some images in which something may have been found.
    fn with_result<'t>(
        &'t self,
        tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<String>, DbError>>;

    /// What was found in an image, as a JSON object.
    fn result<'t>(
        &'t self,
        tx: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>>;
}

/// What the module needs of the rest of the house.
pub struct Deps {
    pub db: Db,
    /// Woken after each change, and asks for progress.
    pub hub: Hub,
    pub source: Arc<dyn Source>,
    /// Has nothing but archives.
    pub archives: Arc<dyn BlobStore>,
    /// Where files without names may be made.
    pub spools: PathBuf,
    /// Lends the right to download an archive.
    pub auth: Authenticator,
    pub metrics: Metrics,
    /// Everything of the module runs below it.
    pub scope: Scope,
}

/// What an operator may choose.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// For how long an archive is kept.
    pub archive_keep: Duration,
    /// For how long an export is known that has ended.
    pub keep: Duration,
    /// How many run at once.
    pub running_max: usize,
    /// The most images of one.
    pub images_max: u32,
}

/// Mounts the module. Also returned is what cancels exports for others, whether or not it is mounted.
pub fn mount(deps: Deps, config: Config) -> (Mount, Cancels) {
    let exports = Arc::new(Exports::new(deps, config));
    let (get, post) = (Method::GET, Method::POST);
    let path = |rest: &str| format!("/api/projects/{{project}}/export{rest}");
    let download = exports
        .route(&get, &path("/{id}/download"), download::serve)
        .takes(Credential::Lent(Operation::Archive));
    let mount = Mount {
        routes: vec![
            exports.route(&post, &path(""), api::start),
            exports.route(&get, &path("/history"), api::history),
            exports.route(&get, &path("/{id}/status"), api::status),
            exports.route(&post, &path("/{id}/cancel"), api::cancel),
            exports.route(&post, &path("/{id}/download-token"), download::token),
            download,
        ],
        workers: vec![Box::new(sweep::Sweeper::new(&exports))],
    };
    (mount, Cancels(exports))
}

/// The module's state, shared by its handlers and its worker.
struct Exports {
    store: store::Store,
    archives: Arc<dyn BlobStore>,
    spools: PathBuf,
    /// Who writes, or removes, the archive of an export.
    live: Live<String, Arc<progress::Progress>>,
    /// One permit for each export that may run.
    room: Arc<Semaphore>,
    operations: Operations,
    auth: Authenticator,
    metrics: Metrics,
    scope: Scope,
    config: Config,
}

impl Exports {
    fn new(deps: Deps, config: Config) -> Self {
        Self {
            operations: deps.hub.operations().clone(),
            store: store::Store::new(deps.db, deps.hub, deps.source, deps.scope.clone()),
            archives: deps.archives,
            spools: deps.spools,
            live: Live::new(),
            room: Arc::new(Semaphore::new(config.running_max)),
            auth: deps.auth,
            metrics: deps.metrics,
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
