//! Any bytes as an image: read, scaled and written without a panic, and within the memory that the plan says (`-rss_limit_mb` judges).
#![no_main]

use libfuzzer_sys::fuzz_target;
use minilab::pipeline::{Assets, Limits, Pipeline, Unattended, run};

fuzz_target!(|source: &[u8]| {
    let spec = r#"{"outputs": [{"name": "a", "format": "bmp", "operations": [{"op": "resize", "width": 20}]}]}"#;
    let pipeline: Pipeline = serde_json::from_str(spec).expect("the spec is a spec");
    let limits = Limits { pixels_max: 250_000, memory_bytes_max: 256 << 20, ..Limits::default() };
    let _ = run(source, &pipeline, &Assets::none(), &limits, &Unattended);
});
