//! Bytes to pixels.
//!
//! Owns the choice of decoder, its limits, and the way to 8-bit grey, RGB or RGBA. Sizes were admitted from the header before; here they are
//! set again on every decoder, and a decoder that disagrees with the header is not believed. Called by `run` only.

mod avif;
pub mod baseline;
pub(super) mod frames;
mod generic;
mod inks;
mod jpeg;
mod jxl;
mod png;
mod reader;
mod svg;

use super::{
    Control, Error, Format, Header,
    image::{Image, Layout, Size},
    orient::Orientation,
    profile::Profile,
};

/// What a decoder is asked for.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// The whole file.
    pub(super) source: &'a [u8],
    /// Its header.
    pub(super) header: &'a Header,
    /// Scale in eighths; 8 is full size, less is for JPEG and SVG, more for SVG only.
    pub(super) eighths: u8,
    /// Bytes that the plan allows for the whole run.
    pub(super) memory_bytes: u64,
    /// What the four inks of a CMYK image look like, if the file says so.
    pub(super) inks: Option<&'a Profile>,
    /// Asked from time to time.
    pub(super) control: &'a dyn Control,
}

/// Pixels as a decoder hands them over.
struct Pixels {
    size: Size,
    layout: Layout,
    bytes: Vec<u8>,
}

/// Why a decoder gave up.
enum Failure {
    /// The data is damaged, or contradicts its header.
    Corrupt(String),
    /// A variant that is not read.
    Unsupported(String),
}

impl Request<'_> {
    /// Stored size from the header.
    fn full(&self) -> Size {
        Size::new(self.header.width, self.header.height)
    }

    /// Size at the scale asked for: each side times eighths/8, rounded up as the JPEG library does.
    pub(super) fn scaled(&self) -> Size {
        scaled(self.full(), self.eighths)
    }
}

/// Each side times eighths/8, rounded up.
pub(super) fn scaled(full: Size, eighths: u8) -> Size {
    let side = |side: u32| (u64::from(side) * u64::from(eighths)).div_ceil(8) as u32;
    Size::new(side(full.width), side(full.height))
}

/// Decodes the (first) image. With `auto_orient` it carries the turn that is still to be made.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::UnsupportedFormat`] for variants of a format that are not read, [`Error::Interrupted`].
pub(super) fn decode(request: &Request<'_>, auto_orient: bool) -> Result<Image, Error> {
    let format = request.header.format;
    request.control.check()?;
    let decoded = match format {
        Format::Jpeg => jpeg::decode(request),
        Format::Png => png::decode(request),
        Format::Tiff => {
            inks::decode(request).and_then(|pixels| pixels.map_or_else(|| generic::decode(request), Ok))
        }
        Format::Webp | Format::Gif | Format::Bmp | Format::Qoi => generic::decode(request),
        Format::Avif => avif::decode(request),
        Format::Jxl => jxl::decode(request),
        Format::Svg => svg::decode(request),
    };
    // A decoder stopped by its reader reports an I/O error: ask why before believing that the file is broken.
    request.control.check()?;
    finished(decoded.map_err(|failure| refused(failure, format))?, request, auto_orient)
}

/// The pipeline's error for what a decoder said.
fn refused(failure: Failure, format: Format) -> Error {
    match failure {
        Failure::Corrupt(detail) => Error::Corrupt { format, detail },
        Failure::Unsupported(detail) => {
            Error::UnsupportedFormat(format!("this {format} variant is not read: {detail}"))
        }
    }
}

/// The pixels as an image, if they are as many as the header says.
fn finished(pixels: Pixels, request: &Request<'_>, auto_orient: bool) -> Result<Image, Error> {
    if pixels.size != request.scaled() {
        let detail = format!("its header says {}, its data {}", request.scaled(), pixels.size);
        return Err(Error::Corrupt { format: request.header.format, detail });
    }
    let orientation =
        if auto_orient { Orientation::from_exif(request.header.orientation) } else { Orientation::default() };
    let Pixels { size, layout, bytes } = opaque_as_rgb(pixels);
    Ok(Image::decoded(size, layout, bytes, orientation, request.full(), request.eighths))
}

/// Drops an alpha channel that hides nothing: three channels are a quarter less work from here on.
fn opaque_as_rgb(pixels: Pixels) -> Pixels {
    let Pixels { size, layout: Layout::Rgba, mut bytes } = pixels else { return pixels };
    if bytes.as_chunks::<4>().0.iter().any(|[_, _, _, alpha]| *alpha != 255) {
        return Pixels { size, layout: Layout::Rgba, bytes };
    }
    let count = bytes.len() / 4;
    for index in 0..count {
        bytes.copy_within(index * 4..index * 4 + 3, index * 3);
    }
    bytes.truncate(count * 3);
    bytes.shrink_to_fit();
    Pixels { size, layout: Layout::Rgb, bytes }
}

/// Undoes the multiplication of colours by their alpha, rounded to nearest.
fn unmultiply(pixels: &mut [u8]) {
    for [red, green, blue, alpha] in pixels.as_chunks_mut::<4>().0 {
        let alpha = u32::from(*alpha);
        if alpha == 0 || alpha == 255 {
            continue;
        }
        for channel in [red, green, blue] {
            *channel = ((u32::from(*channel) * 255 + alpha / 2) / alpha).min(255) as u8;
        }
    }
}

/// 16 bits to 8, rounded to nearest: v × 255 ÷ 65535.
#[inline]
fn to_eight(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32_767) / 65_535) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_round_to_nearest() {
        for value in 0..=u16::MAX {
            assert_eq!(to_eight(value), (f64::from(value) / 257.0).round() as u8);
        }
    }

    #[test]
    fn multiplied_colours_are_divided_again() {
        let mut pixels = [64, 0, 128, 128, 9, 9, 9, 0, 200, 100, 50, 255, 90, 10, 20, 60];
        unmultiply(&mut pixels);
        assert_eq!(pixels, [128, 0, 255, 128, 9, 9, 9, 0, 200, 100, 50, 255, 255, 43, 85, 60]);
    }

    #[test]
    fn only_opaque_images_lose_their_alpha() {
        let size = Size::new(2, 1);
        let pixels =
            |bytes: &[u8]| opaque_as_rgb(Pixels { size, layout: Layout::Rgba, bytes: bytes.to_vec() });
        assert_eq!(pixels(&[1, 2, 3, 255, 4, 5, 6, 255]).bytes, [1, 2, 3, 4, 5, 6]);
        assert_eq!(pixels(&[1, 2, 3, 255, 4, 5, 6, 254]).layout, Layout::Rgba);
    }
}
