//! The database: whole transactions on SQLite or PostgreSQL, from one SQL text.
//!
//! | file | what |
//! |---|---|
//! | `tx.rs` | what a module works with: [`Tx`], [`Param`], [`Row`] |
//! | `dialect.rs` | [`Sql`] and its holes: all that the engines disagree on |
//! | `sqlite.rs` | one writer with group commit, a few readers, the reserve for a full disk |
//! | `postgres.rs` | a pool, retries, what a lost connection means |
//! | `claim.rs` | one server at a time |
//! | `migrate.rs` | tables, a line of migrations for each module |
//! | `error.rs` | [`DbError`]: what a caller can do about a failure |
//! | `conformance.rs` | one behavioural suite over both engines |
//!
//! What holds on both engines:
//!
//! * A write that returned `Ok` is kept, at the chosen [`Durability`], and every read that begins
//!   afterwards sees it.
//! * A write that failed has left nothing behind, but for the two errors that say otherwise.
//! * A work may run more than once. Only its last run counts, so it must do nothing but
//!   statements on its [`Tx`], and must not wait for anything else: on SQLite it holds up all
//!   other writers.
//! * Columns are BIGINT, TEXT, BOOLEAN or bytes, and nothing else.

mod claim;
#[cfg(test)]
pub(crate) mod conformance;
pub mod dialect;
mod error;
mod migrate;
mod postgres;
mod sqlite;
mod tx;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::claim::{Claim, claim};
pub(crate) use self::dialect::sql;
pub use self::dialect::{Engine, Sql};
pub use self::error::DbError;
pub use self::migrate::{CORE, Line, Step};
pub use self::tx::{Param, Row, Tx};
use crate::cancel::Scope;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DbUrl {
    /// A file of the embedded engine; it is created if it is not there, its directory is not.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

/// Hides the URL, which may hold a password.
impl fmt::Debug for DbUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// What a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power loss: each commit waits until the disk has it.
    PowerLoss,
    /// The end of this process in any way, but not of the machine: a power loss may take back
    /// any commit, and may damage a SQLite database as a whole.
    ProcessCrash,
}

/// What [`Db::open`] needs to know.
#[derive(Clone, Debug)]
pub struct DbConfig {
    /// Where the database is.
    pub url: DbUrl,
    /// What a committed write must survive.
    pub durability: Durability,
}

/// A database. Clones share it.
#[derive(Clone)]
pub struct Db {
    backend: Arc<Backend>,
}

enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Db {
    /// Opens the database; see [`Self::migrate`] for its tables.
    ///
    /// Its tasks run in `scope` and do not end when that is cancelled: units that are being
    /// cancelled still write how they ended. They end with [`Self::close`], or when the last
    /// clone is dropped, so close it before settling a scope above.
    ///
    /// # Errors
    /// [`DbError::Refused`] if the promised durability cannot be had there.
    ///
    /// # Cancel safety
    /// A dropped call leaves at most an empty database file.
    pub async fn open(config: &DbConfig, scope: &Scope) -> Result<Self, DbError> {
        let backend = match &config.url {
            DbUrl::Sqlite(path) => {
                Backend::Sqlite(sqlite::Sqlite::open(path, config.durability, scope).await?)
            }
            DbUrl::Postgres(url) => {
                Backend::Postgres(postgres::Postgres::open(url, config.durability, scope).await?)
            }
        };
        Ok(Self {
            backend: Arc::new(backend),
        })
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        match &*self.backend {
            Backend::Sqlite(_) => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    /// Applies the missing migrations of `lines`, each in a transaction. Any number of servers
    /// may do this at once. Lines that are in the database and not handed in are left alone.
    ///
    /// # Errors
    /// [`DbError::Refused`] if an applied migration is not the one this binary has, or is one
    /// that it does not know.
    ///
    /// # Cancel safety
    /// A dropped call leaves whole migrations only. Calling again goes on.
    pub async fn migrate(&self, lines: &[Line]) -> Result<(), DbError> {
        migrate::migrate(self, lines).await
    }

    /// Runs `work` in a transaction and commits it if it returns `Ok`.
    ///
    /// On SQLite one writer runs all works, one after another, and commits many at once. On
    /// PostgreSQL they run at READ COMMITTED. Either way `work` may run again, after a rollback,
    /// and must be written for that.
    ///
    /// ```ignore
    /// let id = id.clone();
    /// let renamed = db
    ///     .write(move |tx| {
    ///         let id = id.clone();
    ///         Box::pin(async move {
    ///             let params = [Param::Text(id.as_str()), Param::Text("new")];
    ///             Ok(tx.execute(&RENAME, &params).await? == 1)
    ///         })
    ///     })
    ///     .await?;
    /// ```
    ///
    /// # Errors
    /// The error of `work`, of one of its statements even if `work` dropped it, or of the
    /// commit. All mean that nothing was kept, except [`DbError::CommitUnknown`] and
    /// [`DbError::Broken`].
    ///
    /// # Cancel safety
    /// A call that is dropped while it waits for its turn to be queued (SQLite) or for a
    /// connection (PostgreSQL) does nothing. After that, dropping it only loses the answer:
    /// the transaction runs to its end and may be committed.
    pub async fn write<T>(
        &self,
        work: impl Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync + 'static,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
    {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(work).await,
            Backend::Postgres(postgres) => postgres.write(work).await,
        }
    }

    /// Runs `work` for what it reads. Each statement sees what was committed before it began, so
    /// two of them may see different moments: see [`Self::read_snapshot`]. `work` may run again.
    ///
    /// A statement that writes fails.
    ///
    /// # Cancel safety
    /// Can be dropped at any time.
    pub async fn read<T>(
        &self,
        work: impl Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync,
    ) -> Result<T, DbError> {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(&work).await,
            Backend::Postgres(postgres) => postgres.read(&work).await,
        }
    }

    /// Like [`Self::read`], with all statements seeing one moment. It costs a begin and an end,
    /// so use it only where two statements must agree.
    ///
    /// # Cancel safety
    /// Can be dropped at any time.
    pub async fn read_snapshot<T>(
        &self,
        work: impl Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync,
    ) -> Result<T, DbError> {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.read_snapshot(&work).await,
            Backend::Postgres(postgres) => postgres.read_snapshot(&work).await,
        }
    }

    /// Prepares every statement without running it, so that a test can tell which one the
    /// database does not understand.
    ///
    /// # Errors
    /// [`DbError::Refused`] with the first such statement.
    ///
    /// # Cancel safety
    /// Can be dropped at any time.
    pub async fn prepare_all(&self, statements: &[&Sql]) -> Result<(), DbError> {
        for sql in statements {
            let prepared = match &*self.backend {
                Backend::Sqlite(sqlite) => sqlite.prepare(sql).await,
                Backend::Postgres(postgres) => postgres.prepare(sql).await,
            };
            if let Err(DbError::Driver(error)) = prepared {
                let text = sql.text(self.engine());
                return Err(DbError::refused(format!("{error}, in: {text}")));
            }
            prepared?;
        }
        Ok(())
    }

    /// Whether writes can succeed: `false` for ever after a failed sync, and once it is closed.
    pub fn is_healthy(&self) -> bool {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.is_healthy(),
            Backend::Postgres(postgres) => postgres.is_healthy(),
        }
    }

    /// Whether the disk was found full and the reserve could not be made again yet. Begin nothing
    /// new then: what room is left is for changing and deleting what is there.
    pub fn is_full(&self) -> bool {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.is_full(),
            Backend::Postgres(_) => false,
        }
    }

    /// Tries to make the reserve again that a full disk used up, and says whether it is there.
    ///
    /// The reserve is room on the disk that lets cancelling and deleting succeed when all else
    /// is full. A sweeper calls this now and then.
    ///
    /// # Cancel safety
    /// A dropped call may leave a part of the reserve; the next one replaces it.
    pub async fn restore_reserve(&self) -> bool {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.restore_reserve().await,
            Backend::Postgres(_) => true,
        }
    }

    /// Finishes what is queued and closes the database. Later calls fail with
    /// [`DbError::Closed`].
    ///
    /// # Cancel safety
    /// A dropped call may or may not have begun to close; it can be called again.
    pub async fn close(&self) {
        match &*self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}
