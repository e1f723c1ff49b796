//! One behavioural suite over both engines: what [`Db`] promises and SQL leaves open.
//!
//! The PostgreSQL half needs a server, named by the environment variable
//! `TIDEGATE_TEST_POSTGRES`, on which a schema may be created. It fails without one: a suite that
//! passes over an engine in silence proves nothing about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{
    CORE, Db, DbConfig, DbError, DbUrl, Durability, Engine, Line, Param, Row, Sql, Step, sql,
};
use crate::cancel::Scope;

type Checked = Result<(), DbError>;

const CREATE: Sql = sql!(
    "CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, n BIGINT, label TEXT, body {blob}, ",
    "done BOOLEAN NOT NULL)",
);
const CREATE_CHILD: Sql = sql!(
    "CREATE TABLE child (id BIGINT NOT NULL PRIMARY KEY, ",
    "parent BIGINT NOT NULL REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)",
);
const INSERT: Sql = sql!(
    "INSERT INTO thing (id, n, label, body, done) VALUES ($1, $2, $3, $4, $5) ",
    "RETURNING id, n, label, body, done",
);
const INSERT_CHILD: Sql = sql!("INSERT INTO child (id, parent) VALUES ($1, $2)");
const SELECT: Sql = sql!("SELECT id, n, label, body, done FROM thing WHERE id = $1");
const COUNT: Sql = sql!("SELECT count(*) FROM thing WHERE id >= $1 AND id < $2");
const ADD: Sql = sql!("UPDATE thing SET n = n + $2 WHERE id = $1 RETURNING n");
const MOVE: Sql = sql!("UPDATE thing SET n = $3 WHERE id = $1 AND n = $2 AND done = FALSE");
const TOUCH: Sql = sql!("UPDATE thing SET n = 7 WHERE id >= $1 AND id < $2 RETURNING id");

/// Every statement of the suite that can be prepared once its tables are there.
const STATEMENTS: &[&Sql] = &[
    &INSERT,
    &INSERT_CHILD,
    &SELECT,
    &COUNT,
    &ADD,
    &MOVE,
    &TOUCH,
    &HOLES,
    &LISTED,
    &CLAIM,
    &SORTED,
];

/// Runs the whole suite on an empty database.
pub(super) async fn conformance(db: &Db) -> Checked {
    db.write(|tx| {
        Box::pin(async move {
            tx.execute(&CREATE, &[]).await?;
            tx.execute(&CREATE_CHILD, &[]).await
        })
    })
    .await?;
    prepares_every_statement(db).await?;
    keeps_values(db).await?;
    reads_strictly(db).await?;
    changes_on_condition(db).await?;
    tells_duplicates(db).await?;
    a_failed_statement_dooms_its_transaction(db).await?;
    a_dropped_statement_dooms_its_transaction(db).await?;
    works_of_one_batch_do_not_spoil_each_other(db).await?;
    a_constraint_checked_at_commit_fails_its_own_work_only(db).await?;
    a_panic_is_an_error_of_its_own_work(db).await?;
    concurrent_increments_all_count(db).await?;
    a_dropped_write_still_runs(db).await?;
    a_snapshot_sees_one_moment(db).await?;
    a_read_cannot_write(db).await?;
    fills_holes(db).await?;
    claims_rows(db).await?;
    sorts_text_by_bytes(db).await?;
    migrates(db).await
}

async fn prepares_every_statement(db: &Db) -> Checked {
    db.prepare_all(STATEMENTS).await?;
    const BAD: Sql = sql!("SELECT nothing FROM nowhere");
    let refused = db.prepare_all(&[&SELECT, &BAD]).await;
    assert!(
        matches!(&refused, Err(DbError::Refused(why)) if why.contains("nowhere")),
        "{refused:?}"
    );
    Ok(())
}

