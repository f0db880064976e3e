//! Stores that fail: for every kind of call and every n, the n-th one goes wrong. What was acknowledged comes to a good end, what was
//! refused is not there.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use minilab::blob::{BlobKey, Blobs};
use minilab::clock::{Clock, Timestamp};
use minilab::job::{Job, JobId, JobSpec, SourceInfo, SourceSpec, Status};
use minilab::queue::{Config, InlineKey, Lookup, Queue, SourceBytes, Submission, Submitted};
use minilab::store::JobStore;
use minilab::store::memory::MemoryStore;
use minilab::telemetry::Metrics;

use crate::support::faults::{Answered, FaultyObjects, How, MeddledStore, Meddling};
use crate::support::images;
use crate::support::jobs;
use crate::support::lab::{self, Lab};
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
                BlobKey::Source(_) => job.source.as_ref().is_none_or(|source| !source.inline),
                BlobKey::Asset { name, .. } => {
                    job.assets.iter().any(|asset| !asset.inline && asset.name == *name)
                }
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

/// Asks until it is answered; a caller of the API does the same.
async fn until_answered<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(ask: impl Fn() -> F) -> T {
    for _ in 0..3 {
        if let Ok(answer) = ask().await {
            return answer;
        }
    }
    panic!("a store that fails once fails always");
}

/// An image to be fetched, as often as anybody asks.
fn image_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, image) = (stream.unwrap(), images::small());
            let _request = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", image.len());
            let _sent = std::io::Write::write_all(&mut stream, &[head.as_bytes(), &image].concat());
        }
    });
    url
}

/// What people ask for, with one call going wrong: cancel, retry, delete, expiry, a source to fetch. Whether that call was made.
async fn changes_with_failing_store(kind: &'static str, nth: u32, how: How, image: &str) -> bool {
    let inner = Arc::new(MemoryStore::new());
    let store = MeddledStore::new(Arc::clone(&inner) as _, Meddling::Fail(kind, nth, how));
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(Arc::clone(&store) as _, Blobs::open(directory.path()).unwrap()).await.unwrap();
    let enter = async |spec: JobSpec| {
        let id = JobId::new();
        let is_upload = spec.source == SourceSpec::Upload;
        let submission = Submission {
            owner: None,
            id,
            spec,
            source: is_upload.then(|| {
                let image = images::small();
                let header =
                    minilab::pipeline::probe(std::io::Cursor::new(&image), &Default::default()).unwrap();
                let digest = <sha2::Sha256 as sha2::Digest>::digest(&image).into();
                let info = SourceInfo::new(&header, image.len() as u64, digest, true);
                (info, SourceBytes::Inline(image.into()))
            }),
            assets: Vec::new(),
            memory_bytes: u64::from(is_upload) << 20,
            warnings: Vec::new(),
            trace_parent: None,
            idempotency_key: None,
        };
        lab.queue.submit(submission).await.unwrap();
        id
    };
    let outputs = serde_json::json!({"outputs": [{"name": "output", "format": "png"}]});
    let spec = || JobSpec { pipeline: serde_json::from_value(outputs.clone()).unwrap(), ..jobs::spec() };
    let later = Some(lab.queue.clock().now().plus(Duration::from_secs(3600)));
    let cancelled = enter(JobSpec { run_at: later, ..spec() }).await;
    let deleted = enter(JobSpec { run_at: later, ..spec() }).await;
    let expired = enter(JobSpec { expires_in: Some(Duration::from_millis(1)), ..spec() }).await;
    let source = SourceSpec::Url { url: image.to_owned(), headers: Vec::new() };
    let fetched = enter(JobSpec { source, ..spec() }).await;
    until_answered(|| lab.queue.cancel(cancelled)).await;
    assert_eq!(lab.settled(cancelled).await.status, Status::Cancelled);
    until_answered(|| lab.queue.retry(cancelled)).await;
    assert_eq!(
        lab.settled(cancelled).await.status,
        Status::Succeeded,
        "it runs as soon as somebody asks again"
    );
    until_answered(|| lab.queue.delete(deleted)).await;
    assert!(matches!(lab.queue.get(deleted).await.unwrap(), Lookup::Gone(_)));
    // Housekeeping may be faster than this test.
    lab.queue.wait_terminal(expired, Duration::from_secs(30)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    until_answered(|| lab.queue.purge()).await;
    assert!(matches!(lab.queue.get(expired).await.unwrap(), Lookup::Gone(_)));
    let fetched = lab.settled(fetched).await;
    assert_eq!(fetched.status, Status::Succeeded, "{:?}", fetched.error);
    assert_eq!(inner.counts().await.unwrap().jobs, [0, 0, 2, 0, 0]);
    store.struck.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_ask_for_happens_once_though_the_store_fails() {
    const KINDS: [&str; 5] = ["cancel", "retry", "delete", "purge", "set_source"];
    let image = image_server();
    let hows = [How::Refused, How::Full, How::AnswerLost];
    let cases = KINDS.into_iter().flat_map(|kind| hows.map(|how| (kind, how)));
    let image = &image;
    let struck: Vec<(&str, bool)> = futures_util::stream::iter(cases)
        .map(|(kind, how)| async move { (kind, changes_with_failing_store(kind, 1, how, image).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert!(struck.iter().all(|(_, struck)| *struck), "{struck:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspects_are_handed_out_in_the_end() {
    for how in [How::Refused, How::Full] {
        let inner = Arc::new(MemoryStore::new());
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path()).unwrap();
        let dead = Queue::open(
            Arc::clone(&inner) as _,
            blobs.clone(),
            Config::default(),
            Clock::System,
            Metrics::new(),
        );
        let dead = dead.await.unwrap();
        let pipeline = || serde_json::json!({"outputs": [{"name": "output", "format": "png"}]});
        let ids = [JobId::new(), JobId::new()];
        for id in ids {
            lab::submit(&dead, &blobs, id, &images::small(), pipeline(), "").await.unwrap();
        }
        assert_eq!(dead.claim(9, 0, u64::MAX).await.unwrap().len(), 2);
        drop(dead);
        let store = MeddledStore::new(Arc::clone(&inner) as _, Meddling::Fail("claim_suspect", 1, how));
        let lab = Lab::start(Arc::clone(&store) as _, blobs).await.unwrap();
        for id in ids {
            let job = lab.settled(id).await;
            assert_eq!((job.status, job.suspicion), (Status::Succeeded, None));
        }
        assert!(store.struck.load(Ordering::SeqCst));
    }
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
    assert!(run.refused.is_empty(), "{:?}", run.refused);
    let stray = run.stray_blobs().await;
    assert!(stray.is_empty() || kind == "delete", "{stray:?}");
    struck.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_cannot_be_stored_at_first_lose_nothing() {
    use std::io::ErrorKind::{Other, StorageFull};
    let cases = ["put", "delete"]
        .into_iter()
        .flat_map(|kind| (1..=2).flat_map(move |nth| [Other, StorageFull].map(|error| (kind, nth, error))));
    let struck: Vec<(&str, bool)> = futures_util::stream::iter(cases)
        .map(|(kind, nth, error)| async move { (kind, with_failing_blobs(kind, nth, error).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert!(struck.contains(&("put", true)), "no put was made to fail");
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
