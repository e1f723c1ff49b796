//! What is asked every second, about everything at a start, or for one caller among many, is answered
//! from an index that holds little else than the answer, however many uploads there are or were.

use futures_util::FutureExt;

use super::statement as sql;
use super::{Clock, HOUR, Subject, new_upload};
use crate::access;
use crate::cancel::Scope;
use crate::db::conformance::{open, scratch_postgres};
use crate::db::{CORE, Db, DbUrl, Durability, Line, Param, Sql, sql};
use crate::event::{Hub, log};
use crate::id::UploadId;
use crate::upload::migrations::LINE;
use crate::upload::sql::SqlStore;
use crate::upload::store::{NewUpload, State, UploadStore};

/// How many parameters there are, the index, and what is searched for in it.
const RECURRING: [(&Sql, usize, &str, &str); 10] = [
    (&sql::EXPIRING, 3, "upload_by_expiry", "expires_at"),
    (&sql::RELEASABLE, 3, "upload_releasable", "ended_at"),
    (&sql::UNDIGESTED, 1, "upload_undigested", ""),
    (
        &sql::FORGET_PARTS_OF_TOMBSTONES,
        1,
        "upload_tombstone",
        "ended_at",
    ),
    (&sql::FORGET_TOMBSTONES, 1, "upload_tombstone", "ended_at"),
    (
        &sql::FORGET_FORESTALLED,
        1,
        "upload_forestalled_by_time",
        "cancelled_at",
    ),
    (
        &sql::COUNT_FORESTALLED,
        1,
        "upload_forestalled_by_owner",
        "owner_id",
    ),
    (&sql::OPEN, 2, "upload_open", "id"),
    (&sql::COUNT_OPEN, 2, "upload_open_by_owner", "owner_id"),
    (&sql::PAGE_CONTENTS, 4, "upload_listing", "created_at"),
];

/// Makes a statement at run time.
fn statement(sqlite: String, postgres: String) -> Sql {
    let [sqlite, postgres] = [sqlite, postgres].map(|text| text.leak().as_bytes());
    Sql::from_expanded(sqlite, postgres)
}

/// The plan of a statement, one step a line.
async fn plan(db: &Db, of: &'static Sql, params: usize) -> String {
    let postgres = format!("{of:?}");
    // A statement shows PostgreSQL's text; where SQLite's is another one, the plan is not.
    let clock = format!("{:?}", sql!("{now}"));
    let sqlite = postgres.replace(&clock, "0").replace("FOR UPDATE", "");
    let explain = statement(
        format!("EXPLAIN QUERY PLAN {sqlite}"),
        format!("EXPLAIN {postgres}"),
    );
    // Without this PostgreSQL would scan what is as small as a table of a test.
    let no_scans = statement(
        String::from("SELECT 1"),
        String::from("SET LOCAL enable_seqscan = off"),
    );
    let lines = db.write(move |tx| {
        async move {
            let (column, all) = match tx.engine() {
                crate::db::Engine::Sqlite => (3, vec![Param::Int(1); params]),
                crate::db::Engine::Postgres => (0, typed(of, params)),
            };
            tx.execute(&no_scans, &[]).await?;
            let rows = tx.fetch_all(&explain, &all).await?;
            let lines = rows.iter().map(|row| Ok(row.text(column)?.to_owned()));
            lines.collect::<Result<Vec<_>, _>>()
        }
        .boxed()
    });
    lines.await.unwrap().join("\n")
}

/// Parameters as PostgreSQL wants them: an id is a text.
fn typed(of: &Sql, params: usize) -> Vec<Param<'static>> {
    let texts: &[usize] = match params {
        1 if *of == sql::COUNT_FORESTALLED => &[0],
        2 if *of == sql::OPEN || *of == sql::COUNT_OPEN => &[0],
        3 => &[1],
        4 => &[0, 2],
        _ => &[],
    };
    let param = |at| match texts.contains(&at) {
        true => Param::Text(""),
        false => Param::Int(1),
    };
    (0..params).map(param).collect()
}

async fn searches_indexes(db: &Db) {
    for (statement, params, index, column) in RECURRING {
        let plan = plan(db, statement, params).await;
        assert!(plan.contains(index), "{statement:?}\n{plan}");
        for line in plan.lines() {
            let scans = line.contains("Seq Scan") || line.contains("TEMP B-TREE");
            let alone = line.starts_with("SCAN ") && !line.contains("INDEX");
            // A constant, to SQLite, and what has been found before and is only counted.
            let is_little = ["SCAN CONSTANT ROW", "SCAN open"].contains(&line);
            assert!(!scans && (!alone || is_little), "{statement:?}\n{plan}");
        }
        let bounds = [
            format!("({column}"),
            format!("(({column}"),
            format!("ROW({column}"),
        ];
        let searched = plan.lines().any(|line| {
            (line.contains("SEARCH") || line.contains("Index Cond"))
                && bounds.iter().any(|bound| line.contains(bound))
        });
        assert!(column.is_empty() || searched, "{statement:?}\n{plan}");
    }
}

