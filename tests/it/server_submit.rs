//! `POST /v1/jobs` through the front door: the body forms, what is refused, idempotency, dry runs, waiting.

use std::io::{Read, Write};

use minilab::queue::FeedItem;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::images::{large, small};
use crate::support::raw::{RawAnswer, connect, read_answer};
use crate::support::receiver::Receiver;
use crate::support::server::TestServer;

const BOUNDARY: &str = "----form-boundary";

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        let filename = if *name == "job" { "" } else { "; filename=\"a.png\"" };
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn post_form(server: &TestServer, path: &str, parts: &[(&str, &[u8])]) -> RawAnswer {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    server.request("POST", path, &[("content-type", &content_type)], &form(parts))
}

fn pointers(answer: &RawAnswer) -> Vec<String> {
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

fn header(answer: &RawAnswer, name: &str) -> Option<String> {
    answer.head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[test]
fn an_image_that_can_not_be_stored_is_refused_and_leaves_nothing() {
    let server = TestServer::start();
    let blobs = server.directory().join("blobs");
    let (sources, away) = (blobs.join("sources"), blobs.join("away"));
    std::fs::rename(&sources, &away).unwrap();
    std::fs::write(&sources, b"no directory").unwrap();
    let refused = server.post("/v1/jobs?width=8", &large());
    assert_eq!((refused.status, refused.code()), (503, "store_unavailable".to_owned()));
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
    assert_eq!(std::fs::read_dir(blobs.join("spool")).unwrap().count(), 0);
    std::fs::remove_file(&sources).unwrap();
    std::fs::rename(&away, &sources).unwrap();
    server.succeeded("width=8", &large());
}

#[test]
fn who_sends_an_image_with_curl_d_is_told() {
    let server = TestServer::start();
    let stripped: Vec<u8> = small().into_iter().filter(|byte| !b"\r\n".contains(byte)).collect();
    for (media_type, is_told) in [("application/x-www-form-urlencoded", true), ("image/png", false)] {
        for query in ["width=8", "width=8&dry_run=true"] {
            let answer = server.request(
                "POST",
                &format!("/v1/jobs?{query}"),
                &[("content-type", media_type)],
                &stripped,
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!((answer.status, answer.code()), (415, "unsupported_format".to_owned()), "{detail}");
            assert_eq!(detail.contains("curl --data-binary"), is_told, "{detail}");
        }
    }
}

#[test]
fn the_raw_form_takes_any_content_type_or_none() {
    let server = TestServer::start();
    for headers in
        [&[][..], &[("content-type", "image/png")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        for image in [small(), large()] {
            let answer = server.request("POST", "/v1/jobs?width=16&format=webp&tag=t", headers, &image);
            assert_eq!(answer.status, 202, "{:?}", answer.json());
            let job = answer.json();
            let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
            assert_eq!(header(&answer, "location"), Some(path.clone()));
            assert_eq!(header(&answer, "retry-after").as_deref(), Some("1"));
            assert!(header(&answer, "x-request-id").is_some_and(|id| id.len() == 16));
            assert_eq!((&job["tag"], &job["source"]["format"]), (&json!("t"), &json!("png")));
            let ended = server.ended(job["id"].as_str().unwrap());
            assert_eq!(ended["status"], "succeeded", "{ended}");
            let output = &ended["outputs"][0];
            assert_eq!(
                (&output["name"], &output["format"], &output["width"]),
                (&json!("output"), &json!("webp"), &json!(16))
            );
        }
    }
}

#[test]
fn the_multipart_form_takes_its_parts_in_any_order_or_the_query() {
    let server = TestServer::start();
    let job =
        json!({"outputs": [{"name": "a", "format": "png", "operations": [{"op": "resize", "width": 8}]}]})
            .to_string();
    let image = large();
    for parts in
        [[("job", job.as_bytes()), ("file", &image[..])], [("file", &image[..]), ("job", job.as_bytes())]]
    {
        let answer = post_form(&server, "/v1/jobs?wait=30", &parts);
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        assert_eq!(answer.json()["outputs"][0]["name"], "a");
    }
    let answer = post_form(&server, "/v1/jobs?width=9&wait=30", &[("file", &image)]);
    assert_eq!((answer.status, &answer.json()["outputs"][0]["width"]), (200, &json!(9)));
}

#[test]
fn broken_forms_are_refused() {
    let server = TestServer::start();
    let image = small();
    let job = b"{\"outputs\":[{}]}";
    for (name, parts) in [
        ("no file", &[("job", &job[..])][..]),
        ("a part that no operation can name", &[("job", &job[..]), ("file", &image), ("Logo.png", &image)]),
        ("two files", &[("job", &job[..]), ("file", &image), ("file", &image)]),
        ("an empty file", &[("job", &job[..]), ("file", b"")]),
    ] {
        let answer = post_form(&server, "/v1/jobs", parts);
        assert_eq!((answer.status, answer.code()), (400, "invalid_request".to_owned()), "{name}");
    }
    let answer = post_form(&server, "/v1/jobs?width=3", &[("job", &job[..]), ("file", &image)]);
    assert_eq!((answer.status, pointers(&answer)), (422, vec!["/width".to_owned()]));
    let plain = [("content-type", "multipart/form-data")];
    assert_eq!(server.request("POST", "/v1/jobs", &plain, b"x").status, 400);
}

#[test]
fn the_json_form_fetches_its_source() {
    let server = TestServer::start();
    // The server itself is as good a source as any.
    let first = server.succeeded("format=png", &small());
    let url = format!("{}{}", server.url, first["outputs"][0]["url"].as_str().unwrap());
    let spec = json!({"source": {"url": url}, "outputs": [{"format": "bmp"}], "metadata": {"a": "b"}});
    let answer = server.post_json("/v1/jobs", &spec);
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    let job = server.ended(answer.json()["id"].as_str().unwrap());
    assert_eq!((&job["status"], &job["source"]["width"]), (&json!("succeeded"), &json!(40)), "{job}");
    assert_eq!(job["metadata"], json!({"a": "b"}));
}

#[test]
fn every_mistake_is_told_at_once() {
    let server = TestServer::start();
    let spec = json!({
        "source": {"url": "ftp://example.com/a", "headers": {"host": "x"}, "x": 1},
        "operations": [{"op": "develop"}, {"op": "resize", "width": 0}],
        "outputs": [{"name": "A"}, {"format": "heic"}, {"name": "b"}, {"name": "b"}],
        "analyze": ["nothing"], "destination": {}, "preset": "nope", "webhook": {"url": 3, "events": ["job.done"]},
        "priority": 101, "run_at": "soon", "timeout": "1y", "max_attempts": 0, "expires_in": "0s",
        "tag": "a\u{7}b", "metadata": {"a": 1},
    });
    let answer = server.post_json("/v1/jobs", &spec);
    assert_eq!((answer.status, answer.code()), (422, "invalid_spec".to_owned()));
    assert_eq!(header(&answer, "content-type").as_deref(), Some("application/problem+json"));
    let found = pointers(&answer);
    for pointer in [
        "/source/url",
        "/source/headers",
        "/source/x",
        "/operations/0/op",
        "/operations/1/width",
        "/outputs/0/name",
        "/outputs/1/format",
        "/outputs/3/name",
        "/analyze/0",
        "/destination",
        "/preset",
        "/webhook/url",
        "/webhook/events/0",
        "/priority",
        "/run_at",
        "/timeout",
        "/max_attempts",
        "/expires_in",
        "/tag",
        "/metadata/a",
    ] {
        assert!(found.iter().any(|known| known == pointer), "{pointer} is missing in {found:?}");
    }
    let unknown = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["pointer"] == "/operations/0/op")
        .cloned();
    assert!(unknown.unwrap()["detail"].as_str().unwrap().contains("resize"), "the valid names are listed");
}

#[test]
fn mistakes_of_the_query_are_named_by_parameter() {
    let server = TestServer::start();
    let answer = server.post("/v1/jobs?width=0&format=heic&hieght=3&timeout=x&wait=99&tag=", &small());
    assert_eq!(answer.status, 422);
    let mut found = pointers(&answer);
    found.sort_unstable();
    assert_eq!(found, ["/format", "/hieght", "/tag", "/timeout", "/wait", "/width"]);
}

#[test]
fn addresses_that_must_not_be_reached_have_codes_of_their_own() {
    let server = TestServer::with(|settings| settings.egress.allow.clear());
    let source = json!({"source": {"url": "http://127.0.0.1/a.png"}, "outputs": [{}]});
    assert_eq!(server.post_json("/v1/jobs", &source).code(), "source_forbidden");
    let answer = server.post("/v1/jobs?webhook=http%3A%2F%2F169.254.169.254%2F", &small());
    assert_eq!((answer.status, answer.code()), (422, "webhook_forbidden".to_owned()));
    assert_eq!(pointers(&answer), ["/webhook"]);
    let both = json!({"source": {"url": "http://10.0.0.1/"}, "outputs": []});
    assert_eq!(server.post_json("/v1/jobs", &both).code(), "invalid_spec");
}

#[test]
fn presets_are_overridden_field_by_field() {
    let server = TestServer::with(|settings| {
        let preset = json!({"outputs": [{"name": "p", "format": "bmp"}], "priority": 7, "tag": "of-preset"});
        settings.server.presets.insert("avatar".to_owned(), preset);
    });
    let job = server.succeeded("preset=avatar&tag=mine", &small());
    assert_eq!((&job["outputs"][0]["name"], &job["outputs"][0]["format"]), (&json!("p"), &json!("bmp")));
    assert_eq!((&job["priority"], &job["tag"]), (&json!(7), &json!("mine")));
    let job = server.succeeded("preset=avatar&format=png", &small());
    assert_eq!((&job["outputs"][0]["name"], &job["outputs"][0]["format"]), (&json!("output"), &json!("png")));
    let answer = server.post("/v1/jobs?preset=avtar", &small());
    assert!(answer.json()["errors"][0]["detail"].as_str().unwrap().contains("avatar"));
}

#[test]
fn a_dry_run_plans_and_stores_nothing() {
    let server = TestServer::start();
    for image in [small(), large()] {
        let answer = server.post("/v1/jobs?width=20&format=jpeg&dry_run=true", &image);
        assert_eq!(answer.status, 200);
        let plan = answer.json();
        assert_eq!((&plan["outputs"][0]["width"], &plan["outputs"][0]["height"]), (&json!(20), &json!(15)));
        assert!(plan["memory_bytes"].as_u64().unwrap() > 0 && plan["source"]["sha256"].is_string());
    }
    let spec = json!({"source": {"url": "https://example.com/a.png"}, "outputs": [{"format": "webp"}]});
    let plan = server.post_json("/v1/jobs?dry_run=1", &spec).json();
    assert_eq!((&plan["outputs"][0]["format"], &plan["memory_bytes"]), (&json!("webp"), &Value::Null));
    assert_eq!(server.post("/v1/jobs?dry_run=true", b"no image").status, 415);
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
}

#[test]
fn waiting_is_asked_for_in_two_ways() {
    let server = TestServer::start();
    let answer =
        server.request("POST", "/v1/jobs?width=8", &[("prefer", "respond-async, wait=30")], &small());
    assert_eq!((answer.status, header(&answer, "preference-applied").as_deref()), (200, Some("wait=30")));
    assert_eq!(answer.json()["status"], "succeeded");
    assert_eq!(server.post("/v1/jobs?width=8&wait=30", &small()).status, 200);
    let later = "/v1/jobs?run_at=2027-01-01T00:00:00Z";
    let answer = server.request("POST", later, &[("prefer", "wait=0")], &small());
    assert_eq!((answer.status, header(&answer, "preference-applied")), (202, None));
    assert_eq!(header(&answer, "retry-after").as_deref(), Some("60"));
}

#[test]
fn the_same_key_twice_is_one_job() {
    let server = TestServer::start();
    let key = [("idempotency-key", "k-1")];
    for image in [small(), large()] {
        let key = [("idempotency-key", if image.len() > 65_536 { "k-2" } else { "k-1" })];
        let first = server.request("POST", "/v1/jobs?width=8", &key, &image);
        let again = server.request("POST", "/v1/jobs?width=8", &key, &image);
        assert_eq!((first.status, again.status), (202, 202));
        assert_eq!(first.json()["id"], again.json()["id"]);
        assert_eq!(header(&first, "idempotent-replayed"), None);
        assert_eq!(header(&again, "idempotent-replayed").as_deref(), Some("true"));
        assert_eq!(header(&first, "location"), header(&again, "location"));
    }
    let other = server.request("POST", "/v1/jobs?width=9", &key, &small());
    assert_eq!((other.status, other.code()), (422, "idempotency_mismatch".to_owned()));
    let other = server.request("POST", "/v1/jobs?width=8", &key, &large());
    assert_eq!((other.status, other.code()), (422, "idempotency_mismatch".to_owned()));
    let id =
        server.request("POST", "/v1/jobs?width=8", &key, &small()).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.request("DELETE", &format!("/v1/jobs/{id}"), &[], b"").status, 204);
    assert_eq!(server.request("POST", "/v1/jobs?width=8", &key, &small()).status, 410);
    let too_long = "k".repeat(256);
    assert_eq!(server.request("POST", "/v1/jobs", &[("idempotency-key", &too_long)], &small()).status, 400);
}

#[test]
fn a_key_in_flight_is_a_conflict() {
    let server = TestServer::start();
    let image = small();
    let mut slow = connect(&server.url);
    let head = format!(
        "POST /v1/jobs?width=8 HTTP/1.1\r\nhost: {}\r\nidempotency-key: k\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        server.address,
        image.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    slow.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let answer = server.request("POST", "/v1/jobs?width=8", &[("idempotency-key", "k")], &image);
    assert_eq!((answer.status, answer.code()), (409, "idempotency_in_progress".to_owned()));
    slow.write_all(&image).unwrap();
    let first = read_answer(&mut slow);
    assert_eq!(first.status, 202);
    let again = server.request("POST", "/v1/jobs?width=8", &[("idempotency-key", "k")], &image);
    assert_eq!(again.json()["id"], first.json()["id"]);
}

#[test]
fn announced_digests_are_checked() {
    use base64::Engine as _;
    let server = TestServer::start();
    for image in [small(), large()] {
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&image));
        let right = format!("sha-256=:{digest}:");
        let answer = server.request("POST", "/v1/jobs?width=8", &[("content-digest", &right)], &image);
        assert_eq!(answer.status, 202);
        let mut changed = image.clone();
        changed[20] ^= 1;
        let answer = server.request("POST", "/v1/jobs?width=8", &[("content-digest", &right)], &changed);
        assert_eq!((answer.status, answer.code()), (400, "digest_mismatch".to_owned()));
    }
}

#[test]
fn framing_and_coding_are_judged_before_the_body() {
    let server = TestServer::with(|settings| settings.server.body_bytes_max = 1000);
    assert_eq!(
        server.request("POST", "/v1/jobs", &[("content-encoding", "gzip")], &small()).code(),
        "unsupported_format"
    );
    let mut stream = connect(&server.url);
    stream
        .write_all(format!("POST /v1/jobs HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).as_bytes())
        .unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code()), (411, "length_required".to_owned()));
    // The client is still sending when it is refused, and gets to read why.
    let answer = server.post("/v1/jobs", &vec![7; 30_000_000]);
    assert_eq!((answer.status, answer.code()), (413, "body_too_large".to_owned()));
    assert_eq!(header(&answer, "connection").as_deref(), Some("close"));
}

#[test]
fn a_full_queue_refuses_before_the_body() {
    let server = TestServer::with(|settings| settings.queue.queued_max = 1);
    server.submit("run_at=2027-01-01T00:00:00Z", &small());
    let mut stream = connect(&server.url);
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-length: 100000\r\nexpect: 100-continue\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code()), (429, "queue_full".to_owned()), "{}", answer.head);
    assert!(header(&answer, "retry-after").is_some());
}

