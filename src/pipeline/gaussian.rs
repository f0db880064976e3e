//! The Gaussian blur of rows of samples.
//!
//! Owns the arithmetic only: rows come and go through [`Rows`], in floating point, and whoever implements it decides what they are (pixels
//! weighed by alpha, a difference to be amplified). Called by `blur` and `sharpen`.
//!
//! Up to [`DIRECT_MAX`] the kernel is sampled and cut where its weights end to matter, along rows and then along columns. A larger one runs on
//! a reduced copy: every pixel is spread over the blocks around it by the weights of cubic interpolation, the blocks are blurred, and the same
//! interpolation draws them out again. Catmull-Rom's cubic reproduces parabolas, so neither way widens the kernel, and the result differs from
//! the direct one by less than one level of 255, even on noise (held by a test).

use super::{Control, Interrupt};

/// Largest sigma, in pixels, that is done directly.
const DIRECT_MAX: f64 = 5.0;

/// Least sigma, in blocks, that is left to do when blocks are used: what cubic interpolation draws out without visible steps.
const IN_BLOCKS_MIN: f64 = 2.5;

/// Blocks around the image beside those that the kernel reaches: two that the interpolation looks at, and four whose sums lack something.
const MARGIN: usize = 6;

/// Where a kernel is cut, in sigmas: 0.05 % of its weight lies outside.
const REACH: f64 = 3.5;

/// Samples of a row that are summed together in registers.
const LANES: usize = 32;

/// Multiplications between two looks at [`Control::check`]: less than 10 ms.
const WORK_PER_CHECK: usize = 8_000_000;

/// Rows of samples that can be read and replaced from the top down.
pub(super) trait Rows {
    /// Pixels across.
    fn width(&self) -> usize;
    /// Rows.
    fn height(&self) -> usize;
    /// Samples per pixel.
    fn channels(&self) -> usize;
    /// Puts a row into `samples`. Every row is read once, in order, before it is written.
    fn read(&self, row: usize, samples: &mut [f32]);
    /// Takes a row that was blurred. Every row is written once, in order.
    fn write(&mut self, row: usize, samples: &[f32]);
}

/// Blurs; beyond the edges the outermost samples go on.
pub(super) fn gaussian(rows: &mut dyn Rows, sigma: f64, control: &dyn Control) -> Result<(), Interrupt> {
    if sigma <= DIRECT_MAX {
        return convolve(rows, &half_kernel(sigma), control);
    }
    let block = (sigma / IN_BLOCKS_MIN) as usize;
    let kernel = half_kernel(sigma / block as f64);
    let mut plane = Plane::reduced(rows, block, kernel.len() - 1 + MARGIN, control)?;
    convolve(&mut plane, &kernel, control)?;
    plane.draw_out(rows, block, control)
}

/// Bytes that [`gaussian`] needs for this many pixels across and down.
pub(super) fn working_bytes(width: u64, height: u64, channels: u64, sigma: f64) -> u64 {
    let direct =
        |width: u64, height: u64, taps: u64| 4 * channels * (width * taps.min(height) + 3 * (width + taps));
    if sigma <= DIRECT_MAX {
        return direct(width, height, 2 * (sigma * REACH).ceil() as u64 + 1);
    }
    let block = (sigma / IN_BLOCKS_MIN) as u64;
    let reach = (sigma / block as f64 * REACH).ceil() as u64;
    let margin = 2 * (reach + MARGIN as u64);
    let (across, down) = (width.div_ceil(block) + margin, height.div_ceil(block) + margin);
    4 * channels * (across * down + 5 * width + across) + direct(across, down, 2 * reach + 1)
}

/// The weights of a Gaussian from its middle to its end, of which all but the first count twice; their sum is 1.
fn half_kernel(sigma: f64) -> Vec<f32> {
    let reach = (sigma * REACH).ceil() as usize;
    let weight = |distance: usize| (-((distance * distance) as f64) / (2.0 * sigma * sigma)).exp();
    let sum = 1.0 + 2.0 * (1..=reach).map(weight).sum::<f64>();
    (0..=reach).map(|distance| (weight(distance) / sum) as f32).collect()
}

