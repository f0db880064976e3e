//! The kernels for every x86-64: SSE2.
//!
//! Owns what [`super::avx2`] owns, in halves of the width, for machines without AVX2. `unsafe` are loads and stores inside bounds that
//! are checked beside them, and calls that need what every x86-64 has. Results equal those of the portable code in every bit.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    color::{self, BLUE_CB, GREEN_CB, GREEN_CR, RED_CR},
    kernels::Kernels,
    transform::{
        BASES, Block, FIRST_ROUND, FIRST_SHIFT, SECOND_ROUND, SECOND_SHIFT, Steps, coefficients, is_packed,
        samples,
    },
    window::AHEAD,
};

/// SSE2, which every x86-64 has.
#[derive(Clone, Copy)]
pub(super) struct Sse2;

impl Kernels for Sse2 {
    #[inline(always)]
    fn inverse<const NY: usize, const NX: usize>(
        self,
        block: &Block,
        steps: &Steps,
        out: &mut [u8],
        stride: usize,
    ) {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { inverse::<NY, NX>(block, steps, out, stride) }
    }

    #[inline(always)]
    fn rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        // SAFETY: SSE2 is part of every x86-64.
        unsafe { rgb(y, cb, cr, out) }
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8; AHEAD]) {
        for line in bytes.as_chunks::<64>().0 {
            // SAFETY: SSE is part of every x86-64, and this reads nothing: it only says what will be read.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
}

/// Eight lanes of 32 bits.
type Lanes = [__m128i; 2];

/// Eight values from the given index on.
#[target_feature(enable = "sse2")]
#[inline]
fn load(values: &[i16], from: usize) -> __m128i {
    let values = &values[from..from + 8];
    // SAFETY: the slice has the 16 bytes that are read; the load is unaligned.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// One pass of length `N` over four of the lanes: sums of products of the paired rows, then the sum and the difference of the even and odd
/// halves.
#[target_feature(enable = "sse2")]
#[inline]
fn pass<const N: usize>(pairs: [__m128i; 4], round: i32) -> [__m128i; 8] {
    let round = _mm_set1_epi32(round);
    let mut out = [_mm_setzero_si128(); 8];
    for sample in 0..samples(N).div_ceil(2) {
        let product = |pair: usize| {
            let [low, high] = BASES[N][pair][sample];
            _mm_madd_epi16(pairs[pair], _mm_set1_epi32(i32::from(low) & 0xffff | i32::from(high) << 16))
        };
        let mut even = _mm_add_epi32(product(0), round);
        if coefficients(N) > 4 {
            even = _mm_add_epi32(even, product(1));
        }
        let mut odd = if coefficients(N) > 1 { product(2) } else { _mm_setzero_si128() };
        if coefficients(N) > 5 {
            odd = _mm_add_epi32(odd, product(3));
        }
        out[samples(N) - 1 - sample] = _mm_sub_epi32(even, odd);
        out[sample] = _mm_add_epi32(even, odd);
    }
    out
}

/// See [`super::transform::inverse`].
#[target_feature(enable = "sse2")]
#[inline]
fn inverse<const NY: usize, const NX: usize>(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    // For columns 0 to 3 and 4 to 7: rows 2i and 2i + 1 side by side, their 16 bits standing at FIRST_SHIFT.
    let zero = _mm_setzero_si128();
    let mut both = [[zero; 4]; 2];
    for (half, both) in both.iter_mut().enumerate().take(coefficients(NX).div_ceil(4)) {
        let mut pairs = [zero; 4];
        for (index, pair) in pairs.iter_mut().enumerate() {
            let from = index * 16 + half * 8;
            if !is_packed(NY, NX) {
                *pair = _mm_mullo_epi16(load(block, from), load(steps, from));
            } else if index % 2 == 0 {
                *pair = _mm_mullo_epi16(load(block, index * 4), load(steps, from));
            }
        }
        let rows = pass::<NY>(pairs, FIRST_ROUND);
        for (index, both) in both.iter_mut().enumerate().take(samples(NY).div_ceil(2)) {
            let low = _mm_srli_epi32::<{ FIRST_SHIFT as i32 }>(rows[index * 2]);
            let high = _mm_slli_epi32::<{ 16 - FIRST_SHIFT as i32 }>(rows[index * 2 + 1]);
            let low_mask = _mm_set1_epi32(0xffff);
            *both = _mm_or_si128(_mm_and_si128(low, low_mask), _mm_andnot_si128(low_mask, high));
        }
    }
    // For rows 0 to 3 and 4 to 7: the pairs of columns that the second pass takes, and then the columns.
    let mut columns = [[zero; 2]; 8];
    for half in 0..samples(NY).div_ceil(4) {
        let turned = |side: usize| {
            let (upper, lower) = (both[side][half * 2], both[side][half * 2 + 1]);
            (_mm_unpacklo_epi32(upper, lower), _mm_unpackhi_epi32(upper, lower))
        };
        let ((c01, c23), (c45, c67)) = (turned(0), turned(1));
        let pairs = [
            _mm_unpacklo_epi16(c01, c23),
            _mm_unpacklo_epi16(c45, c67),
            _mm_unpackhi_epi16(c01, c23),
            _mm_unpackhi_epi16(c45, c67),
        ];
        for (column, sums) in columns.iter_mut().zip(pass::<NX>(pairs, SECOND_ROUND)) {
            column[half] = _mm_srai_epi32::<{ SECOND_SHIFT as i32 }>(sums);
        }
    }
    store::<NY>(columns, out, stride);
}

/// Eight columns of samples to rows of bytes.
#[target_feature(enable = "sse2")]
#[inline]
fn store<const NY: usize>(columns: [Lanes; 8], out: &mut [u8], stride: usize) {
    // Eight rows of one column in each vector of 16 bits, turned by three rounds of interleaving the first half with the second.
    let mut turned = columns.map(|[upper, lower]| _mm_packs_epi32(upper, lower));
    for _ in 0..3 {
        let from = turned;
        for (index, pair) in turned.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            pair[0] = _mm_unpacklo_epi16(from[index], from[index + 4]);
            pair[1] = _mm_unpackhi_epi16(from[index], from[index + 4]);
        }
    }
    assert!(stride < 1 << 24 && out.len() >= (samples(NY) - 1) * stride + 8);
    for (row, turned) in turned.into_iter().enumerate().take(samples(NY)) {
        // SAFETY: row × stride + 8 is at most the length that was asserted; the store writes 8 bytes, unaligned.
        unsafe {
            _mm_storel_epi64(out.as_mut_ptr().add(row * stride).cast(), _mm_packus_epi16(turned, turned));
        }
    }
}

/// Pixels per round of [`rgb`].
const PIXELS: usize = 16;

/// See [`color::rgb`].
#[target_feature(enable = "sse2")]
#[inline]
fn rgb(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let (chunks, rest) = out.as_chunks_mut::<{ PIXELS * 3 }>();
    let done = chunks.len() * PIXELS;
    let rows =
        y.as_chunks::<PIXELS>().0.iter().zip(cb.as_chunks::<PIXELS>().0).zip(cr.as_chunks::<PIXELS>().0);
    for (out, ((y, cb), cr)) in chunks.iter_mut().zip(rows) {
        rgb_chunk(y, cb, cr, out);
    }
    color::rgb(&y[done..], &cb[done..], &cr[done..], rest);
}

/// Multiplies by a constant of 16 fraction bits below ½, and rounds: the product of the doubled value, halved again.
#[target_feature(enable = "sse2")]
#[inline]
fn scaled<const FACTOR: i32>(value: __m128i) -> __m128i {
    let product = _mm_mulhi_epi16(_mm_add_epi16(value, value), _mm_set1_epi16(FACTOR as i16));
    _mm_srai_epi16::<1>(_mm_add_epi16(product, _mm_set1_epi16(1)))
}

/// Red, green and blue of eight pixels, with the factors split as in [`super::avx2`].
#[target_feature(enable = "sse2")]
#[inline]
fn eight(y: __m128i, cb: __m128i, cr: __m128i) -> [__m128i; 3] {
    const ONE: i32 = 1 << 16;
    let cb = _mm_sub_epi16(cb, _mm_set1_epi16(128));
    let cr = _mm_sub_epi16(cr, _mm_set1_epi16(128));
    let red = _mm_add_epi16(y, _mm_add_epi16(cr, scaled::<{ RED_CR - ONE }>(cr)));
    let twice = _mm_add_epi16(cb, cb);
    let blue = _mm_add_epi16(y, _mm_add_epi16(twice, scaled::<{ BLUE_CB - 2 * ONE }>(cb)));
    let factors = _mm_set1_epi32((-GREEN_CB & 0xffff) | (ONE - GREEN_CR) << 16);
    let half = _mm_set1_epi32(1 << 15);
    let product = |both| _mm_srai_epi32::<16>(_mm_add_epi32(_mm_madd_epi16(both, factors), half));
    let low = product(_mm_unpacklo_epi16(cb, cr));
    let high = product(_mm_unpackhi_epi16(cb, cr));
    let green = _mm_add_epi16(y, _mm_sub_epi16(_mm_packs_epi32(low, high), cr));
    [red, green, blue]
}

#[target_feature(enable = "sse2")]
#[inline]
fn rgb_chunk(y: &[u8; PIXELS], cb: &[u8; PIXELS], cr: &[u8; PIXELS], out: &mut [u8; PIXELS * 3]) {
    let zero = _mm_setzero_si128();
    // SAFETY: the arrays have the 16 bytes that are read; the loads are unaligned.
    let load = |bytes: &[u8; PIXELS]| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let (y, cb, cr) = (load(y), load(cb), load(cr));
    let low = |bytes| _mm_unpacklo_epi8(bytes, zero);
    let high = |bytes| _mm_unpackhi_epi8(bytes, zero);
    let first = eight(low(y), low(cb), low(cr));
    let second = eight(high(y), high(cb), high(cr));
    let [red, green, blue] = [0, 1, 2].map(|index| _mm_packus_epi16(first[index], second[index]));
    // Four bytes per pixel, the last one 0; then each pixel is stored over the spare byte of the one before it.
    let (rg_low, rg_high) = (_mm_unpacklo_epi8(red, green), _mm_unpackhi_epi8(red, green));
    let (b_low, b_high) = (_mm_unpacklo_epi8(blue, zero), _mm_unpackhi_epi8(blue, zero));
    let quads = [
        _mm_unpacklo_epi16(rg_low, b_low),
        _mm_unpackhi_epi16(rg_low, b_low),
        _mm_unpacklo_epi16(rg_high, b_high),
        _mm_unpackhi_epi16(rg_high, b_high),
    ];
    for (pixels, quad) in out.as_chunks_mut::<12>().0.iter_mut().zip(quads) {
        let [first, second] =
            [_mm_cvtsi128_si64(quad) as u64, _mm_cvtsi128_si64(_mm_unpackhi_epi64(quad, quad)) as u64];
        // Two pixels of four bytes to six bytes.
        let packed = |two: u64| two & 0xff_ffff | two >> 8 & 0xffff_ff00_0000;
        let all = u128::from(packed(first)) | u128::from(packed(second)) << 48;
        pixels.copy_from_slice(&all.to_le_bytes()[..12]);
    }
}
