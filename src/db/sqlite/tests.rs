//! What is SQLite's own: batches, a full disk, a failed sync, the end.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use sqlx::error::ErrorKind;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::db::{Param, sql};

type Checked = Result<(), DbError>;

const CREATE: Sql = sql!("CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, body BLOB)");
const INSERT: Sql = sql!("INSERT INTO thing (id, body) VALUES ($1, zeroblob($2))");
const DELETE: Sql = sql!("DELETE FROM thing WHERE id = $1");
const COUNT: Sql = sql!("SELECT count(*) FROM thing");

/// An open database in a directory of its own.
struct Opened {
    sqlite: Sqlite,
    scope: Scope,
    dir: TempDir,
}

impl Opened {
    async fn new(durability: Durability) -> Result<Self, DbError> {
        let dir = tempfile::tempdir().expect("a directory");
        let scope = Scope::root("test");
        let sqlite = Sqlite::open(&dir.path().join("test.db"), durability, &scope).await?;
        sqlite
            .write(|tx| Box::pin(async move { tx.execute(&CREATE, &[]).await }))
            .await?;
        Ok(Self { sqlite, scope, dir })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn insert(&self, id: i64, bytes: i64) -> Result<u64, DbError> {
        self.sqlite
            .write(move |tx| {
                let params = [Param::Int(id), Param::Int(bytes)];
                Box::pin(async move { tx.execute(&INSERT, &params).await })
            })
            .await
    }

    async fn pragma(&self, name: &'static Sql) -> Result<i64, DbError> {
        self.sqlite
            .write(move |tx| {
                Box::pin(async move {
                    let row = tx.fetch_optional(name, &[]).await?;
                    row.expect("a pragma has a row").int(0)
                })
            })
            .await
    }

    async fn script(&self, script: &'static str) -> Checked {
        self.sqlite
            .write(move |tx| Box::pin(async move { tx.run_script(script).await }))
            .await
    }

    async fn count(&self) -> Result<i64, DbError> {
        count(&self.sqlite).await
    }
}

async fn count(sqlite: &Sqlite) -> Result<i64, DbError> {
    sqlite
        .read(&|tx| {
            Box::pin(async move {
                let row = tx.fetch_optional(&COUNT, &[]).await?;
                row.expect("a count has a row").int(0)
            })
        })
        .await
}

#[tokio::test]
async fn the_connection_is_set_up_as_promised() -> Checked {
    const SYNCHRONOUS: Sql = sql!("PRAGMA synchronous");
    const FOREIGN_KEYS: Sql = sql!("PRAGMA foreign_keys");
    const TEMP_STORE: Sql = sql!("PRAGMA temp_store");
    for (durability, synchronous) in [(Durability::PowerLoss, 2), (Durability::ProcessCrash, 0)] {
        let db = Opened::new(durability).await?;
        assert_eq!(db.pragma(&SYNCHRONOUS).await?, synchronous);
        assert_eq!(db.pragma(&FOREIGN_KEYS).await?, 1);
        assert_eq!(db.pragma(&TEMP_STORE).await?, 2);
    }
    Ok(())
}

/// Older ones can damage a database whose connections write and checkpoint at the same time.
#[tokio::test]
async fn the_bundled_sqlite_is_new_enough() -> Checked {
    const VERSION: Sql = sql!("SELECT sqlite_version()");
    let db = Opened::new(Durability::ProcessCrash).await?;
    let row = db
        .sqlite
        .read(&|tx| Box::pin(async move { tx.fetch_optional(&VERSION, &[]).await }))
        .await?
        .expect("a version");
    let numbers: Vec<u32> = row.text(0)?.split('.').flat_map(str::parse).collect();
    assert!(numbers >= vec![3, 51, 3], "{numbers:?}");
    Ok(())
}

/// A work that waits at `gate`, so that what is queued meanwhile is one batch with it.
fn held(db: &Opened, gate: &Arc<Semaphore>) -> impl Future<Output = Result<(), DbError>> {
    let gate = Arc::clone(gate);
    db.sqlite.write(move |_| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            drop(gate.acquire().await);
            Ok(())
        })
    })
}

/// Queues `works` behind one that waits until all are queued, so that they are one batch. Work
/// `i` of them inserts row `i`, and then fails if `fails(i)`. Returns how often each has run.
async fn one_batch(db: &Opened, works: i64, fails: fn(i64) -> bool) -> Vec<u32> {
    let gate = Arc::new(Semaphore::new(0));
    let held = held(db, &gate);
    let runs: Vec<_> = (0..works).map(|_| Arc::new(AtomicU32::new(0))).collect();
    let queued = join_all((0..).zip(&runs).map(|(id, runs)| {
        let runs = Arc::clone(runs);
        db.sqlite.write(move |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tx.execute(&INSERT, &[Param::Int(id), Param::Int(0)])
                    .await?;
                if fails(id) {
                    return Err(DbError::Aborted("as it should"));
                }
                Ok(())
            })
        })
    }));
    let open = async { gate.add_permits(works as usize + 1) };
    let (held, outcomes, ()) = tokio::join!(held, queued, open);
    assert!(held.is_ok());
    for (id, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.is_err(), fails(id), "{id}: {outcome:?}");
    }
    runs.iter()
        .map(|runs| runs.load(Ordering::Relaxed))
        .collect()
}