async fn keeps_values(db: &Db) -> Checked {
    let bytes: Arc<[u8]> = (0..=255).collect();
    for (id, n, label, body, done) in [
        (
            1,
            Some(i64::MIN),
            Some("grün 🦀 '\"\\ $1"),
            Some(&bytes[..]),
            true,
        ),
        (2, Some(i64::MAX), Some(""), Some(&[][..]), false),
        (3, None, None, None, false),
        (4, Some(0), Some("x"), Some(&[0][..]), true),
    ] {
        let (label, body) = (label.map(str::to_owned), body.map(<[u8]>::to_vec));
        let check = {
            let (label, body) = (label.clone(), body.clone());
            move |row: &Row| {
                assert_eq!(row.int(0)?, id);
                assert_eq!(row.opt_int(1)?, n);
                assert_eq!(row.opt_text(2)?, label.as_deref());
                assert_eq!(row.opt_blob(3)?, body.as_deref());
                assert_eq!(row.bool(4)?, done);
                Ok::<_, DbError>(())
            }
        };
        let row = db
            .write(move |tx| {
                let (label, body) = (label.clone(), body.clone());
                Box::pin(async move {
                    let params = [
                        Param::Int(id),
                        Param::OptInt(n),
                        Param::OptText(label.as_deref()),
                        Param::OptBlob(body.as_deref()),
                        Param::Bool(done),
                    ];
                    tx.fetch_optional(&INSERT, &params).await
                })
            })
            .await?;
        check(&row.expect("an INSERT with RETURNING has a row"))?;
        check(&select(db, id).await?.expect("a committed row is there"))?;
    }
    let row = select(db, 4).await?.expect("a committed row is there");
    assert_eq!(
        (row.int(1)?, row.text(2)?, row.blob(3)?),
        (0, "x", &[0][..])
    );
    Ok(())
}

async fn reads_strictly(db: &Db) -> Checked {
    let row = select(db, 3).await?.expect("it was put there");
    assert!(matches!(row.int(1), Err(DbError::Decode { column: 1, .. })));
    assert!(matches!(
        row.text(2),
        Err(DbError::Decode { column: 2, .. })
    ));
    assert!(matches!(
        row.blob(3),
        Err(DbError::Decode { column: 3, .. })
    ));
    assert!(matches!(row.int(5), Err(DbError::Decode { column: 5, .. })));
    let row = select(db, 4).await?.expect("it was put there");
    assert!(matches!(row.int(2), Err(DbError::Decode { column: 2, .. })));
    assert!(matches!(
        row.text(0),
        Err(DbError::Decode { column: 0, .. })
    ));
    assert!(select(db, 5).await?.is_none());

    // The transaction goes on after an unreadable column.
    let unread = db
        .write(|tx| {
            Box::pin(async move {
                let row = tx
                    .fetch_optional(&ADD, &[Param::Int(4), Param::Int(1)])
                    .await?;
                Ok(row.is_some_and(|row| row.text(0).is_err()))
            })
        })
        .await?;
    assert!(unread);
    assert_eq!(number(db, 4).await?, 1);
    Ok(())
}

async fn changes_on_condition(db: &Db) -> Checked {
    insert(db, 10, 0).await?;
    let shift = |from, to| {
        db.write(move |tx| {
            let params = [Param::Int(10), Param::Int(from), Param::Int(to)];
            Box::pin(async move { tx.execute(&MOVE, &params).await })
        })
    };
    assert_eq!(shift(0, 5).await?, 1);
    assert_eq!(
        shift(0, 6).await?,
        0,
        "the condition does not hold any more"
    );
    assert_eq!(number(db, 10).await?, 5);

    // The first row is enough to ask for, and every row is changed all the same.
    insert(db, 11, 0).await?;
    insert(db, 12, 0).await?;
    let first = db
        .write(|tx| {
            let params = [Param::Int(10), Param::Int(13)];
            Box::pin(async move { tx.fetch_optional(&TOUCH, &params).await })
        })
        .await?;
    assert!(first.is_some());
    for id in 10..13 {
        assert_eq!(number(db, id).await?, 7);
    }
    Ok(())
}

async fn tells_duplicates(db: &Db) -> Checked {
    insert(db, 20, 1).await?;
    let again = insert(db, 20, 2).await;
    assert!(matches!(again, Err(DbError::Duplicate(_))), "{again:?}");
    assert_eq!(number(db, 20).await?, 1);
    Ok(())
}

