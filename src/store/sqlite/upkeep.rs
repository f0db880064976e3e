//! The verbs that nobody asks for: taking dead attempts back, removing what is old, proving that a commit works.

use rusqlite::params;

use super::fault::Fault;
use super::rows::{self, Row, signed};
use super::writer::Transaction;
use super::{deliveries, jobs, receivers};
use crate::clock::Timestamp;
use crate::job::{Job, Loss, Render, Retention, Status};
use crate::store::{Reap, Removed};

/// Running jobs whose lease ran out.
pub(super) fn expired_leases_query() -> String {
    let columns = rows::COLUMNS;
    format!("SELECT {columns} FROM jobs INDEXED BY jobs_leased WHERE lease_until <= ?1")
}

/// Running jobs of other workers.
pub(super) fn other_leases_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_leased WHERE lease_until IS NOT NULL AND worker <> ?1"
    )
}

/// Jobs that have expired and owe nobody a delivery, earliest first.
pub(super) fn expired_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_expiring \
         WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND pending_deliveries = 0 ORDER BY expires_at, id"
    )
}

/// Removes old tombstones.
pub(super) const PURGE_TOMBSTONES: &str = "DELETE FROM tombstones WHERE job IN (SELECT job FROM tombstones INDEXED BY tombstones_by_age \
     WHERE removed_at <= ?1 ORDER BY removed_at, job LIMIT ?2)";
/// Removes old keys.
pub(super) const PURGE_KEYS: &str = "DELETE FROM idempotency_keys WHERE (owner, key) IN (SELECT owner, key FROM idempotency_keys INDEXED BY idempotency_keys_by_age \
     WHERE created_at <= ?1 ORDER BY created_at, owner, key LIMIT ?2)";

/// See [`crate::store::JobStore::reap`].
pub(super) fn reap(
    tx: &mut Transaction<'_>,
    reap: Reap,
    retention: &Retention,
    render: &Render,
    now: Timestamp,
) -> Result<Vec<Job>, Fault> {
    let loss = match reap {
        Reap::Expired => Loss::Lease,
        Reap::OthersThan(_, loss) => loss,
    };
    let mut dead: Vec<Row> = Vec::new();
    let take = |row: Row| {
        dead.push(row);
        true
    };
    let damaged = match reap {
        Reap::Expired => rows::scan(tx.connection(), &expired_leases_query(), [now.as_millis()], take)?,
        Reap::OthersThan(worker, _) => {
            deliveries::release_claimed(tx, now)?;
            rows::scan(tx.connection(), &other_leases_query(), [worker.as_bytes()], take)?
        }
    };
    rows::set_aside(tx, &damaged)?;
    dead.sort_by_key(|row| row.job.id);
    let mut reaped = Vec::with_capacity(dead.len());
    for mut row in dead {
        // A copy says that nobody runs its jobs: no process died of them.
        let is_nobodys = row.lease.is_some_and(|(worker, _)| worker.is_nil());
        row.job.reap(if is_nobodys { Loss::Lease } else { loss }, retention, now);
        reaped.push(jobs::end(tx, row, Status::Running, render, now)?);
    }
    Ok(reaped)
}

/// See [`crate::store::JobStore::purge`].
pub(super) fn purge(
    tx: &mut Transaction<'_>,
    retention: &Retention,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Removed>, Fault> {
    deliveries::purge(tx, now.minus(retention.deliveries), limit)?;
    receivers::purge(tx, now.minus(retention.deliveries), limit)?;
    for (sql, kept) in [(PURGE_TOMBSTONES, retention.tombstones), (PURGE_KEYS, retention.idempotency_keys)] {
        tx.prepare(sql)?.execute(params![now.minus(kept).as_millis(), signed(limit as u64)])?;
    }
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut expired: Vec<Row> = Vec::new();
    let damaged = rows::scan(tx.connection(), &expired_query(), [now.as_millis()], |row| {
        expired.push(row);
        expired.len() < limit
    })?;
    rows::set_aside(tx, &damaged)?;
    expired.into_iter().map(|row| jobs::remove(tx, row, now)).collect()
}

/// Changes something, so that the commit has to reach the disk; the number to be read back.
pub(super) fn check(tx: &mut Transaction<'_>) -> Result<i64, Fault> {
    let sql = "UPDATE checks SET value = value + 1 WHERE id = 1 RETURNING value";
    Ok(tx.prepare(sql)?.query_row([], |row| row.get(0))?)
}
