//! The exam that every engine of the job store must pass; `restart` asks what only one with files can be asked.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use minilab::clock::Timestamp;
use minilab::job::{
    Code, DeliveryResult, DeliveryStatus, Failure, Job, JobId, JobSpec, Outcome, Retention, Status,
};
use minilab::store::sqlite::{Options, SqliteStore};
use minilab::store::{Claimed, Found, Inserted, JobStore, NewJob};
use uuid::Uuid;

use crate::support::jobs::{attempted, ending, new_job, render, request};

mod deliveries;
mod insert;
mod lifecycle;
mod line;
mod reading;
mod restart;
mod suspects;
mod upkeep;

/// Who claims in these tests.
const WORKER: Uuid = Uuid::from_u128(1);

type Store = Arc<dyn JobStore>;

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The embedded engine in this directory.
pub(crate) fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

/// Makes one test per exam and engine.
macro_rules! exam {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $name() {
                let store = minilab::store::memory::MemoryStore::new();
                crate::store::run(super::$name(std::sync::Arc::new(store)));
            })*
        }
        mod sqlite {
            $(#[test]
            fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let store = crate::store::open(directory.path());
                crate::store::run(super::$name(std::sync::Arc::new(store)));
            })*
        }
    };
}
use exam;

/// Inserts what must be new.
async fn add(store: &Store, new: NewJob) -> Job {
    match store.insert(new).await.unwrap() {
        Inserted::Created(job) => job,
        other => panic!("not created: {other:?}"),
    }
}

/// Inserts a job of this spec.
async fn submit(store: &Store, spec: JobSpec, now: Timestamp) -> Job {
    add(store, new_job(spec, now)).await
}

/// A job that must be there.
async fn get(store: &Store, id: JobId) -> Job {
    match store.get(id).await.unwrap() {
        Some(Found::Job(job)) => *job,
        other => panic!("no job: {other:?}"),
    }
}

/// Whether the job has left a tombstone.
async fn is_gone(store: &Store, id: JobId) -> bool {
    matches!(store.get(id).await.unwrap(), Some(Found::Gone(_)))
}

/// Claims everything there is.
async fn claim_all(store: &Store, now: Timestamp) -> Vec<Claimed> {
    store.claim(request(WORKER), now).await.unwrap()
}

/// Claims what must be exactly one job.
async fn claim_one(store: &Store, now: Timestamp) -> Claimed {
    let mut claimed = claim_all(store, now).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

/// Submits, claims and ends a job.
async fn ended(store: &Store, spec: JobSpec, outcome: Outcome, now: Timestamp) -> Job {
    submit(store, spec, now).await;
    let lease = claim_one(store, now).await.lease;
    finish(store, ending(lease, outcome), now).await.unwrap()
}

async fn finish(store: &Store, finish: minilab::store::Finish, now: Timestamp) -> Option<Job> {
    store.finish(finish, Retention::default(), render(), now).await.unwrap()
}

/// A failure that may pass.
fn failure() -> Failure {
    Failure::new(Code::StorageError, "the bucket did not answer", true)
}

/// A delivery that ended well.
fn delivered() -> DeliveryResult {
    attempted(DeliveryStatus::Delivered, Some(200), None)
}

/// A delivery to be tried again.
fn again(next_attempt_at: Timestamp) -> DeliveryResult {
    attempted(DeliveryStatus::Pending, Some(500), Some(next_attempt_at))
}

fn ids<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<JobId> {
    jobs.into_iter().map(|job| job.id).collect()
}

/// Jobs of a status as the gauges show them.
async fn count(store: &Store, status: Status) -> u64 {
    store.counts().await.unwrap().jobs[status as usize]
}
