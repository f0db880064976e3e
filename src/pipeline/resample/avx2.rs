//! Scaling of RGB for x86-64 with AVX2: eight rows of the result at a time.
//!
//! First the rows of the source are blended into the eight, at the source's width; these then lie side by side, channel by channel, so
//! that one instruction weighs the same two columns of all eight. No row leaves the cache in between. Owns the only `unsafe` of scaling:
//! vector loads and stores inside bounds that are checked beside them, and calls that need the instructions that [`Avx2::detect`] has
//! found. The results are those of `fast_image_resize`, which needs half as long again.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::weights::Weights;

/// Rows of the result that are made at a time.
const ROWS: usize = 8;
/// Channels.
const CHANNELS: usize = 3;
/// Columns that are turned at a time: three vectors of 16 bytes.
const TURNED: usize = 16;
/// Values of two columns: both bytes of each row of each channel.
const PAIR: usize = 2 * ROWS * CHANNELS;
/// Bytes of a row that are blended at a time.
const BLENDED: usize = 64;
/// Columns of the result that are written at a time.
const WRITTEN: usize = 4;

/// Proof that the machine has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Looks at the machine.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Scales rows of `width` pixels and appends the result; both axes' weights lie inside the source, those `across` begin at even columns.
    /// `false`, and nothing done, where the columns looked at are too few to fill a vector.
    pub(super) fn scale(
        self,
        source: &[u8],
        width: usize,
        across: &Weights,
        down: &Weights,
        out: &mut Vec<u8>,
    ) -> bool {
        // Where weights are rounded to nothing, a later column may begin before an earlier one.
        let from = across.starts.iter().min().copied().unwrap_or(0);
        let end = across.starts.iter().max().map_or(0, |start| start + 2 * across.pairs);
        let columns = from..end.min(width);
        if columns.len() * CHANNELS < BLENDED {
            return false;
        }
        let rows: Vec<&[u8]> = source
            .chunks_exact(width * CHANNELS)
            .map(|row| &row[columns.start * CHANNELS..columns.end * CHANNELS])
            .collect();
        // SAFETY: `self` exists only where `detect` found the instructions.
        unsafe { scale(&rows, columns.start, across, down, out) }
        true
    }
}

/// Bytes that [`Avx2::scale`] needs beside source and result.
pub(super) fn working_bytes(width: usize, targets: usize) -> usize {
    ROWS * CHANNELS * (3 * (width + 4 * TURNED) + targets + WRITTEN)
}

/// `rows` begin at column `from`.
#[target_feature(enable = "avx2")]
fn scale(source: &[&[u8]], from: usize, across: &Weights, down: &Weights, out: &mut Vec<u8>) {
    let (line, targets) = (source[0].len(), across.starts.len());
    // Columns behind the last count nothing, but are there.
    let turned = (line / CHANNELS + 2 * across.pairs).next_multiple_of(TURNED);
    let mut blended = vec![0; ROWS * turned * CHANNELS];
    let mut pairs = vec![0; turned / 2 * PAIR];
    // A vector holds four bytes more than the columns that it is written for.
    let mut rows = vec![0; ROWS * (targets.next_multiple_of(WRITTEN) * CHANNELS + 4)];
    let mut taps = Vec::with_capacity(down.pairs);
    let height = down.starts.len();
    for first in (0..height).step_by(ROWS) {
        let count = ROWS.min(height - first);
        for (target, row) in (first..first + count).zip(blended.chunks_exact_mut(turned * CHANNELS)) {
            // A row behind the last counts nothing.
            let row_at = |row: usize| source[row.min(source.len() - 1)];
            taps.clear();
            let pairs = (down.starts[target]..).step_by(2).zip(down.of(target));
            taps.extend(pairs.map(|(at, pair)| (row_at(at), row_at(at + 1), *pair)));
            blend(&taps, down.precision, &mut row[..line]);
        }
        turn(&blended, &mut pairs);
        weigh(&pairs, from, across, &mut rows);
        for row in rows.chunks_exact(rows.len() / ROWS).take(count) {
            out.extend_from_slice(&row[..targets * CHANNELS]);
        }
    }
}

/// One row of the result at the source's width, from pairs of rows and what they count.
#[target_feature(enable = "avx2")]
fn blend(taps: &[(&[u8], &[u8], i32)], precision: u32, out: &mut [u8]) {
    let round = _mm256_set1_epi32(1 << (precision - 1));
    let shift = _mm_cvtsi32_si128(precision as i32);
    let last = out.len() - BLENDED;
    let mut at = 0;
    loop {
        let (mut left, mut right) = ([round; 4], [round; 4]);
        for (upper, lower, pair) in taps {
            let pair = _mm256_set1_epi32(*pair);
            add(&mut left, load(upper, at), load(lower, at), pair);
            add(&mut right, load(upper, at + 32), load(lower, at + 32), pair);
        }
        store(out, at, bytes(left, shift));
        store(out, at + 32, bytes(right, shift));
        if at == last {
            return;
        }
        // The last vectors may overlap those before.
        at = last.min(at + BLENDED);
    }
}

