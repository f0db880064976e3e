//! An attempt from its claim to its end: fences, outcomes, cancel, retry, delete.

use std::sync::Arc;

use bytes::Bytes;
use minilab::job::{Job, JobId, JobSpec, Lease, Outcome, Retention, SourceSpec, Status};
use minilab::store::{Extended, Found, InlineKey, Retried};

use super::{Store, WORKER, claim_all, claim_one, count, ended, exam, failure, finish, get, is_gone, submit};
use crate::support::jobs::{at, ending, new_job, output, render, source, spec, success, url_spec, webhook};

exam!(
    a_success_publishes_its_outputs,
    a_lease_is_extended_until_it_is_lost,
    a_stale_lease_changes_nothing,
    an_attempt_ends_once,
    a_transient_failure_waits_for_its_next_attempt,
    a_failed_attempt_keeps_no_bytes,
    a_released_attempt_does_not_count,
    a_fetched_source_is_remembered_and_its_headers_erased,
    cancelling_ends_a_queued_job,
    cancelling_asks_a_running_job,
    cancelling_leaves_an_ended_job_alone,
    retrying_queues_an_ended_job_again,
    retrying_needs_the_right_state,
    deleting_leaves_a_tombstone,
    deleting_takes_the_lease_of_a_running_job,
);

async fn extend(store: &Store, lease: Lease, millis: u64) -> Extended {
    let duration = std::time::Duration::from_secs(30);
    store.extend(vec![lease], duration, at(millis)).await.unwrap()[0]
}

async fn cancel(store: &Store, id: JobId, millis: u64) -> Option<Found> {
    store.cancel(id, Retention::default(), render(), at(millis)).await.unwrap()
}

async fn cancelled(store: &Store, id: JobId, millis: u64) -> Job {
    match cancel(store, id, millis).await {
        Some(Found::Job(job)) => *job,
        other => panic!("no job: {other:?}"),
    }
}

async fn a_success_publishes_its_outputs(store: Store) {
    submit(&store, JobSpec { expires_in: Some(std::time::Duration::from_secs(60)), ..spec() }, at(0)).await;
    let lease = claim_one(&store, at(1)).await.lease;
    let job = finish(&store, success(lease), at(10)).await.unwrap();
    assert_eq!((job.status, job.progress), (Status::Succeeded, 1.0));
    assert_eq!(job.outputs, [output("output", 1)]);
    assert_eq!((job.finished_at, job.expires_at), (Some(at(10)), Some(at(60_010))));
    assert_eq!(get(&store, job.id).await, job);
    let key = InlineKey::Output("output".to_owned());
    let bytes = store.inline_bytes(job.id, key).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(&b"png"[..]));
    assert_eq!(count(&store, Status::Succeeded).await, 1);
}

async fn a_lease_is_extended_until_it_is_lost(store: Store) {
    submit(&store, spec(), at(0)).await;
    submit(&store, spec(), at(0)).await;
    let leases: Vec<Lease> = claim_all(&store, at(0)).await.iter().map(|claimed| claimed.lease).collect();
    finish(&store, success(leases[0]), at(1)).await.unwrap();
    let unknown = Lease { job: JobId::new(), attempt: 1, worker: WORKER };
    let asked = vec![leases[1], leases[0], unknown, leases[1]];
    let duration = std::time::Duration::from_secs(30);
    let before = get(&store, leases[1].job).await;
    let answers = store.extend(asked, duration, at(29_000)).await.unwrap();
    assert_eq!(answers, [Extended::Held, Extended::Lost, Extended::Lost, Extended::Held]);
    assert_eq!(get(&store, leases[1].job).await, before);
    let reap = minilab::store::Reap::Expired;
    let reaped = store.reap(reap, Retention::default(), render(), at(58_999)).await.unwrap();
    assert!(reaped.is_empty());
    let reaped = store.reap(reap, Retention::default(), render(), at(59_000)).await.unwrap();
    assert_eq!(reaped.len(), 1);
    assert_eq!(extend(&store, leases[1], 59_000).await, Extended::Lost);
}

