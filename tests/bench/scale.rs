//! Whether the embedded store's costs stay the same however many jobs it keeps: `cargo bench --bench scale [-- JOBS_MAX]`.
//!
//! Prints a table, asserts nothing: machines and their disks differ, the ratios count. The store is filled with ended jobs to 1,000, then
//! ten times as many, up to `JOBS_MAX` (default 100,000). At each size it measures inserts per second and reads of one job per second with
//! 32 callers, and how long a page of the list, a claim and a purge that finds nothing take.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, TryStreamExt};
use minilab::clock::{Clock, Timestamp};
use minilab::job::{Job, JobId, JobSpec, Retention, SourceSpec, Status};
use minilab::pipeline::Pipeline;
use minilab::store::sqlite::{Options, SqliteStore};
use minilab::store::{ClaimRequest, JobStore, ListFilter, NewJob, Result};

const CALLERS: usize = 32;
const PHASE: Duration = Duration::from_secs(2);

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let most = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let directory = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(directory.path(), Options::default())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(table(&store, most));
    drop(store);
    Ok(ended?)
}

async fn table(store: &Arc<SqliteStore>, most: usize) -> Result<()> {
    println!(
        "{:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "jobs", "inserts/s", "reads/s", "list", "claim", "purge"
    );
    let (mut kept, mut size) = (Vec::new(), 1000);
    while size <= most {
        let missing = size - kept.len();
        let new: Vec<NewJob> = (0..missing).map(|_| ended_job()).collect();
        kept.extend(new.iter().map(|new| new.job.id));
        each(new, |new| async move { store.insert(new).await.map(drop) }).await?;
        let inserts = rate(|_| async { store.insert(ended_job()).await.map(drop) }).await?;
        let kept = &kept;
        let reads = rate(|number| async move {
            let id = kept[number.wrapping_mul(7919) % kept.len()];
            store.get(id).await.map(drop)
        })
        .await?;
        let now = Clock::System.now();
        let filter = ListFilter { status: Some(Status::Succeeded), limit: 51, ..ListFilter::default() };
        let list = time(|| async { store.list(filter.clone()).await.map(drop) }).await?;
        let claim = time(|| async { store.claim(request(), now).await.map(drop) }).await?;
        let purge = time(|| async { store.purge(Retention::default(), 200, now).await.map(drop) }).await?;
        println!("{size:>9} {inserts:>10.0} {reads:>10.0} {list:>10.1?} {claim:>10.1?} {purge:>10.1?}");
        size *= 10;
    }
    Ok(())
}

async fn each<T, F: Future<Output = Result<()>>>(items: Vec<T>, work: impl Fn(T) -> F) -> Result<()> {
    futures_util::stream::iter(items.into_iter().map(Ok)).try_for_each_concurrent(256, work).await
}

/// How often a second all callers together do it.
async fn rate<F: Future<Output = Result<()>>>(work: impl Fn(usize) -> F) -> Result<f64> {
    let began = Instant::now();
    let endless = futures_util::stream::iter(0..).take_while(|_| {
        let goes_on = began.elapsed() < PHASE;
        async move { goes_on }
    });
    let done =
        endless.map(&work).buffer_unordered(CALLERS).try_fold(0_u64, |done, ()| async move { Ok(done + 1) });
    Ok(done.await? as f64 / began.elapsed().as_secs_f64())
}

/// The median of some times.
async fn time<F: Future<Output = Result<()>>>(work: impl Fn() -> F) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        work().await?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[10])
}

fn request() -> ClaimRequest {
    ClaimRequest {
        worker: uuid::Uuid::from_u128(1),
        ready_max: 2,
        fetch_max: 2,
        memory_bytes_max: u64::MAX,
        lease_duration: Duration::from_secs(30),
        ready_turns: Vec::new(),
        fetch_turns: Vec::new(),
    }
}

/// A job as most of those that are kept: it has succeeded.
fn ended_job() -> NewJob {
    let spec = JobSpec {
        source: SourceSpec::Upload,
        pipeline: Pipeline {
            auto_orient: true,
            operations: Vec::new(),
            outputs: Vec::new(),
            analyze: Default::default(),
        },
        preset: None,
        webhook: None,
        priority: 0,
        run_at: None,
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: Some("bench".to_owned()),
        metadata: BTreeMap::new(),
    };
    let now = Clock::System.now();
    let mut job = Job::submitted(JobId::new(), Arc::new(spec), None, 1, Vec::new(), now);
    job.status = Status::Succeeded;
    job.expires_at = Some(Timestamp::from_millis(i64::MAX / 2));
    NewJob { job, inline_source: None, inline_assets: Vec::new(), idempotency_key: None }
}
