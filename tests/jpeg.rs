//! The baseline JPEG decoder against a second one, and against its own twin.
//!
//! At full size libjpeg-turbo's algorithm is the oracle, and every pixel must be the same. At other scales the oracle is the definition:
//! coefficients read by the second decoder, transformed in floating point here. Damaged files must be refused, never believed, and never
//! do harm. More files, from wherever they lie, are judged when `CORPUS` names folders, as `.ci/run` does; the counts are printed.
#![allow(clippy::unwrap_used)]

mod odd;

use std::{collections::BTreeMap, io::Cursor};

use libjpeg_turbo_rs::{Decoder, Encoder, PixelFormat, Subsampling};
use minilab::pipeline::{
    Assets, Code, Format, Limits, Unattended,
    baseline::{Flaw, Instructions, Picture, Refusal, decode},
    probe, run,
};

const SAMPLINGS: [Subsampling; 6] = [
    Subsampling::S444,
    Subsampling::S422,
    Subsampling::S420,
    Subsampling::S440,
    Subsampling::S411,
    Subsampling::S410,
];

/// A small generator, so that every run sees the same cases.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// Slopes, edges and noise in RGB.
fn scene(width: usize, height: usize, noise: usize) -> Vec<u8> {
    let mut random = Random((width * 41 + height) as u64);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let edge = if (x / 7 + y / 11) % 2 == 0 { 70 } else { 0 };
        for channel in 0..3 {
            pixels.push((x * (channel + 2) + y * (5 - channel) + edge + random.next(noise + 1)) as u8);
        }
    }
    pixels
}

fn encoder(pixels: &[u8], width: usize, height: usize) -> Encoder<'_> {
    Encoder::new(pixels, width, height, PixelFormat::Rgb)
}

/// All twins, which must agree; pixels or the flaw.
fn ours(source: &[u8], full: (usize, usize), eighths: u8) -> Result<Picture, Flaw> {
    let full = (full.0 as u32, full.1 as u32);
    let [best, baseline, portable] = [Instructions::Best, Instructions::Baseline, Instructions::Portable]
        .map(|instructions| {
            decode(source, full, eighths, instructions, || Ok::<_, ()>(())).map_err(|refusal| match refusal {
                Refusal::Flaw(flaw) => flaw,
                Refusal::Interrupted(()) => unreachable!(),
            })
        });
    assert!(
        best == portable && baseline == portable,
        "vector and portable code differ at {eighths}/8 of {full:?}"
    );
    best
}

fn theirs(source: &[u8], format: PixelFormat) -> Vec<u8> {
    Decoder::new(source).unwrap().with_output_format(format).decode_image().unwrap().data
}

