//! Uploads: create, append, resume, read, cancel.
//!
//! A request takes this path: [`handler`] decodes it and answers; an append runs as a tracked
//! task, admitted by [`cancel::Live`](crate::cancel::Live), through [`receive`] and its loop
//! [`attempt`]; [`end`] is the one way out of life, for a cancel as for an expiry; [`sweep`]
//! finishes whatever a crash has left.
//!
//! | may be relied on | kept by |
//! |---|---|
//! | an offset that was told is durable and never taken back | [`attempt`]: sync, commit, tell |
//! | at most one attempt writes to an upload | [`cancel::Live`](crate::cancel::Live), one per id |
//! | a stale attempt commits nothing | the epoch, in every statement of [`sql`] |
//! | a cancel is final once its row is written | [`end`], [`sweep`] |

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tidegate_protocol::dialect::{Settings, Target};
use tidegate_protocol::problem::Problem;
use tokio::sync::watch;

use crate::access;
use crate::auth::{Authenticator, Caller};
use crate::blob::{BlobStore, Digests};
use crate::cancel::{Live, Scope};
use crate::event::Operations;
use crate::http::{Cors, Credential, Operation, Origin, Route, StallLimits, Throttle};
use crate::id::UploadId;
use crate::module::Mount;
use streams::Streams;

mod api;
mod attempt;
mod book;
mod cancel_api;
pub mod catalog;
mod change;
#[cfg(test)]
mod conformance;
mod content;
mod deny;
mod digest;
mod end;
mod event;
pub mod fsck;
mod handler;
mod images;
mod interim;
#[cfg(test)]
mod memory;
mod metrics;
pub mod migrations;
mod progress;
mod receive;
mod recover;
mod refuse;
mod row;
pub mod sql;
mod statement;
pub mod store;
mod stored;
mod streams;
mod sweep;
#[cfg(test)]
mod tests;

pub use cancel_api::Cancels;
pub use metrics::{Census, Metrics};
pub use stored::{Segment, Stored};

/// What the module needs of the rest of the house.
pub struct Deps {
    pub store: Arc<dyn store::UploadStore>,
    pub blobs: Arc<dyn BlobStore>,
    /// Everything of the module runs below it.
    pub scope: Scope,
    pub metrics: Metrics,
    /// Where appends tell how far they are.
    pub operations: Operations,
    /// Tells who may see more or less than before.
    pub access: access::Changes,
    /// What lends the right to one operation.
    pub auth: Authenticator,
    /// Whether bytes past a committed offset, as found at the start, are still those that their
    /// sender sent: the machine has been up ever since.
    pub tails_are_good: bool,
}

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds that are announced to clients.
    pub settings: Settings,
    /// Whether a SHA-256 of each upload is computed as it comes in.
    pub digest: bool,
    /// An unfinished upload that nobody goes on with is removed after this long.
    pub expires_after: Duration,
    /// For how long the row of a cancelled or expired upload is kept.
    pub tombstone_keep: Duration,
    /// Uncommitted bytes are committed at least this often.
    pub checkpoint_interval: Duration,
    pub stall: StallLimits,
    /// How many interim responses one request is sent at most.
    pub interims_max: u32,
    /// To how many uploads one caller may send at once.
    pub streams_max: Option<NonZeroU32>,
    /// How many uploads one caller may create in a second.
    pub creations_per_second: Option<NonZeroU32>,
    /// How many images one request may bring.
    pub images_max: u32,
    /// Bytes of an image beyond those that an upload may have which are still read, so that what is
    /// behind it is found.
    pub skip_bytes_max: u64,
    pub cors: Cors,
    /// How absolute URLs are made.
    pub origin: Origin,
}

