//! Webhooks through the front door, judged by the reference library.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use minilab::blob::Blobs;

use minilab::client::{Client, Submission};
use minilab::clock::{Clock, Timestamp};
use minilab::job::{JobId, Status};
use minilab::store::memory::MemoryStore;
use serde_json::json;

use crate::support::faults::{MeddledStore, Meddling};
use crate::support::images;
use crate::support::lab::Lab;
use crate::support::receiver::{Received, Receiver};
use crate::support::server::TestServer;

fn picture() -> Vec<u8> {
    let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn submit(client: &Client, webhook: &str) -> String {
    let submission = Submission::bytes(picture()).query("width", "8").query("webhook", webhook);
    client.submit(&submission).await.unwrap().id
}

fn verify(secret: &str, received: &Received) -> Result<(), standardwebhooks::WebhookError> {
    standardwebhooks::Webhook::new(secret).unwrap().verify(&received.body, &received.headers)
}

/// The job's webhook once it satisfies a condition.
async fn webhook_when(
    app: &TestServer,
    id: &str,
    is_right: impl Fn(&minilab::api::WebhookView) -> bool,
) -> minilab::api::WebhookView {
    let id = id.parse().unwrap();
    let mut seen = 0;
    loop {
        let minilab::queue::Lookup::Job(job) = app.queue.get(id).await.unwrap() else {
            panic!("the job is gone")
        };
        let view = minilab::api::JobView::new(&job, None, "");
        if let Some(webhook) = view.webhook.filter(|webhook| is_right(webhook)) {
            return webhook;
        }
        assert!(seen < 3000, "{:?}", job.webhook);
        seen += 1;
        // Changes after a job's end are not watched: they are few, and seconds apart.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_signed_so_that_the_reference_library_accepts_them() {
    let receiver = Receiver::start(|_| 204).await;
    let app = TestServer::start();
    let id = submit(&app.client(), &receiver.url).await;
    let received = receiver.wait_until(|received| !received.is_empty()).await;
    let delivery = &received[0];
    let secret = app.secret.clone();
    verify(&secret, delivery).unwrap();
    let mut tampered = delivery.clone();
    tampered.body = String::from_utf8(delivery.body.to_vec()).unwrap().replace("succeeded", "failed").into();
    assert!(verify(&secret, &tampered).is_err());
    let body = delivery.json();
    assert_eq!(
        (body["type"].as_str(), body["data"]["id"].as_str()),
        (Some("job.succeeded"), Some(id.as_str()))
    );
    let link = body["data"]["outputs"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(app.client().server()), "{link} is not absolute");
    let state = webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("delivered")).await;
    assert_eq!((state.attempts, state.last_status), (1, Some(204)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_tried_again_on_schedule_with_the_same_id_and_body() {
    let clock = Clock::manual(Timestamp::from_millis(1_790_000_000_000));
    let receiver = Receiver::start(|number| if number < 2 { 503 } else { 200 }).await;
    let app = TestServer::at(clock.clone(), |_| {});
    let id = submit(&app.client(), &receiver.url).await;
    for (attempts, wait) in [(1, 4..=6), (2, 240..=360)] {
        let state = webhook_when(&app, &id, |webhook| {
            webhook.attempts == attempts && webhook.next_attempt_at.is_some()
        })
        .await;
        assert_eq!((state.status.as_deref(), state.last_status), (Some("pending"), Some(503)));
        let next = Timestamp::parse(&state.next_attempt_at.unwrap()).unwrap();
        assert!(wait.contains(&next.since(clock.now()).as_secs()), "attempt {attempts}: {next}");
        clock.advance(next.since(clock.now()));
        app.queue.wake();
    }
    let received = receiver.wait_until(|received| received.len() == 3).await;
    let state = webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("delivered")).await;
    assert_eq!(state.attempts, 3);
    let ids: Vec<_> = received.iter().map(|it| it.headers["webhook-id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]) && received.iter().all(|it| it.body == received[0].body));
    let timestamps: Vec<_> = received.iter().map(|it| it.headers["webhook-timestamp"].clone()).collect();
    assert!(timestamps[0] < timestamps[1] && timestamps[1] < timestamps[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_not_called() {
    let receiver = Receiver::start(|_| 200).await;
    let app = TestServer::with(|settings| settings.egress.allow.clear());
    let submission =
        Submission::bytes(picture()).query("width", "8").query("webhook", "http://10.1.2.3/hook");
    let refused = app.client().submit(&submission).await.unwrap_err();
    assert_eq!(
        refused.problem().map(|problem| (problem.status, problem.code.as_str())),
        Some((422, "webhook_forbidden"))
    );
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    let id = submit(&app.client(), &by_name).await;
    let job = app.client().wait(&id, Some(Duration::from_secs(20)), |_| {}).await.unwrap();
    assert_eq!(job.status, Status::Succeeded);
    webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("failed")).await;
    assert!(receiver.received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_tells_only_of_the_events_that_it_was_asked_to() {
    let receiver = Receiver::start(|_| 200).await;
    let app = TestServer::start();
    let client = app.client();
    let submit = async |events: &[&str], output: serde_json::Value, run_at: Option<&str>| {
        let webhook = json!({"url": receiver.url, "events": events});
        let mut spec = json!({"outputs": [output], "webhook": webhook});
        if let Some(run_at) = run_at {
            spec["run_at"] = json!(run_at);
        }
        client.submit(&Submission::bytes(picture()).spec(spec)).await.unwrap().id
    };
    let impossible = json!({"format": "jpeg", "max_bytes": 10});
    let silent = submit(&["job.failed", "job.cancelled"], json!({}), None).await;
    let failed = submit(&["job.failed"], impossible, None).await;
    let cancelled = submit(&["job.cancelled"], json!({}), Some("2027-06-01T00:00:00Z")).await;
    client.cancel(&cancelled).await.unwrap();
    let succeeded = submit(&["job.succeeded"], json!({}), None).await;
    let job = client.wait(&silent, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
    assert_eq!((job.status, job.webhook.unwrap().status), (Status::Succeeded, None));
    let received = receiver.wait_until(|received| received.len() == 3).await;
    let mut told: Vec<(String, String)> = received
        .iter()
        .map(|one| one.json())
        .map(|body| (body["data"]["id"].as_str().unwrap().into(), body["type"].as_str().unwrap().into()))
        .collect();
    told.sort();
    let mut expected = [(failed, "job.failed"), (cancelled, "job.cancelled"), (succeeded, "job.succeeded")]
        .map(|(id, event)| (id, event.to_owned()));
    expected.sort();
    assert_eq!(told, expected);
    assert!(client.deliveries(&silent).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_between_deliveries() {
    let receiver = Receiver::start(|_| 200).await;
    let app = TestServer::start();
    for number in 1..=8 {
        let id = submit(&app.client(), &receiver.url).await;
        receiver.wait_until(|received| received.len() == number).await;
        webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("delivered")).await;
    }
    // A machine that pauses for seconds may lose one.
    assert!(receiver.connections() <= 2, "{} connections for 8 deliveries", receiver.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_free_once_the_receiver_has_answered_whatever_the_store_does() {
    // More than a receiver can ever have places.
    const JOBS: usize = 80;
    let receiver = Receiver::start(|_| 200).await;
    let directory = tempfile::tempdir().unwrap();
    let store = MeddledStore::new(Arc::new(MemoryStore::new()), Meddling::Hold("finish_delivery"));
    let lab = Lab::start(store, Blobs::open(directory.path()).unwrap()).await.unwrap();
    for _ in 0..JOBS {
        let pipeline = json!({"analyze": ["info"]});
        lab.submit(JobId::new(), &images::small(), pipeline, &receiver.url).await.unwrap();
    }
    receiver.wait_until(|received| received.len() == JOBS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_only_fails_for_days_hears_nothing_until_it_is_enabled() {
    let clock = Clock::manual(Timestamp::from_millis(1_790_000_000_000));
    let is_well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_well);
    let receiver = Receiver::start(move |_| if answers.load(Ordering::SeqCst) { 200 } else { 503 }).await;
    let app = TestServer::at(clock.clone(), |_| {});
    let client = app.client();
    // A plan is some three days long; what fails for five is disabled by an attempt of the second.
    while client.receivers().await.unwrap().first().is_none_or(|one| one.disabled_at.is_none()) {
        let id = submit(&client, &receiver.url).await;
        for attempts in 1..=10 {
            let state = webhook_when(&app, &id, |webhook| {
                webhook.attempts == attempts && webhook.next_attempt_at.is_some()
                    || webhook.status.as_deref() == Some("failed")
            })
            .await;
            let Some(next) = state.next_attempt_at else { break };
            clock.advance(Timestamp::parse(&next).unwrap().since(clock.now()));
            app.queue.wake();
        }
        assert!(receiver.received().len() < 40, "it was never disabled");
    }
    let before = receiver.received().len();
    assert!(before > 10, "{before}");
    let id = submit(&client, &receiver.url).await;
    let state = webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("failed")).await;
    assert_eq!((state.last_status, receiver.received().len()), (None, before));
    let told = &client.deliveries(&id).await.unwrap()[0];
    assert!(told.attempts[0].error.as_deref().is_some_and(|error| error.contains("disabled")), "{told:?}");
    is_well.store(true, Ordering::SeqCst);
    client.enable_receiver(&receiver.url).await.unwrap();
    client.redeliver(&id).await.unwrap();
    webhook_when(&app, &id, |webhook| webhook.status.as_deref() == Some("delivered")).await;
    assert!(client.receivers().await.unwrap().is_empty());
}
