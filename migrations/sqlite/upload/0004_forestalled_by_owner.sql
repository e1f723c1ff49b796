-- How many ids somebody has cancelled in advance is counted at each such cancel.
CREATE INDEX upload_forestalled_by_owner ON upload_forestalled (owner_id);