/// Both directions at once, with as many finished rows in memory as the kernel reaches over.
fn convolve(rows: &mut dyn Rows, kernel: &[f32], control: &dyn Control) -> Result<(), Interrupt> {
    let (width, height, channels) = (rows.width(), rows.height(), rows.channels());
    let (reach, row) = (kernel.len() - 1, width * channels);
    let kept = (2 * reach + 1).min(height);
    let mut ring = vec![0.0f32; kept * row];
    let mut padded = vec![0.0f32; row + 2 * reach * channels];
    let mut out = vec![0.0f32; row];
    let rows_per_check = (WORK_PER_CHECK / (2 * row * kernel.len())).max(1);
    let mut next = 0;
    for target in 0..height {
        if target % rows_per_check == 0 {
            control.check()?;
        }
        while next < height && next <= target + reach {
            rows.read(next, &mut padded[reach * channels..reach * channels + row]);
            extend(&mut padded, reach, channels);
            let shifted = |distance: usize| {
                let before = &padded[(reach - distance) * channels..][..row];
                let after = &padded[(reach + distance) * channels..][..row];
                (before, after)
            };
            let slot = next % kept * row;
            let pairs: Vec<_> = (0..=reach).map(shifted).collect();
            weigh(&mut ring[slot..slot + row], &pairs, kernel);
            next += 1;
        }
        let line = |index: usize| &ring[index % kept * row..][..row];
        let around = |distance: usize| {
            (line(target.saturating_sub(distance)), line((target + distance).min(height - 1)))
        };
        let pairs: Vec<_> = (0..=reach).map(around).collect();
        weigh(&mut out, &pairs, kernel);
        rows.write(target, &out);
    }
    Ok(())
}

/// Repeats the first and the last pixel into the padding at either end.
fn extend(padded: &mut [f32], reach: usize, channels: usize) {
    let (start, end) = (reach * channels, padded.len() - reach * channels);
    for index in (0..start).rev() {
        padded[index] = padded[index + channels];
    }
    for index in end..padded.len() {
        padded[index] = padded[index - channels];
    }
}

/// Sums pairs of rows by the weights of a half kernel; the first pair is twice the same row.
fn weigh(out: &mut [f32], pairs: &[(&[f32], &[f32])], kernel: &[f32]) {
    let mut weights = kernel.to_vec();
    weights[0] /= 2.0;
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    for (index, sums) in whole.iter_mut().enumerate() {
        let start = index * LANES;
        let mut total = [0.0f32; LANES];
        for ((before, after), weight) in pairs.iter().zip(&weights) {
            let (Some(before), Some(after)) =
                (before[start..].first_chunk::<LANES>(), after[start..].first_chunk::<LANES>())
            else {
                continue;
            };
            for lane in 0..LANES {
                total[lane] += (before[lane] + after[lane]) * weight;
            }
        }
        *sums = total;
    }
    let start = whole.len() * LANES;
    for (index, sum) in rest.iter_mut().enumerate() {
        let at = start + index;
        *sum = pairs
            .iter()
            .zip(&weights)
            .map(|((before, after), weight)| (before[at] + after[at]) * weight)
            .sum();
    }
}

/// A reduced copy, one sample for a square block of a larger image, with some blocks of its drawn-out edges around.
struct Plane {
    width: usize,
    height: usize,
    channels: usize,
    /// Blocks around the image on every side.
    margin: usize,
    samples: Vec<f32>,
}

impl Rows for Plane {
    fn width(&self) -> usize {
        self.width
    }
    fn height(&self) -> usize {
        self.height
    }
    fn channels(&self) -> usize {
        self.channels
    }
    fn read(&self, row: usize, samples: &mut [f32]) {
        let length = self.width * self.channels;
        samples.copy_from_slice(&self.samples[row * length..][..length]);
    }
    fn write(&mut self, row: usize, samples: &[f32]) {
        let length = self.width * self.channels;
        self.samples[row * length..][..length].copy_from_slice(samples);
    }
}

impl Plane {
    /// The reduced copy: first along columns, where whole rows are added up, then along rows.
    fn reduced(
        rows: &mut dyn Rows,
        block: usize,
        margin: usize,
        control: &dyn Control,
    ) -> Result<Plane, Interrupt> {
        let (across, down, channels) = (rows.width(), rows.height(), rows.channels());
        let side = |length: usize| length.div_ceil(block) + 2 * margin;
        let (width, height) = (side(across), side(down));
        let mut plane =
            Plane { width, height, channels, margin, samples: vec![0.0; width * height * channels] };
        let mut line = vec![0.0f32; across * channels];
        let mut sums = std::array::from_fn::<_, 4, _>(|_| vec![0.0f32; line.len()]);
        let rows_per_check = (WORK_PER_CHECK / (4 * line.len())).max(1);
        let (mut read, mut finished) = (0, 0);
        for (index, row) in plane.positions(down, block).enumerate() {
            if index % rows_per_check == 0 {
                control.check()?;
            }
            if row.clamp(0, down as isize - 1) >= read {
                rows.read(read as usize, &mut line);
                read += 1;
            }
            let (first, fraction) = plane.neighbours(row, block);
            while finished < first {
                plane.spread(finished, &mut sums[finished % 4], across, block);
                finished += 1;
            }
            for (offset, weight) in cubic(fraction).into_iter().enumerate() {
                let weight = weight / block as f32;
                let sums = &mut sums[(first + offset) % 4];
                sums.iter_mut().zip(&line).for_each(|(sum, sample)| *sum += sample * weight);
            }
        }
        for row in finished..height {
            plane.spread(row, &mut sums[row % 4], across, block);
        }
        Ok(plane)
    }

