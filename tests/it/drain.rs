//! How the real binary stops: at once for newcomers, in time for what is under way, and without harm to what is not done by then.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use minilab::client::{Client, Submission};
use minilab::job::Status;
use rustix::process::Signal;

use crate::support::images;
use crate::support::process::ServerProcess;
use crate::support::raw;

/// A job of about a second, and more where nothing is optimised.
fn long() -> Submission {
    let outputs: Vec<_> = (0..12)
        .map(|number| serde_json::json!({"name": format!("o{number}"), "format": "webp", "lossless": true}))
        .collect();
    let picture = images::picture(image::ImageFormat::Png, 1600, 1200, 3);
    Submission::bytes(picture).spec(serde_json::json!({"outputs": outputs}))
}

/// A server with one long job in the middle of its work and some waiting behind it.
async fn busy(directory: &Path, grace: &str) -> (ServerProcess, String, Vec<String>) {
    let server = ServerProcess::start(directory, &["--workers", "1", "--grace", grace]);
    let client = Client::new(&server.url).unwrap();
    let long = client.submit(&long()).await.unwrap().id;
    let mut waiting = Vec::new();
    for seed in 0..3 {
        let image = images::picture(image::ImageFormat::Png, 40, 30, seed);
        waiting.push(client.submit(&Submission::bytes(image).query("width", "20")).await.unwrap().id);
    }
    let began = Instant::now();
    loop {
        let job = client.get(&long).await.unwrap();
        match job.status {
            Status::Running => return (server, long, waiting),
            Status::Queued => assert!(began.elapsed() < Duration::from_secs(10)),
            other => panic!("{other}"),
        }
    }
}

/// Starts again: everything succeeds. How the long job's attempts ended.
async fn ends(directory: &Path, long: &str, waiting: &[String]) -> Vec<String> {
    let server = ServerProcess::start(directory, &["--workers", "2"]);
    let client = Client::new(&server.url).unwrap();
    for id in waiting.iter().map(String::as_str).chain([long]) {
        let job = client.wait(id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
    }
    client.get(long).await.unwrap().attempts.iter().map(|attempt| attempt.status.clone()).collect()
}

/// Waits until nobody is let in any more.
fn wait_until_closed(server: &ServerProcess) -> Duration {
    let began = Instant::now();
    while TcpStream::connect(server.url.strip_prefix("http://").unwrap()).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "it still accepts");
        std::thread::yield_now();
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_running_ends_and_what_waits_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (server, long, waiting) = busy(directory.path(), "60s").await;
    server.signal(Signal::TERM);
    let closed_after = wait_until_closed(&server);
    assert!(closed_after < Duration::from_secs(1), "{closed_after:?}");
    assert_eq!(server.end().0, Some(0));
    assert_eq!(ends(directory.path(), &long, &waiting).await, ["succeeded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_within_the_grace_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let (server, long, waiting) = busy(directory.path(), "50ms").await;
    server.signal(Signal::TERM);
    let (code, took) = server.end();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(ends(directory.path(), &long, &waiting).await, ["released", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_now_and_gives_back_what_is_running() {
    let directory = tempfile::tempdir().unwrap();
    let (server, long, waiting) = busy(directory.path(), "10m").await;
    server.signal(Signal::TERM);
    wait_until_closed(&server);
    server.signal(Signal::TERM);
    let (code, took) = server.end();
    // All is given back before the second is over, or it is cut off: nobody waits for the grace.
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(ends(directory.path(), &long, &waiting).await, ["released", "succeeded"]);
}

#[test]
fn a_head_that_never_ends_does_not_hold_up_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--grace", "60s"]);
    let mut half = raw::connect(&server.url);
    half.write_all(b"GET /health/live HTTP/1.1\r\nho").unwrap();
    let mut silent = raw::connect(&server.url);
    let mut idle = raw::connect(&server.url);
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(raw::read_answer(&mut idle).status, 200);
    server.signal(Signal::TERM);
    let (code, took) = server.end();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}");
    for stream in [&mut half, &mut silent, &mut idle] {
        let mut rest = Vec::new();
        let _reset_or_closed = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}
