//! A transaction as the modules see it: statements in, rows out, on either engine.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::error::UnexpectedNullError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, Decode, Encode, Executor as _, Postgres, Row as _, Sqlite, Type};

use super::dialect::{Engine, POSTGRES_PATIENT, Sql};
use super::{DbError, postgres, sqlite};

/// One transaction, or the statements of one read.
///
/// A failed statement dooms it: every later statement fails with the same error and nothing is
/// kept, even if the work drops the error and ends well. That is how PostgreSQL behaves, and it
/// keeps SQLite, which may end a transaction by itself on a full disk, from committing a half.
pub struct Tx {
    conn: Conn,
    /// The first error of a statement. Cleared when the next work begins.
    doomed: Option<DbError>,
}

/// What a caller wants done within one transaction.
pub(super) type Work<'w, T> =
    dyn Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync + 'w;

/// What a [`Tx`] sends its statements to.
pub(super) enum Conn {
    Sqlite(sqlite::Held),
    Postgres(postgres::Held),
}

/// One value for a placeholder: the first one is `$1`. A missing value is typed as well, since
/// PostgreSQL must know the type of a NULL.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// A BIGINT.
    Int(i64),
    /// A BIGINT or NULL.
    OptInt(Option<i64>),
    /// A TEXT. PostgreSQL refuses one with a NUL character.
    Text(&'a str),
    /// A TEXT or NULL.
    OptText(Option<&'a str>),
    /// A BLOB or BYTEA.
    Blob(&'a [u8]),
    /// A BLOB or BYTEA or NULL.
    OptBlob(Option<&'a [u8]>),
    /// A BOOLEAN.
    Bool(bool),
}

impl Tx {
    pub(super) fn new(conn: Conn) -> Self {
        Self { conn, doomed: None }
    }

    pub(super) fn conn_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }

    pub(super) fn into_conn(self) -> Conn {
        self.conn
    }

    /// The engine behind it. Prefer a hole in the text to asking.
    pub fn engine(&self) -> Engine {
        match self.conn {
            Conn::Sqlite(_) => Engine::Sqlite,
            Conn::Postgres(_) => Engine::Postgres,
        }
    }

    /// All rows of a statement. They are held in memory: limit what can grow.
    ///
    /// # Cancel safety
    /// A dropped call dooms the transaction: nobody knows how the statement ended.
    pub async fn fetch_all(
        &mut self,
        sql: &Sql,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, DbError> {
        self.begin_statement()?;
        let text = sql.text(self.engine());
        let rows = match &mut self.conn {
            Conn::Sqlite(held) => sqlx::query_with(text, bind::<Sqlite>(params)?)
                .fetch_all(held.connection()?)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Conn::Postgres(held) => {
                let query = sqlx::query_with(text, bind::<Postgres>(params)?);
                let (connection, patience) = held.ask();
                patience
                    .wait(query.fetch_all(connection))
                    .await
                    .map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        self.end_statement(rows)
    }

    /// The first row of a statement, if it has any. A changing statement changes all it names.
    ///
    /// # Cancel safety
    /// A dropped call dooms the transaction: nobody knows how the statement ended.
    pub async fn fetch_optional(
        &mut self,
        sql: &Sql,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, DbError> {
        self.begin_statement()?;
        let text = sql.text(self.engine());
        let row = match &mut self.conn {
            Conn::Sqlite(held) => sqlx::query_with(text, bind::<Sqlite>(params)?)
                .fetch_optional(held.connection()?)
                .await
                .map(|row| row.map(Row::Sqlite)),
            Conn::Postgres(held) => {
                let query = sqlx::query_with(text, bind::<Postgres>(params)?);
                let (connection, patience) = held.ask();
                patience
                    .wait(query.fetch_optional(connection))
                    .await
                    .map(|row| row.map(Row::Postgres))
            }
        };
        self.end_statement(row)
    }

    /// Runs a statement for its effect and returns how many rows it changed.
    ///
    /// # Cancel safety
    /// A dropped call dooms the transaction: nobody knows how the statement ended.
    pub async fn execute(&mut self, sql: &Sql, params: &[Param<'_>]) -> Result<u64, DbError> {
        self.begin_statement()?;
        let text = sql.text(self.engine());
        let affected = match &mut self.conn {
            Conn::Sqlite(held) => sqlx::query_with(text, bind::<Sqlite>(params)?)
                .execute(held.connection()?)
                .await
                .map(|done| done.rows_affected()),
            Conn::Postgres(held) => {
                let query = sqlx::query_with(text, bind::<Postgres>(params)?);
                let (connection, patience) = held.ask();
                patience
                    .wait(query.execute(connection))
                    .await
                    .map(|done| done.rows_affected())
            }
        };
        self.end_statement(affected)
    }

    /// Runs a statement that does nothing but lock rows, and returns whether there are any, as far as
    /// that is known: SQLite's one writer has them all, and does not ask.
    ///
    /// # Cancel safety
    /// A dropped call dooms the transaction: nobody knows how the statement ended.
    pub async fn lock(&mut self, sql: &Sql, params: &[Param<'_>]) -> Result<bool, DbError> {
        match self.engine() {
            Engine::Sqlite => Ok(true),
            Engine::Postgres => Ok(self.execute(sql, params).await? > 0),
        }
    }

    /// Runs a migration: several statements without parameters, for as long as they take.
    pub(super) async fn run_script(&mut self, script: &'static str) -> Result<(), DbError> {
        self.begin_statement()?;
        let script = sqlx::raw_sql(script);
        let done = match &mut self.conn {
            Conn::Sqlite(held) => script.execute(held.connection()?).await.map(drop),
            Conn::Postgres(held) => {
                let (connection, _) = held.ask();
                match connection.execute(POSTGRES_PATIENT).await {
                    Ok(_) => script.execute(connection).await.map(drop),
                    Err(error) => Err(error),
                }
            }
        };
        self.end_statement(done)
    }

    /// Runs `work` on a fresh transaction and tells whether it may be committed: it returned
    /// `Ok`, did not panic, and no statement failed behind its back.
    pub(super) async fn run<T>(&mut self, work: &Work<'_, T>) -> Result<T, DbError> {
        self.doomed = None;
        // The future is made inside, so that a panic of the closure itself is caught too. The
        // transaction is rolled back after a panic, and the work holds no state of ours.
        let outcome = AssertUnwindSafe(async { work(self).await })
            .catch_unwind()
            .await;
        match (outcome, self.doomed.take()) {
            (Err(panic), _) => Err(DbError::Panicked(message_of(&*panic).into())),
            (Ok(Err(error)), _) | (Ok(Ok(_)), Some(error)) => Err(error),
            (Ok(Ok(value)), None) => Ok(value),
        }
    }

    /// Refuses to go on in a doomed transaction, and dooms this one until the statement's end.
    fn begin_statement(&mut self) -> Result<(), DbError> {
        match &self.doomed {
            Some(error) => Err(error.clone()),
            None => {
                self.doomed = Some(DbError::Aborted("a statement was dropped before its end"));
                Ok(())
            }
        }
    }

    fn end_statement<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, DbError> {
        match outcome {
            Ok(value) => {
                self.doomed = None;
                Ok(value)
            }
            Err(error) => {
                let error = match &mut self.conn {
                    Conn::Sqlite(held) => held.judge(error),
                    Conn::Postgres(_) => postgres::classify(error),
                };
                self.doomed = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// The arguments of a statement, in the driver's form.
fn bind<'q, DB: Database>(params: &[Param<'q>]) -> Result<DB::Arguments, DbError>
where
    i64: Encode<'q, DB> + Type<DB>,
    bool: Encode<'q, DB> + Type<DB>,
    &'q str: Encode<'q, DB> + Type<DB>,
    &'q [u8]: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB> + Type<DB>,
    Option<&'q str>: Encode<'q, DB> + Type<DB>,
    Option<&'q [u8]>: Encode<'q, DB> + Type<DB>,
{
    use sqlx::Arguments as _;

    let mut arguments = DB::Arguments::default();
    arguments.reserve(params.len(), 0);
    for param in params {
        match *param {
            Param::Int(value) => arguments.add(value),
            Param::OptInt(value) => arguments.add(value),
            Param::Text(value) => arguments.add(value),
            Param::OptText(value) => arguments.add(value),
            Param::Blob(value) => arguments.add(value),
            Param::OptBlob(value) => arguments.add(value),
            Param::Bool(value) => arguments.add(value),
        }
        .map_err(|error| DbError::driver(sqlx::Error::Encode(error)))?;
    }
    Ok(arguments)
}

/// One row of a result. Columns are counted from 0.
///
/// Reading is strict: a value of another type, and a NULL where none may be, is
/// [`DbError::Decode`]. PostgreSQL counts a literal like `1` and some functions as 32-bit
/// numbers: cast them to `BIGINT`.
#[derive(Debug)]
pub enum Row {
    /// A row of the embedded engine.
    Sqlite(SqliteRow),
    /// A row of the server.
    Postgres(PgRow),
}

impl Row {
    /// A BIGINT.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.required(column)
    }

    /// A BIGINT or NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        self.optional(column)
    }

    /// A TEXT.
    pub fn text(&self, column: usize) -> Result<&str, DbError> {
        self.required(column)
    }

    /// A TEXT or NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, DbError> {
        self.optional(column)
    }

    /// A BLOB or BYTEA.
    pub fn blob(&self, column: usize) -> Result<&[u8], DbError> {
        self.required(column)
    }

    /// A BLOB or BYTEA or NULL.
    pub fn opt_blob(&self, column: usize) -> Result<Option<&[u8]>, DbError> {
        self.optional(column)
    }

    /// A BOOLEAN.
    pub fn bool(&self, column: usize) -> Result<bool, DbError> {
        self.required(column)
    }

    /// The driver itself would read a NULL of SQLite as zero or empty.
    fn required<'r, T>(&'r self, column: usize) -> Result<T, DbError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        self.optional(column)?.ok_or_else(|| {
            let source = Arc::new(sqlx::Error::Decode(Box::new(UnexpectedNullError)));
            DbError::Decode { column, source }
        })
    }

    fn optional<'r, T>(&'r self, column: usize) -> Result<Option<T>, DbError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| DbError::Decode {
            column,
            source: Arc::new(error),
        })
    }
}
