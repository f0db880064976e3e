//! Jobs as rows: reading, writing and saving one, and keeping the gauges in step.
//!
//! A row's columns hold what is searched and fenced, `state` and `spec` the rest as JSON; nothing is kept twice. Used by the verbs of this
//! engine; never decides what a verb means.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::Fault;
use super::writer::Transaction;
use crate::clock::Timestamp;
use crate::job::transition::LIVE_VERSIONS;
use crate::job::{
    AssetInfo, AttemptRecord, DeliveryId, Failure, Job, JobId, JobSpec, KeyId, Output, SourceInfo, Status,
    Suspicion, Timings, Warning, WebhookState,
};

/// The columns that [`decode`] reads, in its order.
pub(super) const COLUMNS: &str = "id, status, version, attempt, memory_bytes, cancel_requested, run_at, \
     worker, lease_until, expires_at, announced, pending_deliveries, state, spec, owner";

/// A job with what the engine alone keeps about it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The record.
    pub(super) job: Job,
    /// Holder and end of the running attempt's lease.
    pub(super) lease: Option<(Uuid, Timestamp)>,
    /// The delivery that `job.webhook` shows.
    pub(super) announced: Option<DeliveryId>,
    /// Deliveries of this job that have not ended.
    pub(super) pending_deliveries: u32,
}

/// What changes of a job and is not searched: the column `state`.
#[derive(Serialize, Deserialize)]
struct State<'a> {
    forgiven: u32,
    #[serde(default, skip_serializing_if = "is_empty")]
    attempts: Cow<'a, [AttemptRecord]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    progress: f32,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    timings: Timings,
    source: Cow<'a, Option<SourceInfo>>,
    #[serde(default, skip_serializing_if = "<[AssetInfo]>::is_empty")]
    assets: Cow<'a, [AssetInfo]>,
    outputs: Cow<'a, [Output]>,
    #[serde(default, skip_serializing_if = "has_none")]
    analysis: Cow<'a, BTreeMap<String, serde_json::Value>>,
    warnings: Cow<'a, [Warning]>,
    error: Cow<'a, Option<Failure>>,
    webhook: Cow<'a, Option<WebhookState>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_parent: Option<Cow<'a, str>>,
}

fn has_none(analysis: &BTreeMap<String, serde_json::Value>) -> bool {
    analysis.is_empty()
}

fn is_empty(attempts: &[AttemptRecord]) -> bool {
    attempts.is_empty()
}

/// Where a status stands in [`crate::store::Counts::jobs`].
fn place(status: Status) -> usize {
    status as usize
}

/// Adds a job unless it is there, or was; whether it did. One statement, because every job goes through it.
pub(super) fn insert(tx: &mut Transaction<'_>, job: &Job) -> Result<bool, Fault> {
    let spec = serde_json::to_string(&*job.spec).map_err(unwritable)?;
    let inserted = tx.prepare(
        "INSERT INTO jobs (id, status, version, attempt, priority, tag, memory_bytes, needs_fetch, cancel_requested, \
         run_at, due, expires_at, pending_deliveries, state, spec, owner) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, ?14, ?15 \
         WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE job = ?1) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        job.id.as_bytes(),
        job.status.name(),
        signed(job.version),
        job.attempt,
        job.spec.priority,
        job.spec.tag,
        signed(job.memory_bytes),
        job.needs_fetch(),
        job.cancel_requested,
        job.run_at.as_millis(),
        due(job, job.created_at),
        job.expires_at.map(Timestamp::as_millis),
        state(job)?,
        spec,
        owner_name(job.owner.as_ref()),
    ])?;
    tx.counts.jobs[place(job.status)] += inserted as u64;
    Ok(inserted > 0)
}

/// The job with this id.
pub(super) fn load(connection: &Connection, id: JobId) -> Result<Option<Row>, Fault> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(decode).transpose()
}

/// Saves what a verb changed; `before` is the status that the row still has.
pub(super) fn save(tx: &mut Transaction<'_>, row: &Row, before: Status, now: Timestamp) -> Result<(), Fault> {
    let job = &row.job;
    tx.prepare(
        "UPDATE jobs SET status = ?2, version = ?3, attempt = ?4, memory_bytes = ?5, needs_fetch = ?6, \
         cancel_requested = ?7, run_at = ?8, due = ?9, worker = ?10, lease_until = ?11, expires_at = ?12, \
         announced = ?13, pending_deliveries = ?14, state = ?15 WHERE id = ?1",
    )?
    .execute(params![
        job.id.as_bytes(),
        job.status.name(),
        signed(job.version),
        job.attempt,
        signed(job.memory_bytes),
        job.needs_fetch(),
        job.cancel_requested,
        job.run_at.as_millis(),
        due(job, now),
        row.lease.map(|(worker, _)| worker.into_bytes()),
        row.lease.map(|(_, until)| until.as_millis()),
        job.expires_at.map(Timestamp::as_millis),
        row.announced.map(|id| *id.as_bytes()),
        row.pending_deliveries,
        state(job)?,
    ])?;
    tx.counts.jobs[place(before)] -= 1;
    tx.counts.jobs[place(job.status)] += 1;
    Ok(())
}

/// Writes the spec again, whose source headers have been erased.
pub(super) fn save_spec(tx: &mut Transaction<'_>, job: &Job) -> Result<(), Fault> {
    let spec = serde_json::to_string(&*job.spec).map_err(unwritable)?;
    tx.prepare("UPDATE jobs SET spec = ?2 WHERE id = ?1")?.execute(params![job.id.as_bytes(), spec])?;
    Ok(())
}

/// Removes the row alone.
pub(super) fn remove(tx: &mut Transaction<'_>, job: &Job) -> Result<(), Fault> {
    tx.prepare("DELETE FROM jobs WHERE id = ?1")?.execute([job.id.as_bytes()])?;
    tx.counts.jobs[place(job.status)] -= 1;
    Ok(())
}

