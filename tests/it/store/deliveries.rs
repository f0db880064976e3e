//! Deliveries: announced with the end of a job, claimed, finished.

use std::time::Duration;

use minilab::job::{
    Delivery, DeliveryId, DeliveryResult, DeliveryStatus, Event, Job, JobSpec, Loss, Outcome, Retention,
    Status, WebhookSpec,
};
use minilab::store::{Reap, Retried};

use super::{Store, WORKER, again, claim_one, delivered, ended, exam, failure, finish, get, submit};
use crate::support::jobs::{at, ending, render, spec, webhook};

exam!(
    the_end_of_a_job_is_announced_once,
    an_event_nobody_wants_is_not_announced,
    a_claimed_delivery_is_nobody_elses,
    a_finished_attempt_shows_in_the_job,
    an_attempt_is_finished_once,
    an_expired_claim_is_the_next_attempt,
    a_claim_of_a_dead_process_is_due_at_boot,
    the_oldest_due_goes_first,
    receivers_can_be_left_out,
    a_retried_job_shows_only_its_newest_end,
    a_deleted_job_drops_its_deliveries,
);

const LEASE: Duration = Duration::from_secs(30);

fn hooked(url: &str) -> JobSpec {
    JobSpec { webhook: webhook(url), ..spec() }
}

async fn done(store: &Store, url: &str, millis: u64) -> Job {
    ended(store, hooked(url), Outcome::Succeeded(Vec::new()), at(millis)).await
}

async fn claim(store: &Store, millis: u64) -> Vec<Delivery> {
    store.claim_deliveries(100, Vec::new(), LEASE, at(millis)).await.unwrap()
}

async fn one(store: &Store, millis: u64) -> Delivery {
    let mut claimed = claim(store, millis).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

async fn record(store: &Store, delivery: &Delivery, result: DeliveryResult, millis: u64) -> Option<Job> {
    store.finish_delivery(delivery.id, delivery.attempt, result, at(millis)).await.unwrap()
}

async fn the_end_of_a_job_is_announced_once(store: Store) {
    let job = done(&store, "https://a.test:8443/hook?x=1", 0).await;
    let webhook = job.webhook.clone().unwrap();
    assert_eq!((webhook.status, webhook.attempts), (Some(DeliveryStatus::Pending), 0));
    assert_eq!(webhook.next_attempt_at, Some(at(0)));
    assert_eq!(get(&store, job.id).await, job);
    let delivery = one(&store, 0).await;
    assert_eq!((delivery.job, delivery.event, delivery.attempt), (job.id, Event::Succeeded, 1));
    assert_eq!(delivery.url, "https://a.test:8443/hook?x=1");
    assert_eq!(delivery.receiver, "https://a.test:8443");
    assert_eq!(delivery.body, render()(&job, Event::Succeeded, at(0)));
}

async fn an_event_nobody_wants_is_not_announced(store: Store) {
    let url = "https://a.test/hook".to_owned();
    let webhook = Some(WebhookSpec { url, events: vec![Event::Failed] });
    let job = ended(&store, JobSpec { webhook, ..spec() }, Outcome::Succeeded(Vec::new()), at(0)).await;
    assert_eq!(job.webhook.unwrap().status, None);
    ended(&store, spec(), Outcome::Failed(failure()), at(0)).await;
    assert!(claim(&store, 1).await.is_empty());
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 0, 0]);
}

async fn a_claimed_delivery_is_nobody_elses(store: Store) {
    done(&store, "https://a.test/hook", 0).await;
    one(&store, 1).await;
    assert!(claim(&store, 1).await.is_empty());
    assert!(claim(&store, 30_000).await.is_empty());
    assert_eq!(store.next_due(at(1)).await.unwrap().delivery, Some(at(30_001)));
}

async fn a_finished_attempt_shows_in_the_job(store: Store) {
    let before = done(&store, "https://a.test/hook", 0).await;
    let first = one(&store, 0).await;
    let job = record(&store, &first, again(at(5000)), 10).await.unwrap();
    let webhook = job.webhook.clone().unwrap();
    assert_eq!((webhook.status, webhook.attempts), (Some(DeliveryStatus::Pending), 1));
    assert_eq!((webhook.last_status, webhook.next_attempt_at), (Some(500), Some(at(5000))));
    assert_eq!(job.version, before.version + 1);
    assert_eq!(get(&store, job.id).await, job);
    assert!(claim(&store, 4999).await.is_empty());
    let second = one(&store, 5000).await;
    assert_eq!((second.id, second.attempt, &second.body), (first.id, 2, &first.body));
    let job = record(&store, &second, delivered(), 5001).await.unwrap();
    let webhook = job.webhook.unwrap();
    assert_eq!((webhook.status, webhook.attempts), (Some(DeliveryStatus::Delivered), 2));
    assert!(claim(&store, 1_000_000).await.is_empty());
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 1, 0]);
}

