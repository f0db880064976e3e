//! What the webhook deliverer does to deliveries: claim and finish.

use std::sync::Arc;
use std::time::Duration;

use super::{Queue, QueueError};
use crate::job::{Delivery, DeliveryResult, Job};

/// For how long a claimed delivery is given to nobody else: longer than an attempt may take.
const DELIVERY_LEASE: Duration = Duration::from_secs(60);

/// Longest sleep of a deliverer: the store is asked at least this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Queue {
    /// Hands out due deliveries, oldest first, none for the receivers named.
    pub async fn claim_deliveries(
        &self,
        limit: usize,
        except_receivers: Vec<String>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        Ok(shared.store.claim_deliveries(limit, except_receivers, DELIVERY_LEASE, now).await?)
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
}
