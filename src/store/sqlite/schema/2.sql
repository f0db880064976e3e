-- `due` is 3 for a job that was running when the process died: it waits to run alone.
CREATE INDEX jobs_suspects ON jobs (id) WHERE status = 'queued' AND due = 3;

-- So that a receiver with no free place can be passed over with all its backlog.
CREATE INDEX deliveries_by_receiver ON deliveries (receiver, next_attempt_at, id) WHERE status = 'pending'
