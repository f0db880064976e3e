//! Whether the embedded store's costs stay the same however many jobs it keeps: `cargo bench --bench scale [-- JOBS_MAX]`.
//!
//! Prints a table, asserts nothing: machines and their disks differ, the ratios count. The store is filled with ended jobs to 1,000, then
//! ten times as many, up to `JOBS_MAX` (default 100,000). At each size it measures with 32 callers how many inserts, reads of one job and whole
//! lives (insert, claim, finish) a second it does, and how long a page of the list (by status, by tag, and from the middle), a claim that
//! finds nothing, a purge that finds nothing, one that removes 200 jobs, and a look for leases that ran out take.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, TryStreamExt};
use minilab::clock::{Clock, Timestamp};
use minilab::job::{Attempt, Job, JobId, JobSpec, Outcome, Render, Retention, SourceSpec, Status};
use minilab::pipeline::Pipeline;
use minilab::store::sqlite::{Options, SqliteStore};
use minilab::store::{ClaimRequest, Finish, JobStore, ListFilter, NewJob, Reap, Result};

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
        "{:>8} {:>9} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "jobs",
        "inserts/s",
        "reads/s",
        "lives/s",
        "status",
        "tag",
        "middle",
        "claim",
        "purge",
        "purge 200",
        "reap"
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
        let lives = rate(|_| live(store)).await?;
        let now = Clock::System.now();
        let page = ListFilter { limit: 51, ..ListFilter::default() };
        let by_status = ListFilter { status: Some(Status::Succeeded), ..page.clone() };
        let by_tag = ListFilter { tag: Some("bench".to_owned()), ..page.clone() };
        let middle = ListFilter { before: Some(kept[kept.len() / 2]), ..by_tag.clone() };
        let list = |filter: ListFilter| async move {
            time(|| async { store.list(filter.clone()).await.map(drop) }).await
        };
        let (status, tag, middle) = (list(by_status).await?, list(by_tag).await?, list(middle).await?);
        let claim = time(|| async { store.claim(request(), now).await.map(drop) }).await?;
        let purge = time(|| async { store.purge(Retention::default(), 200, now).await.map(drop) }).await?;
        let purge_200 = purge_of_200(store, now).await?;
        let render: Render = Arc::new(|_, _, _| bytes::Bytes::new());
        let reap = time(|| async {
            store.reap(Reap::Expired, Retention::default(), render.clone(), now).await.map(drop)
        });
        let reap = reap.await?;
        println!(
            "{size:>8} {inserts:>9.0} {reads:>9.0} {lives:>8.0} {status:>9.1?} {tag:>9.1?} {middle:>9.1?} {claim:>9.1?} {purge:>9.1?} {purge_200:>10.1?} {reap:>9.1?}"
        );
        size *= 10;
    }
    Ok(())
}

/// A job from submit to success.
async fn live(store: &Arc<SqliteStore>) -> Result<()> {
    let mut new = ended_job();
    new.job.status = Status::Queued;
    new.job.expires_at = None;
    store.insert(new).await?;
    let now = Clock::System.now();
    for claimed in store.claim(ClaimRequest { ready_max: 1, fetch_max: 1, ..request() }, now).await? {
        let outcome = Outcome::Succeeded(Vec::new());
        let finish =
            Finish { lease: claimed.lease, outcome, attempt: Attempt::default(), inline_outputs: Vec::new() };
        store.finish(finish, Retention::default(), Arc::new(|_, _, _| bytes::Bytes::new()), now).await?;
    }
    Ok(())
}

/// How long it takes to remove 200 jobs that have expired.
async fn purge_of_200(store: &Arc<SqliteStore>, now: Timestamp) -> Result<Duration> {
    let expired = (0..200).map(|_| {
        let mut new = ended_job();
        new.job.expires_at = Some(now.minus(Duration::from_secs(1)));
        new
    });
    each(expired.collect(), |new| async move { store.insert(new).await.map(drop) }).await?;
    let began = Instant::now();
    store.purge(Retention::default(), 200, now).await?;
    Ok(began.elapsed())
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
