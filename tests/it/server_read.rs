//! Reading jobs and what they made, and changing them: through the front door.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::images::{large, small};
use crate::support::raw::{RawAnswer, connect};
use crate::support::server::TestServer;

const LATER: &str = "run_at=2027-01-01T00:00:00Z";

fn header(answer: &RawAnswer, name: &str) -> Option<String> {
    answer.head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[test]
fn a_job_has_an_etag_and_is_sent_once() {
    let server = TestServer::start();
    let job = server.succeeded("width=8", &small());
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let answer = server.get(&path);
    let etag = header(&answer, "etag").unwrap();
    assert_eq!(etag, format!("\"v{}\"", answer.json()["version"]));
    assert_eq!(header(&answer, "retry-after"), None);
    let again = server.request("GET", &path, &[("if-none-match", &etag)], b"");
    assert_eq!((again.status, again.body.len(), header(&again, "etag")), (304, 0, Some(etag)));
    assert_eq!(server.request("GET", &path, &[("if-match", "\"v1\"")], b"").code(), "precondition_failed");
    for (path, status, code) in [
        ("/v1/jobs/01920000-0000-7000-8000-000000000000", 404, "not_found"),
        ("/v1/jobs/x", 404, "not_found"),
        ("/v1/jobs/x/events", 404, "not_found"),
        (&*format!("{path}?wait=61"), 400, "invalid_request"),
        (&*format!("{path}?weight=1"), 400, "invalid_request"),
        ("/nowhere", 404, "not_found"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{path}");
    }
}

#[test]
fn a_long_poll_ends_with_the_news() {
    let server = TestServer::start();
    let id = server.submit(LATER, &small());
    let path = format!("/v1/jobs/{id}");
    let etag = header(&server.get(&path), "etag").unwrap();
    std::thread::scope(|scope| {
        let terminal = scope.spawn(|| server.get(&format!("{path}?wait=30")));
        let changed = scope
            .spawn(|| server.request("GET", &format!("{path}?wait=30"), &[("if-none-match", &etag)], b""));
        assert_eq!(server.post(&format!("{path}/cancel"), b"").status, 200);
        let (terminal, changed) = (terminal.join().unwrap(), changed.join().unwrap());
        assert_eq!((terminal.status, &terminal.json()["status"]), (200, &json!("cancelled")));
        assert_eq!((changed.status, &changed.json()["status"]), (200, &json!("cancelled")));
    });
    let id = server.submit(LATER, &small());
    let began = Instant::now();
    assert_eq!(server.get(&format!("/v1/jobs/{id}?wait=1")).json()["status"], "queued");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn the_list_goes_on_page_by_page() {
    let server = TestServer::start();
    let ids: Vec<String> =
        (0..5).map(|n| server.submit(&format!("{LATER}&tag=t{}", n % 2), &small())).collect();
    let mut seen = Vec::new();
    let mut next = Some("/v1/jobs?limit=2&status=queued".to_owned());
    while let Some(path) = next {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200);
        for job in answer.json()["jobs"].as_array().unwrap() {
            seen.push(job["id"].as_str().unwrap().to_owned());
        }
        next = header(&answer, "link").map(|link| {
            let (target, relation) = link.split_once('>').unwrap();
            assert_eq!(relation, "; rel=\"next\"");
            target.strip_prefix('<').unwrap().to_owned()
        });
    }
    let older = server.get(&format!("/v1/jobs?limit=1&cursor={}", ids[2]));
    assert_eq!(older.json()["jobs"][0]["id"], json!(ids[1]));
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(server.get("/v1/jobs?tag=t1").json()["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/v1/jobs?status=failed").json()["jobs"], json!([]));
    for query in ["limit=0", "status=done", "cursor=x", "page=1"] {
        assert_eq!(server.get(&format!("/v1/jobs?{query}")).code(), "invalid_request", "{query}");
    }
}

#[test]
fn an_output_comes_whole_in_part_or_not_again() {
    let server = TestServer::start();
    // One result that lives in the row, one that is a blob.
    for (query, image) in [("width=8&format=png", small()), ("format=png&width=390", large())] {
        let job = server.succeeded(query, &image);
        let output = &job["outputs"][0];
        let path = output["url"].as_str().unwrap();
        let whole = server.get(path);
        let length = whole.body.len();
        assert_eq!((whole.status, json!(length)), (200, output["bytes"].clone()));
        let etag = format!("\"{}\"", output["sha256"].as_str().unwrap());
        let expected = [
            ("content-type", "image/png"),
            ("accept-ranges", "bytes"),
            ("etag", &etag),
            ("cache-control", "private, max-age=31536000, immutable"),
            ("content-disposition", "inline; filename=\"output.png\""),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in expected {
            assert_eq!(header(&whole, name).as_deref(), Some(value), "{name}");
        }
        assert!(header(&whole, "repr-digest").unwrap().starts_with("sha-256=:"));
        let head = server.request("HEAD", path, &[], b"");
        assert_eq!(
            (head.status, head.body.len(), header(&head, "content-length")),
            (200, 0, Some(length.to_string()))
        );
        let part = |range: &str, more: &[(&str, &str)]| {
            server.request("GET", path, &[&[("range", range)], more].concat(), b"")
        };
        let middle = part("bytes=10-19", &[]);
        assert_eq!((middle.status, &middle.body[..]), (206, &whole.body[10..20]));
        assert_eq!(header(&middle, "content-range"), Some(format!("bytes 10-19/{length}")));
        assert_eq!(&part("bytes=-5", &[]).body[..], &whole.body[length - 5..]);
        assert_eq!(part("bytes=0-9", &[("if-range", &etag)]).status, 206);
        assert_eq!(part("bytes=0-9", &[("if-range", "\"other\"")]).body, whole.body);
        let outside = part(&format!("bytes={length}-"), &[]);
        assert_eq!((outside.status, outside.code()), (416, "range_not_satisfiable".to_owned()));
        assert_eq!(header(&outside, "content-range"), Some(format!("bytes */{length}")));
        let known = server.request("GET", path, &[("if-none-match", &etag)], b"");
        assert_eq!((known.status, known.body.len()), (304, 0));
        assert_eq!(server.get(&format!("{path}x")).status, 404);
    }
}

#[test]
fn the_source_is_only_ever_saved() {
    let server = TestServer::start();
    for image in [small(), large()] {
        let id = server.submit(LATER, &image);
        let answer = server.get(&format!("/v1/jobs/{id}/source"));
        assert_eq!((answer.status, answer.body == image), (200, true));
        assert_eq!(
            header(&answer, "content-disposition").as_deref(),
            Some("attachment; filename=\"source.png\"")
        );
        assert_eq!(
            header(&answer, "content-security-policy").as_deref(),
            Some("sandbox; default-src 'none'")
        );
    }
    let spec =
        json!({"source": {"url": "http://127.0.0.1:9/"}, "outputs": [{}], "run_at": "2027-01-01T00:00:00Z"});
    let id = server.post_json("/v1/jobs", &spec).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/v1/jobs/{id}/source")).code(), "not_ready");
}

#[test]
fn outputs_are_there_when_the_job_has_succeeded() {
    let server = TestServer::start();
    let id = server.submit(LATER, &small());
    let path = format!("/v1/jobs/{id}/outputs/output");
    let answer = server.get(&path);
    assert_eq!((answer.status, answer.code()), (409, "not_ready".to_owned()));
    assert!(header(&answer, "retry-after").is_some());
    server.post(&format!("/v1/jobs/{id}/cancel"), b"");
    assert_eq!(server.get(&path).code(), "job_not_succeeded");
    assert_eq!(server.get(&format!("/v1/jobs/{id}/outputs/other")).code(), "not_found");
    let id = server.submit("width=8", &small());
    assert_eq!(server.get(&format!("/v1/jobs/{id}/outputs/output?wait=30")).status, 200);
}

#[test]
fn jobs_are_cancelled_retried_and_deleted() {
    let server = TestServer::start();
    let id = server.submit(LATER, &small());
    let path = format!("/v1/jobs/{id}");
    assert_eq!(server.post(&format!("{path}/retry"), b"").code(), "not_retryable_state");
    for _ in 0..2 {
        let answer = server.post(&format!("{path}/cancel"), b"");
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("cancelled")));
    }
    let answer = server.post(&format!("{path}/retry"), b"");
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("queued")));
    let answer = server.request("DELETE", &path, &[], b"");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/cancel")),
        ("POST", format!("{path}/retry")),
        ("GET", format!("{path}/events")),
        ("GET", format!("{path}/outputs/output")),
        ("GET", format!("{path}/source")),
        ("GET", format!("{path}?wait=5")),
    ] {
        let answer = server.request(method, &path, &[], b"");
        assert_eq!((answer.status, answer.code()), (410, "gone".to_owned()), "{method} {path}");
    }
    let unknown = "/v1/jobs/01920000-0000-7000-8000-000000000000";
    for (method, path) in [
        ("DELETE", unknown.to_owned()),
        ("POST", format!("{unknown}/cancel")),
        ("POST", format!("{unknown}/retry")),
    ] {
        assert_eq!(server.request(method, &path, &[], b"").status, 404);
    }
}

