//! Sends what is due, records what came of it.
//!
//! A receiver has only so many places among the deliveries under way ([`super::receivers`]), and its place is freed by its answer, before
//! that is recorded: neither a slow receiver nor a slow disk holds up another receiver.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::receivers::Receivers;
use super::{Config, message};
use crate::egress::{Answer, Egress, EgressError, Post};
use crate::job::{Delivery, DeliveryResult, DeliveryStatus, Standing};
use crate::queue::{DELIVERY_LEASE, DeliveryRequest, Queue};
use crate::telemetry::trace::{failed, follow, passed_on, span};
use crate::telemetry::{Complaint, Metrics, OutcomeLabel};

/// Between two tries to record a result that the store could not commit.
const FINISH_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Tries to record a result; after that the delivery comes due again and is sent once more.
const FINISH_TRIES_MAX: u32 = 20;
/// Deliveries claimed in one transaction, so that others' commits are not held up.
const CLAIMED_AT_ONCE: usize = 64;
/// Pause after the store refused a claim.
const CLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    attempts: JoinSet<()>,
    /// What is due may have been passed over for want of places: one that becomes free is worth another claim.
    is_held_back: bool,
    trouble: Complaint,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    egress: Egress,
    metrics: Arc<Metrics>,
    config: Config,
    receivers: Mutex<Receivers>,
    freed: Notify,
}

/// A receiver's place, free again when dropped.
struct Place {
    shared: Arc<Shared>,
    receiver: String,
    is_failing: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.receivers().end(&self.receiver, self.is_failing);
        self.shared.freed.notify_one();
    }
}

impl Deliverer {
    /// Prepares to deliver; [`Deliverer::run`] begins.
    pub fn new(queue: Queue, egress: Egress, metrics: Arc<Metrics>, config: Config) -> Deliverer {
        let receivers = Mutex::new(Receivers::new(config.bounds));
        let shared = Shared { queue, egress, metrics, config, receivers, freed: Notify::new() };
        Deliverer {
            shared: Arc::new(shared),
            attempts: JoinSet::new(),
            is_held_back: true,
            trouble: Complaint::default(),
        }
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
            let (room, is_held_back) = (shared.receivers().room(), self.is_held_back);
            let news = async {
                tokio::select! {
                    () = shared.queue.deliveries_arrived(), if room > 0 => {}
                    () = shared.freed.notified(), if room == 0 || is_held_back => {}
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

    /// Claims once; whether it is worth claiming again at once.
    async fn claim(&mut self) -> bool {
        let (request, ended, was_full) = {
            let receivers = self.shared.receivers();
            let request = DeliveryRequest {
                limit: receivers.room().min(CLAIMED_AT_ONCE),
                failing_max: receivers.failing_room(),
                places: receivers.places(),
                places_of: receivers.places_of(),
                lease_duration: DELIVERY_LEASE,
            };
            (request, receivers.ended(), receivers.is_any_full())
        };
        self.is_held_back = true;
        let limit = request.limit;
        if limit == 0 {
            return false;
        }
        match self.shared.queue.claim_deliveries(request).await {
            Ok(deliveries) => {
                self.trouble.is_over();
                let is_more = deliveries.len() == limit;
                for delivery in deliveries {
                    self.start(delivery);
                }
                // Who was full when the store was asked and is no longer has ended something meanwhile.
                let receivers = self.shared.receivers();
                self.is_held_back = was_full || receivers.is_any_full() || receivers.ended() != ended;
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
        let (receiver, is_failing) = (delivery.receiver.clone(), delivery.standing != Standing::Well);
        self.shared.receivers().begin(&receiver, is_failing);
        let place = Place { shared: Arc::clone(&self.shared), receiver, is_failing };
        let span = span!(
            "delivery",
            "client",
            webhook.id = %delivery.id,
            job.id = %delivery.job,
            webhook.attempt = i64::from(delivery.attempt),
            http.response.status_code = Empty
        );
        follow(&span, || delivery.trace_parent.clone());
        let shared = Arc::clone(&self.shared);
        self.attempts.spawn(
            async move {
                let result = shared.attempt(&delivery).await;
                // The receiver has answered: its place is free before the record is committed.
                drop(place);
                shared.record(&delivery, result).await;
            }
            .instrument(span),
        );
    }
}

impl Shared {
    fn receivers(&self) -> MutexGuard<'_, Receivers> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt, and lets the receiver's places follow from it.
    async fn attempt(&self, delivery: &Delivery) -> DeliveryResult {
        if delivery.standing == Standing::Disabled {
            return message::disabled();
        }
        let (began, receiver) = (Instant::now(), &delivery.receiver);
        let sending = self.send(delivery);
        tokio::pin!(sending);
        let answer = match tokio::time::timeout(message::QUICK, &mut sending).await {
            Ok(answer) => {
                match message::is_quick(&answer) {
                    true => self.receivers().was_quick(receiver),
                    false => self.receivers().was_slow(receiver),
                }
                answer
            }
            Err(_) => {
                // Told now and not with the answer, which may take long: no more than a few are to hang there.
                self.receivers().was_slow(receiver);
                sending.await
            }
        };
        message::judge(delivery, answer, began.elapsed(), rand::random(), self.queue.clock().now())
    }

    async fn send(&self, delivery: &Delivery) -> Result<Answer, EgressError> {
        let url = self.egress.vet_url(&delivery.url)?;
        let wall = self.queue.clock().wall();
        let secrets = self.config.secrets.borrow().signing(delivery.owner.as_ref(), wall);
        let trace_parent = passed_on(delivery.trace_parent.clone());
        let post = Post {
            url,
            headers: message::headers(delivery, &secrets, wall, trace_parent.as_deref()),
            body: delivery.body.clone(),
            timeout: self.config.attempt_timeout,
            answer_bytes_max: self.config.answer_bytes_max,
        };
        self.egress.post(post).await
    }

    async fn record(&self, delivery: &Delivery, result: DeliveryResult) {
        let outcome = match result.status {
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Pending => "retry",
            DeliveryStatus::Failed => "failed",
        };
        self.metrics.webhook_attempts.get_or_create_owned(&OutcomeLabel { outcome }).inc();
        if let Some(status) = result.response_status {
            Span::current().record("http.response.status_code", i64::from(status));
        }
        if let Some(error) = &result.error {
            failed(&Span::current(), outcome);
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
}
