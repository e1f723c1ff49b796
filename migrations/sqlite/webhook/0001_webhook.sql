-- How far each webhook is, and what has to be tried again.
CREATE TABLE webhook (
    name TEXT NOT NULL PRIMARY KEY,
    -- A place in its feeds: whatever comes before it is delivered, or in webhook_delivery.
    cursor TEXT NOT NULL
);

CREATE TABLE webhook_delivery (
    webhook TEXT NOT NULL REFERENCES webhook (name) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    -- The whole event, in JSON: the log may be trimmed before this is delivered.
    body TEXT NOT NULL,
    -- That have failed.
    attempts BIGINT NOT NULL,
    -- Milliseconds since the Unix epoch.
    next_at BIGINT NOT NULL,
    PRIMARY KEY (webhook, event_id)
) WITHOUT ROWID;

CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook, next_at);
