//! Pictures made on the spot, so that what is in them is known.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

/// A picture of this size in this format; `seed` makes it another one.
pub(crate) fn picture(format: ImageFormat, width: u32, height: u32, seed: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761);
        image::Rgb([(noise >> 8) as u8, (x * 255 / width) as u8, (y * 255 / height) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A small PNG: it fits into its job's row.
pub(crate) fn small() -> Vec<u8> {
    picture(ImageFormat::Png, 40, 30, 1)
}

/// A PNG that is too large for a row.
pub(crate) fn large() -> Vec<u8> {
    let bytes = picture(ImageFormat::Png, 400, 300, 2);
    assert!(bytes.len() > 64 * 1024);
    bytes
}
