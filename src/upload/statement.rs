//! Every statement of the module: one text for both engines.
//!
//! A commit, a cancel and an expiry are each one conditional UPDATE. What it does not match it
//! does not change, and then nothing of its transaction has happened.

use crate::access::right_in;
use crate::db::sql;

pub(super) use crate::db::Sql;

/// The columns of an upload, in the order in which they are decoded.
macro_rules! columns {
    () => {
        "id, project_id, owner_id, kind, state, epoch, committed, length, metadata, concat, \
         digest, sha256, created_at, updated_at, completed_at, expires_at, ended_at, end_reason, ended_by, \
         released_bytes, interrupted_at, protocol, expected_sha256"
    };
}

/// Whether a final upload, finished or not, is made of the row of `upload` that is looked at.
macro_rules! is_held {
    () => {
        "EXISTS (SELECT 1 FROM upload_part use JOIN upload whole ON whole.id = use.final_id \
         WHERE use.part_id = upload.id AND whole.state IN ('uploading', 'completed'))"
    };
}

/// Nothing happens if there is such an upload, or no such project for the caller. $1 id, $2 project or
/// NULL for the caller's default one, $3 caller, $4 kind, $5 state, $6 committed, $7 length,
/// $8 metadata, $9 concat, $10 digest, $11 sha256, $12 milliseconds until expiry, $13 protocol,
/// $14 expected SHA-256, $15 whether the caller is an admin.
///
/// The project is held already: see [`SHARE_HOME`].
pub(super) static INSERT: Sql = sql!(
    "INSERT INTO upload (",
    columns!(),
    ") SELECT CAST($1 AS TEXT), home.id, CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), 1, \
     CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS TEXT), CAST($9 AS TEXT), \
     CAST($10 AS {blob}), CAST($11 AS TEXT), {now}, {now}, \
     CASE WHEN $5 = 'completed' THEN {now} END, {now} + CAST($12 AS BIGINT), \
     NULL, NULL, NULL, NULL, NULL, CAST($13 AS TEXT), CAST($14 AS TEXT) FROM project home \
     WHERE home.id = COALESCE(CAST($2 AS TEXT), (SELECT own.id FROM project own \
     WHERE own.owner_id = $3 AND own.is_default = 1 AND own.deleted_at IS NULL)) AND ",
    right_in!("home.id", "$3", "$15"),
    " > 0 ON CONFLICT (id) DO NOTHING RETURNING ",
    columns!()
);

/// The sum of what a project's uploads are charged, or the largest number if it is more: two halves of
/// it are added up apart, and neither can be too large.
macro_rules! reckoned {
    ($project:literal) => {
        concat!(
            "(SELECT CASE WHEN high + low / 4294967296 > 2147483647 THEN 9223372036854775807 \
             ELSE (high + low / 4294967296) * 4294967296 + low % 4294967296 END \
             FROM (SELECT COALESCE(CAST(SUM(charge / 4294967296) AS BIGINT), 0) AS high, \
             COALESCE(CAST(SUM(charge % 4294967296) AS BIGINT), 0) AS low FROM (SELECT \
             {greatest}(COALESCE(length, 0), committed) AS charge FROM upload \
             WHERE project_id = ",
            $project,
            " AND kind <> 'final' AND released_bytes IS NULL) charges) sums)"
        )
    };
}

/// Locks the project for something new. $1 project or NULL for the caller's default one, $2 caller.
pub(super) static HOLD_HOME: Sql = sql!(
    "SELECT id FROM project WHERE id = COALESCE(CAST($1 AS TEXT), (SELECT own.id FROM project own \
     WHERE own.owner_id = $2 AND own.is_default = 1 AND own.deleted_at IS NULL)) {for_update}"
);

/// As [`HOLD_HOME`], beside others who add something: it is not deleted, nor is a share of it changed,
/// before the upload is there. Apart from the statement that asks for the right, which would not look
/// at the share again after it has waited.
pub(super) static SHARE_HOME: Sql = sql!(
    "SELECT id FROM project WHERE id = COALESCE(CAST($1 AS TEXT), (SELECT own.id FROM project own \
     WHERE own.owner_id = $2 AND own.is_default = 1 AND own.deleted_at IS NULL)) {for_share}"
);

/// $1 upload.
pub(super) static HOLD_PROJECT_OF: Sql = sql!(
    "SELECT id FROM project \
     WHERE id = (SELECT project_id FROM upload WHERE upload.id = $1) {for_update}"
);