/// Adds two rows' bytes, each times its weight.
#[target_feature(enable = "avx2")]
#[inline]
fn add(sums: &mut [__m256i; 4], upper: __m256i, lower: __m256i, pair: __m256i) {
    let zero = _mm256_setzero_si256();
    let (low, high) = (_mm256_unpacklo_epi8(upper, lower), _mm256_unpackhi_epi8(upper, lower));
    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), pair));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), pair));
    sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), pair));
    sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), pair));
}

/// The whole parts of sums, in the order that `add` took their bytes from.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes([a, b, c, d]: [__m256i; 4], shift: __m128i) -> __m256i {
    let low = _mm256_packs_epi32(_mm256_sra_epi32(a, shift), _mm256_sra_epi32(b, shift));
    let high = _mm256_packs_epi32(_mm256_sra_epi32(c, shift), _mm256_sra_epi32(d, shift));
    _mm256_packus_epi16(low, high)
}

/// Lays eight rows side by side: for two columns each, per channel the two bytes of all rows.
#[target_feature(enable = "avx2")]
fn turn(rows: &[u8], out: &mut [i16]) {
    let line = rows.len() / ROWS;
    let mut columns = [0u8; TURNED * CHANNELS * ROWS];
    for (block, out) in out.chunks_exact_mut(TURNED / 2 * PAIR).enumerate() {
        for part in 0..CHANNELS {
            let mut bytes = [_mm_setzero_si128(); ROWS];
            for (row, bytes) in bytes.iter_mut().enumerate() {
                *bytes = load_half(rows, row * line + (block * CHANNELS + part) * 16);
            }
            // Rows 0 4 1 5 and so on, then 0 2 4 6 beside 1 3 5 7, then all eight: column by column.
            let bytes = interleaved(interleaved(interleaved(bytes)));
            for (index, two) in bytes.into_iter().enumerate() {
                store_half(&mut columns, part * 128 + index * 16, two);
            }
        }
        for (pair, out) in out.chunks_exact_mut(PAIR).enumerate() {
            for channel in 0..CHANNELS {
                let at = (pair * 2 * CHANNELS + channel) * ROWS;
                let (left, right) = (load_eight(&columns, at), load_eight(&columns, at + CHANNELS * ROWS));
                store_values(out, channel * 16, _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(left, right)));
            }
        }
    }
}

/// The bytes of the first four vectors between those of the last four.
#[target_feature(enable = "avx2")]
#[inline]
fn interleaved([a, b, c, d, e, f, g, h]: [__m128i; ROWS]) -> [__m128i; ROWS] {
    [
        _mm_unpacklo_epi8(a, e),
        _mm_unpackhi_epi8(a, e),
        _mm_unpacklo_epi8(b, f),
        _mm_unpackhi_epi8(b, f),
        _mm_unpacklo_epi8(c, g),
        _mm_unpackhi_epi8(c, g),
        _mm_unpacklo_epi8(d, h),
        _mm_unpackhi_epi8(d, h),
    ]
}

/// The columns of the result, in eight rows of their own.
#[target_feature(enable = "avx2")]
fn weigh(pairs: &[i16], from: usize, weights: &Weights, rows: &mut [u8]) {
    let made = rows.len() / ROWS;
    let last = weights.starts.len() - 1;
    let dense = _mm256_setr_epi8(
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3, //
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3,
    );
    for first in (0..=last).step_by(WRITTEN) {
        let mut pixels = [_mm256_setzero_si256(); WRITTEN];
        for (target, pixel) in (first..).zip(&mut pixels) {
            // Behind the last column stands that column again.
            let target = target.min(last);
            let there = &pairs[(weights.starts[target] - from) / 2 * PAIR..][..weights.pairs * PAIR];
            *pixel = column(there, weights.of(target), weights.precision);
        }
        let [a, b, c, d] = pixels;
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        let lines = [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ef, gh),
            _mm256_unpackhi_epi64(ef, gh),
        ];
        for (row, line) in lines.into_iter().enumerate() {
            let line = _mm256_shuffle_epi8(line, dense);
            let at = row * made + first * CHANNELS;
            store_half(rows, at, _mm256_castsi256_si128(line));
            store_half(rows, at + 4 * made, _mm256_extracti128_si256::<1>(line));
        }
    }
}

