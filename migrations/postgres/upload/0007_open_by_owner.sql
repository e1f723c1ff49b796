-- How many unfinished uploads somebody has is counted at each creation where that is limited.
CREATE INDEX upload_open_by_owner ON upload (owner_id) WHERE state = 'uploading';
