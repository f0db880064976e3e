//! JPEG: baseline, chroma halved both ways (4:2:0). Cannot be interrupted within an image (about 3 ms per megapixel).

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use super::Failure;
use crate::pipeline::image::{Image, Layout};

pub(super) fn encode(image: &Image, quality: u8) -> Result<Vec<u8>, Failure> {
    let size = image.size();
    let format = match image.layout() {
        Layout::Grey => PixelFormat::Grayscale,
        Layout::Rgb => PixelFormat::Rgb,
        Layout::Rgba => PixelFormat::Rgba,
    };
    Encoder::new(image.pixels(), size.width as usize, size.height as usize, format)
        .quality(quality)
        .subsampling(Subsampling::S420)
        .encode()
        .map_err(Failure::because)
}
