//! The inverse DCT at every scale, in integers.
//!
//! Owns its constants, its data layout and the portable implementation, which is the oracle of the vector ones.
//!
//! A block scaled to N × M samples is the N × M-point inverse DCT of its N × M lowest coefficients: two passes of small matrix products
//! with bases c₀ = 1, cₖ(i) = √2 cos((2i + 1) k π / 2N), fixed-point with 13 fraction bits and 2 more kept between the passes. For
//! N = 8 the constants and roundings are those of the reference's accurate integer transform (jidctint.c, after Loeffler, Ligtenberg and
//! Moschytz), whose results come out bit for bit.
//!
//! One more length, [`MEANS`], gives two samples that are the means of their halves of the block. At 1/8 a sample of full resolution is the
//! mean of its block, and chroma of half the resolution that is sharper beside it costs up to 0.7 dB after a further reduction.
//!
//! Layout: rows are stored in pairs, (0,2) (4,6) (1,3) (5,7); of each pair the two coefficients of a column stand side by side. One
//! multiply-add of 16-bit pairs then takes both, and even and odd rows meet only in the last sum and difference.

/// Coefficients in this module's layout: 64, or 16 where [`is_packed`].
pub(super) type Block = [i16];

/// Quantization steps in this module's layout.
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

/// The length that stands for two samples, each the mean of its half of the block.
pub(super) const MEANS: usize = 9;

/// Samples that a length gives.
pub(super) const fn samples(length: usize) -> usize {
    if length == MEANS { 2 } else { length }
}

/// Coefficients that a length takes. The means take those of the first four that are not zero for them; the rest adds little.
pub(super) const fn coefficients(length: usize) -> usize {
    if length == MEANS { 4 } else { length }
}

