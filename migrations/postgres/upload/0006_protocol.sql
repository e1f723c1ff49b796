-- The protocol whose rules an upload follows: 'tus' or 'draft', the IETF draft.
ALTER TABLE upload ADD COLUMN protocol TEXT NOT NULL DEFAULT 'tus';
-- What its whole content is to have, if its sender has said so. Lower-case hexadecimal.
ALTER TABLE upload ADD COLUMN expected_sha256 TEXT;
