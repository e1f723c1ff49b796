//! Every statement of the module: one text for both engines.
//!
//! Each step of an item is one conditional UPDATE that returns what it has changed: counts, events and
//! signals are made of that and of nothing else. Whatever a worker says has to name the fence of its
//! claim. A statement that may change many rows finds and locks them in a common order first.

use crate::db::sql;

pub(super) use crate::db::Sql;

/// The columns of an item, in the order in which they are decoded. The last two tell what its image's
/// status depends on beside the item itself.
macro_rules! columns {
    () => {
        "id, image_id, project_id, user_id, batch_id, model, threshold, detect_holes, priority, \
         turn, place, state, attempt, fence, worker, holder, cancelled_at, cancel_reason, how, error, \
         created_at, updated_at, started_at, finished_at, lease_until - {now}, cancel_by - {now}, \
         (SELECT newer.state FROM queue_item newer WHERE newer.image_id = queue_item.image_id \
         AND newer.round > queue_item.round ORDER BY newer.round DESC LIMIT 1), \
         CAST(CASE WHEN EXISTS (SELECT 1 FROM queue_result \
         WHERE queue_result.image_id = queue_item.image_id) THEN 1 ELSE 0 END AS BIGINT)"
    };
}

/// What an item is from the end of a claim on: nobody's.
macro_rules! release {
    () => {
        "holder = NULL, worker = NULL, claim_id = NULL, lease_until = NULL, \
         cancel_by = NULL, updated_at = {now}"
    };
}

/// The first turn behind the one that `user` has come to, and not before those who wait already.
/// $1 user, $2 priority.
pub(super) static TURN: Sql = sql!(
    "SELECT {greatest}(\
     COALESCE((SELECT MAX(turn) FROM queue_item \
     WHERE user_id = $1 AND priority = $2 AND state = 'queued'), 0), \
     COALESCE((SELECT turn FROM queue_item WHERE priority = $2 AND state = 'queued' \
     ORDER BY turn LIMIT 1), 1) - 1)"
);

/// Passes over images that are active, and over those with a result unless asked for. $1 items, each a
/// JSON array of id and image, $2 project, $3 user, $4 batch, $5 model, $6 threshold, $7 whether to
/// detect holes, $8 priority, $9 the turn before the first, $10 whether those with a result, too.
/// Whoever adds an image waits for whoever is adding it as well: so all add them in one order.
pub(super) static ENQUEUE: Sql = sql!(
    "INSERT INTO queue_item (id, image_id, round, project_id, user_id, batch_id, model, threshold, \
     detect_holes, priority, turn, place, state, attempt, fence, available_at, created_at, \
     updated_at) SELECT each.value ->> 0, each.value ->> 1, \
     COALESCE((SELECT MAX(past.round) FROM queue_item past \
     WHERE past.image_id = each.value ->> 1), 0) + 1, \
     CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS TEXT), \
     CAST($7 AS BOOLEAN), CAST($8 AS BIGINT), CAST($9 AS BIGINT) + each.place, each.place, \
     'queued', 0, 0, {now}, {now}, {now} FROM {each:$1} \
     WHERE CAST($10 AS BIGINT) = 1 OR NOT EXISTS (SELECT 1 FROM queue_result done \
     WHERE done.image_id = each.value ->> 1) \
     ORDER BY each.value ->> 1 ON CONFLICT DO NOTHING RETURNING ",
    columns!()
);

/// Those of some images that have a result. $1 images.
pub(super) static SEGMENTED: Sql =
    sql!("SELECT image_id FROM queue_result WHERE image_id IN ({list:$1})");

/// Adds to what is counted of a project. $1 project, $2 queued, $3 processing.
pub(super) static COUNT: Sql = sql!(
    "INSERT INTO queue_count (project_id, queued, processing) VALUES ($1, $2, $3) \
     ON CONFLICT (project_id) DO UPDATE SET queued = queue_count.queued + $2, \
     processing = queue_count.processing + $3 RETURNING queued, processing"
);

/// Lets nobody else change what is counted of a project. $1 project.
pub(super) static HOLD_COUNT: Sql =
    sql!("SELECT project_id FROM queue_count WHERE project_id = $1 {for_update}");

/// $1 project.
pub(super) static COUNTED: Sql =
    sql!("SELECT queued, processing FROM queue_count WHERE project_id = $1");

