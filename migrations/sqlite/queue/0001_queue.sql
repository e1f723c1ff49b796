-- The processing queue. Times are milliseconds since the Unix epoch.
CREATE TABLE queue_item (
    id TEXT NOT NULL PRIMARY KEY,
    image_id TEXT NOT NULL,
    -- Which one of its image, from 1. The last one decides the image's status.
    round BIGINT NOT NULL,
    project_id TEXT NOT NULL,
    -- Who has enqueued it.
    user_id TEXT NOT NULL,
    batch_id TEXT,
    model TEXT NOT NULL,
    -- A number in decimal.
    threshold TEXT NOT NULL,
    detect_holes BOOLEAN NOT NULL,
    priority BIGINT NOT NULL,
    -- Users take turns: of those with one priority, whose turn is lower comes first.
    turn BIGINT NOT NULL,
    -- Its place among those that were enqueued together, from 1.
    place BIGINT NOT NULL,
    state TEXT NOT NULL,
    -- How often it was claimed, without those times that do not count.
    attempt BIGINT NOT NULL,
    -- Names one claim: raised by each, and whenever one is taken back.
    fence BIGINT NOT NULL,
    -- Not claimed before that.
    available_at BIGINT NOT NULL,
    -- Whose token has claimed it, how the worker calls himself, and until when he has it. NULL: nobody.
    holder TEXT,
    worker TEXT,
    claim_id TEXT,
    lease_until BIGINT,
    -- Past that nobody waits for the worker of a cancelled item.
    cancel_by BIGINT,
    cancelled_at BIGINT,
    cancel_reason TEXT,
    -- 'before_start', 'worker' or 'lease_expired'. NULL: it is not cancelled.
    how TEXT,
    error TEXT,
    -- The last report that counted, and what it led to: it may be sent again.
    reported_fence BIGINT,
    reported TEXT,
    reported_state TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT
) WITHOUT ROWID;

CREATE UNIQUE INDEX queue_item_round ON queue_item (image_id, round);
-- An image is enqueued once at a time; what is being cancelled does not count.
CREATE UNIQUE INDEX queue_item_active ON queue_item (image_id)
    WHERE state IN ('queued', 'processing');
CREATE INDEX queue_item_next ON queue_item (model, priority DESC, turn, created_at, place, id)
    WHERE state = 'queued';
CREATE INDEX queue_item_turn ON queue_item (priority, turn) WHERE state = 'queued';
CREATE INDEX queue_item_turns ON queue_item (user_id, priority, turn) WHERE state = 'queued';
CREATE INDEX queue_item_claimed ON queue_item (worker) WHERE state IN ('processing', 'cancelling');
CREATE INDEX queue_item_open ON queue_item (project_id, user_id)
    WHERE state IN ('queued', 'processing');
CREATE INDEX queue_item_open_of_user ON queue_item (user_id)
    WHERE state IN ('queued', 'processing');
CREATE INDEX queue_item_batch ON queue_item (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX queue_item_listing ON queue_item (project_id, created_at, place, id, state);
CREATE INDEX queue_item_finished ON queue_item (finished_at) WHERE finished_at IS NOT NULL;

-- How many items of a project wait and are processed: the same transactions change both.
CREATE TABLE queue_count (
    project_id TEXT NOT NULL PRIMARY KEY,
    queued BIGINT NOT NULL,
    processing BIGINT NOT NULL
) WITHOUT ROWID;

-- What the last completed item of an image has found.
CREATE TABLE queue_result (
    image_id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    model TEXT NOT NULL,
    threshold TEXT NOT NULL,
    detect_holes BOOLEAN NOT NULL,
    -- In JSON, as it is served.
    report TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX queue_result_by_project ON queue_result (project_id, image_id);
