//! Finding the blocks in each container. Walks are bounded by the file itself, blocks by limits; a walk that meets damage keeps what it has.

mod avif;
mod gif;
mod jpeg;
mod jxl;
mod png;
mod tiff;
mod webp;

use super::Embedded;
use crate::pipeline::Format;

/// The blocks of a file.
pub(super) fn read(source: &[u8], format: Format) -> Embedded<'_> {
    let mut embedded = Embedded::default();
    match format {
        Format::Jpeg => jpeg::read(source, &mut embedded),
        Format::Png => png::read(source, &mut embedded),
        Format::Webp => webp::read(source, &mut embedded),
        Format::Tiff => tiff::read(source, &mut embedded),
        Format::Avif => avif::read(source, &mut embedded),
        Format::Gif => gif::read(source, &mut embedded),
        Format::Jxl => jxl::read(source, &mut embedded),
        Format::Bmp | Format::Qoi | Format::Svg => {}
    }
    embedded
}
