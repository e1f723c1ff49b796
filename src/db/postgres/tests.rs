//! What is PostgreSQL's own: retries, lost connections, a server that does not sync.
//!
//! See `conformance.rs` for the server that these tests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Barrier, watch};

use super::*;
use crate::db::conformance::{open, scratch_postgres};
use crate::db::{Db, DbUrl, Param, Sql, sql};

type Checked = Result<(), DbError>;

const PID: Sql = sql!("SELECT CAST(pg_backend_pid() AS BIGINT)");
const CREATE: Sql = sql!("CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL)");
const INSERT: Sql = sql!("INSERT INTO thing (id, n) VALUES ($1, 0)");
const ADD: Sql = sql!("UPDATE thing SET n = n + 1 WHERE id = $1 RETURNING n");

async fn opened() -> Result<Db, DbError> {
    let url = DbUrl::Postgres(scratch_postgres().await);
    let db = open(url, Durability::PowerLoss).await?;
    db.write(|tx| {
        Box::pin(async move {
            tx.execute(&CREATE, &[]).await?;
            tx.execute(&INSERT, &[Param::Int(1)]).await?;
            tx.execute(&INSERT, &[Param::Int(2)]).await
        })
    })
    .await?;
    Ok(db)
}

/// Ends a connection from outside once it `waits_for` something, and waits until it has ended.
async fn terminate(db: &Db, pid: i64, waits_for: &'static str) -> Checked {
    const WAITS: Sql = sql!(
        "SELECT wait_event FROM pg_stat_activity WHERE pid = CAST($1 AS INT) ",
        "AND wait_event = $2",
    );
    const TERMINATE: Sql = sql!("SELECT pg_terminate_backend(CAST($1 AS INT), 10000)");
    let params = [Param::Int(pid), Param::Text(waits_for)];
    let waits = async {
        while db
            .read(|tx| Box::pin(async move { tx.fetch_optional(&WAITS, &params).await }))
            .await?
            .is_none()
        {
            tokio::task::yield_now().await;
        }
        Ok::<_, DbError>(())
    };
    tokio::time::timeout(Duration::from_secs(10), waits)
        .await
        .expect("the connection waits")?;
    let row = db
        .read(|tx| Box::pin(async move { tx.fetch_optional(&TERMINATE, &params[..1]).await }))
        .await?;
    assert!(row.expect("an answer").bool(0)?);
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused() -> Checked {
    let url = format!(
        "{}&options[synchronous_commit]=off",
        scratch_postgres().await
    );
    let url = DbUrl::Postgres(url);
    let refused = open(url.clone(), Durability::PowerLoss).await;
    let Err(DbError::Refused(why)) = refused else {
        panic!("it was accepted");
    };
    assert!(why.contains("synchronous_commit = off"), "{why}");
    open(url, Durability::ProcessCrash).await?.close().await;
    Ok(())
}

#[tokio::test]
async fn a_deadlock_is_tried_again() -> Checked {
    let db = opened().await?;
    let both_hold_one = Arc::new(Barrier::new(2));
    let runs = Arc::new(AtomicU32::new(0));
    let cross = |first: i64, second: i64| {
        let (barrier, runs) = (Arc::clone(&both_hold_one), Arc::clone(&runs));
        db.write(move |tx| {
            let barrier = Arc::clone(&barrier);
            let run = runs.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tx.fetch_optional(&ADD, &[Param::Int(first)]).await?;
                if run < 2 {
                    barrier.wait().await;
                }
                tx.fetch_optional(&ADD, &[Param::Int(second)]).await
            })
        })
    };
    let (one, two) = tokio::join!(cross(1, 2), cross(2, 1));
    let mut seen = Vec::new();
    for row in [one?, two?].into_iter().flatten() {
        seen.push(row.int(0)?);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
    assert_eq!(runs.load(Ordering::Relaxed), 3, "one of them ran twice");
    Ok(())
}

#[tokio::test]
async fn connections_lost_while_idle_are_replaced() -> Checked {
    const TERMINATE_ALL: Sql = sql!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity ",
        "WHERE application_name = $1",
    );
    let other = opened().await?;
    let url = scratch_postgres().await;
    let name = format!("tidegate-{}", std::process::id());
    let url = DbUrl::Postgres(format!("{url}&application_name={name}"));
    let db = open(url, Durability::PowerLoss).await?;
    let pid = || db.write(|tx| Box::pin(async move { tx.fetch_optional(&PID, &[]).await }));
    for pid in join_all((0..CONNECTIONS_MAX).map(|_| pid())).await {
        pid?;
    }
    let ended = other
        .read(|tx| {
            let name = name.clone();
            Box::pin(async move { tx.fetch_all(&TERMINATE_ALL, &[Param::Text(&name)]).await })
        })
        .await?;
    assert!(!ended.is_empty());
    for pid in join_all((0..CONNECTIONS_MAX).map(|_| pid())).await {
        pid?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_lost_in_a_work_runs_it_again() -> Checked {
    let (db, other) = (opened().await?, Arc::new(opened().await?));
    let runs = Arc::new(AtomicU32::new(0));
    let added = db
        .write({
            let runs = Arc::clone(&runs);
            move |tx| {
                let (runs, other) = (Arc::clone(&runs), Arc::clone(&other));
                Box::pin(async move {
                    tx.execute(&ADD, &[Param::Int(1)]).await?;
                    let pid = tx.fetch_optional(&PID, &[]).await?.expect("a pid").int(0)?;
                    if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                        terminate(&other, pid, "ClientRead").await?;
                    }
                    tx.fetch_optional(&ADD, &[Param::Int(1)]).await
                })
            }
        })
        .await?;
    assert_eq!(added.expect("the row is there").int(0)?, 2);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    Ok(())
}

