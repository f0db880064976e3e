//! The log of deliveries: every attempt, what was given up, and sending it again.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

use super::fault::Fault;
use super::writer::Transaction;
use super::{deliveries, receivers, rows};
use crate::clock::Timestamp;
use crate::job::{DeliveryAttempt, DeliveryId, DeliveryRecord, DeliveryStatus, Job, JobId, Receiver};
use crate::store::{DeadLetters, Redelivered};

/// The columns of a [`DeliveryRecord`].
const COLUMNS: &str = "id, job, event, url, status, attempt, created_at, ended_at, claimed, next_attempt_at";

/// Deliveries of a job, newest first.
pub(super) fn of_job_query() -> String {
    format!("SELECT {COLUMNS} FROM deliveries INDEXED BY deliveries_by_job WHERE job = ?1 ORDER BY id DESC")
}

/// Deliveries that were given up, newest first.
pub(super) fn dead_query(filter: &DeadLetters) -> String {
    let (index, receiver) = match filter.receiver {
        Some(_) => ("deliveries_dead_by_receiver", "receiver = ?1"),
        None => ("deliveries_dead", "?1 IS NULL"),
    };
    let before = if filter.before.is_some() { "id < ?2" } else { "?2 IS NULL" };
    format!(
        "SELECT {COLUMNS} FROM deliveries INDEXED BY {index} WHERE status = 'failed' AND {receiver} AND {before} \
         ORDER BY id DESC LIMIT ?3"
    )
}

/// Deliveries that were given up since a moment, oldest first.
pub(super) const DEAD_SINCE: &str = "SELECT id FROM deliveries INDEXED BY deliveries_dead_by_age \
     WHERE status = 'failed' AND ended_at >= ?1 AND (?2 IS NULL OR receiver = ?2) ORDER BY ended_at, id LIMIT ?3";

/// Attempts of a delivery, oldest first.
const ATTEMPTS: &str = "SELECT number, ended_at, latency_ms, response_status, error, answer FROM delivery_attempts \
     WHERE delivery = ?1 ORDER BY number";
/// The last one.
const LAST_ATTEMPT: &str = "SELECT number, ended_at, latency_ms, response_status, error, answer FROM delivery_attempts \
     WHERE delivery = ?1 ORDER BY number DESC LIMIT 1";

/// Adds an attempt to the log.
pub(super) fn write(tx: &Transaction<'_>, id: DeliveryId, attempt: &DeliveryAttempt) -> Result<(), Fault> {
    tx.prepare(
        "INSERT OR REPLACE INTO delivery_attempts (delivery, number, ended_at, latency_ms, response_status, error, answer) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        id.as_bytes(),
        attempt.number,
        attempt.ended_at.as_millis(),
        rows::signed(u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX)),
        attempt.response_status,
        attempt.error,
        (!attempt.answer.is_empty()).then_some(&attempt.answer[..]),
    ])?;
    Ok(())
}

/// Drops the log of a delivery that is being removed.
pub(super) fn remove(tx: &Transaction<'_>, id: [u8; 16]) -> Result<(), Fault> {
    tx.prepare("DELETE FROM delivery_attempts WHERE delivery = ?1")?.execute([id])?;
    Ok(())
}

/// See [`crate::store::JobStore::deliveries`].
pub(super) fn of_job(connection: &Connection, job: JobId) -> Result<Vec<DeliveryRecord>, Fault> {
    records(connection, &of_job_query(), params![job.as_bytes()], ATTEMPTS)
}

/// See [`crate::store::JobStore::dead_letters`].
pub(super) fn dead_letters(
    connection: &Connection,
    filter: &DeadLetters,
) -> Result<Vec<DeliveryRecord>, Fault> {
    let before = filter.before.map(|id| *id.as_bytes());
    let params = params![filter.receiver, before, rows::signed(filter.limit as u64)];
    records(connection, &dead_query(filter), params, LAST_ATTEMPT)
}

/// See [`crate::store::JobStore::failing_receivers`].
pub(super) fn failing_receivers(connection: &Connection, limit: usize) -> Result<Vec<Receiver>, Fault> {
    let mut statement = connection.prepare_cached(receivers::FAILING)?;
    let rows = statement.query_map([rows::signed(limit as u64)], receivers::decode)?;
    Ok(rows.collect::<rusqlite::Result<Vec<Receiver>>>()?)
}

