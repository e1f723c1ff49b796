//! A database belongs to one server.
//!
//! Beside a SQLite file another one is locked: the database itself must not be, as closing it once
//! would drop SQLite's own locks. On PostgreSQL a connection of its own holds an advisory lock for
//! the schema. It goes with that connection, so it is watched, and taken again when it was lost.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor, Row};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::dialect::{POSTGRES_CLAIM, POSTGRES_CLAIM_SESSION};
use super::{DbError, DbUrl, postgres};
use crate::cancel::Scope;

/// How long a server waits for one that has just ended, and whose end PostgreSQL has not noticed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two tries meanwhile.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often the connection is looked at, or made anew.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long each step of that may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps other servers from a database until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Claim {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    File {
        _locked: File,
    },
    /// The connection's task ends when this is dropped.
    Connection {
        _watched: oneshot::Sender<()>,
    },
}

/// Takes the database for this process. A SQLite file is made if it is not there.
///
/// # Errors
/// [`DbError::Refused`] if another server has it.
///
/// # Cancel safety
/// A dropped call leaves at most empty files.
pub async fn claim(url: &DbUrl, scope: &Scope) -> Result<Claim, DbError> {
    let held = match url {
        DbUrl::Sqlite(path) => {
            let locked = lock_beside(path).map_err(|error| {
                DbError::refused(format!("cannot lock {}: {error}", path.display()))
            })?;
            Held::File {
                _locked: locked.ok_or_else(|| in_use(&path.display().to_string()))?,
            }
        }
        DbUrl::Postgres(url) => {
            let options = PgConnectOptions::from_str(url).map_err(DbError::driver)?;
            let connection = claim_patiently(&options).await?;
            let (watched, dropped) = oneshot::channel();
            drop(scope.spawn(watch(connection, options, dropped)));
            Held::Connection { _watched: watched }
        }
    };
    Ok(Claim { _held: held })
}

fn in_use(which: &str) -> DbError {
    DbError::refused(format!("{which} is in use by another tidegate"))
}

/// Locks the file beside a database; `None`: another process has.
fn lock_beside(database: &Path) -> io::Result<Option<File>> {
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    // Closed before SQLite opens it. A link leads to the same lock as what it leads to.
    drop(open(database)?);
    let mut path = database.canonicalize()?.into_os_string();
    path.push("-lock");
    let file = open(&PathBuf::from(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the lock of a PostgreSQL database, if need be from a server that has just ended.
async fn claim_patiently(options: &PgConnectOptions) -> Result<PgConnection, DbError> {
    let trying = async {
        loop {
            match claim_once(options).await? {
                Some(connection) => return Ok(connection),
                None => sleep(RETRY_PAUSE).await,
            }
        }
    };
    timeout(PATIENCE, trying)
        .await
        .unwrap_or_else(|_elapsed| Err(in_use("it")))
}

/// A connection that has the lock; `None`: another one has it.
async fn claim_once(options: &PgConnectOptions) -> Result<Option<PgConnection>, DbError> {
    let claiming = async {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute(POSTGRES_CLAIM_SESSION).await?;
        let row = sqlx::query(POSTGRES_CLAIM)
            .fetch_one(&mut connection)
            .await?;
        if row.try_get(0)? {
            return Ok(Some(connection));
        }
        connection.close().await?;
        Ok(None)
    };
    timeout(ANSWER_TIMEOUT, claiming)
        .await
        .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
        .map_err(postgres::classify)
}

/// Keeps the lock until the claim is dropped. The server goes on without it: ending would harm its
/// clients for certain, and another server only perhaps does.
async fn watch(
    connection: PgConnection,
    options: PgConnectOptions,
    mut dropped: oneshot::Receiver<()>,
) {
    let mut held = Some(connection);
    let mut ticks = interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Both only wait. Nothing is ever sent: an error means that the claim is dropped.
            _ = &mut dropped => break,
            _ = ticks.tick() => {}
        }
        held = match held {
            Some(mut connection) => match timeout(ANSWER_TIMEOUT, connection.ping()).await {
                Ok(Ok(())) => Some(connection),
                lost => {
                    tracing::error!(
                        error = ?lost.map(Result::err),
                        "the connection that keeps other servers from the database is lost: start \
                         none until it is back"
                    );
                    None
                }
            },
            None => match claim_once(&options).await {
                Ok(Some(connection)) => {
                    tracing::warn!("other servers are kept from the database again");
                    Some(connection)
                }
                Ok(None) => {
                    tracing::error!(
                        "ANOTHER SERVER HAS THE DATABASE: stop one of them, or they will end each \
                         other's uploads"
                    );
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "other servers are not kept from the database yet");
                    None
                }
            },
        };
    }
    if let Some(connection) = held {
        // The lock goes with the connection in any case.
        drop(timeout(ANSWER_TIMEOUT, connection.close()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::conformance::scratch_postgres;

    fn refusal(outcome: Result<Claim, DbError>) -> String {
        match outcome {
            Err(DbError::Refused(why)) => why.to_string(),
            outcome => panic!("{outcome:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_has_one_holder_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let scope = Scope::root("test");
        let path = dir.path().join("a.db");
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let first = claim(&DbUrl::Sqlite(path.clone()), &scope).await.unwrap();
        for name in [&path, &link] {
            let why = refusal(claim(&DbUrl::Sqlite(name.clone()), &scope).await);
            assert!(why.contains("in use"), "{why}");
        }
        let other = DbUrl::Sqlite(dir.path().join("b.db"));
        claim(&other, &scope).await.unwrap();
        drop(first);
        claim(&DbUrl::Sqlite(link), &scope).await.unwrap();
    }

    #[tokio::test]
    async fn a_schema_has_one_holder() {
        let scope = Scope::root("test");
        let url = DbUrl::Postgres(scratch_postgres().await);
        let other = DbUrl::Postgres(scratch_postgres().await);
        let first = claim(&url, &scope).await.unwrap();
        claim(&other, &scope).await.unwrap();
        let why = refusal(claim(&url, &scope).await);
        assert!(why.contains("in use"), "{why}");
        // One that has just ended is waited for.
        drop(first);
        claim(&url, &scope).await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_claim_is_taken_again() {
        let scope = Scope::root("test");
        let url = scratch_postgres().await;
        let name = format!("tidegate-claim-{}", std::process::id());
        let url = format!("{url}&application_name={name}");
        let options = PgConnectOptions::from_str(&url).unwrap();
        let _first = claim(&DbUrl::Postgres(url), &scope).await.unwrap();
        let mut other = PgConnection::connect_with(&options.clone().application_name("other"))
            .await
            .unwrap();
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity \
             WHERE application_name = $1",
        )
        .bind(&name)
        .fetch_one(&mut other)
        .await
        .unwrap();
        assert_eq!(ended, 1);
        let holders = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                       WHERE locktype = 'advisory' AND granted AND application_name = $1";
        let retaken = async {
            loop {
                let held: i64 = sqlx::query_scalar(holders)
                    .bind(&name)
                    .fetch_one(&mut other)
                    .await
                    .unwrap();
                if held == 1 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(WATCH_INTERVAL * 4, retaken)
            .await
            .expect("it is taken again");
    }
}
