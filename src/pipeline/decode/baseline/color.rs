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
        let red = y + ((RED_CR * cr + HALF) >> 16);
        let green = y + ((HALF - GREEN_CB * cb - GREEN_CR * cr) >> 16);
        let blue = y + ((BLUE_CB * cb + HALF) >> 16);
        *pixel = [red, green, blue].map(|value| value.clamp(0, 255) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_color_is_its_definition_and_its_twin() {
        let mut out = [0; 256 * 3];
        let ramp: [u8; 256] = std::array::from_fn(|index| index as u8);
        // Miri takes a minute for what else takes a moment.
        let chroma = || (0..=255_u8).step_by(if cfg!(miri) { 127 } else { 1 });
        for (cb, cr) in chroma().flat_map(|cb| chroma().map(move |cr| (cb, cr))) {
            rgb(&ramp, &[cb; 256], &[cr; 256], &mut out);
            let (b, r) = (f64::from(cb) - 128.0, f64::from(cr) - 128.0);
            for (y, found) in (0..=255_u8).zip(out.as_chunks::<3>().0).step_by(51) {
                let y = f64::from(y);
                let expected = [y + 1.402 * r, y - 0.344_136 * b - 0.714_136 * r, y + 1.772 * b];
                for (found, expected) in found.iter().zip(expected) {
                    assert!((f64::from(*found) - expected.clamp(0.0, 255.0)).abs() < 0.51, "{cb} {cr}");
                }
            }
            twins(&ramp, &[cb; 256], &[cr; 256]);
        }
    }

    /// Vector and portable code.
    fn twins(y: &[u8], cb: &[u8], cr: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        use super::super::avx2::Avx2;
        use super::super::kernels::{Baseline, Kernels};
        let (mut ours, mut theirs) = (vec![0; y.len() * 3], vec![0; y.len() * 3]);
        rgb(y, cb, cr, &mut ours);
        Baseline.rgb(y, cb, cr, &mut theirs);
        assert_eq!(ours, theirs);
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect() {
            theirs.fill(0);
            avx2.rgb(y, cb, cr, &mut theirs);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn rows_of_any_length_have_the_same_twin() {
        let row = |seed: usize| -> Vec<u8> { (0..200).map(|index| (index * seed % 251) as u8).collect() };
        let (y, cb, cr) = (row(37), row(59), row(83));
        for width in (0..150).step_by(if cfg!(miri) { 11 } else { 1 }) {
            twins(&y[..width], &cb[3..], &cr[5..]);
        }
    }
}
