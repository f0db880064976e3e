//! The rest of the queue's verbs on a store that fails once: what reads and what operators ask for is an error then, never a wrong answer,
//! and asking again mends it without doing anything twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use minilab::blob::Blobs;
use minilab::clock::Clock;
use minilab::job::{DeliveryStatus, JobId, JobSpec, KeyId, Lease, Probe, Readiness};
use minilab::queue::{
    Config, DeadLetters, InlineKey, ListFilter, Lookup, Queue, SourceBytes, Submission, Submitted,
};
use minilab::store::JobStore;
use minilab::store::memory::MemoryStore;
use minilab::telemetry::Metrics;

use crate::support::faults::{How, MeddledStore, Meddling};
use crate::support::jobs::{START, at, attempted, deliveries, source, spec, success, webhook};

const VERBS: [&str; 12] = [
    "get",
    "list",
    "inline_bytes",
    "extend",
    "deliveries",
    "dead_letters",
    "redeliver",
    "redeliver_dead_letters",
    "failing_receivers",
    "enable_receiver",
    "counts_of",
    "check",
];

fn owner() -> KeyId {
    KeyId::from_random(1)
}

async fn open(store: Arc<dyn JobStore>, directory: &tempfile::TempDir) -> Queue {
    let blobs = Blobs::open(directory.path()).unwrap();
    Queue::open(store, blobs, Config::default(), Clock::manual(START), Metrics::new()).await.unwrap()
}

async fn submit(queue: &Queue) -> JobId {
    let id = JobId::new();
    let submission = Submission {
        id,
        owner: Some(owner()),
        spec: JobSpec { webhook: webhook("https://a.test/hook"), ..spec() },
        source: Some((source(false), SourceBytes::Blob)),
        assets: vec![],
        memory_bytes: 1,
        warnings: vec![],
        idempotency_key: None,
        trace_parent: None,
    };
    assert!(matches!(queue.submit(submission).await.unwrap(), Submitted::Created(_)));
    id
}

/// A job that has ended and whose webhook was given up.
async fn prepare(store: Arc<dyn JobStore>, directory: &tempfile::TempDir) -> JobId {
    let queue = open(store, directory).await;
    let id = submit(&queue).await;
    let claimed = queue.claim(1, 0, u64::MAX).await.unwrap().remove(0);
    queue.finish(success(claimed.lease)).await.unwrap().unwrap();
    let delivery = queue.claim_deliveries(deliveries(9)).await.unwrap().remove(0);
    let given_up = attempted(DeliveryStatus::Failed, Some(410), None);
    queue.finish_delivery(&delivery, given_up).await.unwrap().unwrap();
    id
}

/// What the verb of this name answers, in short.
async fn ask(queue: &Queue, verb: &str, id: JobId, lease: Lease) -> Result<String, String> {
    let told = |error: minilab::queue::QueueError| error.to_string();
    match verb {
        "get" => queue.get(id).await.map_err(told).map(|found| match found {
            Lookup::Job(job) => job.status.name().to_owned(),
            other => panic!("{other:?}"),
        }),
        "list" => {
            let filter = ListFilter { owner: Some(owner()), limit: 9, ..ListFilter::default() };
            queue.list(filter).await.map_err(told).map(|jobs| jobs.len().to_string())
        }
        "inline_bytes" => {
            let bytes = queue.inline_bytes(id, InlineKey::Output("output".to_owned())).await;
            bytes.map_err(told).map(|bytes| bytes.unwrap().len().to_string())
        }
        "extend" => queue.extend(vec![lease]).await.map_err(told).map(|held| held.len().to_string()),
        "deliveries" => queue.deliveries(id).await.map_err(told).map(|list| list.len().to_string()),
        "dead_letters" => {
            let all = DeadLetters { receiver: None, before: None, limit: 9 };
            queue.dead_letters(all).await.map_err(told).map(|list| list.len().to_string())
        }
        "redeliver" => queue.redeliver(id).await.map_err(told).map(|_| "due".to_owned()),
        "redeliver_dead_letters" => {
            queue.redeliver_dead_letters(at(0), None).await.map_err(told).map(|_| "due".to_owned())
        }
        "failing_receivers" => {
            queue.failing_receivers().await.map_err(told).map(|list| list.len().to_string())
        }
        "enable_receiver" => {
            let receiver = "https://a.test".to_owned();
            queue.enable_receiver(receiver).await.map_err(told).map(|_| "called".to_owned())
        }
        "counts_of" => queue.stats_of(&owner()).await.map_err(told).map(|stats| stats.succeeded.to_string()),
        "check" => match queue.readiness().await {
            Readiness::Ready => Ok("ready".to_owned()),
            Readiness::NotReady(why) => Err(why),
        },
        other => panic!("{other} is no verb"),
    }
}

#[tokio::test]
async fn verbs_that_fail_once_are_asked_again() {
    for verb in VERBS {
        for how in [None, Some(How::Refused), Some(How::Full), Some(How::AnswerLost)] {
            let directory = tempfile::tempdir().unwrap();
            let inner: Arc<dyn JobStore> = Arc::new(MemoryStore::new());
            let id = prepare(Arc::clone(&inner), &directory).await;
            let meddling = Meddling::Fail(verb, 1, how.unwrap_or(How::Refused));
            let meddled = MeddledStore::new(Arc::clone(&inner), meddling);
            let store =
                if how.is_some() { Arc::clone(&meddled) as Arc<dyn JobStore> } else { Arc::clone(&inner) };
            // A queue that has seen nothing yet: it must ask its store.
            let queue = open(store, &directory).await;
            submit(&queue).await;
            let lease = queue.claim(1, 0, u64::MAX).await.unwrap().remove(0).lease;
            let first = ask(&queue, verb, id, lease).await;
            assert_eq!(first.is_err(), how.is_some(), "{verb} {how:?}: {first:?}");
            assert_eq!(meddled.struck.load(Ordering::SeqCst), how.is_some(), "{verb} {how:?}");
            let answer =
                ask(&queue, verb, id, lease).await.unwrap_or_else(|why| panic!("{verb} {how:?}: {why}"));
            let expected = match verb {
                "get" => "succeeded",
                "list" => "2",
                "inline_bytes" => "3",
                "redeliver" | "redeliver_dead_letters" => "due",
                "failing_receivers" => "0",
                "enable_receiver" => "called",
                "check" => "ready",
                _ => "1",
            };
            assert_eq!(answer, expected, "{verb} {how:?}");
            let counts = inner.counts().await.unwrap();
            let is_due = verb.starts_with("redeliver");
            assert_eq!(counts.deliveries, if is_due { [1, 0, 0] } else { [0, 0, 1] }, "{verb} {how:?}");
        }
    }
}
