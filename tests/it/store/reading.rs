//! Lists, gauges, what is due next, and the health check.

use minilab::job::{Job, JobSpec, KeyId, Outcome, Status};
use minilab::store::{Counts, ListFilter, NextDue};

use super::{Store, add, again, claim_all, claim_one, ended, exam, failure, finish, ids, submit};
use crate::support::jobs::{at, deliveries, ending, new_job, spec, success, url_spec, webhook};

exam!(
    jobs_are_listed_newest_first,
    a_list_is_paged_by_the_last_id,
    a_list_is_filtered_by_status_and_tag,
    the_gauges_follow_every_change,
    one_owners_gauges_are_its_own,
    an_empty_store_has_nothing_due,
    what_is_due_next_lies_ahead,
    a_check_commits,
);

async fn listed(store: &Store, filter: ListFilter) -> Vec<Job> {
    store.list(filter).await.unwrap()
}

fn everything() -> ListFilter {
    ListFilter { limit: 100, ..ListFilter::default() }
}

async fn jobs_are_listed_newest_first(store: Store) {
    assert!(listed(&store, everything()).await.is_empty());
    let mut jobs = Vec::new();
    for spec in [spec(), url_spec(), JobSpec { priority: 9, ..spec() }] {
        jobs.insert(0, submit(&store, spec, at(0)).await);
    }
    assert_eq!(listed(&store, everything()).await, jobs);
    assert!(listed(&store, ListFilter::default()).await.is_empty());
}

async fn a_list_is_paged_by_the_last_id(store: Store) {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.insert(0, submit(&store, spec(), at(0)).await);
    }
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = listed(&store, ListFilter { before, limit: 2, ..ListFilter::default() }).await;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        pages.push(page);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), jobs);
}

async fn a_list_is_filtered_by_status_and_tag(store: Store) {
    let tagged = |tag: &str| JobSpec { tag: Some(tag.to_owned()), ..spec() };
    let done = ended(&store, tagged("a"), Outcome::Succeeded(Vec::new()), at(0)).await;
    let plain = ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(0)).await;
    let queued = submit(&store, tagged("a"), at(0)).await;
    let other = submit(&store, tagged("b"), at(0)).await;
    let filter =
        |status, tag: Option<&str>| ListFilter { status, tag: tag.map(str::to_owned), ..everything() };
    let found = listed(&store, filter(None, Some("a"))).await;
    assert_eq!(ids(&found), [queued.id, done.id]);
    assert_eq!(ids(&listed(&store, filter(Some(Status::Queued), None)).await), [other.id, queued.id]);
    assert_eq!(ids(&listed(&store, filter(Some(Status::Succeeded), None)).await), [plain.id, done.id]);
    assert_eq!(ids(&listed(&store, filter(Some(Status::Succeeded), Some("a"))).await), [done.id]);
    assert!(listed(&store, filter(Some(Status::Failed), Some("a"))).await.is_empty());
    assert!(listed(&store, filter(None, Some("A"))).await.is_empty());
    for (status, tag) in [(None, Some("a")), (Some(Status::Queued), None), (Some(Status::Queued), Some("a"))]
    {
        let page = ListFilter { before: Some(queued.id), ..filter(status, tag) };
        assert!(listed(&store, page).await.iter().all(|job| job.id < queued.id));
    }
}

async fn one_owners_gauges_are_its_own(store: Store) {
    let [one, two] = [1, 2].map(KeyId::from_random);
    let hooked = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
    for (owner, spec) in [(Some(&one), hooked.clone()), (Some(&two), hooked), (None, spec())] {
        let mut new = new_job(spec, at(0));
        new.job.owner = owner.cloned();
        add(&store, new).await;
    }
    let counts = async |owner: &KeyId| store.counts_of(owner.clone()).await.unwrap();
    assert_eq!(counts(&one).await, Counts { jobs: [1, 0, 0, 0, 0], deliveries: [0, 0, 0] });
    for claimed in claim_all(&store, at(0)).await {
        let outcome = match claimed.job.owner == Some(one.clone()) {
            true => Outcome::Failed(failure()),
            false => Outcome::Succeeded(Vec::new()),
        };
        finish(&store, ending(claimed.lease, outcome), at(1)).await.unwrap();
    }
    assert_eq!(counts(&one).await, Counts { jobs: [0, 0, 0, 1, 0], deliveries: [1, 0, 0] });
    assert_eq!(counts(&two).await, Counts { jobs: [0, 0, 1, 0, 0], deliveries: [1, 0, 0] });
    assert_eq!(counts(&KeyId::from_random(3)).await, Counts::default());
}

async fn the_gauges_follow_every_change(store: Store) {
    let counts = async || store.counts().await.unwrap();
    assert_eq!(counts().await, Counts::default());
    let hooked = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
    submit(&store, hooked, at(0)).await;
    assert_eq!(counts().await.jobs, [1, 0, 0, 0, 0]);
    let lease = claim_one(&store, at(0)).await.lease;
    assert_eq!(counts().await.jobs, [0, 1, 0, 0, 0]);
    let job = finish(&store, ending(lease, Outcome::Failed(failure())), at(1)).await.unwrap();
    assert_eq!(counts().await, Counts { jobs: [0, 0, 0, 1, 0], deliveries: [1, 0, 0] });
    store.retry(job.id, at(2)).await.unwrap();
    assert_eq!(counts().await.jobs, [1, 0, 0, 0, 0]);
    let lease = claim_one(&store, at(2)).await.lease;
    finish(&store, success(lease), at(3)).await.unwrap();
    assert_eq!(counts().await, Counts { jobs: [0, 0, 1, 0, 0], deliveries: [2, 0, 0] });
    store.delete(job.id, at(4)).await.unwrap();
    assert_eq!(counts().await, Counts::default());
}

async fn an_empty_store_has_nothing_due(store: Store) {
    assert_eq!(store.next_due(at(0)).await.unwrap(), NextDue::default());
    assert!(store.waiting().await.unwrap().is_empty());
}

async fn what_is_due_next_lies_ahead(store: Store) {
    for millis in [3000, 2000, 9000] {
        submit(&store, JobSpec { run_at: Some(at(millis)), ..spec() }, at(0)).await;
    }
    assert_eq!(store.next_due(at(0)).await.unwrap().job, Some(at(2000)));
    assert_eq!(store.next_due(at(2000)).await.unwrap().job, Some(at(3000)));
    let hooked = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
    ended(&store, hooked, Outcome::Failed(failure()), at(0)).await;
    assert_eq!(store.next_due(at(0)).await.unwrap().delivery, None);
    let claim = store.claim_deliveries(deliveries(1), at(0));
    let delivery = claim.await.unwrap().remove(0);
    store.finish_delivery(delivery.id, 1, again(at(700)), at(1)).await.unwrap();
    assert_eq!(store.next_due(at(1)).await.unwrap().delivery, Some(at(700)));
}

async fn a_check_commits(store: Store) {
    store.check().await.unwrap();
    store.check().await.unwrap();
}
