//! Queue and worker together, without HTTP: one job's way from submit to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minilab::blob::{BlobKey, Blobs};
use minilab::clock::Clock;
use minilab::egress::Egress;
use minilab::job::{Code, JobId, JobSpec, SourceInfo, Status};
use minilab::pipeline;
use minilab::queue::{Config, InlineKey, Lookup, Queue, SourceBytes, Submission, Submitted};
use minilab::store::memory::MemoryStore;
use minilab::telemetry::Metrics;
use minilab::worker::{self, Pool, Runner};

use crate::support::jobs;

struct Bench {
    queue: Queue,
    blobs: Blobs,
    _directory: tempfile::TempDir,
    stop: tokio::sync::oneshot::Sender<()>,
    runner: tokio::task::JoinHandle<()>,
}

/// A queue over the reference store, and a runner with two threads.
async fn bench(grace: Duration) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(directory.path()).unwrap();
    let metrics = Metrics::new();
    let store = Arc::new(MemoryStore::new());
    let queue = Queue::open(store, blobs.clone(), Config::default(), Clock::System, Arc::clone(&metrics))
        .await
        .unwrap();
    let pool = Pool::start(2, Arc::clone(&metrics)).unwrap();
    let egress = Egress::new(&minilab::egress::Config::default()).unwrap();
    let config = worker::Config { workers: 2, grace, ..worker::Config::default() };
    let runner =
        Runner::new(queue.clone(), blobs.clone(), egress, Arc::default(), pool, metrics, config).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let runner = tokio::spawn(runner.run(async move {
        let _stopped_or_dropped = stopped.await;
    }));
    Bench { queue, blobs, _directory: directory, stop, runner }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        let noise = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ (x * y);
        image::Rgb([(noise >> 3) as u8, (noise >> 7) as u8, (noise >> 11) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn spec(pipeline: serde_json::Value) -> JobSpec {
    JobSpec { pipeline: serde_json::from_value(pipeline).unwrap(), ..jobs::spec() }
}

fn to_webp(width: u32) -> serde_json::Value {
    serde_json::json!({"auto_orient": true, "operations": [], "outputs": [
        {"name": "thumb", "operations": [{"op": "resize", "width": width}], "format": "webp"}]})
}

impl Bench {
    async fn submit(&self, spec: JobSpec, source: Vec<u8>) -> JobId {
        let limits = pipeline::Limits::default();
        let header = pipeline::probe(std::io::Cursor::new(&source), &limits).unwrap();
        let plan = pipeline::plan(&header, &spec.pipeline, &pipeline::Assets::none(), &limits).unwrap();
        let id = JobId::new();
        let info = SourceInfo::new(&header, source.len() as u64, [0; 32], false);
        let bytes = if source.len() <= minilab::blob::INLINE_BYTES_MAX {
            SourceBytes::Inline(source.into())
        } else {
            self.blobs.put(&BlobKey::Source(id), Bytes::from(source)).await.unwrap();
            SourceBytes::Blob
        };
        let submission = Submission {
            id,
            spec,
            source: Some((info, bytes)),
            assets: vec![],
            memory_bytes: plan.memory_bytes,
            warnings: vec![],
            trace_parent: None,
            idempotency_key: None,
        };
        assert!(matches!(self.queue.submit(submission).await.unwrap(), Submitted::Created(_)));
        id
    }

    async fn ended(&self, id: JobId) -> Arc<minilab::job::Job> {
        match self.queue.wait_terminal(id, Duration::from_secs(30)).await.unwrap() {
            Lookup::Job(job) => job,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_large_jobs_go_their_whole_way() {
    let bench = bench(Duration::from_secs(5)).await;
    let small = bench.submit(spec(to_webp(16)), png(64, 48)).await;
    let large = bench.submit(spec(to_webp(1000)), png(1200, 900)).await;
    let job = bench.ended(small).await;
    assert_eq!((job.status, job.outputs.len(), job.progress), (Status::Succeeded, 1, 1.0), "{:?}", job.error);
    let bytes =
        bench.queue.inline_bytes(small, InlineKey::Output("thumb".to_owned())).await.unwrap().unwrap();
    assert_eq!(bytes.len() as u64, job.outputs[0].bytes);
    let job = bench.ended(large).await;
    assert_eq!((job.status, job.outputs[0].width, job.outputs[0].height), (Status::Succeeded, 1000, 750));
    assert!(!job.outputs[0].inline);
    assert!(
        bench
            .blobs
            .read(&BlobKey::Output { job: large, attempt: 1, name: "thumb".to_owned() }, None)
            .await
            .is_ok()
    );
    assert!(job.timings.decode + job.timings.operations + job.timings.encode > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_image_fails_at_once_and_for_good() {
    let bench = bench(Duration::from_secs(5)).await;
    let mut damaged = png(400, 300);
    damaged.truncate(damaged.len() / 2);
    let job = bench.submit(spec(to_webp(16)), damaged).await;
    let job = bench.ended(job).await;
    let error = job.error.as_ref().unwrap();
    assert_eq!(
        (job.status, error.code, error.retryable, job.attempt),
        (Status::Failed, Code::CorruptImage, false, 1)
    );
}

/// Many short steps: slow as a whole, and asked between any two whether to go on.
fn slow() -> JobSpec {
    let resize = |index: u32| serde_json::json!({"op": "resize", "width": 1100 + index % 2, "enlarge": true});
    let operations: Vec<_> = (0..50).map(resize).collect();
    spec(serde_json::json!({"auto_orient": true, "operations": operations, "outputs": [
        {"name": "a", "operations": [], "format": "png"}]}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_stops_and_leaves_nothing() {
    let bench = bench(Duration::from_secs(5)).await;
    let id = bench.submit(slow(), png(1200, 900)).await;
    let mut watch = bench.queue.watch(id).await.unwrap().unwrap();
    while watch.next().await.unwrap().status != Status::Running {}
    bench.queue.cancel(id).await.unwrap();
    let job = bench.ended(id).await;
    assert_eq!((job.status, job.outputs.len()), (Status::Cancelled, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_past_its_time_is_tried_twice_and_fails() {
    let bench = bench(Duration::from_secs(5)).await;
    let mut slow = spec(to_webp(1100));
    slow.timeout = Duration::from_millis(1);
    let id = bench.submit(slow, png(1200, 900)).await;
    let job = bench.ended(id).await;
    assert_eq!((job.status, job.attempts_counted()), (Status::Failed, 2));
    assert_eq!(job.error.as_ref().unwrap().code, Code::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_gives_unfinished_attempts_back() {
    let bench = bench(Duration::ZERO).await;
    let id = bench.submit(slow(), png(1200, 900)).await;
    let mut watch = bench.queue.watch(id).await.unwrap().unwrap();
    while watch.next().await.unwrap().status != Status::Running {}
    bench.stop.send(()).unwrap();
    bench.runner.await.unwrap();
    let Lookup::Job(job) = bench.queue.get(id).await.unwrap() else { panic!("the job is gone") };
    assert_eq!((job.status, job.attempts_counted(), job.error.is_none()), (Status::Queued, 0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_needing_more_than_the_budget_runs_alone() {
    let bench = bench(Duration::from_secs(5)).await;
    let limits = pipeline::Limits::default();
    let source = png(64, 64);
    let header = pipeline::probe(std::io::Cursor::new(&source), &limits).unwrap();
    let id = JobId::new();
    let submission = Submission {
        id,
        spec: spec(to_webp(8)),
        source: Some((
            SourceInfo::new(&header, source.len() as u64, [0; 32], true),
            SourceBytes::Inline(source.into()),
        )),
        assets: vec![],
        memory_bytes: u64::MAX / 2,
        warnings: vec![],
        trace_parent: None,
        idempotency_key: None,
    };
    bench.queue.submit(submission).await.unwrap();
    assert_eq!(bench.ended(id).await.status, Status::Succeeded);
}
