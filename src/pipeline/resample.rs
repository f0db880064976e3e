//! Scaling of pixels: one box of an image to one size, with SIMD kernels, in bands between which a cancelled job stops.
//!
//! Owns the use of `fast_image_resize`, and of the faster code for most photographs (RGB, Lanczos, AVX2) that gives the same pixels;
//! premultiplied alpha, the pending orientation of a decoded image (turned after scaling, when there are fewer pixels to turn) and its
//! reduced scale. Knows nothing of fits and boxes; called by `resize`.

#[cfg(target_arch = "x86_64")]
mod avx2;
// Elsewhere only the kernel itself is taken from it.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod weights;

use fast_image_resize::{
    Filter, FilterType, MulDiv, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as View, ImageRef},
};
use serde::{Deserialize, Serialize};

use super::{
    Control, Interrupt,
    image::{Image, Layout, Size},
};

/// Pixels of source or target between two looks at [`Control::check`]: about 10 ms of work.
const BAND_PIXELS: u64 = 8_000_000;

/// How neighbouring pixels are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// The nearest pixel, for pixel art.
    Nearest,
    /// A triangle; soft.
    Linear,
    /// Catmull-Rom.
    Cubic,
    /// Windowed sinc over three lobes; sharp, the default.
    #[default]
    Lanczos3,
}

impl Kernel {
    fn algorithm(self) -> ResizeAlg {
        match self {
            Kernel::Nearest => ResizeAlg::Nearest,
            Kernel::Linear => ResizeAlg::Convolution(FilterType::Bilinear),
            Kernel::Cubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Kernel::Lanczos3 => {
                let filter = Filter::new("lanczos3", weights::lanczos3, weights::LOBES);
                ResizeAlg::Convolution(FilterType::Custom(filter.expect("three is a positive radius")))
            }
        }
    }
}

/// Scales the box `window` (left, top, width, height; upright, at full resolution, inside the image) to `target` pixels. The result stands
/// upright at full resolution.
pub(super) fn resample(
    image: Image,
    window: [f64; 4],
    target: Size,
    kernel: Kernel,
    control: &dyn Control,
) -> Result<Image, Interrupt> {
    control.check()?;
    let (orientation, layout, scale) = (image.orientation(), image.layout(), image.scale());
    let full = orientation.upright(image.size());
    let source = image.stored();
    let at_full = orientation.stored_box(window, [f64::from(full.width), f64::from(full.height)]);
    let [left, top, width, height] = at_full;
    let [across, down] = scale;
    let window = inside([left * across, top * down, width * across, height * down], source);
    let stored_target = orientation.upright(target);
    let pixels = if window == [0.0, 0.0, f64::from(stored_target.width), f64::from(stored_target.height)]
        && source == stored_target
    {
        image.into_pixels()
    } else {
        scaled(image, window, stored_target, kernel, control)?
    };
    Ok(Image::decoded(stored_target, layout, pixels, orientation, stored_target, 8).upright())
}

/// The box pushed inside the stored pixels, where rounding may have put its edge a hair outside.
fn inside([left, top, width, height]: [f64; 4], source: Size) -> [f64; 4] {
    let (left, width) = within(left, width, source.width);
    let (top, height) = within(top, height, source.height);
    [left, top, width, height]
}

/// Start and length such that their sum, as floating point adds them, does not exceed `whole`.
fn within(start: f64, length: f64, whole: u32) -> (f64, f64) {
    let (start, whole) = (start.max(0.0), f64::from(whole));
    let mut length = length.min(whole - start);
    while start + length > whole {
        length = length.next_down();
    }
    (start, length)
}

/// Scales stored pixels to stored pixels, band by band.
fn scaled(
    mut image: Image,
    window: [f64; 4],
    target: Size,
    kernel: Kernel,
    control: &dyn Control,
) -> Result<Vec<u8>, Interrupt> {
    let (source, layout) = (image.stored(), image.layout());
    let kind = match layout {
        Layout::Grey => PixelType::U8,
        Layout::Rgb => PixelType::U8x3,
        Layout::Rgba => PixelType::U8x4,
    };
    // Colours of transparent pixels must not bleed into their neighbours: weigh them by alpha, in place.
    let weighed = layout == Layout::Rgba && kernel != Kernel::Nearest;
    if weighed {
        let mut view = writable(source, image.pixels_mut(), kind);
        MulDiv::new().multiply_alpha_inplace(&mut view).expect("RGBA has an alpha channel");
    }
    let view = ImageRef::new(source.width, source.height, image.pixels(), kind)
        .expect("the buffer has the image's size");
    let row = target.width as usize * layout.channels();
    let mut out = Vec::with_capacity(row * target.height as usize);
    let rows = rows_per_band(source, target);
    let mut resizer = Resizer::new();
    for first in (0..target.height as usize).step_by(rows) {
        control.check()?;
        let lines = rows.min(target.height as usize - first) as u32;
        let per_line = window[3] / f64::from(target.height);
        let top = window[1] + first as f64 * per_line;
        let (top, height) = within(top, f64::from(lines) * per_line, source.height);
        let part = [window[0], top, window[2], height];
        let size = Size::new(target.width, lines);
        let quickly = layout == Layout::Rgb && kernel == Kernel::Lanczos3;
        if quickly && scaled_here(&image, part, size, &mut out) {
            continue;
        }
        let options = ResizeOptions::new()
            .resize_alg(kernel.algorithm())
            .crop(part[0], part[1], part[2], part[3])
            .use_alpha(false);
        let made = out.len();
        out.resize(made + row * lines as usize, 0);
        resizer
            .resize(&view, &mut writable(size, &mut out[made..], kind), &options)
            .expect("the box lies inside the source and the layouts agree");
    }
    if weighed {
        MulDiv::new()
            .divide_alpha_inplace(&mut writable(target, &mut out, kind))
            .expect("RGBA has an alpha channel");
    }
    Ok(out)
}

