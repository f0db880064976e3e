//! What decoders and encoders need in memory: upper bounds that stay close to what was measured (`tests/memory.rs` holds them to it).
//!
//! Owns the cost of each codec; how the stages add up is `plan`'s. Pure arithmetic on headers and shapes.

use super::{
    ColorProfile, Format, Header, KeepMetadata, OutputFormat, OutputSpec, decode,
    image::{Layout, Shape, Size},
    metadata::keeps_profile,
};

/// Bytes that any codec or operation may need beside what grows with the image: tables, buffers, small chunks.
pub(super) const BASE_BYTES: u64 = 1 << 20;

/// Bytes of an embedded profile as it was read, understood and made into tables.
const PROFILE_BYTES: u64 = 8 << 20;

/// Bytes of the profile and the metadata that an output keeps, and of the copies made while they are written.
const CARRIED_BYTES: u64 = 12 << 20;
/// Most bytes of an animated output: as much as a request's body may have by default. What would be more fails when it gets there.
pub(super) const ANIMATION_BYTES_MAX: u64 = 64 << 20;

/// The layout that a decoder will give, as far as the header can tell.
pub(super) fn layout(header: &Header) -> Layout {
    match (header.channels, header.alpha) {
        (_, true) => Layout::Rgba,
        (1, false) => Layout::Grey,
        _ => Layout::Rgb,
    }
}

/// What a WebP can make its decoder ask for, however small the picture is: in a lossy one the room for a partition, whose length is claimed
/// in 24 bits; in a lossless one 10 MiB of codes, as many groups as its format can number.
const WEBP_CLAIMS_BYTES: u64 = 16 << 20;

/// Peak bytes while decoding at this scale, the decoded pixels included.
pub(super) fn decoding(header: &Header, eighths: u8) -> u64 {
    let full = Size::new(header.width, header.height);
    let (pixels, scaled) = (full.pixels(), decode::scaled(full, eighths).pixels());
    let out = scaled * layout(header).channels() as u64;
    let channels = u64::from(header.channels.max(1));
    let in_file = pixels * channels * u64::from(header.depth.max(8)).div_ceil(8);
    let narrowed = if header.depth > 8 { out } else { 0 };
    let profile = if header.has_icc { PROFILE_BYTES } else { 0 };
    BASE_BYTES
        + profile
        + match header.format {
            // Planes at the scale asked for beside the pixels (four channels of CMYK become three in place), twice where chroma is widened;
            // of progressive files all coefficients, two bytes each and as if chroma were not halved, because the header does not tell.
            Format::Jpeg => {
                let planes = scaled * channels * 3 / 2;
                let coefficients = if header.progressive { pixels * channels * 2 } else { 0 };
                planes + out.max(scaled * channels) + coefficients + block_slack(full, channels)
            }
            // Row by row; of interlaced files the whole frame in the file's depth beside the result.
            Format::Png if header.progressive => out + in_file.max(out),
            Format::Png => out,
            // The coded frame, its planes or the ARGB of a lossless one beside the result, and what its alpha was coded in.
            Format::Webp if header.alpha => out + pixels * 9 + WEBP_CLAIMS_BYTES,
            Format::Webp => out + pixels * 5 + WEBP_CLAIMS_BYTES,
            // The screen in RGBA, and a frame that does not fill it beside it.
            Format::Gif if header.alpha => pixels * 8,
            Format::Gif => pixels * 4,
            // The samples as the file has them, a strip or tile that may be all of them, coded and not, and the result of narrowing them;
            // decompressors with buffers of their own.
            Format::Tiff => in_file * 3 + narrowed + (2 << 20),
            Format::Bmp | Format::Qoi => out,
            // Three planes, as samples and as the references that the decoder keeps, and the result; of alpha a plane more.
            Format::Avif => out + pixels * 8 * u64::from(header.depth.max(8)).div_ceil(8),
            // Floating point throughout: channels, their copies while they are filtered, and what groups need.
            Format::Jxl => out + pixels * (channels + 1) * 12 + (4 << 20),
            Format::Svg => out + layers(decode::scaled(full, eighths)),
        }
        + header.working_bytes
}

/// Bytes that the layers of a drawing of this size may take: groups, masks and filters beside the picture itself.
pub(super) fn layers(size: Size) -> u64 {
    size.pixels() * 60 + (4 << 20)
}

/// Bytes that an animated output holds from its first frame to its last, beside the frame in hand: the picture before, what is drawn of the
/// next, and the file so far, whose buffer may be half empty.
pub(super) fn animating(shape: Shape, format: Format, spec: &OutputSpec, frames: u32) -> u64 {
    let pixels = shape.size.pixels();
    let file = encoded(shape, format, spec).saturating_mul(u64::from(frames)).min(ANIMATION_BYTES_MAX);
    pixels * 20 + 2 * file
}

/// Rounding up to whole blocks: sixteen rows and columns more than the image has.
fn block_slack(full: Size, channels: u64) -> u64 {
    (u64::from(full.width) + u64::from(full.height) + 16) * 16 * channels
}

