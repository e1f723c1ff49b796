//! The server engine: a pool of connections, retries, and what a lost connection means.

#[cfg(test)]
mod tests;

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, Executor, PgPool, Postgres as Driver, Row, SqlSafeStr};
use tokio::time::timeout;

use super::dialect::{
    Engine, POSTGRES_BEGIN, POSTGRES_BEGIN_SNAPSHOT, POSTGRES_COMMIT, POSTGRES_DURABILITY,
    POSTGRES_ROLLBACK, POSTGRES_SESSION, Sql,
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
/// How long a statement may go without an answer: longer than the server gives itself for it, so
/// that only a server that cannot be reached any more is given up like this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long beginning a transaction may take, lost connections included.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take on its way back into the pool.
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long closing waits for connections that are in use or cannot be reached.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the second attempt; each later one is longer by as much.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A database on a server. Clones share it.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    /// Where transactions run, so that a caller who leaves does not cut one off.
    scope: Scope,
}

/// A connection in somebody's hands. It goes back to its peers when this is dropped, but for one
/// in a transaction, which its end rolls back, and one that no longer answers.
pub(super) struct Held {
    connection: PoolConnection<Driver>,
    /// Set while a transaction is open, and when an answer was not waited for.
    spoilt: bool,
    scope: Scope,
}

impl Held {
    /// The connection, and what bounds the wait for its answer.
    pub(super) fn ask(&mut self) -> (&mut PgConnection, Patience<'_>) {
        let spoilt = &mut self.spoilt;
        (&mut self.connection, Patience { spoilt })
    }

    /// Runs a statement that begins or ends a transaction.
    async fn control(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let (connection, patience) = self.ask();
        patience.wait(connection.execute(statement)).await?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.spoilt {
            self.connection.close_on_drop();
            return;
        }
        // The pool itself would wait without a bound for the answer to its last question.
        let back = self.connection.return_to_pool();
        drop(self.scope.spawn(timeout(RETURN_TIMEOUT, back)));
    }
}

/// Bounds the wait for one answer.
pub(super) struct Patience<'h> {
    spoilt: &'h mut bool,
}

impl Patience<'_> {
    pub(super) async fn wait<T>(
        self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                *self.spoilt = true;
                Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
            }
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
        let mut begun = self.begin(POSTGRES_BEGIN).await?;
        let postgres = self.clone();
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
                begun = postgres.begin(POSTGRES_BEGIN).await?;
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
            let mut tx = Tx::new(Conn::Postgres(self.held().await?));
            match tx.run(work).await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Runs `work` in a read-only transaction; all statements see one moment.
    pub(super) async fn read_snapshot<T>(&self, work: &Work<'_, T>) -> Result<T, DbError> {
        let begun = self.begin(POSTGRES_BEGIN_SNAPSHOT).await?;
        let mut tx = Tx::new(Conn::Postgres(begun));
        let outcome = tx.run(work).await;
        if let Conn::Postgres(begun) = tx.into_conn() {
            roll_back(begun).await;
        }
        outcome
    }

    /// Prepares a statement without running it.
    pub(super) async fn prepare(&self, sql: &Sql) -> Result<(), DbError> {
        let mut held = self.held().await?;
        let text = sql.text(Engine::Postgres).into_sql_str();
        let (connection, patience) = held.ask();
        let prepared = patience.wait(connection.prepare(text)).await;
        prepared.map(drop).map_err(classify)
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.pool.is_closed()
    }

    /// Closes every connection as soon as it is idle, and waits a while for that.
    pub(super) async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!("some connections to the database did not close in time");
        }
    }

    async fn held(&self) -> Result<Held, DbError> {
        Ok(Held {
            connection: self.pool.acquire().await.map_err(classify)?,
            spoilt: false,
            scope: self.scope.clone(),
        })
    }

    /// Takes a connection and begins a transaction on it. A connection that was lost while it was
    /// idle, as all are when the server restarts, costs one try and is never seen again.
    async fn begin(&self, statement: &'static str) -> Result<Held, DbError> {
        let beginning = async {
            let mut tries = 0;
            loop {
                let mut held = self.held().await?;
                // Until it has begun, and then until it has ended.
                held.spoilt = true;
                match held.control(statement).await.map_err(classify) {
                    Err(DbError::Unavailable(_)) if tries < CONNECTIONS_MAX => tries += 1,
                    outcome => return outcome.map(|()| held),
                }
            }
        };
        timeout(BEGIN_TIMEOUT, beginning)
            .await
            .unwrap_or(Err(DbError::Busy))
    }
}

/// Runs `work` once and commits it, or rolls it back.
async fn transact<T>(begun: Held, work: &Work<'_, T>) -> Result<T, DbError> {
    let mut tx = Tx::new(Conn::Postgres(begun));
    let outcome = tx.run(work).await;
    let Conn::Postgres(mut begun) = tx.into_conn() else {
        return Err(DbError::Closed);
    };
    match outcome {
        Ok(value) => {
            begun
                .control(POSTGRES_COMMIT)
                .await
                .map_err(classify_commit)?;
            begun.spoilt = false;
            Ok(value)
        }
        Err(error) => {
            roll_back(begun).await;
            Err(error)
        }
    }
}

/// Ends a transaction without keeping anything. If that fails the connection is gone, and the
/// server forgets the transaction by itself.
async fn roll_back(mut begun: Held) {
    match begun.control(POSTGRES_ROLLBACK).await {
        Ok(()) => begun.spoilt = false,
        Err(error) => tracing::debug!(%error, "cannot roll back"),
    }
}

/// Whether the same work may succeed when it is run again, and soon.
fn is_transient(error: &DbError) -> bool {
    match error {
        DbError::Busy => true,
        DbError::Unavailable(error) => !is_timeout(error),
        _ => false,
    }
}

/// Whether it is an answer that did not come in time.
fn is_timeout(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        // query_canceled: statement_timeout
        sqlx::Error::Database(reported) => reported.code().is_some_and(|code| code == "57014"),
        _ => false,
    }
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
                // too_many_connections, out_of_memory (of locks, too)
                "40001" | "40P01" | "55P03" | "53300" | "53200" => DbError::Busy,
                // disk_full
                "53100" => DbError::Full,
                // admin_shutdown, crash_shutdown, cannot_connect_now,
                // idle_in_transaction_session_timeout: the connection is gone. query_canceled: the
                // statement took too long.
                "57P01" | "57P02" | "57P03" | "25P03" | "57014" => {
                    DbError::Unavailable(Arc::new(error))
                }
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
