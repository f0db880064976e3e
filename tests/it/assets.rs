//! Images that operations name: parts of a form, assets of the settings, URLs; from the request to the result, through a crash, a retry and
//! a removal.

use std::io::{Cursor, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::{ImageFormat, Rgba, RgbaImage};
use minilab::client::{Client, Submission};
use minilab::clock::Clock;
use minilab::job::Status;
use serde_json::{Value, json};

use crate::support::images::{large, picture, small};
use crate::support::process::ServerProcess;
use crate::support::raw::RawAnswer;
use crate::support::server::TestServer;

const BOUNDARY: &str = "----form-boundary";

/// A plain picture.
fn plain(width: u32, height: u32, color: [u8; 4]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbaImage::from_pixel(width, height, Rgba(color)).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A red logo; with noise below its first rows, so that it is too large for a row.
fn logo(is_large: bool) -> Vec<u8> {
    if !is_large {
        return plain(20, 10, [255, 0, 0, 255]);
    }
    let mut noise = image::load_from_memory(&picture(ImageFormat::Png, 400, 300, 9)).unwrap().to_rgb8();
    for (x, y) in (0..400).flat_map(|x| (0..50).map(move |y| (x, y))) {
        noise.put_pixel(x, y, image::Rgb([255, 0, 0]));
    }
    let mut bytes = Cursor::new(Vec::new());
    noise.write_to(&mut bytes, ImageFormat::Png).unwrap();
    assert!(bytes.get_ref().len() > 64 * 1024);
    bytes.into_inner()
}

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

fn post(server: &TestServer, path: &str, parts: &[(&str, &[u8])], key: Option<&str>) -> RawAnswer {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let mut headers = vec![("content-type", content_type.as_str())];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    server.request("POST", path, &headers, &form(parts))
}

fn overlay(input: Value) -> Value {
    json!({"op": "overlay", "input": input, "gravity": "northwest", "scale": 0.5})
}

fn job(operations: Value) -> Value {
    json!({"operations": operations, "outputs": [{"format": "png"}]})
}

/// The colour of the top left pixel of a job's result.
fn corner(server: &TestServer, id: &str) -> [u8; 3] {
    let answer = server.get(&format!("/v1/jobs/{id}/outputs/output"));
    assert_eq!(answer.status, 200);
    image::load_from_memory(&answer.body).unwrap().to_rgb8().get_pixel(0, 0).0
}

fn errors(answer: &RawAnswer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| (text(&error["pointer"]), text(&error["detail"]))).collect()
}

/// Every stored blob of this kind.
fn blobs(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory.join("blobs").join(kind)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Answers one request after the other on a port of its own; a body makes it 200, none 404.
fn serve(answers: Vec<Option<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/logo.png", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _length = stream.read(&mut request).unwrap();
            let status = if answer.is_some() { "200 OK" } else { "404 Not Found" };
            let body = answer.unwrap_or_default();
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    url
}

#[test]
fn file_parts_are_laid_on_the_image_and_removed_with_the_job() {
    let server = TestServer::start();
    for (is_large, stored) in [(false, 0), (true, 1)] {
        let spec = job(json!([overlay(json!("logo"))]));
        let logo = logo(is_large);
        let answer = post(
            &server,
            "/v1/jobs",
            &[("job", spec.to_string().as_bytes()), ("file", &large()), ("logo", &logo)],
            None,
        );
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(blobs(server.directory(), "assets").len(), stored);
        assert_eq!(server.ended(&id)["status"], "succeeded");
        assert_eq!(corner(&server, &id), [255, 0, 0]);
        let assets = server.get(&format!("/v1/jobs/{id}")).json()["assets"].clone();
        assert_eq!((&assets[0]["name"], &assets[0]["bytes"]), (&json!("logo"), &json!(logo.len())));
        assert_eq!(server.request("DELETE", &format!("/v1/jobs/{id}"), &[], b"").status, 204);
        assert_eq!(blobs(server.directory(), "assets"), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_does_not_belong_together_is_refused_and_leaves_nothing() {
    let server = TestServer::with(|settings| settings.server.asset_bytes_max = 100_000);
    let spec = job(json!([overlay(json!("logo"))])).to_string();
    let (spec, image, logo) = (spec.as_bytes(), &small()[..], &logo(false)[..]);
    let refused = |parts: &[(&str, &[u8])], status| {
        let answer = post(&server, "/v1/jobs", parts, None);
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
        answer
    };
    let missing = errors(&refused(&[("job", spec), ("file", image)], 422));
    assert_eq!(missing[0].0, "/operations/0/input");
    assert!(missing[0].1.contains("send it as a file part"), "{missing:?}");
    let renamed = errors(&refused(&[("job", spec), ("file", image), ("logos", logo)], 422));
    assert!(renamed[0].1.contains("did you mean \"logos\"?"), "{renamed:?}");
    assert_eq!(renamed[1].0, "");
    assert!(renamed[1].1.contains("\"logos\""), "unused: {renamed:?}");
    let broken = errors(&refused(&[("job", spec), ("file", image), ("logo", b"no image")], 422));
    assert_eq!(broken[0].0, "/operations/0/input");
    let too_large = picture(ImageFormat::Png, 400, 300, 3);
    refused(&[("job", spec), ("file", image), ("logo", &too_large)], 413);
    refused(&[("job", spec), ("file", image), ("logo", b"")], 400);
    refused(&[("job", spec), ("file", image), ("logo", logo), ("logo", logo)], 400);
    refused(&[("job", spec), ("file", image), ("Logo.png", logo)], 400);
    let names: Vec<String> = (0..9).map(|number| format!("a{number}")).collect();
    let mut many: Vec<(&str, &[u8])> = vec![("job", spec), ("file", image)];
    many.extend(names.iter().map(|name| (name.as_str(), logo)));
    assert!(refused(&many, 400).json()["detail"].as_str().unwrap().contains("limits.assets"));
    let absurd = job(json!([{"op": "overlay", "input": "logo", "scale": 10, "rotate": 1}])).to_string();
    let thin = plain(1, 900, [1, 2, 3, 255]);
    let absurd = refused(&[("job", absurd.as_bytes()), ("file", image), ("logo", &thin)], 422);
    assert_eq!(errors(&absurd)[0].0, "/operations/0/scale");
    let planned = post(
        &server,
        "/v1/jobs?dry_run=true",
        &[("job", spec), ("file", image), ("logo", &plain(1500, 1000, [9; 4]))],
        None,
    );
    assert_eq!(planned.status, 200);
    assert!(planned.json()["memory_bytes"].as_u64().unwrap() > 1500 * 1000 * 4, "the logo counts");
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
    for kind in ["assets", "sources", "spool"] {
        assert_eq!(blobs(server.directory(), kind), Vec::<PathBuf>::new(), "{kind}");
    }
}

#[test]
fn the_parts_belong_to_what_an_idempotency_key_stands_for() {
    let server = TestServer::start();
    let spec = job(json!([overlay(json!("logo"))])).to_string();
    let submit = |logo: &[u8]| {
        post(
            &server,
            "/v1/jobs",
            &[("job", spec.as_bytes()), ("file", &small()), ("logo", logo)],
            Some("order-1"),
        )
    };
    let first = submit(&logo(true));
    let again = submit(&logo(true));
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(submit(&logo(false)).status, 422);
    assert_eq!(blobs(server.directory(), "assets").len(), 1, "what came again was not kept");
}

#[test]
fn assets_of_the_settings_serve_every_job_and_give_way_to_its_own_parts() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("brand.png");
    std::fs::write(&path, logo(false)).unwrap();
    let server = TestServer::with(|settings| {
        settings.assets.insert("brand".to_owned(), path.clone());
        let preset = job(json!([overlay(json!("brand"))]));
        settings.server.presets.insert("marked".to_owned(), preset);
    });
    let by_preset = server.succeeded("preset=marked", &small());
    assert_eq!(corner(&server, by_preset["id"].as_str().unwrap()), [255, 0, 0]);
    assert_eq!(server.get("/v1/capabilities").json()["assets"], json!(["brand"]));
    let green = plain(20, 10, [0, 255, 0, 255]);
    let own = post(&server, "/v1/jobs?preset=marked", &[("file", &small()), ("brand", &green)], None);
    assert_eq!(own.status, 202, "{}", String::from_utf8_lossy(&own.body));
    let id = own.json()["id"].as_str().unwrap().to_owned();
    server.ended(&id);
    assert_eq!(corner(&server, &id), [0, 255, 0]);
}

#[test]
fn fonts_of_the_settings_are_written_in_and_others_listed() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("brand.ttf");
    std::fs::write(&path, minilab::pipeline::fonts::SANS_BOLD).unwrap();
    let server = TestServer::with(|settings| {
        settings.fonts.insert("brand".to_owned(), path.clone());
        let text = json!({"op": "text", "text": "W漢", "size": 30, "font": "brand", "background": "red"});
        settings.server.presets.insert("titled".to_owned(), job(json!([text])));
    });
    assert_eq!(server.get("/v1/capabilities").json()["fonts"], json!(["brand", "sans", "sans-bold"]));
    let titled = server.succeeded("preset=titled", &picture(ImageFormat::Png, 200, 100, 1));
    assert_eq!(titled["warnings"][0]["code"], "glyphs_missing");
    for spec in [
        json!({"source": {"url": "http://127.0.0.1:9/a.png"}, "operations": [{"op": "text", "text": "a", "font": "sanz"}], "outputs": [{}]}),
        json!({"source": {"url": "http://127.0.0.1:9/a.png"}, "outputs": [{}, {"operations": [{"op": "text", "text": "a", "font": "sanz"}]}]}),
    ] {
        let refused = errors(&server.post_json("/v1/jobs", &spec));
        assert!(refused[0].0.ends_with("operations/0/font"), "{refused:?}");
        assert!(refused[0].1.contains("did you mean \"sans\"? Valid: brand, sans, sans-bold"), "{refused:?}");
    }
}

#[tokio::test]
async fn an_asset_of_the_settings_that_is_no_image_is_told_at_start() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("brand.png"), "no image").unwrap();
    let mut settings = minilab::config::Settings::in_directory(files.path().join("data"));
    settings.read_keys().unwrap();
    settings.assets.insert("brand".to_owned(), files.path().join("brand.png"));
    settings.assets.insert("gone".to_owned(), files.path().join("gone.png"));
    settings.fonts.insert("odd".to_owned(), files.path().join("brand.png"));
    let error = minilab::app::App::start(settings).await.unwrap_err().to_string();
    assert!(error.contains("assets.brand: ") && error.contains("assets.gone: "), "{error}");
    assert!(error.contains("fonts.odd: "), "{error}");
}

#[test]
fn an_image_behind_a_url_is_fetched_in_every_attempt_under_the_rules_of_sources() {
    let server = TestServer::start();
    let url = serve(vec![None, Some(logo(true)), Some(logo(false))]);
    let submit = |input: Value| {
        let spec = job(json!([overlay(json!("mark")), overlay(input)])).to_string();
        let mark = plain(4, 4, [0, 0, 255, 255]);
        post(&server, "/v1/jobs", &[("job", spec.as_bytes()), ("file", &large()), ("mark", &mark)], None)
    };
    let forbidden = submit(json!({"url": "http://10.0.0.1/logo.png"}));
    assert_eq!((forbidden.status, &forbidden.json()["code"]), (422, &json!("source_forbidden")));
    assert_eq!(errors(&forbidden)[0].0, "/operations/1/input/url");
    let answer = submit(json!({"url": url}));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let failed = server.ended(&id);
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("source_not_found")));
    let detail = failed["error"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("/operations/1/input: ") && detail.contains("404"), "{detail}");
    let page = serve(vec![Some(b"<!doctype html><title>no image</title>".to_vec())]);
    let unread = submit(json!({"url": page})).json();
    let unread = server.ended(unread["id"].as_str().unwrap());
    let detail = unread["error"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("/operations/1/input: "), "{detail}");
    // The part is still there for the retry, the URL is fetched anew: too large for memory this time, so that it goes through the spool.
    assert_eq!(server.post(&format!("/v1/jobs/{id}/retry"), b"").status, 202);
    let ended = server.ended(&id);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(corner(&server, &id), [255, 0, 0]);
    assert_eq!(blobs(server.directory(), "spool"), Vec::<PathBuf>::new());
    let source = serve(vec![Some(small())]);
    let spec = json!({"source": {"url": source}, "operations": [overlay(json!({"url": url}))], "outputs": [{"format": "png"}]});
    let id = server.post_json("/v1/jobs", &spec).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ended(&id)["status"], "succeeded");
    assert_eq!(corner(&server, &id), [255, 0, 0]);
    let dry = server.post_json("/v1/jobs?dry_run=true", &spec);
    assert_eq!((dry.status, &dry.json()["memory_bytes"]), (200, &Value::Null));
}

