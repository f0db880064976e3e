//! The verbs on jobs: the only writer of job state.
//!
//! Every change goes through here, is one store transaction, and is then shown on the [`board`] (the live view), in the waiting line
//! (who waits behind whom) and on the [`feed`]. Never decodes an image, never speaks HTTP. Called by `server` (submit, read, cancel …), by
//! `worker` (claim, extend, finish) and by `webhook` (claim and finish deliveries), which meet only here.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod board;
mod changes;
mod crowd;
mod deliveries;
mod estimate;
mod fair;
pub mod feed;
mod line;
mod looks;
mod reads;
pub mod retry;
mod stats;
mod submit;
mod throughput;
pub mod upkeep;
mod work;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::time::Duration;

use dashmap::DashSet;
use tokio::sync::Notify;

pub use board::Watch;
pub use changes::Retry;
pub use deliveries::{DELIVERY_LEASE, Redelivery};
pub use feed::{Feed, FeedItem};
pub use line::Forecast;
pub use looks::{LookError, Looker, Turn};
pub use reads::Lookup;
pub use stats::{KeyUse, Stats};
pub use submit::{IdempotencyClaim, KeyGuard, SourceBytes, Submission, Submitted};

pub use crate::store::{Claimed, DeadLetters, DeliveryRequest, Extended, Finish, InlineKey, ListFilter};

use crate::access::{self, Keyring, Keys};
use crate::blob::{BlobKey, Blobs};
use crate::clock::Clock;
use crate::job::{Event, Job, KeyId, Loss, Render, Retention};
use crate::links::LinkKey;
use crate::store::{Counts, JobStore, Reap, StoreError};
use crate::telemetry::Metrics;

/// Settings of the queue.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most jobs waiting. Default 100,000.
    pub queued_max: usize,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// What links in webhooks begin with, without a slash at the end.
    pub public_url: String,
    /// What signs links in webhooks. Default: one that nobody else has.
    pub link_key: LinkKey,
    /// How long such a link works. Default 9 d; as long as a webhook may be on its way, and a day.
    pub link_lifetime: Duration,
    /// Jobs that the live view holds at most; the store answers for the rest. Default 10,000.
    pub board_jobs_max: usize,
    /// How long a claimed job is safe from being given to somebody else. Default 30 s.
    pub lease_duration: Duration,
    /// Whether attempts run in processes of their own, so that the end of this one speaks against none of them. Default: no.
    pub is_isolated: bool,
    /// Who reads headers that take a parser, if not this process. Default: nobody.
    pub looker: Option<Arc<dyn Looker>>,
    /// The API keys whose jobs these are, with their shares. Default: none.
    pub keys: Keys,
    /// Jobs that are worked on at a time: what forecasts count with. Default 1.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            queued_max: 100_000,
            retention: Retention::default(),
            public_url: "http://127.0.0.1:8080".to_owned(),
            link_key: LinkKey::from_random(rand::random()),
            link_lifetime: Duration::from_secs(9 * 24 * 60 * 60),
            board_jobs_max: 10_000,
            lease_duration: Duration::from_secs(30),
            is_isolated: false,
            looker: None,
            keys: access::fixed(Keyring::default()),
            workers: 1,
        }
    }
}

/// Memory that the live view may take, about: jobs with large specifications push others off it.
const BOARD_BYTES_MAX: usize = 64 << 20;

/// Why a verb did not happen. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// As many jobs of this key wait as its share allows.
    #[error("this key's share of the queue is full; try again in {} s", retry_after.as_secs())]
    ShareFull {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The waiting line is as long as it may get.
    #[error("the queue is full; try again in {} s", retry_after.as_secs())]
    Full {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The store can't commit.
    #[error("{0}")]
    Unavailable(String),
    /// No space left, or only as much as the work taken already may need.
    #[error("no space left to store the job")]
    StorageFull,
    /// A stored row can't be read.
    #[error("{0}")]
    Corrupt(String),
}

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> QueueError {
        match error {
            StoreError::Full => QueueError::StorageFull,
            StoreError::Corrupt(detail) => QueueError::Corrupt(detail),
            StoreError::Unavailable(detail) | StoreError::Open(detail) => QueueError::Unavailable(detail),
        }
    }
}

/// The queue. Cheap to clone; all clones are one queue.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn JobStore>,
    blobs: Blobs,
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    render: Render,
    worker: uuid::Uuid,
    board: board::Board,
    line: line::Line,
    feed: feed::Ring,
    throughput: throughput::Throughput,
    looks: looks::Looks,
    keys_in_flight: Arc<DashSet<(Option<KeyId>, String)>>,
    submits_in_flight: AtomicUsize,
    /// As of the last look: new work would eat the room that is kept for what was taken already.
    is_space_low: AtomicBool,
    /// As of the last look: what is left is kept for ending what has begun.
    is_space_gone: AtomicBool,
    /// Bytes that submissions may take before the next look.
    space_bytes: AtomicI64,
    counts: std::sync::Mutex<Counts>,
    key_counts: stats::KeyCounts,
    reaper: std::sync::Mutex<upkeep::Turns>,
    /// Blobs that no job knew at the last sweep.
    orphans: std::sync::Mutex<HashSet<BlobKey>>,
    /// When the store was last asked for work of which the line knew nothing.
    asked_in_vain: std::sync::Mutex<Option<std::time::Instant>>,
    work_arrived: Notify,
    deliveries_arrived: Notify,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").field("worker", &self.shared.worker).finish_non_exhaustive()
    }
}

