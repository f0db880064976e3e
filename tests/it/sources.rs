//! Sources behind URLs, through the front door: what arrives, what is told of what doesn't, and what is left of secrets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::images;
use crate::support::server::TestServer;

/// A server of sources that answers the n-th request (from 0) with these bytes and closes the connection; `None` hangs.
struct Origin {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    fn answering(answer: impl Fn(usize) -> Option<Vec<u8>> + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/photo", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut request = vec![0; 16 * 1024];
                let read = stream.read(&mut request).unwrap_or(0);
                seen.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
                match answer(number) {
                    // Whoever has read enough hangs up.
                    Some(bytes) => drop(stream.write_all(&bytes)),
                    None => hanging.push(stream),
                }
            }
        });
        Origin { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(head: &str, body: &[u8]) -> Option<Vec<u8>> {
    Some([format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat())
}

fn png() -> Vec<u8> {
    images::picture(image::ImageFormat::Png, 40, 30, 1)
}

fn spec(url: &str) -> Value {
    json!({"source": {"url": url, "headers": {"authorization": "Bearer t0p-s3cret"}}, "outputs": [{"format": "bmp"}]})
}

fn run(server: &TestServer, spec: &Value) -> Value {
    let answer = server.post_json("/v1/jobs", spec);
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    server.ended(answer.json()["id"].as_str().unwrap())
}

/// Whether any file under a directory has these bytes.
fn is_in(directory: &std::path::Path, secret: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_in(&path, secret),
            // What is removed in between has nothing to hide any more.
            false => std::fs::read(path)
                .is_ok_and(|bytes| bytes.windows(secret.len()).any(|window| window == secret)),
        }
    })
}

#[test]
fn a_source_comes_without_a_length_packed_or_from_another_origin_whose_headers_are_its_own() {
    let server = TestServer::start();
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&png()).unwrap();
        encoder.finish().unwrap()
    };
    let elsewhere = Origin::answering(|_| answer("200 OK\r\ncontent-type: text/html", &png()));
    let target = elsewhere.url.clone();
    let home = Origin::answering(move |number| match number {
        0 => answer("200 OK", &png()),
        1 => answer("200 OK\r\ncontent-encoding: gzip", &packed),
        _ => answer(&format!("307 There\r\nlocation: {target}"), b""),
    });
    for _ in 0..3 {
        let job = run(&server, &spec(&home.url));
        assert_eq!((&job["status"], &job["source"]["format"]), (&json!("succeeded"), &json!("png")), "{job}");
        assert_eq!(job["source"]["bytes"], png().len());
        assert!(!job.to_string().contains("s3cret"), "{job}");
    }
    assert!(home.requests().iter().all(|request| request.contains("authorization: Bearer t0p-s3cret")));
    assert_eq!(elsewhere.requests().len(), 1);
    assert!(!elsewhere.requests()[0].contains("s3cret"));
}

#[test]
fn what_went_wrong_is_told_without_addresses() {
    let packed_bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 3 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let server = TestServer::with(|settings| {
        settings.worker.source.bytes_max = 1 << 20;
        settings.worker.source.answer_timeout = Duration::from_millis(200);
        settings.worker.source.total_timeout = Duration::from_millis(600);
    });
    let origins: [(&str, Option<Vec<u8>>); 8] = [
        ("source_not_found", answer("404 Not Found", b"")),
        ("source_http_error", answer("403 Forbidden", b"")),
        ("source_http_error", answer("503 Busy", b"")),
        ("image_too_large", answer("200 OK\r\ncontent-length: 1048577", b"")),
        ("image_too_large", answer("200 OK", &vec![7; (1 << 20) + 1])),
        ("image_too_large", answer("200 OK\r\ncontent-encoding: gzip", &packed_bomb)),
        ("unsupported_format", answer("200 OK\r\ncontent-type: image/png", b"<html>no picture</html>")),
        ("source_timeout", None),
    ];
    for (code, bytes) in origins {
        let origin = Origin::answering(move |_| bytes.clone());
        let mut spec = spec(&origin.url);
        spec["max_attempts"] = json!(1);
        let job = run(&server, &spec);
        assert_eq!((&job["status"], &job["error"]["code"]), (&json!("failed"), &json!(code)), "{job}");
        assert!(!job["error"].to_string().contains("127."), "{job}");
    }
    let name = "http://localhost.invalid/a.png";
    let mut unknown = spec(name);
    unknown["max_attempts"] = json!(1);
    let job = run(&server, &unknown);
    assert_eq!(
        (&job["error"]["code"], &job["error"]["retryable"]),
        (&json!("source_not_found"), &json!(true))
    );
}

#[test]
fn what_is_passing_is_tried_again_and_what_is_stored_is_not_fetched_again() {
    let server = TestServer::start();
    let origin = Origin::answering(|number| match number {
        0 => answer("503 Busy", b""),
        _ => answer("200 OK", b"no picture at all"),
    });
    let job = run(&server, &spec(&origin.url));
    assert_eq!((&job["error"]["code"], &job["attempt"]), (&json!("unsupported_format"), &json!(2)), "{job}");
    assert_eq!(job["source"], Value::Null, "nobody could read it");
    let id = job["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/jobs/{id}/source")).status, 404);
    assert_eq!(server.post(&format!("/v1/jobs/{id}/retry"), b"").status, 202);
    assert_eq!(server.ended(id)["error"]["code"], "unsupported_format");
    assert_eq!(origin.requests().len(), 2, "the retry looked at what is stored");
}

#[test]
fn headers_are_gone_from_the_disk_once_the_source_is_stored() {
    let server = TestServer::start();
    let origin = Origin::answering(|_| answer("200 OK", &png()));
    let mut later = spec(&origin.url);
    later["run_at"] = json!("2027-06-01T00:00:00Z");
    let answer = server.post_json("/v1/jobs", &later);
    assert!(is_in(server.directory(), b"t0p-s3cret"), "a job that waits needs them");
    assert_eq!(run(&server, &spec(&origin.url))["status"], "succeeded");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.request("DELETE", &format!("/v1/jobs/{id}"), &[], b"").status, 204);
    // What the log still has of them goes with its next checkpoint.
    let log = rusqlite::Connection::open(server.directory().join("jobs.db")).unwrap();
    log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(!is_in(server.directory(), b"t0p-s3cret"), "still on the disk");
}
