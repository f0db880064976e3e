//! The truth about jobs: one trait, and the engines that keep it.
//!
//! Every method is exactly one transaction: when it returns `Ok`, the change is on stable storage (claims and leases may wait for the
//! next one that is: a power cut undoes them, and they are made again); when it returns `Err`, nothing has changed. A caller that drops the future takes nothing back: what was sent may still be done. What a verb means is decided by the pure methods of [`Job`]; an engine loads, calls, saves and keeps its indexes. Called by
//! `queue` (and built by `app`), by nobody else. No handle to the engine, no SQL and no open transaction ever leaves this room.

pub mod memory;
pub mod sqlite;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::job::{
    Attempt, Delivery, DeliveryId, DeliveryRecord, DeliveryResult, Job, JobId, KeyId, Lease, Loss, Outcome,
    Receiver, Render, Retention, SourceInfo, Status,
};

/// Why a transaction did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left where the store lives. Nothing was changed; may work again once there is room.
    #[error("no space left for the job store")]
    Full,
    /// The store can't commit. After a failed write or fsync it stays so until a restart, which also shows whether the change survived.
    #[error("the job store is unavailable: {0}")]
    Unavailable(String),
    /// A stored row can't be read: damage, or a newer version's work.
    #[error("a stored job can't be read: {0}")]
    Corrupt(String),
    /// The store can't be opened; the text says what to do.
    #[error("{0}")]
    Open(String),
}

/// Shorthand of this room.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An idempotency key that comes with a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's key.
    pub key: String,
    /// SHA-256 over the canonical spec and every part's digest.
    pub fingerprint: [u8; 32],
    /// [`Retention::idempotency_keys`]: a stored key this old at the new job's `created_at` doesn't match any more, purged or not.
    pub kept: Duration,
}

/// A job to be inserted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The record, as [`Job::submitted`] made it.
    pub job: Job,
    /// The source's bytes when `job.source.inline`.
    pub inline_source: Option<Bytes>,
    /// Bytes of the assets marked `inline`, by name.
    pub inline_assets: Vec<(String, Bytes)>,
    /// Commits with the job.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// What became of an insert.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is stored.
    Created(Job),
    /// The same key and fingerprint were there before: the job as it is now.
    Duplicate(Job),
    /// The same key and fingerprint were there before, and the job is gone.
    DuplicateGone(JobId),
    /// The same key was used for something else.
    Mismatch,
}

/// A job that is there, or was.
#[derive(Clone, Debug)]
pub enum Found {
    /// The record.
    Job(Box<Job>),
    /// Deleted or expired; remembered for [`Retention::tombstones`], and whose it was.
    Gone(Option<KeyId>),
}

/// Which jobs to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only this status.
    pub status: Option<Status>,
    /// Only this tag.
    pub tag: Option<String>,
    /// Only jobs that this key has submitted.
    pub owner: Option<KeyId>,
    /// Only jobs older (smaller id) than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// What the runner has room for, and whose turn it is.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Fresh per boot: who claims.
    pub worker: uuid::Uuid,
    /// Most jobs whose source is stored.
    pub ready_max: usize,
    /// Most jobs whose source must be fetched first.
    pub fetch_max: usize,
    /// Bytes of memory the ready jobs may sum up to. The head of the line is never passed over: where it does not fit, nothing is claimed.
    pub memory_bytes_max: u64,
    /// How long the lease runs.
    pub lease_duration: Duration,
    /// Whose jobs are taken, one a turn, of those whose source is stored. Who has none is passed over; room that is left after all turns
    /// goes to whoever else waits, in the order of their names.
    pub ready_turns: Vec<Option<KeyId>>,
    /// The same of jobs whose source must be fetched first.
    pub fetch_turns: Vec<Option<KeyId>>,
}

/// A claimed job with its right to run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The record, running.
    pub job: Job,
    /// The fence.
    pub lease: Lease,
    /// The source's bytes when `job.source.inline`.
    pub inline_source: Option<Bytes>,
}

/// What an extended lease is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// It runs on.
    Held,
    /// It runs on, and somebody asked for the job to be cancelled.
    CancelRequested,
    /// It is no longer the job's lease: stop, publish nothing.
    Lost,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The fence.
    pub lease: Lease,
    /// How it ended.
    pub outcome: Outcome,
    /// What it has to show.
    pub attempt: Attempt,
    /// Bytes of the outputs marked `inline`, by name.
    pub inline_outputs: Vec<(String, Bytes)>,
}

/// Which bytes of a job live in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InlineKey {
    /// The source.
    Source,
    /// The output of this name.
    Output(String),
    /// The asset of this name.
    Asset(String),
}

