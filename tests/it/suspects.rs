//! Who took the process down? Jobs that were running when it crashed run alone, one at a time, until they have cleared themselves or died
//! alone for the third time; a kill from outside makes no suspects. First as a model of a thousand deaths over the real queue, then with
//! the real runner and the real binary.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use minilab::blob::Blobs;
use minilab::client::{Client, Submission};
use minilab::clock::Clock;
use minilab::job::{Attempt, Code, JobId, Loss, Outcome, Status};
use minilab::queue::{self, Claimed, Finish, ListFilter, Lookup, Queue, SourceBytes};
use minilab::store::JobStore;
use minilab::store::memory::MemoryStore;
use minilab::telemetry::Metrics;

use crate::support::images;
use crate::support::jobs::{self, source};
use crate::support::lab::{self, Lab};
use crate::support::process::ServerProcess;

/// Threads of the modelled worker.
const WORKERS: usize = 3;

/// A process that is dead sooner or later, over a store that outlives it.
struct Life {
    queue: Queue,
    under_way: Vec<Claimed>,
}

impl Life {
    async fn begin(store: &Arc<MemoryStore>, directory: &Path) -> Life {
        Life::begin_after(Loss::Process, store, directory).await
    }

    async fn begin_after(loss: Loss, store: &Arc<MemoryStore>, directory: &Path) -> Life {
        let blobs = Blobs::open(directory).unwrap();
        let (config, store) = (queue::Config::default(), Arc::clone(store) as _);
        let queue = Queue::open_after(loss, store, blobs, config, Clock::System, Metrics::new());
        Life { queue: queue.await.unwrap(), under_way: Vec::new() }
    }

    async fn submit(&self) -> JobId {
        let id = JobId::new();
        let submission = queue::Submission {
            owner: None,
            id,
            spec: jobs::spec(),
            source: Some((source(false), SourceBytes::Blob)),
            assets: Vec::new(),
            memory_bytes: 1,
            warnings: Vec::new(),
            trace_parent: None,
            idempotency_key: None,
        };
        self.queue.submit(submission).await.unwrap();
        id
    }

    /// Claims as the worker does.
    async fn claim(&mut self) {
        if self.queue.has_suspects() {
            if self.under_way.is_empty() {
                self.under_way.extend(self.queue.claim_suspect(true).await.unwrap());
            }
        } else if !self.under_way.iter().any(|claimed| claimed.job.suspicion.is_some()) {
            let room = WORKERS - self.under_way.len();
            self.under_way.extend(self.queue.claim(room, 0, u64::MAX).await.unwrap());
        }
    }

    /// One of the attempts under way ends well.
    async fn finish(&mut self, pick: usize) {
        let claimed = self.under_way.remove(pick % self.under_way.len());
        let (lease, outcome) = (claimed.lease, Outcome::Succeeded(Vec::new()));
        let finish = Finish { lease, outcome, attempt: Attempt::default(), inline_outputs: Vec::new() };
        self.queue.finish(finish).await.unwrap().unwrap();
    }

    async fn status(&self, id: JobId) -> (Status, Option<Code>) {
        match self.queue.get(id).await.unwrap() {
            Lookup::Job(job) => (job.status, job.error.as_ref().map(|error| error.code)),
            other => panic!("{other:?}"),
        }
    }
}

/// Numbers that are the same in every run.
fn dice(mut state: u64) -> impl FnMut(usize) -> usize {
    move |sides| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    }
}

/// A thousand processes end in the middle of what they do, after at least so many attempts each; then one lives.
async fn a_thousand_deaths(loss: Loss, ended_min: usize) {
    let (store, directory) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let mut roll = dice(7);
    let mut jobs = Vec::new();
    for _ in 0..1000 {
        let mut life = Life::begin_after(loss, &store, directory.path()).await;
        for _ in 0..roll(4) {
            jobs.push(life.submit().await);
        }
        for _ in 0..ended_min + roll(5) {
            life.claim().await;
            if !life.under_way.is_empty() {
                life.finish(roll(WORKERS)).await;
            }
        }
        life.claim().await;
    }
    let mut life = Life::begin_after(loss, &store, directory.path()).await;
    loop {
        life.claim().await;
        if life.under_way.is_empty() {
            break;
        }
        life.finish(0).await;
    }
    assert!(jobs.len() > 1000);
    for id in jobs {
        assert_eq!(life.status(id).await, (Status::Succeeded, None));
    }
}

#[tokio::test]
async fn a_thousand_kills_fail_no_innocent_job() {
    a_thousand_deaths(Loss::Lease, 0).await;
}

#[tokio::test]
async fn a_thousand_crashes_fail_no_job_that_gets_something_done_in_between() {
    a_thousand_deaths(Loss::Process, 1).await;
}

#[tokio::test]
async fn a_culprit_is_found_at_its_third_death_alone_and_nobody_else_is_blamed() {
    let (store, directory) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let mut roll = dice(11);
    let mut life = Life::begin(&store, directory.path()).await;
    let mut healthy = Vec::new();
    for _ in 0..25 {
        healthy.push(life.submit().await);
    }
    let poison = life.submit().await;
    for _ in 0..25 {
        healthy.push(life.submit().await);
    }
    let (mut deaths, mut deaths_seen) = (0, HashSet::new());
    for _ in 0..1000 {
        life.claim().await;
        if life.under_way.iter().any(|claimed| claimed.job.id == poison) {
            deaths += 1;
            deaths_seen.insert(life.under_way.len());
            life = Life::begin(&store, directory.path()).await;
        } else if life.under_way.is_empty() {
            break;
        } else {
            life.finish(roll(WORKERS)).await;
        }
    }
    assert_eq!(life.status(poison).await, (Status::Failed, Some(Code::Crashed)));
    assert_eq!(deaths, 4, "one among others and three alone");
    assert!(deaths_seen.contains(&WORKERS) && deaths_seen.contains(&1));
    for id in healthy {
        assert_eq!(life.status(id).await, (Status::Succeeded, None));
    }
}

