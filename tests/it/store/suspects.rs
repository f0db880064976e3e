//! Jobs that were running when the process died: handed out apart, and convicted only by deaths while they were alone.

use std::time::Duration;

use bytes::Bytes;
use minilab::job::{Attempt, AttemptEnd, Code, Job, JobSpec, Loss, Outcome, Retention, Status};
use minilab::store::{Claimed, Finish, Reap};
use uuid::Uuid;

use super::{Store, WORKER, add, claim_all, exam, failure, finish, get, ids, submit};
use crate::support::jobs::{at, deliveries, ending, new_job, render, source, spec, url_spec, webhook};

exam!(
    suspects_wait_in_a_line_of_their_own,
    the_worst_suspect_comes_first_then_the_oldest,
    three_deaths_alone_fail_a_job_and_tell_of_it,
    who_was_fetching_goes_back_as_it_was,
    a_suspect_clears_itself,
    a_suspect_that_has_not_run_stays_one_and_waits_for_its_time,
    nobody_is_suspected_of_a_death_from_outside,
    a_suspect_can_be_cancelled_and_deleted,
    nobody_is_suspected_where_attempts_have_processes_of_their_own,
);

const LEASE: Duration = Duration::from_secs(30);

/// The process has died and its successor takes over.
async fn die(store: &Store) -> Vec<Job> {
    store
        .reap(Reap::OthersThan(Uuid::from_u128(2), Loss::Process), Retention::default(), render(), at(10))
        .await
        .unwrap()
}

async fn suspect(store: &Store, is_alone: bool) -> Option<Claimed> {
    store.claim_suspect(WORKER, is_alone, LEASE, at(20)).await.unwrap()
}

async fn suspects_wait_in_a_line_of_their_own(store: Store) {
    let mut new = new_job(JobSpec { priority: 9, ..spec() }, at(0));
    new.job.source = Some(source(true));
    new.inline_source = Some(Bytes::from_static(b"image"));
    let was_running = add(&store, new).await.id;
    assert!(suspect(&store, true).await.is_none());
    claim_all(&store, at(1)).await;
    let healthy = submit(&store, spec(), at(2)).await.id;
    die(&store).await;
    let waiting = store.waiting().await.unwrap();
    let suspects: Vec<_> = waiting.iter().map(|waiting| (waiting.id, waiting.is_suspect)).collect();
    assert_eq!(suspects, [(was_running, true), (healthy, false)]);
    assert_eq!(ids(claim_all(&store, at(20)).await.iter().map(|claimed| &claimed.job)), [healthy]);
    let claimed = suspect(&store, true).await.unwrap();
    assert_eq!((claimed.job.id, claimed.job.status), (was_running, Status::Running));
    assert_eq!(claimed.inline_source.as_deref(), Some(&b"image"[..]));
    assert_eq!(get(&store, was_running).await, claimed.job);
    assert!(suspect(&store, true).await.is_none());
    assert_eq!(store.next_due(at(20)).await.unwrap().job, None);
}

async fn the_worst_suspect_comes_first_then_the_oldest(store: Store) {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(submit(&store, spec(), at(0)).await.id);
    }
    claim_all(&store, at(1)).await;
    die(&store).await;
    // The second dies alone, the others only beside somebody.
    assert_eq!(suspect(&store, false).await.unwrap().job.id, all[0]);
    assert_eq!(suspect(&store, true).await.unwrap().job.id, all[1]);
    die(&store).await;
    let mut order = Vec::new();
    while let Some(claimed) = suspect(&store, false).await {
        order.push(claimed.job.id);
    }
    assert_eq!(order, [all[1], all[0], all[2]]);
}

async fn three_deaths_alone_fail_a_job_and_tell_of_it(store: Store) {
    let id = submit(&store, JobSpec { webhook: webhook("https://a.test/hook"), ..spec() }, at(0)).await.id;
    claim_all(&store, at(1)).await;
    for deaths in 0..3 {
        let job = die(&store).await.remove(0);
        assert_eq!((job.status, job.suspicion.unwrap().deaths), (Status::Queued, deaths));
        suspect(&store, true).await.unwrap();
    }
    let job = die(&store).await.remove(0);
    assert_eq!((job.id, job.status), (id, Status::Failed));
    assert_eq!(job.error.as_ref().unwrap().code, Code::Crashed);
    assert!(job.attempts.iter().all(|attempt| attempt.end == AttemptEnd::Died) && job.attempts.len() == 4);
    assert_eq!(get(&store, id).await, job);
    assert_eq!(store.claim_deliveries(deliveries(9), at(20)).await.unwrap().len(), 1);
    store.retry(id, at(21)).await.unwrap();
    assert!(claim_all(&store, at(22)).await.is_empty(), "tried again, it is alone again");
    assert!(store.waiting().await.unwrap()[0].is_retried, "and waits for all others");
    let again = store.claim_suspect(WORKER, true, LEASE, at(21)).await.unwrap().unwrap();
    assert_eq!(again.job.suspicion.unwrap().deaths, 0);
}