async fn a_stale_lease_changes_nothing(store: Store) {
    submit(&store, url_spec(), at(0)).await;
    let stale = claim_one(&store, at(0)).await.lease;
    finish(&store, ending(stale, Outcome::Released), at(1)).await.unwrap();
    let fresh = claim_one(&store, at(2)).await;
    assert_eq!(fresh.lease.attempt, 2);
    let inline = Some(Bytes::from_static(b"late"));
    assert_eq!(store.set_source(stale, source(true), inline, 7).await.unwrap(), None);
    assert_eq!(finish(&store, success(stale), at(3)).await, None);
    assert_eq!(extend(&store, stale, 3).await, Extended::Lost);
    assert_eq!(get(&store, stale.job).await, fresh.job);
    let key = InlineKey::Output("output".to_owned());
    assert_eq!(store.inline_bytes(stale.job, key).await.unwrap(), None);
    assert_eq!(store.inline_bytes(stale.job, InlineKey::Source).await.unwrap(), None);
    assert!(finish(&store, success(fresh.lease), at(4)).await.is_some());
}

async fn an_attempt_ends_once(store: Store) {
    submit(&store, JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0)).await;
    let lease = claim_one(&store, at(0)).await.lease;
    let job = finish(&store, success(lease), at(1)).await.unwrap();
    assert_eq!(finish(&store, success(lease), at(2)).await, None);
    assert_eq!(finish(&store, ending(lease, Outcome::Failed(failure())), at(2)).await, None);
    assert_eq!(get(&store, job.id).await, job);
    assert_eq!(store.counts().await.unwrap().deliveries, [1, 0, 0]);
}

async fn a_transient_failure_waits_for_its_next_attempt(store: Store) {
    submit(&store, JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0)).await;
    let lease = claim_one(&store, at(0)).await.lease;
    let job = finish(&store, ending(lease, Outcome::Retry(failure(), at(5000))), at(1)).await.unwrap();
    assert_eq!((job.status, job.run_at, job.attempts_counted()), (Status::Queued, at(5000), 1));
    assert_eq!(job.error, Some(failure()));
    assert_eq!(store.next_due(at(1)).await.unwrap().job, Some(at(5000)));
    assert_eq!(store.counts().await.unwrap().deliveries, [0, 0, 0]);
    assert!(claim_all(&store, at(4999)).await.is_empty());
    assert_eq!(claim_one(&store, at(5000)).await.lease.attempt, 2);
}

async fn a_failed_attempt_keeps_no_bytes(store: Store) {
    submit(&store, spec(), at(0)).await;
    let lease = claim_one(&store, at(0)).await.lease;
    let failed = minilab::store::Finish {
        inline_outputs: vec![("output".to_owned(), Bytes::from_static(b"half"))],
        ..ending(lease, Outcome::Retry(failure(), at(1)))
    };
    let id = finish(&store, failed, at(1)).await.unwrap().id;
    let key = InlineKey::Output("output".to_owned());
    assert_eq!(store.inline_bytes(id, key.clone()).await.unwrap(), None);
    let lease = claim_one(&store, at(1)).await.lease;
    finish(&store, success(lease), at(2)).await.unwrap();
    assert_eq!(store.inline_bytes(id, key).await.unwrap().as_deref(), Some(&b"png"[..]));
}

async fn a_released_attempt_does_not_count(store: Store) {
    let job = ended(&store, spec(), Outcome::Released, at(0)).await;
    assert_eq!((job.status, job.attempt, job.attempts_counted()), (Status::Queued, 1, 0));
    assert_eq!(claim_one(&store, at(0)).await.lease.attempt, 2);
}

async fn a_fetched_source_is_remembered_and_its_headers_erased(store: Store) {
    submit(&store, url_spec(), at(0)).await;
    let lease = claim_one(&store, at(0)).await.lease;
    let inline = Some(Bytes::from_static(b"fetched"));
    let job = store.set_source(lease, source(true), inline, 777).await.unwrap().unwrap();
    assert_eq!((job.memory_bytes, job.source.as_ref()), (777, Some(&source(true))));
    assert!(matches!(&job.spec.source, SourceSpec::Url { headers, .. } if headers.is_empty()));
    assert_eq!(get(&store, job.id).await, job);
    // The next attempt is ready to run, and has the bytes.
    finish(&store, ending(lease, Outcome::Retry(failure(), at(1))), at(1)).await.unwrap();
    let claimed = claim_one(&store, at(1)).await;
    assert!(!claimed.job.needs_fetch());
    assert_eq!(claimed.inline_source.as_deref(), Some(&b"fetched"[..]));
}

async fn cancelling_ends_a_queued_job(store: Store) {
    let id = submit(&store, JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0)).await.id;
    let job = cancelled(&store, id, 5).await;
    assert_eq!((job.status, job.finished_at), (Status::Cancelled, Some(at(5))));
    assert!(claim_all(&store, at(6)).await.is_empty());
    // Twice is once: the same record, one announcement.
    assert_eq!(cancelled(&store, id, 7).await, job);
    assert_eq!(get(&store, id).await, job);
    assert_eq!(store.counts().await.unwrap().deliveries, [1, 0, 0]);
}