#[tokio::test]
async fn a_batch_without_failures_runs_once() -> Checked {
    let db = Opened::new(Durability::PowerLoss).await?;
    assert_eq!(one_batch(&db, 200, |_| false).await, [1; 200]);
    assert_eq!(db.count().await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_failure_runs_those_before_it_once_more() -> Checked {
    let db = Opened::new(Durability::ProcessCrash).await?;
    let runs = one_batch(&db, 8, |id| id == 3 || id == 4).await;
    // 3 fails behind others, then alone; 4 fails at the head of the rest.
    assert_eq!(runs, [2, 2, 2, 2, 1, 1, 1, 1]);
    assert_eq!(db.count().await?, 6);
    Ok(())
}

#[tokio::test]
async fn a_batch_of_failures_ends() -> Checked {
    let db = Opened::new(Durability::ProcessCrash).await?;
    one_batch(&db, 100, |id| id % 2 == 0).await;
    assert_eq!(db.count().await?, 50);
    one_batch(&db, 100, |_| true).await;
    assert_eq!(db.count().await?, 50);
    Ok(())
}

/// The works of a batch see each other's rows, and nobody else does before the commit.
#[tokio::test]
async fn a_batch_becomes_visible_as_one() -> Checked {
    let db = Opened::new(Durability::ProcessCrash).await?;
    let db = Arc::new(db);
    let gate = Arc::new(Semaphore::new(0));
    let held = held(&db, &gate);
    let inserts = join_all((0..10).map(|id| db.insert(id, 0)));
    let look = db.sqlite.write({
        let db = Arc::downgrade(&db);
        move |tx| {
            let db = db.upgrade().expect("it outlives the work");
            Box::pin(async move {
                let inside = tx.fetch_optional(&COUNT, &[]).await?;
                let inside = inside.expect("a count has a row").int(0)?;
                Ok((inside, db.count().await?))
            })
        }
    });
    let open = async { gate.add_permits(1) };
    let (held, inserts, seen, ()) = tokio::join!(held, inserts, look, open);
    held?;
    for insert in inserts {
        insert?;
    }
    assert_eq!(seen?, (10, 0));
    Ok(())
}

#[tokio::test]
async fn a_write_dropped_before_it_is_queued_does_nothing() -> Checked {
    let db = Opened::new(Durability::ProcessCrash).await?;
    let gate = Arc::new(Semaphore::new(0));
    let held = held(&db, &gate);
    let drop_one = async {
        while db.sqlite.inbox.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(
            db.insert(-1, 0).now_or_never().is_none(),
            "it waits for room"
        );
        gate.add_permits(1);
    };
    // The writer takes some out before it waits at the gate, so send more than the queue holds.
    let filling = join_all((0..QUEUE_MAX as i64 + 64).map(|id| db.insert(id, 0)));
    let (held, filling, ()) = tokio::join!(held, filling, drop_one);
    held?;
    for filled in filling {
        filled?;
    }
    assert_eq!(db.count().await?, QUEUE_MAX as i64 + 64);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_uses_up_the_reserve_and_stays_usable() -> Checked {
    const PAGES: Sql = sql!("PRAGMA page_count");
    let db = Opened::new(Durability::ProcessCrash).await?;
    let reserve = std::fs::metadata(db.file("reserve")).expect("made at the start");
    assert_eq!(reserve.len(), 4 << 20);
    assert!(
        reserve.blocks() * 512 >= 4 << 20,
        "its bytes are on the disk"
    );
    db.insert(1, 3_000_000).await?;
    assert!(!db.sqlite.is_full());

    // No page more: SQLite reports what it reports on a full disk.
    assert!(db.pragma(&PAGES).await? > 700);
    db.script("PRAGMA max_page_count = 1").await?;
    let (full, small) = join(db.insert(2, 3_000_000), db.insert(3, 1)).await;
    assert!(matches!(full, Err(DbError::Full)), "{full:?}");
    assert_eq!(small?, 1, "what fits is kept");
    assert!(!db.file("reserve").exists());
    assert!(db.sqlite.is_full());

    let dropped = db
        .sqlite
        .write(|tx| {
            Box::pin(async move {
                drop(
                    tx.execute(&INSERT, &[Param::Int(4), Param::Int(3_000_000)])
                        .await,
                );
                drop(tx.execute(&INSERT, &[Param::Int(5), Param::Int(1)]).await);
                Ok(())
            })
        })
        .await;
    assert!(matches!(dropped, Err(DbError::Full)), "{dropped:?}");
    assert_eq!(db.count().await?, 2, "nothing of it was kept");

    let deleted = db
        .sqlite
        .write(|tx| Box::pin(async move { tx.execute(&DELETE, &[Param::Int(1)]).await }))
        .await;
    assert_eq!(deleted?, 1);
    assert!(db.sqlite.is_healthy());

    // Until the reserve is back the database hardly grows, even if the disk has room again.
    for id in 10..20 {
        drop(db.insert(id, 300_000).await);
    }
    assert!(db.pragma(&PAGES).await? < 1100);
    assert!(db.sqlite.restore_reserve().await);
    assert!(db.file("reserve").exists());
    assert!(!db.sqlite.is_full());
    db.insert(2, 3_000_000).await?;
    db.insert(4, 3_000_000).await?;
    Ok(())
}

#[tokio::test]
async fn the_reserve_is_a_best_effort() {
    let dir = tempfile::tempdir().expect("a directory");
    let reserve = Reserve::beside(&dir.path().join("missing").join("test.db"));
    assert!(!reserve.hold().await);
    assert!(!reserve.release().await);

    // A part of one, left by a crash, is replaced.
    let reserve = Reserve::beside(&dir.path().join("test.db"));
    std::fs::write(dir.path().join("reserve"), b"part").expect("a file");
    assert!(reserve.hold().await);
    assert!(reserve.hold().await);
    let held = std::fs::metadata(dir.path().join("reserve")).expect("it is there");
    assert_eq!(held.len(), 4 << 20);
    assert!(reserve.release().await);
    assert!(!reserve.release().await);
}

/// What SQLite would report, with this extended code.
#[derive(Debug)]
struct Reported(i32);

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.0)
    }
}

