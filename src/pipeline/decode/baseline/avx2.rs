//! The kernels for x86-64 with AVX2 (and BMI, which shortens the bit reader's shifts).
//!
//! Owns the only `unsafe` of the decoder: vector loads and stores inside bounds that are checked beside them, and calls that need the
//! instructions that [`Avx2::detect`] has found. Results equal those of the portable code in every bit.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    Refusal,
    color::{self, BLUE_CB, GREEN_CB, GREEN_CR, RED_CR},
    kernels::Kernels,
    scan::Scan,
    sse2::Sse2,
    transform::{
        BASES, Block, FIRST_ROUND, FIRST_SHIFT, SECOND_ROUND, SECOND_SHIFT, Steps, coefficients, is_packed,
        samples,
    },
    window::AHEAD,
};

/// Proof that the machine has AVX2, BMI1, BMI2 and LZCNT.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Looks at the machine.
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        has.then_some(Self(()))
    }

    /// [`Scan::run`], the whole of it compiled for these instructions.
    pub(super) fn run<E>(
        self,
        scan: &mut Scan<'_>,
        out: &mut Vec<u8>,
        check: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<(), Refusal<E>> {
        // SAFETY: `self` exists only where `detect` found the instructions.
        unsafe { run(self, scan, out, check) }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run<E>(
    kernels: Avx2,
    scan: &mut Scan<'_>,
    out: &mut Vec<u8>,
    check: &mut impl FnMut() -> Result<(), E>,
) -> Result<(), Refusal<E>> {
    scan.run(kernels, out, check)
}

impl Kernels for Avx2 {
    #[inline(always)]
    fn inverse<const NY: usize, const NX: usize>(
        self,
        block: &Block,
        steps: &Steps,
        out: &mut [u8],
        stride: usize,
    ) {
        // SAFETY: `self` exists only where `detect` found the instructions.
        unsafe { inverse::<NY, NX>(block, steps, out, stride) }
    }

    #[inline(always)]
    fn rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        // SAFETY: `self` exists only where `detect` found the instructions.
        unsafe { rgb(y, cb, cr, out) }
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8; AHEAD]) {
        Sse2.prefetch(bytes);
    }
}

