//! YCbCr to RGB (JFIF 1.02, ITU-R BT.601 full range), in integers.
//!
//! Owns the portable implementation, the oracle of the vector ones. Roundings are those of the reference (jdcolor.c), bit for bit.

/// 1.402 with 16 fraction bits.
pub(super) const RED_CR: i32 = 91_881;
/// 0.34414.
pub(super) const GREEN_CB: i32 = 22_554;
/// 0.71414.
pub(super) const GREEN_CR: i32 = 46_802;
/// 1.772.
pub(super) const BLUE_CB: i32 = 116_130;

/// Converts as many pixels as `out` has room for, three bytes each; the rows must be at least as long.
#[inline(always)]
pub(super) fn rgb(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    for (((pixel, y), cb), cr) in out.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        let red = y + (RED_CR * cr + HALF >> 16);
        let green = y + (HALF - GREEN_CB * cb - GREEN_CR * cr >> 16);
        let blue = y + (BLUE_CB * cb + HALF >> 16);
        *pixel = [red, green, blue].map(|value| value.clamp(0, 255) as u8);
    }
}
