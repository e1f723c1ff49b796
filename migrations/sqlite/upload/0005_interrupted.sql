-- Since when the sender of an unfinished upload has been gone, as its feed tells it.
ALTER TABLE upload ADD COLUMN interrupted_at BIGINT;
