-- Columns stand beside the JSON for what is searched, fenced or counted; nothing is kept twice.
CREATE TABLE jobs (
    id BLOB NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    tag TEXT,
    memory_bytes INTEGER NOT NULL,
    needs_fetch INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    -- Of a queued job: 0 until run_at has come, 1 then, 2 when the row can't be read and is set aside.
    due INTEGER NOT NULL,
    -- Of the running attempt.
    worker BLOB,
    lease_until INTEGER,
    expires_at INTEGER,
    -- The delivery that the job shows, and how many of its deliveries have not ended.
    announced BLOB,
    pending_deliveries INTEGER NOT NULL,
    -- The rest of the record as JSON; state changes, spec does not, but for erased source headers.
    state TEXT NOT NULL,
    spec TEXT NOT NULL
) STRICT;

CREATE INDEX jobs_claimable ON jobs (needs_fetch, priority DESC, id) WHERE status = 'queued' AND due = 1;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE status = 'queued' AND due = 0;
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX jobs_expiring ON jobs (expires_at, id) WHERE expires_at IS NOT NULL AND pending_deliveries = 0;
CREATE INDEX jobs_by_status ON jobs (status, id);
CREATE INDEX jobs_by_tag ON jobs (tag, id) WHERE tag IS NOT NULL;
CREATE INDEX jobs_by_tag_and_status ON jobs (tag, status, id) WHERE tag IS NOT NULL;

-- Bytes of small sources (the empty name) and outputs (their name).
CREATE TABLE inline_bytes (
    job BLOB NOT NULL,
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (job, name)
) STRICT;

CREATE TABLE deliveries (
    id BLOB NOT NULL PRIMARY KEY,
    job BLOB NOT NULL,
    event TEXT NOT NULL,
    url TEXT NOT NULL,
    receiver TEXT NOT NULL,
    body BLOB NOT NULL,
    status TEXT NOT NULL,
    -- Number of the last attempt, and whether it is under way.
    attempt INTEGER NOT NULL,
    claimed INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    response_status INTEGER,
    error TEXT,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

CREATE INDEX deliveries_due ON deliveries (next_attempt_at, id, receiver) WHERE status = 'pending';
CREATE INDEX deliveries_by_job ON deliveries (job, id);
CREATE INDEX deliveries_ended ON deliveries (ended_at, id, status) WHERE ended_at IS NOT NULL;
CREATE INDEX deliveries_claimed ON deliveries (id) WHERE claimed = 1;

CREATE TABLE idempotency_keys (
    key TEXT NOT NULL PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    job BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at, key);

CREATE TABLE tombstones (
    job BLOB NOT NULL PRIMARY KEY,
    removed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_by_age ON tombstones (removed_at, job);

-- One row that a health check rewrites.
CREATE TABLE checks (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;

INSERT INTO checks (id, value) VALUES (1, 0)
