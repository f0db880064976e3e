//! What only an engine with files can be asked: restarts, crashes, locks, damage.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use minilab::job::{JobSpec, Loss, Outcome, Retention, Status};
use minilab::store::sqlite::{DATABASE_FILE, Options, SqliteStore};
use minilab::store::{
    Counts, Extended, IdempotencyKey, InlineKey, Inserted, JobStore, ListFilter, NewJob, Reap, StoreError,
};
use tempfile::TempDir;

use super::{
    Store, add, again, claim_all, claim_one, ended, failure, finish, get, ids, is_gone, open, run, submit,
};
use crate::support::jobs::{at, deliveries, new_job, render, source, spec, success, webhook};

const LEASE: Duration = Duration::from_secs(30);

fn reopen(store: Store, directory: &TempDir) -> Store {
    drop(store);
    Arc::new(open(directory.path()))
}

fn opened() -> (Store, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Arc::new(open(directory.path())), directory)
}

fn everything() -> ListFilter {
    ListFilter { limit: 1000, ..ListFilter::default() }
}

/// The sentence of a refusal that came at once.
fn refusal(directory: &Path) -> String {
    let asked = Instant::now();
    let error = SqliteStore::open(directory, Options::default()).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(1));
    match error {
        StoreError::Open(sentence) => sentence,
        other => panic!("another error: {other:?}"),
    }
}

#[test]
fn a_restart_finds_everything() {
    run(async {
        let (store, directory) = opened();
        let hooked = JobSpec { webhook: webhook("https://a.test/hook"), tag: Some("a".to_owned()), ..spec() };
        let done = ended(&store, hooked.clone(), Outcome::Failed(failure()), at(0)).await;
        let mut new = new_job(hooked, at(1));
        new.job.source = Some(source(true));
        new.inline_source = Some(Bytes::from_static(b"bytes"));
        let key = IdempotencyKey { key: "a".to_owned(), fingerprint: [1; 32], kept: LEASE };
        new.idempotency_key = Some(key.clone());
        let running = add(&store, new.clone()).await;
        let lease = claim_one(&store, at(1)).await.lease;
        submit(&store, JobSpec { run_at: Some(at(9000)), ..spec() }, at(2)).await;
        let deleted = submit(&store, spec(), at(3)).await.id;
        store.delete(deleted, at(3)).await.unwrap();
        let delivery = store.claim_deliveries(deliveries(1), at(3)).await.unwrap().remove(0);
        store.finish_delivery(delivery.id, 1, again(at(500)), at(4)).await.unwrap();
        let jobs = store.list(everything()).await.unwrap();
        let (counts, waiting) = (store.counts().await.unwrap(), store.waiting().await.unwrap());

        let store = reopen(store, &directory);
        assert_eq!(store.list(everything()).await.unwrap(), jobs);
        assert_eq!(store.counts().await.unwrap(), counts);
        assert_eq!(counts, Counts { jobs: [1, 1, 0, 1, 0], deliveries: [1, 0, 0] });
        assert_eq!(store.waiting().await.unwrap(), waiting);
        assert!(is_gone(&store, deleted).await);
        let due = store.next_due(at(4)).await.unwrap();
        assert_eq!((due.job, due.delivery), (Some(at(9000)), Some(at(500))));
        let bytes = store.inline_bytes(running.id, InlineKey::Source).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(&b"bytes"[..]));
        let again = NewJob { idempotency_key: Some(key), ..new_job(spec(), at(5)) };
        assert!(
            matches!(store.insert(again).await.unwrap(), Inserted::Duplicate(job) if job.id == running.id)
        );
        assert_eq!(store.extend(vec![lease], LEASE, at(5)).await.unwrap(), [Extended::Held]);
        let second = store.claim_deliveries(deliveries(1), at(500)).await.unwrap().remove(0);
        assert_eq!((second.job, second.attempt), (done.id, 2));
    });
}

#[test]
fn after_a_crash_every_answered_change_is_there() {
    run(async {
        let (store, directory) = opened();
        let mut ids = Vec::new();
        for millis in 0..40 {
            ids.push(submit(&store, spec(), at(millis)).await.id);
        }
        let lease = claim_all(&store, at(40)).await[7].lease;
        let job = finish(&store, success(lease), at(41)).await.unwrap();
        // What a machine that lost its power right now would find: database and log as they lie, no orderly end.
        let image = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("{DATABASE_FILE}{suffix}");
            fs::copy(directory.path().join(&name), image.path().join(&name)).unwrap();
        }
        let restarted: Store = Arc::new(open(image.path()));
        assert_eq!(restarted.list(everything()).await.unwrap(), store.list(everything()).await.unwrap());
        assert_eq!(get(&restarted, job.id).await, job);
        assert_eq!(restarted.counts().await.unwrap().jobs, [0, 39, 1, 0, 0]);
        let boot = Reap::OthersThan(uuid::Uuid::from_u128(2), Loss::Process);
        let reaped = restarted.reap(boot, Retention::default(), render(), at(50)).await.unwrap();
        assert_eq!(reaped.len(), 39);
        assert_eq!(restarted.counts().await.unwrap().jobs, [39, 0, 1, 0, 0]);
    });
}

