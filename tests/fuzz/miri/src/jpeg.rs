//! The baseline JPEG decoder: its vector code against its plain twin at every scale, and against the library where both accept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat, read_coefficients};
use minilab_baseline::{
    baseline::{Instructions, decode},
    size,
};

/// Most pixels of a picture that is tried, so that many are.
const PIXELS_MAX: u32 = 65_536;

/// Row × 8 + column of each coefficient as it is coded (T.81 figure 5).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Whether the blocks stay within what 16 bits hold on the way to samples, as those of pictures do. Beyond it depends on the width of the sums
/// what comes out: the reference's own vector code and its plain code disagree there.
fn is_picture(source: &[u8]) -> bool {
    // The first pass multiplies by at most 11363 / 8192 and keeps two bits more.
    const SUM_MAX: u64 = 32_767 / 4 * 8192 / 11_363 - 1;
    let Ok(image) = read_coefficients(source) else { return false };
    image.components.iter().all(|component| {
        let steps = &image.quant_tables[usize::from(component.quant_table_index)];
        component.blocks.iter().all(|block| {
            let sizes = block.iter().zip(ZIGZAG);
            sizes.map(|(value, place)| u64::from(value.unsigned_abs()) * u64::from(steps[place])).sum::<u64>()
                < SUM_MAX
        })
    })
}

fuzz_target!(|source: &[u8]| {
    let Some(full) = size(source).filter(|(width, height)| width * height <= PIXELS_MAX) else { return };
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
        max_pixels: u64::from(PIXELS_MAX),
        max_scans: 4,
        max_memory: None,
    };
    let format = if ours.channels == 1 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
    let theirs = Decoder::new_with_limits(source, limits)
        .and_then(|decoder| decoder.with_output_format(format).decode_image());
    if let Ok(theirs) = theirs {
        assert!(theirs.data == ours.pixels || !is_picture(source), "the library has other pixels");
    }
});
