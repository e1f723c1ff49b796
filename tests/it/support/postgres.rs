//! PostgreSQL as the database of a server: a schema of its own on the server of the tests.

use super::server::Server;

/// A server that keeps its rows there.
///
/// # Panics
///
/// When there is no server for the tests.
pub(crate) async fn server(flags: &[&str]) -> Server {
    let url = schema().await;
    Server::start(&[&["--database", &url], flags].concat()).await
}

async fn schema() -> String {
    let server = std::env::var("TIDEGATE_TEST_POSTGRES").expect(
        "TIDEGATE_TEST_POSTGRES must name a PostgreSQL server for the tests, as in \
         postgres://postgres@localhost/postgres; `make it` starts one",
    );
    let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE SCHEMA {schema}");
    let pool = sqlx::PgPool::connect(&server).await;
    let pool = pool.expect("the server of the tests answers");
    let made = sqlx::query(sqlx::AssertSqlSafe(create))
        .execute(&pool)
        .await;
    made.expect("the tests may create a schema");
    pool.close().await;
    let and = if server.contains('?') { '&' } else { '?' };
    format!("{server}{and}options[search_path]={schema}")
}