async fn a_failed_statement_dooms_its_transaction(db: &Db) -> Checked {
    let outcome = db
        .write(|tx| {
            Box::pin(async move {
                tx.fetch_optional(&INSERT, &thing(21, 0)).await?;
                drop(tx.fetch_optional(&INSERT, &thing(20, 0)).await);
                let later = tx.fetch_optional(&INSERT, &thing(22, 0)).await;
                assert!(matches!(later, Err(DbError::Duplicate(_))), "{later:?}");
                Ok(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(DbError::Duplicate(_))), "{outcome:?}");
    assert_eq!(count(db, 21..23).await?, 0);
    Ok(())
}

async fn a_dropped_statement_dooms_its_transaction(db: &Db) -> Checked {
    let outcome = db
        .write(|tx| {
            Box::pin(async move {
                tx.fetch_optional(&INSERT, &thing(23, 0)).await?;
                // A fast answer may already be there when it is polled.
                while tx
                    .fetch_all(&SELECT, &[Param::Int(1)])
                    .now_or_never()
                    .is_some()
                {}
                Ok(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(DbError::Aborted(_))), "{outcome:?}");
    assert_eq!(count(db, 23..24).await?, 0);
    Ok(())
}

/// Queues everything behind a work that waits, so that SQLite's writer meets one batch.
async fn works_of_one_batch_do_not_spoil_each_other(db: &Db) -> Checked {
    let gate = Arc::new(Semaphore::new(0));
    let held = db.write({
        let gate = Arc::clone(&gate);
        move |tx| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                tx.fetch_optional(&INSERT, &thing(100, 0)).await?;
                drop(gate.acquire().await);
                Ok(100)
            })
        }
    });
    let works = join_all((101..150).map(|id| {
        db.write(move |tx| {
            Box::pin(async move {
                tx.fetch_optional(&INSERT, &thing(id, id)).await?;
                match id % 10 {
                    3 => Err(DbError::Aborted("it ends with a three")),
                    5 => panic!("it ends with a five"),
                    // Meets the row of the work before it, which will have been committed.
                    7 => tx
                        .fetch_optional(&INSERT, &thing(id - 1, 0))
                        .await
                        .map(|_| id),
                    _ => Ok(id),
                }
            })
        })
    }));
    let open = async { gate.add_permits(1000) };
    let (held, outcomes, ()) = tokio::join!(held, works, open);
    assert_eq!(held?, 100);
    let in_order = db.engine() == Engine::Sqlite;
    for (id, outcome) in (101..).zip(outcomes) {
        let kept = count(db, id..id + 1).await?;
        match (id % 10, outcome) {
            (3, Err(DbError::Aborted(_)))
            | (5, Err(DbError::Panicked(_)))
            | (7, Err(DbError::Duplicate(_))) => assert_eq!(kept, 0, "{id}"),
            // On PostgreSQL the seventh may come first, and then the sixth fails.
            (6, Err(DbError::Duplicate(_))) => assert!(!in_order, "{id}"),
            (7, Ok(own)) => assert_eq!((own, kept, in_order), (id, 1, false)),
            (0..=2 | 4 | 6 | 8 | 9, Ok(own)) => assert_eq!((own, kept), (id, 1)),
            (_, outcome) => panic!("{id}: {outcome:?}"),
        }
    }
    Ok(())
}

async fn a_constraint_checked_at_commit_fails_its_own_work_only(db: &Db) -> Checked {
    let outcomes = join_all((0..6).map(|id| {
        db.write(move |tx| {
            let parent = if id == 2 { 999 } else { 100 };
            Box::pin(async move {
                let params = [Param::Int(id), Param::Int(parent)];
                tx.execute(&INSERT_CHILD, &params).await
            })
        })
    }))
    .await;
    for (id, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), id != 2, "{id}: {outcome:?}");
    }
    Ok(())
}

async fn a_panic_is_an_error_of_its_own_work(db: &Db) -> Checked {
    let early = db
        .write::<()>(|_| panic!("before the first statement"))
        .await;
    assert!(matches!(&early, Err(DbError::Panicked(said)) if said.contains("before the first")));
    let late = db
        .write::<()>(|tx| {
            Box::pin(async move {
                tx.fetch_optional(&INSERT, &thing(160, 0)).await?;
                panic!("after {}", "one")
            })
        })
        .await;
    assert!(matches!(&late, Err(DbError::Panicked(said)) if &**said == "after one"));
    let read = db.read::<()>(|_| panic!("in a read")).await;
    assert!(matches!(read, Err(DbError::Panicked(_))));
    assert_eq!(count(db, 160..161).await?, 0);
    assert!(db.is_healthy());
    Ok(())
}

async fn concurrent_increments_all_count(db: &Db) -> Checked {
    insert(db, 170, 0).await?;
    let added = join_all((0..200).map(|_| add(db, 170))).await;
    let mut seen = added.into_iter().collect::<Result<Vec<_>, _>>()?;
    seen.sort_unstable();
    assert!(
        seen.into_iter().eq(1..=200),
        "each one saw a number of its own"
    );
    assert_eq!(number(db, 170).await?, 200);
    Ok(())
}

async fn a_dropped_write_still_runs(db: &Db) -> Checked {
    insert(db, 180, 0).await?;
    let started = Arc::new(Semaphore::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let write = db.write({
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        move |tx| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            Box::pin(async move {
                started.add_permits(1);
                drop(gate.acquire().await);
                tx.fetch_optional(&ADD, &[Param::Int(180), Param::Int(1)])
                    .await
            })
        }
    });
    tokio::select! {
        _ = write => panic!("the gate was shut"),
        _ = started.acquire() => {}
    }
    gate.add_permits(1);
    let seen = async {
        while number(db, 180).await? != 1 {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), seen)
        .await
        .expect("the dropped write was committed")
}

async fn a_snapshot_sees_one_moment(db: &Db) -> Checked {
    insert(db, 190, 0).await?;
    const N: Sql = sql!("SELECT n FROM thing WHERE id = 190");
    let seen = db
        .read_snapshot(|tx| {
            let db = db.clone();
            Box::pin(async move {
                let before = tx.fetch_optional(&N, &[]).await?;
                add(&db, 190).await?;
                let after = tx.fetch_optional(&N, &[]).await?;
                Ok([before, after])
            })
        })
        .await?;
    for row in seen.into_iter().flatten() {
        assert_eq!(row.int(0)?, 0);
    }
    let seen = db
        .read(|tx| {
            let db = db.clone();
            Box::pin(async move {
                let before = tx.fetch_optional(&N, &[]).await?;
                add(&db, 190).await?;
                let after = tx.fetch_optional(&N, &[]).await?;
                Ok([before, after])
            })
        })
        .await?;
    for (row, expected) in seen.into_iter().flatten().zip([1, 2]) {
        assert_eq!(row.int(0)?, expected);
    }

    // One that is dropped half-way does not leave its moment to the next reader.
    for _ in 0..20 {
        let reached = Arc::new(Semaphore::new(0));
        let stuck = db.read_snapshot::<()>(|tx| {
            let reached = Arc::clone(&reached);
            Box::pin(async move {
                tx.fetch_optional(&N, &[]).await?;
                reached.add_permits(1);
                std::future::pending().await
            })
        });
        tokio::select! {
            _ = stuck => panic!("it waits for ever"),
            _ = reached.acquire() => {}
        }
        let expected = add(db, 190).await?;
        assert_eq!(number(db, 190).await?, expected);
    }
    Ok(())
}

async fn a_read_cannot_write(db: &Db) -> Checked {
    let add = [Param::Int(190), Param::Int(1)];
    let before = number(db, 190).await?;
    let read = db
        .read(|tx| Box::pin(async move { tx.execute(&ADD, &add).await }))
        .await;
    assert!(matches!(read, Err(DbError::Driver(_))), "{read:?}");
    let read = db
        .read_snapshot(|tx| Box::pin(async move { tx.execute(&ADD, &add).await }))
        .await;
    assert!(matches!(read, Err(DbError::Driver(_))), "{read:?}");
    assert_eq!(number(db, 190).await?, before);
    Ok(())
}

const HOLES: Sql = sql!(
    "SELECT {now}, {least}(CAST(2 AS BIGINT), 1), {greatest}(CAST(2 AS BIGINT), 3), ",
    "CAST('{{}' AS TEXT), 'x' = 'X'",
);
const LISTED: Sql = sql!("SELECT id FROM thing WHERE label IN ({list:$1}) ORDER BY id");

async fn fills_holes(db: &Db) -> Checked {
    let row = db
        .read(|tx| Box::pin(async move { tx.fetch_optional(&HOLES, &[]).await }))
        .await?
        .expect("a row without a table");
    // Some time after this was written and before the year 2100.
    assert!((1_790_000_000_000..4_102_444_800_000).contains(&row.int(0)?));
    assert_eq!((row.int(1)?, row.int(2)?, row.text(3)?), (1, 3, "{}"));
    assert!(!row.bool(4)?, "text is compared as it is");

    let rows = db
        .read(|tx| {
            let list = Param::Text(r#"["grün 🦀 '\"\\ $1", "x", "nobody"]"#);
            Box::pin(async move { tx.fetch_all(&LISTED, &[list]).await })
        })
        .await?;
    let ids = rows
        .iter()
        .map(|row| row.int(0))
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(ids, [1, 4]);
    Ok(())
}

const CLAIM: Sql = sql!(
    "UPDATE thing SET done = TRUE WHERE id IN (",
    "SELECT id FROM thing WHERE id >= 200 AND id < 300 AND done = FALSE ",
    "ORDER BY id LIMIT 3 {skip_locked}) RETURNING id",
);

async fn claims_rows(db: &Db) -> Checked {
    for id in 200..230 {
        insert(db, id, 0).await?;
    }
    let runs = Arc::new(AtomicU32::new(0));
    let claims = join_all((0..20).map(|_| {
        let runs = Arc::clone(&runs);
        db.write(move |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { tx.fetch_all(&CLAIM, &[]).await })
        })
    }))
    .await;
    let mut claimed = Vec::new();
    for claim in claims {
        for row in claim? {
            claimed.push(row.int(0)?);
        }
    }
    claimed.sort_unstable();
    assert!(claimed.into_iter().eq(200..230), "each row once");
    assert_eq!(runs.load(Ordering::Relaxed), 20, "nobody collided");
    Ok(())
}

