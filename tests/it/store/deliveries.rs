//! Deliveries: announced with the end of a job, claimed, finished.

use std::collections::HashMap;
use std::time::Duration;

use minilab::job::{
    Delivery, DeliveryId, DeliveryResult, DeliveryStatus, Event, Job, JobSpec, Loss, Outcome, Retention,
    Standing, Status, WebhookSpec,
};
use minilab::store::{DeadLetters, DeliveryRequest, Reap, Redelivered, Retried};

use super::{Store, WORKER, add, again, claim_one, delivered, ended, exam, failure, finish, get, submit};
use crate::support::jobs::{at, attempted, deliveries, ending, new_job, render, spec, success, webhook};

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
    a_receiver_gets_its_places_and_no_more,
    receivers_take_turns,
    failing_receivers_share_what_is_left_to_them,
    the_log_knows_every_attempt,
    a_receiver_that_only_fails_is_disabled_until_it_is_enabled,
    a_delivery_can_be_sent_again,
    what_was_given_up_can_be_sent_again,
    results_are_kept_for_who_is_told_late,
    a_trace_is_passed_on,
);

fn hooked(url: &str) -> JobSpec {
    JobSpec { webhook: webhook(url), ..spec() }
}

async fn done(store: &Store, url: &str, millis: u64) -> Job {
    ended(store, hooked(url), Outcome::Succeeded(Vec::new()), at(millis)).await
}

async fn claim(store: &Store, millis: u64) -> Vec<Delivery> {
    store.claim_deliveries(deliveries(100), at(millis)).await.unwrap()
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
    let two = store.claim_deliveries(deliveries(2), at(20)).await.unwrap();
    assert_eq!(two.iter().map(|delivery| delivery.job).collect::<Vec<_>>(), [jobs[1], jobs[2]]);
    assert_eq!(one(&store, 20).await.job, jobs[0]);
}

