//! Who is served when many want to be: owners share the workers, whatever each has waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use minilab::access::{self, Key, Keyring, Scope, Token};
use minilab::blob::Blobs;
use minilab::clock::{Clock, Timestamp};
use minilab::job::{ImageInfo, JobId, JobSpec, KeyId, Outcome, SourceInfo};
use minilab::pipeline::Format;
use minilab::queue::{Claimed, Config, Queue, SourceBytes, Submission, Submitted};
use minilab::store::JobStore;
use minilab::telemetry::Metrics;
use tempfile::TempDir;

use crate::store::open;
use crate::support::jobs::{START, ending, source, spec, url_spec};

const BULK: usize = 10_000;

fn id(number: u64) -> KeyId {
    KeyId::from_random(number)
}

fn ring() -> Keyring {
    let key = |number, weight| Key {
        id: id(number),
        name: String::new(),
        hash: Token::new(&id(number), [0; 32]).hash(),
        scopes: [Scope::Submit].into_iter().collect(),
        weight,
        requests_per_minute: None,
        queue_share: Some(1.0),
        is_revoked: false,
    };
    Keyring::new([key(1, 1), key(2, 1), key(3, 4)])
}

/// A queue on the embedded engine whose time the test tells.
struct Lab {
    queue: Queue,
    clock: Clock,
    directory: TempDir,
}

impl Lab {
    async fn start() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let queue = Lab::open(&directory, clock.clone()).await;
        Lab { queue, clock, directory }
    }

    async fn open(directory: &TempDir, clock: Clock) -> Queue {
        let store: Arc<dyn JobStore> = Arc::new(open(&directory.path().join("store")));
        let blobs = Blobs::open(&directory.path().join("blobs")).unwrap();
        let config = Config { keys: access::fixed(ring()), workers: 2, ..Config::default() };
        Queue::open(store, blobs, config, clock, Metrics::new()).await.unwrap()
    }

    async fn restart(self) -> Lab {
        let Lab { queue, clock, directory } = self;
        drop(queue);
        let queue = Lab::open(&directory, clock.clone()).await;
        Lab { queue, clock, directory }
    }

    async fn submit(&self, owner: Option<u64>, spec: JobSpec) -> JobId {
        submit(&self.queue, owner, spec).await
    }

    async fn submit_many(&self, owner: u64, count: usize) {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            let queue = self.queue.clone();
            tasks
                .spawn(async move { submit(&queue, Some(owner), JobSpec { priority: 100, ..spec() }).await });
        }
        tasks.join_all().await;
    }

    /// Hands out the next job.
    async fn next(&self) -> Claimed {
        self.queue.claim(1, 0, u64::MAX).await.unwrap().remove(0)
    }

    /// Lets a worker take this long for a job.
    async fn work(&self, claimed: Claimed, taken: Duration) {
        self.clock.advance(taken);
        self.queue.finish(ending(claimed.lease, Outcome::Succeeded(vec![]))).await.unwrap().unwrap();
    }
}