/// The bases of lengths 0 (unused) to 8, and of the means.
pub(super) const BASES: [Basis; MEANS + 1] = {
    let mut bases = [[[[0; 2]; 4]; 4]; MEANS + 1];
    let mut length = 1;
    while length <= MEANS {
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
        while sample < samples(length).div_ceil(2) {
            let mut side = 0;
            while side < 2 {
                let row = PAIRS[pair][side];
                if row < coefficients(length) {
                    basis[pair][sample][side] = match length {
                        8 => EIGHT[row][sample],
                        MEANS => mean(row),
                        _ => fixed(row, sample, length),
                    };
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

/// The mean of the four samples that length 8 gives for the first half.
const fn mean(k: usize) -> i16 {
    let [a, b, c, d] = EIGHT[k];
    ((a as i32 + b as i32 + c as i32 + d as i32) / 4) as i16
}

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

/// The place of one of the lowest 4 × 4 coefficients, given by its place in a [`Block`], where only these are stored.
pub(super) fn packed(place: usize) -> usize {
    place / 32 * 8 + place % 8
}

/// Whether blocks of these lengths keep only their lowest 4 × 4 coefficients.
pub(super) const fn is_packed(ny: usize, nx: usize) -> bool {
    coefficients(ny) <= 4 && coefficients(nx) <= 4
}

/// One pass of length `N` over eight lanes at once: sums of products of the paired rows, then the sum and the difference of the even and
/// odd halves.
#[inline(always)]
fn pass<const N: usize>(pairs: &[[i16; 16]; 4], round: i32) -> [[i32; 8]; 8] {
    let mut out = [[0; 8]; 8];
    for sample in 0..samples(N).div_ceil(2) {
        let mut sums = [[round; 8], [0; 8]];
        for (index, pair) in pairs.iter().enumerate().filter(|(index, _)| PAIRS[*index][0] < coefficients(N))
        {
            let [first, second] = BASES[N][index][sample].map(i32::from);
            for (sum, values) in sums[index / 2].iter_mut().zip(pair.as_chunks::<2>().0) {
                let product = (i32::from(values[0]) * first).wrapping_add(i32::from(values[1]) * second);
                *sum = sum.wrapping_add(product);
            }
        }
        // In the middle of an odd length the odd rows are zero, and both are the same sample.
        for lane in 0..8 {
            out[samples(N) - 1 - sample][lane] = sums[0][lane].wrapping_sub(sums[1][lane]);
            out[sample][lane] = sums[0][lane].wrapping_add(sums[1][lane]);
        }
    }
    out
}

/// Transforms `block` by lengths `NY` (down) and `NX` (across) to rows of samples, written at the start of `out`, whose rows are `stride`
/// apart. Bytes up to the eighth of each row may be overwritten.
#[inline(always)]
pub(super) fn inverse<const NY: usize, const NX: usize>(
    block: &Block,
    steps: &Steps,
    out: &mut [u8],
    stride: usize,
) {
    // Lanes are columns, two values of each side by side.
    let mut pairs = [[0; 16]; 4];
    for (index, (pair, steps)) in pairs.iter_mut().zip(steps.as_chunks::<16>().0).enumerate() {
        let block = match (is_packed(NY, NX), index) {
            (false, _) => &block[index * 16..][..16],
            (true, 0 | 2) => &block[index * 4..][..8],
            (true, _) => &[],
        };
        for (value, (coefficient, step)) in pair.iter_mut().zip(block.iter().zip(steps)) {
            *value = coefficient.wrapping_mul(*step);
        }
    }
    let half = pass::<NY>(&pairs, FIRST_ROUND);
    // Lanes are rows now.
    for (pair, columns) in pairs.iter_mut().zip(PAIRS) {
        for row in 0..samples(NY) {
            for (side, column) in columns.into_iter().enumerate() {
                pair[row * 2 + side] = (half[row][column] >> FIRST_SHIFT) as i16;
            }
        }
    }
    let columns = pass::<NX>(&pairs, SECOND_ROUND);
    let mut turned = [[0; 8]; 8];
    for (row, turned) in turned.iter_mut().enumerate().take(samples(NY)) {
        for (sample, column) in turned.iter_mut().zip(&columns[..samples(NX)]) {
            *sample = (column[row] >> SECOND_SHIFT).clamp(0, 255) as u8;
        }
    }
    for (row, turned) in out.chunks_mut(stride).zip(&turned[..samples(NY)]) {
        row[..8].copy_from_slice(turned);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of the scaled transform, in floating point.
    fn oracle(ny: usize, nx: usize, coefficient: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let basis = |k: usize, i: usize, n: usize| {
            let scale = if k == 0 { 1.0 } else { std::f64::consts::SQRT_2 };
            let wave = |i: usize, n: usize| {
                scale * ((2 * i + 1) as f64 * k as f64 * std::f64::consts::PI / (2 * n) as f64).cos()
            };
            if n == MEANS { (i * 4..i * 4 + 4).map(|i| wave(i, 8)).sum::<f64>() / 4.0 } else { wave(i, n) }
        };
        let mut found = Vec::new();
        for (y, x) in (0..samples(ny)).flat_map(|y| (0..samples(nx)).map(move |x| (y, x))) {
            let mut sum = 0.0;
            let (rows, columns) = (coefficients(ny), coefficients(nx));
            for (v, u) in (0..rows).flat_map(|v| (0..columns).map(move |u| (v, u))) {
                sum += coefficient(v, u) * basis(v, y, ny) * basis(u, x, nx);
            }
            found.push((sum / 8.0 + 128.0).clamp(0.0, 255.0));
        }
        found
    }

    fn random(state: &mut u64) -> u32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    }

    /// A block as the transform of these lengths takes it.
    fn stored<const NY: usize, const NX: usize>(block: &[i16; 64]) -> Vec<i16> {
        if !is_packed(NY, NX) {
            return block.to_vec();
        }
        let mut found = vec![0; 16];
        for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
            found[packed(place(row, column))] = block[place(row, column)];
        }
        found
    }

    fn judge<const NY: usize, const NX: usize>() {
        let mut state = (NY * 8 + NX) as u64;
        // Miri takes a minute for what else takes a moment.
        for round in 0..if cfg!(miri) { 1 } else { 200 } {
            let mut block = [0; 64];
            let mut steps = [0; 64];
            for (value, step) in block.iter_mut().zip(&mut steps) {
                *step = random(&mut state) as i16 % 12 + 1;
                *value = if random(&mut state) % 4 > round % 5 { 0 } else { random(&mut state) as i16 % 40 };
            }
            let stored = stored::<NY, NX>(&block);
            let stride = 19;
            let mut out = vec![0; stride * NY];
            inverse::<NY, NX>(&stored, &steps, &mut out, stride);
            let expected = oracle(NY, NX, |row, column| {
                f64::from(block[place(row, column)] * steps[place(row, column)])
            });
            for (index, expected) in expected.into_iter().enumerate() {
                let found = f64::from(out[index / samples(NX) * stride + index % samples(NX)]);
                assert!((found - expected).abs() < 0.75, "{NY}x{NX}: {found} for {expected}");
            }
            twins::<NY, NX>(&block, &steps, &mut state);
        }
    }

    /// Vector and portable code, on sound blocks and on any other.
    fn twins<const NY: usize, const NX: usize>(block: &[i16; 64], steps: &Steps, state: &mut u64) {
        #[cfg(target_arch = "x86_64")]
        use super::super::avx2::Avx2;
        use super::super::kernels::{Baseline, Kernels};
        let wild = std::array::from_fn(|_| random(state) as i16);
        for block in [block, &wild] {
            let block = &stored::<NY, NX>(block);
            let stride = NX + 9;
            let (mut ours, mut theirs) = (vec![0; stride * NY], vec![0; stride * NY]);
            inverse::<NY, NX>(block, steps, &mut ours, stride);
            let judge = |theirs: &[u8]| {
                for row in 0..samples(NY) {
                    let found = row * stride..row * stride + samples(NX);
                    assert_eq!(ours[found.clone()], theirs[found], "row {row} of {NY}x{NX}");
                }
            };
            Baseline.inverse::<NY, NX>(block, steps, &mut theirs, stride);
            judge(&theirs);
            #[cfg(target_arch = "x86_64")]
            if let Some(avx2) = Avx2::detect() {
                theirs.fill(0);
                avx2.inverse::<NY, NX>(block, steps, &mut theirs, stride);
                judge(&theirs);
            }
        }
    }

    #[test]
    fn every_shape_is_its_definition_and_its_twin() {
        macro_rules! shapes {
            ($(($ny:literal, $nx:literal))*) => {{ $(judge::<$ny, $nx>();)* }};
        }
        shapes!((1, 1)(2, 2)(3, 3)(4, 4)(5, 5)(6, 6)(7, 7)(8, 8));
        shapes!((1, 2)(2, 4)(3, 6)(4, 8)(2, 1)(4, 2)(6, 3)(8, 4)(9, 9)(1, 9)(9, 1)(9, 4));
    }

    #[test]
    fn a_flat_block_is_what_the_transform_makes_of_it() {
        for dc in (-2100..2100).step_by(if cfg!(miri) { 211 } else { 1 }) {
            let mut block = [0; 64];
            block[0] = dc;
            let mut out = [0; 64];
            inverse::<8, 8>(&block, &[1; 64], &mut out, 8);
            assert_eq!(out, [flat(&block, &[1; 64]); 64]);
        }
    }
}