async fn receivers_can_be_left_out(store: Store) {
    for url in ["https://slow.test/1", "https://slow.test/2", "https://well.test/", "http://slow.test/"] {
        done(&store, url, 0).await;
    }
    let places_of =
        HashMap::from([("https://slow.test".to_owned(), 0), ("https://unknown.test".to_owned(), 0)]);
    let request = DeliveryRequest { places_of, ..deliveries(100) };
    let claimed = store.claim_deliveries(request, at(0)).await.unwrap();
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

fn names(claimed: &[Delivery]) -> Vec<&str> {
    claimed.iter().map(|delivery| delivery.receiver.as_str()).collect()
}

async fn a_receiver_gets_its_places_and_no_more(store: Store) {
    for _ in 0..5 {
        done(&store, "https://a.test/", 0).await;
    }
    done(&store, "https://b.test/", 1).await;
    let places_of = HashMap::from([("https://a.test".to_owned(), 3)]);
    let request = DeliveryRequest { places: 1, places_of, ..deliveries(100) };
    let claimed = store.claim_deliveries(request, at(1)).await.unwrap();
    assert_eq!(names(&claimed), ["https://a.test", "https://a.test", "https://a.test", "https://b.test"]);
    assert_eq!(claim(&store, 1).await.len(), 2);
}

async fn receivers_take_turns(store: Store) {
    for _ in 0..9 {
        done(&store, "https://busy.test/", 0).await;
    }
    for (receiver, millis) in [("https://c.test/", 3), ("https://a.test/", 2), ("https://a.test/", 2)] {
        done(&store, receiver, millis).await;
    }
    let mut turns = Vec::new();
    for _ in 0..3 {
        turns.push(store.claim_deliveries(deliveries(4), at(5)).await.unwrap());
    }
    let [first, second, third] = turns.try_into().unwrap();
    assert_eq!(names(&first), ["https://busy.test", "https://busy.test", "https://a.test", "https://c.test"]);
    assert_eq!(
        names(&second),
        ["https://busy.test", "https://busy.test", "https://busy.test", "https://a.test"]
    );
    assert_eq!(third.len(), 4);
}

async fn failing_receivers_share_what_is_left_to_them(store: Store) {
    for receiver in ["https://dead.test/", "https://dead.test/", "https://gone.test/", "https://well.test/"] {
        done(&store, receiver, 0).await;
    }
    for delivery in claim(&store, 0).await {
        record(&store, &delivery, again(at(10)), 1).await;
    }
    done(&store, "https://new.test/", 20).await;
    let request = |failing_max| DeliveryRequest { failing_max, ..deliveries(100) };
    let claimed = store.claim_deliveries(request(0), at(20)).await.unwrap();
    assert_eq!(names(&claimed), ["https://new.test"]);
    assert_eq!(claimed[0].standing, Standing::Well);
    let claimed = store.claim_deliveries(request(3), at(20)).await.unwrap();
    assert_eq!(names(&claimed), ["https://dead.test", "https://gone.test", "https://well.test"]);
    assert!(claimed.iter().all(|delivery| delivery.standing == Standing::Failing));
    // One success, and a receiver is no longer among them.
    record(&store, &claimed[0], delivered(), 21).await;
    let claimed = store.claim_deliveries(request(0), at(21)).await.unwrap();
    assert_eq!(names(&claimed), ["https://dead.test"]);
}

async fn the_log_knows_every_attempt(store: Store) {
    let job = done(&store, "https://a.test/hook", 0).await;
    let first = one(&store, 0).await;
    let log = store.deliveries(job.id).await.unwrap();
    assert_eq!((log.len(), log[0].attempts_begun, log[0].attempts.len()), (1, 1, 0));
    assert_eq!((log[0].status, log[0].next_attempt_at), (DeliveryStatus::Pending, None));
    record(&store, &first, again(at(5000)), 10).await;
    assert_eq!(store.deliveries(job.id).await.unwrap()[0].next_attempt_at, Some(at(5000)));
    let second = one(&store, 5000).await;
    let long = DeliveryResult { answer: vec![b'x'; 9000].into(), ..delivered() };
    record(&store, &second, long, 5001).await;
    let log = store.deliveries(job.id).await.unwrap();
    assert_eq!((log[0].id, log[0].job, log[0].event), (first.id, job.id, Event::Succeeded));
    assert_eq!((log[0].created_at, log[0].ended_at), (at(0), Some(at(5001))));
    let [one, two] = log[0].attempts.as_slice() else { panic!("{log:?}") };
    assert_eq!((one.number, one.ended_at, one.response_status), (1, at(10), Some(500)));
    assert_eq!((&one.answer[..], one.latency), (&b"no"[..], Duration::from_millis(7)));
    assert_eq!(one.error.as_deref(), Some("it did not work"));
    assert_eq!((two.number, two.response_status, two.answer.len()), (2, Some(200), 4096));
    // It goes with the job.
    store.delete(job.id, at(5002)).await.unwrap();
    assert!(store.deliveries(job.id).await.unwrap().is_empty());
}

async fn a_receiver_that_only_fails_is_disabled_until_it_is_enabled(store: Store) {
    let hour = 3_600_000;
    done(&store, "https://a.test/hook", 0).await;
    done(&store, "https://a.test/other", 0).await;
    for delivery in claim(&store, 0).await {
        record(&store, &delivery, again(at(120 * hour)), 0).await;
    }
    let [one, _] = claim(&store, 120 * hour).await.try_into().unwrap();
    assert_eq!(one.standing, Standing::Failing);
    record(&store, &one, again(at(121 * hour)), 120 * hour).await;
    let known = store.failing_receivers(9).await.unwrap();
    assert_eq!((known.len(), known[0].name.as_str()), (1, "https://a.test"));
    assert_eq!((known[0].failing_since, known[0].disabled_at), (Some(at(0)), Some(at(120 * hour))));
    let again_due = claim(&store, 121 * hour).await;
    assert!(again_due.iter().all(|delivery| delivery.standing == Standing::Disabled), "{again_due:?}");
    assert!(store.enable_receiver("https://a.test".to_owned()).await.unwrap());
    assert!(!store.enable_receiver("https://a.test".to_owned()).await.unwrap());
    assert!(!store.enable_receiver("https://unknown.test".to_owned()).await.unwrap());
    assert!(store.failing_receivers(9).await.unwrap().is_empty());
    let later = claim(&store, 123 * hour).await;
    assert!(!later.is_empty() && later.iter().all(|delivery| delivery.standing == Standing::Well));
}

async fn a_delivery_can_be_sent_again(store: Store) {
    let job = done(&store, "https://a.test/hook", 0).await;
    let first = one(&store, 0).await;
    // One that is under way stays as it is.
    assert!(matches!(store.redeliver(job.id, at(1)).await.unwrap(), Redelivered::Due(_)));
    let before = record(&store, &first, delivered(), 2).await.unwrap();
    let Redelivered::Due(due) = store.redeliver(job.id, at(100)).await.unwrap() else { panic!() };
    let webhook = due.webhook.clone().unwrap();
    assert_eq!((webhook.status, webhook.next_attempt_at), (Some(DeliveryStatus::Pending), Some(at(100))));
    assert!(due.version > before.version);
    assert_eq!(store.counts().await.unwrap().deliveries, [1, 0, 0]);
    let second = one(&store, 100).await;
    assert_eq!((second.id, &second.body, second.attempt), (first.id, &first.body, 2));
    assert_eq!(second.scheduled_attempt, 1);
    record(&store, &second, again(at(200)), 101).await;
    let third = one(&store, 200).await;
    assert_eq!((third.attempt, third.scheduled_attempt), (3, 2));
    record(&store, &third, delivered(), 201).await;
    let log = store.deliveries(job.id).await.unwrap();
    assert_eq!(log[0].attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    let unhooked = ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(300)).await;
    assert!(matches!(store.redeliver(unhooked.id, at(301)).await.unwrap(), Redelivered::Nothing(_)));
    store.delete(job.id, at(302)).await.unwrap();
    assert!(matches!(store.redeliver(job.id, at(303)).await.unwrap(), Redelivered::Gone));
    let unknown = store.redeliver(minilab::job::JobId::new(), at(303)).await.unwrap();
    assert!(matches!(unknown, Redelivered::Unknown));
}

async fn what_was_given_up_can_be_sent_again(store: Store) {
    let mut jobs = Vec::new();
    for (number, url) in ["https://a.test/", "https://b.test/", "https://a.test/"].iter().enumerate() {
        let job = done(&store, url, 0).await;
        let delivery = one(&store, 0).await;
        record(&store, &delivery, attempted(DeliveryStatus::Failed, Some(410), None), number as u64 * 10)
            .await;
        jobs.push(job.id);
    }
    let dead = |receiver: Option<&str>, limit| DeadLetters {
        receiver: receiver.map(str::to_owned),
        before: None,
        limit,
    };
    let of = |records: &[minilab::job::DeliveryRecord]| -> Vec<_> {
        records.iter().map(|record| record.job).collect()
    };
    let all = store.dead_letters(dead(None, 9)).await.unwrap();
    assert_eq!(of(&all), [jobs[2], jobs[1], jobs[0]]);
    assert_eq!(all[0].attempts.len(), 1);
    assert_eq!(of(&store.dead_letters(dead(Some("https://a.test"), 1)).await.unwrap()), [jobs[2]]);
    let older = DeadLetters { before: Some(all[0].id), ..dead(Some("https://a.test"), 9) };
    assert_eq!(of(&store.dead_letters(older).await.unwrap()), [jobs[0]]);
    let again = |since, receiver: Option<&str>, limit| {
        store.redeliver_dead_letters(at(since), receiver.map(str::to_owned), limit, at(100))
    };
    assert!(again(21, None, 9).await.unwrap().is_empty());
    assert_eq!(again(1, Some("https://a.test"), 9).await.unwrap().len(), 1);
    assert_eq!(again(0, None, 1).await.unwrap()[0].id, jobs[0]);
    assert_eq!(again(0, None, 9).await.unwrap()[0].id, jobs[1]);
    assert!(again(0, None, 9).await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().deliveries, [3, 0, 0]);
    assert_eq!(claim(&store, 100).await.len(), 3);
}

async fn results_are_kept_for_who_is_told_late(store: Store) {
    let hour = 3_600_000;
    let job = done(&store, "https://a.test/hook", 0).await;
    assert_eq!(job.expires_at, Some(at(24 * hour)));
    let first = one(&store, 0).await;
    record(&store, &first, again(at(30 * hour)), 0).await;
    assert!(store.purge(Retention::default(), 9, at(29 * hour)).await.unwrap().is_empty());
    let second = one(&store, 30 * hour).await;
    let job = record(&store, &second, delivered(), 30 * hour).await.unwrap();
    assert_eq!(job.expires_at, Some(at(54 * hour)));
    assert!(store.purge(Retention::default(), 9, at(54 * hour - 1)).await.unwrap().is_empty());
    assert_eq!(store.purge(Retention::default(), 9, at(54 * hour)).await.unwrap().len(), 1);
}

async fn a_trace_is_passed_on(store: Store) {
    let mut new = new_job(hooked("https://a.test/hook"), at(0));
    new.job.trace_parent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let job = add(&store, new).await;
    let lease = claim_one(&store, at(0)).await.lease;
    finish(&store, success(lease), at(1)).await.unwrap();
    assert_eq!(one(&store, 1).await.trace_parent, job.trace_parent);
}
