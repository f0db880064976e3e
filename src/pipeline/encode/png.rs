//! PNG, with the fast compressor that is made for it, row by row.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder};

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Rows between two looks at `Control::check`.
const ROWS_PER_CHECK: usize = 64;

pub(super) fn encode(image: &Image, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let size = image.size();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size.width, size.height);
    encoder.set_color(match image.layout() {
        Layout::Grey => ColorType::Grayscale,
        Layout::Rgb => ColorType::Rgb,
        Layout::Rgba => ColorType::Rgba,
    });
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header().map_err(Failure::because)?;
    let mut stream = writer.stream_writer().map_err(Failure::because)?;
    let row = size.width as usize * image.layout().channels();
    for rows in image.pixels().chunks(row * ROWS_PER_CHECK) {
        control.check()?;
        stream.write_all(rows).map_err(Failure::because)?;
    }
    stream.finish().map_err(Failure::because)?;
    writer.finish().map_err(Failure::because)?;
    Ok(bytes)
}
