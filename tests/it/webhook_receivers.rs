//! Receivers that behave badly, and that nobody else suffers from them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use minilab::api::DeliveryView;
use minilab::client::{Client, Submission};

use crate::support::receiver::Receiver;
use crate::support::server::TestServer;

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn submit(client: &Client, webhook: &str) -> String {
    let submission = Submission::bytes(picture()).query("width", "4").query("webhook", webhook);
    client.submit(&submission).await.unwrap().id
}

/// Time from a job's end to its webhook's arrival.
async fn delay(client: &Client, receiver: &Receiver) -> Duration {
    let before = receiver.received().len();
    let id = submit(client, &receiver.url).await;
    client.wait(&id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
    let ended = Instant::now();
    receiver.wait_until(|received| received.len() > before).await;
    ended.elapsed()
}

/// Answers every request with `answer` and goes on as `then` says; the address, and the bytes that could be sent.
fn misbehaving(
    answer: &'static [u8],
    then: fn(&mut std::net::TcpStream, &AtomicU64),
) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counter) = (stream.unwrap(), Arc::clone(&counter));
            std::thread::spawn(move || {
                let mut request = [0; 16 * 1024];
                if stream.read(&mut request).is_ok_and(|length| length > 0)
                    && stream.write_all(answer).is_ok()
                {
                    then(&mut stream, &counter);
                }
            });
        }
    });
    (url, sent)
}

fn hang(stream: &mut std::net::TcpStream, _: &AtomicU64) {
    let mut rest = Vec::new();
    let _hung_up = stream.read_to_end(&mut rest);
}

