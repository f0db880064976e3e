//! The gauges of the queue: of everybody, and of one key's jobs alone.
//!
//! What waits, runs and has just ended is known in memory; what is kept, the store counts. Asked by `server` for `/v1/stats`, and by
//! `upkeep` for the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Queue, QueueError};
use crate::clock::Timestamp;
use crate::job::{DeliveryStatus, KeyId, Status};
use crate::store::Counts;
use crate::telemetry::StatusLabel;

/// How long a count of one key's jobs is good.
const COUNTS_KEPT: Duration = Duration::from_secs(2);
/// A count takes at most one part in so many of a reader's time, however much the key has kept.
const COUNTS_SHARE: u32 = 20;

/// The gauges of the queue, of everybody's jobs or of one key's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Jobs waiting, due or not.
    pub queued: u64,
    /// Jobs running.
    pub running: u64,
    /// Jobs kept that succeeded.
    pub succeeded: u64,
    /// Jobs kept that failed.
    pub failed: u64,
    /// Jobs kept that were cancelled.
    pub cancelled: u64,
    /// How long the oldest due job has waited, in seconds.
    pub oldest_queued_seconds: Option<f64>,
    /// Jobs that ended in the last sixty seconds.
    pub finished_last_minute: u64,
    /// Mean wait for a turn, in seconds, of the jobs that ended in the last sixty seconds.
    pub wait_seconds_last_minute: Option<f64>,
    /// Time of workers, in seconds, that attempts had taken that ended in the last sixty seconds.
    pub worker_seconds_last_minute: f64,
    /// Bytes of memory that running jobs are planned to need.
    pub running_memory_bytes: u64,
    /// Deliveries waiting for an attempt.
    pub deliveries_pending: u64,
    /// Deliveries kept that arrived.
    pub deliveries_delivered: u64,
    /// Deliveries kept that were given up.
    pub deliveries_failed: u64,
}

/// What one key uses of the queue, known without asking the store.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KeyUse {
    /// Jobs waiting, due or not.
    pub queued: u64,
    /// Jobs running.
    pub running: u64,
    /// Jobs that may wait.
    pub queue_places: u64,
    /// Jobs that ended in the last sixty seconds.
    pub finished_last_minute: u64,
    /// Time of workers, in seconds, that attempts had taken that ended in the last sixty seconds.
    pub worker_seconds_last_minute: f64,
}

/// Counts of single keys' jobs, each until it is too old.
#[derive(Debug, Default)]
pub(super) struct KeyCounts(Mutex<HashMap<KeyId, (Counts, Instant)>>);

impl KeyCounts {
    fn get(&self, key: &KeyId) -> Option<Counts> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(key).filter(|(_, until)| Instant::now() < *until).map(|(counts, _)| *counts)
    }

    fn put(&self, key: &KeyId, counts: Counts, taken: Duration) {
        let until = Instant::now() + COUNTS_KEPT.max(taken * COUNTS_SHARE);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), (counts, until));
    }
}

impl Queue {
    /// The gauges of all jobs, at most a second old.
    pub fn stats(&self) -> Stats {
        let now = self.shared.clock.now();
        let counts = *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, running, ..] = counts.jobs;
        let line = &self.shared.line;
        let stats = self.with_counts(None, &counts, now);
        Stats {
            queued: line.len() as u64,
            running,
            oldest_queued_seconds: line.oldest(now).map(|since| now.since(since).as_secs_f64()),
            running_memory_bytes: line.running_memory_bytes(),
            ..stats
        }
    }

    /// The gauges of one key's jobs; what is kept of them was counted some seconds ago at most, or longer where counting takes long.
    pub async fn stats_of(&self, key: &KeyId) -> Result<Stats, QueueError> {
        let shared = &self.shared;
        let counts = match shared.key_counts.get(key) {
            Some(counts) => counts,
            None => {
                let began = Instant::now();
                let counts = shared.store.counts_of(key.clone()).await?;
                shared.key_counts.put(key, counts, began.elapsed());
                counts
            }
        };
        let now = shared.clock.now();
        let standing = shared.line.standing(&Some(key.clone()), now);
        Ok(Stats {
            queued: standing.queued,
            running: standing.running,
            oldest_queued_seconds: standing.oldest.map(|since| now.since(since).as_secs_f64()),
            running_memory_bytes: standing.memory_bytes,
            ..self.with_counts(Some(key), &counts, now)
        })
    }

    /// What a key uses of the queue at this moment.
    pub fn use_of(&self, key: &KeyId) -> KeyUse {
        let shared = &self.shared;
        let (now, owner) = (shared.clock.now(), Some(key.clone()));
        let standing = shared.line.standing(&owner, now);
        let minute = shared.throughput.last_minute(Some(key), now);
        KeyUse {
            queued: standing.queued,
            running: standing.running,
            queue_places: shared.line.places(&owner, shared.config.queued_max) as u64,
            finished_last_minute: minute.ended,
            worker_seconds_last_minute: minute.worker_seconds,
        }
    }

    fn with_counts(&self, of: Option<&KeyId>, counts: &Counts, now: Timestamp) -> Stats {
        let [_, _, succeeded, failed, cancelled] = counts.jobs;
        let [deliveries_pending, deliveries_delivered, deliveries_failed] = counts.deliveries;
        let minute = self.shared.throughput.last_minute(of, now);
        Stats {
            succeeded,
            failed,
            cancelled,
            finished_last_minute: minute.ended,
            wait_seconds_last_minute: minute.wait_seconds,
            worker_seconds_last_minute: minute.worker_seconds,
            deliveries_pending,
            deliveries_delivered,
            deliveries_failed,
            ..Stats::default()
        }
    }

    /// Asks the store for its counts, for [`Queue::stats`] and the metrics.
    pub(super) async fn refresh_counts(&self) -> Result<(), QueueError> {
        let shared = &self.shared;
        let counts = shared.store.counts().await?;
        *shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        for (status, count) in Status::ALL.into_iter().zip(counts.jobs) {
            let gauge =
                shared.metrics.jobs_current.get_or_create_owned(&StatusLabel { status: status.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (status, count) in DeliveryStatus::ALL.into_iter().zip(counts.deliveries) {
            let label = StatusLabel { status: status.name() };
            let gauge = shared.metrics.deliveries_current.get_or_create_owned(&label);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let oldest = self.stats().oldest_queued_seconds.unwrap_or(0.0);
        shared.metrics.oldest_queued_job_seconds.set(oldest);
        Ok(())
    }
}