    /// The pixels of a side of the large image, and those of its drawn-out edges that enter the blocks around it.
    fn positions(&self, length: usize, block: usize) -> std::ops::Range<isize> {
        let around = ((self.margin - 2) * block) as isize;
        -around..(length.div_ceil(block) * block) as isize + around
    }

    /// Spreads a row of sums over the blocks of its row, and empties it.
    fn spread(&mut self, row: usize, sums: &mut [f32], across: usize, block: usize) {
        let (channels, length) = (self.channels, self.width * self.channels);
        let phases = phases(block);
        let around = self.margin - 2;
        let line = &mut self.samples[row * length..][..length];
        for (index, near) in (0..self.width - 4).zip((0..length).step_by(channels)) {
            for (phase, (before, weights)) in phases.iter().enumerate() {
                // In a block that is drawn out of the image's edge, the outermost pixel.
                let column = (index * block + phase).saturating_sub(around * block).min(across - 1);
                let pixel = &sums[column * channels..][..channels];
                let blocks = &mut line[near + before * channels..][..4 * channels];
                for (sums, weight) in blocks.chunks_exact_mut(channels).zip(weights) {
                    let weight = weight / block as f32;
                    sums.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += sample * weight);
                }
            }
        }
        sums.fill(0.0);
    }

    /// Interpolates between the blocks and writes all of the large image.
    fn draw_out(&self, rows: &mut dyn Rows, block: usize, control: &dyn Control) -> Result<(), Interrupt> {
        let (across, down) = (rows.width(), rows.height());
        let mut drawn = std::array::from_fn::<_, 4, _>(|_| vec![0.0f32; across * self.channels]);
        let mut out = vec![0.0f32; across * self.channels];
        let rows_per_check = (WORK_PER_CHECK / (4 * out.len())).max(1);
        let (mut next, _) = self.neighbours(0, block);
        for row in 0..down {
            if row % rows_per_check == 0 {
                control.check()?;
            }
            let (first, fraction) = self.neighbours(row as isize, block);
            while next < first + 4 {
                self.draw_row(next, &mut drawn[next % 4], block);
                next += 1;
            }
            let weights = cubic(fraction);
            let from = |offset: usize| &drawn[(first + offset) % 4];
            let near = from(0).iter().zip(from(1)).zip(from(2)).zip(from(3));
            for (sample, (((a, b), c), d)) in out.iter_mut().zip(near) {
                *sample = a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3];
            }
            rows.write(row, &out);
        }
        Ok(())
    }

    /// Interpolates along a row of blocks.
    fn draw_row(&self, row: usize, out: &mut [f32], block: usize) {
        let line = &self.samples[row * self.width * self.channels..][..self.width * self.channels];
        match self.channels {
            1 => draw::<1>(line, out, self.margin, block),
            3 => draw::<3>(line, out, self.margin, block),
            _ => draw::<4>(line, out, self.margin, block),
        }
    }

    /// The first of the four blocks around a pixel, and how far the pixel is from the second to the third.
    fn neighbours(&self, position: isize, block: usize) -> (usize, f32) {
        let length = block as isize;
        let (before, fraction) = place(position.rem_euclid(length) as usize, block);
        (position.div_euclid(length).wrapping_add_unsigned(self.margin - 2 + before) as usize, fraction)
    }
}

/// For every pixel of a block: the first of the four blocks around it, counted from the second before its own, and the weights of the four.
fn phases(block: usize) -> Vec<(usize, [f32; 4])> {
    let phase = |phase| {
        let (before, fraction) = place(phase, block);
        (before, cubic(fraction))
    };
    (0..block).map(phase).collect()
}

/// Interpolates a row of blocks of `N` channels.
fn draw<const N: usize>(line: &[f32], out: &mut [f32], margin: usize, block: usize) {
    let (blocks, phases) = (line.as_chunks::<N>().0, phases(block));
    for (pixels, first) in out.as_chunks_mut::<N>().0.chunks_mut(block).zip(margin - 2..) {
        for (pixel, (before, weights)) in pixels.iter_mut().zip(&phases) {
            let Some([a, b, c, d]) = blocks[first + before..].first_chunk::<4>() else { continue };
            *pixel = std::array::from_fn(|channel| {
                a[channel] * weights[0]
                    + b[channel] * weights[1]
                    + c[channel] * weights[2]
                    + d[channel] * weights[3]
            });
        }
    }
}