impl InlineKey {
    /// Its one name among a job's bytes: outputs have their own, which is never empty and has no colon.
    fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            InlineKey::Source => "".into(),
            InlineKey::Output(name) => name.into(),
            InlineKey::Asset(name) => format!("asset:{name}").into(),
        }
    }
}

/// What became of a retry.
#[derive(Clone, Debug)]
pub enum Retried {
    /// Queued again.
    Queued(Box<Job>),
    /// Not failed or cancelled; or its source was never stored and can't be had again.
    WrongState(Box<Job>),
    /// Deleted or expired.
    Gone,
    /// Never heard of.
    Unknown,
}

/// A job that was removed: what must go with it.
#[derive(Clone, Debug)]
pub struct Removed {
    /// The record as it was.
    pub job: Job,
}

/// Which running jobs to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reap {
    /// Those whose lease ran out.
    Expired,
    /// Those of every worker but this one, whose process has ended: at boot of the only process on the store. Who was running when it died
    /// of [`Loss::Process`] becomes a suspect; of [`Loss::Server`], who was being read for the plan. Claimed deliveries become due again, too.
    OthersThan(uuid::Uuid, Loss),
}

/// What the gauges show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs by status, in the order of [`Status::ALL`].
    pub jobs: [u64; 5],
    /// Deliveries that are pending, delivered, failed.
    pub deliveries: [u64; 3],
}

/// When something becomes due without anybody asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextDue {
    /// Earliest `run_at` of a queued job that lies in the future.
    pub job: Option<Timestamp>,
    /// Earliest next attempt of a delivery.
    pub delivery: Option<Timestamp>,
}

/// A job in the waiting line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: JobId,
    /// Its priority.
    pub priority: i8,
    /// Since when it has been due.
    pub run_at: Timestamp,
    /// Whether it has to run alone.
    pub is_suspect: bool,
    /// Whether it also waits until nothing else is to be done: somebody asked for it to be tried again.
    pub is_retried: bool,
    /// Whether its source must be fetched first.
    pub needs_fetch: bool,
    /// The key that submitted it.
    pub owner: Option<KeyId>,
}

/// What a deliverer has room for.
#[derive(Clone, Debug)]
pub struct DeliveryRequest {
    /// Most deliveries in all.
    pub limit: usize,
    /// Most of them to receivers that have taken nothing since they last failed.
    pub failing_max: usize,
    /// Most to one receiver.
    pub places: usize,
    /// The same for receivers that have another number of places.
    pub places_of: HashMap<String, usize>,
    /// How long nobody else gets them.
    pub lease_duration: Duration,
}

impl DeliveryRequest {
    /// Places of a receiver.
    fn places(&self, receiver: &str) -> usize {
        self.places_of.get(receiver).copied().unwrap_or(self.places).min(self.limit)
    }
}

/// Due deliveries of one receiver that has places, earliest first, each with the moment at which it came due.
struct DueOf<K> {
    is_failing: bool,
    due: Vec<K>,
}

