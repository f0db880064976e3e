//! The baseline JPEG decoder: its vector code against its plain twin at every scale, and against the library where both accept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};
use minilab::pipeline::{
    Limits,
    baseline::{Instructions, decode},
    probe,
};

fuzz_target!(|source: &[u8]| {
    let limits = Limits { pixels_max: 65_536, ..Limits::default() };
    let Ok(header) = probe(std::io::Cursor::new(source), &limits) else { return };
    let full = (header.width, header.height);
    let twin = |eighths, instructions| decode(source, full, eighths, instructions, || Ok::<_, ()>(()));
    for eighths in 1..=8 {
        let plain = twin(eighths, Instructions::Portable);
        for instructions in [Instructions::Best, Instructions::Baseline] {
            assert!(twin(eighths, instructions) == plain, "twins differ at {eighths}/8");
        }
    }
    let Ok(ours) = twin(8, Instructions::Best) else { return };
    let limits = DecodeLimits {
        max_width: full.0 as usize,
        max_height: full.1 as usize,
        max_pixels: 65_536,
        max_scans: 4,
        max_memory: None,
    };
    let format = if ours.channels == 1 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
    let theirs = Decoder::new_with_limits(source, limits)
        .and_then(|decoder| decoder.with_output_format(format).decode_image());
    if let Ok(theirs) = theirs {
        assert!(theirs.data == ours.pixels, "the library has other pixels");
    }
});