/// Where a pixel of a block lies between the centres of blocks: 0 with the block before it as the second of four, 1 with its own; and how far.
fn place(phase: usize, block: usize) -> (usize, f32) {
    let from_centre = (phase as f32 + 0.5) / block as f32 - 0.5;
    if from_centre < 0.0 { (0, from_centre + 1.0) } else { (1, from_centre) }
}

/// Catmull-Rom's weights of four samples for a point between the second and the third.
fn cubic(t: f32) -> [f32; 4] {
    let (square, cube) = (t * t, t * t * t);
    [
        -0.5 * cube + square - 0.5 * t,
        1.5 * cube - 2.5 * square + 1.0,
        -1.5 * cube + 2.0 * square + 0.5 * t,
        0.5 * cube - 0.5 * square,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Unattended;
    use super::*;

    fn plane(
        width: usize,
        height: usize,
        channels: usize,
        value: impl Fn(usize, usize, usize) -> f32,
    ) -> Plane {
        let mut samples = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            samples.extend((0..channels).map(|channel| value(x, y, channel)));
        }
        Plane { width, height, channels, margin: 0, samples }
    }

    fn blurred(mut plane: Plane, sigma: f64) -> Plane {
        gaussian(&mut plane, sigma, &Unattended).unwrap();
        plane
    }

    /// The error function, by Abramowitz and Stegun 7.1.26 (|error| < 1.5e-7).
    fn erf(x: f64) -> f64 {
        let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
        let poly = ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t
            + 0.254_829_592)
            * t;
        (1.0 - poly * (-x * x).exp()).copysign(x)
    }

    #[test]
    fn an_edge_becomes_the_integral_of_the_gaussian() {
        for sigma in [0.8, 1.5, 3.0, 4.9, 5.1, 7.7, 12.0, 31.0, 100.0] {
            let (width, height) = (700, 9);
            for columns in [true, false] {
                let size = if columns { (width, height) } else { (height, width) };
                let step =
                    |x: usize, y: usize, _| if (if columns { x } else { y }) < 350 { 0.0 } else { 255.0 };
                let out = blurred(plane(size.0, size.1, 1, step), sigma);
                for at in 0..width {
                    let index = if columns { 4 * width + at } else { at * height + 4 };
                    let distance = at as f64 + 0.5 - 350.0;
                    let exact = 127.5 * (1.0 + erf(distance / sigma / 2f64.sqrt()));
                    let error = (f64::from(out.samples[index]) - exact).abs();
                    // A kernel of samples is no integral: that is what the small ones differ by.
                    let allowed = (3.0 / (sigma * sigma)).max(0.5);
                    assert!(error < allowed, "sigma {sigma} at {distance}: {error}");
                }
            }
        }
    }

    #[test]
    fn blocks_differ_from_the_direct_way_by_less_than_a_level() {
        // Noise is what differs most.
        let noise =
            |x: usize, y: usize, c: usize| (((x * 7919 + y * 104_729 + c * 1299) ^ (x * y)) % 256) as f32;
        for sigma in [5.5, 9.0, 20.0] {
            let mut direct = plane(203, 101, 3, noise);
            convolve(&mut direct, &half_kernel(sigma), &Unattended).unwrap();
            let fast = blurred(plane(203, 101, 3, noise), sigma);
            let errors = direct.samples.iter().zip(&fast.samples).map(|(a, b)| (a - b).abs());
            let worst = errors.fold(0.0, f32::max);
            assert!(worst < 1.0, "sigma {sigma}: {worst}");
        }
    }

    #[test]
    fn flat_stays_flat_whatever_the_size() {
        for (width, height) in [(1, 1), (1, 50), (3, 2), (65, 33)] {
            for sigma in [0.3, 2.0, 30.0, 100.0] {
                let out = blurred(plane(width, height, 4, |_, _, channel| channel as f32 * 40.0), sigma);
                for (index, sample) in out.samples.iter().enumerate() {
                    assert!((sample - (index % 4) as f32 * 40.0).abs() < 0.01, "{width}×{height} {sigma}");
                }
            }
        }
    }

    #[test]
    fn a_tiny_sigma_changes_nothing() {
        let ramp = |x: usize, y: usize, _| (x * 3 + y * 5) as f32;
        let (out, same) = (blurred(plane(20, 20, 1, ramp), 0.1), plane(20, 20, 1, ramp));
        assert!(out.samples.iter().zip(&same.samples).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
