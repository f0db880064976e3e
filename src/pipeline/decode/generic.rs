//! WebP, GIF, TIFF, BMP and QOI through the `image` crate's decoders, each with its limits set.
//!
//! They are interrupted when they read; WebP reads a whole frame before it decodes it, so a cancelled WebP ends when that frame does
//! (about 35 ms per megapixel).

use image::{
    ColorType, ImageDecoder, ImageError, ImageResult, Limits,
    codecs::{bmp::BmpDecoder, gif::GifDecoder, qoi::QoiDecoder, tiff::TiffDecoder, webp::WebPDecoder},
};

use super::{Failure, Pixels, Request, Size, reader::Watched, to_eight};
use crate::pipeline::{Format, image::Layout, memory};

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let reader = Watched::new(request.source, request.control);
    let read = match request.header.format {
        Format::Webp => WebPDecoder::new(reader).and_then(|decoder| limited(decoder, request)),
        Format::Gif => GifDecoder::new(reader).and_then(|decoder| limited(decoder, request)),
        Format::Tiff => TiffDecoder::new(reader).and_then(|decoder| limited(decoder, request)),
        Format::Bmp => BmpDecoder::new(reader).and_then(|decoder| limited(decoder, request)),
        _ => QoiDecoder::new(reader).and_then(|decoder| limited(decoder, request)),
    };
    read.map_err(|error| match error {
        ImageError::Unsupported(error) => Failure::Unsupported(error.to_string()),
        other => Failure::Corrupt(other.to_string()),
    })
}

/// Sets the limits, compares the size with the header's, and only then allocates and decodes.
fn limited<D: ImageDecoder>(mut decoder: D, request: &Request<'_>) -> ImageResult<Pixels> {
    let full = request.full();
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(full.width);
    limits.max_image_height = Some(full.height);
    limits.max_alloc = Some(alloc_max(request));
    decoder.set_limits(limits)?;
    let (width, height) = decoder.dimensions();
    let size = Size::new(width, height);
    let color = decoder.color_type();
    if size != full {
        return Ok(Pixels { size, layout: Layout::Rgb, bytes: Vec::new() });
    }
    let mut bytes = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut bytes)?;
    Ok(narrow(size, color, bytes))
}

/// What a decoder may allocate. The one for TIFF takes what is left beside the pixels for tables, and once more for strips.
fn alloc_max(request: &Request<'_>) -> u64 {
    if request.header.format != Format::Tiff {
        return request.memory_bytes;
    }
    let header = request.header;
    let samples = request.full().pixels() * u64::from(header.channels) * u64::from(header.depth.div_ceil(8));
    (memory::decoding(header, 8) + samples) / 2
}

/// Every colour type of the crate as 8-bit grey, RGB or RGBA.
fn narrow(size: Size, color: ColorType, bytes: Vec<u8>) -> Pixels {
    let layout = match color {
        ColorType::L8 | ColorType::L16 => Layout::Grey,
        ColorType::Rgb8 | ColorType::Rgb16 | ColorType::Rgb32F => Layout::Rgb,
        _ => Layout::Rgba,
    };
    let bytes = match color {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            bytes.as_chunks::<2>().0.iter().map(|value| to_eight(u16::from_ne_bytes(*value))).collect()
        }
        ColorType::Rgb32F | ColorType::Rgba32F => {
            let unit = |value: &[u8; 4]| (f32::from_ne_bytes(*value).clamp(0.0, 1.0) * 255.0).round() as u8;
            bytes.as_chunks::<4>().0.iter().map(unit).collect()
        }
        _ => bytes,
    };
    let bytes = match color {
        ColorType::La8 | ColorType::La16 => {
            bytes.as_chunks::<2>().0.iter().flat_map(|[grey, alpha]| [*grey, *grey, *grey, *alpha]).collect()
        }
        _ => bytes,
    };
    Pixels { size, layout, bytes }
}