/// Scales this part of an RGB image by Lanczos and appends it, if this machine and the shape allow for it; else nothing is done.
#[cfg(target_arch = "x86_64")]
fn scaled_here(image: &Image, [left, top, width, height]: [f64; 4], target: Size, out: &mut Vec<u8>) -> bool {
    let Some(avx2) = avx2::Avx2::detect() else { return false };
    let source = image.stored();
    // Where an axis keeps its samples there is nothing to weigh, and for a few rows more memory would be needed than was planned.
    let kept = |start: f64, length: f64, target: u32| length == f64::from(target) && start == start.round();
    let needed = avx2::working_bytes(source.width as usize, target.width as usize) as u64;
    if kept(left, width, target.width)
        || kept(top, height, target.height)
        || needed > working_bytes(source, target, Layout::Rgb)
    {
        return false;
    }
    let across = weights::Weights::new(source.width, (left, left + width), target.width, 2);
    let down = weights::Weights::new(source.height, (top, top + height), target.height, 1);
    avx2.scale(image.pixels(), source.width as usize, &across, &down, out)
}

#[cfg(not(target_arch = "x86_64"))]
fn scaled_here(_: &Image, _: [f64; 4], _: Size, _: &mut Vec<u8>) -> bool {
    false
}

/// Bytes that scaling from `stored` to `target` needs beside the two: rows of the source at the target's width, for one band. Source and
/// target may still have to be turned, so the longer sides are taken.
pub(super) fn working_bytes(stored: Size, target: Size, layout: Layout) -> u64 {
    let bands = (stored.pixels().max(target.pixels()) / BAND_PIXELS + 1).min(u64::from(target.height));
    let rows = u64::from(stored.width.max(stored.height)).div_ceil(bands);
    // Up to six more source rows per target row at either end of a band.
    let overlap =
        12 * (u64::from(stored.height.max(stored.width)) / u64::from(target.height.min(target.width)) + 1);
    let rows = (rows + overlap).min(u64::from(stored.width.max(stored.height)));
    u64::from(target.width.max(target.height)) * rows * layout.channels() as u64
}

/// A view of pixels for writing.
fn writable(size: Size, pixels: &mut [u8], kind: PixelType) -> View<'_> {
    View::from_slice_u8(size.width, size.height, pixels, kind).expect("the buffer has the image's size")
}

/// Rows of the target in one band.
fn rows_per_band(source: Size, target: Size) -> usize {
    let bands = (source.pixels().max(target.pixels()) / BAND_PIXELS + 1).min(u64::from(target.height));
    u64::from(target.height).div_ceil(bands) as usize
}

#[cfg(test)]
mod tests {
    use super::super::{Stage, Unattended, orient::Orientation};
    use super::*;

    fn gradient(size: Size, layout: Layout) -> Image {
        let channels = layout.channels() as u32;
        let value = |x: u32, y: u32, c: u32| (x * 7 + y * 13 + c * 50) as u8;
        let pixels = (0..size.height)
            .flat_map(|y| {
                (0..size.width).flat_map(move |x| (0..channels).map(move |c| value(x / 8, y / 8, c)))
            })
            .collect();
        Image::new(size, layout, pixels)
    }