/// One column of all rows: its channels and a byte that nobody needs, row by row.
#[target_feature(enable = "avx2")]
#[inline]
fn column(there: &[i16], weights: &[i32], precision: u32) -> __m256i {
    let shift = _mm_cvtsi32_si128(precision as i32);
    let round = _mm256_set1_epi32(1 << (precision - 1));
    let (mut red, mut green, mut blue) = (round, round, round);
    for (weight, there) in weights.iter().zip(there.chunks_exact(PAIR)) {
        let weight = _mm256_set1_epi32(*weight);
        red = _mm256_add_epi32(red, _mm256_madd_epi16(load_values(there, 0), weight));
        green = _mm256_add_epi32(green, _mm256_madd_epi16(load_values(there, 16), weight));
        blue = _mm256_add_epi32(blue, _mm256_madd_epi16(load_values(there, 32), weight));
    }
    let (red, green) = (_mm256_sra_epi32(red, shift), _mm256_sra_epi32(green, shift));
    let blue = _mm256_sra_epi32(blue, shift);
    let bytes = _mm256_packus_epi16(_mm256_packs_epi32(red, green), _mm256_packs_epi32(blue, blue));
    // Four rows of a channel each become the channels of each row.
    let by_row = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, //
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    );
    _mm256_shuffle_epi8(bytes, by_row)
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8], from: usize) -> __m256i {
    let bytes = &bytes[from..from + 32];
    // SAFETY: the slice has the 32 bytes that are read; the load is unaligned.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_half(bytes: &[u8], from: usize) -> __m128i {
    let bytes = &bytes[from..from + 16];
    // SAFETY: the slice has the 16 bytes that are read; the load is unaligned.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_eight(bytes: &[u8], from: usize) -> __m128i {
    let bytes = &bytes[from..from + 8];
    // SAFETY: the slice has the 8 bytes that are read; the load is unaligned.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_values(values: &[i16], from: usize) -> __m256i {
    let values = &values[from..from + 16];
    // SAFETY: the slice has the 32 bytes that are read; the load is unaligned.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(bytes: &mut [u8], from: usize, vector: __m256i) {
    let bytes = &mut bytes[from..from + 32];
    // SAFETY: the slice has the 32 bytes that are written; the store is unaligned.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_half(bytes: &mut [u8], from: usize, vector: __m128i) {
    let bytes = &mut bytes[from..from + 16];
    // SAFETY: the slice has the 16 bytes that are written; the store is unaligned.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_values(values: &mut [i16], from: usize, vector: __m256i) {
    let values = &mut values[from..from + 16];
    // SAFETY: the slice has the 32 bytes that are written; the store is unaligned.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), vector) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain Rust, one sample after the other.
    fn plain(source: &[u8], width: usize, across: &Weights, down: &Weights) -> Vec<u8> {
        let sum = |weights: &Weights, target: usize, count: usize, sample: &dyn Fn(usize) -> u8| {
            let halves = weights.of(target).iter().flat_map(|pair| [*pair as i16, (*pair >> 16) as i16]);
            let products = (weights.starts[target]..count)
                .zip(halves)
                .map(|(at, weight)| i32::from(weight) * i32::from(sample(at)));
            ((products.sum::<i32>() + (1 << (weights.precision - 1))) >> weights.precision).clamp(0, 255)
                as u8
        };
        let line = width * CHANNELS;
        let blended: Vec<Vec<u8>> = (0..down.starts.len())
            .map(|y| {
                (0..line).map(|x| sum(down, y, source.len() / line, &|row| source[row * line + x])).collect()
            })
            .collect();
        let pixel = |row: &[u8], x: usize| {
            [0, 1, 2].map(|channel| sum(across, x, width, &|column| row[column * CHANNELS + channel]))
        };
        blended.iter().flat_map(|row| (0..across.starts.len()).flat_map(|x| pixel(row, x))).collect()
    }

    #[test]
    fn vectors_and_plain_sums_agree() {
        let Some(avx2) = Avx2::detect() else { return };
        let noise = |length: usize| {
            (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
        };
        // Shrunk and enlarged, one row to more than eight, stretches in the middle, one whose second column begins before its first, from wide
        // enough to too narrow.
        for (width, height, left, right, targets, rows) in [
            (50, 20, 0.0, 50.0, 40, 16),
            (64, 9, 0.0, 64.0, 13, 11),
            (23, 3, 0.0, 23.0, 37, 9),
            (90, 5, 30.5, 61.25, 21, 1),
            (33, 6, 2.2, 21.4, 32, 9),
            (22, 4, 0.0, 22.0, 1, 3),
            (21, 4, 0.0, 21.0, 9, 3),
        ] {
            let source: Vec<u8> = noise(width * height * CHANNELS);
            let across = Weights::new(width as u32, (left, right), targets, 2);
            let down = Weights::new(height as u32, (0.0, height as f64), rows, 1);
            let mut out = Vec::new();
            assert_eq!(avx2.scale(&source, width, &across, &down, &mut out), width > 21, "{width}");
            let expected = if width > 21 { plain(&source, width, &across, &down) } else { Vec::new() };
            assert!(out == expected, "{width}×{height} to {targets}×{rows}");
        }
    }
}
