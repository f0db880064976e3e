//! Sends what is due, records what came of it.
//!
//! A receiver has only so many places among the deliveries under way: one that is slow or dead fills its own,
//! and it takes many of them to fill all.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::Config;
use super::schedule::{Answered, Verdict, verdict};
use super::signature::sign_with_all;
use crate::egress::{Answer, Egress, EgressError, Post};
use crate::job::{Delivery, DeliveryResult, DeliveryStatus};
use crate::queue::Queue;
use crate::telemetry::{Complaint, Metrics, OutcomeLabel};

/// Between two tries to record a result that the store could not commit.
const FINISH_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Tries to record a result; after that the delivery comes due again and is sent once more.
const FINISH_TRIES_MAX: u32 = 20;
/// Pause after the store refused a claim.
const CLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    attempts: JoinSet<()>,
    trouble: Complaint,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    egress: Egress,
    metrics: Arc<Metrics>,
    config: Config,
    /// Deliveries under way by receiver.
    receivers: Mutex<HashMap<String, usize>>,
    freed: Notify,
}

/// A receiver's place, free again when dropped.
struct Place {
    shared: Arc<Shared>,
    receiver: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut receivers = self.shared.receivers();
        if let Some(count) = receivers.get_mut(&self.receiver) {
            *count -= 1;
            if *count == 0 {
                receivers.remove(&self.receiver);
            }
        }
        drop(receivers);
        self.shared.freed.notify_one();
    }
}

impl Deliverer {
    /// Prepares to deliver; [`Deliverer::run`] begins.
    pub fn new(queue: Queue, egress: Egress, metrics: Arc<Metrics>, config: Config) -> Deliverer {
        let shared =
            Shared { queue, egress, metrics, config, receivers: Mutex::default(), freed: Notify::new() };
        Deliverer { shared: Arc::new(shared), attempts: JoinSet::new(), trouble: Complaint::default() }
    }

    /// Delivers until `shutdown` resolves; attempts under way then end within the grace period.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let is_more = self.claim().await;
            while self.attempts.try_join_next().is_some() {}
            if is_more {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let news = async {
                tokio::select! {
                    () = shared.queue.deliveries_arrived(), if self.room() > 0 => {}
                    () = shared.freed.notified() => {}
                }
            };
            tokio::select! {
                () = &mut shutdown => break,
                () = news => {}
            }
        }
        // What ended last is told, too.
        while self.claim().await {}
        let all_ended = async { while self.attempts.join_next().await.is_some() {} };
        // What does not end in time comes due again after the next start: at least once.
        let _in_time = tokio::time::timeout(self.shared.config.grace, all_ended).await;
    }

    fn room(&self) -> usize {
        let under_way: usize = self.shared.receivers().values().sum();
        self.shared.config.in_flight_max.saturating_sub(under_way)
    }

    /// Claims once; whether it is worth claiming again at once.
    async fn claim(&mut self) -> bool {
        let room = self.room();
        if room == 0 {
            return false;
        }
        let config = &self.shared.config;
        let (full, tightest) = {
            let receivers = self.shared.receivers();
            let full: Vec<String> = receivers
                .iter()
                .filter(|(_, count)| **count >= config.receiver_in_flight_max)
                .map(|(receiver, _)| receiver.clone())
                .collect();
            let busiest = receivers.values().filter(|count| **count < config.receiver_in_flight_max).max();
            (full, config.receiver_in_flight_max - busiest.copied().unwrap_or(0))
        };
        // No more at once than the busiest open receiver has places: all of them may be for that one.
        let limit = room.min(tightest);
        match self.shared.queue.claim_deliveries(limit, full).await {
            Ok(deliveries) => {
                self.trouble.is_over();
                let is_more = deliveries.len() == limit;
                for delivery in deliveries {
                    self.start(delivery);
                }
                is_more
            }
            Err(error) => {
                if self.trouble.is_news(&error) {
                    tracing::error!(%error, "no deliveries could be claimed");
                }
                tokio::time::sleep(CLAIM_RETRY_INTERVAL).await;
                false
            }
        }
    }

    fn start(&mut self, delivery: Delivery) {
        let receiver = delivery.receiver.clone();
        *self.shared.receivers().entry(receiver.clone()).or_default() += 1;
        let place = Place { shared: Arc::clone(&self.shared), receiver };
        let span = tracing::info_span!("delivery", webhook.id = %delivery.id, job.id = %delivery.job, attempt = delivery.attempt);
        let shared = Arc::clone(&self.shared);
        self.attempts.spawn(
            async move {
                let answer = shared.send(&delivery).await;
                // The receiver has answered: its place is free before the record is committed.
                drop(place);
                shared.record(&delivery, answer).await;
            }
            .instrument(span),
        );
    }
}