impl Queue {
    /// Takes over a store of which this process is the only user: what a dead one left running goes back into the line, its half-sent
    /// deliveries become due. Nothing is known of its death: whatever was running may have been the cause.
    pub async fn open(
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        config: Config,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Queue, QueueError> {
        Queue::open_after(Loss::Process, store, blobs, config, clock, metrics).await
    }

    /// The same for who knows how the last process ended.
    pub async fn open_after(
        loss: Loss,
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        config: Config,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Queue, QueueError> {
        let public_url = config.public_url.clone();
        let (link_key, link_lifetime) = (config.link_key.clone(), config.link_lifetime);
        let render: Render = Arc::new(move |job: &Job, event: Event, now| {
            let sign = |path: &str| link_key.sign(path, now.plus(link_lifetime));
            let body = crate::api::WebhookBody::new(job, event, now, &public_url, sign);
            serde_json::to_vec(&body).expect("the body is plain data with string keys").into()
        });
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let queue = Queue {
            shared: Arc::new(Shared {
                board: board::Board::new(config.board_jobs_max, BOARD_BYTES_MAX),
                line: line::Line::new(config.keys.clone(), config.workers, processors),
                feed: feed::Ring::new(clock.now()),
                throughput: throughput::Throughput::default(),
                looks: looks::Looks::new(config.looker.clone()),
                keys_in_flight: Arc::default(),
                submits_in_flight: AtomicUsize::new(0),
                is_space_low: AtomicBool::new(false),
                is_space_gone: AtomicBool::new(false),
                space_bytes: AtomicI64::new(0),
                counts: std::sync::Mutex::default(),
                key_counts: stats::KeyCounts::default(),
                reaper: std::sync::Mutex::default(),
                orphans: std::sync::Mutex::default(),
                asked_in_vain: std::sync::Mutex::default(),
                work_arrived: Notify::new(),
                deliveries_arrived: Notify::new(),
                worker: uuid::Uuid::new_v4(),
                store,
                blobs,
                config,
                clock,
                metrics,
                render,
            }),
        };
        queue.recover(loss).await?;
        Ok(queue)
    }

    async fn recover(&self, loss: Loss) -> Result<(), QueueError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let loss = match loss {
            // What attempts do in processes of their own, this one can't have died of.
            Loss::Process if shared.config.is_isolated => Loss::Server,
            other => other,
        };
        let others = Reap::OthersThan(shared.worker, loss);
        let reaped = shared.store.reap(others, shared.config.retention, shared.render.clone(), now).await?;
        if !reaped.is_empty() {
            tracing::info!(
                jobs = reaped.len(),
                "jobs that were running when the server last stopped are queued again"
            );
        }
        for job in reaped.iter().filter(|job| job.status.is_terminal()) {
            if let Some(error) = &job.error {
                tracing::error!(job.id = %job.id, code = error.code.name(), "{}", error.detail);
            }
            self.count_end(job);
        }
        for waiting in shared.store.waiting().await? {
            shared.line.enter(waiting, now);
        }
        self.refresh_counts().await?;
        shared.work_arrived.notify_one();
        shared.deliveries_arrived.notify_one();
        Ok(())
    }

    /// The time of this queue.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Shows a committed change to everybody who looks: board, line, feed, and whoever must act on it.
    fn publish(&self, job: Job) -> Arc<Job> {
        let shared = &self.shared;
        let job = Arc::new(job);
        let spread = || {
            let now = shared.clock.now();
            if let Some(taken) = shared.line.update(&job, now) {
                shared.throughput.worked(job.owner.as_ref(), now, taken);
            }
            shared.feed.push(&job);
        };
        if !shared.board.put(&job, spread) {
            return job;
        }
        if job.status == crate::job::Status::Queued {
            shared.work_arrived.notify_one();
        }
        if job.webhook.as_ref().is_some_and(|webhook| webhook.next_attempt_at.is_some()) {
            shared.deliveries_arrived.notify_one();
        }
        job
    }
}

#[async_trait::async_trait]
impl crate::job::Probe for Queue {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn readiness(&self) -> crate::job::Readiness {
        match self.shared.store.check().await {
            Ok(()) => crate::job::Readiness::Ready,
            Err(error) => crate::job::Readiness::NotReady(error.to_string()),
        }
    }
}
