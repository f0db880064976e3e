//! A hostile client against the real binary: each attack gets a clear answer, leaves nothing behind, and the server stays well.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::process::ServerProcess;
use crate::support::raw::{RawAnswer, connect, read_answer, request};

struct Target {
    server: ServerProcess,
    directory: tempfile::TempDir,
}

fn target(arguments: &[&str]) -> Target {
    let directory = tempfile::tempdir().unwrap();
    Target { server: ServerProcess::start(directory.path(), arguments), directory }
}

fn files_under(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path);
        }
    }
    found
}

impl Target {
    fn post(&self, path: &str, body: &[u8]) -> RawAnswer {
        request(&self.server.url, "POST", path, &[], body)
    }

    /// The job of an accepted submission, once it has ended.
    fn ended(&self, accepted: &RawAnswer) -> serde_json::Value {
        let id = accepted.json()["id"].as_str().unwrap().to_owned();
        request(&self.server.url, "GET", &format!("/v1/jobs/{id}?wait=20"), &[], b"").json()
    }

    /// The server answers, knows of no job, and keeps no byte of what it refused.
    fn assert_untouched(&self) {
        assert_eq!(request(&self.server.url, "GET", "/health/live", &[], b"").status, 200);
        assert_eq!(request(&self.server.url, "GET", "/health/ready", &[], b"").status, 200);
        let list = request(&self.server.url, "GET", "/v1/jobs", &[], b"").json();
        assert_eq!(list["jobs"], serde_json::json!([]));
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = files_under(&self.directory.path().join("blobs"));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            std::thread::yield_now();
        }
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let picture =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A GIF that claims a canvas and consists of so many one-pixel frames.
fn gif(width: u16, height: u16, frames: usize) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    for _ in 0..frames {
        bytes.extend([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0]);
    }
    bytes.push(0x3b);
    bytes
}

/// A PNG whose colour profile inflates to a gibibyte of zeros.
fn profile_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    let mut chunk = b"iCCPbomb\0\0".to_vec();
    chunk.extend(encoder.finish().unwrap());
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let plain = png(8, 8);
    let header_end = 8 + 25;
    let mut bytes = plain[..header_end].to_vec();
    bytes.extend(u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
    bytes.extend(&chunk);
    bytes.extend(crc.sum().to_be_bytes());
    bytes.extend(&plain[header_end..]);
    bytes
}

#[test]
fn bodies_that_are_no_usable_image_are_refused_and_leave_nothing() {
    let target = target(&[]);
    let header_only = &png(300, 300)[..20];
    let many_frames = gif(16, 16, 100_000);
    assert_eq!(gif(65535, 65535, 3).len(), 65);
    for (name, body, status, code) in [
        ("nothing", &b""[..], 400, "invalid_request"),
        ("text", b"just some words, no picture at all\n", 415, "unsupported_format"),
        ("a PNG cut inside its header", header_only, 422, "corrupt_image"),
        ("a tiny GIF that claims 65535 x 65535", &gif(65535, 65535, 3), 422, "image_too_large"),
        ("a GIF of 100,000 frames", &many_frames, 422, "image_too_large"),
    ] {
        let answer = target.post("/v1/jobs?width=10", body);
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{name}: {:?}", answer.json());
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{name}");
    }
    target.assert_untouched();
}

#[test]
fn a_picture_that_breaks_off_is_a_failed_job_with_a_reason() {
    let target = target(&[]);
    let whole = png(600, 600);
    let accepted = target.post("/v1/jobs?width=10", &whole[..whole.len() / 2]);
    assert_eq!(accepted.status, 202, "{:?}", accepted.json());
    let job = target.ended(&accepted);
    assert_eq!(
        (job["status"].as_str(), job["error"]["code"].as_str()),
        (Some("failed"), Some("corrupt_image"))
    );
}