#[test]
fn a_caller_that_goes_away_does_not_undo_what_it_sent() {
    run(async {
        let (store, directory) = opened();
        let new = new_job(spec(), at(0));
        let id = new.job.id;
        let mut sent = store.insert(new);
        assert!((&mut sent).now_or_never().is_none());
        drop(sent);
        let store = reopen(store, &directory);
        assert_eq!(get(&store, id).await.status, Status::Queued);
    });
}

#[test]
fn simultaneous_changes_share_commits() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(open(directory.path()));
        let inserts = (0..200).map(|_| store.insert(new_job(spec(), at(0))));
        let answers = futures_util::future::join_all(inserts).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Inserted::Created(_)))));
        let commits = store.commits();
        assert!(commits < 150, "{commits} commits");
    });
}

#[test]
fn a_second_server_on_the_directory_is_refused() {
    let (store, directory) = opened();
    let sentence = refusal(directory.path());
    assert!(sentence.contains(&directory.path().display().to_string()), "{sentence}");
    assert!(sentence.contains(&std::process::id().to_string()), "{sentence}");
    assert!(sentence.contains("--data-dir"), "{sentence}");
    drop(store);
    open(directory.path());
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused() {
    // Nobody may create files in /proc, not even root.
    let sentence = refusal(Path::new("/proc"));
    assert!(sentence.contains("/proc"), "{sentence}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let sentence = refusal(&file.path().join("data"));
    assert!(sentence.contains("data directory"), "{sentence}");
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let (store, directory) = opened();
    drop(store);
    let connection = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let sentence = refusal(directory.path());
    assert!(sentence.contains("newer version"), "{sentence}");
    assert!(sentence.contains("schema 99"), "{sentence}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DATABASE_FILE), vec![b'x'; 10_000]).unwrap();
    let sentence = refusal(directory.path());
    assert!(sentence.contains(DATABASE_FILE), "{sentence}");
}

#[test]
fn a_damaged_row_is_trouble_for_itself_alone() {
    run(async {
        let (store, directory) = opened();
        let damage = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
        let ruin = |id: minilab::job::JobId, column: &str| {
            let sql = format!("UPDATE jobs SET {column} = '{{' WHERE id = ?1");
            assert_eq!(damage.execute(&sql, [id.as_bytes()]).unwrap(), 1);
        };
        let first = submit(&store, spec(), at(0)).await;
        let second = submit(&store, spec(), at(0)).await;
        ruin(first.id, "state");
        assert!(
            matches!(store.get(first.id).await, Err(StoreError::Corrupt(what)) if what.contains(&first.id.to_string()))
        );
        assert_eq!(ids(&store.list(everything()).await.unwrap()), [second.id]);
        assert_eq!(claim_one(&store, at(1)).await.job.id, second.id);
        assert!(store.waiting().await.unwrap().is_empty());

        let third = submit(&store, spec(), at(1)).await;
        claim_one(&store, at(2)).await;
        ruin(second.id, "spec");
        let reap = || store.reap(Reap::Expired, Retention::default(), render(), at(60_000));
        assert_eq!(ids(&reap().await.unwrap()), [third.id]);

        let lease = claim_one(&store, at(60_000)).await.lease;
        finish(&store, success(lease), at(60_001)).await.unwrap();
        let fourth = ended(&store, spec(), Outcome::Succeeded(Vec::new()), at(60_002)).await;
        ruin(third.id, "state");
        let removed = store.purge(Retention::default(), 9, at(90_000_000_000)).await.unwrap();
        assert_eq!(ids(removed.iter().map(|removed| &removed.job)), [fourth.id]);
    });
}

#[test]
fn a_damaged_delivery_is_trouble_for_itself_alone() {
    run(async {
        let (store, directory) = opened();
        let hooked = JobSpec { webhook: webhook("https://a.test/hook"), ..spec() };
        let first = ended(&store, hooked.clone(), Outcome::Failed(failure()), at(0)).await;
        let second = ended(&store, hooked, Outcome::Failed(failure()), at(1)).await;
        let damage = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
        let sql = "UPDATE deliveries SET event = 'x' WHERE job = ?1";
        assert_eq!(damage.execute(sql, [first.id.as_bytes()]).unwrap(), 1);
        let claimed = store.claim_deliveries(deliveries(9), at(2)).await.unwrap();
        assert_eq!(claimed.iter().map(|delivery| delivery.job).collect::<Vec<_>>(), [second.id]);
        // It is given up, so that it neither comes due again nor keeps its job for ever.
        assert_eq!(store.counts().await.unwrap().deliveries, [1, 0, 1]);
        let removed = store.purge(Retention::default(), 9, at(90_000_000_000)).await.unwrap();
        assert_eq!(ids(removed.iter().map(|removed| &removed.job)), [first.id]);
    });
}
