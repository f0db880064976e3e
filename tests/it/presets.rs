//! Presets of the settings with everything a job can ask for, the plans of dry runs, and what becomes of a queued job whose asset is gone.

use std::path::Path;
use std::time::Duration;

use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, ImageFormat, Rgba, RgbaImage};
use minilab::client::{Client, Submission};
use minilab::clock::Clock;
use minilab::config::Settings;
use serde_json::{Value, json};

use crate::support::images::{picture, small};
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// Three frames, each of another colour.
fn animation() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for shade in [0, 100, 200] {
        let picture = RgbaImage::from_pixel(60, 40, Rgba([shade, 50, 50, 255]));
        let delay = Delay::from_numer_denom_ms(50, 1);
        encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    bytes
}

/// A directory with an image and a font to name in settings.
fn files() -> tempfile::TempDir {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("brand.png"), picture(ImageFormat::Png, 20, 10, 1)).unwrap();
    std::fs::write(files.path().join("brand.ttf"), minilab::pipeline::fonts::SANS_BOLD).unwrap();
    files
}

fn with_files(settings: &mut Settings, files: &Path) {
    settings.assets.insert("brand".to_owned(), files.join("brand.png"));
    settings.fonts.insert("brand".to_owned(), files.join("brand.ttf"));
}

/// An overlay and a text that only settings with the files of [`files`] can serve.
fn marks() -> Value {
    json!([
        {"op": "overlay", "input": "brand", "gravity": "southeast", "scale": 0.2, "opacity": 0.5},
        {"op": "text", "text": "A", "font": "brand", "size": 12},
    ])
}

