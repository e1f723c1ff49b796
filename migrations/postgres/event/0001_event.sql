-- Feeds, and what has happened on each: written in the transaction that makes it happen.
CREATE TABLE feed (
    id TEXT NOT NULL PRIMARY KEY,
    -- Random. Tells a place in this feed from one in another database's feed of the same name.
    epoch TEXT NOT NULL,
    -- The sequence of the last event.
    head BIGINT NOT NULL,
    -- The sequence of the last event that has been trimmed away; 0 if none has.
    trimmed BIGINT NOT NULL
);

CREATE TABLE event (
    feed_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Milliseconds since the Unix epoch.
    time BIGINT NOT NULL,
    -- The whole event as it is delivered, in JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (feed_id, sequence)
);
