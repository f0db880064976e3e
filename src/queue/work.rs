//! What a worker does to jobs: claim, extend, tell progress, finish.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Queue, QueueError, Watch};
use crate::clock::Timestamp;
use crate::job::transition::LIVE_VERSIONS;
use crate::job::{Job, JobId, Lease, SourceInfo, Status};
use crate::store::{ClaimRequest, Claimed, Extended, Finish};
use crate::telemetry::StatusLabel;

/// Longest sleep of a worker that waits for work: the store is asked at least this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Queue {
    /// Hands out due jobs, by turns of those who have submitted them: at most `ready_max` whose source is stored, together within `memory_bytes_max`, and `fetch_max` others: none
    /// of these while room on the disk is low, and none at all while there is hardly enough to record how they end.
    pub async fn claim(
        &self,
        ready_max: usize,
        fetch_max: usize,
        memory_bytes_max: u64,
    ) -> Result<Vec<Claimed>, QueueError> {
        let shared = &self.shared;
        if !self.may_begin() {
            return Ok(Vec::new());
        }
        // What is fetched takes room that those need who are to be recorded.
        let fetch_max = if shared.is_space_low.load(Ordering::Acquire) { 0 } else { fetch_max };
        let now = shared.clock.now();
        let (ready_turns, fetch_turns) = shared.line.turns(ready_max, fetch_max, now);
        if ready_turns.is_empty() && fetch_turns.is_empty() && !self.may_ask_in_vain() {
            return Ok(Vec::new());
        }
        let request = ClaimRequest {
            worker: shared.worker,
            ready_max,
            fetch_max,
            memory_bytes_max,
            lease_duration: shared.config.lease_duration,
            ready_turns,
            fetch_turns,
        };
        let claimed = shared.store.claim(request, now).await?;
        for claimed in &claimed {
            shared.metrics.job_wait_seconds.observe(now.since(claimed.job.run_at).as_secs_f64());
            self.publish(claimed.job.clone());
        }
        Ok(claimed)
    }

    /// Whether a due job waits that was running when the process died. Until all of them have cleared themselves, or have been found to be
    /// the cause, only one at a time may run, and nothing beside it: see [`Queue::claim_suspect`].
    pub fn has_suspects(&self) -> bool {
        self.may_begin() && self.shared.line.has_suspects(false, self.shared.clock.now())
    }

    /// Whether such a job waits that somebody asked to be tried again. It has to run alone like the others, but nobody waits for it to
    /// begin: it is for when nothing else is to be done.
    pub fn has_retried_suspects(&self) -> bool {
        self.may_begin() && self.shared.line.has_suspects(true, self.shared.clock.now())
    }

    /// Whether to ask the store for work of which the line knows nothing: the store is the truth, but to be told that there is none costs a
    /// transaction, and every submit and every end of an attempt makes a worker look.
    fn may_ask_in_vain(&self) -> bool {
        let mut asked = self.shared.asked_in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked.is_none_or(|asked| asked.elapsed() >= POLL_INTERVAL / 2);
        if is_due {
            *asked = Some(Instant::now());
        }
        is_due
    }

    /// Whether there is room on the disk to record how a job ends.
    fn may_begin(&self) -> bool {
        !self.shared.is_space_gone.load(Ordering::Acquire)
    }

    /// Hands out one due job of which the process may have died. `is_alone`: no other image is being worked on, so that another death while
    /// it runs speaks against this job; unless a header is being looked at.
    pub async fn claim_suspect(&self, is_alone: bool) -> Result<Option<Claimed>, QueueError> {
        let shared = &self.shared;
        let (now, lease_duration) = (shared.clock.now(), shared.config.lease_duration);
        let is_alone = is_alone && shared.looks.is_idle();
        let seen = shared.line.suspects(now);
        let claimed = shared.store.claim_suspect(shared.worker, is_alone, lease_duration, now).await?;
        match &claimed {
            Some(claimed) => {
                self.publish(claimed.job.clone());
            }
            None => shared.line.forget_suspects(&seen),
        }
        Ok(claimed)
    }

    /// Whether a job is due, as far as the line knows.
    pub fn has_due_work(&self) -> bool {
        self.shared.line.next_due(self.shared.clock.now()).0
    }

    /// Resolves when there may be work: a job arrived, or one has become due. At the latest after a second.
    pub async fn work_arrived(&self) {
        let now = self.shared.clock.now();
        let (_, next) = self.shared.line.next_due(now);
        let wait = next.map_or(POLL_INTERVAL, |at| at.since(now).min(POLL_INTERVAL));
        // Out of time means: look for yourself.
        let _in_time = tokio::time::timeout(wait, self.shared.work_arrived.notified()).await;
    }

    /// Lets those who wait for work look again, for instance after a manual clock was moved.
    pub fn wake(&self) {
        self.shared.work_arrived.notify_one();
        self.shared.deliveries_arrived.notify_one();
    }

    /// Watches a running attempt's job, to learn of a cancel or a removal.
    pub fn watch_attempt(&self, id: JobId) -> Watch {
        self.shared.board.watch(id)
    }

    /// Extends leases; one answer each, in order.
    pub async fn extend(&self, leases: Vec<Lease>) -> Result<Vec<Extended>, QueueError> {
        let shared = &self.shared;
        Ok(shared.store.extend(leases, shared.config.lease_duration, shared.clock.now()).await?)
    }

    /// Shows the progress of a running attempt, 0..1; not stored.
    pub fn progress(&self, lease: &Lease, progress: f32) {
        let change = |job: &mut Job| {
            let is_last = job.version % LIVE_VERSIONS == LIVE_VERSIONS - 1;
            if !job.is_held_by(lease) || progress <= job.progress || is_last {
                return false;
            }
            job.progress = progress;
            job.version += 1;
            true
        };
        self.shared.board.touch(lease.job, change, |job| self.shared.feed.push(job));
    }

    /// The attempt has fetched and stored its source. `None`: the lease is lost.
    pub async fn set_source(
        &self,
        lease: Lease,
        source: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<Option<Arc<Job>>, QueueError> {
        let job = self.shared.store.set_source(lease, source, inline, memory_bytes).await?;
        Ok(job.map(|job| self.publish(job)))
    }

    /// Ends an attempt. `None`: the lease is lost, and what the attempt has stored must go.
    pub async fn finish(&self, finish: Finish) -> Result<Option<Arc<Job>>, QueueError> {
        let shared = &self.shared;
        let (now, id) = (shared.clock.now(), finish.lease.job);
        let finished =
            shared.store.finish(finish, shared.config.retention, shared.render.clone(), now).await?;
        let Some(job) = finished else {
            self.look_again(id).await;
            return Ok(None);
        };
        let job = self.publish(job);
        if job.status.is_terminal() {
            self.count_end(&job);
        }
        Ok(Some(job))
    }

    /// Counts a job that has ended just now.
    pub(super) fn count_end(&self, job: &Job) {
        let shared = &self.shared;
        let now = job.finished_at.unwrap_or_default();
        let waited = job.started_at.map(|_| job.timings.queued);
        shared.throughput.ended(job.owner.as_ref(), now, waited);
        shared.metrics.jobs_finished.get_or_create_owned(&StatusLabel { status: job.status.name() }).inc();
        if let (Some(started), true) = (job.started_at, job.status != Status::Cancelled) {
            shared.metrics.job_run_seconds.observe(Timestamp::since(now, started).as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blobs;
    use crate::clock::Clock;
    use crate::queue::Config;
    use crate::store::sqlite::{Options, SqliteStore};
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn to_look_for_work_where_nobody_waits_costs_no_transaction() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let store = Arc::new(SqliteStore::open(directory.path(), Options::default()).unwrap());
        let queue = Queue::open(store.clone(), blobs, Config::default(), Clock::System, Metrics::new())
            .await
            .unwrap();
        let (commits, began) = (store.commits(), Instant::now());
        for _ in 0..100 {
            assert!(queue.claim(1, 1, u64::MAX).await.unwrap().is_empty());
        }
        let asked = u128::from(store.commits() - commits);
        let most = 1 + began.elapsed().as_millis() / (POLL_INTERVAL / 2).as_millis();
        assert!((1..=most).contains(&asked), "{asked} of at most {most}");
    }
}
