//! Receivers: who is owed something, from when on, and who takes nothing.
//!
//! The row of a receiver knows the earliest of its pending deliveries, so that a claim costs what the receivers with something due cost, and
//! not what all those cost who wait for their next attempt. Every verb that changes a pending delivery calls [`settle`].

use rusqlite::{OptionalExtension, params};

use super::fault::Fault;
use super::rows::signed;
use super::writer::Transaction;
use crate::clock::Timestamp;
use crate::job::{DeliveryResult, Receiver, Standing};

/// Receivers that take what they get, with something due; the oldest first.
pub(super) const DUE: &str = "SELECT name, next_due FROM receivers INDEXED BY receivers_due \
     WHERE next_due IS NOT NULL AND failing_since IS NULL AND next_due <= ?1 ORDER BY next_due, name";
/// The others.
pub(super) const FAILING_DUE: &str = "SELECT name, next_due FROM receivers INDEXED BY receivers_failing_due \
     WHERE next_due IS NOT NULL AND failing_since IS NOT NULL AND next_due <= ?1 ORDER BY next_due, name";
/// Receivers that take nothing at present.
pub(super) const FAILING: &str = "SELECT name, failing_since, disabled_at, attempted_at FROM receivers INDEXED BY receivers_failing \
     WHERE failing_since IS NOT NULL ORDER BY name LIMIT ?1";
/// Forgets receivers that are owed nothing and were last asked long ago.
pub(super) const PURGE: &str = "DELETE FROM receivers WHERE name IN (SELECT name FROM receivers INDEXED BY receivers_idle \
     WHERE next_due IS NULL AND attempted_at <= ?1 ORDER BY attempted_at, name LIMIT ?2)";

/// A receiver with something due.
pub(super) struct DueReceiver {
    /// Scheme, host and port.
    pub(super) name: String,
    /// Since when.
    pub(super) next_due: i64,
    /// Whether it has taken nothing since it last failed.
    pub(super) is_failing: bool,
}

/// At most `limit` receivers with something due and with places, `failing_max` of them failing; the oldest first.
pub(super) fn due(
    tx: &Transaction<'_>,
    limit: usize,
    failing_max: usize,
    has_places: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Vec<DueReceiver>, Fault> {
    let mut receivers = Vec::new();
    for (sql, is_failing, most) in [(DUE, false, limit), (FAILING_DUE, true, limit.min(failing_max))] {
        let mut left = most;
        if left == 0 {
            continue;
        }
        let mut statement = tx.prepare(sql)?;
        let mut rows = statement.query([now.as_millis()])?;
        // Those passed over have all their places taken: as many as can be in flight, at most.
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().unwrap_or_default();
            if !has_places(name) {
                continue;
            }
            receivers.push(DueReceiver { name: name.to_owned(), next_due: row.get(1)?, is_failing });
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    receivers.sort_by(|one, other| (one.next_due, &one.name).cmp(&(other.next_due, &other.name)));
    Ok(receivers)
}

/// Something has become due for a receiver.
pub(super) fn owe(tx: &Transaction<'_>, name: &str, now: Timestamp) -> Result<(), Fault> {
    tx.prepare(
        "INSERT INTO receivers (name, next_due, attempted_at) VALUES (?1, ?2, ?2) \
         ON CONFLICT (name) DO UPDATE SET next_due = ?2 WHERE next_due IS NULL OR next_due > ?2",
    )?
    .execute(params![name, now.as_millis()])?;
    Ok(())
}

/// Looks again when something is next due for a receiver, after its pending deliveries have changed.
pub(super) fn settle(tx: &Transaction<'_>, name: &str) -> Result<(), Fault> {
    tx.prepare(
        "UPDATE receivers SET next_due = (SELECT next_attempt_at FROM deliveries INDEXED BY deliveries_by_receiver \
         WHERE status = 'pending' AND receiver = ?1 ORDER BY next_attempt_at LIMIT 1) WHERE name = ?1",
    )?
    .execute([name])?;
    Ok(())
}

/// Whether a receiver is worth a call.
pub(super) fn standing(tx: &Transaction<'_>, name: &str) -> Result<Standing, Fault> {
    Ok(load(tx, name)?.map_or(Standing::Well, |receiver| receiver.standing()))
}

/// An attempt at a receiver has ended, and its delivery has been saved.
pub(super) fn attempted(
    tx: &Transaction<'_>,
    name: &str,
    result: &DeliveryResult,
    now: Timestamp,
) -> Result<(), Fault> {
    if let Some(mut receiver) = load(tx, name)? {
        receiver.attempted(result, now);
        save(tx, &receiver)?;
    }
    settle(tx, name)
}

/// Forgets that a receiver has failed; whether that was known of it.
pub(super) fn enable(tx: &Transaction<'_>, name: &str) -> Result<bool, Fault> {
    let Some(mut receiver) = load(tx, name)? else { return Ok(false) };
    let is_news = receiver.enable();
    save(tx, &receiver)?;
    Ok(is_news)
}

/// Forgets at most `limit` receivers that are owed nothing and were last asked at `before` or earlier.
pub(super) fn purge(tx: &Transaction<'_>, before: Timestamp, limit: usize) -> Result<(), Fault> {
    tx.prepare(PURGE)?.execute(params![before.as_millis(), signed(limit as u64)])?;
    Ok(())
}

fn load(tx: &Transaction<'_>, name: &str) -> Result<Option<Receiver>, Fault> {
    let sql = "SELECT name, failing_since, disabled_at, attempted_at FROM receivers WHERE name = ?1";
    Ok(tx.prepare(sql)?.query_row([name], decode).optional()?)
}

/// Reads name, failing_since, disabled_at and attempted_at.
pub(super) fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Receiver> {
    let moment = |column| row.get::<_, Option<i64>>(column).map(|millis| millis.map(Timestamp::from_millis));
    Ok(Receiver {
        name: row.get(0)?,
        failing_since: moment(1)?,
        disabled_at: moment(2)?,
        attempted_at: Timestamp::from_millis(row.get(3)?),
    })
}

fn save(tx: &Transaction<'_>, receiver: &Receiver) -> Result<(), Fault> {
    tx.prepare(
        "UPDATE receivers SET failing_since = ?2, disabled_at = ?3, attempted_at = ?4 WHERE name = ?1",
    )?
    .execute(params![
        receiver.name,
        receiver.failing_since.map(Timestamp::as_millis),
        receiver.disabled_at.map(Timestamp::as_millis),
        receiver.attempted_at.as_millis()
    ])?;
    Ok(())
}
