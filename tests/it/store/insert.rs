//! Inserting, and idempotency keys.

use std::time::Duration;

use bytes::Bytes;
use minilab::job::{AssetInfo, JobId, Status};
use minilab::store::{IdempotencyKey, InlineKey, Inserted, NewJob};

use super::{Store, add, count, exam, get, is_gone};
use crate::support::jobs::{at, new_job, source, spec};

exam!(
    a_new_job_is_found_as_it_was_given,
    a_small_source_is_kept_with_it,
    assets_are_kept_beside_source_and_outputs,
    an_unknown_job_is_neither_there_nor_gone,
    the_same_insert_twice_is_one_job,
    a_key_finds_the_job_as_it_is_now,
    a_key_used_for_something_else_is_a_mismatch,
    a_key_outlives_its_job,
    an_expired_key_does_not_match,
    of_many_simultaneous_inserts_of_a_key_one_is_created,
);

fn keyed(key: &str, fingerprint: u8, millis: u64) -> NewJob {
    let kept = Duration::from_secs(60);
    let key = IdempotencyKey { key: key.to_owned(), fingerprint: [fingerprint; 32], kept };
    NewJob { idempotency_key: Some(key), ..new_job(spec(), at(millis)) }
}

async fn a_new_job_is_found_as_it_was_given(store: Store) {
    let new = new_job(spec(), at(0));
    let job = new.job.clone();
    assert_eq!(add(&store, new).await, job);
    assert_eq!(get(&store, job.id).await, job);
    assert_eq!(count(&store, Status::Queued).await, 1);
}

async fn a_small_source_is_kept_with_it(store: Store) {
    let mut new = new_job(spec(), at(0));
    new.job.source = Some(source(true));
    new.inline_source = Some(Bytes::from_static(b"bytes"));
    let id = add(&store, new).await.id;
    let found = store.inline_bytes(id, InlineKey::Source).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"bytes"[..]));
    let other = InlineKey::Output("output".to_owned());
    assert_eq!(store.inline_bytes(id, other).await.unwrap(), None);
    assert_eq!(store.inline_bytes(JobId::new(), InlineKey::Source).await.unwrap(), None);
}

async fn assets_are_kept_beside_source_and_outputs(store: Store) {
    let mut new = new_job(spec(), at(0));
    let asset = |name: &str, inline| AssetInfo {
        name: name.to_owned(),
        format: minilab::pipeline::Format::Png,
        width: 3,
        height: 2,
        bytes: 4,
        sha256: "cc".repeat(32),
        inline,
    };
    new.job.assets = vec![asset("output", true), asset("large", false)];
    new.job.source = Some(source(true));
    new.inline_source = Some(Bytes::from_static(b"source"));
    new.inline_assets = vec![("output".to_owned(), Bytes::from_static(b"logo"))];
    let job = new.job.clone();
    add(&store, new).await;
    assert_eq!(get(&store, job.id).await.assets, job.assets);
    let bytes = async |key| store.inline_bytes(job.id, key).await.unwrap();
    let (asset, output) = (InlineKey::Asset("output".to_owned()), InlineKey::Output("output".to_owned()));
    assert_eq!(bytes(asset.clone()).await.as_deref(), Some(&b"logo"[..]));
    assert_eq!(bytes(output).await, None, "an output of the same name is something else");
    assert_eq!(bytes(InlineKey::Source).await.as_deref(), Some(&b"source"[..]));
    assert_eq!(bytes(InlineKey::Asset("large".to_owned())).await, None);
    let removed = store.delete(job.id, at(1)).await.unwrap().unwrap();
    assert_eq!(removed.job.assets, job.assets);
    assert_eq!(bytes(asset).await, None);
}

async fn an_unknown_job_is_neither_there_nor_gone(store: Store) {
    assert!(store.get(JobId::new()).await.unwrap().is_none());
}

async fn the_same_insert_twice_is_one_job(store: Store) {
    let new = new_job(spec(), at(0));
    let job = add(&store, new.clone()).await;
    assert!(matches!(store.insert(new.clone()).await.unwrap(), Inserted::Duplicate(found) if found == job));
    store.delete(job.id, at(1)).await.unwrap().unwrap();
    assert!(matches!(store.insert(new).await.unwrap(), Inserted::DuplicateGone(id) if id == job.id));
    assert_eq!(count(&store, Status::Queued).await, 0);
}

async fn a_key_finds_the_job_as_it_is_now(store: Store) {
    let job = add(&store, keyed("a", 1, 0)).await;
    super::claim_one(&store, at(1)).await;
    let Inserted::Duplicate(found) = store.insert(keyed("a", 1, 2)).await.unwrap() else {
        panic!("not a duplicate");
    };
    assert_eq!((found.id, found.status), (job.id, Status::Running));
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.jobs.iter().sum::<u64>(), 1);
    assert!(matches!(store.insert(keyed("b", 1, 2)).await.unwrap(), Inserted::Created(_)));
}

async fn a_key_used_for_something_else_is_a_mismatch(store: Store) {
    let job = add(&store, keyed("a", 1, 0)).await;
    assert!(matches!(store.insert(keyed("a", 2, 1)).await.unwrap(), Inserted::Mismatch));
    store.delete(job.id, at(2)).await.unwrap();
    assert!(matches!(store.insert(keyed("a", 2, 3)).await.unwrap(), Inserted::Mismatch));
}

async fn a_key_outlives_its_job(store: Store) {
    let job = add(&store, keyed("a", 1, 0)).await;
    store.delete(job.id, at(1)).await.unwrap();
    assert!(is_gone(&store, job.id).await);
    assert!(
        matches!(store.insert(keyed("a", 1, 2)).await.unwrap(), Inserted::DuplicateGone(id) if id == job.id)
    );
}

async fn an_expired_key_does_not_match(store: Store) {
    let first = add(&store, keyed("a", 1, 0)).await;
    assert!(matches!(store.insert(keyed("a", 1, 59_999)).await.unwrap(), Inserted::Duplicate(_)));
    let second = add(&store, keyed("a", 1, 60_000)).await;
    assert_ne!(first.id, second.id);
    // From now on the key stands for the second job.
    let found = store.insert(keyed("a", 1, 60_001)).await.unwrap();
    assert!(matches!(found, Inserted::Duplicate(found) if found.id == second.id));
}

async fn of_many_simultaneous_inserts_of_a_key_one_is_created(store: Store) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let store = Store::clone(&store);
        tasks.spawn(async move { store.insert(keyed("a", 1, 0)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let created: Vec<JobId> = answers
        .iter()
        .filter_map(|answer| match answer {
            Inserted::Created(job) => Some(job.id),
            _ => None,
        })
        .collect();
    assert_eq!(created.len(), 1);
    let same = |answer: &&Inserted| matches!(answer, Inserted::Duplicate(job) if job.id == created[0]);
    assert_eq!(answers.iter().filter(same).count(), 199);
    assert_eq!(count(&store, Status::Queued).await, 1);
}
