-- What receivers of webhooks have in common: the earliest moment at which something is owed to one, and whether it takes anything.
CREATE TABLE receivers (
    name TEXT NOT NULL PRIMARY KEY,
    -- Of its pending deliveries, the earliest; NULL without any.
    next_due INTEGER,
    failing_since INTEGER,
    disabled_at INTEGER,
    attempted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO receivers (name, next_due, attempted_at)
    SELECT receiver, min(next_attempt_at), max(created_at) FROM deliveries WHERE status = 'pending' GROUP BY receiver;

CREATE INDEX receivers_due ON receivers (next_due, name) WHERE next_due IS NOT NULL AND failing_since IS NULL;
CREATE INDEX receivers_failing_due ON receivers (next_due, name) WHERE next_due IS NOT NULL AND failing_since IS NOT NULL;
CREATE INDEX receivers_failing ON receivers (name) WHERE failing_since IS NOT NULL;
CREATE INDEX receivers_idle ON receivers (attempted_at) WHERE next_due IS NULL;

-- The attempt after which the schedule began anew, because somebody asked for the delivery to be sent again.
ALTER TABLE deliveries ADD COLUMN schedule_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN trace_parent TEXT;

CREATE INDEX deliveries_dead ON deliveries (id) WHERE status = 'failed';
CREATE INDEX deliveries_dead_by_receiver ON deliveries (receiver, id) WHERE status = 'failed';
CREATE INDEX deliveries_dead_by_age ON deliveries (ended_at, id, receiver) WHERE status = 'failed';

-- One row for each recorded attempt, with the beginning of the receiver's answer.
CREATE TABLE delivery_attempts (
    delivery BLOB NOT NULL,
    number INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    latency_ms INTEGER NOT NULL,
    response_status INTEGER,
    error TEXT,
    answer BLOB,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID
