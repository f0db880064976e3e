//! The embedded engine: one SQLite file in the data directory.
//!
//! One thread writes and commits in groups (`writer`), a few read (`readers`); callers only send and await. A commit that was answered
//! survives a power cut, but for claims and leases, which survive this process: they are made again. What cannot be committed changes nothing, and after a failed write or fsync nothing is promised any more until a
//! restart (`fault`). On a full disk it gives up some room of its own (`ballast`), so that jobs can be removed. Schema and pragmas are in `schema`, rows in `rows`, the verbs in `claim`, `jobs`, `deliveries`, `upkeep` and
//! `reads`. Built by `app`.

mod ballast;
mod claim;
mod deliveries;
mod fault;
pub mod inspect;
mod jobs;
mod lock;
mod log;
#[cfg(test)]
mod power_tests;
mod readers;
mod reads;
mod receivers;
mod rows;
mod schema;
mod shared;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::ballast::Ballast;
use self::fault::{Fault, Severity};
use self::lock::DirectoryLock;
use self::readers::Readers;
use self::shared::Shared;
use self::writer::Writer;
use super::{
    ClaimRequest, Claimed, Counts, DeadLetters, DeliveryRequest, Extended, Finish, Found, InlineKey,
    Inserted, JobStore, ListFilter, NewJob, NextDue, Reap, Redelivered, Removed, Result, Retried, StoreError,
    Waiting,
};
use crate::clock::Timestamp;
use crate::job::{
    Delivery, DeliveryId, DeliveryRecord, DeliveryResult, Job, JobId, KeyId, Lease, Receiver, Render,
    Retention, SourceInfo,
};
use crate::telemetry::Metrics;

/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "jobs.db";

/// How much of the machine the engine may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that read, each with a connection. Default 2; at least 1 is started.
    pub reader_threads: usize,
    /// Bytes of pages that the writer keeps in memory; every reader keeps a quarter of that. Default 8 MiB.
    pub page_cache_bytes: usize,
    /// The machine may have ended before the last process did, so claims that clients have seen may be undone: versions of waiting jobs go
    /// beyond what such a claim and its progress have shown. Default `false`.
    pub is_after_reset: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { reader_threads: 2, page_cache_bytes: 8 << 20, is_after_reset: false }
    }
}

/// Jobs in a SQLite file. Dropping it waits until everything that was sent is committed and the log is folded into the database, so drop
/// the last reference where blocking for some milliseconds is allowed.
#[derive(Debug)]
pub struct SqliteStore {
    // Dropped in this order: who reads, who writes, then the lock.
    readers: Readers,
    writer: Writer,
    shared: Arc<Shared>,
    _lock: DirectoryLock,
}

impl SqliteStore {
    /// Opens the store in this directory, which is made if it isn't there, and brings its schema up to date. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence for operators: the directory is in use, can't be written to, or was written by a newer version;
    /// or the SQLite library is too old.
    pub fn open(directory: &Path, options: Options) -> Result<SqliteStore> {
        SqliteStore::open_measured(directory, options, &Metrics::new())
    }

    /// The same; what commits take is told to these metrics.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub fn open_measured(directory: &Path, options: Options, metrics: &Metrics) -> Result<SqliteStore> {
        schema::check_library(rusqlite::version_number())?;
        let unusable = |error: std::io::Error| {
            StoreError::Open(format!("can't use the data directory {}: {error}", directory.display()))
        };
        // Only its owner may look into it: sources, results and secrets lie there.
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let lock = DirectoryLock::take(directory)?;
        // Opening writes, too: a server that was stopped by a full disk has to start on it.
        let ballast = Ballast::dropped(directory);
        let file = directory.join(DATABASE_FILE);
        let writer = schema::open_writer(&file, options.page_cache_bytes)?;
        // The file's own entry must survive a power cut as well.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unusable)?;
        let unreadable =
            |fault| StoreError::Open(format!("can't read {}: {}", file.display(), StoreError::from(fault)));
        rows::take_back(&writer).map_err(unreadable)?;
        if options.is_after_reset {
            outgrown(rows::outgrow_lost_claims(&writer)).map_err(unreadable)?;
        }
        let counts = reads::count(&writer).map_err(unreadable)?;
        let readers = (0..options.reader_threads.max(1))
            .map(|_| schema::open_reader(&file, options.page_cache_bytes / 4))
            .collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Shared::new(counts));
        Ok(SqliteStore {
            readers: Readers::start(readers, Arc::clone(&shared)).map_err(unusable)?,
            writer: Writer::start(writer, ballast, Arc::clone(&shared), metrics.store_commit_seconds.clone())
                .map_err(unusable)?,
            shared,
            _lock: lock,
        })
    }

    /// Groups of operations committed since the store was opened: how well commits are shared.
    pub fn commits(&self) -> u64 {
        self.shared.commits()
    }
}

