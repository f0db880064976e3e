//! Where an image draws the eye: what gravity `smart` and `entropy` stand for.
//!
//! Owns both measures, on a reduced copy of at most 256 pixels a side, so that they cost a millisecond or two whatever the image's size. Gives
//! a focal point, and `gravity` does the arithmetic of windows. Called by `resize` and `crop`.
//!
//! **`smart`** scores every pixel of the copy, weighed by its alpha:
//!
//! * skin, 1.8: how near the colour's direction is to (0.78, 0.57, 0.44), from 0.8 on, for pixels that are not dark (smartcrop.js). The more of
//!   the image looks like skin the less it counts, and not at all from half on: then it is the ground, a wall or sand;
//! * contrast, 0.4: the distance from the image's mean colour (Achanta et al., Frequency-tuned Salient Region Detection, 2009);
//! * edges, 0.3: the magnitude of the Laplacian of luma, as in libvips' `attention`;
//! * colourfulness, 0.1: the largest minus the smallest channel.
//!
//! Scores are smoothed by as much as a window of the wanted size sees (a quarter of its sides), and the highest place is the focal point.
//!
//! **`entropy`** takes the window whose histogram of luma in 32 levels has the largest Shannon entropy, on a grid of at most 32 places a side;
//! among windows within 1 % of it, the one in their middle.

use super::{
    Gravity,
    color::luma,
    image::{Image, Layout, Size},
};

/// Longest side of the reduced copy.
const SIDE: u32 = 256;

/// Samples of the image per pixel of the copy, along each side.
const SAMPLES: u32 = 3;

/// Places along each side at which the entropy of a window is measured.
const PLACES: usize = 32;

/// Levels of luma that a histogram tells apart, and one for what is transparent.
const BINS: usize = 33;

/// Bytes that [`settle`] needs at most.
pub(super) const WORKING_BYTES: u64 =
    (SIDE * SIDE) as u64 * 24 + ((PLACES + 1) * (PLACES + 1) * BINS * 4) as u64;

/// The focal point that a measuring gravity stands for on this image, when a window of these shares of its width and height is to be cut
/// out; any other gravity is given back as it is.
pub(super) fn settle(gravity: Gravity, image: &Image, window: (f64, f64)) -> Gravity {
    let measure = match gravity {
        Gravity::Smart => most_salient,
        Gravity::Entropy => richest,
        Gravity::Compass(_) | Gravity::Focus { .. } => return gravity,
    };
    let (x, y) = measure(&Copy::of(image), window);
    Gravity::Focus { x, y }
}

/// The reduced copy, upright, straight alpha.
struct Copy {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
}

impl Copy {
    /// Every pixel is the mean of a few, evenly spread over those that it stands for.
    fn of(image: &Image) -> Copy {
        let (stored, layout) = (image.stored(), image.layout());
        let step = stored.width.max(stored.height).div_ceil(SIDE);
        let size = Size::new(stored.width.div_ceil(step), stored.height.div_ceil(step));
        let samples = step.min(SAMPLES);
        let spread = |index: u32, offset: u32, side: u32| {
            (index * step + (2 * offset + 1) * step / (2 * samples)).min(side - 1)
        };
        let mut bytes = Vec::with_capacity(size.pixels() as usize * 4);
        for y in 0..size.height {
            for x in 0..size.width {
                let mut sum = [0u32; 4];
                for (down, across) in
                    (0..samples).flat_map(|down| (0..samples).map(move |across| (down, across)))
                {
                    let at = spread(y, down, stored.height) as usize * stored.width as usize
                        + spread(x, across, stored.width) as usize;
                    let pixel = wide(image.pixels(), at, layout);
                    sum.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += u32::from(sample));
                }
                bytes.extend(sum.map(|sum| (sum / (samples * samples)) as u8));
            }
        }
        let upright = Image::new(size, Layout::Rgba, bytes).turned(image.orientation());
        let size = upright.size();
        Copy {
            width: size.width as usize,
            height: size.height as usize,
            pixels: upright.pixels().as_chunks::<4>().0.to_vec(),
        }
    }

    fn luma(&self, index: usize) -> u8 {
        let [red, green, blue, _] = self.pixels[index];
        luma(red, green, blue)
    }

    /// The Laplacian of luma, 0..1; edges of the image go on.
    fn edge(&self, x: usize, y: usize) -> f32 {
        let at = |x: usize, y: usize| f32::from(self.luma(y * self.width + x));
        let around = at(x.saturating_sub(1), y)
            + at((x + 1).min(self.width - 1), y)
            + at(x, y.saturating_sub(1))
            + at(x, (y + 1).min(self.height - 1));
        ((4.0 * at(x, y) - around).abs() / 255.0).min(1.0)
    }

    /// The mean colour of what is not transparent.
    fn mean(&self) -> [f32; 3] {
        let mut sums = [0.0f64; 4];
        for [red, green, blue, alpha] in &self.pixels {
            let weight = f64::from(*alpha);
            for (sum, sample) in sums.iter_mut().zip([*red, *green, *blue]) {
                *sum += f64::from(sample) * weight;
            }
            sums[3] += weight;
        }
        std::array::from_fn(|channel| (sums[channel] / sums[3].max(1.0)) as f32)
    }
}

