//! Handing out jobs: whose turn it is, and what of theirs fits.
//!
//! Every owner's jobs wait in two lines, those whose source is stored and those that must be fetched, each an index that is read from its
//! head: a claim costs what it hands out, however many wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::fault::Fault;
use super::reads;
use super::rows::{self, Row};
use super::writer::Transaction;
use crate::clock::Timestamp;
use crate::job::{KeyId, Lease, Status};
use crate::store::{ClaimRequest, Claimed, InlineKey};

/// Makes scheduled jobs claimable whose time has come, some at a time: a hundred thousand that come due at one moment must not hold up
/// everybody else's commits.
pub(super) const PROMOTE: &str = "UPDATE jobs SET due = 1 WHERE rowid IN (SELECT rowid FROM jobs INDEXED BY jobs_scheduled \
     WHERE status = 'queued' AND due = 0 AND run_at <= ?1 ORDER BY run_at LIMIT 512)";

/// One of an owner's two waiting lines, in order.
pub(super) fn line_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_claimable \
         WHERE status = 'queued' AND due = 1 AND owner = ?1 AND needs_fetch = ?2 ORDER BY priority DESC, id"
    )
}

/// The next owner in the alphabet of whom jobs wait.
pub(super) const NEXT_OWNER: &str = "SELECT owner FROM jobs INDEXED BY jobs_claimable \
     WHERE status = 'queued' AND due = 1 AND owner >= ?1 ORDER BY owner LIMIT 1";

/// Due jobs that have to run alone, oldest first.
pub(super) fn suspects_query() -> String {
    let columns = rows::COLUMNS;
    format!(
        "SELECT {columns} FROM jobs INDEXED BY jobs_suspects \
         WHERE status = 'queued' AND due = 3 AND run_at <= ?1 ORDER BY id"
    )
}

/// See [`crate::store::JobStore::claim`].
pub(super) fn claim(
    tx: &mut Transaction<'_>,
    request: &ClaimRequest,
    now: Timestamp,
) -> Result<Vec<Claimed>, Fault> {
    tx.prepare(PROMOTE)?.execute([now.as_millis()])?;
    let mut memory_left = request.memory_bytes_max;
    let mut chosen = Line { tx, needs_fetch: false, room: request.ready_max, chosen: Vec::new() }.take(
        &request.ready_turns,
        |row| {
            let left = memory_left.checked_sub(row.job.memory_bytes);
            memory_left = left.unwrap_or(memory_left);
            left.is_some()
        },
    )?;
    chosen = Line { tx, needs_fetch: true, room: request.fetch_max, chosen }
        .take(&request.fetch_turns, |_| true)?;
    chosen.sort_by_key(|row| (-i16::from(row.job.spec.priority), row.job.id));
    let mut claimed = Vec::with_capacity(chosen.len());
    for mut row in chosen {
        row.job.claim(now);
        claimed.push(hand_out(tx, row, request.worker, request.lease_duration, now)?);
    }
    Ok(claimed)
}

/// One of the two kinds of lines, while it is being claimed from.
struct Line<'a, 'c> {
    tx: &'a mut Transaction<'c>,
    needs_fetch: bool,
    room: usize,
    chosen: Vec<Row>,
}

impl Line<'_, '_> {
    /// Takes jobs by turns, then from whoever else waits, as long as there is room and they fit. The first that does not fit ends it:
    /// nobody is passed over.
    fn take(
        mut self,
        turns: &[Option<KeyId>],
        mut fits: impl FnMut(&Row) -> bool,
    ) -> Result<Vec<Row>, Fault> {
        if self.room == 0 {
            return Ok(self.chosen);
        }
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for turn in turns {
            *owners.entry(rows::owner_name(turn.as_ref())).or_default() += 1;
        }
        let is_open = match owners.len() {
            0 => true,
            // One owner alone is the rule: no more of its line is read than fits.
            1 => self.take_of(rows::owner_name(turns[0].as_ref()), turns.len(), &mut fits)?,
            _ => self.take_by_turns(turns, &owners, &mut fits)?,
        };
        if is_open && self.room > 0 {
            self.take_of_others(turns, &mut fits)?;
        }
        Ok(self.chosen)
    }

    /// Takes up to `most` jobs of one owner; whether everything fitted.
    fn take_of(
        &mut self,
        owner: &str,
        most: usize,
        fits: &mut impl FnMut(&Row) -> bool,
    ) -> Result<bool, Fault> {
        let (mut most, mut is_open) = (most.min(self.room), true);
        let (room, chosen) = (&mut self.room, &mut self.chosen);
        let damaged =
            rows::scan(self.tx.connection(), &line_query(), params![owner, self.needs_fetch], |row| {
                is_open = fits(&row);
                if is_open {
                    chosen.push(row);
                    *room -= 1;
                    most -= 1;
                }
                is_open && most > 0
            })?;
        rows::set_aside(self.tx, &damaged)?;
        Ok(is_open)
    }

    /// Takes one job a turn; a turn of an owner who has none is passed over. Whether everything fitted.
    fn take_by_turns(
        &mut self,
        turns: &[Option<KeyId>],
        owners: &HashMap<&str, usize>,
        fits: &mut impl FnMut(&Row) -> bool,
    ) -> Result<bool, Fault> {
        let mut heads: HashMap<&str, VecDeque<Row>> = HashMap::new();
        for (owner, turns) in owners {
            let mut ahead =
                Line { tx: self.tx, needs_fetch: self.needs_fetch, room: *turns, chosen: Vec::new() };
            ahead.take_of(owner, *turns, &mut |_| true)?;
            heads.insert(*owner, ahead.chosen.into());
        }
        for turn in turns {
            let Some(row) = heads.get_mut(rows::owner_name(turn.as_ref())).and_then(VecDeque::pop_front)
            else {
                continue;
            };
            if self.room == 0 || !fits(&row) {
                return Ok(false);
            }
            self.chosen.push(row);
            self.room -= 1;
        }
        Ok(true)
    }

    /// Takes jobs of whoever waits beside those who had a turn: the caller may not know of all.
    fn take_of_others(
        &mut self,
        turns: &[Option<KeyId>],
        fits: &mut impl FnMut(&Row) -> bool,
    ) -> Result<(), Fault> {
        let served: HashSet<&str> = turns.iter().map(|turn| rows::owner_name(turn.as_ref())).collect();
        let mut from = String::new();
        loop {
            let next: Option<String> =
                self.tx.prepare(NEXT_OWNER)?.query_row([&from], |row| row.get(0)).optional()?;
            let Some(owner) = next else { return Ok(()) };
            if !served.contains(owner.as_str()) && (!self.take_of(&owner, self.room, fits)? || self.room == 0)
            {
                return Ok(());
            }
            // The least text that is greater.
            from = owner + "\0";
        }
    }
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