/// Sixteen values from the given index on.
#[target_feature(enable = "avx2")]
#[inline]
fn load(values: &[i16], from: usize) -> __m256i {
    let values = &values[from..from + 16];
    // SAFETY: the slice has the 32 bytes that are read; the load is unaligned.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Eight values from the given index on.
#[target_feature(enable = "avx2")]
#[inline]
fn load_half(values: &[i16], from: usize) -> __m128i {
    let values = &values[from..from + 8];
    // SAFETY: the slice has the 16 bytes that are read; the load is unaligned.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// One pass of length `N`: sums of products of the paired rows, then the sum and the difference of the even and odd halves.
#[target_feature(enable = "avx2")]
#[inline]
fn pass<const N: usize>(pairs: [__m256i; 4], round: i32) -> [__m256i; 8] {
    let round = _mm256_set1_epi32(round);
    let mut out = [_mm256_setzero_si256(); 8];
    for sample in 0..samples(N).div_ceil(2) {
        let product = |pair: usize| {
            let [low, high] = BASES[N][pair][sample];
            let both = i32::from(low as u16 as i16) & 0xffff | i32::from(high) << 16;
            _mm256_madd_epi16(pairs[pair], _mm256_set1_epi32(both))
        };
        let mut even = _mm256_add_epi32(product(0), round);
        if coefficients(N) > 4 {
            even = _mm256_add_epi32(even, product(1));
        }
        let mut odd = _mm256_setzero_si256();
        if coefficients(N) > 1 {
            odd = product(2);
        }
        if coefficients(N) > 5 {
            odd = _mm256_add_epi32(odd, product(3));
        }
        out[samples(N) - 1 - sample] = _mm256_sub_epi32(even, odd);
        out[sample] = _mm256_add_epi32(even, odd);
    }
    out
}

/// See [`super::transform::inverse`].
#[target_feature(enable = "avx2")]
#[inline]
fn inverse<const NY: usize, const NX: usize>(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let mut pairs = [_mm256_setzero_si256(); 4];
    for (index, pair) in pairs.iter_mut().enumerate() {
        if !is_packed(NY, NX) {
            *pair = _mm256_mullo_epi16(load(block, index * 16), load(steps, index * 16));
        } else if index % 2 == 0 {
            *pair = _mm256_zextsi128_si256(_mm_mullo_epi16(
                load_half(block, index * 4),
                load_half(steps, index * 16),
            ));
        }
    }
    // Lanes are columns. Rows 2i and 2i + 1 go to the halves of one vector: their 16 bits stand at FIRST_SHIFT.
    let rows = pass::<NY>(pairs, FIRST_ROUND);
    let mut both = [_mm256_setzero_si256(); 4];
    for (index, both) in both.iter_mut().enumerate().take(samples(NY).div_ceil(2)) {
        let low = _mm256_srli_epi32::<{ FIRST_SHIFT as i32 }>(rows[index * 2]);
        let high = _mm256_slli_epi32::<{ 16 - FIRST_SHIFT as i32 }>(rows[index * 2 + 1]);
        *both = _mm256_blend_epi16::<0xaa>(low, high);
    }
    // Transpose: columns 0, 1, 4, 5 and 2, 3, 6, 7 of rows 0 to 3 and 4 to 7, then the pairs of columns that the second pass takes.
    let upper = [_mm256_unpacklo_epi32(both[0], both[1]), _mm256_unpackhi_epi32(both[0], both[1])];
    let lower = [_mm256_unpacklo_epi32(both[2], both[3]), _mm256_unpackhi_epi32(both[2], both[3])];
    let left = [0, 1].map(|index| _mm256_permute2x128_si256::<0x20>(upper[index], lower[index]));
    let right = [0, 1].map(|index| _mm256_permute2x128_si256::<0x31>(upper[index], lower[index]));
    let pairs = [
        _mm256_unpacklo_epi16(left[0], left[1]),
        _mm256_unpacklo_epi16(right[0], right[1]),
        _mm256_unpackhi_epi16(left[0], left[1]),
        _mm256_unpackhi_epi16(right[0], right[1]),
    ];
    // Lanes are rows now.
    let mut columns = pass::<NX>(pairs, SECOND_ROUND);
    for column in &mut columns {
        *column = _mm256_srai_epi32::<{ SECOND_SHIFT as i32 }>(*column);
    }
    store::<NY, NX>(columns, out, stride);
}

/// Eight columns of samples to rows of bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn store<const NY: usize, const NX: usize>(columns: [__m256i; 8], out: &mut [u8], stride: usize) {
    // Four columns of bytes, each of four rows per half, turned into four rows of four bytes.
    let turn =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let quad = |from: usize| {
        let first = _mm256_packs_epi32(columns[from], columns[from + 1]);
        let second = _mm256_packs_epi32(columns[from + 2], columns[from + 3]);
        _mm256_shuffle_epi8(_mm256_packus_epi16(first, second), turn)
    };
    let left = quad(0);
    let right = if samples(NX) > 4 { quad(4) } else { _mm256_setzero_si256() };
    let rows01 = _mm256_unpacklo_epi32(left, right);
    let rows23 = _mm256_unpackhi_epi32(left, right);
    let halves = [
        _mm256_castsi256_si128(rows01),
        _mm256_castsi256_si128(rows23),
        _mm256_extracti128_si256::<1>(rows01),
        _mm256_extracti128_si256::<1>(rows23),
    ];
    assert!(stride < 1 << 24 && out.len() >= (samples(NY) - 1) * stride + 8);
    for row in 0..samples(NY) {
        let half = halves[row / 2];
        let half = if row % 2 == 0 { half } else { _mm_unpackhi_epi64(half, half) };
        // SAFETY: row × stride + 8 is at most the length that was asserted; the store writes 8 bytes, unaligned.
        unsafe { _mm_storel_epi64(out.as_mut_ptr().add(row * stride).cast(), half) };
    }
}

/// Pixels per round of [`rgb`].
const PIXELS: usize = 32;

/// See [`color::rgb`].
#[target_feature(enable = "avx2")]
#[inline]
fn rgb(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let (chunks, rest) = out.as_chunks_mut::<{ PIXELS * 3 }>();
    let done = chunks.len() * PIXELS;
    let ys = y.as_chunks::<PIXELS>().0;
    let cbs = cb.as_chunks::<PIXELS>().0;
    let crs = cr.as_chunks::<PIXELS>().0;
    for (((out, y), cb), cr) in chunks.iter_mut().zip(ys).zip(cbs).zip(crs) {
        rgb_chunk(y, cb, cr, out);
    }
    color::rgb(&y[done..], &cb[done..], &cr[done..], rest);
}

/// Multiplies by a constant of 16 fraction bits below ½, and rounds: the product of the doubled value, halved again.
#[target_feature(enable = "avx2")]
#[inline]
fn scaled<const FACTOR: i32>(value: __m256i) -> __m256i {
    let product = _mm256_mulhi_epi16(_mm256_add_epi16(value, value), _mm256_set1_epi16(FACTOR as i16));
    _mm256_srai_epi16::<1>(_mm256_add_epi16(product, _mm256_set1_epi16(1)))
}

/// Red, green and blue of sixteen pixels. Factors of 1 and more are split into additions and what 16 bits can hold:
/// 1.402 = 1 + 0.402, 1.772 = 2 − 0.228, −0.71414 = 0.28586 − 1.
#[target_feature(enable = "avx2")]
#[inline]
fn sixteen(y: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    const ONE: i32 = 1 << 16;
    let cb = _mm256_sub_epi16(cb, _mm256_set1_epi16(128));
    let cr = _mm256_sub_epi16(cr, _mm256_set1_epi16(128));
    let red = _mm256_add_epi16(y, _mm256_add_epi16(cr, scaled::<{ RED_CR - ONE }>(cr)));
    let twice = _mm256_add_epi16(cb, cb);
    let blue = _mm256_add_epi16(y, _mm256_add_epi16(twice, scaled::<{ BLUE_CB - 2 * ONE }>(cb)));
    let factors = _mm256_set1_epi32((-GREEN_CB & 0xffff) | (ONE - GREEN_CR) << 16);
    let half = _mm256_set1_epi32(1 << 15);
    let product = |both| _mm256_srai_epi32::<16>(_mm256_add_epi32(_mm256_madd_epi16(both, factors), half));
    let low = product(_mm256_unpacklo_epi16(cb, cr));
    let high = product(_mm256_unpackhi_epi16(cb, cr));
    let green = _mm256_add_epi16(y, _mm256_sub_epi16(_mm256_packs_epi32(low, high), cr));
    [red, green, blue]
}

#[target_feature(enable = "avx2")]
#[inline]
fn rgb_chunk(y: &[u8; PIXELS], cb: &[u8; PIXELS], cr: &[u8; PIXELS], out: &mut [u8; PIXELS * 3]) {
    let zero = _mm256_setzero_si256();
    // SAFETY: the arrays have the 32 bytes that are read; the loads are unaligned.
    let load = |bytes: &[u8; PIXELS]| unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    let (y, cb, cr) = (load(y), load(cb), load(cr));
    let low = |bytes| _mm256_unpacklo_epi8(bytes, zero);
    let high = |bytes| _mm256_unpackhi_epi8(bytes, zero);
    let first = sixteen(low(y), low(cb), low(cr));
    let second = sixteen(high(y), high(cb), high(cr));
    // In each half: sixteen pixels in their order, one colour per vector.
    let planes = [0, 1, 2].map(|index| _mm256_packus_epi16(first[index], second[index]));
    for (index, part) in interleave(planes).into_iter().enumerate() {
        let (front, back) = (index * 16, PIXELS / 2 * 3 + index * 16);
        let (near, far) = (_mm256_castsi256_si128(part), _mm256_extracti128_si256::<1>(part));
        // SAFETY: `front` + 16 is at most 48, `back` + 16 at most 96, the length of `out`; the stores are unaligned.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().add(front).cast(), near);
            _mm_storeu_si128(out.as_mut_ptr().add(back).cast(), far);
        }
    }
}

/// In each half, sixteen of each colour to sixteen pixels in three vectors.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave(planes: [__m256i; 3]) -> [__m256i; 3] {
    [0, 1, 2].map(|part| {
        let mut merged = _mm256_setzero_si256();
        for (color, plane) in planes.iter().enumerate() {
            let order = ORDERS[part][color];
            // SAFETY: the array has the 16 bytes that are read; the load is unaligned.
            let order = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(order.as_ptr().cast()) });
            merged = _mm256_or_si256(merged, _mm256_shuffle_epi8(*plane, order));
        }
        merged
    })
}

/// For each 16 bytes of 48 and each colour: which sample goes where, 128 for another colour's places.
const ORDERS: [[[u8; 16]; 3]; 3] = {
    let mut orders = [[[128; 16]; 3]; 3];
    let mut byte = 0;
    while byte < 48 {
        orders[byte / 16][byte % 3][byte % 16] = (byte / 3) as u8;
        byte += 1;
    }
    orders
};
