//! What people do to a job that is there: cancel, retry, delete.

use std::sync::Arc;

use super::{Lookup, Queue, QueueError};
use crate::blob::BlobKey;
use crate::job::{Job, JobId, Status};
use crate::store::{Found, Removed, Retried};

/// What became of a retry.
#[derive(Clone, Debug)]
pub enum Retry {
    /// It is queued again.
    Queued(Arc<Job>),
    /// It has not failed and was not cancelled.
    WrongState(Arc<Job>),
    /// It was deleted, or has expired.
    Gone,
    /// There never was one.
    Unknown,
}

impl Queue {
    /// Cancels: a queued job at once, a running one as soon as its attempt notices, an ended one not at all.
    pub async fn cancel(&self, id: JobId) -> Result<Lookup, QueueError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let found = shared.store.cancel(id, shared.config.retention, shared.render.clone(), now).await;
        let found = self.sure_of(id, found).await?;
        Ok(match found {
            // It had ended before: the board may have dropped it, so only the record tells.
            Some(Found::Job(job)) if job.status.is_terminal() && job.finished_at != Some(now) => {
                Lookup::Job(Arc::new(*job))
            }
            Some(Found::Job(job)) => {
                let job = self.publish(*job);
                if job.status == Status::Cancelled {
                    self.count_end(&job);
                }
                Lookup::Job(job)
            }
            Some(Found::Gone(owner)) => Lookup::Gone(owner),
            None => Lookup::Unknown,
        })
    }

    /// Queues a failed or cancelled job again, from its stored source.
    pub async fn retry(&self, id: JobId) -> Result<Retry, QueueError> {
        let owner = match self.get(id).await? {
            Lookup::Job(job) => job.owner.clone(),
            Lookup::Gone(_) => return Ok(Retry::Gone),
            Lookup::Unknown => return Ok(Retry::Unknown),
        };
        self.admit(&owner)?;
        Ok(match self.sure_of(id, self.shared.store.retry(id, self.shared.clock.now()).await).await? {
            Retried::Queued(job) => Retry::Queued(self.publish(*job)),
            Retried::WrongState(job) => Retry::WrongState(Arc::new(*job)),
            Retried::Gone => Retry::Gone,
            Retried::Unknown => Retry::Unknown,
        })
    }

    /// Removes a job in any state, with its source and outputs; whether it was there. A running attempt notices and stops.
    pub async fn delete(&self, id: JobId) -> Result<bool, QueueError> {
        let removed = self.shared.store.delete(id, self.shared.clock.now()).await;
        let Some(removed) = self.sure_of(id, removed).await? else { return Ok(false) };
        self.forget(removed).await;
        Ok(true)
    }

    /// Passes on what the store answered to a change. After an error the change may have happened all the same, if only its answer was lost.
    async fn sure_of<T>(&self, id: JobId, answer: crate::store::Result<T>) -> Result<T, QueueError> {
        if answer.is_err() {
            self.look_again(id).await;
        }
        Ok(answer?)
    }

    /// Shows a job as the store has it, where the live view may have missed a change: one whose answer was lost, or that somebody else made.
    pub(super) async fn look_again(&self, id: JobId) {
        match self.shared.store.get(id).await {
            Ok(Some(Found::Job(job))) => {
                self.publish(*job);
            }
            Ok(Some(Found::Gone(_)) | None) => {
                let Lookup::Job(shown) = self.shown(id) else { return };
                self.leave(&shown);
            }
            // What follows will fail, too, and tell of it.
            Err(_) => {}
        }
    }

    /// What follows a removed row: the live view and the bytes. Bytes that can't be removed now are found by the sweep.
    pub(super) async fn forget(&self, removed: Removed) {
        let job = removed.job;
        self.leave(&job);
        if let Err(error) = self.shared.blobs.delete_job(&job).await {
            tracing::warn!(job.id = %job.id, %error, "a removed job's bytes could not be removed; the sweep will try again");
        }
    }

    /// Takes a removed job off the live view and out of the line.
    fn leave(&self, job: &Job) {
        let shared = &self.shared;
        let now = shared.clock.now();
        shared.board.remove(job, || {
            if let Some(taken) = shared.line.leave(job, now) {
                shared.throughput.worked(job.owner.as_ref(), now, taken);
            }
        });
    }

    /// Removes the blobs that an attempt had stored and did not publish. What the store still needs, or can't tell about now, stays: an end
    /// that was answered with an error may have survived all the same. The sweep looks again.
    pub async fn drop_unpublished(&self, keys: Vec<BlobKey>) {
        for key in keys {
            let dropped = match self.is_published(&key).await {
                Ok(true) => continue,
                Ok(false) => self.shared.blobs.delete(&key).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = dropped {
                tracing::warn!(job.id = %key.job(), %error, "an unpublished blob could not be removed; the sweep will try again");
            }
        }
    }

    /// Whether the stored record refers to this blob. Asks the store: the live view does not know of an end whose answer was lost.
    async fn is_published(&self, key: &BlobKey) -> Result<bool, QueueError> {
        Ok(match self.shared.store.get(key.job()).await? {
            Some(Found::Job(job)) => refers_to(&job, key),
            Some(Found::Gone(_)) | None => false,
        })
    }
}

