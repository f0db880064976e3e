//! JPEG, at the smallest scale that serves the job: ordinary files by [`baseline`], the rest by `libjpeg-turbo-rs`, and by `zune-jpeg` the
//! few streams that both refuse.
//!
//! Neither library can be interrupted from outside: a cancelled decode of a progressive file ends when the decode does (about 16 ms per
//! megapixel).

use std::panic::{AssertUnwindSafe, catch_unwind};

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{
    Failure, Pixels, Request, Size,
    baseline::{self, Instructions, Refusal},
};
use crate::pipeline::{image::Layout, memory};

/// Most scans of a progressive file; real ones have about ten. Each costs a pass over every coefficient.
const SCANS_MAX: usize = 200;

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let full = (request.header.width, request.header.height);
    match baseline::decode(request.source, full, request.eighths, Instructions::Best, || {
        request.control.check()
    }) {
        Ok(picture) => {
            let size = Size::new(picture.width as u32, picture.height as u32);
            let layout = if picture.channels == 1 { Layout::Grey } else { Layout::Rgb };
            return Ok(Pixels { size, layout, bytes: picture.pixels });
        }
        Err(Refusal::Interrupted(why)) => return Err(Failure::Corrupt(why.to_string())),
        // Unusual or damaged: the library reads more kinds, and is the judge of damage.
        Err(Refusal::Flaw(_)) => {}
    }
    match caught(|| turbo(request)) {
        Ok(pixels) => Ok(to_rgb(pixels, request)),
        Err(JpegError::Unsupported(detail)) => match second(request) {
            Some(pixels) => Ok(to_rgb(pixels, request)),
            None => Err(Failure::Unsupported(detail)),
        },
        Err(error) => Err(Failure::Corrupt(error.to_string())),
    }
}

/// Size and bytes, of 1, 3 or 4 channels as the file has them.
type Raw = (Size, Vec<u8>);

/// The library panics at a few files of four channels that are not all of one size. That is a refusal like its others.
fn caught(decode: impl FnOnce() -> Result<Raw, JpegError>) -> Result<Raw, JpegError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(JpegError::Unsupported("its channels are not of one size".to_owned())))
}

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

/// Inks through the file's own profile, if there is one; in the file they are light: 255 for none.
fn profiled(bytes: &mut Vec<u8>, request: &Request<'_>) -> Option<()> {
    request.inks?.inks_to_srgb(bytes, |light| 255 - light, request.control)
}

/// Grey and RGB as they are, CMYK as light through ink: channel × black. Files hold the light, not the ink (255 for none): Adobe began it, and
/// browsers and Pillow take it for granted even where the Adobe marker is missing.
fn to_rgb((size, mut bytes): Raw, request: &Request<'_>) -> Pixels {
    let layout = match request.header.channels {
        1 => Layout::Grey,
        3 => Layout::Rgb,
        _ if profiled(&mut bytes, request).is_some() => Layout::Rgb,
        _ => {
            let count = bytes.len() / 4;
            for index in 0..count {
                let [c, m, y, k] = [0, 1, 2, 3].map(|channel| u32::from(bytes[index * 4 + channel]));
                for (channel, light) in [c, m, y].into_iter().enumerate() {
                    bytes[index * 3 + channel] = ((light * k + 127) / 255) as u8;
                }
            }
            bytes.truncate(count * 3);
            bytes.shrink_to_fit();
            Layout::Rgb
        }
    };
    Pixels { size, layout, bytes }
}
