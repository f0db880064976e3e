//! Health and metrics at an address of their own: answered while every thread of the event loop is blocked.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use minilab::access::{Key, Scope, Token};
use minilab::app::App;
use minilab::config::Settings;
use minilab::config::keys::{self, KeyRecord};
use minilab::job::KeyId;
use tokio::sync::oneshot;

use crate::support::raw;

/// Threads of the event loop.
const THREADS: usize = 2;

#[test]
fn with_keys_health_is_open_and_metrics_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let id = KeyId::from_random(1);
    let token = Token::new(&id, [1; 32]);
    let mut settings = Settings::in_directory(directory.path());
    settings.health_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let reader = Key {
        hash: token.hash(),
        id,
        name: "prometheus".to_owned(),
        scopes: [Scope::Read].into_iter().collect(),
        weight: 1,
        requests_per_minute: None,
        queue_share: None,
        is_revoked: false,
    };
    let record = KeyRecord {
        key: reader,
        webhook_secrets: vec![],
        created_at: None,
        changed_at: None,
        revoked_at: None,
    };
    keys::change(directory.path(), |file| file.keys.push(record)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = runtime.block_on(App::start(settings)).unwrap();
    let health = format!("http://{}", app.health_address().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(app.run(async { drop(stopped.await) }));
    let bearer = format!("Bearer {}", token.reveal());
    let status =
        |path: &str, headers: &[(&str, &str)]| raw::request(&health, "GET", path, headers, b"").status;
    assert_eq!(
        (status("/health/live", &[]), status("/health/ready", &[]), status("/metrics", &[])),
        (200, 200, 401)
    );
    assert_eq!(status("/metrics", &[("authorization", &bearer)]), 200);
    drop(stop);
    runtime.block_on(running).unwrap().unwrap();
}

#[test]
fn health_is_told_while_the_event_loop_is_blocked() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_directory(directory.path());
    settings.health_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let app = runtime.block_on(App::start(settings)).unwrap();
    let (main, health) = (app.address(), app.health_address().unwrap());
    let (main, health) = (format!("http://{main}"), format!("http://{health}"));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(app.run(async { drop(stopped.await) }));
    let get = |url: &str, path: &str| raw::request(url, "GET", path, &[], b"");
    assert_eq!(get(&main, "/health/live").status, 200);
    assert_eq!(get(&health, "/health/live").status, 200);
    assert_eq!(get(&health, "/v1/jobs").status, 404, "nothing else is told there");
    assert_eq!(get(&health, "/").status, 404);

    let mut holding = Vec::new();
    for _ in 0..THREADS {
        let (release, held) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        runtime.spawn(async move {
            begin.send(()).unwrap();
            held.recv().is_err()
        });
        begun.recv().unwrap();
        holding.push(release);
    }
    for _ in 0..20 {
        assert_eq!(get(&health, "/health/live").status, 200);
        assert_eq!(get(&health, "/health/ready").status, 200);
    }
    let metrics = String::from_utf8(get(&health, "/metrics").body).unwrap();
    assert!(metrics.contains("minilab_event_loop_stall_seconds_count{runtime=\"health\"}"), "{metrics}");
    let mut blocked = raw::connect(&main);
    blocked.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    blocked.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(blocked.read(&mut [0]).is_err(), "the main address must be blocked for this to mean anything");
    drop(holding);
    assert_eq!(get(&main, "/health/live").status, 200);

    drop(stop);
    runtime.block_on(running).unwrap().unwrap();
    assert!(std::net::TcpStream::connect(health.strip_prefix("http://").unwrap()).is_err());
}

#[test]
fn a_server_that_stops_says_so_at_the_health_door() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_directory(directory.path());
    settings.health_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    settings.egress.allow = vec!["127.0.0.0/8".parse().unwrap()];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = runtime.block_on(App::start(settings)).unwrap();
    let (main, health) = (app.address(), app.health_address().unwrap());
    let (main, health) = (format!("http://{main}"), format!("http://{health}"));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(app.run(async { drop(stopped.await) }));
    // An upload that goes on keeps the server's connections from their end, and a source that says nothing keeps a job from its own.
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", origin.local_addr().unwrap());
    let spec = serde_json::json!({"source": {"url": url}, "outputs": [{"name": "small", "format": "png"}]})
        .to_string();
    let json = [("content-type", "application/json")];
    assert_eq!(raw::request(&main, "POST", "/v1/jobs", &json, spec.as_bytes()).status, 202);
    let (source, _) = origin.accept().unwrap();
    let mut upload = raw::connect(&main);
    let head = "POST /v1/jobs?width=9 HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    upload.write_all(head.as_bytes()).unwrap();
    let mut going_on = [0; 25];
    upload.read_exact(&mut going_on).unwrap();
    assert_eq!(&going_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let ready = || raw::request(&health, "GET", "/health/ready", &[], b"").status;
    assert_eq!(ready(), 200);
    drop(stop);
    let began = Instant::now();
    while ready() == 200 {
        assert!(began.elapsed() < Duration::from_secs(5), "it does not stop");
    }
    for _ in 0..50 {
        assert_eq!(ready(), 503);
    }
    drop(upload);
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_millis(300) {
        assert_eq!(ready(), 503);
    }
    drop((source, origin));
    runtime.block_on(running).unwrap().unwrap();
}