/// $1 user.
pub(super) static COUNT_OF_USER: Sql = sql!(
    "SELECT COUNT(CASE WHEN state = 'queued' THEN 1 END), \
     COUNT(CASE WHEN state = 'processing' THEN 1 END) FROM queue_item \
     WHERE user_id = $1 AND state IN ('queued', 'processing')"
);

/// Whether there may be something to claim, or an earlier request of the same claim has got something.
/// $1 models, $2 claim, $3 worker, $4 holder.
pub(super) static IS_WAITING: Sql = sql!(
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM queue_item WHERE claim_id = $2 AND worker = $3 \
     AND holder = $4 AND state IN ('processing', 'cancelling')) \
     OR EXISTS (SELECT 1 FROM queue_item WHERE state = 'queued' AND model IN ({list:$1}) \
     AND available_at <= {now})"
);

/// What an earlier request of the same claim has got. $1 models, $2 claim, $3 worker, $4 holder.
pub(super) static CLAIMED: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM queue_item WHERE claim_id = $2 AND worker = $3 AND holder = $4 \
     AND state IN ('processing', 'cancelling') AND model IN ({list:$1})"
);

/// The next ones of a model, and what decides who comes first. $1 model, $2 how many at most.
pub(super) static NEXT: Sql = sql!(
    "SELECT id, priority, turn, created_at, place FROM queue_item \
     WHERE state = 'queued' AND model = $1 AND available_at <= {now} \
     ORDER BY priority DESC, turn, created_at, place, id LIMIT $2 {skip_locked}"
);

/// $1 items, $2 worker, $3 claim, $4 holder, $5 milliseconds of the lease.
pub(super) static CLAIM: Sql = sql!(
    "UPDATE queue_item SET state = 'processing', fence = fence + 1, attempt = attempt + 1, \
     worker = $2, claim_id = $3, holder = $4, lease_until = {now} + $5, started_at = {now}, \
     updated_at = {now} WHERE id IN ({list:$1}) AND state = 'queued' RETURNING ",
    columns!()
);

/// Those that a worker has, locked in the order of all who lock many. `$1` is a parameter: items, each
/// a JSON array of id and fence.
macro_rules! held {
    ($more:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (SELECT id FROM queue_item \
             WHERE (id, fence) IN (SELECT each.value ->> 0, CAST(each.value ->> 1 AS BIGINT) \
             FROM {each:$1}) AND state IN ('processing', 'cancelling') ",
            $more,
            "ORDER BY id {for_update}) UPDATE queue_item SET "
        )
    };
}

/// Takes a claim back of which nothing was heard: it does not count. $1 items, each a JSON array of id
/// and fence.
pub(super) static UNCLAIM: Sql = sql!(
    held!(""),
    "state = CASE state WHEN 'cancelling' THEN 'cancelled' ELSE 'queued' END, \
     how = CASE state WHEN 'cancelling' THEN 'worker' END, \
     finished_at = CASE state WHEN 'cancelling' THEN {now} END, \
     fence = fence + 1, attempt = attempt - 1, started_at = NULL, ",
    release!(),
    " WHERE id IN (SELECT id FROM due) RETURNING ",
    columns!()
);

/// The lease of a cancelled item never lasts longer than its worker has to end it. $1 items, each a
/// JSON array of id and fence, $2 milliseconds of the lease, $3 holder, $4 his models. NULL: every one.
pub(super) static HEARTBEAT: Sql = sql!(
    held!("AND holder = $3 AND (CAST($4 AS TEXT) IS NULL OR model IN ({list:$4})) "),
    "lease_until = \
     {least}(COALESCE(cancel_by, {now} + CAST($2 AS BIGINT)), {now} + CAST($2 AS BIGINT)) \
     WHERE id IN (SELECT id FROM due) RETURNING ",
    columns!()
);

/// The state to which a report leads. $3 outcome, $4 whether another attempt may help, $5 attempts at
/// most.
macro_rules! reported_state {
    () => {
        "CASE WHEN state = 'cancelling' THEN 'cancelled' WHEN $3 = 'completed' THEN 'completed' \
         WHEN $3 = 'cancelled' THEN 'queued' \
         WHEN CAST($4 AS BIGINT) = 1 AND attempt < CAST($5 AS BIGINT) THEN 'queued' \
         ELSE 'failed' END"
    };
}

