//! The waiting line: order, memory, schedule.

use minilab::job::{Job, JobId, JobSpec, KeyId, Lease, Status};
use minilab::store::ClaimRequest;

use super::{Store, WORKER, add, claim_all, claim_one, count, exam, get, ids, submit};
use crate::support::jobs::{at, new_job, request, source, spec, url_spec};

exam!(
    a_claimed_job_runs_under_a_lease,
    an_inline_source_comes_with_the_claim,
    nobody_gets_a_job_twice,
    priority_goes_first_then_age,
    the_head_of_the_line_is_never_passed_over,
    memory_is_summed_up,
    owners_take_turns_and_each_keeps_its_own_order,
    jobs_to_be_fetched_wait_in_a_line_of_their_own,
    a_scheduled_job_waits_for_its_time,
    the_waiting_line_is_told_in_order,
    simultaneous_claims_share_the_line,
);

fn with_priority(priority: i8) -> JobSpec {
    JobSpec { priority, ..spec() }
}

async fn with_memory(store: &Store, memory_bytes: u64) -> Job {
    let mut new = new_job(spec(), at(0));
    new.job.memory_bytes = memory_bytes;
    add(store, new).await
}

async fn claimed(store: &Store, request: ClaimRequest) -> Vec<Job> {
    store.claim(request, at(1)).await.unwrap().into_iter().map(|claimed| claimed.job).collect()
}

async fn a_claimed_job_runs_under_a_lease(store: Store) {
    let mut job = submit(&store, spec(), at(0)).await;
    let claimed = claim_one(&store, at(7)).await;
    job.claim(at(7));
    assert_eq!(claimed.job, job);
    assert_eq!(claimed.lease, Lease { job: job.id, attempt: 1, worker: WORKER });
    assert_eq!(claimed.inline_source, None);
    assert_eq!(get(&store, job.id).await, job);
    assert_eq!((count(&store, Status::Queued).await, count(&store, Status::Running).await), (0, 1));
}

async fn an_inline_source_comes_with_the_claim(store: Store) {
    let mut new = new_job(spec(), at(0));
    new.job.source = Some(source(true));
    new.inline_source = Some(bytes::Bytes::from_static(b"bytes"));
    add(&store, new).await;
    assert_eq!(claim_one(&store, at(1)).await.inline_source.as_deref(), Some(&b"bytes"[..]));
}

async fn nobody_gets_a_job_twice(store: Store) {
    submit(&store, spec(), at(0)).await;
    claim_one(&store, at(0)).await;
    assert!(claim_all(&store, at(0)).await.is_empty());
    assert!(claim_all(&store, at(3_600_000)).await.is_empty());
}

async fn priority_goes_first_then_age(store: Store) {
    let mut jobs = Vec::new();
    for priority in [0, 5, -100, 5, 100, 0] {
        jobs.push(submit(&store, with_priority(priority), at(0)).await);
    }
    let order = [4, 1, 3, 0, 5, 2].map(|index: usize| jobs[index].id);
    let two = ClaimRequest { ready_max: 2, ..request(WORKER) };
    assert_eq!(ids(&claimed(&store, two).await), order[..2]);
    assert_eq!(ids(&claimed(&store, request(WORKER)).await), order[2..]);
}

async fn the_head_of_the_line_is_never_passed_over(store: Store) {
    let large = with_memory(&store, 1000).await;
    let small = with_memory(&store, 10).await;
    let room = |memory_bytes_max| ClaimRequest { memory_bytes_max, ..request(WORKER) };
    assert!(claimed(&store, room(999)).await.is_empty());
    assert_eq!(ids(&claimed(&store, room(1009)).await), [large.id]);
    assert_eq!(ids(&claimed(&store, room(10)).await), [small.id]);
}

async fn memory_is_summed_up(store: Store) {
    let mut jobs = Vec::new();
    for memory_bytes in [100, 100, 50, 20] {
        jobs.push(with_memory(&store, memory_bytes).await);
    }
    let room = ClaimRequest { memory_bytes_max: 230, ..request(WORKER) };
    assert_eq!(ids(&claimed(&store, room).await), ids(&jobs[..2]));
    let none = ClaimRequest { ready_max: 0, ..request(WORKER) };
    assert!(claimed(&store, none).await.is_empty());
}

