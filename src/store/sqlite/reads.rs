//! The verbs that only read.
//!
//! Run on a reader's connection; every query follows an index, so that its cost does not grow with the jobs that are kept.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::rows;
use crate::clock::Timestamp;
use crate::job::{DeliveryStatus, Job, JobId, KeyId, Status};
use crate::store::{Counts, Found, InlineKey, ListFilter, NextDue, Waiting};

/// The record or its tombstone.
pub(super) fn get(connection: &Connection, id: JobId) -> Result<Option<Found>, Fault> {
    if let Some(row) = rows::load(connection, id)? {
        return Ok(Some(Found::Job(Box::new(row.job))));
    }
    Ok(rows::gone(connection, id)?.map(Found::Gone))
}

/// The query that serves a filter: one index each.
pub(super) fn list_query(filter: &ListFilter) -> String {
    let (index, condition) = match (&filter.owner, &filter.tag, filter.status) {
        (None, None, None) => ("", "?1 IS NULL AND ?2 IS NULL AND ?4 IS NULL"),
        (None, None, Some(_)) => ("jobs_by_status", "?1 IS NULL AND status = ?2 AND ?4 IS NULL"),
        (None, Some(_), None) => ("jobs_by_tag", "tag = ?1 AND ?2 IS NULL AND ?4 IS NULL"),
        (None, Some(_), Some(_)) => ("jobs_by_tag_and_status", "tag = ?1 AND status = ?2 AND ?4 IS NULL"),
        (Some(_), None, None) => ("jobs_by_owner", "?1 IS NULL AND ?2 IS NULL AND owner = ?4"),
        (Some(_), None, Some(_)) => ("jobs_by_owner_and_status", "?1 IS NULL AND status = ?2 AND owner = ?4"),
        (Some(_), Some(_), None) => ("jobs_by_owner_and_tag", "tag = ?1 AND ?2 IS NULL AND owner = ?4"),
        (Some(_), Some(_), Some(_)) => {
            ("jobs_by_owner_tag_and_status", "tag = ?1 AND status = ?2 AND owner = ?4")
        }
    };
    // The indexes by owner hold what has one; that the parameter is one, only this tells the planner.
    let owned = if filter.owner.is_some() { "AND owner <> ''" } else { "" };
    let index = if index.is_empty() { String::new() } else { format!("INDEXED BY {index}") };
    let before = if filter.before.is_some() { "id < ?3" } else { "?3 IS NULL" };
    let columns = rows::COLUMNS;
    format!("SELECT {columns} FROM jobs {index} WHERE {condition} {owned} AND {before} ORDER BY id DESC")
}

/// Jobs, newest first.
pub(super) fn list(connection: &Connection, filter: &ListFilter) -> Result<Vec<Job>, Fault> {
    let mut jobs = Vec::new();
    if filter.limit == 0 {
        return Ok(jobs);
    }
    let before = filter.before.map(|id| *id.as_bytes());
    let owner = filter.owner.as_ref().map(KeyId::as_str);
    let params = params![filter.tag, filter.status.map(Status::name), before, owner];
    rows::scan(connection, &list_query(filter), params, |row| {
        jobs.push(row.job);
        jobs.len() < filter.limit
    })?;
    Ok(jobs)
}

/// Bytes of a source, an output or an asset.
pub(super) fn inline_bytes(
    connection: &Connection,
    id: JobId,
    key: &InlineKey,
) -> Result<Option<Bytes>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT bytes FROM inline_bytes WHERE job = ?1 AND name = ?2")?;
    let bytes =
        statement.query_row(params![id.as_bytes(), key.name()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(bytes.map(Bytes::from))
}

/// The whole waiting line, in order.
pub(super) fn waiting(connection: &Connection) -> Result<Vec<Waiting>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, priority, run_at, due = 3, needs_fetch, owner, due = 3 AND state ->> '$.suspicion.is_retried' IS 1 FROM jobs INDEXED BY jobs_by_status WHERE status = 'queued' AND due <> 2",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Waiting {
            id: JobId::from_bytes(row.get(0)?),
            priority: row.get(1)?,
            run_at: Timestamp::from_millis(row.get(2)?),
            is_suspect: row.get(3)?,
            needs_fetch: row.get(4)?,
            owner: rows::read_owner(row, 5)?,
            is_retried: row.get(6)?,
        })
    })?;
    let mut waiting = rows.collect::<Result<Vec<Waiting>, _>>()?;
    waiting.sort_by_key(|waiting| (-i16::from(waiting.priority), waiting.id));
    Ok(waiting)
}

