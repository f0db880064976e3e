//! Housekeeping on a schedule: gauges, room on the disk, expired leases, expired jobs, orphaned blobs.

use std::collections::HashSet;
use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::changes::refers_to;
use super::{Lookup, Queue, QueueError};
use crate::blob::{BlobError, BlobKey, Space};
use crate::clock::Timestamp;
use crate::store::Reap;

/// Between two looks at the gauges.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the room on the disk.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks whether the clock tells the right day.
const TIME_INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks for leases that ran out.
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// Between two purges.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// Jobs removed in one transaction of a purge.
const PURGE_JOBS_MAX: usize = 200;
/// The same while room is low: even a removal is written down first, and the room for that is small.
const PURGE_JOBS_MAX_LOW: usize = 10;
/// Between two sweeps for blobs that no job knows.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How old an unknown blob must be: its job may be about to be inserted.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most orphans remembered from one sweep to the next; of more, the rest waits its turn.
const ORPHANS_MAX: usize = 100_000;

/// Keeps house until told to stop. A failed chore is logged, once while it fails in the same way, and done again at its next turn.
pub async fn run(queue: Queue, shutdown: impl Future<Output = ()>) {
    let chores = async {
        tokio::join!(
            every(COUNTS_INTERVAL, "count jobs", || queue.refresh_counts()),
            every(SPACE_INTERVAL, "look after room on the disk", || queue.keep_space()),
            every(TIME_INTERVAL, "look after the clock", || queue.keep_time()),
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
    let mut known = None;
    loop {
        ticks.tick().await;
        let failed = work().await.err();
        if let Some(error) = failed.as_ref().filter(|_| failed != known) {
            tracing::error!(chore, %error, "housekeeping failed; it will be tried again");
        }
        known = failed;
    }
}

impl Queue {
    /// Takes back running jobs whose lease has run out. Not after a leap of the clock or a sleep of the machine: who holds a lease had no
    /// chance to extend it then, and gets a whole lease's time to do so.
    pub async fn reap(&self) -> Result<(), QueueError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let is_fair = {
            let mut turns = shared.reaper.lock().unwrap_or_else(PoisonError::into_inner);
            turns.take(now, shared.config.lease_duration)
        };
        if !is_fair {
            return Ok(());
        }
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
            let is_low = shared.is_space_low.load(Ordering::Acquire);
            let limit = if is_low { PURGE_JOBS_MAX_LOW } else { PURGE_JOBS_MAX };
            let removed = shared.store.purge(retention, limit, shared.clock.now()).await?;
            let is_last = removed.len() < limit;
            for removed in removed {
                self.forget(removed).await;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sets a clock right that began on the wrong day, while no job is running.
    async fn keep_time(&self) -> Result<(), QueueError> {
        if self.stats().running == 0
            && let Some(seconds) = self.shared.clock.step_if_far()
        {
            tracing::warn!(
                seconds,
                "the clock was on another day than the system's; it is set right, and what it has dated stays so"
            );
            self.wake();
        }
        Ok(())
    }

    /// Looks at the room on the disk; while it is low, what has expired is removed at once.
    async fn keep_space(&self) -> Result<(), QueueError> {
        self.look_at_space().await?;
        if self.shared.is_space_low.load(Ordering::Acquire) {
            self.purge().await?;
        }
        Ok(())
    }

    /// Looks at the room on the disk, and takes new work or doesn't from now on.
    pub(super) async fn look_at_space(&self) -> Result<(), QueueError> {
        let space = self.shared.blobs.space().await.map_err(unavailable)?;
        self.note_space(space);
        Ok(())
    }

    fn note_space(&self, space: Space) {
        let is_low = space.is_low();
        let left = space.free_bytes.saturating_sub(space.reserve_bytes());
        self.shared.space_bytes.store(i64::try_from(left).unwrap_or(i64::MAX), Ordering::Release);
        if self.shared.is_space_gone.swap(space.is_nearly_gone(), Ordering::AcqRel) != space.is_nearly_gone()
        {
            tracing::warn!(
                free_bytes = space.free_bytes,
                begins_jobs = !space.is_nearly_gone(),
                "the room on the disk decides whether queued jobs may begin"
            );
        }
        if self.shared.is_space_low.swap(is_low, Ordering::AcqRel) == is_low {
            return;
        }
        let (free_bytes, reserve_bytes) = (space.free_bytes, space.reserve_bytes());
        if is_low {
            tracing::warn!(
                free_bytes,
                reserve_bytes,
                "the disk is nearly full: no new jobs until there is room"
            );
        } else {
            tracing::info!(free_bytes, reserve_bytes, "there is room on the disk: new jobs are taken again");
        }
    }

    /// Removes old blobs that no job knows: left by a crash between storing bytes and storing the row. Only what the last sweep met, too:
    /// the age of a file is told by a clock that can be set, and a young one's job may be about to be inserted.
    pub async fn sweep(&self) -> Result<(), QueueError> {
        let before = self.shared.clock.now().minus(ORPHAN_AGE);
        let suspected = self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut orphans = HashSet::new();
        let mut old = self.shared.blobs.older_than(before);
        while let Some((id, key)) = old.try_next().await.map_err(unavailable)? {
            let is_known = match self.get(id).await {
                Ok(Lookup::Gone(_) | Lookup::Unknown) => false,
                // It may be that job's; those that follow are not.
                Err(QueueError::Corrupt(_)) => true,
                Err(error) => return Err(error),
                Ok(Lookup::Job(job)) => {
                    let is_running = |attempt: u32| attempt >= job.attempt && !job.status.is_terminal();
                    refers_to(&job, &key)
                        || matches!(&key, BlobKey::Output { attempt, .. } if is_running(*attempt))
                }
            };
            if is_known {
                continue;
            }
            if suspected.contains(&key) {
                tracing::info!(job.id = %id, "an orphaned blob is removed");
                self.shared.blobs.delete(&key).await.map_err(unavailable)?;
            } else if orphans.len() < ORPHANS_MAX {
                orphans.insert(key);
            }
        }
        let staged = self.shared.blobs.remove_staged(before).await.map_err(unavailable)?;
        if staged > 0 {
            tracing::info!(files = staged, "what killed puts had left behind was removed");
        }
        *self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner) = orphans;
        Ok(())
    }
}

/// When the reaper looked last, and whether it may act on what it sees.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl Turns {
    /// Takes a turn; whether leases that have run out by now really were not extended.
    fn take(&mut self, now: Timestamp, lease_duration: Duration) -> bool {
        let leapt = self.last.is_some_and(|last| now < last || now.since(last) >= lease_duration);
        self.last = Some(now);
        if leapt {
            tracing::info!("time has leapt: leases that seem to have run out are given another term");
            self.not_before = Some(now.plus(lease_duration));
        }
        self.not_before.is_none_or(|not_before| now >= not_before)
    }
}

fn unavailable(error: BlobError) -> QueueError {
    QueueError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blob::Blobs;
    use crate::clock::Clock;
    use crate::job::JobId;
    use crate::pipeline::Pipeline;
    use crate::queue::Config;
    use crate::queue::submit::Submission;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn no_new_job_is_taken_while_the_disk_is_nearly_full() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let store = Arc::new(MemoryStore::default());
        let metrics = Metrics::new();
        let queue = Queue::open(store, blobs, Config::default(), Clock::System, metrics).await.unwrap();
        let submission = || Submission {
            id: JobId::new(),
            spec: crate::job::JobSpec {
                source: crate::job::SourceSpec::Upload,
                pipeline: Pipeline::default(),
                preset: None,
                webhook: None,
                priority: 0,
                run_at: None,
                timeout: Duration::from_secs(60),
                max_attempts: 1,
                expires_in: None,
                tag: None,
                metadata: Default::default(),
            },
            source: None,
            owner: None,
            assets: Vec::new(),
            memory_bytes: 0,
            warnings: Vec::new(),
            trace_parent: None,
            idempotency_key: None,
        };
        let space = |free_bytes| Space { free_bytes, total_bytes: 1 << 40 };
        queue.note_space(space(1 << 20));
        assert_eq!(queue.admit(&None), Err(QueueError::StorageFull));
        assert_eq!(queue.submit(submission()).await.unwrap_err(), QueueError::StorageFull);
        assert_eq!(queue.admit(&None).unwrap_err(), QueueError::StorageFull);
        assert_eq!(queue.stats().queued, 0);
        queue.note_space(space(1 << 30));
        assert_eq!(queue.admit(&None), Ok(()));
        queue.submit(submission()).await.unwrap();
        assert_eq!(queue.stats().queued, 1);
        // One byte more than the reserve is no room for a job: it looks again, at the disk of this test.
        queue.note_space(space((64 << 20) + 1));
        queue.submit(submission()).await.unwrap();
        assert!(queue.shared.space_bytes.load(Ordering::Acquire) > 1);
        // What was taken is worked on while there is room to record its end.
        queue.note_space(space(1 << 20));
        assert!(queue.claim(9, 9, u64::MAX).await.unwrap().is_empty());
        queue.note_space(space(32 << 20));
        assert_eq!(queue.admit(&None), Err(QueueError::StorageFull));
        assert_eq!(queue.claim(9, 9, u64::MAX).await.unwrap().len(), 2);
    }
}
