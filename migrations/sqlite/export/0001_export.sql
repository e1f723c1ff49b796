-- Exports. Times are milliseconds since the Unix epoch.
CREATE TABLE export_job (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    -- Who has asked for it.
    user_id TEXT NOT NULL,
    state TEXT NOT NULL,
    -- What it is to have, in JSON.
    options TEXT NOT NULL,
    -- The images that were named, a JSON array of ids. NULL: all of the project.
    selected TEXT,
    -- As its archive is called.
    title TEXT NOT NULL,
    -- How often it was begun. Names the one that is under way.
    attempt BIGINT NOT NULL,
    -- A JSON array of sentences for people.
    warnings TEXT NOT NULL,
    error TEXT,
    -- Of the archive; NULL until it is whole.
    bytes BIGINT,
    cancelled_at BIGINT,
    cancel_reason TEXT,
    -- What was freed when the archive, or what there was of it, was removed. NULL: there may be some.
    released_bytes BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    expires_at BIGINT
) WITHOUT ROWID;

-- A user exports a project once at a time; what is being cancelled does not count.
CREATE UNIQUE INDEX export_job_active ON export_job (project_id, user_id)
    WHERE state IN ('queued', 'processing');
CREATE INDEX export_job_next ON export_job (created_at, id) WHERE state = 'queued';
CREATE INDEX export_job_listing ON export_job (project_id, created_at, id);
CREATE INDEX export_job_remains ON export_job (state, expires_at) WHERE released_bytes IS NULL;
CREATE INDEX export_job_kept ON export_job (project_id, user_id) WHERE released_bytes IS NULL;
CREATE INDEX export_job_finished ON export_job (finished_at) WHERE finished_at IS NOT NULL;
