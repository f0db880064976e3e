//! Every golden case and every kind of image, in all three modes: outputs, digests, analysis, warnings and errors are the same. And odd and
//! broken images, in a process of their own and not, which takes minutes where `CORPUS` names folders full of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use minilab::client::{Client, ClientError, Submission};
use minilab::worker::isolation::Mode;
use serde_json::{Value, json};

use super::odd;
use super::support::server::TestServer;

/// How many cases there are: a folder that is not found must not pass for one that is right.
const CASES_MIN: usize = 260;

/// What is far too large for the machine that runs the test is refused at once.
const PIXELS_MAX: u64 = 8_000_000;

/// An image and what to do with it.
struct Case {
    name: String,
    image: Vec<u8>,
    spec: Value,
    assets: Vec<(String, PathBuf)>,
}

impl Case {
    fn submission(&self) -> Submission {
        let submission = Submission::bytes(self.image.clone()).spec(self.spec.clone());
        self.assets.iter().fold(submission, |submission, (name, path)| {
            submission.asset_bytes(name.clone(), std::fs::read(path).unwrap())
        })
    }
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn input(name: &Value) -> PathBuf {
    let name = name.as_str().unwrap();
    let places = [tests().join("golden/inputs").join(name), tests().join("data").join(name)];
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| panic!("there is no input {name}"))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn golden(case: &Path) -> Case {
    let spec: Value = serde_json::from_slice(&std::fs::read(case.join("spec.json")).unwrap()).unwrap();
    let assets = spec["assets"].as_object().into_iter().flatten();
    let mut job = json!({"outputs": [spec["output"]], "analyze": ["info", "sha256", "phash"]});
    for key in ["operations", "auto_orient"] {
        if let Some(value) = spec.get(key) {
            job[key] = value.clone();
        }
    }
    Case {
        name: case.display().to_string(),
        image: read(&input(&spec["input"])),
        spec: job,
        assets: assets.map(|(name, file)| (name.clone(), input(file))).collect(),
    }
}

/// A file of `tests/formats`, made small in two of the formats that are written.
fn format((index, image): (usize, PathBuf)) -> Case {
    let smaller = json!([{"op": "resize", "width": 48, "height": 48}, {"op": "text", "text": "Ä"}]);
    let formats = ["jpeg", "png", "webp", "avif", "gif", "tiff", "bmp", "qoi"];
    let outputs: Vec<Value> = [formats[index % 8], formats[(index / 8 + 1) % 8]]
        .into_iter()
        .enumerate()
        .map(
            |(number, format)| json!({"name": format!("o{number}"), "format": format, "operations": smaller, "keep_metadata": "all"}),
        )
        .collect();
    let analyze = json!(["info", "exif", "blurhash", "thumbhash", "average", "dominant", "palette"]);
    let spec = json!({"outputs": outputs, "analyze": analyze});
    Case { name: image.display().to_string(), image: read(&image), spec, assets: Vec::new() }
}

fn cases() -> Vec<Case> {
    let topics = entries(&tests().join("golden"));
    let topics = topics.iter().filter(|topic| topic.is_dir() && !topic.ends_with("inputs"));
    let mut cases: Vec<Case> = topics.flat_map(|topic| entries(topic)).map(|case| golden(&case)).collect();
    let files = entries(&tests().join("formats")).into_iter();
    let is_picture = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        !["png", "json", "md", "py"].iter().any(|extension| name.ends_with(extension))
    };
    cases.extend(files.filter(is_picture).enumerate().map(format));
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    cases
}

