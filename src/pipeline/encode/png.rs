//! PNG, row by row. By default with the fast compressor that is made for it; `effort` buys smaller files.
//!
//! | effort | how |
//! |---|---|
//! | 0 | fastest: one filter, hardly any search |
//! | 1, 2 (default 2) | fast: the best filter of each row, hardly any search |
//! | 3, 4 | balanced, and images of at most 256 colours get a palette; as 2 where that is smaller |
//! | 5, 6 | thorough search, palettes and comparison as above |
//! | 7, 8 | oxipng's levels 2 and 4, up to [`OPTIMISED_PIXELS_MAX`] pixels; larger images as 6, with a note |
//! | 9 | zopfli, likewise; as 8 where that is smaller, which it is for photos |
//!
//! Measured (one core of a busy two-core machine, CPU time, optimised build; a photo, and flat graphics with smooth edges, in RGB):
//!
//! | effort | photo 800×600 | photo 1600×1000 | flat 800×600 | flat 1600×1000 |
//! |---|---|---|---|---|
//! | 0 | 5 ms, 709 kB | 15 ms, 2202 kB | 1 ms, 220 kB | 4 ms, 522 kB |
//! | 1, 2 | 7 ms, 632 kB | 20 ms, 1935 kB | 2 ms, 193 kB | 6 ms, 455 kB |
//! | 3, 4, not compared with 2 | 202 ms, 655 kB | 723 ms, 1936 kB | 25 ms, 128 kB | 60 ms, 301 kB |
//! | 5, 6, not compared with 2 | 328 ms, 652 kB | 1860 ms, 1905 kB | 76 ms, 127 kB | 157 ms, 299 kB |
//! | 7 | 420 ms, 585 kB | 1787 ms, 1731 kB | 192 ms, 98 kB | 698 ms, 237 kB |
//! | 8 | 884 ms, 584 kB | 3984 ms, 1733 kB | 439 ms, 97 kB | 1337 ms, 235 kB |
//!
//! Zopfli alone took 1.0 s for a photo of 400×300 (180 kB; effort 8: 172 kB) and 3.0 to 3.3 s for flat graphics of that size (20.4 kB; effort 8:
//! 20.6 kB), 10.9 s for flat graphics of 800×600.
//!
//! Up to 6 a job is stopped between blocks of rows. An optimiser can't be stopped once it has begun: at the limits of pixels that is about
//! 2.5 s at effort 7 and 8, and up to 5 s at effort 9 (6.5 s were the most for 480×312: a period of 250 colours), during which a cancelled job goes on.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder};

use super::{Failure, indexed::Indexed};
use crate::pipeline::{
    Control,
    image::{Image, Layout, Shape},
};

/// Rows between two looks at `Control::check`.
const ROWS_PER_CHECK: usize = 64;

/// Effort when none is given.
const EFFORT: u8 = 2;

/// From this effort on compressors search, and few colours become a palette.
const SEARCHING: u8 = 3;

/// Most pixels of an image that goes through the optimiser at effort 7, 8 and 9. It took up to 1.1, 2.5 and 44 µs a pixel.
const OPTIMISED_PIXELS_MAX: [u64; 3] = [2_000_000, 1_000_000, 100_000];

/// Rounds of zopfli; more than this hardly helps.
const ZOPFLI_ROUNDS: u64 = 5;

pub(super) fn encode(image: &Image, effort: Option<u8>, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let effort = effort.unwrap_or(EFFORT);
    if let Some(most) = optimised_pixels_max(effort) {
        if image.size().pixels() <= most {
            control.check()?;
            let file = optimised(image, effort)?;
            if effort < 9 {
                return Ok(file);
            }
            // Zopfli is tried with one choice of filters, which for photos costs more than it gains.
            control.check()?;
            return Ok(smaller(file, optimised(image, 8)?));
        }
        let detail =
            format!("effort {effort} is for PNGs of at most {most} pixels; this one was written with 6");
        control.note("effort_reduced", detail);
    }
    let file = written(image, effort, control)?;
    if effort < SEARCHING {
        return Ok(file);
    }
    // More search finds less in photos than the fast compressor does without.
    Ok(smaller(file, written(image, EFFORT, control)?))
}

