//! How fast the embedded store takes jobs in and through: `cargo bench --bench submit [-- JOBS_KEPT]`.
//!
//! Prints figures, asserts nothing: machines and their disks differ. Inserts alone, then whole lives of jobs (insert, claim, finish with a
//! delivery, claim and finish the delivery), each with 32 callers at once, while one more caller measures how long `get` takes.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use minilab::clock::{Clock, Timestamp};
use minilab::job::{
    Attempt, DeliveryResult, DeliveryStatus, Event, ImageInfo, Job, JobId, JobSpec, Outcome, Output, Render,
    Retention, SourceInfo, SourceSpec, WebhookSpec,
};
use minilab::pipeline::{Format, Pipeline};
use minilab::store::sqlite::{Options, SqliteStore};
use minilab::store::{ClaimRequest, DeliveryRequest, Finish, JobStore, NewJob, StoreError};

const CALLERS: usize = 32;
const PHASE: Duration = Duration::from_secs(3);

type BenchResult = Result<(), Box<dyn std::error::Error>>;

fn main() -> BenchResult {
    let kept = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let directory = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(directory.path(), Options::default())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        fill(&store, kept).await?;
        println!("{kept} jobs kept, {CALLERS} callers");
        measure("inserts", &store, |store| async move {
            store.insert(new_job()).await?;
            Ok(())
        })
        .await?;
        drain(&store).await?;
        measure("whole lives", &store, |store| async move { live(&store).await }).await
    });
    drop(store);
    ended
}

fn new_job() -> NewJob {
    let spec = JobSpec {
        source: SourceSpec::Upload,
        pipeline: Pipeline::default(),
        preset: None,
        webhook: Some(WebhookSpec {
            url: "https://example.com/hook".to_owned(),
            events: Event::ALL.to_vec(),
        }),
        priority: 0,
        run_at: None,
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: Some("bench".to_owned()),
        metadata: BTreeMap::new(),
    };
    let source = SourceInfo {
        image: Some(ImageInfo { format: Format::Jpeg, width: 4000, height: 3000, frames: 1 }),
        bytes: 3_400_000,
        sha256: "0".repeat(64),
        inline: false,
    };
    let now = Clock::System.now();
    let job = Job::submitted(JobId::new(), Arc::new(spec), Some(source), 1, Vec::new(), now);
    NewJob { job, inline_source: None, inline_assets: Vec::new(), idempotency_key: None }
}

/// Runs `one` over and over with all callers, and says how often and how quickly.
async fn measure<F>(
    name: &str,
    store: &Arc<SqliteStore>,
    one: impl Fn(Arc<SqliteStore>) -> F + Clone + Send + 'static,
) -> BenchResult
where
    F: Future<Output = minilab::store::Result<()>> + Send,
{
    let probe = new_job();
    let id = probe.job.id;
    store
        .insert(NewJob { job: Job { run_at: Timestamp::from_millis(i64::MAX), ..probe.job }, ..probe })
        .await?;
    let (commits, started) = (store.commits(), Instant::now());
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, one, done, over) =
                (Arc::clone(store), one.clone(), Arc::clone(&done), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    one(Arc::clone(&store)).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), StoreError>(())
            })
        })
        .collect();
    let mut reads = Vec::new();
    while started.elapsed() < PHASE {
        let asked = Instant::now();
        store.get(id).await?;
        reads.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    let (seconds, done) = (started.elapsed().as_secs_f64(), done.load(Ordering::Relaxed));
    let commits = store.commits() - commits;
    reads.sort();
    let at = |share: usize| reads[(reads.len() * share / 1000).min(reads.len() - 1)];
    println!(
        "{name}: {:.0}/s, {:.3} commits each; get p50 {:?} p99 {:?} max {:?}",
        done as f64 / seconds,
        commits as f64 / done as f64,
        at(500),
        at(990),
        at(1000)
    );
    Ok(())
}

/// One job from its submission to the end of its delivery; which job and which delivery is as the store hands them out.
async fn live(store: &SqliteStore) -> minilab::store::Result<()> {
    let now = || Clock::System.now();
    store.insert(new_job()).await?;
    finish_one(store).await?;
    let request = DeliveryRequest {
        limit: 1,
        failing_max: 1,
        places: 64,
        places_of: HashMap::new(),
        lease_duration: Duration::from_secs(30),
    };
    for delivery in store.claim_deliveries(request, now()).await? {
        let result = DeliveryResult {
            status: DeliveryStatus::Delivered,
            response_status: Some(200),
            error: None,
            next_attempt_at: None,
            is_sent: true,
            latency: Duration::from_millis(3),
            answer: bytes::Bytes::new(),
        };
        store.finish_delivery(delivery.id, delivery.attempt, result, now()).await?;
    }
    Ok(())
}

/// Claims and finishes a job; whether there was one.
async fn finish_one(store: &SqliteStore) -> minilab::store::Result<bool> {
    let request = ClaimRequest {
        worker: uuid::Uuid::from_u128(1),
        ready_max: 1,
        fetch_max: 1,
        memory_bytes_max: u64::MAX,
        lease_duration: Duration::from_secs(30),
        ready_turns: Vec::new(),
        fetch_turns: Vec::new(),
    };
    let claimed = store.claim(request, Clock::System.now()).await?;
    for claimed in &claimed {
        let output = Output {
            name: "output".to_owned(),
            format: Format::Webp,
            width: 800,
            height: 600,
            bytes: 40_000,
            sha256: "0".repeat(64),
            quality: Some(79),
            filename: None,
            attempt: claimed.lease.attempt,
            inline: false,
            location: None,
        };
        let finish = Finish {
            lease: claimed.lease,
            outcome: Outcome::Succeeded(vec![output]),
            attempt: Attempt::default(),
            inline_outputs: Vec::new(),
        };
        let render: Render = Arc::new(|job, _, _| Bytes::from(serde_json::to_vec(job).unwrap_or_default()));
        store.finish(finish, Retention::default(), render, Clock::System.now()).await?;
    }
    Ok(!claimed.is_empty())
}

/// Jobs that have ended, as most of those that a store keeps.
async fn fill(store: &Arc<SqliteStore>, kept: usize) -> BenchResult {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(store);
        let share = (kept + caller) / CALLERS;
        callers.spawn(async move {
            for _ in 0..share {
                live(&store).await?;
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

/// Ends what the inserts have left.
async fn drain(store: &SqliteStore) -> BenchResult {
    loop {
        let all = futures_util::future::join_all((0..CALLERS).map(|_| finish_one(store))).await;
        if !all.into_iter().collect::<Result<Vec<bool>, _>>()?.contains(&true) {
            return Ok(());
        }
    }
}
