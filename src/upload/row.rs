//! From rows to uploads, and back to parameters.

use std::time::Duration;

use tidegate_protocol::request::Protocol;

use super::statement as sql;
use super::store::{Canceller, Due, Kind, Seen, State, Upload};
use crate::access::{Right, asker};
use crate::auth::Caller;
use crate::db::{DbError, Param, Row, Tx};
use crate::id::UploadId;

pub(super) async fn find(
    tx: &mut Tx,
    which: &sql::Sql,
    id: UploadId,
) -> Result<Option<Upload>, DbError> {
    let id = id.to_string();
    let row = tx.fetch_optional(which, &[Param::Text(&id)]).await?;
    row.as_ref().map(upload).transpose()
}

/// The upload, if the caller may see it.
pub(super) async fn find_for(
    tx: &mut Tx,
    id: UploadId,
    caller: &Caller,
) -> Result<Option<Seen>, DbError> {
    let id = id.to_string();
    let [user, admin] = asker(caller);
    let params = [Param::Text(&id), user, admin];
    let Some(row) = tx.fetch_optional(&sql::FIND_FOR, &params).await? else {
        return Ok(None);
    };
    let upload = upload(&row)?;
    let right = Right::of(row.int(RIGHT)?);
    Ok(right.map(|right| Seen::of(upload, right, caller)))
}

/// The column behind those of an upload.
const RIGHT: usize = 23;

pub(super) async fn ids(
    tx: &mut Tx,
    which: &sql::Sql,
    params: Vec<Param<'_>>,
) -> Result<Vec<UploadId>, DbError> {
    tx.fetch_all(which, &params)
        .await?
        .iter()
        .map(|row| id(row, 0))
        .collect()
}

pub(super) async fn due(
    tx: &mut Tx,
    which: &sql::Sql,
    after: Option<Due>,
    limit: u32,
) -> Result<Vec<Due>, DbError> {
    let (at, after) = after.map_or((i64::MIN, String::new()), |due| {
        (due.at, due.id.to_string())
    });
    let params = [
        Param::Int(at),
        Param::Text(&after),
        Param::Int(limit.into()),
    ];
    let due = |row: &Row| {
        Ok(Due {
            at: row.int(0)?,
            id: id(row, 1)?,
        })
    };
    tx.fetch_all(which, &params)
        .await?
        .iter()
        .map(due)
        .collect()
}

pub(super) fn upload(row: &Row) -> Result<Upload, DbError> {
    Ok(Upload {
        id: id(row, 0)?,
        project: row.text(1)?.to_owned(),
        owner: row.text(2)?.to_owned(),
        kind: Kind::parse(row.text(3)?).ok_or(STRANGE)?,
        state: State::parse(row.text(4)?).ok_or(STRANGE)?,
        epoch: row.int(5)?,
        offset: count(row, 6)?,
        length: row
            .opt_int(7)?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| STRANGE)?,
        metadata: row.text(8)?.to_owned(),
        concat: row.opt_text(9)?.map(str::to_owned),
        digest: row.opt_blob(10)?.map(<[u8]>::to_vec),
        sha256: row.opt_text(11)?.map(str::to_owned),
        created_at: row.int(12)?,
        updated_at: row.int(13)?,
        completed_at: row.opt_int(14)?,
        expires_at: row.opt_int(15)?,
        ended_at: row.opt_int(16)?,
        end_reason: row.opt_text(17)?.map(str::to_owned),
        ended_by: match row.opt_text(18)? {
            Some(by) => Some(Canceller::parse(by).ok_or(STRANGE)?),
            None => None,
        },
        released_bytes: row
            .opt_int(19)?
            .map(u64::try_from)
            .transpose()
            .map_err(|_| STRANGE)?,
        interrupted_at: row.opt_int(20)?,
        protocol: Protocol::parse(row.text(21)?).ok_or(STRANGE)?,
        expected_sha256: row.opt_text(22)?.map(str::to_owned),
    })
}

/// A row that no statement of this module writes.
pub(super) const STRANGE: DbError =
    DbError::Aborted("a row of an upload holds what it never should");

pub(super) fn id(row: &Row, column: usize) -> Result<UploadId, DbError> {
    row.text(column)?.parse().map_err(|_| STRANGE)
}

pub(super) fn count(row: &Row, column: usize) -> Result<u64, DbError> {
    u64::try_from(row.int(column)?).map_err(|_| STRANGE)
}

/// Offsets and lengths are bounded by `i64::MAX` where they are parsed.
pub(super) fn int(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bounded so that the sum with any time of day still is a number of the database.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 2)
}
