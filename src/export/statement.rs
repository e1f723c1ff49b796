//! The SQL of exports.
//!
//! Each step of an export is one conditional statement that returns the rows it has changed. No statement
//! leads from `cancelling` to anything but `cancelled`, nor out of an end: that is why a cancel wins, and
//! why an end is final.

use super::job::columns;
pub(super) use crate::db::Sql;
use crate::db::sql;

/// Nothing happens if the user has one that has not ended. $1 id, $2 project, $3 user, $4 options,
/// $5 title, $6 warnings, $7 images.
pub(super) static START: Sql = sql!(
    "INSERT INTO export_job (id, project_id, user_id, state, options, title, attempt, warnings, \
     selected, created_at, updated_at) \
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), 'queued', CAST($4 AS TEXT), \
     CAST($5 AS TEXT), 0, CAST($6 AS TEXT), CAST($7 AS TEXT), moment.now, moment.now \
     FROM {moment} WHERE TRUE ON CONFLICT DO NOTHING RETURNING ",
    columns!()
);

/// The one of a user that has not ended. $1 project, $2 user.
pub(super) static ACTIVE: Sql = sql!(
    "SELECT id FROM export_job WHERE project_id = $1 AND user_id = $2 \
     AND state IN ('queued', 'processing')"
);

/// The images that were named. $1 id.
pub(super) static SELECTED: Sql = sql!("SELECT selected FROM export_job WHERE id = $1");

/// The next ones that wait. $1 limit.
pub(super) static NEXT: Sql =
    sql!("SELECT id FROM export_job WHERE state = 'queued' ORDER BY created_at, id LIMIT $1");

/// $1 id.
pub(super) static BEGIN: Sql = sql!(
    "UPDATE export_job SET state = 'processing', attempt = attempt + 1, started_at = {now}, \
     updated_at = {now} WHERE id = $1 AND state = 'queued' RETURNING ",
    columns!()
);

/// $1 id, $2 attempt, $3 bytes, $4 warnings, $5 milliseconds for which the archive is kept.
pub(super) static COMPLETE: Sql = sql!(
    "UPDATE export_job SET state = 'completed', bytes = $3, warnings = $4, \
     expires_at = {now} + CAST($5 AS BIGINT), finished_at = {now}, updated_at = {now} \
     WHERE id = $1 AND attempt = $2 AND state = 'processing' RETURNING ",
    columns!()
);

/// Lets all but the newest archives of a user in a project expire. $1 project, $2 user, $3 how many are
/// kept.
pub(super) static EXPIRE_OLDER: Sql = sql!(
    "UPDATE export_job SET expires_at = {now} WHERE project_id = $1 AND user_id = $2 \
     AND state = 'completed' AND released_bytes IS NULL AND expires_at > {now} \
     AND id NOT IN (SELECT newer.id FROM export_job newer WHERE newer.project_id = $1 \
     AND newer.user_id = $2 AND newer.state = 'completed' AND newer.released_bytes IS NULL \
     ORDER BY newer.finished_at DESC, newer.id DESC LIMIT $3)"
);

/// $1 id, $2 attempt, $3 error.
pub(super) static FAIL: Sql = sql!(
    "UPDATE export_job SET state = 'failed', error = $3, released_bytes = 0, finished_at = {now}, \
     updated_at = {now} WHERE id = $1 AND attempt = $2 AND state = 'processing' RETURNING ",
    columns!()
);

/// It was interrupted, and nothing of its archive is left. $1 id, $2 attempt, $3 how many attempts that
/// has cost.
pub(super) static BEGIN_AGAIN: Sql = sql!(
    "UPDATE export_job SET state = 'queued', attempt = attempt - 1 + $3, updated_at = {now} \
     WHERE id = $1 AND attempt = $2 AND state = 'processing' RETURNING ",
    columns!()
);

/// $1 id, $2 reason.
pub(super) static CANCEL: Sql = sql!(
    "UPDATE export_job SET state = 'cancelling', cancelled_at = {now}, cancel_reason = $2, \
     updated_at = {now} WHERE id = $1 AND state IN ('queued', 'processing') RETURNING ",
    columns!()
);

/// $1 project, $2 reason.
pub(super) static CANCEL_PROJECT: Sql = sql!(
    "UPDATE export_job SET state = 'cancelling', cancelled_at = {now}, cancel_reason = $2, \
     updated_at = {now} WHERE project_id = $1 AND released_bytes IS NULL \
     AND state IN ('queued', 'processing') RETURNING ",
    columns!()
);

