//! Webhooks survive `kill -9`: the real binary dies while deliveries are under way, and every event arrives all the same.
//!
//! `TEST_DELIVERY_KILLS` says how often (default 5).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use minilab::client::{Client, Submission};
use minilab::job::Status;

use crate::support::process::ServerProcess;
use crate::support::receiver::{Received, Receiver};

/// Jobs whose deliveries are under way at each kill.
const JOBS: usize = 6;

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn id_of(received: &Received) -> String {
    received.headers["webhook-id"].to_str().unwrap().to_owned()
}

fn job_of(received: &Received) -> String {
    received.json()["data"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_when_the_sender_is_killed() {
    let kills: usize = std::env::var("TEST_DELIVERY_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    // While servers are killed, every third event is refused, so that retries are met under way, too.
    let answers = Arc::clone(&is_over);
    let receiver = Receiver::start(move |number| match answers.load(Ordering::Acquire) || number % 3 > 0 {
        true => 200,
        false => 503,
    })
    .await;
    let mut server = ServerProcess::start(directory.path(), &[]);
    let mut submitted = Vec::new();
    for kill in 0..kills {
        let client = Client::new(&server.url).unwrap();
        let before = receiver.received().len();
        for _ in 0..JOBS {
            let submission = Submission::bytes(picture()).query("width", "4").query("webhook", &receiver.url);
            submitted.push(client.submit(&submission).await.unwrap().id);
        }
        // The moments are spread over the delivery: before an answer, between it and its record, after some records.
        let arrived = 1 + kill % JOBS;
        receiver.wait_until(|received| received.len() >= before + arrived).await;
        tokio::time::sleep(Duration::from_micros((kill as u64 * 7919) % 6000)).await;
        server.kill();
        server = ServerProcess::start(directory.path(), &[]);
    }
    is_over.store(true, Ordering::Release);
    let client = Client::new(&server.url).unwrap();
    for id in &submitted {
        let job = client.wait(id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{id}: {:?}", job.error);
        // What was refused is not due for seconds; now it is.
        if job.webhook.as_ref().and_then(|webhook| webhook.status.as_deref()) != Some("delivered") {
            client.redeliver(id).await.unwrap();
        }
    }
    let wanted: HashSet<&String> = submitted.iter().collect();
    let mut left = wanted.clone();
    for _ in 0..3000 {
        let mut pending = HashSet::new();
        for id in left {
            let delivered = client.get(id).await.unwrap().webhook.and_then(|webhook| webhook.status);
            if delivered.as_deref() != Some("delivered") {
                pending.insert(id);
            }
        }
        left = pending;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(left.is_empty(), "{} of {} were not delivered", left.len(), submitted.len());
    let received = receiver.received();
    let mut events: HashMap<String, (String, Bytes)> = HashMap::new();
    for one in &received {
        let (id, body) = events.entry(job_of(one)).or_insert_with(|| (id_of(one), one.body.clone()));
        // At least once means: the same message again, to the byte.
        assert_eq!((&id_of(one), &one.body), (&*id, &*body));
    }
    assert!(submitted.iter().all(|id| events.contains_key(id)));
    println!(
        "{kills} kills, {} events, 0 lost, {} deliveries arrived more than once",
        submitted.len(),
        received.len() - events.len()
    );
}
