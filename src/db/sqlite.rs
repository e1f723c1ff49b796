//! The embedded engine: one writer with group commit, a few readers, and what a full or failing
//! disk means.
//!
//! The driver runs each connection on a thread of its own and passes it one statement at a time,
//! so no statement blocks the runtime, and each costs two thread hops. The writer spreads the
//! cost of BEGIN, COMMIT and the sync over a batch; a read of one statement needs no
//! transaction at all.

mod reserve;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqlSafeStr};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::reserve::Reserve;
use self::writer::{Job, Message, Writer};
use super::dialect::{
    Engine, SQLITE_BEGIN_SNAPSHOT, SQLITE_COMMIT, SQLITE_PAGES, Sql, sqlite_limit,
};
use super::tx::{Conn, Tx, Work};
use super::{DbError, Durability};
use crate::cancel::Scope;

/// How many writes may wait for the writer; more wait to be queued.
const QUEUE_MAX: usize = 1024;
/// Four keep two cores busy, since a reader spends its time being waited for by another thread.
const READERS_MAX: usize = 4;
/// How long a statement waits for another process that holds the database, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A database file.
pub(super) struct Sqlite {
    inbox: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What the handles, the writer and every reader have in common.
struct Shared {
    /// Cleared once, by a failed sync or a damaged file; set again by a restart only.
    healthy: AtomicBool,
    /// Set when the disk is found full, until the reserve could be made again.
    full: AtomicBool,
    reserve: Reserve,
    reader_options: SqliteConnectOptions,
    /// One permit for each reader in use. Closed at the end.
    reader_permits: Arc<Semaphore>,
    /// Readers that are open and not in use, the most recently used last.
    idle_readers: Mutex<Vec<SqliteConnection>>,
}

impl Sqlite {
    /// Opens or creates the file at `path` and starts the writer in `scope`.
    pub(super) async fn open(
        path: &Path,
        durability: Durability,
        scope: &Scope,
    ) -> Result<Self, DbError> {
        let mut connection = writer_options(path, durability)
            .connect()
            .await
            .map_err(DbError::driver)?;
        let mode: String = sqlx::query("PRAGMA journal_mode")
            .fetch_one(&mut connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(DbError::driver)?;
        if mode != "wal" {
            return Err(DbError::refused(
                "the file system of the database has no shared memory maps, which SQLite's \
                 write-ahead log needs: use a local disk",
            ));
        }

        let reserve = Reserve::beside(path);
        let full = !reserve.hold().await;
        if full {
            tracing::warn!("no room for the database's reserve: the disk is nearly full");
        }
        let shared = Arc::new(Shared {
            healthy: AtomicBool::new(true),
            full: AtomicBool::new(full),
            reserve,
            reader_options: reader_options(path),
            reader_permits: Arc::new(Semaphore::new(READERS_MAX)),
            idle_readers: Mutex::new(Vec::with_capacity(READERS_MAX)),
        });
        let (inbox, queue) = mpsc::channel(QUEUE_MAX);
        let writer = Writer::new(Held::writer(connection, Arc::clone(&shared)), queue);
        start(writer, scope)?;
        Ok(Self { inbox, shared })
    }

    /// Queues `work` and waits for the commit of its batch.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, DbError>
    where
        T: Send + 'static,
        W: Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync + 'static,
    {
        if !self.shared.is_healthy() {
            return Err(DbError::Broken);
        }
        let (reply, answer) = oneshot::channel();
        let job = Message::Run(Box::new(Job::new(work, reply)));
        self.inbox.send(job).await.map_err(|_| DbError::Closed)?;
        // Without an answer the writer has ended in the middle of the batch.
        answer.await.unwrap_or(Err(DbError::Broken))
    }

    /// Runs `work` on a reader, each statement on its own.
    pub(super) async fn read<T>(&self, work: &Work<'_, T>) -> Result<T, DbError> {
        Tx::new(Conn::Sqlite(self.reader().await?)).run(work).await
    }

    /// Runs `work` on a reader; all statements see one moment.
    pub(super) async fn read_snapshot<T>(&self, work: &Work<'_, T>) -> Result<T, DbError> {
        let mut reader = self.reader().await?;
        // Until the snapshot has ended in order the reader is fit for nobody else.
        reader.spoilt = true;
        reader.control(SQLITE_BEGIN_SNAPSHOT).await?;
        let mut tx = Tx::new(Conn::Sqlite(reader));
        let outcome = tx.run(work).await;
        if let Conn::Sqlite(mut reader) = tx.into_conn() {
            reader.spoilt = reader.control(SQLITE_COMMIT).await.is_err();
        }
        outcome
    }

    /// Prepares a statement without running it.
    pub(super) async fn prepare(&self, sql: &Sql) -> Result<(), DbError> {
        let mut reader = self.reader().await?;
        let text = sql.text(Engine::Sqlite).into_sql_str();
        reader
            .connection()?
            .prepare(text)
            .await
            .map(drop)
            .map_err(DbError::driver)
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.shared.is_healthy() && !self.inbox.is_closed()
    }

    pub(super) fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    pub(super) async fn restore_reserve(&self) -> bool {
        let held = self.shared.reserve.hold().await;
        if held {
            self.shared.full.store(false, Ordering::Release);
        }
        held
    }

    /// Ends the writer after what is queued.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inbox.send(Message::Close(done)).await.is_ok() {
            // An error means that the writer has ended, which is what is waited for.
            closed.await.unwrap_or_default();
        }
    }