/// A pixel in four channels.
fn wide(pixels: &[u8], at: usize, layout: Layout) -> [u8; 4] {
    match layout {
        Layout::Grey => [pixels[at], pixels[at], pixels[at], 255],
        Layout::Rgb => [pixels[at * 3], pixels[at * 3 + 1], pixels[at * 3 + 2], 255],
        Layout::Rgba => [pixels[at * 4], pixels[at * 4 + 1], pixels[at * 4 + 2], pixels[at * 4 + 3]],
    }
}

/// How much a colour looks like skin, 0..1.
fn skin(rgb: [f32; 3]) -> f32 {
    const SKIN: [f32; 3] = [0.78, 0.57, 0.44];
    const FROM: f32 = 0.8;
    let length = rgb.iter().map(|sample| sample * sample).sum::<f32>().sqrt();
    let brightness = (rgb[0] + rgb[1] + rgb[2]) / 3.0;
    if brightness < 51.0 {
        return 0.0;
    }
    let distance =
        rgb.iter().zip(SKIN).map(|(sample, skin)| (sample / length - skin).powi(2)).sum::<f32>().sqrt();
    ((1.0 - distance - FROM) / (1.0 - FROM)).max(0.0)
}

/// The middle of what scores highest, as shares of width and height.
fn most_salient(copy: &Copy, window: (f64, f64)) -> (f64, f64) {
    let mut scores = scores(copy);
    let (width, height) = (copy.width, copy.height);
    let radius = |share: f64, side: usize| ((share * side as f64 / 4.0) as usize).max(1);
    let (across, down) = (radius(window.0, width), radius(window.1, height));
    for row in scores.chunks_exact_mut(width) {
        smooth(row, across);
    }
    let mut column = vec![0.0; height];
    for x in 0..width {
        column.iter_mut().enumerate().for_each(|(y, value)| *value = scores[y * width + x]);
        smooth(&mut column, down);
        column.iter().enumerate().for_each(|(y, value)| scores[y * width + x] = *value);
    }
    let best = scores.iter().copied().fold(0.0, f32::max);
    let place = |index: usize| {
        let share = |position: usize, side: usize| (position as f64 + 0.5) / side as f64;
        (share(index % width, width), share(index / width, height))
    };
    let ties = (0..scores.len()).filter(|index| scores[*index] >= best * 0.9999).map(place);
    nearest((0.5, 0.5), ties)
}

/// The score of every pixel.
fn scores(copy: &Copy) -> Vec<f32> {
    let mean = copy.mean();
    let skins: Vec<f32> = copy.pixels.iter().map(|[r, g, b, _]| skin([*r, *g, *b].map(f32::from))).collect();
    let skin_share = skins.iter().filter(|skin| **skin > 0.0).count() as f32 / skins.len() as f32;
    let skin_weight = 1.8 * (1.0 - 2.0 * skin_share).max(0.0);
    let score = |index: usize| {
        let [red, green, blue, alpha] = copy.pixels[index];
        let rgb = [red, green, blue].map(f32::from);
        let apart =
            rgb.iter().zip(mean).map(|(sample, mean)| (sample - mean).powi(2)).sum::<f32>().sqrt() / 441.7;
        let colorful = f32::from(red.max(green).max(blue) - red.min(green).min(blue)) / 255.0;
        let edge = copy.edge(index % copy.width, index / copy.width);
        (skin_weight * skins[index] + 0.4 * apart + 0.3 * edge + 0.1 * colorful) * f32::from(alpha) / 255.0
    };
    (0..copy.pixels.len()).map(score).collect()
}