async fn jobs_to_be_fetched_wait_in_a_line_of_their_own(store: Store) {
    let ready = with_memory(&store, 1000).await;
    let first = submit(&store, url_spec(), at(0)).await;
    let second = submit(&store, url_spec(), at(0)).await;
    let room = |ready_max, fetch_max| ClaimRequest { ready_max, fetch_max, ..request(WORKER) };
    let tight = ClaimRequest { memory_bytes_max: 1, ..room(9, 1) };
    assert_eq!(ids(&claimed(&store, tight).await), [first.id]);
    assert_eq!(ids(&claimed(&store, room(9, 0)).await), [ready.id]);
    assert_eq!(ids(&claimed(&store, room(0, 9)).await), [second.id]);
}

async fn owners_take_turns_and_each_keeps_its_own_order(store: Store) {
    let [one, two, nobody] = [Some(KeyId::from_random(1)), Some(KeyId::from_random(2)), None];
    let mut jobs = Vec::new();
    for (owner, priority) in [(&one, 0), (&one, 0), (&one, 9), (&two, 0), (&nobody, 0)] {
        let mut new = new_job(with_priority(priority), at(0));
        new.job.owner = owner.clone();
        jobs.push(add(&store, new).await.id);
    }
    let turns = |turns: &[&Option<KeyId>]| turns.iter().map(|owner| (*owner).clone()).collect::<Vec<_>>();
    let sorted = |mut ids: Vec<JobId>| {
        ids.sort();
        ids
    };
    let ready_turns = turns(&[&two, &two, &one, &two]);
    let two_places = ClaimRequest { ready_max: 2, ready_turns, ..request(WORKER) };
    let served = sorted(ids(&claimed(&store, two_places).await));
    assert_eq!(served, [jobs[2], jobs[3]], "a turn without a job is passed over");
    let ready_turns = turns(&[&one]);
    let rest = ClaimRequest { ready_max: 2, ready_turns, ..request(WORKER) };
    assert_eq!(
        sorted(ids(&claimed(&store, rest).await)),
        [jobs[0], jobs[4]],
        "who had no turn is served after all"
    );
    assert_eq!(ids(&claimed(&store, request(WORKER)).await), [jobs[1]]);
}

async fn a_scheduled_job_waits_for_its_time(store: Store) {
    let later = submit(&store, JobSpec { run_at: Some(at(5000)), priority: 9, ..spec() }, at(0)).await;
    assert_eq!(store.next_due(at(0)).await.unwrap().job, Some(at(5000)));
    assert!(claim_all(&store, at(4999)).await.is_empty());
    let now = submit(&store, spec(), at(4999)).await;
    let claimed = claim_all(&store, at(5000)).await;
    assert_eq!(ids(claimed.iter().map(|claimed| &claimed.job)), [later.id, now.id]);
    assert_eq!(store.next_due(at(5000)).await.unwrap().job, None);
}

async fn the_waiting_line_is_told_in_order(store: Store) {
    let low = submit(&store, with_priority(-1), at(0)).await;
    let later = submit(&store, JobSpec { run_at: Some(at(9000)), ..spec() }, at(0)).await;
    let fetch = submit(&store, JobSpec { priority: 3, ..url_spec() }, at(0)).await;
    let waiting = store.waiting().await.unwrap();
    let told: Vec<_> = waiting.iter().map(|waiting| (waiting.id, waiting.priority, waiting.run_at)).collect();
    assert_eq!(told, [(fetch.id, 3, at(0)), (later.id, 0, at(9000)), (low.id, -1, at(0))]);
    claim_all(&store, at(0)).await;
    assert_eq!(store.waiting().await.unwrap().len(), 1);
}

async fn simultaneous_claims_share_the_line(store: Store) {
    for _ in 0..50 {
        submit(&store, spec(), at(0)).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = Store::clone(&store);
        let three = ClaimRequest { ready_max: 3, ..request(WORKER) };
        tasks.spawn(async move { claimed(&store, three).await });
    }
    let mut all = ids(tasks.join_all().await.iter().flatten());
    assert_eq!(all.len(), 50);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 50);
}