/// The events of a stream as (event, id, data) until it ends or `enough` of them came.
fn events(server: &TestServer, path: &str, headers: &str, enough: usize) -> Vec<(String, String, String)> {
    let mut stream = connect(&server.url);
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", server.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut events = Vec::new();
    let (mut event, mut id) = (String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        match line.split_once(": ") {
            Some(("event", value)) => event = value.to_owned(),
            Some(("id", value)) => id = value.to_owned(),
            Some(("data", value)) => events.push((event.clone(), id.clone(), value.to_owned())),
            _ => {}
        }
        if events.len() == enough {
            break;
        }
    }
    events
}

#[test]
fn events_of_a_job_end_with_it() {
    let server = TestServer::start();
    let id = server.submit(LATER, &small());
    let path = format!("/v1/jobs/{id}/events");
    let events = std::thread::scope(|scope| {
        let listening = scope.spawn(|| events(&server, &path, "", usize::MAX));
        server.post(&format!("/v1/jobs/{id}/cancel"), b"");
        listening.join().unwrap()
    });
    let (event, version, data) = events.last().unwrap();
    assert_eq!(event, "job");
    let job: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((&job["status"], &job["version"].to_string()), (&json!("cancelled"), version));
    let again = server.request("GET", &path, &[("last-event-id", version)], b"");
    assert_eq!((again.status, again.body.len()), (204, 0));
    let earlier = self::events(&server, &path, "last-event-id: 1\r\n", usize::MAX);
    assert_eq!(earlier.len(), 1, "what was missed is told");
}

#[test]
fn events_of_all_jobs_can_be_resumed() {
    let server = TestServer::start();
    let first = server.submit(LATER, &small());
    // Too old to resume: reset comes first.
    let reset = events(&server, "/v1/events", "last-event-id: 1\r\n", 1);
    assert_eq!(reset[0].0, "reset");
    for junk in ["junk", "-1", "99999999999999999999999999"] {
        let reset = events(&server, "/v1/events", &format!("last-event-id: {junk}\r\n"), 1);
        assert_eq!(reset[0].0, "reset", "{junk}");
    }
    let second = server.submit(LATER, &small());
    let resumed = events(&server, "/v1/events", &format!("last-event-id: {}\r\n", reset[0].1), 1);
    assert!(resumed[0].2.contains(&second) && !resumed[0].2.contains(&first), "{resumed:?}");
}
