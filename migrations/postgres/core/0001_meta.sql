-- Facts about the store as a whole: its identity, and the boot it last ran under.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
