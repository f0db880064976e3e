//! JPEG, at the smallest scale that serves the job: `libjpeg-turbo-rs`, and `zune-jpeg` for the few streams that the first refuses.
//!
//! Neither library can be interrupted from outside: a cancelled decode ends when the decode does (about 6 ms per megapixel, 16 for
//! progressive files).

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{Failure, Pixels, Request, Size};
use crate::pipeline::{image::Layout, memory};

/// Most scans of a progressive file; real ones have about ten. Each costs a pass over every coefficient.
const SCANS_MAX: usize = 200;

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let inverted = adobe(request.source);
    match turbo(request) {
        Ok(pixels) => Ok(to_rgb(pixels, request, inverted)),
        Err(JpegError::Unsupported(detail)) => match second(request) {
            Some(pixels) => Ok(to_rgb(pixels, request, inverted)),
            None => Err(Failure::Unsupported(detail)),
        },
        Err(error) => Err(Failure::Corrupt(error.to_string())),
    }
}

/// Size and bytes, of 1, 3 or 4 channels as the file has them.
type Raw = (Size, Vec<u8>);

fn turbo(request: &Request<'_>) -> Result<Raw, JpegError> {
    let header = request.header;
    let limits = DecodeLimits {
        max_width: header.width as usize,
        max_height: header.height as usize,
        max_pixels: request.full().pixels(),
        max_scans: SCANS_MAX,
        max_memory: None,
    };
    // The library wants its factors in lowest terms.
    let (numerator, denominator) = match request.eighths {
        8 => (1, 1),
        4 => (1, 2),
        2 => (1, 4),
        eighths => (u32::from(eighths), 8),
    };
    let scale = ScalingFactor::try_new(numerator, denominator)?;
    let format = match header.channels {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        _ => PixelFormat::Cmyk,
    };
    let image = Decoder::new_with_limits(request.source, limits)?
        .with_output_format(format)
        .with_scale(scale)
        .decode_image()?;
    Ok((Size::new(image.width as u32, image.height as u32), image.data))
}

/// The second decoder, at full size: only where the plan's memory allows for it.
fn second(request: &Request<'_>) -> Option<Raw> {
    if request.eighths != 8 || memory::decoding(request.header, 8) > request.memory_bytes {
        return None;
    }
    let header = request.header;
    let colors = match header.channels {
        1 => ColorSpace::Luma,
        3 => ColorSpace::RGB,
        _ => ColorSpace::CMYK,
    };
    let options = DecoderOptions::default()
        .set_max_width(header.width as usize)
        .set_max_height(header.height as usize)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(colors);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(request.source), options);
    let bytes = decoder.decode().ok()?;
    let (width, height) = decoder.dimensions()?;
    Some((Size::new(width as u32, height as u32), bytes))
}

/// Grey and RGB as they are, CMYK as ink on paper: channel × black, both as light.
fn to_rgb((size, mut bytes): Raw, request: &Request<'_>, inverted: bool) -> Pixels {
    let layout = match request.header.channels {
        1 => Layout::Grey,
        3 => Layout::Rgb,
        _ => {
            let light = |ink: u8| u32::from(if inverted { ink } else { 255 - ink });
            let count = bytes.len() / 4;
            for index in 0..count {
                let [c, m, y, k] = [0, 1, 2, 3].map(|channel| light(bytes[index * 4 + channel]));
                for (channel, ink) in [c, m, y].into_iter().enumerate() {
                    bytes[index * 3 + channel] = ((ink * k + 127) / 255) as u8;
                }
            }
            bytes.truncate(count * 3);
            bytes.shrink_to_fit();
            Layout::Rgb
        }
    };
    Pixels { size, layout, bytes }
}

/// Whether an Adobe marker (APP14) stands before the first scan: such files store ink inverted, 255 for none.
fn adobe(source: &[u8]) -> bool {
    let mut rest = source.get(2..).unwrap_or_default();
    while let [0xff, marker, after @ ..] = rest {
        match *marker {
            0xff => rest = &rest[1..],
            0xda => return false,
            0xee if after.get(2..7) == Some(b"Adobe") => return true,
            _ => {
                let Some(length) = after.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)) else {
                    return false;
                };
                rest = after.get(usize::from(length)..).unwrap_or_default();
            }
        }
    }
    false
}