/// As [`HOLD_PROJECT_OF`], and finds nothing if the upload's length is known.
pub(super) static HOLD_UNMEASURED: Sql = sql!(
    "SELECT id FROM project WHERE id = (SELECT project_id FROM upload \
     WHERE upload.id = $1 AND upload.length IS NULL) {for_update}"
);

/// $1 owner, $2 how many are counted at most.
pub(super) static COUNT_OPEN: Sql = sql!(
    "SELECT COUNT(*) FROM (SELECT id FROM upload \
     WHERE owner_id = $1 AND state = 'uploading' LIMIT $2) open"
);

/// $1 project, $2 bytes, $3 what it may be charged without them.
pub(super) static CHARGE: Sql =
    sql!("UPDATE project SET used_bytes = used_bytes + $2 WHERE id = $1 AND used_bytes <= $3");

/// Where the sum may have been more than the largest number, it is reckoned anew. $1 project, $2 bytes.
pub(super) static DISCHARGE: Sql = sql!(
    "UPDATE project SET used_bytes = CASE WHEN used_bytes < 9223372036854775807 \
     THEN used_bytes - $2 ELSE ",
    reckoned!("project.id"),
    " END WHERE id = $1"
);

/// $1 project.
pub(super) static CHARGED: Sql = sql!("SELECT used_bytes FROM project WHERE id = $1");

/// $1 project.
pub(super) static RECKONED: Sql = sql!("SELECT ", reckoned!("$1"));

pub(super) static BALANCE: Sql = sql!("UPDATE project SET used_bytes = ", reckoned!("project.id"),);

/// $1 project.
pub(super) static COUNT_USAGE: Sql = sql!(
    "SELECT COUNT(CASE WHEN state = 'uploading' THEN 1 END), \
     COUNT(CASE WHEN state = 'completed' THEN 1 END) FROM upload WHERE project_id = $1"
);

/// Takes back what [`INSERT`] has made in this transaction. $1 id.
pub(super) static UNMAKE: Sql = sql!("DELETE FROM upload WHERE id = $1");

pub(super) static INSERT_PART: Sql =
    sql!("INSERT INTO upload_part (final_id, position, part_id) VALUES ($1, $2, $3)");

pub(super) static FIND: Sql = sql!("SELECT ", columns!(), " FROM upload WHERE id = $1");

/// With the caller's right in its project behind the columns. $1 id, $2 user, $3 whether an admin.
pub(super) static FIND_FOR: Sql = sql!(
    "SELECT ",
    columns!(),
    ", ",
    right_in!("upload.project_id", "$2", "$3"),
    " FROM upload WHERE id = $1"
);

/// Locks the row: whoever changes it is waited for, and nobody else does before the commit.
pub(super) static FIND_LOCKED: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM upload WHERE id = $1 {for_update}"
);

pub(super) static PARTS: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM upload JOIN upload_part ON upload_part.part_id = upload.id \
     WHERE upload_part.final_id = $1 ORDER BY upload_part.position"
);

/// $1 id, $2 epoch, $3 from, $4 to, $5 length, $6 state, $7 digest, $8 sha256, $9 milliseconds
/// until expiry, $10 reason. A partial upload keeps its expiry when it is complete.
pub(super) static ADVANCE: Sql = sql!(
    "UPDATE upload SET committed = $4, length = COALESCE($5, length), state = $6, digest = $7, \
     sha256 = $8, updated_at = {now}, end_reason = $10, \
     completed_at = CASE WHEN $6 = 'completed' THEN {now} END, \
     ended_at = CASE WHEN $6 = 'failed' THEN {now} END, \
     expires_at = CASE WHEN $6 = 'uploading' OR ($6 = 'completed' AND kind = 'partial') \
     THEN {now} + $9 END \
     WHERE id = $1 AND epoch = $2 AND committed = $3 AND state = 'uploading' \
     AND kind <> 'final' RETURNING ",
    columns!()
);

pub(super) static LOCK_WAITING: Sql = sql!(
    "SELECT id FROM upload WHERE kind = 'final' AND state = 'uploading' \
     AND id IN (SELECT final_id FROM upload_part WHERE part_id = $1) ORDER BY id {for_update}"
);

/// $1 id of a final upload, $2 length.
pub(super) static MEASURE: Sql =
    sql!("UPDATE upload SET length = $2, updated_at = {now} WHERE id = $1");