const SORTED: Sql = sql!(
    "SELECT label FROM (SELECT 'b' AS label UNION ALL SELECT 'B' UNION ALL SELECT 'a-' ",
    "UNION ALL SELECT 'ab' UNION ALL SELECT 'ä') AS labels ORDER BY label {bytewise}",
);

async fn sorts_text_by_bytes(db: &Db) -> Checked {
    let rows = db
        .read(|tx| Box::pin(async move { tx.fetch_all(&SORTED, &[]).await }))
        .await?;
    let labels = rows
        .iter()
        .map(|row| row.text(0))
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(labels, ["B", "a-", "ab", "b", "ä"]);
    Ok(())
}

const FIRST: Step = (
    1,
    "first",
    "-- two statements\nCREATE TABLE moved (id BIGINT);\nCREATE INDEX moved_id ON moved (id);",
);
const SECOND: Step = (2, "second", "ALTER TABLE moved ADD COLUMN name TEXT");
const EDITED: Step = (1, "first", "CREATE TABLE moved (id BIGINT);");
const FAILING: Step = (
    2,
    "failing",
    "CREATE TABLE half (id BIGINT); INSERT INTO nowhere VALUES (1)",
);

fn line(name: &'static str, steps: &'static [Step]) -> Line {
    Line {
        name,
        sqlite: steps,
        postgres: steps,
    }
}

