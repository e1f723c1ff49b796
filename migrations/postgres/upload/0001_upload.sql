-- Uploads, and what final uploads are made of. Times are milliseconds since the Unix epoch.
CREATE TABLE upload (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    committed BIGINT NOT NULL,
    length BIGINT,
    metadata TEXT NOT NULL,
    concat TEXT,
    digest BYTEA,
    sha256 TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT,
    expires_at BIGINT,
    ended_at BIGINT,
    end_reason TEXT,
    released_bytes BIGINT
);

CREATE INDEX upload_listing ON upload (project_id, created_at, id);
CREATE INDEX upload_expiring ON upload (expires_at) WHERE expires_at IS NOT NULL;
-- Ended uploads whose blob may still be there, and tombstones.
CREATE INDEX upload_ended ON upload (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX upload_undigested ON upload (completed_at)
    WHERE kind = 'final' AND state = 'completed' AND sha256 IS NULL;

CREATE TABLE upload_part (
    final_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    part_id TEXT NOT NULL,
    PRIMARY KEY (final_id, position)
);

CREATE INDEX upload_part_by_part ON upload_part (part_id);
