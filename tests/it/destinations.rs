//! Named destinations: results are where they were wanted before their job counts as succeeded. Buckets have a test of their own
//! (`tests/destinations/`), which needs an S3 server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use minilab::client::{Client, Submission};
use minilab::destination::Config;
use minilab::job::Status;
use serde_json::{Value, json};

use crate::support::images;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

fn directory(path: &Path) -> Config {
    Config { url: format!("file://{}", path.display()), options: BTreeMap::new(), environment: Vec::new() }
}

fn server(out: &Path) -> TestServer {
    let out = directory(out);
    TestServer::with(|settings| drop(settings.destinations.insert("media".to_owned(), out)))
}

fn picture(seed: u64) -> Vec<u8> {
    images::picture(image::ImageFormat::Png, 160, 120, seed as _)
}

/// Submits a form; the answer.
fn submit(server: &TestServer, spec: &Value) -> crate::support::raw::RawAnswer {
    let mut body = Vec::new();
    for (name, bytes) in [("job", spec.to_string().into_bytes()), ("file", picture(1))] {
        body.extend(
            format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n")
                .bytes(),
        );
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--x--\r\n");
    server.request("POST", "/v1/jobs", &[("content-type", "multipart/form-data; boundary=x")], &body)
}

fn to(name: &str, key: &str) -> Value {
    json!({"name": name, "key": key})
}

#[test]
fn outputs_are_delivered_and_their_locations_told() {
    let out = tempfile::tempdir().unwrap();
    let server = server(out.path());
    assert_eq!(server.get("/v1/capabilities").json()["destinations"], json!(["media"]));
    let spec = json!({"outputs": [
        {"name": "a", "format": "webp", "destination": to("media", "users/42/avatar.webp")},
        {"name": "b", "format": "bmp", "destination": to("media", "users/42/large.bmp")},
        {"name": "c", "format": "png"}]});
    let answer = submit(&server, &spec);
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let job = server.ended(answer.json()["id"].as_str().unwrap());
    assert_eq!(job["status"], "succeeded", "{job}");
    for (index, key) in ["users/42/avatar.webp", "users/42/large.bmp"].into_iter().enumerate() {
        let output = &job["outputs"][index];
        assert_eq!(output["location"], format!("file://{}/{key}", out.path().display()));
        let kept = server.get(output["url"].as_str().unwrap()).body;
        assert!(std::fs::read(out.path().join(key)).unwrap() == kept, "{key}");
    }
    assert_eq!(job["outputs"][2].get("location"), None);
}

#[test]
fn mistakes_are_told_at_submit_and_leave_nothing() {
    let out = tempfile::tempdir().unwrap();
    let server = server(out.path());
    let spec = json!({"outputs": [
        {"name": "a", "destination": to("medea", "a.webp")},
        {"name": "b", "destination": to("media", "../b.webp")},
        {"name": "c", "destination": to("media", "/etc/passwd")},
        {"name": "d", "destination": to("media", "same")},
        {"name": "e", "destination": to("media", "same")},
        {"name": "f", "destination": {"name": "media"}},
        {"name": "g", "destination": "media"}]});
    let answer = submit(&server, &spec);
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (422, &json!("invalid_spec")));
    let errors = problem["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    let expected = [
        "0/destination/name",
        "1/destination/key",
        "2/destination/key",
        "4/destination/key",
        "5/destination/key",
        "6/destination",
    ];
    assert_eq!(pointers, expected.map(|pointer| format!("/outputs/{pointer}")), "{problem}");
    assert!(errors[0]["detail"].as_str().unwrap().contains("media"), "{problem}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);

    let none = TestServer::start();
    let answer = submit(&none, &json!({"outputs": [{"destination": to("media", "a")}]}));
    assert!(answer.json()["errors"][0]["detail"].as_str().unwrap().contains("no destinations"));
}

#[test]
fn what_fails_is_delivered_nowhere_and_a_destination_that_is_down_is_tried_again() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let server = server(&out);
    let spec = json!({"outputs": [
        {"name": "a", "format": "webp", "destination": to("media", "a.webp")},
        {"name": "b", "format": "jpeg", "max_bytes": 10, "destination": to("media", "b.jpg")}]});
    let job = server.ended(submit(&server, &spec).json()["id"].as_str().unwrap());
    assert_eq!(job["error"]["code"], "max_bytes_unreachable", "{job}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "one output failed: none is delivered");

    // A file where the directory was.
    std::fs::remove_dir(&out).unwrap();
    std::fs::write(&out, "").unwrap();
    let spec = json!({"outputs": [{"name": "a", "format": "webp", "destination": to("media", "a.webp")}]});
    let answer = submit(&server, &spec);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let job = loop {
        let job = server.get(&format!("/v1/jobs/{id}")).json();
        if job["error"].is_object() {
            break job;
        }
    };
    let error = &job["error"];
    assert_eq!(
        (&job["status"], &error["code"], &error["output"]),
        (&json!("queued"), &json!("destination_error"), &json!("a"))
    );
    assert!(!error.to_string().contains(parent.path().to_str().unwrap()), "{error}");
    std::fs::remove_file(&out).unwrap();
    std::fs::create_dir(&out).unwrap();
    let job = server.ended(&id);
    assert!(job["status"] == "succeeded" && job["attempt"].as_u64() > Some(1), "{job}");
    assert!(out.join("a.webp").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_around_the_delivery_end_in_one_truth() {
    let home = tempfile::tempdir().unwrap();
    let (out, file) = (home.path().join("out"), home.path().join("minilab.toml"));
    std::fs::write(&file, format!("[destinations.media]\nurl = \"file://{}\"\n", out.display())).unwrap();
    let arguments = ["--workers", "2", "--config", file.to_str().unwrap()];
    let data = home.path().join("data");
    let mut server = ServerProcess::start(&data, &arguments);
    let mut ids = Vec::new();
    for round in 0..4u64 {
        let client = Client::new(&server.url).unwrap();
        for number in 0..5 {
            let key = format!("{round}/{number}.webp");
            let spec =
                json!({"outputs": [{"format": "webp", "lossless": true, "destination": to("media", &key)}]});
            ids.push((client.submit(&Submission::bytes(picture(number)).spec(spec)).await.unwrap().id, key));
        }
        // The first of the round is there: the others are anywhere between their decoder and their end.
        let first = out.join(format!("{round}/0.webp"));
        let began = std::time::Instant::now();
        while !first.exists() {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing was delivered");
            tokio::task::yield_now().await;
        }
        server.kill();
        server = ServerProcess::start(&data, &arguments);
    }
    let client = Client::new(&server.url).unwrap();
    for (id, key) in ids {
        let job = client.wait(&id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
        let mut kept = Vec::new();
        client.download_to(&id, "output", &mut kept).await.unwrap();
        assert!(std::fs::read(out.join(&key)).unwrap() == kept, "{key}");
        assert!(job.outputs[0].location.as_ref().is_some_and(|location| location.ends_with(&key)));
    }
}
