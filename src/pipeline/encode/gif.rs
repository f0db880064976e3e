//! GIF: one frame, alpha cut at the half, compressed chunk by chunk and interrupted between the chunks.
//!
//! Owns the compression and the file around it; which colours stand in the table is `palette`'s. Called by `encode` only.

use gif::{Encoder, Frame};
use weezl::{BitOrder, encode::Encoder as Lzw};

use super::{
    Failure,
    palette::{Palette, chunks},
    writer::Watched,
};
use crate::pipeline::{Control, image::Image};

/// Bytes of compressed data that are taken at a time: more than a chunk of indices at twelve bits each, the longest code.
const PACKED_BYTES: usize = 8192;

/// The file's blocks around the data, at most: screen, colour table, frame, trailer.
const FRAMING_BYTES: usize = 1024;

/// Data bytes of a full sub-block (GIF89a, 15).
const BLOCK_BYTES: usize = 255;

pub(super) fn encode(image: &Image, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let size = image.size();
    let width = u16::try_from(size.width).map_err(Failure::because)?;
    let height = u16::try_from(size.height).map_err(Failure::because)?;
    let palette = Palette::of(image, false, control)?;
    let packed = compress(image, &palette, control)?;
    let mut out = Watched::new(control, packed.len() + packed.len() / BLOCK_BYTES + FRAMING_BYTES);
    let frame = Frame {
        width,
        height,
        buffer: packed.into(),
        palette: Some(palette.table()),
        transparent: palette.transparent(),
        ..Frame::default()
    };
    let mut encoder = Encoder::new(&mut out, width, height, &[]).map_err(Failure::because)?;
    encoder.write_lzw_pre_encoded_frame(&frame).map_err(Failure::because)?;
    encoder.into_inner().map_err(Failure::because)?;
    Ok(out.into_bytes())
}

/// The code size and the codes of all pixels, as a frame holds them.
pub(super) fn compress(image: &Image, palette: &Palette, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let bits = palette.index_bits();
    let mut lzw = Lzw::new(BitOrder::Lsb, bits);
    let mut index_of = palette.index();
    let (mut packed, mut indices) = (vec![bits], Vec::new());
    for colors in chunks(image) {
        control.check()?;
        indices.clear();
        indices.extend(colors.map(|color| index_of.get(color)));
        feed(&mut lzw, &indices, &mut packed)?;
    }
    lzw.finish();
    feed(&mut lzw, &[], &mut packed)?;
    Ok(packed)
}

/// Compresses these indices; what the last call leaves in the compressor is less than one code and fits whole.
fn feed(lzw: &mut Lzw, mut indices: &[u8], packed: &mut Vec<u8>) -> Result<(), Failure> {
    let mut out = [0; PACKED_BYTES];
    loop {
        let step = lzw.encode_bytes(indices, &mut out);
        step.status.map_err(Failure::because)?;
        packed.extend_from_slice(&out[..step.consumed_out]);
        indices = &indices[step.consumed_in..];
        if indices.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::pipeline::{
        Interrupt, Stage, Unattended,
        image::{Layout, Size},
    };

    fn image(width: u32, height: u32, layout: Layout, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Image {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = pixels.flat_map(|(x, y)| pixel(x, y).into_iter().take(layout.channels()));
        Image::new(Size::new(width, height), layout, pixels.collect())
    }

    /// Tens of thousands of colours without an edge; the last columns clear if there is alpha.
    fn gradient(layout: Layout) -> Image {
        image(300, 200, layout, |x, y| {
            let alpha = if x < 280 { 128 } else { 127 };
            [(x * 255 / 299) as u8, (y * 255 / 199) as u8, ((x + y) * 255 / 498) as u8, alpha]
        })
    }

    fn decoded(file: &[u8]) -> Vec<[u8; 4]> {
        let pixels = image::load_from_memory_with_format(file, image::ImageFormat::Gif).unwrap().into_rgba8();
        pixels.pixels().map(|pixel| pixel.0).collect()
    }

    #[test]
    fn what_fits_a_table_comes_back_as_it_was() {
        for colors in [1, 2, 3, 4, 5, 16, 17, 255, 256] {
            for (layout, clear) in [(Layout::Grey, 0), (Layout::Rgb, 0), (Layout::Rgba, 0), (Layout::Rgba, 1)]
            {
                let color = |x: u32, y: u32| match (x * 31 + y * 7) % colors {
                    number if number < clear => [0; 4],
                    number if layout == Layout::Grey => [number as u8, number as u8, number as u8, 255],
                    number => [number as u8, (number * 37) as u8, 255 - number as u8, 255],
                };
                let made = encode(&image(131, 97, layout, color), &Unattended).unwrap();
                let wanted = (0..97).flat_map(|y| (0..131).map(move |x| color(x, y)));
                assert!(decoded(&made).into_iter().eq(wanted), "{colors} colours, {layout:?}, {clear}");
            }
        }
    }

    #[test]
    fn more_colours_than_fit_come_back_close() {
        for layout in [Layout::Rgb, Layout::Rgba] {
            let source = gradient(layout);
            let made = decoded(&encode(&source, &Unattended).unwrap());
            let (mut sum, mut worst, mut opaque) = (0, 0, 0u32);
            for (wanted, got) in source.pixels().chunks(layout.channels()).zip(&made) {
                assert_eq!(got[3], if wanted.get(3) == Some(&127) { 0 } else { 255 });
                if got[3] == 0 {
                    continue;
                }
                let distances = wanted.iter().take(3).zip(got).map(|(a, b)| u32::from(a.abs_diff(*b)));
                sum += distances.clone().sum::<u32>();
                worst = worst.max(distances.max().unwrap_or(0));
                opaque += 3;
            }
            let mean = f64::from(sum) / f64::from(opaque);
            assert!(mean < 7.0 && worst < 40, "{layout:?}: mean {mean}, worst {worst}");
        }
    }

    #[test]
    fn a_stop_is_heeded_at_every_check() {
        struct After(AtomicU32, u32);
        impl Control for After {
            fn check(&self) -> Result<(), Interrupt> {
                let asked = self.0.fetch_add(1, Relaxed);
                if asked < self.1 { Ok(()) } else { Err(Interrupt::Cancelled) }
            }
            fn stage(&self, _: Stage) {}
        }
        let source = gradient(Layout::Rgba);
        let all = After(AtomicU32::new(0), u32::MAX);
        encode(&source, &all).unwrap();
        let checks = all.0.into_inner();
        assert!(checks > 45, "{checks} checks in three passes over 60,000 pixels");
        for count in 0..checks {
            let control = After(AtomicU32::new(0), count);
            assert!(encode(&source, &control).is_err(), "after {count}");
            // The writer may ask once more, for the trailer.
            assert!(control.0.into_inner() <= count + 2, "went on after {count}");
        }
    }
}