fn warnings(answer: &Value) -> Vec<&str> {
    answer["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn a_preset_may_ask_for_all_that_a_job_may() {
    let files = files();
    let server = TestServer::with(|settings| {
        with_files(settings, files.path());
        let full = json!({
            "operations": marks(),
            "analyze": ["palette", "blurhash", "info"],
            "outputs": [
                {"name": "moving", "format": "webp", "effort": 1, "operations": [{"op": "resize", "width": 30}]},
                {"name": "still", "format": "jpeg", "frames": "first", "progressive": true, "chroma_subsampling": "4:4:4",
                    "max_bytes": 50_000, "min_quality": 20, "keep_metadata": "copyright", "color_profile": "keep", "filename": "still.jpg"},
                {"name": "best", "format": "auto", "frames": "first"},
            ],
        });
        settings.server.presets.insert("full".to_owned(), full);
    });
    let job = server.succeeded("preset=full", &animation());
    let formats: Vec<&str> =
        job["outputs"].as_array().unwrap().iter().map(|output| output["format"].as_str().unwrap()).collect();
    assert_eq!(formats[..2], ["webp", "jpeg"], "{job}");
    for item in ["palette", "blurhash", "info"] {
        assert!(!job["analysis"][item].is_null(), "{item}: {job}");
    }
    // The source has no metadata that an output could keep.
    assert!(warnings(&job).is_empty(), "{job}");
    let path = format!("/v1/jobs/{}/outputs/moving", job["id"].as_str().unwrap());
    let moving = server.get(&path).body;
    assert_eq!(moving.windows(4).filter(|four| four == b"ANMF").count(), 3);
}

#[test]
fn what_a_query_takes_from_its_preset_is_told() {
    let server = TestServer::with(|settings| {
        let avatar = json!({"outputs": [{"format": "webp", "operations": [{"op": "resize", "width": 8, "height": 8}]}]});
        settings.server.presets.insert("avatar".to_owned(), avatar);
        settings.server.presets.insert("quiet".to_owned(), json!({"tag": "quiet"}));
    });
    for (query, codes) in [
        ("preset=avatar", vec![]),
        ("preset=avatar&tag=mine", vec![]),
        ("preset=avatar&format=jpeg&quality=30", vec!["preset_outputs_replaced"]),
        ("preset=avatar&fit=cover", vec!["option_ignored"]),
        ("preset=quiet&format=jpeg&quality=30", vec![]),
        ("fit=cover&gravity=0.5,0.3", vec!["option_ignored"; 2]),
        ("dpr=2&width=8", vec![]),
        // One of the query, one of the plan.
        ("fit=cover&quality=30", vec!["option_ignored"; 2]),
    ] {
        let dry = server.post(&format!("/v1/jobs?dry_run=true&{query}"), &small());
        assert_eq!((dry.status, warnings(&dry.json())), (200, codes.clone()), "{query}");
        assert_eq!(warnings(&server.succeeded(query, &small())), codes, "{query}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_preset_is_told_at_start_with_its_place() {
    let (files, directory) = (files(), tempfile::tempdir().unwrap());
    let mut settings = Settings::in_directory(directory.path());
    settings.read_keys().unwrap();
    with_files(&mut settings, files.path());
    let mistaken = json!({
        "operations": [{"op": "overlay", "input": "Brand.png"}, {"op": "text", "text": "a", "font": "brnd"}],
        "analyze": ["palete"],
        "outputs": [{"frames": "some"}, {"format": "jpeg", "lossless": true}, {"operations": [{"op": "resize", "widht": 3}]}],
    });
    settings.server.presets.insert("mistaken".to_owned(), mistaken);
    settings.server.presets.insert("sound".to_owned(), json!({"operations": marks(), "outputs": [{}]}));
    let error = minilab::app::App::start(settings).await.unwrap_err().to_string();
    for place in [
        "/operations/0/input",
        "/operations/1/font",
        "/analyze/0",
        "/outputs/0/frames",
        "/outputs/1/lossless",
        "/outputs/2/operations/0/widht",
    ] {
        assert!(error.contains(&format!("presets.mistaken{place}: ")), "{place} is missing in {error}");
    }
    assert!(!error.contains("presets.sound"), "{error}");
}

#[test]
fn a_dry_run_tells_of_frames_overlays_and_the_likely_format() {
    let files = files();
    let server = TestServer::with(|settings| {
        with_files(settings, files.path());
        let marked = json!({"operations": marks(), "outputs": [{"format": "png"}]});
        settings.server.presets.insert("marked".to_owned(), marked);
        let hebrew = json!({"operations": [{"op": "text", "text": "שלום", "size": 6}], "outputs": [{}]});
        settings.server.presets.insert("hebrew".to_owned(), hebrew);
    });
    let plan = |query: &str, image: &[u8]| {
        let answer = server.post(&format!("/v1/jobs?dry_run=true&{query}"), image);
        assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    };
    let memory = |plan: &Value| plan["memory_bytes"].as_u64().unwrap();
    let moving = plan("format=webp", &animation());
    assert_eq!((&moving["source"]["frames"], warnings(&moving)), (&json!(3), vec![]));
    let flat = plan("format=jpeg", &animation());
    assert_eq!(warnings(&flat), ["animation_flattened"]);
    assert!(memory(&moving) > memory(&flat), "all frames cost more than one");
    assert_eq!(plan("format=auto", &animation())["outputs"][0]["format"], "webp");
    assert_eq!(plan("format=auto", &small())["outputs"][0]["format"], "png");
    let photograph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/leaf.jpg");
    assert_eq!(plan("format=auto", &std::fs::read(photograph).unwrap())["outputs"][0]["format"], "webp");
    let (marked, plain) = (plan("preset=marked", &small()), plan("format=png", &small()));
    assert!(memory(&marked) > memory(&plain), "the overlay counts");
    assert_eq!(warnings(&marked), Vec::<&str>::new());
    assert_eq!(
        warnings(&plan("preset=hebrew", &small())),
        ["glyphs_missing"],
        "no font of the settings is named"
    );
    let unknown = server.post("/v1/jobs?preset=markd", &small()).json();
    assert_eq!(
        unknown["errors"].as_array().map(Vec::len),
        Some(1),
        "{unknown}: the outputs it had are not missed"
    );
    assert_eq!(unknown["errors"][0]["pointer"], "/preset");
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_job_whose_asset_or_font_is_gone_after_a_restart_fails_once_and_says_why() {
    let (files, data) = (files(), tempfile::tempdir().unwrap());
    let later = Clock::System.now().plus(Duration::from_secs(3600));
    let settings = files.path().join("minilab.toml");
    let brand = |kind| files.path().join(kind).display().to_string();
    let text = format!(
        "[assets]\nbrand = {:?}\n[fonts]\nbrand = {:?}\n{}{}",
        brand("brand.png"),
        brand("brand.ttf"),
        "[presets.overlay]\noperations = [{op = 'overlay', input = 'brand'}]\noutputs = [{format = 'png'}]\n",
        "[presets.text]\noperations = [{op = 'text', text = 'A', font = 'brand'}]\noutputs = [{format = 'png'}]\n",
    );
    std::fs::write(&settings, text).unwrap();
    let server = ServerProcess::start(data.path(), &["--config", settings.to_str().unwrap()]);
    let client = Client::new(&server.url).unwrap();
    let mut ids = Vec::new();
    for preset in ["overlay", "text"] {
        let submission =
            Submission::bytes(small()).query("preset", preset).query("run_at", later.to_string());
        ids.push(client.submit(&submission).await.unwrap().id);
    }
    server.kill();
    let server = ServerProcess::start(data.path(), &[]);
    let client = Client::new(&server.url).unwrap();
    for (id, field) in ids.iter().zip(["input", "font"]) {
        // What was cancelled is due at once when it is tried again.
        client.cancel(id).await.unwrap();
        client.retry(id).await.unwrap();
        let job = client.wait(id, Some(Duration::from_secs(20)), |_| {}).await.unwrap();
        let job = serde_json::to_value(&job).unwrap();
        assert_eq!(
            (&job["status"], &job["error"]["code"]),
            (&json!("failed"), &json!("invalid_spec")),
            "{job}"
        );
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
        let detail = job["error"].to_string();
        assert!(detail.contains(&format!("/operations/0/{field}")), "{detail}");
    }
}
