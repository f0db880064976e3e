//! Housekeeping on a schedule: gauges, expired leases, expired jobs, orphaned blobs.

use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::changes::refers_to;
use super::{Lookup, Queue, QueueError};
use crate::blob::BlobKey;
use crate::store::Reap;

/// Between two looks at the gauges.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks for leases that ran out.
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// Between two purges.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// Jobs removed in one transaction of a purge.
const PURGE_JOBS_MAX: usize = 200;
/// Between two sweeps for blobs that no job knows.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How old an unknown blob must be: its job may be about to be inserted.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps house until told to stop. A failed chore is logged and done again at its next turn.
pub async fn run(queue: Queue, shutdown: impl Future<Output = ()>) {
    let chores = async {
        tokio::join!(
            every(COUNTS_INTERVAL, "count jobs", || queue.refresh_counts()),
            every(REAP_INTERVAL, "take back expired leases", || queue.reap()),
            every(PURGE_INTERVAL, "remove expired jobs", || queue.purge()),
            every(SWEEP_INTERVAL, "remove orphaned blobs", || queue.sweep()),
        )
    };
    tokio::select! {
        _ = chores => {}
        () = shutdown => {}
    }
}

async fn every<F: Future<Output = Result<(), QueueError>>>(
    interval: Duration,
    chore: &str,
    work: impl Fn() -> F,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = work().await {
            tracing::error!(chore, %error, "housekeeping failed; it will be tried again");
        }
    }
}

impl Queue {
    /// Takes back running jobs whose lease has run out.
    pub async fn reap(&self) -> Result<(), QueueError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let retention = shared.config.retention;
        for job in shared.store.reap(Reap::Expired, retention, shared.render.clone(), now).await? {
            tracing::warn!(job.id = %job.id, job.attempt = job.attempt, "the lease of an attempt ran out");
            let job = self.publish(job);
            if job.status.is_terminal() {
                self.count_end(&job);
            }
        }
        Ok(())
    }

    /// Removes what has expired, bytes included.
    pub async fn purge(&self) -> Result<(), QueueError> {
        loop {
            let shared = &self.shared;
            let retention = shared.config.retention;
            let removed = shared.store.purge(retention, PURGE_JOBS_MAX, shared.clock.now()).await?;
            let is_last = removed.len() < PURGE_JOBS_MAX;
            for removed in removed {
                self.forget(removed).await;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Removes old blobs that no job knows: left by a crash between storing bytes and storing the row.
    pub async fn sweep(&self) -> Result<(), QueueError> {
        let before = self.shared.clock.now().minus(ORPHAN_AGE);
        let mut old = self.shared.blobs.older_than(before);
        let unavailable = |error: crate::blob::BlobError| QueueError::Unavailable(error.to_string());
        while let Some((id, key)) = old.try_next().await.map_err(unavailable)? {
            let is_known = match self.get(id).await? {
                Lookup::Gone | Lookup::Unknown => false,
                Lookup::Job(job) => {
                    let is_running = |attempt: u32| attempt >= job.attempt && !job.status.is_terminal();
                    refers_to(&job, &key)
                        || matches!(&key, BlobKey::Output { attempt, .. } if is_running(*attempt))
                }
            };
            if !is_known {
                tracing::info!(job.id = %id, "an orphaned blob is removed");
                self.shared.blobs.delete(&key).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }
}
