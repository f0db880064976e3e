//! The client against a server that misbehaves: broken connections, damaged bytes, streams that end early.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use minilab::client::{Client, ClientError, JobEvent, Submission};

/// Answers the n-th connection with the n-th text and closes it; an empty text closes it unanswered. Gives the requests that came.
fn scripted(answers: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let mut body = vec![0; content_length(&request)];
            stream.read_exact(&mut body).unwrap();
            sender.send(String::from_utf8(request).unwrap()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn content_length(request: &[u8]) -> usize {
    let request = String::from_utf8_lossy(request).into_owned();
    header(&request, "content-length").map_or(0, |length| length.parse().unwrap())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A job as the API words it.
fn job(version: u64, status: &str) -> String {
    serde_json::json!({
        "id": "j", "version": version, "status": status, "tag": null, "metadata": {}, "priority": 0, "attempt": 1,
        "max_attempts": 8, "progress": 0.5, "queue_position": null, "created_at": "t", "run_at": "t", "started_at": null,
        "finished_at": null, "expires_at": null, "source": null, "outputs": [], "analysis": {}, "warnings": [], "error": null,
        "timings_ms": {"queued": 0, "fetch": 0, "decode": 0, "operations": 0, "encode": 0, "store": 0}, "webhook": null,
        "links": {"self": "", "events": "", "cancel": ""}
    })
    .to_string()
}

#[tokio::test]
async fn a_submission_is_repeated_under_one_key_until_it_is_answered() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", r#"{"code":"shutting_down"}"#);
    let (url, requests) = scripted(vec![String::new(), busy, answer("202 Accepted", "", &job(1, "queued"))]);
    let submitted = Client::new(&url).unwrap().submit(&Submission::bytes("picture")).await.unwrap();
    assert_eq!(submitted.id, "j");
    let requests: Vec<String> = requests.try_iter().collect();
    let keys: Vec<_> = requests.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 36), "{keys:?}");
}

#[tokio::test]
async fn a_retry_is_not_repeated_once_it_may_have_been_carried_out() {
    let (url, requests) = scripted(vec![String::new(), answer("202 Accepted", "", &job(1, "queued"))]);
    let error = Client::new(&url).unwrap().retry("j").await.unwrap_err();
    assert!(matches!(error, ClientError::Interrupted { .. }), "{error}");
    assert_eq!(requests.try_iter().count(), 1);
}

#[tokio::test]
async fn damaged_bytes_leave_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("result.webp");
    let digest = "repr-digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n";
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".to_owned();
    let (url, _requests) =
        scripted(vec![answer("200 OK", digest, "not empty"), short, answer("200 OK", digest, "")]);
    let client = Client::new(&url).unwrap();
    let damaged = client.download("j", "output", &target, None).await.unwrap_err();
    assert!(matches!(damaged, ClientError::Digest { .. }), "{damaged}");
    let cut = client.download("j", "output", &target, None).await.unwrap_err();
    assert!(matches!(cut, ClientError::Interrupted { .. }), "{cut}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    client.download("j", "output", &target, None).await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"");
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_where_it_broke() {
    let stream = |events: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nretry: 1\n\n{events}"
        )
    };
    let event = |version, status| format!("event: job\nid: {version}\ndata: {}\n\n", job(version, status));
    let first = stream(&format!("{}event: job\nid: 4\nda", event(3, "queued")));
    let (url, requests) = scripted(vec![first, String::new(), stream(&event(5, "succeeded"))]);
    let mut events = Client::new(&url).unwrap().events(Some("j")).await.unwrap();
    let mut versions = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        match event {
            JobEvent::Job(job) => versions.push(job.version),
            JobEvent::Reset => panic!("nothing was reset"),
        }
    }
    assert_eq!(versions, [3, 5]);
    let requests: Vec<String> = requests.try_iter().collect();
    let resumed: Vec<_> = requests.iter().map(|request| header(request, "last-event-id")).collect();
    assert_eq!(resumed, [None, Some("3"), Some("3")], "the half event was never dispatched");
}

#[tokio::test]
async fn another_program_on_the_port_is_recognised() {
    let (url, _requests) =
        scripted(vec![answer("200 OK", "", "<html>"), answer("404 Not Found", "", "<html>")]);
    let client = Client::new(&url).unwrap();
    assert!(matches!(client.get("j").await.unwrap_err(), ClientError::Answer { .. }));
    assert!(client.get("j").await.unwrap_err().is_not_found());
}