    /// A reader of one's own, opened if none is idle.
    async fn reader(&self) -> Result<Held, DbError> {
        let permits = Arc::clone(&self.shared.reader_permits);
        let permit = permits.acquire_owned().await.map_err(|_| DbError::Closed)?;
        let idle = self.shared.idle_readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self
                .shared
                .reader_options
                .connect()
                .await
                .map_err(|error| self.shared.judge(error))?,
        };
        Ok(Held {
            connection: Some(connection),
            shared: Arc::clone(&self.shared),
            spoilt: false,
            permit: Some(permit),
        })
    }
}

/// Runs the writer, as a part of `scope`, on a thread of its own: it waits for another thread with
/// every statement, and as a task it would have to line up behind all others each time.
fn start(writer: Writer, scope: &Scope) -> Result<(), DbError> {
    let (runtime, (running, ended)) = (Handle::current(), oneshot::channel::<()>());
    thread::Builder::new()
        .name("db-commits".to_owned())
        .spawn(move || {
            runtime.block_on(writer.run());
            drop(running);
        })
        .map_err(|error| DbError::driver(error.into()))?;
    drop(scope.spawn(ended));
    Ok(())
}

impl Shared {
    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    fn idle_readers(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        // Nothing in here can be left half done by a panic.
        self.idle_readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets no new reader start and closes those that are idle; one in use closes when its read
    /// ends.
    async fn close_readers(&self) {
        self.reader_permits.close();
        let idle = std::mem::take(&mut *self.idle_readers());
        for reader in idle {
            if let Err(error) = reader.close().await {
                tracing::debug!(%error, "a reader did not close in order");
            }
        }
    }

    /// Notes what an error of the driver says about the database and names it for the caller.
    fn judge(&self, error: sqlx::Error) -> DbError {
        let error = classify(error);
        if matches!(error, DbError::Broken) {
            self.break_down();
        }
        error
    }

    /// Lets no later write succeed.
    fn break_down(&self) {
        self.healthy.store(false, Ordering::Release);
    }
}

/// A connection in somebody's hands. A reader goes back to its peers when this is dropped.
pub(super) struct Held {
    /// Taken only when this is dropped or closed.
    connection: Option<SqliteConnection>,
    shared: Arc<Shared>,
    /// Set while a transaction is open and after the connection's thread died: such a reader is
    /// closed, and another one is opened in its place when needed.
    spoilt: bool,
    /// The right to one of the readers; absent for the writer.
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn writer(connection: SqliteConnection, shared: Arc<Shared>) -> Self {
        Self {
            connection: Some(connection),
            shared,
            spoilt: false,
            permit: None,
        }
    }

    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection, DbError> {
        self.connection.as_mut().ok_or(DbError::Closed)
    }

