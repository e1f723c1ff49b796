//! The module over both engines.

use super::{LINE, statement};
use crate::db::conformance::{empty_postgres, empty_sqlite};
use crate::db::{CORE, Db};

#[tokio::test]
async fn sqlite_understands_every_statement() {
    let (_dir, db) = empty_sqlite().await;
    understands_every_statement(db).await;
}

#[tokio::test]
async fn postgres_understands_every_statement() {
    understands_every_statement(empty_postgres().await).await;
}

async fn understands_every_statement(db: Db) {
    db.migrate(&[CORE, LINE]).await.unwrap();
    db.prepare_all(statement::ALL).await.unwrap();
    db.close().await;
}