/// Waits until a job is in the middle of an attempt with this number.
async fn wait_for_attempt(client: &Client, id: &str, number: u32) {
    let began = Instant::now();
    loop {
        let job = client.get(id).await.unwrap();
        if job.attempts.iter().any(|attempt| attempt.number == number && attempt.status == "running") {
            return;
        }
        assert!(!job.status.is_terminal(), "{job:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{job:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough to be met in the middle: twenty lossless pictures.
fn long() -> Submission {
    let outputs: Vec<_> = (0..20)
        .map(|number| serde_json::json!({"name": format!("o{number}"), "format": "webp", "lossless": true}))
        .collect();
    let picture = images::picture(image::ImageFormat::Png, 1600, 1200, 3);
    Submission::bytes(picture).spec(serde_json::json!({"outputs": outputs}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_running_whenever_the_server_crashes_fails_and_the_others_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--workers", "2", "--isolation", "thread"];
    let mut server = ServerProcess::start(directory.path(), &arguments);
    let client = Client::new(&server.url).unwrap();
    let culprit = client.submit(&long()).await.unwrap().id;
    wait_for_attempt(&client, &culprit, 1).await;
    let mut healthy = Vec::new();
    for seed in 0..50 {
        let small = images::picture(image::ImageFormat::Png, 40, 30, seed);
        let submission = Submission::bytes(small).query("width", "20");
        healthy.push(client.submit(&submission).await.unwrap().id);
    }
    // A kill in between proves nothing against anybody.
    for (attempt, is_crash) in (1..).zip([true, true, false, true, false, true]) {
        let client = Client::new(&server.url).unwrap();
        wait_for_attempt(&client, &culprit, attempt).await;
        if is_crash {
            server.crash()
        } else {
            server.kill()
        }
        server = ServerProcess::start(directory.path(), &arguments);
    }
    let client = Client::new(&server.url).unwrap();
    let job = client.get(&culprit).await.unwrap();
    let error = job.error.expect("it has failed");
    assert_eq!((job.status, error.code.as_str(), error.retryable), (Status::Failed, "crashed", false));
    let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.status.as_str()).collect();
    assert_eq!(ends, ["died", "died", "lost", "died", "lost", "died"]);
    for id in healthy {
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_running_whenever_somebody_kills_the_server_succeeds_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &["--workers", "2"]);
    let id = Client::new(&server.url).unwrap().submit(&long()).await.unwrap().id;
    for attempt in 1..=8 {
        wait_for_attempt(&Client::new(&server.url).unwrap(), &id, attempt).await;
        server.kill();
        server = ServerProcess::start(directory.path(), &["--workers", "2"]);
    }
    let client = Client::new(&server.url).unwrap();
    let job = client.wait(&id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
    assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
}

/// What is running and what waits, as the store has it.
async fn by_status(store: &MemoryStore, status: Status) -> Vec<JobId> {
    let filter = ListFilter { status: Some(status), limit: 99, ..ListFilter::default() };
    store.list(filter).await.unwrap().iter().map(|job| job.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runner_runs_nothing_beside_a_suspect() {
    let (store, directory) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let blobs = Blobs::open(directory.path()).unwrap();
    let image = images::picture(image::ImageFormat::Png, 900, 700, 3);
    let pipeline = || serde_json::json!({"outputs": [{"name": "o", "format": "webp", "lossless": true}]});
    let life = Life::begin(&store, directory.path()).await;
    let enter = async |queue: &Queue, count: usize| {
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = JobId::new();
            lab::submit(queue, &blobs, id, &image, pipeline(), "").await.unwrap();
            ids.push(id);
        }
        ids
    };
    let suspects = enter(&life.queue, 3).await;
    assert_eq!(life.queue.claim(9, 0, u64::MAX).await.unwrap().len(), 3);
    drop(life);
    let lab = Lab::start(Arc::clone(&store) as _, blobs.clone()).await.unwrap();
    enter(&lab.queue, 6).await;
    let began = Instant::now();
    let mut seen_suspect = 0;
    loop {
        let running = by_status(&store, Status::Running).await;
        if running.iter().any(|id| suspects.contains(id)) {
            assert_eq!(running.len(), 1, "somebody runs beside a suspect");
            seen_suspect += 1;
        }
        if by_status(&store, Status::Succeeded).await.len() == 9 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert!(seen_suspect > 0, "no suspect was seen");
}

#[tokio::test]
async fn a_retried_suspect_waits_for_everybody_else() {
    let (store, directory) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let mut life = Life::begin(&store, directory.path()).await;
    let culprit = life.submit().await;
    life.claim().await;
    life = Life::begin(&store, directory.path()).await;
    life.queue.cancel(culprit).await.unwrap();
    assert!(!life.queue.has_suspects());
    life.queue.retry(culprit).await.unwrap();
    assert!(!life.queue.has_suspects() && life.queue.has_retried_suspects());
    // Whoever starts next knows it, too.
    let life = Life::begin(&store, directory.path()).await;
    assert!(!life.queue.has_suspects() && life.queue.has_retried_suspects());
    let healthy = life.submit().await;
    let claimed = life.queue.claim(9, 9, u64::MAX).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.job.id).collect::<Vec<_>>(), [healthy]);
}
