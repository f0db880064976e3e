//! AVIF through ravif (rav1e): 8 bits, 4:4:4, alpha as a plane of its own.
//!
//! The encoder runs on this thread alone and cannot be stopped once it has begun: a cancelled job ends when the frame does. Speed is what
//! `effort` buys it with.

use ravif::{BitDepth, Encoder, Img, RGB8, RGBA8};

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Effort when none is asked for.
const EFFORT_DEFAULT: u8 = 1;

/// Encodes at a quality of 1..100 with an effort of 0 (fastest) to 9.
pub(super) fn encode(
    image: &Image,
    quality: u8,
    effort: Option<u8>,
    control: &dyn Control,
) -> Result<Vec<u8>, Failure> {
    control.check()?;
    // rav1e counts the other way: 10 is fastest, 1 slowest.
    let speed = 10 - effort.unwrap_or(EFFORT_DEFAULT).min(9);
    let quality = f32::from(quality.clamp(1, 100));
    let encoder = Encoder::new()
        .with_quality(quality)
        .with_alpha_quality(quality)
        .with_speed(speed)
        .with_bit_depth(BitDepth::Eight)
        .with_num_threads(Some(1));
    let (width, height) = (image.stored().width as usize, image.stored().height as usize);
    let encoded = match image.layout() {
        Layout::Rgba => {
            let pixels = image.pixels().as_chunks::<4>().0;
            let pixels: Vec<RGBA8> = pixels.iter().map(|[r, g, b, a]| RGBA8::new(*r, *g, *b, *a)).collect();
            encoder.encode_rgba(Img::new(&pixels, width, height))
        }
        _ => {
            let pixels = image.pixels().as_chunks::<3>().0;
            let pixels: Vec<RGB8> = pixels.iter().map(|[r, g, b]| RGB8::new(*r, *g, *b)).collect();
            encoder.encode_rgb(Img::new(&pixels, width, height))
        }
    };
    encoded.map(|encoded| encoded.avif_file).map_err(Failure::because)
}