pub(super) static COMPLETE_WAITING: Sql = sql!(
    "UPDATE upload SET state = 'completed', updated_at = {now}, completed_at = {now}, \
     expires_at = NULL, \
     committed = (SELECT CAST(SUM(part.committed) AS BIGINT) FROM upload_part use \
     JOIN upload part ON part.id = use.part_id WHERE use.final_id = upload.id), \
     length = (SELECT CAST(SUM(part.committed) AS BIGINT) FROM upload_part use \
     JOIN upload part ON part.id = use.part_id WHERE use.final_id = upload.id) \
     WHERE kind = 'final' AND state = 'uploading' \
     AND id IN (SELECT final_id FROM upload_part WHERE part_id = $1) \
     AND NOT EXISTS (SELECT 1 FROM upload_part use JOIN upload part ON part.id = use.part_id \
     WHERE use.final_id = upload.id AND part.state <> 'completed') RETURNING ",
    columns!()
);

pub(super) static FAIL_WAITING: Sql = sql!(
    "UPDATE upload SET state = 'failed', epoch = epoch + 1, updated_at = {now}, ended_at = {now}, \
     end_reason = 'a part of it has ended', expires_at = NULL \
     WHERE kind = 'final' AND state = 'uploading' \
     AND id IN (SELECT final_id FROM upload_part WHERE part_id = $1) RETURNING ",
    columns!()
);

pub(super) static INTERRUPTED: Sql = sql!(
    "UPDATE upload SET interrupted_at = {now} \
     WHERE id = $1 AND state = 'uploading' AND interrupted_at IS NULL RETURNING ",
    columns!()
);

pub(super) static RESUMED: Sql = sql!(
    "UPDATE upload SET interrupted_at = NULL \
     WHERE id = $1 AND state = 'uploading' AND interrupted_at IS NOT NULL RETURNING ",
    columns!()
);

/// $1 id, $2 reason, $3 canceller.
pub(super) static CANCEL: Sql = sql!(
    "UPDATE upload SET state = 'cancelling', epoch = epoch + 1, updated_at = {now}, \
     ended_at = {now}, end_reason = $2, ended_by = $3, expires_at = NULL \
     WHERE id = $1 AND state = 'uploading' RETURNING ",
    columns!()
);

/// $1 id, $2 reason, $3 canceller.
pub(super) static DELETE: Sql = sql!(
    "UPDATE upload SET state = 'deleting', epoch = epoch + 1, updated_at = {now}, \
     ended_at = {now}, end_reason = $2, ended_by = $3, expires_at = NULL \
     WHERE id = $1 AND state = 'completed' RETURNING ",
    columns!()
);

/// The sender has cancelled as well what somebody else had. $1 id.
pub(super) static AGREED: Sql = sql!(
    "UPDATE upload SET ended_by = 'sender' WHERE id = $1 AND state IN ('cancelling', 'cancelled')"
);

/// Comes before an id that may have no row yet is looked up and something is done about it: of two
/// transactions that do so at once, the later one has to see the earlier one. $1 id.
pub(super) static LOCK_ID: Sql = sql!("SELECT {lock:$1}");

/// $1 id, $2 owner, $3 reason.
pub(super) static FORESTALL: Sql = sql!(
    "INSERT INTO upload_forestalled (id, owner_id, reason, cancelled_at) \
     VALUES ($1, $2, $3, {now}) ON CONFLICT DO NOTHING"
);

/// $1 owner.
pub(super) static COUNT_FORESTALLED: Sql =
    sql!("SELECT COUNT(*) FROM upload_forestalled WHERE owner_id = $1");

/// $1 id, $2 owner.
pub(super) static FORESTALLED: Sql =
    sql!("DELETE FROM upload_forestalled WHERE id = $1 AND owner_id = $2 RETURNING reason");

/// What has been made although it was forestalled. $1 id, $2 reason.
pub(super) static STILLBORN: Sql = sql!(
    "UPDATE upload SET state = 'cancelled', epoch = epoch + 1, ended_at = {now}, end_reason = $2, \
     ended_by = 'other', released_bytes = 0, completed_at = NULL, expires_at = NULL, \
     digest = NULL, sha256 = NULL WHERE id = $1 RETURNING ",
    columns!()
);

