//! What is done to deliveries: claimed and finished by the webhook deliverer, listed and sent again by people.

use std::sync::Arc;
use std::time::Duration;

use super::{Queue, QueueError};
use crate::clock::Timestamp;
use crate::job::{Delivery, DeliveryRecord, DeliveryResult, Job, JobId, Receiver};
use crate::links::LinkError;
use crate::store::{DeadLetters, DeliveryRequest, Redelivered};

/// For how long a claimed delivery is given to nobody else: longer than an attempt may take.
pub const DELIVERY_LEASE: Duration = Duration::from_secs(60);

/// Longest sleep of a deliverer: the store is asked at least this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Deliveries made due again in one transaction.
const REDELIVERED_AT_ONCE: usize = 200;
/// Receivers listed at most.
const RECEIVERS_MAX: usize = 1000;

/// What became of the wish to send a job's last delivery again.
#[derive(Clone, Debug)]
pub enum Redelivery {
    /// It is due.
    Due(Arc<Job>),
    /// The job has none.
    Nothing(Arc<Job>),
    /// It was deleted, or has expired.
    Gone,
    /// There never was such a job.
    Unknown,
}

impl Queue {
    /// Hands out due deliveries, in turns among receivers.
    pub async fn claim_deliveries(&self, request: DeliveryRequest) -> Result<Vec<Delivery>, QueueError> {
        let shared = &self.shared;
        Ok(shared.store.claim_deliveries(request, shared.clock.now()).await?)
    }

    /// Resolves when a delivery may be due. At the latest after a second.
    pub async fn deliveries_arrived(&self) {
        // Out of time means: look for yourself.
        let _in_time = tokio::time::timeout(POLL_INTERVAL, self.shared.deliveries_arrived.notified()).await;
    }

    /// Records an attempt. `None`: the job is gone, or the attempt is no longer the current one.
    pub async fn finish_delivery(
        &self,
        delivery: &Delivery,
        result: DeliveryResult,
    ) -> Result<Option<Arc<Job>>, QueueError> {
        let now = self.shared.clock.now();
        let finished = self.shared.store.finish_delivery(delivery.id, delivery.attempt, result, now).await?;
        match finished {
            Some(job) => Ok(Some(self.publish(job))),
            None => {
                self.look_again(delivery.job).await;
                Ok(None)
            }
        }
    }

    /// Whether a signed link opens this path: see [`crate::links`].
    ///
    /// # Errors
    /// [`LinkError`]: it opens nothing.
    pub fn open_link(&self, path: &str, expires: &str, signature: &str) -> Result<(), LinkError> {
        self.shared.config.link_key.verify(path, expires, signature, self.shared.clock.now())
    }

    /// Deliveries of a job with all their attempts, newest first.
    pub async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>, QueueError> {
        Ok(self.shared.store.deliveries(job).await?)
    }

    /// Deliveries that were given up, newest first, each with its last attempt.
    pub async fn dead_letters(&self, filter: DeadLetters) -> Result<Vec<DeliveryRecord>, QueueError> {
        Ok(self.shared.store.dead_letters(filter).await?)
    }

    /// Sends a job's last delivery again, whether it had arrived or not: same id, same body, a schedule of its own.
    pub async fn redeliver(&self, job: JobId) -> Result<Redelivery, QueueError> {
        let redelivered = self.shared.store.redeliver(job, self.shared.clock.now()).await?;
        Ok(match redelivered {
            Redelivered::Due(job) => {
                let job = self.publish(*job);
                self.shared.deliveries_arrived.notify_one();
                Redelivery::Due(job)
            }
            Redelivered::Nothing(job) => Redelivery::Nothing(Arc::new(*job)),
            Redelivered::Gone => Redelivery::Gone,
            Redelivered::Unknown => Redelivery::Unknown,
        })
    }

    /// Sends again what was given up at `since` or later, perhaps only what was meant for one receiver; how many deliveries these are.
    pub async fn redeliver_dead_letters(
        &self,
        since: Timestamp,
        receiver: Option<String>,
    ) -> Result<usize, QueueError> {
        let shared = &self.shared;
        let mut count = 0;
        // What fails again meanwhile has ended after this moment and could be met again, over and over.
        let most = usize::try_from(shared.store.counts().await?.deliveries[2]).unwrap_or(usize::MAX);
        while count < most {
            let limit = REDELIVERED_AT_ONCE.min(most - count);
            let now = shared.clock.now();
            let jobs = shared.store.redeliver_dead_letters(since, receiver.clone(), limit, now).await?;
            if jobs.is_empty() {
                break;
            }
            count += jobs.len();
            for job in jobs {
                self.publish(job);
            }
            shared.deliveries_arrived.notify_one();
        }
        Ok(count)
    }

    /// Receivers that take nothing at present, by name; a thousand of them at most.
    pub async fn failing_receivers(&self) -> Result<Vec<Receiver>, QueueError> {
        Ok(self.shared.store.failing_receivers(RECEIVERS_MAX).await?)
    }

    /// Calls a receiver again that was disabled because it had failed for days; whether it was known to fail.
    pub async fn enable_receiver(&self, receiver: String) -> Result<bool, QueueError> {
        let was_failing = self.shared.store.enable_receiver(receiver).await?;
        self.shared.deliveries_arrived.notify_one();
        Ok(was_failing)
    }
}
