//! The server engine: a pool of connections, retries, and what a lost connection means.

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, Executor, PgPool, Postgres as Driver, Row, SqlSafeStr, Transaction};

use super::dialect::{
    Engine, POSTGRES_BEGIN, POSTGRES_BEGIN_SNAPSHOT, POSTGRES_DURABILITY, POSTGRES_SESSION, Sql,
};
use super::tx::{Conn, Tx, Work};
use super::{DbError, Durability};
use crate::cancel::Scope;

const CONNECTIONS_MAX: u32 = 8;
/// How long a caller waits for one of the connections.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How often a work runs at most.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt; each later one is longer by as much.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A database on a server.
pub(super) struct Postgres {
    pool: PgPool,
    /// Where transactions run, so that a caller who leaves does not cut one off.
    scope: Scope,
}

/// A connection in somebody's hands. Dropping it rolls an open transaction back.
pub(super) enum Held {
    /// Each statement on its own.
    Pooled(PoolConnection<Driver>),
    /// All in one transaction.
    Transaction(Transaction<'static, Driver>),
}

impl Held {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl Postgres {
    /// Connects, and refuses a server that would break the promised durability.
    pub(super) async fn open(
        url: &str,
        durability: Durability,
        scope: &Scope,
    ) -> Result<Self, DbError> {
        let options = PgConnectOptions::from_str(url).map_err(DbError::driver)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move {
                    if idle.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(drop) })
            })
            .connect_with(options)
            .await
            .map_err(classify)?;
        let postgres = Self {
            pool,
            scope: scope.clone(),
        };
        match durability {
            Durability::PowerLoss => postgres.demand_durability().await?,
            Durability::ProcessCrash => {}
        }
        Ok(postgres)
    }

    /// Fails unless a commit on this server survives a power loss.
    async fn demand_durability(&self) -> Result<(), DbError> {
        let row = sqlx::query(POSTGRES_DURABILITY)
            .fetch_one(&self.pool)
            .await
            .map_err(classify)?;
        for (column, setting) in ["fsync", "synchronous_commit"].into_iter().enumerate() {
            let value: &str = row.try_get(column).map_err(DbError::driver)?;
            if value == "off" {
                return Err(DbError::refused(format!(
                    "the PostgreSQL server runs with {setting} = off, so that a power loss can \
                     take back what clients were told is safe: switch it on, or lower the \
                     durability"
                )));
            }
        }
        Ok(())
    }

    /// Runs `work` in a transaction of its own, again if it collided with another.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T, DbError>
    where
        T: Send + 'static,
        W: Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync + 'static,
    {
        // Until the transaction has begun the caller may leave and nothing happens.
        let mut begun = begin(&self.pool, POSTGRES_BEGIN).await?;
        let pool = self.pool.clone();
        let transacted = self.scope.spawn(async move {
            let mut attempt = 1;
            loop {
                let outcome = transact(begun, &work).await;
                match &outcome {
                    Err(error) if is_transient(error) && attempt < ATTEMPTS_MAX => {
                        tracing::debug!(%error, attempt, "transaction is tried again");
                    }
                    Ok(_) | Err(_) => return outcome,
                }
                tokio::time::sleep(RETRY_PAUSE * attempt).await;
                attempt += 1;
                begun = begin(&pool, POSTGRES_BEGIN).await?;
            }
        });
        transacted
            .await
            .unwrap_or_else(|panic| Err(DbError::Panicked(panic.to_string().into())))
    }

    /// Runs `work` on a connection, each statement on its own.
    pub(super) async fn read<T>(&self, work: &Work<'_, T>) -> Result<T, DbError> {
        let mut attempt = 1;
        loop {
            let connection = self.pool.acquire().await.map_err(classify)?;
            let mut tx = Tx::new(Conn::Postgres(Held::Pooled(connection)));
            match tx.run(work).await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Runs `work` in a read-only transaction; all statements see one moment.
    pub(super) async fn read_snapshot<T>(&self, work: &Work<'_, T>) -> Result<T, DbError> {
        let begun = begin(&self.pool, POSTGRES_BEGIN_SNAPSHOT).await?;
        let mut tx = Tx::new(Conn::Postgres(Held::Transaction(begun)));
        let outcome = tx.run(work).await;
        if let Conn::Postgres(Held::Transaction(begun)) = tx.into_conn() {
            roll_back(begun).await;
        }
        outcome
    }

    /// Prepares a statement without running it.
    pub(super) async fn prepare(&self, sql: &Sql) -> Result<(), DbError> {
        let mut connection = self.pool.acquire().await.map_err(classify)?;
        let text = sql.text(Engine::Postgres).into_sql_str();
        connection.prepare(text).await.map(drop).map_err(classify)
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.pool.is_closed()
    }

    /// Closes every connection as soon as it is idle.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Takes a connection and begins a transaction on it. A connection that was lost while it was
/// idle, as all are when the server restarts, costs one try and is never seen again.
async fn begin(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Driver>, DbError> {
    let mut tries = 0;
    loop {
        match pool.begin_with(statement).await.map_err(classify) {
            Err(DbError::Unavailable(_)) if tries < CONNECTIONS_MAX => tries += 1,
            outcome => return outcome,
        }
    }
}

/// Runs `work` once and commits it, or rolls it back.
async fn transact<T>(
    begun: Transaction<'static, Driver>,
    work: &Work<'_, T>,
) -> Result<T, DbError> {
    let mut tx = Tx::new(Conn::Postgres(Held::Transaction(begun)));
    let outcome = tx.run(work).await;
    let Conn::Postgres(Held::Transaction(begun)) = tx.into_conn() else {
        return Err(DbError::Closed);
    };
    match outcome {
        Ok(value) => begun
            .commit()
            .await
            .map(|()| value)
            .map_err(classify_commit),
        Err(error) => {
            roll_back(begun).await;
            Err(error)
        }
    }
}

/// Ends a transaction without keeping anything. If that fails the connection is gone, and the
/// server forgets the transaction by itself.
async fn roll_back(begun: Transaction<'static, Driver>) {
    if let Err(error) = begun.rollback().await {
        tracing::debug!(%error, "cannot roll back");
    }
}

/// Whether the same work may succeed when it is run again.
fn is_transient(error: &DbError) -> bool {
    matches!(error, DbError::Busy | DbError::Unavailable(_))
}

/// Names an error of the driver by what it means. The codes are PostgreSQL's SQLSTATEs.
pub(super) fn classify(error: sqlx::Error) -> DbError {
    match &error {
        sqlx::Error::PoolClosed => DbError::Closed,
        sqlx::Error::PoolTimedOut => DbError::Busy,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => DbError::Unavailable(Arc::new(error)),
        sqlx::Error::Database(reported) => {
            let code = reported.code().unwrap_or_default();
            match &*code {
                // serialization_failure, deadlock_detected, lock_not_available,
                // too_many_connections
                "40001" | "40P01" | "55P03" | "53300" => DbError::Busy,
                // disk_full
                "53100" => DbError::Full,
                // admin_shutdown, crash_shutdown, cannot_connect_now,
                // idle_in_transaction_session_timeout: the connection is gone
                "57P01" | "57P02" | "57P03" | "25P03" => DbError::Unavailable(Arc::new(error)),
                _ if code.starts_with("08") => DbError::Unavailable(Arc::new(error)),
                _ if reported.is_unique_violation() => DbError::Duplicate(Arc::new(error)),
                _ => DbError::driver(error),
            }
        }
        _ => DbError::driver(error),
    }
}

/// Names an error of a COMMIT. Only a refusal for a reason in the transaction itself proves that
/// nothing was kept.
fn classify_commit(error: sqlx::Error) -> DbError {
    let refused = error
        .as_database_error()
        .and_then(|reported| reported.code())
        // Violated constraints; serialization_failure and deadlock_detected.
        .is_some_and(|code| code.starts_with("23") || matches!(&*code, "40001" | "40P01"));
    if refused {
        return classify(error);
    }
    tracing::warn!(%error, "the outcome of a commit is unknown");
    DbError::CommitUnknown
}