#[tokio::test]
async fn sqlite_searches_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let subject = Subject::sqlite(dir.path(), Durability::ProcessCrash).await;
    let Clock::Database(db) = &subject.clock else {
        panic!("it is a database");
    };
    searches_indexes(db).await;
    db.close().await;
}

#[tokio::test]
async fn postgres_searches_indexes() {
    let subject = Subject::postgres().await;
    let Clock::Database(db) = &subject.clock else {
        panic!("it is a database");
    };
    searches_indexes(db).await;
    db.close().await;
}

static OLD: Sql = sql!(
    "INSERT INTO upload (id, project_id, owner_id, kind, state, epoch, committed, metadata, \
     created_at, updated_at, completed_at, expires_at, ended_at) \
     VALUES ($1, 'p', 'o', $2, $3, 1, 0, '', 0, 0, CASE WHEN $3 = 'uploading' THEN NULL ELSE 0 END, \
     $4, $5)"
);

/// A row: id, kind, state, times of its expiry and its end.
type Old = (
    UploadId,
    &'static str,
    &'static str,
    Option<i64>,
    Option<i64>,
);

async fn insert_old(db: &Db, rows: [Old; 6], parts: [(UploadId, i64, UploadId); 3]) {
    let inserted = db.write(move |tx| {
        async move {
            for (id, kind, state, expires_at, ended_at) in rows {
                let id = id.to_string();
                let params = [
                    Param::Text(&id),
                    Param::Text(kind),
                    Param::Text(state),
                    Param::OptInt(expires_at),
                    Param::OptInt(ended_at),
                ];
                tx.execute(&OLD, &params).await?;
            }
            for (whole, position, part) in parts {
                let (whole, part) = (whole.to_string(), part.to_string());
                let params = [
                    Param::Text(&whole),
                    Param::Int(position),
                    Param::Text(&part),
                ];
                tx.execute(&sql::INSERT_PART, &params).await?;
            }
            Ok(())
        }
        .boxed()
    });
    inserted.await.unwrap();
}

/// What an older version has left is as this one would have left it.
#[tokio::test]
async fn rows_of_older_versions_are_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let urls = [
        DbUrl::Sqlite(dir.path().join("test.db")),
        DbUrl::Postgres(scratch_postgres().await),
    ];
    for url in urls {
        let db = open(url, Durability::PowerLoss).await.unwrap();
        let before = Line {
            sqlite: &LINE.sqlite[..2],
            postgres: &LINE.postgres[..2],
            ..LINE
        };
        db.migrate(&[CORE, before]).await.unwrap();
        let [used, free, deleted, open, whole, waiting] =
            std::array::from_fn(|_| UploadId::random());
        let rows = [
            (used, "partial", "completed", Some(1), None),
            (free, "partial", "completed", Some(2), None),
            (deleted, "partial", "deleting", None, Some(3)),
            (open, "partial", "uploading", Some(4), None),
            (whole, "final", "completed", None, None),
            (waiting, "final", "uploading", Some(5), None),
        ];
        let parts = [(whole, 0, used), (whole, 1, deleted), (waiting, 0, open)];
        insert_old(&db, rows, parts).await;

        db.migrate(&[CORE, log::LINE, access::LINE, LINE])
            .await
            .unwrap();
        let hub = Hub::new(db.clone(), Scope::root("feeds"));
        let store = SqlStore::new(db.clone(), hub, access::Changes::new());
        let due = store.expiring(None, 100).await.unwrap();
        let due: Vec<_> = due.into_iter().map(|due| (due.at, due.id)).collect();
        assert_eq!(due, [(2, free), (4, open)]);
        assert_eq!(store.releasable(None, 100).await.unwrap(), []);
        store.fail(whole, String::from("lost")).await.unwrap();
        store.released(whole, 0, HOUR).await.unwrap();
        let due = store.releasable(None, 100).await.unwrap();
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [deleted]);
        let part = store.find(used).await.unwrap().unwrap();
        assert_eq!(
            (part.state, part.expires_at.is_some()),
            (State::Completed, true)
        );
        let new = NewUpload {
            project: None,
            ..new_upload("p")
        };
        store.create(new).await.unwrap().unwrap();
        db.close().await;
    }
}