/// $1 milliseconds for which one is kept.
pub(super) static FORGET_FORESTALLED: Sql =
    sql!("DELETE FROM upload_forestalled WHERE cancelled_at < (SELECT {now} - $1)");

/// $1 project, $2 owner or NULL, $3 limit.
pub(super) static ACTIVE: Sql = sql!(
    "SELECT id FROM upload WHERE project_id = $1 AND state = 'uploading' \
     AND (CAST($2 AS TEXT) IS NULL OR owner_id = $2) ORDER BY id LIMIT $3 {for_update}"
);

/// What a project that is going still has. $1 project, $2 limit.
pub(super) static LEFT: Sql = sql!(
    "SELECT id FROM upload WHERE project_id = $1 AND state IN ('uploading', 'completed') \
     ORDER BY id LIMIT $2 {for_update}"
);

/// Whether a project still has bytes, or what will have some. $1 project.
pub(super) static HAS_ANY: Sql = sql!(
    "SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT id FROM upload \
     WHERE project_id = $1 AND released_bytes IS NULL LIMIT 1) one"
);

/// $1 id, $2 reason.
pub(super) static FAIL: Sql = sql!(
    "UPDATE upload SET state = 'failed', epoch = epoch + 1, updated_at = {now}, ended_at = {now}, \
     end_reason = $2, expires_at = NULL WHERE id = $1 AND state IN ('uploading', 'completed') \
     RETURNING ",
    columns!()
);

/// Fails the final uploads, finished or not, that are made of an upload whose bytes were lost.
/// $1 part, $2 reason.
pub(super) static FAIL_MADE_OF: Sql = sql!(
    "UPDATE upload SET state = 'failed', epoch = epoch + 1, updated_at = {now}, ended_at = {now}, \
     end_reason = $2, expires_at = NULL \
     WHERE kind = 'final' AND state IN ('uploading', 'completed') \
     AND id IN (SELECT final_id FROM upload_part WHERE part_id = $1) RETURNING ",
    columns!()
);

/// The time of a part stands still while a final upload has it: see [`HOLD_PART`].
pub(super) static EXPIRE: Sql = sql!(
    "UPDATE upload SET state = CASE state WHEN 'completed' THEN 'deleting' ELSE 'expired' END, \
     epoch = epoch + 1, updated_at = {now}, ended_at = {now}, expires_at = NULL \
     WHERE id = $1 AND expires_at < {now} AND state IN ('uploading', 'completed') RETURNING ",
    columns!()
);

/// $1 time and $2 id to go on after, $3 limit. What has ended has no expiry.
///
/// The clock is asked in a subquery here, and wherever it bounds what is searched: it may say
/// another time for each row, and PostgreSQL searches an index for one time only.
pub(super) static EXPIRING: Sql = sql!(
    "SELECT expires_at, id FROM upload WHERE expires_at < (SELECT {now}) \
     AND (expires_at, id) > ($1, $2) ORDER BY expires_at, id LIMIT $3"
);

/// Takes a complete part's expiry away while a final upload has it. $1 part.
///
/// It changes the row, so that an expiry that waits for it looks at it again; the lock alone would
/// not make PostgreSQL do that.
pub(super) static HOLD_PART: Sql = sql!(
    "UPDATE upload SET expires_at = NULL \
     WHERE id = $1 AND state = 'completed' AND kind = 'partial' AND ",
    is_held!()
);

/// Keeps a deleted part, whose bytes a final upload still has, out of the sweeper's sight. $1 part.
pub(super) static HOLD_DELETED: Sql = sql!(
    "UPDATE upload SET held_at = ended_at WHERE id = $1 AND state = 'deleting' AND ",
    is_held!()
);

/// $1 final upload.
pub(super) static LOCK_PARTS: Sql = sql!(
    "SELECT id FROM upload WHERE id IN (SELECT part_id FROM upload_part WHERE final_id = $1) \
     ORDER BY id {for_update}"
);

/// Undoes [`HOLD_PART`] and [`HOLD_DELETED`] for the parts of a final upload that has ended, as far
/// as no other one has them. $1 final upload, $2 milliseconds until expiry.
pub(super) static LET_GO: Sql = sql!(
    "UPDATE upload SET held_at = NULL, \
     expires_at = CASE state WHEN 'completed' THEN {now} + $2 END \
     WHERE id IN (SELECT part_id FROM upload_part WHERE final_id = $1) \
     AND (held_at IS NOT NULL OR (state = 'completed' AND expires_at IS NULL)) AND NOT ",
    is_held!()
);

