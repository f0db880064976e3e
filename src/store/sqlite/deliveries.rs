//! Deliveries: stored with the end of their job, claimed, finished, dropped.
//!
//! The attempt's number is the fence, `claimed` keeps one attempt from being finished twice. A claim moves `next_attempt_at` to the end of
//! its lease, so that what a dead process had claimed comes due by itself.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::fault::Fault;
use super::rows::{self, Row};
use super::writer::Transaction;
use super::{log, receivers};
use crate::clock::Timestamp;
use crate::job::{
    Delivery, DeliveryAttempt, DeliveryId, DeliveryResult, DeliveryStatus, Event, Job, JobId, NewDelivery,
    Standing,
};
use crate::store::{DeliveryRequest, DueOf, in_turns};

/// Due deliveries of one receiver.
pub(super) const DUE_OF_RECEIVER: &str = "SELECT next_attempt_at, id FROM deliveries INDEXED BY deliveries_by_receiver \
     WHERE status = 'pending' AND receiver = ?1 AND next_attempt_at <= ?2 ORDER BY next_attempt_at, id LIMIT ?3";

/// When a delivery is due, and its id: the order of claiming.
type Due = (i64, [u8; 16]);

/// The due deliveries to hand out, in turns among receivers.
fn due(tx: &Transaction<'_>, request: &DeliveryRequest, now: Timestamp) -> Result<Vec<Due>, Fault> {
    let has_places = |name: &str| request.places(name) > 0;
    let mut receivers = Vec::new();
    for receiver in receivers::due(tx, request.limit, request.failing_max, has_places, now)? {
        let places = rows::signed(request.places(&receiver.name) as u64);
        let mut statement = tx.prepare(DUE_OF_RECEIVER)?;
        let rows = statement.query_map(params![receiver.name, now.as_millis(), places], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let due = rows.collect::<rusqlite::Result<Vec<Due>>>()?;
        if due.is_empty() {
            // Its row promised more than there is.
            receivers::settle(tx, &receiver.name)?;
        }
        receivers.push(DueOf { is_failing: receiver.is_failing, due });
    }
    Ok(in_turns(&receivers, request.limit, request.failing_max))
}

/// Stores a delivery that is due at once.
pub(super) fn insert(
    tx: &mut Transaction<'_>,
    job: JobId,
    new: &NewDelivery,
    now: Timestamp,
) -> Result<(), Fault> {
    tx.prepare(
        "INSERT INTO deliveries (id, job, event, url, receiver, body, status, attempt, claimed, next_attempt_at, created_at, \
         trace_parent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', 0, 0, ?7, ?7, ?8)",
    )?
    .execute(params![
        new.id.as_bytes(),
        job.as_bytes(),
        new.event.name(),
        new.url,
        new.receiver,
        &new.body[..],
        now.as_millis(),
        new.trace_parent,
    ])?;
    tx.counts.deliveries[DeliveryStatus::Pending as usize] += 1;
    receivers::owe(tx, &new.receiver, now)
}

/// Hands out due deliveries under a lease.
pub(super) fn claim(
    tx: &mut Transaction<'_>,
    request: &DeliveryRequest,
    now: Timestamp,
) -> Result<Vec<Delivery>, Fault> {
    let mut claimed: Vec<Delivery> = Vec::new();
    for (_, id) in due(tx, request, now)? {
        match claim_one(tx, id, now.plus(request.lease_duration)) {
            Ok(delivery) => claimed.push(delivery),
            Err(fault) if fault.is_damage() => {
                let delivery = DeliveryId::from_bytes(id);
                tracing::error!(delivery.id = %delivery, error = ?fault, "a stored delivery can't be read; it is given up");
                give_up(tx, id, now)?;
            }
            Err(fault) => return Err(fault),
        }
    }
    let mut standings: HashMap<String, Standing> = HashMap::new();
    for delivery in &mut claimed {
        delivery.standing = match standings.get(&delivery.receiver) {
            Some(known) => *known,
            None => {
                receivers::settle(tx, &delivery.receiver)?;
                let standing = receivers::standing(tx, &delivery.receiver)?;
                standings.insert(delivery.receiver.clone(), standing);
                standing
            }
        };
    }
    Ok(claimed)
}

fn claim_one(tx: &Transaction<'_>, id: [u8; 16], until: Timestamp) -> Result<Delivery, Fault> {
    let mut statement = tx.prepare(
        "UPDATE deliveries SET attempt = attempt + 1, claimed = 1, next_attempt_at = ?2 WHERE id = ?1 \
         RETURNING job, event, url, receiver, body, attempt, schedule_from, trace_parent, \
         coalesce((SELECT owner FROM jobs WHERE jobs.id = job), '')",
    )?;
    let mut rows = statement.query(params![id, until.as_millis()])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let read = || -> Result<Delivery, Box<dyn std::error::Error>> {
        let attempt: u32 = row.get(5)?;
        Ok(Delivery {
            id: DeliveryId::from_bytes(id),
            job: JobId::from_bytes(row.get(0)?),
            owner: rows::read_owner(row, 8)?,
            event: event(row.get_ref(1)?.as_str()?)?,
            url: row.get(2)?,
            receiver: row.get(3)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
            attempt,
            scheduled_attempt: attempt.saturating_sub(row.get(6)?),
            trace_parent: row.get(7)?,
            standing: Standing::Well,
        })
    };
    read().map_err(|error| Fault::Damaged(format!("delivery: {error}")))
}

/// The event of this name.
pub(super) fn event(name: &str) -> Result<Event, String> {
    Event::from_name(name).ok_or_else(|| format!("event {name:?}"))
}

/// Ends a delivery that can't be read, so that it neither comes due again nor keeps its job for ever.
fn give_up(tx: &mut Transaction<'_>, id: [u8; 16], now: Timestamp) -> Result<(), Fault> {
    let receiver: Option<String> = tx
        .prepare(
            "UPDATE deliveries SET status = 'failed', claimed = 0, ended_at = ?2 WHERE id = ?1 RETURNING receiver",
        )?
        .query_row(params![id, now.as_millis()], |row| row.get(0))
        .optional()?;
    if let Some(receiver) = receiver {
        receivers::settle(tx, &receiver)?;
    }
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
    let known: Option<([u8; 16], String)> = tx
        .prepare(
            "UPDATE deliveries SET claimed = 0, status = ?3, next_attempt_at = ?4, response_status = ?5, error = ?6, \
             ended_at = ?7 WHERE id = ?1 AND attempt = ?2 AND claimed = 1 RETURNING job, receiver",
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
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((job, receiver)) = known else { return Ok(None) };
    log::write(tx, id, &DeliveryAttempt::new(attempt, result, now))?;
    receivers::attempted(tx, &receiver, result, now)?;
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
        row.job.delivery_attempted(attempt, result, now);
    }
    if shown || ended {
        let status = row.job.status;
        rows::save(tx, &row, status, now)?;
    }
    Ok(Some(row.job))
}

/// Makes what others had claimed due at once: their processes are gone.
pub(super) fn release_claimed(tx: &mut Transaction<'_>, now: Timestamp) -> Result<(), Fault> {
    let mut statement = tx.prepare(
        "UPDATE deliveries INDEXED BY deliveries_claimed SET claimed = 0, next_attempt_at = ?1 WHERE claimed = 1 \
         RETURNING receiver",
    )?;
    let released = statement.query_map([now.as_millis()], |row| row.get::<_, String>(0))?;
    for receiver in released.collect::<rusqlite::Result<BTreeSet<String>>>()? {
        receivers::settle(tx, &receiver)?;
    }
    Ok(())
}

/// Drops all deliveries of a job that is being removed.
pub(super) fn remove_of(tx: &mut Transaction<'_>, row: &Row) -> Result<(), Fault> {
    forget(tx, REMOVE, params![row.job.id.as_bytes()])
}

/// Drops at most `limit` deliveries that ended at `before` or earlier.
pub(super) fn purge(tx: &mut Transaction<'_>, before: Timestamp, limit: usize) -> Result<(), Fault> {
    forget(tx, PURGE, params![before.as_millis(), rows::signed(limit as u64)])
}

/// Removes those of one job.
pub(super) const REMOVE: &str = "DELETE FROM deliveries WHERE job = ?1 RETURNING status, id, receiver";
/// Removes old deliveries that have ended.
pub(super) const PURGE: &str = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries INDEXED BY deliveries_ended \
     WHERE ended_at IS NOT NULL AND ended_at <= ?1 ORDER BY ended_at, id LIMIT ?2) RETURNING status, id, receiver";

fn forget(tx: &mut Transaction<'_>, sql: &str, params: impl rusqlite::Params) -> Result<(), Fault> {
    let mut statement = tx.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut owed = BTreeSet::new();
    while let Some(row) = rows.next()? {
        tx.freed = true;
        log::remove(tx, row.get(1)?)?;
        if let Some(status) = DeliveryStatus::from_name(row.get_ref(0)?.as_str().unwrap_or_default()) {
            tx.counts.deliveries[status as usize] -= 1;
            if status == DeliveryStatus::Pending {
                owed.insert(row.get::<_, String>(2)?);
            }
        }
    }
    owed.iter().try_for_each(|receiver| receivers::settle(tx, receiver))
}
