//! Deliveries: stored with the end of their job, claimed, finished, dropped.
//!
//! The attempt's number is the fence, `claimed` keeps one attempt from being finished twice. A claim moves `next_attempt_at` to the end of
//! its lease, so that what a dead process had claimed comes due by itself.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::fault::Fault;
use super::rows::{self, Row};
use super::writer::Transaction;
use crate::clock::Timestamp;
use crate::job::{Delivery, DeliveryId, DeliveryResult, DeliveryStatus, Event, Job, JobId, NewDelivery};

/// Due deliveries with their receivers, from the index alone.
pub(super) const DUE: &str = "SELECT next_attempt_at, id, receiver FROM deliveries INDEXED BY deliveries_due \
     WHERE status = 'pending' AND next_attempt_at <= ?1 ORDER BY next_attempt_at, id";
/// Due deliveries of one receiver.
pub(super) const DUE_OF_RECEIVER: &str = "SELECT next_attempt_at, id FROM deliveries INDEXED BY deliveries_by_receiver \
     WHERE status = 'pending' AND receiver = ?1 AND next_attempt_at <= ?2 ORDER BY next_attempt_at, id LIMIT ?3";
/// The next receiver in the alphabet to whom something is owed.
pub(super) const NEXT_RECEIVER: &str = "SELECT receiver FROM deliveries INDEXED BY deliveries_by_receiver \
     WHERE status = 'pending' AND receiver > ?1 ORDER BY receiver LIMIT 1";
/// Due deliveries passed over, because their receivers are to be left out, before each other receiver is looked up by name.
const PASSED_OVER_MAX: usize = 512;

/// When a delivery is due, and its id: the order of claiming.
type Due = (i64, [u8; 16]);

/// The due deliveries to hand out, oldest due first.
fn due(
    tx: &Transaction<'_>,
    limit: usize,
    except_receivers: &[String],
    now: Timestamp,
) -> Result<Vec<Due>, Fault> {
    let mut chosen: Vec<Due> = Vec::new();
    let mut passed_over = 0;
    let mut statement = tx.prepare(DUE)?;
    let mut rows = statement.query([now.as_millis()])?;
    while chosen.len() < limit {
        let Some(row) = rows.next()? else { return Ok(chosen) };
        let receiver = row.get_ref(2)?.as_str().unwrap_or_default();
        if !except_receivers.iter().any(|except| except == receiver) {
            chosen.push((row.get(0)?, row.get(1)?));
            continue;
        }
        passed_over += 1;
        if passed_over > PASSED_OVER_MAX {
            return due_by_receiver(tx, limit, except_receivers, now);
        }
    }
    Ok(chosen)
}

/// The same whatever is owed to those who are left out: as many steps as there are receivers.
fn due_by_receiver(
    tx: &Transaction<'_>,
    limit: usize,
    except_receivers: &[String],
    now: Timestamp,
) -> Result<Vec<Due>, Fault> {
    let mut chosen: Vec<Due> = Vec::new();
    let (mut next, mut due) = (tx.prepare(NEXT_RECEIVER)?, tx.prepare(DUE_OF_RECEIVER)?);
    let mut last = String::new();
    while let Some(receiver) = next.query_row([&last], |row| row.get::<_, String>(0)).optional()? {
        if !except_receivers.contains(&receiver) {
            let params = params![receiver, now.as_millis(), rows::signed(limit as u64)];
            let rows = due.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?;
            chosen.extend(rows.collect::<rusqlite::Result<Vec<Due>>>()?);
        }
        last = receiver;
    }
    chosen.sort_unstable();
    chosen.truncate(limit);
    Ok(chosen)
}

/// Stores a delivery that is due at once.
pub(super) fn insert(
    tx: &mut Transaction<'_>,
    job: JobId,
    new: &NewDelivery,
    now: Timestamp,
) -> Result<(), Fault> {
    tx.prepare(
        "INSERT INTO deliveries (id, job, event, url, receiver, body, status, attempt, claimed, next_attempt_at, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', 0, 0, ?7, ?7)",
    )?
    .execute(params![
        new.id.as_bytes(),
        job.as_bytes(),
        new.event.name(),
        new.url,
        new.receiver,
        &new.body[..],
        now.as_millis()
    ])?;
    tx.counts.deliveries[DeliveryStatus::Pending as usize] += 1;
    Ok(())
}

