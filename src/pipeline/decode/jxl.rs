//! JPEG XL through jxl-oxide: the first frame, upright, in sRGB, at 8 bits.
//!
//! The library counts what it allocates and stops at the plan's limit. It can be stopped from outside while data is fed, not while the frame
//! is rendered (about 70 ms per megapixel). Profiles are converted inside: XYB data has no colours of its own until then.

use jxl_bitstream::{ContainerParser, ParseEvent};
use jxl_oxide::{
    AllocTracker, EnumColourEncoding, InitializeResult, JxlImage, JxlThreadPool, PixelFormat, RenderingIntent,
};

use super::{Failure, Pixels, Request, Size};
use crate::pipeline::image::Layout;

/// Bytes fed between two looks at `Control::check`.
const CHUNK_BYTES: usize = 64 << 10;

/// Most frames that may lead up to the first one that is shown: layers and references.
const FRAMES_MAX: usize = 64;

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let mut image = load(request)?;
    let size = Size::new(image.width(), image.height());
    let layout = match image.pixel_format() {
        PixelFormat::Gray => Layout::Grey,
        PixelFormat::Rgb => Layout::Rgb,
        PixelFormat::Graya | PixelFormat::Rgba => Layout::Rgba,
        PixelFormat::Cmyk | PixelFormat::Cmyka => {
            return Err(Failure::Unsupported("CMYK in JPEG XL".to_owned()));
        }
    };
    if size != request.full() {
        return Ok(Pixels { size, layout, bytes: Vec::new() });
    }
    let grey = matches!(image.pixel_format(), PixelFormat::Gray | PixelFormat::Graya);
    let intent = RenderingIntent::Relative;
    image.request_color_encoding(match grey {
        true => EnumColourEncoding::gray_srgb(intent),
        false => EnumColourEncoding::srgb(intent),
    });
    let multiplied = image.image_header().metadata.ec_info.iter().find_map(|extra| extra.alpha_associated());
    let render = image.render_frame(0).map_err(corrupt)?;
    drop(image);
    let mut stream = render.stream();
    let channels = stream.channels() as usize;
    let mut bytes = Vec::with_capacity(size.pixels() as usize * layout.channels());
    let mut line = vec![0u8; size.width as usize * channels];
    for _ in 0..size.height {
        if request.control.check().is_err() {
            break;
        }
        stream.write_to_buffer(&mut line);
        match channels {
            1 | 3 | 4 => bytes.extend_from_slice(&line),
            _ => {
                for [grey, alpha] in line.as_chunks::<2>().0 {
                    bytes.extend_from_slice(&[*grey, *grey, *grey, *alpha]);
                }
            }
        }
    }
    if multiplied == Some(true) {
        super::unmultiply(&mut bytes);
    }
    Ok(Pixels { size, layout, bytes })
}

/// The codestream in the parts in which its container holds it. The library is given nothing else: it would unpack compressed boxes of
/// metadata, whatever they become.
fn codestream(source: &[u8]) -> Vec<&[u8]> {
    let mut container = ContainerParser::new();
    let mut parts = Vec::new();
    for event in container.feed_bytes(source) {
        match event {
            Ok(ParseEvent::Codestream(part)) => parts.push(part),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    parts
}

/// Feeds the file until its first frame is there.
fn load(request: &Request<'_>) -> Result<JxlImage, Failure> {
    let tracker = AllocTracker::with_limit(usize::try_from(request.memory_bytes).unwrap_or(usize::MAX));
    let mut waiting =
        Some(JxlImage::builder().pool(JxlThreadPool::none()).alloc_tracker(tracker).build_uninit());
    let mut image = None;
    let mut chunk = CHUNK_BYTES;
    for mut rest in codestream(request.source) {
        while !rest.is_empty()
            && image.as_ref().is_none_or(|image: &JxlImage| image.num_loaded_keyframes() == 0)
        {
            if request.control.check().is_err() {
                return Err(Failure::Corrupt("stopped".to_owned()));
            }
            let part = &rest[..chunk.min(rest.len())];
            let used = match (&mut waiting, &mut image) {
                (Some(waiting), _) => waiting.feed_bytes(part),
                (None, Some(image)) => JxlImage::feed_bytes(image, part),
                (None, None) => break,
            };
            let used = used.map_err(corrupt)?;
            if used == 0 && part.len() == rest.len() {
                break;
            }
            rest = &rest[used..];
            if let Some(ready) = waiting.take() {
                match ready.try_init().map_err(corrupt)? {
                    InitializeResult::Initialized(ready) => image = Some(ready),
                    InitializeResult::NeedMoreData(more) => waiting = Some(more),
                }
                // The header is read anew each time: more each time, so that a long one costs no more than twice its length.
                chunk = chunk.saturating_mul(2);
            }
            if let Some(image) = &image {
                if image.num_loaded_frames() > FRAMES_MAX {
                    return Err(Failure::Unsupported(format!("more than {FRAMES_MAX} layers")));
                }
                chunk = CHUNK_BYTES;
            }
        }
    }
    match image {
        Some(image) if image.num_loaded_keyframes() > 0 => Ok(image),
        _ => Err(Failure::Corrupt("the file ends before its first frame does".to_owned())),
    }
}

fn corrupt(error: impl std::fmt::Display) -> Failure {
    Failure::Corrupt(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_sees_the_codestream_alone() {
        let bare = include_bytes!("../../../tests/formats/jxl-lossy.jxl");
        let boxed =
            |kind: &[u8], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes()[..], kind, data].concat();
        let start = [boxed(b"JXL ", b"\r\n\x87\n"), boxed(b"ftyp", b"jxl \0\0\0\0jxl ")].concat();
        let packed = boxed(b"brob", b"Exif\x1b\x41");
        let whole = [&start[..], &packed, &boxed(b"jxlc", bare), &packed].concat();
        let (first, second) = bare.split_at(70);
        let first = boxed(b"jxlp", &[&[0; 4], first].concat());
        let second = boxed(b"jxlp", &[&[0x80, 0, 0, 1], second].concat());
        let parts = [&start[..], &first, &packed, &second].concat();
        for file in [&bare[..], &whole, &parts] {
            assert_eq!(codestream(file).concat(), bare);
        }
    }
}
