//! What each source sample counts for in each target sample, by Lanczos.
//!
//! Owns the filter's curve and its fixed-point form, which are those of `fast_image_resize`: whichever of the two scales an image, the pixels
//! are the same. Touches no pixels; called by `resample`.

use std::f64::consts::{FRAC_PI_2, PI};

/// Samples of the source that the curve reaches to either side, at scale 1.
pub(super) const LOBES: f64 = 3.0;

/// Most fraction bits: a sum of bytes keeps ten bits for its whole part and sign.
const PRECISION_MAX: u32 = 21;

/// Taylor's coefficients of the sine, from the third power on: exact to 1e-15 up to a right angle.
const SINE: [f64; 9] = [
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
    1.0 / 355_687_428_096_000.0,
    -1.0 / 121_645_100_408_832_000.0,
];

/// Lanczos with three lobes, sinc(x) · sinc(x ÷ 3). One sine does for both: sin 3a = sin a · (3 − 4 sin² a). With two of the mathematical
/// library's, the curve took a fifth of the time in which a thumbnail is scaled.
pub(super) fn lanczos3(x: f64) -> f64 {
    let angle = x.abs() * (PI / LOBES);
    if angle >= PI {
        return 0.0;
    }
    if angle == 0.0 {
        return 1.0;
    }
    let acute = if angle > FRAC_PI_2 { PI - angle } else { angle };
    let square = acute * acute;
    let series = SINE.iter().rev().fold(0.0, |sum, factor| (sum + factor) * square);
    let sine = acute * (1.0 + series);
    sine * sine * (3.0 - 4.0 * sine * sine) / (LOBES * angle * angle)
}

/// One axis: for each target sample where its source samples begin, and how much each counts.
pub(super) struct Weights {
    /// Bits behind the point.
    pub(super) precision: u32,
    /// Pairs of weights per target sample.
    pub(super) pairs: usize,
    /// First source sample of each target sample.
    pub(super) starts: Vec<usize>,
    /// Per target sample its pairs: two 16-bit weights each, the first in the lower half; zeros where they are not needed.
    pub(super) values: Vec<i32>,
}

impl Weights {
    /// From the stretch `from..to` of `samples` to `targets`; starts are multiples of `step`, 1 or 2.
    pub(super) fn new(samples: u32, (from, to): (f64, f64), targets: u32, step: usize) -> Weights {
        let scale = (to - from) / f64::from(targets);
        let stretch = scale.max(1.0);
        let (radius, steepness) = (LOBES * stretch, 1.0 / stretch);
        let length = radius.ceil() as usize * 2 + 1;
        let mut exact = vec![0.0; targets as usize * length];
        let mut firsts = Vec::with_capacity(targets as usize);
        for (target, row) in (0..targets).zip(exact.chunks_mut(length)) {
            let center = from + (f64::from(target) + 0.5) * scale;
            let first = (center - radius).floor().max(0.0) as u32;
            let end = (center + radius).ceil().min(f64::from(samples)) as u32;
            let mut sum = 0.0;
            for (sample, weight) in (first..end).zip(row.iter_mut()) {
                *weight = lanczos3((f64::from(sample) - (center - 0.5)) * steepness);
                sum += *weight;
            }
            if sum != 0.0 {
                row.iter_mut().for_each(|weight| *weight /= sum);
            }
            firsts.push(first as usize);
        }
        let precision = precision(exact.iter().copied().fold(0.0, f64::max));
        let unit = f64::from(1u32 << precision);
        // Halves away from zero; without SSE4.1 `round` is a call.
        let fixed = |weight: &f64| (weight * unit + 0.5f64.copysign(*weight)) as i16;
        let fixed: Vec<i16> = exact.iter().map(fixed).collect();
        Weights::paired(precision, &firsts, fixed.chunks(length), step)
    }

    /// Without the zeros at either end, in pairs.
    fn paired<'a>(
        precision: u32,
        firsts: &[usize],
        rows: impl Iterator<Item = &'a [i16]> + Clone,
        step: usize,
    ) -> Weights {
        let trimmed = firsts.iter().zip(rows).map(|(first, row)| {
            let from = row.iter().position(|weight| *weight != 0).unwrap_or(0);
            let to = row.iter().rposition(|weight| *weight != 0).map_or(from, |last| last + 1);
            let start = (first + from) / step * step;
            (start, first + from - start, &row[from..to])
        });
        let pairs = trimmed.clone().map(|(_, gap, row)| (gap + row.len()).div_ceil(2)).max().unwrap_or(0);
        let mut values = Vec::with_capacity(firsts.len() * pairs);
        for (_, gap, row) in trimmed.clone() {
            let weight =
                |index: usize| index.checked_sub(gap).and_then(|at| row.get(at)).copied().unwrap_or(0);
            let pair =
                |pair: usize| i32::from(weight(2 * pair) as u16) | i32::from(weight(2 * pair + 1)) << 16;
            values.extend((0..pairs).map(pair));
        }
        Weights { precision, pairs, starts: trimmed.map(|(start, ..)| start).collect(), values }
    }

    /// The pairs of a target sample.
    pub(super) fn of(&self, target: usize) -> &[i32] {
        &self.values[target * self.pairs..][..self.pairs]
    }
}

/// The most bits behind the point with which this weight, the largest, is still a signed number of 16 bits.
fn precision(largest: f64) -> u32 {
    let fits = |precision: &u32| (largest * f64::from(2u32 << precision)).round() < f64::from(1 << 15);
    (0..PRECISION_MAX).take_while(fits).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_product_of_two_sincs() {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        let stride = if cfg!(miri) { 97 } else { 1 };
        for step in (-3500..=3500).step_by(stride) {
            let x = f64::from(step) / 1000.0;
            let exact = if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 };
            assert!((lanczos3(x) - exact).abs() < 1e-14, "{x}: {} and not {exact}", lanczos3(x));
        }
    }

    #[test]
    fn weights_make_up_a_whole_and_stay_inside() {
        for (samples, from, to, targets) in [
            (1000, 0.0, 1000.0, 800),
            (7, 0.0, 7.0, 3),
            (5, 1.25, 3.5, 9),
            (90, 0.0, 90.0, 1),
            (1, 0.0, 1.0, 4),
        ] {
            for step in [1, 2] {
                let weights = Weights::new(samples, (from, to), targets, step);
                assert_eq!(weights.starts.len(), targets as usize);
                for (target, start) in weights.starts.iter().enumerate() {
                    assert!(start % step == 0 && *start < samples as usize);
                    let halves =
                        weights.of(target).iter().flat_map(|pair| [*pair as i16, (*pair >> 16) as i16]);
                    let beyond = halves.clone().skip(samples as usize - start).any(|weight| weight != 0);
                    assert!(!beyond, "{samples} to {targets}: {target} reaches beyond the last");
                    let whole: i32 = halves.map(i32::from).sum();
                    let unit = 1 << weights.precision;
                    assert!((whole - unit).abs() <= 2 * weights.pairs as i32, "{whole} of {unit}");
                }
            }
        }
    }
}