fn drip(stream: &mut std::net::TcpStream, sent: &AtomicU64) {
    while stream.write_all(b"x").is_ok() {
        sent.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn flood(stream: &mut std::net::TcpStream, sent: &AtomicU64) {
    let zeros = [0; 64 * 1024];
    while stream.write_all(&zeros).is_ok() {
        sent.fetch_add(zeros.len() as u64, Ordering::SeqCst);
    }
}

/// The job's delivery once its first attempt is recorded.
async fn recorded(client: &Client, id: &str) -> DeliveryView {
    for _ in 0..3000 {
        if let Some(delivery) = client.deliveries(id).await.unwrap().pop()
            && !delivery.attempts.is_empty()
        {
            return delivery;
        }
        // Attempts end by the clock of the receiver's misbehaviour; there is nothing to wait on.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no attempt was recorded for {id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_answers_are_cut_off_and_delay_nobody() {
    let live = Receiver::start(|_| 200).await;
    let app = TestServer::start();
    let client = app.client();
    let (hanging, _) = misbehaving(b"", hang);
    let (dripping, _) = misbehaving(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", drip);
    let (gigabyte, gigabyte_sent) =
        misbehaving(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n", flood);
    // Zeros are no gzip, but nobody is to find that out: what is not decompressed can't explode.
    let bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n3fffffff\r\n\x1f\x8b\x08\x00";
    let (bomb, bomb_sent) = misbehaving(bomb, flood);
    let ids = [
        submit(&client, &hanging).await,
        submit(&client, &dripping).await,
        submit(&client, &gigabyte).await,
        submit(&client, &bomb).await,
    ];
    for _ in 0..5 {
        let delay = delay(&client, &live).await;
        assert!(delay < Duration::from_secs(1), "another receiver waited {delay:?}");
    }
    let [hung, dripped, flooded, bombed] = [
        recorded(&client, &ids[0]).await,
        recorded(&client, &ids[1]).await,
        recorded(&client, &ids[2]).await,
        recorded(&client, &ids[3]).await,
    ];
    assert_eq!((hung.status.as_str(), hung.attempts[0].status), ("pending", None));
    assert!((14_900..17_000).contains(&hung.attempts[0].latency_ms), "{hung:?}");
    // It has decided with its status line; what follows may be cut.
    assert_eq!((dripped.status.as_str(), dripped.attempts[0].status), ("delivered", Some(200)));
    assert!((14_900..17_000).contains(&dripped.attempts[0].latency_ms), "{dripped:?}");
    for (delivery, sent) in [(flooded, gigabyte_sent), (bombed, bomb_sent)] {
        assert_eq!(delivery.status, "delivered");
        assert_eq!(delivery.attempts[0].answer.as_ref().unwrap().chars().count(), 4096);
        assert!(delivery.attempts[0].latency_ms < 5000, "{delivery:?}");
        // What is read is 64 KiB; the rest lay in the buffers of two sockets.
        assert!(sent.load(Ordering::SeqCst) < 64 << 20, "{} bytes were taken", sent.load(Ordering::SeqCst));
    }
}

/// `TEST_DEAD_JOBS` says how many jobs the dead receiver has (default 150).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_jobs_of_a_dead_receiver_delay_nobody() {
    let jobs: usize = std::env::var("TEST_DEAD_JOBS").map_or(150, |jobs| jobs.parse().unwrap());
    let live = Receiver::start(|_| 200).await;
    let (dead, _) = misbehaving(b"", hang);
    let app = TestServer::start();
    let client = app.client();
    let mut last = String::new();
    for _ in 0..jobs {
        last = submit(&client, &dead).await;
    }
    client.wait(&last, Some(Duration::from_secs(120)), |_| {}).await.unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        slowest = slowest.max(delay(&client, &live).await);
    }
    println!(
        "{jobs} jobs of a dead receiver; another's slowest webhook of ten came {slowest:?} after its job's end"
    );
    assert!(slowest < Duration::from_secs(1), "another receiver waited {slowest:?}");
    assert_eq!(client.deliveries(&last).await.unwrap()[0].status, "pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_what_a_receiver_answered_and_an_event_can_be_sent_again() {
    let receiver = Receiver::start(|number| if number == 0 { 410 } else { 200 }).await;
    let app = TestServer::start();
    let client = app.client();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = format!("/v1/jobs?width=4&webhook={}", receiver.url);
    let submitted = app.request("POST", &path, &[("traceparent", trace)], &picture());
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    let early = client.redeliver(&id).await;
    assert!(early.is_ok() || early.unwrap_err().problem().unwrap().code == "not_ready");
    let gone = recorded(&client, &id).await;
    assert_eq!((gone.status.as_str(), gone.attempts[0].status), ("failed", Some(410)));
    let dead = client.dead_letters(Some(&receiver.url), None).await.unwrap();
    assert_eq!(dead.deliveries.iter().map(|delivery| &delivery.job).collect::<Vec<_>>(), [&id]);
    assert!(client.dead_letters(Some("http://127.0.0.1:9"), None).await.unwrap().deliveries.is_empty());
    // One refusal for good says nothing of the receiver.
    assert!(client.receivers().await.unwrap().is_empty());
    assert_eq!(client.redeliver_since("2020-01-01T00:00:00Z", Some(&receiver.url)).await.unwrap(), 1);
    let received = receiver.wait_until(|received| received.len() == 2).await;
    assert_eq!(received[0].headers["webhook-id"], received[1].headers["webhook-id"]);
    assert_eq!(received[0].body, received[1].body);
    assert!(received.iter().all(|one| one.headers["traceparent"] == trace));
    // What is being sent is not sent again.
    while client.deliveries(&id).await.unwrap()[0].status != "delivered" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let job = client.redeliver(&id).await.unwrap();
    assert_eq!(job.webhook.unwrap().status.as_deref(), Some("pending"));
    receiver.wait_until(|received| received.len() == 3).await;
    let unhooked = app.submit("width=4", &picture());
    app.ended(&unhooked);
    let refused = client.redeliver(&unhooked).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "not_found");
    assert!(client.deliveries(&unhooked).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_can_be_fetched_by_the_links_of_a_webhook() {
    let receiver = Receiver::start(|_| 200).await;
    let app = TestServer::start();
    let id = submit(&app.client(), &receiver.url).await;
    let received = receiver.wait_until(|received| !received.is_empty()).await;
    let job = &received[0].json()["data"];
    let link = job["outputs"][0]["url"].as_str().unwrap();
    let path = link.strip_prefix(&app.url).unwrap();
    let fetched = app.get(path);
    assert_eq!(fetched.status, 200);
    assert_eq!(fetched.body, app.get(&format!("/v1/jobs/{id}/outputs/output")).body);
    assert_eq!(app.request("HEAD", path, &[], b"").status, 200);
    assert_eq!(app.get(&format!("{path}&wait=1")).status, 200);
    let query: Vec<&str> = path.split(['?', '&']).collect();
    let [plain, expires, signature] = query.as_slice() else { panic!("{path}") };
    let later = expires.replace("expires=1", "expires=2");
    for forged in [
        format!("{plain}?{expires}"),
        format!("{plain}?{signature}"),
        format!("{plain}?{later}&{signature}"),
        format!("{plain}?{expires}&signature=AAAA"),
        path.replace("/outputs/output", "/outputs/other"),
    ] {
        let refused = app.get(&forged);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("forbidden")), "{forged}");
    }
    let twice = app.get(&format!("{path}&{expires}"));
    assert_eq!(twice.status, 400);
    // Good for as long as the webhook may be on its way, and a day.
    let expires: i64 = expires.strip_prefix("expires=").unwrap().parse().unwrap();
    let now = minilab::clock::Clock::System.now().as_seconds();
    let expected = minilab::webhook::schedule::link_lifetime().as_secs() as i64;
    assert!((expires - now - expected).abs() < 60, "{}", expires - now);
}