/// The shorter of two files.
fn smaller(one: Vec<u8>, other: Vec<u8>) -> Vec<u8> {
    if other.len() < one.len() { other } else { one }
}

/// Writes it row by row with the compressor for this effort of at most 6; higher ones count as 6.
fn written(image: &Image, effort: u8, control: &dyn Control) -> Result<Vec<u8>, Failure> {
    let compression = match effort {
        0 => Compression::Fastest,
        1..=2 => Compression::Fast,
        3..=4 => Compression::Balanced,
        _ => Compression::High,
    };
    let indexed = if effort >= SEARCHING { Indexed::of(image, control)? } else { None };
    let size = image.size();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size.width, size.height);
    encoder.set_compression(compression);
    let rows = match &indexed {
        Some(indexed) => {
            encoder.set_color(ColorType::Indexed);
            encoder.set_depth(match indexed.bits {
                1 => BitDepth::One,
                2 => BitDepth::Two,
                4 => BitDepth::Four,
                _ => BitDepth::Eight,
            });
            encoder.set_palette(indexed.colors.clone());
            if !indexed.alphas.is_empty() {
                encoder.set_trns(indexed.alphas.clone());
            }
            &indexed.rows
        }
        None => {
            encoder.set_color(match image.layout() {
                Layout::Grey => ColorType::Grayscale,
                Layout::Rgb => ColorType::Rgb,
                Layout::Rgba => ColorType::Rgba,
            });
            encoder.set_depth(BitDepth::Eight);
            image.pixels()
        }
    };
    let mut writer = encoder.write_header().map_err(Failure::because)?;
    let mut stream = writer.stream_writer().map_err(Failure::because)?;
    let row = rows.len() / size.height as usize;
    for rows in rows.chunks(row * ROWS_PER_CHECK) {
        control.check()?;
        stream.write_all(rows).map_err(Failure::because)?;
    }
    stream.finish().map_err(Failure::because)?;
    writer.finish().map_err(Failure::because)?;
    Ok(bytes)
}

/// Most pixels for the optimiser at this effort, if it is for the optimiser at all.
fn optimised_pixels_max(effort: u8) -> Option<u64> {
    effort.checked_sub(7).and_then(|index| OPTIMISED_PIXELS_MAX.get(usize::from(index)).copied())
}

fn optimised(image: &Image, effort: u8) -> Result<Vec<u8>, Failure> {
    use oxipng::{BitDepth, ColorType, Deflater, Options, RawImage, ZopfliOptions};
    let size = image.size();
    let color = match image.layout() {
        Layout::Grey => ColorType::Grayscale { transparent_shade: None },
        Layout::Rgb => ColorType::RGB { transparent_color: None },
        Layout::Rgba => ColorType::RGBA,
    };
    let mut options = Options::from_preset(if effort == 8 { 4 } else { 2 });
    if effort == 9 {
        let rounds = std::num::NonZeroU64::new(ZOPFLI_ROUNDS).unwrap_or(std::num::NonZeroU64::MIN);
        options.deflater =
            Deflater::Zopfli(ZopfliOptions { iteration_count: rounds, ..ZopfliOptions::default() });
    }
    let pixels = image.pixels().to_vec();
    let raw =
        RawImage::new(size.width, size.height, color, BitDepth::Eight, pixels).map_err(Failure::because)?;
    raw.create_optimized_png(&options).map_err(Failure::because)
}

