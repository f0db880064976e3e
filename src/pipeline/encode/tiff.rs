//! TIFF: Deflate with the horizontal predictor, in strips of about 1 MB, interrupted between them. Every reader knows LZW too, but its tables
//! take 17 MB here and compress noise to half as much again.

use tiff::{
    TiffResult,
    encoder::{
        Compression, DeflateLevel, Predictor, TiffEncoder, TiffValue,
        colortype::{ColorType, Gray8, RGB8, RGBA8},
    },
    tags::Tag,
};

use super::{Failure, writer::Watched};
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Value of the ExtraSamples tag for straight alpha (TIFF 6.0, p. 31).
const UNASSOCIATED_ALPHA: u16 = 2;

pub(super) fn encode(image: &Image, effort: Option<u8>, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let mut out = Watched::new(control, 0);
    let level = match effort {
        None | Some(..=3) => DeflateLevel::Fast,
        Some(4..=6) => DeflateLevel::Balanced,
        Some(_) => DeflateLevel::Best,
    };
    let written = match image.layout() {
        Layout::Grey => write::<Gray8>(&mut out, image, level, &[]),
        Layout::Rgb => write::<RGB8>(&mut out, image, level, &[]),
        Layout::Rgba => write::<RGBA8>(&mut out, image, level, &[UNASSOCIATED_ALPHA]),
    };
    written.map_err(Failure::because)?;
    Ok(out.into_bytes())
}

fn write<C: ColorType<Inner = u8>>(
    out: &mut Watched<'_>,
    image: &Image,
    level: DeflateLevel,
    extra: &[u16],
) -> TiffResult<()>
where
    [u8]: TiffValue,
{
    let size = image.size();
    let mut encoder = TiffEncoder::new(out)?
        .with_compression(Compression::Deflate(level))
        .with_predictor(Predictor::Horizontal);
    let mut page = encoder.new_image::<C>(size.width, size.height)?;
    if !extra.is_empty() {
        page.encoder().write_tag(Tag::ExtraSamples, extra)?;
    }
    page.write_data(image.pixels())
}
