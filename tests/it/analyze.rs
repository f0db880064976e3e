//! `analyze`: asked for with and without outputs, kept with the job, stable where it must be.

use minilab::pipeline::{ANALYSES, Assets, Limits, Pipeline, Unattended, plan, probe, run};
use serde_json::{Value, json};
use std::io::Cursor;

use crate::support::images::{large, small};
use crate::support::server::TestServer;

fn photograph(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn run_with(source: &[u8], pipeline: Value) -> minilab::pipeline::Made {
    let pipeline: Pipeline = serde_json::from_value(pipeline).unwrap();
    run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap()
}

fn bits(hash: &Value) -> u64 {
    u64::from_str_radix(hash.as_str().unwrap(), 16).unwrap()
}

#[test]
fn perceptual_hashes_survive_resizing_and_recompression() {
    let names = ["path.jpg", "leaf.jpg", "ladybird.jpg"];
    let hash = |source: &[u8]| bits(&run_with(source, json!({"analyze": ["phash"]})).analysis["phash"]);
    let hashes = names.map(|name| hash(&photograph(name)));
    for (name, original) in names.iter().zip(hashes) {
        for output in [
            json!({"name": "a", "format": "jpeg", "quality": 30}),
            json!({"name": "a", "format": "webp", "operations": [{"op": "resize", "width": 320}]}),
            json!({"name": "a", "format": "png", "operations": [{"op": "resize", "width": 90}, {"op": "grayscale"}]}),
        ] {
            let changed = run_with(&photograph(name), json!({"outputs": [output]})).outputs.remove(0).bytes;
            let distance = (hash(&changed) ^ original).count_ones();
            assert!(distance <= 6, "{name} {output}: {distance} bits");
        }
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let distance = (hashes[one] ^ hashes[other]).count_ones();
        assert!(distance >= 16, "{} and {}: {distance} bits", names[one], names[other]);
    }
}

#[test]
fn what_the_file_tells_costs_no_pixels() {
    let source = photograph("leaf.jpg");
    // Cut behind its header: whoever decoded it would fail.
    let cut = &source[..source.len() / 2];
    let header = probe(Cursor::new(cut), &Limits::default()).unwrap();
    let pipeline = |items: Value| -> Pipeline { serde_json::from_value(json!({"analyze": items})).unwrap() };
    let planned = |items| plan(&header, &pipeline(items), &Assets::none(), &Limits::default()).unwrap();
    let told = run_with(cut, json!({"analyze": ["info", "exif", "sha256"]})).analysis;
    assert_eq!(told["info"]["width"], header.width);
    assert_eq!(told["sha256"].as_str().unwrap().len(), 64);
    let (file, pixels) = (planned(json!(["info", "sha256"])), planned(json!(["average"])));
    assert_eq!((file.frames, file.stages, pixels.frames, pixels.stages), (0, 1, 1, 2));
    assert!(file.memory_bytes < pixels.memory_bytes);
    assert!(pixels.decode_width < header.width, "a small copy is enough");
}

#[test]
fn a_job_may_only_ask() {
    let server = TestServer::start();
    let names: Vec<&str> = ANALYSES.iter().map(|item| item.name).collect();
    let job = server.succeeded(&format!("analyze={}", names.join(",")), &large());
    assert_eq!(job["outputs"], json!([]));
    let analysis = job["analysis"].as_object().unwrap();
    let mut told: Vec<&str> = analysis.keys().map(String::as_str).collect();
    told.sort_unstable();
    let mut wanted = names.clone();
    wanted.sort_unstable();
    assert_eq!(told, wanted);
    assert_eq!(job["analysis"]["sha256"], job["source"]["sha256"]);
    assert_eq!((&job["analysis"]["info"]["width"], &job["analysis"]["exif"]), (&json!(400), &Value::Null));
    let both = server.succeeded("analyze=average&width=8", &small());
    assert_eq!(both["outputs"][0]["width"], 8);
    assert!(both["analysis"]["average"].as_str().unwrap().starts_with('#'));
    let none = server.succeeded("width=8", &small());
    assert_eq!(none["analysis"], json!({}));
}

#[test]
fn mistakes_are_told_and_plans_and_capabilities_know_the_items() {
    let server = TestServer::start();
    let answer = server.post("/v1/jobs?analyze=info,blurhsh", &small());
    assert_eq!((answer.status, answer.code()), (422, "invalid_spec".to_owned()));
    assert_eq!(answer.json()["errors"][0]["pointer"], "/analyze/1");
    let answer = server.post_json(
        "/v1/jobs",
        &json!({"source": {"url": "https://example.com/a.jpg"}, "analyze": ["info"], "operations": [{"op": "grayscale"}]}),
    );
    assert_eq!(answer.json()["errors"][0]["pointer"], "/operations");
    let plan = server.post("/v1/jobs?dry_run=true&analyze=info", &small()).json();
    assert_eq!((&plan["decode"], &plan["outputs"]), (&Value::Null, &json!([])));
    let capabilities = server.get("/v1/capabilities").json();
    assert_eq!(capabilities["analyses"].as_array().unwrap().len(), ANALYSES.len());
    let schema =
        &server.get("/openapi.json").json()["components"]["schemas"]["JobSpec"]["properties"]["analyze"];
    assert_eq!(schema["items"]["enum"].as_array().unwrap().len(), ANALYSES.len());
}