/// What became of a case, without what differs from run to run.
async fn result(client: &Client, case: &Case) -> Value {
    let job = match client.submit(&case.submission().wait(60)).await {
        Ok(job) => job,
        Err(ClientError::Refused(problem)) => return json!({"refused": problem.code}),
        Err(other) => panic!("{}: {other}", case.name),
    };
    let job = client.wait(&job.id, Some(Duration::from_secs(60)), |_| {}).await.unwrap();
    let mut job = serde_json::to_value(&job).unwrap();
    let outputs = job["outputs"].as_array_mut().into_iter().flatten();
    outputs.for_each(|output| output["url"] = Value::Null);
    let spent =
        ["decode", "operations", "encode"].map(|stage| job["timings_ms"][stage].as_u64().unwrap_or(0));
    assert!(spent.iter().sum::<u64>() < HANG_MS, "{} took {spent:?} ms", case.name);
    let error = job["error"].take();
    json!({
        "status": job["status"], "outputs": job["outputs"], "analysis": job["analysis"],
        "warnings": job["warnings"], "error": [error["code"], error["detail"], error["output"]],
    })
}

/// Every case on a server of this mode, two at a time.
fn results(mode: Mode, cases: &[Case]) -> Vec<Value> {
    let server = TestServer::with(|settings| {
        settings.worker.isolation.mode = mode;
        settings.worker.workers = 2;
        settings.worker.limits.pixels_max = PIXELS_MAX;
        let logo = tests().join("golden/inputs/ramp.png");
        settings.assets.insert("house".to_owned(), logo);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use futures_util::StreamExt;
        let client = server.client();
        let all = cases.iter().map(|case| result(&client, case));
        futures_util::stream::iter(all).buffered(4).collect().await
    })
}

pub(crate) fn every_mode_makes_the_same() {
    let mut cases = cases();
    // An image of the settings travels another way than one of the job.
    cases.push(Case {
        name: "an asset of the settings".to_owned(),
        image: read(&input(&json!("chart.png"))),
        spec: json!({"operations": [{"op": "overlay", "input": "house"}], "outputs": [{"format": "png"}]}),
        assets: Vec::new(),
    });
    let threads = results(Mode::Thread, &cases);
    let failed = threads.iter().filter(|result| result["status"] == "failed").count();
    let refused = threads.iter().filter(|result| !result["refused"].is_null()).count();
    assert!(failed + refused < threads.len() / 4, "{failed} failed and {refused} were refused");
    let golden = cases.iter().position(|case| case.name.contains("tests/formats")).unwrap();
    for (mode, count) in [(Mode::Process, cases.len()), (Mode::ProcessPerJob, golden)] {
        let cases = &cases[..count];
        for ((case, expected), got) in cases.iter().zip(&threads).zip(results(mode, cases)) {
            assert_eq!(&got, expected, "{} of {}", mode.name(), case.name);
        }
    }
}

/// Mutations of each file: `tests/corpus.rs` judges more of them, one by one.
const MUTATIONS: u64 = 1;

/// Longest that an odd image may keep a child, in milliseconds: unoptimised code on a busy machine takes several times a second.
const HANG_MS: u64 = if cfg!(debug_assertions) { 10_000 } else { 1_000 };

pub(crate) fn odd_images_end_the_same() {
    let seeds = odd::seeds();
    let spec = json!({"outputs": [{"format": "bmp", "operations": [{"op": "resize", "width": 40}]}]});
    let case = |(name, image)| Case { name, image, spec: spec.clone(), assets: Vec::new() };
    let cases: Vec<Case> = odd::mutations(&seeds, MUTATIONS).chain(odd::packages()).map(case).collect();
    let threads = results(Mode::Thread, &cases);
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for ((case, here), there) in cases.iter().zip(&threads).zip(results(Mode::Process, &cases)) {
        assert_eq!(&there, here, "{}", case.name);
        let code = [&here["refused"], &here["error"][0]].into_iter().find_map(Value::as_str);
        // A child's death is nobody's fault but the image's, and none of these is to cause one.
        let is_fault = |code| ["crashed", "panic", "timeout", "internal", "storage_error"].contains(&code);
        assert!(!code.is_some_and(is_fault), "{}: {here}", case.name);
        *counts.entry(code.unwrap_or("succeeded").to_owned()).or_default() += 1;
    }
    println!("odd images: {counts:?}");
    assert!(counts["succeeded"] * 10 > cases.len(), "{counts:?}");
}