/// A cancel wins over any report. A failure is tried again after 2, 4, 8 seconds and so on. $1 id,
/// $2 fence, $3 outcome, $4 whether another attempt may help, $5 attempts at most, $6 error, $7 holder,
/// $8 his models. NULL: every one.
pub(super) static FINISH: Sql = sql!(
    "UPDATE queue_item SET state = ",
    reported_state!(),
    ", reported_state = ",
    reported_state!(),
    ", reported = $3, reported_fence = $2, \
     how = CASE WHEN state = 'cancelling' THEN 'worker' END, \
     error = CASE WHEN state = 'processing' AND $3 = 'failed' THEN CAST($6 AS TEXT) END, \
     attempt = CASE WHEN state = 'processing' AND $3 = 'cancelled' THEN attempt - 1 \
     ELSE attempt END, \
     available_at = CASE WHEN $3 = 'failed' \
     THEN {now} + 1000 * (1 << CAST({least}(attempt, 6) AS INTEGER)) ELSE {now} END, \
     finished_at = CASE WHEN ",
    reported_state!(),
    " <> 'queued' THEN {now} END, ",
    release!(),
    " WHERE id = $1 AND fence = $2 AND holder = $7 AND state IN ('processing', 'cancelling') \
     AND (CAST($8 AS TEXT) IS NULL OR model IN ({list:$8})) RETURNING ",
    columns!()
);

/// What became of a report that changes nothing. $1 id.
pub(super) static REPORTED: Sql = sql!(
    "SELECT state, reported_fence, reported, reported_state, fence FROM queue_item WHERE id = $1"
);

/// $1 image, $2 project, $3 item, $4 model, $5 threshold, $6 whether holes were detected, $7 report.
pub(super) static SAVE: Sql = sql!(
    "INSERT INTO queue_result (image_id, project_id, item_id, model, threshold, detect_holes, \
     report, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, {now}) \
     ON CONFLICT (image_id) DO UPDATE SET project_id = $2, item_id = $3, model = $4, \
     threshold = $5, detect_holes = $6, report = $7, created_at = {now}"
);

/// $1 image.
pub(super) static RESULT: Sql = sql!(
    "SELECT item_id, model, threshold, detect_holes, report, created_at FROM queue_result \
     WHERE image_id = $1"
);

/// What an item becomes that is taken from its worker: whatever he says later has an old fence.
/// `$max` attempts at most, `$why` it failed if there were so many.
macro_rules! take_away {
    ($max:literal, $why:literal) => {
        concat!(
            "state = CASE WHEN state = 'cancelling' THEN 'cancelled' WHEN attempt < CAST(",
            $max,
            " AS BIGINT) THEN 'queued' ELSE 'failed' END, \
             how = CASE WHEN state = 'cancelling' THEN 'lease_expired' END, \
             error = CASE WHEN state = 'processing' AND attempt >= CAST(",
            $max,
            " AS BIGINT) THEN CAST(",
            $why,
            " AS TEXT) END, \
             finished_at = CASE WHEN state = 'cancelling' OR attempt >= CAST(",
            $max,
            " AS BIGINT) THEN {now} END, fence = fence + 1, available_at = {now}, "
        )
    };
}

// Both are in the order of all who lock many. SQLite would go through the whole table for `ORDER BY id`,
// since that is its own order; so it is not told that it is the same.

/// $1 attempts at most, $2 the error of those that had so many, $3 how many items at most.
pub(super) static REAP: Sql = sql!(
    "WITH due AS MATERIALIZED (SELECT id FROM queue_item \
     WHERE state IN ('processing', 'cancelling') AND lease_until <= {now} \
     ORDER BY id || '' LIMIT $3 {skip_locked}) UPDATE queue_item SET ",
    take_away!("$1", "$2"),
    release!(),
    " WHERE id IN (SELECT id FROM due) RETURNING ",
    columns!()
);

/// How long the first lease lasts that is to end, in milliseconds.
pub(super) static FIRST_END: Sql = sql!(
    "SELECT MIN(lease_until) - {now} FROM queue_item WHERE state IN ('processing', 'cancelling')"
);

/// $1 attempts at most, $2 the error of those that had so many, $3 milliseconds, $4 user. NULL:
/// everybody's. $5 how many items at most.
pub(super) static RESET: Sql = sql!(
    "WITH due AS MATERIALIZED (SELECT id FROM queue_item \
     WHERE state IN ('processing', 'cancelling') AND state = 'processing' \
     AND started_at <= {now} - $3 AND (CAST($4 AS TEXT) IS NULL OR user_id = $4) \
     ORDER BY id || '' LIMIT $5 {for_update}) UPDATE queue_item SET ",
    take_away!("$1", "$2"),
    release!(),
    " WHERE id IN (SELECT id FROM due) AND state = 'processing' RETURNING ",
    columns!()
);

