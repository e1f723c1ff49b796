//! The composition root: the only place that names concrete stores and mounts modules.
//!
//! | file | what |
//! |---|---|
//! | `place.rs` | directories: made, found, locked |
//! | `binding.rs` | which store belongs to which database |
//! | `callers.rs` | who is calling |
//! | `contents.rs` | what goes with a project |
//! | `exported.rs` | what is exported |
//! | `identity.rs` | whether the machine has been up since the last run |
//! | `images.rs` | what the queue processes |
//! | `mounts.rs` | the modules, each with what it needs of the others |
//! | `signals.rs` | what the operating system asks for |

use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::http::uri::Scheme;
use futures_util::FutureExt;
use rustix::fs::Mode;
use tokio::time::{Instant, timeout_at};

use self::binding::{Binding, BindingError};
use self::identity::Identity;
use self::place::Access;
use self::signals::Signals;
use crate::auth::{Authenticator, Caller, KeysError, SignError};
use crate::blob::local::{BLOCKED_MAX, LocalStore, writers_max};
use crate::blob::{BlobError, BlobStore};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::config::{Command, Config, Durability};
use crate::db::{self, CORE, Db, DbConfig, DbError, DbUrl};
use crate::event::{self, Hub};
use crate::http::telemetry::{self, Metrics};
use crate::http::{self, BindError, Bound, Listeners, RouteError, Router, Throttle, Tls, TlsError};
use crate::upload::fsck::{FsckError, fsck};
use crate::upload::sql::SqlStore;
use crate::upload::store::{Allowance, UploadStore};
use crate::webhook::{EndpointError, Endpoints};
use crate::work::{self, Worker};
use crate::{access, export, ops, queue, upload, webhook};

mod binding;
mod callers;
mod cancels;
mod contents;
mod exported;
mod identity;
mod images;
mod mounts;
mod place;
mod signals;

/// Threads that may wait for the disk at once. More would only queue there.
const BLOCKING_THREADS_MAX: usize = 24;

// Some are left for what else must block.
const _: () = assert!(BLOCKED_MAX + 4 <= BLOCKING_THREADS_MAX);

