//! Any bytes as an image, and everything that can be made of it: every frame through every animated format, metadata and profiles read,
//! settled and written anew, all items of `analyze`. No panic, and each file that comes out is read again with the size it was said to have.
//!
//! The last byte chooses what is made.
#![no_main]

use std::{io::Cursor, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use minilab::pipeline::{ANALYSES, Assets, Limits, Pipeline, Unattended, probe, run};
use serde_json::{Value, json};

/// Specifications to choose from. AVIF, whose encoder is slow under a sanitizer, is asked for a few pixels only.
fn pipelines() -> Vec<Pipeline> {
    let names: Vec<&str> = ANALYSES.iter().map(|item| item.name).collect();
    let output = |name: &str, options: Value| {
        let mut output = json!({"name": name, "effort": 0, "operations": [{"op": "resize", "width": 24}]});
        output.as_object_mut().expect("an object").extend(options.as_object().expect("options").clone());
        output
    };
    let kept = |name: &str, format: &str, which: &str| {
        output(name, json!({"format": format, "keep_metadata": which, "color_profile": "keep"}))
    };
    let specs = [
        json!({"analyze": names}),
        json!({"outputs": [kept("a", "jpeg", "all"), kept("b", "png", "no_gps")], "auto_orient": false}),
        json!({"outputs": [kept("a", "webp", "no_gps"), kept("b", "tiff", "all")]}),
        json!({"outputs": [output("a", json!({"format": "gif", "keep_metadata": "all"}))]}),
        json!({"outputs": [output("a", json!({"format": "webp", "frames": "all"}))]}),
        json!({"outputs": [output("a", json!({"format": "png", "frames": "all", "color_profile": "keep"}))]}),
        json!({"outputs": [output("a", json!({"format": "auto", "operations": [{"op": "trim"}, {"op": "rotate", "angle": 20}]}))]}),
        json!({"outputs": [output("a", json!({"format": "avif", "keep_metadata": "all", "color_profile": "keep",
            "operations": [{"op": "resize", "width": 8, "height": 8, "fit": "fill", "enlarge": true}]}))]}),
    ];
    let read = |spec| serde_json::from_value(spec).expect("the spec is a spec");
    specs.into_iter().map(read).collect()
}

static PIPELINES: OnceLock<Vec<Pipeline>> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, source)) = bytes.split_last() else { return };
    let pipelines = PIPELINES.get_or_init(pipelines);
    let pipeline = &pipelines[usize::from(*choice) % pipelines.len()];
    let limits = Limits {
        pixels_max: 100_000,
        frame_pixels_max: 400_000,
        frames_max: 20,
        memory_bytes_max: 256 << 20,
        ..Limits::default()
    };
    let Ok(made) = run(source, pipeline, &Assets::none(), &limits, &Unattended) else { return };
    for output in made.outputs {
        let header = probe(Cursor::new(&output.bytes), &limits).expect("what was written is read");
        assert_eq!((header.width, header.height), (output.width, output.height), "{}", output.format);
    }
});
