//! The verbs that change one job: load it, let [`Job`] decide, save it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::fault::Fault;
use super::rows::{self, Row};
use super::writer::Transaction;
use super::{deliveries, reads};
use crate::clock::Timestamp;
use crate::job::{Job, JobId, Lease, Render, Retention, SourceInfo, Status};
use crate::store::{
    ClaimRequest, Claimed, Extended, Finish, Found, IdempotencyKey, InlineKey, Inserted, NewJob, Removed,
    Retried,
};

/// Makes scheduled jobs claimable whose time has come, some at a time: a hundred thousand that come due at one moment must not hold up
/// everybody else's commits.
pub(super) const PROMOTE: &str = "UPDATE jobs SET due = 1 WHERE rowid IN (SELECT rowid FROM jobs INDEXED BY jobs_scheduled \
     WHERE status = 'queued' AND due = 0 AND run_at <= ?1 ORDER BY run_at LIMIT 512)";

/// One of the two waiting lines, in order.
pub(super) fn line_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_claimable \
         WHERE status = 'queued' AND due = 1 AND needs_fetch = ?1 ORDER BY priority DESC, id"
    )
}

/// Due jobs that have to run alone, oldest first.
pub(super) fn suspects_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_suspects \
         WHERE status = 'queued' AND due = 3 AND run_at <= ?1 ORDER BY id"
    )
}

