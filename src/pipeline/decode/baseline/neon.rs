//! The kernels for every AArch64: NEON.
//!
//! Owns what [`super::avx2`] owns, for processors of Arm. `unsafe` are loads and stores inside bounds that are checked beside them, and calls
//! that need what every AArch64 has. Results equal those of the portable code in every bit.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::{
    color::{self, BLUE_CB, GREEN_CB, GREEN_CR, RED_CR},
    kernels::Kernels,
    transform::{
        BASES, Block, FIRST_ROUND, FIRST_SHIFT, PAIRS, SECOND_ROUND, SECOND_SHIFT, Steps, coefficients,
        is_packed, samples,
    },
    window::AHEAD,
};

/// NEON, which every AArch64 has.
#[derive(Clone, Copy)]
pub(super) struct Neon;

impl Kernels for Neon {
    #[inline(always)]
    fn inverse<const NY: usize, const NX: usize>(
        self,
        block: &Block,
        steps: &Steps,
        out: &mut [u8],
        stride: usize,
    ) {
        // SAFETY: NEON is part of every AArch64 that the program is built for.
        unsafe { inverse::<NY, NX>(block, steps, out, stride) }
    }

    #[inline(always)]
    fn rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        // SAFETY: NEON is part of every AArch64 that the program is built for.
        unsafe { rgb(y, cb, cr, out) }
    }

    /// Nothing: the language has no such call for this processor.
    #[inline(always)]
    fn prefetch(self, _: &[u8; AHEAD]) {}
}

/// Eight lanes of 32 bits.
type Lanes = [int32x4_t; 2];

/// Eight columns of two rows that stand side by side in memory, or four, and zeros beside them.
#[target_feature(enable = "neon")]
#[inline]
fn load<const COLUMNS: usize>(values: &[i16], from: usize) -> [int16x8_t; 2] {
    let values = &values[from..from + COLUMNS * 2];
    if COLUMNS == 8 {
        // SAFETY: the slice has the 32 bytes that are read; the load is unaligned.
        let int16x8x2_t(first, second) = unsafe { vld2q_s16(values.as_ptr()) };
        return [first, second];
    }
    assert!(COLUMNS == 4);
    // SAFETY: the slice has the 16 bytes that are read; the load is unaligned.
    let int16x4x2_t(first, second) = unsafe { vld2_s16(values.as_ptr()) };
    [first, second].map(|four| vcombine_s16(four, vdup_n_s16(0)))
}

/// One pass of length `N` over the first four lanes, or over all eight: sums of products of the rows, then the sum and the difference of the even
/// and odd halves.
#[target_feature(enable = "neon")]
#[inline]
fn pass<const N: usize>(rows: &[int16x8_t; 8], lanes: usize, round: i32) -> [Lanes; 8] {
    let mut out = [[vdupq_n_s32(0); 2]; 8];
    for sample in 0..samples(N).div_ceil(2) {
        for half in [0, 1].into_iter().take(lanes.div_ceil(4)) {
            let mut sums = [vdupq_n_s32(round), vdupq_n_s32(0)];
            for (index, pair) in PAIRS.into_iter().enumerate() {
                for (side, row) in pair.into_iter().enumerate().filter(|(_, row)| *row < coefficients(N)) {
                    let factor = BASES[N][index][sample][side];
                    let four = if half == 0 { vget_low_s16(rows[row]) } else { vget_high_s16(rows[row]) };
                    sums[index / 2] = vmlal_n_s16(sums[index / 2], four, factor);
                }
            }
            // In the middle of an odd length the odd rows are zero, and both are the same sample.
            out[samples(N) - 1 - sample][half] = vsubq_s32(sums[0], sums[1]);
            out[sample][half] = vaddq_s32(sums[0], sums[1]);
        }
    }
    out
}

