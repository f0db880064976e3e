//! Taking dead attempts back, and removing what is old.

use std::time::Duration;

use bytes::Bytes;
use minilab::clock::Timestamp;
use minilab::job::{Job, JobId, JobSpec, Loss, Outcome, Retention, Status};
use minilab::store::{IdempotencyKey, InlineKey, Inserted, NewJob, Reap};
use uuid::Uuid;

use super::{
    Store, WORKER, add, again, claim_all, claim_one, delivered, ended, exam, finish, get, ids, is_gone,
    submit,
};
use crate::support::jobs::{at, deliveries, ending, new_job, render, request, source, spec, webhook};

exam!(
    an_expired_lease_goes_back_to_the_queue,
    at_boot_the_jobs_of_others_go_back,
    a_reaped_job_that_was_to_be_cancelled_ends,
    an_expired_job_is_removed_with_its_bytes,
    a_purge_goes_on_where_it_stopped,
    a_job_stays_while_a_delivery_is_pending,
    old_tombstones_are_forgotten,
    old_keys_are_forgotten,
    old_deliveries_are_forgotten,
);

const DAY: u64 = 24 * 60 * 60 * 1000;

async fn reap(store: &Store, which: Reap, millis: u64) -> Vec<Job> {
    store.reap(which, Retention::default(), render(), at(millis)).await.unwrap()
}

async fn purge(store: &Store, limit: usize, now: Timestamp) -> Vec<JobId> {
    let removed = store.purge(Retention::default(), limit, now).await.unwrap();
    removed.into_iter().map(|removed| removed.job.id).collect()
}

async fn an_expired_lease_goes_back_to_the_queue(store: Store) {
    let job = submit(&store, spec(), at(0)).await;
    let lease = claim_one(&store, at(0)).await.lease;
    assert!(reap(&store, Reap::Expired, 29_999).await.is_empty());
    let reaped = reap(&store, Reap::Expired, 30_000).await;
    assert_eq!(ids(&reaped), [job.id]);
    assert_eq!((reaped[0].status, reaped[0].attempts_counted()), (Status::Queued, 0));
    assert_eq!(get(&store, job.id).await, reaped[0]);
    assert!(reap(&store, Reap::Expired, 30_000).await.is_empty());
    assert_eq!(finish(&store, ending(lease, Outcome::Cancelled), at(30_001)).await, None);
    assert_eq!(claim_one(&store, at(30_001)).await.lease.attempt, 2);
}

async fn at_boot_the_jobs_of_others_go_back(store: Store) {
    let lost = submit(&store, spec(), at(0)).await;
    store.claim(request(Uuid::from_u128(9)), at(0)).await.unwrap();
    submit(&store, spec(), at(0)).await;
    let mine = claim_one(&store, at(0)).await;
    let reaped = reap(&store, Reap::OthersThan(WORKER, Loss::Process), 1).await;
    assert_eq!(ids(&reaped), [lost.id]);
    assert_eq!(get(&store, mine.job.id).await, mine.job);
    assert!(claim_all(&store, at(1)).await.is_empty(), "it has to run alone");
    let claimed = store.claim_suspect(WORKER, true, Duration::from_secs(30), at(1)).await.unwrap().unwrap();
    assert_eq!((claimed.job.id, claimed.lease.attempt), (lost.id, 2));
}

async fn a_reaped_job_that_was_to_be_cancelled_ends(store: Store) {
    let spec = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
    let id = submit(&store, spec, at(0)).await.id;
    claim_one(&store, at(0)).await;
    store.cancel(id, Retention::default(), render(), at(1)).await.unwrap();
    let reaped = reap(&store, Reap::Expired, 30_000).await;
    assert_eq!(reaped[0].status, Status::Cancelled);
    let deliveries = store.claim_deliveries(deliveries(9), at(30_000)).await.unwrap();
    assert_eq!(deliveries.len(), 1);
}