/// Why the program could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another server has the data directory.
    #[error("{} is in use by another tidegate", .0.display())]
    InUse(PathBuf),
    /// The data directory, the store or the database's file cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("database: {0}")]
    Db(#[from] DbError),
    /// A stored byte could not be looked at.
    #[error("store: {0}")]
    Blob(#[from] BlobError),
    /// Nothing can be listened to.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The database and the store are not each other's.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A webhook cannot be signed for.
    #[error(transparent)]
    Webhook(#[from] EndpointError),
    /// Tokens cannot be checked.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No token can be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Two modules want the same path.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A worker could not be prepared.
    #[error("{worker}: {source}")]
    Prepare {
        /// Which.
        worker: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The check came to no end.
    #[error("fsck: {0}")]
    Fsck(#[from] FsckError),
    /// The same of archives.
    #[error("fsck: {0}")]
    FsckArchives(#[from] export::fsck::FsckError),
    /// The operating system refused something elementary.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
pub fn run(command: Command) -> ExitCode {
    let config = match &command {
        Command::Serve(config) | Command::Migrate(config) | Command::Check(config) => config,
        Command::Fsck { config, .. } | Command::Token { config, .. } => config,
    };
    // Whatever is written here is for its owner only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = telemetry::init_log(config.log.format, &config.log.filter) {
        return fail(&error);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(writers_max() + 1)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("tidegate")
        .build();
    let done = runtime.map_err(AppError::from).and_then(|runtime| {
        let done = runtime.block_on(async {
            match command {
                Command::Serve(config) => serve(config).await,
                Command::Migrate(config) => migrate(config).await,
                Command::Check(config) => check(config).await,
                Command::Token { config, token } => callers::print_token(&config, token),
                Command::Fsck { config, repair } => check_stored(config, repair).await,
            }
        });
        // What is still blocked on a disk must not hold up the end: it equals a crash. Nobody else is
        // let in before it is over: see `hold`.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let words = telemetry::causes(error);
    // Without stderr there is nobody to tell.
    drop(writeln!(io::stderr(), "tidegate: {words}"));
    ExitCode::FAILURE
}

/// Everything that is open while the program runs.
struct Opened {
    db: Db,
    hub: Hub,
    access: access::Changes,
    uploads: Arc<dyn UploadStore>,
    blobs: Arc<dyn BlobStore>,
    /// Of exports.
    archives: Arc<dyn BlobStore>,
    archives_dir: PathBuf,
    /// It may be on a file system of its own.
    blobs_dir: PathBuf,
    /// All that is to settle before the database closes.
    scope: Scope,
}

impl Opened {
    /// # Cancel safety
    /// A dropped call equals a crash: the next one goes on.
    async fn open(config: &Config, access: Access) -> Result<Self, AppError> {
        let dir = config.store.as_ref().unwrap_or(&config.data_dir);
        let url = database(config);
        match access {
            Access::Make => place::make(&config.data_dir)?,
            Access::Find => {
                place::find(&config.data_dir)?;
                place::find(dir)?;
                if let DbUrl::Sqlite(path) = &url {
                    place::find(path)?;
                }
            }
        }
        // Without it, nobody ever served the directory.
        hold(place::lock(&config.data_dir, access)?);
        let root_scope = Scope::root("server");
        let scope = root_scope.child("serving");
        hold(db::claim(&url, &root_scope).await?);
        let db_config = DbConfig {
            url,
            durability: durability(config),
        };
        let db = Db::open(&db_config, &root_scope).await?;
        if access == Access::Make {
            db.migrate(&[CORE]).await?;
        }
        // Before any other table is changed: they may be somebody else's.
        let binding = Binding::look(&db, dir, access).await?;
        let lines = [
            CORE,
            event::log::LINE,
            access::LINE,
            upload::migrations::LINE,
            queue::LINE,
            export::LINE,
            webhook::LINE,
        ];
        db.migrate(&lines).await?;
        let hub = Hub::new(db.clone(), scope.child("feeds"));
        let changes = access::Changes::new();
        let allowance = Allowance {
            project_bytes_max: config.uploads.project_bytes_max,
            open_max: config.uploads.open_max,
        };
        let uploads = SqlStore::new(db.clone(), hub.clone(), changes.clone());
        let uploads = Arc::new(uploads.within(allowance));
        if access == Access::Make {
            uploads.balance().await?;
        }
        hold(binding.settle(&db, &*uploads, dir).await?);
        let blobs = LocalStore::open(dir, config.durability == Durability::PowerLoss)
            .map_err(|source| place::unusable(dir, source))?;
        let archives_dir = dir.join("archives");
        let archives = blobs
            .beside(archives_dir.clone())
            .map_err(|source| place::unusable(&archives_dir, source))?;
        Ok(Self {
            db,
            hub,
            access: changes,
            uploads,
            blobs_dir: blobs.dir().to_owned(),
            blobs: Arc::new(blobs),
            archives: Arc::new(archives),
            archives_dir,
            scope,
        })
    }

    fn probes(&self) -> Vec<ops::Probe> {
        let (db, blobs) = (self.db.clone(), self.blobs.clone());
        let database: ops::Probe = Arc::new(move || {
            let db = db.clone();
            Box::pin(async move {
                identity::probe(&db)
                    .await
                    .map_err(|e| format!("database: {e}"))
            })
        });
        let store: ops::Probe = Arc::new(move || {
            let probed = blobs.probe();
            Box::pin(async move { probed.await.map_err(|error| format!("store: {error}")) })
        });
        let uploads = self.uploads.clone();
        let room: ops::Probe = Arc::new(move || {
            let room = match uploads.has_room() {
                true => Ok(()),
                false => Err(String::from("store: no space left for new bytes")),
            };
            Box::pin(std::future::ready(room))
        });
        vec![database, store, room]
    }
}

/// Never lets go of a lock: the kernel gives it back with the process, however that ends. It does so
/// when the last thread is gone, also one that a disk still holds up, and no value of ours lives as
/// long as that.
fn hold<T>(lock: T) {
    mem::forget(lock);
}

fn database(config: &Config) -> DbUrl {
    match config.database.as_deref() {
        None => DbUrl::Sqlite(config.data_dir.join("tidegate.db")),
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => DbUrl::Sqlite(PathBuf::from(path)),
            None => DbUrl::Postgres(url.to_owned()),
        },
    }
}

fn durability(config: &Config) -> db::Durability {
    match config.durability {
        Durability::PowerLoss => db::Durability::PowerLoss,
        Durability::ProcessCrash => db::Durability::ProcessCrash,
    }
}

async fn migrate(config: Config) -> Result<(), AppError> {
    let opened = Opened::open(&config, Access::Make).await?;
    opened.db.close().await;
    Ok(())
}

/// The configuration has been checked; this reads the files that it names.
async fn check(config: Config) -> Result<(), AppError> {
    tls(&config)?;
    let scope = Scope::root("check");
    callers::tokens(config.auth.as_ref(), &scope).await?;
    Endpoints::load(config.webhooks)?;
    Ok(())
}

async fn check_stored(config: Config, repair: bool) -> Result<(), AppError> {
    let opened = Opened::open(&config, Access::Find).await?;
    let uploads = fsck(&opened.uploads, &opened.blobs, repair).await?;
    let exports = export::fsck::fsck(&opened.db, &opened.archives, repair).await?;
    opened.db.close().await;
    let uploads = uploads.iter().map(ToString::to_string);
    let findings: Vec<_> = uploads
        .chain(exports.iter().map(ToString::to_string))
        .collect();
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    match (findings.len(), repair) {
        (0, _) => writeln!(out, "rows and blobs agree")?,
        (count, true) => writeln!(out, "{count} found, and mended where that is possible")?,
        (count, false) => {
            writeln!(out, "{count} found; --repair mends")?;
            return Err(AppError::Io(io::Error::other(
                "rows and blobs do not agree",
            )));
        }
    }
    Ok(())
}

async fn serve(config: Config) -> Result<(), AppError> {
    let mut signals = Signals::listen()?;
    let opened = tokio::select! {
        started = start(&config) => started?,
        // What was begun is left as by a crash.
        () = signals.asked_to_end() => {
            tracing::info!("stopped before anything was served");
            return Ok(());
        }
    };
    stop(&config, &opened, signals).await;
    Ok(())
}

/// Opens everything and serves it, in the scope of what is returned.
async fn start(config: &Config) -> Result<Opened, AppError> {
    let opened = Opened::open(config, Access::Make).await?;
    if config.auth.is_none() {
        open_default(&opened).await?;
    }
    let auth = callers::authenticator(config, &opened.db, &opened.scope).await?;
    let metrics = Metrics::new();
    let transport = transport(config, auth.clone(), &metrics)?;
    if let Some(tls) = &transport.tls {
        signals::reload_on_hangup(tls.clone(), &opened.scope)?;
    }
    let scheme = transport.scheme();
    let listeners = Listeners::bind(&config.listen).await?;
    let bound = listeners.bound()?;
    let identity = Identity::of(&opened.db, [&config.data_dir, &opened.blobs_dir]).await?;
    let (mounts, metrics) = mounts::all(config, &opened, auth, metrics, identity.is_as_before())?;
    let mut routes = Vec::new();
    let workers_scope = opened.scope.child("workers");
    for mount in mounts {
        routes.extend(mount.routes);
        start_workers(mount.workers, &workers_scope).await?;
    }
    identity.note(&opened.db).await?;
    let router = Router::new(routes)?;
    let server = opened.scope.child("http");
    let serving = http::serve(
        listeners,
        router,
        transport,
        metrics.http.clone(),
        server.clone(),
    );
    server.spawn(serving);

    announce(&bound, &scheme)?;
    Ok(opened)
}

fn transport(
    config: &Config,
    auth: Authenticator,
    metrics: &Metrics,
) -> Result<http::Config, AppError> {
    let throttle = config.requests_per_second.map(Throttle::per_second);
    Ok(http::Config {
        drain: config.drain,
        tls: tls(config)?,
        proxies: config.proxies.clone(),
        origin: config.origin.clone(),
        cors: config.cors.clone(),
        throttle: throttle.map(|throttle| throttle.counting(metrics.http.throttled())),
        ..http::Config::new(auth)
    })
}

/// Prepares workers, and lets them run in `scope`.
async fn start_workers(workers: Vec<Box<dyn Worker>>, scope: &Scope) -> Result<(), AppError> {
    for mut worker in workers {
        let name = worker.name();
        worker.prepare().await.map_err(|source| AppError::Prepare {
            worker: name,
            source,
        })?;
        scope.spawn(work::run(worker, scope.clone()));
    }
    Ok(())
}

/// With nobody to tell apart there is one project from the beginning.
async fn open_default(opened: &Opened) -> Result<(), DbError> {
    let opening = opened
        .db
        .write(|tx| async move { access::default_project(tx, Caller::LOCAL).await }.boxed());
    match opening.await {
        // The one before is still being removed; the next one is made when it is needed.
        Ok(_) | Err(DbError::Busy) => Ok(()),
        Err(error) => Err(error),
    }
}

fn tls(config: &Config) -> Result<Option<Tls>, AppError> {
    let files = config.tls.as_ref();
    let loaded = files.map(|files| Tls::load(&files.cert, &files.key));
    Ok(loaded.transpose()?)
}

/// Says where requests are served: the one line on standard output.
fn announce(bound: &[Bound], scheme: &Scheme) -> io::Result<()> {
    if let Some(first) = bound.first() {
        let mut out = io::stdout().lock();
        writeln!(out, "tidegate listening on {}", first.url(scheme))?;
        out.flush()?;
    }
    for more in bound.iter().skip(1) {
        tracing::info!("also listening on {}", more.url(scheme));
    }
    Ok(())
}

/// Waits for the first signal, then lets everything settle; a second signal ends at once.
async fn stop(config: &Config, opened: &Opened, mut signals: Signals) {
    signals.asked_to_end().await;
    tracing::info!("stopping");
    let deadline = Instant::now() + config.shutdown_grace;
    opened.scope.cancel(CancelReason::Shutdown);
    let settle = async {
        let settled = opened
            .scope
            .settle(config.shutdown_grace - closing(config))
            .await;
        // A database that does not answer must not hold up the end.
        let closed = timeout_at(deadline, opened.db.close()).await;
        settled == Settling::Settled && closed.is_ok()
    };
    tokio::select! {
        // Nothing acknowledged is lost when it is dropped: that equals a crash.
        in_time = settle => {
            if !in_time {
                tracing::warn!("not everything has settled in time");
            }
        }
        () = signals.asked_to_end() => tracing::warn!("stopped at once"),
    }
}

/// The part of the grace that is kept for closing the database.
fn closing(config: &Config) -> Duration {
    Duration::from_millis(500).min(config.shutdown_grace / 4)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, TryLockError};

    use super::*;
    use crate::config::{self, Invocation};

    /// What a disk holds up may go on after the runtime has been shut down, and still write.
    #[test]
    fn locks_are_held_when_all_else_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let command = config::parse(["tidegate", "migrate", "--data-dir", path]);
        let Ok(Invocation::Operator(command)) = command else {
            panic!("{command:?}");
        };
        let Command::Migrate(config) = *command else {
            panic!("{command:?}");
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(migrate(config)).unwrap();
        drop(runtime);
        for name in ["LOCK", "tidegate.db-lock", "blobs/STORE"] {
            let taken = File::open(dir.path().join(name)).unwrap().try_lock();
            assert!(matches!(taken, Err(TryLockError::WouldBlock)), "{name}");
        }
    }
}
