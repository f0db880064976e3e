//! JPEG decoding, ours beside the others, at the scales that the planner uses.
//!
//! `cargo bench --bench jpeg [-- FILE…]`: ratios of wall times in one run, every round interleaved, minimum and median of each. Without files
//! it makes a 12-megapixel one from a photograph of the tests. With `PYTHON=python3` (one that has Pillow) libjpeg-turbo in C takes part
//! through `Image.draft`, which knows 1/8, 1/4, 1/2 and 1/1. `ROUNDS` sets the number of rounds.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Instant,
};

use libjpeg_turbo_rs::{Decoder, Encoder, PixelFormat, ScalingFactor, Subsampling};
use minilab::pipeline::baseline::{Instructions, decode};

/// What answers `path eighths` with seconds, one line each.
const PILLOW: &str = "
import io, sys, time
from PIL import Image
for line in sys.stdin:
    path, eighths = line.rsplit(' ', 1)
    data = open(path, 'rb').read()
    start = time.perf_counter()
    image = Image.open(io.BytesIO(data))
    if int(eighths) < 8:
        image.draft('RGB', (image.width * int(eighths) // 8, image.height * int(eighths) // 8))
    image.load()
    print(time.perf_counter() - start, flush=True)
";

/// Those who take part.
const NAMES: [&str; 6] = ["ours", "ours, SSE2", "ours, portable", "libjpeg-turbo-rs", "zune-jpeg", "Pillow"];

struct Photo {
    path: String,
    source: Vec<u8>,
    full: (u32, u32),
}

fn main() {
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let folder = tempfile::tempdir().unwrap();
    let photos: Vec<Photo> = if files.is_empty() {
        vec![made(&folder.path().join("made.jpg").display().to_string())]
    } else {
        files.iter().map(|path| read(path, std::fs::read(path).unwrap())).collect()
    };
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(7);
    let mut pillow = std::env::var("PYTHON").ok().map(|python| {
        Command::new(python)
            .args(["-c", PILLOW])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    println!(
        "| scale | who | minimum ms | median ms | ours is faster by (minima) | (medians) |\n|---|---|---|---|---|---|"
    );
    for eighths in [1, 2, 3, 4, 8] {
        table(&photos, eighths, rounds, &mut pillow);
    }
    if let Some(mut child) = pillow {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

/// One scale: each photo `rounds` times through everybody in turn.
fn table(photos: &[Photo], eighths: u8, rounds: usize, pillow: &mut Option<Child>) {
    let mut sums = [[0.0; 2]; NAMES.len()];
    for photo in photos {
        let mut times: [Vec<f64>; NAMES.len()] = Default::default();
        for _ in 0..rounds {
            for (who, times) in times.iter_mut().enumerate() {
                times.extend(run(who, photo, eighths, pillow));
            }
        }
        for (sums, times) in sums.iter_mut().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            if let (Some(minimum), Some(median)) = (times.first(), times.get(times.len() / 2)) {
                sums[0] += minimum / photos.len() as f64;
                sums[1] += median / photos.len() as f64;
            }
        }
    }
    for (name, [minimum, median]) in NAMES.iter().zip(sums).filter(|(_, sums)| sums[0] > 0.0) {
        let (minima, medians) = (minimum / sums[0][0], median / sums[0][1]);
        println!(
            "| {eighths}/8 | {name} | {:.1} | {:.1} | {minima:.2} | {medians:.2} |",
            minimum * 1e3,
            median * 1e3
        );
    }
}

/// Seconds of one decode; `None` for who does not take part at this scale.
fn run(who: usize, photo: &Photo, eighths: u8, pillow: &mut Option<Child>) -> Option<f64> {
    let start = Instant::now();
    let bytes = match who {
        0 => ours(photo, eighths, Instructions::Best),
        1 => ours(photo, eighths, Instructions::Baseline),
        2 => ours(photo, eighths, Instructions::Portable),
        3 => turbo(photo, eighths),
        4 if eighths == 8 => {
            zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(&photo.source))
                .decode()
                .unwrap()
                .len()
        }
        5 if eighths != 3 => return pillow.as_mut().map(|child| ask(child, photo, eighths)),
        _ => return None,
    };
    assert!(std::hint::black_box(bytes) > 0);
    Some(start.elapsed().as_secs_f64())
}

fn ours(photo: &Photo, eighths: u8, instructions: Instructions) -> usize {
    decode(&photo.source, photo.full, eighths, instructions, || Ok::<_, ()>(())).unwrap().pixels.len()
}

fn turbo(photo: &Photo, eighths: u8) -> usize {
    let (numerator, denominator) = match eighths {
        8 => (1, 1),
        4 => (1, 2),
        2 => (1, 4),
        eighths => (u32::from(eighths), 8),
    };
    let decoder = Decoder::new(&photo.source).unwrap();
    let scale = ScalingFactor::try_new(numerator, denominator).unwrap();
    decoder.with_output_format(PixelFormat::Rgb).with_scale(scale).decode_image().unwrap().data.len()
}

fn ask(child: &mut Child, photo: &Photo, eighths: u8) -> f64 {
    writeln!(child.stdin.as_mut().unwrap(), "{} {eighths}", photo.path).unwrap();
    let mut line = String::new();
    // One answer per question, so that nothing is left in the reader when it goes.
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

fn read(path: &str, source: Vec<u8>) -> Photo {
    let decoder = Decoder::new(&source).unwrap();
    let full = (u32::from(decoder.header().width), u32::from(decoder.header().height));
    Photo { path: path.to_owned(), full, source }
}

/// 4000 × 3000 pixels of a photograph of the tests, repeated.
fn made(path: &str) -> Photo {
    let source = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/path.jpg")).unwrap();
    let image = Decoder::new(&source).unwrap().with_output_format(PixelFormat::Rgb).decode_image().unwrap();
    let mut pixels = Vec::new();
    for (y, x) in (0..3000).flat_map(|y| (0..4000).map(move |x| (y % image.height, x % image.width))) {
        let start = (y * image.width + x) * 3;
        pixels.extend_from_slice(&image.data[start..start + 3]);
    }
    let encoder =
        Encoder::new(&pixels, 4000, 3000, PixelFormat::Rgb).quality(88).subsampling(Subsampling::S420);
    let source = encoder.encode().unwrap();
    std::fs::write(path, &source).unwrap();
    read(path, source)
}
