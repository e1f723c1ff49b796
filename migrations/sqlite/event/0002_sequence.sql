-- What can be made of the columns is no longer stored as well, and the last sequence of a feed is
-- that of its last event. What had been told before counts as trimmed.
UPDATE feed SET trimmed = head;
DELETE FROM event;
ALTER TABLE feed DROP COLUMN head;
ALTER TABLE event DROP COLUMN body;
ALTER TABLE event ADD COLUMN id TEXT NOT NULL DEFAULT '';
-- In JSON.
ALTER TABLE event ADD COLUMN data TEXT NOT NULL DEFAULT '';
