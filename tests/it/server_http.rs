//! HTTP itself: methods, hosts, protocols, silence, limits, and how a server stops.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::images::small;
use crate::support::raw::{RawAnswer, connect, read_answer};
use crate::support::server::TestServer;

fn header(answer: &RawAnswer, name: &str) -> Option<String> {
    answer.head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[test]
fn methods_behave_as_the_standard_says() {
    let server = TestServer::start();
    for method in ["PUT", "PATCH", "TRACE", "QUERY", "DELETE", "BREW"] {
        let answer = server.request(method, "/v1/jobs", &[], b"");
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed".to_owned()), "{method}");
        assert_eq!(header(&answer, "allow").as_deref(), Some("POST, GET, HEAD, OPTIONS"));
    }
    let options = server.request("OPTIONS", "/v1/jobs/x", &[], b"");
    assert_eq!(
        (options.status, header(&options, "allow").as_deref()),
        (204, Some("GET, HEAD, DELETE, OPTIONS"))
    );
    assert_eq!(server.request("OPTIONS", "*", &[], b"").status, 204);
    for path in [
        "/",
        "/v1/jobs",
        "/v1/stats",
        "/v1/capabilities",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        "/problems/gone",
    ] {
        let get = server.get(path);
        let head = server.request("HEAD", path, &[], b"");
        assert_eq!((get.status, head.status, head.body.len()), (200, 200, 0), "{path}");
        assert_eq!(header(&head, "content-length").unwrap(), get.body.len().to_string(), "{path}");
        assert_eq!(header(&get, "x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(header(&get, "access-control-allow-origin"), None);
    }
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(metrics.contains("minilab_http_responses_total{status=\"2xx\"}"), "{metrics}");
    assert!(
        header(&server.get("/metrics"), "content-type").unwrap().starts_with("text/plain; version=0.0.4")
    );
    assert!(
        !metrics.contains("# EOF") && metrics.contains("# TYPE minilab_jobs_submitted_total counter"),
        "{metrics}"
    );
    let asked = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let open = server.request("GET", "/metrics", &asked, b"");
    assert!(
        header(&open, "content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0")
    );
    assert!(open.body.ends_with(b"# EOF\n"));
    let policy = header(&server.get("/"), "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(server.get("/problems/nothing").status, 404);
    let etag = header(&server.get("/openapi.json"), "etag").unwrap();
    assert_eq!(server.request("GET", "/openapi.json", &[("if-none-match", &etag)], b"").status, 304);
}

#[test]
fn foreign_hosts_and_pages_are_kept_out() {
    let server = TestServer::start();
    let ask = |method: &str, host: &str, more: &str| {
        let mut stream = connect(&server.url);
        let head = format!(
            "{method} /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        (answer.status, answer.code())
    };
    let forbidden = (403, "forbidden".to_owned());
    assert_eq!(ask("GET", "rebound.example:8080", ""), forbidden);
    assert_eq!(ask("GET", "localhost:1234", "").0, 200);
    assert_eq!(ask("POST", "localhost", "origin: https://evil.example\r\n"), forbidden);
    assert_eq!(ask("POST", "localhost", "sec-fetch-site: cross-site\r\n"), forbidden);
    assert_eq!(ask("POST", "localhost", "origin: http://localhost\r\n").0, 400);
    assert_eq!(ask("GET", "a b", "").0, 400);
}

#[test]
fn too_many_or_too_long_headers_are_refused() {
    let server = TestServer::start();
    let names: Vec<String> = (0..1000).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = server.request("GET", "/health/live", &many, b"");
    assert_eq!((answer.status, answer.code()), (431, "headers_too_large".to_owned()));
    let long = "x".repeat(100_000);
    let answer = server.request("GET", "/health/live", &[("x-long", &long)], b"");
    assert_eq!(answer.status, 431);
}

#[test]
fn silence_is_not_waited_for_for_ever() {
    let server = TestServer::with(|settings| {
        settings.server.header_timeout = Duration::from_millis(200);
        settings.server.body_idle_timeout = Duration::from_millis(200);
        settings.server.idle_timeout = Duration::from_millis(400);
    });
    let ends = |sent: &str| {
        let mut stream = connect(&server.url);
        stream.write_all(sent.as_bytes()).unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        (String::from_utf8_lossy(&rest).into_owned(), began.elapsed())
    };
    let host = server.address;
    let (silent, _) = ends("");
    assert_eq!(silent, "");
    let (slow_head, _) = ends("GET / HTTP/1.1\r\nhos");
    assert_eq!(slow_head, "");
    let (slow_body, _) =
        ends(&format!("POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9\r\n\r\nx"));
    assert!(slow_body.starts_with("HTTP/1.1 408") && slow_body.contains("request_timeout"), "{slow_body}");
    let (idle, after) = ends(&format!("GET /health/live HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    assert!(after >= Duration::from_millis(390), "an idle connection may idle for its time: {after:?}");
    // A request that takes long is not silence.
    let id = server.submit("run_at=2027-01-01T00:00:00Z", &small());
    assert_eq!(server.get(&format!("/v1/jobs/{id}?wait=2")).status, 200);
}

#[test]
fn a_connection_waits_for_its_place() {
    let server = TestServer::with(|settings| settings.server.connections_max = 1);
    let first = connect(&server.url);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| server.get("/health/live").status);
        drop(first);
        assert_eq!(second.join().unwrap(), 200);
    });
}

#[test]
fn a_stopping_server_ends_what_is_under_way() {
    let mut server = TestServer::start();
    let id = server.submit("run_at=2027-01-01T00:00:00Z", &small());
    let host = server.address;
    let mut waiting = connect(&server.url);
    let mut listening = connect(&server.url);
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    listening.write_all(head(&format!("/v1/jobs/{id}/events")).as_bytes()).unwrap();
    let mut first = [0; 15];
    listening.read_exact(&mut first).unwrap();
    waiting.write_all(head(&format!("/v1/jobs/{id}?wait=60")).as_bytes()).unwrap();
    // Once a request of a later connection is answered, the waiting one has been accepted.
    assert_eq!(server.get("/health/ready").status, 200);
    let began = Instant::now();
    server.stop();
    let answer = read_answer(&mut waiting);
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("queued")));
    let mut rest = Vec::new();
    listening.read_to_end(&mut rest).unwrap();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_client_that_closes_behind_its_request_has_asked() {
    let server = TestServer::start();
    let host = server.address;
    let image = small();
    let mut submit = format!(
        "POST /v1/jobs?width=8&tag=gone HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n",
        image.len()
    )
    .into_bytes();
    submit.extend_from_slice(&image);
    for _ in 0..30 {
        connect(&server.url).write_all(&submit).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let jobs = || server.get("/v1/jobs?tag=gone&limit=50").json()["jobs"].as_array().unwrap().len();
    while jobs() < 30 {
        assert!(Instant::now() < deadline, "{} of 30 submits were taken", jobs());
    }
    let mut half_closed = connect(&server.url);
    half_closed.write_all(&submit).unwrap();
    half_closed.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut half_closed).status, 202);
    let ended = half_closed.read_to_end(&mut Vec::new());
    assert_eq!(ended.unwrap(), 0, "the connection ends with its answer");
}

#[test]
fn bodies_of_unknown_length_or_coding_end_the_connection() {
    let server = TestServer::start();
    let host = server.address;
    for (framing, status, code) in [
        ("", 411, "length_required"),
        ("transfer-encoding: gzip, chunked\r\n", 400, "invalid_request"),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 400, "invalid_request"),
    ] {
        let mut stream = connect(&server.url);
        let head =
            format!("POST /v1/jobs?width=8 HTTP/1.1\r\nhost: {host}\r\n{framing}\r\n5\r\nhello\r\n0\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{framing}");
        assert_eq!(header(&answer, "connection").as_deref(), Some("close"), "{framing}");
    }
    let chunked = [("transfer-encoding", "Chunked"), ("content-type", "application/json")];
    let head = chunked.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let mut stream = connect(&server.url);
    let request = format!("POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\n{head}\r\n2\r\n{{}}\r\n0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).code(), "invalid_spec");
}
