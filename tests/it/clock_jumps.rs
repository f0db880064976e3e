//! Leaps of the clock: no attempt is run twice, nothing is taken for an orphan, nothing stands still.

use std::sync::Arc;
use std::time::Duration;

use minilab::blob::{BlobKey, Blobs};
use minilab::clock::{Clock, Timestamp};
use minilab::job::{JobId, Status};
use minilab::queue::{Config, Extended, Lookup, Queue, SourceBytes, Submission};
use minilab::store::memory::MemoryStore;
use minilab::telemetry::Metrics;

use crate::support::jobs::{self, START, source};

const HOUR: Duration = Duration::from_secs(3600);
/// Between two turns of the reaper.
const TURN: Duration = Duration::from_secs(5);

struct Bench {
    queue: Queue,
    blobs: Blobs,
    clock: Clock,
    _directory: tempfile::TempDir,
}

async fn bench(at: Timestamp) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path()).unwrap();
    let (store, clock) = (Arc::new(MemoryStore::new()), Clock::manual(at));
    let queue = Queue::open(store, blobs.clone(), Config::default(), clock.clone(), Metrics::new());
    Bench { queue: queue.await.unwrap(), blobs, clock, _directory: directory }
}

impl Bench {
    async fn submit(&self) -> JobId {
        let submission = Submission {
            id: JobId::new(),
            spec: jobs::spec(),
            source: Some((source(false), SourceBytes::Blob)),
            assets: Vec::new(),
            memory_bytes: 1,
            warnings: Vec::new(),
            trace_parent: None,
            idempotency_key: None,
        };
        let id = submission.id;
        self.queue.submit(submission).await.unwrap();
        id
    }

    async fn status(&self, id: JobId) -> Status {
        match self.queue.get(id).await.unwrap() {
            Lookup::Job(job) => job.status,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the reaper take its turns for so long.
    async fn reap_for(&self, time: Duration) {
        for _ in 0..time.as_secs() / TURN.as_secs() {
            self.clock.advance(TURN);
            self.queue.reap().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_leap_takes_no_lease_from_who_holds_it() {
    let bench = bench(START).await;
    let id = bench.submit().await;
    let lease = bench.queue.claim(1, 0, u64::MAX).await.unwrap()[0].lease;
    bench.queue.reap().await.unwrap();
    let leaps: [&dyn Fn(); 2] =
        [&|| bench.clock.advance(2 * HOUR), &|| bench.clock.set(bench.clock.now().minus(24 * HOUR))];
    for leap in leaps {
        leap();
        bench.queue.reap().await.unwrap();
        bench.reap_for(Duration::from_secs(25)).await;
        assert_eq!(bench.status(id).await, Status::Running, "its holder has a whole term to be heard");
        assert!(bench.queue.claim(1, 0, u64::MAX).await.unwrap().is_empty());
        assert_eq!(bench.queue.extend(vec![lease]).await.unwrap(), [Extended::Held]);
        bench.reap_for(Duration::from_secs(25)).await;
        assert_eq!(bench.status(id).await, Status::Running);
        assert_eq!(bench.queue.extend(vec![lease]).await.unwrap(), [Extended::Held]);
    }
    // Nobody is heard of any more: then it is taken back all the same.
    bench.reap_for(Duration::from_secs(35)).await;
    assert_eq!(bench.status(id).await, Status::Queued);
}

#[tokio::test]
async fn a_blob_is_no_orphan_because_its_age_seems_great() {
    // The file's age is told by the system's clock, which stands years before this one.
    let bench = bench(Clock::System.now().plus(24 * 365 * HOUR)).await;
    let key = BlobKey::Source(JobId::new());
    bench.blobs.put(&key, bytes::Bytes::from_static(b"about to be submitted")).await.unwrap();
    bench.queue.sweep().await.unwrap();
    assert!(bench.blobs.read(&key, None).await.is_ok());
    bench.queue.sweep().await.unwrap();
    assert!(bench.blobs.read(&key, None).await.is_err(), "an hour later nobody knows it still");
}
