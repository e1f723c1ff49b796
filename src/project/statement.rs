//! Every statement of the module: one text for both engines.
//!
//! Whatever changes a project or a share of it locks the project's row first ([`LOCK`],
//! [`LOCK_OF_SHARE`]), so all changes of one project form one order.

use crate::access::{right_in, visible_to};
use crate::db::sql;

pub(super) use crate::db::Sql;

/// The columns of a project, in the order in which they are decoded.
macro_rules! project {
    () => {
        "id, owner_id, title, description, created_at, updated_at"
    };
}

/// The columns of a share, in the order in which they are decoded.
macro_rules! share {
    () => {
        "share.id, share.project_id, share.user_id, share.email, share.status, share.created_at, \
         share.updated_at"
    };
}

/// $1 id, $2 owner, $3 title, $4 description.
pub(super) static CREATE: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, description, is_default, created_at, updated_at) \
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), 0, \
     moment.now, moment.now FROM {moment} RETURNING ",
    project!()
);

/// With what the caller may do there. $1 project, $2 user, $3 whether an admin.
pub(super) static FIND: Sql = sql!(
    "SELECT ",
    project!(),
    ", ",
    right_in!("$1", "$2", "$3"),
    " FROM project WHERE id = $1 AND deleted_at IS NULL"
);

/// $1 project.
pub(super) static TITLE: Sql =
    sql!("SELECT title FROM project WHERE id = $1 AND deleted_at IS NULL");

/// $1 project.
pub(super) static LOCK: Sql =
    sql!("SELECT id FROM project WHERE id = $1 AND deleted_at IS NULL {for_update}");

/// $1 user.
pub(super) static COUNT: Sql = sql!("SELECT count(*) FROM (", visible_to!("$1"), ") visible");

/// $1 user, $2 limit, $3 offset.
pub(super) static LIST: Sql = sql!(
    "SELECT ",
    project!(),
    " FROM project WHERE id IN (",
    visible_to!("$1"),
    ") ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
);

pub(super) static COUNT_ALL: Sql = sql!("SELECT count(*) FROM project WHERE deleted_at IS NULL");

/// $1 limit, $2 offset.
pub(super) static LIST_ALL: Sql = sql!(
    "SELECT ",
    project!(),
    " FROM project WHERE deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2"
);

/// $1 project, $2 title, $3 description.
pub(super) static UPDATE: Sql = sql!(
    "UPDATE project SET title = $2, description = $3, updated_at = {greatest}(updated_at, {now}) \
     WHERE id = $1 AND deleted_at IS NULL RETURNING ",
    project!()
);

/// From here on nobody sees it, and nothing can be added. $1 project.
pub(super) static BEGIN_DELETION: Sql =
    sql!("UPDATE project SET deleted_at = {now} WHERE id = $1 AND deleted_at IS NULL");

/// $1 id to go on after, $2 limit.
pub(super) static GOING: Sql =
    sql!("SELECT id FROM project WHERE deleted_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2");

/// $1 project.
pub(super) static IS_GOING: Sql =
    sql!("SELECT id FROM project WHERE id = $1 AND deleted_at IS NOT NULL");

/// $1 project.
pub(super) static REMOVE: Sql =
    sql!("DELETE FROM project WHERE id = $1 AND deleted_at IS NOT NULL");

/// $1 project, when it has been removed.
pub(super) static REMOVE_SHARES: Sql = sql!(
    "DELETE FROM share WHERE project_id = $1 \
     AND NOT EXISTS (SELECT 1 FROM project WHERE project.id = share.project_id)"
);

/// $1 id, $2 project, $3 user, $4 e-mail address.
pub(super) static INVITE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, email, status, created_at, updated_at) \
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), 'pending', \
     moment.now, moment.now FROM {moment} RETURNING ",
    share!()
);

/// With the owner of its project. $1 share.
pub(super) static FIND_SHARE: Sql = sql!(
    "SELECT ",
    share!(),
    ", project.owner_id FROM share JOIN project ON project.id = share.project_id \
     WHERE share.id = $1 AND project.deleted_at IS NULL"
);

/// Locks the project of a share. $1 share.
pub(super) static LOCK_OF_SHARE: Sql = sql!(
    "SELECT id FROM project WHERE id = (SELECT project_id FROM share WHERE share.id = $1) \
     AND deleted_at IS NULL {for_update}"
);