#[test]
fn a_client_that_hangs_up_has_still_submitted() {
    let server = TestServer::start();
    let image = large();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (tag, resets) in [("closed", false), ("reset", true)] {
        let mut stream = connect(&server.url);
        let head = format!(
            "POST /v1/jobs?width=8&tag={tag} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
            server.address,
            image.len()
        );
        let mut feed = server.queue.feed(None);
        let expected = server.received_bytes() + image.len();
        // It is gone before anything is written.
        let hold = server.hold_files();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&image).unwrap();
        while server.received_bytes() < expected {}
        if resets {
            rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
        }
        drop(stream);
        assert_eq!(server.get("/health/live").status, 200);
        drop(hold);
        let submitted = async {
            loop {
                let news = feed.next().await.expect("news");
                if matches!(news, FeedItem::Job { job, .. } if job.spec.tag.as_deref() == Some(tag)) {
                    return;
                }
            }
        };
        let submitted = async { tokio::time::timeout(std::time::Duration::from_secs(20), submitted).await };
        runtime.block_on(submitted).expect(tag);
    }
}

#[test]
fn the_webhook_tells_of_the_end() {
    let server = TestServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = runtime.block_on(Receiver::start(|_| 200));
    let hook: String = form_urlencoded::byte_serialize(receiver.url.as_bytes()).collect();
    let id = server.submit(&format!("width=8&webhook={hook}"), &small());
    let received = runtime.block_on(receiver.wait_until(|received| !received.is_empty()));
    let body = received[0].json();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("job.succeeded"), &json!(id)));
    let url = body["data"]["outputs"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&server.url), "{url}");
}

