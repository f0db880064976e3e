-- Id of the API key that submitted the job; empty of a job that came without one.
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE tombstones ADD COLUMN owner TEXT NOT NULL DEFAULT '';

-- Every owner's jobs wait in a line of their own.
DROP INDEX jobs_claimable;
CREATE INDEX jobs_claimable ON jobs (owner, needs_fetch, priority DESC, id) WHERE status = 'queued' AND due = 1;

-- Lists of one owner's jobs; jobs without an owner cost nothing here.
CREATE INDEX jobs_by_owner ON jobs (owner, id) WHERE owner <> '';
CREATE INDEX jobs_by_owner_and_status ON jobs (owner, status, id) WHERE owner <> '';
CREATE INDEX jobs_by_owner_and_tag ON jobs (owner, tag, id) WHERE owner <> '' AND tag IS NOT NULL;
CREATE INDEX jobs_by_owner_tag_and_status ON jobs (owner, tag, status, id) WHERE owner <> '' AND tag IS NOT NULL;

-- The same Idempotency-Key of two owners is two keys.
CREATE TABLE owned_idempotency_keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    job BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
INSERT INTO owned_idempotency_keys SELECT '', key, fingerprint, job, created_at FROM idempotency_keys;
DROP TABLE idempotency_keys;
ALTER TABLE owned_idempotency_keys RENAME TO idempotency_keys;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at, owner, key)