/// Whether a job's record refers to this blob. A source may be on its way to a record that does not know it yet.
pub(super) fn refers_to(job: &Job, key: &BlobKey) -> bool {
    match key {
        BlobKey::Source(_) => true,
        BlobKey::Asset { name, .. } => job.assets.iter().any(|asset| !asset.inline && asset.name == *name),
        BlobKey::Output { attempt, name, .. } => {
            job.outputs.iter().any(|output| output.attempt == *attempt && output.name == *name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::blob::Blobs;
    use crate::clock::Clock;
    use crate::job::{Attempt, JobSpec, Outcome, Output, SourceSpec};
    use crate::pipeline::{Format, Pipeline};
    use crate::queue::{Config, Finish, Submission};
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Metrics;

    fn submission() -> Submission {
        let spec = JobSpec {
            source: SourceSpec::Url { url: "https://a.test/".to_owned(), headers: vec![] },
            pipeline: Pipeline::default(),
            preset: None,
            webhook: None,
            priority: 0,
            run_at: None,
            timeout: Duration::from_secs(60),
            max_attempts: 8,
            expires_in: None,
            tag: None,
            metadata: Default::default(),
        };
        let id = JobId::new();
        Submission {
            id,
            spec,
            source: None,
            owner: None,
            assets: vec![],
            memory_bytes: 0,
            warnings: vec![],
            trace_parent: None,
            idempotency_key: None,
        }
    }

    fn output(attempt: u32) -> Output {
        Output {
            name: "output".to_owned(),
            format: Format::Png,
            width: 1,
            height: 1,
            bytes: 1,
            sha256: String::new(),
            quality: None,
            filename: None,
            attempt,
            inline: false,
            location: None,
        }
    }

    #[tokio::test]
    async fn only_what_was_not_published_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let store = Arc::new(MemoryStore::new());
        let queue = Queue::open(store, blobs.clone(), Config::default(), Clock::System, Metrics::new());
        let queue = queue.await.unwrap();
        let submission = submission();
        let job = submission.id;
        queue.submit(submission).await.unwrap();
        let claimed = queue.claim(0, 1, 0).await.unwrap().remove(0);
        let key = |attempt| BlobKey::Output { job, attempt, name: "output".to_owned() };
        let keys = vec![key(1), key(2), BlobKey::Source(job)];
        for key in &keys {
            blobs.put(key, bytes::Bytes::from_static(b"x")).await.unwrap();
        }
        let outcome = Outcome::Succeeded(vec![output(1)]);
        let attempt = Attempt::default();
        let finish = Finish { lease: claimed.lease, outcome, attempt, inline_outputs: vec![] };
        queue.finish(finish).await.unwrap().unwrap();
        queue.drop_unpublished(keys.clone()).await;
        assert!(blobs.read(&key(1), None).await.is_ok());
        assert!(blobs.read(&BlobKey::Source(job), None).await.is_ok());
        assert!(blobs.read(&key(2), None).await.is_err());
        queue.delete(job).await.unwrap();
        blobs.put(&keys[2], bytes::Bytes::from_static(b"late")).await.unwrap();
        queue.drop_unpublished(keys.clone()).await;
        for key in &keys {
            assert!(blobs.read(key, None).await.is_err(), "{key:?}");
        }
    }

    #[tokio::test]
    async fn cancelling_again_is_no_news() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let (store, metrics) = (Arc::new(MemoryStore::new()), Metrics::new());
        let config = Config { board_jobs_max: 1, ..Config::default() };
        let clock = Clock::manual(crate::clock::Timestamp::from_millis(1000));
        let queue = Queue::open(store, blobs, config, clock.clone(), Arc::clone(&metrics)).await.unwrap();
        let first = submission();
        let id = first.id;
        queue.submit(first).await.unwrap();
        queue.cancel(id).await.unwrap();
        // Others push it off the board.
        for _ in 0..3 {
            queue.submit(submission()).await.unwrap();
        }
        clock.advance(Duration::from_secs(1));
        queue.cancel(id).await.unwrap();
        assert_eq!(queue.stats().finished_last_minute, 1);
    }
}
