//! What people do to a job that is there: cancel, retry, delete.

use std::sync::Arc;
use std::time::Duration;

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
    /// The waiting line is full.
    Full {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
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
        let found = shared.store.cancel(id, shared.config.retention, shared.render.clone(), now).await?;
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
            Some(Found::Gone) => Lookup::Gone,
            None => Lookup::Unknown,
        })
    }

    /// Queues a failed or cancelled job again, from its stored source.
    pub async fn retry(&self, id: JobId) -> Result<Retry, QueueError> {
        if let Err(QueueError::Full { retry_after }) = self.admit() {
            return Ok(Retry::Full { retry_after });
        }
        Ok(match self.shared.store.retry(id, self.shared.clock.now()).await? {
            Retried::Queued(job) => Retry::Queued(self.publish(*job)),
            Retried::WrongState(job) => Retry::WrongState(Arc::new(*job)),
            Retried::Gone => Retry::Gone,
            Retried::Unknown => Retry::Unknown,
        })
    }

    /// Removes a job in any state, with its source and outputs; whether it was there. A running attempt notices and stops.
    pub async fn delete(&self, id: JobId) -> Result<bool, QueueError> {
        let Some(removed) = self.shared.store.delete(id, self.shared.clock.now()).await? else {
            return Ok(false);
        };
        self.forget(removed).await;
        Ok(true)
    }

    /// What follows a removed row: the live view and the bytes. Bytes that can't be removed now are found by the sweep.
    pub(super) async fn forget(&self, removed: Removed) {
        let job = removed.job;
        self.shared.board.remove(job.id, || self.shared.line.leave(&job));
        if let Err(error) = self.shared.blobs.delete_job(&job).await {
            tracing::warn!(job.id = %job.id, %error, "a removed job's bytes could not be removed; the sweep will try again");
        }
    }

    /// Removes the blobs that an attempt had stored before it lost its lease.
    pub async fn drop_outputs(&self, keys: Vec<BlobKey>) {
        for key in keys {
            if let Err(error) = self.shared.blobs.delete(&key).await {
                tracing::warn!(job.id = %key.job(), %error, "an unpublished output could not be removed; the sweep will try again");
            }
        }
    }
}