/// $1 project, $2 user.
pub(super) static WITH_USER: Sql = sql!(
    "SELECT ",
    share!(),
    " FROM share WHERE project_id = $1 AND user_id = $2 AND status <> 'revoked'"
);

/// $1 project, $2 e-mail address.
pub(super) static WITH_EMAIL: Sql = sql!(
    "SELECT ",
    share!(),
    " FROM share WHERE project_id = $1 AND email = $2 AND status <> 'revoked' \
     ORDER BY created_at, id LIMIT 1"
);

/// $1 share, $2 user.
pub(super) static ACCEPT: Sql = sql!(
    "UPDATE share SET status = 'accepted', user_id = $2, \
     updated_at = {greatest}(updated_at, {now}) WHERE id = $1 AND status = 'pending' RETURNING ",
    share!()
);

/// $1 share, $2 the user whom it concerned, if he is not known from it.
pub(super) static REVOKE: Sql = sql!(
    "UPDATE share SET status = 'revoked', user_id = COALESCE(user_id, CAST($2 AS TEXT)), \
     updated_at = {greatest}(updated_at, {now}) WHERE id = $1 AND status <> 'revoked' RETURNING ",
    share!()
);

/// $1 project.
pub(super) static REVOKE_ALL: Sql = sql!(
    "UPDATE share SET status = 'revoked', updated_at = {greatest}(updated_at, {now}) \
     WHERE project_id = $1 AND status <> 'revoked' RETURNING ",
    share!()
);

/// Forgets what was revoked so many milliseconds ago. $1 milliseconds.
pub(super) static FORGET: Sql =
    sql!("DELETE FROM share WHERE status = 'revoked' AND updated_at < {now} - CAST($1 AS BIGINT)");

/// $1 project, $2 whose. NULL: everybody's.
pub(super) static COUNT_SHARES: Sql = sql!(
    "SELECT count(*) FROM share WHERE project_id = $1 AND status <> 'revoked' \
     AND (CAST($2 AS TEXT) IS NULL OR user_id = $2)"
);

/// $1 project, $2 whose. NULL: everybody's. $3 limit, $4 offset.
pub(super) static LIST_SHARES: Sql = sql!(
    "SELECT ",
    share!(),
    " FROM share WHERE project_id = $1 AND status <> 'revoked' \
     AND (CAST($2 AS TEXT) IS NULL OR user_id = $2) \
     ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4"
);

/// The shares that concern a user, by his id or by his address. $1 user, $2 e-mail address.
macro_rules! concerning {
    () => {
        "FROM share JOIN project ON project.id = share.project_id \
         WHERE project.deleted_at IS NULL AND project.owner_id <> $1 AND share.id IN (\
         SELECT id FROM share WHERE user_id = $1 AND status = 'accepted' UNION \
         SELECT id FROM share WHERE user_id = $1 AND status = 'pending' UNION \
         SELECT id FROM share WHERE email = $2 AND user_id IS NULL AND status = 'pending')"
    };
}

/// $1 user, $2 e-mail address.
pub(super) static COUNT_CONCERNING: Sql = sql!("SELECT count(*) ", concerning!());

/// With the titles of the projects. $1 user, $2 e-mail address, $3 limit, $4 offset.
pub(super) static LIST_CONCERNING: Sql = sql!(
    "SELECT ",
    share!(),
    ", project.title ",
    concerning!(),
    " ORDER BY share.created_at DESC, share.id DESC LIMIT $3 OFFSET $4"
);

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[
    &CREATE,
    &FIND,
    &TITLE,
    &LOCK,
    &COUNT,
    &LIST,
    &COUNT_ALL,
    &LIST_ALL,
    &UPDATE,
    &BEGIN_DELETION,
    &GOING,
    &IS_GOING,
    &REMOVE,
    &REMOVE_SHARES,
    &INVITE,
    &FIND_SHARE,
    &LOCK_OF_SHARE,
    &WITH_USER,
    &WITH_EMAIL,
    &ACCEPT,
    &REVOKE,
    &REVOKE_ALL,
    &FORGET,
    &COUNT_SHARES,
    &LIST_SHARES,
    &COUNT_CONCERNING,
    &LIST_CONCERNING,
];
