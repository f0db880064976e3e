//! Holds the memory that a plan promises against what the run takes, with an allocator that counts.
//!
//! Counts Rust's allocations, so libwebp's own (in C) are not seen: its outputs are left out here. One test function, because everything in
//! the process is counted.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Cursor,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use minilab::pipeline::{Asset, Assets, Input, Limits, Pipeline, Unattended, plan, probe, run};
use serde_json::json;

/// The system's allocator, with a count of bytes in use and their peak.
struct Counting;

static IN_USE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

fn add(bytes: usize) {
    let now = IN_USE.fetch_add(bytes as u64, Relaxed) + bytes as u64;
    PEAK.fetch_max(now, Relaxed);
}

fn take(bytes: usize) {
    IN_USE.fetch_sub(bytes as u64, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take(layout.size());
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size.saturating_sub(layout.size()));
        take(layout.size().saturating_sub(size));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Noise as an uncompressed BMP: what compresses worst in every format.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for field in [54 + row * height, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    let mut state = 1u32;
    file.extend((0..row * height).map(|_| {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    file
}

/// Runs a job and returns what was planned and what was taken at the worst moment, in bytes.
fn measure(source: &[u8], pipeline: &Pipeline, assets: &Assets) -> (u64, u64) {
    let limits = Limits::default();
    let header = probe(Cursor::new(source), &limits).unwrap();
    let planned = plan(&header, pipeline, assets, &limits).unwrap().memory_bytes;
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let made = run(source, pipeline, assets, &limits, &Unattended).unwrap();
    let taken = PEAK.load(Relaxed) - before;
    drop(made);
    (planned, taken)
}

/// A drawing of 900×600 with a gradient to use.
fn drawing(inner: &str) -> Vec<u8> {
    let gradient = "<linearGradient id='g'><stop/><stop offset='1' stop-color='red'/></linearGradient>";
    format!("<svg xmlns='http://www.w3.org/2000/svg' width='900' height='600'>{gradient}{inner}</svg>")
        .into_bytes()
}

/// The output of a job as the source of the next.
fn converted(source: &[u8], output: serde_json::Value) -> Vec<u8> {
    let pipeline: Pipeline = serde_json::from_value(json!({"outputs": [output]})).unwrap();
    run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap().outputs.remove(0).bytes
}

#[test]
fn no_run_takes_more_than_its_plan_says() {
    let noise = noise(700, 500);
    let read = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
    };
    let clear = json!([{"op": "extend", "left": 1}]);
    let grey = json!([{"op": "grayscale"}]);
    let mut sources = vec![("bmp", noise.clone())];
    for format in ["jpeg", "png", "webp", "gif", "tiff", "qoi"] {
        sources.push((format, converted(&noise, json!({"name": "a", "format": format, "quality": 100}))));
        sources
            .push((format, converted(&noise, json!({"name": "a", "format": format, "operations": clear}))));
        sources.push((format, converted(&noise, json!({"name": "a", "format": format, "operations": grey}))));
    }
    let photographs = ["path.jpg", "leaf.jpg", "ladybird.jpg"].map(|name| (name, read(name)));
    let mut operations = vec![
        json!([]),
        json!([{"op": "resize", "width": 300}]),
        json!([{"op": "resize", "width": 900, "enlarge": true}]),
        json!([{"op": "resize", "width": 700, "height": 700, "fit": "contain"}]),
        json!([{"op": "rotate", "angle": 30}, {"op": "flip", "vertical": true}]),
        json!([{"op": "extend", "left": 300, "mode": "mirror"}, {"op": "crop", "aspect_ratio": "1:1"}]),
    ];
    operations.extend([clear.clone(), grey.clone()]);
    let of_pixels = [
        json!([{"op": "blur", "sigma": 4}]),
        json!([{"op": "blur", "sigma": 9}]),
        json!([{"op": "blur", "sigma": 100}]),
        json!([{"op": "pixelate", "size": 30}, {"op": "sharpen", "sigma": 6}]),
        json!([{"op": "adjust", "hue": 20, "gamma": 2}, {"op": "normalize"}, {"op": "invert"}]),
        json!([{"op": "sepia"}, {"op": "threshold"}, {"op": "tint", "color": "teal"}]),
        json!([{"op": "trim"}, {"op": "round", "radius": "max"}]),
        json!([{"op": "resize", "width": 200, "height": 200, "fit": "cover", "gravity": "smart"}]),
        json!([{"op": "crop", "width": "50%", "height": "50%", "gravity": "entropy"}]),
    ];
    let with_layers = [
        json!([{"op": "overlay", "input": "logo"}]),
        json!([{"op": "overlay", "input": "logo", "scale": 1.5, "rotate": 20, "blend": "screen"}]),
        json!([{"op": "overlay", "input": "clear", "scale": 0.1, "tile": true}, {"op": "overlay", "input": "logo"}]),
        json!([{"op": "text", "text": "The quick brown fox", "size": 90, "stroke_width": 3, "rotate": 10}]),
        json!([{"op": "text", "text": "many small words ".repeat(200), "size": 8, "background": "white"}]),
    ];
    let mut jobs = Vec::new();
    for operations in &with_layers {
        for (name, source) in [&sources[0], &sources[5], &sources[3]] {
            jobs.push((name, source, "bmp", operations));
        }
    }
    // Formats that are read only, or that cost too much to be tried with everything.
    let mut rare: Vec<(&str, Vec<u8>)> =
        ["leaf.avif", "leaf.jxl", "leaf-lossless.jxl"].map(|name| (name, read(name))).into();
    let small = self::noise(160, 120);
    for operations in [&json!([]), &clear, &grey] {
        let output = json!({"name": "a", "format": "avif", "quality": 90, "operations": operations});
        rare.push(("avif", converted(&small, output)));
    }
    rare.push((
        "svg",
        drawing("<rect width='900' height='600' fill='url(#g)' stroke='red' stroke-width='9'/>"),
    ));
    rare.push((
        "svg in layers",
        drawing(&format!(
            "{0}<rect width='900' height='600'/>{1}",
            "<g opacity='.5'>".repeat(9),
            "</g>".repeat(9)
        )),
    ));
    rare.push((
        "svg of many parts",
        drawing(&"<path d='M0 0L9 9C1 1 2 2 3 3z' stroke='red'/>".repeat(4_000)),
    ));
    rare.push((
        "svg of many copies",
        drawing(&format!(
            "<g id='a'>{}</g>{}",
            "<path d='M0 0L9 9z'/>".repeat(100),
            "<use href='#a'/>".repeat(100)
        )),
    ));
    rare.push(("svg with a filter", drawing("<filter id='f'><feGaussianBlur stdDeviation='9'/><feOffset dx='3'/></filter><circle r='300' filter='url(#f)'/>")));
    for (name, source) in &rare {
        for operations in &operations[..2] {
            jobs.push((name, source, "bmp", operations));
        }
    }
    let small = ("small bmp", small);
    for operations in [&operations[0], &clear, &grey] {
        jobs.push((&small.0, &small.1, "avif", operations));
    }
    for operations in &of_pixels {
        for (name, source) in [&sources[0], &sources[5], &sources[3]] {
            jobs.push((name, source, "bmp", operations));
        }
    }
    for operations in &operations {
        jobs.push((&sources[0].0, &sources[0].1, "bmp", operations));
    }
    // Every decoder, at full size and scaled.
    for (name, source) in sources.iter().chain(&photographs) {
        for operations in &operations[..2] {
            jobs.push((name, source, "bmp", operations));
        }
    }
    // Every encoder, for colour, alpha and grey.
    for format in ["jpeg", "png", "gif", "tiff", "bmp", "qoi"] {
        for operations in [&operations[0], &clear, &grey] {
            jobs.push((&sources[0].0, &sources[0].1, format, operations));
        }
    }
    let mut assets = Assets::none();
    for (name, output) in [
        ("logo", json!({"name": "a", "format": "webp"})),
        ("clear", json!({"name": "a", "format": "png", "operations": clear})),
    ] {
        let file = converted(&noise, output);
        assets.insert(Input::Named(name.to_owned()), Asset::new(file.into(), &Limits::default()).unwrap());
    }
    let mut closest = f64::INFINITY;
    let mut broken = Vec::new();
    for (name, source, format, operations) in jobs {
        let small = json!({"name": "b", "format": "jpeg", "operations": [{"op": "resize", "width": 200}]});
        let large = json!({"name": "a", "format": format, "quality": 100, "operations": operations});
        for outputs in [json!([large]), json!([large, small])] {
            let pipeline: Pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
            let (planned, taken) = measure(source, &pipeline, &assets);
            if taken > planned {
                broken.push(format!("{name} to {outputs}: planned {planned}, took {taken}"));
            }
            closest = closest.min(planned as f64 / taken as f64);
        }
    }
    // What options make of the encoders.
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
        for operations in [json!([]), clear.clone(), grey.clone()] {
            let mut output = json!({"name": "a", "format": format, "quality": 100, "operations": operations});
            output.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            if options["effort"] == 9 && format == "png" {
                let small = json!({"op": "resize", "width": 400});
                output["operations"].as_array_mut().unwrap().insert(0, small);
            }
            let pipeline: Pipeline = serde_json::from_value(json!({"outputs": [output]})).unwrap();
            let (planned, taken) = measure(&sources[0].1, &pipeline, &Assets::none());
            if taken > planned {
                broken.push(format!("bmp to {output}: planned {planned}, took {taken}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // The margins for hostile files of each format (code tables, lists of tags, copies of the source) are part of every plan.
    assert!(closest < 1.35, "the plans are {closest} times too high at best: they have lost touch");
}