/// Peak bytes while encoding an image of this shape, beside its own pixels; the encoded file included, whose buffer may be half empty.
pub(super) fn encoding(shape: Shape, format: Format, spec: &OutputSpec) -> u64 {
    let alpha = shape.layout == Layout::Rgba;
    let kept = with_profile(shape, format, spec);
    let colored = if kept == shape { 0 } else { kept.bytes() };
    let shape = kept;
    let flat = if alpha && !format.keeps_alpha() { Shape { layout: Layout::Rgb, ..shape } } else { shape };
    let flattened = if flat == shape { 0 } else { flat.bytes() };
    // While a smaller quality is tried, the best file so far is kept.
    let best = if spec.max_bytes.is_some() { encoded(flat, format, spec) } else { 0 };
    let carried = if keeps(spec) { CARRIED_BYTES } else { 0 };
    let coding = codings(format, spec).map(|(format, lossless)| coding(flat, format, lossless, spec));
    BASE_BYTES + colored + flattened + best + carried + coding.max().unwrap_or(0)
}

/// What an image becomes that goes with a profile: that of colours takes three channels, also where all of them are grey by now.
fn with_profile(shape: Shape, format: Format, spec: &OutputSpec) -> Shape {
    let kept = spec.color_profile == ColorProfile::Keep && keeps_profile(format);
    if kept && shape.layout == Layout::Grey { Shape { layout: Layout::Rgb, ..shape } } else { shape }
}

/// The codings that may be tried: of `auto` every one that it may choose.
fn codings(format: Format, spec: &OutputSpec) -> impl Iterator<Item = (Format, bool)> {
    let auto = spec.format == OutputFormat::Auto;
    let others = [(Format::Webp, false), (Format::Webp, true), (Format::Png, true)];
    std::iter::once((format, spec.lossless)).chain(others.into_iter().filter(move |_| auto))
}

/// Whether the file gets more than pixels.
fn keeps(spec: &OutputSpec) -> bool {
    spec.color_profile == ColorProfile::Keep || spec.keep_metadata != KeepMetadata::None
}

/// What one encoder needs for an image of channels that its format has.
fn coding(shape: Shape, format: Format, lossless: bool, spec: &OutputSpec) -> u64 {
    let pixels = shape.size.pixels();
    let alpha = shape.layout == Layout::Rgba;
    let widened = if shape.layout == Layout::Grey { pixels * 3 } else { 0 };
    let file = file(shape, format, lossless);
    match format {
        // All coefficients, two bytes each, and their planes where tables are made for them.
        Format::Jpeg if spec.progressive || spec.effort.is_some() => {
            pixels * if spec.chroma_subsampling.is_some() { 20 } else { 15 }
        }
        // Grey goes through planes of its own in the library; chroma that is not halved takes planes of full size.
        Format::Jpeg if shape.layout == Layout::Grey || spec.chroma_subsampling.is_some() => pixels * 10,
        Format::Jpeg => pixels * 7,
        Format::Png => 2 * file + super::encode::png_working_bytes(shape, spec.effort),
        // libwebp's hash chains and histograms, for the pixels of a lossless image or for a lossy image's alpha.
        Format::Webp if lossless || alpha => widened + pixels * 40,
        Format::Webp => widened + pixels * 8,
        // The compressed data, whose buffer may be half empty, and the file around it; before that a sample of four bytes a pixel.
        Format::Gif => 3 * file,
        // Strips on their way to the buffer.
        Format::Tiff => 2 * file + shape.bytes().min(4 << 20),
        Format::Bmp => file,
        // rav1e's frames, their half and quarter copies, what it keeps of each block, and much that does not grow with the image; all that
        // once more for alpha, whose frame has three planes too while it is made.
        Format::Avif if alpha => pixels * 160 + (12 << 20),
        Format::Avif => pixels * 100 + (10 << 20),
        Format::Jxl | Format::Svg => 0,
        // The crate's own buffer for the worst case, then a copy of what was used of it.
        Format::Qoi => widened + pixels * 5 + 2 * file,
    }
}

/// Bytes of the encoded file that stay until the end: what noise at the highest quality needs, and what else the file keeps.
pub(super) fn encoded(shape: Shape, format: Format, spec: &OutputSpec) -> u64 {
    let shape = with_profile(shape, format, spec);
    let largest = codings(format, spec).map(|(format, lossless)| file(shape, format, lossless)).max();
    let most = largest.unwrap_or(0).min(spec.max_bytes.unwrap_or(u64::MAX));
    most + if keeps(spec) { CARRIED_BYTES / 2 } else { 0 }
}

fn file(shape: Shape, format: Format, lossless: bool) -> u64 {
    let pixels = shape.size.pixels();
    4096 + match format {
        // Half as much again where chroma is whole.
        Format::Jpeg => pixels * 2,
        Format::Webp if !lossless => pixels * 3 / 2,
        Format::Gif => pixels * 3 / 2,
        Format::Avif => pixels * 3,
        Format::Bmp => (shape.bytes() / u64::from(shape.size.height) + 3) * u64::from(shape.size.height),
        _ => shape.bytes() + shape.bytes() / 4,
    }
}
