-- Projects, and whom they are shared with. Times are milliseconds since the Unix epoch.
CREATE TABLE project (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT,
    -- 1: where the owner's uploads are that name no project. He has one such at most.
    is_default BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Since when it is going for good: nobody sees it any more, and what is in it is removed first.
    deleted_at BIGINT
) WITHOUT ROWID;

CREATE INDEX project_by_owner ON project (owner_id, created_at, id);
CREATE UNIQUE INDEX project_default ON project (owner_id)
    WHERE is_default = 1 AND deleted_at IS NULL;
CREATE INDEX project_by_age ON project (created_at, id);
CREATE INDEX project_going ON project (id) WHERE deleted_at IS NOT NULL;

CREATE TABLE share (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    -- With whom. NULL while only the address is known: whoever proves to have it may accept.
    user_id TEXT,
    -- In lower case.
    email TEXT,
    -- 'pending', 'accepted' or 'revoked'.
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE UNIQUE INDEX share_with_user ON share (project_id, user_id)
    WHERE status <> 'revoked' AND user_id IS NOT NULL;
CREATE UNIQUE INDEX share_with_email ON share (project_id, email)
    WHERE status = 'pending' AND user_id IS NULL;
CREATE INDEX share_by_user ON share (user_id, project_id) WHERE status = 'accepted';
CREATE INDEX share_invited_user ON share (user_id) WHERE status = 'pending';
CREATE INDEX share_invited_email ON share (email) WHERE status = 'pending';
CREATE INDEX share_revoked ON share (updated_at) WHERE status = 'revoked';
CREATE INDEX share_by_project ON share (project_id, created_at, id);
