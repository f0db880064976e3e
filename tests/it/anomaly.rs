//! Stores that fail: for every kind of call and every n, the n-th one goes wrong. What was acknowledged comes to a good end, what was
//! refused is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use minilab::blob::{BlobKey, Blobs};
use minilab::clock::Timestamp;
use minilab::job::{Job, JobId, Status};
use minilab::queue::{InlineKey, Submitted};
use minilab::store::JobStore;
use minilab::store::memory::MemoryStore;

use crate::support::faults::{Answered, FaultyObjects, How, MeddledStore, Meddling};
use crate::support::images;
use crate::support::lab::Lab;
use crate::support::receiver::Receiver;

/// Scenarios at the same time: most of their time is spent waiting.
const AT_ONCE: usize = 8;
/// Calls of one kind that are made to fail, one after the other, if the scenario makes so many.
const NTH_MAX: u32 = 4;

/// What a scenario did.
struct Run {
    lab: Lab,
    inner: Arc<MemoryStore>,
    receiver: Receiver,
    acknowledged: Vec<JobId>,
    refused: Vec<JobId>,
    _directory: tempfile::TempDir,
}

/// Small and large images, small and large outputs, each with a webhook.
async fn submit_all(
    inner: Arc<MemoryStore>,
    store: Arc<dyn JobStore>,
    open: impl FnOnce(&std::path::Path) -> Blobs,
) -> Option<Run> {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let lab = Lab::start(store, open(directory.path())).await.ok()?;
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    let small_output = serde_json::json!({"outputs": [{"name": "output", "format": "png",
        "operations": [{"op": "resize", "width": 16}]}]});
    let large_output = serde_json::json!({"outputs": [{"name": "output", "format": "png"}]});
    for (image, pipeline) in
        [(images::small(), &small_output), (images::large(), &large_output), (images::large(), &small_output)]
    {
        let id = JobId::new();
        match lab.submit(id, &image, pipeline.clone(), &receiver.url).await {
            Ok(Submitted::Created(_) | Submitted::Replayed(_)) => acknowledged.push(id),
            Ok(other) => panic!("{other:?}"),
            Err(_) => refused.push(id),
        }
    }
    Some(Run { lab, inner, receiver, acknowledged, refused, _directory: directory })
}

impl Run {
    /// Every acknowledged job succeeds, is told of, and has its bytes.
    async fn check_acknowledged(&self) {
        for id in &self.acknowledged {
            let job = self.lab.settled(*id).await;
            assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
            self.check_output(&job).await;
        }
        let told = self.receiver.received();
        for id in &self.acknowledged {
            assert!(told.iter().any(|it| it.json()["data"]["id"] == id.to_string()));
        }
    }

    async fn check_output(&self, job: &Job) {
        let output = &job.outputs[0];
        let bytes = if output.inline {
            let key = InlineKey::Output("output".to_owned());
            self.lab.queue.inline_bytes(job.id, key).await.unwrap().unwrap()
        } else {
            let key = BlobKey::Output { job: job.id, attempt: output.attempt, name: "output".to_owned() };
            let parts: Vec<_> = self.lab.blobs.read(&key, None).await.unwrap().try_collect().await.unwrap();
            parts.concat().into()
        };
        assert_eq!(bytes.len() as u64, output.bytes);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
        assert_eq!(minilab::job::hex(&digest), output.sha256);
    }

    /// Blobs that nobody refers to: what a fault has left, for the sweep.
    async fn stray_blobs(&self) -> Vec<BlobKey> {
        let all = self.lab.blobs.older_than(Timestamp::from_millis(i64::MAX / 2));
        let all: Vec<(JobId, BlobKey)> = all.try_collect().await.unwrap();
        let mut stray = Vec::new();
        for (id, key) in all {
            let job = match self.inner.get(id).await.unwrap() {
                Some(minilab::store::Found::Job(job)) => job,
                _ => {
                    stray.push(key);
                    continue;
                }
            };
            let is_known = match &key {
                BlobKey::Source(_) | BlobKey::Asset { .. } => true,
                BlobKey::Output { attempt, .. } => {
                    job.outputs.iter().any(|output| output.attempt == *attempt)
                }
            };
            if !is_known {
                stray.push(key);
            }
        }
        stray
    }
}

