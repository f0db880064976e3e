//! How long a cancel waits until it is obeyed, by format, at 24 megapixels; of what takes minutes for these, at 1.5.
//!
//! `cargo bench --bench cancel [-- FILE…]`: each format is written and read once in full, then cancelled at four moments of that time; told
//! are the time of the whole and the longest wait. Files given are read in place of those it makes (of JPEG XL, which is not written, there is
//! none otherwise). This is the pipeline alone: a job in a process of its own ends with that process, whatever it is doing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use image::{RgbImage, imageops::FilterType};
use minilab::pipeline::{Assets, Control, Interrupt, Limits, Pipeline, Stage, run};
use serde_json::{Value, json};

/// 24 megapixels.
const SIZE: (u32, u32) = (6000, 4000);

/// 1.5 megapixels, for encoders that search long.
const SMALL: (u32, u32) = (1500, 1000);

/// Moments of a stage at which it is cancelled.
const MOMENTS: u32 = 4;

/// Says stop from a moment of a stage on; keeps when each stage began.
struct Stopping {
    stage: fn(Stage) -> bool,
    after: Duration,
    begun: std::sync::Mutex<Option<Instant>>,
}

impl Control for Stopping {
    fn check(&self) -> Result<(), Interrupt> {
        let begun = *self.begun.lock().unwrap();
        match begun.is_some_and(|begun| begun.elapsed() >= self.after) {
            true => Err(Interrupt::Cancelled),
            false => Ok(()),
        }
    }

    fn stage(&self, stage: Stage) {
        if (self.stage)(stage) {
            self.begun.lock().unwrap().get_or_insert_with(Instant::now);
        }
    }
}

/// From the beginning of the stage to the end of the run.
fn lasted(source: &[u8], job: &Pipeline, stage: fn(Stage) -> bool, after: Duration) -> (Duration, Vec<u8>) {
    let control = Stopping { stage, after, begun: Default::default() };
    let made = run(source, job, &Assets::none(), &Limits::default(), &control);
    let lasted = control.begun.lock().unwrap().map_or(Duration::ZERO, |begun| begun.elapsed());
    (
        lasted,
        made.ok().and_then(|made| made.outputs.into_iter().next()).map_or(Vec::new(), |output| output.bytes),
    )
}

/// One row of the table; gives what the whole run made.
fn row(name: &str, source: &[u8], output: Value, stage: fn(Stage) -> bool) -> Vec<u8> {
    let job: Pipeline = serde_json::from_value(json!({ "outputs": [output] })).unwrap();
    let (whole, made) = lasted(source, &job, stage, Duration::MAX);
    let wait = |moment: u32| {
        let after = whole * moment / MOMENTS;
        lasted(source, &job, stage, after).0.saturating_sub(after)
    };
    let longest = (0..MOMENTS).map(wait).max().unwrap();
    println!("| {name} | {:.0} | {:.0} |", whole.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3);
    made
}

/// As a PNG, which is read in a fraction of the time that anything measured here takes.
fn photograph((width, height): (u32, u32)) -> Vec<u8> {
    let small = include_bytes!("../data/path.jpg");
    let small = libjpeg_turbo_rs::Decoder::new(small).unwrap().decode_image().unwrap();
    let small = RgbImage::from_raw(small.width as u32, small.height as u32, small.data).unwrap();
    let full = image::imageops::resize(&small, width, height, FilterType::CatmullRom);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().unwrap().write_image_data(full.as_raw()).unwrap();
    file
}

fn main() {
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let encodes: fn(Stage) -> bool = |stage| matches!(stage, Stage::Encode(_));
    let decodes: fn(Stage) -> bool = |stage| stage == Stage::Decode;
    println!("| what | whole, ms | longest wait, ms |\n|---|---|---|");
    let mut sources: Vec<(String, Vec<u8>)> = Vec::new();
    for path in files {
        sources.push((path.clone(), std::fs::read(path).unwrap()));
    }
    if sources.is_empty() {
        let (large, small) = (photograph(SIZE), photograph(SMALL));
        for (photo, output) in [
            (&large, json!({"format": "jpeg"})),
            (&large, json!({"format": "jpeg", "progressive": true})),
            (&large, json!({"format": "png"})),
            (&large, json!({"format": "webp"})),
            (&large, json!({"format": "gif"})),
            (&large, json!({"format": "tiff"})),
            (&large, json!({"format": "bmp"})),
            (&large, json!({"format": "qoi"})),
            (&small, json!({"format": "webp", "lossless": true})),
            (&small, json!({"format": "png", "effort": 6})),
            (&small, json!({"format": "avif"})),
        ] {
            let mut output = output;
            let options = output.to_string();
            output["name"] = json!("a");
            let made = row(&format!("write `{options}`"), photo, output, encodes);
            sources.push((options, made));
        }
    }
    for (name, source) in sources {
        // Of one pixel, so that next to nothing but decoding is done; not shrunk on load.
        let output = json!({"name": "a", "format": "bmp", "operations": [{"op": "crop", "left": 0, "top": 0, "width": 1, "height": 1}]});
        row(&format!("read `{name}`"), &source, output, decodes);
    }
}
