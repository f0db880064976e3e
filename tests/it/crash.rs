//! Durability: the real binary is killed while clients submit, again and again; nothing that was acknowledged may be lost.
//!
//! `TEST_KILLS` says how often (default 6).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use minilab::client::{Client, Submission};
use minilab::job::Status;

use crate::support::process::ServerProcess;
use crate::support::receiver::Receiver;

/// Clients that submit at the same time.
const CLIENTS: usize = 4;

/// What clients were told.
#[derive(Default)]
struct Promises {
    /// Acknowledged ids, with the number of the picture.
    acknowledged: Mutex<Vec<(String, usize)>>,
    server: Mutex<String>,
    is_over: AtomicBool,
    submits: AtomicUsize,
}

impl Promises {
    fn server(&self) -> String {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A small picture that travels in the row, and a large one that becomes a blob.
fn pictures() -> Vec<Vec<u8>> {
    let picture = |side: u32, seed: u32| {
        let picture = image::RgbImage::from_fn(side, side, |x, y| {
            let noise = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761);
            image::Rgb([(noise >> 8) as u8, (noise >> 16) as u8, x as u8])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    vec![picture(48, 1), picture(300, 2), picture(64, 3), picture(420, 4)]
}

async fn submit_until_over(promises: Arc<Promises>, pictures: Arc<Vec<Vec<u8>>>, webhook: String) {
    while !promises.is_over.load(Ordering::Acquire) {
        let number = promises.submits.fetch_add(1, Ordering::AcqRel);
        let picture = number % pictures.len();
        let submission = Submission::bytes(pictures[picture].clone())
            .query("width", "32")
            .query("format", "png")
            .query("webhook", webhook.clone());
        let client = Client::new(&promises.server()).unwrap();
        // A submission cut off by a kill was not acknowledged; the next one goes to the server that follows.
        if let Ok(Ok(job)) = tokio::time::timeout(Duration::from_secs(2), client.submit(&submission)).await {
            promises.acknowledged.lock().unwrap().push((job.id, picture));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_acknowledged_job_and_no_webhook() {
    let kills: usize = std::env::var("TEST_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let promises = Arc::new(Promises::default());
    let pictures = Arc::new(pictures());
    let mut server = ServerProcess::start(directory.path(), &[]);
    *promises.server.lock().unwrap() = server.url.clone();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(submit_until_over(
                Arc::clone(&promises),
                Arc::clone(&pictures),
                receiver.url.clone(),
            ))
        })
        .collect();
    let mut slowest_start = server.started_in;
    for kill in 0..kills {
        // Every other server has acknowledged something before it dies, however slow the machine is.
        let told = || promises.acknowledged.lock().unwrap().len();
        let (before, began) = (told(), std::time::Instant::now());
        while kill % 2 == 0 && told() == before && began.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The moments are spread over what a job goes through; they need not be the same in every run.
        tokio::time::sleep(Duration::from_millis(150 + (kill as u64 * 7919) % 400)).await;
        server.kill();
        server = ServerProcess::start(directory.path(), &[]);
        slowest_start = slowest_start.max(server.started_in);
        *promises.server.lock().unwrap() = server.url.clone();
    }
    promises.is_over.store(true, Ordering::Release);
    for client in clients {
        client.await.unwrap();
    }
    let acknowledged = promises.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > kills / 2, "only {} jobs were acknowledged", acknowledged.len());
    let outputs = check_jobs(&server.url, &acknowledged).await;
    assert_eq!(outputs.len(), pictures.len());
    let wanted: HashSet<String> = acknowledged.iter().map(|(id, _)| id.clone()).collect();
    let told = |received: &[crate::support::receiver::Received]| {
        let ids: HashSet<String> =
            received.iter().map(|it| it.json()["data"]["id"].as_str().unwrap().to_owned()).collect();
        wanted.is_subset(&ids)
    };
    let webhooks = receiver.wait_until(told).await;
    println!(
        "{kills} kills, {} jobs acknowledged, {} webhooks, slowest start {slowest_start:?}",
        acknowledged.len(),
        webhooks.len()
    );
    assert!(slowest_start < Duration::from_secs(2), "a start took {slowest_start:?}");
}

/// Every acknowledged job succeeds, and the same picture always gives the same bytes. The digests by picture.
async fn check_jobs(server: &str, acknowledged: &[(String, usize)]) -> HashMap<usize, String> {
    let client = Client::new(server).unwrap();
    let mut digests: HashMap<usize, String> = HashMap::new();
    for (id, picture) in acknowledged {
        let job = client.wait(id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{id}: {:?}", job.error);
        let mut bytes = Vec::new();
        let downloaded = client.download_to(id, "output", &mut bytes).await.unwrap();
        assert_eq!(downloaded.sha256, job.outputs[0].sha256);
        assert_eq!(digests.entry(*picture).or_insert_with(|| downloaded.sha256.clone()), &downloaded.sha256);
    }
    digests
}