/// Hands out due deliveries under a lease.
pub(super) fn claim(
    tx: &mut Transaction<'_>,
    limit: usize,
    except_receivers: &[String],
    lease_duration: Duration,
    now: Timestamp,
) -> Result<Vec<Delivery>, Fault> {
    let mut claimed = Vec::new();
    for (_, id) in due(tx, limit, except_receivers, now)? {
        match claim_one(tx, id, now.plus(lease_duration)) {
            Ok(delivery) => claimed.push(delivery),
            Err(fault) if fault.is_damage() => {
                let delivery = DeliveryId::from_bytes(id);
                tracing::error!(delivery.id = %delivery, error = ?fault, "a stored delivery can't be read; it is given up");
                give_up(tx, id, now)?;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(claimed)
}

fn claim_one(tx: &Transaction<'_>, id: [u8; 16], until: Timestamp) -> Result<Delivery, Fault> {
    let mut statement = tx.prepare(
        "UPDATE deliveries SET attempt = attempt + 1, claimed = 1, next_attempt_at = ?2 WHERE id = ?1 \
         RETURNING job, event, url, receiver, body, attempt, \
         coalesce((SELECT owner FROM jobs WHERE jobs.id = job), '')",
    )?;
    let mut rows = statement.query(params![id, until.as_millis()])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let read = || -> Result<Delivery, Box<dyn std::error::Error>> {
        let event = row.get_ref(1)?.as_str()?;
        Ok(Delivery {
            id: DeliveryId::from_bytes(id),
            job: JobId::from_bytes(row.get(0)?),
            owner: rows::read_owner(row, 6)?,
            event: Event::from_name(event).ok_or_else(|| format!("event {event:?}"))?,
            url: row.get(2)?,
            receiver: row.get(3)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
            attempt: row.get(5)?,
        })
    };
    read().map_err(|error| Fault::Damaged(format!("delivery: {error}")))
}

/// Ends a delivery that can't be read, so that it neither comes due again nor keeps its job for ever.
fn give_up(tx: &mut Transaction<'_>, id: [u8; 16], now: Timestamp) -> Result<(), Fault> {
    tx.prepare("UPDATE deliveries SET status = 'failed', claimed = 0, ended_at = ?2 WHERE id = ?1")?
        .execute(params![id, now.as_millis()])?;
    tx.prepare(
        "UPDATE jobs SET pending_deliveries = max(0, pending_deliveries - 1) \
         WHERE id = (SELECT job FROM deliveries WHERE id = ?1)",
    )?
    .execute([id])?;
    tx.counts.deliveries[DeliveryStatus::Pending as usize] -= 1;
    tx.counts.deliveries[DeliveryStatus::Failed as usize] += 1;
    Ok(())
}

/// Records how an attempt ended.
pub(super) fn finish(
    tx: &mut Transaction<'_>,
    id: DeliveryId,
    attempt: u32,
    result: &DeliveryResult,
    now: Timestamp,
) -> Result<Option<Job>, Fault> {
    let ended = result.status != DeliveryStatus::Pending;
    let job: Option<[u8; 16]> = tx
        .prepare(
            "UPDATE deliveries SET claimed = 0, status = ?3, next_attempt_at = ?4, response_status = ?5, error = ?6, \
             ended_at = ?7 WHERE id = ?1 AND attempt = ?2 AND claimed = 1 RETURNING job",
        )?
        .query_row(
            params![
                id.as_bytes(),
                attempt,
                result.status.name(),
                result.next_attempt_at.unwrap_or(now).as_millis(),
                result.response_status,
                result.error,
                ended.then_some(now.as_millis()),
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(job) = job else { return Ok(None) };
    if ended {
        tx.counts.deliveries[DeliveryStatus::Pending as usize] -= 1;
        tx.counts.deliveries[result.status as usize] += 1;
    }
    let Some(mut row) = rows::load(tx.connection(), JobId::from_bytes(job))? else { return Ok(None) };
    if ended {
        row.pending_deliveries = row.pending_deliveries.saturating_sub(1);
    }
    let shown = row.announced == Some(id);
    if shown {
        row.job.delivery_attempted(attempt, result);
    }
    if shown || ended {
        let status = row.job.status;
        rows::save(tx, &row, status, now)?;
    }
    Ok(Some(row.job))
}

/// Makes what others had claimed due at once: their processes are gone.
pub(super) fn release_claimed(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(), Fault> {
    tx.prepare(
        "UPDATE deliveries INDEXED BY deliveries_claimed SET claimed = 0, next_attempt_at = ?1 WHERE claimed = 1",
    )?
    .execute([now.as_millis()])?;
    Ok(())
}

/// Drops all deliveries of a job that is being removed.
pub(super) fn remove_of(tx: &mut Transaction<'_>, row: &Row) -> Result<(), Fault> {
    forget(tx, "DELETE FROM deliveries WHERE job = ?1 RETURNING status", params![row.job.id.as_bytes()])
}

/// Drops at most `limit` deliveries that ended at `before` or earlier.
pub(super) fn purge(tx: &mut Transaction<'_>, before: Timestamp, limit: usize) -> Result<(), Fault> {
    forget(tx, PURGE, params![before.as_millis(), rows::signed(limit as u64)])
}

/// Removes old deliveries that have ended.
pub(super) const PURGE: &str = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries INDEXED BY deliveries_ended \
     WHERE ended_at IS NOT NULL AND ended_at <= ?1 ORDER BY ended_at, id LIMIT ?2) RETURNING status";

fn forget(tx: &mut Transaction<'_>, sql: &str, params: impl rusqlite::Params) -> Result<(), Fault> {
    let mut statement = tx.prepare(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        tx.freed = true;
        if let Some(status) = DeliveryStatus::from_name(row.get_ref(0)?.as_str().unwrap_or_default()) {
            tx.counts.deliveries[status as usize] -= 1;
        }
    }
    Ok(())
}