#[test]
fn mistakes_are_told_where_and_as_what_they_were_made() {
    let server = TestServer::start();
    let untyped = server.post("/v1/jobs", b" {\"source\":{\"url\":\"https://example.com/a.png\"}}");
    assert_eq!((untyped.status, untyped.code()), (415, "unsupported_format".to_owned()));
    assert!(untyped.json()["detail"].as_str().unwrap().contains("Content-Type: application/json"));
    let first_mistake = |outputs: Value| {
        let spec = json!({"source": {"url": "http://127.0.0.1/a.png"}, "outputs": outputs});
        let answer = server.post_json("/v1/jobs", &spec).json();
        let text = |name: &str| answer["errors"][0][name].as_str().unwrap().to_owned();
        (text("pointer"), text("detail"))
    };
    let many = vec![json!({"op": "grayscale"}); 51];
    let (pointer, detail) = first_mistake(json!([{"name": "a"}, {"name": "b", "operations": many}]));
    assert_eq!(pointer, "/outputs/1/operations");
    assert!(detail.contains("51"), "{detail}");
    let (pointer, detail) = first_mistake(json!(vec![json!({}); 21]));
    assert_eq!(pointer, "/outputs");
    assert!(detail.contains("not 21"), "{detail}");
}

#[test]
fn what_is_said_twice_or_leaves_nothing_is_refused_and_free_names_are_found() {
    let server = TestServer::start();
    let dry = |spec: &str| {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{spec}\r\n--{BOUNDARY}\r\n"
        )
        .into_bytes();
        body.extend_from_slice(b"Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n");
        body.extend_from_slice(&small());
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        server.request("POST", "/v1/jobs?dry_run=true", &[("content-type", &content_type)], &body)
    };
    let twice = dry(r#"{"outputs":[{"format":"png"}],"outputs":[{"format":"webp"}]}"#);
    assert_eq!((twice.status, twice.code().as_str()), (400, "invalid_json"));
    assert!(
        twice.json()["detail"].as_str().unwrap().contains("\"outputs\" is given twice"),
        "{}",
        twice.json()
    );
    let nothing = dry(r#"{"operations":[{"op":"crop","width":"0%","height":"50%"}],"outputs":[{}]}"#);
    assert_eq!((nothing.status, nothing.code().as_str()), (422, "invalid_spec"));
    assert_eq!(nothing.json()["errors"][0]["pointer"], "/operations/0/width");
    let edge = dry(
        r#"{"operations":[{"op":"crop","left":"0%","top":0,"width":"50%","height":"0.5%"}],"outputs":[{}]}"#,
    );
    assert_eq!(edge.status, 200, "{}", edge.json());
    let named = dry(r#"{"outputs":[{},{"name":"output"},{"name":"output-4"},{}]}"#);
    let names: Vec<String> = named.json()["outputs"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", named.json()))
        .iter()
        .map(|output| output["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["output-5", "output", "output-4", "output-6"]);
}