/// What a failure to [outgrow lost claims](rows::outgrow_lost_claims) means at the start: a full disk must not keep the server from the
/// jobs whose removal would make room, and the worst is that a client waits for news of a job once more.
fn outgrown(tried: std::result::Result<(), Fault>) -> std::result::Result<(), Fault> {
    match tried {
        Err(fault) if fault.severity() == Severity::Full => {
            tracing::warn!(
                "the disk is full: versions of waiting jobs may be told twice after the machine's end"
            );
            Ok(())
        }
        tried => tried,
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, new: NewJob) -> Result<Inserted> {
        self.writer.call(move |tx| jobs::insert(tx, &new)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Found>> {
        self.readers.call(move |connection| reads::get(connection, id)).await
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>> {
        self.readers.call(move |connection| reads::list(connection, &filter)).await
    }

    async fn inline_bytes(&self, id: JobId, key: InlineKey) -> Result<Option<Bytes>> {
        self.readers.call(move |connection| reads::inline_bytes(connection, id, &key)).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>> {
        self.readers.call(reads::waiting).await
    }

    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Vec<Claimed>> {
        self.writer.call_unsynced(move |tx| claim::claim(tx, &request, now)).await
    }

    async fn claim_suspect(
        &self,
        worker: uuid::Uuid,
        is_alone: bool,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Option<Claimed>> {
        self.writer.call(move |tx| claim::claim_suspect(tx, worker, is_alone, lease_duration, now)).await
    }

    async fn extend(
        &self,
        leases: Vec<Lease>,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        self.writer.call_unsynced(move |tx| jobs::extend(tx, &leases, lease_duration, now)).await
    }

    async fn set_source(
        &self,
        lease: Lease,
        source: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<Option<Job>> {
        self.writer
            .call(move |tx| jobs::set_source(tx, &lease, source.clone(), inline.as_ref(), memory_bytes))
            .await
    }

    async fn finish(
        &self,
        finish: Finish,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        self.writer.call(move |tx| jobs::finish(tx, finish.clone(), &retention, &render, now)).await
    }

    async fn cancel(
        &self,
        id: JobId,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Found>> {
        self.writer.call(move |tx| jobs::cancel(tx, id, &retention, &render, now)).await
    }

    async fn retry(&self, id: JobId, now: Timestamp) -> Result<Retried> {
        self.writer.call(move |tx| jobs::retry(tx, id, now)).await
    }

    async fn delete(&self, id: JobId, now: Timestamp) -> Result<Option<Removed>> {
        self.writer.call(move |tx| jobs::delete(tx, id, now)).await
    }

    async fn reap(
        &self,
        reap: Reap,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        self.writer.call(move |tx| upkeep::reap(tx, reap, &retention, &render, now)).await
    }

    async fn purge(&self, retention: Retention, limit: usize, now: Timestamp) -> Result<Vec<Removed>> {
        self.writer.call(move |tx| upkeep::purge(tx, &retention, limit, now)).await
    }

    async fn claim_deliveries(&self, request: DeliveryRequest, now: Timestamp) -> Result<Vec<Delivery>> {
        self.writer.call_unsynced(move |tx| deliveries::claim(tx, &request, now)).await
    }

    async fn finish_delivery(
        &self,
        id: DeliveryId,
        attempt: u32,
        result: DeliveryResult,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        self.writer.call(move |tx| deliveries::finish(tx, id, attempt, &result, now)).await
    }

    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>> {
        self.readers.call(move |connection| log::of_job(connection, job)).await
    }

    async fn dead_letters(&self, filter: DeadLetters) -> Result<Vec<DeliveryRecord>> {
        self.readers.call(move |connection| log::dead_letters(connection, &filter)).await
    }

    async fn redeliver(&self, job: JobId, now: Timestamp) -> Result<Redelivered> {
        self.writer.call(move |tx| log::redeliver(tx, job, now)).await
    }

    async fn redeliver_dead_letters(
        &self,
        since: Timestamp,
        receiver: Option<String>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        self.writer
            .call(move |tx| log::redeliver_dead_letters(tx, since, receiver.as_deref(), limit, now))
            .await
    }

    async fn failing_receivers(&self, limit: usize) -> Result<Vec<Receiver>> {
        self.readers.call(move |connection| log::failing_receivers(connection, limit)).await
    }

    async fn enable_receiver(&self, receiver: String) -> Result<bool> {
        self.writer.call(move |tx| receivers::enable(tx, &receiver)).await
    }

    async fn counts(&self) -> Result<Counts> {
        match self.shared.broken() {
            Some(broken) => Err(broken),
            None => Ok(self.shared.counts()),
        }
    }

    async fn counts_of(&self, owner: KeyId) -> Result<Counts> {
        self.readers.call(move |connection| reads::count_of(connection, &owner)).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<NextDue> {
        self.readers.call(move |connection| reads::next_due(connection, now)).await
    }

    async fn check(&self) -> Result<()> {
        let written = self.writer.call(upkeep::check).await?;
        match self.readers.call(reads::checked).await? {
            read if read >= written => Ok(()),
            _ => Err(StoreError::Unavailable("a commit can't be read back".to_owned())),
        }
    }
}