async fn an_expired_job_is_removed_with_its_bytes(store: Store) {
    let mut new = new_job(spec(), at(0));
    new.job.source = Some(source(true));
    new.inline_source = Some(Bytes::from_static(b"bytes"));
    let id = add(&store, new).await.id;
    let lease = claim_one(&store, at(0)).await.lease;
    let job = finish(&store, ending(lease, Outcome::Succeeded(Vec::new())), at(10)).await.unwrap();
    let queued = submit(&store, spec(), at(11)).await;
    assert!(purge(&store, 10, at(DAY + 9)).await.is_empty());
    let removed = store.purge(Retention::default(), 10, at(DAY + 10)).await.unwrap();
    assert_eq!(removed.iter().map(|removed| &removed.job).collect::<Vec<_>>(), [&job]);
    assert!(is_gone(&store, id).await);
    assert_eq!(store.inline_bytes(id, InlineKey::Source).await.unwrap(), None);
    assert_eq!(get(&store, queued.id).await.status, Status::Queued);
    assert!(purge(&store, 10, at(DAY + 10)).await.is_empty());
    assert!(purge(&store, 10, at(1000 * DAY)).await.is_empty());
}

async fn a_purge_goes_on_where_it_stopped(store: Store) {
    let mut jobs = Vec::new();
    for millis in [30, 10, 20] {
        jobs.push(ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(millis)).await.id);
    }
    let now = at(DAY + 30);
    assert!(purge(&store, 0, now).await.is_empty());
    assert_eq!(purge(&store, 2, now).await, [jobs[1], jobs[2]]);
    assert_eq!(purge(&store, 2, now).await, [jobs[0]]);
}

async fn a_job_stays_while_a_delivery_is_pending(store: Store) {
    let spec = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
    let id = ended(&store, spec, Outcome::Succeeded(Vec::new()), at(0)).await.id;
    let later = 9 * DAY;
    assert!(purge(&store, 10, at(later)).await.is_empty());
    let delivery = store.claim_deliveries(deliveries(1), at(later)).await.unwrap().remove(0);
    store.finish_delivery(delivery.id, 1, again(at(later)), at(later)).await.unwrap();
    assert!(purge(&store, 10, at(later)).await.is_empty());
    let delivery = store.claim_deliveries(deliveries(1), at(later)).await.unwrap().remove(0);
    store.finish_delivery(delivery.id, 2, delivered(), at(later)).await.unwrap();
    // Who was told late has as long as anybody.
    assert!(purge(&store, 10, at(later + DAY - 1)).await.is_empty());
    assert_eq!(purge(&store, 10, at(later + DAY)).await, [id]);
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 0, 0]);
}

async fn old_tombstones_are_forgotten(store: Store) {
    let id = submit(&store, spec(), at(0)).await.id;
    store.delete(id, at(5)).await.unwrap();
    purge(&store, 10, at(30 * DAY + 4)).await;
    assert!(is_gone(&store, id).await);
    purge(&store, 10, at(30 * DAY + 5)).await;
    assert!(store.get(id).await.unwrap().is_none());
}

async fn old_keys_are_forgotten(store: Store) {
    let keyed = |millis| {
        let kept = Duration::from_secs(1_000_000_000);
        let key = IdempotencyKey { key: "a".to_owned(), fingerprint: [1; 32], kept };
        NewJob { idempotency_key: Some(key), ..new_job(spec(), at(millis)) }
    };
    add(&store, keyed(0)).await;
    purge(&store, 10, at(DAY - 1)).await;
    assert!(matches!(store.insert(keyed(DAY)).await.unwrap(), Inserted::Duplicate(_)));
    purge(&store, 10, at(DAY)).await;
    assert!(matches!(store.insert(keyed(DAY)).await.unwrap(), Inserted::Created(_)));
}

async fn old_deliveries_are_forgotten(store: Store) {
    let expires_in = Some(Duration::from_millis(100 * DAY));
    let spec = JobSpec { webhook: webhook("https://a.test/hook"), expires_in, ..spec() };
    ended(&store, spec, Outcome::Succeeded(Vec::new()), at(0)).await;
    let delivery = store.claim_deliveries(deliveries(1), at(0)).await.unwrap().remove(0);
    store.finish_delivery(delivery.id, 1, delivered(), at(7)).await.unwrap();
    purge(&store, 10, at(7 * DAY + 6)).await;
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 1, 0]);
    purge(&store, 10, at(7 * DAY + 7)).await;
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 0, 0]);
}