    #[test]
    fn bands_join_without_a_seam() {
        let size = Size::new(4000, 4100);
        let image = gradient(size, Layout::Grey);
        let target = Size::new(40, 41);
        assert!(rows_per_band(size, target) < 41, "the case must need several bands");
        let banded =
            resample(image.clone(), [0.0, 0.0, 4000.0, 4100.0], target, Kernel::Lanczos3, &Unattended)
                .unwrap();
        let mut whole = vec![0; 40 * 41];
        let view = ImageRef::new(4000, 4100, image.pixels(), PixelType::U8).unwrap();
        Resizer::new().resize(&view, &mut writable(target, &mut whole, PixelType::U8), None).unwrap();
        let worst = banded.pixels().iter().zip(&whole).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}");
    }

    #[test]
    fn the_faster_code_gives_the_same_pixels() {
        let shapes = [
            (400, 300, [0.0, 0.0, 400.0, 300.0], 320, 240),
            (160, 120, [20.0, 0.0, 120.0, 120.0], 80, 80),
            (333, 217, [10.7, 3.1, 300.4, 200.2], 97, 211),
            (60, 45, [0.0, 0.0, 60.0, 45.0], 100, 75),
            (1500, 150, [0.0, 0.0, 1500.0, 150.0], 155, 31),
        ];
        for (width, height, window, across, down) in shapes {
            let (size, target) = (Size::new(width, height), Size::new(across, down));
            let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 22) as u8;
            let image = Image::new(size, Layout::Rgb, (0..width * height * 3).map(noise).collect());
            let ours = resample(image.clone(), window, target, Kernel::Lanczos3, &Unattended).unwrap();
            let mut theirs = vec![0; (across * down * 3) as usize];
            let options = ResizeOptions::new()
                .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
                .crop(window[0], window[1], window[2], window[3]);
            let view = ImageRef::new(width, height, image.pixels(), PixelType::U8x3).unwrap();
            let mut out = writable(target, &mut theirs, PixelType::U8x3);
            Resizer::new().resize(&view, &mut out, &options).unwrap();
            assert!(ours.pixels() == theirs, "{size} to {target}");
        }
    }

    #[test]
    fn turning_after_scaling_equals_turning_before() {
        let stored = gradient(Size::new(64, 48), Layout::Rgb);
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif);
            let later = Image::decoded(
                Size::new(64, 48),
                Layout::Rgb,
                stored.pixels().to_vec(),
                orientation,
                Size::new(64, 48),
                8,
            );
            let before = later.clone().upright();
            let window = [3.0, 5.0, 30.0, 40.0];
            let target = Size::new(15, 20);
            let run = |image| resample(image, window, target, Kernel::Lanczos3, &Unattended).unwrap();
            let (later, before) = (run(later), run(before));
            let worst = later.pixels().iter().zip(before.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "orientation {exif}: {worst:?}");
        }
    }

    #[test]
    fn colour_under_transparent_pixels_does_not_bleed() {
        let pixels = [[255, 0, 0, 255], [0, 255, 0, 0]].concat().repeat(2);
        let image = Image::new(Size::new(2, 2), Layout::Rgba, pixels);
        let out =
            resample(image, [0.0, 0.0, 2.0, 2.0], Size::new(1, 1), Kernel::Linear, &Unattended).unwrap();
        assert_eq!(out.pixels(), [255, 0, 0, 128]);
    }

    proptest::proptest! {
        #[test]
        fn any_box_inside_the_image_is_taken(
            (width, height) in (1u32..90, 1u32..90), (across, down) in (1u32..60, 1u32..60),
            start in (0.0..1.0, 0.0..1.0), extent in (0.01..1.0, 0.01..1.0), exif in 1u8..=8, eighths in 1u8..=8,
        ) {
            let full = Size::new(width * 8 / u32::from(eighths).max(1), height * 8 / u32::from(eighths).max(1));
            let stored = super::super::decode::scaled(full, eighths);
            let orientation = Orientation::from_exif(exif);
            let pixels = vec![77; stored.pixels() as usize];
            let image = Image::decoded(stored, Layout::Grey, pixels, orientation, full, eighths);
            let whole = image.size();
            let side = |start: f64, extent: f64, whole: u32| (start * f64::from(whole), extent * (1.0 - start) * f64::from(whole));
            let ((left, w), (top, h)) = (side(start.0, extent.0, whole.width), side(start.1, extent.1, whole.height));
            let target = Size::new(across, down);
            let out = resample(image, [left, top, w, h], target, Kernel::Lanczos3, &Unattended).unwrap();
            proptest::prop_assert_eq!(out.size(), target);
            proptest::prop_assert!(out.pixels().iter().all(|value| value.abs_diff(77) <= 1));
        }
    }

    #[test]
    fn a_cancelled_job_stops_between_bands() {
        struct Once(std::sync::atomic::AtomicU32);
        impl Control for Once {
            fn check(&self) -> Result<(), Interrupt> {
                let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if asked < 2 { Ok(()) } else { Err(Interrupt::Cancelled) }
            }
            fn stage(&self, _: Stage) {}
        }
        let image = gradient(Size::new(4000, 4100), Layout::Grey);
        let control = Once(Default::default());
        let result = resample(image, [0.0, 0.0, 4000.0, 4100.0], Size::new(40, 41), Kernel::Linear, &control);
        assert_eq!(result.err(), Some(Interrupt::Cancelled));
        assert_eq!(control.0.into_inner(), 3);
    }
}