/// A trigger that runs within COMMIT holds it up until its connection is ended.
#[tokio::test]
async fn a_connection_lost_in_the_commit_leaves_the_outcome_unknown() -> Checked {
    let (db, other) = (opened().await?, opened().await?);
    db.write(|tx| {
        Box::pin(async move {
            tx.run_script(
                "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
                 CREATE CONSTRAINT TRIGGER hold_up AFTER INSERT ON thing
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_up();",
            )
            .await
        })
    })
    .await?;
    let pid = Arc::new(AtomicI64::new(0));
    let write = db.write({
        let pid = Arc::clone(&pid);
        move |tx| {
            let pid = Arc::clone(&pid);
            Box::pin(async move {
                tx.execute(&INSERT, &[Param::Int(3)]).await?;
                let row = tx.fetch_optional(&PID, &[]).await?.expect("a pid");
                pid.store(row.int(0)?, Ordering::Release);
                Ok(())
            })
        }
    });
    let cut = async {
        while pid.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
        terminate(&other, pid.load(Ordering::Acquire), "PgSleep").await
    };
    let (outcome, cut) = tokio::join!(write, cut);
    cut?;
    assert!(
        matches!(outcome, Err(DbError::CommitUnknown)),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn a_bad_url_does_not_show_its_password() {
    let url = DbUrl::Postgres("postgres://me:secret@host:bad/db".to_owned());
    assert!(!format!("{url:?}").contains("secret"));
}

/// Passes connections on to the server until it is told to leave them hanging, open and silent, as
/// a network does that has lost one side. Returns the URL of the passage.
fn passage(url: &str, dir: &std::path::Path, silent: watch::Receiver<bool>) -> String {
    let options = PgConnectOptions::from_str(url).expect("the URL of the tests' server");
    let name = format!(".s.PGSQL.{}", options.get_port());
    let server = options
        .get_socket()
        .expect("the tests' server listens on a socket")
        .join(&name);
    let listener = UnixListener::bind(dir.join(&name)).expect("listen");
    let scope = Scope::root("passage");
    let connections = scope.clone();
    drop(scope.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut silent) = (server.clone(), silent.clone());
            drop(connections.spawn(async move {
                let mut server = UnixStream::connect(server).await.expect("connect");
                let is_silent = tokio::select! {
                    // What it drops is never passed on.
                    _ = copy_bidirectional(&mut client, &mut server) => false,
                    // It only waits.
                    is_silent = async { silent.wait_for(|is| *is).await.is_ok() } => is_silent,
                };
                if is_silent {
                    std::future::pending::<()>().await;
                }
            }));
        }
    }));
    let socket = options.get_socket().expect("checked above");
    url.replace(
        socket.to_str().expect("the tests' paths are UTF-8"),
        dir.to_str().expect("the tests' paths are UTF-8"),
    )
}

/// The clock is moved only when nothing else is left to do: whatever waits without a bound fails
/// the test by its last timeout.
#[tokio::test]
async fn nothing_waits_for_ever_for_a_server_that_is_gone() -> Checked {
    const BOUND: Duration = Duration::from_secs(120);
    let dir = tempfile::tempdir().expect("a directory");
    let (silence, silent) = watch::channel(false);
    let url = passage(&scratch_postgres().await, dir.path(), silent);
    let db = open(DbUrl::Postgres(url), Durability::PowerLoss).await?;
    db.write(|tx| Box::pin(async move { tx.execute(&CREATE, &[]).await }))
        .await?;
    let write =
        || db.write(|tx| Box::pin(async move { tx.execute(&INSERT, &[Param::Int(1)]).await }));
    let read = || db.read(|tx| Box::pin(async move { tx.fetch_optional(&PID, &[]).await }));
    let snapshot =
        || db.read_snapshot(|tx| Box::pin(async move { tx.fetch_optional(&PID, &[]).await }));
    for pid in join_all((0..CONNECTIONS_MAX).map(|_| read())).await {
        pid?;
    }
    // The connection breaks in the middle of a transaction.
    let (reached, cut) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let broken = db.write({
        let (reached, cut) = (Arc::clone(&reached), Arc::clone(&cut));
        move |tx| {
            let (reached, cut) = (Arc::clone(&reached), Arc::clone(&cut));
            Box::pin(async move {
                tx.execute(&INSERT, &[Param::Int(2)]).await?;
                reached.wait().await;
                cut.wait().await;
                tx.execute(&INSERT, &[Param::Int(3)]).await
            })
        }
    });
    let others = async {
        reached.wait().await;
        silence.send_replace(true);
        tokio::time::pause();
        cut.wait().await;
        for _ in 0..=CONNECTIONS_MAX {
            assert!(write().await.is_err());
            assert!(read().await.is_err());
            assert!(snapshot().await.is_err());
        }
    };
    let all = async {
        let (broken, ()) = tokio::join!(broken, others);
        assert!(matches!(broken, Err(DbError::Unavailable(_))), "{broken:?}");
        db.close().await;
    };
    tokio::time::timeout(BOUND * CONNECTIONS_MAX, Box::pin(all))
        .await
        .expect("everything ends");
    Ok(())
}
