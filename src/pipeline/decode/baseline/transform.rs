//! The inverse DCT at every scale, in integers.
//!
//! Owns its constants, its data layout and the portable implementation, which is the oracle of the vector ones.
//!
//! A block scaled to N × M samples is the N × M-point inverse DCT of its N × M lowest coefficients: two passes of small matrix products
//! with bases c₀ = 1, cₖ(i) = √2 cos((2i + 1) k π / 2N), fixed-point with 13 fraction bits and 2 more kept between the passes. For
//! N = 8 the constants and roundings are those of the reference's accurate integer transform (jidctint.c, after Loeffler, Ligtenberg and
//! Moschytz), whose results come out bit for bit.
//!
//! Layout: rows are stored in pairs, (0,2) (4,6) (1,3) (5,7); of each pair the two coefficients of a column stand side by side. One
//! multiply-add of 16-bit pairs then takes both, and even and odd rows meet only in the last sum and difference.

use super::entropy::Block;

/// Coefficients or quantization steps in this module's layout; the first 64 count.
pub(super) type Steps = [i16; 64];

/// Fraction bits of the constants.
const CONST_BITS: u32 = 13;
/// Fraction bits kept between the passes.
const PASS_BITS: u32 = 2;
/// Right shift after the first pass.
pub(super) const FIRST_SHIFT: u32 = CONST_BITS - PASS_BITS;
/// Right shift after the second: the 3 bits are the 8 that a two-dimensional transform scales by.
pub(super) const SECOND_SHIFT: u32 = CONST_BITS + PASS_BITS + 3;
/// Rounds the first pass to nearest.
pub(super) const FIRST_ROUND: i32 = 1 << (FIRST_SHIFT - 1);
/// Rounds the second pass to nearest and moves the zero level to 128.
pub(super) const SECOND_ROUND: i32 = (1 << (SECOND_SHIFT - 1)) + (128 << SECOND_SHIFT);

/// The rows of each pair.
pub(super) const PAIRS: [[usize; 2]; 4] = [[0, 2], [4, 6], [1, 3], [5, 7]];

/// The constants of one length: for each pair of rows, what it adds to each sample of the first half.
pub(super) type Basis = [[[i16; 2]; 4]; 4];

/// The bases of lengths 0 (unused) to 8.
pub(super) const BASES: [Basis; 9] = {
    let mut bases = [[[[0; 2]; 4]; 4]; 9];
    let mut length = 1;
    while length <= 8 {
        bases[length] = basis(length);
        length += 1;
    }
    bases
};

const fn basis(length: usize) -> Basis {
    let mut basis = [[[0; 2]; 4]; 4];
    let mut pair = 0;
    while pair < 4 {
        let mut sample = 0;
        while sample < length.div_ceil(2) {
            let mut side = 0;
            while side < 2 {
                let row = PAIRS[pair][side];
                if row < length {
                    basis[pair][sample][side] = if length == 8 { EIGHT[row][sample] } else { fixed(row, sample, length) };
                }
                side += 1;
            }
            sample += 1;
        }
        pair += 1;
    }
    basis
}

/// Length 8: the reference's rotations (FIX_0_298631336 and so on) multiplied out, which differs from the rounded cosines in places.
const EIGHT: [[i16; 4]; 8] = [
    [8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260],
    [10703, 4433, -4433, -10703],
    [9633, -2259, -11362, -6436],
    [8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633],
    [4433, -10704, 10704, -4433],
    [2260, -6436, 9633, -11363],
];

/// cₖ(i) of the given length, in fixed point.
const fn fixed(k: usize, sample: usize, length: usize) -> i16 {
    if k == 0 {
        return 1 << CONST_BITS;
    }
    // The angle is m π / 2N; folded into the first quadrant.
    let full = 4 * length;
    let mut m = (2 * sample + 1) * k % full;
    if m > full / 2 {
        m = full - m;
    }
    let (m, sign) = if m > length { (2 * length - m, -1.0) } else { (m, 1.0) };
    let angle = m as f64 * std::f64::consts::PI / (2 * length) as f64;
    let mut term = 1.0;
    let mut cosine = 1.0;
    let mut step = 1;
    while step < 24 {
        term *= -angle * angle / (step * (step + 1)) as f64;
        cosine += term;
        step += 2;
    }
    let scaled = sign * cosine * std::f64::consts::SQRT_2 * (1 << CONST_BITS) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i16
}

/// The place of coefficient (row, column) in this module's layout.
pub(super) fn place(row: usize, column: usize) -> usize {
    let pair = row % 2 * 2 + row / 4;
    pair * 16 + column * 2 + row / 2 % 2
}

/// One pass over one line of coefficients.
#[inline(always)]
fn pass<const N: usize>(line: impl Fn(usize) -> i16, round: i32) -> [i32; 8] {
    let basis = &BASES[N];
    let mut samples = [0; 8];
    for sample in 0..N.div_ceil(2) {
        let mut sums = [round, 0];
        for (pair, rows) in PAIRS.iter().enumerate() {
            for (side, row) in rows.iter().enumerate().filter(|(_, row)| **row < N) {
                let product = i32::from(line(*row)) * i32::from(basis[pair][sample][side]);
                sums[pair / 2] = sums[pair / 2].wrapping_add(product);
            }
        }
        // In the middle of an odd length the odd rows are zero, and both are the same sample.
        samples[N - 1 - sample] = sums[0].wrapping_sub(sums[1]);
        samples[sample] = sums[0].wrapping_add(sums[1]);
    }
    samples
}

/// Transforms `block` to `NY` rows of `NX` samples, written at the start of `out`, whose rows are `stride` apart. Bytes up to the eighth of
/// each row may be overwritten.
#[inline(always)]
pub(super) fn inverse<const NY: usize, const NX: usize>(
    block: &Block,
    steps: &Steps,
    out: &mut [u8],
    stride: usize,
) {
    let mut half = [[0_i16; 8]; NY];
    for column in 0..NX {
        let line = |row| block[place(row, column)].wrapping_mul(steps[place(row, column)]);
        for (row, sample) in half.iter_mut().zip(pass::<NY>(line, FIRST_ROUND)) {
            row[column] = (sample >> FIRST_SHIFT) as i16;
        }
    }
    for (row, half) in out.chunks_mut(stride).zip(half) {
        let samples = pass::<NX>(|column| half[column], SECOND_ROUND);
        for (byte, sample) in row.iter_mut().zip(&samples[..NX]) {
            *byte = (sample >> SECOND_SHIFT).clamp(0, 255) as u8;
        }
    }
}

/// A block of nothing but its DC coefficient, at any scale: what [`inverse`] gives, without the work.
#[inline(always)]
pub(super) fn flat(block: &Block, steps: &Steps) -> u8 {
    let dc = i32::from(block[0].wrapping_mul(steps[0]));
    // The first pass shifts left by its two bits, in 16 bits; the second divides by the 32 that remain.
    let half = i32::from((dc << PASS_BITS) as i16);
    (((half + 16) >> 5) + 128).clamp(0, 255) as u8
}
