//! Images to measure jobs with: noise, which compresses worst, in every format, and what formats have that costs memory.
//!
//! Owns how they are made; no two runs differ. Called by the memory test only.

use std::path::Path;

use minilab::pipeline::{Assets, Limits, Pipeline, Unattended, run};
use serde_json::{Value, json};

use crate::{clear, grey, output};

/// A file with a name to report.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    pub(crate) fn new(name: &str, bytes: Vec<u8>) -> Source {
        Source { name: name.to_owned(), bytes }
    }
}

/// Bytes of Numerical Recipes' linear congruential generator.
fn chance(mut state: u32) -> impl Iterator<Item = u8> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
}

/// Noise as an uncompressed BMP.
pub(crate) fn noise(width: u32, height: u32) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for field in [54 + row * height, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend(chance(1).take((row * height) as usize));
    file
}

/// The output of a job as the source of the next.
pub(crate) fn converted(source: &[u8], output: Value) -> Vec<u8> {
    let pipeline: Pipeline = serde_json::from_value(json!({"outputs": [output]})).unwrap();
    run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap().outputs.remove(0).bytes
}

/// The noise in every format that is cheap to write: in colours, with alpha, in grey.
pub(crate) fn written(noise: &Source) -> Vec<Source> {
    let formats = ["jpeg", "png", "webp", "gif", "tiff", "qoi"];
    let kinds = [json!([]), clear(), grey()];
    let file = |format: &&str, operations: &Value| {
        Source::new(format, converted(&noise.bytes, output("a", format, operations)))
    };
    formats.iter().flat_map(|format| kinds.iter().map(move |kind| file(format, kind))).collect()
}

fn read(name: &str) -> Source {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    Source::new(name, std::fs::read(path).unwrap())
}

pub(crate) fn photographs() -> [Source; 3] {
    ["path.jpg", "leaf.jpg", "ladybird.jpg"].map(read)
}

/// Formats that are read only, or that cost too much to be tried with everything.
pub(crate) fn rare(small: &Source) -> Vec<Source> {
    let mut sources = ["leaf.avif", "leaf.jxl", "leaf-lossless.jxl"].map(read).to_vec();
    for operations in [json!([]), clear(), grey()] {
        sources.push(Source::new("avif", converted(&small.bytes, output("a", "avif", &operations))));
    }
    let layers =
        format!("{}<rect width='900' height='600'/>{}", "<g opacity='.5'>".repeat(9), "</g>".repeat(9));
    let copies =
        format!("<g id='a'>{}</g>{}", "<path d='M0 0L9 9z'/>".repeat(100), "<use href='#a'/>".repeat(100));
    let text = format!("<text y='20' font-size='3'>{}</text>", "Fine print. ".repeat(20));
    let filter = "<filter id='f'><feGaussianBlur stdDeviation='9'/><feOffset dx='3'/></filter><circle r='300' filter='url(#f)'/>";
    let parts = "<path d='M0 0L9 9C1 1 2 2 3 3z' stroke='red'/>".repeat(4_000);
    for (name, inner) in [
        ("svg", "<rect width='900' height='600' fill='url(#g)' stroke='red' stroke-width='9'/>"),
        ("svg in layers", &layers),
        ("svg of many parts", &parts),
        ("svg of many copies", &copies),
        ("svg with text", &text),
        ("svg with a filter", filter),
    ] {
        sources.push(Source::new(name, drawing(inner)));
    }
    sources
}

/// A drawing of 900×600 with a gradient to use.
fn drawing(inner: &str) -> Vec<u8> {
    let gradient = "<linearGradient id='g'><stop/><stop offset='1' stop-color='red'/></linearGradient>";
    format!("<svg xmlns='http://www.w3.org/2000/svg' width='900' height='600'>{gradient}{inner}</svg>")
        .into_bytes()
}

