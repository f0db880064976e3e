//! Holds the memory that a plan promises against what the run takes, with an allocator that counts: never more than planned, and for every
//! format not far less either.
//!
//! The allocator counts Rust's allocations, so libwebp's own (in C) are not seen: its outputs say nothing of how close a plan is. One test
//! function, because everything in the process is counted; it starts itself once per processor, and each process takes its share of the jobs.
#![allow(unsafe_code, clippy::unwrap_used)]

mod counting;
#[path = "memory/sources.rs"]
mod sources;

use std::{
    collections::BTreeMap,
    io::Cursor,
    process::{Child, Command, Stdio},
};

use minilab::pipeline::{Asset, Assets, Input, Limits, Pipeline, Unattended, plan, probe, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use sources::{Source, converted, noise};

/// How many times more than it takes a job may have planned, at best, for each format that is read; measured, and a twentieth more. Codes of a
/// lossless WebP and claims of a lossy one, tags of a TIFF, layers of a drawing are set aside for the worst of files, which those here are not.
const SLACK_OF_SOURCES: [(&str, f64); 10] = [
    ("bmp", 1.1),
    ("jpeg", 1.5),
    ("png", 1.45),
    ("webp", 4.2),
    ("gif", 1.45),
    ("tiff", 2.1),
    ("qoi", 1.45),
    ("avif", 2.0),
    ("jxl", 2.15),
    ("svg", 1.95),
];

/// The same for formats that are written; alone, so that no other output hides behind them.
const SLACK_OF_OUTPUTS: [(&str, f64); 7] =
    [("jpeg", 1.1), ("png", 1.6), ("gif", 1.6), ("tiff", 1.75), ("bmp", 1.5), ("qoi", 1.6), ("avif", 1.4)];

/// Variable that tells a process which share is its own: its number and how many there are.
const SHARE: &str = "MEMORY_TEST_SHARE";
/// What a process prints before its findings.
const FOUND: &str = "found: ";

/// What was found so far.
#[derive(Default, Deserialize, Serialize)]
struct Findings {
    /// Which pairs of jobs are run: this one of so many.
    share: (usize, usize),
    /// Jobs seen, those of other shares included.
    jobs: usize,
    broken: Vec<String>,
    /// Lowest ratio of planned to taken by format.
    of_sources: BTreeMap<String, f64>,
    of_outputs: BTreeMap<String, f64>,
}

impl Findings {
    /// Runs a job; only a job of one output tells how close the plan for its format is.
    fn job(&mut self, source: &Source, outputs: &Value, assets: &Assets) {
        self.jobs += 1;
        let (number, of) = self.share;
        if self.jobs / 2 % of != number {
            return;
        }
        let pipeline: Pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
        let limits = Limits::default();
        let header = probe(Cursor::new(&source.bytes), &limits).unwrap();
        let planned = plan(&header, &pipeline, assets, &limits).unwrap().memory_bytes;
        let (made, taken) = counting::peak_of(|| run(&source.bytes, &pipeline, assets, &limits, &Unattended));
        let made = made.unwrap_or_else(|error| panic!("{} to {outputs}: {error}", source.name));
        if taken > planned {
            self.broken.push(format!("{} to {outputs}: planned {planned}, took {taken}", source.name));
        }
        let ratio = planned as f64 / taken as f64;
        let lower = |known: &mut BTreeMap<String, f64>, format: String| {
            known.entry(format).and_modify(|lowest| *lowest = lowest.min(ratio)).or_insert(ratio);
        };
        lower(&mut self.of_sources, header.format.to_string());
        if let [output] = &made.outputs[..] {
            lower(&mut self.of_outputs, output.format.to_string());
        }
    }

    /// Takes over what another process has found.
    fn join(&mut self, other: Findings) {
        self.broken.extend(other.broken);
        for (known, found) in
            [(&mut self.of_sources, other.of_sources), (&mut self.of_outputs, other.of_outputs)]
        {
            for (format, ratio) in found {
                known.entry(format).and_modify(|lowest| *lowest = lowest.min(ratio)).or_insert(ratio);
            }
        }
    }

    fn judge(&self) {
        assert!(self.broken.is_empty(), "{}", self.broken.join("\n"));
        println!("planned for taken, at best: read {:.2?}, written {:.2?}", self.of_sources, self.of_outputs);
        for (slack, found) in
            [(&SLACK_OF_SOURCES[..], &self.of_sources), (&SLACK_OF_OUTPUTS[..], &self.of_outputs)]
        {
            for (format, most) in slack {
                let ratio = found[*format];
                assert!(
                    ratio < *most,
                    "plans for {format} are {ratio:.2} times too high at best: they have lost touch"
                );
            }
        }
    }
}

fn output(name: &str, format: &str, operations: &Value) -> Value {
    json!({"name": name, "format": format, "quality": 100, "operations": operations})
}

/// A small picture that jobs make beside another.
fn beside() -> Value {
    output("b", "jpeg", &json!([{"op": "resize", "width": 200}]))
}

/// Operations that change the size, and the channels.
fn of_shape() -> Vec<Value> {
    vec![
        json!([]),
        json!([{"op": "resize", "width": 300}]),
        json!([{"op": "resize", "width": 900, "enlarge": true}]),
        json!([{"op": "resize", "width": 700, "height": 700, "fit": "contain"}]),
        json!([{"op": "rotate", "angle": 30}, {"op": "flip", "vertical": true}]),
        json!([{"op": "extend", "left": 300, "mode": "mirror"}, {"op": "crop", "aspect_ratio": "1:1"}]),
        clear(),
        grey(),
    ]
}

/// Operations on pixels.
fn of_pixels() -> Vec<Value> {
    vec![
        json!([{"op": "blur", "sigma": 4}]),
        json!([{"op": "blur", "sigma": 9}]),
        json!([{"op": "blur", "sigma": 100}]),
        json!([{"op": "pixelate", "size": 30}, {"op": "sharpen", "sigma": 6}]),
        json!([{"op": "adjust", "hue": 20, "gamma": 2}, {"op": "normalize"}, {"op": "invert"}]),
        json!([{"op": "sepia"}, {"op": "threshold"}, {"op": "tint", "color": "teal"}]),
        json!([{"op": "trim"}, {"op": "round", "radius": "max"}]),
        json!([{"op": "resize", "width": 200, "height": 200, "fit": "cover", "gravity": "smart"}]),
        json!([{"op": "crop", "width": "50%", "height": "50%", "gravity": "entropy"}]),
        json!([{"op": "overlay", "input": "logo"}]),
        json!([{"op": "overlay", "input": "logo", "scale": 1.5, "rotate": 20, "blend": "screen"}]),
        json!([{"op": "overlay", "input": "clear", "scale": 0.1, "tile": true}, {"op": "overlay", "input": "logo"}]),
        json!([{"op": "text", "text": "The quick brown fox", "size": 90, "stroke_width": 3, "rotate": 10}]),
        json!([{"op": "text", "text": "many small words ".repeat(200), "size": 8, "background": "white"}]),
    ]
}

fn clear() -> Value {
    json!([{"op": "extend", "left": 1}])
}

fn grey() -> Value {
    json!([{"op": "grayscale"}])
}

/// The images that operations name.
fn assets(noise: &Source) -> Assets {
    let mut assets = Assets::none();
    for (name, output) in [("logo", output("a", "webp", &json!([]))), ("clear", output("a", "png", &clear()))]
    {
        let file = converted(&noise.bytes, output);
        assets.insert(Input::Named(name.to_owned()), Asset::new(file.into(), &Limits::default()).unwrap());
    }
    assets
}

/// Every decoder, at full size and scaled; every operation on three layouts; every encoder with colour, alpha and grey.
fn stills(found: &mut Findings, noise: &Source, assets: &Assets) {
    let sources = sources::written(noise);
    let small = Source::new("small bmp", self::noise(160, 120));
    let bmp = |source: &Source, operations: &Value| (source.clone(), output("a", "bmp", operations));
    let mut jobs = Vec::new();
    for source in sources.iter().chain(&sources::rare(&small)).chain(&sources::photographs()) {
        jobs.extend(of_shape()[..2].iter().map(|operations| bmp(source, operations)));
    }
    jobs.extend(of_shape().iter().map(|operations| bmp(noise, operations)));
    for operations in [json!([]), clear(), grey()] {
        jobs.push((small.clone(), output("a", "avif", &operations)));
        for format in ["jpeg", "png", "gif", "tiff", "bmp", "qoi"] {
            jobs.push((noise.clone(), output("a", format, &operations)));
        }
    }
    for (source, large) in jobs {
        found.job(&source, &json!([large]), assets);
        found.job(&source, &json!([large, beside()]), assets);
    }
    for operations in &of_pixels() {
        // BMP, PNG with alpha, grey JPEG.
        for source in [noise, &sources[4], &sources[2]] {
            found.job(source, &json!([output("a", "bmp", operations)]), assets);
        }
        found.job(noise, &json!([output("a", "bmp", operations), beside()]), assets);
    }
}

/// What options make of the encoders.
fn options(found: &mut Findings, noise: &Source) {
    for (format, options) in [
        ("png", json!({"effort": 3})),
        ("png", json!({"effort": 6})),
        ("png", json!({"effort": 7})),
        ("png", json!({"effort": 8})),
        ("png", json!({"effort": 9})),
        ("jpeg", json!({"effort": 9})),
        ("jpeg", json!({"progressive": true})),
        ("jpeg", json!({"chroma_subsampling": "4:4:4"})),
        ("jpeg", json!({"progressive": true, "chroma_subsampling": "4:4:4"})),
        ("jpeg", json!({"max_bytes": 300_000})),
        ("tiff", json!({"effort": 9})),
        ("tiff", json!({"keep_metadata": "all", "color_profile": "keep"})),
    ] {
        for operations in [json!([]), clear(), grey()] {
            let mut output = output("a", format, &operations);
            output.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            if options["effort"] == 9 && format == "png" {
                let small = json!({"op": "resize", "width": 400});
                output["operations"].as_array_mut().unwrap().insert(0, small);
            }
            found.job(noise, &json!([output]), &Assets::none());
        }
    }
}

/// Animations in every format, to every format that keeps them, alone and with a still picture beside.
fn animations(found: &mut Findings, assets: &Assets) {
    let operations = [
        json!([]),
        json!([{"op": "resize", "width": 100}]),
        json!([{"op": "resize", "width": 480, "enlarge": true}]),
        json!([{"op": "rotate", "angle": 30}, {"op": "blur", "sigma": 9}]),
        json!([{"op": "overlay", "input": "logo", "scale": 0.3}]),
        json!([{"op": "overlay", "input": "logo", "scale": 1.2, "rotate": 20}, {"op": "overlay", "input": "clear", "scale": 0.7}]),
    ];
    for source in sources::animated() {
        let profiles = if source.name.ends_with("profile") { &["srgb", "keep"][..] } else { &["srgb"] };
        for (number, operations) in operations.iter().enumerate() {
            for format in ["gif", "webp", "png"] {
                for profile in profiles {
                    let mut all = output("a", format, operations);
                    all["frames"] = json!("all");
                    all["color_profile"] = json!(profile);
                    found.job(&source, &json!([all]), assets);
                    if number == 0 {
                        found.job(&source, &json!([beside(), all]), assets);
                    }
                }
            }
        }
        let both = json!([{"name": "a", "format": "gif"}, {"name": "b", "format": "webp"}, {"name": "c", "frames": "first"}]);
        found.job(&source, &both, assets);
    }
}

/// Outputs that keep the colours of the source beside such that convert them, each from a copy of its own.
fn profiles(found: &mut Findings) {
    for source in sources::profiled() {
        for format in ["jpeg", "png", "tiff", "bmp"] {
            for [one, other] in [["keep", "srgb"], ["srgb", "keep"], ["keep", "keep"]] {
                for first in [json!([]), json!([{"op": "resize", "width": 350}]), grey()] {
                    let outputs = json!([
                        {"name": "a", "format": format, "color_profile": one, "operations": first},
                        {"name": "b", "format": format, "color_profile": other, "operations": [{"op": "resize", "width": 300}]},
                        {"name": "c", "format": "png", "color_profile": one, "operations": [{"op": "invert"}]},
                    ]);
                    found.job(&source, &outputs, &Assets::none());
                }
            }
        }
    }
}

/// Every format as the image that an operation lays on another.
fn overlays(found: &mut Findings, noise: &Source) {
    let small = Source::new("small bmp", self::noise(160, 120));
    let page = self::noise(300, 200);
    let mut laid = sources::written(noise);
    laid.extend(sources::rare(&small));
    laid.extend(sources::animated());
    laid.extend(sources::profiled());
    laid.extend([noise.clone(), padded()]);
    for source in laid {
        let mut assets = Assets::none();
        let asset = Asset::new(source.bytes.into(), &Limits::default()).unwrap();
        assets.insert(Input::Named("laid".to_owned()), asset);
        let over = Source::new(&format!("{} on a page", source.name), page.clone());
        let operations = json!([{"op": "overlay", "input": "laid"}]);
        found.job(&over, &json!([output("a", "bmp", &operations)]), &assets);
    }
}

/// A small picture whose file is long: its decoder copies what does not belong to the picture, too.
fn padded() -> Source {
    let short = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/webp-lossy.webp")).unwrap();
    let frame = [&short[20..], &[0x55; 24 << 20][..]].concat();
    let length = |bytes: usize| (bytes as u32).to_le_bytes();
    let head = [b"RIFF", &length(frame.len() + 12)[..], b"WEBPVP8 ", &length(frame.len())].concat();
    Source::new("padded webp", [head, frame].concat())
}

/// A file that would become a gigabyte if anybody unpacked what it says.
fn bombs(found: &mut Findings) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/jxl-packed-gigabyte.jxl");
    let source = Source::new("jxl", std::fs::read(path).unwrap());
    for keep in ["none", "all"] {
        let [mut one, mut other] = ["a", "b"].map(|name| output(name, "png", &json!([])));
        one["keep_metadata"] = json!(keep);
        other["keep_metadata"] = json!(keep);
        found.job(&source, &json!([one, other]), &Assets::none());
    }
}

/// Runs a share of the jobs in this process.
fn examine(share: (usize, usize)) -> Findings {
    let mut found = Findings { share, ..Findings::default() };
    let noise = Source::new("bmp", noise(700, 500));
    let assets = assets(&noise);
    stills(&mut found, &noise, &assets);
    options(&mut found, &noise);
    animations(&mut found, &assets);
    profiles(&mut found);
    overlays(&mut found, &noise);
    bombs(&mut found);
    found.job(&padded(), &json!([output("a", "png", &json!([]))]), &Assets::none());
    found
}

#[test]
fn no_run_takes_more_than_its_plan_says() {
    if let Ok(share) = std::env::var(SHARE) {
        let found = examine(serde_json::from_str(&share).unwrap());
        println!("\n{FOUND}{}", serde_json::to_string(&found).unwrap());
        return;
    }
    let shares = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let processes: Vec<Child> = (0..shares)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "no_run_takes_more_than_its_plan_says", "--nocapture"])
                .env(SHARE, serde_json::to_string(&(number, shares)).unwrap())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut all = Findings::default();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let found = said.lines().find_map(|line| line.strip_prefix(FOUND)).expect("a process has findings");
        all.join(serde_json::from_str(found).unwrap());
    }
    all.judge();
}
