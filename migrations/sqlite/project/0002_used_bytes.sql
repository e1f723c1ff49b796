-- What the uploads of a project are charged, in bytes. Kept only while there is a quota: a server
-- with one reckons it anew when it starts.
ALTER TABLE project ADD COLUMN used_bytes BIGINT NOT NULL DEFAULT 0;