async fn migrates(db: &Db) -> Checked {
    const MOVED: Sql = sql!("SELECT id, name FROM moved");
    const HALF: Sql = sql!("SELECT id FROM half");
    const META: Sql = sql!("SELECT key, value FROM meta");

    let failing = db.migrate(&[CORE, line("test", &[FIRST, FAILING])]).await;
    assert!(matches!(failing, Err(DbError::Driver(_))), "{failing:?}");
    assert!(
        db.prepare_all(&[&HALF]).await.is_err(),
        "a failed one leaves nothing"
    );

    let both = [CORE, line("test", &[FIRST, SECOND])];
    for started in join_all((0..4).map(|_| db.migrate(&both))).await {
        started?;
    }
    db.prepare_all(&[&MOVED, &META]).await?;
    db.migrate(&both).await?;
    // A module that is left off keeps its tables.
    db.migrate(&[CORE]).await?;

    for (steps, reason) in [
        (&[FIRST][..], "newer than this binary"),
        (&[EDITED, SECOND], "was edited"),
        (&[SECOND], "not numbered"),
    ] {
        let refused = db.migrate(&[line("test", steps)]).await;
        assert!(
            matches!(&refused, Err(DbError::Refused(why)) if why.contains(reason)),
            "{reason}: {refused:?}"
        );
    }
    Ok(())
}