/// See [`crate::store::JobStore::insert`].
pub(super) fn insert(tx: &mut Transaction<'_>, new: &NewJob) -> Result<Inserted, Fault> {
    let job = &new.job;
    if let Some(key) = &new.idempotency_key
        && let Some(known) = known_key(tx, key, job.created_at)?
    {
        return Ok(known);
    }
    if !rows::insert(tx, job)? {
        return Ok(match rows::load(tx.connection(), job.id)? {
            Some(row) => Inserted::Duplicate(row.job),
            None => Inserted::DuplicateGone(job.id),
        });
    }
    if let Some(bytes) = &new.inline_source {
        put_bytes(tx, job.id, &InlineKey::Source, bytes)?;
    }
    for (name, bytes) in &new.inline_assets {
        put_bytes(tx, job.id, &InlineKey::Asset(name.clone()), bytes)?;
    }
    if let Some(key) = &new.idempotency_key {
        tx.prepare(
            "INSERT OR REPLACE INTO idempotency_keys (key, fingerprint, job, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![key.key, key.fingerprint, job.id.as_bytes(), job.created_at.as_millis()])?;
    }
    Ok(Inserted::Created(job.clone()))
}

/// What a key that was used before decides, unless it is too old.
fn known_key(tx: &Transaction<'_>, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Inserted>, Fault> {
    let known: Option<([u8; 32], [u8; 16])> = tx
        .prepare("SELECT fingerprint, job FROM idempotency_keys WHERE key = ?1 AND created_at > ?2")?
        .query_row(params![key.key, now.minus(key.kept).as_millis()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((fingerprint, job)) = known else { return Ok(None) };
    if fingerprint != key.fingerprint {
        return Ok(Some(Inserted::Mismatch));
    }
    let id = JobId::from_bytes(job);
    Ok(Some(match rows::load(tx.connection(), id)? {
        Some(row) => Inserted::Duplicate(row.job),
        None => Inserted::DuplicateGone(id),
    }))
}

fn put_bytes(tx: &Transaction<'_>, id: JobId, key: &InlineKey, bytes: &Bytes) -> Result<(), Fault> {
    tx.prepare("INSERT OR REPLACE INTO inline_bytes (job, name, bytes) VALUES (?1, ?2, ?3)")?
        .execute(params![id.as_bytes(), key.name(), &bytes[..]])?;
    Ok(())
}

/// See [`crate::store::JobStore::claim`].
pub(super) fn claim(
    tx: &mut Transaction<'_>,
    request: ClaimRequest,
    now: Timestamp,
) -> Result<Vec<Claimed>, Fault> {
    tx.prepare(PROMOTE)?.execute([now.as_millis()])?;
    let mut chosen: Vec<Row> = Vec::new();
    let mut memory_left = request.memory_bytes_max;
    take_from_line(tx, false, request.ready_max, &mut chosen, |row| {
        let left = memory_left.checked_sub(row.job.memory_bytes);
        memory_left = left.unwrap_or(memory_left);
        left.is_some()
    })?;
    take_from_line(tx, true, request.fetch_max, &mut chosen, |_| true)?;
    chosen.sort_by_key(|row| (-i16::from(row.job.spec.priority), row.job.id));
    let mut claimed = Vec::with_capacity(chosen.len());
    for mut row in chosen {
        row.job.claim(now);
        claimed.push(hand_out(tx, row, request.worker, request.lease_duration, now)?);
    }
    Ok(claimed)
}

/// See [`crate::store::JobStore::claim_suspect`].
pub(super) fn claim_suspect(
    tx: &mut Transaction<'_>,
    worker: Uuid,
    is_alone: bool,
    lease_duration: Duration,
    now: Timestamp,
) -> Result<Option<Claimed>, Fault> {
    let deaths = |row: &Row| row.job.suspicion.map_or(0, |suspicion| suspicion.deaths);
    let mut worst: Option<Row> = None;
    let damaged = rows::scan(tx.connection(), &suspects_query(), [now.as_millis()], |row| {
        // They come oldest first.
        if worst.as_ref().is_none_or(|worst| deaths(&row) > deaths(worst)) {
            worst = Some(row);
        }
        true
    })?;
    rows::set_aside(tx, &damaged)?;
    let Some(mut row) = worst else { return Ok(None) };
    row.job.claim_suspect(is_alone, now);
    hand_out(tx, row, worker, lease_duration, now).map(Some)
}

/// Saves a job whose attempt has just begun.
fn hand_out(
    tx: &mut Transaction<'_>,
    mut row: Row,
    worker: Uuid,
    lease_duration: Duration,
    now: Timestamp,
) -> Result<Claimed, Fault> {
    row.lease = Some((worker, now.plus(lease_duration)));
    rows::save(tx, &row, Status::Queued, now)?;
    let lease = Lease { job: row.job.id, attempt: row.job.attempt, worker };
    let inline = row.job.source.as_ref().is_some_and(|source| source.inline);
    let inline_source = match inline {
        true => reads::inline_bytes(tx.connection(), row.job.id, &InlineKey::Source)?,
        false => None,
    };
    Ok(Claimed { job: row.job, lease, inline_source })
}

/// Takes up to `most` jobs from the head of a line, as long as they fit.
fn take_from_line(
    tx: &mut Transaction<'_>,
    needs_fetch: bool,
    most: usize,
    chosen: &mut Vec<Row>,
    mut fits: impl FnMut(&Row) -> bool,
) -> Result<(), Fault> {
    let mut room = most;
    if room == 0 {
        return Ok(());
    }
    let damaged = rows::scan(tx.connection(), &line_query(), [needs_fetch], |row| {
        let taken = fits(&row);
        if taken {
            chosen.push(row);
            room -= 1;
        }
        taken && room > 0
    })?;
    rows::set_aside(tx, &damaged)
}

/// See [`crate::store::JobStore::extend`].
pub(super) fn extend(
    tx: &mut Transaction<'_>,
    leases: &[Lease],
    lease_duration: Duration,
    now: Timestamp,
) -> Result<Vec<Extended>, Fault> {
    let until = now.plus(lease_duration).as_millis();
    let mut statement = tx.prepare(
        "UPDATE jobs SET worker = ?3, lease_until = ?4 WHERE id = ?1 AND attempt = ?2 AND status = 'running' \
         RETURNING cancel_requested",
    )?;
    let mut answers = Vec::with_capacity(leases.len());
    for lease in leases {
        let params = params![lease.job.as_bytes(), lease.attempt, lease.worker.as_bytes(), until];
        let cancel_requested: Option<bool> = statement.query_row(params, |row| row.get(0)).optional()?;
        answers.push(match cancel_requested {
            Some(false) => Extended::Held,
            Some(true) => Extended::CancelRequested,
            None => Extended::Lost,
        });
    }
    Ok(answers)
}

fn held(tx: &Transaction<'_>, lease: &Lease) -> Result<Option<Row>, Fault> {
    Ok(rows::load(tx.connection(), lease.job)?.filter(|row| row.job.is_held_by(lease)))
}

/// See [`crate::store::JobStore::set_source`].
pub(super) fn set_source(
    tx: &mut Transaction<'_>,
    lease: &Lease,
    source: SourceInfo,
    inline: Option<&Bytes>,
    memory_bytes: u64,
) -> Result<Option<Job>, Fault> {
    let Some(mut row) = held(tx, lease)? else { return Ok(None) };
    let spec = Arc::clone(&row.job.spec);
    row.job.set_source(source, memory_bytes);
    if let Some(bytes) = inline {
        put_bytes(tx, lease.job, &InlineKey::Source, bytes)?;
    }
    // A running job is not due, whatever the time.
    rows::save(tx, &row, Status::Running, row.job.run_at)?;
    if !Arc::ptr_eq(&spec, &row.job.spec) {
        rows::save_spec(tx, &row.job)?;
    }
    Ok(Some(row.job))
}

/// See [`crate::store::JobStore::finish`].
pub(super) fn finish(
    tx: &mut Transaction<'_>,
    finish: Finish,
    retention: &Retention,
    render: &Render,
    now: Timestamp,
) -> Result<Option<Job>, Fault> {
    let Some(mut row) = held(tx, &finish.lease)? else { return Ok(None) };
    row.job.finish(finish.outcome, finish.attempt, retention, now);
    if row.job.status == Status::Succeeded {
        for (name, bytes) in finish.inline_outputs {
            put_bytes(tx, row.job.id, &InlineKey::Output(name), &bytes)?;
        }
    }
    end(tx, row, Status::Running, render, now).map(Some)
}

/// Saves a job that has just left `before`, with its announcement if it has ended.
pub(super) fn end(
    tx: &mut Transaction<'_>,
    mut row: Row,
    before: Status,
    render: &Render,
    now: Timestamp,
) -> Result<Job, Fault> {
    if let Some(new) = row.job.announce(render, now) {
        deliveries::insert(tx, row.job.id, &new, now)?;
        row.announced = Some(new.id);
        row.pending_deliveries += 1;
    }
    row.lease = None;
    rows::save(tx, &row, before, now)?;
    Ok(row.job)
}

/// See [`crate::store::JobStore::cancel`].
pub(super) fn cancel(
    tx: &mut Transaction<'_>,
    id: JobId,
    retention: &Retention,
    render: &Render,
    now: Timestamp,
) -> Result<Option<Found>, Fault> {
    let Some(mut row) = rows::load(tx.connection(), id)? else {
        return Ok(rows::is_gone(tx.connection(), id)?.then_some(Found::Gone));
    };
    let before = row.job.status;
    let job = if !row.job.cancel(retention, now) {
        row.job
    } else if row.job.status == Status::Running {
        rows::save(tx, &row, before, now)?;
        row.job
    } else {
        end(tx, row, before, render, now)?
    };
    Ok(Some(Found::Job(Box::new(job))))
}

/// See [`crate::store::JobStore::retry`].
pub(super) fn retry(tx: &mut Transaction<'_>, id: JobId, now: Timestamp) -> Result<Retried, Fault> {
    let Some(mut row) = rows::load(tx.connection(), id)? else {
        let gone = rows::is_gone(tx.connection(), id)?;
        return Ok(if gone { Retried::Gone } else { Retried::Unknown });
    };
    let before = row.job.status;
    if !row.job.retry(now) {
        return Ok(Retried::WrongState(Box::new(row.job)));
    }
    row.announced = None;
    rows::save(tx, &row, before, now)?;
    Ok(Retried::Queued(Box::new(row.job)))
}

/// See [`crate::store::JobStore::delete`].
pub(super) fn delete(tx: &mut Transaction<'_>, id: JobId, now: Timestamp) -> Result<Option<Removed>, Fault> {
    match rows::load(tx.connection(), id)? {
        Some(row) => remove(tx, row, now).map(Some),
        None => Ok(None),
    }
}

/// Removes a job with all that hangs on it, leaving a tombstone.
pub(super) fn remove(tx: &mut Transaction<'_>, row: Row, now: Timestamp) -> Result<Removed, Fault> {
    let id = row.job.id;
    deliveries::remove_of(tx, &row)?;
    tx.prepare("DELETE FROM inline_bytes WHERE job = ?1")?.execute([id.as_bytes()])?;
    rows::remove(tx, &row.job)?;
    tx.prepare("INSERT OR REPLACE INTO tombstones (job, removed_at) VALUES (?1, ?2)")?
        .execute(params![id.as_bytes(), now.as_millis()])?;
    tx.freed = true;
    Ok(Removed { job: row.job })
}