/// Runs the scenario with one call going wrong; whether that call was made at all.
async fn with_failing_store(kind: &'static str, nth: u32, how: How) -> bool {
    let inner = Arc::new(MemoryStore::new());
    let store = MeddledStore::new(Arc::clone(&inner) as _, Meddling::Fail(kind, nth, how));
    let run = submit_all(Arc::clone(&inner), Arc::clone(&store) as _, |root| Blobs::open(root).unwrap());
    let Some(run) = run.await else {
        assert!(store.struck.load(Ordering::SeqCst), "it did not start");
        return true;
    };
    run.check_acknowledged().await;
    for id in &run.refused {
        assert_eq!(kind, "insert");
        let is_there = inner.get(*id).await.unwrap().is_some();
        assert_eq!(is_there, how == How::AnswerLost, "{how:?}");
        if is_there {
            // Nobody was promised anything, but it is there, and so it is done.
            assert_eq!(run.lab.settled(*id).await.status, Status::Succeeded);
        }
    }
    store.struck.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_once_loses_nothing() {
    const KINDS: [&str; 8] =
        ["insert", "claim", "finish", "claim_deliveries", "finish_delivery", "reap", "waiting", "counts"];
    let hows = [How::Refused, How::Full, How::AnswerLost];
    let cases = KINDS
        .into_iter()
        // A claim whose answer is lost is a job that nobody works on until its lease has run out: half a minute.
        .flat_map(|kind| hows.map(|how| (kind, how)))
        .filter(|(kind, how)| !(kind.starts_with("claim") && *how == How::AnswerLost))
        .flat_map(|(kind, how)| (1..=NTH_MAX).map(move |nth| (kind, nth, how)));
    let struck: Vec<(&str, bool)> = futures_util::stream::iter(cases)
        .map(|(kind, nth, how)| async move { (kind, with_failing_store(kind, nth, how).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for kind in KINDS {
        assert!(struck.contains(&(kind, true)), "no call of {kind} was made to fail");
    }
    println!("{} faults", struck.iter().filter(|(_, struck)| *struck).count());
}

/// The same with the bytes: whether the failing call was made.
async fn with_failing_blobs(kind: &'static str, nth: u32, error: std::io::ErrorKind) -> bool {
    let inner = Arc::new(MemoryStore::new());
    let struck = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&struck);
    let open = move |root: &std::path::Path| {
        let faulty = |inner| {
            let calls = std::sync::Mutex::default();
            Arc::new(FaultyObjects { inner, kind, nth, error, calls, struck: shared }) as _
        };
        Blobs::open_with(root, faulty).unwrap()
    };
    let run = submit_all(Arc::clone(&inner), Arc::clone(&inner) as _, open).await.unwrap();
    run.check_acknowledged().await;
    for id in &run.refused {
        assert_eq!(kind, "rename");
        assert!(inner.get(*id).await.unwrap().is_none());
    }
    let stray = run.stray_blobs().await;
    assert!(stray.is_empty() || kind == "delete", "{stray:?}");
    struck.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_cannot_be_stored_at_first_lose_nothing() {
    use std::io::ErrorKind::{Other, StorageFull};
    let cases = ["put", "rename", "delete"]
        .into_iter()
        .flat_map(|kind| (1..=2).flat_map(move |nth| [Other, StorageFull].map(|error| (kind, nth, error))));
    let struck: Vec<(&str, bool)> = futures_util::stream::iter(cases)
        .map(|(kind, nth, error)| async move { (kind, with_failing_blobs(kind, nth, error).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for kind in ["put", "rename"] {
        assert!(struck.contains(&(kind, true)), "no {kind} was made to fail");
    }
}

/// Everything that changes something is done twice.
async fn twice(answered: Answered) {
    let inner = Arc::new(MemoryStore::new());
    let store = MeddledStore::new(Arc::clone(&inner) as _, Meddling::Twice(answered));
    let run = submit_all(Arc::clone(&inner), store as _, |root| Blobs::open(root).unwrap()).await.unwrap();
    assert_eq!(run.acknowledged.len(), 3);
    run.check_acknowledged().await;
    assert_eq!(run.receiver.received().len(), 3, "each webhook is sent once");
    assert!(run.stray_blobs().await.is_empty());
    let counts = inner.counts().await.unwrap();
    assert_eq!((counts.jobs, counts.deliveries), ([0, 0, 3, 0, 0], [0, 3, 0]));
    for id in &run.acknowledged {
        assert_eq!(run.lab.settled(*id).await.attempts.len(), 1);
    }
    let (deleted, cancelled) = (run.acknowledged[0], run.acknowledged[1]);
    run.lab.queue.delete(deleted).await.unwrap();
    run.lab.queue.cancel(cancelled).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), run.lab.queue.purge()).await.unwrap().unwrap();
    assert_eq!(inner.counts().await.unwrap().jobs, [0, 0, 2, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_twice_ends_in_one_truth() {
    twice(Answered::First).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_first_answer_was_lost_is_done_again_without_harm() {
    twice(Answered::Second).await;
}