/// $1 id, $2 bytes that were freed.
pub(super) static CANCELLED: Sql = sql!(
    "UPDATE export_job SET state = 'cancelled', released_bytes = $2, finished_at = {now}, \
     updated_at = {now} WHERE id = $1 AND state = 'cancelling' RETURNING ",
    columns!()
);

/// Its archive has been removed. $1 id, $2 bytes that were freed.
pub(super) static RELEASED: Sql = sql!(
    "UPDATE export_job SET released_bytes = $2, updated_at = {now} \
     WHERE id = $1 AND state = 'completed' AND released_bytes IS NULL"
);

/// Nobody is to have the archives of a project any more. $1 project.
pub(super) static EXPIRE_PROJECT: Sql = sql!(
    "UPDATE export_job SET expires_at = {now} \
     WHERE project_id = $1 AND state = 'completed' AND released_bytes IS NULL"
);

/// Those that may have something on the disk that is to be removed, unless somebody is at it.
macro_rules! remains {
    () => {
        "released_bytes IS NULL AND (state IN ('cancelling', 'processing') \
         OR (state = 'completed' AND expires_at <= {now}))"
    };
}

/// Of those, the cancelled and the interrupted ones. $1 limit.
pub(super) static REMAINS: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM export_job WHERE released_bytes IS NULL AND state IN ('cancelling', 'processing') \
     LIMIT $1"
);

/// And those that have expired. $1 limit.
pub(super) static EXPIRED: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM export_job WHERE released_bytes IS NULL AND state = 'completed' \
     AND expires_at <= {now} ORDER BY expires_at LIMIT $1"
);

/// $1 id.
pub(super) static STILL_REMAINS: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM export_job WHERE id = $1 AND ",
    remains!()
);

/// $1 project, $2 limit.
pub(super) static REMAINS_OF_PROJECT: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM export_job WHERE project_id = $1 AND ",
    remains!(),
    " LIMIT $2"
);

/// Those that may have something on the disk. $1 ids.
pub(super) static WITH_ARCHIVE: Sql = sql!(
    "SELECT id, bytes FROM export_job WHERE id IN ({list:$1}) \
     AND released_bytes IS NULL"
);

/// Whole archives, by id. $1 id to go on after, $2 limit.
pub(super) static ARCHIVES: Sql = sql!(
    "SELECT id, bytes FROM export_job WHERE id > $1 AND state = 'completed' \
     AND released_bytes IS NULL ORDER BY id LIMIT $2"
);

/// $1 id.
pub(super) static FIND: Sql = sql!("SELECT ", columns!(), " FROM export_job WHERE id = $1");

/// Whether there is any. $1 project.
pub(super) static ANY: Sql = sql!("SELECT id FROM export_job WHERE project_id = $1 LIMIT 1");

/// $1 project.
pub(super) static COUNT: Sql = sql!("SELECT COUNT(*) FROM export_job WHERE project_id = $1");

/// $1 project, $2 limit, $3 offset.
pub(super) static LIST: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM export_job WHERE project_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
);

/// $1 milliseconds for which an export is known that has ended, $2 limit.
pub(super) static FORGET: Sql = sql!(
    "DELETE FROM export_job WHERE id IN (SELECT id FROM export_job \
     WHERE finished_at < (SELECT {now} - $1) AND released_bytes IS NOT NULL \
     ORDER BY finished_at LIMIT $2)"
);

/// Of a project that is going. $1 project, $2 limit.
pub(super) static CLEAR: Sql = sql!(
    "DELETE FROM export_job WHERE id IN (SELECT id FROM export_job \
     WHERE project_id = $1 AND released_bytes IS NOT NULL LIMIT $2)"
);

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[
    &START,
    &ACTIVE,
    &SELECTED,
    &NEXT,
    &BEGIN,
    &COMPLETE,
    &EXPIRE_OLDER,
    &FAIL,
    &BEGIN_AGAIN,
    &CANCEL,
    &CANCEL_PROJECT,
    &CANCELLED,
    &RELEASED,
    &EXPIRE_PROJECT,
    &REMAINS,
    &EXPIRED,
    &STILL_REMAINS,
    &REMAINS_OF_PROJECT,
    &WITH_ARCHIVE,
    &ARCHIVES,
    &FIND,
    &ANY,
    &COUNT,
    &LIST,
    &FORGET,
    &CLEAR,
];