async fn an_attempt_is_finished_once(store: Store) {
    let id = done(&store, "https://a.test/hook", 0).await.id;
    let delivery = one(&store, 0).await;
    let job = record(&store, &delivery, again(at(10)), 1).await.unwrap();
    assert_eq!(record(&store, &delivery, delivered(), 2).await, None);
    assert_eq!(get(&store, id).await, job);
    let second = one(&store, 10).await;
    record(&store, &second, delivered(), 11).await.unwrap();
    assert_eq!(record(&store, &second, delivered(), 12).await, None);
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 1, 0]);
    let unknown = store.finish_delivery(DeliveryId::new(), 1, delivered(), at(3)).await.unwrap();
    assert_eq!(unknown, None);
}

async fn an_expired_claim_is_the_next_attempt(store: Store) {
    done(&store, "https://a.test/hook", 0).await;
    let late = one(&store, 0).await;
    let next = one(&store, 30_000).await;
    assert_eq!((next.id, next.attempt), (late.id, 2));
    assert_eq!(record(&store, &late, delivered(), 30_001).await, None);
    let job = record(&store, &next, delivered(), 30_002).await.unwrap();
    assert_eq!(job.webhook.unwrap().attempts, 2);
}

async fn a_claim_of_a_dead_process_is_due_at_boot(store: Store) {
    done(&store, "https://a.test/hook", 0).await;
    let lost = one(&store, 0).await;
    let boot = Reap::OthersThan(WORKER, Loss::Process);
    store.reap(boot, Retention::default(), render(), at(100)).await.unwrap();
    assert_eq!(record(&store, &lost, delivered(), 101).await, None);
    let delivery = one(&store, 101).await;
    assert_eq!((delivery.id, delivery.attempt), (lost.id, 2));
}

async fn the_oldest_due_goes_first(store: Store) {
    let mut jobs = Vec::new();
    for millis in [20, 0, 10] {
        jobs.push(done(&store, "https://a.test/hook", millis).await.id);
    }
    let two = store.claim_deliveries(2, Vec::new(), LEASE, at(20)).await.unwrap();
    assert_eq!(two.iter().map(|delivery| delivery.job).collect::<Vec<_>>(), [jobs[1], jobs[2]]);
    assert_eq!(one(&store, 20).await.job, jobs[0]);
}

async fn receivers_can_be_left_out(store: Store) {
    for url in ["https://slow.test/1", "https://slow.test/2", "https://well.test/", "http://slow.test/"] {
        done(&store, url, 0).await;
    }
    let except = vec!["https://slow.test".to_owned(), "https://unknown.test".to_owned()];
    let claimed = store.claim_deliveries(100, except, LEASE, at(0)).await.unwrap();
    let receivers: Vec<&str> = claimed.iter().map(|delivery| delivery.receiver.as_str()).collect();
    assert_eq!(receivers, ["https://well.test", "http://slow.test"]);
    assert_eq!(claim(&store, 0).await.len(), 2);
}

async fn a_retried_job_shows_only_its_newest_end(store: Store) {
    let spec = hooked("https://a.test/hook");
    let id = ended(&store, spec, Outcome::Failed(failure()), at(0)).await.id;
    let first = one(&store, 0).await;
    assert!(matches!(store.retry(id, at(1)).await.unwrap(), Retried::Queued(_)));
    let job = record(&store, &first, again(at(50)), 2).await.unwrap();
    assert_eq!((job.status, job.webhook.as_ref().unwrap().status), (Status::Queued, None));
    let lease = claim_one(&store, at(3)).await.lease;
    let job = finish(&store, ending(lease, Outcome::Succeeded(Vec::new())), at(4)).await.unwrap();
    let second = one(&store, 4).await;
    assert_eq!((second.event, second.attempt), (Event::Succeeded, 1));
    let first = one(&store, 50).await;
    assert_eq!(record(&store, &first, delivered(), 51).await, Some(job));
    let job = record(&store, &second, again(at(99)), 52).await.unwrap();
    assert_eq!(job.webhook.unwrap().next_attempt_at, Some(at(99)));
    assert_eq!(store.counts().await.unwrap().deliveries, [1, 1, 0]);
}

async fn a_deleted_job_drops_its_deliveries(store: Store) {
    let deleted = done(&store, "https://a.test/hook", 0).await;
    let delivery = one(&store, 0).await;
    let queued = submit(&store, hooked("https://a.test/hook"), at(1)).await;
    store.delete(deleted.id, at(1)).await.unwrap().unwrap();
    store.delete(queued.id, at(1)).await.unwrap().unwrap();
    assert_eq!(record(&store, &delivery, delivered(), 2).await, None);
    assert!(claim(&store, 1_000_000).await.is_empty());
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 0, 0]);
}
