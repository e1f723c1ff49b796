-- Who ended it: 'sender' or 'other'. NULL: nobody did, or nobody knows.
ALTER TABLE upload ADD COLUMN ended_by TEXT;

-- Ids that were cancelled before anything was made under them. Not longer than a tombstone.
CREATE TABLE upload_forestalled (
    id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    reason TEXT,
    cancelled_at BIGINT NOT NULL,
    PRIMARY KEY (id, owner_id)
) WITHOUT ROWID;

CREATE INDEX upload_forestalled_by_time ON upload_forestalled (cancelled_at);