/// Three box sums of this radius one after the other: nearly a Gaussian of the radius' width. Nothing lies outside.
fn smooth(line: &mut [f32], radius: usize) {
    let mut sums = vec![0.0f64; line.len() + 1];
    for _ in 0..3 {
        for (index, value) in line.iter().enumerate() {
            sums[index + 1] = sums[index] + f64::from(*value);
        }
        let last = line.len();
        for (index, value) in line.iter_mut().enumerate() {
            let (from, to) = (index.saturating_sub(radius), (index + radius + 1).min(last));
            *value = ((sums[to] - sums[from]) / (2 * radius + 1) as f64) as f32;
        }
    }
}

/// The one of these places that is nearest to a point.
fn nearest(point: (f64, f64), places: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let distance = |place: &(f64, f64)| (place.0 - point.0).powi(2) + (place.1 - point.1).powi(2);
    places.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(point)
}

/// The middle of the window with the largest entropy, as shares of width and height.
fn richest(copy: &Copy, window: (f64, f64)) -> (f64, f64) {
    let (across, down) = (copy.width.min(PLACES), copy.height.min(PLACES));
    let sums = histograms(copy, across, down);
    let side = |share: f64, places: usize| ((share * places as f64).round() as usize).clamp(1, places);
    let (width, height) = (side(window.0, across), side(window.1, down));
    let mut measured = Vec::new();
    for (y, x) in (0..=down - height).flat_map(|y| (0..=across - width).map(move |x| (y, x))) {
        let corner = |x: usize, y: usize| &sums[(y * (across + 1) + x) * BINS..][..BINS];
        let (a, b) = (corner(x, y), corner(x + width, y));
        let (c, d) = (corner(x, y + height), corner(x + width, y + height));
        let counts = (0..BINS).map(|bin| (d[bin] + a[bin]) - (b[bin] + c[bin]));
        let middle =
            |start: usize, length: usize, places: usize| (start as f64 + length as f64 / 2.0) / places as f64;
        measured.push((entropy(counts), (middle(x, width, across), middle(y, height, down))));
    }
    let best = measured.iter().map(|(entropy, _)| *entropy).fold(0.0, f64::max);
    let ties: Vec<(f64, f64)> =
        measured.iter().filter(|(entropy, _)| *entropy >= best * 0.99).map(|(_, place)| *place).collect();
    let mean = |axis: fn(&(f64, f64)) -> f64| ties.iter().map(axis).sum::<f64>() / ties.len() as f64;
    nearest((mean(|place| place.0), mean(|place| place.1)), ties.iter().copied())
}

/// Histograms of everything left of and above the corners of a grid.
fn histograms(copy: &Copy, across: usize, down: usize) -> Vec<u32> {
    let row = (across + 1) * BINS;
    let mut sums = vec![0u32; row * (down + 1)];
    for (index, pixel) in copy.pixels.iter().enumerate() {
        let (x, y) = (index % copy.width * across / copy.width, index / copy.width * down / copy.height);
        let bin = if pixel[3] < 128 { BINS - 1 } else { usize::from(copy.luma(index)) * (BINS - 1) / 256 };
        sums[(y + 1) * row + (x + 1) * BINS + bin] += 1;
    }
    for y in 1..=down {
        for at in BINS..row {
            sums[y * row + at] += sums[y * row + at - BINS];
        }
        for at in 0..row {
            sums[y * row + at] += sums[(y - 1) * row + at];
        }
    }
    sums
}

