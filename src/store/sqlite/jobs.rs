//! The verbs that change one job: load it, let [`Job`] decide, save it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::deliveries;
use super::fault::Fault;
use super::rows::{self, Row};
use super::writer::Transaction;
use crate::clock::Timestamp;
use crate::job::{Job, JobId, Lease, Render, Retention, SourceInfo, Status};
use crate::store::{Extended, Finish, Found, IdempotencyKey, InlineKey, Inserted, NewJob, Removed, Retried};

/// See [`crate::store::JobStore::insert`].
pub(super) fn insert(tx: &mut Transaction<'_>, new: &NewJob) -> Result<Inserted, Fault> {
    let job = &new.job;
    let owner = rows::owner_name(job.owner.as_ref());
    if let Some(key) = &new.idempotency_key
        && let Some(known) = known_key(tx, owner, key, job.created_at)?
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
            "INSERT OR REPLACE INTO idempotency_keys (owner, key, fingerprint, job, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![owner, key.key, key.fingerprint, job.id.as_bytes(), job.created_at.as_millis()])?;
    }
    Ok(Inserted::Created(job.clone()))
}

/// What a key that was used before decides, unless it is too old.
fn known_key(
    tx: &Transaction<'_>,
    owner: &str,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Option<Inserted>, Fault> {
    let known: Option<([u8; 32], [u8; 16])> = tx
        .prepare(
            "SELECT fingerprint, job FROM idempotency_keys WHERE owner = ?1 AND key = ?2 AND created_at > ?3",
        )?
        .query_row(params![owner, key.key, now.minus(key.kept).as_millis()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
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
        return Ok(rows::gone(tx.connection(), id)?.map(Found::Gone));
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
        let gone = rows::gone(tx.connection(), id)?;
        return Ok(if gone.is_some() { Retried::Gone } else { Retried::Unknown });
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
    tx.prepare("INSERT OR REPLACE INTO tombstones (job, removed_at, owner) VALUES (?1, ?2, ?3)")?
        .execute(params![id.as_bytes(), now.as_millis(), rows::owner_name(row.job.owner.as_ref())])?;
    tx.freed = true;
    Ok(Removed { job: row.job })
}