/// Reads rows one after the other and hands each to `take` until it says `false`. A damaged one is logged and left out; their ids are returned.
pub(super) fn scan(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut take: impl FnMut(Row) -> bool,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut damaged = Vec::new();
    while let Some(row) = rows.next()? {
        match decode(row) {
            Ok(row) => {
                if !take(row) {
                    break;
                }
            }
            Err(fault) if fault.is_damage() => {
                let id: Vec<u8> = row.get(0).unwrap_or_default();
                tracing::error!(job.id = name(&id), error = ?fault, "a stored job can't be read; it is left out");
                damaged.push(id);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(damaged)
}

/// Takes damaged rows out of the lines, so that they are neither met nor logged over and over; they stay as they are otherwise.
pub(super) fn set_aside(tx: &mut Transaction<'_>, damaged: &[Vec<u8>]) -> Result<(), Fault> {
    for id in damaged {
        tx.prepare("UPDATE jobs SET due = 2, lease_until = NULL, expires_at = NULL WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(())
}

/// Makes every change of a waiting job from here on newer than whatever a claim that a power cut has undone can have shown: one version, and
/// those of its live progress.
pub(super) fn outgrow_lost_claims(connection: &Connection) -> Result<(), Fault> {
    let sql = "UPDATE jobs SET version = version + ?1 WHERE status = 'queued'";
    connection.execute(sql, [signed(2 * LIVE_VERSIONS)])?;
    Ok(())
}

/// Puts jobs back into the line that were set aside and can be read now: the program that could not was another one.
pub(super) fn take_back(connection: &Connection) -> Result<(), Fault> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE status = 'queued' AND due = 2");
    let mut readable = Vec::new();
    {
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Ok(row) = decode(row) {
                readable.push(row.job);
            }
        }
    }
    for job in readable {
        let due = if job.suspicion.is_some() { SUSPECT } else { 0 };
        connection.execute("UPDATE jobs SET due = ?2 WHERE id = ?1", params![job.id.as_bytes(), due])?;
        tracing::info!(job.id = %job.id, "a job that could not be read before is queued again");
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`].
pub(super) fn decode(row: &rusqlite::Row<'_>) -> Result<Row, Fault> {
    let read = || {
        let id = JobId::from_bytes(row.get(0)?);
        let status = row.get_ref(1)?.as_str()?;
        let status = Status::from_name(status).ok_or_else(|| unreadable(1, format!("status {status:?}")))?;
        let worker: Option<[u8; 16]> = row.get(7)?;
        let until: Option<i64> = row.get(8)?;
        let announced: Option<[u8; 16]> = row.get(10)?;
        let state: State<'_> =
            serde_json::from_str(row.get_ref(12)?.as_str()?).map_err(|error| unreadable(12, error))?;
        let spec: JobSpec =
            serde_json::from_str(row.get_ref(13)?.as_str()?).map_err(|error| unreadable(13, error))?;
        let job = Job {
            id,
            owner: read_owner(row, 14)?,
            version: unsigned(row.get(2)?),
            status,
            spec: Arc::new(spec),
            attempt: row.get(3)?,
            forgiven: state.forgiven,
            attempts: state.attempts.into_owned(),
            suspicion: state.suspicion,
            progress: state.progress,
            memory_bytes: unsigned(row.get(4)?),
            cancel_requested: row.get(5)?,
            created_at: state.created_at,
            run_at: Timestamp::from_millis(row.get(6)?),
            started_at: state.started_at,
            finished_at: state.finished_at,
            expires_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
            timings: state.timings,
            source: state.source.into_owned(),
            assets: state.assets.into_owned(),
            outputs: state.outputs.into_owned(),
            analysis: state.analysis.into_owned(),
            warnings: state.warnings.into_owned(),
            error: state.error.into_owned(),
            webhook: state.webhook.into_owned(),
            trace_parent: state.trace_parent.map(Cow::into_owned),
        };
        Ok(Row {
            job,
            lease: worker.zip(until).map(|(id, until)| (Uuid::from_bytes(id), Timestamp::from_millis(until))),
            announced: announced.map(DeliveryId::from_bytes),
            pending_deliveries: row.get(11)?,
        })
    };
    read().map_err(|error: rusqlite::Error| {
        let id: Vec<u8> = row.get(0).unwrap_or_default();
        Fault::Damaged(format!("job {}: {error}", name(&id)))
    })
}

fn state(job: &Job) -> Result<String, Fault> {
    let state = State {
        forgiven: job.forgiven,
        attempts: Cow::Borrowed(&job.attempts),
        suspicion: job.suspicion,
        progress: job.progress,
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        timings: job.timings,
        source: Cow::Borrowed(&job.source),
        assets: Cow::Borrowed(&job.assets),
        outputs: Cow::Borrowed(&job.outputs),
        analysis: Cow::Borrowed(&job.analysis),
        warnings: Cow::Borrowed(&job.warnings),
        error: Cow::Borrowed(&job.error),
        webhook: Cow::Borrowed(&job.webhook),
        trace_parent: job.trace_parent.as_deref().map(Cow::Borrowed),
    };
    serde_json::to_string(&state).map_err(unwritable)
}

/// What the column `due` says of a job: 0 until its time has come (and of one that isn't queued), 1 then, 3 of one that has to run alone.
fn due(job: &Job, now: Timestamp) -> i64 {
    match job.status {
        Status::Queued if job.suspicion.is_some() => SUSPECT,
        Status::Queued if job.run_at <= now => 1,
        _ => 0,
    }
}

/// The column `due` of a queued job that has to run alone.
const SUSPECT: i64 = 3;

/// Whose job it was, if there is a tombstone of it.
pub(super) fn gone(connection: &Connection, id: JobId) -> Result<Option<Option<KeyId>>, Fault> {
    let mut statement = connection.prepare_cached("SELECT owner FROM tombstones WHERE job = ?1")?;
    Ok(statement.query_row([id.as_bytes()], |row| read_owner(row, 0)).optional()?)
}

/// How rows name an owner; nobody is the empty text.
pub(super) fn owner_name(owner: Option<&KeyId>) -> &str {
    owner.map_or("", KeyId::as_str)
}

/// The owner that a column names.
pub(super) fn read_owner(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<KeyId>> {
    match row.get_ref(column)?.as_str()? {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| unreadable(column, error)),
    }
}

/// SQLite's integers are signed; numbers beyond them don't occur and are cut.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// How a damaged row's id is called in the log.
fn name(id: &[u8]) -> String {
    match <[u8; 16]>::try_from(id) {
        Ok(bytes) => JobId::from_bytes(bytes).to_string(),
        Err(_) => format!("{id:02x?}"),
    }
}

fn unreadable(column: usize, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, cause.into())
}

fn unwritable(error: serde_json::Error) -> Fault {
    Fault::Engine(rusqlite::Error::ToSqlConversionFailure(error.into()))
}