/// Earliest time of a scheduled job.
pub(super) const NEXT_JOB: &str = "SELECT min(run_at) FROM jobs INDEXED BY jobs_scheduled WHERE status = 'queued' AND due = 0 AND run_at > ?1";
/// Earliest time of one that has to run alone.
pub(super) const NEXT_SUSPECT: &str = "SELECT min(run_at) FROM jobs INDEXED BY jobs_suspects WHERE status = 'queued' AND due = 3 AND run_at > ?1";
/// Earliest time of a delivery.
pub(super) const NEXT_DELIVERY: &str = "SELECT min(next_attempt_at) FROM deliveries INDEXED BY deliveries_due WHERE status = 'pending' AND next_attempt_at > ?1";

/// What becomes due next.
pub(super) fn next_due(connection: &Connection, now: Timestamp) -> Result<NextDue, Fault> {
    let earliest = |sql: &str| -> rusqlite::Result<Option<Timestamp>> {
        let mut statement = connection.prepare_cached(sql)?;
        let millis: Option<i64> = statement.query_row([now.as_millis()], |row| row.get(0))?;
        Ok(millis.map(Timestamp::from_millis))
    };
    let job = [earliest(NEXT_JOB)?, earliest(NEXT_SUSPECT)?].into_iter().flatten().min();
    Ok(NextDue { job, delivery: earliest(NEXT_DELIVERY)? })
}

/// Counts everything, from indexes alone; once, at open.
pub(super) fn count(connection: &Connection) -> Result<Counts, Fault> {
    let mut counts = Counts::default();
    for (status, count) in Status::ALL.iter().zip(&mut counts.jobs) {
        let sql = "SELECT count(*) FROM jobs INDEXED BY jobs_by_status WHERE status = ?1";
        *count = number(connection, sql, status.name())?;
    }
    let [pending, ended @ ..] = &mut counts.deliveries;
    let sql =
        "SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE status = 'pending' AND ?1 <> ''";
    *pending = number(connection, sql, DeliveryStatus::Pending.name())?;
    for (status, count) in DeliveryStatus::ALL[1..].iter().zip(ended) {
        let sql = "SELECT count(*) FROM deliveries INDEXED BY deliveries_ended \
                   WHERE ended_at IS NOT NULL AND status = ?1";
        *count = number(connection, sql, status.name())?;
    }
    Ok(counts)
}

/// The gauges of one owner's jobs, by the indexes of what has one.
pub(super) fn count_of(connection: &Connection, owner: &KeyId) -> Result<Counts, Fault> {
    let mut counts = Counts::default();
    let sql = "SELECT status, count(*) FROM jobs INDEXED BY jobs_by_owner_and_status \
               WHERE owner = ?1 AND owner <> '' GROUP BY status";
    let by_status = by_name(connection, sql, owner)?;
    for (status, count) in Status::ALL.iter().zip(&mut counts.jobs) {
        *count = by_status.get(status.name()).copied().unwrap_or(0);
    }
    let sql = "SELECT deliveries.status, count(*) FROM jobs INDEXED BY jobs_by_owner \
               JOIN deliveries INDEXED BY deliveries_by_job ON deliveries.job = jobs.id \
               WHERE jobs.owner = ?1 AND jobs.owner <> '' GROUP BY deliveries.status";
    let by_status = by_name(connection, sql, owner)?;
    for (status, count) in DeliveryStatus::ALL.iter().zip(&mut counts.deliveries) {
        *count = by_status.get(status.name()).copied().unwrap_or(0);
    }
    Ok(counts)
}

fn by_name(connection: &Connection, sql: &str, owner: &KeyId) -> Result<HashMap<String, u64>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows =
        statement.query_map([owner.as_str()], |row| Ok((row.get(0)?, u64::from(row.get::<_, u32>(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn number(connection: &Connection, sql: &str, status: &str) -> Result<u64, Fault> {
    let count: u32 = connection.prepare(sql)?.query_row([status], |row| row.get(0))?;
    Ok(u64::from(count))
}

/// The number that the last health check wrote.
pub(super) fn checked(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached("SELECT value FROM checks WHERE id = 1")?.query_row([], |row| row.get(0))?)
}