/// Mounts the module. Returns what else can cancel its uploads, too.
pub fn mount(deps: Deps, config: Config) -> (Mount, Cancels) {
    let (tails_are_good, access) = (deps.tails_are_good, deps.access.listen());
    let uploads = Arc::new(Uploads::new(deps, config));
    let serve = |path, target| {
        let (uploads, refusing) = (uploads.clone(), uploads.clone());
        Route::any(path, move |request| {
            handler::serve(uploads.clone(), target, request)
        })
        .refusing(move |head, problem| handler::turned_away(&refusing, head, problem))
    };
    let (find, list, usage) = (uploads.clone(), uploads.clone(), uploads.clone());
    let (images, preflight, refusing) = (uploads.clone(), uploads.clone(), uploads.clone());
    let cancel = |path| {
        let uploads = uploads.clone();
        Route::new(Method::POST, path, move |request| {
            cancel_api::one(uploads.clone(), request)
        })
    };
    let (many, lend) = (uploads.clone(), uploads.clone());
    let mount = Mount {
        routes: vec![
            serve("/files", Target::Creation),
            serve("/files/", Target::Creation),
            serve("/files/{id}", Target::Upload).takes(Credential::Lent(Operation::Read)),
            serve("/files/{id}/", Target::Upload).takes(Credential::Lent(Operation::Read)),
            serve("/api/projects/{project}/uploads", Target::Collection),
            Route::new(Method::POST, images::PATH, move |request| {
                images::serve(images.clone(), request)
            })
            .refusing(move |head, problem| images::turned_away(&refusing, head, problem)),
            Route::new(Method::OPTIONS, images::PATH, move |request| {
                images::preflight(preflight.clone(), request)
            }),
            Route::new(
                Method::GET,
                "/api/projects/{project}/uploads",
                move |request| api::list(list.clone(), request),
            ),
            Route::new(
                Method::GET,
                "/api/projects/{project}/usage",
                move |request| api::usage(usage.clone(), request),
            ),
            Route::new(Method::GET, "/api/uploads/{id}", move |request| {
                api::find(find.clone(), request)
            }),
            cancel("/api/uploads/{id}/cancel").takes(Credential::Lent(Operation::Upload)),
            cancel("/api/projects/{project}/uploads/{id}/cancel"),
            Route::new(
                Method::POST,
                "/api/uploads/{id}/cancel-token",
                move |request| cancel_api::lend(lend.clone(), request),
            ),
            Route::new(
                Method::POST,
                "/api/projects/{project}/uploads/cancel",
                move |request| cancel_api::many(many.clone(), request),
            ),
        ],
        workers: vec![
            Box::new(recover::Tails::new(&uploads, tails_are_good)),
            Box::new(sweep::Sweeper::new(&uploads)),
            Box::new(digest::FinalDigests::new(&uploads)),
            Box::new(deny::Denials::new(&uploads, access)),
        ],
    };
    (mount, Cancels(uploads))
}

/// The module's state, shared by its handlers and workers.
struct Uploads {
    store: Arc<dyn store::UploadStore>,
    blobs: Arc<dyn BlobStore>,
    scope: Scope,
    live: Live<UploadId, Arc<progress::Progress>>,
    /// Uploads whose blob may hold good bytes past the committed offset: from before the start, or
    /// because nobody knows what became of a commit. An id leaves when its tail has been adopted.
    unsettled: watch::Sender<HashSet<UploadId>>,
    metrics: Metrics,
    operations: Operations,
    auth: Authenticator,
    streams: Streams,
    creations: Option<Throttle>,
    config: Config,
}

impl Uploads {
    fn new(deps: Deps, config: Config) -> Self {
        Self {
            store: deps.store,
            blobs: deps.blobs,
            scope: deps.scope,
            live: Live::new(),
            unsettled: watch::Sender::default(),
            metrics: deps.metrics,
            operations: deps.operations,
            auth: deps.auth,
            streams: Streams::up_to(config.streams_max),
            creations: config.creations_per_second.map(Throttle::per_second),
            config,
        }
    }

    /// Counts an upload that `caller` is about to create.
    fn count_creation(&self, caller: &Caller) -> Result<(), Problem> {
        let creations = self.creations.as_ref();
        creations.map_or(Ok(()), |creations| creations.admit(caller))
    }

    fn is_unsettled(&self, id: UploadId) -> bool {
        self.unsettled.borrow().contains(&id)
    }

    fn unsettle(&self, ids: impl IntoIterator<Item = UploadId>) {
        self.unsettled
            .send_modify(|unsettled| unsettled.extend(ids));
    }

    fn has_settled(&self, id: UploadId) {
        self.unsettled
            .send_if_modified(|unsettled| unsettled.remove(&id));
    }

    /// The digest of a new upload.
    fn digests(&self) -> Digests {
        if self.config.digest {
            Digests::sha256()
        } else {
            Digests::none()
        }
    }

    fn pace(&self) -> attempt::Pace {
        attempt::Pace {
            limits: self.config.settings.limits,
            checkpoint_interval: self.config.checkpoint_interval,
            stall: self.config.stall,
            expires_after: self.config.expires_after,
        }
    }
}