/// See [`super::transform::inverse`].
#[target_feature(enable = "neon")]
#[inline]
fn inverse<const NY: usize, const NX: usize>(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let mut rows = [vdupq_n_s16(0); 8];
    for (index, pair) in PAIRS.into_iter().enumerate().filter(|(_, pair)| pair[0] < coefficients(NY)) {
        let [values, steps] = match (is_packed(NY, NX), index) {
            (false, _) => [load::<8>(block, index * 16), load::<8>(steps, index * 16)],
            (true, 0 | 2) => [load::<4>(block, index * 4), load::<4>(steps, index * 16)],
            (true, _) => continue,
        };
        for (side, row) in pair.into_iter().enumerate() {
            rows[row] = vmulq_s16(values[side], steps[side]);
        }
    }
    // What has no coefficients is zero, and so is what has no samples.
    let sums = pass::<NY>(&rows, coefficients(NX), FIRST_ROUND);
    let mut columns = sums.map(|[low, high]| {
        const SHIFT: i32 = FIRST_SHIFT as i32;
        vcombine_s16(vshrn_n_s32::<SHIFT>(low), vshrn_n_s32::<SHIFT>(high))
    });
    // Eight rows of eight columns, turned by three rounds of interleaving the first half with the second.
    for _ in 0..3 {
        let from = columns;
        for (index, pair) in columns.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            pair[0] = vzip1q_s16(from[index], from[index + 4]);
            pair[1] = vzip2q_s16(from[index], from[index + 4]);
        }
    }
    let sums = pass::<NX>(&columns, samples(NY), SECOND_ROUND);
    let mut turned = sums.map(|halves| {
        let [low, high] = halves.map(|half| vmovn_s32(vshrq_n_s32::<{ SECOND_SHIFT as i32 }>(half)));
        vqmovun_s16(vcombine_s16(low, high))
    });
    for _ in 0..3 {
        let from = turned;
        for (index, pair) in turned.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            pair[0] = vzip1_u8(from[index], from[index + 4]);
            pair[1] = vzip2_u8(from[index], from[index + 4]);
        }
    }
    assert!(stride < 1 << 24 && out.len() >= (samples(NY) - 1) * stride + 8);
    for (row, turned) in turned.into_iter().enumerate().take(samples(NY)) {
        // SAFETY: row × stride + 8 is at most the length that was asserted; the store writes 8 bytes, unaligned.
        unsafe { vst1_u8(out.as_mut_ptr().add(row * stride), turned) };
    }
}

/// Pixels per round of [`rgb`].
const PIXELS: usize = 16;

/// See [`color::rgb`].
#[target_feature(enable = "neon")]
#[inline]
fn rgb(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let (chunks, rest) = out.as_chunks_mut::<{ PIXELS * 3 }>();
    let done = chunks.len() * PIXELS;
    let rows =
        y.as_chunks::<PIXELS>().0.iter().zip(cb.as_chunks::<PIXELS>().0).zip(cr.as_chunks::<PIXELS>().0);
    for (out, ((y, cb), cr)) in chunks.iter_mut().zip(rows) {
        // SAFETY: the arrays have the 16 bytes that are read; the loads are unaligned.
        let [y, cb, cr] = [y, cb, cr].map(|bytes| unsafe { vld1q_u8(bytes.as_ptr()) });
        let low = eight(vget_low_u8(y), vget_low_u8(cb), vget_low_u8(cr));
        let high = eight(vget_high_u8(y), vget_high_u8(cb), vget_high_u8(cr));
        let [red, green, blue] = [0, 1, 2].map(|index| vcombine_u8(low[index], high[index]));
        // SAFETY: the array has the 48 bytes that are written; the store is unaligned.
        unsafe { vst3q_u8(out.as_mut_ptr(), uint8x16x3_t(red, green, blue)) };
    }
    color::rgb(&y[done..], &cb[done..], &cr[done..], rest);
}

/// Red, green and blue of eight pixels. Of factors that 16 bits don't hold, whole ones (of 16 fraction bits) are added apart.
#[target_feature(enable = "neon")]
#[inline]
fn eight(y: uint8x8_t, cb: uint8x8_t, cr: uint8x8_t) -> [uint8x8_t; 3] {
    const ONE: i32 = 1 << 16;
    let centred = |bytes| vreinterpretq_s16_u16(vsubl_u8(bytes, vdup_n_u8(128)));
    let y = vreinterpretq_s16_u16(vmovl_u8(y));
    let (cb, cr) = (centred(cb), centred(cr));
    // The sum of both by their factors, rounded to whole numbers.
    let mixed = |factor_cb: i32, factor_cr: i32| {
        let four = |cb, cr| {
            let product = vmull_n_s16(cb, factor_cb as i16);
            vrshrn_n_s32::<16>(vmlal_n_s16(product, cr, factor_cr as i16))
        };
        vcombine_s16(four(vget_low_s16(cb), vget_low_s16(cr)), four(vget_high_s16(cb), vget_high_s16(cr)))
    };
    let red = vaddq_s16(mixed(0, RED_CR - ONE), cr);
    let green = vsubq_s16(mixed(-GREEN_CB, ONE - GREEN_CR), cr);
    let blue = vaddq_s16(mixed(BLUE_CB - 2 * ONE, 0), vaddq_s16(cb, cb));
    [red, green, blue].map(|color| vqmovun_s16(vaddq_s16(y, color)))
}