/// Animations: frames that are all new, frames that lie in a corner, and a profile to be applied to each.
pub(crate) fn animated() -> Vec<Source> {
    let (whole, parts) = (animated_gif(320, 240, 4, false), animated_gif(320, 240, 4, true));
    let all =
        |format: &str| json!({"name": "a", "format": format, "frames": "all", "lossless": format == "webp"});
    let p3 = profiled_png(200, 4, png::ColorType::Rgba, &moxcms::ColorProfile::new_display_p3());
    vec![
        Source::new("webp", converted(&whole, all("webp"))),
        Source::new("webp of parts", converted(&parts, all("webp"))),
        Source::new("apng", converted(&whole, all("png"))),
        Source::new("apng of parts", converted(&parts, all("png"))),
        Source::new("apng with a profile", p3),
        Source::new("gif with a profile", profiled_gif(&whole)),
        Source::new("gif", whole),
        Source::new("gif of parts", parts),
    ]
}

/// Frames of which each is all noise, or lies in a corner of the first and is gone again after it.
fn animated_gif(width: u16, height: u16, frames: u16, part: bool) -> Vec<u8> {
    let palette: Vec<u8> = (0..=255).flat_map(|index: u8| [index, index.wrapping_mul(7), !index]).collect();
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, width, height, &[]).unwrap();
    for number in 0..frames {
        let (width, height) =
            if part && number > 0 { (width * 2 / 3, height * 2 / 3) } else { (width, height) };
        let indices: Vec<u8> =
            chance(u32::from(number)).take(usize::from(width) * usize::from(height)).collect();
        let mut frame =
            gif::Frame::from_palette_pixels(width, height, indices, &palette[..], part.then_some(3));
        frame.dispose = if part { gif::DisposalMethod::Previous } else { gif::DisposalMethod::Keep };
        frame.delay = 5;
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    file
}

/// The same in the colours of Display P3, which it says behind its screen.
fn profiled_gif(gif: &[u8]) -> Vec<u8> {
    let colors = if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    let (screen, frames) = gif.split_at(13 + colors);
    let icc = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let parts = icc.chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat());
    let block: Vec<u8> = b"\x21\xff\x0bICCRGBG1012".iter().copied().chain(parts).chain([0]).collect();
    [screen, &block, frames].concat()
}

/// Pictures whose colours are not sRGB's.
pub(crate) fn profiled() -> Vec<Source> {
    let p3 = moxcms::ColorProfile::new_display_p3();
    let grey = moxcms::ColorProfile::new_gray_with_gamma(1.8);
    let plain = converted(&noise(400, 400), output("a", "jpeg", &json!([])));
    vec![
        Source::new("wide jpeg", with_profile(&plain, &p3.encode().unwrap())),
        Source::new("wide png", profiled_png(400, 1, png::ColorType::Rgb, &p3)),
        Source::new("wide png with alpha", profiled_png(400, 1, png::ColorType::Rgba, &p3)),
        Source::new("grey png with a profile", profiled_png(400, 1, png::ColorType::Grayscale, &grey)),
    ]
}

/// A JPEG with this ICC profile in it, behind its first marker.
fn with_profile(jpeg: &[u8], icc: &[u8]) -> Vec<u8> {
    let segment = [b"ICC_PROFILE\0\x01\x01", icc].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe2", &length, &segment, &jpeg[2..]].concat()
}

/// Noise in a PNG with a profile, of several frames if there are several.
fn profiled_png(side: u32, frames: u32, color: png::ColorType, profile: &moxcms::ColorProfile) -> Vec<u8> {
    let mut info = png::Info::with_size(side, side);
    (info.color_type, info.bit_depth) = (color, png::BitDepth::Eight);
    info.icc_profile = Some(profile.encode().unwrap().into());
    let mut file = Vec::new();
    let mut encoder = png::Encoder::with_info(&mut file, info).unwrap();
    if frames > 1 {
        encoder.set_animated(frames, 0).unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    let samples = side as usize * side as usize * color.samples();
    for number in 0..frames {
        let noise: Vec<u8> = chance(number).take(samples).collect();
        writer.write_image_data(&noise).unwrap();
    }
    writer.finish().unwrap();
    file
}