#[test]
fn an_asset_without_its_job_is_swept_and_one_with_it_stays() {
    let clock = Clock::manual(Clock::System.now());
    let server = TestServer::at(clock.clone(), |_| {});
    let mut spec = job(json!([overlay(json!("logo"))]));
    spec["run_at"] = json!("2027-06-01T00:00:00Z");
    let answer = post(
        &server,
        "/v1/jobs",
        &[("job", spec.to_string().as_bytes()), ("file", &small()), ("logo", &logo(true))],
        None,
    );
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let [kept] = <[PathBuf; 1]>::try_from(blobs(server.directory(), "assets")).unwrap();
    let id = minilab::job::JobId::new();
    let shard = server.directory().join(format!("blobs/assets/{:02x}", id.as_bytes()[15]));
    std::fs::create_dir_all(&shard).unwrap();
    let orphan = shard.join(format!("{id}.logo"));
    std::fs::copy(&kept, &orphan).unwrap();
    let stray = kept.with_extension("other");
    std::fs::copy(&kept, &stray).unwrap();
    clock.advance(Duration::from_secs(25 * 60 * 60));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What the first meets, the second removes.
    for _ in 0..2 {
        runtime.block_on(server.queue.sweep()).unwrap();
    }
    assert_eq!(blobs(server.directory(), "assets"), [kept]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_right_after_the_answer_loses_no_asset() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &[]);
    let mut ids = Vec::new();
    for is_large in [false, true] {
        let spec = job(json!([overlay(json!("logo"))]));
        let submission = Submission::bytes(large()).spec(spec).asset_bytes("logo", logo(is_large));
        ids.push(Client::new(&server.url).unwrap().submit(&submission).await.unwrap().id);
    }
    server.kill();
    server = ServerProcess::start(directory.path(), &[]);
    let client = Client::new(&server.url).unwrap();
    for id in ids {
        let job = client.wait(&id, Some(Duration::from_secs(30)), |_| {}).await.unwrap();
        assert_eq!(job.status, Status::Succeeded, "{:?}", job.error);
        let mut bytes = Vec::new();
        client.download_to(&id, "output", &mut bytes).await.unwrap();
        assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8().get_pixel(0, 0).0, [255, 0, 0]);
    }
}