/// A cancel of those items that `$which` names, of which `$1` is a parameter. $2 milliseconds of
/// grace, $3 reason, $4 how many at most.
macro_rules! cancel {
    ($which:literal) => {
        sql!(
            "WITH due AS MATERIALIZED (SELECT id FROM queue_item WHERE ",
            $which,
            " AND state IN ('queued', 'processing') ORDER BY id LIMIT $4 {for_update}) \
             UPDATE queue_item SET \
             state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END, \
             how = CASE state WHEN 'queued' THEN 'before_start' END, \
             finished_at = CASE state WHEN 'queued' THEN {now} END, \
             cancel_by = CASE state WHEN 'processing' THEN {now} + CAST($2 AS BIGINT) END, \
             lease_until = CASE state WHEN 'processing' \
             THEN {least}(lease_until, {now} + CAST($2 AS BIGINT)) END, \
             cancelled_at = {now}, cancel_reason = $3, updated_at = {now} \
             WHERE id IN (SELECT id FROM due) AND state IN ('queued', 'processing') RETURNING ",
            columns!()
        )
    };
}

pub(super) static CANCEL: Sql = cancel!("id = $1");
pub(super) static CANCEL_BATCH: Sql = cancel!("batch_id = $1");
/// No user has an empty name: that is said so that SQLite finds them by the index of active items.
pub(super) static CANCEL_PROJECT: Sql = cancel!("project_id = $1 AND user_id > ''");
/// $5 user.
pub(super) static CANCEL_OF_MEMBER: Sql = cancel!("project_id = $1 AND user_id = $5");
pub(super) static CANCEL_OF_USER: Sql = cancel!("user_id = $1");
/// $1 images.
pub(super) static CANCEL_IMAGES: Sql = cancel!("image_id IN ({list:$1})");

/// The cancelled items of which a worker may not know yet. $1 worker, $2 holder.
pub(super) static OUTSTANDING: Sql = sql!(
    "SELECT id, fence, cancel_reason, cancel_by - {now} FROM queue_item \
     WHERE worker = $1 AND holder = $2 AND state IN ('processing', 'cancelling') \
     AND state = 'cancelling'"
);

/// $1 id.
pub(super) static FIND: Sql = sql!("SELECT ", columns!(), " FROM queue_item WHERE id = $1");

/// $1 batch.
pub(super) static BATCH: Sql = sql!(
    "SELECT id, project_id, user_id, state FROM queue_item WHERE batch_id = $1 ORDER BY place"
);

/// The items of a project that are looked for, how many and a page of them: `$which` names them by an
/// index. $1 project, $2 states, $3 what `$which` wants, $4 limit, $5 offset.
macro_rules! listed {
    ($which:literal) => {
        [
            &sql!(
                "SELECT COUNT(*) FROM queue_item WHERE state IN ({list:$2}) AND project_id = $1 ",
                $which
            ),
            &sql!(
                "SELECT ",
                columns!(),
                " FROM queue_item WHERE id IN (SELECT id FROM queue_item \
                 WHERE state IN ({list:$2}) AND project_id = $1 ",
                $which,
                " ORDER BY created_at DESC, place DESC, id DESC LIMIT $4 OFFSET $5) \
                 ORDER BY created_at DESC, place DESC, id DESC"
            ),
        ]
    };
}

/// $3 NULL.
pub(super) static LIST: [&Sql; 2] = listed!("AND CAST($3 AS TEXT) IS NULL");
/// $3 image.
pub(super) static LIST_OF_IMAGE: [&Sql; 2] = listed!("AND image_id = $3");
/// $3 batch.
pub(super) static LIST_OF_BATCH: [&Sql; 2] = listed!("AND batch_id = $3");

/// The last item of some images, and whether they have a result. $1 images.
pub(super) static STATUSES: Sql = sql!(
    "SELECT each.image, (SELECT last.state FROM queue_item last WHERE last.image_id = each.image \
     ORDER BY last.round DESC LIMIT 1), CAST(CASE WHEN EXISTS (SELECT 1 FROM queue_result \
     WHERE queue_result.image_id = each.image) THEN 1 ELSE 0 END AS BIGINT) \
     FROM (SELECT value AS image FROM ({list:$1}) listed) each"
);