/// Rows that can't be read are left out and logged.
fn records(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    attempts: &str,
) -> Result<Vec<DeliveryRecord>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match decode(row) {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!(%error, "a stored delivery can't be read; it is left out"),
        }
    }
    for record in &mut records {
        let mut statement = connection.prepare_cached(attempts)?;
        let rows = statement.query_map([record.id.as_bytes()], decode_attempt)?;
        record.attempts = rows.collect::<rusqlite::Result<Vec<DeliveryAttempt>>>()?;
    }
    Ok(records)
}

/// Reads [`COLUMNS`].
fn decode(row: &rusqlite::Row<'_>) -> Result<DeliveryRecord, Box<dyn std::error::Error>> {
    let moment = |millis: i64| Timestamp::from_millis(millis);
    let status = row.get_ref(4)?.as_str()?;
    let status = DeliveryStatus::from_name(status).ok_or_else(|| format!("status {status:?}"))?;
    let waits = status == DeliveryStatus::Pending && !row.get::<_, bool>(8)?;
    Ok(DeliveryRecord {
        id: DeliveryId::from_bytes(row.get(0)?),
        job: JobId::from_bytes(row.get(1)?),
        event: deliveries::event(row.get_ref(2)?.as_str()?)?,
        url: row.get(3)?,
        status,
        attempts_begun: row.get(5)?,
        created_at: moment(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(moment),
        next_attempt_at: waits.then_some(moment(row.get(9)?)),
        attempts: Vec::new(),
    })
}

fn decode_attempt(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeliveryAttempt> {
    let millis: i64 = row.get(2)?;
    Ok(DeliveryAttempt {
        number: row.get(0)?,
        ended_at: Timestamp::from_millis(row.get(1)?),
        latency: Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
        response_status: row.get(3)?,
        error: row.get(4)?,
        answer: row.get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from).unwrap_or_default(),
    })
}

/// See [`crate::store::JobStore::redeliver`].
pub(super) fn redeliver(tx: &mut Transaction<'_>, job: JobId, now: Timestamp) -> Result<Redelivered, Fault> {
    let Some(row) = rows::load(tx.connection(), job)? else {
        let is_gone = rows::gone(tx.connection(), job)?.is_some();
        return Ok(if is_gone { Redelivered::Gone } else { Redelivered::Unknown });
    };
    let last: Option<([u8; 16], bool)> = tx
        .prepare("SELECT id, claimed FROM deliveries INDEXED BY deliveries_by_job WHERE job = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([job.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match last {
        None => Redelivered::Nothing(Box::new(row.job)),
        Some((_, true)) => Redelivered::Due(Box::new(row.job)),
        Some((id, false)) => match send_again(tx, id, now)? {
            Some(job) => Redelivered::Due(Box::new(job)),
            None => Redelivered::Unknown,
        },
    })
}

/// See [`crate::store::JobStore::redeliver_dead_letters`].
pub(super) fn redeliver_dead_letters(
    tx: &mut Transaction<'_>,
    since: Timestamp,
    receiver: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Job>, Fault> {
    let dead = {
        let mut statement = tx.prepare(DEAD_SINCE)?;
        let params = params![since.as_millis(), receiver, rows::signed(limit as u64)];
        let rows = statement.query_map(params, |row| row.get(0))?;
        rows.collect::<rusqlite::Result<Vec<[u8; 16]>>>()?
    };
    let mut jobs = Vec::with_capacity(dead.len());
    for id in dead {
        jobs.extend(send_again(tx, id, now)?);
    }
    Ok(jobs)
}

/// Makes a delivery due that nobody is sending; its job.
fn send_again(tx: &mut Transaction<'_>, id: [u8; 16], now: Timestamp) -> Result<Option<Job>, Fault> {
    let known: Option<([u8; 16], String, String)> = tx
        .prepare("SELECT job, receiver, status FROM deliveries WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((job, receiver, before)) = known else { return Ok(None) };
    tx.prepare(
        "UPDATE deliveries SET status = 'pending', next_attempt_at = ?2, ended_at = NULL, schedule_from = attempt WHERE id = ?1",
    )?
    .execute(params![id, now.as_millis()])?;
    receivers::owe(tx, &receiver, now)?;
    let before = DeliveryStatus::from_name(&before).unwrap_or(DeliveryStatus::Failed);
    tx.counts.deliveries[before as usize] -= 1;
    tx.counts.deliveries[DeliveryStatus::Pending as usize] += 1;
    let Some(mut row) = rows::load(tx.connection(), JobId::from_bytes(job))? else { return Ok(None) };
    row.pending_deliveries += u32::from(before != DeliveryStatus::Pending);
    if row.announced == Some(DeliveryId::from_bytes(id)) {
        row.job.redelivered(now);
    }
    let status = row.job.status;
    rows::save(tx, &row, status, now)?;
    Ok(Some(row.job))
}