impl StdError for Reported {}

impl DatabaseError for Reported {
    fn message(&self) -> &str {
        "reported"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

fn reported(code: i32) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Reported(code)))
}

#[test]
fn errors_are_told_by_their_codes() {
    for code in [1034, 1290, 11, 267, 26] {
        assert!(
            matches!(classify(reported(code)), DbError::Broken),
            "{code}"
        );
    }
    for code in [13, 4874] {
        assert!(matches!(classify(reported(code)), DbError::Full), "{code}");
    }
    for code in [5, 261, 517, 6] {
        assert!(matches!(classify(reported(code)), DbError::Busy), "{code}");
    }
    // SQLITE_ERROR, SQLITE_IOERR_READ, SQLITE_IOERR_WRITE
    for code in [1, 266, 778] {
        assert!(
            matches!(classify(reported(code)), DbError::Driver(_)),
            "{code}"
        );
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written() -> Checked {
    let db = Opened::new(Durability::PowerLoss).await?;
    db.insert(1, 0).await?;
    assert!(db.sqlite.is_healthy());
    // What was queued before the failure was noticed.
    let queued = db.sqlite.write({
        let shared = Arc::clone(&db.sqlite.shared);
        move |tx| {
            let failed = shared.judge(reported(1034));
            Box::pin(async move {
                tx.execute(&INSERT, &[Param::Int(2), Param::Int(0)]).await?;
                Err::<(), _>(failed)
            })
        }
    });
    let gate = Arc::new(Semaphore::new(0));
    let held = held(&db, &gate);
    let open = async { gate.add_permits(1) };
    let (held, first, second, third, ()) =
        tokio::join!(held, db.insert(3, 0), queued, db.insert(4, 0), open);
    for outcome in [
        held,
        first.map(drop),
        second,
        third.map(drop),
        db.insert(5, 0).await.map(drop),
    ] {
        assert!(matches!(outcome, Err(DbError::Broken)), "{outcome:?}");
    }
    assert!(!db.sqlite.is_healthy());
    assert_eq!(db.count().await?, 1, "reading goes on");
    Ok(())
}

#[tokio::test]
async fn closing_finishes_what_is_queued() -> Checked {
    let db = Opened::new(Durability::ProcessCrash).await?;
    db.count().await?;
    let inserts = join_all((0..100).map(|id| db.insert(id, 0)));
    let (inserts, ()) = join(inserts, db.sqlite.close()).await;
    for insert in inserts {
        insert?;
    }
    assert!(matches!(db.insert(101, 0).await, Err(DbError::Closed)));
    assert!(matches!(db.count().await, Err(DbError::Closed)));
    assert!(!db.sqlite.is_healthy());
    db.sqlite.close().await;
    assert!(
        !db.file("test.db-wal").exists(),
        "the log is in the database file"
    );

    let path = db.file("test.db");
    let again = Sqlite::open(&path, Durability::ProcessCrash, &db.scope).await?;
    assert_eq!(count(&again).await?, 100);
    Ok(())
}

#[tokio::test]
async fn the_writer_ends_with_the_last_handle() -> Checked {
    let Opened { sqlite, scope, dir } = Opened::new(Durability::ProcessCrash).await?;
    drop(sqlite);
    let settled = scope.settle(Duration::from_secs(10)).await;
    assert!(matches!(settled, crate::cancel::Settling::Settled));
    assert!(!dir.path().join("test.db-wal").exists());
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    std::fs::write(&path, [b'x'; 8192]).expect("a file");
    let opened = Sqlite::open(&path, Durability::PowerLoss, &Scope::root("test")).await;
    assert!(opened.is_err());
    let absent = dir.path().join("missing").join("test.db");
    let opened = Sqlite::open(&absent, Durability::PowerLoss, &Scope::root("test")).await;
    assert!(opened.is_err());
}