/// Bytes needed beside the file: a palette's indices, or what the optimiser works on.
pub(in crate::pipeline) fn working_bytes(shape: Shape, effort: Option<u8>) -> u64 {
    let effort = effort.unwrap_or(EFFORT);
    match optimised_pixels_max(effort) {
        // zopfli's tables of lengths and distances, and of costs, for every byte of the image.
        Some(most) if effort == 9 && shape.size.pixels() <= most => shape.bytes() * 170 + (4 << 20),
        // Its copy of the pixels, reduced and filtered ones for each filter that is tried, and the compressed ones.
        Some(most) if shape.size.pixels() <= most => shape.bytes() * 8 + (24 << 20),
        // Indices, or the file that is compared.
        _ if effort >= SEARCHING => shape.bytes().max(shape.size.pixels()) + (2 << 20),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Unattended, image::Size};

    fn image(layout: Layout, colors: u32) -> Image {
        let pixels = (0..90u32).flat_map(|y| (0..131u32).map(move |x| (x, y)));
        let pixels = pixels.flat_map(|(x, y)| {
            let number = (x * 7 + y * 13) % colors;
            let color =
                [number as u8, (number / 2) as u8, 255 - (number / 3) as u8, 255 - (number % 5 * 40) as u8];
            color.into_iter().take(layout.channels())
        });
        Image::new(Size::new(131, 90), layout, pixels.collect())
    }

    #[test]
    fn every_effort_gives_back_the_pixels() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            for colors in [1, 2, 3, 5, 16, 17, 256] {
                let image = image(layout, colors);
                for effort in 0..=9 {
                    let file = encode(&image, Some(effort), &Unattended).unwrap();
                    let read = image::load_from_memory_with_format(&file, image::ImageFormat::Png).unwrap();
                    let pixels = match layout {
                        Layout::Grey => read.into_luma8().into_raw(),
                        Layout::Rgb => read.into_rgb8().into_raw(),
                        Layout::Rgba => read.into_rgba8().into_raw(),
                    };
                    assert!(pixels == image.pixels(), "{layout:?}, {colors} colours, effort {effort}");
                }
            }
        }
    }

    #[test]
    fn effort_pays() {
        let image = image(Layout::Rgb, 250);
        let bytes = |effort| encode(&image, effort, &Unattended).unwrap().len();
        assert_eq!(bytes(None), bytes(Some(EFFORT)));
        assert!(bytes(Some(3)) < bytes(None) && bytes(Some(9)) <= bytes(Some(6)));
        // What looks like a photo to a compressor: smooth, with noise in it.
        let mut state = 1u32;
        let pixels = (0..180u32 * 120).flat_map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (x, y) = (index % 180, index / 180);
            let shade = |color: u32| (color / 2 + (state >> 29)) as u8;
            [shade(x + y), shade(2 * x), shade(3 * y)]
        });
        let photo = Image::new(Size::new(180, 120), Layout::Rgb, pixels.collect());
        let bytes = |effort| encode(&photo, Some(effort), &Unattended).unwrap().len();
        let all: Vec<usize> = (2..=9).map(bytes).collect();
        assert!(all[1..].iter().all(|more| *more <= all[0]) && all[7] <= all[6], "{all:?}");
    }

    #[test]
    fn what_is_too_large_for_the_optimiser_is_written_anyway_and_noted() {
        struct Notes(std::sync::Mutex<Vec<&'static str>>);
        impl Control for Notes {
            fn check(&self) -> Result<(), crate::pipeline::Interrupt> {
                Ok(())
            }
            fn stage(&self, _: crate::pipeline::Stage) {}
            fn note(&self, code: &'static str, _: String) {
                self.0.lock().unwrap().push(code);
            }
        }
        let notes = Notes(std::sync::Mutex::default());
        let image = Image::filled(Size::new(500, 400), Layout::Grey, [3, 3, 3, 255]);
        let largest = encode(&image, Some(9), &notes).unwrap();
        assert_eq!(notes.0.into_inner().unwrap(), ["effort_reduced"]);
        assert_eq!(largest, encode(&image, Some(6), &Unattended).unwrap());
    }
}