/// What stands between an ended upload and the end of its blob: a final upload that has it. Gives
/// the bytes that are promised of its blob, and 1 if they are what is left of a damaged upload, or
/// of the part of one: what was complete and has failed.
pub(super) static MAY_RELEASE: Sql = sql!(
    "SELECT CASE kind WHEN 'final' THEN 0 ELSE committed END, \
     CAST(CASE WHEN kind <> 'final' AND (state = 'failed' AND completed_at IS NOT NULL OR EXISTS \
     (SELECT 1 FROM upload_part use JOIN upload whole ON whole.id = use.final_id \
     WHERE use.part_id = upload.id AND whole.state = 'failed' \
     AND whole.completed_at IS NOT NULL)) THEN 1 ELSE 0 END AS BIGINT) \
     FROM upload WHERE id = $1 AND ended_at IS NOT NULL AND NOT ",
    is_held!()
);

/// $1 time and $2 id to go on after, $3 limit.
pub(super) static RELEASABLE: Sql = sql!(
    "SELECT ended_at, id FROM upload \
     WHERE ended_at IS NOT NULL AND released_bytes IS NULL AND held_at IS NULL \
     AND (ended_at, id) > ($1, $2) ORDER BY ended_at, id LIMIT $3"
);

/// $1 id, $2 bytes.
pub(super) static RELEASED: Sql = sql!(
    "UPDATE upload SET state = CASE state WHEN 'cancelling' THEN 'cancelled' ELSE state END, \
     released_bytes = $2, digest = NULL, updated_at = {now} \
     WHERE id = $1 AND ended_at IS NOT NULL AND released_bytes IS NULL RETURNING ",
    columns!()
);

pub(super) static FORGET_PARTS_OF_DELETED: Sql = sql!(
    "DELETE FROM upload_part WHERE final_id = $1 \
     AND final_id IN (SELECT id FROM upload WHERE id = $1 AND state = 'deleting')"
);

pub(super) static FORGET_DELETED: Sql = sql!(
    "DELETE FROM upload WHERE id = $1 AND state = 'deleting' RETURNING ",
    columns!()
);

/// $1 milliseconds for which a tombstone is kept.
pub(super) static FORGET_PARTS_OF_TOMBSTONES: Sql = sql!(
    "DELETE FROM upload_part WHERE final_id IN (SELECT id FROM upload \
     WHERE ended_at < (SELECT {now} - $1) AND released_bytes IS NOT NULL)"
);

/// $1 milliseconds for which a tombstone is kept.
pub(super) static FORGET_TOMBSTONES: Sql =
    sql!("DELETE FROM upload WHERE ended_at < (SELECT {now} - $1) AND released_bytes IS NOT NULL");

/// $1 id to go on after, $2 limit.
pub(super) static OPEN: Sql = sql!(
    "SELECT id, committed FROM upload WHERE id > $1 AND state = 'uploading' AND kind <> 'final' \
     ORDER BY id LIMIT $2 {for_update}"
);

/// Counts what partial indexes have.
pub(super) static CENSUS: Sql = sql!(
    "SELECT (SELECT COUNT(*) FROM upload WHERE state = 'uploading' AND kind <> 'final'), \
     (SELECT COUNT(*) FROM upload \
     WHERE ended_at IS NOT NULL AND released_bytes IS NULL AND held_at IS NULL)"
);

/// $1 id to go on after, $2 limit.
pub(super) static EVERY: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM upload WHERE id > $1 AND released_bytes IS NULL ORDER BY id LIMIT $2"
);

pub(super) static WITH_BLOB: Sql =
    sql!("SELECT id FROM upload WHERE id = $1 AND released_bytes IS NULL AND kind <> 'final'");

pub(super) static UNDIGESTED: Sql = sql!(
    "SELECT id FROM upload WHERE kind = 'final' AND state = 'completed' AND sha256 IS NULL \
     ORDER BY completed_at LIMIT $1"
);

/// $1 id, $2 sha256.
pub(super) static DIGESTED: Sql = sql!(
    "UPDATE upload SET sha256 = $2, updated_at = {now} \
     WHERE id = $1 AND kind = 'final' AND state = 'completed'"
);

/// $1 project, $2 state or NULL.
pub(super) static COUNT: Sql = sql!(
    "SELECT COUNT(*) FROM upload WHERE project_id = $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) \
     AND state <> 'deleting'"
);

