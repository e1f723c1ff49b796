-- What the sweeps of every second and the walk at the start look at, and nothing else.

-- Since when the bytes of a deleted part are kept for a final upload. NULL: they are not.
ALTER TABLE upload ADD COLUMN held_at BIGINT;

-- The time of a complete part stands still while a final upload has it, and one that waits for its
-- parts has no time of its own.
UPDATE upload SET expires_at = NULL WHERE kind = 'final' OR (state = 'completed' AND id IN
    (SELECT use.part_id FROM upload_part use JOIN upload whole ON whole.id = use.final_id
     WHERE whole.state IN ('uploading', 'completed')));
UPDATE upload SET held_at = ended_at WHERE state = 'deleting' AND id IN
    (SELECT use.part_id FROM upload_part use JOIN upload whole ON whole.id = use.final_id
     WHERE whole.state IN ('uploading', 'completed'));

DROP INDEX upload_expiring;
DROP INDEX upload_ended;
CREATE INDEX upload_by_expiry ON upload (expires_at, id) WHERE expires_at IS NOT NULL;
CREATE INDEX upload_releasable ON upload (ended_at, id)
    WHERE ended_at IS NOT NULL AND released_bytes IS NULL AND held_at IS NULL;
CREATE INDEX upload_tombstone ON upload (ended_at) WHERE released_bytes IS NOT NULL;
CREATE INDEX upload_open ON upload (id) WHERE state = 'uploading' AND kind <> 'final';