async fn cancelling_asks_a_running_job(store: Store) {
    let id = submit(&store, JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0)).await.id;
    let lease = claim_one(&store, at(0)).await.lease;
    let asked = cancelled(&store, id, 1).await;
    assert_eq!((asked.status, asked.cancel_requested), (Status::Running, true));
    assert_eq!(cancelled(&store, id, 2).await, asked);
    assert_eq!(extend(&store, lease, 3).await, Extended::CancelRequested);
    let job = finish(&store, ending(lease, Outcome::Retry(failure(), at(9))), at(4)).await.unwrap();
    assert_eq!((job.status, job.cancel_requested), (Status::Cancelled, false));
    assert_eq!(store.counts().await.unwrap().deliveries, [1, 0, 0]);
}

async fn cancelling_leaves_an_ended_job_alone(store: Store) {
    let job = ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(0)).await;
    assert_eq!(cancelled(&store, job.id, 1).await, job);
    assert!(cancel(&store, JobId::new(), 1).await.is_none());
    store.delete(job.id, at(2)).await.unwrap();
    assert!(matches!(cancel(&store, job.id, 3).await, Some(Found::Gone(_))));
}

async fn retrying_queues_an_ended_job_again(store: Store) {
    let job = ended(&store, spec(), Outcome::Failed(failure()), at(0)).await;
    let Retried::Queued(queued) = store.retry(job.id, at(5)).await.unwrap() else { panic!("not queued") };
    assert_eq!((queued.status, queued.run_at, queued.error.as_ref()), (Status::Queued, at(5), None));
    assert_eq!((queued.finished_at, queued.expires_at, queued.attempts_counted()), (None, None, 0));
    assert_eq!(get(&store, job.id).await, *queued);
    assert!(matches!(store.retry(job.id, at(6)).await.unwrap(), Retried::WrongState(_)));
    assert_eq!(claim_one(&store, at(6)).await.lease.attempt, 2);
}

async fn retrying_needs_the_right_state(store: Store) {
    let job = ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(0)).await;
    let refused = store.retry(job.id, at(1)).await.unwrap();
    assert!(matches!(refused, Retried::WrongState(found) if *found == job));
    store.delete(job.id, at(2)).await.unwrap();
    assert!(matches!(store.retry(job.id, at(3)).await.unwrap(), Retried::Gone));
    assert!(matches!(store.retry(JobId::new(), at(3)).await.unwrap(), Retried::Unknown));
    let mut lost = new_job(spec(), at(4));
    lost.job.source = None;
    let lost = super::add(&store, lost).await;
    cancelled(&store, lost.id, 5).await;
    assert!(matches!(store.retry(lost.id, at(6)).await.unwrap(), Retried::WrongState(_)));
}

async fn deleting_leaves_a_tombstone(store: Store) {
    let mut new = new_job(JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0));
    new.job.source = Some(source(true));
    new.inline_source = Some(Bytes::from_static(b"bytes"));
    let id = super::add(&store, new).await.id;
    let lease = claim_one(&store, at(0)).await.lease;
    let job = finish(&store, success(lease), at(1)).await.unwrap();
    let removed = store.delete(id, at(2)).await.unwrap().unwrap();
    assert_eq!(removed.job, job);
    assert!(is_gone(&store, id).await);
    assert_eq!(store.inline_bytes(id, InlineKey::Source).await.unwrap(), None);
    assert_eq!(store.inline_bytes(id, InlineKey::Output("output".to_owned())).await.unwrap(), None);
    assert_eq!(store.counts().await.unwrap(), minilab::store::Counts::default());
    assert!(store.delete(id, at(3)).await.unwrap().is_none());
    assert!(store.delete(JobId::new(), at(3)).await.unwrap().is_none());
}

async fn deleting_takes_the_lease_of_a_running_job(store: Store) {
    let id = submit(&store, spec(), at(0)).await.id;
    let lease = claim_one(&store, at(0)).await.lease;
    let store = Arc::clone(&store);
    store.delete(id, at(1)).await.unwrap().unwrap();
    assert_eq!(extend(&store, lease, 2).await, Extended::Lost);
    assert_eq!(finish(&store, success(lease), at(3)).await, None);
    assert_eq!(store.inline_bytes(id, InlineKey::Output("output".to_owned())).await.unwrap(), None);
    assert!(is_gone(&store, id).await);
}