/// The picture by definition at a scale where no component needs upsampling: an N × M-point transform of each block.
fn definition(source: &[u8], eighths: usize) -> Vec<[f64; 3]> {
    let image = libjpeg_turbo_rs::read_coefficients(source).unwrap();
    let (across, down) = (image.components[0].h_sampling, image.components[0].v_sampling);
    let planes: Vec<(usize, Vec<f64>)> = image
        .components
        .iter()
        .map(|component| {
            let nx = eighths * usize::from(across / component.h_sampling);
            let ny = eighths * usize::from(down / component.v_sampling);
            let stride = component.blocks_x * nx;
            let mut samples = vec![0.0; stride * component.blocks_y * ny];
            let steps = &image.quant_tables[usize::from(component.quant_table_index)];
            for (index, block) in component.blocks.iter().enumerate() {
                let start = index / component.blocks_x * ny * stride + index % component.blocks_x * nx;
                transform(&natural(block, steps), (nx, ny), eighths == 1, &mut samples[start..], stride);
            }
            (stride, samples)
        })
        .collect();
    let width = (usize::from(image.width) * eighths).div_ceil(8);
    let height = (usize::from(image.height) * eighths).div_ceil(8);
    (0..width * height)
        .map(|index| {
            let sample = |plane: usize| planes[plane].1[index / width * planes[plane].0 + index % width];
            let (y, cb, cr) = (sample(0), sample(1) - 128.0, sample(2) - 128.0);
            [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
                .map(|value| value.clamp(0.0, 255.0))
        })
        .collect()
}

/// Zigzag and quantized to rows and whole.
fn natural(block: &[i16; 64], steps: &[u16; 64]) -> [f64; 64] {
    let mut values = [0.0; 64];
    let (mut row, mut column) = (0_usize, 0_usize);
    for quantized in block {
        let place = row * 8 + column;
        values[place] = f64::from(*quantized) * f64::from(steps[place]);
        let upward = (row + column).is_multiple_of(2);
        match (upward, row, column) {
            (true, _, 7) => row += 1,
            (true, 0, _) => column += 1,
            (true, ..) => (row, column) = (row - 1, column + 1),
            (false, 7, _) => column += 1,
            (false, _, 0) => row += 1,
            (false, ..) => (row, column) = (row + 1, column - 1),
        }
    }
    values
}

/// N × M-point; at 1/8 two samples are the means of what the 8-point transform of the first four coefficients gives.
fn transform(values: &[f64; 64], (nx, ny): (usize, usize), means: bool, out: &mut [f64], stride: usize) {
    let wave = |k: usize, i: usize, n: usize| {
        let scale = if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        0.5 * scale * ((2 * i + 1) as f64 * k as f64 * std::f64::consts::PI / (2 * n) as f64).cos()
    };
    let basis = |k: usize, i: usize, n: usize| {
        let span = 8 / n;
        if means && n == 2 {
            (i * span..(i + 1) * span).map(|i| wave(k, i, 8)).sum::<f64>() / span as f64
        } else {
            wave(k, i, n)
        }
    };
    let length = |n: usize| if means && n == 2 { 4 } else { n };
    let (rows, columns) = (length(ny), length(nx));
    for (y, x) in (0..ny).flat_map(|y| (0..nx).map(move |x| (y, x))) {
        let mut sum = 128.0;
        for (v, u) in (0..rows).flat_map(|v| (0..columns).map(move |u| (v, u))) {
            sum += values[v * 8 + u] * basis(v, y, ny) * basis(u, x, nx);
        }
        out[y * stride + x] = sum.clamp(0.0, 255.0);
    }
}

#[test]
fn at_full_size_every_pixel_is_the_reference_decoders() {
    for (width, height) in (1..=40).flat_map(|width| (1..=40).map(move |height| (width, height))) {
        let case = width * 41 + height;
        let pixels = scene(width, height, 30);
        let source = encoder(&pixels, width, height)
            .quality([20, 60, 85, 97, 100][case % 7 % 5])
            .subsampling(SAMPLINGS[case % SAMPLINGS.len()])
            .optimize_huffman(case % 3 == 0)
            .restart_blocks(if case % 4 == 0 { 1 + (case % 9) as u16 } else { 0 })
            .encode()
            .unwrap();
        let found = ours(&source, (width, height), 8).unwrap();
        assert_eq!((found.width, found.height, found.channels), (width, height, 3));
        let expected = theirs(&source, PixelFormat::Rgb);
        assert!(found.pixels == expected, "{width} x {height}, {:?}", SAMPLINGS[case % SAMPLINGS.len()]);
    }
}

#[test]
fn every_sampling_and_every_restart_interval_of_a_larger_picture() {
    let (width, height) = (203, 149);
    let pixels = scene(width, height, 25);
    for sampling in SAMPLINGS {
        for (blocks, rows) in [(0, 0), (1, 0), (5, 0), (13, 0), (0, 1), (0, 3), (9999, 0)] {
            let source = encoder(&pixels, width, height)
                .quality(88)
                .subsampling(sampling)
                .restart_blocks(blocks)
                .restart_rows(rows)
                .encode()
                .unwrap();
            let found = ours(&source, (width, height), 8).unwrap();
            assert!(
                found.pixels == theirs(&source, PixelFormat::Rgb),
                "{sampling:?}, {blocks} blocks, {rows} rows"
            );
        }
    }
}

#[test]
fn a_picture_of_more_than_32_mib_is_the_reference_decoders() {
    // From there on its memory comes from the system, full of zeros and of its whole length.
    let (width, height) = (4099, 2731);
    assert!(width * height * 3 > 32 << 20);
    let mut pixels = scene(width, 61, 0).repeat(height.div_ceil(61));
    pixels.truncate(width * height * 3);
    let source = encoder(&pixels, width, height).quality(60).subsampling(Subsampling::S420).encode().unwrap();
    let full = (width as u32, height as u32);
    let found = decode(&source, full, 8, Instructions::Best, || Ok::<_, ()>(())).unwrap();
    assert!(found.pixels == theirs(&source, PixelFormat::Rgb));
}

#[test]
fn every_scale_is_its_definition() {
    // Large enough for the tables that skip values, and small enough for those without.
    for (width, height) in [(520, 411), (61, 47)] {
        let pixels = scene(width, height, 20);
        for sampling in SAMPLINGS {
            let source = encoder(&pixels, width, height).quality(90).subsampling(sampling).encode().unwrap();
            for eighths in 1..=7 {
                let found = match ours(&source, (width, height), eighths) {
                    Err(Flaw::Unusual(_)) if eighths > 4 && sampling != Subsampling::S444 => continue,
                    found => found.unwrap(),
                };
                assert_eq!(found.width, (width * usize::from(eighths)).div_ceil(8));
                assert_eq!(found.height, (height * usize::from(eighths)).div_ceil(8));
                // Here chroma is left to interpolation, across by two or four.
                if sampling == Subsampling::S411 || (sampling == Subsampling::S410 && eighths > 2) {
                    continue;
                }
                let expected = definition(&source, usize::from(eighths));
                for (found, expected) in found.pixels.as_chunks::<3>().0.iter().zip(&expected) {
                    for (found, expected) in found.iter().zip(expected) {
                        let distance = (f64::from(*found) - expected).abs();
                        assert!(distance <= 2.5, "{sampling:?} at {eighths}/8: {found} for {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn grey_pictures_stay_grey() {
    for (width, height) in [(1, 1), (8, 8), (37, 21), (500, 420)] {
        let pixels: Vec<u8> = scene(width, height, 20).into_iter().step_by(3).collect();
        for interval in [0, 3] {
            let source = Encoder::new(&pixels, width, height, PixelFormat::Grayscale)
                .quality(80)
                .restart_blocks(interval)
                .encode()
                .unwrap();
            let found = ours(&source, (width, height), 8).unwrap();
            assert_eq!(found.channels, 1);
            assert!(found.pixels == theirs(&source, PixelFormat::Grayscale));
            for eighths in 1..8 {
                let found = ours(&source, (width, height), eighths).unwrap();
                assert_eq!(found.pixels.len(), found.width * found.height);
            }
        }
    }
}

#[test]
fn photographs_of_the_tests_are_the_same_too() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jpg") {
            continue;
        }
        let source = std::fs::read(&path).unwrap();
        let expected =
            Decoder::new(&source).unwrap().with_output_format(PixelFormat::Rgb).decode_image().unwrap();
        match ours(&source, (expected.width, expected.height), 8) {
            Ok(found) => assert!(found.pixels == expected.data, "{}", path.display()),
            Err(flaw) => assert!(matches!(flaw, Flaw::Unusual(_)), "{}: {flaw}", path.display()),
        }
        count += 1;
    }
    assert!(count >= 3, "only {count} photographs were found");
}

#[test]
fn whatever_is_read_of_odd_files_is_what_the_second_decoder_reads() {
    let seeds: Vec<_> =
        odd::seeds().into_iter().filter(|(_, source)| source.starts_with(&[0xff, 0xd8])).collect();
    let mut counts = BTreeMap::new();
    let mutations = odd::mutations(&seeds, 20);
    seeds.iter().cloned().chain(mutations).chain(odd::packages()).for_each(|file| both(file, &mut counts));
    println!("{counts:?}");
    assert!(counts["read by both"] > 60);
}

/// Whether the blocks of a file stay within what 16 bits hold on the way to samples, as those of pictures do. Beyond it depends on the width
/// of the sums what comes out: the reference's own vector code and its plain code disagree there.
fn is_picture(source: &[u8]) -> bool {
    // The first pass multiplies by at most 11363 / 8192 and keeps two bits more.
    const SUM_MAX: f64 = 32_767.0 / 4.0 * 8192.0 / 11_363.0 - 1.0;
    let image = libjpeg_turbo_rs::read_coefficients(source).unwrap();
    image.components.iter().all(|component| {
        let steps = &image.quant_tables[usize::from(component.quant_table_index)];
        component
            .blocks
            .iter()
            .all(|block| natural(block, steps).into_iter().map(f64::abs).sum::<f64>() < SUM_MAX)
    })
}

/// Reads a file at every scale by all twins, and at full size by the second decoder; counts what came of it.
fn both((name, source): (String, Vec<u8>), counts: &mut BTreeMap<&str, usize>) {
    let limits = Limits { pixels_max: 8_000_000, ..Limits::default() };
    let header = probe(Cursor::new(&source), &limits).ok().filter(|header| header.format == Format::Jpeg);
    let full = header.map(|header| (header.width as usize, header.height as usize));
    let found = full.map(|full| [1, 2, 3, 4, 5, 6, 7, 8].map(|eighths| ours(&source, full, eighths)));
    let word = match &found {
        None => "no JPEG, or none of a size to try",
        Some([.., Err(_)]) => "left to the general decoder",
        Some([smaller @ .., Ok(whole)]) => {
            for (eighths, found) in (1..).zip(smaller) {
                let size = |side: usize| (side * eighths).div_ceil(8);
                let read = found
                    .as_ref()
                    .map(|found| (found.width, found.height) == (size(whole.width), size(whole.height)));
                let left = matches!(found, Err(Flaw::Unusual(_))) && eighths > 4;
                assert!(left || read == Ok(true), "{name} at {eighths}/8: {read:?}");
            }
            let format = if whole.channels == 1 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
            let expected =
                Decoder::new(&source).and_then(|decoder| decoder.with_output_format(format).decode_image());
            match expected {
                Ok(expected) if expected.data == whole.pixels => "read by both",
                Ok(_) => {
                    assert!(!is_picture(&source), "{name}: the second decoder has other pixels");
                    "read by both, coefficients that no picture has"
                }
                Err(_) => "refused by the second decoder",
            }
        }
    };
    *counts.entry(word).or_default() += 1;
}

#[test]
fn inks_of_different_sizes_do_no_harm() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/jpeg-cmyk.jpg");
    let mut source = std::fs::read(path).unwrap();
    let frame = source.windows(2).position(|mark| mark == [0xff, 0xc0]).unwrap();
    assert_eq!(source[frame + 11], 0x11, "the first ink's sampling");
    source[frame + 11] = 0x22;
    let output = serde_json::json!({"outputs": [{"name": "a", "format": "bmp"}]});
    let pipeline = serde_json::from_value(output).unwrap();
    let made = run(&source, &pipeline, &Assets::none(), &Limits::default(), &Unattended);
    let code = made.map(|_| ()).map_err(|error| error.code());
    assert!(matches!(code, Ok(()) | Err(Code::UnsupportedFormat | Code::CorruptImage)), "{code:?}");
}

#[test]
fn other_kinds_of_jpeg_are_called_unusual() {
    let (width, height) = (40, 30);
    let pixels = scene(width, height, 20);
    let base = || encoder(&pixels, width, height).quality(80);
    let cmyk: Vec<u8> = pixels.iter().chain(&pixels[..width * height]).copied().collect();
    let deep: Vec<i16> = pixels.iter().map(|value| i16::from(*value) * 16).collect();
    let kinds = [
        ("progressive", base().progressive(true).encode()),
        ("arithmetic", base().arithmetic(true).encode()),
        ("lossless", base().lossless(true).encode()),
        ("CMYK", Encoder::new(&cmyk, width, height, PixelFormat::Cmyk).encode()),
        ("RGB", base().colorspace(libjpeg_turbo_rs::ColorSpace::Rgb).encode()),
        (
            "twelve bits",
            libjpeg_turbo_rs::precision::compress_12bit(&deep, width, height, 3, 80, Subsampling::S444),
        ),
        ("sampling", base().sampling_factors(vec![(3, 1), (1, 1), (1, 1)]).encode()),
        ("small luma", base().sampling_factors(vec![(1, 1), (2, 1), (2, 1)]).encode()),
    ];
    for (kind, source) in kinds {
        let found = ours(&source.unwrap(), (width, height), 8);
        assert!(matches!(found, Err(Flaw::Unusual(_))), "{kind}: {found:?}");
    }
}

#[test]
fn another_size_than_announced_is_not_believed() {
    let pixels = scene(20, 10, 5);
    let source = encoder(&pixels, 20, 10).encode().unwrap();
    assert!(ours(&source, (20, 10), 8).is_ok());
    for full in [(10, 20), (20, 11), (0, 0)] {
        assert!(matches!(ours(&source, full, 8), Err(Flaw::Damaged(_))));
    }
    for eighths in [0, 9, 255] {
        assert!(matches!(ours(&source, (20, 10), eighths), Err(Flaw::Unusual(_))));
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (width, height) = (50, 40);
    let pixels = scene(width, height, 25);
    for (sampling, interval) in [(Subsampling::S420, 0), (Subsampling::S444, 4)] {
        let source = encoder(&pixels, width, height)
            .quality(85)
            .subsampling(sampling)
            .restart_blocks(interval)
            .encode()
            .unwrap();
        let whole = ours(&source, (width, height), 4).unwrap();
        for length in 0..source.len() {
            match ours(&source[..length], (width, height), 4) {
                // Only the end-of-image marker is missing.
                Ok(found) => assert!(length >= source.len() - 2 && found == whole, "{length} bytes"),
                Err(flaw) => assert!(matches!(flaw, Flaw::Damaged(_)), "{length} bytes: {flaw}"),
            }
        }
    }
}

#[test]
fn flipped_bits_do_no_harm() {
    let mut random = Random(7);
    let mut survivors = 0;
    for case in 0..400 {
        let (width, height) = (1 + random.next(24), 1 + random.next(24));
        let pixels = scene(width, height, 25);
        let source = encoder(&pixels, width, height)
            .quality(50 + (case % 50) as u8)
            .subsampling(SAMPLINGS[case % SAMPLINGS.len()])
            .restart_blocks((case % 3) as u16)
            .encode()
            .unwrap();
        for _ in 0..FLIPS {
            let mut broken = source.clone();
            for _ in 0..=random.next(3) {
                let place = random.next(broken.len());
                broken[place] ^= 1 << random.next(8);
            }
            survivors += usize::from(ours(&broken, (width, height), 1 + random.next(8) as u8).is_ok());
        }
    }
    // Most flips hit coefficients and give another picture; if none did, nothing was tested.
    assert!(survivors > FLIPS * 10, "{survivors}");
}

/// Broken variants of each of 400 files.
const FLIPS: usize = 50;

#[test]
fn headers_made_of_anything_do_no_harm() {
    let mut random = Random(11);
    let pixels = scene(24, 24, 25);
    let source = encoder(&pixels, 24, 24).encode().unwrap();
    for _ in 0..3000 {
        let mut broken = source.clone();
        let place = 2 + random.next(600.min(broken.len() - 2));
        match random.next(3) {
            0 => broken[place] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.next(6)],
            1 => drop(broken.drain(place..(place + random.next(9)).min(source.len()))),
            _ => {
                drop(broken.splice(
                    place..place,
                    [255, 0, 17, 196, 1, 2, 218, 0, 64].into_iter().take(random.next(9)),
                ))
            }
        }
        drop(ours(&broken, (24, 24), 8));
    }
}

#[test]
fn a_check_ends_the_decode_between_rows() {
    let pixels = scene(64, 64, 5);
    let source = encoder(&pixels, 64, 64).subsampling(Subsampling::S420).encode().unwrap();
    let mut asked = 0;
    let stopped = decode(&source, (64, 64), 8, Instructions::Best, || {
        asked += 1;
        if asked == 3 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((stopped, asked), (Err(Refusal::Interrupted("enough")), 3));
}