#[test]
fn a_colour_profile_bomb_does_not_go_off() {
    let target = target(&[]);
    let before = target.server.resident_bytes();
    let began = Instant::now();
    let answer = target.post("/v1/jobs?width=4&format=png", &profile_bomb());
    if answer.status == 202 {
        let job = target.ended(&answer);
        assert!(["succeeded", "failed"].contains(&job["status"].as_str().unwrap()), "{job:?}");
    } else {
        assert_eq!(answer.status, 422, "{:?}", answer.json());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let grown = target.server.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 300 << 20, "the server grew by {} MiB", grown >> 20);
}

#[test]
fn an_oversized_body_is_refused_before_it_is_read() {
    let target = target(&[]);
    let host = target.server.url.strip_prefix("http://").unwrap();
    let head = format!(
        "POST /v1/jobs?width=10 HTTP/1.1\r\nhost: {host}\r\ncontent-length: 400000000\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut stream = connect(&target.server.url);
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code()), (413, "body_too_large".to_owned()));
    assert!(!answer.head.contains("100 Continue"));
    target.assert_untouched();
}

#[test]
fn a_body_without_an_announced_end_is_cut_off_at_the_limit() {
    let target = target(&["--limits-body", "1MiB"]);
    let host = target.server.url.strip_prefix("http://").unwrap();
    let head =
        format!("POST /v1/jobs?width=10 HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut stream = connect(&target.server.url);
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![7; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..64 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code()), (413, "body_too_large".to_owned()));
    target.assert_untouched();
}

#[test]
fn deep_specs_and_long_heads_are_refused() {
    let target = target(&[]);
    let deep = format!("{{\"operations\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let json = [("content-type", "application/json")];
    let answer = request(&target.server.url, "POST", "/v1/jobs", &json, deep.as_bytes());
    assert_eq!((answer.status, answer.code()), (400, "invalid_json".to_owned()));
    let names: Vec<String> = (0..1000).map(|number| format!("x-header-{number}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = request(&target.server.url, "GET", "/v1/jobs", &headers, b"");
    assert_eq!(answer.status, 431);
    target.assert_untouched();
}

#[test]
fn a_client_that_stalls_is_cut_off() {
    let target =
        target(&["--timeouts-header", "300ms", "--timeouts-body-idle", "300ms", "--timeouts-idle", "300ms"]);
    let host = target.server.url.strip_prefix("http://").unwrap();
    let mut in_the_head = connect(&target.server.url);
    in_the_head.write_all(b"GET /health/live HTT").unwrap();
    let mut in_the_body = connect(&target.server.url);
    let head =
        format!("POST /v1/jobs?width=10 HTTP/1.1\r\nhost: {host}\r\ncontent-length: 200000\r\n\r\nbut then");
    in_the_body.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut in_the_body);
    assert_eq!((answer.status, answer.code()), (408, "request_timeout".to_owned()));
    let mut rest = Vec::new();
    // An answer or none: what counts is that the connection ends.
    let _answer = std::io::Read::read_to_end(&mut in_the_head, &mut rest).unwrap();
    target.assert_untouched();
}

#[test]
fn a_form_that_never_begins_is_refused_early() {
    let target = target(&[]);
    let host = target.server.url.strip_prefix("http://").unwrap();
    let before = target.server.resident_bytes();
    let announced = 60 << 20;
    let start = "--b\r\nContent-Disposition: form-data; name=\"file\"";
    for (name, boundary, begin) in [
        ("a header without an end", "b", format!("{start}\r\nX: ")),
        ("a name without an end", "b", start[..start.len() - 1].to_owned()),
        ("a preamble without a boundary", "b", String::new()),
        ("a boundary that is none", &*"b".repeat(2000), String::new()),
    ] {
        let head = format!(
            "POST /v1/jobs?width=10 HTTP/1.1\r\nhost: {host}\r\ncontent-length: {announced}\r\n\
             content-type: multipart/form-data; boundary={boundary}\r\n\r\n{begin}"
        );
        let mut stream = connect(&target.server.url);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'y'; 2 << 20]).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!((answer.status, answer.code()), (400, "invalid_request".to_owned()), "{name}");
    }
    let grown = target.server.peak_resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "the server grew by {} KiB", grown >> 10);
    target.assert_untouched();
}
