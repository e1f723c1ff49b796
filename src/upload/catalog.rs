//! Whole uploads, for other modules that do something with them: looked up within their transactions.

use tidegate_protocol::field::metadata::Metadata;

use super::row::{self, STRANGE};
use super::statement as sql;
use super::store::State;
use super::stored::Segment;
use crate::db::{DbError, Param, Row, Tx};

/// An upload that is complete or may become so, and no part of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its id.
    pub id: String,
    /// The project it is in.
    pub project: String,
    /// Whether all of its bytes are there.
    pub is_complete: bool,
    /// How many are there.
    pub bytes: u64,
    /// As its sender calls it.
    pub filename: Option<String>,
    /// Its media type, as its sender says.
    pub content_type: Option<String>,
    /// Its digest in lower-case hexadecimal, as far as it is known.
    pub sha256: Option<String>,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// Those with these ids, in any order.
///
/// # Errors
/// The database's.
pub async fn find(tx: &mut Tx, ids: &[String]) -> Result<Vec<Content>, DbError> {
    let ids = serde_json::json!(ids).to_string();
    let rows = tx
        .fetch_all(&sql::FIND_CONTENTS, &[Param::Text(&ids)])
        .await?;
    rows.iter().map(content).collect()
}

/// How many complete ones a project has, and `limit` if there are more.
///
/// # Errors
/// The database's.
pub async fn count_up_to(tx: &mut Tx, project: &str, limit: u64) -> Result<u64, DbError> {
    let limit = Param::Int(i64::try_from(limit).unwrap_or(i64::MAX));
    let params = [Param::Text(project), limit];
    let total = tx
        .fetch_optional(&sql::COUNT_CONTENTS_UP_TO, &params)
        .await?;
    row::count(&total.ok_or(STRANGE)?, 0)
}

/// The complete ones of a project, newest first: `limit` at most, after `skip` others; and how many
/// there are altogether.
///
/// # Errors
/// The database's.
pub async fn list(
    tx: &mut Tx,
    project: &str,
    [limit, skip]: [i64; 2],
) -> Result<(Vec<Content>, u64), DbError> {
    let params = [Param::Text(project), Param::Int(limit), Param::Int(skip)];
    let total = tx
        .fetch_optional(&sql::COUNT_CONTENTS, &params[..1])
        .await?;
    let total = row::count(&total.ok_or(STRANGE)?, 0)?;
    let rows = tx.fetch_all(&sql::LIST_CONTENTS, &params).await?;
    Ok((rows.iter().map(content).collect::<Result<_, _>>()?, total))
}

/// The complete ones of a project, oldest first: `limit` at most, of those behind the one that was
/// begun at this time and has this id. What was begun earlier than that and is completed between
/// two calls is missed.
///
/// # Errors
/// The database's.
pub async fn page(
    tx: &mut Tx,
    project: &str,
    after: Option<(i64, &str)>,
    limit: i64,
) -> Result<Vec<Content>, DbError> {
    let (at, id) = after.unwrap_or((i64::MIN, ""));
    let params = [
        Param::Text(project),
        Param::Int(at),
        Param::Text(id),
        Param::Int(limit),
    ];
    let rows = tx.fetch_all(&sql::PAGE_CONTENTS, &params).await?;
    rows.iter().map(content).collect()
}

/// What a complete one is made of, as [`Stored`](super::Stored) takes it; `None` if there is no such
/// one any more. After the transaction it may be deleted at any time, and its blobs with it.
///
/// # Errors
/// The database's.
pub async fn segments(tx: &mut Tx, id: &str) -> Result<Option<Vec<Segment>>, DbError> {
    let rows = tx.fetch_all(&sql::SEGMENTS, &[Param::Text(id)]).await?;
    let segment = |row: &Row| {
        Ok(Segment {
            blob: row::id(row, 0)?,
            bytes: row::count(row, 1)?,
        })
    };
    let segments = rows.iter().map(segment).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(segments).filter(|segments| !segments.is_empty()))
}

fn content(row: &Row) -> Result<Content, DbError> {
    let metadata = Metadata::from_stored(row.text(4)?.to_owned());
    Ok(Content {
        id: row.text(0)?.to_owned(),
        project: row.text(1)?.to_owned(),
        is_complete: row.text(2)? == State::Completed.as_str(),
        bytes: row::count(row, 3)?,
        filename: metadata.filename(),
        content_type: metadata.filetype(),
        sha256: row.opt_text(5)?.map(str::to_owned),
        created_at: row.int(6)?,
    })
}
