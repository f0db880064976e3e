//! Reading: one job, many jobs, waiting for news.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::board::Card;
use super::{Feed, Forecast, Queue, QueueError, Watch};
use crate::job::{Job, JobId, KeyId, Status};
use crate::store::{Found, InlineKey, ListFilter};

/// A job that was asked for.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Its newest record.
    Job(Arc<Job>),
    /// It was deleted, or has expired; whose it was.
    Gone(Option<KeyId>),
    /// There never was one, as far as anybody remembers.
    Unknown,
}

impl Queue {
    /// What the live view shows of a job; what it doesn't know of is unknown here.
    pub(super) fn shown(&self, id: JobId) -> Lookup {
        match self.shared.board.get(id) {
            Card::Job(job) => Lookup::Job(job),
            Card::Gone(owner) => Lookup::Gone(owner),
            Card::Blank => Lookup::Unknown,
        }
    }

    /// The newest record of a job.
    pub async fn get(&self, id: JobId) -> Result<Lookup, QueueError> {
        match self.shown(id) {
            Lookup::Unknown => {}
            known => return Ok(known),
        }
        Ok(match self.shared.store.get(id).await? {
            Some(Found::Job(job)) => Lookup::Job(Arc::new(*job)),
            Some(Found::Gone(owner)) => Lookup::Gone(owner),
            None => Lookup::Unknown,
        })
    }

    /// Where a job stands in the waiting line and when it is likely to begin; nothing unless it is queued.
    pub fn forecast(&self, job: &Job) -> Forecast {
        if job.status != Status::Queued {
            return Forecast::default();
        }
        self.shared.line.forecast(job, self.shared.clock.now())
    }

    /// Jobs, newest first.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<Arc<Job>>, QueueError> {
        let jobs = self.shared.store.list(filter).await?;
        // The board may know of progress that no transaction has stored.
        let newest = |job: Job| match self.shared.board.get(job.id) {
            Card::Job(shown) if shown.version >= job.version && shown.status == job.status => shown,
            _ => Arc::new(job),
        };
        Ok(jobs.into_iter().map(newest).collect())
    }

    /// Watches one job; `None` when it is gone or was never there.
    pub async fn watch(&self, id: JobId) -> Result<Option<Watch>, QueueError> {
        let watch = self.shared.board.watch(id);
        match self.shared.board.get(id) {
            Card::Job(_) => return Ok(Some(watch)),
            Card::Gone(_) => return Ok(None),
            Card::Blank => {}
        }
        // The slot is watched, so whatever is published from now on is seen; what came before, the store knows.
        match self.shared.store.get(id).await? {
            Some(Found::Job(job)) => {
                // No news: nobody else is told.
                self.shared.board.put(&Arc::new(*job), || {});
                Ok(Some(watch))
            }
            Some(Found::Gone(_)) | None => Ok(None),
        }
    }

    /// Waits until the job has ended, at most `limit`; the job as it is then.
    pub async fn wait_terminal(&self, id: JobId, limit: Duration) -> Result<Lookup, QueueError> {
        let found = self.get(id).await?;
        match &found {
            Lookup::Job(job) if !job.status.is_terminal() => {}
            _ => return Ok(found),
        }
        let Some(mut watch) = self.watch(id).await? else { return self.get(id).await };
        let ended = async { while watch.next().await.is_some_and(|job| !job.status.is_terminal()) {} };
        // Out of time is no error: the caller is told how the job stands.
        let _in_time = tokio::time::timeout(limit, ended).await;
        self.get(id).await
    }

    /// Waits until the job's version is another than the one seen, at most `limit`; the job as it is then.
    pub async fn wait_change(
        &self,
        id: JobId,
        seen_version: u64,
        limit: Duration,
    ) -> Result<Lookup, QueueError> {
        let found = self.get(id).await?;
        match &found {
            Lookup::Job(job) if job.version == seen_version && !job.status.is_terminal() => {}
            _ => return Ok(found),
        }
        let Some(mut watch) = self.watch(id).await? else { return self.get(id).await };
        watch.skip_to(seen_version);
        let _in_time = tokio::time::timeout(limit, watch.next()).await;
        self.get(id).await
    }

    /// News of all jobs, from now on or after an item seen before.
    pub fn feed(&self, after: Option<u64>) -> Feed {
        self.shared.feed.read(after)
    }

    /// Bytes of a job that live in the store.
    pub async fn inline_bytes(&self, id: JobId, key: InlineKey) -> Result<Option<Bytes>, QueueError> {
        Ok(self.shared.store.inline_bytes(id, key).await?)
    }
}