/// What [`INSERT`] takes for a plain row.
fn thing(id: i64, n: i64) -> [Param<'static>; 5] {
    [
        Param::Int(id),
        Param::Int(n),
        Param::OptText(None),
        Param::OptBlob(None),
        Param::Bool(false),
    ]
}

async fn insert(db: &Db, id: i64, n: i64) -> Checked {
    db.write(move |tx| {
        Box::pin(async move { tx.fetch_optional(&INSERT, &thing(id, n)).await.map(drop) })
    })
    .await
}

async fn select(db: &Db, id: i64) -> Result<Option<Row>, DbError> {
    db.read(|tx| Box::pin(async move { tx.fetch_optional(&SELECT, &[Param::Int(id)]).await }))
        .await
}

async fn number(db: &Db, id: i64) -> Result<i64, DbError> {
    select(db, id).await?.expect("the row is there").int(1)
}

async fn count(db: &Db, ids: std::ops::Range<i64>) -> Result<i64, DbError> {
    let params = [Param::Int(ids.start), Param::Int(ids.end)];
    db.read(|tx| Box::pin(async move { tx.fetch_optional(&COUNT, &params).await }))
        .await?
        .expect("a count has a row")
        .int(0)
}

/// Adds one to a row's number and returns what it is then.
async fn add(db: &Db, id: i64) -> Result<i64, DbError> {
    db.write(move |tx| {
        Box::pin(async move {
            tx.fetch_optional(&ADD, &[Param::Int(id), Param::Int(1)])
                .await?
                .expect("the row is there")
                .int(0)
        })
    })
    .await
}

/// The URL of a schema of its own on the test server.
pub(crate) async fn scratch_postgres() -> String {
    let server = std::env::var("TIDEGATE_TEST_POSTGRES").expect(
        "TIDEGATE_TEST_POSTGRES must name a PostgreSQL server for the tests, as in \
         postgres://postgres@localhost/postgres; `make test` starts one",
    );
    let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE SCHEMA {schema}");
    let pool = sqlx::PgPool::connect(&server)
        .await
        .expect("the server of the tests answers");
    sqlx::query(sqlx::AssertSqlSafe(create))
        .execute(&pool)
        .await
        .expect("the tests may create a schema");
    pool.close().await;
    let and = if server.contains('?') { '&' } else { '?' };
    format!("{server}{and}options[search_path]={schema}")
}

/// A database with nothing in it, in a directory of its own.
pub(crate) async fn empty_sqlite() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a directory");
    let url = DbUrl::Sqlite(dir.path().join("test.db"));
    let db = open(url, Durability::ProcessCrash).await;
    (dir, db.expect("an empty database"))
}

/// As [`empty_sqlite`], a schema on the test server.
pub(crate) async fn empty_postgres() -> Db {
    let url = DbUrl::Postgres(scratch_postgres().await);
    let db = open(url, Durability::PowerLoss).await;
    db.expect("an empty database")
}

pub(crate) async fn open(url: DbUrl, durability: Durability) -> Result<Db, DbError> {
    Db::open(&DbConfig { url, durability }, &Scope::root("test")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() -> Checked {
    for durability in [Durability::PowerLoss, Durability::ProcessCrash] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("test.db");
        let db = open(DbUrl::Sqlite(path), durability).await?;
        conformance(&db).await?;
        db.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms() -> Checked {
    let url = scratch_postgres().await;
    let db = open(DbUrl::Postgres(url), Durability::PowerLoss).await?;
    conformance(&db).await?;
    db.close().await;
    Ok(())
}

/// Runs a statement whose parameters are texts in a transaction of its own.
pub(crate) async fn execute(db: &Db, sql: &'static Sql, texts: &[&str]) {
    let texts: Vec<String> = texts.iter().copied().map(str::to_owned).collect();
    let done = db.write(move |tx| {
        let texts = texts.clone();
        async move {
            let params: Vec<_> = texts.iter().map(|text| Param::Text(text)).collect();
            tx.execute(sql, &params).await
        }
        .boxed()
    });
    done.await.expect("executed");
}