/// How many items there are of each state. $1 milliseconds after which one that is processed is stuck.
pub(super) static HEALTH: Sql = sql!(
    "SELECT COUNT(CASE WHEN state = 'queued' THEN 1 END), \
     COUNT(CASE WHEN state = 'processing' THEN 1 END), \
     COUNT(CASE WHEN state = 'cancelling' THEN 1 END), \
     COUNT(CASE WHEN state = 'completed' THEN 1 END), \
     COUNT(CASE WHEN state = 'failed' THEN 1 END), \
     COUNT(CASE WHEN state = 'cancelled' THEN 1 END), \
     COUNT(CASE WHEN state = 'processing' AND started_at <= {now} - $1 THEN 1 END), \
     MIN(CASE WHEN state = 'queued' THEN created_at END), {now} FROM queue_item"
);

/// $1 milliseconds since the end, $2 user. NULL: everybody's. $3 how many at most.
pub(super) static FORGET: Sql = sql!(
    "DELETE FROM queue_item WHERE id IN (SELECT id FROM queue_item \
     WHERE finished_at IS NOT NULL AND finished_at <= (SELECT {now} - $1) \
     AND (CAST($2 AS TEXT) IS NULL OR user_id = $2) ORDER BY finished_at LIMIT $3)"
);

/// Images of active items, to see whether they are there still. $1 image to go on after, $2 limit.
pub(super) static WALK_ITEMS: Sql = sql!(
    "SELECT image_id FROM queue_item WHERE state IN ('queued', 'processing') AND image_id > $1 \
     ORDER BY image_id LIMIT $2"
);

/// Images of results. $1 image to go on after, $2 limit.
pub(super) static WALK_RESULTS: Sql =
    sql!("SELECT image_id FROM queue_result WHERE image_id > $1 ORDER BY image_id LIMIT $2");

/// $1 images.
pub(super) static DROP_RESULTS: Sql =
    sql!("DELETE FROM queue_result WHERE image_id IN ({list:$1})");

/// Whether a project has items that have not ended. $1 project.
pub(super) static IS_CLAIMED: Sql = sql!(
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM queue_item WHERE project_id = $1 AND user_id > '' \
     AND state IN ('queued', 'processing')) OR EXISTS (SELECT 1 FROM queue_item \
     WHERE project_id = $1 AND state IN ('processing', 'cancelling'))"
);

/// $1 project, $2 how many at most.
pub(super) static CLEAR_ITEMS: Sql = sql!(
    "DELETE FROM queue_item WHERE id IN (SELECT id FROM queue_item WHERE project_id = $1 LIMIT $2)"
);

/// $1 project, $2 how many at most.
pub(super) static CLEAR_RESULTS: Sql = sql!(
    "DELETE FROM queue_result WHERE image_id IN (SELECT image_id FROM queue_result \
     WHERE project_id = $1 LIMIT $2)"
);

/// $1 project.
pub(super) static CLEAR_COUNT: Sql = sql!("DELETE FROM queue_count WHERE project_id = $1");

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[
    &TURN,
    &ENQUEUE,
    &SEGMENTED,
    &COUNT,
    &HOLD_COUNT,
    &COUNTED,
    &COUNT_OF_USER,
    &IS_WAITING,
    &CLAIMED,
    &NEXT,
    &CLAIM,
    &UNCLAIM,
    &HEARTBEAT,
    &FINISH,
    &REPORTED,
    &SAVE,
    &RESULT,
    &REAP,
    &FIRST_END,
    &RESET,
    &CANCEL,
    &CANCEL_BATCH,
    &CANCEL_PROJECT,
    &CANCEL_OF_MEMBER,
    &CANCEL_OF_USER,
    &CANCEL_IMAGES,
    &OUTSTANDING,
    &FIND,
    &BATCH,
    LIST[0],
    LIST[1],
    LIST_OF_IMAGE[0],
    LIST_OF_IMAGE[1],
    LIST_OF_BATCH[0],
    LIST_OF_BATCH[1],
    &STATUSES,
    &HEALTH,
    &FORGET,
    &WALK_ITEMS,
    &WALK_RESULTS,
    &DROP_RESULTS,
    &IS_CLAIMED,
    &CLEAR_ITEMS,
    &CLEAR_RESULTS,
    &CLEAR_COUNT,
];
