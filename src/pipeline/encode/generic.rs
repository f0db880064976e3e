//! BMP, GIF (one frame, adaptive palette) and QOI through the `image` crate; interrupted where they write, which is row by row for BMP, after
//! the palette for GIF (about 250 ms per megapixel) and at the end for QOI (about 20 ms per megapixel).

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{bmp::BmpEncoder, gif::GifEncoder, qoi::QoiEncoder},
};

use super::{Failure, writer::Watched};
use crate::pipeline::{
    Control, Format,
    image::{Image, Layout},
};

/// Speed of the palette search, 1 (best) to 30: the value at which `color_quant` samples every tenth pixel.
const GIF_SPEED: i32 = 10;

pub(super) fn encode(image: Image, format: Format, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let image = match (format, image.layout()) {
        // Neither GIF's quantiser nor QOI knows grey.
        (Format::Gif | Format::Qoi, Layout::Grey) => image.with_layout(Layout::Rgb),
        (Format::Gif, Layout::Rgba) => with_hard_alpha(image),
        _ => image,
    };
    let (size, pixels) = (image.size(), image.pixels());
    let color = match image.layout() {
        Layout::Grey => ExtendedColorType::L8,
        Layout::Rgb => ExtendedColorType::Rgb8,
        Layout::Rgba => ExtendedColorType::Rgba8,
    };
    let mut out = Watched::new(control, bytes_hint(&image, format));
    let written = match format {
        Format::Gif => {
            GifEncoder::new_with_speed(&mut out, GIF_SPEED).encode(pixels, size.width, size.height, color)
        }
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

/// GIF knows only opaque and transparent: half and more is opaque.
fn with_hard_alpha(mut image: Image) -> Image {
    for pixel in image.pixels_mut().as_chunks_mut::<4>().0 {
        *pixel = match *pixel {
            [red, green, blue, 128..=255] => [red, green, blue, 255],
            _ => [0; 4],
        };
    }
    image
}