/// Chooses among receivers, who stand in the order in which their earliest deliveries came due: one delivery each, then a second one of
/// those who have more, and so on. Whoever has a thousand due delays nobody who has one.
fn in_turns<K: Copy + Ord>(receivers: &[DueOf<K>], limit: usize, failing_max: usize) -> Vec<K> {
    let mut chosen = Vec::new();
    let mut failing_left = failing_max;
    let rounds = receivers.iter().map(|receiver| receiver.due.len()).max().unwrap_or(0);
    for round in 0..rounds {
        for receiver in receivers {
            let Some(key) = receiver.due.get(round) else { continue };
            if chosen.len() == limit || (receiver.is_failing && failing_left == 0) {
                continue;
            }
            failing_left -= usize::from(receiver.is_failing);
            chosen.push(*key);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Which deliveries to list that were given up; newest first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    /// Only those to this receiver.
    pub receiver: Option<String>,
    /// Only those older (smaller id) than this one.
    pub before: Option<DeliveryId>,
    /// At most so many.
    pub limit: usize,
}

/// What became of the wish to send a job's last delivery again.
#[derive(Clone, Debug)]
pub enum Redelivered {
    /// It is due; the job it belongs to.
    Due(Box<Job>),
    /// The job has none: it has no webhook, has not ended, ended with an event that nobody wanted, or it was too long ago.
    Nothing(Box<Job>),
    /// Deleted or expired.
    Gone,
    /// Never heard of.
    Unknown,
}

/// The truth about jobs.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Stores a new job; an idempotency key, one of the job's owner, decides between created and duplicate. The time is the job's `created_at`. A job whose id is
    /// there already is a duplicate too: the same insert may be run twice.
    async fn insert(&self, new: NewJob) -> Result<Inserted>;
    /// The job, or that it is gone, or that it was never there.
    async fn get(&self, id: JobId) -> Result<Option<Found>>;
    /// Jobs, newest first. A row that can't be read is left out and logged.
    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>>;
    /// Bytes that live in the store.
    async fn inline_bytes(&self, id: JobId, key: InlineKey) -> Result<Option<Bytes>>;
    /// Jobs that are queued, in the order in which each owner's will be claimed (priority, then age); also those due later.
    async fn waiting(&self) -> Result<Vec<Waiting>>;
    /// Hands out due jobs by turns of their owners, each owner's highest priority first, then oldest: jobs whose source is stored and jobs that must fetch it wait in two lines
    /// that don't hold each other up. A row that can't be read is set aside and logged.
    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Vec<Claimed>>;
    /// Hands out one of the due jobs that were running when a process died, which [`JobStore::claim`] passes over: the one with most
    /// deaths, then the oldest. `is_alone` tells whether anything else runs.
    async fn claim_suspect(
        &self,
        worker: uuid::Uuid,
        is_alone: bool,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Option<Claimed>>;
    /// Extends leases to `now + lease_duration`; one answer each, in order.
    async fn extend(
        &self,
        leases: Vec<Lease>,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Vec<Extended>>;
    /// The running attempt has fetched its source. `None`: the lease is lost.
    async fn set_source(
        &self,
        lease: Lease,
        source: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<Option<Job>>;
    /// Ends an attempt, and with it perhaps the job and its announcement. `None`: the lease is lost, drop the outputs. The bytes of
    /// `inline_outputs` are kept only if the job succeeded.
    async fn finish(
        &self,
        finish: Finish,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Job>>;
    /// Cancels: a queued job ends at once and is announced, a running one is asked to stop, an ended one stays as it is. `None`: never
    /// heard of it.
    async fn cancel(
        &self,
        id: JobId,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Found>>;
    /// Queues a failed or cancelled job again.
    async fn retry(&self, id: JobId, now: Timestamp) -> Result<Retried>;
    /// Removes a job in any state with its bytes and deliveries, leaving a tombstone. `None`: never heard of it, or gone before. What was
    /// not announced never will be, and a pending delivery is dropped: who deletes a job wants to hear no more of it. The lease of a
    /// running attempt is lost.
    async fn delete(&self, id: JobId, now: Timestamp) -> Result<Option<Removed>>;
    /// Takes running jobs back whose attempt has died.
    async fn reap(
        &self,
        reap: Reap,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Vec<Job>>;
    /// Removes at most `limit` expired jobs (not before their deliveries have ended), leaving tombstones, and at most `limit` each of old
    /// tombstones, ended deliveries and keys, the oldest first.
    async fn purge(&self, retention: Retention, limit: usize, now: Timestamp) -> Result<Vec<Removed>>;
    /// Hands out due deliveries, in turns among receivers, whose oldest come first. Nobody else gets them until the lease ends; then they are
    /// due again, as the next attempt.
    async fn claim_deliveries(&self, request: DeliveryRequest, now: Timestamp) -> Result<Vec<Delivery>>;
    /// Records an attempt; the job with its webhook state, or `None` when the job is gone or the attempt is not the current one. A delivery
    /// of an earlier end (the job has been retried since) is recorded without changing what the job shows.
    async fn finish_delivery(
        &self,
        id: DeliveryId,
        attempt: u32,
        result: DeliveryResult,
        now: Timestamp,
    ) -> Result<Option<Job>>;
    /// Deliveries of a job with all their attempts, newest first.
    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>>;
    /// Deliveries that were given up, each with its last attempt.
    async fn dead_letters(&self, filter: DeadLetters) -> Result<Vec<DeliveryRecord>>;
    /// Makes a job's last delivery due, its schedule beginning anew. One that is being sent stays as it is.
    async fn redeliver(&self, job: JobId, now: Timestamp) -> Result<Redelivered>;
    /// Makes at most `limit` deliveries due that were given up at `since` or later; their jobs. Nothing left: an empty list.
    async fn redeliver_dead_letters(
        &self,
        since: Timestamp,
        receiver: Option<String>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Job>>;
    /// Receivers that take nothing at present, by name.
    async fn failing_receivers(&self, limit: usize) -> Result<Vec<Receiver>>;
    /// Forgets that a receiver has failed; whether that was known of it.
    async fn enable_receiver(&self, receiver: String) -> Result<bool>;
    /// Gauges; costs the same however many jobs there are.
    async fn counts(&self) -> Result<Counts>;
    /// The same of one owner's jobs and their deliveries; costs what the owner has kept.
    async fn counts_of(&self, owner: KeyId) -> Result<Counts>;
    /// What becomes due next, later than `now`.
    async fn next_due(&self, now: Timestamp) -> Result<NextDue>;
    /// Commits something and reads it back.
    async fn check(&self) -> Result<()>;
}
