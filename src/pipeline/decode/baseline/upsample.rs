//! Chroma rows to the width of the picture.
//!
//! Owns the interpolation that is left when a component could not be decoded at the output's own resolution: between samples ¾ of the
//! nearer and ¼ of the farther one, as the reference's "fancy" upsampling does, with the same roundings (jdsample.c). Written so that the
//! compiler turns it into vector code.

/// Sums of 3 × the nearer row and 1 × the farther, an edge sample repeated on both sides.
#[inline(always)]
pub(super) fn blend(near: &[u8], far: &[u8], sums: &mut [u16]) {
    let width = near.len();
    for ((sum, near), far) in sums[1..].iter_mut().zip(near).zip(far) {
        *sum = u16::from(*near) * 3 + u16::from(*far);
    }
    sums[0] = sums[1];
    sums[width + 1] = sums[width];
}

/// Doubles a row that [`blend`] has made (scale 4): two samples for each.
#[inline(always)]
pub(super) fn double_blended(sums: &[u16], out: &mut [u8]) {
    double::<8, 7, 4>(sums, out);
}

/// Copies a row with an edge sample repeated on both sides.
#[inline(always)]
pub(super) fn widen(row: &[u8], sums: &mut [u16]) {
    let width = row.len();
    for (sum, sample) in sums[1..].iter_mut().zip(row) {
        *sum = u16::from(*sample);
    }
    sums[0] = sums[1];
    sums[width + 1] = sums[width];
}

/// Doubles a row that [`widen`] has made (scale 1).
#[inline(always)]
pub(super) fn double_plain(sums: &[u16], out: &mut [u8]) {
    double::<1, 2, 2>(sums, out);
}

#[inline(always)]
fn double<const LEFT: u16, const RIGHT: u16, const SHIFT: u16>(sums: &[u16], out: &mut [u8]) {
    let pairs = out.as_chunks_mut::<2>().0;
    let count = pairs.len();
    let (left, middle, right) = (&sums[..count], &sums[1..count + 1], &sums[2..count + 2]);
    for (((pair, left), middle), right) in pairs.iter_mut().zip(left).zip(middle).zip(right) {
        let even = (middle * 3 + left + LEFT) >> SHIFT;
        let odd = (middle * 3 + right + RIGHT) >> SHIFT;
        *pair = (even | odd << 8).to_le_bytes();
    }
}

/// A row between two others, at the resolution that it has; `below`: the farther row is the one below.
#[inline(always)]
pub(super) fn between(near: &[u8], far: &[u8], below: bool, out: &mut [u8]) {
    let round = 1 + u16::from(below);
    for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
        *out = ((u16::from(*near) * 3 + u16::from(*far) + round) >> 2) as u8;
    }
}

/// Repeats each sample `factor` times.
#[inline(always)]
pub(super) fn repeat(row: &[u8], factor: usize, out: &mut [u8]) {
    for (samples, sample) in out.chunks_mut(factor).zip(row) {
        samples.fill(*sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: [u8; 5] = [10, 20, 255, 0, 7];
    const FAR: [u8; 5] = [0, 255, 30, 40, 8];

    /// ¾ of the sample and ¼ of its neighbour on this side; edges repeat.
    fn across(row: &[f64], index: usize) -> f64 {
        let place = index / 2;
        let other =
            if index.is_multiple_of(2) { place.saturating_sub(1) } else { (place + 1).min(row.len() - 1) };
        row[place] * 0.75 + row[other] * 0.25
    }

    #[test]
    fn doubling_interpolates_within_half_a_step() {
        let (mut sums, mut out) = ([0; 7], [0; 10]);
        widen(&NEAR, &mut sums);
        double_plain(&sums, &mut out);
        let row = NEAR.map(f64::from);
        for (index, found) in out.into_iter().enumerate() {
            assert!((f64::from(found) - across(&row, index)).abs() <= 0.5, "{index}");
        }
        blend(&NEAR, &FAR, &mut sums);
        double_blended(&sums, &mut out);
        let row: Vec<f64> =
            NEAR.iter().zip(FAR).map(|(near, far)| f64::from(*near) * 0.75 + f64::from(far) * 0.25).collect();
        for (index, found) in out.into_iter().enumerate() {
            assert!((f64::from(found) - across(&row, index)).abs() <= 0.5, "{index}");
        }
    }

    #[test]
    fn rows_between_round_to_both_sides() {
        let mut out = [0; 2];
        between(&[10, 10], &[12, 11], false, &mut out);
        assert_eq!(out, [10, 10]);
        between(&[10, 10], &[12, 11], true, &mut out);
        assert_eq!(out, [11, 10]);
    }

    #[test]
    fn repeated_samples_stand_side_by_side() {
        let mut out = [0; 8];
        repeat(&[3, 9], 4, &mut out);
        assert_eq!(out, [3, 3, 3, 3, 9, 9, 9, 9]);
    }
}