async fn submit(queue: &Queue, owner: Option<u64>, spec: JobSpec) -> JobId {
    let id = JobId::new();
    let is_upload = spec.source == minilab::job::SourceSpec::Upload;
    let submission = Submission {
        id,
        owner: owner.map(self::id),
        spec,
        source: is_upload.then(|| (source(false), SourceBytes::Blob)),
        assets: vec![],
        memory_bytes: 1,
        warnings: vec![],
        idempotency_key: None,
        trace_parent: None,
    };
    assert!(matches!(queue.submit(submission).await.unwrap(), Submitted::Created(_)));
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_does_not_wait_behind_another_owners_ten_thousand() {
    let lab = Lab::start().await;
    lab.submit_many(1, BULK).await;
    // Both workers are busy with the bulk, and have been for a while.
    for _ in 0..20 {
        let job = lab.next().await;
        lab.work(job, Duration::from_secs(1)).await;
    }
    let (first, second) = (lab.next().await, lab.next().await);
    let single = lab.submit(Some(2), JobSpec { priority: -100, ..spec() }).await;
    let job = match lab.queue.get(single).await.unwrap() {
        minilab::queue::Lookup::Job(job) => job,
        other => panic!("{other:?}"),
    };
    let told = lab.queue.forecast(&job);
    assert_eq!(told.position, Some(1));
    let starts_at = told.starts_at.unwrap();
    lab.work(first, Duration::from_secs(1)).await;
    let next = lab.next().await;
    assert_eq!(next.job.id, single, "the first worker that is free takes it");
    assert_eq!(starts_at, lab.clock.now(), "and it was told so");
    lab.work(next, Duration::from_secs(1)).await;
    lab.work(second, Duration::from_secs(1)).await;
    // The bulk goes on, and the line has kept count of it.
    assert_eq!(lab.next().await.job.owner, Some(id(1)));
    assert_eq!(lab.queue.stats().queued as usize, BULK - 23);

    let lab = lab.restart().await;
    let single = lab.submit(Some(2), spec()).await;
    let two = [lab.next().await.job.id, lab.next().await.job.id];
    assert!(two.contains(&single), "a restart keeps everybody's turn");
}

#[tokio::test]
async fn owners_get_worker_time_by_weight() {
    let lab = Lab::start().await;
    for _ in 0..100 {
        lab.submit(Some(2), spec()).await;
        lab.submit(Some(3), spec()).await;
        lab.submit(None, spec()).await;
    }
    // The third owner weighs four; the keyless one's jobs take twice as long.
    let mut seconds = [0, 0, 0];
    for _ in 0..100 {
        let job = lab.next().await;
        let (who, taken) = match &job.job.owner {
            Some(owner) if *owner == id(2) => (0, 1),
            Some(_) => (1, 1),
            None => (2, 2),
        };
        seconds[who] += taken;
        lab.work(job, Duration::from_secs(taken)).await;
    }
    assert!(seconds[1].abs_diff(4 * seconds[0]) <= 8, "{seconds:?}");
    assert!(seconds[2].abs_diff(seconds[0]) <= 4, "{seconds:?}");
}

/// A job of an upload of so many megapixels.
async fn submit_sized(lab: &Lab, owner: Option<u64>, megapixels: u32) -> JobId {
    let id = JobId::new();
    let image = ImageInfo { format: Format::Jpeg, width: 1000, height: 1000 * megapixels, frames: 1 };
    let submission = Submission {
        id,
        owner: owner.map(self::id),
        spec: spec(),
        source: Some((SourceInfo { image: Some(image), ..source(false) }, SourceBytes::Blob)),
        assets: vec![],
        memory_bytes: u64::from(megapixels) * 4_000_000,
        warnings: vec![],
        idempotency_key: None,
        trace_parent: None,
    };
    assert!(matches!(lab.queue.submit(submission).await.unwrap(), Submitted::Created(_)));
    id
}

/// What a worker takes for the n-th job, which no one else knows: 100 ms and half a second a megapixel, a fifth more or less.
fn taken(claimed: &Claimed, number: u64) -> Duration {
    let megapixels = claimed.job.source.as_ref().unwrap().image.unwrap().height / 1000;
    let usual = 100 + 500 * u64::from(megapixels);
    Duration::from_millis(usual * (80 + number * 37 % 41) / 100)
}

/// Two workers do everything that waits; when each job began.
async fn work_off(lab: &Lab) -> HashMap<JobId, Timestamp> {
    let mut begun = HashMap::new();
    let mut running: Vec<(Timestamp, Claimed)> = Vec::new();
    loop {
        for claimed in lab.queue.claim(2 - running.len(), 0, u64::MAX).await.unwrap() {
            let now = lab.clock.now();
            begun.insert(claimed.job.id, now);
            running.push((now.plus(taken(&claimed, begun.len() as u64)), claimed));
        }
        running.sort_by_key(|(end, _)| *end);
        if running.is_empty() {
            return begun;
        }
        let (end, claimed) = running.remove(0);
        lab.clock.advance(end.since(lab.clock.now()));
        lab.queue.finish(ending(claimed.lease, Outcome::Succeeded(vec![]))).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_is_told_of_a_start_comes_true() {
    let lab = Lab::start().await;
    for megapixels in [1, 2, 8, 1, 4, 2] {
        submit_sized(&lab, Some(1), megapixels).await;
    }
    work_off(&lab).await;
    // One sends small pictures, another large ones, and a third, who weighs four, both.
    let mut jobs = Vec::new();
    for number in 0..60 {
        jobs.push(submit_sized(&lab, Some(1), 1 + number % 2).await);
        if number % 3 == 0 {
            jobs.push(submit_sized(&lab, Some(2), 10 + number % 4).await);
            jobs.push(submit_sized(&lab, Some(3), 1 + number % 12).await);
        }
    }
    let asked = lab.clock.now();
    let mut told = HashMap::new();
    for id in &jobs {
        let minilab::queue::Lookup::Job(job) = lab.queue.get(*id).await.unwrap() else {
            panic!("it is gone")
        };
        told.insert(*id, lab.queue.forecast(&job).starts_at.unwrap());
    }
    let begun = work_off(&lab).await;
    let all = lab.clock.now().since(asked).as_secs_f64();
    let off: Vec<f64> = jobs
        .iter()
        .map(|id| (told[id].as_millis() - begun[id].as_millis()).unsigned_abs() as f64 / 1000.0)
        .collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    let worst = off.iter().copied().fold(0.0, f64::max);
    println!("{} jobs in {all:.0} s: told {mean:.1} s off in the mean, {worst:.1} s at worst", jobs.len());
    assert!(mean < 0.05 * all && worst < 0.15 * all, "{mean} s in the mean, {worst} s at worst, of {all} s");
    // By the mean of all jobs so far, and not by images, the owner of large pictures would have been told a third of its wait.
    let large = told[&jobs[jobs.len() - 4]].since(asked).as_secs_f64();
    assert!(large > 0.6 * all, "{large} of {all} s");
}

#[tokio::test]
async fn jobs_to_be_fetched_take_turns_too_and_nobody_is_forgotten() {
    let lab = Lab::start().await;
    for _ in 0..5 {
        lab.submit(Some(1), url_spec()).await;
    }
    let single = lab.submit(Some(2), url_spec()).await;
    let two = lab.queue.claim(0, 2, u64::MAX).await.unwrap();
    assert!(two.iter().any(|claimed| claimed.job.id == single));
    // As many as there are, whoever they belong to.
    lab.submit(None, spec()).await;
    assert_eq!(lab.queue.claim(9, 9, u64::MAX).await.unwrap().len(), 5);
}

#[tokio::test]
async fn priority_orders_an_owners_jobs_and_not_the_owners() {
    let lab = Lab::start().await;
    for priority in [0, 100, 50] {
        lab.submit(Some(1), JobSpec { priority, ..spec() }).await;
        lab.submit(Some(2), JobSpec { priority: -priority, ..spec() }).await;
    }
    let mut served: Vec<(Option<KeyId>, i8)> = Vec::new();
    for _ in 0..6 {
        let job = lab.next().await;
        served.push((job.job.owner.clone(), job.job.spec.priority));
        lab.work(job, Duration::from_secs(1)).await;
    }
    let of = |owner| -> Vec<i8> {
        served.iter().filter(|(whose, _)| *whose == Some(id(owner))).map(|(_, priority)| *priority).collect()
    };
    assert_eq!((of(1), of(2)), (vec![100, 50, 0], vec![0, -50, -100]));
    let firsts: std::collections::BTreeSet<_> = served[..2].iter().map(|(owner, _)| owner.clone()).collect();
    assert_eq!(firsts.len(), 2, "{served:?}");
}