/// Shannon's entropy in bits.
fn entropy(counts: impl Iterator<Item = u32> + Clone) -> f64 {
    let total = f64::from(counts.clone().sum::<u32>());
    counts
        .filter(|count| *count > 0)
        .map(|count| {
            let share = f64::from(count) / total;
            -share * share.log2()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::orient::Orientation;
    use super::*;

    /// Ground of one colour.
    fn ground(width: u32, height: u32, color: [u8; 3]) -> Image {
        let [red, green, blue] = color;
        Image::filled(Size::new(width, height), Layout::Rgb, [red, green, blue, 255])
    }

    /// A checkered square around a point: bright and sharp.
    fn put(image: &mut Image, (x, y): (u32, u32), side: u32, color: [u8; 3]) {
        let mut pixels = Vec::new();
        for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
            let light = (row / 3 + column / 3) % 2 == 0;
            pixels.extend(color.map(|sample| if light { sample } else { sample / 2 + 30 }));
        }
        let square = Image::new(Size::new(side, side), Layout::Rgb, pixels);
        image.paste(&square, x - side / 2, y - side / 2);
    }

    fn focus(gravity: Gravity, image: &Image, window: (f64, f64)) -> (f64, f64) {
        match settle(gravity, image, window) {
            Gravity::Focus { x, y } => (x, y),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_on_flat_ground_is_found_in_each_of_nine_places() {
        for (color, object) in
            [([30, 60, 200], [255; 3]), ([200, 170, 150], [40, 90, 30]), ([250; 3], [200, 30, 30])]
        {
            for (x, y) in [100, 300, 500].into_iter().flat_map(|x| [80, 200, 320].map(|y| (x, y))) {
                let mut image = ground(600, 400, color);
                put(&mut image, (x, y), 60, object);
                for gravity in [Gravity::Smart, Gravity::Entropy] {
                    for window in [(0.3, 0.3), (0.5, 1.0), (1.0, 0.4)] {
                        let got = focus(gravity, &image, window);
                        let off =
                            ((got.0 - f64::from(x) / 600.0).abs(), (got.1 - f64::from(y) / 400.0).abs());
                        // What counts is that the window, pushed back inside the image, holds all of the object.
                        let inside = |got: f64, share: f64, at: f64, half: f64| {
                            let start = (got - share / 2.0).clamp(0.0, 1.0 - share);
                            start <= at - half + 0.02 && start + share >= at + half - 0.02
                        };
                        assert!(
                            inside(got.0, window.0, f64::from(x) / 600.0, 0.05)
                                && inside(got.1, window.1, f64::from(y) / 400.0, 0.075),
                            "{gravity:?} {window:?} {color:?}: ({x}, {y}) but {got:?}, off by {off:?}"
                        );
                    }
                }
            }
        }
    }

    /// Leaves: green noise, sharp everywhere.
    fn foliage(width: u32, height: u32) -> Image {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let pixels = (0..width * height).flat_map(|_| {
            let light = random();
            [light / 3, light / 2 + 60, light / 5]
        });
        Image::new(Size::new(width, height), Layout::Rgb, pixels.collect())
    }

    #[test]
    fn a_face_wins_over_leaves() {
        for x in [120, 400, 680] {
            let mut image = foliage(800, 300);
            let face = ground(90, 110, [224, 172, 138]);
            image.paste(&face, x - 45, 100);
            let got = focus(Gravity::Smart, &image, (0.375, 1.0));
            assert!((got.0 - f64::from(x) / 800.0).abs() < 0.04, "{x}: {got:?}");
        }
    }

    #[test]
    fn entropy_prefers_what_is_richest() {
        // Two levels at the left, a gradient at the right.
        let mut image = ground(300, 100, [90; 3]);
        put(&mut image, (60, 50), 40, [255; 3]);
        for x in 200..280 {
            let line = ground(1, 100, [(x * 3 % 256) as u8; 3]);
            image.paste(&line, x, 0);
        }
        let got = focus(Gravity::Entropy, &image, (0.3, 1.0));
        assert!(got.0 > 0.7, "{got:?}");
    }

    #[test]
    fn nothing_to_see_is_the_middle_and_hidden_colours_are_nothing() {
        for gravity in [Gravity::Smart, Gravity::Entropy] {
            for size in [(600, 400), (1, 1), (3, 900)] {
                let (x, y) = focus(gravity, &ground(size.0, size.1, [77, 20, 9]), (0.4, 0.5));
                assert!((x - 0.5).abs() < 0.02 && (y - 0.5).abs() < 0.02, "{gravity:?} {size:?} {x} {y}");
            }
            let mut image = ground(300, 100, [90; 3]);
            put(&mut image, (250, 50), 40, [255; 3]);
            let mut hidden = image.clone().with_layout(Layout::Rgba);
            for pixel in hidden.pixels_mut().as_chunks_mut::<4>().0 {
                pixel[3] = 0;
            }
            let (x, _) = focus(gravity, &hidden, (0.3, 1.0));
            assert!((x - 0.5).abs() < 0.05, "{gravity:?} {x}");
        }
    }

    #[test]
    fn the_point_is_of_the_upright_image() {
        let mut image = ground(400, 300, [30, 60, 200]);
        put(&mut image, (330, 60), 50, [255; 3]);
        // Stored as it is, to be turned a quarter clockwise: the right end comes to the bottom, the top to the right.
        let size = Size::new(400, 300);
        let turned =
            Image::decoded(size, Layout::Rgb, image.into_pixels(), Orientation::from_exif(6), size, 8);
        let (x, y) = focus(Gravity::Smart, &turned, (0.3, 0.3));
        assert!((x - 240.0 / 300.0).abs() < 0.04 && (y - 330.0 / 400.0).abs() < 0.04, "{x} {y}");
    }
}
