//! `phash`: 64 bits that stay nearly the same when a picture is resized, recompressed or slightly retouched; two pictures are alike if few bits
//! differ (up to about ten). The perceptual hash of phash.org as Python's `imagehash.phash` has it: luma at 32 × 32, its cosine transform, of
//! the 8 × 8 lowest waves those above their median, row by row. Transparent pictures lie on white.

use std::f64::consts::PI;

use serde_json::{Value, json};

use super::{About, Needs, Small, Subject};
use crate::pipeline::{
    Control, Interrupt,
    color::luma,
    image::{Image, Layout, Size},
    resample::{Kernel, resample},
};

/// Side of the picture that is transformed.
const SIDE: usize = 32;

/// Waves a side that count.
const WAVES: usize = 8;

pub(super) const ABOUT: About = About {
    name: "phash",
    summary: "Perceptual hash of 64 bits in hex: alike pictures differ in few bits.",
    needs: Needs::Pixels,
    schema: || json!({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    Ok(format!("{:016x}", hash(subject.small(), subject.control)?).into())
}

fn hash(small: &Small, control: &dyn Control) -> Result<u64, Interrupt> {
    let grey = small.over_white().map(|[red, green, blue]| luma(red, green, blue)).collect();
    let image = Image::new(Size::new(small.width as u32, small.height as u32), Layout::Grey, grey);
    let window = [0.0, 0.0, small.width as f64, small.height as f64];
    let square = resample(image, window, Size::new(SIDE as u32, SIDE as u32), Kernel::Lanczos3, control)?;
    let wave = |count: usize, at: usize| (PI * count as f64 * (at as f64 + 0.5) / SIDE as f64).cos();
    let mut rows = [[0.0; WAVES]; SIDE];
    for (row, line) in rows.iter_mut().zip(square.pixels().chunks_exact(SIDE)) {
        for (count, sum) in row.iter_mut().enumerate() {
            *sum = line.iter().enumerate().map(|(at, value)| f64::from(*value) * wave(count, at)).sum();
        }
    }
    let mut waves = [0.0; WAVES * WAVES];
    for (index, sum) in waves.iter_mut().enumerate() {
        let (down, across) = (index / WAVES, index % WAVES);
        *sum = rows.iter().enumerate().map(|(at, row)| row[across] * wave(down, at)).sum();
    }
    let mut sorted = waves;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[31] + sorted[32]) / 2.0;
    Ok(waves.iter().fold(0, |bits, wave| bits << 1 | u64::from(*wave > median)))
}