async fn who_was_fetching_goes_back_as_it_was(store: Store) {
    let fetching = submit(&store, url_spec(), at(0)).await.id;
    let fetched = submit(&store, url_spec(), at(0)).await.id;
    let leases = claim_all(&store, at(1)).await;
    store.set_source(leases[1].lease, source(false), None, 3).await.unwrap().unwrap();
    assert_eq!(leases[1].job.id, fetched);
    die(&store).await;
    assert_eq!(ids(claim_all(&store, at(20)).await.iter().map(|claimed| &claimed.job)), [fetching]);
    assert_eq!(suspect(&store, true).await.unwrap().job.id, fetched);
}

async fn a_suspect_clears_itself(store: Store) {
    let id = submit(&store, spec(), at(0)).await.id;
    claim_all(&store, at(1)).await;
    die(&store).await;
    let lease = suspect(&store, true).await.unwrap().lease;
    let attempt = Attempt { has_run: true, ..Attempt::default() };
    let ended = Finish { attempt, ..ending(lease, Outcome::Retry(failure(), at(30))) };
    let job = finish(&store, ended, at(21)).await.unwrap();
    assert_eq!((job.status, job.suspicion), (Status::Queued, None));
    assert!(!store.waiting().await.unwrap()[0].is_suspect);
    assert_eq!(ids(claim_all(&store, at(30)).await.iter().map(|claimed| &claimed.job)), [id]);
}

async fn a_suspect_that_has_not_run_stays_one_and_waits_for_its_time(store: Store) {
    let id = submit(&store, spec(), at(0)).await.id;
    claim_all(&store, at(1)).await;
    die(&store).await;
    let lease = suspect(&store, true).await.unwrap().lease;
    // What it names by URL could not be fetched: its image was never touched.
    let job = finish(&store, ending(lease, Outcome::Retry(failure(), at(50))), at(21)).await.unwrap();
    assert_eq!(job.suspicion.map(|suspicion| (suspicion.deaths, suspicion.is_alone)), Some((0, false)));
    assert!(store.waiting().await.unwrap()[0].is_suspect);
    assert!(suspect(&store, true).await.is_none(), "it is not due");
    assert_eq!(store.next_due(at(20)).await.unwrap().job, Some(at(50)));
    assert!(claim_all(&store, at(60)).await.is_empty(), "it still has to run alone");
    let again = store.claim_suspect(WORKER, true, LEASE, at(50)).await.unwrap().unwrap();
    assert_eq!(again.job.id, id);
}

async fn nobody_is_suspected_of_a_death_from_outside(store: Store) {
    let (bystander, suspected) =
        (submit(&store, spec(), at(0)).await.id, submit(&store, spec(), at(0)).await.id);
    claim_all(&store, at(1)).await;
    let killed = || {
        store.reap(Reap::OthersThan(Uuid::from_u128(2), Loss::Lease), Retention::default(), render(), at(10))
    };
    let ends: Vec<_> = killed().await.unwrap().iter().map(|job| job.attempts[0].end).collect();
    assert_eq!(ends, [AttemptEnd::Lost; 2]);
    assert_eq!(claim_all(&store, at(20)).await.len(), 2);
    let job = get(&store, bystander).await;
    finish(
        &store,
        crate::support::jobs::success(minilab::job::Lease {
            job: job.id,
            attempt: job.attempt,
            worker: WORKER,
        }),
        at(21),
    )
    .await
    .unwrap();
    // Who is suspected already stays so, and the kill is not counted.
    die(&store).await;
    for _ in 0..9 {
        assert_eq!(suspect(&store, true).await.unwrap().job.id, suspected);
        let job = killed().await.unwrap().remove(0);
        assert_eq!(job.suspicion.map(|suspicion| suspicion.deaths), Some(0));
    }
}

async fn a_suspect_can_be_cancelled_and_deleted(store: Store) {
    let cancelled = submit(&store, spec(), at(0)).await.id;
    let deleted = submit(&store, spec(), at(0)).await.id;
    claim_all(&store, at(1)).await;
    die(&store).await;
    store.cancel(cancelled, Retention::default(), render(), at(20)).await.unwrap();
    store.delete(deleted, at(20)).await.unwrap().unwrap();
    assert!(suspect(&store, true).await.is_none());
    assert_eq!(get(&store, cancelled).await.status, Status::Cancelled);
}

async fn nobody_is_suspected_where_attempts_have_processes_of_their_own(store: Store) {
    let id = submit(&store, spec(), at(0)).await.id;
    for round in 0..5 {
        let claimed = claim_all(&store, at(100 * round + 1)).await;
        assert_eq!(ids(claimed.iter().map(|claimed| &claimed.job)), [id]);
        let boot = Reap::OthersThan(Uuid::from_u128(2), Loss::Server);
        let reaped = store.reap(boot, Retention::default(), render(), at(100 * round + 10)).await.unwrap();
        assert_eq!((reaped.len(), reaped[0].suspicion), (1, None));
    }
    assert!(suspect(&store, true).await.is_none());
    let outcome = Outcome::Died(failure(), at(1000));
    let claimed = claim_all(&store, at(600)).await;
    let job = finish(&store, ending(claimed[0].lease, outcome), at(601)).await.unwrap();
    assert_eq!((job.status, job.run_at, job.attempts_counted()), (Status::Queued, at(1000), 0));
    assert!(store.waiting().await.unwrap().iter().all(|waiting| !waiting.is_suspect));
}
