//! What decoders and encoders need in memory: upper bounds that stay close to what was measured (`tests/memory.rs` holds them to it).
//!
//! Owns the cost of each codec; how the stages add up is `plan`'s. Pure arithmetic on headers and shapes.

use super::{
    Format, Header, decode,
    image::{Layout, Shape, Size},
};

/// Bytes that any codec may need beside what grows with the image: tables, buffers, small chunks.
const BASE_BYTES: u64 = 2 << 20;

/// The layout that a decoder will give, as far as the header can tell.
pub(super) fn layout(header: &Header) -> Layout {
    match (header.channels, header.alpha) {
        (_, true) => Layout::Rgba,
        (1, false) => Layout::Grey,
        _ => Layout::Rgb,
    }
}

/// Peak bytes while decoding at this scale, the decoded pixels included.
pub(super) fn decoding(header: &Header, eighths: u8) -> u64 {
    let full = Size::new(header.width, header.height);
    let scaled = decode::scaled(full, eighths).pixels();
    let out = scaled * layout(header).channels() as u64;
    let file_channels = u64::from(header.channels.max(1));
    let file_bytes = full.pixels() * file_channels * u64::from(header.depth.max(8)).div_ceil(8);
    let pixels = full.pixels();
    BASE_BYTES
        + match header.format {
            // Whole planes at the scale asked for and the pixels (four channels of CMYK become three in place); of progressive files all
            // coefficients (two bytes each) as well.
            Format::Jpeg => {
                let planes = scaled * file_channels;
                let coefficients = if header.progressive { pixels * file_channels * 2 } else { 0 };
                planes + planes.max(out) + coefficients + row_slack(full, file_channels)
            }
            // Row by row, but for interlaced files, which the header does not tell apart: the frame in the file's depth beside the result.
            Format::Png => out + file_bytes.max(out),
            // The planes (or the ARGB of a lossless frame, and its alpha) beside the result.
            Format::Webp => out + pixels * 5,
            // The screen in RGBA and the frame's own pixels beside it.
            Format::Gif => pixels * 4 + pixels * 5,
            // The pixels in the file's depth, one strip of them at most as large, and the result.
            Format::Tiff => file_bytes * 2 + pixels * 4,
            Format::Bmp | Format::Qoi => pixels * 4 + file_bytes,
        }
}

/// Rounding up to whole blocks: sixteen rows and columns more than the image has.
fn row_slack(full: Size, channels: u64) -> u64 {
    (u64::from(full.width) + u64::from(full.height) + 16) * 16 * channels
}

/// Peak bytes while encoding an image of this shape, beside its own pixels; the encoded file included.
pub(super) fn encoding(shape: Shape, format: Format, lossless: bool) -> u64 {
    let pixels = shape.size.pixels();
    let flattened = if shape.layout == Layout::Rgba && !format.keeps_alpha() { pixels * 3 } else { 0 };
    BASE_BYTES
        + flattened
        + match format {
            Format::Jpeg => pixels * 5,
            Format::Webp if lossless => pixels * 24,
            Format::Webp => pixels * 6,
            Format::Gif => pixels * 8,
            _ => shape.bytes() * 3,
        }
}

/// Bytes of the encoded file that stay until the end: more than any real picture needs, less than the raw pixels where the format is lossy.
pub(super) fn encoded(shape: Shape, format: Format, lossless: bool) -> u64 {
    let pixels = shape.size.pixels();
    4096 + match format {
        Format::Jpeg => pixels * 3 / 2,
        Format::Webp if !lossless => pixels,
        Format::Gif => pixels * 3 / 2,
        _ => shape.bytes() + shape.bytes() / 8,
    }
}