impl Shared {
    fn receivers(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, delivery: &Delivery) -> Result<Answer, EgressError> {
        let url = self.egress.vet_url(&delivery.url)?;
        let post = Post {
            url,
            headers: self.headers(delivery),
            body: delivery.body.clone(),
            timeout: self.config.attempt_timeout,
            answer_bytes_max: self.config.answer_bytes_max,
        };
        self.egress.post(post).await
    }

    /// The headers of Standard Webhooks 1.0, signed with the time of this attempt.
    fn headers(&self, delivery: &Delivery) -> HeaderMap {
        let id = delivery.id.to_string();
        let now = self.queue.clock().wall();
        let timestamp = now.as_seconds();
        let secrets = self.config.secrets.borrow().signing(delivery.owner.as_ref(), now);
        let signature = sign_with_all(&secrets, &id, timestamp, &delivery.body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("minilab/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ] {
            let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are visible ASCII");
            headers.insert(name, value);
        }
        headers
    }

    async fn record(&self, delivery: &Delivery, answer: Result<Answer, EgressError>) {
        let result = self.judge(delivery, answer);
        let outcome = match result.status {
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Pending => "retry",
            DeliveryStatus::Failed => "failed",
        };
        self.metrics.webhook_attempts.get_or_create_owned(&OutcomeLabel { outcome }).inc();
        if let Some(error) = &result.error {
            tracing::info!(outcome, error, "a webhook was not delivered");
        }
        let mut trouble = Complaint::default();
        for _ in 0..FINISH_TRIES_MAX {
            match self.queue.finish_delivery(delivery, result.clone()).await {
                Ok(_) => return,
                Err(error) if trouble.is_news(&error) => {
                    tracing::warn!(%error, "a delivery's result could not be recorded yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(FINISH_RETRY_INTERVAL).await;
        }
    }

    /// What follows from an answer, or from there being none. An address that is off limits stays so: that is final.
    fn judge(&self, delivery: &Delivery, answer: Result<Answer, EgressError>) -> DeliveryResult {
        let (answered, response_status, mut error) = match answer {
            Ok(Answer { status, retry_after, .. }) => {
                let error = (!(200..300).contains(&status))
                    .then(|| format!("the receiver answered with status {status}"));
                (Answered::Status { code: status, retry_after }, Some(status), error)
            }
            Err(error @ EgressError::Forbidden(_)) => {
                return DeliveryResult {
                    status: DeliveryStatus::Failed,
                    response_status: None,
                    error: Some(error.to_string()),
                    next_attempt_at: None,
                };
            }
            Err(error) => (Answered::Failed, None, Some(error.to_string())),
        };
        let (status, next_attempt_at) = match verdict(delivery.attempt, answered, rand::random()) {
            Verdict::Delivered => {
                error = None;
                (DeliveryStatus::Delivered, None)
            }
            Verdict::Gone | Verdict::GiveUp => (DeliveryStatus::Failed, None),
            Verdict::RetryAfter(wait) => (DeliveryStatus::Pending, Some(self.queue.clock().now().plus(wait))),
        };
        DeliveryResult { status, response_status, error, next_attempt_at }
    }
}
