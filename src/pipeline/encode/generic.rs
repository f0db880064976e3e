//! BMP and QOI through the `image` crate; interrupted where they write, which is row by row for BMP and at the end for QOI (about 20 ms per
//! megapixel).

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{bmp::BmpEncoder, qoi::QoiEncoder},
};

use super::{Failure, writer::Watched};
use crate::pipeline::{
    Control, Format,
    image::{Image, Layout},
};

pub(super) fn encode(image: &Image, format: Format, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let (size, pixels) = (image.size(), image.pixels());
    let color = match image.layout() {
        Layout::Grey => ExtendedColorType::L8,
        Layout::Rgb => ExtendedColorType::Rgb8,
        Layout::Rgba => ExtendedColorType::Rgba8,
    };
    let mut out = Watched::new(control, bytes_hint(image, format));
    let written = match format {
        Format::Bmp => BmpEncoder::new(&mut out).write_image(pixels, size.width, size.height, color),
        _ => QoiEncoder::new(&mut out).write_image(pixels, size.width, size.height, color),
    };
    written.map_err(Failure::because)?;
    Ok(out.into_bytes())
}

/// What to set aside: for BMP the very size (rows padded to four bytes behind a header), so that its buffer never has to grow.
fn bytes_hint(image: &Image, format: Format) -> usize {
    let row = image.size().width as usize * image.layout().channels();
    match format {
        Format::Bmp => row.next_multiple_of(4) * image.size().height as usize + 4096,
        _ => 0,
    }
}