    /// Names an error of a statement on this connection for the caller.
    pub(super) fn judge(&mut self, error: sqlx::Error) -> DbError {
        if !matches!(error, sqlx::Error::WorkerCrashed) {
            return self.shared.judge(error);
        }
        // A lost reader is replaced. A lost writer may have been committing.
        self.spoilt = true;
        if self.permit.is_some() {
            return DbError::Unavailable(Arc::new(error));
        }
        tracing::error!("the thread of the database's writer died");
        self.shared.break_down();
        DbError::Broken
    }

    /// Lets the database grow by that many pages at most, or without a limit.
    async fn limit(&mut self, growth: Option<i64>) -> Result<(), DbError> {
        let pages = match growth {
            Some(growth) => {
                let pages = sqlx::query_scalar(SQLITE_PAGES)
                    .fetch_one(self.connection()?)
                    .await;
                let pages: i64 = pages.map_err(|error| self.judge(error))?;
                pages.saturating_add(growth)
            }
            // SQLite takes the largest number that it can.
            None => i64::MAX,
        };
        self.control(AssertSqlSafe(sqlite_limit(pages))).await
    }

    /// Runs a statement that is not part of a work.
    async fn control(&mut self, statement: impl SqlSafeStr) -> Result<(), DbError> {
        match sqlx::query(statement).execute(self.connection()?).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.judge(error)),
        }
    }

    /// Closes the connection and waits until its thread has let go of the file.
    async fn close(mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close in order");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.permit.is_some()
            && !self.spoilt
            && !self.shared.reader_permits.is_closed()
        {
            self.shared.idle_readers().push(connection);
        }
    }
}

fn writer_options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        // What the kernel has taken survives the process; only a power loss needs a sync.
        Durability::ProcessCrash => SqliteSynchronous::Off,
    };
    common_options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", "-2048")
        .pragma("wal_autocheckpoint", "1000")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(128)
        .thread_name(|_| "db-writer".to_owned())
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    common_options(path)
        .read_only(true)
        .pragma("query_only", "ON")
        .pragma("cache_size", "-1024")
        .statement_cache_capacity(64)
        .thread_name(|_| "db-reader".to_owned())
}

fn common_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "MEMORY")
}

/// Names an error of the driver by what it means. The numbers are SQLite's extended codes.
fn classify(error: sqlx::Error) -> DbError {
    let sqlx::Error::Database(reported) = &error else {
        return DbError::driver(error);
    };
    let code = extended_code(&**reported);
    match (code & 0xff, code) {
        // SQLITE_IOERR_FSYNC and _DIR_FSYNC: the kernel has dropped what it could not write, and
        // a second sync would lie. SQLITE_CORRUPT and SQLITE_NOTADB: do not make it worse.
        (_, 1034 | 1290) | (11 | 26, _) => {
            tracing::error!(%error, "the database is broken");
            DbError::Broken
        }
        // SQLITE_FULL; SQLITE_IOERR_SHMSIZE is how a full disk shows when the index of the
        // write-ahead log must grow.
        (13, _) | (_, 4874) => DbError::Full,
        // SQLITE_BUSY, SQLITE_LOCKED
        (5 | 6, _) => DbError::Busy,
        _ if reported.is_unique_violation() => DbError::Duplicate(Arc::new(error)),
        _ => DbError::driver(error),
    }
}

/// Whether SQLite gave its general code, which is also the one for ending a transaction where
/// none is open.
fn is_misuse(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|reported| extended_code(reported) == 1)
}

fn extended_code(error: &dyn DatabaseError) -> i32 {
    error
        .code()
        .and_then(|code| code.parse().ok())
        .unwrap_or_default()
}