/// $1 project, $2 state or NULL, $3 limit, $4 offset.
pub(super) static LIST: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM upload WHERE project_id = $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND state <> 'deleting' \
     ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4"
);

/// What an image is made of, in the order in which it is decoded.
macro_rules! content {
    () => {
        "id, project_id, state, committed, metadata, sha256, created_at"
    };
}

/// Whole uploads that are complete or may become so. $1 ids.
pub(super) static FIND_CONTENTS: Sql = sql!(
    "SELECT ",
    content!(),
    " FROM upload WHERE id IN ({list:$1}) AND kind <> 'partial' \
     AND state IN ('uploading', 'completed')"
);

/// $1 project.
pub(super) static COUNT_CONTENTS: Sql = sql!(
    "SELECT COUNT(*) FROM upload \
     WHERE project_id = $1 AND kind <> 'partial' AND state = 'completed'"
);

/// $1 project, $2 limit.
pub(super) static COUNT_CONTENTS_UP_TO: Sql = sql!(
    "SELECT COUNT(*) FROM (SELECT id FROM upload \
     WHERE project_id = $1 AND kind <> 'partial' AND state = 'completed' LIMIT $2) counted"
);

/// $1 project, $2 limit, $3 offset.
pub(super) static LIST_CONTENTS: Sql = sql!(
    "SELECT ",
    content!(),
    " FROM upload WHERE project_id = $1 AND kind <> 'partial' AND state = 'completed' \
     ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
);

/// The complete ones, oldest first. $1 project, $2 time and $3 id to go on after, $4 limit.
pub(super) static PAGE_CONTENTS: Sql = sql!(
    "SELECT ",
    content!(),
    " FROM upload WHERE project_id = $1 AND kind <> 'partial' AND state = 'completed' \
     AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
);

/// The blobs of a complete whole upload, and how much each has: of a final one those of its parts,
/// of any other its own. $1 id.
pub(super) static SEGMENTS: Sql = sql!(
    "SELECT COALESCE(use.part_id, whole.id), \
     CASE WHEN use.part_id IS NULL THEN whole.committed ELSE part.committed END \
     FROM upload whole LEFT JOIN upload_part use ON use.final_id = whole.id \
     LEFT JOIN upload part ON part.id = use.part_id \
     WHERE whole.id = $1 AND whole.kind <> 'partial' AND whole.state = 'completed' \
     ORDER BY use.position"
);

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[
    &INSERT,
    &HOLD_HOME,
    &SHARE_HOME,
    &HOLD_PROJECT_OF,
    &HOLD_UNMEASURED,
    &COUNT_OPEN,
    &CHARGE,
    &DISCHARGE,
    &CHARGED,
    &RECKONED,
    &BALANCE,
    &COUNT_USAGE,
    &UNMAKE,
    &INSERT_PART,
    &FIND,
    &FIND_FOR,
    &FIND_LOCKED,
    &PARTS,
    &ADVANCE,
    &LOCK_WAITING,
    &MEASURE,
    &COMPLETE_WAITING,
    &FAIL_WAITING,
    &INTERRUPTED,
    &RESUMED,
    &CANCEL,
    &DELETE,
    &AGREED,
    &LOCK_ID,
    &FORESTALL,
    &COUNT_FORESTALLED,
    &FORESTALLED,
    &STILLBORN,
    &FORGET_FORESTALLED,
    &ACTIVE,
    &LEFT,
    &HAS_ANY,
    &FAIL,
    &FAIL_MADE_OF,
    &EXPIRE,
    &EXPIRING,
    &HOLD_PART,
    &HOLD_DELETED,
    &LOCK_PARTS,
    &LET_GO,
    &MAY_RELEASE,
    &RELEASABLE,
    &RELEASED,
    &FORGET_PARTS_OF_DELETED,
    &FORGET_DELETED,
    &FORGET_PARTS_OF_TOMBSTONES,
    &FORGET_TOMBSTONES,
    &OPEN,
    &CENSUS,
    &EVERY,
    &WITH_BLOB,
    &UNDIGESTED,
    &DIGESTED,
    &COUNT,
    &LIST,
    &FIND_CONTENTS,
    &COUNT_CONTENTS,
    &COUNT_CONTENTS_UP_TO,
    &LIST_CONTENTS,
    &PAGE_CONTENTS,
    &SEGMENTS,
];
